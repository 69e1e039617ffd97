"""Classification of a row of a source file: document, persona, or a fault with its reason."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.sources.rows import (
    RAW_LIMIT,
    Columns,
    Document,
    Fault,
    Imported,
    RawRow,
    Row,
    sort_rows,
    traits,
)


def sort_one(columns: dict[str, Any], **settings: Any) -> Row:
    (row,) = sort_rows([RawRow("line 1", columns)], Columns(**settings))
    return row


@pytest.mark.parametrize("name", ["text", "content", "body", "document", "raw_content", " Text ", "CONTENT"])
def test_a_text_column_gives_a_document(name: str) -> None:
    row = sort_one({name: "  The tide is out.\n", "id": 7, "url": "https://a.example/b", "source": "crawl"})
    assert row == Document("7", "https://a.example/b", "crawl", "The tide is out.", 0)


@pytest.mark.parametrize("name", ["persona", "input persona", "Input Persona", "input_persona"])
def test_a_persona_column_gives_a_persona_even_beside_a_text(name: str) -> None:
    found = Imported("A diver.", 0, '{"text": "A math problem"}')
    assert sort_one({name: "A diver.", "text": "A math problem"}) == found
    assert sort_one({name: None, "text": "Tides"}) == sort_one({"text": "Tides"})


@pytest.mark.parametrize("blank", ["", " \n", b" "])
def test_a_blank_column_hides_no_other(blank: str | bytes) -> None:
    """CSV has no null: a file of personas and documents has a blank in every row."""
    row, persona = {"persona": blank, "text": blank, "content": "Tides"}, {"persona": "A diver.", "text": blank}
    document = sort_one(row)
    assert isinstance(document, Document)
    assert document.text == traits(RawRow("line 1", row), Columns()).text == "Tides"
    assert isinstance(sort_one(persona), Imported)
    assert traits(RawRow("line 1", persona), Columns()).persona == "A diver."
    assert isinstance(sort_one({"persona": blank, "text": blank}), Fault)


def test_named_columns_come_before_the_usual_names() -> None:
    columns = {"persona": "A diver.", "text": "Tides", "Answer": "Ebb", "who": "A pilot."}
    document, persona = sort_one(columns, text="answer"), sort_one(columns, persona="WHO")
    assert isinstance(document, Document)
    assert isinstance(persona, Imported)
    assert (document.text, document.attributes) == (
        "Ebb",
        '{"persona": "A diver.", "text": "Tides", "who": "A pilot."}',
    )
    assert (persona.persona, persona.attributes) == (
        "A pilot.",
        '{"persona": "A diver.", "text": "Tides", "Answer": "Ebb"}',
    )
    assert isinstance(sort_one({"text": "Tides"}, persona="who"), Fault)
    assert isinstance(sort_one({"persona": "A diver."}, text="answer"), Fault)


def test_the_id_is_the_given_one_else_the_address_else_a_hash_of_the_text() -> None:
    def identity(**columns: Any) -> str:
        row = sort_one({"text": "Tides", **columns})
        assert isinstance(row, Document)
        return row.document_id

    assert identity(id=0) == "0"
    assert identity(doc_id="x", url="u") == "x"
    assert identity(id="", url="u") == "u"
    assert identity(id=None) == identity() == identity(url="")
    assert identity() != identity(text="Ebb")


@pytest.mark.parametrize(
    ("columns", "reason", "detail"),
    [
        ({"text": " \n"}, "empty", "empty"),
        ({"text": "\t", "persona": None}, "empty", "empty"),
        ({"title": "x"}, "no_text", "title"),
        ({}, "no_text", "no column"),
        ({"text": None}, "no_text", "text"),
        ({"text": 7}, "malformed", "got int"),
        ({"text": ["a"]}, "malformed", "got list"),
        ({"persona": {"a": 1}}, "malformed", "got dict"),
        ({"text": "x" * 11}, "too_long", "11 characters; sources.max_document_chars is 10"),
        ({"persona": "x" * 11}, "too_long", "11 characters"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(columns: dict[str, Any], reason: str, detail: str) -> None:
    row = sort_one(columns, max_chars=10)
    assert isinstance(row, Fault)
    assert row.reason == reason
    assert detail in row.detail
    assert row.detail.startswith("line 1: ")


@pytest.mark.parametrize(("length", "is_kept"), [(2_000, True), (2_001, False), (300_000, False)])
def test_an_imported_persona_is_bounded(length: int, is_kept: bool) -> None:
    row = sort_one({"persona": "x" * length})
    assert isinstance(row, Imported if is_kept else Fault)
    if isinstance(row, Fault):
        assert (row.reason, row.detail) == (
            "too_long",
            f"line 1: {length} characters; sources.max_persona_chars is 2000",
        )
    assert isinstance(sort_one({"text": "x" * length}), Document)


def test_what_could_not_be_read_keeps_its_reason() -> None:
    raw = RawRow("line 9", reason="bad_encoding", detail="not UTF-8", raw="\udcff" * (RAW_LIMIT + 5))
    (row,) = sort_rows([raw], Columns())
    assert isinstance(row, Fault)
    assert (row.place, row.reason, row.detail) == ("line 9", "bad_encoding", "line 9: not UTF-8")
    assert len(row.raw) == RAW_LIMIT
    row.raw.encode("utf-8")


def test_of_documents_with_one_id_the_first_stays_and_personas_have_none() -> None:
    texts = [("1", "a"), ("2", "b"), ("1", "c"), ("2", "d")]
    rows = list(sort_rows([RawRow(f"line {n}", {"id": i, "text": t}) for n, (i, t) in enumerate(texts, 1)], Columns()))
    assert [type(row) for row in rows] == [Document, Document, Fault, Fault]
    assert isinstance(rows[2], Fault)
    assert rows[2].reason == "duplicate_id"
    assert rows[2].detail == "line 3: id '1' is taken by line 1"
    twins = sort_rows([RawRow(f"line {n}", {"id": 1, "persona": "A diver."}) for n in (1, 2)], Columns())
    assert list(twins) == [Imported("A diver.", 0, '{"id": 1}')] * 2


def test_what_cannot_be_stored_is_replaced_and_counted() -> None:
    row = sort_one({"text": "a\x00b\ud800", "url": "u\ud800", "source": "s\x00", "id": "\udfff"})
    assert row == Document("\ufffd", "u\ufffd", "s\ufffd", "a\ufffdb\ufffd", 2)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
NAMES = st.sampled_from(["text", "persona", "id", "url", "source", "Text", "other"]) | st.text(max_size=4)


@given(st.lists(st.dictionaries(NAMES, ANYTHING, max_size=4), max_size=6), st.sampled_from([None, "other"]))
def test_every_row_becomes_one_thing_that_can_be_stored(rows: list[dict[str, Any]], column: str | None) -> None:
    found = list(sort_rows([RawRow(f"line {n}", row) for n, row in enumerate(rows)], Columns(text=column)))
    assert len(found) == len(rows)
    for row in found:
        for value in vars(row).values():
            str(value).encode("utf-8")
    ids = [row.document_id for row in found if isinstance(row, Document)]
    assert len(ids) == len(set(ids))
