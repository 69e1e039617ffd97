"""The tables of the store in a DuckDB database: copied, or views over the Parquet files.

A view takes the batch from the path of its files, so that a query for some batches opens only their files. The columns
of the files are those of their manifests: DuckDB opens every file only where their columns differ.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.core.literals import quoted
from personahub_assets.store.home import PART
from personahub_assets.store.manifest import Manifest
from personahub_assets.store.tables import BY_ASSET, STAGES, Store, asset_of, damaged, table_sql

COPIED, EMPTY = "copied", "empty"
"""How a table is in a database; else by a query over its files."""

_MANY_FILES, _SMALL_FILE = 256, 8_192
"""Files of a table, with fewer rows than this in the mean, above which one thread inserts them."""

_NOT_NULL = re.compile(r"(?m)^[ \t]*(\w+) .*\bNOT NULL\b")


@dataclass(frozen=True)
class Source:
    """Files of a table that are read together.

    Attributes:
        patterns: patterns of their paths.
        of_path: values of columns that their folder gives.
        samples: a file for each set of columns that they have.
    """

    patterns: list[str]
    of_path: dict[str, str]
    samples: list[str]


def add_table(connection: duckdb.DuckDBPyConnection, store: Store, table: str, *, is_copied: bool) -> None:
    """Make a table: copied, or a view over Parquet, or empty and typed while it has no rows."""
    manifests = store.manifests(store.listings(store.folders(table)))
    wanted = definition(connection, store, table, manifests, is_copied=is_copied)
    make_table(connection, store, table, manifests, wanted)


def count_rows(manifests: Mapping[Path, Manifest]) -> int:
    """Rows of all files."""
    return sum(int(each.rows.sum()) for each in manifests.values())


def count_files(manifests: Mapping[Path, Manifest]) -> int:
    """Number of files."""
    return sum(len(each.rows) for each in manifests.values())


def definition(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    table: str,
    manifests: Mapping[Path, Manifest],
    *,
    is_copied: bool,
) -> str:
    """How a table is to be: COPIED, EMPTY, or the query of a view over its files."""
    if is_copied or not count_files(manifests):
        return COPIED if is_copied else EMPTY
    return _select(connection, store, table, _sources(store, table, manifests))


def make_table(
    connection: duckdb.DuckDBPyConnection, store: Store, table: str, manifests: Mapping[Path, Manifest], wanted: str
) -> None:
    """Make a table by its definition."""
    if wanted not in (COPIED, EMPTY):
        connection.execute(f"CREATE VIEW {table} AS {wanted}")
        return
    connection.execute(store.table_set.statements(table)[0])
    if count_files(manifests):
        rows = _select(connection, store, table, _sources(store, table, manifests))
        with bounded_memory(connection, [manifests]):
            connection.execute(f"INSERT INTO {table} {rows}")


@contextmanager
def bounded_memory(connection: duckdb.DuckDBPyConnection, tables: Iterable[Mapping[Path, Manifest]]) -> Iterator[None]:
    """Insert rows of tables in many small files with one thread.

    Several threads keep the order of the rows by holding those of each file apart until the end, which takes at least
    32 KB a column: the 370,000 files of a hub of 10,000 small batches took more than 19 GB, and take 1 GB in this way.
    """
    small = [each for each in tables if count_rows(each) < _SMALL_FILE * count_files(each)]
    if max(map(count_files, small), default=0) <= _MANY_FILES:
        yield
        return
    before: Any = connection.execute("SELECT current_setting('threads')").fetchone()
    connection.execute("SET threads = 1")
    yield
    connection.execute(f"SET threads = {before[0]}")


def replace_rows(connection: duckdb.DuckDBPyConnection, table: str, batches: Collection[str], rows: str | None) -> None:
    """Replace the rows of some batches in a copied table by those of a query."""
    connection.execute(f"DELETE FROM {table} WHERE batch IN {literals(batches)}")
    if rows:
        connection.execute(f"INSERT INTO {table} {rows}")


def rows_of_batches(
    connection: duckdb.DuckDBPyConnection, store: Store, table: str, batches: Collection[str]
) -> str | None:
    """A query for the rows of some batches that names their files; None if they have none."""
    sources = list(_sources_of(store, table, batches))
    return _select(connection, store, table, sources) if sources else None


def no_rows(store: Store, table: str) -> str:
    """A query with the columns of a table and without rows."""
    columns = (f'NULL::{kind} AS "{name}"' for name, kind in store.table_set.types(table).items())
    return f"SELECT {', '.join(columns)} LIMIT 0"


def literals(values: Iterable[str]) -> str:
    """A list of texts in SQL.

    >>> literals(["b", "a"])
    "('a', 'b')"
    """
    return f"({', '.join(map(quoted, sorted(values)))})"


def _sources(store: Store, table: str, manifests: Mapping[Path, Manifest]) -> list[Source]:
    """All files of a table."""
    if table == "decisions":
        return [
            Source([store.pattern(folder)], _of_path(table, folder), _samples({folder: each}))
            for folder, each in manifests.items()
            if each.listing.names
        ]
    return [Source(list(store.globs(table)), {}, _samples(manifests))]


def _sources_of(store: Store, table: str, batches: Collection[str]) -> Iterable[Source]:
    """The files that a table has of some batches."""
    for folder in store.folders(table):
        files = [folder / f"batch={batch}" / PART for batch in sorted(batches)]
        paths = [escape(str(file)) for file in files if file.exists()]
        if paths:
            yield Source(paths, _of_path(table, folder), paths)


def _of_path(table: str, folder: Path) -> dict[str, str]:
    return {"stage": STAGES[str(asset_of(table, folder))]} if table == "decisions" else {}


def _samples(manifests: Mapping[Path, Manifest]) -> list[str]:
    """The pattern of one file for each set of columns."""
    samples = dict[int, str]()
    for folder, each in manifests.items():
        for columns, position in each.distinct_columns.items():
            samples.setdefault(columns, escape(f"{folder}/batch={each.listing.batches[position]}/{PART}"))
    return list(samples.values())


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


def _select(connection: duckdb.DuckDBPyConnection, store: Store, table: str, sources: Sequence[Source]) -> str:
    """The rows of some files with the columns that the table has now."""
    return " UNION ALL ".join(_select_one(connection, store, table, source) for source in sources)


def _select_one(connection: duckdb.DuckDBPyConnection, store: Store, table: str, source: Source) -> str:
    samples = _read(source.samples, "union_by_name = true, hive_partitioning = false")
    present = {name: kind for (name, kind, *_) in connection.execute(f"DESCRIBE SELECT * FROM {samples}").fetchall()}
    values = {name: f"NULL::{kind}" for name, kind in store.table_set.types(table).items()}
    values |= {name: f'"{name}"' for name in values.keys() & present}
    values |= {name: quoted(value) for name, value in source.of_path.items()}
    of_path = _path_columns(store, table)
    if len(source.samples) > 1:
        # DuckDB 1.5 skips files only by a column of this name.
        path = "filename" if "filename" not in values else "/filename"
        options = _of_columns({name: kind for name, kind in sorted(present.items()) if name in values}, path)
        from_path = {name: f"regexp_extract(\"{path}\", '/{name}=([^/]*)/', 1)" for name in of_path}
    else:
        options, from_path = _hive(of_path), {name: f'"{name}"' for name in of_path}
    values |= {name: value for name, value in from_path.items() if name in values}
    columns = ", ".join(f'{value} AS "{name}"' for name, value in values.items())
    return f"SELECT {columns} FROM {_read(source.patterns, options)}"


def _read(patterns: Sequence[str], options: str) -> str:
    listed = quoted(patterns[0]) if len(patterns) == 1 else f"[{', '.join(map(quoted, patterns))}]"
    return f"read_parquet({listed}, {options})"


def _path_columns(store: Store, table: str) -> list[str]:
    """The columns that come from the path of a file: DuckDB skips files by them without opening them."""
    if "=" in str(store.root):
        return []  # a home such as `/data/batch=1/hub` would give wrong values
    return ["batch", *(["asset"] if table in BY_ASSET and table != "decisions" else [])]


def _hive(of_path: Sequence[str]) -> str:
    """Options to read files that have the same columns."""
    if not of_path:
        return "hive_partitioning = false"
    kinds = ", ".join(f"{name}: VARCHAR" for name in of_path)
    return f"hive_partitioning = true, hive_types = {{{kinds}}}"


def _of_columns(kinds: Mapping[str, str], path: str) -> str:
    """Options to read files of which some lack columns.

    `union_by_name` would open all files for every query, and DuckDB 1.5 has no partitions beside a schema: so the
    batch is taken from the path, and DuckDB skips files by that, too.

    Args:
        kinds: the columns, with their types.
        path: name of a column for the path of a row's file.
    """
    columns = ", ".join(
        f"{quoted(name)}: {{name: {quoted(name)}, type: {quoted(kind)}, default_value: NULL}}"
        for name, kind in kinds.items()
    )
    return f"schema = MAP {{{columns}}}, hive_partitioning = false, filename = {quoted(path)}"


def check_keys(connection: duckdb.DuckDBPyConnection, store: Store, table: str, rows: str | None = None) -> None:
    """Check that rows have their key columns; a file of another table lacks them.

    Args:
        rows: the query of the rows to check; None for all of the table.

    Raises:
        StoreError: naming the file and the missing columns.
    """
    keys = _key_columns(store.table_set.sql[table])
    is_incomplete = " OR ".join(f'"{name}" IS NULL' for name in keys)
    source = table if rows is None else f"({rows})"
    if not connection.execute(f"SELECT 1 FROM {source} WHERE {is_incomplete} LIMIT 1").fetchone():
        return
    for file in store.files(table):
        frame = pl.scan_parquet(file, glob=False)
        if missing := [name for name in keys if name not in frame.collect_schema().names()]:
            raise damaged(file, table, ValueError(f"it lacks the columns {missing} of {table}"))
        empty = frame.select(pl.col(keys).null_count()).collect().row(0, named=True)
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
