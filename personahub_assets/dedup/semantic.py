"""Semantic deduplication: cosine similarity of embeddings at or above a threshold.

The paper (section 2.2.1) filters cosine similarity above 0.9. Rows are walked in their order; each is compared with the
kept rows before it, and is kept if none is within the threshold (`keepers.py` has the rule).

**Exact.** Every row is quantised to a short vector of 8-bit integers. An upper bound of the cosine then costs one
machine instruction per four numbers. The cosine itself is computed, in float64, only for pairs whose bound reaches the
best cosine found so far. The bound is proven (`bounds.py`), so no pair is missed. The length of the quantised vectors,
the size of blocks and the number of threads affect the time, not the result.

**Index.** Beyond `exact_up_to` comparisons a usearch index of the kept rows proposes neighbours, whose cosines are
computed as above. Its recall is measured: for a random sample of rows the keepers are also looked up exactly.

Measured: 100,000 vectors of 384 numbers on 2 cores with AVX512-VNNI take 1.3 s exactly and 45 s by the index. The time
of the index grows as n log n, the exact one as n², so they are equal at some millions: docs/decisions.md.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup import keepers
from personahub_assets.dedup.ann_index import Neighbours
from personahub_assets.dedup.bounds import empty_tiles, fit_projection, tiled
from personahub_assets.dedup.cosines import (
    UNIT,
    Doubles,
    Flags,
    Ints,
    Kept,
    Vectors,
    check_lengths,
    dot,
    scaled,
    spans,
)
from personahub_assets.dedup.int8 import LANES, reaching
from personahub_assets.dedup.keepers import NONE, prefers
from personahub_assets.dedup.kernels import kernel

_BLOCK = 1024  # rows that are decided together
_SLICE = 256  # rows that a thread takes together: their quantised vectors fit into the L1 cache
_PIECE = 16_384  # kept rows of earlier walks that one thread prepares together
_PIECES = 4  # pieces in memory
_GROUP = 4  # tiles that a thread takes together: they fit into that cache too
_SAMPLE = 1000  # rows whose keepers are looked up exactly to measure the recall of the index
_NEIGHBOURS = 32  # neighbours of the first query to the index


@dataclass(frozen=True)
class Decided(keepers.Decided):
    """Result of a walk, with the method."""

    method: Literal["exact", "usearch"]
    recall: float  # share of sampled rows with the right keeper; 1.0 for 'exact'


def decide(
    vectors: Vectors,
    positions: Ints,
    may_stay: Flags,
    kept: Sequence[Kept],
    threshold: float,
    *,
    marks: Ints | None = None,
    same: float = np.inf,
    exact_up_to: float = np.inf,
    index: Callable[[], Neighbours] | None = None,
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
        exact_up_to: number of comparisons (rows times kept rows) up to which all are made.
        index: returns an index of the rows of `kept`, or of the first of them, in this order. The walk adds the rows
            that it keeps. Called only if an index is needed; None: a new index.
        threads: number of threads that search.

    Raises:
        ValueError: if a vector does not have length 1, or shapes do not match.
    """
    _check(vectors, positions, may_stay, kept)
    if not len(vectors):
        return Decided(np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_), "exact", 1.0)
    own = Kept(vectors, positions, marks)
    walk = _Walk(own, may_stay, kept, _Reach(threshold, same))
    with ThreadPoolExecutor(threads) as pool:
        if len(vectors) * (sum(len(each.places) for each in kept) + len(vectors)) <= exact_up_to:
            walk.exactly(pool)
            return Decided(*walk.result(), "exact", 1.0)
        walk.by_index(index() if index else Neighbours(vectors.shape[1]))
        return Decided(*walk.result(), "usearch", walk.recall(pool))


