"""The record of prompts: every version that was used, in the table `prompt_uses`.

One file per asset and batch, written by the step that sends the requests, under the lock of that asset and batch:
parallel runs of several batches never write the same file.
"""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.errors import PromptError
from personahub_assets.core.prompts import Prompt
from personahub_assets.generation.requests import Task
from personahub_assets.store.home import PART, Home, Lock
from personahub_assets.store.tables import Store, read_file, table_schema

TABLE = "prompt_uses"
RECORDED = "recorded-answers"
"""Key in place of a batch: prompts of answers that were imported from another home."""

VERSION = ["prompt_fingerprint", "schema_fingerprint", "model", "settings", "dialect"]
"""Columns that tell the versions of one batch and asset apart."""


def record_use(store: Store, task: Task, batch: str, rows_written: int | None = None, *, is_asked: bool = True) -> None:
    """Record that a prompt is used; the caller holds the lock of asset and batch.

    Args:
        rows_written: rows that were published with it; None leaves the number as it is.
        is_asked: whether requests are sent with it; otherwise a use that changes no number leaves the file as it is.

    Raises:
        StoreError: if the file of the partition is damaged.
    """
    before = store.read(TABLE, batch, task.asset)
    new = pl.DataFrame([_row(task, batch)], table_schema(TABLE))
    old = before.join(new, on=VERSION, how="semi")
    if old.height and not is_asked and rows_written in (None, old["rows_written"][0]):
        return
    if old.height:
        new = new.with_columns(first_used=pl.lit(old["first_used"].min()), rows_written=pl.lit(old["rows_written"][0]))
    if rows_written is not None:
        new = new.with_columns(rows_written=pl.lit(rows_written))
    others = before.join(new, on=VERSION, how="anti")
    store.write(TABLE, batch, pl.concat([others, new.cast(others.schema)]), task.asset)


def _row(task: Task, batch: str) -> dict[str, Any]:
    prompt, now = task.prompt, datetime.now(UTC).replace(tzinfo=None)
    return {
        "batch": batch,
        "asset": task.asset,
        "prompt_fingerprint": prompt.fingerprint,
        "schema_fingerprint": task.schema_fingerprint,
        "model": task.model,
        "name": prompt.name,
        "description": prompt.description,
        "instructions": prompt.instructions,
        "message": prompt.row,
        "parameters": _json(prompt.parameters),
        "sampling": _json(
            {**prompt.sampling.model_dump(), **prompt.options, **({} if prompt.vary else {"vary": False})}
        ),
        "schema": _json(task.schema),
        "settings": _json(task.settings),
        "dialect": _json(list(task.identity)),
        "first_used": now,
        "last_used": now,
        "rows_written": 0,
    }


def recorded_prompt(row: dict[str, Any]) -> Prompt:
    """The prompt of a row of `prompt_uses`.

    Raises:
        PromptError: if it cannot be made any more, because a takedown removed its text.
    """
    try:
        return Prompt(
            name=row["name"],
            description=row["description"],
            instructions=row["instructions"],
            row=row["message"],
            parameters=json.loads(row["parameters"]),
            **json.loads(row["sampling"]),
        )
    except ValueError as error:
        raise PromptError(f"the record of prompt {row['name']} cannot be read: {error}") from error


def import_prompts(store: Store, source: Path, fingerprints: Collection[str]) -> int:
    """Copy the prompts of imported answers from their home; return the number.

    Args:
        source: the home; a folder that is not a home, or a file, gives no prompts.
        fingerprints: of the prompts of the answers.

    Raises:
        StoreError: if a file of one of the homes is damaged.
    """
    count = 0
    for path in sorted((Home(source).tables / TABLE).glob(f"asset=*/batch=*/{PART}")):
        asset = path.parent.parent.name.removeprefix("asset=")
        rows = read_file(path, TABLE).filter(pl.col("prompt_fingerprint").is_in(list(fingerprints)))
        with store.lock(Lock.of(asset, RECORDED), wait=True):
            before = store.read(TABLE, RECORDED, asset)
            new = rows.join(before, on=VERSION, how="anti").unique(VERSION, maintain_order=True)
            if new.height:
                added = new.with_columns(batch=pl.lit(RECORDED), rows_written=pl.lit(0, pl.Int64))
                store.write(TABLE, RECORDED, pl.concat([before, added]), asset)
        count += new.height
    return count


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
