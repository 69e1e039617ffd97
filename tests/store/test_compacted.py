"""Digests of partitions: always what the partitions hold now, whatever was written, removed or damaged before."""

import random
import shutil
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.store.compacted import Compacted
from personahub_assets.store.home import Lock
from personahub_assets.store.overlay import OverlayStore
from personahub_assets.store.tables import Store, table_schema

TABLE = "skipped"


class Counting(Store):
    """A store that counts the partitions that are read."""

    reads: ClassVar[list[str]] = []

    def read(
        self, table: str, batch: str, asset: str | None = None, *, columns: list[str] | None = None
    ) -> pl.DataFrame:
        self.reads.append(batch)
        return super().read(table, batch, asset, columns=columns)


@pytest.fixture(autouse=True)
def _nothing_read() -> None:
    Counting.reads.clear()


def counting(store: Store) -> Counting:
    return Counting(home=store.home)


def write(store: Store, batch: str, counts: list[int]) -> None:
    rows = {"batch": [batch] * len(counts), "kind": ["empty"] * len(counts), "rows": counts}
    store.write(TABLE, batch, pl.DataFrame(rows, table_schema(TABLE)))


def digests(store: Store) -> Compacted:
    return Compacted(store, TABLE, None, "test 1", ("rows",), lambda rows: rows.select(pl.col("rows") * 2))


def as_they_are(store: Store) -> list[tuple[str, int]]:
    rows = store.read_all(TABLE, ["batch", "rows"])
    return sorted((batch, 2 * count) for batch, count in rows.iter_rows())


def compacted(store: Store) -> list[tuple[str, int]]:
    return sorted(digests(store).read().select("batch", "rows").iter_rows())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compacted")


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_it_is_what_the_partitions_hold(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    home = folder / str(seed)
    store = Store(home=str(home))
    batches = [f"b{number}" for number in range(6)]
    for _ in range(chance.randint(1, 25)):
        action, batch = chance.random(), chance.choice(batches)
        if action < 0.7:
            write(store, batch, [chance.randint(0, 9) for _ in range(chance.randint(0, 4))])
        elif action < 0.85:
            shutil.rmtree(home / "tables" / TABLE / f"batch={batch}", ignore_errors=True)
        elif files := [path for path in (home / "cache").rglob("*") if path.is_file()]:
            file = chance.choice(files)
            content = bytearray(file.read_bytes())
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            file.write_bytes(bytes(content[: chance.choice([len(content), len(content) // 2])]))
        if chance.random() < 0.6:
            assert compacted(store) == as_they_are(store)
    assert compacted(store) == as_they_are(store)
    shutil.rmtree(home, ignore_errors=True)


def test_only_new_partitions_are_read_and_they_are_in_few_files(store: Store) -> None:
    for number in range(40):
        write(store, f"b{number:02}", [number])
        compacted(counting(store))
    assert Counting.reads == [f"b{number:02}" for number in range(40)]
    assert len(list((store.root / "cache").rglob("*.parquet"))) <= 7


def test_who_does_not_get_the_lock_reads_and_stores_nothing(store: Store) -> None:
    write(store, "a", [1])
    compacted(store)
    write(store, "b", [2])
    (folder,) = (store.root / "cache" / "compacted").iterdir()
    before = sorted(folder.iterdir())
    with store.lock(Lock.compacted(folder.name), wait=True):
        assert compacted(store) == as_they_are(store)
    assert sorted(folder.iterdir()) == before


def test_a_draft_sees_its_own_rows_and_stores_nothing(store: Store) -> None:
    write(store, "a", [1])
    draft = OverlayStore(home=store.home)
    write(draft, "a", [5])
    write(draft, "b", [6])
    assert compacted(draft) == [("a", 10), ("b", 12)]
    assert not (store.root / "cache").exists()
    assert compacted(store) == [("a", 2)]


def test_without_partitions_it_is_empty_with_its_columns(store: Store) -> None:
    assert digests(store).read().schema == {"batch": pl.String, "rows": pl.Int64}
