"""Cosines of float32 vectors of length 1, computed in float64, always in the same order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup.kernels import kernel

Vectors = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

UNIT = 1e-4
"""Tolerance of a squared length."""


@dataclass(frozen=True)
class Kept:
    """The kept rows of an earlier walk."""

    vectors: Vectors  # (m, d), rows of length 1; may be a read-only memory-mapped file
    places: Ints  # (m,)
    marks: Ints | None = None  # (m,) only rows with equal marks are compared; None: all are equal

    @property
    def all_marks(self) -> Ints:
        """The mark of each row."""
        return np.zeros(len(self.places), np.int64) if self.marks is None else self.marks


def check_lengths(name: str, vectors: Vectors) -> None:
    """Check that vectors have length 1.

    Raises:
        ValueError: if a vector has another length; the message gives it.
    """
    squares = np.einsum("nd,nd->n", vectors, vectors)
    wrong = np.flatnonzero(~(np.abs(squares - 1.0) <= UNIT))
    if len(wrong):
        length = np.sqrt(squares[wrong[0]])
        raise ValueError(f"{name} have length 1, but one has {length}; divide each by its length before comparing")


def spans(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Divide `count` rows into spans of a size; yield begin and end of each."""
    return ((begin, min(begin + size, count)) for begin in range(0, count, size))


@kernel
def dot(x, y):
    """Sum of products in float64, in a fixed order; products of float32 numbers are exact in float64."""
    a = b = c = d = e = f = g = h = 0.0
    unrolled = len(x) // 8 * 8
    for i in range(0, unrolled, 8):
        a += np.float64(x[i]) * np.float64(y[i])
        b += np.float64(x[i + 1]) * np.float64(y[i + 1])
        c += np.float64(x[i + 2]) * np.float64(y[i + 2])
        d += np.float64(x[i + 3]) * np.float64(y[i + 3])
        e += np.float64(x[i + 4]) * np.float64(y[i + 4])
        f += np.float64(x[i + 5]) * np.float64(y[i + 5])
        g += np.float64(x[i + 6]) * np.float64(y[i + 6])
        h += np.float64(x[i + 7]) * np.float64(y[i + 7])
    for i in range(unrolled, len(x)):
        a += np.float64(x[i]) * np.float64(y[i])
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@kernel
def scaled(product, x, y):
    """Cosine of two vectors, given their product."""
    return min(1.0, product / np.sqrt(dot(x, x) * dot(y, y)))


@kernel
def cosine(x, y):
    """Cosine of two float32 vectors; symmetric, and exactly 1.0 for equal vectors.

    Equal vectors give s / sqrt(s * s), and the square root of a rounded square is exactly the number.
    """
    return scaled(dot(x, y), x, y)
