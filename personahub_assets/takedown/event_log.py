"""Remove rows from Dagster's event log: samples, examples, check results and messages.

    redact_event_log(store.paths.dagster, Scope({"crawl"}, {"tools"}), shingles)

The instance stores events as JSON in SQLite files. Tables in events of the given batches are removed whole. So are
tables in events of dedup assets, datasets and checks, because they can show rows of any batch. All other values are
removed if they share a run of words with a text that is taken down. The files are rebuilt, so that free pages keep
nothing.
"""

import json
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from personahub_assets.core.errors import LockHeld, StoreError
from personahub_assets.store.atomic import replacing
from personahub_assets.store.sqlite_files import read_only
from personahub_assets.takedown.shingles import Shingles

GONE = "(taken down)"
_WAIT_S = 30.0
_DATABASES = (".db", ".sqlite")
_EVENTS = ("AssetMaterialization", "AssetObservation", "AssetCheckEvaluation")


class Scope(NamedTuple):
    """Events whose tables are removed whole.

    Attributes:
        batches: events about these.
        of_any_batch: names of assets whose events can show rows of other batches.
    """

    batches: Collection[str]
    of_any_batch: Collection[str]


def redact_event_log(folder: Path, scope: Scope, shingles: Shingles, *, dry_run: bool = False) -> int:
    """Remove rows from the event log. The instance may be open, but no run may be active.

    Args:
        folder: of the instance.
        scope: events whose tables are removed.
        shingles: of the texts that are removed.
        dry_run: only count, and change no file.

    Returns:
        The number of changed values.

    Raises:
        LockHeld: if another program holds a file of the instance for too long.
        StoreError: if a file of the instance is damaged.
    """
    changed = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        if path.name.endswith(("-wal", "-shm", "-journal", ".lock")):
            continue
        if not _is_database(path):
            changed += _redact_log(path, shingles, dry_run=dry_run)
        elif dry_run:
            changed += _count_in_database(path, scope, shingles)
        else:
            changed += _redact_database(path, scope, shingles)
    return changed


def _is_database(path: Path) -> bool:
    # By the name: to open and close the file here would drop SQLite's locks of this process, and another process that
    # closes it would then delete the log of a connection that is in use ("disk I/O error").
    return path.name.endswith(_DATABASES)  # events without a run are in .db


def _redact_log(path: Path, shingles: Shingles, *, dry_run: bool) -> int:
    """Redact the lines of a text file, such as the captured output of a step."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if not shingles.has_match(line.decode("utf-8", "replace"))]
    if len(kept) < len(lines) and not dry_run:
        with replacing(path) as file:
            file.write_bytes(b"".join(kept))
    return len(lines) - len(kept)


def _count_in_database(path: Path, scope: Scope, shingles: Shingles) -> int:
    try:
        with closing(sqlite3.connect(read_only(path), timeout=_WAIT_S, uri=True)) as connection:
            return sum(len(_changed_rows(connection, name, scope, shingles)[1]) for name in _table_names(connection))
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _table_names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _redact_database(path: Path, scope: Scope, shingles: Shingles) -> int:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            changed = sum(_redact_table(connection, name, scope, shingles) for name in _table_names(connection))
            connection.execute("COMMIT")
            connection.execute("VACUUM")
            _checkpoint(connection, path)
    except sqlite3.OperationalError as error:
        raise LockHeld(
            f"{path} cannot be rebuilt: {error}. Close the programs that have it open (the Dagster UI, an SQLite "
            "shell), and run the "
            "same takedown again to finish it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path} is damaged: {error}. Move it away (the UI loses its history), and run the same takedown again"
        ) from error
    return changed


def _checkpoint(connection: sqlite3.Connection, path: Path) -> None:
    """Checkpoint and truncate the write-ahead log; a reader can delay this for a moment."""
    until = time.monotonic() + _WAIT_S
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise sqlite3.OperationalError(f"{path.name}-wal is being read")
        time.sleep(0.05)


def _redact_table(connection: sqlite3.Connection, name: str, scope: Scope, shingles: Shingles) -> int:
    columns, updates = _changed_rows(connection, name, scope, shingles)
    assigned = ", ".join(f"{column} = ?" for column in columns)
    connection.executemany(f"UPDATE {_quoted(name)} SET {assigned} WHERE rowid = ?", updates)
    return len(updates)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _changed_rows(
    connection: sqlite3.Connection, name: str, scope: Scope, shingles: Shingles
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns of a table, and the rows that redaction changes: their new values, and the row id last."""
    cursor = connection.execute(f"SELECT rowid, * FROM {_quoted(name)}")
    columns = [_quoted(column[0]) for column in cursor.description[1:]]
    updates = []
    for rowid, *values in cursor:
        cleaned = [redact_value(value, scope, shingles) if isinstance(value, str) else value for value in values]
        if cleaned != values:
            updates.append((*cleaned, rowid))
    return columns, updates


def redact_value(value: str, scope: Scope, shingles: Shingles, *, is_dropped: bool = True) -> str:
    """Redact a value of a database: an event or other JSON, or plain text.

    Args:
        is_dropped: remove tables whatever they contain, unless they are in events of other batches and assets.
    """
    if value.startswith(("{", "[")):
        try:
            payload = json.loads(value)
        except ValueError:
            pass
        else:
            cleaned = _redact_node(payload, scope, shingles, is_dropped=is_dropped)
            return value if cleaned == payload else json.dumps(cleaned)
    return GONE if shingles.has_match(value) else value


def _redact_node(node: Any, scope: Scope, shingles: Shingles, *, is_dropped: bool) -> Any:
    """Redact the JSON of an event; with `is_dropped` its tables are removed whatever they contain."""
    if isinstance(node, str):
        return redact_value(node, scope, shingles, is_dropped=is_dropped) if len(node) > 1 else node
    if isinstance(node, list):
        return [_redact_node(item, scope, shingles, is_dropped=is_dropped) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("__class__")
    asset = (node.get("asset_key") or {}).get("path", [""])[-1] if kind in _EVENTS else ""
    if kind in ("AssetMaterialization", "AssetObservation"):
        is_dropped = node.get("partition") in scope.batches or asset in scope.of_any_batch
    elif kind == "AssetCheckEvaluation":
        is_dropped = is_dropped or asset in scope.of_any_batch
    if is_dropped and kind == "TableMetadataEntryData":
        return {**node, "records": []}
    if is_dropped and kind == "MarkdownMetadataEntryData" and not str(node.get("md_str")).startswith("!["):
        return {**node, "md_str": GONE}
    return {key: _redact_node(item, scope, shingles, is_dropped=is_dropped) for key, item in node.items()}
