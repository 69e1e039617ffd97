"""Files that results are written to, at a place that somebody names."""

import errno
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from personahub_assets.core.access import obstacle
from personahub_assets.core.errors import ConfigError

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is written aside and put in its place at the end, so that it is whole or as it was before.

    A second name of the old file, such as a hard link that is a backup, keeps the old content.

    Raises:
        ConfigError: if it cannot be written.
    """
    is_special = path.exists() and not path.is_file()
    target = path if is_special else path.resolve()
    # Nobody can know the name beforehand, and put a link there that leads elsewhere.
    aside = target if is_special else target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        with aside.open("wb" if is_special else "xb") as file:
            yield file
        if not is_special:
            _keep_mode(target, aside)
            aside.replace(target)
    except OSError as error:
        if error.errno in _OF_THE_DISK and error.filename is None:
            raise ConfigError(f"--output {obstacle(error, path)}") from error
        if error.filename is None:  # of what is written, not of this file
            raise
        raise ConfigError(f"--output {path} cannot be written: {error.strerror}") from error
    finally:
        if not is_special:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def _keep_mode(target: Path, aside: Path) -> None:
    if target.exists():
        aside.chmod(stat.S_IMODE(target.stat().st_mode))
