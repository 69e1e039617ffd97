"""Sorted arrays merged in pieces, so that memory is bounded by a piece and not by the arrays."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PIECE = 1 << 21  # entries of the longest run that are merged at once


class Streamed(NamedTuple):
    """An array that is computed piece by piece while it is written.

    Attributes:
        rows: number of rows.
        kind: type of a row.
        pieces: called to compute the pieces, in order.
    """

    rows: int
    kind: np.dtype[Any]
    pieces: Callable[[], Iterator[Array]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The whole array, in memory."""
        pieces = [piece.astype(dtype or self.kind, copy=False) for piece in self.pieces()]
        return np.concatenate([np.empty(0, dtype or self.kind), *pieces])


class Run(NamedTuple):
    """Sorted keys, each with a value."""

    keys: Array  # (n,)
    values: Array  # (n,) in ascending order of the keys
    order: npt.NDArray[np.int64] | None = None  # (n,) sorts the keys; None: they ascend
    offset: int = 0  # added to the values

    def sorted_keys(self, begin: int, end: int) -> Array:
        """Some of the keys in ascending order."""
        return self.keys[begin:end] if self.order is None else self.keys[self.order[begin:end]]


def joined(arrays: Sequence[Array]) -> Streamed:
    """Arrays one after another, of the widest type among them."""
    return Streamed(sum(map(len, arrays)), np.result_type(*arrays), lambda: iter(arrays))


def merged_keys(runs: Sequence[Run]) -> Streamed:
    """The keys of all runs, ascending."""
    return Streamed(
        sum(len(run.keys) for run in runs), np.result_type(*(run.keys for run in runs)), lambda: _keys(runs)
    )


def merged_values(runs: Sequence[Run]) -> Streamed:
    """The values of all runs by ascending key; of equal keys in the order of the runs."""
    kind = np.result_type(*(run.values for run in runs))
    return Streamed(sum(len(run.keys) for run in runs), kind, lambda: _values(runs, kind))


def _keys(runs: Sequence[Run]) -> Iterator[Array]:
    for spans in _spans(runs):
        keys = np.concatenate([run.sorted_keys(*span) for run, span in zip(runs, spans, strict=True)])
        yield np.sort(keys, kind="stable")  # which merges runs that ascend


def _values(runs: Sequence[Run], kind: np.dtype[Any]) -> Iterator[Array]:
    for spans in _spans(runs):
        pairs = list(zip(runs, spans, strict=True))
        keys = np.concatenate([run.sorted_keys(*span) for run, span in pairs])
        values = [run.values[begin:end] + kind.type(run.offset) for run, (begin, end) in pairs]
        yield np.concatenate(values)[np.argsort(keys, kind="stable")]


def _spans(runs: Sequence[Run]) -> Iterator[list[tuple[int, int]]]:
    """Spans of the sorted runs; equal keys are always in spans that are merged together."""
    longest = max(runs, key=lambda run: len(run.keys))
    begins = [0] * len(runs)
    for at in range(_PIECE, len(longest.keys), _PIECE):
        bound = longest.sorted_keys(at, at + 1)[0]
        ends = [int(np.searchsorted(run.keys, bound, sorter=run.order)) for run in runs]
        yield list(zip(begins, ends, strict=True))
        begins = ends
    yield list(zip(begins, (len(run.keys) for run in runs), strict=True))
