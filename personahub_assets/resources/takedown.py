"""Takedown: a document, a site or a persona goes, with all that came from it, and does not come back.

    receipt = takedown(store, Target("document", ("page-17",)), agree=lambda receipt: True)

In this order, each step safe to be repeated:

1. Tombstones and the begun receipt are stored. From here on rows of source files and personas of answers are kept out.
2. What goes is read once: its texts must be known as long as something may show them.
3. The Dagster instance loses what it tells of them.
4. Source files inside the home are blanked.
5. Tables, journals and recorded answers are written anew without them, what was made last first.
6. The cache goes, leftovers of killed runs go, the warehouse is built anew.

A takedown that was killed is finished by the same request. Docs: docs/takedown.md.
"""

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from personahub_assets.domain.errors import BatchError, LockHeld, StoreError
from personahub_assets.domain.records import DATASETS
from personahub_assets.domain.sources import Columns, RawRow
from personahub_assets.domain.tombstones import Tombstone, Tombstones
from personahub_assets.resources import blanking, history, releases, sweep, warehouse
from personahub_assets.resources.extent import Extent, extent
from personahub_assets.resources.inbox import register_again
from personahub_assets.resources.instance import PID_TAG, is_alive, open_instance
from personahub_assets.resources.receipts import Effect, Line, Receipt, Target, earlier, now, put_receipt, put_stones
from personahub_assets.resources.store import CANDIDATES, Store
from personahub_assets.resources.targets import find
from personahub_assets.resources.tombstones import stones

_LOCKED = ("documents", *CANDIDATES, "persona_embeddings", "personas", *DATASETS)
_STAGES = ("lexical", "semantic")
_RECENT_S = 3600.0
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass
class _Plan:
    """What is to be done."""

    stones: set[Tombstone]
    receipt: Receipt
    extents: dict[str, Extent] = field(default_factory=dict)
    hits: dict[blanking.Piece, list[blanking.Hit]] = field(default_factory=dict)
    gone: sweep.Gone = field(default_factory=sweep.Gone)

    def taken(self, batch: str | None) -> Tombstones:
        return Tombstones(self.stones, batch)


def takedown(
    store: Store,
    target: Target,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    agree: Callable[[Receipt], bool] = lambda _: True,
) -> Receipt:
    """Take something down, or only count what would go.

    Args:
        reason: why; it is stored.
        dry_run: change nothing.
        agree: is shown what will go, and says whether it shall.

    Returns:
        The receipt; not finished if nothing was done.

    Raises:
        ConfigError, BatchError: if nothing is known by that name.
        LockHeld: if a run or another takedown goes on, naming it. What was begun is finished by the same request.
        StoreError, SourceError: if a file that holds some of it is damaged.
    """
    if not store.batches():
        raise BatchError(f"{store.root} has no batches, so there is nothing to take down; is PERSONAHUB_HOME right?")
    if dry_run:
        return _planned(store, target, reason).receipt
    # Whoever makes a release waits for this lock: it would be of rows that go.
    with store.lock("takedown", wait=False), store.lock("releases", wait=False), _instance(store) as instance:
        begun = datetime.now(UTC)
        _check_no_run(instance)
        _mend(store, target)
        if not agree(_planned(store, target, reason).receipt):
            return Receipt(target, reason)
        with _admissions(store):
            _check_no_run(instance)
            plan = _planned(store, target, reason)  # anew: it may have taken a while to agree
            _carry_out(store, plan)
        _check_no_run(instance, since=begun)
        plan.receipt.finished_at = now()
        put_receipt(store, plan.receipt)
        return plan.receipt


@contextmanager
def _admissions(store: Store) -> Iterator[None]:
    """Nobody decides who stays meanwhile."""
    with ExitStack() as held:
        for stage in _STAGES:
            held.enter_context(store.lock(f"admission-{stage}", wait=False))
        yield


@contextmanager
def _instance(store: Store) -> Iterator[dg.DagsterInstance | None]:
    """The Dagster instance of the home; None where nothing was ever run."""
    if (store.root / "dagster").exists():
        with open_instance(store.root) as instance:
            yield instance
    else:
        yield None


