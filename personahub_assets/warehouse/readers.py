"""Connections that read the warehouse of a home: bounded in memory, and locked, so that they reach its tables only."""

import shutil
import time
from collections.abc import Callable
from glob import escape
from pathlib import Path
from typing import TypeVar

import duckdb

from personahub_assets.core.errors import StoreError
from personahub_assets.core.literals import quoted
from personahub_assets.store.home import Home

# The cache keeps pieces of a file that has been replaced since: 265 of 4,271 queries failed beside a writer in a tight
# loop with it, 1 of 4,858 without.
NO_CACHE = "SET enable_external_file_cache = false"
_TRIES = 20
# Not DuckDB's ProgrammingError as a whole: a file that is replaced while it is read gives InvalidInputException, too.
_WRONG = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.PermissionException)
T = TypeVar("T")


def open_reader(home: Path, aside: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open the warehouse of a home read-only; it reaches the home's tables and nothing else.

    DuckDB lets who may read a folder also write it: SQL that people give goes through `statements.checked` first.

    Args:
        home: the home's absolute path.
        aside: a folder for what does not fit into memory.
        memory_mb: of the connection.

    Raises:
        StoreError: if there is no warehouse yet, or a DuckDB shell holds it open for writing.
    """
    paths = Home(home)
    paths.check_warehouse()
    try:
        connection = attach(paths.warehouse)
    except duckdb.IOException as error:
        raise StoreError(
            f"{error}. A DuckDB shell wants -readonly; else build it with: personahub run --select warehouse"
        ) from error
    bound(connection, aside, memory_mb, shutil.disk_usage(home).free)
    connection.execute(NO_CACHE)
    lock_down(connection, home)
    return connection


def steadily(work: Callable[[], T]) -> T:
    """Do work that reads table files through DuckDB, again if a file was replaced while it was read.

    DuckDB opens a Parquet file more than once per query, and refuses what does not fit together.

    Raises:
        duckdb.Error: what the last try raised; a wrong query is not tried again.
    """
    for attempt in range(_TRIES):
        try:
            return work()
        except _WRONG:
            raise
        except duckdb.Error:
            time.sleep(0.005 * attempt)
    return work()


def attach(file: Path) -> duckdb.DuckDBPyConnection:
    """The warehouse as it is now, read-only.

    Attached to a database of its own: two connections to one path share one database within a process, so the second
    would see the file as the first found it, and the first one's locked configuration.
    """
    connection = duckdb.connect()
    connection.execute(f"ATTACH {quoted(str(file))} AS warehouse (READ_ONLY)")
    connection.execute("USE warehouse")
    return connection


def bound(connection: duckdb.DuckDBPyConnection, aside: Path, memory_mb: int, free_bytes: int) -> None:
    """Limit the memory of a connection, and what it writes when that is not enough."""
    room = min(10 * memory_mb, free_bytes // 2_000_000)
    connection.execute("SET memory_limit = $memory", {"memory": f"{memory_mb}MB"})
    connection.execute("SET temp_directory = $aside", {"aside": str(aside)})
    connection.execute("SET max_temp_directory_size = $room", {"room": f"{room}MB"})
    # Neither the variables of this program nor what could be fetched are tables; secrets would be kept in ~/.duckdb.
    for name in ("python_enable_replacements", "autoload_known_extensions", "autoinstall_known_extensions"):
        connection.execute(f"SET {name} = false")
    connection.execute("SET allow_persistent_secrets = false")


def lock_down(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Let a connection reach the tables of a home and nothing else, for good."""
    # Twice: DuckDB checks the pattern of a view as it is written, and then the files that it finds.
    folder = f"{Home(home).tables}/"
    connection.execute("SET allowed_directories = [$folder, $pattern]", {"folder": folder, "pattern": escape(folder)})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
