"""The map of the hub: a sample of personas as points, near to each other if their vectors are.

Vectors are laid out like in UMAP: each point is drawn to its nearest neighbours and pushed away by random others, from
the first two principal components on. Some thousand points take a few seconds; the sample is read in slices that are
spread over each batch, so that a large hub is not read as a whole.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.browse.reader import Reader
from personahub_assets.core.errors import StoreError
from personahub_assets.core.text import plain
from personahub_assets.store.tables import Store

SAMPLE = 6_000
"""Number of personas on the map."""

_SLICES = 6  # of a batch
_NEIGHBOURS, _ROUNDS, _PUSHES = 12, 120, 4
_PIECE = 1_000
_SEED = 0
Points = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


def drawn(reader: Reader) -> dict[str, Any]:
    """The points as columns: id, text, x and y from 0 to 1, hop, origin and batch; made once for each warehouse.

    Raises:
        StoreError: if the hub has no vectors.
    """
    return reader.cached("points", lambda: _drawn(reader))


def _drawn(reader: Reader) -> dict[str, Any]:
    sample = _sample(reader.store)
    rows = reader.rows(
        "SELECT persona_id, persona, hop, origin, batch FROM personas WHERE persona_id IN (SELECT unnest($ids))",
        ids=sample["persona_id"].to_list(),
    )
    if not rows:
        raise StoreError("no persona has a vector yet: personahub run --select persona_embeddings+")
    kept = pl.DataFrame(rows).join(sample, on="persona_id")
    # Vectors of different models have nothing to do with each other.
    model = kept["model"].mode().sort()[0]
    kept = kept.filter(pl.col("model") == model)
    spots = layout(np.array(kept["embedding"].to_list(), np.float32))
    return {
        "model": model,
        "total": len(spots),
        "id": kept["persona_id"].to_list(),
        "text": [plain(text) for text in kept["persona"]],
        "x": spots[:, 0].round(4).tolist(),
        "y": spots[:, 1].round(4).tolist(),
        "hop": kept["hop"].cast(pl.String).to_list(),
        "origin": kept["origin"].to_list(),
        "batch": kept["batch"].to_list(),
    }


def _sample(store: Store) -> pl.DataFrame:
    """`(persona_id, model, embedding)` of slices spread over every batch, in proportion to its rows."""
    files = store.files("persona_embeddings")
    heights = [pl.scan_parquet(file, glob=False).select(pl.len()).collect().item() for file in files]
    share = min(1.0, 1.3 * SAMPLE / max(1, sum(heights)))  # some of them are duplicates
    frames = [pl.DataFrame(schema={"persona_id": pl.String, "model": pl.String, "embedding": pl.List(pl.Float32)})]
    for file, height in zip(files, heights, strict=True):
        lazy = pl.scan_parquet(file, glob=False).select("persona_id", "model", "embedding")
        size = -(-int(share * height) // _SLICES)
        if share == 1 or size * _SLICES >= height:
            frames.append(lazy.collect())
        else:
            starts = [number * height // _SLICES for number in range(_SLICES)]
            frames += [lazy.slice(start, size).collect() for start in starts]
    rows = pl.concat(frames).drop_nulls("embedding")  # null: refused by the server
    return rows if rows.height <= 2 * SAMPLE else rows.sample(2 * SAMPLE, seed=_SEED)


def layout(vectors: Points) -> Points:
    """Places (n, 2) from 0 to 1 for unit vectors (n, dimensions); the same ones for the same vectors."""
    if len(vectors) < 3:
        return np.repeat(np.arange(1, len(vectors) + 1, dtype=np.float32)[:, None] / 4, 2, axis=1)
    spots = _principal(vectors)
    count = min(_NEIGHBOURS, len(vectors) - 1)
    heads = np.repeat(np.arange(len(vectors)), count)
    tails = _nearest(vectors, count).ravel()
    rng = np.random.default_rng(_SEED)
    for turn in range(_ROUNDS):
        step = np.float32(1 - turn / _ROUNDS)
        spots += step * _pull(spots, heads, tails)
        for _ in range(_PUSHES):
            spots += step * _push(spots, rng.permutation(len(spots)))
    low, high = np.quantile(spots, [0.002, 0.998], axis=0)
    return _singles(np.clip((spots - low) / np.maximum(high - low, 1e-6), 0, 1))


def _principal(vectors: Points) -> Points:
    """The first two principal components, about 10 wide."""
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes[:, :-3:-1]
    return _singles(10 * flat / max(float(np.abs(flat).max()), 1e-6))


def _nearest(vectors: Points, count: int) -> Ints:
    """The nearest others (n, count) of each vector by cosine."""
    rows = np.empty((len(vectors), count), np.int64)
    for start in range(0, len(vectors), _PIECE):
        products = vectors[start : start + _PIECE] @ vectors.T
        own = np.arange(len(products))
        products[own, start + own] = -2
        rows[start : start + _PIECE] = np.argpartition(products, -count, axis=1)[:, -count:]
    return rows


def _pull(spots: Points, heads: Ints, tails: Ints) -> Points:
    """The mean step of each point towards its neighbours, as UMAP weighs it."""
    gaps = spots[heads] - spots[tails]
    square = (gaps**2).sum(axis=1, keepdims=True)
    steps = np.clip(-2 * gaps / (1 + square), -4, 4)
    total = np.zeros_like(spots)
    for axis in (0, 1):
        total[:, axis] += np.bincount(heads, steps[:, axis], len(spots)).astype(np.float32)
        total[:, axis] -= np.bincount(tails, steps[:, axis], len(spots)).astype(np.float32)
    degree = np.bincount(heads, minlength=len(spots)) + np.bincount(tails, minlength=len(spots))
    return _singles(total / np.maximum(degree, 1)[:, None] * 0.6)


def _push(spots: Points, others: Ints) -> Points:
    """The step of each point away from a random other one."""
    gaps = spots - spots[others]
    square = (gaps**2).sum(axis=1, keepdims=True)
    return _singles(np.clip(2 * gaps / ((0.05 + square) * (1 + square)), -0.5, 0.5))


def _singles(values: npt.NDArray[Any]) -> Points:
    singles: Points = values.astype(np.float32)
    return singles
