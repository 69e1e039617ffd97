"""Preflight checks: everything that a run needs, checked before it costs money."""

import asyncio
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from personahub_assets.cli.console import Piece, on_one_line, say
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment, Generation, HubConfig
from personahub_assets.core.errors import ConfigError, LLMError, PromptError, StoreError
from personahub_assets.core.text import shorten
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.client import Asker, Limits
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Outcome, Task
from personahub_assets.generation.servers.dialect import Dialect, settled
from personahub_assets.generation.servers.model_list import offered_as
from personahub_assets.instance.faults import explain
from personahub_assets.steps.tasks import current_task, current_tasks, enabled_tasks, endpoints, judging
from personahub_assets.store.home import Home
from personahub_assets.store.objects import Conflict
from personahub_assets.store.tables import Store
from personahub_assets.store.working_copy import WorkingCopy

_SAMPLE = "A lighthouse keeper on a northern island who repairs radios and keeps a diary of the weather."
_PROBLEM = "A lighthouse keeper fills 3 lamps with 12 litres of oil each and spills 4 litres. How many litres are left?"
_FREE_GB = 2
_SHOWN_CHARS = 200  # of an answer


def run_checks(environment: Environment, console: Console, *, canary: bool) -> bool:
    """Run all checks and print the results; True if all pass. A fault that several checks meet is printed once."""
    well, first_with = True, dict[str, str]()
    for name, check in _checks(environment, canary=canary):
        mark: Piece = ("ok", "green")
        try:
            finding = check()
        except Exception as error:  # noqa: BLE001 - what is wrong with one thing must not hide the others
            fault, mark, well = explain(error, environment.home), ("no", "bold red"), False
            finding = fault if first_with.setdefault(fault, name) == name else f"as {first_with[fault]}"
        say(mark, "  ", (name, "bold"), "  ", on_one_line(finding), to=console)
    return well


def _checks(environment: Environment, *, canary: bool) -> Iterator[tuple[str, Callable[[], str]]]:
    home = environment.home.expanduser().resolve()
    llm = LLM.of(environment)
    yield "versions", _versions
    yield "home", lambda: _disk(home)
    if (copy := WorkingCopy.at(home)) is not None:
        yield "object storage", partial(_object_storage, copy)
    yield "hub.toml", lambda: _config(home)
    yield "prompts", lambda: ", ".join(task.prompt.name for task in _tasks(home, "none"))
    yield "embedder", lambda: _embed(environment)
    yield from _endpoints("endpoint", llm, home)
    for roles, endpoint in _others(llm, home).items():
        yield from _endpoints(f"endpoint {', '.join(roles)}", endpoint, home)
    if canary and llm.url and not llm.writes_files:
        if _submits(home):
            yield "batch API", lambda: "[batch_api] use is set; the checks that follow ask online, at the full price"
        yield "model", lambda: _model(llm, home)
        for roles, endpoint in _others(llm, home).items():
            yield f"model {', '.join(roles)}", lambda endpoint=endpoint: _model(endpoint, home)  # type: ignore[misc]
        for name, task in _canaries(llm, home):
            yield f"schema {name}", lambda task=task: _canary(llm, task(), home)  # type: ignore[misc]


def _submits(home: Path) -> bool:
    """Whether runs of the home ask the batch API; not if hub.toml is wrong, which its check says."""
    try:
        return HubConfig.load(Home(home).config).batch_api.use
    except ConfigError:
        return False


def _endpoints(name: str, llm: LLM, home: Path) -> Iterator[tuple[str, Callable[[], str]]]:
    """The checks of each server of an endpoint."""
    try:
        servers = llm.each
    except ConfigError:
        servers = [llm]  # its check says what is wrong
    for number, server in enumerate(servers, 1):
        title = f"{name} {number}" if len(servers) > 1 else name
        yield title, partial(_endpoint, server, home)


def _others(llm: LLM, home: Path) -> dict[tuple[str, ...], LLM]:
    """The endpoints of other roles that the enabled datasets need; none if hub.toml is wrong, which its check says."""
    store = Store(home=str(home))
    try:
        needed = endpoints(store, llm, enabled_tasks(store))
    except ConfigError:
        return {}
    return {roles: endpoint for roles, endpoint in needed.items() if endpoint is not llm}


def _canaries(llm: LLM, home: Path) -> Iterator[tuple[str, Callable[[], Task]]]:
    """The tasks whose schemas are sent, each made when it is checked; of several variants each style once."""
    store = Store(home=str(home))

    def nth(name: str, number: int) -> Task:
        return current_tasks(store.catalog, store.config, name, llm.servers(store))[number]

    try:
        names = [name for name in enabled_tasks(store) if name not in COMPARISONS or name in judging(store.config)]
    except ConfigError:
        names = store.catalog.tasks
    for name in names:
        try:
            tasks = current_tasks(store.catalog, store.config, name, llm.configured(store.config, ""))
        except (ConfigError, PromptError):
            yield name, partial(nth, name, 0)
            continue
        schemas = [(task.schema_fingerprint, task.role, task.model) for task in tasks]
        for number, task in enumerate(tasks):
            if schemas.index(schemas[number]) == number:
                yield f"{name} {task.variant}".strip(), partial(nth, name, number)


