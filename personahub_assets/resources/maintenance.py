"""Maintenance: what a home may forget."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from personahub_assets.domain.errors import LockHeld
from personahub_assets.resources.instance import is_alive
from personahub_assets.resources.store import Store

_ASIDE_S = 24 * 3600.0


@dataclass
class Dropped:
    """What a round of maintenance did."""

    answers: int = 0
    partitions: int = 0
    busy: int = 0
    leftovers: int = 0

    def __str__(self) -> str:
        said = f"{self.answers:,} superseded answers dropped from {self.partitions:,} partitions"
        said += f", {self.leftovers:,} leftovers of killed runs removed"
        return said + (f"; {self.busy:,} partitions are being worked on and were left alone" if self.busy else "")


def maintain(store: Store) -> Dropped:
    """Drop superseded answers that were kept for `generation.keep_superseded_days`, and what killed runs left aside.

    A partition that is being worked on is left alone. Nothing that is asked today is touched.

    Raises:
        StoreError: if a partition is damaged.
    """
    keep = timedelta(days=store.config.generation.keep_superseded_days)
    before = datetime.now(UTC).replace(tzinfo=None) - keep
    dropped = Dropped()
    for path in store.files("generations"):
        asset, batch = (part.name.partition("=")[2] for part in (path.parent.parent, path.parent))
        try:
            with store.lock(f"{asset}-{batch}", wait=False):
                _drop(store, asset, batch, before, dropped)
        except LockHeld:
            dropped.busy += 1
    _sweep(store, dropped)
    return dropped


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
    """Remove pieces of processes that are gone; their folders begin with the process's id."""
    for folder in (store.root / "aside").glob("*"):
        with suppress(FileNotFoundError):
            pid = folder.name.partition("-")[0]
            if time.time() - folder.stat().st_mtime > _ASIDE_S and not (pid.isdecimal() and is_alive(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)
                dropped.leftovers += 1
