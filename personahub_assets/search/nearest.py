"""Nearest neighbours: the personas of the hub whose embeddings are nearest to a vector.

    hub = Nearest(store, embedder.name)
    hub.find(vector, 10)                    (persona_id, similarity), the nearest first
    hub.find(vector, 10, among=ids)         of these personas only

Up to SCANNED personas are all compared. Beyond, a usearch index in `cache/search` of the home proposes candidates, and
their cosines are computed. Personas that are not in the index are compared one by one, until there are too many and
they are added to it. The index is checked by hash before use, memory-mapped, and can be deleted at any time.
"""

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.core.errors import StoreError
from personahub_assets.dedup import array_cache
from personahub_assets.dedup.ann_index import Ints, Neighbours
from personahub_assets.embedding.reading import REFUSED
from personahub_assets.embedding.vectors import Vectors, matrix
from personahub_assets.store.atomic import aside_folder
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import discard, remove
from personahub_assets.store.tables import Store

SCANNED = 50_000
"""Up to this number personas are compared one by one; more get an index."""

_GONE = 0.2  # above this share of outdated rows the index is rebuilt
_EFFORT = 256  # rows that a search of the index visits
_SPARE = 16  # rows visited beyond the requested ones
_KEPT = 131_072  # a growing index is written after this number of rows, so that a killed process loses little
_PIECE = 8_192  # rows added at a time
_FORMAT = "f32 1"

Flags = npt.NDArray[np.bool_]
Watch = Callable[[int, int], None]
"""Called with the number of personas in the index, and their total."""


def _unwatched(_done: int, _total: int) -> None:
    pass


class Nearest:
    """The personas of the hub with a vector of one model, as of its construction.

    Args:
        store: the tables of the hub.
        model: name of the model; vectors of other models are never compared.
        watch: called with progress while an index is built.

    Raises:
        StoreError: vectors of the model have different dimensions.
    """

    def __init__(self, store: Store, model: str, watch: Watch = _unwatched):
        index = _Index.opened(store, model)
        self.rows, self.left_out, self.unread = hub(store, model)
        if _is_outdated(index, self.rows):
            watch(0, self.rows.height)
            index = _update_index(store, model, watch)
            self.rows, self.left_out, self.unread = hub(store, model)
        self._index = index
        self._alive = index.holds(self.rows["persona_id"])
        self._new = index.lacks(self.rows)
        self._vectors = matrix(store, model, self._new)

    def __len__(self) -> int:
        return self.rows.height

    def find(self, vector: Vectors, count: int, among: pl.Series | None = None) -> pl.DataFrame:
        """Find the personas nearest to a vector, as `(persona_id, similarity)`, the nearest first.

        Args:
            vector: (dimensions,) of the same model.
            count: number of personas.
            among: ids to search among; None for all.

        Raises:
            StoreError: the vector has another number of dimensions than those of the hub.
        """
        wanted = self._alive if among is None else self._alive & self._index.holds(among)
        new = np.flatnonzero(self._new["persona_id"].is_in(among.implode()) if among is not None else self._are_all_new)
        numbers = self._index.propose(vector, count, wanted)
        ranked = pl.concat(
            [
                _rank(self._index.ids.gather(numbers), self._index.vectors(numbers), vector, count),
                _rank(self._new["persona_id"].gather(new), self._vectors[new], vector, count),
            ]
        )
        return ranked.sort("similarity", "persona_id", descending=[True, False]).head(count)

    @property
    def _are_all_new(self) -> Flags:
        return np.ones(self._new.height, np.bool_)


class Searchable(NamedTuple):
    """The personas of the hub that can be searched with a model."""

    rows: pl.DataFrame  # (batch, persona_id)
    without_vector: int  # personas that this model has not embedded, or whose text its server refuses
    unread: int  # personas that the model reads too little of


