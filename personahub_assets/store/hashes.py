"""Hashes of files, and whether a file is what it was."""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from personahub_assets.core.text import digest
from personahub_assets.store.atomic import replacing

_SETTLED_NS = 3_000_000_000
"""A change within one tick of a file system's clock may leave no trace; the coarsest clock ticks every 2 s."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits; memory does not grow with it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_mark(path: Path) -> list[int]:
    """What changes when a file is written to or replaced: size, times, and where it lies.

    The time of the last change of the file's entry is among them: a program can set the other one back, not this one.

    Raises:
        OSError: if there is no such file.
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def content_hash(path: Path, cache: Path) -> str:
    """SHA-256 of a file, known without reading it while its mark is that of the last time.

    Args:
        cache: a folder for what is known; it can be removed at any time.

    Raises:
        OSError: if the file cannot be read.
    """
    mark, started = file_mark(path), time.time_ns()
    with suppress(OSError, ValueError, TypeError, KeyError):
        cached = json.loads(_kept(path, cache).read_text())
        if cached["mark"] == mark:
            return str(cached["sha256"])
    file_hash = sha256(path)
    if file_mark(path) == mark:
        remember(path, cache, mark, file_hash, started)
    return file_hash


def remember(path: Path, cache: Path, mark: list[int], sha256: str, started_ns: int) -> None:
    """Keep the hash of a file that had a mark before it was read and has it still.

    Args:
        started_ns: when reading began; of a file that was changed just before nothing is kept.
    """
    if mark[2] >= started_ns - _SETTLED_NS:
        return
    kept = _kept(path, cache)
    # A home may not be written to: the file is read again next time.
    with suppress(OSError), replacing(kept, sync=False) as file:
        file.write_text(json.dumps({"mark": mark, "sha256": sha256}))


def _kept(path: Path, cache: Path) -> Path:
    return cache / f"{digest(str(path))}.json"
