"""Metadata about dropped personas: right numbers, right texts from any batch, no injected markup."""

import base64
import re
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import polars as pl
import pytest

from personahub_assets.dedup.lexical_state import LexicalHub
from personahub_assets.dedup.records import Personas
from personahub_assets.defs.metadata.drops import explained, similarity_chart
from personahub_assets.store.tables import Store, table_schema

SVG = "{http://www.w3.org/2000/svg}"


def write(
    store: Store, batch: str, texts: dict[str, str], decisions: list[tuple[str, str | None, float | None]]
) -> None:
    """Write candidates by id, and decisions about them."""
    schema = table_schema("text_personas")
    rows = pl.DataFrame({"persona_id": list(texts), "persona": list(texts.values())}).with_columns(
        batch=pl.lit(batch), origin=pl.lit("imported"), hop=pl.lit(0), root_id="persona_id"
    )
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
    store.write("text_personas", batch, rows.with_columns(missing))
    rows = decided(batch, decisions).rename({"id": "persona_id"}).with_columns(stage=pl.lit("lexical"))
    store.write("decisions", batch, rows, "lexical_duplicates")
    run = {"batch": batch, "stage": "lexical", "rule": store.config.lexical.rule, "method": "exact", "recall": 1.0}
    counts = {"candidates": rows.height, "kept": rows["keeper_id"].null_count()}
    store.write("dedup_runs", batch, pl.DataFrame([run | counts], table_schema("dedup_runs")), "lexical_duplicates")


def of_lexical(store: Store, made: pl.DataFrame, batch: str) -> dict[str, Any]:
    hub = LexicalHub(Personas(store))
    return explained(hub, hub.kept_of_others(batch), made, batch)


def decided(batch: str, decisions: list[tuple[str, str | None, float | None]]) -> pl.DataFrame:
    kinds = {"id": pl.String, "keeper_id": pl.String, "similarity": pl.Float64}
    return pl.DataFrame(decisions, schema=kinds, orient="row").with_columns(batch=pl.lit(batch), admission=pl.lit(1))


def cells(said: dict[str, object], name: str) -> list[dict[str, object]]:
    table = said[name]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def card_lines(said: dict[str, object]) -> list[str]:
    sample = said["sample"]
    assert isinstance(sample, dg.MarkdownMetadataValue)
    return [line for line in str(sample.value).split("\n") if line and line != "---"]


def test_a_batch_without_drops_says_nothing(store: Store) -> None:
    write(store, "a", {"p1": "A baker."}, [("p1", None, None)])
    assert of_lexical(store, decided("a", [("p1", None, None)]), "a") == {}
    assert of_lexical(store, decided("a", []), "a") == {}


def test_keepers_and_pairs_of_any_batch_are_shown_with_their_texts(store: Store) -> None:
    write(store, "a", {"k": "A baker in Lyon.", "x": "A baker, in Lyon."}, [("k", None, None), ("x", "k", 1.0)])
    texts = {"l": "A diver.", "d1": "A baker in lyon", "d2": "a Baker in Lyon", "d3": "A diver!"}
    write(store, "b", texts, [])
    made = decided("b", [("l", None, None), ("d1", "k", 0.95), ("d2", "k", 1.0), ("d3", "l", 0.91)])
    said = of_lexical(store, made, "b")
    assert cells(said, "largest_keepers") == [
        {"keeper": "k", "absorbed_of_this_batch": 2, "absorbed_of_all": 3, "persona": "A baker in Lyon."},
        {"keeper": "l", "absorbed_of_this_batch": 1, "absorbed_of_all": 1, "persona": "A diver."},
    ]
    assert card_lines(said) == [
        "dropped A diver! · kept A diver. · similarity 0.91 · id d3",
        "dropped A baker in lyon · kept A baker in Lyon. · similarity 0.95 · id d1",
        "dropped a Baker in Lyon · kept A baker in Lyon. · similarity 1.0 · id d2",
    ]


