"""Choose personas that cover the space of embeddings, instead of a random sample.

The rule is farthest-point selection (Gonzalez 1985; k-center greedy of Sener and Savarese 2018): begin with the row
nearest to the mean, then repeatedly take the row that is farthest from all rows taken so far. If d is the greatest
distance of a row to the nearest of the k taken ones, no choice of k rows has a greatest distance below d / 2. Distances
are |x - y| of unit vectors, with |x - y|² = 2 - 2 cos(x, y); the bound needs their triangle inequality.

The rule prefers outliers. So in the end each chosen row is replaced by the row in the middle of its group, if no row of
the group is then farther than the farthest row of all was: the bound still holds, and the mean similarity is better.

A direct implementation compares each taken row with all rows, which reads the memory k times. Here a pool of the
farthest rows is compared with itself. Within the pool the rule is applied as long as its farthest row is farther than
every row outside the pool was (distances only shrink, so it is still the farthest of all). The taken rows are then
compared with all rows in one matrix product. The result is the same, except for ties and for cosines that differ by
less than the precision of float32.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_POOL = 4096  # rows that are compared with each other at a time
_BLOCK = 8192  # rows that are compared with the taken ones at a time
_MIDDLES = 8  # rows of a group that are tried as its middle


@dataclass(frozen=True)
class Cover:
    """Chosen rows and the rows that they represent.

    Args:
        rows: (k,) numbers of the chosen rows, in order of choice.
        nearest: (n,) for each row the index in `rows` of the nearest chosen row.
        cosine: (n,) cosine of each row with its nearest chosen row.
    """

    rows: Ints
    nearest: Ints
    cosine: Vectors

    @property
    def mean(self) -> float:
        """Mean cosine of a row with its nearest chosen row."""
        return float(self.cosine.mean(dtype=np.float64)) if len(self.cosine) else 1.0

    @property
    def least(self) -> float:
        """Least cosine of a row with its nearest chosen row."""
        return float(self.cosine.min(initial=1.0))

    @property
    def sizes(self) -> Ints:
        """(k,) number of rows nearest to each chosen row, itself included."""
        return np.bincount(self.nearest, minlength=len(self.rows))


def spread(vectors: Vectors, count: int, *, pool: int = _POOL) -> Cover:
    """Choose rows that cover the space.

    Args:
        vectors: (n, d) rows of length 1. Of equally far rows the first is taken, so sort them in a stable order.
        count: number of rows to choose; all rows if there are fewer.
        pool: rows compared with each other at a time; affects the time only.
    """
    if not len(vectors) or count < 1:
        return _empty_cover(len(vectors))
    growing = _Growing(vectors)
    growing.take(np.array([_middle(vectors)]))
    while len(growing.rows) < min(count, len(vectors)):
        growing.take(_farthest(growing, min(count, len(vectors)) - len(growing.rows), pool))
    return cover(vectors, _middles(vectors, growing.cover))


def cover(vectors: Vectors, rows: Ints) -> Cover:
    """Measure how well some rows cover all."""
    if not len(vectors) or not len(rows):
        return _empty_cover(len(vectors))
    growing = _Growing(vectors)
    growing.take(rows)
    return growing.cover


def draw(total: int, count: int, seed: int = 0) -> Ints:
    """Draw rows at random, without repeats, for a comparison."""
    return np.random.default_rng(seed).choice(total, min(count, total), replace=False).astype(np.int64)


def _empty_cover(total: int) -> Cover:
    return Cover(np.empty(0, np.int64), np.zeros(total, np.int64), np.full(total, -1, np.float32))


def _middle(vectors: Vectors) -> int:
    """The row nearest to the mean."""
    return int(np.argmax(vectors @ vectors.mean(axis=0, dtype=np.float64).astype(np.float32)))


class _Growing:
    """Rows taken so far, and for every row the nearest of them."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.rows: list[int] = []
        self.cosine = np.full(len(vectors), -np.inf, np.float32)
        self.nearest = np.zeros(len(vectors), np.int64)

    @property
    def cover(self) -> Cover:
        return Cover(np.array(self.rows, np.int64), self.nearest, np.clip(self.cosine, -1, 1))

    def take(self, rows: Ints) -> None:
        """Take rows and compare all with them."""
        taken = self.vectors[rows].T
        for begin in range(0, len(self.vectors), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            products = self.vectors[block] @ taken
            best = products.argmax(axis=1)
            best_cosine = np.take_along_axis(products, best[:, None], axis=1)[:, 0]
            nearer = best_cosine > self.cosine[block]
            self.cosine[block][nearer] = best_cosine[nearer]
            self.nearest[block][nearer] = best[nearer] + len(self.rows)
        self.nearest[rows] = len(self.rows) + np.arange(len(rows))
        self.cosine[rows] = np.inf  # of itself, and never the farthest again
        self.rows += rows.tolist()


def _farthest(growing: _Growing, count: int, pool: int) -> Ints:
    """The next rows by the rule: at least one, and as many as the pool decides."""
    pool = min(pool, len(growing.vectors))
    order = np.argpartition(growing.cosine, pool - 1)[:pool]
    order = order[np.lexsort((order, growing.cosine[order]))]  # the farthest first; of equals the first
    outside = growing.cosine[order[-1]] if pool < len(growing.vectors) else np.inf
    cosine, among = growing.cosine[order], growing.vectors[order]
    taken: list[int] = []
    while len(taken) < min(count, pool):
        next_ = int(cosine.argmin())
        if cosine[next_] == np.inf or (taken and cosine[next_] >= outside):
            break
        taken.append(next_)
        np.maximum(cosine, among @ among[next_], out=cosine)
        cosine[next_] = np.inf
    return order[taken]


def _middles(vectors: Vectors, coverage: Cover) -> Ints:
    """For each chosen row the middle of its group, if no row of the group gets farther than the farthest of all."""
    order = np.argsort(coverage.nearest, kind="stable")
    groups = np.split(order, np.cumsum(coverage.sizes)[:-1])
    return np.array(
        [_middle_of(vectors, group, row, coverage.least) for group, row in zip(groups, coverage.rows, strict=True)]
    )


def _middle_of(vectors: Vectors, group: Ints, row: int, least: float) -> int:
    members = vectors[group]
    alike = members @ members.sum(axis=0)
    best = np.argsort(-alike, kind="stable")[:_MIDDLES]
    fits = best[(members @ members[best].T).min(axis=0) >= least]
    better = len(fits) and alike[fits[0]] > alike[group == row][0]
    return int(group[fits[0]]) if better else int(row)
