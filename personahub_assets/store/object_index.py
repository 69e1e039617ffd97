"""The index of a working copy: which version of each object was last seen, and which one its file has."""

import logging
import sqlite3
from pathlib import Path
from typing import NamedTuple

from personahub_assets.store.objects import Version

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, etag TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    fetched TEXT NOT NULL, content TEXT NOT NULL, mark TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS log (number INTEGER NOT NULL);
"""
_COLUMNS = "etag, size, sha256, fetched, content, mark"
_LOG = logging.getLogger("personahub")


class Row(NamedTuple):
    """What is known of an object and its file.

    Attributes:
        version: the last known version of the object.
        fetched: the ETag of the version that the file has; empty without a file.
        content: SHA-256 of the file then.
        mark: size, times and inode of the file then.
    """

    version: Version
    fetched: str = ""
    content: str = ""
    mark: str = ""


class Index:
    """The objects of a home as they were last seen; every change is durable at once."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    @property
    def last(self) -> int | None:
        """The number of the last commit that was read; None before the first pull."""
        return next((int(number) for (number,) in self._connection.execute("SELECT number FROM log")), None)

    def reach(self, number: int) -> None:
        """All commits up to a number were read."""
        with self._connection:
            self._connection.execute("DELETE FROM log")
            self._connection.execute("INSERT INTO log VALUES (?)", [number])

    def row(self, key: str) -> Row | None:
        """What is known of an object."""
        stored = self._connection.execute(f"SELECT {_COLUMNS} FROM objects WHERE key = ?", [key]).fetchone()
        return _row(stored) if stored else None

    def rows(self) -> list[tuple[str, Row]]:
        """All objects."""
        return [(row[0], _row(row[1:])) for row in self._connection.execute(f"SELECT key, {_COLUMNS} FROM objects")]

    def keys(self, folders: tuple[str, ...]) -> list[str]:
        """The keys in some folders."""
        return [key for (key,) in self._connection.execute("SELECT key FROM objects") if key.startswith(folders)]

    def outdated(self, without: tuple[str, ...]) -> list[str]:
        """Keys whose file is not of the last known version."""
        rows = self._connection.execute("SELECT key FROM objects WHERE fetched <> etag ORDER BY key").fetchall()
        return [key for (key,) in rows if not key.startswith(without)]

    def see(self, key: str, version: Version) -> None:
        """An object has a version."""
        values = [key, version.etag, version.size, version.sha256]
        with self._connection:
            self._connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, '', '', '') ON CONFLICT (key) DO UPDATE "
                "SET etag = excluded.etag, size = excluded.size, sha256 = excluded.sha256",
                values,
            )

    def keep(self, key: str, version: Version, mark: str) -> None:
        """A file has the content of a version."""
        self.see(key, version)
        with self._connection:
            self._connection.execute(
                "UPDATE objects SET fetched = etag, content = sha256, mark = ? WHERE key = ?", [mark, key]
            )

    def lose(self, key: str) -> None:
        """The file of an object is not here any more."""
        with self._connection:
            self._connection.execute("UPDATE objects SET fetched = '', content = '', mark = '' WHERE key = ?", [key])

    def mark(self, key: str, mark: str) -> None:
        """The file of an object has another mark, and the same content."""
        with self._connection:
            self._connection.execute("UPDATE objects SET mark = ? WHERE key = ?", [mark, key])

    def forget(self, key: str) -> None:
        """There is no such object."""
        with self._connection:
            self._connection.execute("DELETE FROM objects WHERE key = ?", [key])


def open_index(file: Path) -> sqlite3.Connection:
    """Open the index; a damaged one is made again, since the objects and the files say what is in it."""
    try:
        return _connect(file)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # such as a full disk
            raise
        _LOG.warning("%s is damaged (%s): it is made again", file, error)
        for each in (file, *file.parent.glob(f"{file.name}-*")):
            each.unlink(missing_ok=True)
        return _connect(file)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file)
    try:
        connection.executescript(_SCHEMA)
    except BaseException:
        connection.close()
        raise
    return connection


def _row(values: tuple[str, int, str, str, str, str]) -> Row:
    etag, size, digest, *of_file = values
    return Row(Version(etag, size, digest), *of_file)
