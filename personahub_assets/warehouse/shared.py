"""The warehouse of a home on object storage: written there after each build, and taken over by other machines.

Each machine that builds has a warehouse of its own, whose views read its own files. A machine without one takes over
the last that was written, and lets the views read its files.
"""

import re

import duckdb

from personahub_assets.core.literals import quoted
from personahub_assets.store.atomic import replacing
from personahub_assets.store.connections import open_to_write, settle
from personahub_assets.store.tables import Store
from personahub_assets.store.working_copy import WAREHOUSE

_TABLES = re.compile(r"'(/[^']*?)/tables/")
_VIEWS = "SELECT view_name, sql, comment FROM duckdb_views() WHERE NOT internal"
_COLUMNS = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = $view AND comment IS NOT NULL"


def share(store: Store) -> None:
    """Write the warehouse as an object; in a home on this disk do nothing.

    Raises:
        AccessError: if the server cannot be asked.
    """
    if store.working_copy is not None:
        store.working_copy.objects.write(WAREHOUSE, store.paths.warehouse, "any")


def take_over(store: Store) -> None:
    """Download the warehouse that another machine has built, if there is none here; its tables must be here.

    Raises:
        AccessError: if the server cannot be asked.
        StoreError: if the object is damaged.
    """
    if store.working_copy is None or store.paths.warehouse.exists():
        return
    if store.working_copy.objects.head(WAREHOUSE) is None:
        return
    with replacing(store.paths.warehouse, store.paths.aside) as file:
        store.working_copy.objects.download(WAREHOUSE, file)
        with open_to_write(file) as connection:
            _read_here(connection, str(store.root))
            connection.execute("CHECKPOINT")
            settle(connection)


def _read_here(connection: duckdb.DuckDBPyConnection, root: str) -> None:
    """Let the views read the files below a folder."""
    for view, sql, comment in connection.execute(_VIEWS).fetchall():
        local = _TABLES.sub(lambda _: f"'{root.replace(chr(39), chr(39) * 2)}/tables/", sql)
        if local == sql:
            continue
        columns = connection.execute(_COLUMNS, {"view": view}).fetchall()
        connection.execute(local.replace("CREATE VIEW", "CREATE OR REPLACE VIEW", 1))
        if comment:
            connection.execute(f'COMMENT ON VIEW "{view}" IS {quoted(comment)}')
        for column, text in columns:
            connection.execute(f'COMMENT ON COLUMN "{view}"."{column}" IS {quoted(text)}')
