"""History: what the Dagster instance of a home tells of rows, in samples, examples, check results and messages.

    forget(store.paths.dagster, {"crawl"}, traces)

The instance keeps events in SQLite files, as JSON. The tables that events of the given batches show go as a whole; so
do those of the dedup assets and of checks, in which a row of any batch may stand. Of all else goes what has a run
of words in common with a text that is taken down. The files are rebuilt, so that nothing is left in free pages.
"""

import json
import sqlite3
import time
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from personahub_assets.core.errors import LockHeld, StoreError
from personahub_assets.store.atomic import replacing
from personahub_assets.takedown.shingles import Traces

GONE = "(taken down)"
_ANY_BATCH = ("lexical_duplicates", "semantic_duplicates")
_WAIT_S = 30.0
_MAGIC = b"SQLite format 3\x00"


def forget(folder: Path, batches: Collection[str], traces: Traces) -> int:
    """Remove what is told of rows; the instance may be open meanwhile, as long as no run goes on.

    Returns:
        How many values were changed.

    Raises:
        LockHeld: if another program holds a file of it for too long.
        StoreError: if a file of it is damaged.
    """
    changed = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        if path.name.endswith(("-wal", "-shm", "-journal", ".lock")):
            continue
        changed += _in_database(path, batches, traces) if _is_database(path) else _in_log(path, traces)
    return changed


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _in_log(path: Path, traces: Traces) -> int:
    """Lines of a text file, such as the captured output of a step."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    kept = [line for line in lines if not traces.found_in(line.decode("utf-8", "replace"))]
    if len(kept) < len(lines):
        with replacing(path) as file:
            file.write_bytes(b"".join(kept))
    return len(lines) - len(kept)


def _in_database(path: Path, batches: Collection[str], traces: Traces) -> int:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            changed = sum(_in_table(connection, name, batches, traces) for name in names)
            connection.execute("COMMIT")
            connection.execute("VACUUM")
            _checkpoint(connection, path)
    except sqlite3.OperationalError as error:
        raise LockHeld(
            f"{path} cannot be rebuilt: {error}. Close what has it open (the Dagster UI, an SQLite shell), and run the "
            "same takedown again to finish it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path} is damaged: {error}. Move it away (the UI forgets what it told), and run the same takedown again"
        ) from error
    return changed


def _checkpoint(connection: sqlite3.Connection, path: Path) -> None:
    """Put what was written in its place and empty the file beside, which a reader holds up for a moment."""
    until = time.monotonic() + _WAIT_S
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise sqlite3.OperationalError(f"{path.name}-wal is being read")
        time.sleep(0.05)


def _in_table(connection: sqlite3.Connection, name: str, batches: Collection[str], traces: Traces) -> int:
    quoted = '"' + name.replace('"', '""') + '"'
    cursor = connection.execute(f"SELECT rowid, * FROM {quoted}")
    columns = ['"' + column[0].replace('"', '""') + '"' for column in cursor.description[1:]]
    updates = []
    for rowid, *values in cursor:
        cleaned = [_cleaned(value, batches, traces) if isinstance(value, str) else value for value in values]
        if cleaned != values:
            updates.append((*cleaned, rowid))
    assigned = ", ".join(f"{column} = ?" for column in columns)
    connection.executemany(f"UPDATE {quoted} SET {assigned} WHERE rowid = ?", updates)
    return len(updates)


def _cleaned(value: str, batches: Collection[str], traces: Traces) -> str:
    """A value of the database: an event or other JSON, or plain text."""
    if value.startswith(("{", "[")):
        try:
            payload = json.loads(value)
        except ValueError:
            pass
        else:
            cleaned = _without(payload, batches, traces, is_dropped=True)
            return value if cleaned == payload else json.dumps(cleaned)
    return GONE if traces.found_in(value) else value


def _without(node: Any, batches: Collection[str], traces: Traces, *, is_dropped: bool) -> Any:
    """JSON of an event without what it tells of rows; `is_dropped`: its tables go, whatever they say."""
    if isinstance(node, str):
        return _cleaned(node, batches, traces) if len(node) > 1 else node
    if isinstance(node, list):
        return [_without(item, batches, traces, is_dropped=is_dropped) for item in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("__class__")
    if kind in ("AssetMaterialization", "AssetObservation"):
        is_dropped = (
            node.get("partition") in batches or (node.get("asset_key") or {}).get("path", [""])[-1] in _ANY_BATCH
        )
    if is_dropped and kind == "TableMetadataEntryData":
        return {**node, "records": []}
    if is_dropped and kind == "MarkdownMetadataEntryData" and not str(node.get("md_str")).startswith("!["):
        return {**node, "md_str": GONE}
    return {key: _without(item, batches, traces, is_dropped=is_dropped) for key, item in node.items()}
