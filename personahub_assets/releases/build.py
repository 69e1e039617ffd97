"""Build a release from a snapshot of the store.

A snapshot of the tables is taken first. Rows that are not released are removed from the snapshot, and all numbers of
the card are counted on it. A partition whose rows are all released unchanged is a hard link to the store's file: table
files are replaced and never written to, so the release does not change.
"""

import json
import os
import stat
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.core import project_files
from personahub_assets.core.access import obstacle, path_of
from personahub_assets.core.errors import ConfigError, QueryError, StoreError
from personahub_assets.releases.card import card
from personahub_assets.releases.data_files import Division, Splits, persona_column, released_columns, write_config
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
from personahub_assets.releases.prompts import own_files, write_prompts
from personahub_assets.releases.spec import PERSONAS, ReleaseSpec, configs, left_out_text, public_address
from personahub_assets.releases.version import code_version
from personahub_assets.store.atomic import aside_name, sync_folder
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import discard
from personahub_assets.store.snapshot import snapshot
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse import build
from personahub_assets.warehouse.query_process import ids_meeting

STANDIN = "standin"
# Tables that the conditions and the card need besides the configs.
_ABOUT = ("batches", "documents", "dedup_runs", "generations", "quarantine", "prompt_uses", "item_dedup_runs")
_EXCLUDED_COLUMNS = dict.fromkeys(("dataset", "batch", "item_id", "reason"), pl.String)
_EXCLUDED = "SELECT dataset, batch, item_id, reason FROM excluded_items"
# Seconds to wait for a run that is publishing: it publishes the rows first, then their calls.
_PAUSES = (0.5, 1.0, 2.0, 4.0)

# Comments of the tables and their columns, as in the warehouse.
_DESCRIBED = {
    "descriptions": "SELECT table_name AS config, comment AS about FROM duckdb_tables() "
    "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
    "columns": "SELECT table_name AS config, column_name AS column, data_type AS type, comment AS meaning "
    "FROM duckdb_columns() ORDER BY table_name, column_index",
}

Watch = Callable[[int, int], None]
Facts = dict[str, list[dict[str, Any]]]
Ids = dict[str, pl.Series]
"""Ids by batch: a row and its persona are in the same batch."""


@dataclass
class LeftOut:
    """Numbers of rows of a config that are not released, each row counted under its first reason."""

    persona_left_the_hub: int = 0
    contaminated: int = 0
    condition_not_met: int = 0
    persona_not_released: int = 0
    near_duplicate: int = 0

    def count(self, tests: Mapping[str, pl.Series]) -> pl.Series:
        """Count the rows that are left out.

        Args:
            tests: by reason, a mask of the rows that pass, in the order of the reasons.

        Returns:
            A mask of the released rows, which pass all tests.
        """
        stays = next(iter(tests.values())).is_not_null()
        for reason, passes in tests.items():
            setattr(self, reason, getattr(self, reason) + int((stays & ~passes).sum()))
            stays &= passes
        return stays


@dataclass
class Cut:
    """A snapshot of the released rows, with their statistics, and numbers of rows and files that were written."""

    store: Store
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    splits: dict[str, Splits] = field(default_factory=dict)

    def rows(self) -> dict[str, int]:
        """Rows by config, 0 for a config without rows."""
        counts = dict.fromkeys(self.left_out, 0)
        for row in self.facts["writers"]:
            counts[row["config"]] += row["rows"]
        return counts


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
            cut = _take_whole_cut(store, order, aside)
            _write(cut, order, making, watch or _unwatched)
            target.parent.mkdir(exist_ok=True)
            making.rename(target)
            sync_folder(target.parent)
    return Release(target)


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


# --- which rows ---


def _take_whole_cut(store: Store, order: ReleaseSpec, aside: Path) -> Cut:
    """Take a cut in which every row has its call; waits briefly for a run that is publishing."""
    for pause in (*_PAUSES, None):
        cut = _take_cut(store, order, aside / uuid.uuid4().hex)
        lost = [row for row in cut.facts["writers"] if row["model"] is None and not row["imported"]]
        if not lost:
            break
        if pause is None:
            raise StoreError(f"{_rows_text(lost)} have no accepted call in generations: materialise them again")
        time.sleep(pause)
    _refuse_standin(store, order, cut)
    if not any(cut.rows().values()):
        reasons = "; ".join(f"{config}: {left_out_text(asdict(counts))}" for config, counts in cut.left_out.items())
        raise StoreError(f"release {order.name!r} would be empty: {reasons}")
    return cut


