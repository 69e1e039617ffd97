"""All output of the command line. Foreign text never controls the terminal.

Ids, file names, messages of servers and texts of pages come from outside. They are printed as text, not markup, and
characters that move the cursor, reverse a line or are invisible are printed as escapes. So are characters that the
stream's encoding lacks. A closed stream does not end a run.
"""

import io
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any, NoReturn, cast

import regex
import typer
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from personahub_assets.core import interrupts
from personahub_assets.core.secrets import hide_secrets
from personahub_assets.core.text import printable

__all__ = [
    "ERR",
    "OUT",
    "Label",
    "close_output",
    "confirm",
    "fail",
    "fits",
    "on_one_line",
    "print_lines",
    "print_warnings",
    "printable",
    "progress",
    "say",
    "say_json",
    "say_styled",
    "say_text",
    "table",
]

READER_GONE = 128 + 13
"""Exit code if the reader of standard output has closed it; a shell uses the same for SIGPIPE."""

Piece = str | tuple[str, str]
"""A text, or a text and its style."""

# Characters that are valid in JSON but not safe for a terminal.
_JSON_UNPRINTABLE = regex.compile(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}--\n]", regex.V1)
_BREAKS = re.compile(r"[\r\n]+")
_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False, "soft_wrap": True}
_PIPE_WIDTH = 200
_NARROWEST = 12  # characters of a column of prose
_WIDE = r"\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
_WORDS = re.compile(rf"[^\s{_WIDE}]+|[{_WIDE}]")
_ERROR_CHARS, _ERROR_END = 8_000, 2_000


class _Stream(io.TextIOBase):
    """Standard output or standard error, looked up at every write."""

    def __init__(self, name: str):
        self._name = name

    @property
    def _file(self) -> IO[str] | None:
        stream = getattr(sys, self._name)
        # While something is drawn, rich puts a stream there that prints to the console, which would write to itself.
        return cast("IO[str] | None", getattr(stream, "rich_proxied_file", stream))

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; UTF-8 if it has none."""
        return getattr(self._file, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text; characters that the encoding lacks are written as escapes."""
        with self._closing():
            if self._file is not None:
                self._file.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self._closing():
            if self._file is not None:
                self._file.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with suppress(ValueError):  # closed
            return self._file is not None and self._file.isatty()
        return False

    def fileno(self) -> int:
        """The file descriptor."""
        if self._file is None:
            raise OSError(f"{self._name} is closed")
        return self._file.fileno()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """Ignore errors of standard error; stop at errors of standard output."""
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            if self._name == "stdout":
                _exit_without_output(error)


def _exit_without_output(error: OSError | ValueError) -> NoReturn:
    """Exit if standard output cannot be written: silently if its reader has closed it, else with the reason."""
    if isinstance(error, BrokenPipeError):
        raise SystemExit(close_output())
    fail(f"standard output cannot be written: {error}")
    close_output()
    raise SystemExit(1)


def close_output() -> int:
    """Redirect unwritten output to the null device, so that the interpreter prints no error at exit.

    Returns:
        The exit code for a closed standard output.
    """
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return READER_GONE


def _console(name: str) -> Console:
    file = cast("IO[str]", _Stream(name))
    return Console(file=file, **_PLAIN)


ERR, OUT = _console("stderr"), _console("stdout")
"""The console for messages or for results."""


def say(*pieces: Piece, style: str = "", indent: int = 0, to: Console = ERR) -> None:
    """Print one line.

    Args:
        pieces: texts, joined without separator; a pair is a text and its style.
        style: style of the whole line.
        indent: columns of indentation; a terminal wraps the line there.
        to: the stream; messages go to standard error, results to standard output.
    """
    text = Text.assemble(*(_styled(piece) for piece in pieces), style=style)
    _print(text, indent, to)


def say_text(text: str, *, style: str = "", indent: int = 0, to: Console = ERR) -> None:
    """Print a text of several lines."""
    for line in printable(text, lines=True).split("\n"):
        _print(Text(line, style=style), indent, to)


def say_styled(line: Text, to: Console) -> None:
    """Print one line that is printable already; what does not fit the width of the terminal is cut."""
    to.print(line, soft_wrap=False, no_wrap=True, overflow="ellipsis")


def _print(text: Text, indent: int, to: Console) -> None:
    if indent and to.is_terminal:
        to.print(Padding(text, (0, 0, 0, indent)), soft_wrap=False)
    else:
        to.print(Text(" " * indent) + text, markup=False, highlight=False, soft_wrap=True)


