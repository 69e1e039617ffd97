"""Arguments of `ingest`: expand files, folders, patterns and addresses, and choose batch keys."""

import glob
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from personahub_assets.core.errors import SourceError
from personahub_assets.core.text import batch_key
from personahub_assets.sources import reader
from personahub_assets.store.tables import Store

_SHOWN = 10


@dataclass(frozen=True)
class SourcePath:
    """A source file; `key` is None if it follows from the file's name."""

    address: str
    key: str | None = None


@dataclass
class Expanded:
    """Source files of the arguments; `unknown` are files of folders and patterns with an unknown format."""

    files: list[SourcePath] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)


def expand(store: Store, arguments: list[str]) -> Expanded:
    """Find the files of the arguments, in order; those of folders and patterns sorted, without hidden files.

    Raises:
        SourceError: if a folder or pattern has no file of a known format.
    """
    expanded, taken = Expanded(), _Keys(store)
    for argument in arguments:
        if reader.is_remote(argument):
            expanded.files.append(SourcePath(argument))
            continue
        path = Path(argument).expanduser()
        if argument and path.is_dir():
            _add(expanded, taken, argument, path, _below(store, path))
        elif not path.exists() and glob.has_magic(argument):
            _add(expanded, taken, argument, _fixed(path), _matching(store, path))
        else:
            expanded.files.append(SourcePath(argument))
    return expanded


def name_files(paths: list[Path]) -> str:
    """List the names of a few files for a message."""
    suffix = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(str(path) for path in paths[:_SHOWN]) + suffix


def _add(expanded: Expanded, keys: "_Keys", argument: str, base: Path, paths: Iterable[Path]) -> None:
    every = list(paths)
    unknown = [path for path in every if not reader.file_format(path.name)]
    usable = [path for path in every if reader.file_format(path.name)]
    if not usable:
        others = f"; of unknown format: {name_files(unknown)}" if unknown else ""
        raise SourceError(f"{argument}: no source files found; supported: {reader.VALID}{others}")
    expanded.unknown += unknown
    for path in usable:
        if key := keys.key_of(path.resolve(), path.relative_to(base)):
            expanded.files.append(SourcePath(str(path), key))


def _below(store: Store, folder: Path) -> Iterator[Path]:
    """Files below a folder; files of the home only if the folder is inside it."""
    skips_home = not folder.resolve().is_relative_to(store.root)
    for path in sorted(folder.rglob("*")):
        hidden = any(name.startswith(".") for name in path.relative_to(folder).parts)
        if not hidden and path.is_file() and not (skips_home and path.resolve().is_relative_to(store.root)):
            yield path


def _matching(store: Store, pattern: Path) -> Iterator[Path]:
    """Files that match a pattern; files of the home only if the pattern begins inside it."""
    skips_home = not _fixed(pattern).resolve().is_relative_to(store.root)
    for name in sorted(glob.glob(str(pattern), recursive=True)):  # noqa: PTH207 - the pattern may be absolute
        path = Path(name)
        if path.is_dir() and "**" not in pattern.parts:
            yield from _below(store, path)
        elif path.is_file() and not (skips_home and path.resolve().is_relative_to(store.root)):
            yield path


def _fixed(pattern: Path) -> Path:
    """The fixed folder at the beginning of a pattern."""
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


class _Keys:
    """Batch keys for several files: from the file's name, or a longer one if it is taken."""

    def __init__(self, store: Store):
        rows = store.read_all("batches", ["batch", "source", "first_row"])
        self._owners = dict(zip(rows["batch"], rows["source"], strict=True))
        self._given = set[Path]()
        self._registered: dict[str, list[str]] = {}
        for batch, source, first_row in rows.iter_rows():
            if first_row == 0:
                self._registered.setdefault(source, []).append(batch)

    def key_of(self, path: Path, relative: Path) -> str | None:
        """The key of a file: its existing one or a free one; None if this file has been given one."""
        if path in self._given:
            return None
        self._given.add(path)
        wanted = _candidates(relative)
        own = [key for key in wanted if self._owners.get(key) == str(path)]
        own_keys = sorted(self._registered.get(str(path), ()), key=lambda key: (len(key), key))
        free = [key for key in wanted if self._owners.get(key, str(path)) == str(path)]
        key = (own or own_keys or free or wanted[-1:])[0]
        self._owners[key] = str(path)
        return key


def _candidates(relative: Path) -> list[str]:
    """Candidate keys: from the name, then with the folders, then with the suffixes."""
    path = "-".join(relative.parts)
    return [batch_key(relative.name), batch_key(path), batch_key(path.replace(".", "-"))]
