"""A warehouse in which the changed batches were replaced has the rows of one that is built from nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import StoreError
from personahub_assets.generation.journal import Journal
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse import build, freshness, readers, stored_tables, update

BATCHES = ("a", "b", "2024-01-02", "c_d")
WRITTEN = (
    ("documents", None),
    ("text_personas", None),
    ("personas", None),
    ("decisions", "lexical_duplicates"),
    ("decisions", "semantic_duplicates"),
    ("generations", "text_personas"),
    ("generations", "tools"),
    ("quarantine", "text_personas"),
    ("tools", None),
)


def write(store: Store, table: str, asset: str | None, batch: str, count: int) -> None:
    """Rows with ids of the batch; every second decision is a drop."""
    schema = table_schema(table)
    rows = pl.DataFrame({"n": range(count)}, {"n": pl.Int64})
    texts = {
        name: pl.format(f"{name[0]}-{batch}-{{}}", "n")
        for name, kind in schema.items()
        if kind == pl.String and (name.endswith("_id") or name in ("text", "persona"))
    }
    named = {
        "batch": pl.lit(batch),
        "asset": pl.lit(asset),
        "stage": pl.lit((asset or "").removesuffix("_duplicates")),
        "status": pl.lit("accepted"),
        "origin": pl.lit("text"),
        "attempts": pl.lit(2),
        "hop": pl.lit(0),
        "input_id": pl.format(f"d-{batch}-{{}}", "n"),
        "keeper_id": pl.when(pl.col("n") % 2 == 0).then(pl.lit("p-of-another-batch")),
    }
    columns = texts | {name: value for name, value in named.items() if name in schema}
    absent = {name: pl.lit(None, kind) for name, kind in schema.items() if name not in columns}
    store.write(table, batch, rows.select(**columns, **absent).select(list(schema)), asset)


def contents(store: Store) -> dict[str, list[str]]:
    """Rows of every table and view, without the numbers of places."""
    with build.reader(store) as connection:
        names = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE table_name NOT IN ('places', 'sorted_ids') UNION ALL "
            "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
        return {name: sorted(map(str, connection.execute(f'FROM "{name}"').fetchall())) for (name,) in names}


def shape(store: Store) -> list[tuple[str, ...]]:
    """Columns of all tables and views with types and comments."""
    with build.reader(store) as connection:
        return connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
        ).fetchall()


Change = tuple[str, tuple[str, str | None], int]
CHANGES = st.lists(
    st.lists(st.tuples(st.sampled_from(BATCHES), st.sampled_from(WRITTEN), st.integers(-1, 3)), min_size=1, max_size=6),
    min_size=2,
    max_size=3,
)


def apply(store: Store, change: Change) -> None:
    """Write a partition with some rows, or remove it."""
    batch, (table, asset), count = change
    if count < 0:
        shutil.rmtree(store.path(table, batch, asset).parent, ignore_errors=True)
    else:
        write(store, table, asset, batch, count)


@pytest.mark.parametrize("native_rows", [4, 1_000])
@settings(
    max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(rounds=CHANGES)
def test_replaced_batches_give_what_a_new_build_gives(
    tmp_path_factory: pytest.TempPathFactory, native_rows: int, rounds: list[list[Change]]
) -> None:
    store = Store(home=str(tmp_path_factory.mktemp("home") / "it's [a] home"))
    for batch in BATCHES[:2]:
        for table, asset in WRITTEN:
            write(store, table, asset, batch, 2)
    store.paths.config.write_text(f"[warehouse]\nnative_rows = {native_rows}\n")
    build.build(store)
    for changes in rounds:
        for change in changes:
            apply(store, change)
        changed = build.build(store)
        assert build.is_fresh(store)
    rows, columns = contents(store), shape(store)
    anew = build.build(store, force=True)
    assert (changed.rows, changed.native, changed.novelty) == (anew.rows, anew.native, anew.novelty)
    assert rows == contents(store)
    assert columns == shape(store)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of two batches with its warehouse; tests change a copy."""
    store = Store(home=str(tmp_path_factory.mktemp("small") / "hub"))
    for table, asset in WRITTEN:
        for batch in BATCHES[:2]:
            write(store, table, asset, batch, 2)
    store.paths.config.touch()
    build.build(store)
    return store.root


@pytest.fixture
def store(home: Path, tmp_path: Path) -> Store:
    """A built home of two batches."""
    shutil.copytree(home, tmp_path / "hub")
    store = Store(home=str(tmp_path / "hub"))
    build.build(store)
    return store


def documents(store: Store) -> list[tuple[str, str]]:
    with build.reader(store) as connection:
        return connection.execute("SELECT batch, document_id FROM documents ORDER BY ALL").fetchall()


def is_small(store: Store) -> bool:
    note = freshness.noted(store)
    return note is not None and update.changes(note, freshness.inputs(store)) is not None


def test_only_the_files_of_changed_batches_are_opened(store: Store) -> None:
    """A damaged file of another batch goes unnoticed, if its mark is that of the file that was read."""
    other = store.path("generations", "a", "tools")
    stat = other.stat()
    size = other.stat().st_size
    with other.open("r+b") as opened:
        opened.write(b"x" * size)
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    write(store, "documents", None, "b", 3)
    assert build.build(store).rebuilt
    assert len(documents(store)) == 5
    with pytest.raises(StoreError, match=str(other)):
        build.build(store, force=True)


