"""Slices: the runs of rows that a source file is cut into, and how to read them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

LARGEST = 16 << 20
"""Bytes of one record (a line, a JSON value, a record of CSV) that are held in memory at most, unless
sources.max_document_chars demands more."""


@dataclass(frozen=True)
class Slice:
    """A run of rows of a source file.

    Args:
        first_row: number of its first row, from 0.
        first_byte: where it begins in the decompressed UTF-8 text, or in the file of a web archive; 0 where rows must
            be counted from the start.
        rows: how many there are.
        reading: how the file is read, such as the dialect of CSV, as a JSON object; None: as its format is by default.
    """

    first_row: int
    first_byte: int
    rows: int
    reading: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """`reading` as an object."""
        return json.loads(self.reading) if self.reading else {}

    @property
    def file_reading(self) -> str | None:
        """`reading` as far as it is the same for all slices of a file."""
        options = {name: value for name, value in self.options.items() if name != "first_line"}
        return json.dumps(options) if options else None


@dataclass(frozen=True)
class Layout:
    """What a format learns from reading a source file once.

    Args:
        format: what the file turns out to be, where its name leaves that open.
        slices: none for a file without rows.
    """

    format: str
    slices: list[Slice]


@dataclass
class Cutter:
    """Cuts a stream of rows into slices of at most so many."""

    rows_per_slice: int
    options: dict[str, Any]
    slices: list[Slice] = field(default_factory=list)
    _open: Slice | None = None

    def add(self, at: int, **options: Any) -> None:
        """Count a row that begins at a byte; the options are of the slice that it may begin."""
        if self._open is None or self._open.rows == self.rows_per_slice:
            self._close()
            first = self.slices[-1].first_row + self.slices[-1].rows if self.slices else 0
            self._open = Slice(first, at, 0, json.dumps({**self.options, **options}))
        self._open = replace(self._open, rows=self._open.rows + 1)

    def _close(self) -> None:
        if self._open:
            self.slices.append(self._open)
            self._open = None

    def cut(self) -> list[Slice]:
        """The slices, after the last row."""
        self._close()
        return self.slices


def by_number(total: int, rows_per_slice: int) -> Iterator[Slice]:
    """Slices of a file whose rows are found by their number."""
    for at in range(0, total, rows_per_slice):
        yield Slice(at, 0, min(rows_per_slice, total - at))
