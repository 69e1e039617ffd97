"""An overlay reads from the home and does not change it."""

from pathlib import Path

import polars as pl
import pytest

from personahub_assets.core.errors import BatchError, StoreError
from personahub_assets.store.overlay import OverlayStore
from personahub_assets.store.tables import SLICE_ROWS, Store, table_schema


def rows(batch: str, *ids: str) -> pl.DataFrame:
    frame = pl.DataFrame({"batch": batch, "persona_id": list(ids), "persona": "A baker."}, strict=False)
    absent = [name for name in table_schema("personas") if name not in frame.columns]
    return frame.with_columns(pl.lit(None).alias(name) for name in absent)


@pytest.fixture
def draft(store: Store) -> OverlayStore:
    store.write("personas", "a", rows("a", "p1", "p2"))
    return OverlayStore(home=str(store.root))


def test_what_is_not_drafted_is_read_from_the_home(draft: OverlayStore) -> None:
    assert draft.read("personas", "a", columns=["persona_id"])["persona_id"].to_list() == ["p1", "p2"]
    assert draft.height("personas", "a") == 2
    assert [part.height for part in draft.slices("personas", "a")] == [2]
    assert draft.read("personas", "b").is_empty()


def test_what_is_drafted_is_seen_in_every_way_and_written_nowhere(
    draft: OverlayStore, store: Store, home: Path
) -> None:
    before = sorted(home.rglob("*"))
    many = [f"p{number}" for number in range(SLICE_ROWS + 1)]
    draft.write("personas", "a", rows("a", *many))
    draft.write("personas", "b", rows("b", "q1"))
    assert draft.height("personas", "a") == len(many)
    assert [part.height for part in draft.slices("personas", "a", ["persona_id"])] == [SLICE_ROWS, 1]
    assert [path.parent.name for path in draft.files("personas")] == ["batch=a", "batch=b"]
    assert draft.read_all("personas", ["persona_id"])["persona_id"].to_list() == [*many, "q1"]
    assert store.height("personas", "a") == 2
    assert sorted(home.rglob("*")) == before


def test_tables_by_asset_are_told_apart(draft: OverlayStore) -> None:
    run = {"batch": "a", "stage": "lexical", "rule": "x", "method": "exact", "recall": 1.0, "candidates": 1, "kept": 1}
    draft.write("dedup_runs", "a", pl.DataFrame([run]), "lexical_duplicates")
    assert draft.read_all("dedup_runs", asset="lexical_duplicates").height == 1
    assert draft.read_all("dedup_runs", asset="semantic_duplicates").is_empty()


def test_it_refuses_what_a_store_refuses_and_to_write(draft: OverlayStore) -> None:
    with pytest.raises(BatchError, match="Not a key"):
        draft.write("personas", "Not a key", rows("a"))
    with pytest.raises(StoreError, match="cannot be written"):
        draft.writer("personas", "a")
