"""Each item has its persona beside it, and no persona is in both splits."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from written import persona, put, tool

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.records import DATASETS
from personahub_assets.releases.build import freeze
from personahub_assets.releases.card import body, front_matter
from personahub_assets.releases.data_files import is_for_validation, released_columns
from personahub_assets.releases.folder import Release, count_rows_of, verify
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store, table_schema


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, written: Path) -> Store:
    """A home of 200 personas, every other one related to the one before it, with a tool each; two batches more."""
    store = Store(home=str(tmp_path_factory.mktemp("large") / "hub"))
    (store.root / "tables").mkdir(parents=True)
    (store.root / "writer").write_text("model")
    rows = [{**persona("c", 0), "persona_id": f"pc{n}", "root_id": f"pc{n - n % 2}"} for n in range(200)]
    rows = [{**row, "document_id": f"d{n // 4}" if n < 100 else None} for n, row in enumerate(rows)]
    put(store, "personas", "c", rows)
    put(store, "tools", "c", [{**tool("c", n), "generation_id": None} for n in range(200)])
    return store


@pytest.fixture(scope="module")
def made(large: Store) -> Release:
    return freeze(large, ReleaseSpec.of("v1", validation=0.2, jsonl=True))


def split(made: Release, config: str, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in made.data(config) if path.name.startswith(name)])


def test_no_persona_no_relative_and_no_document_is_in_both_splits(large: Store, made: Release) -> None:
    for config in ("personas", "tools"):
        sides = {name: split(made, config, name) for name in ("train", "validation")}
        assert sum(rows.height for rows in sides.values()) == 200
        counts = {name: about["rows"] for name, about in made.manifest["configs"][config]["splits"].items()}
        assert counts == {name: rows.height for name, rows in sides.items()}
        assert 10 < counts["validation"] < 80
        lines = large.read_all("personas")
        people = [lines.join(rows, on="persona_id", how="semi") for rows in sides.values()]
        for column in ("persona_id", "root_id", "document_id"):
            first, second = (set(side[column].drop_nulls()) for side in people)
            assert first
            assert not first & second, column
    assert set(split(made, "tools", "validation")["persona_id"]) == set(
        split(made, "personas", "validation")["persona_id"]
    )
    assert verify(made) == []
    assert count_rows_of(made, ["pc0"]) == 2


def test_a_persona_stays_in_its_split_in_later_releases(large: Store, made: Release) -> None:
    later = freeze(large, ReleaseSpec.of("v2", ["tools"], ["sample = 0"], validation=0.3))
    before, after = (set(split(release, "tools", "validation")["persona_id"]) for release in (made, later))
    assert before < after


def test_jsonl_is_split_like_the_rest(made: Release) -> None:
    for name in ("personas", "tools"):
        for ending, side in (("", "train"), (".validation", "validation")):
            lines = (made.path / "jsonl" / f"{name}{ending}.jsonl").read_text("utf-8").splitlines()
            assert len(lines) == split(made, name, side).height
    assert json.loads(lines[0]).keys() == {"input persona", "synthesized text", "description"}


def test_items_begin_with_their_persona_and_text(made: Release, large: Store) -> None:
    tools = split(made, "tools", "train")
    assert tools.columns == released_columns("tools", list(table_schema("tools")))
    assert tools.columns[:3] == ["persona", "text", "name"]
    assert set(tools.columns) == {"persona", *table_schema("tools")}
    texts = dict(large.read_all("personas").select("persona_id", "persona").iter_rows())
    assert tools["persona"].to_list() == [texts[each] for each in tools["persona_id"]]
    assert split(made, "personas", "train").columns == list(table_schema("personas"))
    described = made.manifest["configs"]["tools"]["columns"]
    assert [column["column"] for column in described] == tools.columns
    assert all(column["meaning"] and column["type"] for column in described)


def test_the_card_has_both_splits(made: Release) -> None:
    front, text = front_matter(made.manifest), body(made.manifest)
    for config in ("personas", "tools"):
        for name in ("train", "validation"):
            assert f"- split: {name}\n    path: data/{config}/{name}-*.parquet" in front
    counts = made.manifest["configs"]["tools"]["splits"]
    assert f"| `tools` | 200 | {counts['train']['rows']} | {counts['validation']['rows']} | 2 |" in text
    assert 'split="train")  # or split="validation"\n' in text
    assert "A share of 20.0 % of the documents is for validation" in text


def test_a_release_without_a_split_has_one(store: Store) -> None:
    plain = freeze(store, ReleaseSpec.of("v1"))
    assert {name for about in plain.manifest["configs"].values() for name in about["splits"]} == {"train"}
    assert "validation" not in body(plain.manifest)
    assert "validation" not in front_matter(plain.manifest)


def test_a_split_that_leaves_nothing_to_train_on_is_refused(store: Store) -> None:
    share = 0.999999
    with pytest.raises(StoreError, match="all 9 rows of personas would be for validation, and none for training"):
        freeze(store, ReleaseSpec.of("v1", validation=share))
    assert not (store.root / "releases" / "v1").exists()


@pytest.mark.parametrize("share", [-0.1, 1.0, 5.0, float("nan")])
def test_what_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="is not a share: give a number from 0 to below 1"):
        ReleaseSpec.of("v1", validation=share)


@given(st.text(max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds_to_validation(group: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert is_for_validation(group, larger) or not is_for_validation(group, smaller)


def test_no_dataset_hides_the_persona() -> None:
    for name in DATASETS:
        names = released_columns(name, list(table_schema(name)))
        assert len(names) == len(set(names)) == len(table_schema(name)) + 1
