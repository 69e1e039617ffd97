"""Writing aside and renaming: a reader sees the old file or the new one, never anything between.

What is written aside has the id of its process in its name, so that `maintain` can tell what a killed one left.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from personahub_assets.store.removal import discard

HIDDEN = f".*.[0-9]*-{'[0-9a-f]' * 32}"
"""Pattern of the hidden names under which `replacing` writes beside a target."""


def aside_name(label: str = "") -> str:
    """A new name for what this process writes aside: its id, a label, and 128 random bits."""
    return f"{os.getpid()}-{label}{uuid.uuid4().hex}"


@contextmanager
def aside_folder(parent: Path, label: str = "") -> Iterator[Path]:
    """A new folder for what is written aside, removed at the end."""
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
    """Give the path of a file to write, which then takes the place of the target; on an error the target stays.

    Args:
        aside: a folder on the target's disk; None: the target's own, under a hidden name.
        sync: wait until file and rename are on the disk.
        make_folder: create the folder if it is missing.
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
    """Put a finished file in the place of the target."""
    if sync:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    file.replace(target)
    if sync:
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; where a folder cannot be opened (Windows) the system sees to it."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
