"""Freshness of the warehouse: whether it was built from the current files, compared by hash, not by time.

A file beside the warehouse stores a hash over path, size, modification time and inode of every table file, over the
journals, over the SQL, and over hub.toml. Any change makes it stale: files that are new, changed, removed, restored
from a backup, or have a time in the future. Table files are only ever replaced, so a changed one has a new inode.
"""

import json
import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from personahub_assets.core import project_files
from personahub_assets.store.hashes import file_mark
from personahub_assets.store.home import PART
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import journals

_SQL = ("helpers", "views", "macros", "marts")


def inputs(store: Store) -> str:
    """Hash of the current inputs of a warehouse."""
    hasher = blake2b(digest_size=20)
    files = (*sorted(_table_files(store)), *journals.marks(store))
    for line in (*files, *store.table_set.sql.values(), *_sql(), _settings(store)):
        hasher.update(f"{len(line)} {line}".encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def note_built(store: Store, warehouse: Path, made_from: str) -> None:
    """Store the hash of the inputs of a warehouse, computed before the build."""
    note = store.paths.warehouse_note
    note.parent.mkdir(parents=True, exist_ok=True)
    aside = note.with_name(f".{note.name}.{os.getpid()}-note")
    aside.write_text(json.dumps({"warehouse": file_mark(warehouse), "inputs": made_from}))
    aside.replace(note)


def is_built_from_these(store: Store, warehouse: Path) -> bool:
    """Whether this file was built from the current inputs."""
    try:
        noted = json.loads(store.paths.warehouse_note.read_text())
        return bool(noted["warehouse"] == file_mark(warehouse) and noted["inputs"] == inputs(store))
    except (OSError, ValueError, TypeError, KeyError):  # missing or damaged
        return False


def _table_files(store: Store) -> Iterator[str]:
    tables = str(store.paths.tables)
    for table in (*store.table_set.sql, *store.catalog.faults):
        for folder in store.folders(table):
            for partition in _below(folder, "batch="):
                try:
                    stat = os.stat(f"{partition}/{PART}")  # noqa: PTH116 - a Path for each takes three times as long
                except FileNotFoundError:
                    continue
                yield f"{partition[len(tables) :]} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"


def _below(folder: Path, prefix: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if entry.name.startswith(prefix)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sql() -> Iterator[str]:
    for folder in _SQL:
        for name, text in project_files.sql_files(folder).items():
            yield f"{folder}/{name} {text}"


def _settings(store: Store) -> str:
    try:
        return store.paths.config.read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return "none"
