"""Hashes of files, and a cache of them."""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from personahub_assets.core.text import digest
from personahub_assets.store.atomic import replacing

SETTLED_NS = 3_000_000_000
"""A change within one tick of a file system's clock may be undetectable; the coarsest clock ticks every 2 s."""


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits; the file is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_mark(path: Path) -> list[int]:
    """Values that change when a file is written or replaced: size, times, device and inode.

    They include the change time (ctime), because programs can reset the modification time, but not this one.

    Raises:
        OSError: if there is no such file.
    """
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def content_hash(path: Path, cache: Path) -> str:
    """SHA-256 of a file; it is not read again if its mark is unchanged.

    Args:
        cache: folder of known hashes; it can be removed at any time.

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
    """Store the hash of a file if its mark did not change while it was read.

    Args:
        started_ns: time when reading began; the hash of a file that was changed just before is not stored.
    """
    if mark[2] >= started_ns - SETTLED_NS:
        return
    kept = _kept(path, cache)
    # The home can be read-only: then the file is read again next time.
    with suppress(OSError), replacing(kept, sync=False) as file:
        file.write_text(json.dumps({"mark": mark, "sha256": sha256}))


def _kept(path: Path, cache: Path) -> Path:
    return cache / f"{digest(str(path))}.json"
