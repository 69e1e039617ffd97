"""The kept rows of all batches of a stage, compacted: a few segments instead of a file for each batch.

As in a log-structured store, rows of new or changed batches are appended as a segment, and the last segments are merged
while the last but one is not twice as long as the last. So n batches are in about log2(n) segments, and a row is
written about log2(n) times. Rows of a batch that changed or is gone are masked, and removed when a merge has too many.

The state is a cache: it can be deleted at any time. A list of the segments is replaced by rename, so a process that is
killed leaves the old state; folders in no list are removed by the next writer.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.dedup import array_cache
from personahub_assets.dedup.array_cache import Arrays, Pieces
from personahub_assets.dedup.merging import Run, joined, merged_keys, merged_values
from personahub_assets.dedup.shards import Divisible, Part, Spans, masked
from personahub_assets.store.atomic import replacing
from personahub_assets.store.removal import discard

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.bytes_]

_STATE = "state.json"
_CHUNK = 65_536  # kept rows that are made searchable together
_MOST_DEAD = 0.25  # share of masked rows above which a merge makes the rows again


class OfVectors(NamedTuple):
    """What is known of the vectors of a batch."""

    models: tuple[str, ...]
    is_old: bool  # some are of an older version
    has_refused: bool  # the server refused some texts


class Summary(NamedTuple):
    """What is known of the decisions about a batch without reading them.

    It is valid while the files that it was made from are the same.
    """

    mark: str  # of these files
    stamp: str | None  # of the kept rows; None: the batch is not compared
    candidates: int  # decisions
    last_admission: int
    rule: str | None  # None: unknown
    method: str
    run_candidates: int
    of_vectors: OfVectors


class Entry(NamedTuple):
    """The rows of a batch in a segment."""

    batch: str
    stamp: str
    begin: int
    end: int
    is_alive: bool

    def name(self, *form: str) -> str:
        """Identifies these rows, in a searchable form or in any."""
        return digest(*form, self.batch, self.stamp, self.end - self.begin)


class Rows(NamedTuple):
    """Kept rows of batches, to be appended."""

    kept: pl.DataFrame  # (batch, id, place), by batch and place
    keepers: pl.Series  # the keeper of each dropped row of these batches


class Form(Protocol):
    """The searchable form of kept rows."""

    @property
    def name(self) -> str:
        """Names the form; segments of another form are of no use."""

    @property
    def largest(self) -> float:
        """Rows of a segment that is not merged any more: more segments must not make a search slower."""

    def make(self, kept: pl.DataFrame) -> Mapping[str, Pieces]:
        """The arrays for kept rows `(batch, id, place)`, in order."""

    def merge(self, segments: Sequence[Arrays], firsts: Sequence[int]) -> Mapping[str, Pieces]:
        """The arrays of several segments as one; `firsts` are the numbers of their first rows."""


@dataclass(frozen=True)
class Segment:
    """Rows of several batches in one folder."""

    folder: str
    entries: tuple[Entry, ...]
    arrays: Arrays = field(repr=False)

    def __len__(self) -> int:
        return len(self.arrays["places"])

    @property
    def dead(self) -> int:
        """Rows of batches that changed since."""
        return sum(entry.end - entry.begin for entry in self.entries if not entry.is_alive)

    def positions(self, without: frozenset[str]) -> Ints:
        """(n,) places, with those of dead entries and of some batches masked."""
        return masked(self.arrays["places"], self.masked_rows(without))

    def masked_rows(self, without: frozenset[str]) -> Spans:
        """The rows of dead entries and of some batches, as spans that do not touch."""
        spans = list[tuple[int, int]]()
        for entry in self.entries:
            if not entry.is_alive or entry.batch in without:
                begin = spans.pop()[0] if spans and spans[-1][1] == entry.begin else entry.begin
                spans.append((begin, entry.end))
        return tuple(spans)

    def divisible(
        self, form: str, without: frozenset[str], divide: Callable[[int, int, range], Part[Any]]
    ) -> Divisible:
        """These rows, to be divided; those of dead entries and of some batches are masked."""
        runs, ends = (entry.name(form) for entry in self.entries), (entry.end for entry in self.entries)
        return Divisible(tuple(runs), tuple(ends), self.masked_rows(without), divide)

    def rows_of(self, ids: Ids, without: frozenset[str]) -> Ints:
        """(n,) the row of each id among living ones, -1 if there is none."""
        return self._living(self.arrays["ids"], self.arrays["id_order"], ids, without)

    def rows_at(self, positions: Ints, without: frozenset[str]) -> Ints:
        """(n,) the row at each place among living ones, -1 if there is none."""
        return self._living(self.arrays["places"], self.arrays["place_order"], positions, without)

    def batches_of(self, rows: Ints) -> set[str]:
        """The batches of some rows."""
        return {self.entries[number].batch for number in self._entries_of(rows)}

    def _living(self, own: Any, order: Ints, wanted: Any, without: frozenset[str]) -> Ints:
        """Rows by value: of several with one value, at most one is not of a dead entry."""
        first, last = (np.searchsorted(own, wanted, side, order) for side in ("left", "right"))
        rows = np.full(len(wanted), -1, np.int64)
        is_living = self._is_living(without)
        for further in range(int((last - first).max(initial=0))):
            index = np.flatnonzero(last - first > further)
            candidates = order[first[index] + further]
            living = is_living[self._entries_of(candidates)]
            rows[index[living]] = candidates[living]
        return rows

    def _entries_of(self, rows: Ints) -> Ints:
        return np.searchsorted([entry.end for entry in self.entries], rows, side="right")

    def _is_living(self, without: frozenset[str]) -> npt.NDArray[np.bool_]:
        return np.array([entry.is_alive and entry.batch not in without for entry in self.entries], np.bool_)

    def absorbed(self, keepers: Ids, without: frozenset[str]) -> Ints:
        """The number of dropped rows of each keeper, without those of dead entries and of some batches."""
        own, numbers = self.arrays["dropped_for"], self.arrays["dropped_in"]
        alive = self._is_living(without)
        first, last = (np.searchsorted(own, keepers, side) for side in ("left", "right"))
        return np.array([alive[numbers[a:b]].sum() for a, b in zip(first, last, strict=True)], np.int64)


class KeptRows:
    """The state of a stage.

    Args:
        folder: where it is stored.
        may_write: whether files of the folder may be written.
    """

    def __init__(self, folder: Path, *, may_write: bool = True) -> None:
        self.folder = folder
        stored = _read(folder / _STATE)
        self.form: str | None = stored.get("form")
        self.summaries = {
            batch: Summary._make([*fields[:-1], OfVectors(tuple(fields[-1][0]), *fields[-1][1:])])
            for batch, fields in stored.get("summaries", {}).items()
        }
        self._next = int(stored.get("next", 0))
        self.segments: list[Segment] = []
        for name, entries in stored.get("segments", []):
            arrays = array_cache.opened(folder / name, name, may_write=may_write)
            if arrays is not None:
                self.segments.append(Segment(name, tuple(Entry(*entry) for entry in entries), arrays))

    # --- reading ---

    def stamps(self) -> dict[str, str]:
        """The stamp of every batch with rows here."""
        return {each.batch: each.stamp for segment in self.segments for each in segment.entries if each.is_alive}

    def sequence(self) -> list[str]:
        """Identifies the rows of all segments in their order, masked ones included; a merge does not change it."""
        entries = chain.from_iterable(segment.entries for segment in self.segments)
        return [entry.name() for entry in entries]

    # --- writing: hold the lock of the stage ---

    def keep_only(self, stamps: Mapping[str, str], form: str) -> None:
        """Mask the rows of batches whose stamp is another one now."""
        if form != self.form:
            self.segments, self.form = [], form
        self.segments = [
            replace(
                segment,
                entries=tuple(
                    entry._replace(is_alive=entry.is_alive and stamps.get(entry.batch) == entry.stamp)
                    for entry in segment.entries
                ),
            )
            for segment in self.segments
        ]

    def append(self, stamps: Mapping[str, str], read: Callable[[str], Rows], form: Form) -> None:
        """Add the rows of batches, in their order, and merge.

        Args:
            stamps: the batches.
            read: reads the rows of a batch.
            form: makes them searchable.
        """
        # Merged after each chunk: merging many equal segments at the end would take quadratic time.
        chunk, size = dict[str, Rows](), 0
        for batch in stamps:
            chunk[batch] = read(batch)
            size += chunk[batch].kept.height
            if size >= _CHUNK:
                self._append(chunk, stamps, form)
                self._merge(read, form)
                chunk, size = {}, 0
        if chunk:
            self._append(chunk, stamps, form)
        self._merge(read, form)

    def _merge(self, read: Callable[[str], Rows], form: Form) -> None:
        while self._should_merge(form.largest):
            self._merge_last(read, form)

    def _append(self, chunk: Mapping[str, Rows], stamps: Mapping[str, str], form: Form) -> None:
        kept = pl.concat([rows.kept for rows in chunk.values()])
        ends = np.cumsum([rows.kept.height for rows in chunk.values()]).tolist()
        begins = [0, *ends[:-1]]
        entries = [
            Entry(batch, stamps[batch], begin, end, is_alive=True)
            for batch, begin, end in zip(chunk, begins, ends, strict=True)
        ]
        dropped_in = np.repeat(np.arange(len(chunk), dtype=np.int32), [len(rows.keepers) for rows in chunk.values()])
        dropped = pl.concat([rows.keepers for rows in chunk.values()])
        self._add(entries, encoded(kept["id"]), kept["place"].to_numpy(), encoded(dropped), dropped_in, form.make(kept))

    def _add(
        self, entries: Iterable[Entry], ids: Ids, positions: Ints, dropped_for: Ids,
        dropped_in: npt.NDArray[np.int32], form: Mapping[str, Pieces],
    ) -> None:  # fmt: skip
        order = np.argsort(dropped_for, kind="stable")
        core = {
            "ids": ids,
            "places": positions,
            "id_order": np.argsort(ids, kind="stable").astype(np.int64),
            "place_order": np.argsort(positions, kind="stable").astype(np.int64),
            "dropped_for": dropped_for[order],
            "dropped_in": dropped_in[order],
        }
        self._save(entries, {**core, **form})

    def _save(self, entries: Iterable[Entry], content: Mapping[str, Pieces]) -> None:
        name = f"{self._next:06d}"
        array_cache.save(self.folder / name, name, content)
        arrays = array_cache.opened(self.folder / name, name)
        assert arrays is not None, f"{self.folder / name} cannot be read back"
        self._next += 1
        self.segments.append(Segment(name, tuple(entries), arrays))

    def _should_merge(self, largest: float) -> bool:
        if len(self.segments) < 2:
            return False
        last_but_one, last = map(len, self.segments[-2:])
        return last_but_one <= 2 * last and last_but_one + last <= largest

    def _merge_last(self, read: Callable[[str], Rows], form: Form) -> None:
        merged = self.segments[-2:]
        del self.segments[-2:]
        if sum(segment.dead for segment in merged) > _MOST_DEAD * sum(map(len, merged)):
            living = {entry.batch: entry.stamp for segment in merged for entry in segment.entries if entry.is_alive}
            self.append(living, read, form)
            return
        firsts, numbers = [0, len(merged[0])], [0, len(merged[0].entries)]
        entries = [
            entry._replace(begin=entry.begin + first, end=entry.end + first)
            for segment, first in zip(merged, firsts, strict=True)
            for entry in segment.entries
        ]
        arrays = [segment.arrays for segment in merged]
        dropped = [
            Run(each["dropped_for"], each["dropped_in"], offset=n) for each, n in zip(arrays, numbers, strict=True)
        ]
        core: dict[str, Pieces] = {
            "ids": joined([each["ids"] for each in arrays]),
            "places": joined([each["places"] for each in arrays]),
            "id_order": _merged_order(arrays, "ids", "id_order", firsts),
            "place_order": _merged_order(arrays, "places", "place_order", firsts),
            "dropped_for": merged_keys(dropped),
            "dropped_in": merged_values(dropped),
        }
        self._save(entries, {**core, **form.merge(arrays, firsts)})

    def save(self, keep: Iterable[str]) -> None:
        """Replace the list of segments, then remove other files of the folder.

        Args:
            keep: names in the folder that belong to others.
        """
        content = {
            "form": self.form,
            "next": self._next,
            "segments": [[segment.folder, segment.entries] for segment in self.segments],
            "summaries": self.summaries,
        }
        text = json.dumps(content, separators=(",", ":"))
        with replacing(self.folder / _STATE, sync=False) as file:
            file.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
        wanted = {_STATE, *keep, *(segment.folder for segment in self.segments)}
        for path in self.folder.iterdir():
            if path.name not in wanted:
                discard(path)


def _merged_order(segments: Sequence[Arrays], keys: str, order: str, firsts: Sequence[int]) -> Pieces:
    """The order of the keys of several segments as one."""
    pairs = zip(segments, firsts, strict=True)
    return merged_values([Run(each[keys], each[order], each[order], first) for each, first in pairs])


def _read(file: Path) -> dict[str, Any]:
    """The stored state; empty if there is none or it is damaged."""
    try:
        mark, text = file.read_text().split("\n", 1)
        if hashlib.sha256(text.encode()).hexdigest() != mark:
            return {}
        stored: dict[str, Any] = json.loads(text)
    except (OSError, ValueError):
        return {}
    return stored


def encoded(ids: pl.Series) -> Ids:
    """Ids as segments hold them: bytes of one length."""
    return np.array([text.encode() for text in ids], np.bytes_) if len(ids) else np.empty(0, "S1")
