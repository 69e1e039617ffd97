"""The layout of a home: each of its paths and the name of each of its locks, stated once.

hub.toml                      settings
inbox/                        source files and downloads
tables/<table>/[asset=<key>/]batch=<key>/part.parquet
journal/<asset>/<batch>.sqlite, journal/persona_embeddings/<batch>/
seeds/<asset>/                recorded answers of other homes
releases/<name>/
warehouse.duckdb              can be built again
cache/                        can be deleted at any time
aside/                        what is being written
dagster/                      the Dagster instance
locks/                        lock files, each with the id of the process that holds it
writer                        who writes here: the stand-in or language models
"""

import glob
from dataclasses import dataclass
from pathlib import Path

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.text import digest

PART = "part.parquet"
"""Name of the file of a partition."""

_BUILD = "build it with: personahub run --select warehouse"
_VECTORS = "persona_embeddings"


class Lock:
    """Names of the locks of a home."""

    BATCHES = "batches"
    """Registration of batches."""
    RELEASES = "releases"
    SEARCH = "search"
    """Building an index for search."""
    TAKEDOWN = "takedown"
    WAREHOUSE = "warehouse"
    """Building the warehouse."""
    WRITER = "writer"
    """Reading and writing who writes the home."""

    @staticmethod
    def of(asset: str, batch: str) -> str:
        """The lock of one asset and batch."""
        return f"{asset}-{batch}"

    @staticmethod
    def admission(stage: str) -> str:
        """The lock under which a stage of dedup decides and publishes."""
        return f"admission-{stage}"


@dataclass(frozen=True)
class Home:
    """Paths of the home at `root`; nothing is read or created."""

    root: Path

    @property
    def config(self) -> Path:
        """The settings; the file may be missing."""
        return self.root / "hub.toml"

    @property
    def writer(self) -> Path:
        """The file that says who writes the home: `standin` or `model`."""
        return self.root / "writer"

    @property
    def probe(self) -> Path:
        """A file that is written and removed to see whether the home is writable."""
        return self.root / ".doctor"

    @property
    def inbox(self) -> Path:
        """Source files that are registered by the sensor, and downloads."""
        return self.root / "inbox"

    @property
    def aside(self) -> Path:
        """What is being written, on the disk of the tables."""
        return self.root / "aside"

    @property
    def releases(self) -> Path:
        """Releases, a folder each."""
        return self.root / "releases"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def tables(self) -> Path:
        """The tables, a folder each."""
        return self.root / "tables"

    def partition(self, table: str, batch: str, asset: str | None = None) -> Path:
        """The file of a partition; with an asset where several write the table."""
        folder = self.tables / table
        return (folder if asset is None else folder / f"asset={asset}") / f"batch={batch}" / PART

    def partitions(self, table: str, *, by_asset: bool) -> str:
        """A pattern that matches the files of all partitions of a table."""
        middle = "asset=*/batch=*" if by_asset else "batch=*"
        return f"{glob.escape(str(self.tables))}/{table}/{middle}/{PART}"

    def partition_folders(self, batch: str) -> list[Path]:
        """The folders that a batch has in all tables."""
        return [*self.tables.glob(f"*/batch={batch}"), *self.tables.glob(f"*/asset=*/batch={batch}")]

    @property
    def journals(self) -> Path:
        """What was answered and embedded and is not published yet."""
        return self.root / "journal"

    def journal(self, asset: str, batch: str) -> Path:
        """The answers of one asset and batch that are not published yet."""
        return self.journals / asset / f"{batch}.sqlite"

    def journals_of(self, batch: str, suffix: str = "") -> list[Path]:
        """The journals of answers that a batch has; with the suffix `*` also the files SQLite keeps beside them."""
        return sorted(self.journals.glob(f"*/{batch}.sqlite{suffix}"))

    @property
    def vector_journals(self) -> Path:
        """Vectors that are not published yet, a folder per batch."""
        return self.journals / _VECTORS

    def vector_journal(self, batch: str) -> Path:
        """The vectors of one batch that are not published yet."""
        return self.vector_journals / batch

    @property
    def recorded(self) -> Path:
        """Recorded answers of other homes."""
        return self.root / "seeds"

    def recorded_answers(self, asset: str) -> Path:
        """The recorded answers for one asset."""
        return self.recorded / asset

    @property
    def cache(self) -> Path:
        """What can be made again."""
        return self.root / "cache"

    @property
    def hashes(self) -> Path:
        """Hashes of source files."""
        return self.cache / "hashes"

    @property
    def warehouse_note(self) -> Path:
        """What the warehouse was built from."""
        return self.cache / "warehouse.json"

    def dedup_cache(self, stage: str) -> Path:
        """What a stage of dedup can make again."""
        return self.cache / stage

    def search_index(self, model: str) -> Path:
        """The index of the vectors of a model."""
        return self.cache / "search" / digest(model)

    @property
    def dagster(self) -> Path:
        """The folder of the Dagster instance: its DAGSTER_HOME."""
        return self.root / "dagster"

    @property
    def dagster_settings(self) -> Path:
        """The settings of the Dagster instance."""
        return self.dagster / "dagster.yaml"

    @property
    def history(self) -> Path:
        """The databases of the Dagster instance."""
        return self.dagster / "history"

    @property
    def tracebacks(self) -> Path:
        """Tracebacks of unexpected errors; beside Dagster's history, where a takedown looks, too."""
        return self.dagster / "tracebacks"

    @property
    def dagster_lock(self) -> Path:
        """The lock under which the Dagster instance is opened."""
        return self.dagster / ".starting.lock"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.root / "locks"

    def lock(self, name: str) -> Path:
        """The file of a lock."""
        return self.locks / f"{name}.lock"

    @property
    def own(self) -> list[Path]:
        """What only this program writes to."""
        folders = [self.aside, self.cache, self.dagster, self.journals, self.locks, self.releases, self.recorded]
        return [*folders, self.tables, self.config, self.warehouse, self.writer]

    def check_warehouse(self) -> None:
        """Refuse a home without a warehouse.

        Raises:
            StoreError: saying how it is built.
        """
        if not self.warehouse.exists():
            raise StoreError(f"{self.warehouse} does not exist yet; {_BUILD}")

    def check_output(self, file: Path) -> None:
        """Refuse to write a result where the home keeps its own files, or over a source file in its inbox.

        Raises:
            ConfigError: naming the folder.
        """
        target, own = _resolved(file), [path.resolve() for path in self.own]
        if inside := next((each for each in own if target == each or each in target.parents), None):
            raise ConfigError(f"--output {file}: {inside} is the home's own; choose a file elsewhere")
        if self.inbox.resolve() in target.parents and target.exists():
            raise ConfigError(f"--output {file}: {target} is a source file of the home; choose another name")


def _resolved(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # such as a circle of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--output {file} cannot be written: {reason}") from error
