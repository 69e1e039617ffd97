"""The store: readers see only complete partitions, keys cannot leave the folder, locks end with their process."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core.errors import BatchError, LockHeld, StoreError
from personahub_assets.store.tables import BY_ASSET, STAGES, Store, content_version, table_schema, table_sql
from personahub_assets.warehouse.live import open_live


def documents(batch: str, count: int, text: str = "A page") -> pl.DataFrame:
    rows = [(batch, f"d{n}", None, None, text, None) for n in range(count)]
    return pl.DataFrame(rows, table_schema("documents"), orient="row")


def test_what_is_written_is_read(store: Store) -> None:
    rows = documents("a", 3)
    store.write("documents", "a", rows)
    assert store.read("documents", "a").equals(rows)
    assert store.path("documents", "a") == store.root / "tables/documents/batch=a/part.parquet"
    assert store.files("documents") == [store.path("documents", "a")]


def test_what_was_never_written_is_empty_with_its_columns(store: Store) -> None:
    for frame in (store.read("documents", "a"), store.read_all("documents")):
        assert frame.is_empty()
        assert frame.schema == pl.Schema(table_schema("documents"))
    assert store.batches() == []


def test_a_partition_is_replaced_as_a_whole(store: Store) -> None:
    store.write("documents", "a", documents("a", 5))
    store.write("documents", "b", documents("b", 2))
    store.write("documents", "a", documents("a", 1))
    assert store.read_all("documents")["batch"].to_list() == ["a", "b", "b"]
    store.write("documents", "a", documents("a", 0))
    assert store.read_all("documents")["batch"].to_list() == ["b", "b"]
    assert list((store.root / "aside").iterdir()) == []


def test_tables_that_several_assets_write_are_kept_apart(store: Store) -> None:
    for asset in ("documents", "tools"):
        rows = pl.DataFrame([("a", asset, "x", "empty", "", None)], table_schema("quarantine"), orient="row")
        store.write("quarantine", "a", rows, asset)
    assert store.read("quarantine", "a", "tools")["asset"].to_list() == ["tools"]
    assert store.read_all("quarantine", asset="documents")["asset"].to_list() == ["documents"]
    assert store.read_all("quarantine", ["input_id"]).rows() == [("x",), ("x",)]


def test_the_order_of_columns_and_surplus_ones_do_not_matter(store: Store) -> None:
    rows = documents("a", 2)
    store.write("documents", "a", rows.select(rows.columns[::-1]).with_columns(extra=1))
    assert store.read("documents", "a").equals(rows)


def test_missing_columns_are_named(store: Store) -> None:
    with pytest.raises(StoreError, match=r"table documents: rows lack the columns \['text', 'url'\]"):
        store.write("documents", "a", documents("a", 1).drop("text", "url"))
    assert store.files("documents") == []


def test_values_of_another_type_do_not_replace_what_is_there(store: Store) -> None:
    store.write("documents", "a", documents("a", 1))
    broken = pl.DataFrame({name: ["x"] for name in table_schema("batches")})
    with pytest.raises(pl.exceptions.PolarsError):
        store.write("batches", "a", broken)
    assert store.files("batches") == []
    assert store.read("documents", "a").height == 1


def test_an_unknown_table_is_refused_with_the_nearest(store: Store) -> None:
    with pytest.raises(StoreError, match="did you mean 'personas'"):
        store.read("persona", "a")


@pytest.mark.parametrize(("table", "asset"), [("documents", "documents"), ("quarantine", None), ("generations", None)])
def test_the_asset_belongs_to_some_tables_and_to_no_other(store: Store, table: str, asset: str | None) -> None:
    with pytest.raises(StoreError, match="asset must be given for"):
        store.path(table, "a", asset)


@pytest.mark.parametrize("key", ["..", "../x", "a/../../b", "/etc", "a\x00", "", "a\n", "A", "*", "a" * 65])
def test_no_key_leads_out_of_the_store(store: Store, key: str) -> None:
    with pytest.raises(BatchError):
        store.write("documents", key, documents("a", 1))
    if key != "a" * 65:  # the name of an asset, which can be longer than a batch key
        with pytest.raises(StoreError, match="is not the name of an asset"):
            store.read("quarantine", "a", key)
    with pytest.raises(StoreError):
        store.read(f"../{key}", "a")
    assert not store.root.exists()


# --- damage and change ---


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all" * 9, None])
def test_a_damaged_file_is_named_with_the_remedy(store: Store, data: bytes | None) -> None:
    store.write("documents", "a", documents("a", 500, "text " * 50))
    path = store.path("documents", "a")
    path.write_bytes(path.read_bytes()[:-200] if data is None else data)
    expected = f"{path}: damaged table file.*personahub run --batch a: the source file is read again"
    with pytest.raises(StoreError, match=expected):
        store.read("documents", "a")
    with pytest.raises(StoreError, match=expected):
        store.read_all("documents")


def test_overwritten_bytes_never_end_in_a_traceback(store: Store) -> None:
    store.write("documents", "a", documents("a", 300, "some text"))
    path = store.path("documents", "a")
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole) - 8, max(1, len(whole) // 60)):
        path.write_bytes(whole[:at] + b"\xa5\x00\xff\x13" * 2 + whole[at + 8 :])
        try:
            store.read("documents", "a")
        except StoreError:
            refused += 1
    assert refused


def test_a_file_from_before_a_column_was_added_reads_as_null(store: Store) -> None:
    store.write("documents", "new", documents("new", 1))
    path = store.path("documents", "old")
    path.parent.mkdir(parents=True)
    documents("old", 2).drop("source", "url").with_columns(gone=1).write_parquet(path)
    back = store.read("documents", "old")
    assert back.schema == pl.Schema(table_schema("documents"))
    assert back["url"].to_list() == [None, None]
    assert store.read_all("documents", ["batch", "source"]).rows() == [("new", None), ("old", None), ("old", None)]


def test_the_stage_of_old_decisions_is_that_of_their_folder(store: Store) -> None:
    frame = pl.DataFrame([("a", "?", "p", 1, "k", 0.9)], table_schema("decisions"), orient="row")
    for asset, stage in STAGES.items():
        store.write("decisions", "new", frame.with_columns(stage=pl.lit(stage), batch=pl.lit("new")), asset)
        old = store.path("decisions", "old", asset)
        assert old == store.root / "tables" / f"{stage}_decisions" / "batch=old" / "part.parquet"
        old.parent.mkdir(parents=True)
        frame.drop("stage").with_columns(batch=pl.lit("old")).write_parquet(old)
        assert store.partitions("decisions", asset) == ["new", "old"]
        assert store.read("decisions", "old", asset)["stage"].to_list() == [stage]
        assert store.dropped(asset).collect().height == 2
        with open_live(store, asset) as connection:
            assert connection.sql(f"FROM {asset}").fetchall() == store.dropped(asset).collect().rows()
    assert store.read_all("decisions")["stage"].to_list() == ["lexical", "lexical", "semantic", "semantic"]
    with pytest.raises(StoreError, match=r"no dedup asset 'tools' .*lexical_duplicates"):
        store.path("decisions", "a", "tools")


def test_a_narrower_number_is_widened(store: Store) -> None:
    path = store.path("batches", "old")
    path.parent.mkdir(parents=True)
    frame = pl.DataFrame(schema=table_schema("batches"))
    frame.with_columns(pl.col("rows").cast(pl.Int32)).write_parquet(path)
    assert store.read_all("batches").schema["rows"] == pl.Int64


@pytest.mark.parametrize("table", table_sql())
def test_an_empty_partition_of_every_table_keeps_its_types(store: Store, table: str) -> None:
    asset = "lexical_duplicates" if table in BY_ASSET else None
    empty = pl.DataFrame(schema=table_schema(table))
    store.write(table, "a", empty, asset)
    assert store.read(table, "a", asset).equals(empty)
    (pattern,) = store.globs(table)
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT count(*) FROM read_parquet('{pattern}')").fetchone() == (0,)


# --- readers and writers at once ---

READER = """
import sys
from personahub_assets.store.tables import Store
store = Store(home=sys.argv[1])
print("ready", flush=True)
seen = set()
for _ in range(120):
    frame = store.read_all("documents")
    assert frame["batch"].unique().sort().to_list() == ["a", "b"]
    for (batch,), rows in frame.group_by("batch"):
        (version,) = rows["text"].unique().to_list()
        assert rows.height == 10 + int(version) % 50, (batch, version, rows.height)
        seen.add(version)