def test_what_was_decided_now_counts_and_not_what_stood(store: Store) -> None:
    write(store, "a", {"k": "One.", "x": "Two."}, [("k", None, None), ("x", "k", 1.0)])
    write(store, "b", {"y": "Three."}, [("y", None, None)])
    (store.root / "hub.toml").write_text("[lexical]\nthreshold = 0.5\n")  # so that all are decided again
    made = pl.concat([decided("a", [("k", None, None), ("x", None, None)]), decided("b", [("y", "k", 0.9)])])
    (keeper,) = cells(of_lexical(store, made, "b"), "largest_keepers")
    assert keeper["absorbed_of_all"] == 1


def test_at_most_ten_keepers_and_three_pairs_of_capped_plain_text(store: Store) -> None:
    kept = {f"k{n:02d}": f"<script>|{n}\n\t\x1b[31m\u202e" + "x" * 500 for n in range(12)}
    dropped = {f"d{n:02d}": f"dropped {n}" for n in range(24)}
    write(store, "a", kept | dropped, [])
    drops = [(f"d{n:02d}", f"k{n % 12:02d}", 0.9 + n / 1000) for n in range(24)]
    said = of_lexical(store, decided("a", [*((k, None, None) for k in kept), *drops]), "a")
    keepers = cells(said, "largest_keepers")
    assert [row["keeper"] for row in keepers] == [f"k{n:02d}" for n in range(10)]
    assert "similarity 0.9 ·" in card_lines(said)[1]
    assert all(r"\<script\>" in line for line in card_lines(said) if line.startswith("**kept**"))
    for text in [str(row["persona"]) for row in keepers]:
        assert len(text) <= 240
        assert text.isprintable()
        assert text.startswith("<script>|")  # a cell is text to the UI, not Markdown


@pytest.mark.parametrize(
    ("threshold", "values", "expected"),
    [
        (0.9, [0.9, 0.9099, 0.95, 1.0], {"0.90": 2, "0.95": 1, "1": 1}),
        (0.9, [0.9999999, 1.0000001], {"1": 2}),
        (0.5, [0.5, 0.5249, 0.525, 1.0], {"0.50": 2, "0.525": 1, "1": 1}),
        (0.95, [0.93, 0.97], {"0.93": 1, "0.97": 1}),  # the threshold was edited meanwhile
        (1.0, [1.0, 1.0], {"1": 2}),
    ],
)
def test_the_chart_has_a_bar_for_each_step_from_the_threshold(
    threshold: float, values: list[float], expected: dict[str, int]
) -> None:
    svg = similarity_chart(pl.Series(values), threshold, "cosine")
    found = [box for box in ElementTree.fromstring(svg).iter(f"{SVG}rect") if "x" in box.attrib]
    step = 0.01 if threshold >= 0.8 else 0.025
    assert len(found) == round((1 - min(threshold, *values)) / step) + 1
    tallest = max(expected.values())
    unit = max(float(box.attrib["height"]) for box in found) / tallest
    heights = [round(float(box.attrib["height"]) / unit) for box in found]
    assert [height for height in heights if height] == list(expected.values())
    first = min(threshold, *values)
    assert [n for n, height in enumerate(heights) if height] == [round((float(low) - first) / step) for low in expected]


def test_the_chart_is_an_image_that_needs_no_file(store: Store) -> None:
    write(store, "a", {"k": "One.", "x": "one"}, [])
    said = of_lexical(store, decided("a", [("k", None, None), ("x", "k", 1.0)]), "a")
    chart = said["similarities"]
    assert isinstance(chart, dg.MarkdownMetadataValue)
    (data,) = re.findall(r"^!\[.+\]\(data:image/svg\+xml;base64,(.+)\)$", chart.value or "")
    assert ElementTree.fromstring(base64.b64decode(data)).tag == f"{SVG}svg"
