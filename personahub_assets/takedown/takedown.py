"""Takedown: remove a document, a site, a persona or a batch with everything derived from it, and keep it out.

    receipt = takedown(store, Target("document", ("page-17",)), approve=lambda receipt: True)

The steps, in this order; each can be repeated safely:

1. Tombstones and the begun receipt are stored. From here on they keep out rows of source files and personas of answers.
2. The rows to remove are read once: their texts are needed to find copies of them.
3. They are removed from the event log of the Dagster instance.
4. Source files inside the home are blanked.
5. Tables, journals and recorded answers are rewritten without them, the last written first.
6. The cache and leftovers of killed runs are removed, and the warehouse is rebuilt.

Repeating the same request finishes a killed takedown. Docs: docs/takedown.md.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import filterfalse
from pathlib import Path

import dagster as dg
import polars as pl

from personahub_assets.core.errors import BatchError, LockHeld, StoreError
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.generation import retention
from personahub_assets.instance.instance import PID_TAG, forget_partition, open_instance
from personahub_assets.instance.pools import COMMAND, command_claims
from personahub_assets.instance.row_counts import report_rows
from personahub_assets.instance.shared import shared_folder
from personahub_assets.instance.shared_events import rewrite_events
from personahub_assets.releases.folder import count_rows_of, list_releases
from personahub_assets.sources import redact
from personahub_assets.sources.register import register_again
from personahub_assets.sources.rows import Columns, RawRow, Traits, traits
from personahub_assets.sources.tombstones import Tombstone, Tombstones, stones
from personahub_assets.store.home import Lock
from personahub_assets.store.journal_copies import fetch_all, replace_all
from personahub_assets.store.local_paths import printable_path
from personahub_assets.store.removal import remove_all
from personahub_assets.store.tables import CANDIDATES, STAGES, Store, item_writer
from personahub_assets.store.working_copy import ON_DEMAND
from personahub_assets.takedown import event_log, sweep
from personahub_assets.takedown.mark import Extent, extent
from personahub_assets.takedown.receipts import (
    Effect,
    Line,
    Receipt,
    Target,
    find_receipt,
    now,
    store_receipt,
    store_tombstones,
)
from personahub_assets.takedown.targets import find
from personahub_assets.warehouse import build

Approve = Callable[[Receipt], bool]

_LOCKED = ("documents", *CANDIDATES, "persona_embeddings", "personas")
_STAYS = {"batches", "takedowns", "tombstones", "prompt_uses"}
_RECENT_S = 3600.0
_IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass
class _Plan:
    """What a takedown has to do."""

    stones: set[Tombstone]
    receipt: Receipt
    extents: dict[str, Extent] = field(default_factory=dict)
    dropped: set[Path] = field(default_factory=set)
    """Source files inside the home that no other batch reads: they are deleted."""
    hits: dict[redact.Piece, list[redact.Hit]] = field(default_factory=dict)
    gone: sweep.Gone = field(default_factory=sweep.Gone)
    done_before: Counter[Line] = field(default_factory=Counter)
    """Rows of an earlier, finished takedown of the same target."""

    @property
    def shown_batches(self) -> set[str]:
        """Batches whose samples in the event log can show removed rows; those of a finished takedown are new rows."""
        if self.done_before:
            return {line.batch for line, _ in self.receipt.lines_of("removed") if line.batch}
        return set(self.extents)

    def taken(self, batch: str | None) -> Tombstones:
        return Tombstones(self.stones, batch)


def takedown(
    store: Store,
    target: Target,
    *,
    reason: str | None = None,
    dry_run: bool = False,
    approve: Approve | None = None,
) -> Receipt:
    """Take down a target, or only count what would be removed.

    Args:
        reason: stored in the receipt; do not quote the removed text.
        dry_run: change nothing.
        approve: called with the receipt of a dry run; returns whether to go on. None goes on.

    Returns:
        The receipt; unfinished if nothing was done.

    Raises:
        ConfigError, BatchError: if the target is unknown.
        LockHeld: if a run or another takedown is active, naming it. Repeating the request finishes a begun takedown.
        StoreError, SourceError: if a file with rows of the target is damaged.
    """
    if store.working_copy is not None:
        store.working_copy.pull(ON_DEMAND)
        fetch_all(store.working_copy)
    if not store.batches() and find_receipt(store, target) is None:
        raise BatchError(f"{store.root} has no batches, so there is nothing to take down; is PERSONAHUB_HOME right?")
    if dry_run:
        return _rehearse(store, _make_plan(store, target, reason))
    with _instance(store) as instance, _claiming(store, instance) as store:
        return _take_down(store, target, reason, approve, instance)


def _take_down(
    store: Store, target: Target, reason: str | None, approve: Approve | None, instance: dg.DagsterInstance | None
) -> Receipt:
    # A release waits for this lock: otherwise it could contain rows that are being removed.
    with store.lock(Lock.TAKEDOWN, wait=False), store.lock(Lock.RELEASES, wait=False), _whole_copy(store):
        begun = datetime.now(UTC)
        _check_no_run(instance)
        _register_blanked(store, target)
        if approve and not approve(_rehearse(store, _make_plan(store, target, reason))):
            return Receipt(target, reason)
        with _hold_dedup_locks(store):
            _check_no_run(instance)
            plan = _make_plan(store, target, reason)  # again: the confirmation can have taken a while
            _carry_out(store, plan, instance)
        _check_no_run(instance, since=begun)
        plan.receipt.finished_at = now()
        store_receipt(store, plan.receipt, plan.done_before)
        if store.paths.warehouse.exists():
            build.build(store)  # again, for the end of the takedown in its receipt
        return plan.receipt


@contextmanager
def _hold_dedup_locks(store: Store) -> Iterator[None]:
    """Hold the locks of the dedup assets."""
    with ExitStack() as locks:
        writers = [item_writer(name, stage) for name in store.catalog.names for stage in STAGES.values()]
        for stage in (*STAGES.values(), *writers):
            locks.enter_context(store.lock(Lock.admission(stage), wait=False))
        yield


@contextmanager
def _instance(store: Store) -> Iterator[dg.DagsterInstance | None]:
    """The Dagster instance of the home; None if there was never a run of it here."""
    if shared_folder() or store.paths.dagster.exists() or store.working_copy:
        with open_instance(store.root) as instance:
            yield instance
    else:
        yield None


@contextmanager
def _claiming(store: Store, instance: dg.DagsterInstance | None) -> Iterator[Store]:
    """The home, on object storage with locks among all workers."""
    if store.working_copy is None or instance is None:
        yield store
        return
    with command_claims(instance, "takedown") as claims:
        yield store.model_copy(update={"claims": claims})


@contextmanager
def _whole_copy(store: Store) -> Iterator[None]:
    """Have all files of a home on object storage here, and all changes there at the end."""
    copy = store.working_copy
    if copy is None:
        yield
        return
    copy.pull(ON_DEMAND)
    fetch_all(copy)
    yield
    copy.push(everything=True)
    replace_all(copy)


def _check_no_run(instance: dg.DagsterInstance | None, since: datetime | None = None) -> None:
    """Refuse to work during a run: it can hold removed rows in memory and report them afterwards.

    Args:
        since: a run that was active after this moment and has ended counts too.

    Raises:
        LockHeld: naming the runs.
    """
    if instance is None:
        return
    now = [run for run in instance.get_runs(dg.RunsFilter(statuses=_IN_PROGRESS)) if run.job_name != COMMAND]
    going = [f"{_run_title(run)} is going on" for run in now]
    if not going and since:
        meanwhile = [run for run in instance.get_runs(dg.RunsFilter(updated_after=since)) if run.job_name != COMMAND]
        going = [f"{_run_title(run)} went on meanwhile" for run in meanwhile]
    if going:
        raise LockHeld(
            f"a takedown needs the home for itself, and {'; '.join(going)}. Wait for it to end, or stop it (answers "
            "are kept), then run the same takedown again"
        )


def _run_title(run: dg.DagsterRun) -> str:
    process = run.tags.get(PID_TAG, "of the Dagster UI")
    return f"run {run.run_id[:8]} of batch {run.tags.get('dagster/partition', 'several')} (process {process})"


# --- plan ---


def _make_plan(store: Store, target: Target, reason: str | None) -> _Plan:
    """Find what to remove; changes nothing."""
    before = find_receipt(store, target)
    matches = find(store, target, again=before is not None)
    receipt = Receipt(target, reason or (before and before.reason) or None, copies=matches.copies, sites=matches.sites)
    plan = _Plan({*stones(store), *matches.stones}, receipt)
    batches = matches.batches | (before.batches if before else set())
    for batch in sorted(batches):
        plan.extents[batch] = extent(store, batch, plan.taken(batch))
        sweep.survey(store, plan.extents[batch], plan.gone, receipt)
        if plan.extents[batch].is_gone and batch in store.batches():
            receipt.rows[Line("removed", "batches", batch)] = 1
    plan.stones |= {Tombstone.request(key) for key in plan.gone.keys}
    _scan_sources(store, plan)
    _count_displaced(store, plan)
    _count_released(store, plan, matches.stones)
    if before and before.finished_at:
        plan.done_before = before.rows
    elif before:
        receipt.begun_at = before.begun_at
        receipt.rows |= before.rows  # the greater of each: the first attempt had counted everything
    return plan


def _scan_sources(store: Store, plan: _Plan) -> None:
    """Scan source files: all inside the home, and those elsewhere of the batches concerned."""
    pieces, unread = redact.find_pieces(store)
    plan.receipt.rows.update(Line("unread", printable_path(path), None) for path in unread)
    readers: dict[Path, set[str | None]] = defaultdict(set)
    for piece in pieces:
        readers[piece.path].add(piece.batch)
    for piece in pieces:
        inside = redact.is_inside(store, piece)
        if not (inside or piece.batch in plan.extents):
            continue
        is_dropped = inside and all(_is_gone(plan, batch) for batch in readers[piece.path])
        if is_dropped and piece.path.is_file():
            plan.dropped.add(piece.path)
        if not redact.is_readable(store, piece):
            if inside and piece.path.is_file() and not is_dropped:
                plan.receipt.rows[Line("unread", printable_path(piece.path), piece.batch)] += 1
            continue
        row_hits = list(redact.find_hits(piece, _row_test(plan, piece.batch)))
        if row_hits:
            plan.hits[piece] = row_hits
            effect: Effect = "removed" if is_dropped else "changed" if inside else "outside"
            plan.receipt.rows[Line(effect, printable_path(piece.path), piece.batch)] += len(row_hits)


def _is_gone(plan: _Plan, batch: str | None) -> bool:
    return batch is not None and batch in plan.extents and plan.extents[batch].is_gone


def _row_test(plan: _Plan, batch: str | None) -> Callable[[RawRow, Columns], bool]:
    """Test for rows to remove; an unparsable row is removed, with a tombstone, if it matches a removed text."""
    taken, is_counted = plan.taken(batch), batch in plan.extents

    def is_taken(row: RawRow, columns: Columns) -> bool:
        if row.columns is None and plan.gone.shingles.has_matches(row.raw, sweep.RUNS_LINE):
            plan.stones.add(Tombstone.text(batch, row.raw))
            return True
        if taken.has_row(row, columns):
            if not is_counted and row.columns is not None:
                _count_address(plan.receipt, taken, traits(row, columns))
            return True
        return batch is None and _is_recorded_answer(plan.gone, row)

    return is_taken


def _count_address(receipt: Receipt, taken: Tombstones, row: Traits) -> None:
    """Count a page that no batch has read yet with the pages of its site."""
    address = row.url or row.document_id
    if receipt.target.kind == "url_prefix" and address and taken.is_below_prefix(row.document_id, row.url):
        receipt.sites.add(address)


def _is_recorded_answer(gone: sweep.Gone, row: RawRow) -> bool:
    """Whether a row is a recorded answer, as `ingest --generations` imports it, about something that is removed."""
    key, response = ((row.columns or {}).get(name) for name in ("request_key", "response"))
    return isinstance(key, str) and isinstance(response, str) and gone.has_answer(key, response)


def _count_displaced(store: Store, plan: _Plan) -> None:
    """Count kept candidates and items that were dropped for a removed one: they return when their batch is run."""
    gone = list(plan.gone.personas)
    for asset in STAGES:
        for batch in store.batches():
            rows = store.read("decisions", batch, asset, columns=["persona_id", "keeper_id"])
            freed = rows.filter(pl.col("keeper_id").is_in(gone) & ~pl.col("persona_id").is_in(gone))
            plan.receipt.rows[Line("displaced", asset, batch)] += freed.height
    decisions = store.scan("item_decisions").select("batch", "dataset", "item_id", "persona_id", "keeper_id").collect()
    is_gone = pl.col("persona_id").is_in(gone)
    gone_items = decisions.filter(is_gone)["item_id"].unique()
    freed_items = decisions.filter(~is_gone & pl.col("keeper_id").is_in(gone_items.implode()))
    for (batch, dataset), rows in freed_items.partition_by("batch", "dataset", as_dict=True).items():
        plan.receipt.rows[Line("displaced", str(dataset), str(batch))] += rows.height


def _count_released(store: Store, plan: _Plan, found: set[Tombstone]) -> None:
    """Count rows of releases that were derived from removed rows; a release never changes."""
    taken = {batch: Tombstones(found, batch) for batch in store.batches()}

    def is_taken(batch: str, document_id: str) -> bool:
        return batch in taken and taken[batch].has_document(document_id, None, None)

    for release in list_releases(store):
        folder = f"releases/{release.name}"
        try:
            plan.receipt.rows[Line("released", folder, None)] += count_rows_of(release, plan.gone.personas, of=is_taken)
        except StoreError:
            plan.receipt.rows[Line("unread", folder, None)] += 1


# --- carry out ---


def _rehearse(store: Store, plan: _Plan) -> Receipt:
    """Add to the receipt of a plan what only carrying it out counts; changes nothing."""
    receipt = plan.receipt
    receipt.rows[Line("changed", "dagster", None)] += _redact_history(store, plan, dry_run=True)
    _redact_faults(store, plan, dry_run=True)
    for batch in plan.extents:
        taken = plan.taken(batch)
        sweep.rehearse(store, extent(store, batch, taken), taken, plan.gone.shingles, receipt)
    receipt.rows[Line("removed", "seeds", None)] += sweep.remove_recorded_answers(store, plan.gone, dry_run=True)
    sweep.redact_prompts(store, plan.gone.shingles, receipt, dry_run=True)
    return receipt


def _carry_out(store: Store, plan: _Plan, instance: dg.DagsterInstance | None) -> None:
    receipt = plan.receipt
    store_tombstones(store, receipt.target, plan.stones - set(stones(store)))
    store_receipt(store, receipt, plan.done_before)
    receipt.rows[Line("changed", "dagster", None)] += _redact_history(store, plan, dry_run=False)
    _redact_faults(store, plan, dry_run=False)
    _blank_sources(store, plan)
    for batch in plan.extents:
        with _lock_batch(store, batch):
            sweep.sweep(store, extent(store, batch, plan.taken(batch)), plan.taken(batch), plan.gone.shingles, receipt)
    receipt.rows[Line("removed", "seeds", None)] += sweep.remove_recorded_answers(store, plan.gone)
    sweep.redact_prompts(store, plan.gone.shingles, receipt)
    _drop_batches(store, plan)
    _remove_derived(store)
    if instance is not None:
        report_rows(instance, store, receipt.target.takedown_id)


def _redact_history(store: Store, plan: _Plan, *, dry_run: bool) -> int:
    folder, batches, shingles = store.paths.dagster, plan.shown_batches, plan.gone.shingles
    if plan.done_before and not batches:
        return 0
    scope = event_log.Scope(batches, {*STAGES, *store.catalog.names})
    changed = event_log.redact_event_log(folder, scope, shingles, dry_run=dry_run) if folder.exists() else 0
    if shared_folder():
        # It can have events of other projects: their tables stay.
        redact_value = partial(event_log.redact_value, scope=scope, shingles=shingles, is_dropped=False)
        with open_instance(store.root) as instance:
            changed += rewrite_events(instance, redact_value, dry_run=dry_run)
    return changed


def _redact_faults(store: Store, plan: _Plan, *, dry_run: bool) -> None:
    """Redact rows of `quarantine` that show lines of source files, before blanking the files changes the places."""
    input_ids: dict[str, set[str]] = {batch: set() for batch in plan.extents}
    for piece, row_hits in plan.hits.items():
        if piece.batch is not None:
            input_ids.setdefault(piece.batch, set()).update(hit.place for hit in row_hits)
    readable = {piece.batch: redact.is_readable(store, piece) for piece in _pieces_of(store, input_ids)}
    for batch, taken_ids in input_ids.items():
        known = readable.get(batch, False)
        with nullcontext() if dry_run else store.lock(Lock.of("documents", batch), wait=False):
            changed = sweep.redact_source_faults(
                store, batch, taken_ids, plan.gone.shingles, known=known, dry_run=dry_run
            )
        plan.receipt.rows[Line("changed", "quarantine", batch)] += changed


def _pieces_of(store: Store, batches: Collection[str]) -> Iterator[redact.Piece]:
    return (piece for piece in redact.registered(store) if piece.batch in batches)


def _blank_sources(store: Store, plan: _Plan) -> None:
    numbers: dict[tuple[Path, str, str | None], set[int]] = defaultdict(set)
    for piece, row_hits in plan.hits.items():
        if redact.is_inside(store, piece) and piece.path not in plan.dropped:
            numbers[piece.path, piece.format, piece.selected.file_reading] |= {hit.number for hit in row_hits}
    for piece in plan.hits:
        if not redact.is_readable(store, piece):
            raise LockHeld(f"{piece.path} is being written to; run the same takedown again when it is complete")
    for (path, kind, reading), row_numbers in numbers.items():
        with store.lock(Lock.BATCHES, wait=True):
            redact.blank(path, kind, row_numbers, reading)
            register_again(store, path)


def _register_blanked(store: Store, target: Target) -> None:
    """Register source files that a takedown blanked when it was killed."""
    before = find_receipt(store, target)
    if before is None or before.finished_at is not None:
        return
    blanked = {line.place for line in before.rows if line.effect == "changed"}
    for path in {piece.path for piece in redact.registered(store) if not redact.is_readable(store, piece)}:
        if str(path) in blanked and path.is_file():
            with store.lock(Lock.BATCHES, wait=True):
                register_again(store, path)


@contextmanager
def _lock_batch(store: Store, batch: str) -> Iterator[None]:
    """Hold the lock of a batch."""
    with ExitStack() as locks:
        for asset in (*_LOCKED, *store.catalog.names, *COMPARISONS):
            locks.enter_context(store.lock(Lock.of(asset, batch), wait=False))
        yield


def _drop_batches(store: Store, plan: _Plan) -> None:
    """Remove the files of batches that are removed whole; their registration last."""
    gone = sorted((batch for batch in plan.extents if _is_gone(plan, batch)), reverse=True)
    paths = store.paths
    for batch in gone:
        with _lock_batch(store, batch):
            results = [
                *paths.partition_folders(batch),
                *paths.journals_of(batch, "*"),
                *paths.vector_journals_of(batch),
                *paths.ledgers_of(batch, "*"),
                *paths.request_files(batch),
            ]
            _remove_all(path for path in results if not _STAYS & {path.parent.name, path.parent.parent.name})
    with store.lock(Lock.BATCHES, wait=True):
        _remove_all(plan.dropped)
        for batch in gone:
            store.remove(store.path("batches", batch).parent)
            forget_partition(store.root, batch)


def _remove_derived(store: Store) -> None:
    """Remove caches and leftovers of killed processes."""
    with store.lock(Lock.WAREHOUSE, wait=True):
        _remove_all([store.paths.cache, *filterfalse(_is_in_use, retention.leftovers(store))])
    if store.paths.warehouse.exists():
        build.build(store, force=True)


def _is_in_use(path: Path) -> bool:
    """Whether a process writes there. No run is active, so a live owner and a recent write are the sign."""
    try:
        return retention.is_owned(path) and retention.age_s(path) < _RECENT_S
    except FileNotFoundError:
        return False


def _remove_all(paths: Iterable[Path]) -> None:
    """Remove files and folders that can contain removed rows.

    Raises:
        StoreError: naming each that is left, and why; the takedown is not finished.
    """
    if left := remove_all(paths):
        each = "; ".join(f"{path} cannot be removed: {reason}" for path, reason in sorted(left.items()))
        raise StoreError(f"{each}. It can contain removed rows: solve the problem, then run the same takedown again")
