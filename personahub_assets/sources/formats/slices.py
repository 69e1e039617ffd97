"""Slices: the runs of rows of a source file, with the options for reading them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

LARGEST = 16 << 20
"""Maximum bytes of a record (a line, a JSON value, a CSV record) in memory,
unless sources.max_document_chars needs more."""


@dataclass(frozen=True)
class Slice:
    """A run of rows of a source file.

    Args:
        first_row: number of its first row, from 0.
        first_byte: first byte in the decompressed UTF-8 text, or in the file of a web archive; 0 if rows must be
            counted from the start.
        rows: number of rows.
        reading: options for reading, such as the dialect of CSV, as a JSON object; None for the defaults.
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
        """The part of `reading` that is the same for all slices of a file."""
        options = {name: value for name, value in self.options.items() if name != "first_line"}
        return json.dumps(options) if options else None


@dataclass(frozen=True)
class Layout:
    """Result of surveying a source file.

    Args:
        format: detected format, if the name leaves it open.
        slices: empty for a file without rows.
    """

    format: str
    slices: list[Slice]


@dataclass
class Cutter:
    """Cuts a stream of rows into slices of a maximum size."""

    rows_per_slice: int
    options: dict[str, Any]
    slices: list[Slice] = field(default_factory=list)
    _open: Slice | None = None

    def add(self, at: int, **options: Any) -> None:
        """Add a row that begins at a byte; the options are used if it begins a slice."""
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
        """Return the slices, after the last row."""
        self._close()
        return self.slices


def by_number(total: int, rows_per_slice: int) -> Iterator[Slice]:
    """Slices of a file with rows addressed by number."""
    for at in range(0, total, rows_per_slice):
        yield Slice(at, 0, min(rows_per_slice, total - at))
