"""Records of CSV; invalid ones are reported line by line.

Python's strict reader splits the fields. It cannot continue after a fault, so it gets the lines one by one: of a faulty
record the first line is rejected, and reading continues with the second. So an unclosed quote affects no other record.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from personahub_assets.sources.formats.streams import Stream
from personahub_assets.sources.rows import RAW_LIMIT

csv.field_size_limit(1 << 26)  # characters; this module bounds records by bytes
_LOOKED_AT = 100

_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", " ": "space"}
_BACKSLASH = re.compile(r'\\(["\\]?)')


@dataclass(frozen=True)
class Dialect:
    """The dialect of a CSV file.

    Args:
        encoding: encoding of the file, by Python's name.
        start: first byte of the first record in the UTF-8 text, after a mark, blank lines and a line `sep=`.
        line: line number of that record, from 1.
        delimiter, quote: one character each.
        escape: a doubled quote, or a backslash, before a quote within quotes.
        has_old_line_ends: whether lines end with CR alone.
        skips_spaces: whether spaces after a delimiter are ignored.
        columns: names of the columns.
        has_header: whether the first record has the names.
    """

    encoding: str = "utf-8"
    start: int = 0
    line: int = 1
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    has_old_line_ends: bool = False
    skips_spaces: bool = False
    columns: tuple[str, ...] = ()
    has_header: bool = True

    @property
    def has_backslash(self) -> bool:
        """Whether quotes within quotes are escaped by a backslash."""
        return self.escape == "\\"

    def csv_options(self) -> dict[str, Any]:
        """Options for Python's reader; strict, because otherwise it merges records at a stray quote."""
        options = {"delimiter": self.delimiter, "quotechar": self.quote, "skipinitialspace": self.skips_spaces}
        return {**options, "strict": True, "escapechar": "\\" if self.has_backslash else None}

    def describe(self) -> str:
        """Describe the dialect on one line."""
        header = "header" if self.has_header else f"no header (columns column0 to column{len(self.columns) - 1})"
        escape = "backslash" if self.has_backslash else "doubled quote"
        skipped = f", {self.line - 1} lines above it" if self.line > 1 else ""
        name = f"delimiter {_NAMES.get(self.delimiter, self.delimiter)}" if len(self.columns) > 1 else "one column"
        return f"{name}, quote {self.quote}, escape {escape}, encoding {self.encoding}, {header}{skipped}"

    def as_options(self) -> dict[str, Any]:
        """The dialect as options of a registration."""
        return asdict(self)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> "Dialect":
        """The dialect from options of a registration."""
        kept = {name: options[name] for name in cls.__dataclass_fields__ if name in options}
        return cls(**{**kept, "columns": tuple(kept["columns"])})


class Record(NamedTuple):
    """One record, or a line outside records.

    Args:
        line: number of its first line in the file, from 1.
        lines: number of its lines.
        size: their bytes.
        fields: its fields; None for an invalid record.
        text: text in the file; of a long record the beginning.
        problem: reason why it is invalid.
        is_long: whether the problem is its length.
    """

    line: int
    lines: int
    size: int
    fields: list[str] | None
    text: str
    problem: str = ""
    is_long: bool = False


class _TooLongError(Exception):
    """A record is longer than the limit."""


