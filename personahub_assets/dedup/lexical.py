"""Lexical deduplication: exact word-set Jaccard similarity at or above a threshold.

The paper (section 2.2.1) approximates this with MinHash (1-gram, 128 permutations, 0.9). Personas are short, so the
exact answer is cheaper than the estimate. `wordsets.py` splits texts into words. Sets within the threshold have a
common signature (`signatures.py`). This module compares rows with a common signature, word by word.

Rows are walked in their order (`keepers.py` has the rule). A row is compared with the kept rows that share a signature
with it; if none is within the threshold, its own signatures enter the table. Threads prepare sets and signatures of the
next rows. Kept rows of earlier walks are in `Segment`s, whose sorted signatures are searched by interpolation. Beyond a
configured size the kept rows of this walk become a segment too, which the caller puts on disk. Segments are shards
(`shards.py`), and can be divided further by ranges of the signatures.

The result is exact unless two different words have equal 63-bit hashes. Numba compiles the kernels once and caches them
on disk.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.dedup.codec import Codes, Packed, max_codes, pack, pack_row, size_of, unpack, word_at
from personahub_assets.dedup.keepers import NONE, Decided, prefers
from personahub_assets.dedup.kernels import kernel, read_only
from personahub_assets.dedup.merging import Run, Streamed, merged_keys, merged_values
from personahub_assets.dedup.shards import Best, Matches, Shard, Spans, masked, matches_of, no_keepers, spans_among
from personahub_assets.dedup.signatures import EPSILON, SignatureScheme
from personahub_assets.dedup.wordsets import Ints, Keys, Sets

PIECE = 16_384  # rows that a thread prepares together, and that a shard is asked about at once
REMOTE_PIECE = 65_536  # the same if shards are in other processes: a question has a cost of its own
_BLOCK = 32  # rows whose table entries are prefetched
_FROZEN = 1 << 18  # rows of the table that become a segment together
_HASHES = 1 << 64  # the signatures are uniform below it
_MOST = 0.75  # share of the rows
_STEPS = 5  # of interpolation before the neighbours are searched one by one
_REMEMBERED = 1 << 12  # kept rows that are not compared twice with the same row; forgetting one costs a comparison


# --- Kept rows -----------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Rows to compare with kept ones, as words and signatures."""

    sets: Sets
    first: Ints  # (n + 1,) the signatures of row i are those from first[i] to first[i + 1]
    signatures: Keys
    positions: Ints  # (n,) position of each row in the order of all rows
    threshold: float

    def __reduce__(self) -> tuple[Callable[..., "Batch"], tuple[Packed, Ints, Keys, Ints, float]]:
        """Sets travel packed: a quarter of the bytes."""
        return _unpacked, (pack(self.sets), *self[1:])


class Segment(NamedTuple):
    """Kept rows of an earlier walk, in searchable form; its arrays may be memory-mapped files."""

    places: Ints  # (m,)
    starts: Ints  # (m + 1,)
    codes: Codes
    signatures: Keys  # (e,) ascending
    owners: npt.NDArray[np.uint32]  # (e,) the row of each signature
    sketches: npt.NDArray[np.uint32]  # (e,) of this row, which need not be read if its sketch differs too much

    def candidates(self, batch: Batch) -> Matches:
        """The best keeper of each row."""
        best = no_keepers(len(batch.positions))
        arrays: tuple[npt.NDArray[Any], ...] = self
        wanted = map(read_only, (*batch.sets, batch.first, batch.signatures, batch.positions))
        _look_up(*wanted, batch.threshold, *map(read_only, arrays), np.empty(_REMEMBERED, np.int64), *best)
        return matches_of(best)


def _unpacked(sets: Packed, first: Ints, signatures: Keys, positions: Ints, threshold: float) -> Batch:
    return Batch(unpack(sets), first, signatures, positions, threshold)


