"""Errors of access to files: the reason of the operating system and the remedy. They say nothing about the content.

A file that cannot be opened can be intact and contain paid answers. Libraries rephrase errors of the system, so they
are recognised by their number, or without one by the text of the system.
"""

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from personahub_assets.core.errors import AccessError, StoreError

_SPACE = {errno.ENOSPC, errno.EDQUOT}
_HANDLES = {errno.EMFILE, errno.ENFILE}
_RIGHTS = {errno.EACCES, errno.EPERM, errno.EROFS}
_SHAPE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}
_MEMORY = {errno.ENOMEM, errno.ENOBUFS}
_DEVICE = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN}
_OTHER = {errno.ENOENT, errno.EFBIG, errno.ELOOP, errno.ENAMETOOLONG, errno.ETXTBSY, errno.EINTR}
_CODES = _SPACE | _HANDLES | _RIGHTS | _SHAPE | _MEMORY | _DEVICE | _OTHER | {errno.EADDRNOTAVAIL}
_LOCAL = _HANDLES | _MEMORY | {errno.EADDRNOTAVAIL}
"""Errors of this machine that prevent a connection, independent of the server."""

_SQLITE = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.ENOENT,
}
_TYPES: list[tuple[type[BaseException], int]] = [
    (FileNotFoundError, errno.ENOENT),
    (PermissionError, errno.EACCES),
    (IsADirectoryError, errno.EISDIR),
    (TimeoutError, errno.ETIMEDOUT),
    (MemoryError, errno.ENOMEM),
]
_NUMBER = re.compile(r"\(os error (\d+)\)")  # as Rust writes it
_WORDS = {os.strerror(code): code for code in _CODES}
_WORDED = re.compile(": (" + "|".join(map(re.escape, _WORDS)) + ")")  # as C++ writes it
_PAGE = 4_096  # bytes; of SQLite
_HANDLES_OF_SQLITE = 4
_QUOTED = re.compile(r'(?:file|directory) "([^"]+)"')


