"""The journal: outcomes are on disk before they count.

One SQLite file in WAL mode per asset and batch, written by one thread in groups: outcomes within 5 ms are committed
together, at most 128. Durability: a commit survives the death of the process (kill -9). `synchronous=NORMAL` syncs at
checkpoints only, so a power cut can lose the last commits. That costs only those calls; the file stays consistent. The
file has the size of the unpublished answers and is deleted when they are published.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from personahub_assets.core.access import checked
from personahub_assets.core.errors import AccessError, StoreError
from personahub_assets.generation.requests import Outcome, Request, Task
from personahub_assets.store.sqlite_files import read_only

_GROUP = 128  # times seven columns: within the bound variables of old SQLite
_GATHER_S = 0.005
_LIMIT = 900  # SQLite's bound variables per statement
_WAIT_S = 30.0
_WAL_BYTES = 64 << 20

_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, input_id TEXT NOT NULL, sample INTEGER NOT NULL, "
    "prompt TEXT NOT NULL, prompt_fingerprint TEXT NOT NULL, schema_fingerprint TEXT NOT NULL, outcome TEXT NOT NULL)"
)
_COLUMNS = 7
_SPENT = ("attempts", "prompt_tokens", "cached_tokens", "completion_tokens")
# SQLite detects missing pages, but not a page with a missing end: its rows are empty or cut.
_UNREADABLE = (sqlite3.DatabaseError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the journal: an outcome with its request."""

    input_id: str
    sample: int
    prompt: str
    prompt_fingerprint: str
    schema_fingerprint: str
    outcome: Outcome


