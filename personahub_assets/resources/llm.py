"""The language model: an OpenAI-compatible endpoint, asked through the journal so that no answer is paid for twice."""

import atexit
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import dagster as dg
import openai
import polars as pl

from personahub_assets.domain.errors import LLMError
from personahub_assets.domain.text import digest
from personahub_assets.generation.ask import Asker, Limits
from personahub_assets.generation.engine import Watch, generate
from personahub_assets.generation.journal import Journal, find
from personahub_assets.generation.requests import TRANSIENT, Outcome, Request, Tally, Task
from personahub_assets.resources.config import STANDIN_URL, Environment, HubConfig
from personahub_assets.resources.store import Store

STANDIN_MODEL = "standin"
REMEDIES = (
    "PERSONAHUB_LLM_URL is not set, so there is no language model to ask. Either\n"
    "  1. set it to an OpenAI-compatible server, such as vLLM: PERSONAHUB_LLM_URL=http://127.0.0.1:8000/v1\n"
    "  2. or let make start vLLM here: make demo-vllm MODEL=<hub name or folder>\n"
    "  3. or choose the rule-based stand-in, which is not a language model, in a home of its own: "
    "PERSONAHUB_HOME=demo-hub PERSONAHUB_LLM_URL=standin:"
)

# The stand-in that this process started for the address 'standin:'; it stops with the process.
_STANDIN = ExitStack()
_STANDIN_URLS: list[str] = []
atexit.register(_STANDIN.close)


class Answers:
    """The outcomes of one asset and batch, ready to be published."""

    def __init__(self, task: Task, batch: str, requests: Sequence[Request], outcomes: dict[str, Outcome], tally: Tally):
        self.task, self.batch, self.requests, self.outcomes, self.tally = task, batch, requests, outcomes, tally

    def __add__(self, other: "Answers") -> "Answers":
        """Join the answers of two hops of one asset and batch."""
        return Answers(
            self.task,
            self.batch,
            [*self.requests, *other.requests],
            self.outcomes | other.outcomes,
            self.tally + other.tally,
        )

    def accepted(self) -> list[tuple[Request, str, Any]]:
        """`(request, generation id, answer)` of every accepted answer, in the order of the requests."""
        parse = self.task.answer.model_validate_json
        return [
            (request, self.generation_id(request), parse(outcome.response))
            for request in self.requests
            if (outcome := self.outcomes[request.key]).status == "accepted"
        ]

    def generation_id(self, request: Request) -> str:
        """Id of a request's row in `generations`."""
        return "g" + digest(self.batch, self.task.asset, request.input_id, request.key)

    def generations(self) -> list[dict[str, Any]]:
        """Rows of `generations`; an answer that several inputs share is counted once, at the first."""
        rows, seen = [], set()
        for request in self.requests:
            outcome = self.outcomes[request.key]
            rows.append(self._row(request, outcome, again=request.key in seen))
            seen.add(request.key)
        return rows

    def _row(self, request: Request, outcome: Outcome, *, again: bool) -> dict[str, Any]:
        paid = 0 if again else 1
        return {
            "batch": self.batch,
            "generation_id": self.generation_id(request),
            "asset": self.task.asset,
            "input_id": request.input_id,
            "sample": request.sample,
            "request_key": request.key,
            "prompt": self.task.prompt.name,
            "prompt_fingerprint": self.task.prompt.fingerprint,
            "schema_fingerprint": self.task.schema_fingerprint,
            "model": outcome.model or self.task.model,
            "status": outcome.status,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "reused": outcome.reused or again,
            "attempts": outcome.attempts * paid,
            "repaired": outcome.repaired,
            "finish_reason": outcome.finish_reason,
            "prompt_tokens": outcome.prompt_tokens * paid,
            "cached_tokens": outcome.cached_tokens * paid,
            "completion_tokens": outcome.completion_tokens * paid,
            "wasted_tokens": outcome.wasted_tokens * paid,
            "latency_s": outcome.latency_s,
            "response": outcome.response,
        }


