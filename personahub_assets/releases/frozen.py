"""A snapshot in which views are tables: their rows are those of the moment of the snapshot, and can be removed."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import polars as pl
from pydantic import PrivateAttr

from personahub_assets.core.literals import quoted
from personahub_assets.store.table_set import TableSet, table_set
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import live
from personahub_assets.warehouse.views import comments, view_selects


class FrozenStore(Store):
    """A snapshot with some views as tables."""

    _views: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, snap: Store, views: Mapping[str, str]) -> "FrozenStore":
        """Add tables for views.

        Args:
            snap: the snapshot.
            views: CREATE TABLE and COMMENT statements by name.
        """
        frozen = cls(home=snap.home, datasets_home=snap.datasets_home)
        frozen._views.update(views)
        return frozen

    @property
    def table_set(self) -> TableSet:
        """All tables with their columns, those of the views included."""
        return table_set(self.catalog.datasets, self._views)

    def columns(self, table: str) -> dict[str, pl.DataType]:
        """Columns of a table with their types."""
        return self.table_set.schema(table) if table in self._views else super().columns(table)


def with_views(snap: Store, names: list[str]) -> FrozenStore:
    """Make views of a snapshot tables of it, with the rows that they have now."""
    if not names:
        return FrozenStore.of(snap, {})
    selects = view_selects(snap)
    with live.open_live(snap, " ".join(names)) as connection:
        views = {name: _table_of(connection, name, selects[name]) for name in names}
        frozen = FrozenStore.of(snap, views)
        for name in names:
            for (batch,) in connection.execute(f"SELECT DISTINCT batch FROM {name} ORDER BY batch").fetchall():
                rows = f"SELECT * FROM {name} WHERE batch = {quoted(batch)} ORDER BY item_id"
                copy_rows(connection, rows, frozen.path(name, batch))
    return frozen


def copy_rows(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write the rows of a query to a Parquet file; return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = connection.execute(f"COPY ({query}) TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd)").fetchone()
    return int(row[0]) if row else 0


def _table_of(connection: duckdb.DuckDBPyConnection, name: str, select: str) -> str:
    """CREATE TABLE and COMMENT statements for a table with the columns of a view."""
    summary, meanings = comments(select)
    types = {column: kind for column, kind, *_ in connection.execute(f"DESCRIBE {name}").fetchall()}
    columns = ",\n".join(f'    "{column}" {kind}' for column, kind in types.items())
    lines = [f"COMMENT ON TABLE {name} IS {quoted(summary)};"]
    lines += [f'COMMENT ON COLUMN {name}."{column}" IS {quoted(meanings.get(column, ""))};' for column in types]
    return f"CREATE TABLE {name} (\n{columns}\n);\n" + "\n".join(lines) + "\n"


def column_types(path: Path) -> dict[str, str]:
    """The columns of a Parquet file with their types in SQL."""
    with duckdb.connect() as connection:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({quoted(str(path))})").fetchall()
    return {name: kind for name, kind, *_ in rows}
