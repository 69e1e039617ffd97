"""Commands in separate processes with all imports done: starting `python -m` takes 5 s of CPU.

Each is forked from a server that has imported what a run needs and has done nothing else. Where the start itself is
the point, or a pipe, tests start `python -m`.
"""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
_PACKAGE = ("cli.app", "cli.confirm", "definitions", "generation.client")
CONTEXT.set_forkserver_preload(
    ["pytest.__main__", "numba", "instructor", "processes", *(f"personahub_assets.{name}" for name in _PACKAGE)]
)


class Process:
    """A command run through `main`; its output is written to files."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], folder: Path):
        made = Path(tempfile.mkdtemp(dir=folder))
        self._out, self._err = made / "out", made / "err"
        self._process = CONTEXT.Process(target=_run, args=(arguments, dict(environment), self._out, self._err))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def errors(self) -> str:
        """Standard error so far."""
        return self._err.read_text() if self._err.exists() else ""

    def end(self, timeout: float = 120) -> tuple[int, str, str]:
        """Wait for its end; return exit code, standard output and standard error."""
        self._process.join(timeout)
        self._process.kill()  # does nothing to one that has ended
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode, self._out.read_text(), self._err.read_text()


def _run(arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    for number, path, way in ((0, os.devnull, os.O_RDONLY), (1, out, os.O_RDWR), (2, err, os.O_RDWR)):
        os.dup2(os.open(path, way | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["personahub", *arguments]
    from personahub_assets.__main__ import main

    main()
