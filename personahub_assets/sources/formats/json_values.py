"""Stream JSON values, such as the elements of an array, with bounded memory.

A value that is not JSON does not affect the others: reading continues at the likely begin of the next value, which is
the next `{` with the same indentation.
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
_NEAR_END = 32  # characters: longer than a cut literal, usual number or escape
_INLINE = re.compile(r"\}\s*+(?:,\s*+)?(?=\{)")
_UNDECODED = re.compile("[\udc80-\udcff]")


def _next_start(match: re.Match[str]) -> int:
    """The position before the indentation of a line, behind the end of the last value."""
    return match.end() if match.re is _INLINE or match.group(1) else match.start()


class TooLongError(ValueError):
    """A value is longer than the limit."""


@dataclass(frozen=True)
class Value:
    """One value, or invalid text in its place.

    Args:
        at: end of the value before it, in bytes.
        end: its end, in bytes.
        text: text of the value; only its beginning if there is a problem.
        problem: reason why it is invalid; empty for a value.
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
        """Whether it contains bytes that are not UTF-8."""
        return not self.text.isascii() and bool(_UNDECODED.search(self.text))


class Values:
    """Reads values from the current position of a stream.

    Args:
        is_array: whether `]` ends them.
        limit: maximum characters of a value.
    """

    def __init__(self, stream: Stream, limit: int, *, is_array: bool):
        self._stream, self._limit, self._is_array = stream, limit, is_array
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._position, self._is_over = "", 0, False
        self._gap = ""  # text between the last value and the next one
        self._at, self._counted = stream.at, 0  # the same position, in bytes of the file and in characters of the text

    def __iter__(self) -> Iterator[Value]:
        """The values in order; a fault of the end of an array comes last."""
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
        """The current byte of the file."""
        self._at += len(self._text[self._counted : self._position].encode("utf-8", "surrogateescape"))
        self._counted = self._position
        return self._at

    @property
    def beginning(self) -> str:
        """The next characters, for messages."""
        return self._text[self._position : self._position + RAW_LIMIT]

    @property
    def next_char(self) -> str:
        """The next character."""
        return self._text[self._position]

    def skip_char(self) -> None:
        """Skip the next character."""
        self._position += 1

    def skip_gap(self) -> bool:
        """Skip spaces and commas; False at the end of the file."""
        while True:
            match = _GAP.match(self._text, self._position)
            assert match is not None  # it can be empty
            self._position = match.end()
            self._gap += match.group()
            if self._position < len(self._text):
                return True
            if not self._fill():
                return False

    def parse(self) -> tuple[Any, str]:
        """Parse the value at the current position; return it with its text.

        Raises:
            ValueError, RecursionError: if there is no value, or it is longer than the limit.
        """
        while True:
            try:
                value, end = parse_value(self._text, self._position)
            except ValueError as error:
                if not self._is_cut(error):
                    raise
            else:
                if end < len(self._text) or self._is_over:  # else a number can continue
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
        """Whether a fault can come from a value that was not read completely."""
        if self._is_over:
            return False
        where = getattr(error, "pos", len(self._text))
        return str(error).startswith("Unterminated") or where >= len(self._text) - _NEAR_END

    def _next(self, at: int) -> Value:
        indentation = self._indentation(at)
        try:
            value, text = self.parse()
        except TooLongError as error:
            return self._invalid_value(at, indentation, str(error), is_long=True)
        except (ValueError, RecursionError) as error:
            return self._invalid_value(at, indentation, f"not JSON: {getattr(error, 'msg', error)}")
        return Value(at, self.at, value, text)

    def _indentation(self, at: int) -> str | None:
        """The spaces before a value at the start of a line, independent of where reading began."""
        _, end, line = self._gap.rpartition("\n")
        return line if (end or at == 0) and not line.strip(" \t") else None

    def _invalid_value(self, at: int, indentation: str | None, problem: str, *, is_long: bool = False) -> Value:
        """Skip an invalid value."""
        beginning = self.beginning
        skipped = self._resume(indentation)
        return Value(at, self.at, None, beginning[:skipped].rstrip(", \t\r\n"), problem, is_long)

    def _resume(self, indentation: str | None) -> int:
        """Move to the likely begin of the next value; return the number of skipped characters."""
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
        """Return the text that was read ahead to the stream."""
        unread = self._text[self._position :].encode("utf-8", "surrogateescape")
        self._stream.unread(unread + self._decoder.getstate()[0])

    def _fill(self) -> bool:
        """Read more, at least as much as is buffered; False at the end of the file."""
        waiting = len(self._text) - self._position
        data = self._stream.read(max(_CHUNK, waiting))
        _ = self.at  # counted before its text is dropped
        decoded = self._decoder.decode(data, final=not data)
        self._text = self._text[self._position :] + decoded
        self._position = self._counted = 0
        self._is_over = not data
        return bool(decoded)
