"""Where the SQL of `personahub sql` comes from: an argument, a file, standard input, and `.read` lines within."""

import io
import re
import select
import sys
from pathlib import Path

from personahub_assets.domain.errors import ConfigError
from personahub_assets.resources import files

_READ = re.compile(r"^\.read[ \t]++(\S.*)$", re.MULTILINE)
# Whoever pipes a query without naming '-' begins within this time; a pipe that nobody writes to is no query.
_PATIENCE_S = 1.0


def query_text(query: str | None) -> str | None:
    """Read what was asked; None if nothing was.

    Raises:
        ConfigError: if a file is missing, or reads itself.
    """
    if query == "-":
        return _expanded(sys.stdin.read())
    if query is None:
        piped = sys.stdin.read() if _has_input() else ""
        return _expanded(piped) if piped.strip() else None
    is_file = query.endswith(".sql") or ("\n" not in query and len(query) < 200 and Path(query).is_file())
    return _expanded(f".read {query}" if is_file else query, any_file=is_file)


def _has_input() -> bool:
    """Whether standard input is neither a terminal nor a pipe that nobody writes to."""
    if sys.stdin.isatty():
        return False
    try:
        return bool(select.select([sys.stdin], [], [], _PATIENCE_S)[0])
    except (OSError, ValueError, io.UnsupportedOperation):
        return True  # not a file of the system's, or a pipe on Windows, which cannot be asked


def _expanded(text: str, within: tuple[Path, ...] = (), *, any_file: bool = False) -> str:
    """Put files in the place of lines such as `.read sql/analysis/relations.sql`, as DuckDB's shell does."""

    def read(line: re.Match[str]) -> str:
        path = _found(line[1].rstrip(" \t;").strip("'\""), within[-1].parent if within else None, any_file=any_file)
        if path in within:
            raise ConfigError(f"{path} reads itself: {' → '.join(each.name for each in (*within, path))}")
        return _expanded(path.read_text("utf-8"), (*within, path))

    return _READ.sub(read, text)


def _found(name: str, beside: Path | None, *, any_file: bool) -> Path:
    """The file of that name: here, beside the file that names it, or among those of the project."""
    # Of a text that somebody else wrote: an error message must not quote what is no SQL.
    if not any_file and not name.endswith(".sql"):
        raise ConfigError(f".read {name}: only files that end with .sql are read")
    folders = [Path(), *([beside] if beside else []), files.root()]
    path = next((path for folder in folders if (path := folder / name).is_file()), None)
    if path is None:
        raise ConfigError(f"{name}: there is no such file")
    return path.resolve()
