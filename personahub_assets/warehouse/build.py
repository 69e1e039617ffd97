"""The warehouse: one DuckDB file over the store, built aside and published by rename; it can be deleted at any time."""

import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from personahub_assets.core.access import obstacle, path_of
from personahub_assets.core.errors import AccessError
from personahub_assets.store.atomic import aside_name, replacing
from personahub_assets.store.connections import open_to_write, settle
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store, first_damaged
from personahub_assets.warehouse import freshness, readers
from personahub_assets.warehouse.freshness import Contents, Inputs, Note
from personahub_assets.warehouse.shared import share
from personahub_assets.warehouse.stored_tables import native_tables
from personahub_assets.warehouse.update import Update, changes

_SMALL = 100_000
"""Rows up to which nothing is compressed: choosing how takes DuckDB a third of a second, and saves some megabytes."""

_NOVELTY = """
SELECT batch, hop, new_per_1000_calls FROM novelty
WHERE new_per_1000_calls IS NOT NULL AND batch IN (SELECT DISTINCT batch FROM novelty ORDER BY batch DESC LIMIT 100)
ORDER BY batch, hop
"""


@dataclass(frozen=True)
class Built:
    """Result of a build.

    Attributes:
        rows: rows of each table.
        native: the tables that are copied in.
        seconds: duration.
        rebuilt: whether it was out of date.
        novelty: `(batch, hop, new personas per 1,000 calls)` of the last batches.
    """

    rows: dict[str, int]
    native: list[str]
    seconds: float
    rebuilt: bool
    novelty: list[tuple[str, int, float]]


def reader(store: Store) -> duckdb.DuckDBPyConnection:
    """Open a read-only connection to the warehouse that can access only the store's tables.

    For queries of this program; queries of users run in a separate process (`query_process`).

    Raises:
        StoreError: if there is no warehouse yet, or a DuckDB shell holds it open for writing.
    """
    # Named by the process id: `maintain` removes leftovers of a killed process.
    aside = store.paths.aside / aside_name()
    return readers.open_reader(store.root, aside, store.config.warehouse.memory_mb)


def build(store: Store, *, force: bool = False) -> Built:
    """Build the warehouse unless it is up to date; of several processes one builds and the others wait.

    Args:
        force: build all of it, also what has not changed.
    """
    started = time.perf_counter()
    with store.lock(Lock.WAREHOUSE, wait=True):
        note = None if force else _usable_note(store)
        fresh = note is not None and freshness.is_built_from_these(store, note)
        if not fresh:
            readers.retry_on_replacement(partial(_build_or_explain, store, note))
            note = freshness.noted(store)
            share(store)
        with readers.attach(store.paths.warehouse) as connection:
            native = native_tables(connection, store)
            novelty = connection.execute(_NOVELTY).fetchall()
            settle(connection)
    rows = note.contents.rows if note else {}
    return Built(rows, native, round(time.perf_counter() - started, 3), not fresh, novelty)


def is_fresh(store: Store, tables: Collection[str] | None = None) -> bool:
    """Whether the warehouse was built from the current table files, SQL and settings, and the home has not moved.

    Args:
        tables: looks only at the files of these tables; None: at all.
    """
    note = _usable_note(store)
    return note is not None and freshness.is_built_from_these(store, note, tables)


def _usable_note(store: Store) -> Note | None:
    """The note beside a warehouse that can be opened: it may be open in a shell without -readonly.

    A new build is another file, so this does not stop a run.
    """
    note = freshness.noted(store)
    if note is None:
        return None
    try:
        with readers.attach(store.paths.warehouse) as connection:
            settle(connection)
    except duckdb.IOException:
        return None
    return note


@contextmanager
def updated_copy(store: Store) -> Iterator[duckdb.DuckDBPyConnection | None]:
    """Open a copy of the warehouse in which the changed batches are as they are now.

    For a question that is not to wait for a build: nothing is published, and no other process is waited for. None if
    many batches changed, or the home cannot be written.
    """
    file = store.paths.aside / f"{aside_name()}.duckdb"
    try:
        if not _has_copied(store, file):
            yield None
            return
        with readers.attach(file) as connection:
            connection.execute(readers.NO_CACHE)
            try:
                yield connection
            finally:
                settle(connection)
    finally:
        file.unlink(missing_ok=True)


def _has_copied(store: Store, file: Path) -> bool:
    note, now = _usable_note(store), freshness.inputs(store)
    if note is None or changes(note, now) is None:
        return False
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        readers.retry_on_replacement(partial(_fill, store, note, now, file))
    except OSError:
        return False
    return True


def _build_or_explain(store: Store, note: Note | None) -> None:
    """Build it, and find the damaged table file on failure, which DuckDB does not always name.

    Raises:
        StoreError: naming the file that is damaged or cannot be opened.
    """
    try:
        _publish(store, note)
    except (duckdb.Error, OSError) as error:
        if reason := obstacle(error, path_of(error) or store.root):
            raise AccessError(reason) from error
        if problem := first_damaged(store):
            raise problem from error
        raise


def _publish(store: Store, note: Note | None) -> None:
    now = freshness.inputs(store)  # before reading: later changes make it stale
    with replacing(store.paths.warehouse, store.paths.aside, sync=False) as aside:
        contents = _fill(store, note, now, aside)
    freshness.note_built(store, store.paths.warehouse, now, contents)


def _fill(store: Store, note: Note | None, now: Inputs, file: Path) -> Contents:
    """Write a warehouse: a copy of the noted one with the changed batches, or all of it."""
    file.unlink(missing_ok=True)  # of a try before
    changed = changes(note, now) if note else None
    if note and changed is not None:
        shutil.copyfile(store.paths.warehouse, file)
    with open_to_write(file) as connection:
        connection.execute(readers.NO_CACHE)
        update = Update(connection, store, now)
        contents = update.change(note.contents, changed) if note and changed is not None else update.create()
        settle(connection)
        if contents and sum(contents.rows.values()) <= _SMALL:
            connection.execute("SET force_compression = 'uncompressed'")
        connection.execute("CHECKPOINT")  # everything is in the renamed file, nothing in a log beside it
    if contents is None:
        return _fill(store, None, now, file)
    if changed is None:
        return replace(contents, bytes_per_row=file.stat().st_size / max(1, sum(contents.rows.values())))
    return contents
