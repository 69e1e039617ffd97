"""Build a release from a snapshot of the store.

A snapshot of the tables is taken first. Rows that are not released are removed from the snapshot, and all numbers of
the card are counted on it. A partition whose rows are all released unchanged is a hard link to the store's file: table
files are replaced and never written to, so the release does not change.
"""

import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.access import obstacle, path_of
from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.releases.card import card
from personahub_assets.releases.cut import STANDIN, Cut, take_whole_cut
from personahub_assets.releases.data_files import Division, persona_column, released_columns, write_config
from personahub_assets.releases.extra_files import write_extra_files
from personahub_assets.releases.folder import (
    CARD,
    MANIFEST,
    SUMS,
    Release,
    hash_files,
    release_path,
    sums_text,
)
from personahub_assets.releases.formats import FORMATS, IDS
from personahub_assets.releases.frozen import column_types
from personahub_assets.releases.prompts import own_files, write_prompts
from personahub_assets.releases.spec import PERSONAS, ReleaseSpec, public_address
from personahub_assets.releases.version import code_version
from personahub_assets.store.atomic import aside_name, sync_folder
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import discard
from personahub_assets.store.tables import Store

Watch = Callable[[int, int], None]

_FACTS = ("writers", "texts", "messages", "dedup", "quarantine", "verification", "diversity")
"""Statistics of the card that the manifest has as they are."""


def freeze(store: Store, order: ReleaseSpec, watch: Watch | None = None) -> Release:
    """Build a release; its folder gets its name when it is complete.

    Args:
        store: the home.
        order: what to release.
        watch: called with the number of written configs and their total.

    Raises:
        ConfigError: if the name is taken, or a condition is wrong.
        StoreError: if there is nothing to release, some rows were written by the stand-in, or the disk is full.
    """
    target = release_path(store, order.name)
    check_free(store, order.name)
    with store.lock(Lock.RELEASES, wait=True):
        check_free(store, order.name)
        with _folders(store) as (aside, making), _disk(order.name, making):
            cut = take_whole_cut(store, order, aside)
            _write(cut, order, making, watch or _unwatched)
            target.parent.mkdir(exist_ok=True)
            making.rename(target)
            sync_folder(target.parent)
    return Release(target)


def rehearse(store: Store, order: ReleaseSpec) -> None:
    """Refuse a release that is refused often before its run begins, so that no run is recorded as failed.

    Such are those of a home of the stand-in, and those with conditions, which can be wrong or meet no row. The rows of
    others are looked at once, by `freeze`.

    Raises:
        ConfigError, StoreError: as `freeze` does.
    """
    check_free(store, order.name)
    marker = store.paths.writer
    of_standin = marker.exists() and marker.read_text("utf-8").strip() == STANDIN
    if of_standin or any(order.where.values()):
        with store.lock(Lock.RELEASES, wait=True), _folders(store) as (aside, making), _disk(order.name, making):
            take_whole_cut(store, order, aside)


def _unwatched(done: int, total: int) -> None:
    """Ignore progress."""


def check_free(store: Store, name: str) -> None:
    """Check that no release has the name.

    Raises:
        ConfigError: if a release has the name.
    """
    target = release_path(store, name)
    if target.exists() or target.is_symlink():
        raise ConfigError(
            f"release {name!r} exists already and never changes: choose another name, or delete {target} first"
        )


@contextmanager
def _folders(store: Store) -> Iterator[tuple[Path, Path]]:
    """Make two work folders, on the disk of the tables and on that of the releases; removed at the end.

    The caller holds the lock, so older folders are leftovers of a killed process.
    """
    aside, making = store.paths.aside, store.paths.releases
    for left in [*aside.glob("*-release-*"), *making.glob(".*-release-*")]:
        discard(left)
    name = aside_name("release-")
    both = aside / name, making / f".{name}"
    try:
        for folder in both:
            folder.mkdir(parents=True)
        yield both
    finally:
        for folder in both:
            discard(folder)


