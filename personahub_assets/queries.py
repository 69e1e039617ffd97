"""SQL from the command line: read-only, and results in the format asked for."""

import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from rich.console import Console
from rich.table import Table

from personahub_assets.domain.errors import ConfigError, PersonaHubError
from personahub_assets.resources import warehouse
from personahub_assets.resources.config import Environment
from personahub_assets.resources.store import Store

_SHOWN = 200

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
        ConfigError: if Parquet is asked for without a file.
    """
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("--format parquet writes bytes: name a file with --output, or redirect standard output")
    with warehouse.reader(Store(home=str(environment.home))) as connection:
        try:
            for statement in duckdb.extract_statements(_text(query)):
                _check_reads(statement)
                result = connection.sql(statement.query)
                if result is not None:
                    _write(result, form, output)
        except duckdb.Error as error:
            raise QueryError(str(error)) from error


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
    path = Path(query)
    if not path.is_file():
        raise ConfigError(f"{query}: there is no such file")
    return path.read_text("utf-8")


def _write(result: duckdb.DuckDBPyRelation, form: str, output: Path | None) -> None:
    if form == "table":
        _write_table(result, output)
        return
    frame = pl.DataFrame(result)
    target: Any = output or sys.stdout.buffer
    if form == "csv":
        _flat(frame).write_csv(target)
    elif form == "json":
        frame.write_ndjson(target)
    else:
        frame.write_parquet(target)


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON text, since CSV has no place for them."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    as_json = (pl.struct(pl.col(name).alias("v")).struct.json_encode().str.slice(5).str.head(-1) for name in nested)
    return frame.with_columns(**dict(zip(nested, as_json, strict=True)))


def _write_table(result: duckdb.DuckDBPyRelation, output: Path | None) -> None:
    table = Table()
    for name, kind in zip(result.columns, result.types, strict=True):
        number = str(kind) in {"BIGINT", "INTEGER", "DOUBLE", "HUGEINT", "TINYINT"}
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    rows = result.fetchmany(_SHOWN + 1)
    for row in rows[:_SHOWN]:
        # Text of a page must not be read as markup.
        table.add_row(*("" if value is None else _plain(str(value)) for value in row))
    with output.open("w", encoding="utf-8") if output else _Standard() as file:
        console = Console(file=file)
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
