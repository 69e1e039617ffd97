"""Shingles: find texts again in other texts, also cut, reflowed, escaped, or inside a message."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from personahub_assets.core.text import normalised, words

_WIDTH = 8  # words in a row; two different personas can share five
_FEWEST = 4
_MOST = 20_000_000
_SPACING = 16

_Runs = NDArray[np.int64]


class Shingles:
    """A set of texts, stored as hashes of their runs of eight words, 8 bytes each.

    A shorter text is one run. With fewer than four words it matches only a text that is equal to it. Beyond 20 million
    runs about one run in eight is stored: a piece of 23 words is still found with certainty.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Runs] = {}  # sorted, by width
        self._new: dict[int, list[_Runs]] = {}
        self._alone: set[str] = set()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._known or self._new or self._alone)

    def add(self, text: str, *, alone: bool = False) -> None:
        """Add a text; with `alone` it matches only a text that is equal to it."""
        tokens = words(text)
        width = min(len(tokens), _WIDTH)
        if not width:
            return
        if alone or width < _FEWEST:
            self._alone.add(normalised(text).strip())
            return
        runs = _runs(tokens, width)
        runs = runs if self._count <= _MOST else _winnowed(runs)
        self._new.setdefault(width, []).append(runs)
        self._count += len(runs)

    def has_match(self, text: str) -> bool:
        """Whether a text shares a run of words with an added one; for uses where a false match costs little."""
        tokens = words(text)
        if self._alone and normalised(text).strip() in self._alone:
            return True
        widths = self._known.keys() | self._new.keys()
        return len(tokens) >= _FEWEST and any(self._count_common(tokens, width) for width in widths)

    def has_matches(self, text: str, runs: int) -> bool:
        """Whether a text shares at least `runs` runs of words with added ones; for uses where a false match loses data.

        >>> shingles = Shingles()
        >>> shingles.add("the keeper of the northern isle wrote down every ship that passed")
        >>> shingles.has_matches("the keeper of the northern isle wrote down every name", 2)
        True
        >>> shingles.has_matches("the keeper", 2)
        False
        """
        return self._count_common(words(text), _WIDTH) >= runs

    def _count_common(self, tokens: list[str], width: int) -> int:
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


def _winnowed(runs: _Runs) -> _Runs:
    """The minimum of every sixteen consecutive hashes (winnowing): every sixteen in a row keep one, in any context."""
    windows = sliding_window_view(runs, min(len(runs), _SPACING))
    least: _Runs = np.unique(windows.min(axis=1))
    return least
