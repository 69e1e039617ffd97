"""Search of the hub: the nearest personas are found with and without an index, and with damaged index files."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from personahub_assets.core.errors import StoreError
from personahub_assets.embedding.vectors import Vectors
from personahub_assets.search import nearest
from personahub_assets.search.nearest import Nearest
from personahub_assets.store.tables import Store, table_schema

MODEL, DIMENSIONS = "some-model", 12


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(home=str(tmp_path / "a [hub] with 'quotes'"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of more than 100 personas."""
    monkeypatch.setattr(nearest, "SCANNED", 100)
    monkeypatch.setattr(nearest, "_KEPT", 64)


def vectors(seed: int, rows: int, dimensions: int = DIMENSIONS) -> Vectors:
    found = np.random.default_rng(seed).normal(size=(rows, dimensions))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def add(store: Store, batch: str, some: Vectors, model: str = MODEL, kept: slice = slice(None)) -> None:
    """Add a batch with a vector for every row; only some rows are in the hub."""
    ids = [f"{batch}-{n}" for n in range(len(some))]
    shared = {"batch": [batch] * len(ids), "persona_id": ids}
    embedded = {"model": model, "text_hash": "", "embedding": pl.Series(some).cast(pl.List(pl.Float32))}
    embedded |= {"unread": 0.0, "unread_hash": ""}
    store.write(
        "persona_embeddings", batch, pl.DataFrame(shared).with_columns(**{k: _as(v) for k, v in embedded.items()})
    )
    absent = [pl.lit(None, kind).alias(name) for name, kind in table_schema("personas").items() if name not in shared]
    store.write("personas", batch, pl.DataFrame(shared).with_columns(absent)[kept])


def _as(value: object) -> pl.Expr | pl.Series:
    return value if isinstance(value, pl.Series) else pl.lit(value)


def truth(store: Store, vector: Vectors, count: int, model: str = MODEL) -> list[tuple[str, float]]:
    """The exact nearest, by comparing all."""
    there = store.read_all("personas", ["persona_id"])
    rows = (
        store.read_all("persona_embeddings").filter(pl.col("model") == model).join(there, on="persona_id", how="semi")
    )
    found = []
    for persona_id, other in rows.select("persona_id", "embedding").iter_rows():
        x, y = vector.astype(np.float64), np.array(other, np.float64)
        found.append((persona_id, float(x @ y / np.sqrt((x @ x) * (y @ y)))))
    return sorted(found, key=lambda each: (-each[1], each[0]))[:count]


def check(store: Store, hub: Nearest, seed: int = 99, count: int = 7) -> None:
    for vector in vectors(seed, 4):
        found = hub.find(vector, count)
        right = truth(store, vector, count)
        assert found["persona_id"].to_list() == [persona_id for persona_id, _ in right]
        assert found["similarity"].to_list() == pytest.approx([cosine for _, cosine in right], abs=1e-12)


def written(store: Store) -> list[Path]:
    return sorted((store.root / "cache").rglob("index.npy"))


