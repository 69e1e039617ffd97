"""The language model: an OpenAI-compatible endpoint, with a journal, so that no answer is paid for twice."""

import asyncio
import math
import os
import weakref
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cached_property, partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, InstanceOf, PrivateAttr

from personahub_assets.core.addresses import public, public_list, split_addresses
from personahub_assets.core.config import (
    FILES_URL,
    STANDIN_URL,
    BatchApi,
    Environment,
    Generation,
    HubConfig,
    ServerOptions,
    server_list,
)
from personahub_assets.core.errors import ArgumentError, ConfigError, KeyRefused, LLMError, PersonaHubError
from personahub_assets.core.roles import ROLES, WRITER, Role
from personahub_assets.endpoints.backend import Backend
from personahub_assets.endpoints.batch_files import BatchServer
from personahub_assets.endpoints.no_server import NoServer
from personahub_assets.endpoints.pace import Pace
from personahub_assets.endpoints.pool import OF_POOL, Pool
from personahub_assets.endpoints.transport import Fault, Refused, Transport
from personahub_assets.generation import recorded
from personahub_assets.generation.answers import Answers
from personahub_assets.generation.batch_api.channel import Channel, FolderChannel, ProviderChannel
from personahub_assets.generation.batch_api.ledger import Ledger, open_submissions
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.engine import OpenAsker, Watch
from personahub_assets.generation.provenance import STANDIN_MODEL, check_kind, kind_of
from personahub_assets.generation.requests import ReusePolicy, Server, ServerOf, Task
from personahub_assets.generation.servers.model_list import offered_as, read_models
from personahub_assets.store.home import Home
from personahub_assets.store.journal_copies import copy_now
from personahub_assets.store.tables import Store

if TYPE_CHECKING:
    from personahub_assets.generation.batch_api.submissions import Submissions
    from personahub_assets.generation.client import Asker, Mark
    from personahub_assets.generation.servers.dialect import Dialect

REMEDIES = (
    "PERSONAHUB_LLM_URL is not set, so there is no language model to ask. Either\n"
    "  1. set it to an OpenAI-compatible server, such as vLLM: PERSONAHUB_LLM_URL=http://127.0.0.1:8000/v1\n"
    "  2. or let make start vLLM here: make demo-vllm MODEL=<hub name or folder>\n"
    "  3. or choose the rule-based stand-in, which is not a language model, in a home of its own: "
    "PERSONAHUB_HOME=demo-hub PERSONAHUB_LLM_URL=standin:"
)

T = TypeVar("T")
_LIST_S = 10.0
_LOOKS = 16  # servers that are looked at together


Named = tuple[str | None, str | None]
"""Address and model of a role, as the environment has them."""


