"""The warehouse: one DuckDB file over the store, built aside and published by rename; it can be deleted at any time."""

import logging
import time
from dataclasses import dataclass
from functools import partial
from glob import escape

import duckdb

from personahub_assets.core import project_files
from personahub_assets.core.access import obstacle, path_of
from personahub_assets.core.errors import AccessError
from personahub_assets.core.literals import quoted
from personahub_assets.store.atomic import aside_name, replacing
from personahub_assets.store.connections import settle
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store, first_damaged
from personahub_assets.warehouse import freshness, journals, readers
from personahub_assets.warehouse.stored_tables import add_table, add_unreadable, check_keys, native_tables, total_of
from personahub_assets.warehouse.views import add_comments, add_views_and_macros, macros, view_selects

_LOG = logging.getLogger("personahub")

# Never copied into the file: large, and rarely queried.
ALWAYS_VIEWS = frozenset({"persona_embeddings", "item_embeddings", "generations", "quarantine", "decisions"})

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
    """Build the warehouse unless it is up to date; of several processes one builds and the others wait."""
    started = time.perf_counter()
    with store.lock(Lock.WAREHOUSE, wait=True):
        fresh = not force and is_fresh(store)
        if not fresh:
            readers.retry_on_replacement(partial(_build_or_explain, store))
        with readers.attach(store.paths.warehouse) as connection:
            rows = {name: total_of(connection, name) for name in store.table_set.sql}
            native = native_tables(connection, store)
            novelty = connection.execute(_NOVELTY).fetchall()
            settle(connection)
    return Built(rows, native, round(time.perf_counter() - started, 3), not fresh, novelty)


def _build_or_explain(store: Store) -> None:
    """Build it, and find the damaged table file on failure, which DuckDB does not always name.

    Raises:
        StoreError: naming the file that is damaged or cannot be opened.
    """
    try:
        _publish(store)
    except (duckdb.Error, OSError) as error:
        if reason := obstacle(error, path_of(error) or store.root):
            raise AccessError(reason) from error
        if problem := first_damaged(store):
            raise problem from error
        raise


def is_fresh(store: Store) -> bool:
    """Whether the warehouse was built from the current table files, SQL and settings, and the home has not moved."""
    return freshness.is_built_from_these(store, store.paths.warehouse) and not _has_home_moved(store)


def _has_home_moved(store: Store) -> bool:
    """Whether the home has moved since the build: views contain absolute paths.

    Also True if the file cannot be opened, because it is damaged or open in a shell without -readonly. The new build
    is another file, so neither stops a run.
    """
    try:
        with readers.attach(store.paths.warehouse) as connection:
            views = connection.execute("SELECT sql FROM duckdb_views() WHERE sql LIKE '%read_parquet(%'").fetchall()
            settle(connection)
    except duckdb.IOException:
        return True
    # As written by `add_table`: a home can have brackets or quotes in its path.
    tables_prefix = quoted(f"{escape(str(store.paths.tables))}/")[1:-1]
    return any(tables_prefix not in sql for (sql,) in views)


def _publish(store: Store) -> None:
    made_from = freshness.inputs(store)  # before reading: later changes make it stale
    settings = store.config.warehouse
    with (
        replacing(store.paths.warehouse, store.paths.aside, sync=False) as aside,
        duckdb.connect(str(aside)) as connection,
    ):
        connection.execute(readers.NO_CACHE)
        for table in store.table_set.sql:
            add_table(connection, store, table, native=table not in ALWAYS_VIEWS, limit=settings.native_rows)
            check_keys(connection, store, table)
        for table in add_unreadable(connection, store, store.catalog.faults):
            _LOG.warning(
                "%s. Its rows stay in the warehouse, with the columns of their files", store.catalog.faults[table]
            )
        journals.add_table(connection, store)
        add_views_and_macros(connection, store, {*view_selects(store), *macros()})
        _make_mart(connection, "ids", settings.sorted_ids)
        _make_mart(connection, "duplicates", settings.native_rows)
        add_comments(connection, store, {*store.table_set.sql, *view_selects(store), *macros()})
        settle(connection)
        connection.execute("CHECKPOINT")  # everything is in the renamed file, nothing in a log beside it
    freshness.note_built(store, store.paths.warehouse, made_from)


def _make_mart(connection: duckdb.DuckDBPyConnection, view: str, limit: int) -> None:
    """Put tables under a view that has at most `limit` rows, so that it is answered without reading the files."""
    if total_of(connection, view) <= limit:
        connection.execute(project_files.sql_files("marts")[view])
