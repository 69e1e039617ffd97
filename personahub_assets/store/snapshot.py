"""A snapshot: some tables of a home as they are at one moment, which no run changes.

It is a home of its own whose table files are the same files under second names (hard links): it costs no space, and a
run that replaces a table file takes nothing away from it. Writing to it replaces its own names only.
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
        tables: which of its tables; the others are empty in the snapshot.
        folder: where the snapshot will be; best on the disk of the home, or its files are copied.
    """
    for table in tables:
        for source in store.files(table):
            # A partition that is deleted at this moment is not in the home any more.
            with suppress(FileNotFoundError):
                link_or_copy(source, folder / source.relative_to(store.root))
    return Store(home=str(folder))


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; where the disks differ, or their format has no hard links, copy it.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
