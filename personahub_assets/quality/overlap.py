"""Find texts that share runs of words with the rows of test sets.

All runs of n words of the test rows are hashed into one sorted array; the runs of a text are looked up in it. So the time
does not depend on the product of texts and test rows. A run that many test rows have is a phrase of the test's form
("which of the following is correct"), and is left out.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.core.text import normalised, words

Hashes = npt.NDArray[np.uint64]

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_COMMON = 50
"""A run in more test rows than this is left out."""


class Overlap(NamedTuple):
    """A text and the test row with which it shares most.

    Attributes:
        text: number of the text.
        row: number of the test row.
        share: share of the runs of the test row that the text has.
        passage: the longest part of the text that both have, in normalised words.
    """

    text: int
    row: int
    share: float
    passage: str


def tokens(text: str) -> list[str]:
    """The words of a text for comparing: NFKC, case folding, no punctuation; bigrams where there are no blanks."""
    if text.isascii():
        return _WORD.findall(text.lower())
    return words(text) if _UNSPACED.search(text) else _WORD.findall(normalised(text))


class RunIndex:
    """The runs of n words of some test rows.

    Args:
        rows: the words of each test row.
        n: words of a run.
    """

    def __init__(self, rows: Iterable[Sequence[str]], n: int):
        self.n = n
        hashes, owners, _ = _runs(rows, n)
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        # A run that a row repeats counts once, in the size of the row too.
        is_first = np.ones(len(hashes), bool)
        is_first[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
        hashes, owners = hashes[is_first], owners[is_first]
        self.sizes = np.bincount(owners, minlength=1) if len(owners) else np.zeros(1, np.int64)
        _, starts, counts = np.unique(hashes, return_index=True, return_counts=True)
        keep = np.repeat(counts <= _COMMON, counts) if len(starts) else np.zeros(0, bool)
        self._hashes, self._owners = hashes[keep], owners[keep]

    def overlaps(self, texts: Sequence[Sequence[str]], least_share: float = 0.0) -> list[Overlap]:
        """The texts that share at least one run, and this share of all runs, with a test row; one for each text."""
        hashes, owners, positions = _runs(texts, self.n)
        low = np.searchsorted(self._hashes, hashes, "left")
        high = np.searchsorted(self._hashes, hashes, "right")
        overlaps, matched = [], np.flatnonzero(high > low)
        for text in np.unique(owners[matched]).tolist():
            own = matched[owners[matched] == text]
            best = self._best(int(text), own, low, high, positions, texts[text])
            if best.share >= least_share:
                overlaps.append(best)
        return overlaps

    def _best(
        self, text: int, own: npt.NDArray[Any], low: Any, high: Any, positions: Any, its_words: Sequence[str]
    ) -> Overlap:
        """The test row with the greatest share, the first of several."""
        counts = high[own] - low[own]
        rows = np.concatenate([self._owners[low[at] : high[at]] for at in own])
        # The first index of a run is its number: a text that repeats one run has it once.
        pairs = np.unique(np.stack([rows, np.repeat(low[own], counts)]), axis=1)
        candidates, sums = np.unique(pairs[0], return_counts=True)
        shares = sums / self.sizes[candidates]
        row = int(candidates[np.argmax(shares)])
        start, end = _longest(np.repeat(positions[own], counts)[rows == row].tolist(), self.n)
        return Overlap(text, row, float(shares.max()), " ".join(its_words[start:end]))


def _longest(starts: list[int], n: int) -> tuple[int, int]:
    """The longest part that adjacent runs cover, from the positions of the runs in order."""
    best = (starts[0], starts[0] + n)
    first = previous = starts[0]
    for start in starts[1:]:
        if start > previous + n:
            first = start
        previous = start
        if start + n - first > best[1] - best[0]:
            best = (first, start + n)
    return best


def _runs(texts: Iterable[Sequence[str]], n: int) -> tuple[Hashes, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Hashes of all runs of n words, with the number of their text and their place in it."""
    lists = list(texts)
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    of_words = np.fromiter(map(_hash, chain.from_iterable(lists)), np.uint64, int(lengths.sum()))
    count = max(0, len(of_words) - n + 1)
    mixed = np.zeros(count, np.uint64)
    for offset in range(n):
        mixed = mixed * _FACTOR + of_words[offset : offset + count]
    owners = np.repeat(np.arange(len(lists)), lengths)
    positions = np.arange(len(of_words)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    is_inside = owners[:count] == owners[len(owners) - count :]  # not across the border of two texts
    return mixed[is_inside], owners[:count][is_inside], positions[:count][is_inside]


@lru_cache(maxsize=1 << 20)
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
