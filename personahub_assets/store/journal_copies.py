"""Copies of journals on object storage: what a lost worker had been paid for, but for the last interval.

A journal is a file on the disk of a worker, written many times a second. It is copied every
`storage.journal_copy_seconds`, and when its work is interrupted. The next worker that works on the same asset and batch
merges the copy into its own journal:
an answer is identified by its request, so merging twice changes nothing.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from personahub_assets.core.errors import AccessError, StoreError
from personahub_assets.store import atomic
from personahub_assets.store.sqlite_files import read_only
from personahub_assets.store.tables import Store
from personahub_assets.store.working_copy import JOURNALS, WorkingCopy

_SHARE = 0.1  # of the time, at most, for copying: a large journal is copied less often
_SQLITE = ".sqlite"
_LOG = logging.getLogger("personahub")


@contextmanager
def copied(store: Store, journal: Path) -> Iterator[None]:
    """Merge the copy of a journal into it, and keep copying it meanwhile; in a home on this disk do nothing.

    Args:
        journal: an SQLite file, or a folder of files that are never changed. If it is gone at the end, because what it
            had is published, its copy is deleted.

    Raises:
        AccessError: if the server cannot be asked at the beginning. Later failures are logged, and tried again.
    """
    copy = store.working_copy
    if copy is None:
        yield
        return
    interval = store.config.storage.journal_copy_seconds
    copies = _Copies(copy, journal)
    copies.merge()
    ended = threading.Event()
    thread = threading.Thread(
        target=copies.repeat, args=(ended, interval), name=f"copies of {journal.name}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        copies.settle()


def copy_now(store: Store, journal: Path) -> None:
    """Copy a journal before a step that must not be done twice; in a home on this disk do nothing.

    Raises:
        AccessError, StoreError: if it cannot be copied.
    """
    if (copy := store.working_copy) is not None:
        _Copies(copy, journal).copy()


def fetch_all(copy: WorkingCopy) -> None:
    """Merge the copies of all journals into those of this machine, for a takedown."""
    for root in sorted({_journal_of(key) for key, _ in copy.objects.list(JOURNALS)}):
        _Copies(copy, copy.paths.root / root).merge()


def replace_all(copy: WorkingCopy) -> None:
    """Make the copies of all journals those of this machine, and delete the others, at the end of a takedown."""
    keys = {key for key, _ in copy.objects.list(JOURNALS)}
    for root in sorted({_journal_of(key) for key in keys}):
        journal = copy.paths.root / root
        if journal.is_dir():
            present = {f"{root}/{file.name}" for file in journal.rglob("*")}
            for key in keys - present:
                if key.startswith(f"{root}/"):
                    copy.objects.delete(key)
        _Copies(copy, journal).settle()


def _journal_of(key: str) -> str:
    """The path of the journal of which an object is a copy, or a file of the copy."""
    return key if key.endswith(_SQLITE) else key.rpartition("/")[0]


class _Copies:
    """The copies of one journal."""

    def __init__(self, copy: WorkingCopy, journal: Path):
        self._objects, self._aside, self._journal = copy.objects, copy.paths.aside, journal
        self._key = journal.relative_to(copy.paths.root).as_posix()
        self._copied = set[str]()

    def merge(self) -> None:
        """Add what the copy has to the journal."""
        if self._journal.suffix == _SQLITE:
            with atomic.aside_folder(self._aside, "copy-") as folder:
                file = folder / self._journal.name
                if self._objects.download(self._key, file) is not None:
                    _add(file, self._journal)
            return
        for key, _ in self._objects.list(f"{self._key}/"):
            target = self._journal / key.removeprefix(f"{self._key}/")
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic.replacing(target, sync=False) as file:
                    self._objects.download(key, file)

    def repeat(self, ended: threading.Event, interval: float) -> None:
        """Copy every `interval` seconds until the end."""
        wait = interval
        while not ended.wait(wait):
            started = time.monotonic()
            self._try()
            wait = max(interval, (time.monotonic() - started) / _SHARE)

    def settle(self) -> None:
        """Copy what is left of the journal; delete the copy of one that is gone."""
        if self._journal.exists():
            self._try()
            return
        try:
            for key, _ in self._objects.list(self._key):
                self._objects.delete(key)
            self._objects.delete(self._key)
        except AccessError as error:
            _LOG.warning("the copy of a published journal is left, which costs space only: %s", error)

    def _try(self) -> None:
        try:
            self.copy()
        except (StoreError, OSError, sqlite3.Error) as error:
            _LOG.warning("%s is not copied: %s; it is tried again", self._journal, error)

    def copy(self) -> None:
        """Copy what changed."""
        if self._journal.suffix == _SQLITE:
            self._copy_database()
            return
        for file in sorted(self._journal.rglob("*")):
            name = file.relative_to(self._journal).as_posix()
            if file.is_file() and name not in self._copied and not file.name.startswith("."):
                self._objects.write(f"{self._key}/{name}", file, "any")
                self._copied.add(name)

    def _copy_database(self) -> None:
        if not self._journal.exists():
            return
        with atomic.aside_folder(self._aside, "copy-") as folder:
            file = folder / self._journal.name
            with (
                closing(sqlite3.connect(read_only(self._journal), uri=True)) as source,
                closing(sqlite3.connect(file)) as target,
            ):
                source.backup(target)
                target.execute("PRAGMA journal_mode=DELETE")
            self._objects.write(self._key, file, "any")


def _add(file: Path, journal: Path) -> None:
    """Add the rows of a database to another one, in all tables; rows that are there stay."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("ATTACH ? AS copy", [str(file)])
        tables = connection.execute("SELECT name, sql FROM copy.sqlite_master WHERE type = 'table'").fetchall()
        with connection:
            for name, sql in tables:
                with suppress(sqlite3.OperationalError):  # it exists
                    connection.execute(sql)
                connection.execute(f'INSERT OR IGNORE INTO main."{name}" SELECT * FROM copy."{name}"')
        connection.execute("DETACH copy")
