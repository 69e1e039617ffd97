"""The warehouse: built only from the store, read without access to other files, rebuilt while readers are open."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from personahub_assets.cli.sql import QueryError, run_query
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.errors import StoreError
from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.hub import Hub
from personahub_assets.store.tables import Store, table_schema, table_sql
from personahub_assets.warehouse import build, live, update

ITEMS = [name for name in Catalog().names if name not in Catalog().scores]
OF_DATASETS = {f"{name}_{view}" for name in ITEMS for view in ("duplicates", "unique")}
VIEWS = {"dataset_items", "written_items", "item_scores", *sql_files("views"), *OF_DATASETS}
MART = {"journal_calls", "places", "sorted_ids", "dropped", "dropped_items", "new_per_hop"}


def write(store: Store, batch: str, count: int) -> None:
    rows = [(batch, f"d{n}", None, None, "It's a page", None) for n in range(count)]
    store.write("documents", batch, pl.DataFrame(rows, table_schema("documents"), orient="row"))


def one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row and row[0]


def documents(store: Store) -> int:
    with build.reader(store) as connection:
        return int(one(connection, "SELECT count(*) FROM documents"))


def test_an_empty_home_gives_all_tables_and_views_with_comments(store: Store) -> None:
    built = build.build(store)
    assert built.rebuilt
    assert built.rows == dict.fromkeys([*table_sql(), *Catalog().scores], 0)
    with build.reader(store) as connection:
        tables = dict(connection.execute("SELECT table_name, comment FROM duckdb_tables()").fetchall())
        views = dict(connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
        for name in tables.keys() | views.keys():
            assert connection.execute(f"SELECT * FROM {name}").fetchall() == []
        bare = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal"
        ).fetchall()
    assert tables.keys() == {*table_sql(), *Catalog().scores} | MART
    assert views.keys() == VIEWS
    assert all(tables.values())
    assert all(views.values())
    assert bare == []
    assert tables["math_problems"] == (DATASETS["math_problems"].__doc__ or "").strip()


def test_rows_of_all_batches_are_there_as_tables_or_views(store: Store, home: Path) -> None:
    for batch, count in (("a", 3), ("b", 2)):
        write(store, batch, count)
    assert "documents" in build.build(store).native
    assert documents(store) == 5
    (home / "hub.toml").write_text("[warehouse]\nnative_rows = 4\n")
    built = build.build(store)
    assert built.rebuilt
    assert "documents" not in built.native
    assert built.rows["documents"] == 5
    with build.reader(store) as connection:
        assert one(connection, "SELECT count(*) FROM documents") == 5
        assert one(connection, "SELECT comment FROM duckdb_views() WHERE view_name = 'documents'")
        described = connection.execute(
            "SELECT column_name, comment IS NOT NULL FROM duckdb_columns() WHERE table_name = 'documents'"
        ).fetchall()
    assert described == [(name, True) for name in table_schema("documents")]


def test_large_tables_that_are_seldom_asked_for_are_never_copied(store: Store) -> None:
    rows = pl.DataFrame([("a", "lexical", "p", 1, None, None)], table_schema("decisions"), orient="row")
    store.write("decisions", "a", rows, "lexical_duplicates")
    built = build.build(store)
    assert "decisions" not in built.native
    assert built.rows["decisions"] == 1


def test_a_home_with_quotes_and_brackets_in_its_path(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path / "it's a [home] *"))
    write(store, "a", 2)
    (store.root / "hub.toml").write_text("[warehouse]\nnative_rows = 0\n")
    assert build.build(store).rows["documents"] == 2
    assert documents(store) == 2


def test_a_table_file_without_a_column_reads_as_null(store: Store) -> None:
    write(store, "new", 1)
    old = store.path("documents", "old")
    old.parent.mkdir(parents=True)
    store.read("documents", "new").drop("url").with_columns(batch=pl.lit("old")).write_parquet(old)
    build.build(store)
    with build.reader(store) as connection:
        assert connection.execute("SELECT batch, url FROM documents ORDER BY 1").fetchall() == [
            ("new", None),
            ("old", None),
        ]


@pytest.mark.parametrize("native_rows", [0, 1_000])
@pytest.mark.parametrize("rows", [{"x": ["SELECT 1 --"]}, {"batch": ["a"], "document_id": [None], "text": ["a page"]}])
def test_a_table_file_without_its_key_columns_is_refused(
    store: Store, home: Path, rows: dict[str, list[str | None]], native_rows: int
) -> None:
    """As after a query that overwrote a partition."""
    write(store, "b", 2)
    (home / "hub.toml").write_text(f"[warehouse]\nnative_rows = {native_rows}\n")
    file = store.path("documents", "a")
    file.parent.mkdir(parents=True)
    pl.DataFrame(rows, dict.fromkeys(rows, pl.String)).write_parquet(file)
    with pytest.raises(
        StoreError, match=rf"{file}: damaged table file: it .*document_id.*Delete it, then personahub run --batch a"
    ):
        build.build(store)
    file.unlink()
    assert build.build(store).rows["documents"] == 2


# --- up to date or not ---


def test_it_is_built_once_and_again_only_after_a_change(store: Store, home: Path) -> None:
    assert not build.is_fresh(store)
    assert build.build(store).rebuilt
    assert build.is_fresh(store)
    assert not build.build(store).rebuilt
    write(store, "a", 1)
    assert not build.is_fresh(store)
    assert build.build(store).rebuilt
    (home / "hub.toml").write_text("")
    assert not build.is_fresh(store)
    assert build.build(store).rebuilt
    assert build.build(store, force=True).rebuilt
    assert list((home / "aside").iterdir()) == []


def test_what_was_written_while_it_was_built_makes_it_stale(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_views = update.add_views_and_macros

    def meanwhile(*arguments: Any) -> None:
        write(store, "b", 1)
        add_views(*arguments)

    write(store, "a", 1)
    monkeypatch.setattr(update, "add_views_and_macros", meanwhile)
    build.build(store)
    assert not build.is_fresh(store)


def test_it_can_be_deleted_and_comes_back(store: Store) -> None:
    write(store, "a", 3)
    build.build(store)
    store.paths.warehouse.unlink()
    with pytest.raises(StoreError, match="does not exist yet; build it with: personahub run --select warehouse"):
        build.reader(store)
    assert build.build(store).rebuilt
    assert documents(store) == 3


# --- open readers ---

SHELL = """
import sys
from personahub_assets.warehouse import build as warehouse
from personahub_assets.store.tables import Store
store = Store(home=sys.argv[1])
with warehouse.reader(store) as connection:
    for line in sys.stdin:
        print(connection.execute("SELECT count(*) FROM documents").fetchone()[0], flush=True)
