"""Removal of files and folders: it is done, or the reason is given; nothing is taken for removed that is not."""

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_LOG = logging.getLogger(__name__)
_TRIES = 5


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds; what is not there is removed.

    Raises:
        OSError: naming the first thing that could not be removed.
    """
    for attempt in range(_TRIES):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:  # another process removes the same
            if attempt + 1 == _TRIES and os.path.lexists(path):
                raise
        if not os.path.lexists(path):
            return


def remove_all(paths: Iterable[Path]) -> dict[Path, str]:
    """Remove each of some files and folders; give the reason for each that is left."""
    left = {}
    for path in paths:
        try:
            remove(path)
        except OSError as error:
            left[path] = reason(error)
    return left


def discard(path: Path) -> None:
    """Remove what is of no use any more, and warn if it cannot be: no result depends on it."""
    for left, cause in remove_all([path]).items():
        _LOG.warning("%s is of no use any more and cannot be removed: %s; remove it by hand", left, cause)


def reason(error: OSError) -> str:
    """What the system says, with the file where that is known."""
    message = error.strerror or str(error)
    return f"{message}: {error.filename}" if error.filename else message
