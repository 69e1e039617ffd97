"""A snapshot: some tables of a home at one moment, which no run changes.

A snapshot is a home whose table files are hard links to those of the original home, so it needs no disk space. A run
replaces table files, which does not affect the links. Writing to the snapshot replaces only its own links.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from personahub_assets.store.tables import Store


def snapshot(store: Store, tables: Iterable[str], folder: Path) -> Store:
    """Take a snapshot.

    Args:
        store: the home.
        tables: names of the tables; all others are empty in the snapshot.
        folder: folder of the snapshot; on another disk than the home its files are copied.
    """
    for table in tables:
        for source in store.files(table):
            # The partition was deleted in the meantime.
            with suppress(FileNotFoundError):
                link_or_copy(source, folder / source.relative_to(store.root))
    return Store(home=str(folder), datasets_home=store.datasets_home or store.home)


def link_or_copy(source: Path, target: Path) -> None:
    """Create a hard link to a file; copy it if the disks differ or do not support hard links.

    Raises:
        FileNotFoundError: if the file does not exist.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