def _versions() -> str:
    names = ("personahub-assets", "dagster", "duckdb", "polars", "usearch", "instructor", "openai")
    python = ".".join(map(str, sys.version_info[:3]))
    return ", ".join([f"python {python}", *(f"{name} {version(name)}" for name in names)])


def _disk(home: Path) -> str:
    home.mkdir(parents=True, exist_ok=True)
    probe = Home(home).probe
    probe.write_text("")
    probe.unlink()
    free = shutil.disk_usage(home).free / 1e9
    if free < _FREE_GB:
        raise OSError(f"{home}: only {free:.1f} GB free, need {_FREE_GB}")
    return f"{home} is writable, {free:.0f} GB free"


def _object_storage(copy: WorkingCopy) -> str:
    """Write, read and delete an object; download what is new."""
    key = f".doctor-{uuid.uuid4().hex}"
    copy.objects.write(key, b"probe", "absent")
    try:
        copy.objects.write(key, b"another", "absent")
    except Conflict:
        copy.pull(by_hand=True)
    else:
        raise StoreError(
            f"{copy.url}: the server ignores If-None-Match, so two workers could overwrite each other: use a server "
            "with conditional writes"
        )
    finally:
        copy.objects.delete(key)
    return f"{copy.url} is writable, with conditional writes"


def _config(home: Path) -> str:
    file = Home(home).config
    HubConfig.load(file)
    return str(file) if file.exists() else "none; all settings have their defaults"


def _tasks(home: Path, model: str) -> list[Task]:
    config, catalog = HubConfig.load(Home(home).config), Catalog(home)
    return [current_task(catalog, config, name, model) for name in catalog.tasks]


def _embed(environment: Environment) -> str:
    embedder = Embedder.of(environment, HubConfig.load(Home(environment.home).config))
    vectors = embedder.embed([_SAMPLE])
    return f"{embedder.name}, {vectors.shape[1]} dimensions"


def _endpoint(llm: LLM, home: Path) -> str:
    headers = _headers(llm, home)
    offered = llm.look(headers) if llm.model else llm.models(headers)
    names = ", ".join(offered) if offered else "no list of models"
    return f"{llm.shown_url} offers {names}"


def _model(llm: LLM, home: Path) -> str:
    headers = _headers(llm, home)
    name = llm.model_name
    models = llm.look(headers)
    offered = offered_as(name, models)
    context = models.get(offered or "")
    unlisted = "" if offered or not models else f", which the server does not list; it has {', '.join(sorted(models))}"
    return f"{name}{unlisted}, context {f'of {context:,} tokens' if context else 'not told by the server'}"


def _headers(llm: LLM, home: Path) -> dict[str, str]:
    """Headers of hub.toml; none if it cannot be read, which its own check says."""
    try:
        return llm.headers(HubConfig.load(Home(home).config))
    except ConfigError:
        return {}


def _canary(llm: LLM, task: Task, home: Path) -> str:
    """Send one request with the schema of a task, to find a schema that the server does not support."""
    config = HubConfig.load(Home(home).config)
    values = {name: _SAMPLE if name in ("text", "persona") else _PROBLEM for name in task.prompt.row_names}
    values |= dict.fromkeys(task.controls, "")
    llm = llm.as_role(config, task.role, task.variant)
    settings = llm.settings_for(config, task).generation
    results = [_canary_result(server, task, values, settings) for server in llm.each]
    if not llm.has_several:
        return results[0]
    return "; ".join(f"{server.shown_url} {result}" for server, result in zip(llm.each, results, strict=True))


def _canary_result(llm: LLM, task: Task, values: dict[str, str], settings: Generation) -> str:
    """The answer of one server to the request.

    Raises:
        LLMError: if it is rejected.
    """
    outcome, note = asyncio.run(_send_request(llm, task, values, settings))
    answer_text = shorten(on_one_line(outcome.response), _SHOWN_CHARS)
    if outcome.status == "rejected":
        answer = f". The model said: {answer_text}" if answer_text else ""
        raise LLMError(f"{llm.shown_url}: {outcome.reason}: {outcome.detail}{answer}")
    tokens = outcome.prompt_tokens + outcome.completion_tokens
    mended = f", {outcome.repair} taken off" if outcome.repair else ""
    spent = f"{outcome.latency_s:.1f} s, {tokens} tokens, {outcome.attempts} attempts"
    return f"answered in {spent}{mended}{note}: {answer_text}"


async def _send_request(llm: LLM, task: Task, values: dict[str, str], settings: Generation) -> tuple[Outcome, str]:
    """The outcome of one question, and what the server needs that hub.toml does not say."""
    shared: dict[str, str | int] = {"count": 1, "granularity": ""} if "personas" in task.asset else {}
    dialect = Dialect.of(settings, llm.url or "")
    async with llm.transport(
        timeout_s=120, tries=2, faults_in_a_row=settings.consecutive_faults, headers=settings.sent_headers
    ) as transport:
        asker = Asker(transport, task, Limits(settings.validation_retries), dialect=dialect)
        request = task.request("canary", values, 0, **shared)
        outcome = await asker.ask(request)
        if outcome.reason == "bad_request" and not outcome.attempts:
            asker.use(await settled(dialect, asker.find_refusal, lambda: asker.remedy))
            outcome = await asker.ask(request)
        needs = asker.dialect.adapted
        return outcome, f", with {needs}" if needs else ""
