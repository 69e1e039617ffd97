"""Holds shards in an actor, for one batch after another.

It is a module of its own so that a worker imports little before its first answer.
"""

import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from threading import Lock, Thread
from typing import Any, NamedTuple

from personahub_assets.dedup.shards import Matches, Part, Spans, best_of

_BEAT = 30.0  # most seconds until an actor sees that nothing asks it

Runs = tuple[str, ...]
"""Names of runs of rows, in order."""


class Answer(NamedTuple):
    """What an actor found."""

    matches: Matches | None  # None: some shards are missing
    seconds: float  # of the search


class HeldShard(NamedTuple):
    """A shard for later batches."""

    runs: Runs  # names of the rows of its segment
    rows: int  # of its segment
    shard: Part[Any]


class Holder:
    """What an actor does: it holds shards of segments, and asks them, in several threads.

    Args:
        idle_minutes: after which it ends if nothing asks it; 0: it does not.
    """

    def __init__(self, idle_minutes: float) -> None:
        self._shards: dict[str, HeldShard] = {}
        self._masked: dict[tuple[str, Spans], Part[Any]] = {}
        self._lock, self._working, self._used = Lock(), 0, time.monotonic()
        Thread(target=self._end_when_idle, args=(60 * idle_minutes or math.inf,), daemon=True).start()

    def keep_runs(self, runs: Collection[str]) -> None:
        """Forget shards with other rows."""
        wanted = set(runs)
        self._forget(lambda _, shard: not wanted.issuperset(shard.runs))

    def keep(self, keys: Collection[str]) -> None:
        """Forget all other shards."""
        self._forget(lambda key, _: key not in keys)

    def count_runs(self, wanted: Mapping[str, Runs]) -> dict[str, int]:
        """Of each shard that is not held, the number of its first runs whose rows are held."""
        with self._work(), self._lock:
            return {
                key: sum(len(each.runs) for each in self._first_of(runs))
                for key, runs in wanted.items()
                if key not in self._shards
            }

    def take(self, key: str, runs: Runs, rows: range, shard: Part[Any]) -> None:
        """Hold a shard, if the rows before the new ones are still held.

        Args:
            key: of the shard.
            runs: names of its rows.
            rows: the rows of the segment that are new: all from one on.
            shard: a shard of these rows.
        """
        with self._work(), self._lock:
            first, *later = [*self._first_of(runs), HeldShard((), len(rows), shard)]
            begins = list(accumulate(each.rows for each in (first, *later)))[:-1]
            if [0, *begins][-1] == rows.start:
                joined = first.shard.followed_by([each.shard for each in later], begins) if later else shard
                self._shards[key] = HeldShard(runs, rows.stop, joined)

    def _first_of(self, runs: Runs) -> list[HeldShard]:
        """Shards whose rows, one after another, are the first ones of some runs."""
        shards, at = list[HeldShard](), 0
        longest = sorted(filter(lambda each: each.runs, self._shards.values()), key=lambda each: -len(each.runs))
        while next_ := next((each for each in longest if runs[at : at + len(each.runs)] == each.runs), None):
            shards.append(next_)
            at += len(next_.runs)
        return shards

    def _forget(self, is_other: Callable[[str, HeldShard], bool]) -> None:
        with self._work(), self._lock:
            self._shards = {key: shard for key, shard in self._shards.items() if not is_other(key, shard)}
            self._masked.clear()

    def candidates(self, wanted: Sequence[tuple[str, Spans]], batch: Any) -> Answer:
        """The best keepers among the rows of some shards that are not masked."""
        with self._work():
            started = time.perf_counter()
            with self._lock:
                if any(key not in self._shards for key, _ in wanted):
                    return Answer(None, 0.0)
                searched = [self._without(key, spans) for key, spans in wanted]
            matches = best_of([shard.candidates(batch) for shard in searched])
            return Answer(matches, time.perf_counter() - started)

    def _without(self, key: str, spans: Spans) -> Part[Any]:
        if not spans:
            return self._shards[key].shard
        if (key, spans) not in self._masked:
            self._masked[key, spans] = self._shards[key].shard.without(spans)
        return self._masked[key, spans]

    @contextmanager
    def _work(self) -> Iterator[None]:
        with self._lock:
            self._working += 1
        try:
            yield
        finally:
            with self._lock:
                self._working -= 1
                self._used = time.monotonic()

    def _end_when_idle(self, seconds: float) -> None:
        while self._working or (left := self._used + seconds - time.monotonic()) > 0:
            time.sleep(_BEAT if self._working else min(left, _BEAT))
        os._exit(0)  # a thread cannot end its actor in another way; the next batch places it again
