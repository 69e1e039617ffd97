"""Vectors of personas: read from the tables as one array, and the journal of unpublished vectors.

The journal stores vectors before their partition is published, so that no text is embedded twice.

    journal = VectorJournal(store.paths.vector_journal(batch), embedder.name)
    known = journal.known(hashes)                          vectors of an interrupted run
    for positions, vectors in embedder.stream(missing):
        journal.add([hash_of[position] for position in positions], vectors)
    ...                                                    publish the partition
    journal.drop()

There is one Arrow file per call of `add`, in a folder per model. A file is written to a temporary name, synced and
renamed. Its name is the hash of its bytes, so truncated and changed files are detected and ignored.
"""

import errno
import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.core.access import checked
from personahub_assets.core.errors import StoreError
from personahub_assets.core.text import digest
from personahub_assets.store.atomic import replacing
from personahub_assets.store.removal import discard
from personahub_assets.store.tables import Store

SCHEMA = pl.Schema({"text_hash": pl.String(), "embedding": pl.List(pl.Float32())})
"""Columns of what `known` and `vector_frame` return."""

Vectors = npt.NDArray[np.float32]
Allocate = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]
"""Returns an array of a shape and a type with any content, in memory or mapped from a file."""

_SUFFIX = ".arrow"
_LOG = logging.getLogger(__name__)


def vector_frame(hashes: list[str], vectors: npt.NDArray[np.float32]) -> pl.DataFrame:
    """Put hashes of texts and their vectors, (number of hashes, dimensions), into a frame of SCHEMA.

    Raises:
        ValueError: if the numbers of hashes and vectors differ.
    """
    if vectors.ndim != 2 or len(vectors) != len(hashes):
        raise ValueError(f"{len(hashes)} hashes need as many rows of vectors, got an array of shape {vectors.shape}")
    if not hashes:
        return pl.DataFrame(schema=SCHEMA)
    return pl.DataFrame({"text_hash": hashes, "embedding": as_lists(vectors)}).cast(SCHEMA)


def as_lists(vectors: npt.NDArray[np.float32], is_known: npt.NDArray[np.bool_] | None = None) -> pl.Series:
    """Vectors as a column `embedding`.

    Args:
        vectors: (n, dimensions).
        is_known: (n,) False for rows that become null; None: no row does.
    """
    if not len(vectors):
        return pl.Series("embedding", dtype=SCHEMA["embedding"])
    column = pl.Series("embedding", np.ascontiguousarray(vectors, dtype=np.float32)).cast(SCHEMA["embedding"])
    if is_known is None or is_known.all():
        return column
    return pl.select(pl.when(pl.Series(is_known)).then(column).alias("embedding")).to_series()


class VectorTable(NamedTuple):
    """A table of vectors.

    Attributes:
        name: of the table.
        key: column of the id.
        asset: the writer of the rows, if the table has several.
    """

    name: str
    key: str
    asset: str | None = None

    @property
    def noun(self) -> str:
        """What a row is called."""
        return self.key.removesuffix("_id")


PERSONA_VECTORS = VectorTable("persona_embeddings", "persona_id")


def item_vector_table(dataset: str) -> VectorTable:
    """The vectors of the items of a dataset."""
    return VectorTable("item_embeddings", "item_id", dataset)


def item_vectors(store: Store, dataset: str, batch: str) -> tuple[pl.DataFrame, Vectors]:
    """The vectors of the items of a dataset and batch, all of one model.

    An item has a vector if its dataset is compared by meaning, the lexical stage has kept it once, and the server did
    not refuse its text.

    Returns:
        `(item_id, persona_id, model)` of the items with a vector, and float32 (items, dimensions) in the same order.
    """
    table = item_vector_table(dataset)
    rows = store.read(table.name, batch, table.asset).drop_nulls("embedding")
    models = rows["model"].unique().to_list()
    vectors = matrix(store, models[0] if models else "", rows.select("batch", "item_id"), table)
    return rows.select("item_id", "persona_id", "model"), vectors


def matrix(
    store: Store,
    model: str,
    rows: pl.DataFrame,
    stored_in: VectorTable = PERSONA_VECTORS,
    *,
    has_nulls: bool = False,
    allocate: Allocate = np.empty,
) -> Vectors:
    """Read the vectors of rows, in their order, a slice of the partition at a time.

    Args:
        store: contains the vectors.
        model: name of the model that made them.
        rows: `(batch, id)`, the id under its name in the table.
        stored_in: the table of the vectors.
        has_nulls: read null vectors, those of refused texts, as zeros; they are an error otherwise.
        allocate: allocates the result.

    Returns:
        float32 (number of rows, dimensions); one dimension without any vector.

    Raises:
        StoreError: if vectors are missing or have different dimensions.
    """
    by_batch = rows.with_row_index("at").partition_by("batch", as_dict=True)
    vectors: Vectors | None = None
    for (batch,), batch_rows in by_batch.items():
        stored, usable, sizes = 0, 0, set[int]()
        for piece in _stored(store, model, str(batch), batch_rows, stored_in):
            stored, usable = stored + piece.height, usable + (filled := piece.drop_nulls("embedding")).height
            sizes |= set(filled["embedding"].list.len().unique())
            if vectors is None and len(sizes) == 1:
                vectors = allocate((rows.height, min(sizes)), np.float32)
                vectors[:] = 0
            if vectors is not None and sizes == {vectors.shape[1]}:
                vectors[filled["at"].to_numpy()] = filled["embedding"].explode().to_numpy().reshape(filled.height, -1)
        if has_nulls and not usable and stored == batch_rows.height:
            continue
        wide = None if vectors is None else vectors.shape[1]
        if (stored if has_nulls else usable) < batch_rows.height or sizes != {wide}:
            raise StoreError(
                f"batch {batch}: {usable} of {batch_rows.height} {stored_in.noun}s have vectors of {model}, "
                f"of {sorted(sizes)} dimensions; expected all, of {wide or 'one number'}: embed the batch again"
            )
    return np.zeros((rows.height, 1), np.float32) if vectors is None else vectors


