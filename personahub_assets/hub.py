"""A home from Python: personas and datasets as frames, and the commands of `personahub` as methods.

    from personahub_assets import Hub

    hub = Hub("hub")
    hub.ingest("pages.jsonl")
    hub.plan(select=["personas"]).total.calls
    hub.run(select=["+personas"], max_cost=5).raise_for_failure()
    hub.personas().filter(pl.col("hop") == 0).collect()

Methods import their dependencies when called; only `plan` and `run` import Dagster.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError, QueryError, StoreError, UnknownId
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.store.local_paths import resolve_path

if TYPE_CHECKING:
    import polars as pl

    from personahub_assets.embedding.embedder import Embedder
    from personahub_assets.generation.batch_api.overview import Standing
    from personahub_assets.generation.budget import Budget
    from personahub_assets.instance.progress import Step
    from personahub_assets.runs.forecast import Plan
    from personahub_assets.runs.runner import Ordered, Result
    from personahub_assets.runs.scale import Scale
    from personahub_assets.search.searcher import Choice, Searcher
    from personahub_assets.store.tables import Store
    from personahub_assets.warehouse.query_process import Frame
    from personahub_assets.warehouse.why import Thing

__all__ = ["Hub"]

_LOG = logging.getLogger("personahub")
_MOST = 100_000  # personas of one search
# DAGSTER_HOME is the process's: one run at a time.
_ONE_RUN = threading.RLock()

Names = Sequence[str]
Tell = Callable[[str], None]
T = TypeVar("T")


def _ignore_progress(*_: object) -> None:
    pass


class Hub:
    """One home.

    It holds no file, connection or lock between calls, so you can create any number, also for one home, and need not
    close them. Every call sees the current state. Runs of one process wait for each other. Notices, such as that some
    personas have no vector, go to the logger `personahub`.

    Args:
        path: the home; default PERSONAHUB_HOME, else `./hub`. It need not exist yet.
        llm_url: address of the language model, or `standin:`; default PERSONAHUB_LLM_URL, and so on.
        llm_model: model at that address.
        embed_url: address of an embeddings endpoint.
        embed_model: embedding model.
        environment: all of these settings in one object.

    Raises:
        ConfigError: if the path is empty, or `environment` is given with other arguments.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        llm_url: str | None = None,
        llm_model: str | None = None,
        embed_url: str | None = None,
        embed_model: str | None = None,
        environment: Environment | None = None,
    ):
        settings: dict[str, Any] = {
            "home": path,
            "llm_url": llm_url,
            "llm_model": llm_model,
            "embed_url": embed_url,
            "embed_model": embed_model,
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        if "" in settings.values():
            empty = [name for name, value in settings.items() if value == ""]
            raise ConfigError(f"{', '.join(empty)} is empty: give a value, or omit it")
        if environment is not None and settings:
            raise ConfigError(f"{', '.join(settings)}: give them in `environment`, or omit that")
        self.environment = environment or Environment(**settings)

    def __repr__(self) -> str:
        return f"Hub({str(self.home)!r})"

    @cached_property
    def home(self) -> Path:
        """The home, as an absolute path.

        Raises:
            SourceError: if the value is not a path.
        """
        return resolve_path(str(self.environment.home))

    @property
    def store(self) -> "Store":
        """The tables as files, by batch; a new object at each call, which sees the datasets and prompts of this moment.

        Raises:
            SourceError: if the home cannot be a folder of tables.
        """
        from personahub_assets.store.tables import Store

        store = Store(home=str(self.home)).pulled()
        if store.working_copy is not None:
            from personahub_assets.warehouse.shared import take_over

            take_over(store)
        return store

    # --- reading ---

    def batches(self) -> list[str]:
        """Keys of the registered batches, in order of registration."""
        return self.store.batches()

    def personas(self) -> "pl.LazyFrame":
        """All personas of the hub, lazily.

        Returns:
            `(batch, persona_id, persona, origin, document_id, relation, granularity, hop, parent_id, root_id,
            generation_id, attributes)`; empty if there are no personas yet.

        Raises:
            StoreError: if a table file is damaged.
        """
        return self.table("personas")

    def dataset(self, name: str) -> "pl.LazyFrame":
        """All items of a synthetic dataset, lazily.

        Args:
            name: such as `tools`; docs/tables.md describes the columns of each.

        Raises:
            ConfigError: if there is no such dataset, naming the valid ones.
            StoreError: if a table file is damaged.
        """
        catalog = self.store.catalog
        if name not in catalog.names:
            raise ConfigError(catalog.unknown("dataset", name, catalog.names))
        return self.table(name)

    def table(self, name: str) -> "pl.LazyFrame":
        """Any table of docs/tables.md, `lexical_duplicates` or `semantic_duplicates`, lazily: the rows of all batches.

        The frame reads the current files. A run replaces files; call again to read the new ones.

        Raises:
            StoreError: if there is no such table, or a table file is damaged.
        """
        from personahub_assets.store.tables import STAGES

        return self.store.dropped(name) if name in STAGES else self.store.scan(name)

    def counts(self) -> dict[str, int]:
        """Number of rows of each table of the warehouse, optional ones without rows left out; empty before it is built.

        Raises:
            StoreError: if the warehouse cannot be read.
        """
        import duckdb

        from personahub_assets.store.tables import STAGES
        from personahub_assets.warehouse import build, freshness

        store = self.store
        if not store.paths.warehouse.exists():
            return {}
        sources = ["batches", "documents", "text_personas", "related_personas"]
        catalog = store.catalog
        optional = {*COMPARISONS, *(name for name in catalog.datasets if not catalog.is_enabled(name, None))}
        datasets = [*catalog.datasets, *COMPARISONS]
        names = [*sources, *STAGES, "personas", *datasets, "generations", "quarantine"]
        try:
            with build.reader(store) as connection:
                # To count rows, a view opens all its files.
                note = freshness.noted(store)
                counts = dict(note.contents.rows) if note else {}
                for name in set(names) - counts.keys():
                    (counts[name],) = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone() or (0,)
        except duckdb.Error as error:  # for example in a moved home: its views name the old folder
            raise StoreError(
                f"{store.paths.warehouse}: {error}. Build it again: personahub run --select warehouse"
            ) from error
        return {name: counts[name] for name in names if counts[name] or name not in optional}

    def sql(self, query: str | Path, *, seconds: float | None = None) -> "pl.DataFrame":
        """Query the warehouse in a separate process that can only read.

        Args:
            query: SQL with one result, or a file with such SQL.
            seconds: time limit; None for no limit.

        Raises:
            StoreError: if there is no warehouse yet.
            QueryError: if the query is wrong, has no result or several, could do more than read, or exceeds a limit of
                time or memory.
            ConfigError: if the file cannot be read.
        """
        import polars as pl

        data = b"".join(frame.payload for frame in self.results(_text(query), "parquet", single=True, seconds=seconds))
        if not data:
            raise QueryError("the query has no result: end it with a SELECT")
        return pl.read_parquet(BytesIO(data))

    def results(
        self,
        query: str,
        form: str,
        *,
        single: bool = False,
        safe: bool = False,
        seconds: float | None = None,
        tell: Tell = _LOG.warning,
        watch: Callable[[int, int], None] = _ignore_progress,
    ) -> "Generator[Frame, None, None]":
        """Stream the results of SQL in a format; `sql` returns a frame.

        Args:
            query: SQL.
            form: table, rows, csv, json or parquet.
            single: whether more than one result is an error.
            safe: in CSV, write cells that a spreadsheet would run as formulas as text.
            seconds: time limit.
            tell: called with notices about personas that `search_personas` leaves out.
            watch: called with progress while a search index is built.

        Raises:
            StoreError, QueryError: as `sql` does.
        """
        from personahub_assets.warehouse.query_process import Job, ask

        searchers: list[Searcher] = []

        def search(text: str, count: int) -> list[dict[str, Any]]:
            if not searchers:  # imported only if a query uses it
                searchers.append(self._searcher(tell, watch))
            return list(searchers[0].find(text, count).to_dicts())

        return ask(Job(self.store.root, query, form, single=single, safe=safe, seconds=seconds), search)

    def search(
        self,
        text: str,
        k: int = 10,
        *,
        where: str | None = None,
        tell: Tell = _LOG.warning,
        watch: Callable[[int, int], None] = _ignore_progress,
    ) -> "pl.DataFrame":
        """Find the personas nearest in meaning to a text.

        Args:
            text: any text, such as `a nurse on night shifts`.
            k: number of personas.
            where: an SQL condition on the columns of `personas`, such as `hop = 0`.
            tell: called with notices about personas that were not searched.
            watch: called with progress while an index is built.

        Returns:
            `(similarity, persona, persona_id, batch, hop)`, the nearest first; similarity is a cosine.

        Raises:
            ConfigError: if the text is empty or mostly unreadable for the model, `k` is out of bounds, or the
                condition is wrong.
            StoreError: if there is nothing to search.
        """
        return self._searcher(tell, watch).search(text, _checked_count(k), where)

    def choose(
        self,
        k: int = 10,
        text: str | None = None,
        *,
        where: str | None = None,
        tell: Tell = _LOG.warning,
        watch: Callable[[int, int], None] = _ignore_progress,
    ) -> "Choice":
        """Choose a few personas that represent all, or those around a text or under a condition.

        Returns:
            The chosen personas, and the similarity of all others to them.

        Raises:
            ConfigError, StoreError: as `search` does.
        """
        return self._searcher(tell, watch).choose(_checked_count(k), text, where)

    def why(self, asked: str, *, tell: Tell = _LOG.warning) -> "list[Thing]":
        """Explain the origin of a row, or why it was dropped, as `personahub why --json` does.

        Args:
            asked: id of a document, persona, item, generation or quarantined row; or `batch/id`.
            tell: called with a notice if the warehouse is out of date.

        Returns:
            One entry for each kind and batch that has the id, with keys id, kind, batch and lines. An id whose row was
            replaced has the superseded answers that gave it.

        Raises:
            UnknownId: if no row has the id, naming similar ids.
        """
        from personahub_assets.steps.replaced import add_earlier, find_replaced
        from personahub_assets.warehouse.why import explain

        try:
            return add_earlier(self.store, explain(self.store, asked, tell))
        except UnknownId:
            if replaced := find_replaced(self.store, asked.strip()):
                return replaced
            raise

    # --- writing ---

    def ingest(
        self,
        *files: str | Path,
        name: str | None = None,
        text_column: str | None = None,
        persona_column: str | None = None,
    ) -> list[str]:
        """Register source files as batches.

        Args:
            files: files, folders, patterns, or addresses such as `hf://`.
            name: batch key of a single file; default: from the file name.
            text_column: column with the text of documents, if its name is not a known one.
            persona_column: column with personas.

        Returns:
            Keys of the batches; a large file becomes several.

        Raises:
            ConfigError: if there is no file, or a name is given for several files.
            SourceError, BatchError: if a file cannot be registered; the files before it are registered.
        """
        from personahub_assets.sources.register import register
        from personahub_assets.sources.source_paths import expand

        if not files:
            raise ConfigError("nothing to ingest: name a file, such as hub.ingest('pages.jsonl')")
        sources = expand(self.store, list(map(str, files))).files
        if name and len(sources) > 1:
            raise ConfigError(f"name {name!r} is for one file, got {len(sources)}; ingest them one by one")
        columns = {"text_column": text_column, "persona_column": persona_column}
        return [key for file in sources for key in register(self.store, file.address, name=name or file.key, **columns)]

    def scale(
        self,
        personas: int,
        *,
        throughput: float = 2500,
        gpus: int = 64,
        gpu_hour: float | None = None,
        memory_gib: int = 64,
    ) -> "Scale":
        """Forecast a hub of any number of personas from the averages of this home.

        Args:
            personas: planned number of personas.
            throughput: completion tokens per second of one GPU, all its requests together.
            gpus: number of GPUs.
            gpu_hour: price of a GPU-hour; None if it is not known.
            memory_gib: GiB of memory of a machine that dedup can use.

        Returns:
            Calls, tokens and GPU-hours of every step, bytes, memory, shards and cost, with the assumptions.

        Raises:
            StoreError: if this home has no personas.
        """
        from personahub_assets.runs.scale import Machines, scale

        return scale(self.environment, self.store, personas, Machines(throughput, gpus, memory_gib << 30, gpu_hour))

    def plan(
        self,
        batches: Names = (),
        select: Names = (),
        *,
        retry: Names | None = None,
        personas_from: str | Path | None = None,
        approve: "Callable[[Ordered], None]" = _ignore_progress,
        watch: Callable[[str, str, int], None] = _ignore_progress,
    ) -> "Plan":
        """Plan the requests of a run, with reasons, calls, tokens, time and cost.

        Sends no request and changes nothing.

        Args:
            batches: keys; none means all.
            select: asset names; `+personas` adds everything upstream, `tools+` everything downstream; empty for all.
            retry: only rows quarantined for these reasons; empty for any reason.
            personas_from: a file that names the personas that datasets are written for, as `run` takes it.
            approve: called with the order before planning.
            watch: called with batch, asset and the number of requests looked up.

        Returns:
            The plan; `plan.total` has its totals, and docs/plan.md describes `plan.as_json()`.

        Raises:
            BatchError, ConfigError: if a batch, an asset or a reason is unknown, or there is no batch.
            StoreError: if a table or a journal is damaged.
        """
        from personahub_assets.runs.plan import plan
        from personahub_assets.runs.runner import ordered

        names, reasons = _listed(batches, select), _retry_reasons(retry)
        order = ordered(self.environment, *names, retry=reasons, personas_from=_path(personas_from))
        approve(order)
        forecast = plan(
            self.environment, order.named, retry=order.reasons, watch=watch, personas_from=order.store.personas_from
        )
        forecast.notes += [f"{name} is left out: {reason}." for name, reason in order.unedited.items()]
        return forecast

    def preview(
        self,
        task: str,
        n: int = 3,
        *,
        prompt: str | Path | None = None,
        against: str | Path | None = None,
        models: Names = (),
        persona: str | None = None,
        ids: Names = (),
        watch: Callable[[int, int], None] = _ignore_progress,
    ) -> "pl.DataFrame":
        """Try a prompt on a few rows, as `personahub try` does.

        Writes no row. The answers are kept: a later run with the same prompt and model does not pay for them again.

        Args:
            task: a dataset, `text_personas` or `related_personas`.
            n: number of rows, the first ones of the home, if neither `persona` nor `ids` is given.
            prompt: a prompt file instead of the task's own.
            against: a second prompt file, to compare with the first.
            models: models instead of the configured one; two are compared.
            persona: text of a persona.
            ids: ids of personas, or of documents for `text_personas`.
            watch: called with the number of answers and their total.

        Returns:
            `(task, prompt, model, batch, input_id, input, instructions, message, status, reason, detail, answer,
            response, is_sent, calls, prompt_tokens, completion_tokens, seconds, cost)`, a row for each input and
            variant. `is_sent` is false if the answer was in the home already; cost is null without prices.

        Raises:
            ConfigError, PromptError: if the task is unknown, or an argument or a prompt file is wrong.
            StoreError, UnknownId: if there is no row to ask about, or an id is unknown.
            LLMError: if requests are needed, and the endpoint does not answer.
            LockHeld: if a run works on the same task and batch.
        """
        from personahub_assets.generation.budget import Budget
        from personahub_assets.generation.llm import LLM
        from personahub_assets.steps.preview import PreviewSpec, preview

        _listed(models, ids, names=("models", "ids"))
        store = self.store
        spec = PreviewSpec.of(
            store.catalog,
            task,
            prompt=_path(prompt),
            against=_path(against),
            count=n,
            models=tuple(models),
            persona=persona,
            ids=tuple(ids),
        )
        budget = Budget()
        llm = LLM.of(self.environment, shared_budget=budget)
        return _beside_event_loop(lambda: preview(store, llm, spec, watch).frame(), budget)

    def run(
        self,
        batches: Names = (),
        select: Names = (),
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_seconds: float | None = None,
        retry: Names | None = None,
        personas_from: str | Path | None = None,
        batch_api: bool | None = None,
        wait: bool = True,
        approve: "Callable[[Ordered], None]" = _ignore_progress,
        listener: "Callable[[Step], None] | None" = None,
        on_wait: "Callable[[list[Standing]], None]" = _ignore_progress,
    ) -> "Result":
        """Materialise the graph, batch by batch, then the warehouse; in this process, recorded in the home's Dagster.

        Stored answers are reused, so call it again to continue a stopped run. It begins without a confirmation of the
        cost: use `plan` or set a bound. In a notebook Ctrl-C, or Interrupt, stops it at its next call, after the
        requests in flight.

        Args:
            batches: keys; none means all.
            select: asset names; `+personas` adds everything upstream, `tools+` everything downstream; empty for all.
            max_calls: stop cleanly after this number of calls.
            max_tokens: stop cleanly after this number of tokens of prompts and answers.
            max_cost: stop cleanly after this cost, in the currency of [prices] in hub.toml.
            max_seconds: stop cleanly after this time.
            retry: send only requests again that are quarantined for these reasons; empty for any reason.
            personas_from: a file with the personas that the selected datasets are generated for.
            batch_api: submit requests to the batch API (docs/batch-api.md); None: as [batch_api] use in hub.toml says.
            wait: wait for the answers of a batch API; else a later run collects them.
            approve: called with the order before the run; an exception stops it.
            listener: called with the progress of each step.
            on_wait: called with the open submissions at each look at them.

        Returns:
            Failures, rows left, the reason of a stop, and the numbers of rows. A failed batch does not stop the
            others and raises nothing; `result.raise_for_failure()` does.

        Raises:
            BatchError, ConfigError: if a batch, an asset or a reason is unknown, there is no batch, or a bound is
                invalid.
            LLMError: if requests are needed, and the endpoint does not answer or does not serve the model.
        """
        from personahub_assets.generation.budget import Budget
        from personahub_assets.runs.endpoint import require_endpoint
        from personahub_assets.runs.runner import run_batches

        bounds = {"max_calls": max_calls, "max_tokens": max_tokens, "max_cost": max_cost, "max_seconds": max_seconds}
        wrong = [f"{name} {value!r}" for name, value in bounds.items() if value is not None and not value >= 0]
        if wrong:
            raise ConfigError(f"{', '.join(wrong)}: a bound is a number of 0 or more, or None for no bound")
        budget = Budget(max_calls, max_tokens, max_cost, max_seconds)

        def approved(order: "Ordered") -> None:
            require_endpoint(self.environment, order)
            approve(order)

        def work() -> "Result":
            with _ONE_RUN, _own_dagster_home():
                return run_batches(
                    self.environment,
                    *_listed(batches, select),
                    budget=budget,
                    retry=_retry_reasons(retry),
                    approve=approved,
                    personas_from=_path(personas_from),
                    listener=listener,
                    batch_api=batch_api,
                    on_wait=on_wait if wait else None,
                )

        result = _beside_event_loop(work, budget)
        self._count(result)
        return result

    def _count(self, result: "Result") -> None:
        """Count the rows of the result; an error here is added to its failures."""
        from personahub_assets.core import interrupts
        from personahub_assets.instance.faults import explain

        try:
            result.rows = self.counts()
        except Exception as error:  # noqa: BLE001 - what failed before must be said, whatever fails here
            interrupts.check()
            result.failed.setdefault("report", explain(error, self.home))

    def _searcher(self, tell: Tell, watch: Callable[[int, int], None]) -> "Searcher":
        from personahub_assets.search.searcher import Searcher

        return Searcher(self.store, self._embedder, tell, watch)

    @cached_property
    def _embedder(self) -> "Embedder":
        from personahub_assets.embedding.embedder import Embedder

        return Embedder.of(self.environment, self.store.config)


def _text(query: str | Path) -> str:
    if isinstance(query, str):
        return query
    try:
        return query.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{query}: {error}") from error


def _checked_count(k: int) -> int:
    if not 1 <= k <= _MOST:
        raise ConfigError(f"k is a number from 1 to {_MOST:,}, got {k!r}")
    return k


def _listed(
    first: Names, second: Names, *, names: tuple[str, str] = ("batches", "select")
) -> tuple[list[str], list[str]]:
    """Names as lists; a single string would be read as a list of letters."""
    for argument, value in zip(names, (first, second), strict=True):
        if isinstance(value, str):
            raise ConfigError(f"{argument} is a list of names, got {value!r}: write [{value!r}]")
    return list(first), list(second)


def _retry_reasons(retry: Names | None) -> list[str] | None:
    if isinstance(retry, str):
        raise ConfigError(f"retry is a list of reasons, got {retry!r}: write [{retry!r}]")
    return None if retry is None else list(retry)


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)


@contextmanager
def _own_dagster_home() -> Iterator[None]:
    """Restore DAGSTER_HOME afterwards: a run sets it to its own instance, and the caller can use another one."""
    before = os.environ.get("DAGSTER_HOME")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("DAGSTER_HOME", None)
        else:
            os.environ["DAGSTER_HOME"] = before


def _beside_event_loop(work: Callable[[], T], budget: "Budget") -> T:
    """Run work that starts an event loop: in another thread if one is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1, "personahub-run") as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            budget.is_interrupted = True
            budget.max_calls = budget.calls  # signals reach this thread only; the next call finds no budget left
            raise
