"""Compressed word sets: two bytes for a frequent word, eight for others, instead of eight for each.

Allocating new memory takes as long as writing to it, so compression saves 0.3 s for the kept rows of a million
personas. A set is a sequence of 16-bit codes: two for the number of words that are not frequent, four for each of these
words, then one for the rank of each frequent word.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from personahub_assets.dedup.kernels import kernel
from personahub_assets.dedup.wordsets import FREQUENT, Ints, Sets

Codes = npt.NDArray[np.uint16]

_HEAD = 2  # codes before the words


class Packed(NamedTuple):
    """Concatenated word sets: the set of row i is codes[starts[i]:starts[i + 1]]."""

    starts: Ints
    codes: Codes


def pack(sets: Sets) -> Packed:
    """Pack sets."""
    starts = np.zeros(len(sets.starts), np.int64)
    codes = np.empty(max_codes(sets), np.uint16)
    end = _pack_all(*sets, starts, codes)
    return Packed(starts, codes[:end].copy())


def unpack(packed: Packed) -> Sets:
    """Unpack sets."""
    starts = np.zeros(len(packed.starts), np.int64)
    keys = np.empty(len(packed.codes), np.uint64)
    end = _unpack_all(*packed, starts, keys)
    return Sets(starts, keys[:end].copy())


def max_codes(sets: Sets) -> int:
    """Upper bound of the number of codes for some sets."""
    return 4 * len(sets.keys) + _HEAD * (len(sets.starts) - 1)


@kernel
def pack_row(keys, begin, end, codes, at):
    """Write one set at position `at`; return the position after it."""
    head, rare = at, 0
    at += _HEAD
    for i in range(begin, end):
        key = keys[i]
        if key & FREQUENT:
            codes[at] = key & np.uint64(0xFFFF)
            at += 1
        else:
            for shift in range(0, 64, 16):
                codes[at] = key >> np.uint64(shift) & np.uint64(0xFFFF)
                at += 1
            rare += 1
    codes[head], codes[head + 1] = rare & 0xFFFF, rare >> 16
    return at


@kernel
def _rare(codes, begin):
    return np.int64(codes[begin]) | np.int64(codes[begin + 1]) << 16


@kernel
def size_of(codes, begin, end):
    """Number of words of a set."""
    return end - begin - _HEAD - 3 * _rare(codes, begin)


@kernel
def word_at(codes, begin, i):
    """Word number i of the set that starts at `begin`."""
    rare = _rare(codes, begin)
    if i >= rare:
        return FREQUENT | np.uint64(codes[begin + _HEAD + 3 * rare + i])
    word = np.uint64(0)
    for chunk in range(4):
        word |= np.uint64(codes[begin + _HEAD + 4 * i + chunk]) << np.uint64(16 * chunk)
    return word


@kernel
def _pack_all(set_starts, keys, starts, codes):
    at = 0
    for row in range(len(starts) - 1):
        at = pack_row(keys, set_starts[row], set_starts[row + 1], codes, at)
        starts[row + 1] = at
    return at


@kernel
def _unpack_all(packed_starts, codes, starts, keys):
    at = 0
    for row in range(len(starts) - 1):
        begin = packed_starts[row]
        for i in range(size_of(codes, begin, packed_starts[row + 1])):
            keys[at] = word_at(codes, begin, i)
            at += 1
        starts[row + 1] = at
    return at
