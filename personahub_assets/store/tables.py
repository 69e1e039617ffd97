"""The store: one Parquet file per table and batch; everything else is built from these files.

Layout below the home: `tables/<table>/batch=<key>/part.parquet`. Tables that several assets write have a level
`asset=<key>` above, and `decisions` has one folder per stage.
A file is written to a temporary folder, synced, then renamed over its predecessor: a reader sees the old file or the
new one.
"""

import filecmp
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, lru_cache
from glob import escape
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TypeVar

import duckdb
import polars as pl
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from personahub_assets.core.access import checked, obstacle, obstacle_to_writing
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import AccessError, LockHeld, StoreError, choices
from personahub_assets.core.records import packaged
from personahub_assets.core.text import check_batch_key, digest
from personahub_assets.store import atomic
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.hashes import file_mark
from personahub_assets.store.home import PART, Home, Lock
from personahub_assets.store.local_paths import check_path, resolve_path
from personahub_assets.store.manifest import Listing, Manifest, listing, manifests
from personahub_assets.store.removal import discard, remove
from personahub_assets.store.table_set import TableSet, table_set
from personahub_assets.store.working_copy import WorkingCopy

_LOG = logging.getLogger("personahub")

ITEM_TABLES = ("item_decisions", "item_dedup_runs", "item_embeddings")
"""Tables of the dedup of items: decisions and runs by dataset and stage, vectors by dataset."""
_DIVERSITY = ("word_diversity", "meaning_diversity")
MEASURES = (*_DIVERSITY, "persona_item_similarity")
"""Tables of figures about items, without ids and texts."""
BY_ASSET = (
    "generations",
    "quarantine",
    "dedup_runs",
    "decisions",
    "prompt_uses",
    "contaminated",
    *_DIVERSITY,
    *ITEM_TABLES,
)
STAGES = {"lexical_duplicates": "lexical", "semantic_duplicates": "semantic"}
"""The assets that write `decisions`, each with its stage."""
DECISIONS = ("decisions", "item_decisions")
"""The tables with decisions about duplicates."""
DROPPED = ["batch", "persona_id", "keeper_id", "similarity", "admission"]
"""Columns of the views `lexical_duplicates` and `semantic_duplicates`."""
ITEM_DROPS = ["batch", "item_id", "keeper_id", "stage", "similarity", "admission"]
"""Columns of the views `<dataset>_duplicates`."""
CANDIDATES = ("text_personas", "related_personas")
SLICE_ROWS = 8_192
"""Rows of a Parquet row group, and maximum rows in memory when a table is streamed."""


UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""Exceptions of Polars for a damaged Parquet file, including panics."""

_HELD_BYTES = 32 << 20
_MANY = 64
"""Batches from which their rows are read from one file: every command reads them."""
_ASSET = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")  # becomes the name of a folder

T = TypeVar("T")
Claims = Callable[[str, bool], AbstractContextManager[None]]
"""Holds a lock among all workers: its name, and whether to wait for it."""


def in_pieces(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Divide a stream into lists of at most `size` rows."""
    stream = iter(rows)
    while piece := list(islice(stream, size)):
        yield piece


