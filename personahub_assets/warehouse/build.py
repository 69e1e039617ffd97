"""The warehouse: one DuckDB file over the store, built aside and published by rename; it can be deleted at any time."""

import itertools
import logging
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.core import project_files
from personahub_assets.core.access import obstacle, path_of
from personahub_assets.core.errors import AccessError, StoreError
from personahub_assets.core.literals import quoted
from personahub_assets.core.records import packaged
from personahub_assets.core.rubrics import SCORE, judged_by
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.store.atomic import aside_name, replacing
from personahub_assets.store.connections import settle
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store, damaged, first_damaged, table_sql
from personahub_assets.warehouse import freshness, journals, readers

_LOG = logging.getLogger("personahub")

# Never copied into the file: large, and rarely queried.
ALWAYS_VIEWS = frozenset({"persona_embeddings", "item_embeddings", "generations", "quarantine", "decisions"})
_COPIED_BYTES = 1 << 20
"""Largest table that `open_live` copies to memory."""


_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
_NOT_NULL = re.compile(r"(?m)^[ \t]*(\w+) .*\bNOT NULL\b")
_COMMENT = re.compile(r"(?m)^[ \t]*--.*$")
_ABOUT_COLUMN = re.compile(r"-- (\w+): (.+)")
_ABOUT_ITEMS = """-- Items of all datasets in long form
-- batch: Batch of the persona
-- dataset: Dataset of the item
-- item_id: The item
-- persona_id: Persona that the item was written for
-- source_id: Item of another dataset that it was made from, such as the problem of a solution; null without one
-- sample: Number of the answer for this persona or item, from 0
-- text: The item as one readable text
-- generation_id: Call that wrote it, in generations
"""


_ABOUT_SCORES = """-- Mean scores of the judged items of all datasets; <dataset>_scores has criteria and reasons
-- batch: Batch of the item
-- dataset: Dataset of the item
-- item_id: The judged item
-- score: Mean of the scores for the whole, from 1 to 5
-- judges: Number of scores
-- lowest: The lowest of them
-- highest: The highest of them
"""


_DUPLICATES = """-- Items of {dataset} that nearly repeat another one, each with the item it was dropped for
-- batch: Batch of the dropped item
-- item_id: The dropped item
-- keeper_id: The similar item that is kept, of any batch
-- stage: lexical or semantic
-- similarity: Similarity of the two: word-set Jaccard at the lexical stage, cosine at the semantic stage
-- admission: Run that first decided about the item at this stage
SELECT batch, item_id, keeper_id, stage, similarity, admission FROM item_duplicates WHERE dataset = '{dataset}'
"""
_UNIQUE = """-- Items of {dataset} without those of the view excluded_items, which has the reason
{columns}
SELECT i.* FROM {dataset} AS i
ANTI JOIN (FROM excluded_items WHERE dataset = '{dataset}') AS x ON x.batch = i.batch AND x.item_id = i.item_id
"""


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


