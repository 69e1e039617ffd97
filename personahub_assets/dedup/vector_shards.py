"""Kept vectors as shards (`shards.py`), and rows to compare with them: quantised, and searched piece by piece."""

import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np

from personahub_assets.dedup.bounds import Allocate, Projection, tiled
from personahub_assets.dedup.cosines import Ints, Kept, check_lengths, spans
from personahub_assets.dedup.keepers import NONE
from personahub_assets.dedup.kernels import read_only
from personahub_assets.dedup.scan import Queries, Reach, Shelf, scan
from personahub_assets.dedup.scratch import release
from personahub_assets.dedup.shards import Best, Matches, Spans, masked, matches_of, spans_among

PIECE = 16_384  # kept rows of earlier walks that one thread prepares together
_PIECES = 4  # pieces in memory
_SLICE = 256  # rows that a thread takes together: their quantised vectors fit into the L1 cache
_TIMED = 1_024, 16_384  # rows and kept rows whose comparison is timed


class Batch(NamedTuple):
    """Rows to compare with the kept ones of a shard, quantised; `queries` has the best keepers found so far."""

    queries: Queries
    projection: Projection
    reach: Reach
    threads: int  # 0: one for each CPU of the machine that searches


class RowShard(NamedTuple):
    """Some kept rows of earlier walks."""

    kept: Kept
    rows: Ints  # (m,) their numbers in their segment

    def without(self, spans: Spans) -> "RowShard":
        """The same rows, but some rows of the segment are no keepers."""
        return self._replace(kept=replace(self.kept, places=masked(self.kept.places, spans_among(self.rows, spans))))

    def followed_by(self, others: Sequence["RowShard"], firsts: Sequence[int]) -> "RowShard":
        """The part of a segment that also has the rows of others, which begin at its rows `firsts`."""
        rows = (each.rows + first for each, first in zip(others, firsts, strict=True))
        return RowShard(_concatenated([self.kept, *(each.kept for each in others)]), np.concatenate([self.rows, *rows]))

    def candidates(self, batch: Batch) -> Matches:
        """The best keeper of each row, if it is better than the one found so far."""
        return best_keepers(self.kept, batch)


