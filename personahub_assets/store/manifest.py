"""The files of the tables with their rows and columns, so that nothing needs to open every file to know them.

A listing is a name and a mark for each file of a folder: one `stat` each, the only thing that is done for every file.
What a file contains is kept below `cache/` by its mark: only files that are new or changed are opened. It can be
deleted at any time.
"""

import io
import os
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from personahub_assets.store.atomic import replacing
from personahub_assets.store.connections import cursor
from personahub_assets.store.home import PART

Numbers = NDArray[np.int64]

_MANY = 100  # files for which it pays to open their folder
_PREFIX = "batch="
_SEPARATOR = "/"
_FACTS = ("rows", "dropped", "columns")
_VERSION = 2
"""Before, dropped items were not counted."""
_ODD = (-7046029254386353131, -4417276706812531889, -7723592293110705685)
"""Odd numbers with mixed bits."""


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
    def _identities(self) -> Numbers:
        """A number for each file that depends on its batch and mark; comparable within one process only."""
        with np.errstate(over="ignore"):
            mixed = np.fromiter(map(hash, self.batches), np.int64, len(self.marks))
            for column, odd in enumerate(_ODD):
                mixed = (mixed ^ self.marks[:, column]) * odd
        return mixed

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each batch with its mark as a text."""
        return (
            (batch, " ".join(map(str, mark))) for batch, mark in zip(self.batches, self.marks.tolist(), strict=True)
        )

    def is_same(self, second: "Listing") -> bool:
        """Whether both have the same files, in the same order."""
        return self.names == second.names and np.array_equal(self.marks, second.marks)

    def changed(self, before: "Listing") -> set[str]:
        """Batches whose file is new, changed or removed since an earlier listing."""
        if self.is_same(before):
            return set()
        now, then = self._identities, before._identities
        new = np.flatnonzero(~np.isin(now, then, kind="sort"))
        old = np.flatnonzero(~np.isin(then, now, kind="sort"))
        return {*(self.batches[position] for position in new), *(before.batches[position] for position in old)}

    def unchanged(self, before: "Listing") -> tuple[Numbers, Numbers]:
        """Positions of the files that are in an earlier listing with the same mark: in this one, and in that one."""
        _, now, then = np.intersect1d(self._identities, before._identities, return_indices=True)
        return now, then


EMPTY = Listing("", np.empty((0, 3), np.int64))


def listing(folder: Path, batches: Collection[str] | None = None) -> Listing:
    """List the files of a folder of partitions, or those of some batches; an absent folder has none.

    Raises:
        OSError: if the folder cannot be read.
    """
    names = _partition_names(folder) if batches is None else [f"{_PREFIX}{batch}" for batch in batches]
    present, marks, stat = list[str](), list[tuple[int, int, int]](), os.stat
    with _looking_in(folder, len(names)) as (prefix, opened):
        for name in names:
            try:
                values = stat(f"{prefix}{name}/{PART}", dir_fd=opened)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                error.filename = f"{folder}/{name}/{PART}"
                raise
            present.append(name[len(_PREFIX) :])
            marks.append((values.st_size, values.st_mtime_ns, values.st_ino))
    return Listing(_SEPARATOR.join(present), np.array(marks, np.int64).reshape(-1, 3))


@contextmanager
def _looking_in(folder: Path, files: int) -> Iterator[tuple[str, int | None]]:
    """A prefix for paths and an open folder to which they are relative: that is a sixth quicker than whole paths."""
    opened = None
    if files >= _MANY and os.stat in os.supports_dir_fd:
        with suppress(FileNotFoundError, NotADirectoryError):  # then it has no files any more
            opened = os.open(folder, os.O_RDONLY)
    try:
        yield f"{folder}/" if opened is None else "", opened
    finally:
        if opened is not None:
            os.close(opened)


def _partition_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name.startswith(_PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return []


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


def manifests(
    folders: Mapping[Path, Listing], file_of: Callable[[Path], Path] | None, with_drops: Collection[Path] = ()
) -> dict[Path, Manifest]:
    """The manifests of folders; files that the stored ones lack are read together, and they are written again.

    Args:
        folders: folders of partitions with their listings.
        file_of: the file in which the manifest of a folder is stored; it can be missing or damaged. None to read all
            files and store nothing.
        with_drops: folders whose files have decisions.

    Raises:
        duckdb.Error: if a file is damaged.
    """
    stored = {folder: load(file_of(folder)) if file_of else None for folder in folders}
    new = {folder: _new(files, stored[folder]) for folder, files in folders.items()}
    contents = _contents({folder: _paths(folder, folders[folder], new[folder]) for folder in folders}, with_drops)
    result = dict[Path, Manifest]()
    for folder, files in folders.items():
        before = stored[folder]
        if before is not None and files.is_same(before.listing):
            result[folder] = before
            continue
        result[folder] = _merged(files, before, new[folder], contents.get(folder))
        # The home can be read-only: then the files are read again next time.
        with suppress(OSError):
            if file_of and (files.names or before is not None):  # a question about no home makes none
                save(result[folder], file_of(folder))
    return result


def _new(files: Listing, before: Manifest | None) -> Numbers:
    """Positions of the files that a manifest lacks."""
    every = np.arange(len(files.marks))
    if before is None:
        return every
    return every[:0] if files.is_same(before.listing) else np.delete(every, files.unchanged(before.listing)[0])


def _paths(folder: Path, files: Listing, positions: Numbers) -> list[str]:
    return [f"{folder}/{_PREFIX}{files.batches[position]}/{PART}" for position in positions]


def _merged(files: Listing, before: Manifest | None, new: Numbers, contents: Numbers | None) -> Manifest:
    """The facts of a manifest about the files that are unchanged, with those that were read."""
    facts = np.zeros((len(_FACTS), len(files.marks)), np.int64)
    if before is not None:
        now, then = files.unchanged(before.listing)
        facts[:, now] = np.stack([before.rows[then], before.dropped[then], before.columns[then]])
    if contents is not None:
        facts[:, new] = contents
    return Manifest(files, *facts)


def _contents(paths: Mapping[Path, Sequence[str]], with_drops: Collection[Path]) -> dict[Path, Numbers]:
    """Rows, dropped rows and hash of the columns of files by folder; each file is a column."""
    every = [path for listed in paths.values() for path in listed]
    decisions = [path for folder in with_drops for path in paths.get(folder, ())]
    if not every:
        return {}
    with cursor() as connection:
        rows = _by_file(connection, "SELECT file_name, num_rows FROM parquet_file_metadata($paths)", every)
        columns = _by_file(connection, _COLUMNS, every)
        dropped = _by_file(connection, _DROPPED, decisions) if decisions else {}
    return {
        folder: np.array([[rows[path], dropped.get(path, 0), columns[path]] for path in listed], np.int64).T
        for folder, listed in paths.items()
        if listed
    }


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
    """Read a manifest; None if it is missing, damaged, or of an earlier version."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
            is_current = int(stored["version"]) == _VERSION
            marks, facts = stored["marks"], stored["facts"]
            names = stored["names"].tobytes().decode("utf-8", "surrogateescape")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    files = Listing(names, marks)
    is_whole = (
        is_current and marks.ndim == 2 and facts.shape == (len(_FACTS), len(marks)) and len(files.batches) == len(marks)
    )
    return Manifest(files, *facts) if is_whole else None


def save(contents: Manifest, file: Path) -> None:
    """Write a manifest."""
    facts = np.stack([contents.rows, contents.dropped, contents.columns])
    names = np.frombuffer(contents.listing.names.encode("utf-8", "surrogateescape"), np.uint8)
    with replacing(file, sync=False) as aside, aside.open("wb") as opened:
        np.savez(opened, version=_VERSION, names=names, marks=contents.listing.marks, facts=facts)