def hub(store: Store, model: str) -> Searchable:
    """Find the personas of the hub with a vector of a model."""
    frames, total, unread = [pl.DataFrame(schema={"batch": pl.String, "persona_id": pl.String})], 0, 0
    limit = store.config.semantic.max_unread
    for path in store.files("personas"):
        batch = path.parent.name.partition("=")[2]
        personas = store.read("personas", batch, columns=["persona_id"])
        of_model = personas.join(_embedded(store, model, batch), on="persona_id", maintain_order="left")
        read = of_model.filter(pl.col("unread").fill_null(0.0) <= limit)
        frames.append(read.select(pl.lit(batch).alias("batch"), "persona_id"))
        total, unread = total + personas.height, unread + of_model.height - read.height
    rows = pl.concat(frames)
    return Searchable(rows, total - unread - rows.height, unread)


def _embedded(store: Store, model: str, batch: str) -> pl.DataFrame:
    """`(persona_id, unread, ...)` of the personas of a batch with a vector of a model."""
    rows = store.read("persona_embeddings", batch, columns=["persona_id", "model", "unread", "unread_hash"])
    return rows.filter(pl.col("model") == model, pl.col("unread_hash").ne_missing(REFUSED))


def cosines(vectors: Vectors, vector: Vectors) -> npt.NDArray[np.float64]:
    """Cosines (n,) of rows with a vector, in float64."""
    rows, query = vectors.astype(np.float64), vector.astype(np.float64)
    products = np.einsum("nd,d->n", rows, query)
    similarities: npt.NDArray[np.float64] = products / np.sqrt(np.einsum("nd,nd->n", rows, rows) * (query @ query))
    return np.clip(similarities, -1.0, 1.0)


def _rank(ids: pl.Series, vectors: Vectors, vector: Vectors, count: int) -> pl.DataFrame:
    """The nearest of some rows: selected in float32, cosines recomputed in float64."""
    if not len(ids):
        return pl.DataFrame(schema={"persona_id": pl.String, "similarity": pl.Float64})
    if vectors.shape[1] != len(vector):
        raise StoreError(
            f"the hub's vectors have {vectors.shape[1]} dimensions, the query's has {len(vector)}: the embedding model "
            "has changed under its name. Embed the hub again with a model of another name"
        )
    best = np.argsort(-(vectors @ vector), kind="stable")[: count + _SPARE]
    return pl.DataFrame({"persona_id": ids.gather(best), "similarity": cosines(vectors[best], vector)})