def _styled(piece: Piece) -> tuple[str, str]:
    text, style = (piece, "") if isinstance(piece, str) else piece
    return printable(text), style


def fail(message: object) -> None:
    """Print an error on one line."""
    text = on_one_line(message)
    if len(text) > _ERROR_CHARS:  # for example of a very long argument; the remedy comes last
        text = f"{text[: _ERROR_CHARS - _ERROR_END]} … {text[-_ERROR_END:]}"
    say(("error:", "bold red"), " ", text)


def on_one_line(message: object) -> str:
    """Join the lines of a message."""
    return " ".join(filter(None, map(str.strip, _BREAKS.split(str(message)))))


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print warnings and log records of libraries like all other messages."""
    last, logging.lastResort = logging.lastResort, _Log(logging.WARNING)
    with warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        try:
            yield
        finally:
            logging.lastResort = last


class _Log(logging.Handler):
    """The handler for records without another handler."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record's message on one line, without a traceback; records about an interruption are skipped."""
        if interrupts.is_interrupted() and not record.name.startswith(__name__.partition(".")[0]):
            return
        say(hide_secrets(f"{record.name}: {on_one_line(record.getMessage())}"), style="dim")


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    say(hide_secrets(f"{category.__name__}: {on_one_line(message)}"), style="dim")


def say_json(value: Any, *, to: Console = OUT) -> None:
    """Print a value as JSON that is safe for a terminal: unprintable characters are written as JSON escapes."""
    is_unicode = to.encoding.lower().startswith("utf")
    text = json.dumps(value, ensure_ascii=not is_unicode, indent=2)
    to.file.write(_JSON_UNPRINTABLE.sub(lambda match: json.dumps(match[0])[1:-1], text) + "\n")
    to.file.flush()


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Iterable[str] = (),
    title: str = "",
    total: Sequence[object] | None = None,
    widest: int | None = None,
    optional: Sequence[str] = (),
    to: Console = ERR,
) -> None:
    """Print a table; on a terminal long cells are wrapped at spaces, and no word, name or id is broken.

    A terminal that is too narrow for that gets the table without optional columns, or else one field per line.

    Args:
        rows: cells; of a row with fewer cells than columns the last ones are empty.
        right: right-aligned columns (numbers); their cells are not wrapped.
        title: a line above the table.
        total: a last row, below a rule.
        widest: maximum characters of a column; None to use the width of the terminal.
        optional: columns that are left out if the terminal is too narrow, the first one first.
    """
    rows = [[*row, *[""] * (len(columns) - len(row))] for row in rows]
    body = [list(map(_printed, row)) for row in rows]
    last = [] if total is None else [list(map(_printed, total))]
    names, numbers, omitted = list(columns), set(right), list[str]()
    # A pipe or a file has no width.
    least = _rules(len(names)) + sum(least for least, _ in _bounds(names, body + last, numbers))
    width = to.width if to.is_terminal else max(_PIPE_WIDTH, least, (widest or 0) * (len(names) + 1))
    for name in optional:
        if _widths(names, body + last, numbers, width) is None and name in names:
            omitted.append(name)
            names, body, last = _without(names.index(name), names, body, last)
    widths = _widths(names, body + last, numbers, width)
    if widths is None:
        if title:
            say(title, to=to)
        print_lines(columns, rows if total is None else [*rows, total], to)
        return
    limits = [each if widest is None else min(each, widest) for each in widths]
    wide = to if to.is_terminal else Console(file=to.file, width=width, **_PLAIN)
    wide.print(_drawn(names, body, last, numbers, limits, title), soft_wrap=False)
    if omitted:
        say(f"Not shown, for lack of width: {', '.join(omitted)}.", to=to)


def fits(columns: Sequence[str], rows: Sequence[Sequence[object]], right: Iterable[str], to: Console) -> bool:
    """Whether `table` prints these rows as a table, and not one field per line."""
    body = [list(map(_printed, row)) for row in rows]
    return not to.is_terminal or _widths(list(columns), body, set(right), to.width) is not None


def print_lines(columns: Sequence[str], rows: Iterable[Sequence[object]], to: Console) -> None:
    """Print one field per line, with an empty line between rows; on a terminal long texts are wrapped at spaces."""
    longest, empty = max(map(len, columns)), True
    for row in rows:
        if not empty:
            say(to=to)
        empty = False
        for name, value in zip(columns, map(_printed, row), strict=True):
            _print_field(f"{name:>{longest}}  ", value, to)
    if empty:
        say(f"No rows of {', '.join(columns)}.", to=to)


