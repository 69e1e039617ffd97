"""The layout of a home: all its paths and the names of its locks.

hub.toml                      settings
prompts/<name>.md             prompts of this home
datasets/<name>.py            classes of the datasets of this home
inbox/                        source files and downloads
tables/<table>/[asset=<key>/]batch=<key>/part.parquet
journal/<asset>/<batch>.sqlite, journal/persona_embeddings/<batch>/, journal/item_embeddings/<dataset>/<batch>/
journal/batch_api/<asset>/<batch>.sqlite, <batch>.<submission>.{input,output}.jsonl   requests at a batch API
seeds/<asset>/                recorded answers of other homes
releases/<name>/
warehouse.duckdb              the warehouse; it can be rebuilt
cache/                        can be deleted at any time
aside/                        temporary files
dagster/                      the Dagster instance
locks/                        lock files, each with the id of the process that holds it
objects.sqlite                of a working copy: the objects as they were last seen
writer                        what wrote the rows: the stand-in or language models
"""

import glob
from dataclasses import dataclass
from pathlib import Path

from personahub_assets.core.catalog import CLASSES
from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.project_files import PROMPTS
from personahub_assets.core.text import digest

PART = "part.parquet"
"""Name of the file of a partition."""

_BUILD = "build it with: personahub run --select warehouse"
_INGEST = "register a source file first: personahub ingest FILE"
_COMPACTED = "compacted-"
_VECTORS, _ITEM_VECTORS = "persona_embeddings", "item_embeddings"


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
    WORKING_COPY = "working-copy"
    """Exchanging files with the object storage."""
    WRITER = "writer"
    """Reading and changing the file `writer`."""

    @staticmethod
    def is_local(name: str) -> bool:
        """Whether a lock is about files of this machine only, such as a cache."""
        return name == Lock.SEARCH or name.startswith(_COMPACTED)

    @staticmethod
    def of(asset: str, batch: str) -> str:
        """The lock of one asset and batch."""
        return f"{asset}-{batch}"

    @staticmethod
    def compacted(name: str) -> str:
        """The lock to store digests of a table."""
        return f"{_COMPACTED}{name}"

    @staticmethod
    def admission(stage: str) -> str:
        """The lock that a dedup stage holds to decide and publish."""
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
    def prompts(self) -> Path:
        """Prompts of this home, instead of or besides those of the package."""
        return self.root / PROMPTS

    @property
    def datasets(self) -> Path:
        """Classes of the datasets of this home."""
        return self.root / CLASSES

    @property
    def writer(self) -> Path:
        """The file that says what wrote the rows: `standin` or `model`."""
        return self.root / "writer"

    @property
    def probe(self) -> Path:
        """A file that is written and removed to check that the home is writable."""
        return self.root / ".doctor"

    @property
    def inbox(self) -> Path:
        """Source files that are registered by the sensor, and downloads."""
        return self.root / "inbox"

    @property
    def aside(self) -> Path:
        """Temporary files, on the disk of the tables."""
        return self.root / "aside"

    @property
    def releases(self) -> Path:
        """Releases, one folder each."""
        return self.root / "releases"

    @property
    def warehouse(self) -> Path:
        """The DuckDB file."""
        return self.root / "warehouse.duckdb"

    @property
    def tables(self) -> Path:
        """The tables, one folder each."""
        return self.root / "tables"

    def partition(self, table: str, batch: str, asset: str | None = None) -> Path:
        """The file of a partition; give the asset if several write the table."""
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
        """Journals: answers and vectors that are not published yet."""
        return self.root / "journal"

    def journal(self, asset: str, batch: str) -> Path:
        """Unpublished answers of one asset and batch."""
        return self.journals / asset / f"{batch}.sqlite"

    def journals_of(self, batch: str, suffix: str = "") -> list[Path]:
        """The answer journals of a batch; with the suffix `*` also the files that SQLite keeps beside them."""
        return sorted(self.journals.glob(f"*/{batch}.sqlite{suffix}"))

    @property
    def submissions(self) -> Path:
        """Requests that were submitted to a batch API, with their answers until they are published."""
        return self.journals / "batch_api"

    def ledger(self, asset: str, batch: str) -> Path:
        """The submitted requests of one asset and batch."""
        return self.submissions / asset / f"{batch}.sqlite"

    def ledgers_of(self, batch: str = "*", suffix: str = "") -> list[Path]:
        """The ledgers of a batch, or all; with the suffix `*` also the files that SQLite keeps beside them."""
        return sorted(self.submissions.glob(f"*/{batch}.sqlite{suffix}"))

    def request_files(self, batch: str) -> list[Path]:
        """Files with the requests and answers of a batch that a program outside answers, such as vllm run-batch."""
        return sorted(self.submissions.glob(f"*/{batch}.*.jsonl*"))

    @property
    def vector_journals(self) -> list[Path]:
        """Folders of unpublished vectors: of the personas by batch, and of the items by dataset and batch."""
        return [self.journals / _VECTORS, self.journals / _ITEM_VECTORS]

    def vector_journal(self, batch: str) -> Path:
        """Unpublished vectors of the personas of one batch."""
        return self.journals / _VECTORS / batch

    def item_vector_journal(self, dataset: str, batch: str) -> Path:
        """Unpublished vectors of the items of one dataset and batch."""
        return self.journals / _ITEM_VECTORS / dataset / batch

    def vector_journals_of(self, batch: str) -> list[Path]:
        """The folders of unpublished vectors that a batch has."""
        folders = [self.vector_journal(batch), *sorted((self.journals / _ITEM_VECTORS).glob(f"*/{batch}"))]
        return [folder for folder in folders if folder.exists()]

    @property
    def recorded(self) -> Path:
        """Recorded answers of other homes."""
        return self.root / "seeds"

    def recorded_answers(self, asset: str) -> Path:
        """The recorded answers for one asset."""
        return self.recorded / asset

    @property
    def cache(self) -> Path:
        """Files that can be built again."""
        return self.root / "cache"

    @property
    def hashes(self) -> Path:
        """Hashes of source files."""
        return self.cache / "hashes"

    @property
    def warehouse_note(self) -> Path:
        """What the warehouse was built from."""
        return self.cache / "warehouse.npz"

    def manifest(self, folder: Path) -> Path:
        """Rows and columns of the files in a folder of partitions."""
        return self.cache / "manifest" / f"{folder.relative_to(self.tables).as_posix().replace('/', '~')}.npz"

    @property
    def hub_checks(self) -> Path:
        """What checks of the whole hub compare a batch with, and their results."""
        return self.cache / "checks.sqlite"

    def dedup_cache(self, stage: str) -> Path:
        """Cache of a dedup stage."""
        return self.cache / stage

    def item_dedup_cache(self, dataset: str, stage: str) -> Path:
        """Cache of a dedup stage of a dataset."""
        return self.cache / "items" / dataset / stage

    def compacted(self, name: str) -> Path:
        """Digests of the partitions of a table."""
        return self.cache / "compacted" / name

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
        """Tracebacks of unexpected errors; beside Dagster's history, so that a takedown searches them."""
        return self.dagster / "tracebacks"

    @property
    def dagster_lock(self) -> Path:
        """The lock that is held to open the Dagster instance."""
        return self.dagster / ".starting.lock"

    @property
    def objects(self) -> Path:
        """Of a working copy, the objects of the home as they were last seen."""
        return self.root / "objects.sqlite"

    @property
    def locks(self) -> Path:
        """Lock files."""
        return self.root / "locks"

    def lock(self, name: str) -> Path:
        """The file of a lock."""
        return self.locks / f"{name}.lock"

    @property
    def own(self) -> list[Path]:
        """Paths that only this program writes."""
        folders = [self.aside, self.cache, self.dagster, self.journals, self.locks, self.releases, self.recorded]
        files = [self.config, self.objects, self.warehouse, self.writer]
        return [*folders, self.prompts, self.datasets, self.tables, *files]

    def check_warehouse(self) -> None:
        """Refuse a home without a warehouse.

        Raises:
            StoreError: with the command that builds it.
        """
        if not self.warehouse.exists():
            first = "" if (self.tables / "batches").exists() else f". {self.root} has no batches yet: {_INGEST}"
            raise StoreError(f"{self.warehouse} does not exist yet; {_BUILD}{first}")

    def check_output(self, file: Path) -> None:
        """Refuse an output file among the home's own files, or over a source file in its inbox.

        Raises:
            ConfigError: if the file is refused.
        """
        target, own = _resolved(file), [path.resolve() for path in self.own]
        if inside := next((each for each in own if target == each or each in target.parents), None):
            raise ConfigError(f"--output {file}: {inside} is the home's own; choose a file elsewhere")
        if self.inbox.resolve() in target.parents and target.exists():
            raise ConfigError(f"--output {file}: {target} is a source file of the home; choose another name")


def _resolved(file: Path) -> Path:
    try:
        return file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # such as a cycle of links
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--output {file} cannot be written: {reason}") from error
