"""Which personas mean nearly the same: embeddings with cosine at or above a threshold, each with its keeper.

The paper (section 2.2.1) filters cosine similarity above 0.9. Rows are walked in their order; each is compared with the
kept rows before it, and stays if none is within the threshold (`keepers.py` has the rule).

**Exact.** Every row has a shadow: a short vector of small integers with which an upper bound of the cosine costs one
machine instruction per four numbers. The cosine itself is computed, in float64, only for pairs whose bound reaches the
best cosine found so far. The bound is proven below (`_Shadows`), so nothing is missed; how long shadows are, how rows
are cut into blocks and how many threads there are changes the time and never the result.

**Index.** Beyond `exact_up_to` comparisons a usearch index of the kept rows proposes neighbours, whose cosines are
computed as above. What it misses is measured: for a random sample of rows the keepers are looked up exactly, in the
same run.

Measured: 100,000 vectors of 384 numbers on 2 cores with AVX512-VNNI take 1.3 s exactly and 45 s by the index. The index
grows as n log n and the other as n², so they meet at some millions: docs/decisions.md.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from personahub_assets.domain import keepers
from personahub_assets.domain.keepers import NONE, prefers
from personahub_assets.domain.neighbours import Neighbours

Vectors = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

EXACT_UP_TO = 10**13
"""Comparisons (rows times kept rows) up to which all are made."""

_BLOCK = 1024  # rows that are decided together
_SLICE = 256  # rows that a thread takes at a time: their shadows stay in the innermost cache
_PIECE = 16_384  # kept rows of earlier walks that are prepared at a time by one thread
_PIECES = 4  # that are in memory
_LANES = 64  # shadows that are compared at a time: of a tile
_GROUP = 4  # tiles that a thread takes at a time: they stay there, too
_CHUNK = 64  # numbers of a shadow that are multiplied at a time; its length is a multiple
_UNIT = 1e-4  # how far a squared length may be from 1
_ROUNDING = 2.0**-24  # of float32
_SAMPLE = 1000  # rows whose keepers are looked up exactly to learn what the index misses
_NEIGHBOURS = 16  # that the index is asked for first
_DIRECTIONS = 512  # of a projection, at most
_CHECK_COST = 500  # what one cosine costs, in products of 64 numbers for 16 rows at a time


@dataclass(frozen=True)
class Kept:
    """The kept rows of an earlier walk."""

    vectors: Vectors  # (m, d), rows of length 1; may be a read-only memory-mapped file
    places: Ints  # (m,)


@dataclass(frozen=True)
class Decided(keepers.Decided):
    """What became of the rows of a walk, and how it was found."""

    method: Literal["exact", "usearch"]
    recall: float  # share of sampled rows that the index gave the right keeper; 1.0 for 'exact'


def decide(
    vectors: Vectors,
    places: Ints,
    may_stay: Flags,
    kept: Sequence[Kept],
    threshold: float,
    *,
    exact_up_to: int = EXACT_UP_TO,
    index: "Callable[[], Neighbours] | None" = None,
    threads: int = os.cpu_count() or 1,
) -> Decided:
    """Walk rows in their order and say which stay, each other one with its keeper.

    Args:
        vectors: (n, d) rows of length 1, in the order of the walk.
        places: (n,) where each row stands in the order of all rows, ascending; 0 or above.
        may_stay: (n,) rows that are not kept even if they have no keeper are false.
        kept: kept rows of other walks; those at a later place are no keepers.
        threshold: cosine from which two rows are within each other's reach, above 0 and up to 1.
        exact_up_to: comparisons up to which all are made.
        index: gives one with the rows of `kept`, or the first of them, in this order, for this walk alone: the rows
            that stay are added. Asked only where it is needed; None: made anew.
        threads: how many search.

    Raises:
        ValueError: a vector is not of length 1, or the shapes do not fit together.
    """
    _check(vectors, places, may_stay, kept)
    if not len(vectors):
        return Decided(np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_), "exact", 1.0)
    walk = _Walk(vectors, places, may_stay, kept, threshold)
    with ThreadPoolExecutor(threads) as pool:
        if len(vectors) * (sum(len(each.places) for each in kept) + len(vectors)) <= exact_up_to:
            walk.exactly(pool)
            return Decided(*walk.result(), "exact", 1.0)
        walk.by_index(index() if index else Neighbours(vectors.shape[1]))
        return Decided(*walk.result(), "usearch", walk.recall(pool))


def differences(one: keepers.Decided, other: keepers.Decided) -> Ints:
    """List the rows that were decided differently: another keeper, or one where the other has none."""
    return np.flatnonzero((one.keeper != other.keeper) | (one.stays != other.stays))


def _check(vectors: Vectors, places: Ints, may_stay: Flags, kept: Sequence[Kept]) -> None:
    for name, rows, count in (
        ("vectors", vectors, len(places)),
        ("vectors", vectors, len(may_stay)),
        *(("kept vectors", each.vectors, len(each.places)) for each in kept),
    ):
        if rows.ndim != 2 or len(rows) != count or rows.dtype != np.float32:
            raise ValueError(f"{name} are {rows.dtype} {rows.shape}; expected float32 ({count}, dimensions)")
        if len(rows) and len(vectors) and rows.shape[1] != vectors.shape[1]:
            raise ValueError(f"{name} have {rows.shape[1]} dimensions, those to decide about {vectors.shape[1]}")
    if np.any(np.diff(places) <= 0):
        raise ValueError("places of the rows to decide about are not ascending; sort the rows by place")
    _check_lengths("vectors", vectors)


def _check_lengths(name: str, vectors: Vectors) -> None:
    squares = np.einsum("nd,nd->n", vectors, vectors)
    wrong = np.flatnonzero(~(np.abs(squares - 1.0) <= _UNIT))
    if len(wrong):
        length = np.sqrt(squares[wrong[0]])
        raise ValueError(f"{name} have length 1, but one has {length}; divide each by its length before comparing")


# --- The walk ------------------------------------------------------------------------------------------------------


class _Walk:
    """The rows of a walk, what has been found for them, and those that stay."""

    def __init__(self, vectors: Vectors, places: Ints, may_stay: Flags, kept: Sequence[Kept], threshold: float) -> None:
        self.kept, self.may_stay, self.threshold = kept, may_stay, threshold
        self.projection = _projection(vectors, threshold)
        self.asked = self._asked(vectors, places)
        self.stays = np.zeros(len(places), np.bool_)

    def result(self) -> tuple[Ints, Doubles, Flags]:
        """Keepers, similarities, and who stays."""
        return self.asked.keeper, self.asked.similarity, self.stays

    def exactly(self, pool: ThreadPoolExecutor) -> None:
        """Compare each row with all kept ones before it."""
        self._visit(self.kept, self.asked, pool)
        shelf, count = self._empty_shelf(len(self.stays)), 0
        for begin, end in _parts(len(self.stays), _BLOCK):
            self._search(self.asked, range(begin, end), shelf, count, pool)
            count = self._settle(begin, end, shelf, count)

    def by_index(self, index: "Neighbours") -> None:
        """Compare each row with kept ones that the index proposes, and with all those of its own block."""
        earlier = _Earlier([*self.kept, Kept(self.asked.vectors, self.asked.places)])
        index.catch_up(self.kept)
        shelf = self._empty_shelf(_BLOCK)
        for begin, end in _parts(len(self.stays), _BLOCK):
            self._ask(index, earlier, np.arange(begin, end))
            stayed = shelf.rows[: self._settle(begin, end, shelf, 0)]
            earlier.own.append(stayed.copy())
            index.add(self.asked.vectors[stayed])

    def recall(self, pool: ThreadPoolExecutor) -> float:
        """Share of the keepers of some rows, looked up exactly, that were found; the rows are drawn with a seed."""
        count = len(self.stays)
        drawn = np.sort(np.random.default_rng(0).choice(count, min(_SAMPLE, count), replace=False))
        truth = self._asked(self.asked.vectors[drawn], self.asked.places[drawn])
        self._visit(self.kept, truth, pool)
        stayed = np.flatnonzero(self.stays)
        parts = (stayed[begin:end] for begin, end in _parts(len(stayed), _PIECE))
        self._visit((Kept(self.asked.vectors[rows], self.asked.places[rows]) for rows in parts), truth, pool)
        there = truth.keeper != NONE
        return float(np.mean(self.asked.keeper[drawn][there] == truth.keeper[there])) if there.any() else 1.0

    def _asked(self, vectors: Vectors, places: Ints) -> "_Asked":
        codes, losses = self.projection.shadows(vectors)
        offsets = codes.sum(axis=1, dtype=np.int64) * 128
        nothing = np.full(len(places), np.nan), np.full(len(places), NONE)
        return _Asked(_read_only(vectors), _read_only(places), codes, losses, offsets, *nothing)

    def _empty_shelf(self, size: int) -> "_Shelf":
        tiles, extra = _empty_tiles(size, self.projection.width)
        return _Shelf(tiles, extra, self.asked.vectors, np.empty(size, np.int64), np.empty(size, np.int64))

    def _visit(self, kept: Iterable[Kept], asked: "_Asked", pool: ThreadPoolExecutor) -> None:
        """Look among kept rows of other walks, some at a time."""
        pieces = ((each, *part) for each in kept for part in _parts(len(each.places), _PIECE))
        while few := list(islice(pieces, _PIECES)):
            for shelf in pool.map(self._shelf, *zip(*few, strict=True)):
                self._search(asked, range(len(asked.places)), shelf, len(shelf.places), pool)

    def _shelf(self, kept: Kept, begin: int, end: int) -> "_Shelf":
        vectors = _read_only(kept.vectors[begin:end])
        _check_lengths("kept vectors", vectors)
        tiles = _tiles(*self.projection.shadows(vectors), self.projection.square)
        return _Shelf(*tiles, vectors, np.arange(end - begin), np.array(kept.places[begin:end]))

    def _search(self, asked: "_Asked", rows: range, shelf: "_Shelf", count: int, pool: ThreadPoolExecutor) -> None:
        def search(begin: int) -> None:
            end = min(begin + _SLICE, rows.stop)
            _scan(asked, begin, end, shelf, count, self.threshold, self.projection.square)

        list(pool.map(search, rows[::_SLICE]))

    def _settle(self, begin: int, end: int, shelf: "_Shelf", count: int) -> int:
        square = self.projection.square
        return int(_settle(self.asked, begin, end, shelf, count, self.may_stay, self.stays, self.threshold, square))

    def _ask(self, index: "Neighbours", earlier: "_Earlier", rows: Ints, count: int = _NEIGHBOURS) -> None:
        """Ask for neighbours of rows, and for more of those whose neighbours are all within the threshold."""
        count = min(count, len(index))
        more = []
        for begin, end in _parts(len(rows) if count else 0, max(1, _BLOCK * _NEIGHBOURS // max(1, count))):
            some = rows[begin:end]
            vectors, places = earlier.rows(index.search(self.asked.vectors[some], count))
            within = _verify(self.asked, some, vectors, places, self.threshold)
            more.append(some[within == count])
        if more and count < len(index):
            self._ask(index, earlier, np.concatenate(more), count * 4)


class _Earlier:
    """Kept rows by number: those of other walks, one after the other, then those of this walk that stayed."""

    def __init__(self, kept: Sequence[Kept]) -> None:
        self._kept = kept
        self._firsts = np.cumsum([0, *(len(each.places) for each in kept[:-1])])
        self.own: list[Ints] = []

    def rows(self, keys: Ints) -> tuple[Vectors, Ints]:
        """Vectors and places of the rows of these numbers, (..., d) and (...); -1: of none, and after all others."""
        *others, own = self._kept
        vectors = np.zeros((*keys.shape, own.vectors.shape[1]), np.float32)
        places = np.full(keys.shape, np.iinfo(np.int64).max)
        for each, first in zip(others, self._firsts, strict=False):
            here = (keys >= first) & (keys < first + len(each.places))
            vectors[here], places[here] = each.vectors[keys[here] - first], each.places[keys[here] - first]
        here = keys >= self._firsts[-1]
        if here.any():
            stayed = np.concatenate(self.own)[keys[here] - self._firsts[-1]]
            vectors[here], places[here] = own.vectors[stayed], own.places[stayed]
        return vectors, places


def _parts(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((begin, min(begin + size, count)) for begin in range(0, count, size))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give the same kind of array for memory and for memory-mapped files, so that kernels are compiled once."""
    view = np.ascontiguousarray(array).view(np.ndarray)
    view = view[:]
    view.flags.writeable = False
    return view


