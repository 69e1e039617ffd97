"""A store over a home whose writes stay in memory, for planning a run."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from pydantic import PrivateAttr

from personahub_assets.core.errors import StoreError
from personahub_assets.store.tables import SLICE_ROWS, PartitionWriter, Store, asset_of

Partition = tuple[str, str, str | None]


class OverlayStore(Store):
    """Reads partitions written to it, or else those of the home; the home is not changed."""

    _frames: dict[Partition, pl.DataFrame] = PrivateAttr(default_factory=dict)
    _writes: dict[Partition, int] = PrivateAttr(default_factory=dict)

    @property
    def is_draft(self) -> bool:
        """Writes stay in memory."""
        return True

    def read(
        self, table: str, batch: str, asset: str | None = None, *, columns: list[str] | None = None
    ) -> pl.DataFrame:
        """Read one partition."""
        frame = self._frames.get((table, batch, asset))
        if frame is None:
            return super().read(table, batch, asset, columns=columns)
        return frame.select(columns) if columns else frame

    def slices(
        self, table: str, batch: str, columns: list[str] | None = None, *, asset: str | None = None
    ) -> Iterator[pl.DataFrame]:
        """Read one partition in slices."""
        if (table, batch, asset) in self._frames:
            yield from self.read(table, batch, asset, columns=columns).iter_slices(SLICE_ROWS)
        else:
            yield from super().slices(table, batch, columns, asset=asset)

    def height(self, table: str, batch: str, asset: str | None = None) -> int:
        """Rows of one partition."""
        frame = self._frames.get((table, batch, asset))
        return super().height(table, batch, asset) if frame is None else frame.height

    def files(self, table: str, *, asset: str | None = None) -> list[Path]:
        """Files of a table, including those that would be written."""
        wanted = [each for each in self._frames if each[0] == table and asset in (None, each[2])]
        return sorted({self.path(*each) for each in wanted}.union(super().files(table, asset=asset)))

    def marks(self, table: str, asset: str | None = None) -> dict[str, str]:
        """Marks of the partitions, those that would be written included."""
        drafts = {
            batch: f"draft {self._writes[name, batch, of_asset]}"
            for name, batch, of_asset in self._frames
            if name == table and asset in (None, of_asset)
        }
        return super().marks(table, asset) | drafts

    def mark(self, table: str, batch: str, asset: str | None = None) -> str:
        """The mark of one partition."""
        writes = self._writes.get((table, batch, asset))
        return f"draft {writes}" if writes else super().mark(table, batch, asset)

    def read_all(self, table: str, columns: list[str] | None = None, *, asset: str | None = None) -> pl.DataFrame:
        """Read the partitions of all batches."""
        schema = self.columns(table)
        names = columns or list(schema)
        frames = [pl.DataFrame(schema={name: schema[name] for name in names})]
        for path in self.files(table, asset=asset):
            batch, of_asset = path.parent.name.removeprefix("batch="), asset_of(table, path.parent.parent)
            frames.append(self.read(table, batch, of_asset, columns=names))
        return pl.concat(frames)

    def write(self, table: str, batch: str, rows: pl.DataFrame, asset: str | None = None) -> None:
        """Keep one partition in memory."""
        self.path(table, batch, asset)  # refuses what a store refuses
        schema = self.columns(table)
        self._writes[table, batch, asset] = self._writes.get((table, batch, asset), 0) + 1
        self._frames[table, batch, asset] = rows.select(list(schema)).cast(schema)  # type: ignore[arg-type]

    def writer(self, table: str, batch: str, asset: str | None = None) -> PartitionWriter:
        """Refuse: an overlay writes no files.

        Raises:
            StoreError: always.
        """
        raise StoreError(f"a draft of {self.path(table, batch, asset)} cannot be written")
