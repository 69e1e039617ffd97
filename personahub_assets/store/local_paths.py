"""Paths given by users: resolved, and checked so that they can be stored and printed."""

from pathlib import Path

from personahub_assets.core.errors import SourceError


def resolve_path(name: str) -> Path:
    """Resolve links and `~` in a path, which need not exist.

    Raises:
        SourceError: if it has a cycle of links, names an unknown user, or is not a path, such as an empty text.
    """
    if not name:
        raise SourceError("'' is not a path: is a variable not set?")
    try:
        return Path(name).expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise SourceError(f"{printable_path(name)} is not a path: {error}") from error
    except OSError as error:
        raise SourceError(f"{printable_path(name)}: cannot be opened: {error.strerror}") from error


def check_path(path: Path) -> None:
    """Refuse a path that is not UTF-8, because tables, JSON and SQL cannot store it.

    Raises:
        SourceError: naming the path with escapes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{printable_path(path)}: its path is not UTF-8, and tables cannot store it: rename it"
        ) from error


def printable_path(path: Path | str) -> str:
    """A path that can be printed and stored: bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
