"""DuckDB databases: files that every supported version reads, and databases that close without a deadlock.

DuckDB 1.5.6 can hang when a database is closed while one of its threads ends a task: the thread waits for a lock of the
closed connection, and closing waits for the thread (about once in some hundred thousand times).
"""

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import duckdb

# The format that DuckDB 1.5 writes unasked; what 2.0 writes unasked, 1.5 cannot open.
_STORAGE_VERSION = "v1.0.0"


def open_to_write(file: Path) -> duckdb.DuckDBPyConnection:
    """Open or create a database file that every supported version of DuckDB can read, whichever of them writes it."""
    return duckdb.connect(str(file), config={"storage_compatibility_version": _STORAGE_VERSION})


def connect_small() -> duckdb.DuckDBPyConnection:
    """A database in memory without its own threads, for queries that take milliseconds."""
    return duckdb.connect(config={"threads": 1})


@lru_cache(maxsize=1)
def _shared() -> duckdb.DuckDBPyConnection:
    # A file can be replaced within the second by which a cache of its content would know it.
    return duckdb.connect(config={"threads": 1, "enable_external_file_cache": False})


def cursor() -> duckdb.DuckDBPyConnection:
    """A connection to a database in memory that this process has anyway, for queries that create and set nothing.

    It takes a fiftieth of the time of `connect_small`.
    """
    return _shared().cursor()


def settle(connection: duckdb.DuckDBPyConnection) -> None:
    """End the threads of a database; call this before closing it."""
    with suppress(duckdb.Error):  # its settings are locked, or it is in a failed transaction
        connection.execute("SET threads = 1")
