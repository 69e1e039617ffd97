"""The tables of a home as if it had one batch."""

from collections.abc import Iterable
from functools import cached_property
from glob import escape
from pathlib import Path

from personahub_assets.core.catalog import Catalog
from personahub_assets.store.home import PART
from personahub_assets.store.manifest import Listing, listing
from personahub_assets.store.tables import Store

_EVERY = f"batch=*/{PART}"


class OneBatch(Store):
    """Tables with the partitions of one batch only.

    Paths are made from the key, so that the cost does not grow with the number of batches.
    """

    every_batch: Store
    batch: str

    @classmethod
    def of(cls, store: Store, batch: str) -> "OneBatch":
        """The tables of a batch of a home."""
        return cls(home=store.home, personas_from=store.personas_from, every_batch=store, batch=batch)

    @cached_property
    def catalog(self) -> Catalog:
        """The datasets and prompts of the home."""
        return self.every_batch.catalog

    def globs(self, table: str) -> dict[str, dict[str, str]]:
        """Patterns that match the files of the batch."""
        globs = super().globs(table).items()
        return {f"{pattern.removesuffix(_EVERY)}batch={self.batch}/{PART}": columns for pattern, columns in globs}

    def listings(self, folders: Iterable[Path]) -> dict[Path, Listing]:
        """The file of the batch in each folder."""
        return {folder: listing(folder, [self.batch]) for folder in folders}

    def pattern(self, folder: Path) -> str:
        """The path of the file of the batch in a folder, as a pattern."""
        return f"{escape(str(folder))}/batch={self.batch}/{PART}"

    @property
    def is_draft(self) -> bool:
        """Nothing is written: manifests are of all batches."""
        return True

    def files(self, table: str, *, asset: str | None = None) -> list[Path]:
        """The files of the batch."""
        paths = (folder / f"batch={self.batch}" / PART for folder in self.folders(table, asset))
        return sorted(path for path in paths if path.exists())