def _refuse_standin(store: Store, order: ReleaseSpec, cut: Cut) -> None:
    marker = store.paths.writer
    of_standin = marker.exists() and marker.read_text("utf-8").strip() == STANDIN
    rows = [row for row in cut.facts["writers"] if not row["imported"] and (of_standin or row["model"] == STANDIN)]
    if rows:
        raise StoreError(
            f"release {order.name!r} is refused: {_rows_text(rows)} were written by the stand-in, a rule-based writer. "
            "It is not a language model, and its rows are not training data: run with a model in another home, and "
            "release that one"
        )


def _rows_text(rows: list[dict[str, Any]]) -> str:
    counts = Counter[str]()
    for row in rows:
        counts[row["config"]] += row["rows"]
    return ", ".join(f"{count:,} rows of {config}" for config, count in counts.items())


def _take_cut(store: Store, order: ReleaseSpec, folder: Path) -> Cut:
    """Take a snapshot, remove the rows that are not released, and count the others."""
    tests = " ".join(test for tests in order.where.values() for test in tests)
    snap = snapshot(
        store,
        dict.fromkeys(
            [
                *configs(store.catalog.datasets),
                *_ABOUT,
                *build.tables_in(store, tests),
                *build.tables_in(store, _EXCLUDED),
            ]
        ),
        folder,
    )
    memory_mb = store.config.warehouse.memory_mb
    wanted = {config: _ids_meeting(snap, config, tests, memory_mb) for config, tests in order.where.items()}
    hub = released = _ids(snap)
    excluded = _excluded(snap)
    cut = Cut(snap)
    for config in order.configs:  # the personas first
        cut.left_out[config] = _narrow(snap, config, hub, released, wanted.get(config), excluded.get(config, {}))
        released = _ids(snap) if config == PERSONAS else released
    cut.facts = _count_facts(snap, order)
    return cut


def _ids_meeting(snap: Store, config: str, tests: tuple[str, ...], memory_mb: int) -> Ids:
    """Ids of the rows that meet all conditions.

    The conditions come from the user: each must be one expression, and it can read only the snapshot.

    Raises:
        ConfigError: naming the config, DuckDB's error and the valid columns.
    """
    view, key, file = _rows_with_borrowed(snap, config), _key(config), snap.paths.warehouse
    try:
        with build.open_live(snap, " ".join([view, *tests]), file=file) as connection:
            connection.execute(f"CREATE VIEW to_release AS {view}")
        matches = ids_meeting(snap.root, memory_mb, "to_release", ["batch", key], tests)
    except (duckdb.Error, QueryError) as error:
        columns = [*snap.columns(config), *_borrowed_columns(snap, config)]
        raise ConfigError(
            f"--where {' AND '.join(tests)!r} for {config}: {str(error).splitlines()[0].rstrip('.!')}. "
            f"Columns of {config}: {', '.join(columns)}. For one config alone: --where '{config}: CONDITION'"
        ) from error
    finally:
        discard(file)
    rows = pl.DataFrame(matches, schema={"batch": pl.String, "id": pl.String}, orient="row")
    return {str(batch): ids["id"] for (batch,), ids in rows.partition_by("batch", as_dict=True).items()}


def _rows_with_borrowed(snap: Store, config: str) -> str:
    """Query for the rows of a config with all columns that conditions can use."""
    extra = "".join(f', {alias}."{name}"' for name, alias in _borrowed_columns(snap, config).items())
    return (
        f"SELECT item.*{extra} FROM {config} AS item "
        "LEFT JOIN personas AS persona ON persona.persona_id = item.persona_id "
        "LEFT JOIN documents AS document ON document.batch = persona.batch "
        "AND document.document_id = persona.document_id "
        "LEFT JOIN (FROM generations WHERE status = 'accepted') AS call ON call.generation_id = item.generation_id"
    )


def _borrowed_columns(snap: Store, config: str) -> dict[str, str]:
    """Columns that conditions can use besides the config's own, with their sources."""
    own = snap.columns(config)
    every = dict.fromkeys(table_schema(PERSONAS), "persona") | {
        "url": "document",
        "source": "document",
        "model": "call",
    }
    return {name: alias for name, alias in every.items() if name not in own}


def _key(config: str) -> str:
    return "persona_id" if config == PERSONAS else "item_id"


def _ids(snap: Store) -> Ids:
    """Ids of the personas in the snapshot."""
    keys = snap.partitions(PERSONAS)
    return {batch: snap.read(PERSONAS, batch, columns=["persona_id"])["persona_id"] for batch in keys}