@contextmanager
def open_live(
    store: Store, queries: str, *, with_comments: bool = False, file: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a connection in which the tables, views and macros of some queries read the current store.

    Args:
        store: the tables.
        queries: queries that will be run.
        with_comments: also add comments of tables and columns, which takes longer than the rest.
        file: path of a new database that other processes can open; None for one in memory.
    """
    wanted = _named(queries, view_selects(store), _macros())
    with duckdb.connect(str(file or ":memory:")) as connection:
        try:
            connection.execute(readers.NO_CACHE)
            copied = {table: _fits_memory(store, table) for table in store.table_set.sql if table in wanted}
            if all(copied.values()):
                connection.execute("SET threads = 1")  # starting others takes longer than the queries
            for table, is_copied in copied.items():
                _add_table(connection, store, table, native=is_copied)
            _add_unreadable(connection, store, wanted)
            if journals.TABLE in wanted:
                journals.add_table(connection, store)
            _add_views_and_macros(connection, store, wanted)
            if with_comments:
                _add_comments(connection, store, wanted)
            yield connection
        finally:
            settle(connection)


def tables_in(store: Store, queries: str) -> list[str]:
    """The tables read by queries, directly or through views and macros."""
    wanted = _named(queries, view_selects(store), _macros())
    return [table for table in store.table_set.sql if table in wanted]


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
            rows = {name: _total(connection, name) for name in store.table_set.sql}
            native = _native(connection, store)
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
    # As written by `_add_table`: a home can have brackets or quotes in its path.
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
            _add_table(connection, store, table, native=table not in ALWAYS_VIEWS, limit=settings.native_rows)
            _check_keys(connection, store, table)
        for table in _add_unreadable(connection, store, store.catalog.faults):
            _LOG.warning(
                "%s. Its rows stay in the warehouse, with the columns of their files", store.catalog.faults[table]
            )
        journals.add_table(connection, store)
        _add_views_and_macros(connection, store, {*view_selects(store), *_macros()})
        _make_mart(connection, "ids", settings.sorted_ids)
        _make_mart(connection, "duplicates", settings.native_rows)
        _add_comments(connection, store, {*store.table_set.sql, *view_selects(store), *_macros()})
        settle(connection)
        connection.execute("CHECKPOINT")  # everything is in the renamed file, nothing in a log beside it
    freshness.note_built(store, store.paths.warehouse, made_from)


def _add_table(
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
    if native and (limit is None or _total(connection, f"({rows})") <= limit):
        connection.execute(f"{create}; INSERT INTO {table} {rows}")
    else:
        connection.execute(f"CREATE VIEW {table} AS {rows}")


def _fits_memory(store: Store, table: str) -> bool:
    """Whether to copy a table: a query over files opens all of them for every view that it reads."""
    try:
        return sum(file.stat().st_size for file in store.files(table)) <= _COPIED_BYTES
    except FileNotFoundError:  # removed meanwhile
        return False


def _unreadable(store: Store) -> list[str]:
    """Datasets with rows whose class cannot be made, because a file of the home is wrong."""
    return [name for name in store.catalog.faults if store.files(name)]


def _add_unreadable(connection: duckdb.DuckDBPyConnection, store: Store, wanted: Collection[str]) -> list[str]:
    """Make views of such datasets, with the columns of their files: a slip in a prompt hides no row."""
    names = [name for name in _unreadable(store) if name in wanted]
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


def _add_comments(connection: duckdb.DuckDBPyConnection, store: Store, names: set[str]) -> None:
    """Add comments to tables, views, macros and columns."""
    native, tables = _native(connection, store), store.table_set
    statements = [tables.statements(table, is_view=table not in native)[1] for table in tables.sql if table in names]
    statements += [_comment_view(name, select) for name, select in view_selects(store).items() if name in names]
    statements += [_comment_macro(name, statement) for name, statement in _macros().items() if name in names]
    connection.execute("BEGIN;" + "".join(statements) + "COMMIT")


def _check_keys(connection: duckdb.DuckDBPyConnection, store: Store, table: str) -> None:
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


def view_selects(store: Store) -> dict[str, str]:
    """The SELECT of every view, by name."""
    datasets = store.catalog.datasets
    derived = [name for name, item in datasets.items() if item.__derivation__]
    names = [*datasets, *_unreadable(store)]
    judged = {judged_by(name): name for name in store.catalog.scores if {name, judged_by(name)} <= datasets.keys()}
    views = {"dataset_items": _dataset_items(names, derived), **_item_scores(judged)}
    left_out = _views_of_other_columns(store)
    views |= {name: sql for name, sql in project_files.sql_files("views").items() if name not in left_out}
    every = _views_of_datasets(store, names) | views
    return {name: sql for name, sql in every.items() if name not in store.table_set.sql}


def _views_of_other_columns(store: Store) -> set[str]:
    """Views of verified problems that cannot be made: this home has other columns for a dataset of the package."""
    own, package = store.catalog.datasets, packaged()
    return {
        comparison.view
        for comparison in COMPARISONS.values()
        if any(own.get(name) is not package[name] for name in (comparison.solutions, comparison.source))
    }


def _views_of_datasets(store: Store, names: Collection[str]) -> dict[str, str]:
    """The views that each dataset has, by name; a dataset of an older home can have the name of such a view."""
    tables = store.table_set
    views = dict[str, str]()
    for name in names:
        if name in store.catalog.scores:
            continue
        meanings = tables.column_comments(name) if name in tables.sql else {}
        columns = "\n".join(f"-- {column}: {text}" for column, text in meanings.items())
        views[f"{name}_duplicates"] = _DUPLICATES.replace("{dataset}", name)
        views[f"{name}_unique"] = _UNIQUE.replace("{columns}\n", f"{columns}\n" if columns else "").replace(
            "{dataset}", name
        )
    return views


def _macros() -> dict[str, str]:
    """The statements of all macros, by name; views may call helpers."""
    return project_files.sql_files("helpers") | project_files.sql_files("macros")


def _named(queries: str, views: dict[str, str], macros: dict[str, str]) -> set[str]:
    """Tables, views and macros whose name occurs in the queries, or in a view or macro that does."""
    mentioned: set[str] = set()
    texts = [queries]
    while texts:
        text = _COMMENT.sub("", texts.pop())
        # A macro is called; a column may have its name.
        names = {name for name in _IDENTIFIER.findall(text) if name not in macros or f"{name}(" in text} - mentioned
        mentioned |= names
        texts += [(views | macros)[name] for name in names if name in views or name in macros]
    return mentioned


def _add_views_and_macros(connection: duckdb.DuckDBPyConnection, store: Store, names: set[str]) -> None:
    """Create those that are named: helpers first, since views call them."""
    helpers, macros = (
        [statement for name, statement in project_files.sql_files(folder).items() if name in names]
        for folder in ("helpers", "macros")
    )
    connection.execute(";".join(helpers))
    _add_views(connection, {name: select for name, select in view_selects(store).items() if name in names})
    connection.execute(";".join(macros))


def _add_views(connection: duckdb.DuckDBPyConnection, views: dict[str, str]) -> None:
    """Create views in the order of their dependencies.

    Raises:
        StoreError: naming the views that cannot be created, and why.
    """
    pending = _in_order(views)
    while pending:
        faults = {}
        for name, select in pending.items():
            try:
                connection.execute(f"CREATE VIEW {name} AS {select}")
            except duckdb.Error as error:
                faults[name] = error
        if len(faults) == len(pending):
            raise StoreError("; ".join(f"sql/views/{name}.sql: {error}" for name, error in faults.items()))
        pending = {name: pending[name] for name in faults}


def _in_order(views: dict[str, str]) -> dict[str, str]:
    """The views, each after those that it names: DuckDB makes one only when these exist."""
    ordered, visited = dict[str, str](), set[str]()

    def add(name: str) -> None:
        if name not in views or name in visited:
            return
        visited.add(name)
        for used in _IDENTIFIER.findall(_COMMENT.sub("", views[name])):
            add(used)
        ordered[name] = views[name]

    for name in views:
        add(name)
    return ordered


def comments(sql: str) -> tuple[str, dict[str, str]]:
    """The comment of a view or macro (first line) and of its columns (lines like `-- id: Meaning`)."""
    summary, *column_lines = itertools.takewhile(lambda line: line.startswith("--"), sql.lstrip().splitlines())
    columns = {match[1]: match[2] for line in column_lines if (match := _ABOUT_COLUMN.fullmatch(line))}
    return summary.removeprefix("--").strip(), columns


def _comment_view(name: str, select: str) -> str:
    summary, columns = comments(select)
    about_columns = "".join(
        f'COMMENT ON COLUMN {name}."{column}" IS {quoted(text)};' for column, text in columns.items()
    )
    return f"COMMENT ON VIEW {name} IS {quoted(summary)};{about_columns}"


def _comment_macro(name: str, statement: str) -> str:
    kind = "MACRO TABLE" if " AS TABLE\n" in statement else "MACRO"
    return f"COMMENT ON {kind} {name} IS {quoted(comments(statement)[0])};"


def _make_mart(connection: duckdb.DuckDBPyConnection, view: str, limit: int) -> None:
    """Put tables under a view that has at most `limit` rows, so that it is answered without reading the files."""
    if _total(connection, view) <= limit:
        connection.execute(project_files.sql_files("marts")[view])


def _dataset_items(names: Iterable[str], derived: Collection[str]) -> str:
    selects = [
        f"SELECT batch, '{name}' AS dataset, item_id, persona_id, "
        f"{'source_id' if name in derived else 'NULL::VARCHAR'} AS source_id, sample, text, generation_id FROM {name}"
        for name in names
    ]
    return _ABOUT_ITEMS + "\nUNION ALL\n".join(selects)


def _item_scores(judged: Mapping[str, str]) -> dict[str, str]:
    """The view of the mean scores; none without a dataset that can be judged."""
    selects = [
        f"SELECT batch, '{dataset}' AS dataset, item_id, score, judges, lowest, highest "
        f"FROM ({mean_scores(dataset, scores, [SCORE])})"
        for dataset, scores in judged.items()
    ]
    return {"item_scores": _ABOUT_SCORES + "\nUNION ALL\n".join(selects)} if selects else {}


def mean_scores(dataset: str, scores: str, columns: Iterable[str]) -> str:
    """Query for the mean scores of the items of a dataset by all judges; scores of earlier texts do not count.

    Args:
        dataset: the judged dataset.
        scores: the dataset with its scores.
        columns: criteria, and `score`.

    Returns:
        SQL with batch, item_id, the columns, judges, lowest and highest.
    """
    means = ", ".join(f'avg(s."{name}")::DOUBLE AS "{name}"' for name in columns)
    return (
        f"SELECT s.batch, s.source_id AS item_id, {means}, count(*) AS judges, min(s.score) AS lowest, "
        f"max(s.score) AS highest FROM {scores} AS s JOIN {dataset} AS d ON d.batch = s.batch "
        "AND d.item_id = s.source_id AND s.source_hash = left(sha256(d.text), 16) GROUP BY s.batch, s.source_id"
    )


def _native(connection: duckdb.DuckDBPyConnection, store: Store) -> list[str]:
    tables = connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
    return [name for (name,) in tables if name in store.table_set.sql]


def _total(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    row: Any = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(row[0])