class LLM(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The endpoint named by PERSONAHUB_LLM_URL; the key is read from the environment when it is used."""

    url: str | None = None
    model: str | None = None

    def require(self) -> str:
        """The endpoint's base URL; starts the stand-in if it was chosen.

        Raises:
            LLMError: with the three remedies, if there is no endpoint.
        """
        if not self.url:
            raise LLMError(REMEDIES)
        if self.url != STANDIN_URL:
            return self.url.rstrip("/")
        if not _STANDIN_URLS:
            from personahub_assets.standin.server import StandinServer

            _STANDIN_URLS.append(_STANDIN.enter_context(StandinServer()).url)
        return _STANDIN_URLS[0]

    @cached_property
    def model_name(self) -> str:
        """The model to ask for: PERSONAHUB_LLM_MODEL, else the only one the server offers.

        Raises:
            LLMError: if the server cannot be reached or offers several.
        """
        if self.model:
            return self.model
        if self.url == STANDIN_URL:
            return STANDIN_MODEL
        offered = self.offered()
        if len(offered) != 1:
            raise LLMError(
                f"{self.url} offers {len(offered)} models {offered}: set PERSONAHUB_LLM_MODEL to one of them"
            )
        return offered[0]

    def offered(self) -> list[str]:
        """Names of the models that the server offers.

        Raises:
            LLMError: if it cannot be reached.
        """
        address = f"{self.require()}/models"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {_api_key()}"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - the user's own endpoint
                return [str(model["id"]) for model in json.load(reply)["data"]]
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError) as error:
            raise LLMError(
                f"{address}: {error}. Is the server up, and does PERSONAHUB_LLM_URL end in /v1? Try: personahub doctor"
            ) from error

    def answer(self, store: Store, task: Task, batch: str, requests: Sequence[Request], watch: Watch) -> Answers:
        """Get an outcome for every request, asking only what no one in this home has an answer to.

        Raises:
            LLMError: if calls are needed and the endpoint does not work, or the home holds rows of the other kind.
        """
        with Journal(journal_path(store, task.asset, batch)) as journal:
            journalled = {key: o for key, o in journal.load().items() if o.reason not in TRANSIENT}
            known = journalled | _published(store, task.asset, batch)
            known |= _elsewhere(store, task.asset, batch, {r.key for r in requests} - known.keys())
            outcomes, tally = generate(requests, known, lambda: self._asker(store, task), journal, watch)
        return Answers(task, batch, requests, outcomes, tally)

    def publish(self, store: Store, answers: Answers, tables: dict[str, pl.DataFrame]) -> None:
        """Write rows, then `generations`, then `quarantine`, and only then drop the journal.

        A crash in between leaves the journal, from which the next run repeats the writes without a call.
        """
        batch, asset = answers.batch, answers.task.asset
        old = store.read("generations", batch, asset)
        for table, rows in tables.items():
            store.write(table, batch, rows)
        new = pl.DataFrame(answers.generations(), schema=old.schema)
        store.write("generations", batch, pl.concat([new, _superseded(old, new)]), asset)
        store.write("quarantine", batch, _quarantine(new), asset)
        Journal(journal_path(store, asset, batch)).drop()

    def _asker(self, store: Store, task: Task) -> Asker:
        self._check_kind(store)
        config = store.config
        return Asker(self.client(config.generation.timeout_s), task, _limits(config))

    def client(self, timeout_s: float) -> openai.AsyncOpenAI:
        """A client that retries nothing by itself."""
        return openai.AsyncOpenAI(base_url=self.require(), api_key=_api_key(), max_retries=0, timeout=timeout_s)

    def _check_kind(self, store: Store) -> None:
        """Keep rows of the stand-in and of a model in different homes."""
        kind = "standin" if STANDIN_MODEL in self.offered() else "model"
        marker = store.root / "writer"
        with store.lock("writer", wait=True):
            found = marker.read_text().strip() if marker.exists() else kind
            if found != kind:
                names = {"standin": "the stand-in (not a language model)", "model": "a language model"}
                raise LLMError(
                    f"{store.root} holds rows written by {names[found]}, and {self.url} is {names[kind]}: "
                    "the two are never mixed. Set PERSONAHUB_HOME to another folder"
                )
            marker.write_text(kind)


def journal_path(store: Store, asset: str, batch: str) -> Any:
    """Where the journal of an asset and batch is."""
    return store.root / "journal" / asset / f"{batch}.sqlite"


def _api_key() -> str:
    key = Environment().llm_api_key
    return key.get_secret_value() if key else "none"


def _limits(config: HubConfig) -> Limits:
    generation = config.generation
    return Limits(generation.reasks, generation.transport_tries, generation.consecutive_faults, generation.window)


def _published(store: Store, asset: str, batch: str) -> dict[str, Outcome]:
    """Outcomes in the batch's own partition; transient failures are asked again."""
    rows = store.read("generations", batch, asset).filter(
        pl.col("reason").is_null() | ~pl.col("reason").is_in(list(TRANSIENT))
    )
    return {row["request_key"]: _outcome(row) for row in rows.iter_rows(named=True)}


def _elsewhere(store: Store, asset: str, batch: str, keys: set[str]) -> dict[str, Outcome]:
    """Accepted answers to the same requests in other batches: their partitions, else their journals."""
    if not keys:
        return {}
    wanted = pl.DataFrame({"request_key": sorted(keys)})
    rows = store.read_all("generations", asset=asset).filter(
        (pl.col("batch") != batch) & (pl.col("status") != "rejected")
    )
    found = {row["request_key"]: _outcome(row) for row in rows.join(wanted, on="request_key", how="semi").to_dicts()}
    own = journal_path(store, asset, batch)
    journals = [path for path in sorted(own.parent.glob("*.sqlite")) if path != own]
    found |= find(journals, keys - found.keys())
    for outcome in found.values():
        outcome.reused = True
    return found


def _outcome(row: dict[str, Any]) -> Outcome:
    status = "rejected" if row["status"] == "rejected" else "accepted"
    names = Outcome.__slots__
    return Outcome(
        key=row["request_key"],
        status=status,  # type: ignore[arg-type]
        **{name: row[name] for name in names if name in row and name not in ("key", "status")},
    )


def _superseded(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Accepted answers to what is no longer asked: kept, so that a prompt edited back costs nothing."""
    accepted = old.filter(pl.col("status") != "rejected")
    return accepted.join(new, on="request_key", how="anti").with_columns(status=pl.lit("superseded"))


def _quarantine(generations: pl.DataFrame) -> pl.DataFrame:
    return generations.filter(pl.col("status") == "rejected").select(
        "batch",
        "asset",
        "input_id",
        "reason",
        pl.col("detail").fill_null("").alias("detail"),
        pl.col("response").alias("raw"),
    )
