"""Quantised vectors (8-bit integers) with a proven upper bound of cosines.

The bound costs one machine instruction per four numbers of two quantised vectors (`int8.py`). It is proven below, so no
pair is missed. The length of the quantised vectors affects the time, not the result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup.cosines import UNIT, Doubles, Vectors, spans
from personahub_assets.dedup.int8 import CHUNK, LANES

Allocate = Callable[[tuple[int, ...], npt.DTypeLike], npt.NDArray[Any]]
"""Returns an array of a shape and a type with any content, in memory or mapped from a file."""

_ROUNDING = 2.0**-24  # of float32
_PIECE = 16_384  # rows that are quantised together
_DIRECTIONS = 512  # maximum number of directions of a projection
_APART = 1024  # rows from which the two samples have no row in common
_CHECK_COST = 500  # cost of one cosine; the unit is a product of 64 numbers for 16 rows at once


class QuantizedRows(NamedTuple):
    """Quantised rows: integers that bound cosines from above.

    Let x, y be two rows of length exactly 1, B an orthonormal basis of k directions (the first principal ones, so that
    the rest is small), and u = 2^-24. The projection of x is f(x) = (h, t): the head h is B x up to rounding, the tail
    t is not less than the length of rest(x) = x - B' B x.

    1. h is computed in float32 from rows whose squared length differs from 1 by up to 1e-4. A float32 sum of d
       products, in any order, is off by at most (d + 2) u |b| |x| (1 + 1e-3), rounding of B included. So |h - B x| <=
       eta := 1e-4 + (sqrt(k) + 1) (d + 2) u (1 + 1e-2) + 1e-6: the length, its own rounding, and B in float64.
    2. <x, y> = <B x, B y> + <rest(x), rest(y)> <= <h(x), h(y)> + eta + eta (1 + eta) + |rest(x)| |rest(y)|.
    3. |rest(x)|^2 = 1 - |B x|^2 <= 1 - (|h| - eta)^2 <= 1 - |h|^2 + 2 eta (1 + eta). The t computed from
       max(0, 1 - |h|^2) + 3 eta is not less: eta (1 - 2 eta) is far larger than the rounding error of float32.
    4. So <x, y> <= <f(x), f(y)> + 3 eta, and |f| <= reach := 1 + 3 eta.
    5. A rotation R of all numbers of f, which evens out their sizes, changes no product. In float32 it is off by at
       most turn := sqrt(width) (width + 2) u (1 + 1e-2) + 1e-6.
    6. With codes q (integers of 8 bits), one step s for all rows, and e = R f - s q:
       <f(x), f(y)> = s^2 q(x) q(y) + <s q(x), e(y)> + <e(x), R f(y)>
                   <= s^2 q(x) q(y) + (reach + |e(x)|) |e(y)| + |e(x)| reach, and |e(x)| |e(y)| <= (.^2 + .^2) / 2.
       |e| is measured; `turn` and more than the rounding error of float32 are added. Numbers beyond 8 bits are clipped,
       which increases |e|.

    So <x, y> <= s^2 q(x) q(y) + loss(x) + loss(y) with loss := 1.5 eta + reach |e| + |e|^2 / 2. Cosines are computed
    with an error below 1e-12, which eta covers.
    """

    codes: npt.NDArray[np.int8]  # (n, width)
    losses: Doubles  # (n,)


@dataclass(frozen=True)
class Projection:
    """Projection and step by which rows are quantised."""

    basis: Vectors  # (d, k)
    rotation: Vectors  # (width, width), where width is a multiple of 64 above k
    step: float = 1.0

    @property
    def width(self) -> int:
        """Length of a quantised row: k numbers of the head, one of the tail, then zeros."""
        return len(self.rotation)

    @property
    def square(self) -> float:
        """Factor by which a product of codes is multiplied."""
        return self.step**2

    def project(self, vectors: Vectors) -> Vectors:
        """Project and rotate rows; the result is not rounded yet, (n, width)."""
        k = self.basis.shape[1]
        projected = np.zeros((len(vectors), self.width), np.float32)
        np.matmul(vectors, self.basis, out=projected[:, :k])
        residuals = 1.0 - np.einsum("nk,nk->n", projected, projected)
        projected[:, k] = np.sqrt(np.maximum(residuals, 0.0) + 3 * self._eta)
        return projected @ self.rotation

    def quantize(self, vectors: Vectors, allocate: Allocate = np.empty) -> QuantizedRows:
        """Quantise rows of length 1."""
        codes = allocate((len(vectors), self.width), np.int8)
        losses = np.empty(len(vectors))
        reach, turn = 1 + 3 * self._eta, sqrt(self.width) * (self.width + 2) * _ROUNDING * 1.01 + 1e-6
        for begin, end in spans(len(vectors), _PIECE):
            remainder = self.project(vectors[begin:end])
            rounded = np.clip(np.rint(remainder / np.float32(self.step)), -127, 127)
            codes[begin:end] = rounded
            remainder -= rounded * np.float32(self.step)
            error = np.sqrt(np.einsum("nk,nk->n", remainder, remainder), dtype=np.float64) * 1.001 + 1e-5 + turn
            losses[begin:end] = 1.5 * self._eta + reach * error + error**2 / 2
        return QuantizedRows(codes, losses)

    @property
    def _eta(self) -> float:
        d, k = self.basis.shape
        return float(UNIT + (sqrt(k) + 1) * (d + 2) * _ROUNDING * 1.01 + 1e-6)


def fit_projection(vectors: Vectors, threshold: float) -> Projection:
    """Choose directions and width by the estimated cost of comparing a sample; they do not affect the result."""
    sample, few = _samples(vectors)
    directions = _principal(sample)
    near = few @ few.T >= threshold
    chosen, least = CHUNK, np.inf
    for width in range(CHUNK, directions.shape[1] + CHUNK + 1, CHUNK):
        heads = few @ directions[:, : width - 1]
        tails = np.sqrt(np.maximum(0, 1 - np.einsum("nk,nk->n", heads, heads)))
        step = 4 / sqrt(width) / 127  # assumes numbers within four standard deviations and uniform errors
        bounds = heads @ heads.T + np.outer(tails, tails) + step * sqrt(width / 3)
        cost = width / CHUNK + _CHECK_COST * float(np.mean((bounds >= threshold) & ~near))
        if cost < least:
            chosen, least = width, cost
        elif width / CHUNK > least:
            break
    basis = np.ascontiguousarray(directions[:, : chosen - 1], dtype=np.float32)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(chosen, chosen)))[0].astype(np.float32)
    projected = Projection(basis, rotation).project(few)
    return Projection(basis, rotation, float(np.float32(np.max(np.abs(projected)) / 127)))


def _samples(vectors: Vectors) -> tuple[Vectors, Vectors]:
    """Rows to find directions in, and others to try them on: on the same rows they seem far better than they are."""
    count = len(vectors)
    tried = np.arange(0, count, max(1, count // 512))
    fitted = np.arange(0, count, max(1, count // 4096))
    if count >= _APART:
        fitted = np.setdiff1d(fitted, tried, assume_unique=True)
    return np.ascontiguousarray(vectors[fitted]), np.ascontiguousarray(vectors[tried])


def _principal(vectors: Vectors) -> Doubles:
    """Find orthonormal directions by descending variance; with many dimensions only the first, by iteration."""
    moments = vectors.T.astype(np.float64) @ vectors
    span = np.eye(len(moments))
    if len(moments) > _DIRECTIONS:
        span = np.random.default_rng(0).normal(size=(len(moments), _DIRECTIONS))
        for _ in range(3):
            span = np.linalg.qr(moments @ span)[0]
    directions: Doubles = span @ np.linalg.eigh(span.T @ moments @ span)[1][:, ::-1]
    return directions


def empty_tiles(
    count: int, width: int, allocate: Allocate = np.empty
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Allocate tiles of 64 quantised rows each, aligned to 64 bytes, because instructions read 64 at once."""
    tiles = -(-count // LANES)
    size = tiles * LANES * width
    buffer = allocate((size + 64,), np.uint8)
    first = -buffer.ctypes.data % 64
    aligned = buffer[first : first + size].reshape(tiles, width // 4, LANES, 4)
    return aligned, allocate((tiles * LANES,), np.int32)


def tiled(
    codes: npt.NDArray[np.int8], losses: Doubles, square: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Arrange quantised rows in tiles: codes plus 128, (tiles, width / 4, 64, 4), and losses in units of a product."""
    count, width = codes.shape
    tiles, extra = empty_tiles(count, width)
    padded = np.zeros((len(extra), width), np.uint8)
    padded[:count] = codes.view(np.uint8) ^ 128  # the code plus 128
    tiles[:] = padded.reshape(-1, LANES, width // 4, 4).transpose(0, 2, 1, 3)
    extra[:count], extra[count:] = np.ceil(losses / square), 0
    return tiles, extra