print(len(seen), flush=True)
"""

QUERIER = """
import sys
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.live import open_live
from personahub_assets.warehouse.readers import retry_on_replacement
store = Store(home=sys.argv[1])
print("ready", flush=True)
seen = set()
QUERY = "SELECT batch, count(*), count(DISTINCT text), any_value(text) FROM documents GROUP BY batch ORDER BY batch"
def ask():
    with open_live(store, QUERY) as connection:
        return connection.execute(QUERY).fetchall()
for _ in range(15):
    rows = retry_on_replacement(ask)
    assert [row[0] for row in rows] == ["a", "b"], rows
    for batch, count, versions, version in rows:
        assert (versions, count) == (1, 10 + int(version) % 50), (batch, version, versions, count)
        seen.add(version)
print(len(seen), flush=True)
"""


def read_while_writing(store: Store, program: str) -> int:
    """Replace partitions until the reading program ends; return the number of versions that it read."""

    def write(version: int) -> None:
        for batch in ("a", "b"):
            store.write("documents", batch, documents(batch, 10 + version % 50, str(version)))

    write(0)
    command = [sys.executable, "-c", program, str(store.root), next(iter(store.globs("documents")))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        version = 0
        while reader.poll() is None:
            version += 1
            write(version)
        output, errors = reader.communicate()
    assert reader.returncode == 0, errors
    return int(output)


def test_a_reader_sees_old_or_new_partitions_and_never_a_mix_or_a_gap(store: Store) -> None:
    assert read_while_writing(store, READER) > 1


def test_a_query_over_the_files_is_not_disturbed_by_a_writer(store: Store) -> None:
    assert read_while_writing(store, QUERIER) > 1


def test_writers_of_different_batches_never_meet(store: Store) -> None:
    def write(batch: str) -> None:
        for count in range(1, 21):
            store.write("documents", batch, documents(batch, count))

    threads = [threading.Thread(target=write, args=(f"b{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read_all("documents")["batch"].value_counts(sort=True)["count"].to_list() == [20] * 4


# --- locks ---

HOLDER = """
import sys, time
from personahub_assets.store.tables import Store
with Store(home=sys.argv[1]).lock("warehouse", wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(store: Store) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def close(process: "subprocess.Popen[str]") -> None:
    process.communicate()


def test_a_lock_keeps_a_second_process_out_and_names_the_first_until_it_lets_go(store: Store) -> None:
    got = threading.Event()

    def wait() -> None:
        with store.lock("warehouse", wait=True):
            got.set()

    process, thread = holder(store), threading.Thread(target=wait)
    try:
        with (
            pytest.raises(LockHeld, match=f"warehouse is being worked on by process {process.pid}"),
            store.lock("warehouse", wait=False),
        ):
            pass
        with store.lock("another", wait=False):
            pass
        thread.start()
        assert not got.is_set()
    finally:
        close(process)
    thread.join()
    assert got.is_set()


def test_a_lock_is_free_when_its_process_was_killed(store: Store) -> None:
    process = holder(store)
    os.kill(process.pid, signal.SIGKILL)
    close(process)
    with store.lock("warehouse", wait=False):
        assert (store.root / "locks/warehouse.pid").read_text() == str(os.getpid())


def test_a_lock_is_let_go_after_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock("warehouse", wait=False):
        _ = 1 / 0
    with store.lock("warehouse", wait=False):
        pass


# --- content versions ---

ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", "xy", None])), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS)
def test_equal_rows_in_any_order_have_one_version_and_others_another(one: list[Any], two: list[Any]) -> None:
    schema = {"a": pl.String, "b": pl.String}
    first, second = (content_version(pl.DataFrame(rows, schema, orient="row")) for rows in (one, two))
    assert (first == second) == (sorted(one, key=str) == sorted(two, key=str))


def test_the_version_of_several_tables_keeps_them_apart() -> None:
    frame, empty = pl.DataFrame({"a": [1]}), pl.DataFrame(schema={"a": pl.Int64})
    versions = {content_version(*frames) for frames in ([], [frame], [empty], [frame, empty], [empty, frame])}
    assert len(versions) == 5


def test_the_version_of_a_partition_survives_the_store(store: Store, tmp_path: Path) -> None:
    rows = documents("a", 20)
    store.write("documents", "a", rows.sample(fraction=1, shuffle=True, seed=1))
    assert content_version(store.read("documents", "a")) == content_version(rows)
