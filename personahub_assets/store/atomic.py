"""Atomic writes: write a temporary file, then rename it. A reader sees the old file or the new one.

The name of a temporary file contains the id of its process, so that `maintain` can find leftovers of killed processes.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from personahub_assets.store.removal import discard

HIDDEN = f".*.[0-9]*-{'[0-9a-f]' * 32}"
"""Pattern of the hidden temporary files that `replacing` writes beside a target."""


def aside_name(label: str = "") -> str:
    """A new name for a temporary file of this process: its id, a label, and 128 random bits."""
    return f"{os.getpid()}-{label}{uuid.uuid4().hex}"


@contextmanager
def aside_folder(parent: Path, label: str = "") -> Iterator[Path]:
    """A new folder for temporary files, removed at the end."""
    folder = parent / aside_name(label)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        discard(folder)


@contextmanager
def replacing(
    target: Path, aside: Path | None = None, *, sync: bool = True, make_folder: bool = True
) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces the target at the end; on an error the target is unchanged.

    Args:
        aside: folder of the temporary file, on the target's disk; None: the target's folder, with a hidden name.
        sync: whether to wait until the file and its rename are on disk.
        make_folder: whether to create the target's folder if it is missing.
    """
    folder = target.parent if aside is None else aside
    if make_folder:
        folder.mkdir(parents=True, exist_ok=True)
    file = folder / (aside_name() + target.suffix if aside else f".{target.name}.{aside_name()}")
    try:
        yield file
        publish(file, target, sync=sync)
    finally:
        if os.path.lexists(file):
            discard(file)


def publish(file: Path, target: Path, *, sync: bool = True) -> None:
    """Replace the target by a finished file."""
    if sync:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    file.replace(target)
    if sync:
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename durable; a system that cannot open folders (Windows) does this itself."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
