"""Change texts in the database of a shared instance, such as events that show rows which are taken down."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import sqlalchemy as db
from sqlalchemy.engine import Connection


def rewrite_events(instance: dg.DagsterInstance, rewrite: Callable[[str], str], *, dry_run: bool = False) -> int:
    """Rewrite the texts in all tables of the instance's database.

    Args:
        instance: with a storage in an SQL database; no run is active.
        rewrite: returns the new text of a value, or the same.
        dry_run: only count, and change nothing.

    Returns:
        The number of changed rows.
    """
    storage: Any = instance.run_storage  # every SQL storage has `connect`; the three storages share one database
    with storage.connect() as connection:
        schema = db.MetaData()
        schema.reflect(connection)
        return sum(_rewrite_table(connection, table, rewrite, dry_run=dry_run) for table in schema.sorted_tables)


def _rewrite_table(connection: Connection, table: db.Table, rewrite: Callable[[str], str], *, dry_run: bool) -> int:
    keys = list(table.primary_key.columns)
    texts = [column for column in table.columns if isinstance(column.type, db.String) and column not in keys]
    if not keys or not texts:
        return 0
    changed = 0
    for row in connection.execute(db.select(*keys, *texts)).fetchall():
        values = {column.name: value for column, value in zip(texts, row[len(keys) :], strict=True) if value}
        updates = {name: new for name, value in values.items() if (new := rewrite(value)) != value}
        changed += bool(updates)
        if updates and not dry_run:
            is_row = db.and_(*(key == value for key, value in zip(keys, row, strict=False)))
            connection.execute(table.update().where(is_row).values(updates))
    if changed and not dry_run and connection.dialect.name == "postgresql":
        connection.execute(db.text(f'VACUUM FULL "{table.name}"'))  # else the old rows stay in the file
    return changed
