"""Storage for runs in this process: Dagster's SQLite files, through connections that stay open.

Dagster opens and closes a database for every event, compiles the statement again, and waits for the disk twice. In a
refresh of a few documents this is half of the time. The files are the same, so the UI reads them as before.
"""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as db
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, DagsterRun, EventLogEntry, EventRecordsResult
from sqlalchemy.engine import Connection, Engine

from personahub_assets.instance.compat import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    RunStorage,
    SqliteEventLogStorage,
    SqliteRunStorage,
    SqliteScheduleStorage,
    create_db_conn_string,
)
from personahub_assets.store.atomic import replacing

LOCATION, REPOSITORY = "personahub", "__repository__"
"""Names of the code location in workspace.yaml, and of its repository, which Dagster names so."""

_MOST = 8  # open databases: every run has one


class Databases:
    """SQLite databases by address; the least recently used ones are closed."""

    def __init__(self) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()

    def at(self, address: str) -> Engine:
        """Open the database at an address such as sqlite:///runs.db."""
        if address not in self._engines:
            engine = db.create_engine(address, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
            db.event.listen(engine, "connect", _write_without_waiting)
            self._engines[address] = engine
        self._engines.move_to_end(address)
        while len(self._engines) > _MOST:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[address]

    def close(self) -> None:
        """Close all databases; later requests open them again."""
        while self._engines:
            self._engines.popitem()[1].dispose()


def _write_without_waiting(connection: Any, _record: object) -> None:
    # With a write-ahead log a killed process loses nothing. A power cut loses the last events, never the database.
    connection.execute("PRAGMA synchronous = NORMAL")


class _Transactions:
    """Open transactions by shard, of one thread, which the stack ends."""

    def __init__(self, stack: ExitStack):
        self.thread = threading.get_ident()
        self._stack, self._connections = stack, dict[str, Connection]()

    def of(self, shard: str, engine: Callable[[], Engine]) -> Connection:
        """The connection of a shard, opened at its first use."""
        if shard not in self._connections:
            self._connections[shard] = self._stack.enter_context(engine().begin())
        return self._connections[shard]


class EventLog(SqliteEventLogStorage):
    """Events of runs: one database per run, and an index of asset events."""

    _empty: ClassVar[bytes] = b""

    def __init__(self, base_dir: str, inst_data: Any = None):
        self._databases = Databases()
        self._transactions: _Transactions | None = None
        self._tables, self._partitions = set[str](), set[tuple[str, str]]()
        self._fetched: dict[str, EventRecordsResult] | None = None
        index = Path(base_dir, f"{INDEX_SHARD_NAME}.db")
        if not index.exists():
            _copy_new(index, SqliteEventLogStorage)
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "EventLog":
        """Create the storage; called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        if self._transactions is not None and self._transactions.thread == threading.get_ident():
            yield self._transactions.of(shard, lambda: self._engine(shard))
            return
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in one transaction per database: a run begins with an event for each asset and check."""
        with self._db_lock, ExitStack() as stack:
            self._transactions = _Transactions(stack)
            try:
                for event in events:
                    self.store_event(event)
            finally:
                self._transactions = None

    def _engine(self, shard: str) -> Engine:
        engine = self._databases.at(self.conn_string_for_shard(shard))
        if shard not in self._initialized_dbs:
            self._create(shard, engine)
            self._initialized_dbs.add(shard)
        return engine

    def _create(self, shard: str, engine: Engine) -> None:
        """Create a run's database as a copy of an empty one: Dagster would read all its migrations each time."""
        path = Path(self.path_for_shard(shard))
        if shard == INDEX_SHARD_NAME or path.exists():
            if not _is_complete(engine):
                self._initdb(engine)
            return
        with replacing(path, sync=False) as file:
            file.write_bytes(self._empty_database())

    def _empty_database(self) -> bytes:
        if not EventLog._empty:
            with tempfile.TemporaryDirectory() as folder:
                engine = db.create_engine(f"sqlite:///{folder}/empty.db")
                self._initdb(engine)
                engine.dispose()
                EventLog._empty = Path(folder, "empty.db").read_bytes()
        return EventLog._empty

    def has_table(self, table_name: str) -> bool:
        """Whether the index has a table; remembered, since Dagster asks before every use of some tables."""
        if table_name not in self._tables:
            with self._databases.at(self.conn_string_for_shard(INDEX_SHARD_NAME)).connect() as connection:
                if not db.inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        """Whether a partition exists; remembered, since Dagster asks several times for every step."""
        key = partitions_def_name, partition_key
        if key not in self._partitions and super().has_dynamic_partition(*key):
            self._partitions.add(key)
        return key in self._partitions

    def delete_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> None:
        """Delete a partition."""
        self._partitions.discard((partitions_def_name, partition_key))
        super().delete_dynamic_partition(partitions_def_name, partition_key)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remember materialisations meanwhile: for every result of a check, Dagster asks for that of its asset."""
        self._fetched = {}
        try:
            yield
        finally:
            self._fetched = None

    def fetch_materializations(
        self,
        records_filter: AssetKey | AssetRecordsFilter,
        limit: int,
        cursor: str | None = None,
        ascending: bool = False,
    ) -> EventRecordsResult:
        """Return materialisations of an asset."""
        question = repr((records_filter, limit, cursor, ascending))
        if self._fetched is not None and question in self._fetched:
            return self._fetched[question]
        fetched = super().fetch_materializations(records_filter, limit, cursor, ascending)
        if self._fetched is not None:
            self._fetched[question] = fetched
        return fetched

    def dispose(self) -> None:
        """Close all connections."""
        super().dispose()
        self._databases.close()


class OwnRuns(RunStorage):
    """Stores runs of this process as runs of the code location that the UI loads.

    Without an origin the UI shows a run neither below its job nor on the timeline.
    """

    _assets = frozenset[AssetKey]()

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Store a new run, with its origin and the assets of `selecting`."""
        run = dagster_run.with_job_origin(_origin(dagster_run.job_name))
        return super().add_run(run._replace(asset_selection=self._assets) if self._assets else run)  # type: ignore[safe-super]

    @contextmanager
    def selecting(self, assets: Iterable[AssetKey]) -> Iterator[None]:
        """Store runs meanwhile as a selection of these assets of their job."""
        self._assets = frozenset(assets)
        try:
            yield
        finally:
            self._assets = frozenset()


class Runs(OwnRuns, SqliteRunStorage):
    """Runs and their tags: one database."""

    def __init__(self, conn_string: str, inst_data: Any = None):
        self._databases = Databases()
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "Runs":
        """Create the storage; called by Dagster."""
        storage: Runs = _opened(cls, config_value["base_dir"], "runs", inst_data)
        return storage

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a transaction."""
        with self._databases.at(self._conn_string).begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close all connections."""
        super().dispose()
        self._databases.close()


def record_origins(storage: RunStorage) -> None:
    """Make a storage of another kind, such as Postgres, store runs like `Runs`."""
    kind = type(storage)
    if not issubclass(kind, OwnRuns):
        # A subclass made here works for every storage, without importing those that are not installed.
        storage.__class__ = type(kind.__name__, (OwnRuns, kind), {})


def remembering(instance: DagsterInstance) -> AbstractContextManager[None]:
    """Remember materialisations meanwhile, in an instance of `open_instance`."""
    storage = instance.event_log_storage
    return storage.remembering() if isinstance(storage, EventLog) else nullcontext()


class Schedules(SqliteScheduleStorage):
    """Ticks of sensors and schedules; Dagster's own, opened without reading its migrations."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "Schedules":
        """Create the storage; called by Dagster."""
        storage: Schedules = _opened(cls, config_value["base_dir"], "schedules", inst_data)
        return storage


def _is_complete(engine: Engine) -> bool:
    """Whether Dagster has created all tables of a database: it then stores the number of its last migration."""
    with engine.connect() as connection:
        if not db.inspect(connection).has_table("alembic_version"):
            return False
        return connection.execute(db.text("SELECT 1 FROM alembic_version")).first() is not None


def _opened(kind: Any, base_dir: str, name: str, inst_data: Any) -> Any:
    """Open a storage of one database, of this class, without reading all migrations to see that none is due."""
    path = Path(base_dir, f"{name}.db")
    if not path.exists():
        _copy_new(path, kind.from_local)
        return kind(create_db_conn_string(base_dir, name), inst_data)
    address = create_db_conn_string(base_dir, name)
    if _is_complete(db.create_engine(address, poolclass=db.NullPool)):
        return kind(address, inst_data)
    return kind.from_local(base_dir, inst_data)


_NEW: dict[str, bytes] = {}


def _copy_new(path: Path, make: Callable[[str], Any]) -> None:
    """Write a database without rows; Dagster makes the first one of a process, which takes half a second.

    Args:
        path: of the database.
        make: makes the storage with a database of this name in a folder.
    """
    if path.name not in _NEW:
        with tempfile.TemporaryDirectory() as folder:
            make(folder).dispose()
            _NEW[path.name] = Path(folder, path.name).read_bytes()
    with replacing(path, sync=False) as file:
        file.write_bytes(_NEW[path.name])


def _origin(job: str) -> RemoteJobOrigin:
    return RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), REPOSITORY), job)
