"""The tables of a home with their columns: those of `sql/schema/`, and one for each dataset of its catalog."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import polars as pl

from personahub_assets.core import project_files as files
from personahub_assets.core.errors import StoreError, choices
from personahub_assets.core.records import DatasetItem
from personahub_assets.store.connections import connect_small
from personahub_assets.store.schema import dataset_sql

_TEMPLATE = "-- template: "
_COMMENT = re.compile(r"""COMMENT ON COLUMN \w+\."?(\w+)"? IS '((?:[^']|'')*)'""")


@dataclass(frozen=True)
class TableSet:
    """Tables by name; two homes with the same datasets share one object.

    Attributes:
        datasets: name and class of each dataset.
        further: name and statements of tables that only this home has.
    """

    datasets: tuple[tuple[str, type[DatasetItem]], ...]
    further: tuple[tuple[str, str], ...] = ()

    @cached_property
    def sql(self) -> dict[str, str]:
        """CREATE TABLE and COMMENT statements of every table, by name."""
        tables = {name: _with_template(name, sql) for name, sql in files.sql_files("schema").items()}
        return tables | {name: dataset_sql(name, item) for name, item in self.datasets} | dict(self.further)

    def statements(self, table: str, *, is_view: bool = False) -> tuple[str, str]:
        """The CREATE TABLE statement of a table, and the COMMENT statements that follow it, for a table or for a view.

        A field that was added to a dataset's class is null in files written before: no column is NOT NULL.
        """
        create, _, comments = self.sql[table].partition(";\n")
        kind = "VIEW" if is_view else "TABLE"
        return create.replace(" NOT NULL", ""), comments.replace("COMMENT ON TABLE", f"COMMENT ON {kind}", 1)

    def schema(self, table: str) -> dict[str, pl.DataType]:
        """Column types of a table, as its SQL says.

        Raises:
            StoreError: if there is no such table.
        """
        if table not in self.sql:
            raise StoreError(f"no table {choices(table, sorted(self.sql))}")
        return self._kinds[0][table]

    def types(self, table: str) -> dict[str, str]:
        """The columns of a table with their types in SQL."""
        return self._kinds[1][table]

    def column_comments(self, table: str) -> dict[str, str]:
        """What the SQL of a table says of its columns; read from the text: a connection takes longer."""
        return {name: text.replace("''", "'") for name, text in _COMMENT.findall(self.statements(table)[1])}

    @cached_property
    def _kinds(self) -> tuple[dict[str, dict[str, pl.DataType]], dict[str, dict[str, str]]]:
        """The columns of every table with their types, in Polars and in SQL; all from one connection."""
        in_polars, in_sql = {}, dict[str, dict[str, str]]()
        with connect_small() as connection:
            connection.execute(";\n".join(self.statements(table)[0] for table in self.sql))
            for table in self.sql:
                relation = connection.table(table)
                in_polars[table] = dict(pl.DataFrame(relation).schema)
                in_sql[table] = dict(zip(relation.columns, map(str, relation.types), strict=True))
        return in_polars, in_sql


def table_set(datasets: Mapping[str, type[DatasetItem]], further: Mapping[str, str] | None = None) -> TableSet:
    """The tables with these datasets.

    Args:
        further: CREATE TABLE and COMMENT statements of other tables, by name.
    """
    return _cached(tuple(datasets.items()), tuple((further or {}).items()))


@lru_cache(64)
def _cached(datasets: tuple[tuple[str, type[DatasetItem]], ...], further: tuple[tuple[str, str], ...]) -> TableSet:
    return TableSet(datasets, further)


def _with_template(table: str, sql: str) -> str:
    """Put the columns of `sql/templates/<name>.sql` where a file begins with `-- template: <name>`.

    What the file itself says of a column comes later, and so takes the place of what the template says.
    """
    first, _, own = sql.partition("\n")
    if not first.startswith(_TEMPLATE):
        return sql
    template = files.sql_files("templates")[first.removeprefix(_TEMPLATE)]
    return template.replace("{table}", table) + own
