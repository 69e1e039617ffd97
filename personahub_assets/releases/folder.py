"""Releases: the frozen folders below `releases/` of a home; which there are, whether they are whole, what they hold.

    releases/NAME/README.md                               dataset card, with the configs for the `datasets` library
                  data/CONFIG/train-00000-of-00002.parquet
                  jsonl/CONFIG.jsonl                      if it was asked for
                  manifest.json                           what is in it, how it was made, and a hash of each file
                  SHA256SUMS                              the same hashes, for sha256sum -c; the manifest's too

A name that begins with a dot is a release in the making, and none yet.
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
        """What manifest.json says.

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
        """Everything in the folder that is not a folder itself, by its path in it."""
        paths = (path for path in self.path.rglob("*") if path.is_symlink() or not path.is_dir())
        return {path.relative_to(self.path).as_posix(): path for path in sorted(paths)}

    def bytes(self) -> tuple[int, int]:
        """Bytes of files that are shared with the store or another release, and of files that are this one's alone."""
        stats = [path.lstat() for path in self.files().values()]
        shared = sum(stat.st_size for stat in stats if stat.st_nlink > 1)
        return shared, sum(stat.st_size for stat in stats) - shared

    @property
    def sums(self) -> str:
        """Hash of the hashes of all files: names the release's content in one line."""
        return sha256(self.path / SUMS)

    def data(self, config: str) -> list[Path]:
        """The Parquet files of a config; none if the release does not have it."""
        return sorted((self.path / "data" / config).glob("*.parquet"))


def path(store: Store, name: str) -> Path:
    """Where a release is, or would be.

    Raises:
        ConfigError: if the name is not a legal one.
    """
    return store.paths.releases / check_name(name)


def releases(store: Store) -> list[Release]:
    """All releases of a home, by name."""
    folders = store.paths.releases.glob("[!.]*")
    return [Release(path) for path in sorted(folders) if path.is_dir()]


def release(store: Store, name: str) -> Release:
    """One release of a home.

    Raises:
        ConfigError: if there is none of that name, naming those that there are.
    """
    target = path(store, name)
    if not target.is_dir():
        existing = [entry.name for entry in releases(store)]
        description = choices(name, existing) if existing else f"{name!r} (there is none yet)"
        raise ConfigError(f"no release {description}; make it with: personahub release {name}")
    return Release(target)


def verify(release: Release) -> list[str]:
    """Hash every file again and say what is not as it was released; nothing is said of a whole release."""
    files = release.files()
    sums, faults = _sums(release.path / SUMS)
    hashes = hashed(path for name, path in files.items() if name != SUMS and not path.is_symlink())
    actual = {name: hashes.get(path, "a link") for name, path in files.items() if name != SUMS}
    faults += [f"{name}: missing" for name in sorted(sums.keys() - actual.keys())]
    faults += [f"{name}: not part of the release" for name in sorted(actual.keys() - sums.keys())]
    for name in sorted(sums.keys() & actual.keys()):
        if actual[name] != sums[name]:
            faults.append(f"{name}: changed: SHA-256 is {actual[name]}, {SUMS} has {sums[name]}")
    return faults or _manifest_faults(release, sums)


def _problem(error: Exception, path: Path, damage: str) -> StoreError:
    """A file that is missing is damage to a release; one that cannot be opened is not."""
    return StoreError(damage) if isinstance(error, FileNotFoundError) else checked(error, path, damage)


def _sums(path: Path) -> tuple[dict[str, str], list[str]]:
    """The hashes that a file of sums has, by file, and what is wrong with it."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return {}, [str(_problem(error, path, f"{SUMS}: missing or damaged: {error!r}"))]
    pairs = [line.split("  ", 1) for line in text.splitlines()]
    sums = {pair[-1]: pair[0] for pair in pairs}
    return sums, [] if sums_text(sums) == text else [f"{SUMS}: changed: not as it was written"]


def _manifest_faults(release: Release, sums: dict[str, str]) -> list[str]:
    """Whether the manifest, which has the hash that SHA256SUMS says, has those hashes, too."""
    try:
        listed = {name: entry["sha256"] for name, entry in release.manifest["files"].items()}
    except (StoreError, KeyError, TypeError) as error:
        return [f"{MANIFEST}: {error}"]
    wanted = {name: value for name, value in sums.items() if name != MANIFEST}
    return [] if listed == wanted else [f"{MANIFEST}: its hashes are not those of {SUMS}"]


def sums_text(sums: dict[str, str]) -> str:
    """Hashes as `sha256sum -c` reads them."""
    return "".join(f"{value}  {name}\n" for name, value in sorted(sums.items()))


def hashed(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of files, several at once."""
    todo = list(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(todo, pool.map(sha256, todo), strict=True))


def held(
    release: Release, persona_ids: Iterable[str], *, of: Callable[[str, str], bool] = lambda _batch, _document: False
) -> int:
    """How many rows of a release are some personas, or what was made of them.

    The release is looked through as it is, so what has left the store since is found too.

    Args:
        release: looked through.
        persona_ids: personas; personas related to them and items written for any of these count as well.
        of: whether a document, by batch and id, is meant; all personas inferred from it count like those named.

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
    """The ids and those of all personas that descend from them."""
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
