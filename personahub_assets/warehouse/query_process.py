"""Run SQL of users in a separate process, which can be ended at any moment and has few rights (`sandbox`)."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import PersonaHubError, QueryError, StoreError
from personahub_assets.store.atomic import aside_name
from personahub_assets.store.home import Home

_WORKER = "personahub_assets.warehouse.query_worker"
_PACKAGES = Path(__file__).resolve().parents[2]

Search = Callable[[str, int], list[dict[str, Any]]]


@dataclass(frozen=True)
class Frame:
    """One part of a result: a table to print, or bytes."""

    kind: str
    head: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


@dataclass(frozen=True)
class Job:
    """A job for the process.

    Attributes:
        home: absolute path of the home.
        text: SQL.
        form: table, csv, json or parquet.
        single: whether more than one result is an error.
        safe: in CSV, write cells that a spreadsheet would run as formulas as text.
        seconds: time limit; None for no limit.
    """

    home: Path
    text: str
    form: str = "table"
    single: bool = False
    safe: bool = False
    seconds: float | None = None


def ask(job: Job, search: Search) -> Generator[Frame, None, None]:
    """Run SQL and yield its results.

    Args:
        job: the SQL and its options.
        search: implementation of `search_personas`, called in this process.

    Raises:
        StoreError: if there is no warehouse yet, or it cannot be opened.
        QueryError: if the SQL is wrong or could do more than read, or exceeds a limit of time or memory.
    """
    Home(job.home).check_warehouse()
    memory_mb = HubConfig.load(Home(job.home).config).warehouse.memory_mb
    with _spill_folder(job.home) as aside:
        request = {"home": str(job.home), "aside": str(aside), "memory_mb": memory_mb, "text": job.text}
        request |= {"form": job.form, "single": job.single, "safe": job.safe}
        yield from _Worker(job.seconds, memory_mb, search).answers(request)


def ids_meeting(home: Path, memory_mb: int, view: str, columns: Sequence[str], tests: Sequence[str]) -> list[list[str]]:
    """Return columns of the rows of a view that meet all conditions, each one expression of the user.

    Raises:
        StoreError: if there is no warehouse yet, or it cannot be opened.
        QueryError: if a condition is wrong or could do more than read, or exceeds the limit of memory.
    """
    Home(home).check_warehouse()
    with _spill_folder(home) as aside:
        request = {"home": str(home), "aside": str(aside), "memory_mb": memory_mb}
        request |= {"view": view, "columns": list(columns), "tests": list(tests)}
        frames = _Worker(None, memory_mb, lambda *_: []).answers(request)
        return [row for frame in frames for row in frame.head["rows"]]


@contextmanager
def _spill_folder(home: Path) -> Iterator[Path]:
    """A folder for spilling, removed at the end; in the temporary folder if the home is not writable."""
    # Named by the process id: `maintain` removes leftovers of a killed process.
    folder = Home(home).aside / aside_name()
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        folder = Path(tempfile.mkdtemp(prefix="personahub-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Worker:
    """The process with its time limit."""

    def __init__(self, seconds: float | None, memory_mb: int, search: Search):
        self._seconds, self._memory_mb, self._search = seconds, memory_mb, search
        self._end = None if seconds is None else time.monotonic() + seconds
        self._is_late = False

    def answers(self, job: dict[str, Any]) -> Iterator[Frame]:
        """Frames until the last one."""
        with _started() as process:
            clock = threading.Timer(min(self._seconds or 0, threading.TIMEOUT_MAX), self._stop, [process])
            clock.daemon = True
            if self._seconds is not None:
                clock.start()
            try:
                _send(process, job)
                yield from self._frames(process)
            finally:
                clock.cancel()
                process.kill()
                with suppress(BrokenPipeError):
                    process.stdin.close()  # type: ignore[union-attr]

    def _stop(self, process: "subprocess.Popen[bytes]") -> None:
        self._is_late = True
        process.kill()

    def _frames(self, process: "subprocess.Popen[bytes]") -> Iterator[Frame]:
        assert process.stdout is not None
        while frame := _receive(process.stdout):
            if frame.kind == "search":
                _send(process, self._search_reply(frame.head["text"], frame.head["count"]))
            elif frame.kind == "error":
                raise self._problem(frame.head["name"], frame.head["text"])
            elif frame.kind == "done":
                return
            else:
                yield frame
        raise self._death(process.wait())

    def _search_reply(self, text: str, count: int) -> dict[str, Any]:
        """Run the search within the time limit."""
        reply: dict[str, Any] = {}

        def search() -> None:
            try:
                reply["hits"] = self._search(text, count)
            except PersonaHubError as error:
                reply["error"] = str(error)
            except Exception as error:  # noqa: BLE001 - the query says it
                reply["error"] = f"{type(error).__name__}: {error}"

        thread = threading.Thread(target=search, daemon=True)
        thread.start()
        thread.join(None if self._end is None else max(0.0, min(self._end - time.monotonic(), threading.TIMEOUT_MAX)))
        if thread.is_alive():
            raise self._late()
        return reply

    def _late(self) -> QueryError:
        return QueryError(f"stopped after {self._seconds:g} s (--max-time)")

    def _problem(self, name: str, text: str) -> PersonaHubError:
        if self._is_late:
            return self._late()
        if name == "memory":
            return QueryError(
                f"out of memory (warehouse.memory_mb = {self._memory_mb}): query fewer or shorter values, or "
                "raise it in hub.toml"
            )
        if name == "disk":
            return QueryError(
                f"out of disk space for what does not fit into memory (warehouse.memory_mb = {self._memory_mb}): ask "
                "for less, make room on the disk of the home, or raise it in hub.toml"
            )
        return StoreError(text) if name == "store" else QueryError(text)

    def _death(self, code: int) -> QueryError:
        """The error for a process that ended without a result."""
        if self._is_late:
            return self._late()
        name = f"exit code {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
        return QueryError(
            f"the query ended its process ({name}): most likely it ran out of memory (warehouse.memory_mb = "
            f"{self._memory_mb}); ask for less, or for simpler expressions"
        )


def _started() -> "subprocess.Popen[bytes]":
    path = os.pathsep.join(filter(None, [str(_PACKAGES), os.environ.get("PYTHONPATH")]))
    # A query does not need the keys of other services.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PERSONAHUB_", "AWS_"))}
    return subprocess.Popen(  # noqa: S603 - nothing of it comes from outside
        [sys.executable, "-P", "-m", _WORKER],  # no module from the current folder
        env={**inherited, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _send(process: "subprocess.Popen[bytes]", message: dict[str, Any]) -> None:
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended; the reader of its answers raises the error
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()


def _receive(stream: IO[bytes]) -> Frame | None:
    """The next frame; None if the process ended."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    payload = stream.read(head["size"])
    return Frame(head["kind"], head, payload) if len(payload) == head["size"] else None