class _Index(NamedTuple):
    """An index and the ids of its rows; both can be empty."""

    neighbours: Neighbours | None
    ids: pl.Series

    @classmethod
    def opened(cls, store: Store, model: str, *, to_grow: bool = False) -> "_Index":
        """Open the stored index, memory-mapped; an empty one if it is missing or damaged."""
        arrays = array_cache.opened(store.paths.search_index(model), f"{model} {_FORMAT}")
        try:
            if arrays is not None:
                neighbours = Neighbours(int(arrays["dimensions"][0]), _EFFORT)
                (neighbours.read if to_grow else neighbours.view)(arrays["index"])
                return cls(neighbours, pl.read_ipc(arrays["ids"].tobytes())["persona_id"])
        except (KeyError, RuntimeError, pl.exceptions.PolarsError):
            pass  # written by another version of usearch or of this package
        return cls(None, pl.Series("persona_id", [], pl.String))

    def holds(self, ids: pl.Series) -> Flags:
        """Mask of its rows that belong to these personas."""
        return self.ids.is_in(ids.implode()).to_numpy() if len(self.ids) else np.empty(0, np.bool_)

    def lacks(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows `(batch, persona_id)` that it does not have."""
        return rows.join(self.ids.to_frame("persona_id"), on="persona_id", how="anti", maintain_order="left")

    def vectors(self, numbers: Ints) -> Vectors:
        """Vectors of its rows."""
        return self.neighbours.vectors(numbers) if self.neighbours else np.empty((0, 1), np.float32)

    def propose(self, vector: Vectors, count: int, wanted: Flags) -> Ints:
        """Numbers of wanted rows that can be the nearest; all of them if they are few."""
        total = int(wanted.sum())
        if not self.neighbours or total <= SCANNED:
            return np.flatnonzero(wanted)
        limit = 2 * count + _SPARE
        while True:
            near = self.neighbours.search(vector[None], min(limit, len(self.ids)))[0]
            near = near[near >= 0]
            matches: Ints = near[wanted[near]]
            if len(matches) >= min(count, total) or limit >= len(self.ids):
                return matches
            limit *= 4


def _is_outdated(index: _Index, rows: pl.DataFrame) -> bool:
    """Whether too many rows are missing, or too many are outdated."""
    return index.lacks(rows).height > SCANNED or _has_too_many_removed(index, rows)


def _has_too_many_removed(index: _Index, rows: pl.DataFrame) -> bool:
    return int((~index.holds(rows["persona_id"])).sum()) > _GONE * len(index.ids)


def _update_index(store: Store, model: str, watch: Watch) -> _Index:
    """Add missing rows to the stored index, or rebuild it; one process works, others wait for its result."""
    with store.lock(Lock.SEARCH, wait=True):
        rows = hub(store, model).rows
        index = _Index.opened(store, model)
        if _is_outdated(index, rows):
            _remove_leftovers(store, model)
            if _has_too_many_removed(index, rows):
                remove(store.paths.search_index(model))
                index = _Index.opened(store, model)
            if index.lacks(rows).height > SCANNED:
                _grow(store, model, rows, watch)
    return _Index.opened(store, model)


def _grow(store: Store, model: str, rows: pl.DataFrame, watch: Watch) -> None:
    index = _Index.opened(store, model, to_grow=True)
    neighbours, ids, written = index.neighbours, [index.ids], len(index.ids)
    for chunk, vectors in _pieces(store, model, index.lacks(rows)):
        neighbours = neighbours or Neighbours(vectors.shape[1], _EFFORT)
        neighbours.add(vectors)
        ids.append(chunk["persona_id"])
        watch(len(neighbours), rows.height)
        if len(neighbours) - written >= _KEPT:
            _write(store, model, neighbours, pl.concat(ids))
            written = len(neighbours)
    if neighbours and len(neighbours) > written:
        _write(store, model, neighbours, pl.concat(ids))


def _pieces(store: Store, model: str, rows: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Vectors]]:
    """Rows with their vectors, some thousand at a time; without rows that another process has removed since."""
    for batch_rows in rows.partition_by("batch", maintain_order=True):
        embedded = _embedded(store, model, batch_rows["batch"][0])
        batch_rows = batch_rows.join(embedded, on="persona_id", how="semi", maintain_order="left")
        vectors = matrix(store, model, batch_rows)
        for begin in range(0, batch_rows.height, _PIECE):
            yield batch_rows[begin : begin + _PIECE], vectors[begin : begin + _PIECE]


def _write(store: Store, model: str, neighbours: Neighbours, ids: pl.Series) -> None:
    buffer = io.BytesIO()
    ids.to_frame("persona_id").write_ipc(buffer)
    with aside_folder(store.paths.aside) as folder:
        neighbours.write(str(folder / "index"))
        arrays = {
            "index": np.memmap(folder / "index", np.uint8, "r"),
            "ids": np.frombuffer(buffer.getvalue(), np.uint8),
            "dimensions": np.array([neighbours.dimensions]),
        }
        array_cache.save(store.paths.search_index(model), f"{model} {_FORMAT}", arrays)


def _remove_leftovers(store: Store, model: str) -> None:
    """Remove leftovers of killed processes, and indexes of other models."""
    current = store.paths.search_index(model)
    for folder in [*current.parent.glob("*"), *current.parent.glob(".*")]:
        if folder != current:
            discard(folder)
