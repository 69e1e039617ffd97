"""Answers: all requests of one asset and batch, each sent at most once, published together.

Two passes over the requests keep memory constant. The first sends the requests without an answer in the home; outcomes
go to the journal. The second reads every outcome, from the journal or from the published partition, and writes the
rows. If the process dies in either pass, the next run finds the paid answers in the journal.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from types import TracebackType
from typing import Any

import polars as pl

from personahub_assets.core.errors import BudgetSpent, StoreError, Submitted, Unfinished
from personahub_assets.core.text import digest
from personahub_assets.generation.answer_index import hash_of, outcome_of
from personahub_assets.generation.batch_api.ledger import Ledger, drop
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.engine import OpenAsker, Watch, ask_all
from personahub_assets.generation.gates import Gates, Judged
from personahub_assets.generation.journal import Entry, Journal, entry
from personahub_assets.generation.likely import likely_tokens
from personahub_assets.generation.lookup import AnswerLookup, valid
from personahub_assets.generation.prompt_record import record_use
from personahub_assets.generation.requests import GATES, TRANSIENT, Outcome, Request, ReusePolicy, Task, Usage
from personahub_assets.sources.rows import Imported
from personahub_assets.sources.tombstones import Tombstones, answer_without, taken_down
from personahub_assets.store.journal_copies import copied
from personahub_assets.store.tables import CANDIDATES, ContentVersion, PartitionWriter, Store, table_schema

_LOOKED_UP = 512  # requests looked up at a time: few, so that the event loop is not blocked for long
_WRITTEN = 2_048
_HEAD = 5
NOTHING_LEFT = "every persona of this answer was taken down"

Accepted = tuple[Request, str, Any]
"""`(request, generation id, answer)`."""


@dataclass(frozen=True)
class Answered:
    """A request with its outcome.

    Attributes:
        is_sent: whether the request was sent now; otherwise its outcome was in the home.
    """

    request: Request
    outcome: Outcome
    is_sent: bool


class Answers:
    """The requests of one asset and batch. Use as a context manager, under the asset's lock.

    Args:
        task: how its requests are made; `use` changes it, such as for another solver.
        opened: makes the asker of a task for a window; called only if there are requests to send.
        rule: which earlier outcomes of a task can be reused.
        budget: bounds of the run.
    """

    def __init__(
        self,
        store: Store,
        task: Task,
        batch: str,
        opened: Callable[[Task, AdaptiveConcurrency], OpenAsker],
        rule: Callable[[Task], ReusePolicy],
        watch: Watch,
        budget: Budget,
    ):
        generation = store.config.generation
        self.store, self.batch, self.watch = store, batch, watch
        self.tally = Usage(likely_tokens=likely_tokens(task))
        self.window = AdaptiveConcurrency(generation.max_in_flight)
        self.head, self.rows, self.version = pl.DataFrame(), 0, ContentVersion()
        self._opened, self._budget, self._rule_of = opened, budget, rule
        self._keep = timedelta(days=generation.keep_superseded_days)
        self._gates = Gates(store.config, task)
        self._journal, self._copied = Journal(store.paths.journal(task.asset, batch), self._mask), ExitStack()
        self._pending: set[str] = set()
        self._unasked = 0
        self.retried: set[str] = set()  # keys of requests that are sent again by --retry
        self.label: Callable[[int], str] = lambda _sample: ""  # before the detail of a rejected request, by its sample
        self._taken = taken_down(store, batch)
        self._written: set[int] = set()
        self._writers: dict[str, PartitionWriter] = {}
        self._published = self._is_empty = False
        self._imported = 0
        self._lookups: dict[tuple[tuple[str, ...], ReusePolicy], AnswerLookup] = {}
        self._uses: dict[tuple[str, ...], Task] = {}
        self._generated = Counter[tuple[str, ...]]()  # rows by version of the task
        self.use(task)

    def use(self, task: Task) -> None:
        """Make further requests by another task of the same asset: another prompt, model or server."""
        self.task, self.rule, self._gates = task, self._rule_of(task), Gates(self.store.config, task)
        self._version = (task.prompt.fingerprint, task.schema_fingerprint, task.model, *task.identity)
        way = self._version, self.rule
        if way not in self._lookups:  # each reads the keys of all stored answers
            self._lookups[way] = AnswerLookup(self.store, task.asset, self.batch, self.rule, self._journal.find)
        self._known = self._lookups[way]
        self._uses[self._version] = task

    def __enter__(self) -> "Answers":
        self._copied.enter_context(copied(self.store, self._journal.path))
        self._copied.enter_context(copied(self.store, self.store.paths.ledger(self.task.asset, self.batch)))
        self._journal.__enter__()
        # Each full garbage collection visits the half million objects of the graph, and every few hundred answers
        # start one: a fifth of the time of a run. So the objects are frozen meanwhile.
        gc.freeze()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()
        self._journal.__exit__(kind, error, trace)
        for writer in self._writers.values():
            writer.discard()
        if self._published or self._is_empty:
            self._journal.drop()
        self._copied.close()

    def request_all(self, requests: Callable[[], Iterable[Request]], total: int) -> Iterator[list[Accepted]]:
        """Get an outcome for every request, then yield the accepted answers in slices, in the order of the requests.

        Args:
            requests: makes the requests; it must yield the same ones at each call.
            total: number of requests.

        Raises:
            KeyboardInterrupt: on Ctrl-C; received answers are in the journal.
            Unfinished: if requests were not sent, because a budget is spent or by --retry, or if they wait for the
                answers of a batch API.
            LLMError: if calls are needed and the endpoint does not work.
            StoreError: if the second call yields other requests.
        """
        self.tally.total += total
        self._ask(self._open_requests(iter(requests())))
        remaining = iter(requests())
        while chunk := list(islice(remaining, _WRITTEN)):
            judged = self._judged(chunk)
            self._add_generations(chunk, judged)
            yield list(self._accepted(chunk, judged))

    def preview(self, requests: list[Request]) -> list[Answered]:
        """Get the outcomes of a few requests and write no rows; new outcomes stay in the journal for the next run.

        Raises:
            KeyboardInterrupt, LLMError: as for `request_all`.
        """
        self.tally.total += len(requests)
        to_send = list(self._open_requests(iter(requests)))
        self._ask(iter(to_send))
        sent = {request.key for request in to_send}
        judged = self._judged(requests)
        record_use(self.store, self.task, self.batch, is_asked=False)
        self._is_empty = next(self._journal.entries(), None) is None
        return [
            Answered(request, each.outcome, request.key in sent) for request, each in zip(requests, judged, strict=True)
        ]

    def screened(self, personas: Iterable[Imported]) -> list[Imported]:
        """Imported personas that pass the gates, with personal data masked; the others go to `quarantine`."""
        kept, refused = list[Imported](), list[tuple[str, ...]]()
        for number, persona in enumerate(personas, self._imported):
            text = self._gates.mask_text(persona.persona)
            if rejection := self._gates.judge_imported(text):
                refused.append((self.batch, self.task.asset, f"imported {number}", *rejection))
            else:
                kept.append(replace(persona, persona=text, attributes=self._gates.mask_attributes(persona.attributes)))
        self._imported += len(kept) + len(refused)
        self._writer("quarantine", self.task.asset).add(_frame(refused))
        return kept

    def write(self, table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
        """Append rows to the asset's own table; `publish` publishes them."""
        frame = pl.DataFrame(rows, self.store.columns(table))
        self._writer(table).add(frame)
        self.version.add(frame)
        self.rows += frame.height
        self._generated[self._version] += frame["generation_id"].count()
        if self.head.height < _HEAD:
            self.head = pl.concat([self.head, frame]).head(_HEAD) if self.head.width else frame.head(_HEAD)
        return frame

    def publish(self, *tables: str) -> None:
        """Publish the rows, then `generations`, then `quarantine`, read each back, and only then drop the journal.

        After a crash in between, the next run repeats the writes from the journal, without a call.

        Raises:
            StoreError: if the file on disk differs from the written one.
        """
        asset = self.task.asset
        writers = [self._writer(table) for table in tables]
        self._add_superseded()
        for writer in (*writers, self._writer("generations", asset), self._writer("quarantine", asset)):
            writer.publish()
        if self.tally.total:
            for version, task in self._uses.items():
                record_use(self.store, task, self.batch, self._generated[version], is_asked=False)
        self._settle_ledger()
        self._published = True

    def _settle_ledger(self) -> None:
        """Remove the published requests from the ledger of a batch API."""
        path = self.store.paths.ledger(self.task.asset, self.batch)
        if not path.exists():
            return
        with Ledger(path) as ledger:
            ledger.settle(lambda key: hash_of(key) in self._written)
            is_empty = ledger.is_empty
        if is_empty:
            drop(path)

    def _mask(self, outcome: Outcome) -> Outcome:
        return self._gates.mask(outcome)

    # --- first pass: send requests ---

    def _ask(self, unknown: Iterator[Request]) -> None:
        first = next(unknown, None)
        if first is not None:
            asker = self._opened(self.task, self.window)
            record_use(self.store, self.task, self.batch)  # before its answers: a killed run leaves them in the journal
            try:
                ask_all(
                    chain([first], unknown),
                    asker,
                    self._journal,
                    self.window,
                    self.tally,
                    self.watch,
                    lambda request: self._pending.discard(request.key),
                    seconds_left=self._budget.seconds_left,
                    systematic_faults=self.store.config.generation.systematic_faults,
                )
            except BudgetSpent as spent:
                for _ in unknown:  # the requests behind can have answers already: they do not count as left
                    pass
                raise BudgetSpent(
                    f"{self._progress_text()} ({spent}). Run again to continue: answers are kept, and the batch is "
                    "published when it has all of them"
                ) from spent
            except Submitted as submitted:
                self.watch(self.tally)
                waits = Submitted(f"{submitted}. Run again to collect them: nothing is paid twice")
                waits.asset = self.task.asset
                raise waits from submitted
        self.watch(self.tally)
        if self._unasked:
            raise Unfinished(
                f"{self._progress_text()}: they are new or have changed, and --retry sends only quarantined ones. "
                "The answers are kept; the next run without --retry publishes them"
            )

    def _progress_text(self) -> str:
        left = self.tally.total - self.tally.done
        return f"{self.task.asset}[{self.batch}]: {left:,} of {self.tally.total:,} requests are left"

    def _open_requests(self, requests: Iterator[Request]) -> Iterator[Request]:
        """The requests that need a call, each key once; those whose attempts all failed before come last."""
        failed = []
        while chunk := list(islice(requests, _LOOKED_UP)):
            for request in self._to_ask(chunk):
                if request.earlier is not None and request.earlier.reason in TRANSIENT:
                    failed.append(request)
                else:
                    yield request
        yield from failed

    def _to_ask(self, chunk: list[Request]) -> list[Request]:
        keys = list({request.key for request in chunk})
        standing, fails = self._known.split_by_reuse(keys)
        missing = {key for key in keys if key not in standing and key not in fails and key not in self._pending}
        if missing:
            standing |= dict.fromkeys(self._copy_from_others(chunk, missing))
        to_ask = []
        for request in chunk:
            key = request.key
            if key in standing:
                self.tally.add_reused(standing[key])
            elif key in self._pending:
                self.tally.duplicates += 1
            elif self.rule.retry and key not in fails and not request.follows:
                self._unasked += 1
            else:
                self._pending.add(key)
                if self.rule.retry:
                    self.retried.add(key)
                to_ask.append(replace(request, earlier=fails[key]) if key in fails else request)
        return to_ask

    def _copy_from_others(self, chunk: list[Request], missing: set[str]) -> set[str]:
        """Copy accepted answers to the same requests from other batches and recorded answers into the journal.

        Copied, because their files can change. They are validated like the answers of a model.
        """
        copies = valid(self.task, self._known.elsewhere(missing))
        by_key = {request.key: request for request in chunk}
        self._journal.note(
            [entry(self.task, by_key[key], self._gates.mask(outcome.copied())) for key, outcome in copies.items()]
        )
        return set(copies)

    # --- second pass: write ---

    def _outcomes(self, chunk: list[Request]) -> list[Outcome]:
        by_key = self._known.outcomes(list(dict.fromkeys(request.key for request in chunk)))
        try:
            return [self._clean(request.input_id, by_key[request.key]) for request in chunk]
        except KeyError as error:
            raise StoreError(
                f"{self.task.asset}[{self.batch}]: its inputs changed during the run. Run again: no answer is lost"
            ) from error

    def _judged(self, chunk: list[Request]) -> list[Judged]:
        """The outcomes after the gates."""
        return [
            self._gates.judge(request, outcome) for request, outcome in zip(chunk, self._outcomes(chunk), strict=True)
        ]

    def _clean(self, input_id: str, outcome: Outcome) -> Outcome:
        """An outcome without masked data and without personas that were taken down; a model can generate them again."""
        masked = self._gates.mask(outcome)
        if self.task.asset not in CANDIDATES:
            return masked
        # Before masking too: the tombstone is of the text as it was then.
        left = without_taken_down(outcome, input_id, self._taken)
        return without_taken_down(masked if left is outcome else self._gates.mask(left), input_id, self._taken)

    def _accepted(self, chunk: list[Request], judged: list[Judged]) -> Iterator[Accepted]:
        for request, each in zip(chunk, judged, strict=True):
            if each.answer is not None:
                yield request, self._generation_id(request.input_id, request.key), each.answer

    def _generation_id(self, input_id: str, key: str) -> str:
        return "g" + digest(self.batch, self.task.asset, input_id, key)

    def _add_generations(self, chunk: list[Request], judged: list[Judged]) -> None:
        """Append to `generations` and `quarantine`; the cost of a shared answer is counted at its first input."""
        entries, refused, asset = [], list[tuple[str, ...]](), self.task.asset
        for request, each in zip(chunk, judged, strict=True):
            mark, outcome = hash_of(request.key), each.outcome
            if mark not in self._written and outcome.reason in GATES:
                self.tally.reject(outcome.reason)
            entries.append(entry(self.task, request, outcome.copied() if mark in self._written else outcome))
            refused += [(self.batch, asset, request.input_id, *rejection) for rejection in each.rejections]
            self._written.add(mark)
        rows = self._generations(entries)
        self._writer("generations", asset).add(rows)
        self._writer("quarantine", asset).add(pl.concat([_quarantine(rows, self.label), _frame(refused)]))

    def _generations(self, entries: list[Entry]) -> pl.DataFrame:
        """Make rows of `generations`."""
        outcomes = [e.outcome for e in entries]
        columns: dict[str, Any] = {
            "batch": [self.batch] * len(entries),
            "asset": [self.task.asset] * len(entries),
            "generation_id": [self._generation_id(e.input_id, e.outcome.key) for e in entries],
            "request_key": [o.key for o in outcomes],
            "model": [o.model or self.task.model for o in outcomes],
            "superseded_at": [None] * len(entries),
        }
        columns |= {name: [getattr(e, name) for e in entries] for name in Entry.__slots__ if name != "outcome"}
        schema = table_schema("generations")
        columns |= {name: [getattr(o, name) for o in outcomes] for name in schema if name not in columns}
        return pl.DataFrame({name: columns[name] for name in schema}, schema)

    def _add_superseded(self) -> None:
        """Keep the outcomes of requests that are no longer made, so that reverting a prompt costs nothing."""
        now = datetime.now(UTC).replace(tzinfo=None)
        out = self._writer("generations", self.task.asset)
        for old in self.store.slices("generations", self.batch, asset=self.task.asset):
            gone = [hash_of(key) not in self._written for key in old["request_key"]]
            out.add(superseded(self._masked(old.filter(gone)), now, self._keep))
        left = (
            replace(e, outcome=self._gates.mask(e.outcome))
            for e in self._journal.entries()
            if hash_of(e.outcome.key) not in self._written
        )
        while entries := list(islice(left, _WRITTEN)):
            out.add(superseded(self._generations(entries), now, self._keep))

    def _masked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of `generations` without masked data."""
        outcomes = [self._gates.mask(outcome_of(row)) for row in rows.iter_rows(named=True)]
        columns = {name: [getattr(outcome, name) for outcome in outcomes] for name in ("response", "reasoning")}
        return rows.with_columns(pl.Series(name, texts, pl.String) for name, texts in columns.items())

    def _writer(self, table: str, asset: str | None = None) -> PartitionWriter:
        if table not in self._writers:
            self._writers[table] = self.store.writer(table, self.batch, asset)
        return self._writers[table]


def without_taken_down(outcome: Outcome, parent: str, taken: Tombstones) -> Outcome:
    """Remove personas that were taken down from an answer about a document or persona.

    If none is left, the answer is rejected as `taken_down`; the request is not sent again.
    """
    if outcome.status != "accepted":
        return outcome
    response = answer_without(outcome.response, parent, taken)
    if response:
        return outcome if response == outcome.response else replace(outcome, response=response, reasoning=None)
    return replace(outcome, status="rejected", response="", reasoning=None, reason="taken_down", detail=NOTHING_LEFT)


def superseded(rows: pl.DataFrame, now: datetime, keep: timedelta) -> pl.DataFrame:
    """Mark rows of `generations` as superseded now, unless they were marked before.

    Rows that were kept long enough are left out, and so are outcomes independent of the request.
    """
    informative = rows.filter(pl.col("reason").is_null() | ~pl.col("reason").is_in(list(TRANSIENT)))
    marked = informative.with_columns(
        status=pl.lit("superseded"), superseded_at=pl.col("superseded_at").fill_null(pl.lit(now, pl.Datetime("us")))
    )
    return marked.filter(pl.col("superseded_at") >= now - keep)


def _frame(refused: list[tuple[str, ...]]) -> pl.DataFrame:
    return pl.DataFrame(refused, table_schema("quarantine"), orient="row")


def _quarantine(generations: pl.DataFrame, label: Callable[[int], str]) -> pl.DataFrame:
    rejected = generations.filter(pl.col("status") == "rejected")
    details = zip(rejected["sample"], rejected["detail"].fill_null(""), strict=True)
    texts = [": ".join(filter(None, [label(sample), detail])) for sample, detail in details]
    return rejected.select(
        "batch",
        "asset",
        "input_id",
        "reason",
        pl.Series("detail", texts, pl.String),
        pl.col("response").alias("raw"),
    )