class Journal:
    """Unpublished outcomes of one asset and batch.

    Use as a context manager; await `record` in the event loop of the requests.

    Args:
        path: path of the file.
        mask: removes personal data from an outcome before it is written.
    """

    def __init__(self, path: Path, mask: Callable[[Outcome], Outcome] = lambda outcome: outcome):
        self.path, self._mask = path, mask
        self._queue: queue.SimpleQueue[tuple[Entry, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name=f"journal {path.stem}", daemon=True)
        self._reader: sqlite3.Connection | None = None

    def __enter__(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._reader = _connect(self.path)
            self._reader.execute(_TABLE)
            self._reader.execute("SELECT key, outcome FROM answers LIMIT 1").fetchone()
        except sqlite3.DatabaseError as error:
            self._close()
            raise _problem(self.path, error) from error
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        self._close()

    def find(self, keys: Iterable[str]) -> dict[str, Outcome]:
        """Find committed outcomes by their keys.

        Raises:
            StoreError: if the file is damaged or locked.
        """
        try:
            return _find_outcomes(self._connection, list(keys))
        except _UNREADABLE as error:
            raise _problem(self.path, error) from error

    def entries(self) -> Iterator[Entry]:
        """All entries, in the order of their commits.

        Raises:
            StoreError: if the file is damaged or locked.
        """
        try:
            yield from _entries(self._connection)
        except _UNREADABLE as error:
            raise _problem(self.path, error) from error

    async def record(self, task: Task, request: Request, outcome: Outcome) -> None:
        """Write an outcome; returns when it is committed.

        Raises:
            StoreError: if the journal cannot be written, such as on a full disk.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((entry(task, request, self._mask(outcome)), future))
        await future

    def note(self, entries: list[Entry]) -> None:
        """Write outcomes from outside an event loop.

        Raises:
            StoreError: if the journal cannot be written.
        """
        for start in range(0, len(entries), _GROUP):
            if error := _commit(self._connection, entries[start : start + _GROUP]):
                raise _unwritable(self.path, error) from error

    def drop(self) -> None:
        """Delete the journal; call only after the partition is published and read back, and the journal is closed."""
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._reader is not None, "use the journal in a with block"
        return self._reader

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        while group := self._next_group():
            try:
                connection = connection or _connect(self.path)
                error = _commit(connection, [line for line, _ in group])
            except Exception as other:  # noqa: BLE001 - a thread that dies here would leave all who wait for it waiting
                error = other
            failure = _unwritable(self.path, error) if error else None
            futures = [future for _, future in group]
            # The event loop is closed if its work was cancelled; queued outcomes are written anyway.
            with suppress(RuntimeError):
                futures[0].get_loop().call_soon_threadsafe(_resolve, futures, failure)
        if connection:
            connection.close()

    def _next_group(self) -> list[tuple[Entry, "asyncio.Future[None]"]]:
        """Wait for one outcome, then collect those of the next 5 ms; empty at the end."""
        first = self._queue.get()
        group = [] if first is None else [first]
        # One sleep instead of a wait per outcome: every wake-up takes the GIL from the event loop.
        if group and self._queue.qsize() < _GROUP - 1:
            time.sleep(_GATHER_S)
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


def entry(task: Task, request: Request, outcome: Outcome) -> Entry:
    """Make the journal entry of an outcome."""
    prompt = task.prompt
    return Entry(request.input_id, request.sample, prompt.name, prompt.fingerprint, task.schema_fingerprint, outcome)


def find(paths: Iterable[Path], keys: set[str]) -> dict[str, Outcome]:
    """Find accepted outcomes by their keys in other journals; damaged journals are skipped.

    Raises:
        AccessError: if one cannot be opened.
    """
    accepted: dict[str, Outcome] = {}
    for path in paths:
        try:
            outcomes = peek(path, [key for key in keys if key not in accepted])
        except AccessError:
            raise  # its answers exist but are unreadable: sending the requests again would pay for them twice
        except StoreError:
            continue
        accepted.update({key: outcome for key, outcome in outcomes.items() if outcome.status == "accepted"})
    return accepted


def peek(path: Path, keys: Iterable[str]) -> dict[str, Outcome]:
    """Find outcomes by their keys in a journal, without changing any file; empty without a journal.

    Raises:
        StoreError: if the file is damaged or locked.
    """
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as connection:
            return _find_outcomes(connection, list(keys))
    except _UNREADABLE as error:
        if "no such table" in str(error):  # killed before its first commit
            return {}
        raise _problem(path, error) from error


def spent(path: Path) -> list[tuple[tuple[str, str | None], tuple[int, ...]]]:
    """Sums over the paid outcomes of a journal, without changing any file; empty if it cannot be read.

    Returns:
        `(prompt_fingerprint, model)`, the model null if the requested one answered, and attempts, prompt tokens, cached
        tokens, completion tokens and requests.
    """
    if not path.exists():
        return []
    sums = ", ".join(f"sum(json_extract(outcome, '$.{name}'))" for name in _SPENT)
    query = f"SELECT prompt_fingerprint, json_extract(outcome, '$.model') AS model, {sums}, count(*) FROM answers "
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as connection:
            rows = connection.execute(f"{query} WHERE NOT json_extract(outcome, '$.reused') GROUP BY 1, 2").fetchall()
    except _UNREADABLE:
        return []
    return [((row[0], row[1] or None), row[2:]) for row in rows]


def entries(path: Path) -> Iterator[Entry]:
    """All entries of a journal that no process writes.

    Raises:
        StoreError: if the file is damaged or locked.
    """
    try:
        with closing(_connect(path)) as connection:
            connection.execute(_TABLE)
            yield from _entries(connection)
    except _UNREADABLE as error:
        raise _problem(path, error) from error


def rewrite(path: Path, change: Callable[[Entry], Outcome | None], *, dry_run: bool = False) -> int:
    """Remove or change outcomes of a journal that no process writes; freed pages are overwritten.

    Args:
        path: path of the journal; it is deleted if no entry is left.
        change: returns the new outcome of an entry, None to remove it.
        dry_run: only count.

    Returns:
        The number of removed and changed outcomes.

    Raises:
        StoreError: if the file is damaged or locked.
    """
    changes = [(old.outcome.key, new) for old in entries(path) if (new := change(old)) != old.outcome]
    if dry_run:
        return len(changes)
    try:
        with closing(_connect(path)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            with connection:
                for key, new in changes:
                    if new is None:
                        connection.execute("DELETE FROM answers WHERE key = ?", [key])
                    else:
                        connection.execute("UPDATE answers SET outcome = ? WHERE key = ?", [new.to_json(), key])
            # Also without removals: free pages can contain earlier versions of a row.
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (left,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    except _UNREADABLE as error:
        raise _problem(path, error) from error
    if not left:
        Journal(path).drop()
    return len(changes)


def _entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    names = "input_id, sample, prompt, prompt_fingerprint, schema_fingerprint, outcome"
    for row in connection.execute(f"SELECT {names} FROM answers ORDER BY rowid"):
        yield Entry(row[0], row[1], row[2], row[3], row[4], Outcome.from_json(row[5]))


def _find_outcomes(connection: sqlite3.Connection, keys: list[str]) -> dict[str, Outcome]:
    outcomes = {}
    for start in range(0, len(keys), _LIMIT):
        chunk = keys[start : start + _LIMIT]
        marks = ",".join("?" * len(chunk))
        for key, text in connection.execute(f"SELECT key, outcome FROM answers WHERE key IN ({marks})", chunk):
            outcomes[key] = Outcome.from_json(text)
    return outcomes


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_S)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_BYTES}")
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _problem(path: Path, error: Exception) -> StoreError:
    if isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error)):
        return StoreError(
            f"{path}: another program has locked this journal for {_WAIT_S:.0f} s ({error}). "
            "Close that program (an SQLite shell, a backup), then run again"
        )
    return checked(
        error,
        path,
        f"{path}: damaged journal: {error}. It holds paid answers that are not published yet: recover them "
        f"with sqlite3 {path} .recover, or restore a backup. If you delete it, those requests are sent and paid again",
    )


def _commit(connection: sqlite3.Connection, entries: list[Entry]) -> Exception | None:
    values = [
        value
        for e in entries
        for value in (
            e.outcome.key,
            e.input_id,
            e.sample,
            e.prompt,
            e.prompt_fingerprint,
            e.schema_fingerprint,
            e.outcome.to_json(),
        )
    ]
    # One statement for the whole group: each statement releases the GIL and has to acquire it again.
    marks = ",".join([f"({','.join('?' * _COLUMNS)})"] * len(entries))
    try:
        with connection:
            connection.execute(f"INSERT OR REPLACE INTO answers VALUES {marks}", values)
    except sqlite3.Error as error:
        return error
    return None


def _unwritable(path: Path, error: Exception) -> StoreError:
    return checked(error, path, f"{path}: the journal cannot be written: {error}. Is it open in another program?")


def _resolve(futures: "list[asyncio.Future[None]]", failure: StoreError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if failure:
            future.set_exception(failure)
        else:
            future.set_result(None)
