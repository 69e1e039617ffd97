"""Neighbours: an index of vectors that finds most of those near one, and now and then misses one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from usearch.index import Index

from personahub_assets.domain.cosines import Ints, Kept, Vectors, spans

_BLOCK = 1024  # rows that are added together
_PIECE = 16_384  # rows that are read together
_ALONE = 16_384  # rows that one thread adds to an index


class Neighbours:
    """Finds kept rows near a vector, and now and then misses one: a usearch index.

    Rows are numbered as they are added. Their vectors are stored as 8-bit integers, so what it proposes is to be
    verified. (Signs alone take two thirds of the time, but at 100,000 personas missed 0.5 % of the keepers.)
    """

    def __init__(self, dimensions: int) -> None:
        self._index = Index(ndim=dimensions, metric="cos", dtype="i8")

    def __len__(self) -> int:
        return len(self._index)

    def add(self, vectors: Vectors) -> None:
        """Add rows: the next numbers are theirs.

        Rows that threads add at the same time do not see each other. In a small index that leaves some that no search
        ever reaches (14 of 50,000 personas got another keeper; 0 or 1 if one thread adds the first).
        """
        for begin, end in spans(len(vectors), _BLOCK):
            keys = np.arange(len(self), len(self) + end - begin)
            self._index.add(keys, vectors[begin:end], threads=1 if len(self) < _ALONE else 0)

    def catch_up(self, kept: Sequence[Kept]) -> None:
        """Add those of the kept rows that it does not have yet.

        Raises:
            ValueError: it has more rows than there are.
        """
        known, first = len(self), 0
        if known > sum(len(each.places) for each in kept):
            raise ValueError(f"the index has {known} rows, more than are kept; delete it, and it will be made anew")
        for each in kept:
            for begin, end in spans(len(each.places), _PIECE):
                self.add(each.vectors[max(begin, min(end, known - first)) : end])
            first += len(each.places)

    def search(self, vectors: Vectors, count: int) -> Ints:
        """Propose so many neighbours for each of the vectors: their numbers, (n, count); -1: there are fewer."""
        # One row would give a list of matches of another shape.
        asked = vectors if len(vectors) > 1 else np.repeat(vectors, 2, axis=0)
        found: Any = self._index.search(asked, count)
        there = np.arange(count) < found.counts[:, None]
        return np.where(there, found.keys.astype(np.int64), -1)[: len(vectors)]

    def stored(self) -> bytes:
        """Give all of it, to be restored."""
        return bytes(self._index.save() or b"")

    def restore(self, stored: bytes) -> None:
        """Become what one of the same dimensions was."""
        self._index.load(stored)
