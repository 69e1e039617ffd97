"""DuckDB databases in memory that close without a deadlock.

DuckDB 1.5.6 can hang when a database is closed while one of its threads ends a task: the thread waits for a lock of the
closed connection, and closing waits for the thread (about once in some hundred thousand times).
"""

from contextlib import suppress

import duckdb


def connect_small() -> duckdb.DuckDBPyConnection:
    """A database in memory without its own threads, for queries that take milliseconds."""
    return duckdb.connect(config={"threads": 1})


def settle(connection: duckdb.DuckDBPyConnection) -> None:
    """End the threads of a database; call this before closing it."""
    with suppress(duckdb.Error):  # its settings are locked, or it is in a failed transaction
        connection.execute("SET threads = 1")