class SegmentPart(NamedTuple):
    """The signatures of a segment in one range, and their rows."""

    segment: Segment
    rows: Ints  # (m,) their numbers in the whole segment
    first: int  # of the signatures
    last: int

    def without(self, spans: Spans) -> "SegmentPart":
        """The same rows, but some rows of the segment are no keepers."""
        own = self.segment
        return self._replace(segment=own._replace(places=masked(own.places, spans_among(self.rows, spans))))

    def followed_by(self, others: Sequence["SegmentPart"], firsts: Sequence[int]) -> "SegmentPart":
        """The part of a segment that also has the rows of others, which begin at its rows `firsts`."""
        rows = (each.rows + first for each, first in zip(others, firsts, strict=True))
        joined = others[-1].segment
        for each in [*others[-2::-1], self]:  # the last ones are the smallest
            joined = _joined(each.segment, joined)
        return self._replace(segment=joined, rows=np.concatenate([self.rows, *rows]))

    def candidates(self, batch: Batch) -> Matches:
        """The best keeper of each row among those that have a common signature in this range."""
        is_here = (batch.signatures >= np.uint64(self.first)) & (batch.signatures <= np.uint64(self.last))
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_here)])[batch.first]
        return self.segment.candidates(batch._replace(first=first, signatures=batch.signatures[is_here]))


def segment(sets: Sets, positions: Ints, chosen: SignatureScheme) -> Segment:
    """Make kept rows searchable."""
    first, signatures = chosen.signatures(sets)
    owners = np.repeat(np.arange(len(positions), dtype=np.uint32), np.diff(first))
    order = np.argsort(signatures, kind="stable")
    owners = owners[order]
    return Segment(positions, *pack(sets), signatures[order], owners, _sketches(*sets)[owners])


def shard(source: Segment, number: int, count: int, among: range) -> SegmentPart:
    """The signatures of some rows in one of `count` ranges of equal length; a row is in each part with one of its own.

    Args:
        source: a segment.
        number: which of the ranges.
        count: number of ranges.
        among: rows of the segment; the part numbers them from 0.
    """
    first, last = _HASHES * number // count, _HASHES * (number + 1) // count - 1
    span = slice(
        np.searchsorted(source.signatures, np.uint64(first)),
        np.searchsorted(source.signatures, np.uint64(last), side="right"),
    )
    signatures, owners, sketches = source.signatures[span], source.owners[span], source.sketches[span]
    if len(among) < len(source.places):
        is_among = (owners >= among.start) & (owners < among.stop)
        signatures, owners, sketches = signatures[is_among], owners[is_among], sketches[is_among]
    owners = owners - np.uint32(among.start)
    positions = source.places[among.start : among.stop]
    starts = source.starts[among.start : among.stop + 1]
    codes, sizes = source.codes[starts[0] : starts[-1]], np.diff(starts)
    has_one = np.zeros(len(positions), np.bool_)
    has_one[owners] = True
    rows = np.flatnonzero(has_one)
    if len(rows) > _MOST * len(positions):  # so many that it is quicker to send all of them
        rows, starts = np.arange(len(positions)), starts - starts[0]
    else:
        owners = (np.cumsum(has_one, dtype=np.uint32) - np.uint32(1))[owners]
        positions, codes = positions[rows], codes[np.repeat(has_one, sizes)]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[rows])])
    return SegmentPart(Segment(positions, starts, codes, signatures, owners, sketches), rows, first, last)


def _joined(first: Segment, second: Segment) -> Segment:
    """The rows of two segments, in memory."""
    count = len(first.signatures) + len(second.signatures)
    signatures, owners, sketches = np.empty(count, np.uint64), np.empty(count, np.uint32), np.empty(count, np.uint32)
    entries = (read_only(each) for each in (*first[3:], *second[3:]))
    _merge(*entries, np.uint32(len(first.places)), signatures, owners, sketches)
    positions = np.concatenate([first.places, second.places])
    starts = np.concatenate([first.starts[:-1], second.starts + first.starts[-1]])
    return Segment(positions, starts, np.concatenate([first.codes, second.codes]), signatures, owners, sketches)


