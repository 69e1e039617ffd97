"""The working copy of a home on object storage: a folder on the disk of a worker.

Everything reads files of the working copy. What changes goes to the objects: a partition when it is published, by one
conditional write; the rest when a lock is released and when a command ends. What others changed comes by the commit
log, when a lock is taken and when a command begins.

    pull       objects that others committed become files
    publish    a finished file becomes an object, is committed, and then becomes a file
    push       files that changed here become objects, in one commit

A crash leaves at worst an object that was never committed. A new one is not seen, and replaced by the next writer. One
that replaced another version is committed by the first who reads it, because that version is gone.
"""

import logging
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from personahub_assets.core.access import checked
from personahub_assets.core.errors import StoreError
from personahub_assets.core.object_homes import address_of
from personahub_assets.store import atomic
from personahub_assets.store.commits import FOLDER, Commits
from personahub_assets.store.hashes import file_mark, sha256
from personahub_assets.store.home import Home, Lock
from personahub_assets.store.object_index import Index, Row, open_index
from personahub_assets.store.objects import Conflict, Objects, Version
from personahub_assets.store.removal import remove

WAREHOUSE, RELEASES, INBOX = "warehouse.duckdb", "releases/", "inbox/"
ON_DEMAND = (RELEASES, INBOX)
"""What is downloaded by the commands that need it; the rest is downloaded when it was committed."""
JOURNALS = "journal/"

_TABLES = "tables/"
_TAKEDOWNS = "tables/takedowns/"
_OWN = ("aside/", "cache/", "dagster/", "locks/", "objects.sqlite", WAREHOUSE, JOURNALS)
"""Files of a worker; journals are copied, and the warehouse is built on each worker that needs one."""
_BY_HAND = ("prompts/", "datasets/")
"""Folders that people write with other programs, without a commit; beside them, the files in no folder."""
_GRACE_S = 5.0
"""Seconds between the writing of an object and its commit, at most, of a writer that is alive."""
_POLL_S = 0.2
_DOWNLOADS = 16  # at a time
_LOG = logging.getLogger("personahub")
_CONDITIONAL_BYTES = 256 << 20
"""Larger files are sent in pieces, without a condition and without being held in memory."""


