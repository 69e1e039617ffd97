"""Which personas mean nearly the same: pairs of embeddings with cosine at or above a threshold.

The paper (section 2.2.1) filters cosine similarity above 0.9. Below a configured size every pair is compared (blocked
matrix products); beyond it a usearch index proposes neighbours, each verified in float32, and the share of true pairs
it finds is measured on a sample of rows in the same run.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from usearch.index import Index

Vectors = npt.NDArray[np.float32]
Found = tuple[npt.NDArray[Any], npt.NDArray[Any]]  # row numbers of both sides

_BLOCK = 2048
# Candidates are taken this far below the threshold in float32, then decided in float64: so a pair's similarity, and
# the decision, do not depend on how the pair was found.
_SLACK = 1e-5
_SAMPLE = 200


@dataclass(frozen=True)
class Pairs:
    """Pairs of row numbers within the threshold, how they were found, and how many of the true ones (sampled)."""

    table: pl.DataFrame  # (a, b, similarity), a < b, each unordered pair once
    method: str  # 'exact' or 'usearch'
    recall: float  # 1.0 by construction for 'exact'


def similar_pairs(vectors: Vectors, new: npt.NDArray[np.bool_], threshold: float, exact_up_to: int) -> Pairs:
    """Find pairs of rows with cosine at or above the threshold of which at least one is new.

    Args:
        vectors: unit vectors, shape (n, d).
        new: which rows to search for, shape (n,).
        threshold: cosine similarity in (0, 1].
        exact_up_to: number of comparisons (new rows times all rows) up to which every pair is compared.
    """
    asked = np.flatnonzero(new)
    if len(asked) * len(vectors) <= exact_up_to:
        return Pairs(_verified(*_exact(vectors, asked, threshold), vectors, threshold), "exact", 1.0)
    found = _verified(*_neighbours(vectors, asked, threshold), vectors, threshold)
    return Pairs(found, "usearch", _recall(found, vectors, asked, threshold))


def _exact(vectors: Vectors, asked: npt.NDArray[np.int64], threshold: float) -> Found:
    rows, columns = [], []
    for start in range(0, len(asked), _BLOCK):
        block = asked[start : start + _BLOCK]
        row, column = np.nonzero(vectors[block] @ vectors.T >= threshold - _SLACK)
        rows.append(block[row])
        columns.append(column)
    return _joined(rows), _joined(columns)


def _neighbours(vectors: Vectors, asked: npt.NDArray[np.int64], threshold: float) -> Found:
    """Ask the index for more and more neighbours of each row until the farthest one is beyond the threshold."""
    index = Index(
        ndim=vectors.shape[1], metric="cos", dtype="f32", connectivity=16, expansion_add=128, expansion_search=64
    )
    index.add(np.arange(len(vectors)), vectors)
    rows, columns = [], []
    pending, count = asked, 16
    while len(pending):
        count = min(count, len(vectors))
        # One row gives a match list of one dimension; always ask with two rows or more.
        batch = index.search(vectors[pending] if len(pending) > 1 else vectors[np.repeat(pending, 2)], count)
        keys = batch.keys[: len(pending)].astype(np.int64)
        similarity = np.einsum("nd,nkd->nk", vectors[pending], vectors[keys]).astype(np.float32)
        open_ended = (similarity[:, -1] >= threshold - _SLACK) & (count < len(vectors))
        row, column = np.nonzero((similarity >= threshold - _SLACK) & ~open_ended[:, None])
        rows.append(pending[row])
        columns.append(keys[row, column])
        pending, count = pending[open_ended], count * 4
    return _joined(rows), _joined(columns)


def _recall(found: pl.DataFrame, vectors: Vectors, asked: npt.NDArray[np.int64], threshold: float) -> float:
    """Share of the true pairs of some rows that the index found; the rows are drawn with a fixed seed."""
    drawn = np.random.default_rng(0).choice(asked, min(_SAMPLE, len(asked)), replace=False)
    truth = _verified(*_exact(vectors, np.sort(drawn), threshold), vectors, threshold)
    return 1.0 if truth.is_empty() else truth.join(found, on=["a", "b"], how="semi").height / truth.height


def _verified(rows: npt.NDArray[Any], columns: npt.NDArray[Any], vectors: Vectors, threshold: float) -> pl.DataFrame:
    """Each unordered pair once, with its cosine in float64, if that reaches the threshold."""
    pairs = (
        pl.DataFrame({"a": np.minimum(rows, columns), "b": np.maximum(rows, columns)})
        .filter(pl.col("a") != pl.col("b"))
        .unique()
        .sort("a", "b")
    )
    parts = (pairs.slice(start, _BLOCK * 32) for start in range(0, pairs.height, _BLOCK * 32))
    cosines = [
        np.einsum("nd,nd->n", vectors[part["a"].to_numpy()], vectors[part["b"].to_numpy()], dtype=np.float64)
        for part in parts
    ]
    similarity = np.minimum(np.concatenate([np.empty(0), *cosines]), 1.0)
    return pairs.with_columns(similarity=pl.Series(similarity, dtype=pl.Float64)).filter(
        pl.col("similarity") >= threshold
    )


def _joined(parts: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, np.int64), *parts])
