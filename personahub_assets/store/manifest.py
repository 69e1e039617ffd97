"""The files of the tables with their rows and columns, so that nothing needs to open every file to know them.

A listing is a name and a mark for each file of a folder: one `stat` each, the only thing that is done for every file.
What a file contains is kept below `cache/` by its mark: only files that are new or changed are opened. It can be
deleted at any time.
"""

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from personahub_assets.store.atomic import replacing
from personahub_assets.store.connections import connect_small
from personahub_assets.store.home import PART

Numbers = NDArray[np.int64]

_PREFIX = "batch="
_SEPARATOR = "/"
_FACTS = ("rows", "dropped", "columns")


@dataclass(frozen=True)
class Listing:
    """The files of a folder of partitions.

    Attributes:
        names: their batches, joined by `/`, in the order of the folder.
        marks: size, modification time in ns and inode of each file. Table files are only ever replaced, so a changed
            one has a new inode.
    """

    names: str
    marks: Numbers

    @cached_property
    def batches(self) -> list[str]:
        """The batches, one for each file."""
        return self.names.split(_SEPARATOR) if self.names else []

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of each batch."""
        return {batch: position for position, batch in enumerate(self.batches)}

    def is_same(self, other: "Listing") -> bool:
        """Whether both have the same files, in the same order."""
        return self.names == other.names and np.array_equal(self.marks, other.marks)

    def changed(self, before: "Listing") -> set[str]:
        """Batches whose file is new, changed or removed since an earlier listing."""
        if self.is_same(before):
            return set()
        same, _ = self.unchanged(before)
        return {*self.batches, *before.batches} - {self.batches[position] for position in same}

    def unchanged(self, before: "Listing") -> tuple[list[int], list[int]]:
        """Positions of the files that are in an earlier listing with the same mark: here, and there."""
        pairs = [(here, before.positions.get(batch)) for here, batch in enumerate(self.batches)]
        both = [(here, there) for here, there in pairs if there is not None]
        if not both:
            return [], []
        here, there = map(list, zip(*both, strict=True))
        is_same = (self.marks[here] == before.marks[there]).all(axis=1)
        return [h for h, same in zip(here, is_same, strict=True) if same], [
            t for t, same in zip(there, is_same, strict=True) if same
        ]


EMPTY = Listing("", np.empty((0, 3), np.int64))


def listing(folder: Path) -> Listing:
    """List the files of a folder of partitions; an absent folder has none.

    Raises:
        OSError: if the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(_PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return EMPTY
    batches, marks = list[str](), list[tuple[int, int, int]]()
    for name in names:
        try:
            stat = os.stat(f"{folder}/{name}/{PART}")  # noqa: PTH116 - a Path for each takes three times as long
        except (FileNotFoundError, NotADirectoryError):
            continue
        batches.append(name[len(_PREFIX) :])
        marks.append((stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return Listing(_SEPARATOR.join(batches), np.array(marks, np.int64).reshape(-1, 3))


@dataclass(frozen=True)
class Manifest:
    """The files of a folder with what they contain.

    Attributes:
        listing: the files.
        rows: rows of each file.
        dropped: of files with decisions, the rows with a keeper; else 0.
        columns: a hash of the names and types of the columns of each file.
    """

    listing: Listing
    rows: Numbers
    dropped: Numbers
    columns: Numbers

    @property
    def distinct_columns(self) -> dict[int, int]:
        """Each hash of columns, with the position of a file that has them."""
        values, first = np.unique(self.columns, return_index=True)
        return dict(zip(values.tolist(), first.tolist(), strict=True))


def manifest(folder: Path, kept: Path, files: Listing | None = None, *, has_drops: bool = False) -> Manifest:
    """The manifest of a folder; files that the kept one lacks are read, and it is written again.

    Args:
        folder: the folder of partitions.
        kept: file of the manifest of an earlier call; it can be missing or damaged.
        files: the listing of the folder, if there is one already.
        has_drops: whether the files have decisions.

    Raises:
        duckdb.Error: if a file is damaged.
        OSError: if the folder cannot be read.
    """
    files = listing(folder) if files is None else files
    before = load(kept)
    if before is not None and files.is_same(before.listing):
        return before
    facts = np.zeros((len(_FACTS), len(files.batches)), np.int64)
    here, there = files.unchanged(before.listing) if before is not None else ([], [])
    if before is not None and here:
        facts[:, here] = np.stack([before.rows[there], before.dropped[there], before.columns[there]])
    others = sorted(set(range(len(files.batches))).difference(here))
    if others:
        paths = [f"{folder}/{_PREFIX}{files.batches[position]}/{PART}" for position in others]
        facts[:, others] = np.array(list(_contents(paths, has_drops=has_drops)), np.int64).T
    result = Manifest(files, *facts)
    # The home can be read-only: then the files are read again next time.
    with suppress(OSError):
        save(result, kept)
    return result


def _contents(paths: Sequence[str], *, has_drops: bool) -> Iterator[tuple[int, int, int]]:
    """Rows, dropped rows and hash of the columns of each file, in the order of the files."""
    with connect_small() as connection:
        rows = _by_file(connection, "SELECT file_name, num_rows FROM parquet_file_metadata($paths)", paths)
        columns = _by_file(connection, _COLUMNS, paths)
        dropped = _by_file(connection, _DROPPED, paths) if has_drops else {}
    for path in paths:
        yield rows[path], dropped.get(path, 0), columns[path]


_COLUMNS = """
SELECT
    file_name,
    (md5_number_lower(list((name, duckdb_type, num_children) ORDER BY column_id)::VARCHAR) >> 1)::BIGINT
FROM parquet_schema($paths)
GROUP BY file_name
"""
_DROPPED = """
SELECT filename, count(keeper_id)
FROM read_parquet($paths, union_by_name = true, hive_partitioning = false)
GROUP BY filename
"""


def _by_file(connection: duckdb.DuckDBPyConnection, query: str, paths: Sequence[str]) -> dict[str, int]:
    # A path is taken as a pattern.
    patterns = {escape(path): path for path in paths}
    return dict(connection.execute(query, {"paths": list(patterns)}).fetchall())


def load(file: Path) -> Manifest | None:
    """Read a manifest; None if it is missing or damaged."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            marks, facts = stored["marks"], stored["facts"]
            names = stored["names"].tobytes().decode("utf-8", "surrogateescape")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    files = Listing(names, marks)
    is_whole = marks.ndim == 2 and facts.shape == (len(_FACTS), len(marks)) and len(files.batches) == len(marks)
    return Manifest(files, *facts) if is_whole else None


def save(contents: Manifest, file: Path) -> None:
    """Write a manifest."""
    facts = np.stack([contents.rows, contents.dropped, contents.columns])
    names = np.frombuffer(contents.listing.names.encode("utf-8", "surrogateescape"), np.uint8)
    with replacing(file, sync=False) as aside, aside.open("wb") as opened:
        np.savez(opened, names=names, marks=contents.listing.marks, facts=facts)
