"""The journal: an outcome is on disk before it counts.

One SQLite file in WAL mode per asset and batch, written by one thread with group commits. Durability: a commit
survives the death of the process (kill -9); `synchronous=NORMAL` may lose the last commits if the machine itself loses
power, which costs those calls again and nothing else.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from types import TracebackType

from personahub_assets.domain.errors import StoreError
from personahub_assets.generation.requests import Outcome

_GROUP = 256
_LIMIT = 900  # SQLite's bound variables per statement


class Journal:
    """Outcomes of one asset and batch that are not yet published.

    Use as a context manager; `record` is awaited in the event loop that asks.
    """

    def __init__(self, path: Path):
        self.path = path
        self._queue: queue.SimpleQueue[tuple[Outcome, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=f"journal {path.stem}", daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(_connect(self.path)) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS outcomes (key TEXT PRIMARY KEY, outcome TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()

    def load(self) -> dict[str, Outcome]:
        """All outcomes on disk, by request key.

        Raises:
            StoreError: if the file is damaged.
        """
        try:
            with closing(_connect(self.path)) as connection:
                rows = connection.execute("SELECT key, outcome FROM outcomes")
                return {key: Outcome.from_json(text) for key, text in rows}
        except sqlite3.DatabaseError as error:
            raise self._damaged(error) from error

    async def record(self, outcome: Outcome) -> None:
        """Write an outcome; returns when it is committed.

        Raises:
            StoreError: if the journal cannot be written, such as on a full disk.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((outcome, future))
        await future

    def drop(self) -> None:
        """Delete the journal; call it only after the partition was published."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def _damaged(self, error: sqlite3.DatabaseError) -> StoreError:
        return StoreError(f"{self.path}: damaged journal: {error}. Delete it to go on; its calls will be made again")

    def _write(self) -> None:
        connection = _connect(self.path)
        try:
            while group := self._next_group():
                failure = _commit(connection, [outcome for outcome, _ in group])
                for _, future in group:
                    future.get_loop().call_soon_threadsafe(_resolve, future, failure)
        finally:
            connection.close()

    def _next_group(self) -> list[tuple[Outcome, "asyncio.Future[None]"]]:
        """Wait for one outcome, then take whatever else has come meanwhile; empty at the end."""
        first = self._queue.get()
        group = [] if first is None else [first]
        while group and len(group) < _GROUP:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._queue.put(None)
                break
            group.append(item)
        return group


def find(paths: Iterable[Path], keys: set[str]) -> dict[str, Outcome]:
    """Look for accepted outcomes with some of the keys in other journals; unreadable ones are passed over."""
    found: dict[str, Outcome] = {}
    for path in paths:
        wanted = [key for key in keys if key not in found]
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                for start in range(0, len(wanted), _LIMIT):
                    part = wanted[start : start + _LIMIT]
                    marks = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT outcome FROM outcomes WHERE key IN ({marks})", part)
                    outcomes = (Outcome.from_json(text) for (text,) in rows)
                    found.update({o.key: o for o in outcomes if o.status == "accepted"})
            finally:
                connection.close()
        except sqlite3.DatabaseError:
            continue
    return found


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection


def _commit(connection: sqlite3.Connection, outcomes: list[Outcome]) -> StoreError | None:
    try:
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO outcomes VALUES (?, ?)", [(o.key, o.to_json()) for o in outcomes]
            )
    except sqlite3.Error as error:
        return StoreError(f"the journal cannot be written: {error}. Is the disk full?")
    return None


def _resolve(future: "asyncio.Future[None]", failure: StoreError | None) -> None:
    if future.done():
        return
    if failure:
        future.set_exception(failure)
    else:
        future.set_result(None)