def in_weighed_pieces(rows: Iterable[T], size: int, weigh: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Divide a stream into lists of at most `size` rows; a list also ends when its total weight reaches `most`."""
    piece, weight = list[T](), 0
    for row in rows:
        piece.append(row)
        weight += weigh(row)
        if len(piece) == size or weight >= most:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def table_sql() -> dict[str, str]:
    """CREATE TABLE and COMMENT statements of the package's tables, by name."""
    return table_set(packaged()).sql


def table_schema(table: str) -> dict[str, pl.DataType]:
    """Column types of a table of the package; `Store.columns` knows those of a home's own datasets.

    Raises:
        StoreError: if the table does not exist.
    """
    return table_set(packaged()).schema(table)


class Store(BaseModel):
    """Tables of one home, by batch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: str
    personas_from: dict[str, str] = Field(
        default={}, description="By dataset, a file that names the personas to write for, instead of hub.toml's"
    )
    claims: Claims | None = Field(
        None, exclude=True, repr=False, description="Claims locks for all workers of a home on object storage"
    )
    datasets_home: str | None = Field(
        None, exclude=True, description="Home whose datasets and prompts are used instead of its own, for a copy of it"
    )

    @property
    def is_draft(self) -> bool:
        """Whether writes stay in memory, so that nothing of the home may be written."""
        return False

    @cached_property
    def root(self) -> Path:
        """The home as an absolute path.

        Raises:
            SourceError: if it cannot be resolved.
        """
        root = resolve_path(self.home)
        check_path(root)
        return root

    @cached_property
    def working_copy(self) -> WorkingCopy | None:
        """The working copy that this home is; None if the folder is the home itself."""
        return WorkingCopy.at(self.root)

    def pulled(self, on_demand: Collection[str] = ()) -> "Store":
        """This home, on object storage as it is now.

        Args:
            on_demand: which of ON_DEMAND in `store/working_copy.py` is needed too.

        Raises:
            AccessError: if the object storage cannot be asked.
            StoreError: if an object is damaged, or was changed both here and there.
        """
        if self.working_copy is not None:
            self.working_copy.pull(on_demand, by_hand=True)
        return self

    def on_this_worker(self, path: str) -> Path:
        """A path that a worker has stored, on this one: in a working copy it can be another folder."""
        _, name, below = path.rpartition(f"/{self.root.name}/")
        return self.root / below if self.working_copy and name else Path(path)

    @property
    def paths(self) -> Home:
        """The paths of the home.

        Raises:
            SourceError: if the home cannot be a folder.
        """
        return Home(self.root)

    @property
    def config(self) -> HubConfig:
        """`hub.toml` as it is now, with this run's selections."""
        return HubConfig.load(self.paths.config, self.catalog.names).selecting(self.personas_from)

    @cached_property
    def catalog(self) -> Catalog:
        """The datasets and prompts of the home, as they are at the first use: a run sees one version of them."""
        return Catalog(resolve_path(self.datasets_home) if self.datasets_home else self.root)

    @property
    def table_set(self) -> TableSet:
        """All tables with their columns; a dataset whose file is wrong has none."""
        return table_set(self.catalog.datasets)

    def columns(self, table: str) -> dict[str, pl.DataType]:
        """Columns of a table with their types.

        Only the file of this dataset is read and run, not those of others.

        Raises:
            StoreError: if there is no such table.
            PromptError, ConfigError: if it is a dataset whose file is wrong.
        """
        if table not in self.catalog.names:
            return table_schema(table)
        item = self.catalog.item(table)
        return table_schema(table) if item is packaged().get(table) else table_set({table: item}).schema(table)

    def path(self, table: str, batch: str, asset: str | None = None) -> Path:
        """The path of a partition's file.

        Raises:
            BatchError: if the batch key is malformed.
            StoreError: if the table does not exist, or `asset` is missing for a table that needs it.
        """
        self.columns(table)
        if (table in BY_ASSET) != (asset is not None):
            raise StoreError(f"table {table}: asset must be given for {BY_ASSET} and for no other table, got {asset!r}")
        if table == "decisions":
            return self.paths.partition(_stage_folder(str(asset)), check_batch_key(batch))
        if asset is not None and not _ASSET.fullmatch(asset):
            raise StoreError(f"table {table}: {asset!r} is not the name of an asset")
        return self.paths.partition(table, check_batch_key(batch), asset)

    def globs(self, table: str) -> dict[str, dict[str, str]]:
        """Patterns that match all files of a table, each with the columns that are stored in the path."""
        if table != "decisions":
            return {self.paths.partitions(table, by_asset=table in BY_ASSET): {}}
        assets = [asset for asset in STAGES if self.files(table, asset=asset)]
        return {
            self.paths.partitions(_stage_folder(asset), by_asset=False): {"stage": STAGES[asset]} for asset in assets
        }

    def folders(self, table: str, asset: str | None = None) -> list[Path]:
        """The folders of a table's partitions; of one asset, if several write the table."""
        tables = self.paths.tables
        if table == "decisions":
            return [tables / _stage_folder(each) for each in STAGES if asset in (None, each)]
        if table in BY_ASSET:
            return _folders(tables / table, f"asset={asset or ''}", exact=asset is not None)
        return [tables / table]

    def files(self, table: str, *, asset: str | None = None) -> list[Path]:
        """All files of a table, by path; of one asset, if several write the table."""
        folders = self.folders(table, asset)
        batches = [inner for folder in folders for inner in _folders(folder, "batch=", exact=False)]
        return sorted(file for folder in batches if (file := folder / PART).exists())

    def marks(self, table: str, asset: str | None = None) -> dict[str, str]:
        """By batch, size, time and inode of the file of a partition: another one if the file was replaced."""
        return dict(mark for folder in self.folders(table, asset) for mark in _listed(folder).texts())

    def mark(self, table: str, batch: str, asset: str | None = None) -> str:
        """The mark of one partition; empty without a file."""
        folder = self.path(table, batch, asset).parent.parent
        return next((mark for _, mark in _listed(folder, [batch]).texts()), "")

    def partitions(self, table: str, asset: str | None = None) -> list[str]:
        """Batches with a partition of a table, in order; of one asset, if several write the table."""
        return [path.parent.name.removeprefix("batch=") for path in self.files(table, asset=asset)]

    def read(
        self, table: str, batch: str, asset: str | None = None, *, columns: list[str] | None = None
    ) -> pl.DataFrame:
        """Read one partition; an empty frame with all columns if it does not exist yet.

        Raises:
            StoreError: if the file is damaged.
        """
        path = self.path(table, batch, asset)
        if path.exists():
            return read_file(path, table, columns, schema=self.columns(table))
        schema = self.columns(table)
        return pl.DataFrame(schema={name: schema[name] for name in columns or schema})

    def slices(
        self, table: str, batch: str, columns: list[str] | None = None, *, asset: str | None = None
    ) -> Iterator[pl.DataFrame]:
        """Read one partition in slices of at most SLICE_ROWS rows, so that memory does not grow with the partition.

        The file is opened once, so all slices are from the same version, even if it is replaced meanwhile.

        Raises:
            StoreError: if the file is damaged.
        """
        path = self.path(table, batch, asset)
        if path.exists():
            yield from _slices(path, table, self.columns(table), columns)

    def height(self, table: str, batch: str, asset: str | None = None) -> int:
        """Rows of one partition, without reading them."""
        path = self.path(table, batch, asset)
        if not path.exists():
            return 0
        try:
            with path.open("rb") as file:
                return int(pl.scan_parquet(file).select(pl.len()).collect().item())
        except UNREADABLE as error:
            raise damaged(path, table, error) from error

    def total(self, table: str) -> int:
        """Rows of all batches, or drops of a dedup stage; only files that are new or changed are opened.

        Raises:
            StoreError: if a file is damaged.
        """
        folders = self.folders("decisions", table) if table in STAGES else self.folders(table)
        manifests = self.manifests(self.listings(folders)).values()
        return sum(int((each.dropped if table in STAGES else each.rows).sum()) for each in manifests)

    def size(self, table: str) -> int:
        """Bytes of all files of a table."""
        return sum(int(files.marks[:, 0].sum()) for files in self.listings(self.folders(table)).values())

    def listings(self, folders: Iterable[Path]) -> dict[Path, Listing]:
        """The files in folders of partitions."""
        return {folder: _listed(folder) for folder in folders}

    def pattern(self, folder: Path) -> str:
        """The pattern of the files in a folder of partitions."""
        return f"{escape(str(folder))}/batch=*/{PART}"

    def manifests(self, folders: dict[Path, Listing]) -> dict[Path, Manifest]:
        """Rows and columns of the files in some of `folders`, which were listed.

        Raises:
            StoreError: if a file is damaged.
        """
        stages = {self.paths.tables / _stage_folder(asset): asset for asset in STAGES}
        with_drops = [folder for folder in folders if folder in stages or folder.parent.name in DECISIONS]
        try:
            return manifests(folders, None if self.is_draft else self.paths.manifest, with_drops)
        except duckdb.Error:  # it does not always name the file
            for folder, files in folders.items():
                table = stages.get(folder) or folder.relative_to(self.paths.tables).parts[0]
                for path in (folder / f"batch={batch}" / PART for batch in files.batches):
                    _count(path, tuple(file_mark(path)), table)
            raise

    def partition_total(self, table: str, batch: str) -> int:
        """Rows of one batch, or its drops of a dedup stage.

        Raises:
            StoreError: if the file is damaged.
        """
        path = self.path("decisions", batch, table) if table in STAGES else self.path(table, batch)
        return _count(path, tuple(file_mark(path)), table) if path.exists() else 0

    def read_all(self, table: str, columns: list[str] | None = None, *, asset: str | None = None) -> pl.DataFrame:
        """Read the partitions of all batches (of one asset, where several write the table)."""
        schema = self.columns(table)
        names = columns or list(schema)
        if table == "batches" and len(_listed(self.paths.tables / table).marks) > _MANY:
            every = Compacted(self, table, None, f"rows {digest(*schema)}", tuple(schema), _without_batch).read()
            return every.sort("batch").select(names)
        empty = pl.DataFrame(schema={name: schema[name] for name in names})
        files = self.files(table, asset=asset)
        return pl.concat([empty, *(read_file(path, table, names, schema=schema) for path in files)])

    def scan(self, table: str) -> pl.LazyFrame:
        """Scan the partitions of all batches lazily; without partitions the frame is empty, with all columns.

        Raises:
            StoreError: if the table does not exist, or a file is damaged.
        """
        schema = self.columns(table)
        return pl.concat([pl.LazyFrame(schema=schema), *(_scanned(path, table, schema) for path in self.files(table))])

    def kept(self, asset: str, batch: str) -> pl.DataFrame:
        """`(persona_id)` of the personas of a batch that a dedup stage keeps.

        Args:
            asset: `lexical_duplicates` or `semantic_duplicates`.
        """
        decisions = self.read("decisions", batch, asset, columns=["persona_id", "keeper_id"])
        return decisions.filter(pl.col("keeper_id").is_null()).select("persona_id")

    def excluded_items(self, dataset: str, batch: str) -> pl.Series:
        """Ids of the items of a batch that nearly repeat another one or match a test set; no dataset is made from them.

        Raises:
            StoreError: if a file is damaged.
        """
        contaminated = self.read("contaminated", batch, dataset, columns=["item_id"])["item_id"]
        columns = ["item_id", "keeper_id"]
        decisions = [
            self.read("item_decisions", batch, item_writer(dataset, stage), columns=columns)
            for stage in STAGES.values()
        ]
        dropped = pl.concat(decisions).filter(pl.col("keeper_id").is_not_null())["item_id"]
        return pl.concat([contaminated, dropped]).unique()

    def dropped(self, asset: str) -> pl.LazyFrame:
        """`(batch, persona_id, keeper_id, similarity, admission)` of the personas that a dedup stage dropped.

        Args:
            asset: `lexical_duplicates` or `semantic_duplicates`.

        Raises:
            StoreError: if a file is damaged.
        """
        decided = self.scan("decisions").filter(stage=STAGES[asset])
        return decided.filter(pl.col("keeper_id").is_not_null()).select(DROPPED)

    def write(self, table: str, batch: str, rows: pl.DataFrame, asset: str | None = None) -> None:
        """Publish one partition atomically: readers see the old file or the new one.

        Raises:
            StoreError: if the rows do not have the table's columns.
        """
        writer = self.writer(table, batch, asset)
        try:
            writer.add(rows)
            writer.publish()
        finally:
            writer.discard()

    def writer(self, table: str, batch: str, asset: str | None = None) -> "PartitionWriter":
        """Write one partition in pieces; nothing is seen of it before it is published."""
        schema, copy = self.columns(table), self.working_copy
        return PartitionWriter(self.path(table, batch, asset), table, self.paths.aside, schema, copy)

    def remove(self, folder_or_file: Path) -> None:
        """Remove a file of the home, or a folder with its files.

        Raises:
            OSError: naming the first path that cannot be removed.
        """
        if self.working_copy is not None:
            self.working_copy.delete(folder_or_file)
        else:
            remove(folder_or_file)

    def candidates(self, batch: str, columns: list[str] | None = None) -> pl.DataFrame:
        """Read all candidates of a batch, from text and from relations."""
        return pl.concat([self.read(table, batch, columns=columns) for table in CANDIDATES])

    def batches(self) -> list[str]:
        """Keys of all registered batches, in order of registration."""
        return self.read_all("batches").sort("registered_at", "batch")["batch"].to_list()

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lock of this home; the system releases it if the process dies.

        In a working copy it holds for all workers, and what others have published before is here.

        Raises:
            LockHeld: if another process holds it and `wait` is false, naming that process.
            AccessError: if the object storage of a working copy cannot be asked.
        """
        copy = self.working_copy
        with self._lock_here(name, wait=wait):
            if copy is None or Lock.is_local(name):
                yield
                return
            with nullcontext() if self.claims is None else self.claims(name, wait):
                copy.pull()
                try:
                    yield
                finally:
                    copy.push()

    @contextmanager
    def _lock_here(self, name: str, *, wait: bool) -> Iterator[None]:
        """Hold a lock among the processes of this machine."""
        path = self.paths.lock(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        holder = path.with_suffix(".pid")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            pid = holder.read_text() if holder.exists() else "unknown"
            if not wait:
                raise LockHeld(
                    f"{name} is being worked on by process {pid}; wait for it to end, or stop it, then run again"
                ) from error
            _LOG.warning("waits for process %s, which works on %s", pid, name)
            lock.acquire()
        try:
            holder.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()


class PartitionWriter:
    """Writes one partition in pieces to a temporary folder; publishing renames it.

    Pieces are kept in memory up to SLICE_ROWS rows or 32 MiB, then on disk.
    """

    def __init__(
        self,
        path: Path,
        table: str,
        aside: Path,
        schema: dict[str, pl.DataType] | None = None,
        copy: WorkingCopy | None = None,
    ):
        self.path, self.table, self.schema, self._copy = path, table, schema or table_schema(table), copy
        self.rows = 0
        self._aside = aside / atomic.aside_name()
        self._pieces: list[pl.DataFrame] = []
        self._held, self._bytes, self._chunks = 0, 0, list[Path]()
        self._checksum = 0

    def add(self, rows: pl.DataFrame) -> None:
        """Append rows.

        Raises:
            StoreError: if columns are missing.
        """
        missing = sorted(set(self.schema) - set(rows.columns))
        if missing:
            raise StoreError(f"table {self.table}: rows lack the columns {missing}")
        piece = rows.select(list(self.schema)).cast(self.schema)  # type: ignore[arg-type]
        self._pieces.append(piece)
        self._held += piece.height
        self.rows += piece.height
        self._checksum += _checksum(piece)
        self._bytes += int(piece.estimated_size())
        if self._held >= SLICE_ROWS or self._bytes >= _HELD_BYTES:
            self._spill()

    def publish(self) -> None:
        """Write the partition, rename it to its path, and read it back.

        A file with the same content stays, so that nothing that was built from it is stale.

        Raises:
            AccessError: if it cannot be written, such as on a full disk.
            StoreError: if the rows read back differ from those written.
        """
        self._spill()
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            merged = self._whole()
            if self._copy is not None:
                self._copy.publish(merged, self.path)
            elif not _is_same(merged, self.path):
                atomic.publish(merged, self.path)
        self.discard()
        self._read_back()

    def discard(self) -> None:
        """Remove temporary files."""
        discard(self._aside)

    def _spill(self) -> None:
        if not self._held and self._chunks:
            return
        chunk = self._aside / f"{len(self._chunks):06d}.parquet"
        frame = pl.concat(self._pieces) if self._pieces else pl.DataFrame(schema=self.schema)
        with _writing(chunk):
            self._aside.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(chunk, compression="zstd", row_group_size=SLICE_ROWS)
        self._chunks.append(chunk)
        self._pieces, self._held, self._bytes = [], 0, 0

    def _whole(self) -> Path:
        """All pieces in one file."""
        if len(self._chunks) == 1:
            return self._chunks[0]
        merged = self._aside / "whole.parquet"
        pl.scan_parquet(self._chunks, glob=False).sink_parquet(merged, compression="zstd", row_group_size=SLICE_ROWS)
        return merged

    def _read_back(self) -> None:
        rows, checksum = 0, 0
        for piece in _slices(self.path, self.table, self.schema):
            rows += piece.height
            checksum += _checksum(piece)
        if (rows, checksum) != (self.rows, self._checksum):
            raise StoreError(
                f"{self.path}: {self.rows} rows were written, but {rows} or others were read back: is the disk failing?"
            )


def _is_same(file: Path, published: Path) -> bool:
    """Whether a published file has the content of another one."""
    try:
        return filecmp.cmp(file, published, shallow=False)
    except OSError:  # it does not exist, or cannot be read and is replaced
        return False


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn write errors into an error that names the file and the reason."""
    try:
        yield
    except UNREADABLE as error:
        if reason := obstacle_to_writing(error, path):
            raise AccessError(reason) from error
        raise


class ContentVersion:
    """Hash of the content of rows; it does not depend on their order or on the pieces in which they are added."""

    def __init__(self) -> None:
        self._sum, self._rows = 0, 0

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows to the hash."""
        self._rows += frame.height
        if frame.height:
            for row in frame.select(pl.struct(pl.all()).struct.json_encode().alias("row"))["row"]:
                self._sum += int.from_bytes(blake2b(row.encode(), digest_size=16).digest(), "little")

    @property
    def value(self) -> str:
        """The version of the rows added so far, as 32 hex digits."""
        return digest(self._rows, self._sum % (1 << 128), size=32)


def content_version(*frames: pl.DataFrame) -> str:
    """Content version of whole frames."""
    versions = [ContentVersion() for _ in frames]
    for version, frame in zip(versions, frames, strict=True):
        version.add(frame)
    return digest(*(version.value for version in versions), size=32)


def _checksum(frame: pl.DataFrame) -> int:
    """Sum of hashes of the rows; comparable within one process only."""
    return int(frame.hash_rows().cast(pl.Decimal(38, 0)).sum() or 0) if frame.height else 0


def read_file(
    path: Path,
    table: str,
    columns: list[str] | None = None,
    start: int = 0,
    rows: int | None = None,
    *,
    schema: dict[str, pl.DataType] | None = None,
) -> pl.DataFrame:
    """Read a table file, or `rows` rows of it from row `start`.

    Args:
        schema: columns of the table; needed for a home's own dataset.

    Raises:
        StoreError: if it is missing or damaged.
    """
    try:
        # Opened once: Polars opens a path several times, and another process may replace the file in between.
        with path.open("rb") as file:
            frame = pl.scan_parquet(file).slice(start, rows)
            return _shaped(frame, path, schema or table_schema(table), columns, table).collect()
    except UNREADABLE as error:
        raise damaged(path, table, error) from error


@lru_cache(maxsize=65_536)
def _count(path: Path, mark: tuple[int, ...], table: str) -> int:  # noqa: ARG001 - a part of the key
    """Rows of a file, or drops of a dedup stage."""
    try:
        with path.open("rb") as file:
            rows = pl.scan_parquet(file)
            counted = pl.col("keeper_id").count() if table in STAGES else pl.len()
            return int(rows.select(counted).collect().item())
    except UNREADABLE as error:
        raise damaged(path, "decisions" if table in STAGES else table, error) from error


def item_writer(dataset: str, stage: str) -> str:
    """The asset in `item_decisions` and `item_dedup_runs` of a dataset and stage."""
    return f"{dataset}-{stage}"


def _stage_folder(asset: str) -> str:
    """The folder of the decisions of a stage, the same as in version 0.1.

    Raises:
        StoreError: if the asset makes no decisions.
    """
    if asset not in STAGES:
        raise StoreError(f"table decisions: no dedup asset {choices(asset, list(STAGES))}")
    return f"{STAGES[asset]}_decisions"


def folder_names(store: Store) -> set[str]:
    """Names of the folders in `tables/` that hold tables."""
    return {*store.table_set.sql, *map(_stage_folder, STAGES)}


def asset_of(table: str, folder: Path) -> str | None:
    """The asset that writes a folder of `Store.folders`; None if one asset writes the whole table."""
    if table == "decisions":
        return next(asset for asset in STAGES if _stage_folder(asset) == folder.name)
    return folder.name.removeprefix("asset=") if table in BY_ASSET else None


def _scanned(path: Path, table: str, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    try:
        return _shaped(pl.scan_parquet(path, glob=False), path, schema, None, table)
    except UNREADABLE as error:
        raise damaged(path, table, error) from error


def _slices(
    path: Path, table: str, schema: dict[str, pl.DataType], columns: list[str] | None = None
) -> Iterator[pl.DataFrame]:
    try:
        with path.open("rb") as file:
            height = pl.scan_parquet(file).select(pl.len()).collect().item()
            for start in range(0, height, SLICE_ROWS):
                file.seek(0)  # Polars reads from where it stands if no handle is left for a copy of this one
                piece = pl.scan_parquet(file).slice(start, SLICE_ROWS)
                yield _shaped(piece, path, schema, columns, table).collect()
    except UNREADABLE as error:
        raise damaged(path, table, error) from error


def _without_batch(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop("batch")


def _listed(folder: Path, batches: Collection[str] | None = None) -> Listing:
    try:
        return listing(folder, batches)
    except OSError as error:
        raise AccessError(obstacle(error, folder) or str(error)) from error


def _folders(folder: Path, prefix: str, *, exact: bool) -> list[Path]:
    """Folders in a folder by name; unlike a glob, this raises if a folder cannot be read."""
    try:
        inner = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise AccessError(obstacle(error, folder) or str(error)) from error
    return [each for each in inner if (each.name == prefix if exact else each.name.startswith(prefix))]


def _shaped(
    frame: pl.LazyFrame, path: Path, schema: dict[str, pl.DataType], columns: list[str] | None, table: str
) -> pl.LazyFrame:
    """Columns and types as the table has them now; a file written before a column was added lacks it."""
    wanted = {name: schema[name] for name in columns or schema}
    present = set(frame.collect_schema().names())
    of_path = {"stage": path.parent.parent.name.removesuffix("_decisions")} if table == "decisions" else {}
    absent = [pl.lit(of_path.get(name), dtype).alias(name) for name, dtype in wanted.items() if name not in present]
    return frame.with_columns(absent).select(list(wanted)).cast(wanted)  # type: ignore[arg-type]


# Consequences of deleting a damaged file of a table, and how to restore its rows.
_ANEW = "Delete it, then personahub run --batch {batch}: "
_REWRITTEN = f"{_ANEW}its rows are written again from the recorded answers, without a call"
_DECIDED = f"{_ANEW}its personas are decided about again, and come after those of other batches"
_REMEDIES = {
    "batches": "Delete it, then ingest its source file again under the same name",
    "documents": f"{_ANEW}the source file is read again",
    "skipped": f"{_ANEW}the source file is read again",
    "generations": "It holds answers that were paid for: put a copy back if there is one. If it is deleted, the next "
    "run asks for them and pays again",
    "quarantine": f"{_ANEW}its rows are written again",
    **dict.fromkeys(("persona_embeddings", "item_embeddings"), f"{_ANEW}its texts are embedded again"),
    "tombstones": "Put a copy back, or delete it and run the takedown again: without it, what went may come back",
    "takedowns": "Put a copy back, or delete it: the receipt is lost, what was taken down stays down",
    "prompt_uses": "Put a copy back, or delete it: prompts that are not used any more are lost",
    **dict.fromkeys(("decisions", "dedup_runs", "personas"), _DECIDED),
    **dict.fromkeys(("item_decisions", "item_dedup_runs"), _DECIDED.replace("personas", "items")),
}


def damaged(path: Path, table: str, error: BaseException) -> StoreError:
    """The error for a table file with wrong content, with the remedy."""
    batch = path.parent.name.removeprefix("batch=")
    remedy = _REMEDIES.get(table, _REWRITTEN).replace("{batch}", batch)
    return checked(error, path, f"{path}: damaged table file: {error}. {remedy}")


def first_damaged(store: Store) -> StoreError | None:
    """What is wrong with the first table file that cannot be read; for a reader that does not name files."""
    for table in store.table_set.sql:
        for path in store.files(table):
            try:
                for _ in _slices(path, table, store.columns(table)):
                    pass
            except StoreError as error:
                return error
    return None
