"""The rows of a release: a snapshot of the tables without the rows that are not released, with their statistics.

A snapshot of the tables is taken first; a selected view becomes a table of it. Rows that are not released are removed
from the snapshot, and all numbers of the card are counted on it. A partition whose rows are all released unchanged
stays a hard link to the store's file.
"""

import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.core import project_files
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import ConfigError, QueryError, StoreError
from personahub_assets.core.literals import quoted
from personahub_assets.core.rubrics import SCORE, criteria_of
from personahub_assets.releases.data_files import Splits
from personahub_assets.releases.formats import FORMATS, formatted
from personahub_assets.releases.frozen import copy_rows, with_views
from personahub_assets.releases.relations import Relation
from personahub_assets.releases.spec import PERSONAS, ReleaseSpec, left_out_text
from personahub_assets.store.removal import discard
from personahub_assets.store.snapshot import snapshot
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse import live
from personahub_assets.warehouse.query_process import ids_meeting
from personahub_assets.warehouse.views import mean_scores

STANDIN = "standin"
# Tables that the conditions and the card need besides the configs.
_ABOUT = ("batches", "documents", "dedup_runs", "generations", "quarantine", "prompt_uses", "item_dedup_runs")
_EXCLUDED_COLUMNS = dict.fromkeys(("dataset", "batch", "item_id", "reason"), pl.String)
_EXCLUDED = "SELECT dataset, batch, item_id, reason FROM excluded_items"
# Seconds to wait for a run that is publishing: it publishes the rows first, then their calls.
PAUSES = (0.5, 1.0, 2.0, 4.0)

# Comments of the tables and their columns, as in the warehouse.
_DESCRIBED = {
    "descriptions": "SELECT table_name AS config, comment AS description FROM duckdb_tables() "
    "UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal",
    "columns": "SELECT table_name AS config, column_name AS column, data_type AS type, comment AS meaning "
    "FROM duckdb_columns() ORDER BY table_name, column_index",
}
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
    not_in_format: int = 0

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
    """A snapshot of the released rows, with their statistics, and numbers of rows and files that were written.

    Attributes:
        store: the snapshot.
        formatted: files with rows in the format of the release, by config and batch; they also have rows that are not
            released.
    """

    store: Store
    formatted: dict[str, dict[str, Path]] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)
    splits: dict[str, Splits] = field(default_factory=dict)

    def rows(self) -> dict[str, int]:
        """Rows by config, 0 for a config without rows."""
        counts = dict.fromkeys(self.left_out, 0)
        for row in self.facts["writers"]:
            counts[row["config"]] += row["rows"]
        return counts


def take_whole_cut(store: Store, order: ReleaseSpec, aside: Path) -> Cut:
    """Take a cut in which every row has its call; waits briefly for a run that is publishing."""
    for pause in (*PAUSES, None):
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
    views = [name for name, relation in order.relations.items() if relation.is_view]
    snap = with_views(snapshot(store, _tables_of(store, order, tests), folder), views)
    memory_mb = store.config.warehouse.memory_mb
    wanted = {config: _ids_meeting(snap, order, config, memory_mb) for config in order.where}
    hub = released = _ids(snap)
    excluded = _excluded(snap)
    cut = Cut(snap, _write_formatted(snap, order, folder))
    for config in order.configs:  # the personas first
        barred = _barred(order, config, excluded)
        fitting = _ids_of_files(cut.formatted[config]) if config in cut.formatted else None
        cut.left_out[config] = _narrow(snap, config, hub, released, wanted.get(config), barred, fitting)
        released = _ids(snap) if config == PERSONAS else released
    cut.facts = _count_facts(snap, order)
    return cut


def _tables_of(store: Store, order: ReleaseSpec, tests: str) -> dict[str, None]:
    """The tables that conditions, views, formats and the card read."""
    relations = order.relations.values()
    names = [name for each in relations for name in (each.name, each.scores, each.comparison)]
    texts = " ".join([tests, *names, _EXCLUDED, *project_files.sql_files("card").values()])
    return dict.fromkeys([PERSONAS, *store.catalog.datasets, *_ABOUT, *live.tables_in(store, texts)])


def _write_formatted(snap: Store, order: ReleaseSpec, folder: Path) -> dict[str, dict[str, Path]]:
    """Write the rows of each config in the format of the release, before any row is removed."""
    if order.form is None:
        return {}
    return {config: _write_rows(snap, order, config, folder / "formatted" / config) for config in order.configs}