class WorkingCopy:
    """The working copy of a home; several processes of a machine can use one at a time."""

    def __init__(self, root: Path, url: str):
        self.paths, self.url = Home(root), url

    @classmethod
    def at(cls, root: Path) -> "WorkingCopy | None":
        """The working copy in a folder; None if the folder is a home itself."""
        url = address_of(root)
        return cls(root, url) if url else None

    @cached_property
    def objects(self) -> Objects:
        """The objects of the home."""
        return Objects(self.url)

    @cached_property
    def _commits(self) -> Commits:
        return Commits(self.objects)

    # --- from the objects to the files ---

    def pull(self, on_demand: Collection[str] = (), *, by_hand: bool = False) -> None:
        """Download what others have committed since the last time.

        Args:
            on_demand: which of ON_DEMAND to download too.
            by_hand: whether to look also for settings, prompts and datasets that were changed without a commit. With
                this or `on_demand`, as at the begin of a command, files that are lost here are downloaded again.

        Raises:
            AccessError: if the server cannot be asked, or a file cannot be written.
            StoreError: if an object is damaged, a file was changed both here and there, or the commits are gone.
        """
        with self._alone() as index:
            if by_hand or on_demand:
                self._look_for_lost(index)  # first: what others changed is compared with the files
            self._replay(index)
            if by_hand:
                self._look_by_hand(index)
            keys = index.outdated(tuple(each for each in ON_DEMAND if each not in on_demand))
            self._download(index, keys)
            if any(key.startswith(_TAKEDOWNS) for key in keys):
                for path in (self.paths.cache, self.paths.warehouse):  # they can hold what was taken down
                    remove(path)

    def fetch(self, file: Path) -> None:
        """Download one file of ON_DEMAND, if there is such an object, and the file is missing or of an older version.

        Raises:
            AccessError, StoreError: as `pull`.
        """
        with self._alone() as index:
            self._download(index, [key for key in index.outdated(()) if key == self._key(file)])

    def _begin(self, index: Index) -> None:
        """Take over a home that this machine has not seen: from the last checkpoint of the commit log."""
        number, versions = self._commits.checkpoint()
        for key, version in versions.items():
            index.see(key, version)
        index.reach(number)
        if number == 0 and not self._commits.exists(1):
            # It is new, or a folder that was uploaded with another program.
            listed = dict(self.objects.list())
            homes_below = _homes_below(listed)
            uploaded = {
                key: version for key, version in listed.items() if _is_shared(key) and not key.startswith(homes_below)
            }
            if uploaded:
                self._commit(index, uploaded)

    def _replay(self, index: Index) -> set[str]:
        """Read the commits that are new here; return their keys."""
        keys = set[str]()
        for number, changes in self._commits.after(index.last or 0):
            for key, version in changes.items():
                self._see(index, key, version)
            index.reach(number)
            keys |= changes.keys()
        if not keys:
            self._check_log(index)
        return keys

    def _check_log(self, index: Index) -> None:
        """Refuse a home whose commits are gone: what it lacks is not deleted here, and nothing is added to it."""
        last = index.last or 0
        if not self._commits.exists(last):
            raise StoreError(
                f"{self.url} has lost its commit {last}, which was read here before: its objects were deleted, or "
                "another storage answers. Nothing is changed here. Correct the address, or put the objects back: "
                f"{self.paths.root} has the tables; upload it as docs/object-storage.md says, under An existing home. "
                "Then, or to begin anew, move that folder away"
            )

    def _see(self, index: Index, key: str, version: Version | None) -> None:
        if version is not None:
            index.see(key, version)
            return
        if row := index.row(key):
            self._check_unchanged(key, row)
            remove(self._file(key))
            index.forget(key)

    def _look_by_hand(self, index: Index) -> None:
        present = dict(self.objects.list_top())
        for folder in _BY_HAND:
            present |= dict(self.objects.list(folder))
        for key, version in present.items():
            row = index.row(key)
            if _is_shared(key) and (row is None or row.version.etag != version.etag):
                index.see(key, version)
        for key, _ in index.rows():
            # A list can lag, so what it lacks is asked for.
            if _is_by_hand(key) and key not in present and self.objects.head(key) is None:
                self._see(index, key, None)

    def _look_for_lost(self, index: Index) -> None:
        """Forget files that were deleted here, and tables that were cut off: rows would be missing, or paid again."""
        try:
            # A takedown changes and deletes files in place, and pushes them at its end.
            with FileLock(self.paths.lock(Lock.TAKEDOWN), timeout=0):
                for key, row in index.rows():
                    if row.fetched and (reason := _loss(key, self._file(key), row)):
                        _LOG.warning("%s %s: it is downloaded again from %s", self._file(key), reason, self.url)
                        remove(self._file(key))
                        index.lose(key)
        except Timeout:
            return

    def _download(self, index: Index, keys: list[str]) -> None:
        if not keys:
            return
        uncommitted = dict[str, Version]()
        with atomic.aside_folder(self.paths.aside) as folder, ThreadPoolExecutor(_DOWNLOADS) as threads:
            files = [folder / str(number) for number in range(len(keys))]
            versions = threads.map(self.objects.download, keys, files)
            for key, file, version in zip(keys, files, versions, strict=True):
                row = index.row(key)
                if version is None or row is None:  # it was deleted meanwhile, and the commit of that follows
                    continue
                self._check_unchanged(key, row, version.sha256)
                if version.etag != row.version.etag and not _is_by_hand(key):
                    uncommitted[key] = version
                target = self._file(key)
                target.parent.mkdir(parents=True, exist_ok=True)
                atomic.publish(file, target, sync=False)
                index.keep(key, version, _mark(target))
        self._commit_for_others(index, uncommitted)

    def _commit_for_others(self, index: Index, versions: dict[str, Version]) -> None:
        """Commit objects whose writers died after the writing: the versions before are gone, so all must see these."""
        end = time.monotonic() + _GRACE_S
        while versions:
            committed = self._replay(index)
            versions = {key: version for key, version in versions.items() if key not in committed}
            if versions and time.monotonic() > end:
                self._commit(index, versions)
                return
            time.sleep(_POLL_S if versions else 0)

    def _check_unchanged(self, key: str, row: Row, new: str = "") -> None:
        """Refuse to replace a file that was changed here and is not pushed yet, unless the new content is the same."""
        file = self._file(key)
        if not file.exists() or _mark(file) == row.mark:
            return
        if sha256(file) not in (row.content, row.version.sha256, new):
            raise StoreError(
                f"{file} was changed here, and {self.url}/{key} by another worker: keep one of them. Delete the file "
                "to take the object, or put the file in its place"
            )

    # --- from the files to the objects ---

    def publish(self, finished: Path, target: Path) -> None:
        """Write a finished file as an object, commit it, and rename it to its path; the same content is not written.

        Raises:
            AccessError: if the server cannot be asked; the file at the path is unchanged.
            Conflict: if another worker has published another content since the last pull.
        """
        key = self._key(target)
        with self._alone() as index:
            row, digest = index.row(key), sha256(finished)
            if row and row.version.sha256 == digest:
                version = row.version
            else:
                self._check_log(index)
                version = self._written(index, key, finished)
                self._commit(index, {key: version})
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.publish(finished, target)
            index.keep(key, version, _mark(target))

    def delete(self, folder_or_file: Path) -> None:
        """Delete a file, or a folder with its files, here and as objects.

        Raises:
            AccessError: if the server cannot be asked.
        """
        key = self._key(folder_or_file)
        with self._alone() as index:
            keys = [each for each in index.keys((f"{key}/",)) if _is_shared(each)]
            keys += [key] if index.row(key) else []
            self._delete(index, keys)
            remove(folder_or_file)

    def push(self, *, everything: bool = False) -> None:
        """Write the files that changed here as objects, in one commit.

        Args:
            everything: also tables that were not published, and delete the objects whose file is missing here: after a
                takedown, which changes all files in place.

        Raises:
            AccessError: if the server cannot be asked.
            Conflict: if another worker has changed the same file.
        """
        with self._alone() as index:
            written = dict[str, Version]()
            for key, file in self._changed(index, with_tables=everything):
                self._replay(index)
                written[key] = self._written(index, key, file)
            if written:
                self._commit(index, written)
            for key, version in written.items():
                index.keep(key, version, _mark(self._file(key)))
            if everything:
                missing = [key for key, row in index.rows() if row.fetched and not self._file(key).exists()]
                self._delete(index, missing)

    def _delete(self, index: Index, keys: list[str]) -> None:
        if keys:
            self._check_log(index)
        for key in keys:
            self.objects.delete(key)
        if keys:
            self._commit(index, dict.fromkeys(keys))

    def _changed(self, index: Index, *, with_tables: bool) -> Iterator[tuple[str, Path]]:
        """Files that are new or changed; those of the tables are written when they are published."""
        for file in _files(self.paths.root, with_tables=with_tables):
            key, row = self._key(file), index.row(self._key(file))
            if row and row.mark == _mark(file):
                continue
            if row is None or row.content != sha256(file):
                yield key, file
            else:  # it was only touched
                index.mark(key, _mark(file))

    def _written(self, index: Index, key: str, file: Path) -> Version:
        """Write an object in place of the version that is known here."""
        if file.stat().st_size > _CONDITIONAL_BYTES:
            return self.objects.write(key, file, "any")
        row = index.row(key)
        self._check_current(key, row)
        try:
            return self.objects.write(key, file, row.fetched if row else "absent")
        except Conflict:
            if _is_by_hand(key):
                raise
            self._wait_for_commit(index, key)
        # Nobody has committed that version: its writer died before.
        present = self.objects.head(key)
        return self.objects.write(key, file, present.etag if present else "absent")

    def _check_current(self, key: str, row: Row | None) -> None:
        """Refuse to replace a version that was never here."""
        if row and row.fetched != row.version.etag:
            raise Conflict(
                f"{self.url}/{key} was published by another worker meanwhile. Its rows stay; run again to build on "
                "them. Machines with one Dagster instance wait for each other instead: docs/object-storage.md, Locks"
            )

    def _wait_for_commit(self, index: Index, key: str) -> None:
        """Wait for the commit of an object that another worker has written.

        Raises:
            Conflict: if it comes.
        """
        end = time.monotonic() + _GRACE_S
        while True:
            self._replay(index)
            self._check_current(key, index.row(key))
            if time.monotonic() > end:
                return
            time.sleep(_POLL_S)

    def _commit(self, index: Index, changes: dict[str, Version] | dict[str, None]) -> None:
        while not self._commits.add((index.last or 0) + 1, changes):
            self._replay(index)
        number = (index.last or 0) + 1
        for key, version in changes.items():
            if version is None:
                index.forget(key)
            else:
                index.see(key, version)
        index.reach(number)
        if self._commits.is_checkpoint(number):
            self._commits.write_checkpoint(number, {key: row.version for key, row in index.rows()})

    # --- names ---

    def _key(self, file: Path) -> str:
        return file.relative_to(self.paths.root).as_posix()

    def _file(self, key: str) -> Path:
        if ".." in key.split("/"):
            raise StoreError(f"{self.url}/{key} has no path in a home: delete that object")
        return self.paths.root / key

    @contextmanager
    def _alone(self) -> Iterator[Index]:
        """Open the index, alone among the processes and threads of this machine."""
        self.paths.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self.paths.lock(Lock.WORKING_COPY)), closing(open_index(self.paths.objects)) as connection:
            index = Index(connection)
            try:
                if index.last is None:
                    self._begin(index)
                yield index
            except sqlite3.Error as error:
                file = self.paths.objects
                damage = (
                    f"{file}: the list of the objects that were seen here cannot be used ({error}). Delete that file, "
                    "then run again: it is made again from the objects and the files"
                )
                raise checked(error, file, damage) from error


