"""Removal of files and folders; a failed removal is always reported."""

import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

_LOG = logging.getLogger(__name__)
_TRIES = 5


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with its contents; a missing path counts as removed.

    Raises:
        OSError: naming the first path that cannot be removed.
    """
    for attempt in range(_TRIES):
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:  # another process removed it
            if attempt + 1 == _TRIES and os.path.lexists(path):
                raise
        if not os.path.lexists(path):
            return


def remove_all(paths: Iterable[Path]) -> dict[Path, str]:
    """Remove files and folders; return the reason for each that cannot be removed."""
    left = {}
    for path in paths:
        try:
            remove(path)
        except OSError as error:
            left[path] = reason(error)
    return left


def discard(path: Path) -> None:
    """Remove an unused file or folder; log a warning if that fails, because no result depends on it."""
    for left, cause in remove_all([path]).items():
        _LOG.warning("%s is not used any more and cannot be removed: %s; remove it by hand", left, cause)


def reason(error: OSError) -> str:
    """The system's message, with the file if it is known."""
    message = error.strerror or str(error)
    return f"{message}: {error.filename}" if error.filename else message
