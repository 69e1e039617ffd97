"""Freshness of the warehouse: whether it was built from the current files, compared by their marks, not by time.

A note beside the warehouse has size, modification time and inode of every table file that it was built from, and
hashes of the journals, the SQL and hub.toml. Any change makes it stale: files that are new, changed, removed, restored
from a backup, or have a time in the future. The note also says which files changed, so that a build reads only those.
"""

import io
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from personahub_assets.core import project_files
from personahub_assets.store.atomic import replacing
from personahub_assets.store.hashes import file_mark
from personahub_assets.store.manifest import EMPTY, Listing, listing
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import journals
from personahub_assets.warehouse.stored_tables import unreadable

_SQL = ("helpers", "views", "macros", "marts", "increments")
_LAYOUT = "2"
"""To be changed with the code that fills the warehouse, so that one of an earlier version is built anew."""


@dataclass(frozen=True)
class Inputs:
    """What a warehouse is built from, as it was at one moment.

    Attributes:
        definitions: hash of the SQL, the settings, the place of the home and the version of DuckDB.
        journals: hash of the marks of the journals.
        folders: the files of each folder of partitions, by its path below `tables/`.
    """

    definitions: str
    journals: str
    folders: dict[str, Listing]

    def changed(self, before: "Inputs") -> dict[str, set[str]]:
        """By folder, the batches whose file is new, changed or removed since then; only folders that have such."""
        folders = self.folders | before.folders
        changes = {
            folder: self.folders.get(folder, EMPTY).changed(before.folders.get(folder, EMPTY)) for folder in folders
        }
        return {folder: batches for folder, batches in changes.items() if batches}


@dataclass(frozen=True)
class Contents:
    """What a build has put into the warehouse.

    Attributes:
        tables: how each table is there: `copied`, `empty`, or the query of a view over its files.
        rows: rows of each table.
        drops: dropped rows of each table with decisions.
        marts: the views that have tables under them.
        last_place: last number in the table `places` when the ids were last sorted.
        bytes_per_row: size of the file by rows of all tables, when all of it was last built.
    """

    tables: dict[str, str]
    rows: dict[str, int]
    drops: dict[str, int]
    marts: list[str]
    last_place: int
    bytes_per_row: float


@dataclass(frozen=True)
class Note:
    """What is noted beside a warehouse."""

    warehouse: list[int]
    inputs: Inputs
    contents: Contents


def inputs(store: Store) -> Inputs:
    """The current inputs of a warehouse."""
    return Inputs(_definitions(store), _hash(journals.marks(store)), dict(_folders(store)))


def note_built(store: Store, warehouse: Path, made_from: Inputs, contents: Contents) -> None:
    """Note what a warehouse was built from, as it was before the build."""
    head = {
        "warehouse": file_mark(warehouse),
        "definitions": made_from.definitions,
        "journals": made_from.journals,
        "contents": asdict(contents),
        "folders": {folder: len(files.marks) for folder, files in made_from.folders.items()},
    }
    names = "\n".join(files.names for files in made_from.folders.values())
    marks = np.concatenate([EMPTY.marks, *(files.marks for files in made_from.folders.values())])
    with replacing(store.paths.warehouse_note, sync=False) as aside, aside.open("wb") as opened:
        np.savez(opened, head=_bytes(json.dumps(head)), names=_bytes(names), marks=marks)


def noted(store: Store) -> Note | None:
    """The note beside the warehouse; None if it is missing, damaged, or about another file."""
    try:
        with np.load(io.BytesIO(store.paths.warehouse_note.read_bytes()), allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            names, marks = _text(stored["names"]).split("\n"), stored["marks"]
        ends = np.cumsum(list(head["folders"].values()))[:-1]
        pieces = zip(head["folders"], names, np.split(marks, ends), strict=True) if head["folders"] else ()
        folders = {folder: Listing(joined, piece) for folder, joined, piece in pieces}
        made_from = Inputs(head["definitions"], head["journals"], folders)
        note = Note(head["warehouse"], made_from, Contents(**head["contents"]))
        return note if note.warehouse == file_mark(store.paths.warehouse) else None
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):  # missing or damaged
        return None


def is_built_from_these(store: Store, note: Note, tables: Collection[str] | None = None) -> bool:
    """Whether the noted warehouse was built from the current inputs; it stops at the first difference.

    Args:
        tables: compares only the files of these tables; None: of all.
    """
    before = note.inputs
    if (_definitions(store), _hash(journals.marks(store))) != (before.definitions, before.journals):
        return False
    folders = set[str]()
    for folder, files in _folders(store, tables):
        folders.add(folder)
        if not files.is_same(before.folders.get(folder, EMPTY)):
            return False
    if tables is None:
        return folders == before.folders.keys()
    of_tables = {*tables, *(folder_name(store, folder).split("/")[0] for folder in _folders_of(store, tables))}
    return folders == {folder for folder in before.folders if folder.split("/")[0] in of_tables}


def folder_name(store: Store, folder: Path) -> str:
    """The name of a folder of partitions in the inputs: its path below `tables/`."""
    return folder.relative_to(store.paths.tables).as_posix()


def _folders(store: Store, tables: Collection[str] | None = None) -> Iterator[tuple[str, Listing]]:
    """The folders that have files, of some tables or all."""
    for folder in _folders_of(store, (*store.table_set.sql, *store.catalog.faults) if tables is None else tables):
        files = listing(folder)
        if files.names:
            yield folder_name(store, folder), files


def _folders_of(store: Store, tables: Iterable[str]) -> Iterator[Path]:
    return (folder for table in tables for folder in sorted(store.folders(table)))


def _definitions(store: Store) -> str:
    lines = (_LAYOUT, duckdb.__version__, str(store.root), ",".join(unreadable(store)), *_sql(), _settings(store))
    return _hash((*lines, *store.table_set.sql.values()))


def _hash(lines: Iterable[str]) -> str:
    hasher = blake2b(digest_size=20)
    for line in lines:
        hasher.update(f"{len(line)} {line}".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _sql() -> Iterator[str]:
    for folder in _SQL:
        for name, text in project_files.sql_files(folder).items():
            yield f"{folder}/{name} {text}"


def _settings(store: Store) -> str:
    try:
        return store.paths.config.read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return "none"


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)


def _text(stored: NDArray[np.uint8]) -> str:
    return stored.tobytes().decode("utf-8", "surrogateescape")
