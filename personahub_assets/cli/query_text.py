"""The SQL of `personahub sql`: from an argument, a file or standard input, with `.read` lines included."""

import io
import os
import re
import select
import sys
from pathlib import Path

from personahub_assets.core import project_files
from personahub_assets.core.errors import ConfigError, missing_file

_READ = re.compile(r"^\.read[ \t]++(\S.*)$", re.MULTILINE)
_LONGEST = 4 << 20  # characters with all included files; a file that includes another twice doubles it at each level
_MOST_FILES = 1_000
_FORMER_NAMES = {
    "closest_calls": "drops_near_the_threshold",
    "coverage_gaps": "personas_without_items",
    "most_expanded_keepers": "keepers_with_most_duplicates",
    "reach_of_lines": "hops_per_root",
    "richest_documents": "documents_with_most_personas",
    "richest_sources": "sources_with_most_personas",
    "variety_of_words": "vocabulary_per_dataset",
    "what_if_a_higher_threshold": "personas_at_a_higher_threshold",
}
"""Ready questions that were renamed; they are still read under the former name."""
# A query piped without '-' must begin within this time; a pipe without a writer is no query.
_PATIENCE_S = 1.0


def query_text(query: str | None) -> str | None:
    """Read the query; None if there is none.

    Raises:
        ConfigError: if a file is missing, is not text or includes itself, or the whole is too long.
    """
    if query == "-":
        return _Reader().expand(_read_input())
    if query is None:
        piped = _read_input() if _has_input() else ""
        return _Reader().expand(piped) if piped.strip() else None
    is_file = query.endswith(".sql") or ("\n" not in query and os.path.isfile(query))  # noqa: PTH113 - no length is too long
    return _Reader().expand(f".read {query}" if is_file else query, any_file=is_file)


def _read_input() -> str:
    try:
        return sys.stdin.read(_LONGEST + 1)
    except UnicodeDecodeError as error:
        raise ConfigError(f"standard input: {error.reason} at byte {error.start + 1}: give SQL in UTF-8") from error


def _has_input() -> bool:
    """Whether standard input is neither a terminal nor a pipe without a writer."""
    if sys.stdin.isatty():
        return False
    try:
        return bool(select.select([sys.stdin], [], [], _PATIENCE_S)[0])
    except (OSError, ValueError, io.UnsupportedOperation):
        return True  # not a file of the operating system, or a pipe on Windows, which cannot be polled


class _Reader:
    """Replaces lines such as `.read sql/analysis/relations.sql` with the file, as DuckDB's shell does."""

    def __init__(self) -> None:
        self._files, self._characters = 0, 0

    def expand(self, text: str, within: tuple[Path, ...] = (), *, any_file: bool = False) -> str:
        """Return the text with all files that it includes, recursively."""
        self._count(text)

        def read(line: re.Match[str]) -> str:
            name = line[1].rstrip(" \t;").strip("'\"")
            path = _find_file(name, within[-1].parent if within else None, any_file=any_file)
            if path in within:
                raise ConfigError(f"{path} reads itself: {' → '.join(each.name for each in (*within, path))}")
            self._files += 1
            return self.expand(_read_file(path), (*within, path))

        return _READ.sub(read, text)

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _LONGEST or self._files > _MOST_FILES:
            raise ConfigError(
                f"a query can have {_LONGEST:,} characters and include {_MOST_FILES:,} files, repeated ones "
                "counted each time; this one has more: does a file include others several times?"
            )


def _read_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LONGEST + 1)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error.reason} at byte {error.start + 1}: save it as UTF-8") from error


def _find_file(name: str, beside: Path | None, *, any_file: bool) -> Path:
    """Find the file of a name: in the current folder, beside the including file, or in the project."""
    # The query can come from another person: an error message must not quote a file that is not SQL.
    if not any_file and not name.endswith(".sql"):
        raise ConfigError(f".read {name}: only files that end with .sql can be included")
    folders = [Path(), *([beside] if beside else []), project_files.root()]
    names = [name, _current_name(name)]
    path = next((path for folder in folders for each in names if (path := folder / each).is_file()), None)
    if path is None:
        raise ConfigError(missing_file(name))
    return path.resolve()


def _current_name(name: str) -> str:
    """The path of a ready question under its current name."""
    path = Path(name)
    if path.parent.name != "analysis" or path.suffix != ".sql":
        return name
    return str(path.with_stem(_FORMER_NAMES.get(path.stem, path.stem)))
