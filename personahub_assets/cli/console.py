"""What the command line prints, and nothing else prints: text of others never commands the terminal.

Ids, file names, messages of servers and texts of pages come from outside. Whatever is printed here is text, not markup,
and what would move the cursor, turn a line around or not be seen stands as an escape. A character that the stream's
encoding lacks stands as an escape, too, and a stream that is closed ends no run.
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
from personahub_assets.core.text import printable

__all__ = [
    "ERR",
    "OUT",
    "Label",
    "close_output",
    "confirm",
    "fail",
    "on_one_line",
    "printable",
    "progress",
    "say",
    "say_json",
    "say_text",
    "table",
    "take_warnings",
]

READER_GONE = 128 + 13
"""Exit code where nobody reads standard output any more; as a shell gives it for SIGPIPE."""

Piece = str | tuple[str, str]
"""A text, or a text and its style."""

# Characters that JSON may hold as they are, and a terminal may not.
_JSON_UNPRINTABLE = regex.compile(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}--\n]", regex.V1)
_BREAKS = re.compile(r"[\r\n]+")
_PIPE_WIDTH = 200
_ERROR_CHARS, _ERROR_END = 8_000, 2_000


class _Stream(io.TextIOBase):
    """Standard output or standard error, whatever that is when something is written."""

    def __init__(self, name: str):
        self._name = name

    @property
    def _file(self) -> IO[str] | None:
        return cast("IO[str] | None", getattr(sys, self._name))

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream; a stream without one takes all."""
        return getattr(self._file, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text; what the encoding lacks is written as escapes."""
        with self._closing():
            if self._file is not None:
                self._file.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
        return len(text)

    def flush(self) -> None:
        """Write out what is held back."""
        with self._closing():
            if self._file is not None:
                self._file.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        with suppress(ValueError):  # closed
            return self._file is not None and self._file.isatty()
        return False

    def fileno(self) -> int:
        """The number that the system gives it."""
        if self._file is None:
            raise OSError(f"{self._name} is closed")
        return self._file.fileno()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        """A message that nobody can read is no reason to stop; a result that nobody reads is."""
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            if self._name == "stdout":
                _lose_output(error)


def _lose_output(error: OSError | ValueError) -> NoReturn:
    """End where standard output takes nothing any more: quietly if its reader went, else saying why."""
    if isinstance(error, BrokenPipeError):
        raise SystemExit(close_output())
    fail(f"standard output cannot be written: {error}")
    close_output()
    raise SystemExit(1)


def close_output() -> int:
    """Let what is left of standard output go nowhere, so that the interpreter says nothing about it at its end.

    Returns:
        The exit code where nobody reads standard output any more.
    """
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return READER_GONE


def _console(name: str) -> Console:
    file = cast("IO[str]", _Stream(name))
    return Console(file=file, markup=False, emoji=False, highlight=False, soft_wrap=True)


ERR, OUT = _console("stderr"), _console("stdout")
"""Where messages go, and where results go."""


def say(*pieces: Piece, style: str = "", indent: int = 0, to: Console = ERR) -> None:
    """Print one line.

    Args:
        pieces: texts, joined as they are; a pair is a text and its style.
        style: of the whole line.
        indent: columns to the right; a terminal folds the line there.
        to: messages go to standard error, results to standard output.
    """
    text = Text.assemble(*(_piece(piece) for piece in pieces), style=style)
    _print(text, indent, to)


def say_text(text: str, *, style: str = "", indent: int = 0, to: Console = ERR) -> None:
    """Print a text of several lines."""
    for line in printable(text, lines=True).split("\n"):
        _print(Text(line, style=style), indent, to)


def _print(text: Text, indent: int, to: Console) -> None:
    if indent and to.is_terminal:
        to.print(Padding(text, (0, 0, 0, indent)), soft_wrap=False)
    else:
        to.print(Text(" " * indent) + text, markup=False, highlight=False, soft_wrap=True)


def _piece(piece: Piece) -> tuple[str, str]:
    text, style = (piece, "") if isinstance(piece, str) else piece
    return printable(text), style


def fail(message: object) -> None:
    """Print an error: one line, whatever the message holds."""
    text = on_one_line(message)
    if len(text) > _ERROR_CHARS:  # of an argument without end, say; the remedy comes last
        text = f"{text[: _ERROR_CHARS - _ERROR_END]} … {text[-_ERROR_END:]}"
    say(("error:", "bold red"), " ", text)


def on_one_line(message: object) -> str:
    """Join the lines of a message."""
    return " ".join(filter(None, map(str.strip, _BREAKS.split(str(message)))))


@contextmanager
def take_warnings() -> Iterator[None]:
    """Print what libraries warn of and log as everything else is printed."""
    last, logging.lastResort = logging.lastResort, _Log(logging.WARNING)
    with warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        try:
            yield
        finally:
            logging.lastResort = last


class _Log(logging.Handler):
    """Where records go that no handler takes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record's message on one line, without a traceback; not what libraries say of being stopped."""
        if interrupts.is_interrupted() and not record.name.startswith(__name__.partition(".")[0]):
            return
        say(f"{record.name}: {on_one_line(record.getMessage())}", style="dim")


def _warn(message: Warning | str, category: type[Warning], *_: object) -> None:
    say(f"{category.__name__}: {on_one_line(message)}", style="dim")


def say_json(value: Any, *, to: Console = OUT) -> None:
    """Print a value as JSON that a terminal may show, too: unprintable characters are written as JSON escapes."""
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
    to: Console = ERR,
) -> None:
    """Print rows below their headings; on a terminal long cells are folded.

    Args:
        right: the columns that hold numbers.
        title: a line above.
        total: a last row, below a rule.
        widest: characters of a column; None where the width of the terminal decides.
    """
    numbers = set(right)
    lines = Table(title=Text(printable(title)) if title else None, title_justify="left")
    for name in columns:
        justify = "right" if name in numbers else "left"
        lines.add_column(Text(printable(name)), justify=justify, overflow="fold", max_width=widest)  # type: ignore[arg-type]
    for row in rows:
        lines.add_row(*map(_cell, row))
    if total is not None:
        lines.add_section()
        lines.add_row(*map(_cell, total))
    # A pipe or a file has no width.
    width = None if to.is_terminal else max(_PIPE_WIDTH, (widest or 0) * (len(columns) + 1))
    to.print(lines, soft_wrap=False, width=width)


def _cell(value: object) -> Text:
    return Text("" if value is None else printable(value, lines=True))


class Label(TextColumn):
    """A text in front of or behind a progress bar, such as `{task.description}`."""

    def render(self, task: Task) -> Text:
        """The text, never read as markup."""
        return Text(printable(self.text_format.format(task=task)), style=self.style)


def progress(*columns: ProgressColumn, to: Console = ERR, transient: bool = False) -> Progress:
    """Progress bars; where there is no terminal, they show how far they came at the end, or nothing if transient."""
    return Progress(
        *columns, console=to, refresh_per_second=4, transient=transient, disable=transient and not to.is_terminal
    )


def confirm(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        KeyboardInterrupt: on Ctrl-C, or where the answer ends before it began.
    """
    try:
        return typer.confirm(printable(question), err=True)
    except typer.Abort as stop:
        raise KeyboardInterrupt from stop


@contextmanager
def index_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of a search index that is made; it appears when there is something to tell."""
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
