"""Output files of results."""

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from personahub_assets.core.access import obstacle
from personahub_assets.core.errors import ConfigError
from personahub_assets.store.atomic import replacing

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is written aside and renamed at the end, so that it is complete or unchanged.

    Another hard link to the old file, such as a backup, keeps the old content.

    Raises:
        ConfigError: if it cannot be written.
    """
    try:
        with _writing_aside(path) as file:
            yield file
    except OSError as error:
        if error.errno in _OF_THE_DISK and error.filename is None:
            raise ConfigError(f"--output {obstacle(error, path)}") from error
        if error.filename is None:  # an error of the written data, not of this file
            raise
        raise ConfigError(f"--output {path} cannot be written: {error.strerror}") from error


@contextmanager
def _writing_aside(path: Path) -> Iterator[BinaryIO]:
    """Write a file aside, which then has the mode of the old one; a pipe or a device directly."""
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    target = path.resolve()
    with replacing(target, sync=False, make_folder=False) as aside:
        with aside.open("xb") as file:  # not through a symbolic link at this path
            yield file
        if target.exists():
            aside.chmod(stat.S_IMODE(target.stat().st_mode))
