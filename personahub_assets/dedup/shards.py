"""The kept rows that a batch is compared with, as a list of shards.

A shard holds some of the kept rows of earlier walks. It answers one question about a batch: which of your rows is the
best keeper of each row, and how similar is it? It compares the rows in full, so its answer is final for its own rows.
`Best` collects the answers of all shards by the rule of `keepers.prefers`, which is a total order: so the result does
not depend on how kept rows are divided, on the order of the answers, or on a pair that two shards report. Then one
process, the only one that changes anything, applies the keep rule to the rows of the batch in their order.

What a shard may be placed in, be it a thread, a process or an actor on another machine, follows from these rules, which
every shard obeys:

- It is a tuple of arrays, and so is a batch: both can be pickled, and a shard can be mapped from files.
- `candidates` is a pure function of the shard and the batch. It reads no store, no setting and no clock.
- A lost shard is made again from the segments of the stage (`kept_rows.py`), which are made again from the tables.
- What is held for a later batch names its rows, run by run: the same rows in the same order are in the segments that
  a merge makes, so only new rows are sent, and a holder joins them with those that it has. Rows that are no keepers
  any more are masked by spans of row numbers, which travel with the question.

The lexical stage is divided by ranges of the signatures, which are hashes: `lexical.shard`. The semantic stage is
divided by rows: `vector_shards.shard`. `ray_shards.py` places such shards in actors, each with a
`shard_holder.Holder`. `tests/dedup/test_shards.py` compares 1, 2 and 5 shards with none.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np

from personahub_assets.core.text import digest
from personahub_assets.dedup.keepers import NONE, Floats, Ints

Batch_contra = TypeVar("Batch_contra", contravariant=True)

Spans = tuple[tuple[int, int], ...]
"""Row numbers, as spans from a first row up to one that is no part of it."""

NOWHERE = np.iinfo(np.int64).max
"""Place of a masked row: after all others, so that it is no keeper."""


class Matches(NamedTuple):
    """Pairs of a row of a batch and a kept row within the threshold; of each row at most one, its best."""

    rows: Ints  # (p,) numbers of the rows in the batch
    keepers: Ints  # (p,) places of the kept rows
    similarities: Floats  # (p,)


class Shard(Protocol[Batch_contra]):
    """Some of the kept rows of earlier walks."""

    def candidates(self, batch: Batch_contra) -> Matches:
        """The best keeper of each row among the rows of this shard; only keepers at an earlier place count."""


class Part(Shard[Batch_contra], Protocol[Batch_contra]):
    """A part of a segment that can be held for later batches."""

    def without(self, spans: Spans) -> Self:
        """The same rows, but some rows of the segment are no keepers."""

    def followed_by(self, others: Sequence[Self], firsts: Sequence[int]) -> Self:
        """The part of a segment that also has the rows of others, which begin at its rows `firsts`."""


class Divisible(NamedTuple):
    """Kept rows that can be divided into shards."""

    runs: tuple[str, ...]  # names of the rows, in order
    ends: tuple[int, ...]  # of each run, the row after its last
    masked: Spans  # rows that are no keepers
    divide: Callable[[int, int, range], Part[Any]]  # makes part i of n of some rows

    @property
    def key(self) -> str:
        """Identifies the rows, whichever of them are masked."""
        return digest(*self.runs)


class Best(NamedTuple):
    """The best keepers of the rows of a batch so far; they are changed in place."""

    keeper: Ints  # (n,) place, or NONE
    similarity: Floats  # (n,) NaN without a keeper

    def take(self, matches: Matches) -> None:
        """Use those matches that are better: more similar, or as similar and earlier."""
        rows, keepers, similarities = matches
        before, former = self.similarity[rows], self.keeper[rows]
        is_better = (former == NONE) | (similarities > before) | ((similarities == before) & (keepers < former))
        self.keeper[rows[is_better]] = keepers[is_better]
        self.similarity[rows[is_better]] = similarities[is_better]


def best_of(answers: Sequence[Matches]) -> Matches:
    """The best match of each row, of the answers of several shards."""
    columns = [np.concatenate(column) for column in zip(*answers, strict=True)]
    rows, keepers, similarities = columns
    order = np.lexsort((keepers, -similarities, rows))
    first = order[np.flatnonzero(np.diff(rows[order], prepend=-1))]
    return Matches(rows[first], keepers[first], similarities[first])


def masked(positions: Ints, spans: Iterable[Sequence[int]]) -> Ints:
    """Places without those of some rows.

    Args:
        positions: (m,) places.
        spans: begins and ends of the rows to mask.
    """
    spans = list(spans)
    if not spans:
        return positions
    positions = np.array(positions)
    for begin, end in spans:
        positions[begin:end] = NOWHERE
    positions.flags.writeable = False  # as mapped ones are, so that kernels are compiled once
    return positions


def spans_among(rows: Ints, spans: Spans) -> list[list[int]]:
    """Spans of row numbers as begins and ends in `rows` (m,), numbers that ascend."""
    ends: list[list[int]] = np.searchsorted(rows, np.array(spans, np.int64).reshape(-1, 2)).tolist()
    return ends


def no_keepers(count: int) -> Best:
    """The start for a number of rows."""
    return Best(np.full(count, NONE), np.full(count, np.nan))


def matches_of(best: Best) -> Matches:
    """The rows that have a keeper."""
    rows = np.flatnonzero(best.keeper != NONE)
    return Matches(rows, best.keeper[rows], best.similarity[rows])