def shard(kept: Kept, rows: Ints, number: int, count: int, among: range) -> RowShard:
    """Part `number` of `count` of some rows of a segment: a range of them.

    Args:
        kept: rows of a segment.
        rows: (m,) their numbers in the segment, which ascend.
        number: which part.
        count: number of parts.
        among: rows of the segment; the part numbers them from 0.
    """
    first, last = np.searchsorted(rows, (among.start, among.stop)).tolist()
    begin, end = (first + (last - first) * at // count for at in (number, number + 1))
    taken = Kept(kept.vectors[begin:end], kept.places[begin:end], kept.all_marks[begin:end])
    return RowShard(taken, rows[begin:end] - among.start)


def best_keepers(kept: Kept, batch: Batch) -> Matches:
    """The best keeper of each row, if it is better than the one found so far."""
    before = batch.queries
    queries = before._replace(similarity=before.similarity.copy(), keeper=before.keeper.copy())
    with ThreadPoolExecutor(batch.threads or os.cpu_count()) as pool:
        visit([kept], batch._replace(queries=queries), pool)
    is_same = queries.keeper == before.keeper
    return matches_of(Best(np.where(is_same, NONE, queries.keeper), queries.similarity))


def queries_of(projection: Projection, rows: Kept, allocate: Allocate = np.empty) -> Queries:
    """Quantise rows to decide."""
    codes, losses = projection.quantize(rows.vectors, allocate)
    offsets = codes.sum(axis=1, dtype=np.int64) * 128
    nothing = np.full(len(rows.places), np.nan), np.full(len(rows.places), NONE)
    vectors, *numbers = (read_only(each) for each in (rows.vectors, rows.places, rows.all_marks))
    return Queries(vectors, numbers[0], numbers[1], codes, losses, offsets, *nothing)


def part_of(kept: Kept, begin: int, end: int) -> Kept:
    """Some kept rows, read into memory and checked."""
    vectors = read_only(kept.vectors[begin:end])
    check_lengths("kept vectors", vectors)
    return Kept(vectors, np.array(kept.places[begin:end]), np.array(kept.all_marks[begin:end]))


def visit(kept: Iterable[Kept], batch: Batch, pool: ThreadPoolExecutor) -> None:
    """Search kept rows of other walks, piece by piece."""
    pieces = ((each, *span) for each in kept for span in spans(len(each.places), PIECE))

    def prepare(each: Kept, begin: int, end: int) -> Shelf:
        return shelf_of(batch.projection, each, begin, end)

    while few := list(islice(pieces, _PIECES)):
        for shelf in pool.map(prepare, *zip(*few, strict=True)):
            search(batch, range(len(batch.queries.places)), shelf, len(shelf.places), pool)
        for each, begin, end in few:
            release(each.vectors[begin:end])


def shelf_of(projection: Projection, kept: Kept, begin: int, end: int) -> Shelf:
    """Quantise some kept rows."""
    piece = part_of(kept, begin, end)
    tiles = tiled(*projection.quantize(piece.vectors), projection.square)
    return Shelf(*tiles, piece.vectors, np.arange(end - begin), piece.places, piece.all_marks)


def search(batch: Batch, rows: range, shelf: Shelf, count: int, pool: ThreadPoolExecutor) -> None:
    """Search the first `count` kept rows of a shelf for the best keepers of some rows."""

    def search_slice(begin: int) -> None:
        end = min(begin + _SLICE, rows.stop)
        scan(batch.queries, begin, end, shelf, count, batch.reach, batch.projection.square)

    list(pool.map(search_slice, rows[::_SLICE]))


def estimated_seconds(batch: Batch, kept: Sequence[Kept], pool: ThreadPoolExecutor) -> float:
    """Estimate the time of comparing all rows of a batch with all kept rows and with each other, on a sample of both.

    Fewer rows of a sample have a keeper, and a row without one is compared in full with more others: the estimate is
    rather too high.
    """
    own = Kept(batch.queries.vectors, batch.queries.places, batch.queries.marks)
    rows, earlier = len(own.places), sum(len(each.places) for each in kept)
    step = max(1, (rows + earlier) // _TIMED[1])
    candidates = _concatenated([_taken(each, np.arange(0, len(each.places), step)) for each in (own, *kept)])
    others = np.flatnonzero(np.arange(rows) % step) if 1 < step < rows else np.arange(rows)
    queried = _taken(own, others[:: max(1, len(others) // _TIMED[0])])
    sample = batch._replace(
        queries=queries_of(batch.projection, replace(queried, places=np.arange(len(queried.places))))
    )

    def prepare_and_search(count: int) -> tuple[float, float]:
        started = time.perf_counter()
        shelf = shelf_of(batch.projection, candidates, 0, count)
        prepared = time.perf_counter()
        search(sample, range(len(queried.places)), shelf, count, pool)
        return prepared - started, time.perf_counter() - prepared

    count = len(candidates.places)
    prepare_and_search(1)  # compiles
    preparing, searching = prepare_and_search(count)
    return rows * (earlier + rows / 2) * searching / (len(queried.places) * count) + earlier * preparing / count


def _taken(kept: Kept, rows: Ints) -> Kept:
    vectors = kept.vectors[rows]
    release(kept.vectors)  # the system reads 16 pages for each row
    return Kept(vectors, np.full(len(rows), -1), kept.all_marks[rows])  # before all others


def _concatenated(groups: Sequence[Kept]) -> Kept:
    columns = ((each.vectors, each.places, each.all_marks) for each in groups)
    return Kept(*(np.concatenate(column) for column in zip(*columns, strict=True)))