def test_a_change_of_a_journal_alone_changes_no_table(store: Store) -> None:
    before = contents(store)
    with Journal(store.paths.journal("tools", "a")):
        pass
    assert build.build(store).rebuilt
    assert build.is_fresh(store)
    assert contents(store) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.paths.config.write_text("[warehouse]\nnative_rows = 3\n"),
        lambda store: [write(store, "documents", None, f"n{number}", 1) for number in range(update._FEW + 1)],
        lambda store: store.paths.warehouse.write_bytes(b""),
    ],
    ids=["settings", "many batches", "a damaged file"],
)
def test_other_changes_need_all_of_it(store: Store, change: Callable[[Store], object]) -> None:
    write(store, "documents", None, "b", 3)
    assert is_small(store)
    change(store)
    assert not is_small(store)
    assert build.build(store).rebuilt
    assert build.is_fresh(store)


def test_a_failed_build_leaves_the_file_that_was_there(store: Store) -> None:
    before = documents(store)
    path = store.path("documents", "b")
    path.with_name("new").write_bytes(b"not a table file")
    path.with_name("new").replace(path)
    with pytest.raises(StoreError, match="damaged table file"):
        build.build(store)
    assert documents(store) == before
    assert not build.is_fresh(store)
    assert list(store.paths.aside.iterdir()) == []


def test_ids_are_sorted_again_when_many_are_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_UNSORTED", 3)
    for count in (1, 2, 3, 4):
        write(store, "documents", None, "b", count)
        build.build(store)
    with build.reader(store) as connection:
        ids = [id_ for (id_,) in connection.execute("SELECT id FROM sorted_ids").fetchall()]
    assert ids == sorted(ids)


def test_a_view_opens_only_the_files_of_the_wanted_batch(store: Store) -> None:
    with build.reader(store) as connection:
        query = "EXPLAIN ANALYZE SELECT * FROM generations WHERE batch = 'a'"
        plan = connection.execute(query).fetchall()[0][1]
        kinds = connection.execute("SELECT DISTINCT typeof(batch) FROM generations").fetchall()
    assert "Total Files Read: 2" in plan
    assert kinds == [("VARCHAR",)]


def test_files_with_other_columns_are_read_together(store: Store) -> None:
    """As written before a column was added."""
    with build.reader(store) as connection:
        kinds = connection.execute("SELECT typeof(COLUMNS(*)) FROM generations LIMIT 1").fetchall()
    path = store.path("generations", "a", "tools")
    pl.read_parquet(path).drop("role", "detail").write_parquet(path.with_name("old"))
    path.with_name("old").replace(path)
    assert build.build(store).rows["generations"] == 8
    with build.reader(store) as connection:
        roles = connection.execute("SELECT count(*), count(role) FROM generations WHERE batch = 'a'").fetchall()
        assert connection.execute("SELECT typeof(COLUMNS(*)) FROM generations LIMIT 1").fetchall() == kinds
        opened = [
            connection.execute(f"EXPLAIN ANALYZE SELECT * FROM generations WHERE {which}").fetchall()[0][1]
            for which in ("batch = 'a'", "batch = 'a' AND asset = 'tools'", "batch = 'c'")
        ]
    assert roles == [(4, 0)]
    assert ["Total Files Read: 2" in opened[0], "Total Files Read: 1" in opened[1]] == [True, True]
    assert "Total Files Read" not in opened[2] or "Total Files Read: 0" in opened[2]


def test_a_home_whose_path_looks_like_a_partition(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path / "batch=9" / "hub"))
    write(store, "documents", None, "a", 2)
    write(store, "generations", "tools", "a", 2)
    build.build(store)
    write(store, "generations", "tools", "b", 1)
    build.build(store)
    with build.reader(store) as connection:
        batches = connection.execute("SELECT batch, asset, count(*) FROM generations GROUP BY ALL ORDER BY 1")
        assert batches.fetchall() == [("a", "tools", 2), ("b", "tools", 1)]


def test_a_copy_for_one_question_has_the_changes_and_publishes_nothing(store: Store) -> None:
    write(store, "documents", None, "b", 4)
    with build.updated_copy(store) as copy:
        assert copy is not None
        assert copy.execute("SELECT count(*) FROM ids WHERE kind = 'document'").fetchone() == (6,)
        with pytest.raises(duckdb.Error):
            copy.execute("DELETE FROM documents")
    assert not build.is_fresh(store)
    assert list(store.paths.aside.iterdir()) == []


def test_tables_in_many_small_files_need_little_memory(tmp_path: Path) -> None:
    store = Store(home=str(tmp_path / "home"))
    batches = [f"b{number:04}" for number in range(300)]
    for number, batch in enumerate(batches):
        write(store, "text_personas", None, batch, 1 + number % 3)
    with duckdb.connect(str(tmp_path / "some.duckdb")) as connection:
        connection.execute(f"SET memory_limit = '48MB'; SET threads = 4; SET temp_directory = ''; {readers.NO_CACHE}")
        stored_tables.add_table(connection, store, "text_personas", is_copied=True)
        assert connection.execute("SELECT current_setting('threads')").fetchall() == [(4,)]
        copied = connection.execute("SELECT batch, count(*) FROM text_personas GROUP BY ALL ORDER BY min(rowid)")
        assert copied.fetchall() == [(batch, 1 + number % 3) for number, batch in enumerate(batches)]


@pytest.mark.parametrize("removed", ["lexical_decisions", "generations", "generations/asset=tools", "documents"])
def test_a_question_looks_only_at_the_files_of_its_tables(store: Store, removed: str) -> None:
    tables = ["documents", "decisions", "generations"]
    write(store, "item_embeddings", "tools", "a", 4)
    assert not build.is_fresh(store)
    assert build.is_fresh(store, tables)
    shutil.rmtree(store.paths.tables / removed)
    assert not build.is_fresh(store, tables)
