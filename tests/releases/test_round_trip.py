"""A release that is ingested, run and released again, three times over: its attributes stay the same."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.releases.build import freeze
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.sources.attributes import merge_released
from personahub_assets.sources.register import imported_personas, register
from personahub_assets.steps.candidates import imported
from personahub_assets.store.tables import Store, table_schema

SOURCE: list[dict[str, Any]] = [
    {"persona": "A baker.", "city": "Rome", "labels": ["a", "b"], "score": 1.5, "attributes": {"own": 1}, "hop": "far"},
    {"persona": "A tailor.", "big": 2**70, "note": '["x"]', "nothing": None},
    {"persona": "A cook."},
]


def released(home: Path, source: Path) -> Path:
    """What a home makes of a source file, without a model: the personas are ready."""
    store = Store(home=str(home))
    (key,) = register(store, str(source))
    home.joinpath("writer").write_text("model")
    rows = list(imported_personas(store, key))
    made = imported(key, [row.persona for row in rows], [row.attributes for row in rows])
    for table in ("text_personas", "personas"):
        store.write(table, key, pl.DataFrame(made, table_schema(table), orient="row"))
    return next(freeze(store, ReleaseSpec.of("first", ["personas"])).path.rglob("*.parquet"))


def attributes(path: Path) -> dict[str, dict[str, Any]]:
    rows = pl.read_parquet(path, glob=False).select("persona", "attributes").iter_rows()
    return {persona: json.loads(text) if text else {} for persona, text in rows}


def test_attributes_do_not_nest_over_three_generations(tmp_path: Path) -> None:
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in SOURCE))
    first = released(tmp_path / "one", source)
    second = released(tmp_path / "two", first)
    third = released(tmp_path / "three", second)
    ids = dict(pl.read_parquet(first, glob=False).select("persona", "persona_id").iter_rows())
    assert attributes(third) == attributes(second)
    for persona, before in attributes(first).items():
        after = attributes(second)[persona]
        assert before.items() <= after.items()
        assert after["persona_id"] == ids[persona], "where it came from first"
        assert after["batch"] == "source"
    assert attributes(third)["A baker."]["attributes"] == {"own": 1}, "a column of that name in a foreign file"
    assert attributes(third)["A baker."]["hop"] == "far", "the source's own word, not ours"


def test_columns_that_are_added_to_a_release_are_kept() -> None:
    inner = {"batch": "first", "persona_id": "p1", "score": 1}
    merged = merge_released({"batch": "second", "persona_id": "p2", "attributes": "", "score": 2, "new": True}, inner)
    assert json.loads(merged or "") == {"batch": "first", "persona_id": "p1", "score": 2, "new": True}