def _kernel(function: Callable[..., Any]) -> Any:
    """Compile a function when it is first called; the result is kept on disk for later processes."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


# --- Cosines -------------------------------------------------------------------------------------------------------


@_kernel
def _dot(x, y):
    """Sum of products in float64, always in the same order: the products of float32 numbers are exact."""
    a = b = c = d = e = f = g = h = 0.0
    whole = len(x) // 8 * 8
    for i in range(0, whole, 8):
        a += np.float64(x[i]) * np.float64(y[i])
        b += np.float64(x[i + 1]) * np.float64(y[i + 1])
        c += np.float64(x[i + 2]) * np.float64(y[i + 2])
        d += np.float64(x[i + 3]) * np.float64(y[i + 3])
        e += np.float64(x[i + 4]) * np.float64(y[i + 4])
        f += np.float64(x[i + 5]) * np.float64(y[i + 5])
        g += np.float64(x[i + 6]) * np.float64(y[i + 6])
        h += np.float64(x[i + 7]) * np.float64(y[i + 7])
    for i in range(whole, len(x)):
        a += np.float64(x[i]) * np.float64(y[i])
    return ((a + b) + (c + d)) + ((e + f) + (g + h))


@_kernel
def _scaled(product, x, y):
    return min(1.0, product / np.sqrt(_dot(x, x) * _dot(y, y)))


@_kernel
def cosine(x, y):
    """Cosine of two float32 vectors, the same in both directions and exactly 1.0 for equal ones.

    Equal ones give s / sqrt(s * s), and the square root of a rounded square is the number again.
    """
    return _scaled(_dot(x, y), x, y)


# --- Shadows -------------------------------------------------------------------------------------------------------


class _Shadows(NamedTuple):
    """Integers that bound cosines from above.

    Let x, y be two rows at length exactly 1, B an orthonormal basis of k directions (the first principal ones, so that
    little is left over), and u = 2^-24. The shadow of x is f(x) = (h, t): the head h is B x up to rounding, the tail t
    is not less than the length of rest(x) = x - B' B x.

    1. h is computed in float32 from rows whose squared length is found to be off by up to 1e-4. A float32 sum of d
       products, in any order, is off by at most (d + 2) u |b| |x| (1 + 1e-3), rounding of B included. So |h - B x| <=
       eta := 1e-4 + (sqrt(k) + 1) (d + 2) u (1 + 1e-2) + 1e-6: the length, its own rounding, and B in float64.
    2. <x, y> = <B x, B y> + <rest(x), rest(y)> <= <h(x), h(y)> + eta + eta (1 + eta) + |rest(x)| |rest(y)|.
    3. |rest(x)|^2 = 1 - |B x|^2 <= 1 - (|h| - eta)^2 <= 1 - |h|^2 + 2 eta (1 + eta). The t computed from
       max(0, 1 - |h|^2) + 3 eta is not less: eta (1 - 2 eta) is far more than what float32 rounds off.
    4. So <x, y> <= <f(x), f(y)> + 3 eta, and |f| <= reach := 1 + 3 eta.
    5. A rotation R of all numbers of f, which evens out their sizes, changes no product. In float32 it is off by at
       most turn := sqrt(width) (width + 2) u (1 + 1e-2) + 1e-6.
    6. With codes q (integers of 8 bits), one step s for all rows, and e = R f - s q:
       <f(x), f(y)> = s^2 q(x) q(y) + <s q(x), e(y)> + <e(x), R f(y)>
                   <= s^2 q(x) q(y) + (reach + |e(x)|) |e(y)| + |e(x)| reach, and |e(x)| |e(y)| <= (.^2 + .^2) / 2.
       |e| is measured, plus `turn` and more than float32 rounds off. Numbers beyond 8 bits are cut off: |e| grows.

    So <x, y> <= s^2 q(x) q(y) + loss(x) + loss(y) with loss := 1.5 eta + reach |e| + |e|^2 / 2. Cosines are computed
    with an error below 1e-12, for which eta has room.
    """

    codes: npt.NDArray[np.int8]  # (n, width)
    losses: Doubles  # (n,)


@dataclass(frozen=True)
class _Projection:
    """How shadows are cast."""

    basis: Vectors  # (d, k)
    rotation: Vectors  # (width, width), where width is a multiple of 64 above k
    step: float = 1.0

    @property
    def width(self) -> int:
        """Numbers of a shadow: k of the head, one of the tail, then zeros."""
        return len(self.rotation)

    @property
    def square(self) -> float:
        """What a product of codes is to be multiplied with."""
        return self.step**2

    def turned(self, vectors: Vectors) -> Vectors:
        """Shadows before they are made integers: (n, width)."""
        k = self.basis.shape[1]
        found = np.zeros((len(vectors), self.width), np.float32)
        np.matmul(vectors, self.basis, out=found[:, :k])
        rest = 1.0 - np.einsum("nk,nk->n", found, found)
        found[:, k] = np.sqrt(np.maximum(rest, 0.0) + 3 * self._eta)
        return found @ self.rotation

    def shadows(self, vectors: Vectors) -> _Shadows:
        """Cast the shadows of rows of length 1."""
        codes = np.empty((len(vectors), self.width), np.int8)
        losses = np.empty(len(vectors))
        reach, turn = 1 + 3 * self._eta, sqrt(self.width) * (self.width + 2) * _ROUNDING * 1.01 + 1e-6
        for begin, end in _parts(len(vectors), _PIECE):
            left = self.turned(vectors[begin:end])
            rounded = np.clip(np.rint(left / np.float32(self.step)), -127, 127)
            codes[begin:end] = rounded
            left -= rounded * np.float32(self.step)
            error = np.sqrt(np.einsum("nk,nk->n", left, left), dtype=np.float64) * 1.001 + 1e-5 + turn
            losses[begin:end] = 1.5 * self._eta + reach * error + error**2 / 2
        return _Shadows(codes, losses)

    @property
    def _eta(self) -> float:
        d, k = self.basis.shape
        return float(_UNIT + (sqrt(k) + 1) * (d + 2) * _ROUNDING * 1.01 + 1e-6)


def _projection(vectors: Vectors, threshold: float) -> _Projection:
    """Choose directions and width by what comparing some rows would cost; the result does not depend on the choice."""
    some = np.ascontiguousarray(vectors[:: max(1, len(vectors) // 4096)])
    few = some[:: max(1, len(some) // 512)]
    directions = _principal(some)
    near = few @ few.T >= threshold
    chosen, least = _CHUNK, np.inf
    for width in range(_CHUNK, directions.shape[1] + _CHUNK + 1, _CHUNK):
        heads = few @ directions[:, : width - 1]
        tails = np.sqrt(np.maximum(0, 1 - np.einsum("nk,nk->n", heads, heads)))
        step = 4 / sqrt(width) / 127  # numbers are within four standard deviations, and errors evenly distributed
        bounds = heads @ heads.T + np.outer(tails, tails) + step * sqrt(width / 3)
        cost = width / _CHUNK + _CHECK_COST * float(np.mean((bounds >= threshold) & ~near))
        if cost < least:
            chosen, least = width, cost
        elif width / _CHUNK > least:
            break
    basis = np.ascontiguousarray(directions[:, : chosen - 1], dtype=np.float32)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(chosen, chosen)))[0].astype(np.float32)
    turned = _Projection(basis, rotation).turned(few)
    return _Projection(basis, rotation, float(np.float32(np.max(np.abs(turned)) / 127)))


def _principal(vectors: Vectors) -> Doubles:
    """Orthonormal directions, those of most variance first; of many dimensions not all, and found by iteration."""
    moments = vectors.T.astype(np.float64) @ vectors
    span = np.eye(len(moments))
    if len(moments) > _DIRECTIONS:
        span = np.random.default_rng(0).normal(size=(len(moments), _DIRECTIONS))
        for _ in range(3):
            span = np.linalg.qr(moments @ span)[0]
    found: Doubles = span @ np.linalg.eigh(span.T @ moments @ span)[1][:, ::-1]
    return found


def _empty_tiles(count: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Room for shadows, 64 to a tile, that begins at a multiple of 64 bytes, as instructions read 64 at a time."""
    tiles = -(-count // _LANES)
    room = np.empty(tiles * _LANES * width + 64, np.uint8)
    first = -room.ctypes.data % 64
    return room[first : len(room) - 64 + first].reshape(tiles, width // 4, _LANES, 4), np.empty(
        tiles * _LANES, np.int32
    )


def _tiles(
    codes: npt.NDArray[np.int8], losses: Doubles, square: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    count, width = codes.shape
    tiles, extra = _empty_tiles(count, width)
    padded = np.zeros((len(extra), width), np.uint8)
    padded[:count] = codes.view(np.uint8) ^ 128  # the code plus 128
    tiles[:] = padded.reshape(-1, _LANES, width // 4, 4).transpose(0, 2, 1, 3)
    extra[:count], extra[count:] = np.ceil(losses / square), 0
    return tiles, extra


# --- Products of shadows -------------------------------------------------------------------------------------------

_REGISTER = ir.VectorType(ir.IntType(32), 16)
_REGISTERS = _LANES // 16


def _in_all(builder: Any, value: Any) -> Any:
    first = builder.insert_element(ir.Constant(_REGISTER, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(first, first, ir.Constant(_REGISTER, [0] * 16))


def _add_products(context: Any, builder: Any, total: Any, codes: Any, query: Any) -> Any:
    """Add, 16 times, four products of unsigned and signed 8-bit numbers: one instruction where the CPU has it."""
    if "+avx512vnni" in str(context.codegen().magic_tuple()):
        kind = ir.FunctionType(_REGISTER, [_REGISTER] * 3)
        vpdpbusd = builder.module.declare_intrinsic("llvm.x86.avx512.vpdpbusd.512", (), kind)
        return builder.call(vpdpbusd, [total, codes, query])
    for shift in range(0, 32, 8):
        up, down, top, byte = (ir.Constant(_REGISTER, [number] * 16) for number in (24 - shift, shift, 24, 255))
        unsigned = builder.and_(builder.lshr(codes, down), byte)
        signed = builder.ashr(builder.shl(query, up), top)
        total = builder.add(total, builder.mul(unsigned, signed))
    return total


@intrinsic
def _near(typing, tiles, extra, tile, queries, query, cut):  # noqa: ARG001
    """Which of the 64 shadows of a tile have a product with a query that, plus an extra, reaches the cut: one bit each.

    tiles: uint8 (tiles, width / 4, 64, 4), codes + 128; extra: int32 (64 tiles,); queries: int8 (n, width).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def pointer(array: int, kind: Any, first: Any) -> Any:
            data = context.make_array(signature.args[array])(context, builder, value=values[array]).data
            return builder.gep(builder.bitcast(data, kind.as_pointer()), [first])

        def times(value: Any, factor: int) -> Any:
            return builder.mul(value, value.type(factor))

        def plus(value: Any, more: int) -> Any:
            return builder.add(value, value.type(more))

        shelf = context.make_array(signature.args[0])(context, builder, value=values[0])
        groups = builder.extract_value(shelf.shape, 1)  # of four numbers
        tile_at = pointer(0, _REGISTER, builder.mul(values[2], times(groups, _REGISTERS)))
        extra_at = pointer(1, _REGISTER, times(values[2], _REGISTERS))
        query_at = pointer(3, ir.IntType(32), builder.mul(values[4], groups))
        totals = [cgutils.alloca_once(builder, _REGISTER) for _ in range(_REGISTERS)]
        for part, total in enumerate(totals):
            builder.store(builder.load(builder.gep(extra_at, [groups.type(part)]), align=4), total)
        with cgutils.for_range(builder, builder.udiv(groups, groups.type(_CHUNK // 4))) as loop:
            sums = [builder.load(total) for total in totals]
            for step in range(_CHUNK // 4):
                group = plus(times(loop.index, _CHUNK // 4), step)
                number = _in_all(builder, builder.load(builder.gep(query_at, [group]), align=1))
                for part in range(_REGISTERS):
                    codes = builder.load(builder.gep(tile_at, [plus(times(group, _REGISTERS), part)]), align=4)
                    sums[part] = _add_products(context, builder, sums[part], codes, number)
            for total, found in zip(totals, sums, strict=True):
                builder.store(found, total)
        cut = _in_all(builder, values[5])
        near = ir.Constant(ir.IntType(64), 0)
        for part, total in enumerate(totals):
            reached = builder.bitcast(builder.icmp_signed(">=", builder.load(total), cut), ir.IntType(16))
            near = builder.or_(near, builder.shl(builder.zext(reached, near.type), near.type(16 * part)))
        return near

    return types.uint64(tiles, extra, types.intp, queries, types.intp, types.int32), generate


class _Asked(NamedTuple):
    """Rows that look for keepers, and the best found so far."""

    vectors: Vectors
    places: Ints
    codes: npt.NDArray[np.int8]
    losses: Doubles
    offsets: Ints  # (n,) what storing codes + 128 in the tiles adds to a product
    similarity: Doubles
    keeper: Ints


class _Shelf(NamedTuple):
    """Kept rows to be searched: row `rows[slot]` of the vectors is in lane slot % 64 of tile slot // 64."""

    tiles: npt.NDArray[np.uint8]  # (tiles, width / 4, 64, 4)
    extra: npt.NDArray[np.int32]  # (slots,) losses, in units of a product
    vectors: Vectors
    rows: Ints
    places: Ints


@_kernel
def _take(asked, i, found, place, threshold):
    """Take a kept row as keeper if it is the best so far."""
    if found >= threshold and prefers(found, place, asked.similarity[i], asked.keeper[i]):
        asked.similarity[i], asked.keeper[i] = found, place


@_kernel
def _wanted(asked, i, threshold):
    """Cosine from which a row may be a better keeper."""
    return threshold if asked.keeper[i] == NONE else asked.similarity[i]


@_kernel
def _cut(asked, i, threshold, square):
    """Product of codes from which a row may be a better keeper, rounded down."""
    return np.int32(np.floor((_wanted(asked, i, threshold) - asked.losses[i]) / square) + asked.offsets[i])


@_kernel
def _compare(asked, i, shelf, tile, near, count, threshold, square):
    """Compare a row with those of a tile that may be better keepers; the new cut."""
    for lane in range(_LANES):
        slot = tile * _LANES + lane
        if near >> np.uint64(lane) & np.uint64(1) and slot < count and shelf.places[slot] < asked.places[i]:
            x, y = asked.vectors[i], shelf.vectors[shelf.rows[slot]]
            product = _dot(x, y)
            if product * (1 + 3 * _UNIT) >= _wanted(asked, i, threshold):  # nearly the cosine, at a third of its cost
                _take(asked, i, _scaled(product, x, y), shelf.places[slot], threshold)
    return _cut(asked, i, threshold, square)


@_kernel
def _scan(asked, begin, end, shelf, count, threshold, square):
    """Find the best keepers of some rows on a shelf."""
    tiles = (count + _LANES - 1) // _LANES
    cuts = np.array([_cut(asked, i, threshold, square) for i in range(begin, end)])
    for first in range(0, tiles, _GROUP):
        for i in range(begin, end):
            for tile in range(first, min(first + _GROUP, tiles)):
                near = _near(shelf.tiles, shelf.extra, tile, asked.codes, i, cuts[i - begin])
                if near:
                    cuts[i - begin] = _compare(asked, i, shelf, tile, near, count, threshold, square)


@_kernel
def _settle(asked, begin, end, shelf, count, may_stay, stays, threshold, square):
    """Decide about the rows of a block, in order, and put those that stay on the shelf; how many it has then."""
    first = count // _LANES
    for i in range(begin, end):
        cut = _cut(asked, i, threshold, square)
        for tile in range(first, (count + _LANES - 1) // _LANES):
            near = _near(shelf.tiles, shelf.extra, tile, asked.codes, i, cut)
            if near:
                cut = _compare(asked, i, shelf, tile, near, count, threshold, square)
        stays[i] = may_stay[i] and asked.keeper[i] == NONE
        if stays[i]:
            for k in range(asked.codes.shape[1]):
                shelf.tiles[count // _LANES, k // 4, count % _LANES, k % 4] = np.int32(asked.codes[i, k]) + 128
            shelf.extra[count] = np.int32(np.ceil(asked.losses[i] / square))
            shelf.rows[count], shelf.places[count] = i, asked.places[i]
            count += 1
    return count


@_kernel
def _verify(asked, rows, vectors, places, threshold):
    """Find the best keepers of rows among proposed ones, vectors (n, k, d); how many of them are within reach."""
    within = np.zeros(len(rows), np.int64)
    for i in range(len(rows)):
        for j in range(places.shape[1]):
            found = cosine(asked.vectors[rows[i]], vectors[i, j])
            within[i] += found >= threshold
            if places[i, j] < asked.places[rows[i]]:
                _take(asked, rows[i], found, places[i, j], threshold)
    return within
