"""An index of vectors that proposes neighbours, and now and then misses one."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from usearch.index import Index

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK = 1024  # rows that are added together
_PIECE = 16_384  # rows of an earlier walk that are added at a time
_ALONE = 16_384  # rows that one thread adds to an index


class Rows(Protocol):
    """Anything that has vectors."""

    @property
    def vectors(self) -> Vectors:
        """Rows of length 1, (n, d)."""


class Neighbours:
    """Finds rows near a vector: a usearch index. Rows are numbered as they are added.

    Args:
        dimensions: of the vectors.
        stored_as: "i8", a quarter of the size: what it proposes is to be verified. (Signs alone take two thirds of the
            time, but at 100,000 personas missed 0.5 % of the keepers.) Or "f32", and the vectors can be had back.
        effort: how many rows a search looks at, at least; more find more, and take longer.
    """

    def __init__(self, dimensions: int, stored_as: Literal["i8", "f32"] = "i8", effort: int | None = None) -> None:
        self._index = Index(ndim=dimensions, metric="cos", dtype=stored_as, expansion_search=effort)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        return int(self._index.ndim)

    def add(self, vectors: Vectors) -> None:
        """Add rows: the next numbers are theirs.

        Rows that threads add at the same time do not see each other. In a small index that leaves some that no search
        ever reaches (14 of 50,000 personas got another keeper; 0 or 1 if one thread adds the first).
        """
        for begin, end in _parts(len(vectors), _BLOCK):
            keys = np.arange(len(self), len(self) + end - begin)
            self._index.add(keys, vectors[begin:end], threads=1 if len(self) < _ALONE else 0)

    def catch_up(self, kept: Sequence[Rows]) -> None:
        """Add those of the kept rows that it does not have yet.

        Raises:
            ValueError: it has more rows than there are.
        """
        known, first = len(self), 0
        if known > sum(len(each.vectors) for each in kept):
            raise ValueError(f"the index has {known} rows, more than are kept; delete it, and it will be made anew")
        for each in kept:
            for begin, end in _parts(len(each.vectors), _PIECE):
                self.add(each.vectors[max(begin, min(end, known - first)) : end])
            first += len(each.vectors)

    def search(self, vectors: Vectors, count: int) -> Ints:
        """Propose so many neighbours for each of the vectors: their numbers, (n, count); -1: there are fewer."""
        found: Any = self._index.search(vectors, count)
        if len(vectors) == 1:  # a list of matches, and no more than there are
            return np.pad(found.keys.astype(np.int64), (0, count - len(found.keys)), constant_values=-1)[None]
        there = np.arange(count) < found.counts[:, None]
        return np.where(there, found.keys.astype(np.int64), -1)

    def vectors(self, numbers: Ints) -> Vectors:
        """Give back the vectors of some rows, exactly if they are stored as f32."""
        if not len(numbers):
            return np.empty((0, self.dimensions), np.float32)
        found: Any = self._index.get(numbers.astype(np.uint64))
        return np.stack(found)

    def stored(self) -> bytes:
        """Give all of it, to be restored."""
        return bytes(self._index.save() or b"")

    def restore(self, stored: bytes) -> None:
        """Become what one of the same dimensions was."""
        self._index.load(stored)

    def write(self, path: str) -> None:
        """Write all of it to a file, without a second copy in memory."""
        self._index.save(path)

    def read(self, stored: npt.NDArray[np.uint8]) -> None:
        """Become what was written, to be added to.

        Args:
            stored: the file's bytes. Look at them before: usearch believes whatever they say.
        """
        self._index.load(stored.data)

    def view(self, stored: npt.NDArray[np.uint8]) -> None:
        """Become what was written, to be searched only: nothing is copied.

        Args:
            stored: as for `read`; kept as long as this is.
        """
        self._stored = stored
        self._index.view(stored.data)


def _parts(count: int, size: int) -> Iterator[tuple[int, int]]:
    """As `cosines.spans`, without the second that loading its kernels takes."""
    return ((begin, min(begin + size, count)) for begin in range(0, count, size))