def _stored(store: Store, model: str, batch: str, rows: pl.DataFrame, stored_in: VectorTable) -> Iterator[pl.DataFrame]:
    """`(at, embedding, ...)` of rows `(at, id)` of a batch, in pieces."""
    columns = [stored_in.key, "model", "embedding"]
    for piece in store.slices(stored_in.name, batch, columns, asset=stored_in.asset):
        yield piece.filter(pl.col("model") == model).join(rows, on=stored_in.key)


class VectorJournal:
    """Vectors of one batch and one model that are not yet published.

    Several processes can add and read at the same time; a reader sees all vectors of an `add` or none.
    """

    def __init__(self, folder: Path, model: str):
        self.folder = folder / digest(model)
        self._model = model

    def known(self, hashes: pl.Series, *, tidy: bool = True) -> pl.DataFrame:
        """Vectors of the texts that are in the journal, one row per text, in any order.

        Damaged files are deleted and logged; their texts are embedded again.

        Args:
            hashes: hashes of texts, as strings.
            tidy: whether damaged files are deleted.

        Raises:
            StoreError: if an existing file cannot be read.
        """
        matches = self.pieces(hashes, tidy=tidy)
        return pl.concat([pl.DataFrame(schema=SCHEMA), *matches]).unique("text_hash", keep="any")

    def pieces(self, hashes: pl.Series, *, tidy: bool = True) -> Iterator[pl.DataFrame]:
        """The same, file by file: a text can be in several files."""
        wanted = hashes.rename("text_hash").to_frame()
        for chunk in self._chunks(tidy=tidy):
            yield chunk.join(wanted, on="text_hash", how="semi")

    def add(self, hashes: list[str], vectors: npt.NDArray[np.float32]) -> None:
        """Write vectors of texts durably: after the return they survive kill -9 and a power cut.

        Raises:
            ValueError: if the numbers of hashes and vectors differ.
            StoreError: if the journal cannot be written, such as on a full disk.
        """
        frame = vector_frame(hashes, vectors)
        if frame.is_empty():
            return
        buffer = io.BytesIO()
        frame.write_ipc(buffer)
        try:
            self._write(buffer.getvalue())
        except OSError as error:
            raise checked(error, self.folder, f"{self.folder} cannot be written: {error}") from error

    def drop(self) -> None:
        """Delete the vectors of this model; call it only after the partition was published."""
        discard(self.folder)
        try:
            self.folder.parent.rmdir()
        except OSError as error:
            # Vectors of another model are left, or another process removed the folder.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                raise

    def _write(self, content: bytes) -> None:
        with replacing(self.folder / f"{_name(content)}{_SUFFIX}") as file:
            file.write_bytes(content)

    def _chunks(self, *, tidy: bool) -> Iterator[pl.DataFrame]:
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # published and dropped by another process
                continue
            except OSError as error:
                damage = f"{path} cannot be read: {error}. If it is deleted, its texts are embedded again"
                raise checked(error, path, damage) from error
            if _name(content) == path.stem:
                yield pl.read_ipc(content).cast(SCHEMA)
            elif tidy:
                _LOG.warning("%s is damaged and deleted; its texts are embedded again by %s", path, self._model)
                path.unlink(missing_ok=True)


def prune(folder: Path, hashes: pl.Series, *, dry_run: bool = False) -> int:
    """Remove vectors from the journals of a batch, for all models, except those of given texts.

    Args:
        folder: journal folder of the batch.
        hashes: hashes of the texts whose vectors are kept.
        dry_run: only count.

    Returns:
        The number of removed vectors.
    """
    gone = 0
    for path in [*folder.glob(f"*/*{_SUFFIX}"), *folder.glob("*/*.aside")]:
        content = path.read_bytes()
        # No row of a truncated file is ever read.
        rows = pl.read_ipc(content).cast(SCHEMA) if _name(content) == path.stem else pl.DataFrame(schema=SCHEMA)
        left = rows.filter(pl.col("text_hash").is_in(hashes.implode()))
        if left.height == rows.height and left.height:
            continue
        gone += rows.height - left.height
        if dry_run:
            continue
        journal = VectorJournal(folder, "")
        journal.folder = path.parent
        if left.height:
            journal.add(left["text_hash"].to_list(), np.array(left["embedding"].to_list(), np.float32))
        path.unlink()
    return gone


def _name(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
