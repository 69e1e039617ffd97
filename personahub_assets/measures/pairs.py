"""How alike two items are, by how alike their personas are (figure 10 of the paper)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from personahub_assets.measures.vectors import Vectors, blocks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EDGES: Floats = np.arange(-10, 11) / 10
"""Edges of the bins of persona cosines, (21,); a bin includes its lower edge, the last one both."""


@dataclass(frozen=True)
class PairSimilarity:
    """Cosines of pairs of items, by the cosine of their personas.

    Attributes:
        lower: (b,) lower edges of the bins that have pairs.
        pairs: (b,) numbers of pairs.
        mean: (b,) mean cosine of the items.
        less_alike: (b,) share of the pairs whose items are less alike than their personas.
        pearson: correlation of both cosines over all pairs; NaN if one of them is constant or there are no two pairs.
    """

    lower: Floats
    pairs: Ints
    mean: Floats
    less_alike: Floats
    pearson: float

    @property
    def all_pairs(self) -> int:
        """Number of pairs."""
        return int(self.pairs.sum())

    @property
    def all_less_alike(self) -> float:
        """Share of all pairs whose items are less alike than their personas; NaN without pairs."""
        return float((self.less_alike * self.pairs).sum() / self.pairs.sum()) if len(self.pairs) else float("nan")


def pair_similarity(personas: Vectors, items: Vectors) -> PairSimilarity:
    """Compare each pair of rows: n² / 2 pairs, in bounded memory.

    Args:
        personas: (n, d) unit vectors of the personas.
        items: (n, e) unit vectors of their items, row by row.

    Raises:
        ValueError: if the numbers of rows differ.
    """
    if len(personas) != len(items):
        raise ValueError(f"{len(personas)} personas and {len(items)} items: each item needs the vector of its persona")
    bins = len(EDGES) - 1
    pairs, total, below = np.zeros(bins, np.int64), np.zeros(bins), np.zeros(bins)
    moments = np.zeros(5)
    for (start, of_personas), (_, of_items) in zip(blocks(personas), blocks(items), strict=True):
        x, y = (_above_diagonal(cosines, start) for cosines in (of_personas, of_items))
        of_bin = np.clip(np.searchsorted(EDGES, x, side="right") - 1, 0, bins - 1)
        pairs += np.bincount(of_bin, minlength=bins)
        total += np.bincount(of_bin, weights=y, minlength=bins)
        below += np.bincount(of_bin, weights=y < x, minlength=bins)
        moments += (x.sum(), y.sum(), x @ x, y @ y, x @ y)
    has_pairs = pairs > 0
    counts = pairs[has_pairs]
    return PairSimilarity(
        EDGES[:-1][has_pairs],
        counts,
        total[has_pairs] / counts,
        below[has_pairs] / counts,
        _pearson(moments, int(pairs.sum())),
    )


def _above_diagonal(cosines: Vectors, start: int) -> Floats:
    """Cosines of rows with later rows only: each pair once."""
    rows, columns = cosines.shape
    later = np.arange(columns)[None, :] > start + np.arange(rows)[:, None]
    return cosines[later].astype(np.float64).clip(-1, 1)


def _pearson(moments: Floats, count: int) -> float:
    if count < 2:
        return float("nan")
    x, y, xx, yy, xy = moments / count
    spread = (xx - x * x) * (yy - y * y)
    return float((xy - x * y) / np.sqrt(spread)) if spread > 1e-18 else float("nan")