@contextmanager
def _disk(name: str, folder: Path) -> Iterator[None]:
    """Turn an error of the disk into a StoreError."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = obstacle(error, path_of(error) or folder) or str(error)
        raise StoreError(f"release {name!r} could not be written, and nothing is left of it: {reason}") from error


# --- the folder ---


def _write(cut: Cut, order: ReleaseSpec, making: Path, watch: Watch) -> None:
    """Write all files of the release into the folder, synced and read-only."""
    division = Division.of(cut.store, order.validation)
    for done, config in enumerate(order.configs):
        watch(done, len(order.configs))
        jsonl = _description(cut, config) if order.jsonl and cut.store.files(config) else None
        cut.splits[config] = write_config(division, config, making, jsonl=jsonl, formatted=cut.formatted.get(config))
    if order.form is None:  # the formats have no column with constraints
        write_extra_files(cut.store, order.configs, making)
    prompts = write_prompts(cut.store, cut.facts["writers"] + cut.facts["texts"], making, cut.facts["messages"])
    manifest = _manifest_of(cut, order) | {"prompts": prompts}
    listed = _file_entries(making, making.rglob("*"))
    (making / CARD).write_text(card(manifest), "utf-8")
    listed |= _file_entries(making, [making / CARD])
    (making / MANIFEST).write_text(
        json.dumps({**manifest, "files": listed}, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    sums = {name: entry["sha256"] for name, entry in (listed | _file_entries(making, [making / MANIFEST])).items()}
    (making / SUMS).write_text(sums_text(sums), "utf-8")
    _finish_files(making)
    watch(len(order.configs), len(order.configs))


def _manifest_of(cut: Cut, order: ReleaseSpec) -> dict[str, Any]:
    """The manifest without the hashes; the card is made from it."""
    rows = cut.rows()
    return {
        "format": 1,
        "name": order.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "own_files": own_files(cut.store),
        "license": order.license,
        "where": {config: list(tests) for config, tests in order.where.items()},
        "jsonl": order.jsonl,
        "export": order.form,
        "validation": order.validation,
        "configs": {
            config: {
                "rows": rows[config],
                "files": sum(split["files"] for split in cut.splits[config].values()),
                "splits": cut.splits[config],
                "description": _description(cut, config),
                "left_out": asdict(cut.left_out[config]),
                "columns": _columns_of(cut, order, config),
            }
            for config in order.configs
            if rows[config]
        },
        "empty": {config: asdict(cut.left_out[config]) for config in order.configs if not rows[config]},
        "sources": [{**row, "source": public_address(row["source"])} for row in cut.facts["sources"]],
        "origins": cut.facts["origins"] if PERSONAS in order.configs else [],
        **{name: cut.facts[name] for name in _FACTS},
    }


def _description(cut: Cut, config: str) -> str:
    return next(str(row["description"]) for row in cut.facts["descriptions"] if row["config"] == config)


def _columns_of(cut: Cut, order: ReleaseSpec, config: str) -> list[dict[str, Any]]:
    """Names, types and meanings of the columns of a config, in the order of its files."""
    if order.form is None:
        return _described_columns(cut.facts["columns"], config)
    (file, *_) = cut.formatted[config].values()
    meanings = {**FORMATS[order.form].columns, **IDS}
    types = column_types(file)
    return [{"column": name, "type": types[name], "meaning": text} for name, text in meanings.items()]


def _described_columns(columns: list[dict[str, Any]], config: str) -> list[dict[str, Any]]:
    """Names, types and meanings of the columns of a config, in the order of its files."""
    by_name = {row["column"]: row for row in columns if row["config"] == config}
    persona = next(row for row in columns if (row["config"], row["column"]) == (PERSONAS, "persona"))
    name = persona_column(by_name)
    names = released_columns(config, list(by_name))
    by_name.setdefault(name, {**persona, "column": name})
    return [{key: by_name[name][key] for key in ("column", "type", "meaning")} for name in names]


def _file_entries(making: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """SHA-256 and size in bytes of files, by their path in the folder."""
    return {
        path.relative_to(making).as_posix(): {"sha256": value, "bytes": path.stat().st_size}
        for path, value in sorted(hash_files(path for path in paths if path.is_file()).items())
    }


def _finish_files(making: Path) -> None:
    """Sync all files and make them read-only.

    A file that is linked with the store becomes read-only in the store too: it is replaced there, never written to.
    """
    for path in [*making.rglob("*"), making]:
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        if os.name == "posix":  # other systems cannot replace a read-only file
            with suppress(PermissionError):  # a linked file of another user
                path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
