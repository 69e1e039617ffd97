"""Releases: the frozen folders below `releases/` of a home; list them, verify them, read them.

    releases/NAME/README.md                               dataset card, with the configs for the `datasets` library
                  data/CONFIG/train-00000-of-00002.parquet
                  jsonl/CONFIG.jsonl                      if requested
                  manifest.json                           content, settings, and a hash of each file
                  SHA256SUMS                              the same hashes and the manifest's, for sha256sum -c

A folder whose name begins with a dot is a release that is being built.
"""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.access import checked
from personahub_assets.core.errors import ConfigError, StoreError, choices
from personahub_assets.releases.spec import PERSONAS, check_name
from personahub_assets.store.hashes import sha256
from personahub_assets.store.tables import Store

CARD, MANIFEST, SUMS = "README.md", "manifest.json", "SHA256SUMS"


@dataclass(frozen=True)
class Release:
    """One released folder."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json.

        Raises:
            StoreError: if it is missing or damaged.
        """
        try:
            content = json.loads((self.path / MANIFEST).read_bytes())
            return {**content, "files": dict(content["files"]), "configs": dict(content["configs"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            damage = f"release {self.name!r}: {MANIFEST} is missing or damaged: {error!r}"
            raise _problem(error, self.path / MANIFEST, damage) from error

    @property
    def rows(self) -> dict[str, int]:
        """Rows by config."""
        return {config: entry["rows"] for config, entry in self.manifest["configs"].items()}

    def files(self) -> dict[str, Path]:
        """All files of the folder, by their relative path."""
        paths = (path for path in self.path.rglob("*") if path.is_symlink() or not path.is_dir())
        return {path.relative_to(self.path).as_posix(): path for path in sorted(paths)}

    def bytes(self) -> tuple[int, int]:
        """Bytes of files shared with the store or another release, and bytes of files of this release alone."""
        stats = [path.lstat() for path in self.files().values()]
        shared = sum(stat.st_size for stat in stats if stat.st_nlink > 1)
        return shared, sum(stat.st_size for stat in stats) - shared

    @property
    def sums(self) -> str:
        """Hash of the hashes of all files: identifies the content of the release."""
        return sha256(self.path / SUMS)

    def data(self, config: str) -> list[Path]:
        """The Parquet files of a config; empty if the release does not have it."""
        return sorted((self.path / "data" / config).glob("*.parquet"))


def release_path(store: Store, name: str) -> Path:
    """The path of a release, which need not exist.

    Raises:
        ConfigError: if the name is not valid.
    """
    return store.paths.releases / check_name(name)


def list_releases(store: Store) -> list[Release]:
    """All releases of a home, by name."""
    folders = store.paths.releases.glob("[!.]*")
    return [Release(path) for path in sorted(folders) if path.is_dir()]


def find_release(store: Store, name: str) -> Release:
    """One release of a home.

    Raises:
        ConfigError: if there is no such release, naming those that exist.
    """
    target = release_path(store, name)
    if not target.is_dir():
        existing = [entry.name for entry in list_releases(store)]
        description = choices(name, existing) if existing else f"{name!r} (there is none yet)"
        raise ConfigError(f"no release {description}; make it with: personahub release {name}")
    return Release(target)


def verify(release: Release) -> list[str]:
    """Hash every file again and list the differences; empty for an unchanged release."""
    files = release.files()
    sums, faults = _sums(release.path / SUMS)
    hashes = hash_files(path for name, path in files.items() if name != SUMS and not path.is_symlink())
    actual = {name: hashes.get(path, "a link") for name, path in files.items() if name != SUMS}
    faults += [f"{name}: missing" for name in sorted(sums.keys() - actual.keys())]
    faults += [f"{name}: not part of the release" for name in sorted(actual.keys() - sums.keys())]
    for name in sorted(sums.keys() & actual.keys()):
        if actual[name] != sums[name]:
            faults.append(f"{name}: changed: SHA-256 is {actual[name]}, {SUMS} has {sums[name]}")
    return faults or _manifest_faults(release, sums)


def _problem(error: Exception, path: Path, damage: str) -> StoreError:
    """The error for a file of a release: a missing file is damage, a file that cannot be opened is not."""
    return StoreError(damage) if isinstance(error, FileNotFoundError) else checked(error, path, damage)


def _sums(path: Path) -> tuple[dict[str, str], list[str]]:
    """The hashes of a file of sums, by file, and its faults."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return {}, [str(_problem(error, path, f"{SUMS}: missing or damaged: {error!r}"))]
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    sums = {pair[-1]: pair[0] for pair in pairs}
    return sums, [] if sums_text(sums) == text else [f"{SUMS}: changed: not in the written form"]


def _manifest_faults(release: Release, sums: dict[str, str]) -> list[str]:
    """Differences between the hashes of the manifest and those of SHA256SUMS."""
    try:
        listed = {name: entry["sha256"] for name, entry in release.manifest["files"].items()}
    except (StoreError, KeyError, TypeError) as error:
        return [f"{MANIFEST}: {error}"]
    wanted = {name: value for name, value in sums.items() if name != MANIFEST}
    return [] if listed == wanted else [f"{MANIFEST}: its hashes differ from {SUMS}"]


def sums_text(sums: dict[str, str]) -> str:
    """Format hashes for `sha256sum -c`."""
    return "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of files, computed in parallel."""
    todo = list(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(todo, pool.map(sha256, todo), strict=True))


def count_rows_of(
    release: Release, persona_ids: Iterable[str], *, of: Callable[[str, str], bool] = lambda _batch, _document: False
) -> int:
    """Count rows of a release that are given personas, or were derived from them.

    The files of the release are read, so rows that have left the store since are found too.

    Args:
        release: searched for rows.
        persona_ids: personas; personas related to them and items written for any of these count too.
        of: whether a document, by batch and id, is included; personas inferred from it count like the given ones.

    Raises:
        StoreError: if a file of the release is damaged.
    """
    lines = _read(release, PERSONAS, ["batch", "persona_id", "document_id", "parent_id"])
    documents = lines.select("batch", "document_id").drop_nulls().unique()
    meant = documents.filter([of(*each) for each in documents.iter_rows()])
    of_documents = lines.join(meant, on=["batch", "document_id"], how="semi")["persona_id"]
    ids = pl.Series(sorted(_with_descendants(lines, {*persona_ids, *of_documents})), dtype=pl.String).implode()
    count = int(lines["persona_id"].is_in(ids).sum())
    for config_folder in sorted((release.path / "data").glob("*")):
        if config_folder.name != PERSONAS:
            count += int(_read(release, config_folder.name, ["persona_id"])["persona_id"].is_in(ids).sum())
    return count


def _with_descendants(lines: pl.DataFrame, ids: set[str]) -> set[str]:
    """The ids with those of all descendants."""
    while True:
        children = lines.filter(pl.col("parent_id").is_in(list(ids)))["persona_id"]
        if ids.issuperset(children):
            return ids
        ids = ids.union(children)


def _read(release: Release, config: str, columns: list[str]) -> pl.DataFrame:
    empty = pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    files = release.data(config)
    try:
        return pl.scan_parquet(files, glob=False).select(columns).collect() if files else empty
    except (pl.exceptions.PolarsError, OSError) as error:
        damage = (
            f"release {release.name!r}: {config} cannot be read: {error}. "
            f"See: personahub release {release.name} --verify"
        )
        raise _problem(error, release.path, damage) from error
