"""The store: one Parquet file per table and batch, swapped in whole; the truth that everything else is built from.

Layout below the home: `tables/<table>/batch=<key>/part.parquet`; `generations` and `quarantine` also by `asset=<key>`.
A file is written outside the glob, synced, then renamed over its predecessor: a reader sees the old one or the new one.
"""

import glob
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
from filelock import FileLock, Timeout

from personahub_assets.domain.errors import LockHeld, StoreError, choices
from personahub_assets.domain.records import DATASETS
from personahub_assets.domain.tables import dataset_sql
from personahub_assets.domain.text import check_batch_key, digest
from personahub_assets.resources import files
from personahub_assets.resources.config import HubConfig

BY_ASSET = ("generations", "quarantine")


@cache
def table_sql() -> dict[str, str]:
    """CREATE TABLE and COMMENT statements of every table, by name."""
    return files.sql_files("schema") | {name: dataset_sql(name, item) for name, item in DATASETS.items()}


@cache
def table_schema(table: str) -> dict[str, pl.DataType]:
    """Column types of a table, as its SQL says.

    Raises:
        StoreError: if there is no such table.
    """
    if table not in table_sql():
        raise StoreError(f"no table {choices(table, sorted(table_sql()))}")
    with duckdb.connect() as connection:
        connection.execute(table_sql()[table])
        return dict(pl.DataFrame(connection.table(table)).schema)


class Store(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Tables of one home, by batch."""

    home: str

    @cached_property
    def root(self) -> Path:
        """The home as an absolute path."""
        return Path(self.home).expanduser().resolve()

    @property
    def config(self) -> HubConfig:
        """`hub.toml` as it is now."""
        return HubConfig.load(self.root / "hub.toml")

    def path(self, table: str, batch: str, asset: str | None = None) -> Path:
        """Where a partition's file is.

        Raises:
            BatchError: if the batch key is malformed.
            StoreError: if there is no such table, or `asset` is missing where it belongs.
        """
        table_schema(table)
        if (table in BY_ASSET) != (asset is not None):
            raise StoreError(f"table {table}: asset must be given for {BY_ASSET} and for no other table, got {asset!r}")
        folder = self.root / "tables" / table
        if asset is not None:
            folder = folder / f"asset={check_batch_key(asset)}"
        return folder / f"batch={check_batch_key(batch)}" / "part.parquet"

    def glob(self, table: str) -> str:
        """Pattern that matches all files of a table."""
        middle = "asset=*/batch=*" if table in BY_ASSET else "batch=*"
        return f"{glob.escape(str(self.root))}/tables/{table}/{middle}/part.parquet"

    def files(self, table: str) -> list[Path]:
        """All files of a table, in order of their path."""
        middle = "asset=*/batch=*" if table in BY_ASSET else "batch=*"
        return sorted((self.root / "tables" / table).glob(f"{middle}/part.parquet"))

    def read(self, table: str, batch: str, asset: str | None = None) -> pl.DataFrame:
        """Read one partition; empty, with its columns, where there is none yet.

        Raises:
            StoreError: if the file is damaged.
        """
        path = self.path(table, batch, asset)
        return _read(path, table) if path.exists() else pl.DataFrame(schema=table_schema(table))

    def read_all(self, table: str, columns: list[str] | None = None, *, asset: str | None = None) -> pl.DataFrame:
        """Read the partitions of all batches (of one asset, where several write the table)."""
        schema = table_schema(table)
        names = columns or list(schema)
        empty = pl.DataFrame(schema={name: schema[name] for name in names})
        wanted = [path for path in self.files(table) if asset is None or path.parent.parent.name == f"asset={asset}"]
        return pl.concat([empty, *(_read(path, table, names) for path in wanted)])

    def write(self, table: str, batch: str, rows: pl.DataFrame, asset: str | None = None) -> None:
        """Publish one partition: the old file or the new one is seen, never anything between.

        Raises:
            StoreError: if the rows do not have the table's columns.
        """
        path, schema = self.path(table, batch, asset), table_schema(table)
        missing = sorted(set(schema) - set(rows.columns))
        if missing:
            raise StoreError(f"table {table}: rows lack the columns {missing}")
        aside = self.root / "aside" / f"{uuid.uuid4().hex}.parquet"
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.select(list(schema)).cast(schema).write_parquet(aside, compression="zstd")  # type: ignore[arg-type]
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)

    def batches(self) -> list[str]:
        """Keys of all registered batches, in order of registration."""
        return self.read_all("batches").sort("registered_at", "batch")["batch"].to_list()

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lock of this home; the system frees it if the process dies.

        Raises:
            LockHeld: if another process holds it and `wait` is false, naming that process.
        """
        path = self.root / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.with_suffix(".pid")
        lock = FileLock(path, timeout=-1 if wait else 0)
        try:
            lock.acquire()
        except Timeout as error:
            pid = holder.read_text() if holder.exists() else "unknown"
            raise LockHeld(
                f"{name} is being worked on by process {pid}; wait for it to end, or stop it, then run again"
            ) from error
        try:
            holder.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()


def content_version(*frames: pl.DataFrame) -> str:
    """Hash of what rows say, whatever their order; equal content gives an equal data version."""
    parts: list[str | int] = []
    for frame in frames:
        if frame.is_empty():
            parts.append(0)
            continue
        text = frame.select(pl.struct(pl.all()).struct.json_encode().alias("row"))["row"].sort()
        parts.append(digest(*text.to_list(), size=32))
    return digest(*parts, size=32)


def _read(path: Path, table: str, columns: list[str] | None = None) -> pl.DataFrame:
    schema = table_schema(table)
    try:
        # Opened once: Polars opens a path several times, and between two of them another process may replace the file.
        with path.open("rb") as file:
            frame = pl.read_parquet(file)
        # A file written before a column was added lacks it.
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
        wanted = {name: schema[name] for name in columns or schema}
        return frame.with_columns(absent).select(list(wanted)).cast(wanted)  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StoreError(
            f"{path}: damaged table file: {error}. Delete it and materialise {table} for its batch again"
        ) from error