def merged(segments: Sequence[Segment]) -> Mapping[str, npt.NDArray[Any] | list[npt.NDArray[Any]] | Streamed]:
    """The arrays of one segment with the rows of several; large ones are merged while they are written."""
    ends = np.cumsum([0, *(len(each.codes) for each in segments)])
    firsts = np.cumsum([0, *(len(each.starts) - 1 for each in segments)]).tolist()
    runs = [Run(each.signatures, each.owners, offset=first) for each, first in zip(segments, firsts, strict=False)]
    sketched = [Run(each.signatures, each.sketches) for each in segments]
    starts = [each.starts[:-1] + end for each, end in zip(segments, ends, strict=False)]
    return {
        "places": [each.places for each in segments],
        "starts": [*starts, ends[-1:]],
        "codes": [each.codes for each in segments],
        "signatures": merged_keys(runs),
        "owners": merged_values(runs),
        "sketches": merged_values(sketched),
    }


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

    def reserve(self, piece: Batch, ahead: int, memory: int) -> None:
        """Allocate memory for `ahead` pieces like this one, up to the limit; unused memory costs nothing."""
        rows, codes, entries = len(piece.positions), max_codes(piece.sets), len(piece.signatures)
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

    def freeze(self) -> Iterator[Segment]:
        """Return the kept rows as segments, one after another: making one takes memory too."""
        for begin in range(0, self.rows, _FROZEN):
            end = min(begin + _FROZEN, self.rows)
            starts = self.starts[begin : end + 1]
            sets = unpack(Packed(starts - starts[0], self.codes[starts[0] : starts[-1]]))
            yield segment(sets, self.places[begin:end].copy(), self._plan)


# --- The walk ------------------------------------------------------------------------------------------------------


class _Piece(NamedTuple):
    """Rows of a walk, prepared by a thread, with the keepers found in the shards that existed then."""

    begin: int
    batch: Batch
    best: Best
    searched: int  # number of shards


