"""Word sets of many texts at once, as sorted arrays of 64-bit word hashes.

The words are those of `core.text.words`. Compiled code splits and hashes them, in about 0.8 µs per text. Different
words with equal 63-bit hashes are not distinguished.
"""

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.core.text import (
    DOT,
    NEUTRAL,
    OPENING,
    SIGN,
    SYMBOL,
    UNSPACED,
    WORD,
    character_kinds,
    normalised,
)
from personahub_assets.dedup.kernels import kernel

Keys = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_RANKED = 32_768  # words with their own rank, which must fit in 16 bits; others count as equally rare
FREQUENT = np.uint64(1 << 63)
"""Marks a word with a rank; the others are hashes of 63 bits."""

_FEW = 64  # words that are sorted by counting
_NO_KEY = np.uint64(0xFFFFFFFFFFFFFFFF)


class Sets(NamedTuple):
    """Concatenated word sets: the set of row i is keys[starts[i]:starts[i + 1]], ascending, rarest word first."""

    starts: Ints
    keys: Keys


class WordOrder(NamedTuple):
    """The frequent words: an open-addressing table from hash to rank; the most frequent word has the last rank."""

    hashes: Keys
    ranks: npt.NDArray[np.uint32]


class _Buffers(threading.local):
    """Reused buffers of a thread, for output of unknown size: allocating new memory costs as much as writing to it."""

    def __init__(self) -> None:
        self._keys = np.empty(0, np.uint64)

    def keys(self, size: int) -> Keys:
        if size > len(self._keys):
            self._keys = np.empty(size * 5 // 4, np.uint64)  # unused pages are never allocated
        return self._keys


_buffers = _Buffers()
UNORDERED = WordOrder(np.zeros(2, np.uint64), np.zeros(2, np.uint32))


@kernel
def mix(x):
    """Mix the bits of a 64-bit number (a bijection)."""
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    return x ^ (x >> np.uint64(32))


@kernel
def _step(h, point):
    return (h ^ np.uint64(point)) * np.uint64(0x100000001B3)  # FNV-1a, over code points


@kernel
def _key(word, hashes, ranks):
    """Sort key of a word: rare words by their 63-bit hash, then frequent words by rank."""
    at = word & np.uint64(len(hashes) - 1)
    while hashes[at]:
        if hashes[at] == word:
            return FREQUENT | np.uint64(ranks[at])
        at = (at + np.uint64(1)) & np.uint64(len(hashes) - 1)
    return word


@kernel
def _point(data, at):
    """The code point at a position, in lower case if it is ASCII, and the position of the next one."""
    point = np.int64(data[at])
    if point < 128:
        return (point + 32 if 65 <= point <= 90 else point), at + 1
    if point >= 0xF0:
        point = (point & 7) << 18 | (data[at + 1] & 63) << 12 | (data[at + 2] & 63) << 6 | data[at + 3] & 63
        return point, at + 4
    if point >= 0xE0:
        return (point & 15) << 12 | (data[at + 1] & 63) << 6 | data[at + 2] & 63, at + 3
    return (point & 31) << 6 | data[at + 1] & 63, at + 2


@kernel
def _hash_words(data, begin, end, kind_of, points, out):
    """Hash the words of one UTF-8 text, in order; return their number."""
    basis = np.uint64(0xCBF29CE484222325)
    count, length, bigrams, h = 0, 0, False, basis
    opens = True  # a dot at this position may begin a word
    at = begin
    while at < end:
        point = np.int64(data[at])
        at += 1
        if point < 128:
            if 65 <= point <= 90:
                point += 32
        elif point >= 0xF0:
            point = (point & 7) << 18 | (data[at] & 63) << 12 | (data[at + 1] & 63) << 6 | data[at + 2] & 63
            at += 3
        elif point >= 0xE0:
            point = (point & 15) << 12 | (data[at] & 63) << 6 | data[at + 1] & 63
            at += 2
        else:
            point = (point & 31) << 6 | data[at] & 63
            at += 1
        kind = kind_of[point]
        if kind >= WORD:
            points[length] = point
            length += 1
            bigrams |= kind == UNSPACED
            h = _step(h, point)
            if at < end:
                continue
        if length:
            if kind == SIGN:  # includes the signs after it
                at -= 1
                while at < end and kind_of[data[at]] == SIGN:
                    points[length] = data[at]
                    length += 1
                    h = _step(h, data[at])
                    at += 1
            if bigrams and length > 2:
                for i in range(length - 1):
                    out[count] = mix(_step(_step(basis, points[i]), points[i + 1]))
                    count += 1
            else:
                out[count] = mix(h)
                count += 1
            length, bigrams, h = 0, False, basis
            opens = kind == OPENING
        elif kind != NEUTRAL:
            may_begin, opens = opens, kind == OPENING
            if kind == DOT and may_begin and at < end and data[at] < 128 and kind_of[data[at]] >= WORD:
                points[0], length, h = point, 1, _step(basis, point)
        if kind == SYMBOL:
            points[0], length, h = point, 1, _step(basis, point)
            while at < end:
                point, after = _point(data, at)
                if kind_of[point] != SYMBOL:
                    break
                points[length] = point
                length += 1
                h = _step(h, point)
                at = after
            if length > 2:
                for i in range(length - 1):
                    out[count] = mix(_step(_step(basis, points[i]), points[i + 1]))
                    count += 1
            else:
                out[count] = mix(h)
                count += 1
            length, h = 0, basis
    return count


@kernel
def _sort(words, count, scratch):
    """Sort words and drop repeats; return the number left.

    The rank of a word is the number of smaller words: for few words, counting without branches is faster than swaps.
    """
    if count > _FEW:
        words[:count].sort()
        scratch[:count] = words[:count]
        for i in range(1, count):
            if words[i] == words[i - 1]:
                scratch[i] = _NO_KEY
    else:
        for i in range(count):
            scratch[i] = _NO_KEY
        for i in range(count):
            key, below = words[i], 0
            for j in range(count):
                below += words[j] < key
            scratch[below] = key
    kept = 0
    for i in range(count):
        words[kept] = scratch[i]
        kept += scratch[i] != _NO_KEY
    return kept


@kernel
def _hash_sets(data, offsets, kind_of, ngram, hashes, ranks, starts, keys):
    """Write the sets of all texts one after the other."""
    longest = np.max(offsets[1:] - offsets[:-1]) + 1
    points, scratch = np.empty(longest, np.int64), np.empty(longest, np.uint64)
    total = 0
    for row in range(len(offsets) - 1):
        begin, end = offsets[row], offsets[row + 1]
        words = keys[total:]
        count = _hash_words(data, begin, end, kind_of, points, words)
        if ngram > 1 and count:
            grams = max(1, count - ngram + 1)
            for i in range(grams):
                h = np.uint64(ngram)
                for j in range(i, min(count, i + ngram)):
                    h = mix(h + words[j])
                words[i] = h
            count = grams
        if not count:  # a text without words is similar only to an equal text
            h = np.uint64(1)
            for at in range(begin, end):
                h = _step(h, data[at])
            words[0] = mix(h)
            count = 1
        for i in range(count):
            words[i] = _key(words[i] >> np.uint64(1), hashes, ranks)
        total += _sort(words, count, scratch)
        starts[row + 1] = total


@kernel
def _rank(words, hashes, ranks):
    for rank in range(len(words)):
        at = words[rank] & np.uint64(len(hashes) - 1)
        while hashes[at]:
            at = (at + np.uint64(1)) & np.uint64(len(hashes) - 1)
        hashes[at], ranks[at] = words[rank], rank


def word_sets(texts: pl.Series, ngram: int = 1, order: WordOrder = UNORDERED) -> Sets:
    """Split texts into words (see `core.text.words`) and hash them.

    Args:
        texts: strings, without nulls.
        ngram: number of consecutive words that form one element.
        order: the frequent words.
    """
    plain = texts.str.len_bytes() == texts.str.len_chars()
    if not plain.all():
        others = texts.filter(~plain)
        texts = texts.clone().scatter((~plain).arg_true(), [normalised(text) for text in others.to_list()])
    data = np.frombuffer((texts.str.join("").item() or "").encode(), np.uint8)
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(texts.str.len_bytes().to_numpy(), out=offsets[1:])
    starts = np.zeros(len(texts) + 1, np.int64)
    keys = _buffers.keys(len(data) + len(texts) + 1)
    kind_of = character_kinds(128) if plain.all() else character_kinds()
    if len(texts):
        _hash_sets(data, offsets, kind_of, ngram, *order, starts, keys)
    return Sets(starts, keys[: starts[-1]].copy())


def order_of(sample: Sets) -> WordOrder:
    """Rank the words that occur more than once in a sample without an order."""
    words, counts = np.unique(sample.keys, return_counts=True)
    often = np.flatnonzero(counts > 1)
    often = often[np.argsort(counts[often], kind="stable")][-_RANKED:]
    slots = 1 << max(1, 2 * len(often)).bit_length()  # as small as possible: it is read for every word
    table = WordOrder(np.zeros(slots, np.uint64), np.zeros(slots, np.uint32))
    _rank(words[often], *table)
    return table
