"""What checks of the whole hub compare a batch with: one SQLite file in `cache/`, kept between runs.

It has the decisions of every batch, hashes of the texts of the hub, and the rules, found by id, by keeper and by text.
An update stores the differences of the partitions that changed, so its cost does not grow with the rows of the hub. The
file can be deleted at any time; a crash leaves the old state.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from personahub_assets.store.home import PART
from personahub_assets.store.manifest import listing
from personahub_assets.store.tables import STAGES, Store, read_file

Row = tuple[Any, ...]

_TABLES = """
CREATE TABLE meta (made_for TEXT);
CREATE TABLE listings (source TEXT PRIMARY KEY, files TEXT);
CREATE TABLE batches (batch TEXT);
CREATE TABLE used_batches (batch TEXT, source TEXT);
CREATE TABLE decisions (batch TEXT, stage TEXT, persona_id TEXT, admission INTEGER, keeper_id TEXT);
CREATE TABLE item_decisions (
    batch TEXT, dataset TEXT, stage TEXT, item_id TEXT, admission INTEGER, keeper_id TEXT
);
CREATE TABLE persona_texts (batch TEXT, persona_id TEXT, text_hash INTEGER);
CREATE TABLE dedup_runs (batch TEXT, stage TEXT, rule TEXT);
CREATE TABLE item_dedup_runs (batch TEXT, dataset TEXT, stage TEXT, rule TEXT);
CREATE TABLE decided (batch TEXT, stage TEXT, candidates INTEGER);
CREATE TABLE absorbed (stage TEXT, keeper_id TEXT, dropped INTEGER, PRIMARY KEY (keeper_id, stage)) WITHOUT ROWID;
CREATE TABLE faults (
    check_name TEXT, batch TEXT, offending INTEGER, shown TEXT, PRIMARY KEY (check_name, batch)
) WITHOUT ROWID;
"""
# Made when the rows of a new state are in: keeping them up to date with every row takes three times as long.
_INDEXES = """
CREATE INDEX IF NOT EXISTS batches_by_batch ON batches (batch);
CREATE INDEX IF NOT EXISTS used_batches_by_batch ON used_batches (batch);
CREATE INDEX IF NOT EXISTS decisions_by_id ON decisions (persona_id, stage);
CREATE INDEX IF NOT EXISTS decisions_by_batch ON decisions (batch, stage);
CREATE INDEX IF NOT EXISTS decisions_by_keeper ON decisions (keeper_id) WHERE keeper_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS item_decisions_by_id ON item_decisions (item_id, stage);
CREATE INDEX IF NOT EXISTS item_decisions_by_batch ON item_decisions (batch, dataset, stage);
CREATE INDEX IF NOT EXISTS item_decisions_by_keeper ON item_decisions (keeper_id) WHERE keeper_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS persona_texts_by_hash ON persona_texts (text_hash);
CREATE INDEX IF NOT EXISTS persona_texts_by_batch ON persona_texts (batch);
CREATE INDEX IF NOT EXISTS dedup_runs_by_batch ON dedup_runs (batch, stage);
CREATE INDEX IF NOT EXISTS item_dedup_runs_by_batch ON item_dedup_runs (batch, dataset, stage);
CREATE INDEX IF NOT EXISTS decided_by_batch ON decided (batch, stage);
CREATE INDEX IF NOT EXISTS absorbed_by_count ON absorbed (dropped);
"""
# CROSS JOIN keeps the order of the tables, which SQLite, without statistics, would choose otherwise.
_CHANGED = """
CREATE TEMP TABLE changed (batch TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE touched (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TEMP TABLE changed_vectors (batch TEXT, persona_id TEXT);
CREATE TEMP VIEW changed_decisions AS SELECT d.* FROM changed CROSS JOIN decisions AS d USING (batch);
CREATE TEMP VIEW changed_item_decisions AS SELECT d.* FROM changed CROSS JOIN item_decisions AS d USING (batch);
CREATE TEMP VIEW changed_persona_texts AS SELECT p.* FROM changed CROSS JOIN persona_texts AS p USING (batch);
"""
# Batches whose rows were decided for a persona or item that changed, or that have a text that came or went.
_AFFECTED = """
INSERT OR IGNORE INTO changed
    SELECT batch FROM decisions WHERE keeper_id IN (SELECT id FROM touched)
    UNION SELECT batch FROM item_decisions WHERE keeper_id IN (SELECT id FROM touched)
"""
_SHARING = """
INSERT OR IGNORE INTO changed
    SELECT q.batch FROM changed AS c
    CROSS JOIN persona_texts AS p ON p.batch = c.batch
    CROSS JOIN persona_texts AS q ON q.text_hash = p.text_hash
"""
_COLUMNS = {
    "batches": ["batch"],
    "decisions": ["persona_id", "admission", "keeper_id"],
    "item_decisions": ["item_id", "admission", "keeper_id"],
    "personas": ["persona_id", "persona"],
    "dedup_runs": ["rule"],
    "item_dedup_runs": ["rule"],
}
"""The stored columns of each table; of others only the batches count."""
_KEYS = ("batch",), ("batch", "stage"), ("batch", "dataset", "stage")
"""Columns that come first in a table, by the keys of a partition."""
_VECTORS = "persona_embeddings"
_CANDIDATES = ("documents", "text_personas", "related_personas")
_WATCHED = (*_COLUMNS, _VECTORS, *_CANDIDATES)


@dataclass(frozen=True)
class Source:
    """A folder of partitions: a table, or what one asset writes of it."""

    table: str
    folder: Path
    keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The table with the keys: a stage, or a dataset and a stage."""
        return "/".join((self.table, *self.keys))


def _sources(store: Store) -> Iterator[Source]:
    for table in _WATCHED:
        if table == "decisions":
            yield from (Source(table, store.folders(table, asset)[0], (stage,)) for asset, stage in STAGES.items())
            continue
        for folder in store.folders(table):
            _, is_by_asset, asset = folder.name.partition("asset=")
            dataset, _, stage = asset.rpartition("-")
            keys = (STAGES.get(asset, ""),) if asset in STAGES else (dataset, stage)
            yield Source(table, folder, keys if is_by_asset else ())


@dataclass
class _Changes:
    """What an update changed.

    Attributes:
        batches: those with a file that is new, replaced or gone.
        ids: personas and items with another decision, or with none any more.
        texts: hashes of texts that are gone.
    """

    batches: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)
    texts: set[int] = field(default_factory=set)


class HubState:
    """The state, in a transaction that the caller ends.

    Args:
        database: a connection without transactions of its own.
        store: the tables.
        made_for: names the checks whose results are stored; for others the state is made anew.
    """

    def __init__(self, database: sqlite3.Connection, store: Store, made_for: str):
        self.database, self.store = database, store
        self._changes = _Changes()
        self._with_vectors: Collection[str] = ()
        self._is_new = self._prepare(made_for)

    def _prepare(self, made_for: str) -> bool:
        """Make the tables unless they are there; return whether they were made."""
        if self.all("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            if self.all("SELECT made_for FROM meta") == [(made_for,)]:
                return False
            for kind, name in self.all("SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view')"):
                self.database.execute(f"DROP {kind} {name}")
        self._script(_TABLES)
        self.database.execute("INSERT INTO meta VALUES (?)", (made_for,))
        return True

    def update(self) -> None:
        """Bring the state up to the current files, and fill the tables `changed_…`.

        Raises:
            StoreError: if a file is damaged.
        """
        self._script(_CHANGED)
        before = dict[str, str](self.all("SELECT source, files FROM listings"))
        for source in _sources(self.store):
            self._compare(source, _marks(before.pop(source.name, "")))
        for name in before:  # the folder is gone
            table, *keys = name.split("/")
            self._compare(Source(table, self.store.paths.tables / name, tuple(keys)), _marks(before[name]))
        self._script(_INDEXES)
        self._mark_changed()

    def _compare(self, source: Source, before: dict[str, str]) -> None:
        """Read the files of a folder that differ from those of the last time."""
        files = dict(listing(source.folder).texts())
        if source.table == _VECTORS:
            self._with_vectors = files.keys()
        if files == before:
            return
        for batch in files.keys() | before.keys():
            if files.get(batch) != before.get(batch):
                self._take(source, batch, self._rows(source, batch) if batch in files else ())
        lines = "\n".join(f"{batch} {mark}" for batch, mark in files.items())
        self.database.execute("REPLACE INTO listings VALUES (?, ?)", (source.name, lines))

    def all(self, sql: str, values: Iterable[Any] = ()) -> list[Row]:
        """The rows of a query."""
        return self.database.execute(sql, tuple(values)).fetchall()

    def many(self, sql: str, rows: Iterable[Iterable[Any]]) -> None:
        """Execute a statement for each row."""
        self.database.executemany(sql, map(tuple, rows))

    def _script(self, statements: str) -> None:
        for statement in statements.split(";"):  # `executescript` would end the transaction
            self.database.execute(statement)

    def _rows(self, source: Source, batch: str) -> Iterable[Row]:
        if source.table in _CANDIDATES:
            return [(source.table,)]
        columns = _COLUMNS.get(source.table)
        return self._read(source.table, source.folder, batch, columns) if columns else ()

    def _read(self, table: str, folder: Path, batch: str, columns: list[str]) -> Iterable[Row]:
        schema = self.store.columns(table)
        rows = read_file(folder / f"batch={batch}" / PART, table, columns, schema=schema).iter_rows()
        return ((persona_id, _hash(text)) for persona_id, text in rows) if table == "personas" else rows

    def _take(self, source: Source, batch: str, rows: Iterable[Row]) -> None:
        """Store the rows of a partition instead of those before."""
        self._changes.batches.add(batch)
        table, keys = source.table, source.keys
        if table == "batches":
            self._replace(table, [batch], {() for _ in rows})
        elif table == "personas":
            gone, _ = self._replace("persona_texts", [batch], set(rows))
            self._changes.texts |= {text for _, text in gone}
        elif table in ("decisions", "item_decisions"):
            new = set(rows)
            gone, added = self._replace(table, [batch, *keys], new)
            self._changes.ids |= {row[0] for row in gone | added}
            if table == "decisions":
                self._count([batch, *keys], len(new), gone, added)
        elif table in _CANDIDATES:
            if not self._is_new:
                self.database.execute("DELETE FROM used_batches WHERE batch = ? AND source = ?", (batch, table))
            self.many("INSERT INTO used_batches VALUES (?, ?)", ((batch, table) for _ in rows))
        elif table in _COLUMNS:
            self._replace(table, [batch, *keys], set(rows))

    def _replace(self, table: str, keys: list[str], new: set[Row]) -> tuple[set[Row], set[Row]]:
        """Give a table these rows for some values of its first columns.

        Returns:
            The rows that are gone, and those that are added, without the key columns.
        """
        old = dict[Row, int]() if self._is_new else self._old(table, keys)
        gone, added = old.keys() - new, new - old.keys()
        self.many(f"DELETE FROM {table} WHERE rowid = ?", ((old[row],) for row in gone))
        if added:
            marks = ", ".join("?" * (len(keys) + len(next(iter(added)))))
            self.many(f"INSERT INTO {table} VALUES ({marks})", ((*keys, *row) for row in added))
        return gone, added

    def _old(self, table: str, keys: list[str]) -> dict[Row, int]:
        names = ["batch", "stage"] if len(keys) < 3 else ["batch", "dataset", "stage"]
        where = " AND ".join(f"{name} = ?" for name in names[: len(keys)])
        return {
            tuple(row[len(keys) :]): number
            for number, *row in self.all(f"SELECT rowid, * FROM {table} WHERE {where}", keys)
        }

    def _count(self, keys: list[str], candidates: int, gone: set[Row], added: set[Row]) -> None:
        """Update the totals of a stage: candidates by batch, and dropped ones by keeper."""
        self._replace("decided", keys, {(candidates,)} if candidates else set())
        counts = Counter(row[2] for row in added if row[2])
        counts.subtract(row[2] for row in gone if row[2])
        add = "INSERT INTO absorbed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET dropped = dropped + excluded.dropped"
        self.many(add, ((keys[1], keeper, count) for keeper, count in counts.items() if count))

    def _mark_changed(self) -> None:
        changes = self._changes
        self.many("INSERT INTO changed VALUES (?)", zip(changes.batches, strict=True))
        if not self._is_new:  # otherwise all batches are
            self.many("INSERT INTO touched VALUES (?)", zip(changes.ids, strict=True))
            self.database.execute(_AFFECTED)
            self.database.execute(_SHARING)
            sharing = "INSERT OR IGNORE INTO changed SELECT batch FROM persona_texts WHERE text_hash = ?"
            self.many(sharing, zip(changes.texts, strict=True))
        folder = self.store.folders(_VECTORS)[0]
        for (batch,) in self.all("SELECT batch FROM changed"):
            if batch not in self._with_vectors:
                continue
            ids = self._read(_VECTORS, folder, batch, ["persona_id"])
            self.many("INSERT INTO changed_vectors VALUES (?, ?)", ((batch, *row) for row in ids))


def _marks(lines: str) -> dict[str, str]:
    """The mark of each batch, of lines with both."""
    return dict(line.split(" ", 1) for line in lines.splitlines())


def _hash(text: str) -> int:
    """Hash of a text as a signed integer of 64 bits, as SQLite stores them in the least space."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True)
