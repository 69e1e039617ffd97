"""Checks of the whole hub: run on what changed since the last time, whose results are kept.

The SQL of a check reads the tables of `hub_state`. If it names one of `changed_…`, it gives offending rows of the
changed batches, in their column `batch`: the rows of a batch stay its result until a later run checks the batch again.
Other checks read sums, and are run each time.
"""

import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from personahub_assets.core.text import digest
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.hub_state import HubState, Row

SHOWN = 10
"""Number of offending rows that a result shows."""

_LOG = logging.getLogger("personahub")
_CACHE_KIB = 64 << 10
_WAIT_SECONDS = 600  # for another run that checks


@dataclass(frozen=True)
class Offending:
    """Offending rows of a check: their number, and the first of them, by column."""

    count: int
    first: list[dict[str, object]]


def offending(store: Store, checks: Mapping[str, str]) -> dict[str, Offending]:
    """Run all checks of the hub.

    Args:
        store: the tables.
        checks: the SQL of each check, by name; always all, since the results of the last time are of the same ones.

    Raises:
        StoreError: if a file is damaged.
    """
    try:
        return _offending(store, checks)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        _LOG.warning("%s is damaged (%s); it is made anew", store.paths.hub_checks, error)
        store.paths.hub_checks.unlink(missing_ok=True)
        return _offending(store, checks)


def _offending(store: Store, checks: Mapping[str, str]) -> dict[str, Offending]:
    file = store.paths.hub_checks
    file.parent.mkdir(parents=True, exist_ok=True)
    incremental = {name: sql for name, sql in checks.items() if "changed_" in sql}
    made_for = digest(*(text for pair in sorted(incremental.items()) for text in pair))
    with closing(sqlite3.connect(file, timeout=_WAIT_SECONDS, isolation_level=None)) as database:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("BEGIN IMMEDIATE")  # of several processes one checks and the others wait
        state = HubState(database, store, made_for)
        state.update()
        for name, sql in checks.items():
            _store(state, name, sql)
        results = {name: _stored(state, name) for name in checks}
        database.execute("COMMIT")
    return results


def _store(state: HubState, name: str, sql: str) -> None:
    """Run a check and store its result, by batch if it is incremental."""
    cursor = state.database.execute(sql)
    columns = [column[0] for column in cursor.description]
    counts, first = defaultdict[str, int](int), defaultdict[str, list[Row]](list)
    is_incremental = "changed_" in sql
    for row in cursor:
        batch = row[columns.index("batch")] if is_incremental else ""
        counts[batch] += 1
        if counts[batch] <= SHOWN:
            first[batch].append(row)
    batches = "IN (SELECT batch FROM changed)" if is_incremental else "= ''"
    state.database.execute(f"DELETE FROM faults WHERE check_name = ? AND batch {batches}", (name,))
    shown = {batch: [dict(zip(columns, row, strict=True)) for row in rows] for batch, rows in first.items()}
    faults = ((name, batch, count, json.dumps(shown[batch])) for batch, count in counts.items())
    state.many("INSERT INTO faults VALUES (?, ?, ?, ?)", faults)


def _stored(state: HubState, name: str) -> Offending:
    rows = state.all("SELECT offending, shown FROM faults WHERE check_name = ? ORDER BY batch", [name])
    first = [row for _, shown in rows[:SHOWN] for row in json.loads(shown)]
    return Offending(sum(count for count, _ in rows), first[:SHOWN])
