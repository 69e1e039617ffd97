"""Filling a warehouse: all of it, or only the batches whose files changed."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import duckdb

from personahub_assets.core import project_files
from personahub_assets.store.manifest import Manifest
from personahub_assets.store.tables import DECISIONS, Store
from personahub_assets.warehouse import journals
from personahub_assets.warehouse.freshness import Contents, Inputs, Note, folder_name
from personahub_assets.warehouse.stored_tables import (
    COPIED,
    EMPTY,
    add_unreadable,
    bounded_memory,
    check_keys,
    count_rows,
    definition,
    literals,
    make_table,
    no_rows,
    replace_rows,
    rows_of_batches,
    total_of,
)
from personahub_assets.warehouse.views import add_comments, add_views_and_macros, macros, view_selects

_LOG = logging.getLogger("personahub")

# Never copied into the file: large, and rarely queried.
ALWAYS_VIEWS = frozenset({"persona_embeddings", "item_embeddings", "generations", "decisions"})

_FEW = 8
"""Number of changed batches that are always replaced one by one."""
_SHARE = 0.2
"""Share of the batches beyond which it takes longer to replace them than to build everything."""
_GROWN, _SPARE_BYTES = 2, 64 << 20
"""A file with more than twice the bytes per row of a new one, and this, is built from nothing."""
_UNSORTED, _UNSORTED_SHARE = 200_000, 0.25
"""Ids that may be behind those in order, as a number and as a share of all."""


def _drops(manifests: Mapping[str, Mapping[Path, Manifest]]) -> dict[str, int]:
    """The dropped rows of the tables with decisions."""
    return {
        table: sum(int(each.dropped.sum()) for each in manifests[table].values())
        for table in DECISIONS
        if table in manifests
    }


def changes(note: Note, now: Inputs) -> dict[str, set[str]] | None:
    """The changed batches of a noted warehouse by folder; None if all of it has to be built."""
    if note.inputs.definitions != now.definitions or _is_bloated(note):
        return None
    changed = now.changed(note.inputs)
    batches = max((len(files.marks) for files in now.folders.values()), default=0)
    return changed if len(set().union(*changed.values())) <= max(_FEW, _SHARE * batches) else None


def _is_bloated(note: Note) -> bool:
    """Whether the file has much more room than its rows need: that of replaced rows is not always used again."""
    size, contents = note.warehouse[0], note.contents
    return size > _GROWN * contents.bytes_per_row * sum(contents.rows.values()) + _SPARE_BYTES


class Update:
    """Fills one file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, store: Store, now: Inputs):
        self._connection, self._store = connection, store
        self._listings = {store.paths.tables / name: files for name, files in now.folders.items()}

    def create(self) -> Contents:
        """Fill an empty file."""
        connection, store = self._connection, self._store
        tables = dict[str, str]()
        every = self._manifests(store.table_set.sql)
        rows, drops = {table: count_rows(each) for table, each in every.items()}, _drops(every)
        connection.execute("BEGIN")  # a commit of each statement takes as long as all of them
        for table, manifests in every.items():
            tables[table] = self._definition(table, manifests)
            make_table(connection, store, table, manifests, tables[table])
            check_keys(connection, store, table)
        for table in add_unreadable(connection, store, store.catalog.faults):
            _LOG.warning(
                "%s. Its rows stay in the warehouse, with the columns of their files", store.catalog.faults[table]
            )
        journals.add_table(connection, store)
        names = {*view_selects(store), *macros()}
        add_views_and_macros(connection, store, names)
        marts = self._marts(rows, drops)
        with bounded_memory(connection, every.values()):
            for mart in marts:
                connection.execute(project_files.sql_files("marts")[mart])
        add_comments(connection, store, {*store.table_set.sql, *names})
        last = self._last_place() if "ids" in marts else 0
        connection.execute("COMMIT")
        return Contents(tables, rows, drops, marts, last, 0)

    def change(self, before: Contents, changed: dict[str, set[str]]) -> Contents | None:
        """Replace the changed batches in a copy of a warehouse; None if it needs other tables under its views.

        Args:
            before: its contents.
            changed: changed batches by folder.
        """
        tables, batches = dict(before.tables), self._by_table(changed)
        manifests = self._manifests(batches)
        rows = before.rows | {table: count_rows(each) for table, each in manifests.items()}
        drops = before.drops | _drops(manifests)
        if self._marts(rows, drops) != before.marts:
            return None
        self._connection.execute("BEGIN")
        for table, of_table in batches.items():
            wanted = tables[table] = self._definition(table, manifests[table])
            files = rows_of_batches(self._connection, self._store, table, of_table)
            if wanted != before.tables[table]:
                self._make_again(table, before.tables[table], wanted, manifests[table])
            elif wanted == COPIED:
                replace_rows(self._connection, table, of_table, files)
            if files:
                check_keys(self._connection, self._store, table, files)
        journals.fill(self._connection, self._store)
        self._change_marts(tables, before.marts, set().union(*changed.values()))
        last = self._sort_ids(before.last_place) if "ids" in before.marts else 0
        self._connection.execute("COMMIT")
        return replace(before, tables=tables, rows=rows, drops=drops, last_place=last)

    def _by_table(self, changed: dict[str, set[str]]) -> dict[str, set[str]]:
        """Changed batches by table."""
        store, by_table = self._store, dict[str, set[str]]()
        for table in store.table_set.sql:
            # Also a folder that is gone.
            own = f"{table}/asset="
            names = {folder_name(store, folder) for folder in store.folders(table)}
            names |= {name for name in changed if name.startswith(own)}
            if batches := set[str]().union(*(changed[name] for name in names & changed.keys())):
                by_table[table] = batches
        return by_table

    def _manifests(self, tables: Iterable[str]) -> dict[str, dict[Path, Manifest]]:
        """The manifests of tables by folder."""
        folders = {table: [each for each in self._store.folders(table) if each in self._listings] for table in tables}
        every = {folder: self._listings[folder] for listed in folders.values() for folder in listed}
        manifests = self._store.manifests(every)
        return {table: {folder: manifests[folder] for folder in listed} for table, listed in folders.items()}

    def _definition(self, table: str, manifests: dict[Path, Manifest]) -> str:
        limit = self._store.config.warehouse.native_rows
        is_copied = table not in ALWAYS_VIEWS and count_rows(manifests) <= limit
        return definition(self._connection, self._store, table, manifests, is_copied=is_copied)

    def _make_again(self, table: str, before: str, wanted: str, manifests: dict[Path, Manifest]) -> None:
        """Make a table in another way than before."""
        # Views that read it stay: DuckDB looks up its name when they are used.
        self._connection.execute(f"DROP {'TABLE' if before in (COPIED, EMPTY) else 'VIEW'} {table}")
        make_table(self._connection, self._store, table, manifests, wanted)
        is_view = wanted not in (COPIED, EMPTY)
        self._connection.execute(self._store.table_set.statements(table, is_view=is_view)[1])

    def _marts(self, rows: dict[str, int], drops: dict[str, int]) -> list[str]:
        """The views that get tables under them, so that they are answered without reading the files."""
        settings = self._store.config.warehouse
        of_ids = {"documents", "text_personas", "related_personas", "generations", *self._store.catalog.datasets}
        ids = sum(count for table, count in rows.items() if table in of_ids)
        wanted = {
            "ids": ids <= settings.sorted_ids,
            "duplicates": drops.get("decisions", 0) <= settings.native_rows,
            "item_duplicates": drops.get("item_decisions", 0) <= settings.native_rows,
            "novelty": True,
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]

    def _change_marts(self, tables: dict[str, str], marts: Iterable[str], batches: Collection[str]) -> None:
        """Replace the rows of some batches: each row of a mart depends only on the files of its batch."""
        if not batches:  # only a journal changed
            return
        listed = literals(batches)
        with self._few_files(tables, batches):
            for mart in marts:
                rows = f"SELECT * FROM (\n{self._views[mart]}\n) WHERE batch IN {listed}"
                sql = project_files.sql_files("increments")[mart]
                self._connection.execute(sql.replace("{batches}", listed).replace("{rows}", rows))

    @contextmanager
    def _few_files(self, tables: dict[str, str], batches: Collection[str]) -> Iterator[None]:
        """Let a query name only the files of some batches: DuckDB lists all files of a view that it reads."""
        hidden = [table for table, how in tables.items() if how not in (COPIED, EMPTY)]
        for table in hidden:
            rows = rows_of_batches(self._connection, self._store, table, batches)
            rows = rows or no_rows(self._store, table)
            self._connection.execute(f"CREATE TEMP VIEW {table} AS {rows}")
        yield
        for table in hidden:
            self._connection.execute(f"DROP VIEW temp.{table}")

    @cached_property
    def _views(self) -> dict[str, str]:
        return view_selects(self._store)

    def _last_place(self) -> int:
        row = self._connection.execute("SELECT coalesce(max(place), 0) FROM places").fetchone()
        return int(row[0]) if row else 0

    def _sort_ids(self, last_place: int) -> int:
        """Sort all ids if many are behind those in order; return the last place of those in order."""
        behind = total_of(self._connection, f"sorted_ids WHERE place > {last_place}")
        if behind <= max(_UNSORTED, _UNSORTED_SHARE * total_of(self._connection, "sorted_ids")):
            return min(last_place, self._last_place())  # numbers of removed batches are used again
        self._connection.execute(
            "CREATE TEMP TABLE every_id AS FROM sorted_ids ORDER BY id; DELETE FROM sorted_ids;"
            "INSERT INTO sorted_ids FROM every_id; DROP TABLE every_id"
        )
        return self._last_place()
