"""Diversity of meaning: nearest neighbours and the Vendi score of unit vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

NEAR, NEARER = 0.8, 0.9
"""Cosines above which two texts count as alike, and as nearly the same."""

_BLOCK = 2_048  # rows that are compared with all others at a time: 16 MB of cosines for 2,048 others


@dataclass(frozen=True)
class VectorDiversity:
    """Diversity of the meanings of some texts.

    Attributes:
        compared: number of vectors that were compared with each other.
        near_80: share of the rows with another row at a cosine of 0.8 or more; null for fewer than two rows.
        near_90: the same for 0.9.
        mean_nearest: mean cosine of a row with its nearest other row; null for fewer than two rows.
        vendi: Vendi score: how many wholly different texts would be as diverse as these, from 1 to the number of rows.
    """

    compared: int
    near_80: float | None
    near_90: float | None
    mean_nearest: float | None
    vendi: float


def measure(vectors: Vectors, vendi_of: Vectors | None = None) -> VectorDiversity:
    """Measure unit vectors (n, d), each compared with all others: n² · d multiplications.

    Args:
        vectors: the vectors, or a sample of them.
        vendi_of: all vectors, for the Vendi score, whose cost grows only with their number.

    Raises:
        ValueError: without vectors.
    """
    if not len(vectors):
        raise ValueError("no vectors: at least one is needed")
    score = vendi(vectors if vendi_of is None else vendi_of)
    if len(vectors) == 1:
        return VectorDiversity(1, None, None, None, score)
    cosines = nearest(vectors)
    near, nearer = (float((cosines >= limit).mean()) for limit in (NEAR, NEARER))
    return VectorDiversity(len(vectors), near, nearer, float(cosines.mean(dtype=np.float64)), score)


def nearest(vectors: Vectors) -> Vectors:
    """Cosine of each row with its nearest other row, (n,), within [-1, 1]; needs two rows at least."""
    best = np.empty(len(vectors), np.float32)
    for start, cosines in blocks(vectors):
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf  # a row is not its own neighbour
        best[start : start + len(cosines)] = cosines.max(axis=1)
    return best.clip(-1, 1)


def blocks(vectors: Vectors) -> Iterator[tuple[int, Vectors]]:
    """Yield the cosines of some consecutive rows with all, (2,048 at most, n), with the number of the first row."""
    for start in range(0, len(vectors), _BLOCK):
        yield start, vectors[start : start + _BLOCK] @ vectors.T


def vendi(vectors: Vectors) -> float:
    """The exact Vendi score (Friedman and Dieng, 2023) of unit vectors (n, d) for the cosine kernel.

    It is the exponential of the entropy of the eigenvalues of K / n, where K (n, n) holds the cosines. K = V Vᵀ has the
    same eigenvalues, other than zeros, as the (d, d) matrix Vᵀ V: the cost is n · d² + d³ instead of n³.

    Raises:
        ValueError: without vectors.
    """
    if not len(vectors):
        raise ValueError("no vectors: at least one is needed")
    gram = np.zeros((vectors.shape[1],) * 2)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float64)
        gram += block.T @ block
    eigenvalues = np.linalg.eigvalsh(gram)
    shares = eigenvalues[eigenvalues > 0] / eigenvalues[eigenvalues > 0].sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
