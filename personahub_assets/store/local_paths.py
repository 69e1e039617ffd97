"""Paths that people name: links followed, and always such that they can be stored and printed."""

from pathlib import Path

from personahub_assets.core.errors import SourceError


def resolve_path(name: str) -> Path:
    """Give a path without links and `~`, whether or not there is anything.

    Raises:
        SourceError: if the way there is a circle of links, names an unknown user, or is no path, such as an empty one.
    """
    if not name:
        raise SourceError("'' is no path: is a variable not set?")
    try:
        return Path(name).expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise SourceError(f"{printable_path(name)} is no path: {error}") from error
    except OSError as error:
        raise SourceError(f"{printable_path(name)}: cannot be opened: {error.strerror}") from error


def check_path(path: Path) -> None:
    """Refuse a path that is not UTF-8: tables, JSON and SQL hold nothing else.

    Raises:
        SourceError: naming the path with escapes.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{printable_path(path)}: its path is not UTF-8, and tables hold nothing else: rename it"
        ) from error


def printable_path(path: Path | str) -> str:
    """A path as it can be printed and stored: what is not UTF-8 as escapes."""
    return str(path).encode("utf-8", "backslashreplace").decode()
