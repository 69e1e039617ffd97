"""Maintenance: delete superseded answers and leftovers of killed runs."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from personahub_assets.core.errors import LockHeld
from personahub_assets.core.processes import is_alive
from personahub_assets.generation.batch_api.ledger import drop, open_submissions
from personahub_assets.store.atomic import HIDDEN
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import remove_all
from personahub_assets.store.tables import STAGES, Store

_ASIDE_S, _SKEW_S = 24 * 3600.0, 3600.0
_PID = re.compile(r"(?:^|\.)(\d{1,7})-")


@dataclass
class Dropped:
    """Result of a maintenance."""

    answers: int = 0
    partitions: int = 0
    busy: int = 0
    leftovers: int = 0
    left: dict[Path, str] = field(default_factory=dict)
    """Leftovers that could not be removed, each with the reason."""

    def __str__(self) -> str:
        summary = f"{self.answers:,} superseded answers dropped from {self.partitions:,} partitions"
        summary += f", {self.leftovers:,} leftovers of killed runs removed"
        return summary + (f"; {self.busy:,} partitions are in use and were skipped" if self.busy else "")

    @property
    def problems(self) -> list[str]:
        """A line for each leftover that could not be removed."""
        return [f"{path} cannot be removed: {reason}" for path, reason in sorted(self.left.items())]


def maintain(store: Store) -> Dropped:
    """Drop superseded answers older than `generation.keep_superseded_days`, and leftovers of killed runs.

    The same time holds for answers of a batch API that are not used.

    Partitions in use are skipped. Answers to current requests are kept.

    Raises:
        StoreError: if a partition is damaged.
    """
    keep = timedelta(days=store.config.generation.keep_superseded_days)
    before = datetime.now(UTC).replace(tzinfo=None) - keep
    dropped = Dropped()
    for path in store.files("generations"):
        asset, batch = (folder.name.partition("=")[2] for folder in (path.parent.parent, path.parent))
        try:
            with store.lock(Lock.of(asset, batch), wait=False):
                _drop(store, asset, batch, before, dropped)
        except LockHeld:
            dropped.busy += 1
    _sweep(store, dropped)
    for path in store.paths.ledgers_of():
        with suppress(LockHeld), store.lock(Lock.of(path.parent.name, path.stem), wait=False):
            _drop_ledger(path, keep.total_seconds(), dropped)
    return dropped


def _drop_ledger(path: Path, keep_s: float, dropped: Dropped) -> None:
    """Drop a ledger of a batch API whose answers no run asked for since they came, if that is long ago."""
    if age_s(path) > keep_s and not open_submissions(path):
        drop(path)
        dropped.leftovers += 1


def leftovers(store: Store) -> Iterator[Path]:
    """Temporary files and folders, which a process removes at its end unless it is killed.

    Files aside, incomplete downloads, unfinished releases, partly written caches and vectors.
    """
    paths = store.paths
    yield from paths.aside.glob("*")
    yield from paths.inbox.rglob(".*.part")
    yield from paths.inbox.rglob(HIDDEN)  # results of queries
    yield from paths.releases.glob(".*-release-*")
    yield from paths.cache.rglob(".*")
    for vectors in paths.vector_journals:
        yield from vectors.rglob(".*")
        yield from vectors.rglob("*.aside")  # of version 0.1
    yield from paths.dagster.rglob(HIDDEN)
    yield from (copy for asset in STAGES if (copy := paths.tables / asset).exists())  # of earlier versions


def is_owned(path: Path) -> bool:
    """Whether the process whose id is in a leftover's name is alive."""
    pids = _PID.findall(path.name)
    return bool(pids) and is_alive(int(pids[-1]))


def age_s(path: Path) -> float:
    """Seconds since the last write; a time far in the future is ignored (a wrong clock, an archive).

    Raises:
        FileNotFoundError: if the path does not exist.
    """
    age = time.time() - path.lstat().st_mtime
    return age if age > -_SKEW_S else math.inf


def _drop(store: Store, asset: str, batch: str, before: datetime, dropped: Dropped) -> None:
    old = (pl.col("status") == "superseded") & (pl.col("superseded_at").fill_null(before) <= before)
    marks = store.read("generations", batch, asset, columns=["status", "superseded_at"])
    count = marks.filter(old).height
    if not count:
        return
    writer = store.writer("generations", batch, asset)
    for rows in store.slices("generations", batch, asset=asset):
        writer.add(rows.filter(~old.fill_null(value=False)))
    writer.publish()
    dropped.answers += count
    dropped.partitions += 1


def _sweep(store: Store, dropped: Dropped) -> None:
    """Remove old leftovers without a live process, and list those that cannot be removed."""
    old = []
    for path in leftovers(store):
        with suppress(FileNotFoundError):  # removed by its process in the meantime
            if age_s(path) > _ASIDE_S and not is_owned(path):
                old.append(path)
    old = [path for path in old if not set(path.parents) & set(old)]
    dropped.left = remove_all(old)
    dropped.leftovers = len(old) - len(dropped.left)