"""


def test_an_open_reader_does_not_stop_a_rebuild_nor_is_it_disturbed(store: Store) -> None:
    write(store, "a", 1)
    build.build(store)
    command = [sys.executable, "-c", SHELL, str(store.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None

        def asked() -> int:
            shell.stdin.write("\n")  # type: ignore[union-attr]
            shell.stdin.flush()  # type: ignore[union-attr]
            return int(shell.stdout.readline())  # type: ignore[union-attr]

        assert asked() == 1
        for count in (2, 3):
            write(store, "a", count)
            assert build.build(store).rebuilt
            assert documents(store) == count
            assert asked() == 1
        shell.stdin.close()
    assert shell.returncode == 0


def test_readers_within_one_process_each_see_the_file_that_they_opened(store: Store) -> None:
    build.build(store)
    with build.reader(store) as first:
        write(store, "a", 2)
        assert build.build(store).rows["documents"] == 2
        with build.reader(store) as second:
            assert one(second, "SELECT count(*) FROM documents") == 2
        assert one(first, "SELECT count(*) FROM documents") == 0


def test_queries_over_the_store_as_it_is_now_need_no_warehouse(store: Store) -> None:
    write(store, "a", 2)
    with live.open_live(store, "SELECT * FROM persona_fate, documents") as connection:
        assert one(connection, "SELECT count(*) FROM documents") == 2
        assert one(connection, "SELECT count(*) FROM persona_fate") == 0
        with pytest.raises(duckdb.CatalogException):
            connection.execute("SELECT * FROM tools")


# --- what a reader cannot do ---


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A home with its warehouse, and a private file beside it."""
    folder = tmp_path_factory.mktemp("reach")
    (folder / "outside").mkdir()
    (folder / "outside" / "secret.csv").write_text("a,b\n1,2\n")
    store = Store(home=str(folder / "hub"))
    write(store, "a", 1)
    (store.root / "hub.toml").write_text("")
    build.build(store)
    return store


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('{outside}/secret.csv')",
        "SELECT * FROM '{outside}/secret.csv'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('{outside}/*')",
        "SELECT * FROM read_text('{home}/tables/../hub.toml')",
        "COPY (SELECT 1) TO '{outside}/out.csv'",
        "COPY (SELECT 1) TO '{home}/tables/../out.csv'",
        "EXPORT DATABASE '{outside}/out'",
        "ATTACH '{outside}/other.duckdb'",
        "ATTACH '{home}/tables/../other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SELECT * FROM read_csv('http://127.0.0.1:9/a.csv')",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "SET lock_configuration = false",
        "RESET lock_configuration",
        "CREATE TABLE mine (a INTEGER)",
        "INSERT INTO documents VALUES ('a', 'd', NULL, NULL, 'x')",
        "DELETE FROM documents",
        "DROP VIEW dataset_items",
    ],
)
def test_a_reader_reaches_the_tables_and_nothing_else(shared: Store, query: str) -> None:
    outside = shared.root.parent / "outside"
    before = sorted(shared.root.parent.rglob("*"))
    with build.reader(shared) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(query.format(outside=outside, home=shared.root)).fetchall()
        assert one(connection, "SELECT count(*) FROM documents") == 1
    assert sorted(shared.root.parent.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1 AS batch) TO '{file}' (FORMAT parquet)",
        "SELECT 1; COPY (SELECT 1 AS batch) TO '{file}' (FORMAT parquet)",
        "EXPLAIN ANALYZE COPY (SELECT 1 AS batch) TO '{file}' (FORMAT parquet)",
        "PREPARE p AS COPY (SELECT 1 AS batch) TO '{file}' (FORMAT parquet); EXECUTE p",
        "COPY (SELECT 1 AS batch) TO '{folder}/../../../warehouse.duckdb' (FORMAT csv)",
        "ATTACH '{folder}/new.duckdb'",
        "EXPORT DATABASE '{folder}/out'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1 AS batch) TO '{file}' (FORMAT parquet)",
        "FROM enable_logging('QueryLog', storage = 'file', storage_path = '{folder}/log'); SELECT 1",
        "CALL enable_profiling(save_location = '{file}', format = 'json'); SELECT 1",
        "FROM query('FROM enable_logging(storage = ''file'', storage_path = ''{folder}/log'')'); SELECT 1",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 't')",
    ],
)
def test_a_query_cannot_write_into_the_tables(shared: Store, query: str) -> None:
    file = shared.path("documents", "a")
    before = _files(shared.root)
    with pytest.raises(QueryError):
        run_query(Hub(shared.root), query.format(file=file, folder=file.parent), "csv", None)
    assert _files(shared.root) == before