class LLM(BaseModel):
    """The endpoint named by PERSONAHUB_LLM_URL; the key is read from the environment when it is used.

    Runs with the same object share one budget and one stand-in. `as_role` gives the endpoints of other roles.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, repr=False)
    model: str | None = None
    roles: dict[str, Named] = Field(default={}, repr=False, description="Address and model of other roles")
    options: dict[str, ServerOptions] = Field(default={}, repr=False, description="Weights and keys, by address")
    role: Role = Field(default=WRITER, exclude=True)
    key_variable: str = Field(default="", exclude=True, description="Variable with the key, if the role has its own")
    is_own_server: bool = Field(default=False, exclude=True, description="Whether it is not the writer's server")
    retry: list[str] = Field(default=[], description="Ask rows quarantined for these reasons again, and nothing else")
    max_calls: int | None = Field(default=None, description="Stop the run cleanly after so many calls")
    max_tokens: int | None = Field(default=None, description="Stop the run cleanly after so many tokens")
    max_cost: float | None = Field(default=None, description="Stop the run cleanly after so much money")
    max_seconds: float | None = Field(default=None, description="Stop the run cleanly after so many seconds")
    batch_api: bool | None = Field(
        default=None, description="Submit requests to the batch API (true) or not (false), instead of [batch_api] use"
    )
    shared_budget: InstanceOf[Budget] | None = Field(
        default=None, exclude=True, repr=False, description="What is spent from, instead of the bounds above"
    )
    _proven: "dict[Mark, Dialect]" = PrivateAttr(default_factory=dict)
    _only_model: str = PrivateAttr(default="")
    _writer: "LLM | None" = PrivateAttr(default=None)
    _others: "dict[tuple[Role, str | None, str | None, str], LLM]" = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, environment: Environment, **settings: Any) -> "LLM":
        """The language model that the environment names, else `[[servers]]`, with other fields of this class."""
        file = _settings_of(environment)
        roles = {role: (environment.of_role(role, "url"), environment.of_role(role, "model")) for role in ROLES[1:]}
        named = {role: pair for role, pair in roles.items() if any(pair)}
        url, model = environment.llm_url, environment.llm_model
        if not url:
            url, model = file.addresses(WRITER), model or file.served_model(WRITER)
        return cls(url=url, model=model, roles=named, options=file.server_options(WRITER), **settings)

    def as_role(self, config: HubConfig, role: Role, variant: str = "") -> "LLM":
        """The endpoint of a role: its server and model, or this one if neither is set. Both spend from one budget.

        Args:
            config: the settings of the home.
            role: the role.
            variant: name of one of its variants.
        """
        section = config.role(role)
        own, (named_url, named_model) = section.variant(variant), self.roles.get(role, (None, None))
        listed = config.addresses(role) if role != WRITER else None
        url = own.url or named_url or section.url or listed or self.url
        model = own.model or named_model or section.model or (config.served_model(role) if url == listed else None)
        model = model or (self.model if url == self.url else None)
        if (url, model) == (self.url, self.model):
            return self
        key = own.key_variable or "" if own.url else section.key_variable or f"PERSONAHUB_{role.upper()}_LLM_API_KEY"
        identity = (role, url, model, key)
        if identity not in self._others:
            endpoint = LLM(
                url=url,
                model=model,
                role=role,
                key_variable=key,
                is_own_server=url != self.url,
                options=config.server_options(role) if url != self.url else self.options,
                retry=self.retry,
                batch_api=self.batch_api,
                shared_budget=self.budget,
            )
            endpoint._writer = self
            self._others[identity] = endpoint
        return self._others[identity]

    def online(self) -> "LLM":
        """The same endpoint for requests that do not go to a batch API; both spend from one budget."""
        copy = self.model_copy(update={"batch_api": False, "shared_budget": self.budget})
        copy._others = {}
        return copy

    def settings_for(self, config: HubConfig, task: Task) -> HubConfig:
        """The settings for requests of a task: those of its role, where it has its own."""
        return config.as_role(task.role, task.variant, is_own_server=self.is_own_server)

    def servers(self, store: Store) -> ServerOf:
        """The server of each role and variant in a home, with its model; see `model_for`."""
        config = store.config

        def server(role: Role, variant: str) -> Server:
            llm = self.as_role(config, role, variant)
            return Server(llm.model_for(store), llm.is_own_server)

        return server

    def configured(self, config: HubConfig, default: str) -> ServerOf:
        """The server of each role and variant without a request; `default` for a model that is not named."""

        def server(role: Role, variant: str) -> Server:
            llm = self.as_role(config, role, variant)
            return Server(llm.model or default, llm.is_own_server)

        return server

    @cached_property
    def each(self) -> "list[LLM]":
        """Each of its servers as an endpoint of its own, with its key; the endpoint itself if it has one without.

        Raises:
            ConfigError: if a server is listed twice.
        """
        urls = server_list(self.url, self._variable("URL"))
        if len(urls) < 2 and not self._options_of(self.url or "").key_variable:
            return [self]
        shared: dict[str, Any] = self.model_dump(include={"model", "retry"})
        shared |= {"role": self.role, "is_own_server": self.is_own_server}
        keys = {url: self._options_of(url).key_variable or self.key_variable for url in urls}
        return [LLM(url=url, key_variable=keys[url], **shared) for url in urls]

    @property
    def has_several(self) -> bool:
        """Whether it has several servers."""
        return len(self.each) > 1

    @property
    def _is_split(self) -> bool:
        return self.each[0] is not self

    def _options_of(self, url: str) -> ServerOptions:
        return ServerOptions(*self.options.get(public(url.strip().rstrip("/")), ()))

    def require(self) -> str:
        """The endpoint's base URL with its secrets; starts the stand-in if it was chosen.

        Raises:
            LLMError: with the three remedies, if there is no endpoint.
        """
        if not self.url:
            raise LLMError(REMEDIES)
        return self._standin_url if self.url == STANDIN_URL else self.url

    @cached_property
    def _standin_url(self) -> str:
        """The address of a stand-in that is started for this object; it stops with the object or the process."""
        if self._writer is not None and self._writer.url == STANDIN_URL:
            return self._writer.require()
        from personahub_assets.standin.server import StandinServer

        server = StandinServer().start()
        weakref.finalize(self, server.stop)
        return server.url

    @property
    def model_name(self) -> str:
        """The model to ask for: PERSONAHUB_LLM_MODEL, else the only one the server offers.

        Raises:
            LLMError: if the server cannot be reached or offers several.
        """
        return self._named({})

    def _named(self, headers: Mapping[str, str]) -> str:
        if self.model:
            return self.model
        if self.url == STANDIN_URL:
            return STANDIN_MODEL
        if self.writes_files:
            raise LLMError(f"{FILES_URL} lists no models: set {self._variable('MODEL')} to the one that will answer")
        if self.has_several:
            return self._common_name(headers)
        if not self._only_model:  # looked up once: every asset asks for it
            offered = list(self.models(headers))
            if len(offered) != 1:
                variable = self._variable("MODEL")
                raise LLMError(
                    f"{self.shown_url} offers {len(offered)} models {offered}: set {variable} to one of them"
                )
            self._only_model = offered[0]
        return self._only_model

    def _common_name(self, headers: Mapping[str, str]) -> str:
        """The only model that all its servers offer; servers that cannot be reached are left out."""
        if not self._only_model:
            names, _ = self._of_each(lambda server: server._named(headers))
            if len(set(names.values())) > 1:
                serving = "; ".join(f"{url} serves {name!r}" for url, name in names.items())
                raise LLMError(
                    f"all servers of a role serve one model, and {serving}. Set {self._variable('MODEL')} to a model "
                    "that each of them serves, or list only those that serve the same"
                )
            self._only_model = next(iter(names.values()))
        return self._only_model

    def _of_each(self, look: "Callable[[LLM], T]") -> tuple[dict[str, T], list[str]]:
        """What a function returns for each server, by address, and the errors of those that cannot be reached.

        Raises:
            LLMError: if it fails for a server that can be reached, or none can be reached.
        """
        with ThreadPoolExecutor(min(len(self.each), _LOOKS)) as threads:
            looks = {server.shown_url: threads.submit(look, server) for server in self.each}
        results, unreachable, faults = dict[str, T](), list[str](), list[LLMError]()
        for url, each in looks.items():
            error = each.exception()
            if error is None:
                results[url] = each.result()
            elif not isinstance(error, LLMError):
                raise error
            elif _is_unreachable(error):
                unreachable.append(str(error))
            else:
                faults.append(error)
        if faults:
            raise faults[0] if len(faults) == 1 else type(faults[0])("\n".join(map(str, faults)))
        if not results:
            raise LLMError("no server can be reached:\n" + "\n".join(unreachable))
        return results, unreachable

    def require_model(self, headers: Mapping[str, str] | None = None) -> None:
        """Check that the endpoint answers and accepts the key, and find the model.

        Of several servers, those that cannot be reached are passed over: they are used when they come back.

        Raises:
            LLMError: if there is no answer, or no model is named and the server does not offer exactly one; naming the
                server, if there are several.
            KeyRefused: if the server refuses the key.
        """
        if self.has_several:
            self._of_each(lambda server: server._require_in_list(headers or {}))
            self._named(headers or {})
            return
        if self._is_split:
            self.each[0].require_model(headers)
            return
        if not self.model:
            self._named(headers or {})
            return
        try:
            self._look(headers or {}, (KeyRefused,))
        except KeyRefused:
            if run_coroutine(self._is_key_refused(headers or {})):
                raise

    def _require_in_list(self, headers: Mapping[str, str]) -> None:
        """Check one of several servers: it answers, accepts the key, and serves the model of the others."""
        self.require_model(headers)
        models = self.look(headers)
        if self.model and models and not offered_as(self.model, models):
            raise LLMError(
                f"{self.shown_url} serves the model {', '.join(sorted(models))}, and not {self.model!r} as the other "
                "servers of its role: serve it there under this name, or take the server out of "
                f"{self._variable('URL')} or [[servers]]"
            )

    async def _is_key_refused(self, headers: Mapping[str, str]) -> bool:
        """Whether a request for an answer is refused for its key; some keys may not list models.

        The request is empty, so that it costs nothing.
        """
        async with self.transport(timeout_s=_LIST_S, tries=1, faults_in_a_row=1, headers=headers) as transport:
            try:
                await transport.send_once("/chat/completions", b"{}", bytes)
            except KeyRefused:
                return True
            except (LLMError, Fault, Refused):
                return False
        return False

    def check(self, store: Store) -> None:
        """Run the checks that need no answer: prices for a budget of money, the endpoint, its key and its model.

        Raises:
            ConfigError, LLMError: naming the fault.
        """
        check_budget(self.budget, store)
        if self.url:
            self.require_model(self.headers(store.config))
        else:
            self.model_for(store)

    def headers(self, config: HubConfig) -> dict[str, str]:
        """The HTTP headers of hub.toml for this server; those of the writer's server are not sent to another."""
        return config.as_role(self.role, is_own_server=self.is_own_server).generation.sent_headers

    def _variable(self, name: str) -> str:
        return f"PERSONAHUB_{'' if self.role == WRITER else f'{self.role.upper()}_'}LLM_{name}"

    @property
    def shown_url(self) -> str:
        """The address without its secrets."""
        return public_list(self.url) if self.url else ""

    def model_for(self, store: Store) -> str:
        """The model to ask for in a home: `model_name`, or without an endpoint the model of its recorded answers.

        Raises:
            LLMError: if neither an endpoint, nor a variable, nor the recorded answers name one model.
        """
        if self.model or self.url:
            return self._named(self.headers(store.config))
        models = recorded.models(store)
        if len(models) > 1:
            raise LLMError(f"the recorded answers are of {models}: set PERSONAHUB_LLM_MODEL to one of them")
        return models[0] if models else self.model_name

    def models(self, headers: Mapping[str, str] | None = None) -> dict[str, int | None]:
        """The models that the server offers, each with its context in tokens if the server reports it (vLLM does).

        Args:
            headers: sent besides those of the address and the key.

        Raises:
            LLMError: if it cannot be reached, or gives no list.
        """
        if self._is_split:
            lists, _ = self._of_each(lambda server: server.models(headers))
            return _merged(lists.values())
        if self.writes_files:
            return {}
        try:
            return read_models(run_coroutine(self._listed(headers or {})))
        except (Fault, Refused, ValueError) as error:
            url, variable = self.shown_url.rstrip("/"), self._variable("MODEL")
            raise LLMError(f"{url}/models: {error}. {_remedy(error, variable)}") from error

    async def _listed(self, headers: Mapping[str, str]) -> bytes:
        async with self.transport(timeout_s=_LIST_S, tries=1, faults_in_a_row=1, headers=headers) as transport:
            return await transport.get("/models")

    def look(self, headers: Mapping[str, str]) -> dict[str, int | None]:
        """The list of models as a hint when the model is set: empty if the server gives none.

        Raises:
            LLMError: if no connection to the server can be made.
        """
        return self._look(headers, ())

    def _look(self, headers: Mapping[str, str], raised: tuple[type[LLMError], ...]) -> dict[str, int | None]:
        if self._is_split:
            lists, _ = self._of_each(lambda server: server._look(headers, raised))
            return _merged(lists.values())
        try:
            return self.models(headers)
        except raised:
            raise
        except LLMError as error:
            if _is_unreachable(error):
                raise
            return {}

    @cached_property
    def budget(self) -> Budget:
        """The given budget, else one with these bounds, made at its first use."""
        return self.shared_budget or Budget(self.max_calls, self.max_tokens, self.max_cost, self.max_seconds)

    def answers(self, store: Store, task: Task, batch: str, watch: Watch) -> Answers:
        """The source of an asset's answers for one batch.

        Raises:
            ConfigError: if a budget of money is set without prices.
        """
        config = store.config
        check_budget(self.budget, store, self.as_role(config, task.role, task.variant).settings_for(config, task))
        cuts = config.generation.over_long == "cut"

        def opened(task: Task, window: AdaptiveConcurrency) -> OpenAsker:
            return self.as_role(config, task.role, task.variant)._open(store, task, window, batch)

        def rule(task: Task) -> ReusePolicy:
            return ReusePolicy(task.prompt.max_tokens, frozenset(self.retry), cuts)

        return Answers(store, task, batch, opened, rule, watch, self.budget)

    def _open(self, store: Store, task: Task, window: AdaptiveConcurrency, batch: str) -> OpenAsker:
        """Check the server before the first paid call.

        Raises:
            LLMError: if the server does not answer, or the home holds rows of the other kind.
        """
        # Instructor imports the openai package, which takes a second: imported only when requests are sent.
        from personahub_assets.generation.client import Asker, Limits
        from personahub_assets.generation.servers.dialect import Dialect

        config = self.settings_for(store.config, task)
        settings, prices = config.generation, config.prices.as_prices()
        headers = settings.sent_headers
        models = self.look(headers)
        check_kind(store, self.shown_url, kind_of(models or [task.model]))
        limits = Limits(
            settings.validation_retries,
            settings.over_long == "cut",
            models.get(offered_as(task.model, models) or ""),
            settings.model_must_match,
        )
        dialect = Dialect.of(settings, split_addresses(self.url)[0] if self.url else "")

        def spend(prompt: int, cached: int, completion: int) -> float:
            return self.budget.spend(prices, prompt, cached, completion)

        @asynccontextmanager
        async def asker() -> AsyncIterator["Asker"]:
            async with self._connection(task, settings, window) as transport:
                tokens = await transport.control_tokens()
                async with self._submissions(store, task, batch, transport, config) as submitted:
                    usual = submitted.terms.prices if submitted and submitted.terms.collects else prices
                    reserve = partial(self.budget.reserve, usual) if self.budget.is_reserving else None
                    yield Asker(transport, task, limits, spend, tokens, reserve, dialect, self._proven, submitted)

        return asker

    @property
    def writes_files(self) -> bool:
        """Whether requests go to files in the home instead of a server."""
        return self.url == FILES_URL

    def submits(self, settings: BatchApi) -> bool:
        """Whether requests go to the batch API of a server: as the run says, else as hub.toml does."""
        return settings.use if self.batch_api is None else self.batch_api

    def require_way(self) -> None:
        """Refuse to ask online where requests are written to files.

        Raises:
            LLMError: naming the variable and the options that ask online.
        """
        if self.writes_files and self.batch_api is False:
            raise LLMError(
                f"{self._variable('URL')} is {FILES_URL!r}: requests are written to files, and there is no server to "
                "ask online, as personahub try, run --online and run --until do. Leave the option out (in the UI "
                "batch_api), or set the address of a server"
            )

    @asynccontextmanager
    async def _submissions(
        self, store: Store, task: Task, batch: str, transport: Transport | Pool, config: HubConfig
    ) -> "AsyncIterator[Submissions | None]":
        """The requests of an asset and batch at a batch API; None if none are there and none are to be."""
        from personahub_assets.generation.batch_api.submissions import Submissions, Terms

        settings, path = config.batch_api, store.paths.ledger(task.asset, batch)
        self.require_way()
        collects = self.writes_files or self.submits(settings)
        if not (collects or path.exists()):
            yield None
            return
        server = self._batch_server(transport, {each.url for each in open_submissions(path)})
        channel: Channel = FolderChannel(path)
        if not self.writes_files:
            aside, window = store.paths.aside, settings.completion_window
            deletes, save = settings.delete_files, partial(copy_now, store, path)
            channel = ProviderChannel(BatchServer(server), window, aside, deletes=deletes, save=save)
        prices = config.prices.as_prices().times(settings.price_factor)
        tries = config.generation.transport_tries
        terms = Terms(settings, task.model, collects, tries, prices, is_passing=self.url == STANDIN_URL)
        with Ledger(path) as ledger:
            submissions = Submissions(ledger, channel, server, terms, self.budget)
            await submissions.begin()
            yield submissions

    def _batch_server(self, transport: Transport | Pool, busy: Collection[str]) -> Transport:
        """The server that gets files: one that has some of the asset and batch, else the first in the list."""
        first = public((self.each[0].url or "").strip().rstrip("/"))
        by_url = {server.url: server for server in transport.servers}
        chosen = next((url for url in by_url if url in busy), first)
        return by_url.get(chosen, transport.servers[0])

    def _connection(self, task: Task, settings: Generation, window: AdaptiveConcurrency) -> Transport | Pool:
        """The transport to its server, or the pool of its servers; different tasks begin at different ones."""
        options: dict[str, Any] = {
            "timeout_s": settings.timeout_s,
            "before": self.budget.call,
            "after": self.budget.returned,
            "headers": settings.sent_headers,
        }
        if self.writes_files:
            return NoServer()
        if not self.has_several:
            (server,) = self.each
            options |= {"tries": settings.transport_tries, "faults_in_a_row": settings.consecutive_faults}
            return server.transport(on_overload=window.overloaded, pace=Pace(settings.longest_wait), **options)
        backends = [
            Backend(
                server.transport(on_overload=width.overloaded, pace=Pace(settings.longest_wait), **OF_POOL, **options),
                width,
                self._options_of(server.url or "").weight,
            )
            for server in self.each
            for width in [window.of_server(server.shown_url)]
        ]
        backends.sort(key=lambda backend: blake2b(f"{task.schema_fingerprint} {backend.url}".encode()).digest())
        return Pool(backends, tries=settings.transport_tries, timeout_s=settings.timeout_s)

    def transport(self, **options: Any) -> Transport:
        """A transport to the only server; the options are those of `Transport`.

        Raises:
            LLMError: if there is no endpoint.
        """
        if self.writes_files:
            return NoServer()
        return Transport(self.require(), self._key, variable=self._variable("URL"), **options)

    @property
    def _key(self) -> str:
        """The role's key, else PERSONAHUB_LLM_API_KEY for the address that PERSONAHUB_LLM_URL names, else none."""
        if own := os.environ.get(self.key_variable, "").strip() if self.key_variable else "":
            return own
        environment = Environment()
        is_named = self.url in (environment.llm_url, *split_addresses(environment.llm_url))
        return environment.llm_api_key.get_secret_value().strip() if is_named and environment.llm_api_key else ""