class AnsweredPersona:
    """What was told of an index that is made."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def __call__(self, done: int, _total: int) -> None:
        self.done.append(done)


# --- Few: no index -------------------------------------------------------------------------------------------------


def test_few_are_compared_without_an_index(store: Store) -> None:
    add(store, "one", vectors(1, 300), kept=slice(0, 250))
    add(store, "two", vectors(2, 40))
    hub = Nearest(store, MODEL)
    assert (len(hub), hub.left_out) == (290, 0)
    check(store, hub)
    assert not (store.root / "cache").exists()


def test_a_persona_is_nearest_to_itself(store: Store) -> None:
    add(store, "one", some := vectors(1, 30))
    assert Nearest(store, MODEL).find(some[4], 1).rows() == [("one-4", 1.0)]


def test_equal_ones_are_in_the_order_of_their_ids(store: Store) -> None:
    add(store, "b", some := vectors(1, 1))
    add(store, "a", some)
    assert Nearest(store, MODEL).find(vectors(2, 1)[0], 5)["persona_id"].to_list() == ["a-0", "b-0"]


def test_nobody_is_found_in_an_empty_hub(store: Store) -> None:
    assert Nearest(store, MODEL).find(vectors(1, 1)[0], 3).rows() == []


def test_vectors_of_another_model_are_not_compared(store: Store) -> None:
    add(store, "one", vectors(1, 20))
    add(store, "two", vectors(2, 30, 5), model="another")
    hub = Nearest(store, MODEL)
    assert (len(hub), hub.left_out) == (20, 30)
    check(store, hub)


def test_other_dimensions_under_the_same_name_are_refused(store: Store) -> None:
    add(store, "one", vectors(1, 20))
    with pytest.raises(StoreError, match="have 12 dimensions, the query's has 5"):
        Nearest(store, MODEL).find(vectors(1, 1, 5)[0], 3)
    add(store, "two", vectors(2, 20, 5))
    with pytest.raises(StoreError, match="dimensions"):
        Nearest(store, MODEL)


# --- Many: the index -----------------------------------------------------------------------------------------------


def test_many_get_an_index_that_is_made_once(store: Store, small: None) -> None:
    add(store, "one", vectors(1, 150))
    add(store, "two", vectors(2, 250))
    check(store, Nearest(store, MODEL))
    (file,) = written(store)
    made = file.stat().st_mtime_ns
    told = AnsweredPersona()
    check(store, Nearest(store, MODEL, told), seed=5)
    assert told.done == []
    assert file.stat().st_mtime_ns == made
    assert sorted(path.name for path in file.parent.parent.iterdir()) == [file.parent.name]
    assert not list((store.root / "aside").iterdir())


def test_new_ones_are_compared_and_added_when_they_are_many(store: Store, small: None) -> None:
    add(store, "one", vectors(1, 200))
    Nearest(store, MODEL)
    (file,) = written(store)
    before = file.stat().st_mtime_ns
    add(store, "two", vectors(2, 90))
    check(store, Nearest(store, MODEL))
    assert file.stat().st_mtime_ns == before
    add(store, "three", vectors(3, 90))
    told = AnsweredPersona()
    check(store, Nearest(store, MODEL, told))
    assert told.done == [0, 290, 380]
    assert file.stat().st_mtime_ns != before


def test_those_that_left_are_not_found(store: Store, small: None) -> None:
    add(store, "one", vectors(1, 200))
    add(store, "two", vectors(2, 30))
    Nearest(store, MODEL)
    (file,) = written(store)
    before = file.stat().st_mtime_ns
    add(store, "two", vectors(2, 30), kept=slice(0, 4))
    check(store, Nearest(store, MODEL))
    assert file.stat().st_mtime_ns == before
    add(store, "one", vectors(1, 200), kept=slice(50, 200))
    check(store, Nearest(store, MODEL))
    assert file.stat().st_mtime_ns != before
    add(store, "one", vectors(1, 200), kept=slice(0, 9))
    check(store, Nearest(store, MODEL))
    assert written(store) == []


@pytest.mark.parametrize("some", [3, 90, 260])
def test_only_those_asked_for_are_found(store: Store, small: None, some: int) -> None:
    add(store, "one", vectors(1, 300))
    hub = Nearest(store, MODEL)
    add(store, "two", vectors(2, 60))
    with_new = Nearest(store, MODEL)
    among = pl.Series([f"one-{n}" for n in range(some)] + ["two-1", "two-2", "nobody"])
    for vector in vectors(7, 3):
        right = [each for each in truth(store, vector, 360) if each[0] in set(among)]
        assert with_new.find(vector, 5, among)["persona_id"].to_list() == [each[0] for each in right[:5]]
        old = [each[0] for each in right if each[0].startswith("one")]
        assert hub.find(vector, 1000, among)["persona_id"].to_list() == old


def test_another_model_has_an_index_of_its_own(store: Store, small: None) -> None:
    add(store, "one", vectors(1, 200))
    Nearest(store, MODEL)
    add(store, "one", vectors(3, 200, 5), model="another")
    found = Nearest(store, "another").find(vectors(4, 1, 5)[0], 3)
    assert found["persona_id"].to_list() == [each[0] for each in truth(store, vectors(4, 1, 5)[0], 3, "another")]
    assert len(written(store)) == 1  # what the other had is gone with its vectors
    assert len(Nearest(store, MODEL)) == 0


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a byte of the index": lambda folder: _flip(folder / "index.npy"),
    "a byte of the ids": lambda folder: _flip(folder / "ids.npy"),
    "the index cut short": lambda folder: os.truncate(folder / "index.npy", 500),
    "no index": lambda folder: (folder / "index.npy").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "an index of somebody else": lambda folder: np.save(folder / "index.npy", np.ones(9_999, np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_index_is_made_again(store: Store, small: None, damage: Callable[[Path], object]) -> None:
    add(store, "one", vectors(1, 200))
    Nearest(store, MODEL)
    damage(written(store)[0].parent)
    told = AnsweredPersona()
    check(store, Nearest(store, MODEL, told))
    assert told.done[-1] == 200
    assert len(written(store)) == 1


def test_an_index_that_usearch_cannot_read_is_made_again(store: Store, small: None) -> None:
    """Its hash is right, but another version wrote it."""
    add(store, "one", vectors(1, 200))
    Nearest(store, MODEL)
    folder = written(store)[0].parent
    stored = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    nearest.array_cache.save(folder, f"{MODEL} {nearest._FORMAT}", {**stored, "index": np.ones(64, np.uint8)})
    check(store, Nearest(store, MODEL))


def test_a_batch_that_is_replaced_while_an_index_is_made_is_left_out(store: Store, small: None) -> None:
    add(store, "one", vectors(1, 150))
    add(store, "two", vectors(2, 150))

    def meanwhile(done: int, _total: int) -> None:
        if done:
            add(store, "two", vectors(2, 20))

    hub = Nearest(store, MODEL, meanwhile)
    check(store, hub)
    assert len(hub) == 170


CHILD = """
import os, signal, sys
from personahub_assets.search import nearest
from personahub_assets.store.tables import Store
nearest.SCANNED, nearest._KEPT, nearest._PIECE = 100, 64, 50
def watch(done, total):
    if sys.argv[2] == "killed" and done >= 150:
        os.kill(os.getpid(), signal.SIGKILL)
    print(done, flush=True)
len(nearest.Nearest(Store(home=sys.argv[1]), "some-model", watch))
"""


def child(store: Store, how: str) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", textwrap.dedent(CHILD), str(store.root), how]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_killed_process_loses_little_and_of_two_one_works(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "one", vectors(1, 400))
    killed = child(store, "killed")
    out, _ = killed.communicate(timeout=120)
    assert (killed.returncode, out.split()) == (-signal.SIGKILL, ["0", "50", "100"])
    monkeypatch.setattr(nearest, "SCANNED", 100)
    monkeypatch.setattr(nearest, "_KEPT", 64)
    monkeypatch.setattr(nearest, "_PIECE", 50)
    beside, told = child(store, "whole"), AnsweredPersona()
    check(store, Nearest(store, MODEL, told))
    out, _ = beside.communicate(timeout=120)
    assert beside.returncode == 0
    # 100 were written before the kill; whoever came second waited, and found the index whole.
    worked = [said for said in ([str(done) for done in told.done], out.split()) if said[1:]]
    assert worked == [["0", "150", "200", "250", "300", "350", "400"]]
    assert len(written(store)) == 1
    assert not list((store.root / "cache" / "search").glob(".*"))
