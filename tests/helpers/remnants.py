"""Search for texts in every file of a home, also in compressed ones."""

import gzip
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import polars as pl
import zstandard

APART = ("releases", "tables/tombstones", "tables/takedowns")


def remnants(home: Path, texts: Iterable[str], apart: tuple[str, ...] = APART) -> set[str]:
    """Files below a home, but for tombstones and releases, in which any of the texts stands, as it is or in JSON."""
    forms = {form for text in texts for form in (text, json.dumps(text)[1:-1], json.dumps(json.dumps(text))[3:-3])}
    needles = {form.encode() for form in forms}
    found = set()
    for path in sorted(path for path in home.rglob("*") if path.is_file()):
        name = path.relative_to(home).as_posix()
        if not name.startswith(apart) and any(needle in content for content in _contents(path) for needle in needles):
            found.add(name)
    return found


def _contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and their decompressed contents."""
    raw = path.read_bytes()
    yield raw
    if path.suffix == ".gz":
        yield gzip.decompress(raw)
    elif path.suffix == ".zst":
        yield zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    elif path.suffix in (".parquet", ".arrow"):
        yield from _said(pl.read_parquet(path, glob=False) if path.suffix == ".parquet" else pl.read_ipc(raw))
    elif path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                yield from _said(pl.DataFrame(connection.table(table)))
    elif raw.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as connection:
            yield "\n".join(connection.iterdump()).encode("utf-8", "surrogatepass")
            yield from _inflated(connection)


def _inflated(connection: sqlite3.Connection) -> Iterator[bytes]:
    """The compressed values of a database: Dagster stores snapshots of jobs so."""
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            for value in row:
                with suppress(zlib.error):
                    yield zlib.decompress(value) if isinstance(value, bytes) else b""


def _said(frame: pl.DataFrame) -> Iterator[bytes]:
    for row in frame.drop([name for name, kind in frame.schema.items() if kind.is_numeric()]).iter_rows():
        yield "\n".join(str(value) for value in row).encode("utf-8", "surrogatepass")
