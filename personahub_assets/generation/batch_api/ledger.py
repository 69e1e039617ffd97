"""The ledger: requests of one asset and batch that were submitted to a batch API, with their answers.

One SQLite file, written before anything is sent. A line is one call of a request: `KEY-0` is its first call, `KEY-1`
the re-ask after the first answer. A line without a submission was collected and not sent yet. The states of a
submission:

    written      its lines are chosen; nothing was sent
    uploaded     the provider has the file
    submitting   written before the POST that costs money: after a crash only the provider knows whether it was created
    submitted    the provider's id of the batch is known
    ended        its answers are here; lines without one can be asked again
"""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from personahub_assets.core.access import checked
from personahub_assets.core.errors import StoreError
from personahub_assets.store.sqlite_files import read_only

State = Literal["written", "uploaded", "submitting", "submitted", "ended"]

UNSENT: Final = ("written", "uploaded")
"""States in which no batch can have been created."""

_WAIT_S = 30.0
_COMMIT_EVERY = 1_000
_TABLES = (
    # The columns are those of `Submission`.
    (
        "CREATE TABLE IF NOT EXISTS submissions (key TEXT PRIMARY KEY, url TEXT NOT NULL, model TEXT NOT NULL, "
        "state TEXT NOT NULL, began REAL NOT NULL, total INTEGER NOT NULL, file_id TEXT NOT NULL DEFAULT '', "
        "batch_id TEXT NOT NULL DEFAULT '', status TEXT NOT NULL DEFAULT '', completed INTEGER NOT NULL DEFAULT 0, "
        "failed INTEGER NOT NULL DEFAULT 0)"
    ),
    (
        "CREATE TABLE IF NOT EXISTS lines (name TEXT PRIMARY KEY, request TEXT NOT NULL, input_id TEXT NOT NULL, "
        "submission TEXT, tries INTEGER NOT NULL, body BLOB NOT NULL, status INTEGER, reply BLOB)"
    ),
    "CREATE INDEX IF NOT EXISTS lines_of ON lines (submission)",
)
_COLUMNS = "key, url, model, state, began, total, file_id, batch_id, status, completed, failed"


@dataclass(frozen=True)
class Submission:
    """One file of requests.

    Attributes:
        key: chosen here; it stands in the metadata of the provider's batch and in the name of the file.
        url: address of the server, without its secrets.
        total: number of lines.
        status: the provider's word.
    """

    key: str
    url: str
    model: str
    state: State
    began: float
    total: int
    file_id: str = ""
    batch_id: str = ""
    status: str = ""
    completed: int = 0
    failed: int = 0

    @property
    def is_open(self) -> bool:
        """Whether its answers are not here yet."""
        return self.state != "ended"


@dataclass(frozen=True, slots=True)
class Line:
    """One call of a request.

    Attributes:
        is_pending: whether it was submitted and can still be answered.
        tries: how often it was submitted.
        status: HTTP status of its answer; None without one.
    """

    is_pending: bool
    tries: int
    status: int | None
    reply: bytes


class Counts(NamedTuple):
    """Lines of a submission.

    Attributes:
        answered: with an answer, good or not.
        returned: also those that were given back without one.
    """

    answered: int
    returned: int


