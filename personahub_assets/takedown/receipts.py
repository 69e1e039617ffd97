"""Receipts: what a takedown did, by place and batch; stored in `takedowns` without any removed text."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.core.urls import read_address
from personahub_assets.sources.tombstones import Tombstone
from personahub_assets.store.tables import Store, table_schema

Effect = Literal["removed", "changed", "displaced", "released", "outside", "submitted", "unread"]
_ACTS: tuple[Effect, ...] = ("removed", "changed")  # the other effects say what is still there
SAMPLES = 5
"""Number of addresses shown for a host."""


class Target(NamedTuple):
    """What to take down."""

    kind: Literal["document", "url_prefix", "persona", "batch"]
    values: tuple[str, ...]
    batch: str | None = None  # None: in all batches

    @property
    def takedown_id(self) -> str:
        """Id of the takedown; the same request has the same id, so that repeating it continues it."""
        return "t" + digest(self.kind, self.batch or "", *sorted(set(self.values)))


class Line(NamedTuple):
    """Rows changed in one place."""

    effect: Effect
    place: str
    batch: str | None


@dataclass
class Sites:
    """Addresses below a prefix by host, and hosts of the same site that are not below it. Not stored."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[str]] = field(default_factory=dict)
    near: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count the address of a document that is removed."""
        address = read_address(text, any_scheme=True)
        host = address.host if address else ""
        self.counts[host] += 1
        sample = self.samples.setdefault(host, [])
        if len(sample) < SAMPLES and text not in sample:
            sample.append(text)


@dataclass
class Receipt:
    """What a takedown will do, or did."""

    target: Target
    reason: str | None = None
    begun_at: datetime = field(default_factory=lambda: now())
    finished_at: datetime | None = None
    rows: Counter[Line] = field(default_factory=Counter)
    copies: list[str] = field(default_factory=list)
    """Descriptions of rows that have the same text and are kept. Not stored."""
    sites: Sites = field(default_factory=Sites)

    def lines_of(self, effect: Effect) -> Iterator[tuple[Line, int]]:
        """The lines of one effect, in order, each with its number of rows."""
        lines = [(line, count) for line, count in self.rows.items() if line.effect == effect and count]
        return iter(sorted(lines, key=lambda item: (item[0].place, item[0].batch or "")))

    @property
    def batches(self) -> set[str]:
        """Batches with removed rows."""
        return {line.batch for line in self.rows if line.effect == "removed" and line.batch}

    def total(self, effect: Effect) -> int:
        """Number of rows of one effect."""
        return sum(count for _, count in self.lines_of(effect))

    def as_json(self) -> dict[str, Any]:
        """The receipt as `--json` prints it."""
        return {
            "takedown_id": self.target.takedown_id,
            "target": self.target.kind,
            "reason": self.reason,
            "begun_at": self.begun_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
            **{
                effect: [
                    {"place": line.place, "batch": line.batch, "rows": count} for line, count in self.lines_of(effect)
                ]
                for effect in get_args(Effect)
            },
            "copies": self.copies,
            "addresses": {
                host: {"documents": count, "samples": self.sites.samples[host]}
                for host, count in self.sites.counts.most_common()
            },
            "hosts_that_stay": dict(self.sites.near.most_common()),
        }


def now() -> datetime:
    """The current time as tables store it."""
    return datetime.now(UTC).replace(tzinfo=None)


def store_tombstones(store: Store, target: Target, stones: set[Tombstone]) -> None:
    """Add tombstones to those that the takedown has already."""
    key = target.takedown_id
    rows = [
        {"takedown_id": key, "kind": stone.kind, "batch": stone.batch, "mark": stone.mark, "taken_at": now()}
        for stone in sorted(stones, key=lambda stone: (stone.kind, stone.batch or "", stone.mark))
    ]
    old = store.read("tombstones", key)
    new = pl.DataFrame(rows, table_schema("tombstones"))
    identity = ["kind", "batch", "mark"]
    store.write("tombstones", key, pl.concat([old, new.join(old, on=identity, how="anti", nulls_equal=True)]))


def store_receipt(store: Store, receipt: Receipt, done_before: Counter[Line]) -> None:
    """Store a receipt; the counts of an earlier takedown of the same target, which is finished, stay in it."""
    stored = receipt.rows | done_before
    stored.update({line: count for line, count in (receipt.rows & done_before).items() if line.effect in _ACTS})
    shared = {
        "takedown_id": receipt.target.takedown_id,
        "target": receipt.target.kind,
        "reason": receipt.reason,
        "begun_at": receipt.begun_at,
        "finished_at": receipt.finished_at,
    }
    rows = [{**shared, **line._asdict(), "rows": count} for line, count in sorted(stored.items(), key=str)]
    # A takedown without a match is stored too.
    rows = rows or [{**shared, "effect": "removed", "place": "documents", "batch": receipt.target.batch, "rows": 0}]
    store.write("takedowns", receipt.target.takedown_id, pl.DataFrame(rows, table_schema("takedowns")))


def find_receipt(store: Store, target: Target) -> Receipt | None:
    """The stored receipt of a takedown; None if it was never begun."""
    stored = store.read("takedowns", target.takedown_id)
    if stored.is_empty():
        return None
    first = stored.row(0, named=True)
    rows = Counter(
        {Line(row["effect"], row["place"], row["batch"]): row["rows"] for row in stored.iter_rows(named=True)}
    )
    return Receipt(target, first["reason"], first["begun_at"], first["finished_at"], rows)


def unfinished_takedowns(store: Store) -> list[str]:
    """Ids of takedowns that were begun and not finished."""
    rows = store.read_all("takedowns", ["takedown_id", "finished_at"])
    return sorted(rows.filter(pl.col("finished_at").is_null())["takedown_id"].unique())