def errno_of(error: BaseException) -> int | None:
    """The errno of a failed access; None if the access did not fail."""
    return next((code for each in _causes(error) if (code := _errno(each)) in _CODES), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes, each once."""
    yielded: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is not None and not any(each is earlier for earlier in yielded):
            yielded.append(each)
            yield each
            inner = [getattr(each, name, None) for name in ("orig", "reason")]  # SQLAlchemy's, urllib's
            waiting += [*(cause for cause in inner if isinstance(cause, BaseException)), each.__cause__]


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, sqlite3.Error):
        return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    text = str(error)
    if type(error).__name__ == "OutOfMemoryException":  # DuckDB's
        return errno.ENOMEM
    if match := _NUMBER.search(text):
        return int(match[1])
    if (match := _WORDED.search(text)) and not isinstance(error, OSError):
        return _WORDS[match[1]]
    return next((code for kind, code in _TYPES if isinstance(error, kind)), None)


def local_obstacle(error: BaseException) -> str | None:
    """The reason why this machine cannot open a connection; None if the server or the network is at fault."""
    return obstacle(error) if errno_of(error) in _LOCAL else None


def checked(error: BaseException, path: Path, damage: str, *, is_folder: bool = False) -> StoreError:
    """The error to raise for a file: a failed access, or else its damage."""
    reason = obstacle(error, path, is_folder=is_folder)
    return AccessError(reason) if reason else StoreError(damage)


def obstacle(error: BaseException, path: Path | str | None = None, *, is_folder: bool = False) -> str | None:
    """Describe a failed access to a file with its remedy; None if the access did not fail, so that the content is bad.

    Args:
        error: the raised exception.
        path: path of the file, if the error does not name one.
        is_folder: whether it is the path of a folder, and the file in it is unknown.
    """
    code = errno_of(error)
    if code is None:
        return None
    where = path or path_of(error)
    if where and any(isinstance(each, sqlite3.Error) for each in _causes(error)):
        code = _sqlite_errno(Path(where), code, is_folder=is_folder)
    subject = f"{where}: " if where else ""
    return f"{subject}{os.strerror(code)}. {_remedy(code, Path(where) if where else None)}"


def obstacle_to_writing(error: BaseException, path: Path) -> str | None:
    """Describe why a file could not be written; libraries report a full disk at the end of a file without a reason."""
    reason = obstacle(error, path)
    if reason is None and shutil.disk_usage(_existing_parent(path)).free < _PAGE:
        return f"{path}: {os.strerror(errno.ENOSPC)}. {_remedy(errno.ENOSPC, path)}"
    return reason


def path_of(error: BaseException) -> str | None:
    """The file that an error names."""
    for each in _causes(error):
        named = getattr(each, "filename2", None) or getattr(each, "filename", None)
        if named is not None and not isinstance(named, int):
            return os.fsdecode(named)
        if match := _QUOTED.search(str(each)):
            return match[1]
    return None


def _sqlite_errno(path: Path, code: int, *, is_folder: bool) -> int:
    """Find the errno that SQLite does not report when it cannot open or read a file, or a file of a folder."""
    if code not in (errno.ENOENT, errno.EIO):
        return code
    try:
        _try_folder(path) if is_folder else _try_file(path)
    except OSError as error:
        return error.errno or code
    # The file exists; if it could not be opened, no log can be created in its folder.
    return errno.EACCES if code == errno.ENOENT else code


def _try_file(path: Path) -> None:
    """Open a file as many times as SQLite does: with its log, the index of the log, and one temporary handle."""
    with ExitStack() as opened:
        for _ in range(_HANDLES_OF_SQLITE):
            opened.enter_context(path.open("rb"))


def _try_folder(path: Path) -> None:
    """Open its databases, and write a small temporary file."""
    for database in path.rglob("*.db"):
        _try_file(database)
    with tempfile.TemporaryFile(dir=path) as file:
        file.write(bytes(_PAGE))
        file.flush()


def _remedy(code: int, path: Path | None) -> str:
    if code in _SPACE:
        return f"{disk(path or Path.cwd())}. Free some space there, then run again; stored data is not lost"
    if code == errno.EFBIG:
        return "The limit of file size is reached (ulimit -f, or the file system); raise it, then run again"
    if code in _HANDLES:
        return (
            f"This process can open {_handle_limit()} files at a time; raise that (ulimit -n), or run fewer commands "
            "at once, then run again. Keep the file: it was not read"
        )
    if code in _RIGHTS:
        return "Give this user the right to read and write it, then run again. Keep the file: it was not read"
    if code in _SHAPE:
        return "There is a folder in place of a file, or a file in place of a folder; move it away, then run again"
    if code == errno.EADDRNOTAVAIL:
        return "This machine has no free port or address; use fewer connections, then run again"
    if code in _MEMORY:
        return "This machine is out of memory; end other programs, then run again"
    if code in _DEVICE:
        return (
            "The disk or the network drive failed; see the system's log (dmesg), then run again. "
            "Keep the file: it was not read"
        )
    if code == errno.ENOENT:
        return "The file or its folder is missing; put it back, or run again"
    return "Correct the path, then run again"


def disk(path: Path) -> str:
    """Name the disk that a path is on, and its free space."""
    mount = existing = _existing_parent(path)
    while not mount.is_mount() and mount != mount.parent:
        mount = mount.parent
    try:
        system = os.statvfs(existing)
    except (OSError, AttributeError):  # Windows has none
        return f"The disk at {mount} is full"
    free, size = system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize
    nodes = "" if system.f_favail or not system.f_files else ", no inodes free"
    return f"The disk at {mount} has {free:,} of {size:,} bytes free{nodes}"


def _existing_parent(path: Path) -> Path:
    """The path, or its nearest existing parent."""
    existing = path.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return existing


def _handle_limit() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return "no more"
    return f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"