def _files(home: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}


def test_a_reader_takes_no_more_memory_than_it_may_and_spills_into_the_home(
    shared: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (shared.root / "hub.toml").write_text("[warehouse]\nmemory_mb = 256\n")
    with build.reader(shared) as connection:
        wide = "SELECT a, repeat(a::VARCHAR, 60) AS b FROM range(700_000) AS t(a)"
        assert connection.execute(f"SELECT max(b) FROM (FROM ({wide}) ORDER BY b DESC OFFSET 1)").fetchone()
        spilled = list((shared.root / "aside").glob("*-*"))
        assert len(spilled) == 1
        with pytest.raises(duckdb.Error):
            connection.execute("SET memory_limit = '100GB'")
    assert not spilled[0].exists()
    assert list(tmp_path.iterdir()) == []


def test_variables_of_the_program_are_no_tables(shared: Store) -> None:
    frame = pl.DataFrame({"a": [1]})
    with build.reader(shared) as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("FROM frame")
    assert frame.height == 1


def test_a_damaged_file_is_told_and_built_anew(store: Store) -> None:
    build.build(store)
    store.paths.warehouse.write_bytes(b"not a database" * 1_000)
    with pytest.raises(StoreError, match="build it with: personahub run --select warehouse"):
        build.reader(store)
    assert build.build(store).rebuilt
    assert documents(store) == 0