def _write_rows(snap: Store, order: ReleaseSpec, config: str, folder: Path) -> dict[str, Path]:
    relation = order.relations[config]
    is_scored = bool(relation.scores and snap.files(relation.scores))
    query = formatted(FORMATS[str(order.form)], relation, snap.columns(config), is_scored=is_scored)
    files = {batch: folder / f"{batch}.parquet" for batch in snap.partitions(config)}
    with live.open_live(snap, query) as connection:
        for batch, path in files.items():
            copy_rows(connection, f"SELECT * FROM ({query}) WHERE batch = {quoted(batch)}", path)
    return files


def _ids_of_files(files: Mapping[str, Path]) -> Ids:
    return {batch: pl.read_parquet(path, columns=["item_id"], glob=False)["item_id"] for batch, path in files.items()}


def _barred(order: ReleaseSpec, config: str, excluded: Mapping[str, Mapping[str, Ids]]) -> list[tuple[str, str, Ids]]:
    """Reason, column and ids of the rows that `excluded_items` bars; with their prompts, where those are released."""
    relation = order.relations.get(config)
    if relation is None:
        return []
    barred = [(reason, "item_id", ids) for reason, ids in excluded.get(relation.dataset, {}).items()]
    if order.form and relation.reads_source:
        barred += [(reason, "source_id", ids) for reason, ids in excluded.get(relation.source, {}).items()]
    return barred


def _ids_meeting(snap: Store, order: ReleaseSpec, config: str, memory_mb: int) -> Ids:
    """Ids of the rows that meet all conditions.

    The conditions come from the user: each must be one expression, and it can read only the snapshot.

    Raises:
        ConfigError: naming the config, DuckDB's error and the valid columns.
    """
    relation = order.relations.get(config)
    tests = order.where[config]
    view, key, file = _rows_with_borrowed(snap, config, relation), _key(config), snap.paths.warehouse
    try:
        with live.open_live(snap, " ".join([view, *tests]), file=file) as connection:
            connection.execute(f"CREATE VIEW to_release AS {view}")
        matches = ids_meeting(snap.root, memory_mb, "to_release", ["batch", key], tests)
    except (duckdb.Error, QueryError) as error:
        columns = [*snap.columns(config), *_borrowed_columns(snap, config, relation)]
        raise ConfigError(
            f"--where {' AND '.join(tests)!r} for {config}: {str(error).splitlines()[0].rstrip('.!')}. "
            f"Columns of {config}: {', '.join(columns)}. For one config alone: --where '{config}: CONDITION'"
        ) from error
    finally:
        discard(file)
    rows = pl.DataFrame(matches, schema={"batch": pl.String, "id": pl.String}, orient="row")
    return {str(batch): ids["id"] for (batch,), ids in rows.partition_by("batch", as_dict=True).items()}


def _rows_with_borrowed(snap: Store, config: str, relation: Relation | None) -> str:
    """Query for the rows of a config with all columns that conditions can use."""
    borrowed = _borrowed_columns(snap, config, relation)
    extra = "".join(f', {alias}."{name}"' for name, alias in borrowed.items())
    return (
        f"SELECT item.*{extra} FROM {config} AS item "
        "LEFT JOIN personas AS persona ON persona.persona_id = item.persona_id "
        "LEFT JOIN documents AS document ON document.batch = persona.batch "
        "AND document.document_id = persona.document_id "
        "LEFT JOIN (FROM generations WHERE status = 'accepted') AS call ON call.generation_id = item.generation_id"
        + _joined_scores(snap, relation)
    )


def _joined_scores(snap: Store, relation: Relation | None) -> str:
    """The join with the mean scores of each item; empty if the items have no judge."""
    if relation is None or not relation.scores:
        return ""
    means = mean_scores(relation.dataset, relation.scores, _scores_of(snap, relation))
    return f" LEFT JOIN ({means}) AS judged ON judged.batch = item.batch AND judged.item_id = item.item_id"


def _scores_of(snap: Store, relation: Relation | None) -> list[str]:
    if relation is None or not relation.scores:
        return []
    return [SCORE, *criteria_of(snap.catalog.item(relation.scores))]


