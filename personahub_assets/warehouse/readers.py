"""Connections that read the warehouse of a home, with bounded memory and access only to its tables."""

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
    """Open the warehouse of a home read-only, with access only to the home's tables.

    DuckDB connections that can read a folder can also write it: check SQL of users with `guard.checked` first.

    Args:
        home: the home's absolute path.
        aside: folder for spilling.
        memory_mb: memory limit of the connection in MiB.

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


def retry_on_replacement(work: Callable[[], T]) -> T:
    """Run work that reads table files through DuckDB, and again if a file was replaced during reading.

    DuckDB opens a Parquet file more than once per query, and fails if the contents differ.

    Raises:
        duckdb.Error: of the last try; a wrong query is not repeated.
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
    """Attach the current warehouse, read-only.

    Attached to a database of its own: two connections to one path share one database within a process, so the second
    would see the file as the first found it, and the first one's locked configuration.
    """
    connection = duckdb.connect()
    connection.execute(f"ATTACH {quoted(str(file))} AS warehouse (READ_ONLY)")
    connection.execute("USE warehouse")
    return connection


def bound(connection: duckdb.DuckDBPyConnection, aside: Path, memory_mb: int, free_bytes: int) -> None:
    """Limit the memory of a connection and the size of its spilled data."""
    room = min(10 * memory_mb, free_bytes // 2_000_000)
    connection.execute("SET memory_limit = $memory", {"memory": f"{memory_mb}MB"})
    connection.execute("SET temp_directory = $aside", {"aside": str(aside)})
    connection.execute("SET max_temp_directory_size = $room", {"room": f"{room}MB"})
    # No Python variables as tables, no extensions, no secrets (they would be stored in ~/.duckdb).
    for name in ("python_enable_replacements", "autoload_known_extensions", "autoinstall_known_extensions"):
        connection.execute(f"SET {name} = false")
    connection.execute("SET allow_persistent_secrets = false")


def lock_down(connection: duckdb.DuckDBPyConnection, home: Path) -> None:
    """Restrict a connection permanently to the tables of a home."""
    # Twice: DuckDB checks the pattern of a view as it is written, and then the files that it finds.
    folder = f"{Home(home).tables}/"
    connection.execute("SET allowed_directories = [$folder, $pattern]", {"folder": folder, "pattern": escape(folder)})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