def _check_no_run(instance: dg.DagsterInstance | None, since: datetime | None = None) -> None:
    """Refuse to work beside a run: it may hold in memory what goes, and report it afterwards.

    Args:
        since: a run that went on after this moment and has ended counts too.

    Raises:
        LockHeld: naming the runs.
    """
    if instance is None:
        return
    going = [f"{_named(run)} is going on" for run in instance.get_runs(dg.RunsFilter(statuses=_IN_PROGRESS))]
    if not going and since:
        going = [f"{_named(run)} went on meanwhile" for run in instance.get_runs(dg.RunsFilter(updated_after=since))]
    if going:
        raise LockHeld(
            f"a takedown needs the home for itself, and {'; '.join(going)}. Wait for it to end, or stop it (nothing "
            "that is answered is lost), then run the same takedown again"
        )


def _named(run: dg.DagsterRun) -> str:
    process = run.tags.get(PID_TAG, "of the Dagster UI")
    return f"run {run.run_id[:8]} of batch {run.tags.get('dagster/partition', 'several')} (process {process})"


# --- plan ---


def _planned(store: Store, target: Target, reason: str | None) -> _Plan:
    """Find what goes; changes nothing."""
    before = earlier(store, target)
    found = find(store, target, again=before is not None)
    receipt = Receipt(target, reason or (before and before.reason) or None, copies=found.copies)
    plan = _Plan({*stones(store), *found.stones}, receipt)
    batches = found.batches | (before.batches if before else set())
    for batch in sorted(batches):
        plan.extents[batch] = extent(store, batch, plan.taken(batch))
        sweep.survey(store, plan.extents[batch], plan.gone, receipt)
    plan.stones |= {Tombstone.request(key) for key in plan.gone.keys}
    _look_into_sources(store, plan)
    _count_displaced(store, plan)
    _count_released(store, plan, found.stones)
    if before:
        receipt.begun_at = before.begun_at
        receipt.rows |= before.rows  # the greater of each: a first try had counted all of it
    return plan


def _look_into_sources(store: Store, plan: _Plan) -> None:
    """Rows of source files: all that lie inside the home, and those of the batches concerned elsewhere."""
    pieces, unread = blanking.pieces(store)
    plan.receipt.rows.update(Line("unread", str(path), None) for path in unread)
    for piece in pieces:
        inside = blanking.is_inside(store, piece)
        if not (inside or piece.batch in plan.extents) or not blanking.is_readable(piece):
            continue
        found = list(blanking.hits(piece, _is_taken(plan, piece.batch)))
        if found:
            plan.hits[piece] = found
            effect: Effect = "changed" if inside else "outside"
            plan.receipt.rows[Line(effect, str(piece.path), piece.batch)] += len(found)


def _is_taken(plan: _Plan, batch: str | None) -> Callable[[RawRow, Columns], bool]:
    """Whether a row goes; one that cannot be read goes if it has something of what goes, and gets a stone."""
    taken = plan.taken(batch)

    def is_taken(row: RawRow, columns: Columns) -> bool:
        if row.columns is None and plan.gone.traces.much_in(row.raw, sweep.RUNS_LINE):
            plan.stones.add(Tombstone.text(batch, row.raw))
            return True
        return taken.has_row(row, columns) or (batch is None and _is_recorded_answer(plan.gone, row))

    return is_taken


def _is_recorded_answer(gone: sweep.Gone, row: RawRow) -> bool:
    """Whether a row is a recorded answer of another home, as `ingest --generations` takes it, about what goes."""
    key, response = ((row.columns or {}).get(name) for name in ("request_key", "response"))
    return isinstance(key, str) and isinstance(response, str) and gone.has_answer(key, response)


def _count_displaced(store: Store, plan: _Plan) -> None:
    """Candidates that stay and were dropped for one that goes: they come back when their batch is run."""
    gone = list(plan.gone.personas)
    for stage in _STAGES:
        for batch in store.batches():
            rows = store.read(f"{stage}_decisions", batch, columns=["persona_id", "keeper_id"])
            freed = rows.filter(pl.col("keeper_id").is_in(gone) & ~pl.col("persona_id").is_in(gone))
            plan.receipt.rows[Line("displaced", f"{stage}_duplicates", batch)] += freed.height


