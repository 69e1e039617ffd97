"""Lexical deduplication: exact word-set Jaccard similarity at or above a threshold.

The paper (section 2.2.1) approximates this with MinHash (1-gram, 128 permutations, 0.9). Personas are short, so the
exact answer is cheaper than the estimate. `wordsets.py` splits texts into words. Sets within the threshold have a
common signature (`signatures.py`). This module compares rows with a common signature, word by word.

Rows are walked in their order (`keepers.py` has the rule). A row is compared with the kept rows that share a signature
with it; if none is within the threshold, its own signatures enter the table. Threads prepare sets and signatures of the
next rows. Kept rows of earlier walks are in `Segment`s, whose sorted signatures are searched by interpolation. Beyond a
configured size the kept rows of this walk become a segment too, which the caller puts on disk.

The result is exact unless two different words have equal 63-bit hashes. Numba compiles the kernels once and caches them
on disk.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.dedup.codec import Codes, Packed, max_codes, pack, pack_row, size_of, unpack, word_at
from personahub_assets.dedup.keepers import NONE, Decided, prefers
from personahub_assets.dedup.kernels import kernel
from personahub_assets.dedup.signatures import EPSILON, SignatureScheme
from personahub_assets.dedup.wordsets import Ints, Keys, Sets

_PIECE = 16_384  # rows that a thread prepares together
_BLOCK = 32  # rows whose table entries are prefetched


# --- Kept rows -----------------------------------------------------------------------------------------------------


class Segment(NamedTuple):
    """Kept rows of an earlier walk, in searchable form; its arrays may be memory-mapped files."""

    places: Ints  # (m,) ascending
    starts: Ints  # (m + 1,)
    codes: Codes
    signatures: Keys  # (e,) ascending
    owners: npt.NDArray[np.uint32]  # (e,) the row of each signature


def segment(sets: Sets, positions: Ints, chosen: SignatureScheme) -> Segment:
    """Make kept rows searchable."""
    first, signatures = chosen.signatures(sets)
    owners = np.repeat(np.arange(len(positions), dtype=np.uint32), np.diff(first))
    order = np.argsort(signatures, kind="stable")
    return Segment(positions, *pack(sets), signatures[order], owners[order])


class _Table:
    """Kept rows of this walk: their sets, and a hash table with chains from signature to row."""

    def __init__(self, chosen: SignatureScheme) -> None:
        self._plan = chosen
        self.rows = self.entries = self.end = 0
        self.places = np.empty(0, np.int64)
        self.starts = np.zeros(1, np.int64)
        self.codes = np.empty(0, np.uint16)
        self.stamps = np.empty(0, np.int64)  # the last row that a kept row was compared with
        self.slots = np.zeros(1 << 10, np.uint32)  # first entry of a chain, plus 1; 0: no chain
        self.chains = np.empty((0, 4), np.uint32)  # by entry: upper half of the signature, sketch, row, next entry + 1

    @property
    def bytes(self) -> int:
        """Bytes in use."""
        return 2 * self.end + 24 * self.rows + 16 * self.entries + self.slots.nbytes

    def reserve(self, piece: "_Piece", ahead: int, memory: int) -> None:
        """Allocate memory for `ahead` pieces like this one, up to the limit; unused memory costs nothing."""
        rows, codes, entries = len(piece.keeper), max_codes(piece.sets), len(piece.signatures)
        ahead = max(1, min(ahead, memory // (2 * codes + 24 * rows + 24 * entries)))
        rows, codes, entries = rows * ahead, codes * ahead, entries * ahead
        for name in ("places", "stamps", "starts"):
            self._grow(name, self.rows + rows + 1)
        self._grow("codes", self.end + codes)
        self._grow("chains", self.entries + entries)
        if self.entries + entries > len(self.slots) // 2:
            self.slots = np.zeros(1 << int(2 * (self.entries + entries)).bit_length(), np.uint32)
            _rechain(self.chains, self._plan.signatures(self._sets())[1], self.slots)

    def _grow(self, name: str, size: int) -> None:
        old = getattr(self, name)
        if size > len(old):
            new = np.empty((max(size, len(old) * 3 // 2), *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    def _sets(self) -> Sets:
        return unpack(Packed(self.starts[: self.rows + 1], self.codes[: self.end]))

    def freeze(self) -> Segment:
        """Return the kept rows as a segment."""
        return segment(self._sets(), self.places[: self.rows], self._plan)


# --- The walk ------------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Rows of a walk, prepared by a thread, with the keepers found in the segments that existed then."""

    begin: int
    sets: Sets
    first: Ints
    signatures: Keys
    keeper: Ints
    similarity: npt.NDArray[np.float64]
    searched: int  # number of segments


