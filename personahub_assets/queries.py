"""SQL from the command line: read-only, and results in the format asked for."""

import io
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from rich.console import Console
from rich.table import Table

from personahub_assets.domain.errors import ConfigError, PersonaHubError
from personahub_assets.resources import files, warehouse
from personahub_assets.resources.config import Environment
from personahub_assets.resources.store import Store
from personahub_assets.teaching import teach, words_of

_SHOWN = 200
_UNFIT = {"INTERVAL", "BLOB"}
_WIDEST = 120  # characters of a column where there is no terminal

_TABLES = """
SELECT table_name AS "table", estimated_size AS rows, comment AS about FROM duckdb_tables()
UNION ALL
SELECT view_name, NULL, comment FROM duckdb_views() WHERE NOT internal
ORDER BY 1
"""


class QueryError(PersonaHubError):
    """DuckDB refused the query."""


def answer(environment: Environment, query: str | None, form: str, output: Path | None) -> None:
    """Run queries and write the result of each that gives rows.

    Raises:
        StoreError: if there is no warehouse yet.
        QueryError: if DuckDB refuses the query, or it would write.
        ConfigError: if Parquet is asked for without a file, or several results are to go into one.
    """
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("--format parquet writes bytes: name a file with --output, or redirect standard output")
    with warehouse.reader(Store(home=str(environment.home))) as connection:
        teach(connection, environment)
        try:
            written = 0
            for statement in duckdb.extract_statements(_text(query)):
                _check_reads(statement)
                result = connection.sql(statement.query)
                if result is None:
                    continue
                if written and (output or form == "parquet"):
                    raise ConfigError("one file takes one result, and the query gives several: run them one by one")
                write(result, form, output)
                written += 1
        except duckdb.Error as error:
            raise QueryError(words_of(error)) from error


def _check_reads(statement: duckdb.Statement) -> None:
    """Refuse statements that write files: DuckDB has no read-only access to folders, and the tables are files."""
    kind = duckdb.StatementType
    hides = statement.type == kind.EXPLAIN and "copy" in statement.query.lower()
    if hides or statement.type in (kind.COPY, kind.EXPORT, kind.ATTACH, kind.PREPARE):
        raise QueryError(
            f"{statement.type.name} is not for the warehouse, which is only read; write with --output FILE"
        )


def _text(query: str | None) -> str:
    if query == "-" or (query is None and not sys.stdin.isatty() and (piped := sys.stdin.read()).strip()):
        return sys.stdin.read() if query == "-" else piped
    if query is None:
        return _TABLES
    is_file = query.endswith(".sql") or ("\n" not in query and len(query) < 200 and Path(query).is_file())
    if not is_file:
        return query
    # sql/analysis is found from any folder.
    path = next((path for path in (Path(query), files.root() / query) if path.is_file()), None)
    if path is None:
        raise ConfigError(f"{query}: there is no such file")
    return path.read_text("utf-8")


def write(result: duckdb.DuckDBPyRelation, form: str, output: Path | None) -> None:
    """Write a result to a file or to standard output, as a table, csv, json or parquet."""
    if form == "table":
        _write_table(result, output)
        return
    unfit = [name for name, kind in zip(result.columns, result.types, strict=True) if str(kind) in _UNFIT]
    if unfit:
        raise QueryError(f"{form} has no place for the INTERVAL or BLOB columns {unfit}: cast them to VARCHAR")
    try:
        frame = pl.DataFrame(result)
    except pl.exceptions.DuplicateError as error:
        raise QueryError(f"{error}: name columns apart with AS") from error
    data = io.BytesIO()
    if form == "csv":
        _flat(frame).write_csv(data)
    elif form == "json":
        frame.write_ndjson(data)
    else:
        frame.write_parquet(data)
    if output:
        output.write_bytes(data.getvalue())
    else:
        sys.stdout.buffer.write(data.getvalue())


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON text, since CSV has no place for them."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    as_json = {
        name: pl.struct(pl.col(name).alias("v")).struct.json_encode().str.slice(5).str.head(-1) for name in nested
    }
    return frame.with_columns(
        **{name: pl.when(pl.col(name).is_not_null()).then(text) for name, text in as_json.items()}
    )


def _write_table(result: duckdb.DuckDBPyRelation, output: Path | None) -> None:
    table = Table()
    widest = None if output is None and sys.stdout.isatty() else _WIDEST
    for name, kind in zip(result.columns, result.types, strict=True):
        number = str(kind) in {"BIGINT", "INTEGER", "DOUBLE", "HUGEINT", "TINYINT"}
        table.add_column(name, justify="right" if number else "left", overflow="fold", max_width=widest)
    rows = result.fetchmany(_SHOWN + 1)
    for row in rows[:_SHOWN]:
        # Text of a page must not be read as markup.
        table.add_row(*("" if value is None else _plain(str(value)) for value in row))
    with output.open("w", encoding="utf-8") if output else _Standard() as file:
        # A pipe or a file has no width: nothing is folded there but long texts.
        console = Console(file=file, emoji=False, width=widest and widest * (len(result.columns) + 1))
        console.print(table)
        if len(rows) > _SHOWN:
            console.print(f"The first {_SHOWN} rows; all of them with --format csv, json or parquet, or LIMIT.")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))


class _Standard:
    """Standard output, left open."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
