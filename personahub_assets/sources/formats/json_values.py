"""JSON values one after another, such as the elements of an array, as a stream with a bound.

A value that is not JSON does not take the others with it: reading goes on where the next one seems to begin, which is
the next `{` with as much indentation.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from personahub_assets.sources.formats.json_rows import parse_value
from personahub_assets.sources.formats.streams import Stream
from personahub_assets.sources.rows import RAW_LIMIT

_CHUNK = 1 << 20
_GAP = re.compile(r"[\s,\ufeff]*")
_NEAR_END = 32  # characters: a literal, a number of usual length or an escape that is cut off is shorter
_INLINE = re.compile(r"\}\s*+(?:,\s*+)?(?=\{)")
_UNDECODED = re.compile("[\udc80-\udcff]")


def _next_start(match: re.Match[str]) -> int:
    """Before the spaces of a line, from which its indentation is seen; behind what still belongs to the last value."""
    return match.end() if match.re is _INLINE or match.group(1) else match.start()


class TooLongError(ValueError):
    """A value is longer than the limit."""


@dataclass(frozen=True)
class Value:
    """One value, or what stands in its place.

    Args:
        at: the byte behind the value before it.
        end: the byte behind it.
        text: of the value; its beginning, where there is a problem.
        problem: why it is none; empty for a value.
        is_long: whether the problem is its length.
    """

    at: int
    end: int
    value: Any
    text: str
    problem: str = ""
    is_long: bool = False

    @property
    def is_undecoded(self) -> bool:
        """Whether it has bytes that are not UTF-8."""
        return not self.text.isascii() and bool(_UNDECODED.search(self.text))


class Values:
    """Reads values from where a stream stands.

    Args:
        is_array: whether `]` ends them.
        limit: characters of a value at most.
    """

    def __init__(self, stream: Stream, limit: int, *, is_array: bool):
        self._stream, self._limit, self._is_array = stream, limit, is_array
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._position, self._is_over = "", 0, False
        self._gap = ""  # what stands between the value before and the next one
        self._at, self._counted = stream.at, 0  # one place: in bytes of the file, and in characters of the text

    def __iter__(self) -> Iterator[Value]:
        """The values in order; what is wrong with the end of an array comes last."""
        while True:
            at, self._gap = self.at, ""
            if not self.skip_gap():
                if self._is_array:
                    yield Value(at, self.at, None, "", "the array is not closed: is the file cut off?")
                return
            if self._is_array and self.next_char == "]":
                self.skip_char()
                return
            yield self._next(at)

    @property
    def at(self) -> int:
        """The byte of the file where reading stands."""
        self._at += len(self._text[self._counted : self._position].encode("utf-8", "surrogateescape"))
        self._counted = self._position
        return self._at

    @property
    def beginning(self) -> str:
        """The next characters, to be shown."""
        return self._text[self._position : self._position + RAW_LIMIT]

    @property
    def next_char(self) -> str:
        """The next character."""
        return self._text[self._position]

    def skip_char(self) -> None:
        """Go behind the next character."""
        self._position += 1

    def skip_gap(self) -> bool:
        """Go to what is neither space nor comma; false at the end of the file."""
        while True:
            match = _GAP.match(self._text, self._position)
            assert match is not None  # it may be empty
            self._position = match.end()
            self._gap += match.group()
            if self._position < len(self._text):
                return True
            if not self._fill():
                return False

    def parse(self) -> tuple[Any, str]:
        """Parse the value that begins here; also give its text.

        Raises:
            ValueError, RecursionError: if there is none, or it is longer than the limit.
        """
        while True:
            try:
                value, end = parse_value(self._text, self._position)
            except ValueError as error:
                if not self._is_cut(error):
                    raise
            else:
                if end < len(self._text) or self._is_over:  # else a number may go on
                    return self._passed(value, end)
            if len(self._text) - self._position > self._limit:
                raise TooLongError(f"a value of more than {self._limit:,} bytes")
            self._fill()

    def _passed(self, value: Any, end: int) -> tuple[Any, str]:
        text = self._text[self._position : end]
        if len(text) > self._limit:  # whether or not it was in memory
            raise TooLongError(f"a value of more than {self._limit:,} bytes")
        self._position = end
        return value, text

    def _is_cut(self, error: ValueError) -> bool:
        """Whether a value may be faulty only because not all of it was read."""
        if self._is_over:
            return False
        where = getattr(error, "pos", len(self._text))
        return str(error).startswith("Unterminated") or where >= len(self._text) - _NEAR_END

    def _next(self, at: int) -> Value:
        indentation = self._indentation(at)
        try:
            value, text = self.parse()
        except TooLongError as error:
            return self._bad(at, indentation, str(error), is_long=True)
        except (ValueError, RecursionError) as error:
            return self._bad(at, indentation, f"not JSON: {getattr(error, 'msg', error)}")
        return Value(at, self.at, value, text)

    def _indentation(self, at: int) -> str | None:
        """The spaces before a value that begins a line; the same ones wherever reading began."""
        _, end, line = self._gap.rpartition("\n")
        return line if (end or at == 0) and not line.strip(" \t") else None

    def _bad(self, at: int, indentation: str | None, problem: str, *, is_long: bool = False) -> Value:
        """Go on behind what is no value."""
        beginning = self.beginning
        skipped = self._resume(indentation)
        return Value(at, self.at, None, beginning[:skipped].rstrip(", \t\r\n"), problem, is_long)

    def _resume(self, indentation: str | None) -> int:
        """Go to where the next value seems to begin; say how many characters were passed."""
        start = (
            _INLINE if indentation is None else re.compile(rf"\n{re.escape(indentation)}(?:([}}\]],?[ \t]*))?(?=\{{)")
        )
        self._position += 1
        passed = 1
        while True:
            match = start.search(self._text, self._position)
            if match or self._is_over:
                end = _next_start(match) if match else len(self._text)
                passed, self._position = passed + end - self._position, end
                return passed
            keep = max(self._position, len(self._text) - _NEAR_END - len(indentation or ""))
            passed, self._position = passed + keep - self._position, keep
            self._fill()

    def give_back(self) -> None:
        """Let the stream give again what was read ahead, so that it stands where reading does."""
        unread = self._text[self._position :].encode("utf-8", "surrogateescape")
        self._stream.unread(unread + self._decoder.getstate()[0])

    def _fill(self) -> bool:
        """Read on, as much again as is waiting; false at the end of the file."""
        waiting = len(self._text) - self._position
        data = self._stream.read(max(_CHUNK, waiting))
        _ = self.at  # counted before its text goes
        decoded = self._decoder.decode(data, final=not data)
        self._text = self._text[self._position :] + decoded
        self._position = self._counted = 0
        self._is_over = not data
        return bool(decoded)