class Ledger:
    """Submitted requests of one asset and batch. Use as a context manager.

    Raises:
        StoreError: if the file is damaged or locked.
    """

    def __init__(self, path: Path):
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._uncommitted = 0

    def __enter__(self) -> "Ledger":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(self.path, timeout=_WAIT_S)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA secure_delete=ON")
            for table in _TABLES:
                self._connection.execute(table)
        except sqlite3.DatabaseError as error:
            self._close()
            raise _problem(self.path, error) from error
        return self

    def __exit__(self, *_error: object) -> None:
        if self._connection is not None:
            self._connection.commit()
        self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _run(self, statement: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        assert self._connection is not None, "use the ledger in a with block"
        try:
            return self._connection.execute(statement, tuple(values))
        except sqlite3.DatabaseError as error:
            raise _problem(self.path, error) from error

    def commit(self) -> None:
        """Write all changes to disk."""
        assert self._connection is not None, "use the ledger in a with block"
        try:
            self._connection.commit()
        except sqlite3.DatabaseError as error:
            raise _problem(self.path, error) from error
        self._uncommitted = 0

    def line(self, name: str) -> Line | None:
        """Find a line by its name."""
        row = self._run(
            "SELECT state IS NOT NULL AND state != 'ended' AND lines.status IS NULL, tries, lines.status, reply "
            "FROM lines LEFT JOIN submissions ON key = submission WHERE name = ? AND submission IS NOT NULL",
            [name],
        ).fetchone()
        return Line(bool(row[0]), row[1], row[2], row[3] or b"") if row else None

    def collect(self, name: str, request: str, input_id: str, body: bytes, tries: int) -> None:
        """Add a line that is to be submitted, instead of an earlier one of this name."""
        self._run(
            "INSERT OR REPLACE INTO lines VALUES (?, ?, ?, NULL, ?, ?, NULL, NULL)",
            [name, request, input_id, tries, body],
        )
        self._uncommitted += 1
        if self._uncommitted >= _COMMIT_EVERY:
            self.commit()

    def drop_collected(self) -> None:
        """Forget lines that were collected and never submitted."""
        self._run("DELETE FROM lines WHERE submission IS NULL")
        self.commit()

    def begin(self, key: str, url: str, model: str, most_lines: int, most_bytes: int) -> Submission | None:
        """Make a submission of collected lines; None without any."""
        chosen, size = list[tuple[str, str]](), 0
        for name, length in self._run(
            "SELECT name, length(body) FROM lines WHERE submission IS NULL ORDER BY rowid LIMIT ?", [most_lines]
        ):
            size += length + len(name) + _FRAME
            if chosen and size > most_bytes:
                break
            chosen.append((key, name))
        if not chosen:
            self.commit()
            return None
        assert self._connection is not None
        self._connection.executemany("UPDATE lines SET submission = ? WHERE name = ?", chosen)
        self._run(
            f"INSERT INTO submissions ({_COLUMNS}) VALUES (?, ?, ?, 'written', ?, ?, '', '', '', 0, 0)",
            [key, url, model, time.time(), len(chosen)],
        )
        self.commit()
        return self.submission(key)

    def submission(self, key: str) -> Submission:
        """One submission by its key."""
        return Submission(*self._run(f"SELECT {_COLUMNS} FROM submissions WHERE key = ?", [key]).fetchone())

    def submissions(self) -> list[Submission]:
        """All submissions, in their order."""
        return [Submission(*row) for row in self._run(f"SELECT {_COLUMNS} FROM submissions ORDER BY rowid")]

    def update(self, submission: Submission, **values: str | int) -> Submission:
        """Store what changed of a submission."""
        assert set(values) <= set(_COLUMNS.split(", "))
        names = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE submissions SET {names} WHERE key = ?", [*values.values(), submission.key])
        self.commit()
        return self.submission(submission.key)

    def lines_of(self, submission: Submission) -> Iterator[tuple[str, bytes]]:
        """Name and body of each line of a submission, in their order."""
        yield from self._run("SELECT name, body FROM lines WHERE submission = ? ORDER BY rowid", [submission.key])

    def answer(self, submission: Submission, answers: Iterable[tuple[str, int, bytes]]) -> tuple[int, int]:
        """Store answers in one transaction with the caller's next `update`.

        The first answer of a line counts. Answers to lines that are not of this submission are not stored.

        Returns:
            The numbers of answers that were stored and that were not.
        """
        stored = ignored = 0
        for name, status, reply in answers:
            cursor = self._run(
                "UPDATE lines SET status = ?, reply = ? WHERE name = ? AND submission = ? AND status IS NULL",
                [status, reply, name, submission.key],
            )
            stored += cursor.rowcount
            ignored += not cursor.rowcount
        return stored, ignored

    def count(self, submission: Submission) -> Counts:
        """Count the lines of a submission by what came back."""
        query = "SELECT count(*) FILTER (WHERE status > 0), count(status) FROM lines WHERE submission = ?"
        return Counts(*self._run(query, [submission.key]).fetchone())

    def returned(self, submission: Submission) -> dict[str, bool]:
        """The names of a submission's lines, and whether each came back."""
        query = "SELECT name, status IS NOT NULL FROM lines WHERE submission = ?"
        return {name: bool(is_back) for name, is_back in self._run(query, [submission.key])}

    @property
    def has_answers(self) -> bool:
        """Whether any line has a good answer."""
        return self._run("SELECT 1 FROM lines WHERE status = 200 LIMIT 1").fetchone() is not None

    def forget(self, submission: Submission, *, only_failed: bool = False) -> None:
        """Remove a submission, so that its requests are asked again.

        Args:
            only_failed: keep it, and remove the lines that have no good answer.
        """
        condition = " AND status IS NOT 200" if only_failed else ""
        self._run(f"DELETE FROM lines WHERE submission = ?{condition}", [submission.key])
        if not only_failed:
            self._run("DELETE FROM submissions WHERE key = ?", [submission.key])
        self.commit()

    def settle(self, is_published: Callable[[str], bool]) -> None:
        """Remove the lines of published requests, and submissions of which none is left; open submissions stay."""
        done = [(key,) for (key,) in self._run("SELECT DISTINCT request FROM lines").fetchall() if is_published(key)]
        assert self._connection is not None
        self._connection.executemany(
            "DELETE FROM lines WHERE request = ? AND (submission IS NULL OR submission NOT IN "
            "(SELECT key FROM submissions WHERE state != 'ended'))",
            done,
        )
        self._run(
            "DELETE FROM submissions WHERE state = 'ended' AND key NOT IN "
            "(SELECT submission FROM lines WHERE submission IS NOT NULL)"
        )
        self.commit()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        query = "SELECT (SELECT count(*) FROM lines) + (SELECT count(*) FROM submissions)"
        return not self._run(query).fetchone()[0]

    def redact(
        self, is_kept: Callable[[str], bool], is_matched: Callable[[str], bool], *, dry_run: bool
    ) -> Counter[str]:
        """Remove lines about removed inputs, and lines whose answers contain removed text; freed pages are overwritten.

        Args:
            is_kept: whether the input of a request is kept.
            is_matched: whether a text contains removed text.
            dry_run: only count.

        Returns:
            The number of removed lines by submission; '' for lines that were not submitted.
        """
        removed, names = Counter[str](), list[tuple[str]]()
        for name, submission, input_id, reply in self._run("SELECT name, submission, input_id, reply FROM lines"):
            if not is_kept(input_id) or (reply and is_matched(_text(reply))):
                removed[submission or ""] += 1
                names.append((name,))
        if not dry_run:
            assert self._connection is not None
            self._connection.executemany("DELETE FROM lines WHERE name = ?", names)
            self._run("UPDATE submissions SET total = (SELECT count(*) FROM lines WHERE submission = key)")
            self.commit()
            self._run("VACUUM")
            self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed


_FRAME = 80  # bytes around the name and the body of a line


def drop(path: Path) -> None:
    """Delete a ledger that no process has open."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def open_submissions(path: Path) -> list[Submission]:
    """The open submissions of a ledger; none without the file."""
    if not path.exists():
        return []
    with Ledger(path) as ledger:
        return [submission for submission in ledger.submissions() if submission.is_open]


def pending_requests(path: Path, keys: Iterable[str]) -> set[str]:
    """The requests, of some, whose first call was submitted: a run does not pay for them again."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(read_only(path), timeout=_WAIT_S, uri=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT DISTINCT request FROM lines LEFT JOIN submissions ON key = submission "
                "WHERE lines.status = 200 OR (lines.status IS NULL AND state IN ('submitting', 'submitted'))"
            )
            return {key for (key,) in rows} & set(keys)
        except sqlite3.DatabaseError as error:
            raise _problem(path, error) from error


def _text(content: bytes) -> str:
    """The text of a JSON document, with its escapes resolved as far as words need it."""
    try:
        return json.dumps(json.loads(content), ensure_ascii=False).replace("\\n", " ").replace('\\"', '"')
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def _problem(path: Path, error: Exception) -> StoreError:
    return checked(
        error,
        path,
        f"{path}: damaged or locked: {error}. It holds requests that were submitted to a batch API and paid answers: "
        f"recover them with sqlite3 {path} .recover, or restore a backup. If you delete it, they are paid again",
    )
