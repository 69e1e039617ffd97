"""Samples are cards: short enough for the UI to show them in place, in which nothing that a row says is markup."""

import dagster as dg
import polars as pl
import pytest

from personahub_assets.defs.batches import Report
from personahub_assets.defs.metadata.markup import escaped, paragraphs
from personahub_assets.defs.metadata.sample import IN_PLACE, persona_texts, sample
from personahub_assets.steps.result import Result
from personahub_assets.store.tables import Store, table_schema

HOSTILE = (
    "![x](http://127.0.0.1:9/a.png) <script>alert(1)</script> [go](javascript:alert(2)) | `b` |\n# head\u202etxt\x00 "
)
BAKER = "A baker in Lyon who counts her loaves in prime numbers."
ITEM = {
    "batch": "a",
    "item_id": "i0123456789abcdef",
    "persona_id": "p0123456789abcdef",
    "sample": 0,
    "topic": "number theory",
    "problem": "How many loaves has a baker who sells 17 of 4,001?",
    "text": "Topic: number theory\nProblem: How many loaves has a baker who sells 17 of 4,001?",
    "generation_id": "g1",
}


def shown(*rows: dict[str, object], texts: dict[str, str] | None = None) -> str:
    value = sample(pl.DataFrame(list(rows), strict=False), texts)
    assert isinstance(value, dg.MarkdownMetadataValue)
    return str(value.value)


def test_the_persona_stands_beside_its_item_and_no_text_twice() -> None:
    assert shown(ITEM, texts={"p0123456789abcdef": BAKER}) == (
        f"**persona** {BAKER}\n\n**problem** {ITEM['problem']}\n\ntopic number theory · id i0123456…"
    )


def test_texts_of_personas_are_those_of_the_batch(store: Store) -> None:
    columns = table_schema("text_personas")
    row = {"batch": "a", "persona_id": "p1", "persona": BAKER, "origin": "imported", "hop": 0, "root_id": "p1"}
    store.write("text_personas", "a", pl.DataFrame([{name: row.get(name) for name in columns}], schema=columns))
    assert persona_texts(store, "a", pl.DataFrame({"persona_id": ["p1", "p2"]})) == {"p1": BAKER}
    child = pl.DataFrame({"persona_id": ["p3"], "persona": ["A miller."], "parent_id": ["p1"]})
    assert persona_texts(store, "a", child) == {"p1": BAKER}
    assert shown(*child.to_dicts(), texts={"p1": BAKER}).startswith(f"**parent** {BAKER}\n\n")
    assert persona_texts(store, "a", pl.DataFrame({"document_id": ["d"]})) == {}


@pytest.mark.parametrize("text", ["word " * 900, "😀*_" * 900, HOSTILE * 30, "x"])
def test_cards_are_shown_in_place_however_long_the_texts(text: str) -> None:
    card = shown(*[{"persona_id": f"p{n}", "persona": text, "relation": text, "name": text} for n in range(5)])
    assert len(card.encode("utf-16-le")) // 2 < IN_PLACE
    assert card.count("**persona**") >= 1 or text == "x"


def test_no_character_of_a_text_is_markup() -> None:
    assert escaped("a *b* [c](d) <img> `e` a_b _f_ ~g~ &lt; |") == (
        r"a \*b\* \[c\](d) \<img\> \`e\` a_b \_f\_ \~g\~ \&lt; \|"
    )
    assert "://" not in escaped("see https://evil.example or www.evil.example", 200)
    assert "www." not in escaped("www.evil.example")
    assert "\n" not in escaped("a\n\n# b")
    assert escaped([{"name": "city", "type": "string"}]) == "name: city, type: string"


def test_a_prompt_keeps_its_lines_and_bullets() -> None:
    lines = paragraphs("# no heading\n- a bullet with <b>\n\n1. no list").split("\n")
    assert [line.replace("\u2060", "") for line in lines] == [
        "# no heading  ",
        r"- a bullet with \<b\>  ",
        "  ",
        "1. no list",
    ]
    assert not lines[0].startswith("#")


def test_metadata_are_in_the_order_of_interest() -> None:
    rows = pl.DataFrame({"persona_id": ["p"], "persona": [BAKER]})
    report = Report(Result.of(rows, {"calls": 1}), {"plot": "x", "engine": "y"}, total=7)
    names = ["sample", "why", "dagster/partition_row_count", "dagster/row_count", "calls", "plot", "engine"]
    assert list(report.as_metadata()) == names
    hidden = pl.DataFrame({"document_id": ["a\x1b[31m", "b\n", "c\u202e", "d" * 200]})
    assert "why" not in Report(Result.of(hidden)).as_metadata()
    assert sample(rows.head(0)) == dg.MetadataValue.text("no rows")