def _count_released(store: Store, plan: _Plan, found: set[Tombstone]) -> None:
    """Rows of releases that came from what goes; a release never changes."""
    taken = {batch: Tombstones(found, batch) for batch in store.batches()}

    def is_taken(batch: str, document_id: str) -> bool:
        return batch in taken and taken[batch].has_document(document_id, None, None)

    for release in releases.releases(store):
        place = f"releases/{release.name}"
        try:
            plan.receipt.rows[Line("released", place, None)] += releases.held(release, plan.gone.personas, of=is_taken)
        except StoreError:
            plan.receipt.rows[Line("unread", place, None)] += 1


# --- carry out ---


def _carry_out(store: Store, plan: _Plan) -> None:
    receipt = plan.receipt
    put_stones(store, receipt.target, plan.stones - set(stones(store)))
    put_receipt(store, receipt)
    receipt.rows[Line("changed", "dagster", None)] += _forget_history(store, plan)
    _forget_faults(store, plan)
    _blank_sources(store, plan)
    for batch in plan.extents:
        with _locked(store, batch):
            sweep.sweep(store, extent(store, batch, plan.taken(batch)), plan.taken(batch), plan.gone.traces, receipt)
    receipt.rows[Line("removed", "seeds", None)] += sweep.seeds(store, plan.gone)
    _clear(store)


def _forget_history(store: Store, plan: _Plan) -> int:
    folder = store.root / "dagster"
    return history.forget(folder, set(plan.extents), plan.gone.traces) if folder.exists() else 0


def _forget_faults(store: Store, plan: _Plan) -> None:
    """Rows of `quarantine` that show lines of source files; before the files are blanked, since places lead to them."""
    places: dict[str, set[str]] = {batch: set() for batch in plan.extents}
    for piece, found in plan.hits.items():
        if piece.batch is not None:
            places.setdefault(piece.batch, set()).update(hit.place for hit in found)
    known = {piece.batch: blanking.is_readable(piece) for piece in blanking.registered(store)}
    for batch, some in places.items():
        with store.lock(f"documents-{batch}", wait=False):
            changed = sweep.source_faults(store, batch, some, plan.gone.traces, known=known.get(batch, False))
        plan.receipt.rows[Line("changed", "quarantine", batch)] += changed


def _blank_sources(store: Store, plan: _Plan) -> None:
    numbers: dict[tuple[Path, str, str | None], set[int]] = defaultdict(set)
    for piece, found in plan.hits.items():
        if blanking.is_inside(store, piece):
            numbers[piece.path, piece.format, piece.part.file_reading] |= {hit.number for hit in found}
    for piece in plan.hits:
        if not blanking.is_readable(piece):
            raise LockHeld(f"{piece.path} is being written to; when that is done, run the same takedown again")
    for (path, kind, reading), some in numbers.items():
        with store.lock("batches", wait=True):
            blanking.blank(path, kind, some, reading)
            register_again(store, path)


def _mend(store: Store, target: Target) -> None:
    """Register source files that a takedown blanked when it was killed."""
    before = earlier(store, target)
    if before is None or before.finished_at is not None:
        return
    blanked = {line.place for line in before.rows if line.effect == "changed"}
    for path in {piece.path for piece in blanking.registered(store) if not blanking.is_readable(piece)}:
        if str(path) in blanked and path.is_file():
            with store.lock("batches", wait=True):
                register_again(store, path)


@contextmanager
def _locked(store: Store, batch: str) -> Iterator[None]:
    """Nobody works on a batch meanwhile."""
    with ExitStack() as held:
        for asset in _LOCKED:
            held.enter_context(store.lock(f"{asset}-{batch}", wait=False))
        yield


def _clear(store: Store) -> None:
    """Remove what can be made again, and what killed processes left."""
    shutil.rmtree(store.root / "cache", ignore_errors=True)
    for part in (store.root / "inbox").rglob(".*.part"):
        part.unlink(missing_ok=True)
    with store.lock("warehouse", wait=True):
        for leftover in (store.root / "aside").glob("*"):
            _remove_leftover(leftover)
    if warehouse.path(store).exists():
        warehouse.build(store, force=True)


def _remove_leftover(path: Path) -> None:
    """Remove what no process writes; no run goes on, so that is what lives and has just written there."""
    pid = path.name.partition("-")[0]
    with suppress(FileNotFoundError):
        if pid.isdecimal() and is_alive(int(pid)) and time.time() - path.stat().st_mtime < _RECENT_S:
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
