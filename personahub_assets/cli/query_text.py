"""Where the SQL of `personahub sql` comes from: an argument, a file, standard input, and `.read` lines within."""

import io
import os
import re
import select
import sys
from pathlib import Path

from personahub_assets.core import project_files
from personahub_assets.core.errors import ConfigError

_READ = re.compile(r"^\.read[ \t]++(\S.*)$", re.MULTILINE)
_LONGEST = 4 << 20  # characters, with all that is read; files that read others twice double with each level
_MOST_FILES = 1_000
# Whoever pipes a query without naming '-' begins within this time; a pipe that nobody writes to is no query.
_PATIENCE_S = 1.0


def query_text(query: str | None) -> str | None:
    """Read what was asked; None if nothing was.

    Raises:
        ConfigError: if a file is missing, is no text, or reads itself, or all of it is too long.
    """
    if query == "-":
        return _Reader().expanded(_input())
    if query is None:
        piped = _input() if _has_input() else ""
        return _Reader().expanded(piped) if piped.strip() else None
    is_file = query.endswith(".sql") or ("\n" not in query and os.path.isfile(query))  # noqa: PTH113 - no length is too long
    return _Reader().expanded(f".read {query}" if is_file else query, any_file=is_file)


def _input() -> str:
    try:
        return sys.stdin.read(_LONGEST + 1)
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input: {error.reason} at byte {error.start + 1}: give SQL in UTF-8") from error


def _has_input() -> bool:
    """Whether standard input is neither a terminal nor a pipe that nobody writes to."""
    if sys.stdin.isatty():
        return False
    try:
        return bool(select.select([sys.stdin], [], [], _PATIENCE_S)[0])
    except (OSError, ValueError, io.UnsupportedOperation):
        return True  # not a file of the system's, or a pipe on Windows, which cannot be asked


class _Reader:
    """Puts files in the place of lines such as `.read sql/analysis/relations.sql`, as DuckDB's shell does."""

    def __init__(self) -> None:
        self._files, self._characters = 0, 0

    def expanded(self, text: str, within: tuple[Path, ...] = (), *, any_file: bool = False) -> str:
        """Give the text with all files that it reads, and those that they read."""
        self._count(text)

        def read(line: re.Match[str]) -> str:
            name = line[1].rstrip(" \t;").strip("'\"")
            path = _found(name, within[-1].parent if within else None, any_file=any_file)
            if path in within:
                raise ConfigError(f"{path} reads itself: {' → '.join(each.name for each in (*within, path))}")
            self._files += 1
            return self.expanded(_content(path), (*within, path))

        return _READ.sub(read, text)

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _LONGEST or self._files > _MOST_FILES:
            raise ConfigError(
                f"a query may have {_LONGEST:,} characters and read {_MOST_FILES:,} files, those that files read again "
                "counted each time; this one has more: does a file read others several times?"
            )


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LONGEST + 1)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error.reason} at byte {error.start + 1}: save it as UTF-8") from error


def _found(name: str, beside: Path | None, *, any_file: bool) -> Path:
    """The file of that name: here, beside the file that names it, or among those of the project."""
    # Of a text that somebody else wrote: an error message must not quote what is no SQL.
    if not any_file and not name.endswith(".sql"):
        raise ConfigError(f".read {name}: only files that end with .sql are read")
    folders = [Path(), *([beside] if beside else []), project_files.root()]
    path = next((path for folder in folders if (path := folder / name).is_file()), None)
    if path is None:
        raise ConfigError(f"{name}: there is no such file")
    return path.resolve()
