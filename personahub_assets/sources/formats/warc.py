"""Web archives: slices of their records."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import archives
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.rows import RawRow


def survey_archive(path: Path, rows_per_slice: int, _limit: int) -> Layout:
    """Count the records and cut them into slices.

    Raises:
        SourceError: if it needs a dictionary or has no record.
    """
    if archives.needs_dictionary(path):
        raise SourceError(f"{path}: zstd with a dictionary; decompress it first: zstd -d")
    slices: list[Slice] = []
    first, start, rows, kinds = 0, 0, 0, set[str]()
    for record in archives.records(path):
        if rows == rows_per_slice:
            slices.append(Slice(first, start, rows))
            first, start, rows = first + rows, record.at or 0, 0
        rows += 1
        kinds.add(record.kind)
    if kinds == {""}:
        raise SourceError(f"{path}: damaged or not what its name says: it has no record of a web archive")
    return Layout("warc", [*slices, Slice(first, start, rows)] if rows else slices)


def read_archive(path: Path, part: Slice, _limit: int) -> Iterator[RawRow]:
    """Stream the rows of a slice."""
    before = 0 if part.first_byte else part.first_row
    wanted = itertools.islice(archives.records(path, part.first_byte), before, before + part.rows)
    for number, record in enumerate(wanted, part.first_row + 1):
        yield archives.row(number, record)