def differences(first: keepers.Decided, second: keepers.Decided) -> Ints:
    """List the rows that were decided differently: another keeper, or a keeper in only one of the two."""
    return np.flatnonzero((first.keeper != second.keeper) | (first.stays != second.stays))


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

    def __init__(self, rows: Kept, may_stay: Flags, kept: Sequence[Kept], reach: "_Reach") -> None:
        self.kept, self.may_stay, self.reach = kept, may_stay, reach
        self.projection = fit_projection(rows.vectors, reach.threshold)
        self.queries = self._queries(rows)
        self.stays = np.zeros(len(rows.places), np.bool_)

    def result(self) -> tuple[Ints, Doubles, Flags]:
        """Keepers, similarities, and a mask of kept rows."""
        return self.queries.keeper, self.queries.similarity, self.stays

    def exactly(self, pool: ThreadPoolExecutor) -> None:
        """Compare each row with all kept ones before it."""
        self._visit(self.kept, self.queries, pool)
        shelf, count = self._empty_shelf(len(self.stays)), 0
        for begin, end in spans(len(self.stays), _BLOCK):
            self._search(self.queries, range(begin, end), shelf, count, pool)
            count = self._settle(begin, end, shelf, count)

    def by_index(self, index: Neighbours) -> None:
        """Compare each row with the kept rows that the index proposes, and with all kept rows of its own block."""
        earlier = _Earlier([*self.kept, Kept(self.queries.vectors, self.queries.places, self.queries.marks)])
        index.catch_up(self.kept)
        shelf = self._empty_shelf(_BLOCK)
        for begin, end in spans(len(self.stays), _BLOCK):
            self._ask(index, earlier, np.arange(begin, end))
            stayed = shelf.rows[: self._settle(begin, end, shelf, 0)]
            earlier.own.append(stayed.copy())
            index.add(self.queries.vectors[stayed])

    def recall(self, pool: ThreadPoolExecutor) -> float:
        """Share of the exact keepers of sampled rows that were found; the sample is seeded."""
        count = len(self.stays)
        drawn = np.sort(np.random.default_rng(0).choice(count, min(_SAMPLE, count), replace=False))
        truth = self._queries(self._subset(drawn))
        self._visit(self.kept, truth, pool)
        stayed = np.flatnonzero(self.stays)
        self._visit((self._subset(stayed[begin:end]) for begin, end in spans(len(stayed), _PIECE)), truth, pool)
        matched = truth.keeper != NONE
        return float(np.mean(self.queries.keeper[drawn][matched] == truth.keeper[matched])) if matched.any() else 1.0

    def _subset(self, rows: Ints) -> Kept:
        return Kept(self.queries.vectors[rows], self.queries.places[rows], self.queries.marks[rows])

    def _queries(self, rows: Kept) -> "_Queries":
        codes, losses = self.projection.quantize(rows.vectors)
        offsets = codes.sum(axis=1, dtype=np.int64) * 128
        nothing = np.full(len(rows.places), np.nan), np.full(len(rows.places), NONE)
        vectors, *numbers = (_read_only(each) for each in (rows.vectors, rows.places, rows.all_marks))
        return _Queries(vectors, numbers[0], numbers[1], codes, losses, offsets, *nothing)

    def _empty_shelf(self, size: int) -> "_Shelf":
        tiles, extra = empty_tiles(size, self.projection.width)
        return _Shelf(tiles, extra, self.queries.vectors, *(np.empty(size, np.int64) for _ in range(3)))

    def _visit(self, kept: Iterable[Kept], queries: "_Queries", pool: ThreadPoolExecutor) -> None:
        """Search the kept rows of other walks, piece by piece."""
        pieces = ((each, *span) for each in kept for span in spans(len(each.places), _PIECE))
        while few := list(islice(pieces, _PIECES)):
            for shelf in pool.map(self._shelf, *zip(*few, strict=True)):
                self._search(queries, range(len(queries.places)), shelf, len(shelf.places), pool)

    def _shelf(self, kept: Kept, begin: int, end: int) -> "_Shelf":
        vectors = _read_only(kept.vectors[begin:end])
        check_lengths("kept vectors", vectors)
        tiles = tiled(*self.projection.quantize(vectors), self.projection.square)
        columns = (np.array(each[begin:end]) for each in (kept.places, kept.all_marks))
        return _Shelf(*tiles, vectors, np.arange(end - begin), *columns)

    def _search(self, queries: "_Queries", rows: range, shelf: "_Shelf", count: int, pool: ThreadPoolExecutor) -> None:
        def search(begin: int) -> None:
            end = min(begin + _SLICE, rows.stop)
            _scan(queries, begin, end, shelf, count, self.reach, self.projection.square)

        list(pool.map(search, rows[::_SLICE]))

    def _settle(self, begin: int, end: int, shelf: "_Shelf", count: int) -> int:
        square = self.projection.square
        return int(_settle(self.queries, begin, end, shelf, count, self.may_stay, self.stays, self.reach, square))

    def _ask(self, index: Neighbours, earlier: "_Earlier", rows: Ints, count: int = _NEIGHBOURS) -> None:
        """Query the index for neighbours of rows, and for more if all neighbours are within the threshold."""
        count = min(count, len(index))
        saturated = []
        for begin, end in spans(len(rows) if count else 0, max(1, _BLOCK * _NEIGHBOURS // max(1, count))):
            chunk = rows[begin:end]
            near = earlier.rows(index.search(self.queries.vectors[chunk], count))
            within = _verify(self.queries, chunk, *near, self.reach)
            saturated.append(chunk[within == count])
        if saturated and count < len(index):
            self._ask(index, earlier, np.concatenate(saturated), count * 4)


class _Earlier:
    """Kept rows by number: first those of other walks, in order, then those of this walk."""

    def __init__(self, kept: Sequence[Kept]) -> None:
        self._kept = kept
        self._firsts = np.cumsum([0, *(len(each.places) for each in kept[:-1])])
        self.own: list[Ints] = []

    def rows(self, keys: Ints) -> tuple[Vectors, Ints, Ints]:
        """Vectors, positions and marks of rows by number, (..., d) and (...); number -1: no row, after all others."""
        *others, own = self._kept
        vectors = np.zeros((*keys.shape, own.vectors.shape[1]), np.float32)
        positions, marks = np.full(keys.shape, np.iinfo(np.int64).max), np.zeros(keys.shape, np.int64)
        for each, first in zip(others, self._firsts, strict=False):
            mask = (keys >= first) & (keys < first + len(each.places))
            at = keys[mask] - first
            vectors[mask], positions[mask], marks[mask] = each.vectors[at], each.places[at], each.all_marks[at]
        mask = keys >= self._firsts[-1]
        if mask.any():
            at = np.concatenate(self.own)[keys[mask] - self._firsts[-1]]
            vectors[mask], positions[mask], marks[mask] = own.vectors[at], own.places[at], own.all_marks[at]
        return vectors, positions, marks


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a read-only view, so that kernels are compiled once for arrays in memory and memory-mapped files."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view = view[:]
    view.flags.writeable = False
    return view


# --- Kernels -------------------------------------------------------------------------------------------------------


class _Reach(NamedTuple):
    """Cosines of similar rows: at least the threshold, below `same`."""

    threshold: float
    same: float


class _Queries(NamedTuple):
    """Rows to decide, with the best keepers found so far."""

    vectors: Vectors
    places: Ints
    marks: Ints
    codes: npt.NDArray[np.int8]
    losses: Doubles
    offsets: Ints  # (n,) added to each product because tiles store codes + 128
    similarity: Doubles
    keeper: Ints


class _Shelf(NamedTuple):
    """Kept rows in tiles: row `rows[slot]` of the vectors is in lane slot % 64 of tile slot // 64."""

    tiles: npt.NDArray[np.uint8]  # (tiles, width / 4, 64, 4)
    extra: npt.NDArray[np.int32]  # (slots,) losses, in units of a product
    vectors: Vectors
    rows: Ints
    places: Ints
    marks: Ints


@kernel
def _take(queries, i, cosine, position, reach):
    """Use a kept row as keeper if it is the best so far."""
    if reach.threshold <= cosine < reach.same and prefers(cosine, position, queries.similarity[i], queries.keeper[i]):
        queries.similarity[i], queries.keeper[i] = cosine, position


@kernel
def _wanted(queries, i, reach):
    """Cosine from which a row may be a better keeper."""
    return reach.threshold if queries.keeper[i] == NONE else queries.similarity[i]


@kernel
def _cut(queries, i, reach, square):
    """Product of codes from which a row may be a better keeper, rounded down."""
    return np.int32(np.floor((_wanted(queries, i, reach) - queries.losses[i]) / square) + queries.offsets[i])


@kernel
def _compare(queries, i, shelf, tile, near, count, reach, square):
    """Compare a row with the rows of a tile that may be better keepers; return the new cut."""
    for lane in range(LANES):
        slot = tile * LANES + lane
        if not near >> np.uint64(lane) & np.uint64(1) or slot >= count:
            continue
        if shelf.places[slot] < queries.places[i] and shelf.marks[slot] == queries.marks[i]:
            x, y = queries.vectors[i], shelf.vectors[shelf.rows[slot]]
            product = dot(x, y)
            if product * (1 + 3 * UNIT) >= _wanted(queries, i, reach):  # almost the cosine, at a third of the cost
                _take(queries, i, scaled(product, x, y), shelf.places[slot], reach)
    return _cut(queries, i, reach, square)


@kernel
def _scan(queries, begin, end, shelf, count, reach, square):
    """Find the best keepers of some rows in the tiles of a shelf."""
    tiles = (count + LANES - 1) // LANES
    cuts = np.array([_cut(queries, i, reach, square) for i in range(begin, end)])
    for first in range(0, tiles, _GROUP):
        for i in range(begin, end):
            for tile in range(first, min(first + _GROUP, tiles)):
                near = reaching(shelf.tiles, shelf.extra, tile, queries.codes, i, cuts[i - begin])
                if near:
                    cuts[i - begin] = _compare(queries, i, shelf, tile, near, count, reach, square)


@kernel
def _settle(queries, begin, end, shelf, count, may_stay, stays, reach, square):
    """Decide about the rows of a block, in order, and add kept rows to the shelf; return its number of rows."""
    first = count // LANES
    for i in range(begin, end):
        cut = _cut(queries, i, reach, square)
        for tile in range(first, (count + LANES - 1) // LANES):
            near = reaching(shelf.tiles, shelf.extra, tile, queries.codes, i, cut)
            if near:
                cut = _compare(queries, i, shelf, tile, near, count, reach, square)
        stays[i] = may_stay[i] and queries.keeper[i] == NONE
        if stays[i]:
            for k in range(queries.codes.shape[1]):
                shelf.tiles[count // LANES, k // 4, count % LANES, k % 4] = np.int32(queries.codes[i, k]) + 128
            shelf.extra[count] = np.int32(np.ceil(queries.losses[i] / square))
            shelf.rows[count], shelf.places[count], shelf.marks[count] = i, queries.places[i], queries.marks[i]
            count += 1
    return count


@kernel
def _verify(queries, rows, vectors, positions, marks, reach):
    """Find the best keepers among proposed rows, vectors (n, k, d); return the number of similar ones per row."""
    within = np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        x = queries.vectors[rows[i]]
        for j in range(positions.shape[1]):
            product = dot(x, vectors[i, j])
            if product * (1 + 3 * UNIT) >= reach.threshold:  # as in `_compare`
                cosine = scaled(product, x, vectors[i, j])
                within[i] += cosine >= reach.threshold
                if positions[i, j] < queries.places[rows[i]] and marks[i, j] == queries.marks[rows[i]]:
                    _take(queries, rows[i], cosine, positions[i, j], reach)
    return within
