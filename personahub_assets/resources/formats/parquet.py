"""Parquet files: rows by number, read in pieces."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from personahub_assets.domain.sources import RawRow
from personahub_assets.resources.formats.slices import Layout, Slice, by_number
from personahub_assets.resources.parquet_values import python_rows

_ROWS = 8_192  # at a time


def survey_parquet(path: Path, rows_per_slice: int, _limit: int) -> Layout:
    """Count the rows and cut them into slices."""
    total = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    return Layout("parquet", list(by_number(total, rows_per_slice)))


def read_parquet(path: Path, part: Slice, _limit: int) -> Iterator[RawRow]:
    """Stream the rows of a slice."""
    end = part.first_row + part.rows
    for start in range(part.first_row, end, _ROWS):
        frame = pl.scan_parquet(path, glob=False).slice(start, min(_ROWS, end - start)).collect()
        for number, columns in enumerate(python_rows(frame), start + 1):
            yield RawRow(f"row {number}", columns=columns)
