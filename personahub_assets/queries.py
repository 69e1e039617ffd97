"""SQL from the command line: read-only, and results in the format asked for."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from threading import Timer
from typing import Any

import duckdb
import polars as pl
from rich.console import Console
from rich.table import Table

from personahub_assets.domain.errors import ConfigError, choices
from personahub_assets.query_text import query_text
from personahub_assets.resources import warehouse
from personahub_assets.resources.config import Environment
from personahub_assets.resources.statements import QueryError, checked
from personahub_assets.resources.store import Store
from personahub_assets.teaching import teach, words_of

_SHOWN = 200
_NUMBERS = {"BIGINT", "INTEGER", "DOUBLE", "HUGEINT", "TINYINT"}
_UNFIT = {"INTERVAL", "BLOB"}
_WIDEST = 120  # characters of a column where there is no terminal

_KNOWN = """
    SELECT table_name AS name, 'table' AS kind, estimated_size AS rows, comment AS about FROM duckdb_tables()
    UNION ALL
    SELECT view_name, 'view', NULL, comment FROM duckdb_views() WHERE NOT internal
    UNION ALL
    SELECT function_name, 'macro', NULL, any_value(comment)
    FROM duckdb_functions()
    WHERE function_type IN ('macro', 'table_macro') AND NOT internal
    GROUP BY function_name
"""
_PARTS = """
    SELECT table_name AS of, column_name AS part, data_type AS kind, comment AS meaning, column_index AS place
    FROM duckdb_columns()
    WHERE NOT internal
    UNION ALL
    SELECT function_name, unnest(parameters), 'parameter', NULL, generate_subscripts(parameters, 1)
    FROM duckdb_functions()
    WHERE function_type IN ('macro', 'table_macro') AND NOT internal
"""
_TABLES = f'SELECT name AS "table", rows, about FROM ({_KNOWN}) ORDER BY name'
_SCHEMA = f"""
SELECT k.name AS "table", k.kind, k.rows, k.about, p.part AS "column", p.kind AS "type", p.meaning
FROM ({_KNOWN}) AS k
LEFT JOIN ({_PARTS}) AS p ON p.of = k.name
WHERE $name IS NULL OR k.name = $name
ORDER BY k.name, p.place
"""


def answer(
    environment: Environment, query: str | None, form: str, output: Path | None, *, seconds: float | None = None
) -> None:
    """Run queries and write the result of each that gives rows.

    Args:
        environment: says where the home is.
        query: SQL, a file of it, '-' for standard input; None lists the tables.
        form: table, csv, json or parquet.
        output: a file instead of standard output.
        seconds: after which it is stopped.

    Raises:
        StoreError: if there is no warehouse yet.
        QueryError: if DuckDB refuses the query, it could do more than read, or it takes longer than it may.
        ConfigError: if Parquet is asked for without a file, or several results are to go into one.
    """
    _check_target(form, output)
    text = query_text(query) or _TABLES
    with _reader(environment, seconds) as connection:
        written = 0
        for statement in checked(connection, text):
            result = connection.sql(statement)
            if result is None:
                continue
            if written and (output or form == "parquet"):
                raise ConfigError("one file takes one result, and the query gives several: run them one by one")
            write(result, form, output)
            written += 1


def describe(environment: Environment, name: str | None, form: str, output: Path | None) -> None:
    """Write the columns of all tables and views, or of one, with types and comments.

    Raises:
        StoreError: if there is no warehouse yet.
        ConfigError: if there is no such table or view.
    """
    _check_target(form, output)
    with _reader(environment) as connection:
        result = connection.sql(_SCHEMA, params={"name": name})
        if not len(result):
            valid = [known for (known, *_) in connection.execute(_TABLES).fetchall()]
            raise ConfigError(f"no table or view {choices(name or '', valid)}")
        if form == "table":
            _write_schema(result, output)
        else:
            write(result, form, output)


def _check_target(form: str, output: Path | None) -> None:
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("--format parquet writes bytes: name a file with --output, or redirect standard output")


@contextmanager
def _reader(environment: Environment, seconds: float | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A reader of the warehouse that is stopped after a time, its errors told as the user's."""
    with warehouse.reader(Store(home=str(environment.home))) as connection:
        teach(connection, environment)
        clock = Timer(seconds or 0, connection.interrupt)
        try:
            if seconds:
                clock.start()
            yield connection
        except duckdb.InterruptException as error:
            raise QueryError(f"stopped after {seconds:g} s (--max-time)" if seconds else str(error)) from error
        except duckdb.Error as error:
            raise QueryError(words_of(error)) from error
        finally:
            clock.cancel()


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
    numbers = [str(kind) in _NUMBERS for kind in result.types]
    rows = result.fetchmany(_SHOWN + 1)
    with _console(output, len(result.columns)) as console:
        console.print(_table(result.columns, rows[:_SHOWN], numbers, _widest(output)))
        if len(rows) > _SHOWN:
            console.print(f"The first {_SHOWN} rows; all of them with --format csv, json or parquet, or LIMIT.")


def _write_schema(result: duckdb.DuckDBPyRelation, output: Path | None) -> None:
    head = ["column", "type", "meaning"]
    with _console(output, len(head)) as console:
        for (name, kind, rows, about), columns in groupby(result.fetchall(), key=lambda row: row[:4]):
            size = "" if rows is None else f", {rows:,} rows"
            console.print(f"[bold]{name}[/] ({kind}{size}): {_plain(about or '')}", soft_wrap=True, highlight=False)
            lines = [(column, data_type, meaning) for *_, column, data_type, meaning in columns]
            console.print(_table(head, lines, [False] * len(head), _widest(output)))


def _table(head: list[str], rows: list[Any], numbers: list[bool], widest: int | None) -> Table:
    table = Table()
    for name, number in zip(head, numbers, strict=True):
        table.add_column(name, justify="right" if number else "left", overflow="fold", max_width=widest)
    for row in rows:
        # Text of a page must not be read as markup.
        table.add_row(*("" if value is None else _plain(str(value)) for value in row))
    return table


def _widest(output: Path | None) -> int | None:
    """Characters of a column; None where the terminal decides."""
    return None if output is None and sys.stdout.isatty() else _WIDEST


@contextmanager
def _console(output: Path | None, columns: int) -> Iterator[Console]:
    with output.open("w", encoding="utf-8") if output else nullcontext(sys.stdout) as file:
        # A pipe or a file has no width: nothing is folded there but long texts.
        widest = _widest(output)
        yield Console(file=file, emoji=False, width=widest and widest * (columns + 1))
        file.flush()


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))