def _print_field(label: str, value: str, to: Console) -> None:
    longest, indent = _longest_word(value), len(label)
    if to.is_terminal and indent + longest > to.width:  # below the label
        label, indent = f"{label.rstrip()}\n  ", 2
    if to.is_terminal and indent + longest <= to.width:
        lines = Text(value).wrap(to, to.width - indent)
        value = f"\n{' ' * indent}".join(line.plain.rstrip() for line in lines)
    # A word that is too long is left to the terminal, so that a copy of it has no line break.
    say_text(f"{label}{value}", to=to)


def _drawn(
    names: list[str], body: list[list[str]], last: list[list[str]], numbers: set[str], widths: list[int], title: str
) -> Table:
    lines = Table(title=Text(printable(title)) if title else None, title_justify="left")
    for name, width in zip(names, widths, strict=True):
        lines.add_column(
            Text(printable(name)), justify="right" if name in numbers else "left", overflow="fold", width=width
        )
    for row in body:
        lines.add_row(*map(Text, row))
    for row in last:
        lines.add_section()
        lines.add_row(*map(Text, row))
    return lines


def _without(
    index: int, names: list[str], *groups: list[list[str]]
) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """The names and the rows without one column."""
    body, last = ([row[:index] + row[index + 1 :] for row in group] for group in groups)
    return names[:index] + names[index + 1 :], body, last


def _widths(names: list[str], rows: list[list[str]], numbers: set[str], width: int) -> list[int] | None:
    """Widths of columns in which no word is broken; None if there is no room for them.

    Columns that need little get all of it; the others share what is left.
    """
    bounds = _bounds(names, rows, numbers)
    spare = width - _rules(len(names)) - sum(least for least, _ in bounds)
    if spare < 0:
        return None
    widths = [least for least, _ in bounds]
    by_need = sorted(range(len(names)), key=lambda index: bounds[index][1] - bounds[index][0])
    for position, index in enumerate(by_need):
        least, full = bounds[index]
        widening = min(full - least, spare // (len(names) - position))
        widths[index] += widening
        spare -= widening
    return widths


def _rules(columns: int) -> int:
    """Characters of the lines and spaces between columns."""
    return 3 * columns + 1


def _bounds(names: list[str], rows: list[list[str]], numbers: set[str]) -> list[tuple[int, int]]:
    """The least width of each column, in which no word is broken, and the width in which nothing is wrapped."""
    bounds = []
    for name, cells in zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True):
        full = max(map(_longest_line, (name, *cells)))
        least = max(map(_longest_line if name in numbers else _longest_word, cells), default=0)
        # Prose in a very narrow column is not readable.
        least = max(least, min(full, _NARROWEST)) if name not in numbers else least
        bounds.append((max(least, _longest_word(name)), full))
    return bounds


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _longest_word(text: str) -> int:
    """Cells of the longest part that must not be broken; Chinese, Japanese and Korean texts can be broken anywhere."""
    return max(map(cell_len, _WORDS.findall(text)), default=0)


def _printed(value: object) -> str:
    return "" if value is None else printable(value, lines=True)


class Label(TextColumn):
    """A text before or after a progress bar, such as `{task.description}`."""

    def render(self, task: Task) -> Text:
        """Render the text without markup."""
        return Text(printable(self.text_format.format(task=task)), style=self.style)


def progress(*columns: ProgressColumn, to: Console = ERR, transient: bool = False) -> Progress:
    """Make progress bars; without a terminal they are printed once at the end, or never if transient."""
    return Progress(
        *columns, console=to, refresh_per_second=4, transient=transient, disable=transient and not to.is_terminal
    )


def confirm(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        KeyboardInterrupt: on Ctrl-C, or at the end of the input.
    """
    try:
        return typer.confirm(printable(question), err=True)
    except typer.Abort as stop:
        raise KeyboardInterrupt from stop


@contextmanager
def index_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar for building a search index; it appears at the first progress."""
    columns = Label("search index"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    bars: list[Progress] = []

    def watch(done: int, total: int) -> None:
        if not bars:
            bars.append(progress(*columns, to=console))
            bars[0].start()
            bars[0].add_task("", total=total)
        bars[0].update(bars[0].task_ids[0], completed=done, total=total)

    try:
        yield watch
    finally:
        for bar in bars:
            bar.stop()
