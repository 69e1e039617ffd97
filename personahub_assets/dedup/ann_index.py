"""An approximate nearest-neighbour index of vectors."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from usearch.index import Index

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK = 1024  # rows that are added together
_PIECE = 16_384  # rows of an earlier walk that are added together
_ALONE = 8_192  # first rows of an index; a single thread adds them
_SIGNS_FROM = 256  # dimensions; with fewer, signs are too imprecise
# Wrong keepers at 100,000 personas: signs with effort 64: 6 in 16 s, with 96: 1 in 24 s; 8-bit numbers: 11 in 35 s.
_CONNECTIVITY, _EFFORT = 32, 96


class Rows(Protocol):
    """An object with vectors."""

    @property
    def vectors(self) -> Vectors:
        """Rows of length 1, (n, d)."""


class Neighbours:
    """Finds rows near a vector: a usearch index. Rows are numbered as they are added.

    Args:
        dimensions: length of the vectors.
        stored_as: "codes" or "f32". A code has one bit per dimension, set if the number is above the mean of the first
            added rows; with few dimensions it has 8-bit numbers. Verify neighbours that are found by codes. With "f32"
            the vectors can be read back.
        effort: minimum number of rows that a search visits; more rows improve the recall and take longer.
    """

    def __init__(
        self, dimensions: int, stored_as: Literal["codes", "f32"] = "codes", effort: int | None = None
    ) -> None:
        self.kind = "f32" if stored_as == "f32" else "b1" if dimensions >= _SIGNS_FROM else "i8"
        self._centre: Vectors = np.zeros(dimensions, np.float32)
        if self.kind == "b1":
            self._index = Index(
                ndim=dimensions,
                metric="hamming",
                dtype="b1",
                connectivity=_CONNECTIVITY,
                expansion_add=_EFFORT,
                expansion_search=effort or _EFFORT,
            )
        else:
            self._index = Index(ndim=dimensions, metric="cos", dtype=self.kind, expansion_search=effort)

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
        if not len(self) and len(vectors):
            self._centre = np.asarray(vectors[:_ALONE]).mean(axis=0)
        for begin, end in _chunks(len(vectors), _BLOCK):
            keys = np.arange(len(self), len(self) + end - begin)
            self._index.add(keys, self._codes(vectors[begin:end]), threads=1 if len(self) < _ALONE else 0)

    def catch_up(self, kept: Sequence[Rows]) -> None:
        """Add the kept rows that are not in the index yet.

        Raises:
            ValueError: if the index has more rows than are kept.
        """
        indexed, first = len(self), 0
        if indexed > sum(len(each.vectors) for each in kept):
            raise ValueError(f"the index has {indexed} rows, more than are kept; delete it, and it will be rebuilt")
        for each in kept:
            for begin, end in _chunks(len(each.vectors), _PIECE):
                self.add(each.vectors[max(begin, min(end, indexed - first)) : end])
            first += len(each.vectors)

    def search(self, vectors: Vectors, count: int) -> Ints:
        """Propose neighbours for each vector: their numbers, (n, count), padded with -1."""
        matches: Any = self._index.search(self._codes(vectors), count)
        if len(vectors) == 1:  # usearch returns a list that is not padded
            return np.pad(matches.keys.astype(np.int64), (0, count - len(matches.keys)), constant_values=-1)[None]
        is_match = np.arange(count) < matches.counts[:, None]
        return np.where(is_match, matches.keys.astype(np.int64), -1)

    def _codes(self, vectors: Vectors) -> Any:
        return np.packbits(vectors > self._centre, axis=1) if self.kind == "b1" else vectors

    def vectors(self, numbers: Ints) -> Vectors:
        """Return the vectors of some rows, exact if they are stored as f32."""
        if not len(numbers):
            return np.empty((0, self.dimensions), np.float32)
        vectors: Any = self._index.get(numbers.astype(np.uint64))
        return np.stack(vectors)

    def to_bytes(self) -> bytes:
        """Serialise the index."""
        return self._centre.tobytes() + bytes(self._index.save() or b"")

    def load_bytes(self, stored: bytes) -> None:
        """Load a serialised index of the same dimensions and kind."""
        self._centre = np.frombuffer(stored, np.float32, self.dimensions)
        self._index.load(stored[self._centre.nbytes :])

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