class _Lines:
    """Lines for Python's reader; those of a faulty record can be read again."""

    def __init__(self, read: Callable[[], bytes], dialect: Dialect, limit: int):
        self._read, self.limit, self._waiting = read, limit, deque[bytes]()
        self._dialect, self._has_backslash = dialect, dialect.has_backslash
        self.taken: list[bytes] = []
        self._size = 0

    def __iter__(self) -> "_Lines":
        return self

    def next_line(self) -> bytes:
        """The next line; empty at the end."""
        return self._waiting.popleft() if self._waiting else self._read()

    def begin(self, line: bytes) -> None:
        """Begin a record with a line that was read already."""
        self._waiting.appendleft(line)
        self.taken, self._size = [], 0

    def is_whole(self, line: bytes) -> bool:
        """Whether a line was read completely within the limit."""
        return len(line) <= self.limit or line.endswith(b"\n")

    def reject(self, line: int, problem: str) -> Record:
        """Reject the first line, and let the others be read again."""
        first, *others = self.taken
        self._waiting.extendleft(reversed(others))
        return Record(line, 1, len(first), None, first.decode("utf-8", "surrogateescape"), problem)

    def are_records(self, width: int) -> bool:
        """Whether the lines after the first look like separate records rather than one long text."""
        others = self.taken[1 : 1 + _LOOKED_AT]
        delimiter = self._dialect.delimiter.encode()
        return 2 * sum(line.count(delimiter) == width - 1 for line in others) > len(others)

    def skip_long(self, first: bytes, line: int, *, is_within: bool) -> Record:
        """Skip a record that is longer than the limit; its first line is kept.

        Args:
            is_within: whether the read lines end within quotes; otherwise `first` is part of a line.
        """
        size, lines = (sum(map(len, self.taken)), len(self.taken)) if is_within else (len(first), 0)
        is_quoted = is_within or self._opens(first)
        piece = self.taken[-1] if is_within else first
        while (is_quoted or not piece.endswith(b"\n")) and (piece := self.next_line()):
            size, lines = size + len(piece), lines + piece.endswith(b"\n")
            is_quoted ^= self._opens(piece)
        problem = f"a record of more than {self.limit:,} bytes, in {max(lines, 1):,} lines"
        return Record(line, max(lines, 1), size, None, first[:RAW_LIMIT].decode("utf-8", "replace"), problem, True)

    def _opens(self, piece: bytes) -> bool:
        """Whether a piece has an odd number of quotes, so that it opens or closes a quoted field."""
        quote = self._dialect.quote.encode()
        escaped = piece.count(b"\\" + quote) if self._has_backslash else 0
        return bool((piece.count(quote) - escaped) % 2)

    def __next__(self) -> str:
        line = self.next_line()
        if not line:
            raise StopIteration
        self.taken.append(line)
        self._size += len(line)
        if self._size > self.limit:
            raise _TooLongError
        text = line.decode("utf-8", "surrogateescape")
        return _BACKSLASH.sub(_double, text) if self._has_backslash and "\\" in text else text


def _double(match: re.Match[str]) -> str:
    """Double a backslash before any other character, so that the reader keeps it."""
    return match.group() if match.group(1) else "\\\\"


def sample_records(body: bytes, dialect: Dialect) -> list[Record]:
    """The records of a sample that begins with a record."""
    file = io.BytesIO(body)
    return list(_records(_Lines(file.readline, dialect, len(body) + 1), dialect, 1))


def records(stream: Stream, dialect: Dialect, limit: int, line: int) -> Iterator[Record]:
    """The records from the current position of a stream.

    Args:
        limit: maximum bytes of a record.
        line: number of the next line.
    """
    return _records(_Lines(lambda: stream.readline(limit + 1), dialect, limit), dialect, line)


def _records(lines: _Lines, dialect: Dialect, line: int) -> Iterator[Record]:
    reader = csv.reader(lines, **dialect.csv_options())
    quote, delimiter = dialect.quote.encode(), dialect.delimiter
    is_simple = not (dialect.has_backslash or dialect.skips_spaces)
    while first := lines.next_line():
        if is_simple and quote not in first and lines.is_whole(first):
            text = first.decode("utf-8", "surrogateescape")
            record = Record(line, 1, len(first), _without_end(text).split(delimiter), text)
        elif lines.is_whole(first):
            lines.begin(first)
            record = _quoted(lines, reader, dialect, line)
        else:
            record = lines.skip_long(first, line, is_within=False)
        yield record
        line += record.lines


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _quoted(lines: _Lines, reader: Iterator[list[str]], dialect: Dialect, line: int) -> Record:
    """Read the next record; of a faulty one only its first line."""
    try:
        fields = next(reader)
    except csv.Error as error:
        return lines.reject(line, f"a quote is misplaced or never closed: {error}")
    except _TooLongError:
        if lines.are_records(len(dialect.columns)):
            return lines.reject(line, f"a quote is not closed within {lines.limit:,} bytes")
        return lines.skip_long(lines.taken[0], line, is_within=True)
    if len(lines.taken) > 1 and dialect.columns and len(fields) != len(dialect.columns):
        wanted = len(dialect.columns)
        return lines.reject(line, f"a quote opens a record of {len(fields)} fields where {wanted} are wanted")
    text = b"".join(lines.taken).decode("utf-8", "surrogateescape")
    return Record(line, len(lines.taken), sum(map(len, lines.taken)), fields, text)
