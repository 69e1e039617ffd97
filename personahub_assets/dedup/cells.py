"""An index of vectors by cells: a kept row is in the cell of its nearest centroid, and a row looks into several cells.

Rows near the border of a cell have neighbours in the next one, so looking only into the own cell loses 1 to 36 % of the
pairs from 0.9, by the vectors. Four cells are enough for some vectors, and lose 1.5 % with others. So their number is
chosen by the pairs of a sample. The rows of a cell are compared as in the exact method: quantised first, then in full.
So an index proposes no wrong keeper; it can only miss one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup.bounds import Allocate, empty_tiles
from personahub_assets.dedup.cosines import Ints, Vectors, spans
from personahub_assets.dedup.int8 import LANES, reaching
from personahub_assets.dedup.kernels import kernel
from personahub_assets.dedup.scan import Queries, Reach, Shelf, compare, cut_of, store
from personahub_assets.dedup.shards import NOWHERE

Numbers = npt.NDArray[np.int32]

_FEWEST, _MOST = 4, 64  # cells that a row looks into
_UNMEASURED = 16  # such cells if a sample has too few pairs to choose
_PAIRS, _COVERED = 100, 0.999  # pairs that are enough, and the share of them that the cells must cover
_PIECE = 16_384  # rows whose nearest centroids are searched together
_PER_CELL = 64  # rows of the sample for each centroid
_ROUNDS = 8  # of k-means
_NEVER = np.iinfo(np.int32).min // 2  # in the place of the losses of an empty slot


class Cells(NamedTuple):
    """Centroids, and the cells of kept rows if they are known."""

    centroids: Vectors  # (c, d), of length 1
    probes: int  # cells that a row looks into
    of_kept: Sequence[Numbers] = ()  # for each `Kept`, the cell of each row


def centroids_of(vectors: Vectors, rows: int) -> Vectors:
    """Find the centroids for a number of rows like these, by k-means on a sample.

    A quarter of the square root of the rows: a comparison with a centroid takes as long as dozens with a quantised row.

    Args:
        vectors: (n, d) rows of length 1, at least one.
        rows: number of rows that the cells are for.
    """
    random = np.random.default_rng(0)
    count = int(min(len(vectors), max(_FEWEST, np.sqrt(rows) / 4)))
    sample = vectors[np.sort(random.choice(len(vectors), min(len(vectors), _PER_CELL * count), replace=False))]
    centroids = sample[random.choice(len(sample), count, replace=False)]
    for _ in range(_ROUNDS):
        own = nearest(sample, centroids, 1)[:, 0]
        sums = np.zeros(centroids.shape, np.float64)
        _add_up(sample, own, sums)
        lengths = np.linalg.norm(sums, axis=1)
        is_filled = lengths > 0
        centroids[is_filled] = sums[is_filled] / lengths[is_filled, None]
    return centroids


def nearest(vectors: Vectors, centroids: Vectors, count: int) -> Numbers:
    """The nearest centroids of each row, the nearest first: (n, count)."""
    cells = np.empty((len(vectors), min(count, len(centroids))), np.int32)
    transposed = np.ascontiguousarray(centroids.T)
    for begin, end in spans(len(vectors), _PIECE):
        _greatest(vectors[begin:end] @ transposed, cells[begin:end])
    return cells


def probes_of(rows: Vectors, partners: Vectors, centroids: Vectors) -> int:
    """Number of cells that a row must look into, by pairs of similar rows: (p, d) each."""
    if len(rows) < _PAIRS:
        return _UNMEASURED
    most = min(_MOST, len(centroids))
    ranks = nearest(rows, centroids, most) == nearest(partners, centroids, 1)
    covered = np.cumsum(ranks.sum(axis=0)) / len(rows)
    return max(_FEWEST, min(most, 1 + int(np.searchsorted(covered, _COVERED))))


class Chains(NamedTuple):
    """The tiles of each cell, linked."""

    heads: Numbers  # (c,) first tile of a cell, or -1
    tails: Numbers  # (c,) last tile of a cell
    fills: Numbers  # (c,) rows in the last tile
    following: Numbers  # (tiles,) next tile of the same cell, or -1
    used: Numbers  # (1,) number of tiles in use


class CellShelf(NamedTuple):
    """Quantised kept rows in the tiles of their cells."""

    shelf: Shelf
    chains: Chains

    def add(self, source: Queries, rows: Ints, cells: Numbers, square: float, first: int = 0) -> None:
        """Add rows of `source`; row `first` of the vectors of the shelf is row 0 of the source."""
        _add(source, rows, cells, self.shelf, self.chains, square, first)

    def search(self, queries: Queries, begin: int, end: int, probes: Numbers, reach: Reach, square: float) -> None:
        """Find the best keepers of some rows in the cells that they look into: (n, probes)."""
        count = len(self.chains.heads)
        wanted = probes[begin:end].ravel()
        order = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[order], np.arange(count + 1))
        _scan_cells(queries, begin + order // probes.shape[1], bounds, self.shelf, self.chains, reach, square)


def empty_cells(cells: int, rows: int, width: int, vectors: Vectors, allocate: Allocate) -> CellShelf:
    """Allocate tiles for up to a number of rows; an unused tile takes no memory."""
    tiles = rows // LANES + cells
    codes, extra = empty_tiles(tiles * LANES, width, allocate)
    extra[:] = _NEVER
    numbers = (allocate((tiles * LANES,), np.int64) for _ in range(3))
    shelf = Shelf(codes, extra, vectors, *numbers)
    shelf.places[:] = NOWHERE
    heads, tails, fills, following = (np.full(size, -1, np.int32) for size in (cells, cells, cells, tiles))
    chains = Chains(heads, tails, fills, following, np.zeros(1, np.int32))
    return CellShelf(shelf, chains)


@kernel
def _add_up(vectors, cells, sums):
    """Sum of the vectors of each cell."""
    for row in range(len(vectors)):
        for at in range(vectors.shape[1]):
            sums[cells[row], at] += vectors[row, at]


@kernel
def _greatest(products, cells):
    """The columns of the greatest numbers of each row, in descending order."""
    count = cells.shape[1]
    best = np.empty(count, np.float32)
    for row in range(len(products)):
        best[:] = -np.inf
        for column in range(products.shape[1]):
            product = products[row, column]
            if product <= best[count - 1]:
                continue
            at = count - 1
            while at and best[at - 1] < product:
                best[at], cells[row, at] = best[at - 1], cells[row, at - 1]
                at -= 1
            best[at], cells[row, at] = product, column


@kernel
def _add(source, rows, cells, shelf, chains, square, first):
    for at in range(len(rows)):
        row, cell = rows[at], cells[at]
        if chains.tails[cell] < 0 or chains.fills[cell] == LANES:
            tile = chains.used[0]
            chains.used[0] += 1
            if chains.tails[cell] < 0:
                chains.heads[cell] = tile
            else:
                chains.following[chains.tails[cell]] = tile
            chains.tails[cell], chains.fills[cell] = tile, 0
        slot = np.int64(chains.tails[cell]) * LANES + chains.fills[cell]
        chains.fills[cell] += 1
        store(source.codes[row], source.losses[row], shelf, slot, square)
        shelf.rows[slot], shelf.places[slot], shelf.marks[slot] = first + row, source.places[row], source.marks[row]


@kernel
def _scan_cells(queries, rows, bounds, shelf, chains, reach, square):
    """Search cell by cell, so that its tiles stay in the cache; rows[bounds[c]:bounds[c + 1]] look into cell c."""
    slots = len(shelf.places)
    for cell in range(len(bounds) - 1):
        tile = np.int64(chains.heads[cell])
        if bounds[cell] == bounds[cell + 1]:
            continue
        cuts = np.array([cut_of(queries, rows[at], reach, square) for at in range(bounds[cell], bounds[cell + 1])])
        while tile >= 0:
            for at in range(bounds[cell], bounds[cell + 1]):
                cut = cuts[at - bounds[cell]]
                near = reaching(shelf.tiles, shelf.extra, tile, queries.codes, rows[at], cut)
                if near:
                    cuts[at - bounds[cell]] = compare(queries, rows[at], shelf, tile, near, slots, reach, square)
            tile = np.int64(chains.following[tile])


Index = Callable[[], Cells]
"""Returns the cells; called only if an index is needed."""
