"""Traces: whether a text says what another one said, also cut, reflowed, escaped, or as part of a message."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from personahub_assets.core.text import normalised, words

_WIDTH = 8  # words in a row; two personas may well share five
_FEWEST = 4
_MOST = 20_000_000
_SPACING = 16

_Runs = NDArray[np.int64]


class Traces:
    """Texts, remembered by the hashes of their runs of eight words, in 8 bytes each.

    Of a text of fewer words the whole is one run; with fewer than four it is only found where it stands alone. Beyond
    20 million runs about every eighth of a text's runs is remembered: a piece of 23 words is still found for certain.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Runs] = {}  # sorted, by width
        self._new: dict[int, list[_Runs]] = {}
        self._alone: set[str] = set()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._known or self._new or self._alone)

    def add(self, text: str, *, alone: bool = False) -> None:
        """Remember a text; `alone`: only where nothing else is said beside it."""
        tokens = words(text)
        width = min(len(tokens), _WIDTH)
        if not width:
            return
        if alone or width < _FEWEST:
            self._alone.add(normalised(text).strip())
            return
        runs = _runs(tokens, width)
        runs = runs if self._count <= _MOST else _some(runs)
        self._new.setdefault(width, []).append(runs)
        self._count += len(runs)

    def found_in(self, text: str) -> bool:
        """Whether a text has a run of words in common with a remembered one: where it costs little to be wrong."""
        tokens = words(text)
        if self._alone and normalised(text).strip() in self._alone:
            return True
        widths = self._known.keys() | self._new.keys()
        return len(tokens) >= _FEWEST and any(self._in_common(tokens, width) for width in widths)

    def much_in(self, text: str, runs: int) -> bool:
        """Whether so many runs of eight words are those of remembered texts: for what is lost if it is wrong.

        >>> traces = Traces()
        >>> traces.add("the keeper of the northern isle wrote down every ship that passed")
        >>> traces.much_in("the keeper of the northern isle wrote down every name", 2), traces.much_in("the keeper", 2)
        (True, False)
        """
        return self._in_common(words(text), _WIDTH) >= runs

    def _in_common(self, tokens: list[str], width: int) -> int:
        stored, runs = self._sorted(width), _runs(tokens, width)
        if not len(stored) or not len(runs):
            return 0
        positions = np.searchsorted(stored, runs)
        return int((stored[np.minimum(positions, len(stored) - 1)] == runs).sum())

    def _sorted(self, width: int) -> _Runs:
        empty = np.empty(0, np.int64)
        if new := self._new.pop(width, None):
            self._known[width] = np.unique(np.concatenate([self._known.get(width, empty), *new]))
        return self._known.get(width, empty)


def _runs(tokens: list[str], width: int) -> _Runs:
    return np.fromiter(_hashes(tokens, width), np.int64)


def _hashes(tokens: list[str], width: int) -> Iterator[int]:
    return (hash(tuple(tokens[at : at + width])) for at in range(len(tokens) - width + 1))


def _some(runs: _Runs) -> _Runs:
    """The least of every sixteen in a row (winnowing): a stretch of sixteen has one, whatever else is around."""
    windows = sliding_window_view(runs, min(len(runs), _SPACING))
    least: _Runs = np.unique(windows.min(axis=1))
    return least
