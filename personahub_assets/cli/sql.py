"""SQL from the command line: read-only, with several output formats."""

import codecs
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console

from personahub_assets.cli.console import ERR, OUT, close_output, fits, index_bar, print_lines, say, table
from personahub_assets.cli.output_files import output_file
from personahub_assets.cli.query_text import query_text
from personahub_assets.core.errors import ArgumentError, ConfigError, QueryError, choices
from personahub_assets.core.literals import quoted
from personahub_assets.core.text import printable
from personahub_assets.hub import Hub
from personahub_assets.store.home import Home
from personahub_assets.warehouse.query_process import Frame

__all__ = ["QueryError", "print_rows", "print_schema", "run_query", "write_bytes"]

_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
"""Options of a console that prints plain text."""

_WIDEST = 120  # maximum characters of a column without a terminal

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
SCHEMA_QUERY = f"""
SELECT k.name AS "table", k.kind, k.rows, k.about, p.part AS "column", p.kind AS "type", p.meaning
FROM ({_KNOWN}) AS k
LEFT JOIN ({_PARTS}) AS p ON p.of = k.name
WHERE {{condition}}
ORDER BY k.name, p.place
"""


def run_query(
    hub: Hub,
    query: str | None,
    form: str,
    output: Path | None,
    *,
    seconds: float | None = None,
    safe: bool = False,
) -> None:
    """Run queries and write the result of each.

    Args:
        hub: the hub to query.
        query: SQL, a file with SQL, '-' for standard input; None lists the tables.
        form: table, line, csv, json or parquet.
        output: a file instead of standard output; it gets the complete result or is left unchanged.
        seconds: time limit.
        safe: in CSV, write cells that a spreadsheet would run as formulas as text.

    Raises:
        StoreError: if there is no warehouse yet.
        QueryError: if DuckDB refuses the query, it could do more than read, or it exceeds a limit of time or
            memory.
        ConfigError: if Parquet is requested without a file, there are several results for one file, or it cannot
            be written.
    """
    _check_target(hub.home, form, output, safe=safe)
    single = output is not None or form == "parquet"
    text = query_text(query) or _TABLES
    sent = "table" if form == "line" else form
    with _writer(output, form) as write, _results(hub, text, sent, single=single, seconds=seconds, safe=safe) as frames:
        for frame in frames:
            write(frame)


def print_schema(hub: Hub, name: str | None, form: str, output: Path | None, *, safe: bool = False) -> None:
    """Write the columns of all tables and views, or of one, with types and comments.

    Raises:
        StoreError: if there is no warehouse yet.
        ConfigError: if there is no such table or view.
    """
    if name is not None:
        _check_table(hub, name)
    query = SCHEMA_QUERY.format(condition="true" if name is None else f"k.name = {quoted(name)}")
    if form != "table":
        run_query(hub, query, form, output, safe=safe)
        return
    _check_target(hub.home, "rows", output)
    with _console(output) as console, _results(hub, query, "rows") as frames:
        for frame in frames:
            _write_schema(frame.head["rows"], console)


def _check_table(hub: Hub, name: str) -> None:
    with _results(hub, _TABLES, "rows") as frames:
        valid = [table_name for frame in frames for (table_name, *_) in frame.head["rows"]]
    if name not in valid:
        raise ConfigError(f"no table or view {choices(name, valid)}")


def _check_target(home: Path, form: str, output: Path | None, *, safe: bool = False) -> None:
    if safe and form != "csv":
        raise ArgumentError(f"--safe is for --format csv, got --format {form}: other formats need no escapes")
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ArgumentError("--format parquet writes bytes: name a file with --output, or redirect standard output")
    if output is not None:
        Home(home).check_output(output)


@contextmanager
def _results(hub: Hub, query: str, form: str, **options: Any) -> Iterator[Iterator[Frame]]:
    """The results of a query; a search inside it shows a progress bar on standard error if it builds an index."""
    with index_bar(ERR) as watch:
        answers = hub.results(query, form, tell=partial(say, style="yellow", to=ERR), watch=watch, **options)
        with closing(answers) as frames:
            yield frames


@contextmanager
def _writer(output: Path | None, form: str) -> Iterator[Callable[[Frame], None]]:
    """Make a writer for the frames of a result."""
    if form in ("table", "line"):
        with _console(output) as console:
            yield lambda frame: _write_table(frame.head, console, as_lines=form == "line")
    else:
        with _bytes(output) as file:
            yield lambda frame: file(frame.payload)


def _write_table(head: dict[str, Any], console: Console, *, as_lines: bool) -> None:
    if as_lines or not fits(head["columns"], head["rows"], head["numbers"], console):
        print_lines(head["columns"], head["rows"], console)
    else:
        print_rows(head["columns"], head["rows"], right=head["numbers"], console=console)
    for note in head["notes"]:
        say(note, to=console)


def print_rows(columns: list[str], rows: Iterable[Any], *, right: Iterable[str] = (), console: Console = OUT) -> None:
    """Print a result as a table, as plain text."""
    if console.is_terminal:
        table(columns, rows, right=right, to=console)
    else:
        # A pipe or a file has no width: only long texts are wrapped.
        wide = Console(file=console.file, width=_WIDEST * (len(columns) + 1), **_PLAIN)
        table(columns, rows, right=right, widest=_WIDEST, to=wide)


def _write_schema(rows: list[Any], console: Console) -> None:
    for (name, kind, count, description), columns in groupby(rows, key=lambda row: tuple(row[:4])):
        size = "" if count is None else f", {int(count):,} rows"
        say((name, "bold"), f" ({kind}{size}): {description or ''}", to=console)
        print_rows(["column", "type", "meaning"], [row[4:] for row in columns], console=console)


@contextmanager
def _console(output: Path | None) -> Iterator[Console]:
    """The console for tables: standard output, or a file of unlimited width."""
    if output is None:
        yield OUT
        return
    with output_file(output) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", write_through=True)
        yield Console(file=text, **_PLAIN)
        text.detach()


def write_bytes(data: bytes) -> None:
    """Write a whole result to standard output."""
    with _bytes(None) as write:
        write(data)


@contextmanager
def _bytes(output: Path | None) -> Iterator[Callable[[bytes], Any]]:
    """Make a writer of bytes; for a terminal, control characters are written as escapes."""
    if output is not None:
        with output_file(output) as file:
            yield file.write
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        if sys.stdout.isatty():
            yield lambda data: sys.stdout.write(printable(decoder.decode(data), lines=True))
        else:
            yield sys.stdout.buffer.write
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as head has closed the pipe
        raise SystemExit(close_output()) from None
