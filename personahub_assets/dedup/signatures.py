"""Signatures of word sets: two sets within the threshold have at least one in common.

Let the words of a set be ordered, rarest first. A set of n words that is within threshold t of another shares at least
ceil(t n) words with it, so at most d = n - ceil(t n) of its words are missing in the other. Then the w rarest shared
words are among its first d + w words: both sets have this w-subset among those of their first d + w words, for any w.
The hashes of these C(d + w, w) subsets are the set's signatures; sets without a common one are not within t. (w = 1 is
the prefix filter; cf. Wang, Li and Feng, "Can we beat the prefix filtering?", 2012.)

A larger w means more signatures and fewer false candidates. Its limit follows from an estimate on a sample, and it
shrinks for long texts: it is a function of the larger size of two sets, and a set has signatures for every width that a
larger partner may have. Text from a template is no special case, because the words of the template come last. Sets
that are too small are padded with w - 1 words that all sets have.

`minhash` (the paper, section 2.2.1: 128 permutations) computes signatures from bands of minima. The number of minima
per band is the largest that still finds a pair at the threshold with a probability of 99.9 %.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import comb
from typing import Literal

import numpy as np
import polars as pl

from personahub_assets.core.text import WORDS, digest
from personahub_assets.dedup.kernels import kernel
from personahub_assets.dedup.wordsets import UNORDERED, Ints, Keys, Sets, WordOrder, mix, order_of, word_sets

Method = Literal["exact", "minhash"]

EPSILON = 1e-9
"""Subtracted before rounding up, so that 0.9 * 10 is 9 words, not 10."""

_FORM = "packed, sketches"  # format on disk of the segments
_SAMPLE = 16_384  # rows from which the frequency of words and the cost of a width are estimated
_SIGNATURES = 256  # maximum per row and width; longer texts get a smaller width
_WIDEST = 6
_FOUND = 0.999  # probability with which minhash finds a pair at the threshold
_CANDIDATE = 0.25  # cost of skipping a kept row with the same signature; computing and finding one costs 1
# Limits for a plan of other texts: cost per row, and cost as a multiple of that of a plan for these texts.
_TOLERATED, _UNSUITABLE = 50, 4


@dataclass(frozen=True)
class SignatureScheme:
    """Parameters of signatures; only signatures of the same scheme can be compared."""

    threshold: float
    method: Method
    ngram: int
    permutations: int
    order: WordOrder = UNORDERED
    width: int = 1

    @cached_property
    def name(self) -> str:
        """Hash of all parameters of the signatures."""
        ranked = digest(self.order.hashes.tobytes().hex(), self.order.ranks.tobytes().hex())
        return digest(WORDS, _FORM, str(self.threshold), self.method, self.ngram, self.permutations, self.width, ranked)

    @cached_property
    def band(self) -> int:
        """Minima per band: the most that still find a pair at the threshold with a probability of 99.9 %."""
        rows = range(self.permutations, 0, -1)
        return next((r for r in rows if 1 - (1 - self.threshold**r) ** (self.permutations // r) >= _FOUND), 1)

    def sets(self, texts: pl.Series) -> Sets:
        """Word sets in the order of this plan."""
        return word_sets(texts, self.ngram, self.order)

    def signatures(self, sets: Sets) -> tuple[Ints, Keys]:
        """Signatures of each set: those of row i are elements first[i] to first[i + 1] of the second array."""
        sizes = np.diff(sets.starts)
        if self.method == "minhash":
            bands = self.permutations // self.band
            first = np.arange(len(sizes) + 1, dtype=np.int64) * bands
            signatures = np.empty(first[-1], np.uint64)
            _bands(*sets, bands, self.band, signatures)
            return first, signatures
        top = int(np.max(sizes, initial=1))
        missing, widths = self._sizes(int(top / self.threshold) + 1)
        narrow = widths[np.minimum((np.arange(top + 1) / self.threshold + EPSILON).astype(np.int64), len(widths) - 1)]
        counts = np.array(
            [
                sum(comb(d + w, w) for w in range(low, high + 1))
                for d, low, high in zip(missing, narrow, widths, strict=False)
            ]
        )
        first = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(counts[sizes], out=first[1:])
        signatures = np.empty(first[-1], np.uint64)
        _subsets(*sets, missing, narrow, widths, first, signatures)
        return first, signatures

    def _sizes(self, top: int) -> tuple[Ints, Ints]:
        """By size of a set: maximum words missing in its partner, and the width if it is the larger set."""
        size = np.arange(top + 1)
        missing = size - np.ceil(self.threshold * size - EPSILON).astype(np.int64)
        wide = [max(w for w in range(1, self.width + 1) if w == 1 or comb(d + w, w) <= _SIGNATURES) for d in missing]
        return missing, np.array(wide, np.int64)


def plan(bare: SignatureScheme, texts: pl.Series, rows: int) -> SignatureScheme:
    """Choose the order of words and the width for a number of rows like these texts; `minhash` needs neither."""
    if bare.method == "minhash" or texts.is_empty():
        return bare
    sample = texts.gather_every(max(1, len(texts) // _SAMPLE))
    ordered = replace(bare, order=order_of(word_sets(sample, bare.ngram)), width=1)
    sets = ordered.sets(sample)
    best, least = ordered, cost(ordered, sets, rows)
    for width in range(2, _WIDEST + 1):
        wider = replace(ordered, width=width)
        if (costs := cost(wider, sets, rows)) >= least:
            break
        best, least = wider, costs
    return best


def suits(chosen: SignatureScheme, texts: pl.Series) -> bool:
    """Whether a plan made for other texts is efficient for these.

    Other texts can share words that are rare in the plan; then nearly all pairs are candidates.
    """
    if chosen.method == "minhash" or texts.is_empty():
        return True
    sample = texts.gather_every(max(1, len(texts) // _SAMPLE))
    own = plan(chosen, sample, len(texts))
    costs, least = (cost(each, each.sets(sample), len(texts)) for each in (chosen, own))
    return costs <= max(_TOLERATED, _UNSUITABLE * least)


def cost(chosen: SignatureScheme, sample: Sets, rows: int) -> float:
    """Estimate the work per row, in signatures, for a number of rows like those of the sample."""
    first, signatures = chosen.signatures(sample)
    size = max(1, len(first) - 1)
    _, counts = np.unique(signatures, return_counts=True)
    candidates = np.sum(counts * (counts - 1) / 2) / size * (rows / size)
    return float(len(signatures) / size + candidates * _CANDIDATE)


@kernel
def _subsets(starts, keys, missing, narrow, widths, first, signatures):
    prefix = np.empty(np.max(missing[: len(widths)]) + _WIDEST + 1, np.uint64)
    chosen = np.empty(_WIDEST + 1, np.int64)
    for row in range(len(starts) - 1):
        size = starts[row + 1] - starts[row]
        at = first[row]
        for width in range(narrow[size], widths[size] + 1):
            length = missing[size] + width
            for i in range(length):  # after the set's own words: padding that every set has
                prefix[i] = mix(keys[starts[row] + i] if i < size else np.uint64(i - size + 1))
            for i in range(width):
                chosen[i] = i
            while True:
                h = np.uint64(width)
                for i in range(width):
                    h += prefix[chosen[i]]
                signatures[at] = mix(h)
                at += 1
                i = width - 1
                while i >= 0 and chosen[i] == length - width + i:
                    i -= 1
                if i < 0:
                    break
                chosen[i] += 1
                for j in range(i + 1, width):
                    chosen[j] = chosen[j - 1] + 1


@kernel
def _bands(starts, keys, bands, band, signatures):
    for row in range(len(starts) - 1):
        for b in range(bands):
            h = np.uint64(b)
            for r in range(b * band, (b + 1) * band):
                odd = mix(np.uint64(2 * r + 1)) | np.uint64(1)
                least = np.uint64(0xFFFFFFFFFFFFFFFF)
                for at in range(starts[row], starts[row + 1]):
                    least = min(least, mix(keys[at] * odd))
                h = mix(h ^ least)
            signatures[row * bands + b] = h
