"""An approximate nearest-neighbour index of vectors."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from usearch.index import Index

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK = 1024  # rows that are added together
_ALONE = 8_192  # first rows of an index; a single thread adds them


class Neighbours:
    """Finds rows near a vector: a usearch index of float32 numbers. Rows are numbered as they are added.

    Args:
        dimensions: length of the vectors.
        effort: minimum number of rows that a search visits; more rows improve the recall and take longer.
    """

    def __init__(self, dimensions: int, effort: int | None = None) -> None:
        self._index = Index(ndim=dimensions, metric="cos", dtype="f32", expansion_search=effort)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return int(self._index.ndim)

    def add(self, vectors: Vectors) -> None:
        """Add rows; they get the next numbers.

        Rows that threads add at the same time are not linked to each other. In a small index some of them are then
        unreachable (14 of 50,000 personas got a wrong keeper; 0 or 1 if one thread adds the first rows).
        """
        for begin, end in _chunks(len(vectors), _BLOCK):
            keys = np.arange(len(self), len(self) + end - begin)
            self._index.add(keys, vectors[begin:end], threads=1 if len(self) < _ALONE else 0)

    def search(self, vectors: Vectors, count: int) -> Ints:
        """Propose neighbours for each vector: their numbers, (n, count), padded with -1."""
        matches: Any = self._index.search(vectors, count)
        if len(vectors) == 1:  # usearch returns a list that is not padded
            return np.pad(matches.keys.astype(np.int64), (0, count - len(matches.keys)), constant_values=-1)[None]
        is_match = np.arange(count) < matches.counts[:, None]
        return np.where(is_match, matches.keys.astype(np.int64), -1)

    def vectors(self, numbers: Ints) -> Vectors:
        """Return the vectors of some rows."""
        if not len(numbers):
            return np.empty((0, self.dimensions), np.float32)
        vectors: Any = self._index.get(numbers.astype(np.uint64))
        return np.stack(vectors)

    def write(self, path: str) -> None:
        """Write the index to a file, without a second copy in memory."""
        self._index.save(path)

    def read(self, stored: npt.NDArray[np.uint8]) -> None:
        """Load a written index, for adding rows.

        Args:
            stored: bytes of the file. Verify them first: usearch does not.
        """
        self._index.load(stored.data)

    def view(self, stored: npt.NDArray[np.uint8]) -> None:
        """Open a written index for searching only, without a copy.

        Args:
            stored: as for `read`; the index keeps a reference.
        """
        self._stored = stored
        self._index.view(stored.data)


def _chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """The same as `cosines.spans`, without loading its kernels, which takes a second."""
    return ((begin, min(begin + size, count)) for begin in range(0, count, size))
