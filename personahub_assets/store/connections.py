"""DuckDB databases in memory that end without waiting for ever.

DuckDB 1.5.6 can hang when a database is closed just as one of its threads ends a task: the thread waits for a lock of
the connection that is gone, and closing waits for the thread (seen once in some hundred thousand).
"""

from contextlib import suppress

import duckdb


def connect_small() -> duckdb.DuckDBPyConnection:
    """A database in memory without threads of its own, for questions that take milliseconds."""
    return duckdb.connect(config={"threads": 1})


def settle(connection: duckdb.DuckDBPyConnection) -> None:
    """Let the threads of a database end while its connection is there; to be called before it is closed."""
    with suppress(duckdb.Error):  # of one whose settings are locked, or that is in a failed transaction
        connection.execute("SET threads = 1")