def _borrowed_columns(snap: Store, config: str, relation: Relation | None) -> dict[str, str]:
    """Columns that conditions can use besides the config's own, with their sources."""
    own = snap.columns(config)
    every = dict.fromkeys(table_schema(PERSONAS), "persona") | {
        "url": "document",
        "source": "document",
        "model": "call",
    }
    every |= dict.fromkeys(_scores_of(snap, relation), "judged")
    return {name: alias for name, alias in every.items() if name not in own}


def _key(config: str) -> str:
    return "persona_id" if config == PERSONAS else "item_id"


def _ids(snap: Store) -> Ids:
    """Ids of the personas in the snapshot."""
    keys = snap.partitions(PERSONAS)
    return {batch: snap.read(PERSONAS, batch, columns=["persona_id"])["persona_id"] for batch in keys}


def _excluded(snap: Store) -> dict[str, dict[str, Ids]]:
    """Ids of the items that the view `excluded_items` excludes, by dataset and reason."""
    with live.open_live(snap, _EXCLUDED) as connection:
        rows = pl.DataFrame(connection.execute(_EXCLUDED).fetchall(), _EXCLUDED_COLUMNS, orient="row")
    excluded: dict[str, dict[str, Ids]] = {}
    for (dataset, reason, batch), ids in rows.partition_by("dataset", "reason", "batch", as_dict=True).items():
        excluded.setdefault(str(dataset), {}).setdefault(str(reason), {})[str(batch)] = ids["item_id"]
    return excluded


def _narrow(
    snap: Store,
    config: str,
    hub: Ids,
    released: Ids,
    wanted: Ids | None,
    barred: list[tuple[str, str, Ids]],
    fitting: Ids | None,
) -> LeftOut:
    """Remove rows of a config from the snapshot and count them by reason."""
    left_out, key = LeftOut(), _key(config)
    columns = list(dict.fromkeys(["persona_id", key, *(column for _, column, _ in barred)]))
    for batch in snap.partitions(config):
        rows = snap.read(config, batch, columns=columns)
        ids, personas = rows[key], rows["persona_id"]
        tests = {
            "persona_left_the_hub": _is_among(personas, hub, batch),
            "condition_not_met": ids.is_not_null() if wanted is None else _is_among(ids, wanted, batch),
            "persona_not_released": _is_among(personas, released, batch),
        }
        for reason, column, rows_out in barred:
            passes = ~_is_among(rows[column], rows_out, batch)
            tests[reason] = tests.get(reason, passes) & passes
        if fitting is not None:
            tests["not_in_format"] = _is_among(ids, fitting, batch)
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
    view = " UNION ALL ".join(
        f"SELECT '{name}' AS config, '{_dataset_of(order, name)}' AS dataset, batch, generation_id FROM {name}"
        for name in named
    )
    queries = dict(project_files.sql_files("card"))
    if "calls" not in snap.columns(DIALOGUES):  # a dataset of the home with this name
        queries["messages"] = "SELECT NULL WHERE false"
    try:
        with live.open_live(snap, " ".join([view, *queries.values()]), with_comments=True) as connection:
            connection.execute(f"CREATE VIEW released AS {view}")
            connection.execute(f"CREATE VIEW released_texts AS {' UNION ALL '.join(_texts_of_others(order, named))}")
            return {name: _rows(connection, query) for name, query in (queries | _DESCRIBED).items()}
    except duckdb.Error as error:
        raise StoreError(f"a table cannot be read: {error}. Materialise the asset that it names again") from error


def _texts_of_others(order: ReleaseSpec, configs: Iterable[str]) -> list[str]:
    """Queries for the items of other datasets whose texts rows have: the solutions of verified problems, say."""
    queries = ["SELECT '' AS config, '' AS dataset, '' AS item_id, '' AS generation_id WHERE false"]
    for config in configs:
        relation = order.relations.get(config)
        others = [*relation.texts_of] if relation else []
        if relation and order.form and relation.reads_source:
            others.append((relation.source, "source_id"))
        queries += [
            f"SELECT DISTINCT '{config}', '{dataset}', o.item_id, o.generation_id FROM {config} AS r "
            f"JOIN {dataset} AS o ON o.batch = r.batch AND o.item_id = r.{column}"
            for dataset, column in others
        ]
    return queries


def _dataset_of(order: ReleaseSpec, config: str) -> str:
    """The dataset whose items a config has; personas have none but themselves."""
    return order.relations[config].dataset if config in order.relations else config


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    cursor = connection.execute(query)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
