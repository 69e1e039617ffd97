"""Semantic deduplication: cosine similarity of embeddings at or above a threshold.

The paper (section 2.2.1) filters cosine similarity above 0.9. Rows are walked in their order; each is compared with the
kept rows before it, and is kept if none is within the threshold (`keepers.py` has the rule).

**Exact.** Every row is quantised to a short vector of 8-bit integers. An upper bound of the cosine then costs one
machine instruction per four numbers. The cosine itself is computed, in float64, only for pairs whose bound reaches the
best cosine found so far. The bound is proven (`bounds.py`), so no pair is missed. The length of the quantised vectors,
the size of blocks and the number of threads affect the time, not the result.

**Cells.** If that would take longer than allowed, each row is compared only with the kept rows in the cells next to
it (`cells.py`). The recall is measured: for a random sample of rows the keepers are also looked up exactly.

How long the exact method takes depends on the vectors: 8 s for 300,000 of MiniLM, 220 s for as many without structure.
So it is estimated on a sample of the rows themselves: `vector_shards.estimated_seconds`.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np

from personahub_assets.dedup import keepers
from personahub_assets.dedup.bounds import Allocate, empty_tiles, fit_projection
from personahub_assets.dedup.cells import (
    Cells,
    CellShelf,
    Index,
    Numbers,
    centroids_of,
    empty_cells,
    nearest,
    probes_of,
)
from personahub_assets.dedup.cosines import Flags, Ints, Kept, Vectors, check_lengths, spans
from personahub_assets.dedup.keepers import NONE
from personahub_assets.dedup.kernels import read_only
from personahub_assets.dedup.scan import Reach, Shelf, settle
from personahub_assets.dedup.scratch import release
from personahub_assets.dedup.shards import Best, Shard
from personahub_assets.dedup.vector_shards import (
    PIECE,
    Batch,
    best_keepers,
    estimated_seconds,
    part_of,
    queries_of,
    search,
    visit,
)

_BLOCK = 1024  # rows that are decided together
_SAMPLE = 1000  # rows whose keepers are looked up exactly to measure the recall of the cells
_QUICK = 10**8  # comparisons whose time is not estimated
_IN_CELLS = 16_384  # rows that are searched in the cells together, with each other exactly
_LEAST = 256  # of these rows, those that a thread takes together
_TRAINING = 65_536  # rows from which centroids are chosen


@dataclass(frozen=True)
class Decided(keepers.Decided):
    """Result of a walk, with the method and its time.

    Attributes:
        recall: share of sampled rows with the right keeper; 1.0 for 'exact'.
        seconds: time that the walk took.
        estimate: seconds of the exact method, estimated before it was chosen; None for few comparisons.
    """

    method: Literal["exact", "cells"]
    recall: float
    seconds: float = 0.0
    estimate: float | None = None


def decide(
    vectors: Vectors,
    positions: Ints,
    may_stay: Flags,
    kept: Sequence[Kept],
    threshold: float,
    *,
    marks: Ints | None = None,
    same: float = np.inf,
    shards: Sequence[Shard[Batch]] = (),
    exact_up_to: float = np.inf,
    exact_seconds: float = np.inf,
    index: Index | None = None,
    allocate: Allocate = np.empty,
    threads: int = os.cpu_count() or 1,
) -> Decided:
    """Walk rows in order and decide which are kept; each other row gets its keeper.

    Args:
        vectors: (n, d) rows of length 1, in the order of the walk.
        positions: (n,) position of each row in the order of all rows, ascending, at least 0.
        may_stay: (n,) False for rows that are not kept even without a keeper.
        kept: kept rows of other walks; rows at a later position are not used as keepers.
        threshold: minimum cosine of two similar rows, above 0 and at most 1.
        marks: (n,) rows with different marks are never similar. None: all have the mark 0.
        same: cosine from which two rows are not similar either: the model cannot distinguish their texts.
        shards: further kept rows, which may be held by other processes; they are always compared exactly.
        exact_up_to: number of comparisons (rows times kept rows) up to which all are made.
        exact_seconds: estimated time of the exact method up to which it is used.
        index: returns the cells for the rows of `kept`. None: they are chosen here.
        allocate: allocates arrays whose size grows with the rows.
        threads: number of threads that search.

    Raises:
        ValueError: if a vector does not have length 1, or shapes do not match.
    """
    started = time.perf_counter()
    _check(vectors, positions, may_stay, kept)
    if not len(vectors):
        return Decided(np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_), "exact", 1.0)
    own = Kept(vectors, positions, marks)
    with closing(_Walk(own, may_stay, kept, Reach(threshold, same), allocate, threads)) as walk:
        for shard in shards:
            walk.best.take(shard.candidates(walk.batch._replace(threads=0)))
        comparisons = len(vectors) * (sum(len(each.places) for each in kept) + len(vectors))
        estimate = None
        if _QUICK < comparisons <= exact_up_to:
            estimate = estimated_seconds(walk.batch, kept, walk.pool) + time.perf_counter() - started
        recall = 1.0
        if is_exact := comparisons <= exact_up_to and (estimate or 0.0) <= exact_seconds:
            walk.exactly()
        else:
            walk.by_cells(index() if index else choose_cells(vectors, kept, threshold, threads))
            recall = walk.recall()
        seconds = time.perf_counter() - started
        return Decided(*walk.best, walk.stays, "exact" if is_exact else "cells", recall, seconds, estimate)


def differences(first: keepers.Decided, second: keepers.Decided) -> Ints:
    """List the rows that were decided differently: another keeper, or a keeper in only one of the two."""
    return np.flatnonzero((first.keeper != second.keeper) | (first.stays != second.stays))


def choose_cells(vectors: Vectors, kept: Sequence[Kept], threshold: float, threads: int = os.cpu_count() or 1) -> Cells:
    """Choose centroids for rows and kept ones, and the number of cells that a row looks into, on a sample of them."""
    groups = [*(each.vectors for each in kept), vectors]
    rows = sum(map(len, groups))
    sample = np.concatenate([group[:: max(1, rows // _TRAINING)] for group in groups])
    centroids = centroids_of(sample, rows)
    queried = np.arange(0, len(sample), 8)
    others = np.delete(sample, queried, axis=0)
    projection = fit_projection(sample, threshold)
    queries = queries_of(projection, Kept(sample[queried], len(others) + queried))
    batch = Batch(queries, projection, Reach(threshold, np.inf), threads)
    pairs = best_keepers(Kept(others, np.arange(len(others))), batch)
    return Cells(centroids, probes_of(sample[queried][pairs.rows], others[pairs.keepers], centroids))


def _check(vectors: Vectors, positions: Ints, may_stay: Flags, kept: Sequence[Kept]) -> None:
    for name, rows, count in (
        ("vectors", vectors, len(positions)),
        ("vectors", vectors, len(may_stay)),
        *(("kept vectors", each.vectors, len(each.places)) for each in kept),
    ):
        if rows.ndim != 2 or len(rows) != count or rows.dtype != np.float32:
            raise ValueError(f"{name} are {rows.dtype} {rows.shape}; expected float32 ({count}, dimensions)")
        if len(rows) and len(vectors) and rows.shape[1] != vectors.shape[1]:
            raise ValueError(f"{name} have {rows.shape[1]} dimensions, the rows to decide {vectors.shape[1]}")
    if np.any(np.diff(positions) <= 0):
        raise ValueError("places of the rows to decide about are not ascending; sort the rows by place")
    check_lengths("vectors", vectors)


# --- The walk ------------------------------------------------------------------------------------------------------


class _Walk:
    """The rows of a walk, their best keepers so far, and which rows are kept."""

    def __init__(
        self, rows: Kept, may_stay: Flags, kept: Sequence[Kept], reach: Reach, allocate: Allocate, threads: int
    ) -> None:
        self.kept, self.may_stay, self.allocate = kept, may_stay, allocate
        projection = fit_projection(rows.vectors, reach.threshold)
        self.batch = Batch(queries_of(projection, rows, allocate), projection, reach, threads)
        self.stays = np.zeros(len(rows.places), np.bool_)
        self.pool = ThreadPoolExecutor(threads)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown()

    @property
    def best(self) -> Best:
        """Keepers and similarities."""
        return Best(self.batch.queries.keeper, self.batch.queries.similarity)

    def exactly(self) -> None:
        """Compare each row with all kept ones before it."""
        self._search_kept()
        self._decide(0, len(self.stays))

    def _search_kept(self) -> None:
        for each in self.kept:
            self.best.take(best_keepers(each, self.batch))

    def _decide(self, begin: int, end: int) -> None:
        """Compare rows with each other and decide about them."""
        batch, shelf, count = self.batch, self._empty_shelf(end - begin), 0
        for first, last in ((begin + a, begin + b) for a, b in spans(end - begin, _BLOCK)):
            search(batch, range(first, last), shelf, count, self.pool)
            square = batch.projection.square
            count = int(
                settle(batch.queries, first, last, shelf, count, self.may_stay, self.stays, batch.reach, square)
            )

    def _empty_shelf(self, size: int) -> Shelf:
        tiles, extra = empty_tiles(size, self.batch.projection.width, self.allocate)
        return Shelf(tiles, extra, self.batch.queries.vectors, *(self.allocate((size,), np.int64) for _ in range(3)))

    def by_cells(self, cells: Cells) -> None:
        """Compare each row with the kept rows in the nearest cells, and with all kept rows of its own block."""
        queries, width = self.batch.queries, self.batch.projection.width
        probes = nearest(queries.vectors, cells.centroids, cells.probes)
        for number, each in enumerate(self.kept):
            own = cells.of_kept[number] if number < len(cells.of_kept) else None
            self._search_cells(self._kept_in_cells(each, cells.centroids, own), range(len(self.stays)), probes)
            release(each.vectors)
        own_shelf = empty_cells(len(cells.centroids), len(self.stays), width, queries.vectors, self.allocate)
        for begin, end in spans(len(self.stays), _IN_CELLS):
            self._search_cells(own_shelf, range(begin, end), probes)
            self._decide(begin, end)
            stayed = begin + np.flatnonzero(self.stays[begin:end])
            own_shelf.add(queries, stayed, probes[stayed, 0], self.batch.projection.square)

    def _kept_in_cells(self, kept: Kept, centroids: Vectors, own: Numbers | None) -> CellShelf:
        width, square = self.batch.projection.width, self.batch.projection.square
        shelf = empty_cells(len(centroids), len(kept.places), width, read_only(kept.vectors), self.allocate)
        for begin, end in spans(len(kept.places), PIECE):
            piece = part_of(kept, begin, end)
            rows = queries_of(self.batch.projection, piece)
            cells = nearest(piece.vectors, centroids, 1)[:, 0] if own is None else own[begin:end]
            shelf.add(rows, np.arange(end - begin), cells, square, begin)
            release(kept.vectors[begin:end])
        return shelf

    def _search_cells(self, shelf: CellShelf, rows: range, probes: Numbers) -> None:
        size = max(_LEAST, -(-len(rows) // (self.batch.threads * max(1, len(rows) // _IN_CELLS))))

        def search(begin: int) -> None:
            end = min(begin + size, rows.stop)
            shelf.search(self.batch.queries, begin, end, probes, self.batch.reach, self.batch.projection.square)

        list(self.pool.map(search, rows[::size]))

    def recall(self) -> float:
        """Share of the exact keepers of sampled rows that were found; the sample is seeded."""
        count, queries = len(self.stays), self.batch.queries
        drawn = np.sort(np.random.default_rng(0).choice(count, min(_SAMPLE, count), replace=False))
        truth = self.batch._replace(queries=queries_of(self.batch.projection, self._subset(drawn)))
        visit(self.kept, truth, self.pool)
        stayed = np.flatnonzero(self.stays)
        visit((self._subset(stayed[begin:end]) for begin, end in spans(len(stayed), PIECE)), truth, self.pool)
        matched = truth.queries.keeper != NONE
        # The keeper of a row may be in a shard elsewhere, and better than those here.
        is_right = (queries.keeper[drawn] == truth.queries.keeper) | (
            queries.similarity[drawn] > truth.queries.similarity
        )
        return float(np.mean(is_right[matched])) if matched.any() else 1.0

    def _subset(self, rows: Ints) -> Kept:
        queries = self.batch.queries
        return Kept(queries.vectors[rows], queries.places[rows], queries.marks[rows])
