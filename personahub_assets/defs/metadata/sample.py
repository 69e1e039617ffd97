"""The first rows of a partition as the UI shows them, and the command that tells more of one."""

import shlex
from typing import Any

import dagster as dg
import polars as pl

from personahub_assets.core.text import plain
from personahub_assets.steps.result import HEAD_ROWS

_ID_CHARS = 120
_UNTOLD = frozenset({"batch", "embedding", "generation_id", "parent_id", "root_id"})  # vectors, and ids of elsewhere
_IDS = ("item_id", "persona_id", "document_id")


def sample(rows: pl.DataFrame) -> dg.MetadataValue[Any]:
    """Show the first rows as a table: plain text, long values cut; what tells nothing here is left out."""
    head = rows.head(HEAD_ROWS)
    shown = head.drop([column.name for column in head if column.name in _UNTOLD or column.is_null().all()])
    if head.is_empty():
        return dg.MetadataValue.text("no rows")
    records = [
        dg.TableRecord({name: plain(str(value)) if value is not None else "" for name, value in row.items()})
        for row in shown.iter_rows(named=True)
    ]
    return dg.MetadataValue.table(records=records)


def asked_next(rows: pl.DataFrame) -> dict[str, Any]:
    """The command that says where a row came from, to be pasted into a shell."""
    name = next((name for name in _IDS if name in rows.columns), None)
    # Ids of documents are the source's: one with escapes or line breaks is nothing to paste.
    ids = [key for key in rows[name] if key.isprintable() and len(key) <= _ID_CHARS] if name else []
    return {"why": dg.MetadataValue.text(f"personahub why {shlex.quote(ids[0])}")} if ids else {}
