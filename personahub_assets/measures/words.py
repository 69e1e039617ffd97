"""Diversity of words: distinct n-grams, compression ratio, and self-repetition.

Every measure of this kind falls as a text grows (Shaib et al., 2024, "Standardizing the Measurement of Text
Diversity"), so figures of different datasets or batches can be compared only at equal numbers of words. `measure` cuts
the texts after fixed numbers of words.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from personahub_assets.core.text import words

SIZES = (100, 1_000, 10_000)
"""Numbers of words at which texts are measured."""

_GRAM = 4  # words of an n-gram of self-repetition (Salkar et al., 2022, "Self-Repetition in Abstractive Summarizers")

Gram = tuple[str, ...]


@dataclass(frozen=True)
class WordDiversity:
    """Diversity of the words of some texts.

    Attributes:
        words: number of words that were measured.
        texts: number of texts that have these words; the last can be cut.
        distinct_1: share of different words among all (Li et al., 2016).
        distinct_2: share of different pairs of adjacent words among all pairs of a text; null without pairs.
        compression_ratio: bytes of the texts / bytes after zlib at level 9; higher means more repetition.
        self_repetition: share of the 4-grams that another of the texts has too; null without 4-grams.
    """

    words: int
    texts: int
    distinct_1: float
    distinct_2: float | None
    compression_ratio: float
    self_repetition: float | None


def measure(texts: Iterable[str], sizes: Sequence[int] = SIZES) -> list[WordDiversity]:
    """Measure texts at each of some numbers of words that they fill, in ascending order.

    Args:
        texts: in an order that has nothing to do with their content; no more are read than the largest size needs.
        sizes: numbers of words, each at least 1.
    """
    split = list(_first_words(texts, max(sizes, default=0)))
    total = sum(map(len, split))
    return [_of(list(_first_of(split, size))) for size in sorted(set(sizes)) if size <= total]


def _first_words(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Split texts into words until there are enough; texts without words are left out."""
    missing = size
    for text in texts:
        if missing <= 0:
            return
        if tokens := words(text):
            yield tokens
            missing -= len(tokens)


def _first_of(split: Sequence[list[str]], size: int) -> Iterator[list[str]]:
    """Texts with `size` words together; the last is cut."""
    for tokens in split:
        yield tokens[:size]
        size -= len(tokens)
        if size <= 0:
            return


def _of(split: list[list[str]]) -> WordDiversity:
    tokens = list(chain.from_iterable(split))
    pairs = list(chain.from_iterable(pairwise(text) for text in split))
    raw = "\n".join(map(" ".join, split)).encode()
    return WordDiversity(
        words=len(tokens),
        texts=len(split),
        distinct_1=len(set(tokens)) / len(tokens),
        distinct_2=len(set(pairs)) / len(pairs) if pairs else None,
        compression_ratio=len(raw) / len(zlib.compress(raw, 9)),
        self_repetition=_self_repetition(split),
    )


def _self_repetition(split: Sequence[list[str]]) -> float | None:
    """Share of the different 4-grams of each text that at least one other text has."""
    by_text = [_grams(text) for text in split]
    texts_with = Counter(chain.from_iterable(by_text))
    total = sum(map(len, by_text))
    repeated = sum(count for count in texts_with.values() if count > 1)
    return repeated / total if total else None


def _grams(text: Sequence[str]) -> set[Gram]:
    return set(zip(*(text[start:] for start in range(_GRAM)), strict=False))
