"""Storage for runs in this process: Dagster's SQLite files, through connections that stay open.

Dagster opens and closes a database for every event, compiles the statement again, and waits for the disk twice. In a
refresh of a few documents this is half of the time. The files are the same, so the UI reads them as before.
"""

import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as db
from dagster import DagsterRun
from sqlalchemy.engine import Connection, Engine

from personahub_assets.instance.compat import (
    INDEX_SHARD_NAME,
    SQLITE_BUSY_TIMEOUT_SECONDS,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    SqliteEventLogStorage,
    SqliteRunStorage,
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


class EventLog(SqliteEventLogStorage):
    """Events of runs: one database per run, and an index of asset events."""

    _empty: ClassVar[bytes] = b""

    def __init__(self, base_dir: str, inst_data: Any = None):
        self._databases = Databases()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "EventLog":
        """Create the storage; called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._databases.at(self.conn_string_for_shard(shard))
            if shard not in self._initialized_dbs:
                self._create(shard, engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def _create(self, shard: str, engine: Engine) -> None:
        """Create a run's database as a copy of an empty one: Dagster would read all its migrations each time."""
        path = Path(self.path_for_shard(shard))
        if shard == INDEX_SHARD_NAME or path.exists():
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
        """Whether the index has a table; cached, since Dagster calls it before every use of some tables."""
        with self._databases.at(self.conn_string_for_shard(INDEX_SHARD_NAME)).connect() as connection:
            return bool(db.inspect(connection).has_table(table_name))

    def dispose(self) -> None:
        """Close all connections."""
        super().dispose()
        self._databases.close()


class Runs(SqliteRunStorage):
    """Runs and their tags: one database.

    Runs of this process are stored as runs of the code location that the UI loads. Without an origin the UI shows a run
    neither below its job nor on the timeline.
    """

    def __init__(self, conn_string: str, inst_data: Any = None):
        self._databases = Databases()
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "Runs":
        """Create the storage; called by Dagster."""
        return cls.from_local(inst_data=inst_data, **config_value)

    def add_run(self, dagster_run: DagsterRun) -> DagsterRun:
        """Store a new run, with its origin."""
        return super().add_run(dagster_run.with_job_origin(_origin(dagster_run.job_name)))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a transaction."""
        with self._databases.at(self._conn_string).begin() as connection:
            yield connection

    def dispose(self) -> None:
        """Close all connections."""
        super().dispose()
        self._databases.close()


def _origin(job: str) -> RemoteJobOrigin:
    return RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), REPOSITORY), job)
