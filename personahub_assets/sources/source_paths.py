"""Arguments of `ingest`: files, folders, patterns and addresses, and the batch keys of the files that they name."""

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
    """A source file; the key is None where it follows from the file's name."""

    address: str
    key: str | None = None


@dataclass
class Expanded:
    """What arguments name; `unknown` are files of folders and patterns that are of no known format."""

    files: list[SourcePath] = field(default_factory=list)
    unknown: list[Path] = field(default_factory=list)


def expand(store: Store, arguments: list[str]) -> Expanded:
    """Find the files that arguments name, in order; of folders and patterns sorted and without hidden ones.

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
    """Name files in a message, not more than a few."""
    suffix = f" and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(str(path) for path in paths[:_SHOWN]) + suffix


def _add(expanded: Expanded, keys: "_Keys", argument: str, base: Path, paths: Iterable[Path]) -> None:
    every = list(paths)
    unknown = [path for path in every if not reader.file_format(path.name)]
    usable = [path for path in every if reader.file_format(path.name)]
    if not usable:
        others = f"; of no known format: {name_files(unknown)}" if unknown else ""
        raise SourceError(f"{argument}: no source files there; want {reader.VALID}{others}")
    expanded.unknown += unknown
    for path in usable:
        if key := keys.give(path.resolve(), path.relative_to(base)):
            expanded.files.append(SourcePath(str(path), key))


def _below(store: Store, folder: Path) -> Iterator[Path]:
    """Files below a folder; those of the home only where the folder lies in it."""
    skips_home = not folder.resolve().is_relative_to(store.root)
    for path in sorted(folder.rglob("*")):
        hidden = any(name.startswith(".") for name in path.relative_to(folder).parts)
        if not hidden and path.is_file() and not (skips_home and path.resolve().is_relative_to(store.root)):
            yield path


def _matching(store: Store, pattern: Path) -> Iterator[Path]:
    """Files that a pattern names; those of the home only where the pattern begins in it."""
    skips_home = not _fixed(pattern).resolve().is_relative_to(store.root)
    for name in sorted(glob.glob(str(pattern), recursive=True)):  # noqa: PTH207 - the pattern may be absolute
        path = Path(name)
        if path.is_dir() and "**" not in pattern.parts:
            yield from _below(store, path)
        elif path.is_file() and not (skips_home and path.resolve().is_relative_to(store.root)):
            yield path


def _fixed(pattern: Path) -> Path:
    """The folder that a pattern begins with."""
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


class _Keys:
    """Batch keys for several files at once: that of the file's name, or where it is taken a longer one."""

    def __init__(self, store: Store):
        rows = store.read_all("batches", ["batch", "source", "first_row"])
        self._owners = dict(zip(rows["batch"], rows["source"], strict=True))
        self._given = set[Path]()
        self._registered: dict[str, list[str]] = {}
        for batch, source, first_row in rows.iter_rows():
            if first_row == 0:
                self._registered.setdefault(source, []).append(batch)

    def give(self, path: Path, relative: Path) -> str | None:
        """The key of a file: the one that it has, or a free one; none for a file that has got one already."""
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
    """By the name; by the folders too; by the suffixes too."""
    path = "-".join(relative.parts)
    return [batch_key(relative.name), batch_key(path), batch_key(path.replace(".", "-"))]