def _is_shared(key: str) -> bool:
    """Whether an object is a file of the home, and not of a worker."""
    return not key.startswith((*_OWN, FOLDER)) and not any(name.startswith(".") for name in key.split("/"))


def _homes_below(keys: Iterable[str]) -> tuple[str, ...]:
    """The folders that are homes of their own: they have a commit log."""
    return tuple({folder + "/" for folder, log, _ in (key.rpartition(f"/{FOLDER}") for key in keys) if log})


def _is_by_hand(key: str) -> bool:
    """Whether people write an object with other programs, without a commit."""
    return "/" not in key or key.startswith(_BY_HAND)


def _files(root: Path, *, with_tables: bool) -> Iterator[Path]:
    """The files of a home that are shared."""
    for entry in sorted(root.iterdir()) if root.exists() else ():
        key = f"{entry.name}/" if entry.is_dir() else entry.name
        if (key == _TABLES and not with_tables) or not _is_shared(key):
            continue
        files = [entry] if entry.is_file() else sorted(entry.rglob("*"))
        for file in files:
            if file.is_file() and _is_shared(file.relative_to(root).as_posix()):
                yield file


def _loss(key: str, file: Path, row: Row) -> str:
    """Why a file that was downloaded is of no use now; empty if it is as it was, or edited."""
    try:
        size = file.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    is_cut = key.startswith(_TABLES) and row.fetched == row.version.etag and size != row.version.size
    return "has lost a part of its rows" if is_cut else ""


def _mark(file: Path) -> str:
    return " ".join(map(str, file_mark(file)))
