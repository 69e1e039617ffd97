"""The process that runs math-verify, with a time limit for each comparison.

math-verify stops itself by a signal, which works in the main thread only, and a tower of powers can keep it busy for
longer than any limit of its own. So it runs in a process of its own, which is killed when it takes too long.
"""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

_WORKER = Path(__file__).with_name("math_worker.py")
_START_S = 120.0
"""Time to import SymPy and the parser; several seconds of CPU time."""
_READY = b"ready\n"
_MAX_FAILURES = 3
"""Starts that fail in a row, after which no pair is compared."""


class Comparer:
    """A process of math-verify, started when it is first needed; use it as a context manager, from any thread.

    If the process cannot start, no pair is compared, and all verdicts are those of the exact rules.

    Args:
        seconds: time limit of one comparison.
        memory_mb: memory of the process, in MiB.

    Attributes:
        starts: number of processes so far: one, and one more after each that was killed.
        late: number of comparisons that exceeded a limit.
    """

    def __init__(self, seconds: float = 5.0, memory_mb: int = 2_048):
        self._seconds, self._memory_mb = seconds, memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], bool | None] = {}
        self.starts = self.late = self._failures = 0

    def __enter__(self) -> "Comparer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def are_equal(self, left: str, right: str) -> bool | None:
        """Whether math-verify finds two answers equal; None if it cannot say, or not within the limits."""
        pair = (left, right) if left <= right else (right, left)
        with self._lock:
            if pair not in self._known:
                self._known[pair] = self._ask(pair)
            return self._known[pair]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()

    def _ask(self, pair: tuple[str, str]) -> bool | None:
        if self._failures >= _MAX_FAILURES:
            return None
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps(pair).encode() + b"\n")
            process.stdin.flush()
            reply = _line(process, self._seconds)
        except BrokenPipeError:
            reply = b""
        except BaseException:  # interrupted: a late answer would be read as that of the next pair
            self.close()
            raise
        if not reply:
            self.late += 1
            self.close()
            return None
        equal: bool | None = json.loads(reply)
        return equal

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 - a program of our own, no shell
                [sys.executable, "-P", str(_WORKER), str(self._memory_mb)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
            self.starts += 1
            if _line(self._process, _START_S) != _READY:
                self._failures += 1
                raise BrokenPipeError  # it cannot import its libraries, or not in time
            self._failures = 0
        return self._process


def _line(process: "subprocess.Popen[bytes]", seconds: float) -> bytes:
    """One line of the process; empty if it ended, or takes longer."""
    assert process.stdout is not None
    end, data = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while not data.endswith(b"\n"):
            if not ready.select(max(0.0, end - time.monotonic())):
                return b""
            chunk = os.read(process.stdout.fileno(), 4_096)
            if not chunk:
                return b""
            data += chunk
    return data
