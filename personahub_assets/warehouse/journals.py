"""Calls in journals: paid, with answers that no table has yet, such as those of a stopped run or of a preview."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.store.sqlite_files import read_only
from personahub_assets.store.tables import Store

TABLE = "journal_calls"
"""Table of the warehouse; the view `unpublished_calls` reads it."""

_LOG = logging.getLogger("personahub")
_COUNTS = ("attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "wasted_tokens")
Schema = dict[str, type[pl.DataType]]
_SUMMED: Schema = {**dict.fromkeys(_COUNTS, pl.Int64), "cost": pl.Float64}
_KEYS = ("prompt", "prompt_fingerprint", "model", "status")
_CREATE = f"""
CREATE TABLE {TABLE} (
    batch VARCHAR, asset VARCHAR, prompt VARCHAR, prompt_fingerprint VARCHAR, model VARCHAR, status VARCHAR,
    requests BIGINT, calls BIGINT, prompt_tokens BIGINT, cached_tokens BIGINT, completion_tokens BIGINT,
    wasted_tokens BIGINT, cost DOUBLE, calls_without_price BIGINT
);
COMMENT ON TABLE {TABLE} IS 'Sums over the journals when the warehouse was built; ask the view unpublished_calls';
"""
_COMMENTS = {
    "batch": "Batch of the requests",
    "asset": "Asset that sent them",
    "prompt": "Name of the prompt file",
    "prompt_fingerprint": "Hash of the prompt with its parameters and sampling",
    "model": "Model that was asked",
    "status": "accepted or rejected",
    "requests": "Requests with an outcome",
    "calls": "Calls, those of earlier attempts left out",
    "prompt_tokens": "Tokens of the prompts",
    "cached_tokens": "Prompt tokens from the cache of the server",
    "completion_tokens": "Tokens of the answers",
    "wasted_tokens": "Tokens of answers that were not used",
    "cost": "In the currency of [prices]",
    "calls_without_price": "Calls with tokens for which no price was set",
}


def add_table(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Make the table with sums over all journals."""
    comments = (f"COMMENT ON COLUMN {TABLE}.{name} IS '{text}';" for name, text in _COMMENTS.items())
    connection.execute(_CREATE + "\n".join(comments))
    fill(connection, store)


def fill(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Replace the sums by those of the current journals; a damaged journal is left out with a warning."""
    connection.execute(f"DELETE FROM {TABLE}")
    for path in files(store):
        try:
            rows = _sums(store, path.parent.name, path.stem, _entries(path))
        except (sqlite3.DatabaseError, pl.exceptions.PolarsError, TypeError, ValueError) as error:
            _LOG.warning("%s cannot be read, so its calls are not counted: %s", path, error)
            continue
        if rows:
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {TABLE} VALUES ({marks})", rows)


def files(store: Store) -> list[Path]:
    """The journals of answers, in a fixed order."""
    return sorted(store.paths.journals.glob("*/*.sqlite"))


def marks(store: Store) -> Iterator[str]:
    """A line for each journal that changes with its content."""
    for path in files(store):
        for file in (path, Path(f"{path}-wal")):
            try:
                stat = file.stat()
            except FileNotFoundError:  # published meanwhile, or without a log
                continue
            yield f"{path.parent.name}/{file.name} {stat.st_size} {stat.st_mtime_ns}"


def _entries(path: Path) -> pl.DataFrame:
    """The paid requests of a journal, one row for each."""
    sums = ", ".join(f"json_extract(outcome, '$.{name}')" for name in _SUMMED)
    query = f"""
        SELECT key, prompt, prompt_fingerprint, nullif(json_extract(outcome, '$.model'), ''),
            json_extract(outcome, '$.status'), {sums}
        FROM answers WHERE NOT json_extract(outcome, '$.reused')
    """
    texts: Schema = dict.fromkeys(("key", *_KEYS), pl.String)
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as connection:
            rows = connection.execute(query).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):  # killed before its first commit
            raise
        rows = []
    return pl.DataFrame(rows, {**texts, **_SUMMED}, orient="row")


def _sums(store: Store, asset: str, batch: str, entries: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of the table for one journal, without the cost that is published already.

    A request that is sent again has the cost of its earlier attempts, which `generations` still counts.
    """
    names = list(_SUMMED)
    published = [
        rows.filter(~pl.col("reused"), pl.col("request_key").is_in(entries["key"].implode()))
        for rows in store.slices("generations", batch, ["request_key", "reused", *names], asset=asset)
    ]
    schema: Schema = {"request_key": pl.String, "reused": pl.Boolean, **_SUMMED}
    before = pl.concat([pl.DataFrame(schema=schema), *published], how="vertical_relaxed")
    before = before.group_by(key="request_key").agg(pl.col(names).sum())
    left = entries.join(before, on="key", how="left").with_columns(
        pl.col(name) - pl.col(f"{name}_right").fill_null(0) for name in names
    )
    is_unpriced = (pl.col("cost") <= 0) & (pl.col("prompt_tokens") + pl.col("completion_tokens") > 0)
    sums = (
        left.filter(pl.col("attempts") > 0)
        .group_by(_KEYS)
        .agg(pl.len(), pl.col(names).sum(), pl.col("attempts").filter(is_unpriced).sum().alias("unpriced"))
        .sort(_KEYS, nulls_last=True)
    )
    return [(batch, asset, *row) for row in sums.iter_rows()]