def _settings_of(environment: Environment) -> HubConfig:
    """The settings of the environment's home; the defaults if they cannot be read, which other checks say."""
    try:
        return HubConfig.load(Home(environment.home.expanduser()).config)
    except PersonaHubError:
        return HubConfig()


def _is_unreachable(error: LLMError) -> bool:
    return isinstance(error.__cause__, Fault) and error.__cause__.unconnected


def _merged(lists: Iterable[dict[str, int | None]]) -> dict[str, int | None]:
    """The models of several servers, each with the smallest context."""
    merged: dict[str, int | None] = {}
    for name, context in (item for models in lists for item in models.items()):
        smallest = merged.get(name)
        merged[name] = context if smallest is None else min(smallest, context or smallest)
    return merged


def check_budget(budget: Budget, store: Store, config: HubConfig | None = None) -> None:
    """Refuse a budget of money that costs cannot be compared with.

    Args:
        budget: the bounds of a run.
        store: the home.
        config: the settings of a role; without them, those of the home.

    Raises:
        ConfigError: if a budget of money is set without prices, or is not a number.
    """
    prices = (config or store.config).prices
    if budget.max_cost is None:
        return
    if not prices.is_set:
        raise ConfigError(
            f"a budget of money needs prices: set prompt and completion in [prices] of {store.paths.config}, "
            "in money per million tokens"
        )
    if not math.isfinite(budget.max_cost):
        raise ArgumentError(f"a budget of money is a number of the currency of [prices], got {budget.max_cost}")


def _remedy(error: Exception, variable: str) -> str:
    """The remedy if there is no list of models.

    Args:
        variable: names the model.
    """
    if isinstance(error, Refused) and error.verdict.remedy:
        return error.verdict.remedy
    return (
        f"Is the server up, and does {variable.removesuffix('MODEL')}URL end in /v1? Where a server has no such list, "
        f"set {variable}. Try: personahub doctor"
    )


def run_coroutine(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
