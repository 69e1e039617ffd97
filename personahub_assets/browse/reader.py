"""Queries on the warehouse for web pages: bounded in memory and time, and always on the file that is published now."""

import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.errors import QueryError, StoreError
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.readers import open_reader, retry_on_replacement

Row = dict[str, Any]
T = TypeVar("T")

_MEMORY_MB = 400
_SECONDS = 30


class Reader:
    """Reads the warehouse of a home; threads can share it.

    A run replaces the file. The next query then opens the new one; queries that have begun end on the old one.

    Args:
        store: the tables of the home.

    Raises:
        StoreError: if there is no warehouse yet, or a DuckDB shell holds it open for writing.
    """

    def __init__(self, store: Store):
        self.store = store
        # Outside of the home: a reader writes nothing there.
        self._aside = tempfile.TemporaryDirectory(prefix="personahub-browse-")
        self._lock = threading.Lock()
        self._mark: tuple[int, ...] = ()
        self._cache: dict[str, Any] = {}
        self._connection = self._current()[0]

    def rows(self, query: str, **values: Any) -> list[Row]:
        """Run a query of this program.

        Args:
            values: its named parameters.

        Raises:
            QueryError: if it takes too long, or more memory than there is.
            StoreError: if the warehouse or a table file cannot be read.
        """
        try:
            return retry_on_replacement(lambda: self._run(query, values))
        except duckdb.Error as error:  # such as in a moved home: its views name the old folder
            raise StoreError(f"{error}. Build the warehouse again: personahub run --select warehouse") from error

    def row(self, query: str, **values: Any) -> Row | None:
        """The first row of a query, or None."""
        return next(iter(self.rows(query, **values)), None)

    def cached(self, name: str, make: Callable[[], T]) -> T:
        """A value that is made once for each published warehouse."""
        cache = self._current()[1]
        if name not in cache:
            cache[name] = make()
        return cache[name]  # type: ignore[no-any-return]

    def datasets(self) -> dict[str, str]:
        """Descriptions of the datasets that the warehouse has, by name; no code of the home is run for it."""
        return self.cached("descriptions", self._described)

    def _described(self) -> dict[str, str]:
        tables = "SELECT table_name AS name, comment FROM duckdb_tables()"
        comments = self.rows(f"{tables} UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")
        described = {row["name"]: row["comment"] or "" for row in comments}
        return {name: described[name] for name in Catalog(self.store.root).names if name in described}

    def close(self) -> None:
        """Close the warehouse, and remove the folder for spilled data."""
        with self._lock:
            self._connection.close()
        self._aside.cleanup()

    def _run(self, query: str, values: dict[str, Any]) -> list[Row]:
        with self._current()[0].cursor() as cursor:
            cursor.execute("USE warehouse")
            clock = threading.Timer(_SECONDS, cursor.interrupt)
            clock.start()
            try:
                cursor.execute(query, values)
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except duckdb.InterruptException as error:
                raise QueryError(f"stopped after {_SECONDS} s: narrow the filters") from error
            except duckdb.OutOfMemoryException as error:
                raise QueryError("this page needs more memory than it may use: narrow the filters") from error
            finally:
                clock.cancel()

    def _current(self) -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
        """The connection to the published file, and what was made from it."""
        with self._lock:
            mark = _mark(self.store.paths.warehouse)
            if not self._mark or mark != self._mark:
                memory_mb = min(_MEMORY_MB, self.store.config.warehouse.memory_mb)
                self._connection = open_reader(self.store.root, Path(self._aside.name), memory_mb)
                self._cache, self._mark = {}, mark
            return self._connection, self._cache


def _mark(file: Path) -> tuple[int, ...]:
    try:
        stat = file.stat()
    except FileNotFoundError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
