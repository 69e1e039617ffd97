"""A digest of every partition of a table, in a few files: a partition is read again only when its file was replaced.

Reading one column of a thousand small partitions takes a second, because a file is opened for each. So what a run needs
to know of all batches is kept as in a log-structured store: rows of new and changed partitions are appended as a
segment, and the last segments are merged while the last but one is not twice as long as the last.

It is a cache, and can be deleted at any time. Two processes can use it at once: who cannot get the lock reads the new
partitions without storing them.
"""

import hashlib
import io
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from personahub_assets.core.errors import LockHeld
from personahub_assets.core.text import digest
from personahub_assets.store.atomic import aside_name, replacing
from personahub_assets.store.home import Lock
from personahub_assets.store.removal import discard

if TYPE_CHECKING:  # it reads tables by this module
    from personahub_assets.store.tables import Store

_LOG = logging.getLogger("personahub")

_STATE = "state.json"


class _Segment(NamedTuple):
    """A file with the rows of several partitions."""

    file: str
    sha256: str
    marks: dict[str, str]  # by batch, of the partition that its rows were made from


@dataclass(frozen=True)
class Compacted:
    """The digests of a table's partitions.

    Args:
        store: the home.
        table: the table.
        asset: writer of the partitions, if several write the table.
        name: names the digest, with its version: another name, another cache.
        columns: columns of the table that are read.
        make: makes the digest of a partition from these columns; it does not depend on settings.
    """

    store: "Store"
    table: str
    asset: str | None
    name: str
    columns: tuple[str, ...]
    make: Callable[[pl.DataFrame], pl.DataFrame]

    def read(self) -> pl.DataFrame:
        """`(batch, ...)` of all partitions.

        Raises:
            StoreError: if a file of the table is damaged.
        """
        marks = self.store.marks(self.table, self.asset)
        segments, frames = self._stored()
        current = [{b: m for b, m in segment.marks.items() if marks.get(b) == m} for segment in segments]
        frames = [
            frame if len(alive) == len(segment.marks) else frame.filter(pl.col("batch").is_in(list(alive)))
            for frame, segment, alive in zip(frames, segments, current, strict=True)
        ]
        present = {batch for alive in current for batch in alive}
        missing = {batch: mark for batch, mark in sorted(marks.items()) if batch not in present}
        empty = self._digest("", pl.DataFrame(schema=self._schema))
        if missing:
            frames.append(pl.concat([empty, *(self._read(batch) for batch in missing)]))
            if not self.store.is_draft:
                self._append(segments, [*current, missing], frames)
        return pl.concat([empty, *frames])

    @property
    def _schema(self) -> dict[str, pl.DataType]:
        schema = self.store.columns(self.table)
        return {name: schema[name] for name in self.columns}

    def _read(self, batch: str) -> pl.DataFrame:
        return self._digest(batch, self.store.read(self.table, batch, self.asset, columns=list(self.columns)))

    def _digest(self, batch: str, rows: pl.DataFrame) -> pl.DataFrame:
        rows = self.make(rows)
        return rows.select(pl.lit(batch).alias("batch"), pl.all())

    # --- the files ---

    @property
    def _folder(self) -> Path:
        return self.store.paths.compacted(digest(self.table, self.asset or "", self.name))

    def _stored(self) -> tuple[list[_Segment], list[pl.DataFrame]]:
        """The segments with their rows; one that is damaged or missing is left out."""
        segments, frames = list[_Segment](), list[pl.DataFrame]()
        for segment in self._listed():
            with suppress(OSError):
                content = (self._folder / segment.file).read_bytes()
                if hashlib.sha256(content).hexdigest() == segment.sha256:
                    segments.append(segment)
                    frames.append(pl.read_parquet(io.BytesIO(content)))
        return segments, frames

    def _listed(self) -> list[_Segment]:
        try:
            stored: Any = json.loads((self._folder / _STATE).read_text())
            return [_Segment(*each) for each in stored["segments"]]
        except (OSError, ValueError, TypeError, KeyError):  # there is none, or it is damaged
            return []

    def _append(self, segments: list[_Segment], current: list[dict[str, str]], frames: list[pl.DataFrame]) -> None:
        """Store the rows of new partitions, the last of the frames; not if another process is about to."""
        try:
            with self.store.lock(Lock.compacted(self._folder.name), wait=False):
                self._store(segments, current, frames)
        except LockHeld:
            pass
        except OSError as error:  # a home that is read-only, or a full disk
            _LOG.info("%s is not compacted: %s", self.table, error)

    def _store(self, segments: list[_Segment], current: list[dict[str, str]], frames: list[pl.DataFrame]) -> None:
        first = len(frames) - 1
        while first and frames[first - 1].height <= 2 * sum(frame.height for frame in frames[first:]):
            first -= 1
        file = f"{aside_name()}.parquet"
        rows = pl.concat(frames[first:])
        content = io.BytesIO()
        rows.write_parquet(content)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / file).write_bytes(content.getbuffer())
        marks = {batch: mark for alive in current[first:] for batch, mark in alive.items()}
        # Segments that are not merged keep the marks of replaced partitions, because they keep their rows.
        listed = [*segments[:first], _Segment(file, hashlib.sha256(content.getbuffer()).hexdigest(), marks)]
        with replacing(self._folder / _STATE, sync=False) as state:
            state.write_text(json.dumps({"segments": listed}, separators=(",", ":")))
        wanted = {_STATE, *(segment.file for segment in listed)}
        for path in self._folder.iterdir():
            if path.name not in wanted:
                discard(path)