def decide(
    texts: pl.Series,
    positions: Ints,
    may_stay: npt.NDArray[np.bool_],
    kept: Sequence[Shard[Batch]],
    chosen: SignatureScheme,
    *,
    memory: int = 2 << 30,
    spill: Callable[[Iterable[Segment]], Iterable[Segment]] = list,
    threads: int = os.cpu_count() or 1,
    piece_rows: int = PIECE,
) -> Decided:
    """Walk rows in order and decide which are kept; each other row gets its keeper.

    Args:
        texts: (n,) in the order of the walk.
        positions: (n,) position of each row in the order of all rows, ascending, at least 0.
        may_stay: (n,) False for rows that are not kept even without a keeper.
        kept: kept rows of other walks; rows at a later position are not used as keepers.
        chosen: the plan by which the shards were made.
        memory: bytes of kept rows above which they are passed to `spill`.
        spill: called with the kept rows as segments; stores them, on disk for example, and returns them, or fewer.
        threads: number of threads that prepare rows.
        piece_rows: rows that a thread prepares together, and that a shard is asked about at once.
    """
    shards, table = list(kept), _Table(chosen)
    best, stays = no_keepers(len(texts)), np.zeros(len(texts), np.bool_)

    def prepare(begin: int) -> _Piece:
        span = slice(begin, begin + piece_rows)
        sets = chosen.sets(texts[span])
        batch = Batch(sets, *chosen.signatures(sets), positions[span], chosen.threshold)
        piece = _Piece(begin, batch, Best(best.keeper[span], best.similarity[span]), len(shards))
        _search(shards, piece)
        return piece

    for piece in _ahead(prepare, range(0, len(texts), piece_rows), threads):
        if table.rows and table.bytes > memory:
            shards.extend(spill(table.freeze()))
            table = _Table(chosen)
        _search(shards[piece.searched :], piece)
        span = slice(piece.begin, piece.begin + piece_rows)
        left = -(-(len(texts) - piece.begin) // piece_rows)
        table.reserve(piece.batch, ahead=1 if table.rows else left, memory=memory)
        table.rows, table.end, table.entries, _ = _walk(
            *piece.batch.sets, piece.batch.first, piece.batch.signatures, positions[span], may_stay[span],
            chosen.threshold, table.rows, table.end, table.entries, table.places, table.starts, table.codes,
            table.stamps, table.slots, table.chains,
            *piece.best, stays[span], piece.begin,
        )  # fmt: skip
    return Decided(*best, stays)


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


def _search(shards: Sequence[Shard[Batch]], piece: _Piece) -> None:
    for each in shards:
        piece.best.take(each.candidates(piece.batch))


@kernel
def _lacking(size, other_size, threshold):
    """Maximum size of the symmetric difference of two sets within the threshold; negative: they cannot be within."""
    return size + other_size - 2 * np.int64(np.ceil(threshold / (1 + threshold) * (size + other_size) - EPSILON))


@kernel
def _most_lacking(size, threshold):
    """The same for any partner: the difference is largest if it has n / t words, rounded down, and contains all n."""
    return np.uint32(max(0, _lacking(size, np.int64(size / threshold + EPSILON), threshold)))


@kernel
def _sketches(starts, keys):
    """The sketch of each row."""
    sketches = np.empty(len(starts) - 1, np.uint32)
    for row in range(len(sketches)):
        sketches[row] = _sketch(keys, starts[row], starts[row + 1])
    return sketches


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
def _merge(
    signatures, owners, sketches, other_signatures, other_owners, other_sketches, first,
    all_signatures, all_owners, all_sketches,
):  # fmt: skip
    """Merge the entries of two segments; the rows of the second one begin at row `first`."""
    a = b = 0
    for at in range(len(all_signatures)):
        is_of_first = b == len(other_signatures) or (a < len(signatures) and signatures[a] <= other_signatures[b])
        if is_of_first:
            all_signatures[at], all_owners[at], all_sketches[at] = signatures[a], owners[a], sketches[a]
            a += 1
        else:
            all_signatures[at], all_owners[at] = other_signatures[b], other_owners[b] + first
            all_sketches[at] = other_sketches[b]
            b += 1


@kernel
def _interpolated(values, wanted, count, scale):
    """Near where a value is among uniform ones; each step leaves about the square root of the distance."""
    at = np.int64(0)
    for _ in range(_STEPS if count else 0):
        step = np.int64((np.float64(wanted) - np.float64(values[at])) * scale)
        if step == 0:
            break
        at = min(max(at + step, 0), count - 1)
    return at


@kernel
def _look_up(
    starts, keys, first, signatures, positions, threshold,
    kept_positions, kept_starts, kept_codes, kept_signatures, owners, sketches, compared, keeper, similarity,
):  # fmt: skip
    """Find keepers among the rows of a segment.

    `compared` remembers which pairs were compared, forgetting some: an array for all rows of a large segment would take
    longer to fill than the search.
    """
    compared[:] = -1
    last = len(compared) - 1
    count = len(kept_signatures)
    width = np.float64(kept_signatures[-1]) - np.float64(kept_signatures[0]) if count else 0.0
    scale = (count - 1) / width if width else 0.0
    for row in range(len(starts) - 1):
        begin, end = starts[row], starts[row + 1]
        sketch, lacking = _sketch(keys, begin, end), _most_lacking(end - begin, threshold)
        for s in range(first[row], first[row + 1]):
            wanted = signatures[s]
            at = _interpolated(kept_signatures, wanted, count, scale)
            while at > 0 and kept_signatures[at - 1] >= wanted:
                at -= 1
            while 0 <= at < count and kept_signatures[at] < wanted:
                at += 1
            while 0 <= at < count and kept_signatures[at] == wanted:
                owner, is_near = np.int64(owners[at]), _ones(sketches[at] ^ sketch) <= lacking
                at += 1
                if not is_near:
                    continue
                pair = owner << 30 | row
                if compared[owner & last] == pair or kept_positions[owner] >= positions[row]:
                    continue
                compared[owner & last] = pair
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
        lacking = _most_lacking(end - begin, threshold)
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
