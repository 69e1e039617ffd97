"""Extract the main text of pages, with limits of time and memory per page.

A page of some kilobytes can keep an HTML parser busy for hours or fill the memory, and Python cannot stop it. So such a
page is parsed in a separate process with limits of CPU time and memory set by the operating system. The process is
reused for the next page.
"""

import atexit
import os
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from personahub_assets.sources.pages import TooDeep, TooMuchMarkup, is_light, main_text

CPU_SECONDS = 20
MEMORY = 1 << 30
HEAD = struct.Struct("<cI")  # kind of the message, and its length in bytes
_ERRORS: dict[bytes, type[ValueError]] = {b"d": TooDeep, b"m": TooMuchMarkup}
_WORKER = Path(__file__).with_name("extraction_worker.py")


def extract_text(html: str) -> str:
    """The main text of a page.

    Raises:
        TooDeep: if its elements are nested too deeply.
        TooMuchMarkup: if it exceeds the limit of time or memory.
    """
    return main_text(html) if is_light(html) else _worker().extract(html)


class Extractor:
    """A process that extracts pages one by one; it is restarted after a page that ended it."""

    def __init__(self, cpu_seconds: int = CPU_SECONDS, memory: int = MEMORY):
        self._limits = (str(cpu_seconds), str(memory))
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.pid = os.getpid()

    def extract(self, html: str) -> str:
        """Extract the main text of a page; raises like `extract_text`."""
        page = html.encode("utf-8", "replace")
        with self._lock:
            kind, answer = self._ask(page)
        text = answer.decode()
        if kind in _ERRORS:
            raise _ERRORS[kind](text)
        return text

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):
                    if pipe is not None:
                        pipe.close()
            self._process = None

    def _ask(self, page: bytes) -> tuple[bytes, bytes]:
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(HEAD.pack(b"p", len(page)) + page)
            process.stdin.flush()
            head = process.stdout.read(HEAD.size)
            if len(head) == HEAD.size:
                kind, size = HEAD.unpack(head)
                answer = process.stdout.read(size)
                if len(answer) == size:
                    return kind, answer
        except BrokenPipeError:
            pass
        except BaseException:  # interrupted: a late answer would be read as that of the next page
            self.close()
            raise
        self.close()
        seconds, memory = self._limits
        limits = f"{seconds} s of CPU time or {int(memory) >> 20:,} MiB of memory"
        return b"m", f"the page takes more than {limits} to parse".encode()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", str(_WORKER), *self._limits]
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(  # noqa: S603 - a program of our own, no shell
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | paths,
        )


_SHARED: list[Extractor] = []


def _worker() -> Extractor:
    """The extractor of this process; a forked process starts its own."""
    if not _SHARED or _SHARED[0].pid != os.getpid():
        _SHARED[:] = [Extractor()]
        atexit.register(_SHARED[0].close)
    return _SHARED[0]