def _excluded(snap: Store) -> dict[str, dict[str, Ids]]:
    """Ids of the items that the view `excluded_items` excludes, by dataset and reason."""
    with build.open_live(snap, _EXCLUDED) as connection:
        rows = pl.DataFrame(connection.execute(_EXCLUDED).fetchall(), _EXCLUDED_COLUMNS, orient="row")
    excluded: dict[str, dict[str, Ids]] = {}
    for (dataset, reason, batch), ids in rows.partition_by("dataset", "reason", "batch", as_dict=True).items():
        excluded.setdefault(str(dataset), {}).setdefault(str(reason), {})[str(batch)] = ids["item_id"]
    return excluded


def _narrow(
    snap: Store, config: str, hub: Ids, released: Ids, wanted: Ids | None, excluded: Mapping[str, Ids]
) -> LeftOut:
    """Remove rows of a config from the snapshot and count them by reason."""
    left_out, key = LeftOut(), _key(config)
    for batch in snap.partitions(config):
        rows = snap.read(config, batch, columns=list(dict.fromkeys(["persona_id", key])))
        ids, personas = rows[key], rows["persona_id"]
        tests = {
            "persona_left_the_hub": _is_among(personas, hub, batch),
            "condition_not_met": ids.is_not_null() if wanted is None else _is_among(ids, wanted, batch),
            "persona_not_released": _is_among(personas, released, batch),
            **{reason: ~_is_among(ids, rows_out, batch) for reason, rows_out in excluded.items()},
        }
        _keep_rows(snap, config, batch, left_out.count(tests))
    return left_out


def _is_among(ids: pl.Series, wanted: Ids, batch: str) -> pl.Series:
    return ids.is_in(wanted.get(batch, ids.clear()).implode())


def _keep_rows(snap: Store, config: str, batch: str, stays: pl.Series) -> None:
    """Keep some rows of a partition; if all rows with the current columns are kept, keep the store's file."""
    path = snap.path(config, batch)
    if not stays.any():
        path.unlink()
    elif not stays.all() or not _has_current_schema(path, snap.columns(config)):
        writer, start = snap.writer(config, batch), 0
        for rows in snap.slices(config, batch):
            writer.add(rows.filter(stays.slice(start, rows.height)))
            start += rows.height
        writer.publish()


def _has_current_schema(path: Path, columns: dict[str, pl.DataType]) -> bool:
    """Whether a file has the current columns and types of the table."""
    with path.open("rb") as file:
        return list(pl.read_parquet_schema(file).items()) == list(columns.items())


def _count_facts(snap: Store, order: ReleaseSpec) -> Facts:
    """Statistics for the card, one list of rows for each file of sql/card."""
    # Configs without rows have nothing to count; without any rows the first config is used.
    named = [name for name in order.configs if snap.files(name)] or order.configs[:1]
    view = " UNION ALL ".join(f"SELECT '{name}' AS config, batch, generation_id FROM {name}" for name in named)
    queries = project_files.sql_files("card")
    try:
        with build.open_live(snap, " ".join([view, *queries.values()]), with_comments=True) as connection:
            connection.execute(f"CREATE VIEW released AS {view}")
            return {name: _rows(connection, query) for name, query in (queries | _DESCRIBED).items()}
    except duckdb.Error as error:
        raise StoreError(f"a table cannot be read: {error}. Materialise the asset that it names again") from error


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


# --- the folder ---


def _write(cut: Cut, order: ReleaseSpec, making: Path, watch: Watch) -> None:
    """Write all files of the release into the folder, synced and read-only."""
    division = Division.of(cut.store, order.validation)
    for done, config in enumerate(order.configs):
        watch(done, len(order.configs))
        jsonl = order.jsonl and bool(cut.store.files(config))
        cut.splits[config] = write_config(division, config, making, jsonl=jsonl)
    write_extra_files(cut.store, order.configs, making)
    prompts = write_prompts(cut.store, cut.facts["writers"], making)
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
    described = {row["config"]: row["about"] for row in cut.facts["descriptions"]}
    return {
        "format": 1,
        "name": order.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": code_version(),
        "own_files": own_files(cut.store),
        "license": order.license,
        "where": {config: list(tests) for config, tests in order.where.items()},
        "jsonl": order.jsonl,
        "validation": order.validation,
        "configs": {
            config: {
                "rows": rows[config],
                "files": sum(split["files"] for split in cut.splits[config].values()),
                "splits": cut.splits[config],
                "description": described[config],
                "left_out": asdict(cut.left_out[config]),
                "columns": _described_columns(cut.facts["columns"], config),
            }
            for config in order.configs
            if rows[config]
        },
        "empty": {config: asdict(cut.left_out[config]) for config in order.configs if not rows[config]},
        "sources": [{**row, "source": public_address(row["source"])} for row in cut.facts["sources"]],
        "origins": cut.facts["origins"] if PERSONAS in order.configs else [],
        **{name: cut.facts[name] for name in ("writers", "dedup", "quarantine")},
    }


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
