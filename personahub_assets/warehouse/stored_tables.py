"""The tables of the store in a DuckDB database: copied, or views over the Parquet files."""

import re
from collections.abc import Collection
from typing import Any

import duckdb
import polars as pl

from personahub_assets.core.literals import quoted
from personahub_assets.store.tables import Store, damaged, table_sql

_NOT_NULL = re.compile(r"(?m)^[ \t]*(\w+) .*\bNOT NULL\b")


def add_table(
    connection: duckdb.DuckDBPyConnection, store: Store, table: str, *, native: bool, limit: int | None = None
) -> None:
    """Make a table: copied (up to `limit` rows), or a view over Parquet, or empty and typed while it has no rows."""
    create, _ = store.table_set.statements(table)
    if not store.files(table):
        connection.execute(create)
        return
    types = store.table_set.types(table)
    selects = [_select(connection, types, pattern, of_path) for pattern, of_path in store.globs(table).items()]
    rows = " UNION ALL ".join(selects)
    if native and (limit is None or total_of(connection, f"({rows})") <= limit):
        connection.execute(f"{create}; INSERT INTO {table} {rows}")
    else:
        connection.execute(f"CREATE VIEW {table} AS {rows}")


def unreadable(store: Store) -> list[str]:
    """Datasets with rows whose class cannot be made, because a file of the home is wrong."""
    return [name for name in store.catalog.faults if store.files(name)]


def add_unreadable(connection: duckdb.DuckDBPyConnection, store: Store, wanted: Collection[str]) -> list[str]:
    """Make views of such datasets, with the columns of their files: a slip in a prompt hides no row."""
    names = [name for name in unreadable(store) if name in wanted]
    for name in names:
        (pattern,) = store.globs(name)
        rows = f"read_parquet({quoted(pattern)}, union_by_name = true, hive_partitioning = false)"
        connection.execute(f'CREATE VIEW "{name}" AS SELECT * FROM {rows}')
    return names


def _select(connection: duckdb.DuckDBPyConnection, types: dict[str, str], pattern: str, of_path: dict[str, str]) -> str:
    """The rows of some files with the columns that the table has now.

    Args:
        types: columns of the table with their types.
        of_path: values of columns that the path of the files gives.
    """
    source = f"read_parquet({quoted(pattern)}, union_by_name = true, hive_partitioning = false)"
    present = {name for (name, *_) in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    values = {name: f"NULL::{kind}" for name, kind in types.items()}
    values |= {name: f'"{name}"' for name in values.keys() & present}
    values |= {name: quoted(value) for name, value in of_path.items()}
    columns = ", ".join(f'{value} AS "{name}"' for name, value in values.items())
    return f"SELECT {columns} FROM {source}"


def check_keys(connection: duckdb.DuckDBPyConnection, store: Store, table: str) -> None:
    """Check that rows have their key columns; a file of another table lacks them.

    Raises:
        StoreError: naming the file and the missing columns.
    """
    keys = _key_columns(store.table_set.sql[table])
    is_incomplete = " OR ".join(f'"{name}" IS NULL' for name in keys)
    if not connection.execute(f"SELECT 1 FROM {table} WHERE {is_incomplete} LIMIT 1").fetchone():
        return
    for file in store.files(table):
        rows = pl.scan_parquet(file, glob=False)
        if missing := [name for name in keys if name not in rows.collect_schema().names()]:
            raise damaged(file, table, ValueError(f"it lacks the columns {missing} of {table}"))
        empty = rows.select(pl.col(keys).null_count()).collect().row(0, named=True)
        if nulls := [name for name, count in empty.items() if count]:
            raise damaged(file, table, ValueError(f"it has rows without {nulls}"))


def key_columns(table: str) -> list[str]:
    """The required columns of a table: batch and ids.

    >>> key_columns("documents")
    ['batch', 'document_id']
    """
    return _key_columns(table_sql()[table])


def _key_columns(sql: str) -> list[str]:
    wanted = _NOT_NULL.findall(sql.replace('"', ""))
    return [name for index, name in enumerate(wanted) if index < 2 or name.endswith("_id")]


def native_tables(connection: duckdb.DuckDBPyConnection, store: Store) -> list[str]:
    """The tables that are copied in, by name."""
    tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    return [name for (name,) in tables if name in store.table_set.sql]


def total_of(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    """Rows of a table, view or subquery."""
    row: Any = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(row[0])