def decide(
    texts: pl.Series,
    positions: Ints,
    may_stay: npt.NDArray[np.bool_],
    kept: Sequence[Segment],
    chosen: SignatureScheme,
    *,
    memory: int = 2 << 30,
    spill: Callable[[Segment], Segment] = lambda segment: segment,
    threads: int = os.cpu_count() or 1,
) -> Decided:
    """Walk rows in order and decide which are kept; each other row gets its keeper.

    Args:
        texts: (n,) in the order of the walk.
        positions: (n,) position of each row in the order of all rows, ascending, at least 0.
        may_stay: (n,) False for rows that are not kept even without a keeper.
        kept: kept rows of other walks; rows at a later position are not used as keepers.
        chosen: the plan by which the segments were made.
        memory: bytes of kept rows above which they are passed to `spill`.
        spill: called with a segment; stores it, on disk for example, and returns it.
        threads: number of threads that prepare rows.
    """
    segments, table = list(kept), _Table(chosen)
    keeper, similarity = np.full(len(texts), NONE), np.full(len(texts), np.nan)
    stays = np.zeros(len(texts), np.bool_)

    def prepare(begin: int) -> _Piece:
        sets = chosen.sets(texts.slice(begin, _PIECE))
        span = slice(begin, begin + _PIECE)
        piece = _Piece(begin, sets, *chosen.signatures(sets), keeper[span], similarity[span], len(segments))
        _search(segments, piece, positions, chosen.threshold)
        return piece

    for piece in _ahead(prepare, range(0, len(texts), _PIECE), threads):
        if table.bytes > memory:
            segments.append(spill(table.freeze()))
            table = _Table(chosen)
        _search(segments[piece.searched :], piece, positions, chosen.threshold)
        span = slice(piece.begin, piece.begin + _PIECE)
        table.reserve(piece, ahead=1 if table.rows else -(-(len(texts) - piece.begin) // _PIECE), memory=memory)
        table.rows, table.end, table.entries, _ = _walk(
            *piece.sets, piece.first, piece.signatures, positions[span], may_stay[span], chosen.threshold,
            table.rows, table.end, table.entries, table.places, table.starts, table.codes, table.stamps,
            table.slots, table.chains,
            piece.keeper, piece.similarity, stays[span], piece.begin,
        )  # fmt: skip
    return Decided(keeper, similarity, stays)


def _ahead(prepare: Callable[[int], _Piece], begins: range, threads: int) -> Iterator[_Piece]:
    """Prepare pieces in threads, a few ahead of the walk."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[_Piece]] = deque()
        for begin in begins:
            waiting.append(pool.submit(prepare, begin))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _search(segments: Sequence[Segment], piece: _Piece, positions: Ints, threshold: float) -> None:
    for each in segments:
        stamps = np.full(len(each.places), -1, np.int64)
        _look_up(
            *piece.sets, piece.first, piece.signatures, positions[piece.begin :], threshold,
            each.places, each.starts, each.codes, each.signatures, each.owners, stamps, piece.keeper, piece.similarity,
        )  # fmt: skip


@kernel
def _lacking(size, other_size, threshold):
    """Maximum size of the symmetric difference of two sets within the threshold; negative: they cannot be within."""
    return size + other_size - 2 * np.int64(np.ceil(threshold / (1 + threshold) * (size + other_size) - EPSILON))


@kernel
def _sketch(keys, begin, end):
    """Sketch of 32 bits: each word flips one. Two sets differ in at least as many words as their sketches in bits."""
    bits = np.uint32(0)
    for at in range(begin, end):
        bits ^= np.uint32(1) << np.uint32(keys[at] & np.uint64(31))
    return bits


@kernel
def _jaccard(keys, a, a_end, codes, b, b_end, threshold):
    """Jaccard of a set and a packed one; -1 as soon as the threshold cannot be reached."""
    size, at = size_of(codes, b, b_end), 0
    both = (a_end - a) + size
    lacking = _lacking(a_end - a, size, threshold)
    shared = 0
    while a < a_end and at < size:
        x, y = keys[a], word_at(codes, b, at)
        if x == y:
            shared += 1
            a += 1
            at += 1
        else:
            lacking -= 1
            if lacking < 0:
                return -1.0
            if x < y:
                a += 1
            else:
                at += 1
    return shared / (both - shared)


@kernel
def _look_up(
    starts, keys, first, signatures, positions, threshold,
    kept_positions, kept_starts, kept_codes, kept_signatures, owners, stamps, keeper, similarity,
):  # fmt: skip
    """Find keepers among the rows of a segment."""
    count = len(kept_signatures)
    scale = count / 2.0**64
    for row in range(len(starts) - 1):
        begin, end = starts[row], starts[row + 1]
        for s in range(first[row], first[row + 1]):
            wanted = signatures[s]
            at = min(count - 1, np.int64(np.float64(wanted) * scale))
            while at > 0 and kept_signatures[at - 1] >= wanted:
                at -= 1
            while 0 <= at < count and kept_signatures[at] < wanted:
                at += 1
            while 0 <= at < count and kept_signatures[at] == wanted:
                owner = np.int64(owners[at])
                at += 1
                if stamps[owner] == row or kept_positions[owner] >= positions[row]:
                    continue
                stamps[owner] = row
                jaccard = _jaccard(keys, begin, end, kept_codes, kept_starts[owner], kept_starts[owner + 1], threshold)
                if jaccard >= threshold and prefers(jaccard, kept_positions[owner], similarity[row], keeper[row]):
                    keeper[row], similarity[row] = kept_positions[owner], jaccard


@kernel
def _walk(
    starts, keys, first, signatures, positions, may_stay, threshold,
    rows, code_end, entries, kept_positions, kept_starts, kept_codes, stamps, slots, chains,
    keeper, similarity, stays, piece_begin,
):  # fmt: skip
    """Decide about the rows of a piece, in order, and add those that stay to the table."""
    mask = np.uint64(len(slots) - 1)
    touched = np.uint64(0)
    for row in range(len(starts) - 1):
        if row % _BLOCK == 0:
            touched += _touch(signatures, first[row], first[min(row + _BLOCK, len(starts) - 1)], slots, chains)
        begin, end = starts[row], starts[row + 1]
        sketch = _sketch(keys, begin, end)
        # The difference is largest if the partner has n / t words, rounded down, and contains all n.
        lacking = np.uint32(max(0, _lacking(end - begin, np.int64((end - begin) / threshold + EPSILON), threshold)))
        for s in range(first[row], first[row + 1]):
            upper = np.uint32(signatures[s] >> np.uint64(32))
            entry = np.int64(slots[signatures[s] & mask]) - 1
            while entry >= 0:
                if chains[entry, 0] == upper and _ones(chains[entry, 1] ^ sketch) <= lacking:
                    owner = np.int64(chains[entry, 2])
                    if stamps[owner] != piece_begin + row:
                        stamps[owner] = piece_begin + row
                        jaccard = _jaccard(
                            keys, begin, end, kept_codes, kept_starts[owner], kept_starts[owner + 1], threshold
                        )
                        if jaccard >= threshold and prefers(
                            jaccard, kept_positions[owner], similarity[row], keeper[row]
                        ):
                            keeper[row], similarity[row] = kept_positions[owner], jaccard
                entry = np.int64(chains[entry, 3]) - 1
            if similarity[row] == 1.0:
                break
        stays[row] = keeper[row] == NONE and may_stay[row]
        if stays[row]:
            kept_positions[rows], stamps[rows] = positions[row], -1
            for s in range(first[row], first[row + 1]):
                slot = signatures[s] & mask
                chains[entries, 0], chains[entries, 1] = signatures[s] >> np.uint64(32), sketch
                chains[entries, 2], chains[entries, 3] = rows, slots[slot]
                entries += 1
                slots[slot] = entries
            rows += 1
            code_end = kept_starts[rows] = pack_row(keys, begin, end, kept_codes, code_end)
    return rows, code_end, entries, touched


@kernel
def _touch(signatures, begin, end, slots, chains):
    """Prefetch the entries of some rows, so that the CPU waits for many memory reads at once."""
    mask = np.uint64(len(slots) - 1)
    touched = np.uint64(0)
    for s in range(begin, end):
        touched += np.uint64(slots[signatures[s] & mask])
    for s in range(begin, end):
        entry = slots[signatures[s] & mask]
        touched += np.uint64(chains[max(entry, 1) - 1, 0])
    return touched


@kernel
def _ones(bits):
    """Number of set bits of 32."""
    bits = np.uint64(bits)
    bits -= (bits >> np.uint64(1)) & np.uint64(0x55555555)
    bits = (bits & np.uint64(0x33333333)) + ((bits >> np.uint64(2)) & np.uint64(0x33333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F)
    return (bits * np.uint64(0x01010101) & np.uint64(0xFFFFFFFF)) >> np.uint64(24)


@kernel
def _rechain(chains, signatures, slots):
    """Rebuild the chains of all entries, in the same order."""
    mask = np.uint64(len(slots) - 1)
    for entry in range(len(signatures)):
        slot = signatures[entry] & mask
        chains[entry, 3] = slots[slot]
        slots[slot] = entry + 1
