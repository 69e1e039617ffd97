"""A database in memory over the current store, for a few queries."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from personahub_assets.store.connections import settle
from personahub_assets.store.one_batch import OneBatch
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import hub_views, journals, readers
from personahub_assets.warehouse.stored_tables import add_table, add_unreadable
from personahub_assets.warehouse.views import add_comments, add_views_and_macros, macros, named, view_selects

_COPIED_BYTES = 1 << 20
"""Largest table that `open_live` copies to memory."""


@contextmanager
def open_live(
    store: Store, queries: str, *, batch: str | None = None, with_comments: bool = False, file: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection in which the tables, views and macros of some queries read the current store.

    Args:
        store: the tables.
        queries: queries that will be run.
        batch: the only batch whose rows the tables have; None for all.
        with_comments: also add comments of tables and columns, which takes longer than the rest.
        file: path of a new database that other processes can open; None for one in memory.
    """
    store = store if batch is None else OneBatch.of(store, batch)
    wanted = named(queries, view_selects(store) | hub_views.SELECTS, macros())
    with duckdb.connect(str(file or ":memory:")) as connection:
        try:
            connection.execute(readers.NO_CACHE)
            # A query over files opens all of them for every view that it reads.
            copied = {table: store.size(table) <= _COPIED_BYTES for table in store.table_set.sql if table in wanted}
            if all(copied.values()):
                connection.execute("SET threads = 1")  # starting others takes longer than the queries
            for table, is_copied in copied.items():
                add_table(connection, store, table, is_copied=is_copied)
            add_unreadable(connection, store, wanted)
            if journals.TABLE in wanted:
                journals.add_table(connection, store)
            add_views_and_macros(connection, store, wanted)
            hub_views.add_views(connection, wanted)
            if with_comments:
                connection.execute("BEGIN")
                add_comments(connection, store, wanted)
                connection.execute("COMMIT")
            yield connection
        finally:
            settle(connection)


def tables_in(store: Store, queries: str) -> list[str]:
    """The tables read by queries, directly or through views and macros."""
    wanted = named(queries, view_selects(store), macros())
    return [table for table in store.table_set.sql if table in wanted]
