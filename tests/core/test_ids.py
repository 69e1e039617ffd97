"""Ids of documents: every type of value in an id column has a rule, and none makes a row or a file fail."""

import math
import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.ids import id_text
from personahub_assets.sources.rows import Columns, Document, RawRow, sort_rows, traits
from personahub_assets.sources.tombstones import Tombstone, Tombstones

UUID = uuid.UUID("12345678-1234-5678-9234-567812345678")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("17", "17"),
        (17, "17"),
        (1.0, "1.0"),
        (10**400, str(10**400)),
        (-0.0, "-0.0"),
        (Decimal("1.50"), "1.50"),
        (math.nan, None),
        (math.inf, None),
        (Decimal("NaN"), None),
        (True, None),
        (False, None),
        (None, None),
        ("", None),
        (" \t", None),
        (UUID, str(UUID)),
        (UUID.bytes, str(UUID)),
        (b"doc-17", "doc-17"),
        (b"\x00\xff", "00ff"),
        (b"", None),
        ({"$oid": "507f1f77bcf86cd799439011"}, "507f1f77bcf86cd799439011"),
        ({"$numberLong": "9007199254740993"}, "9007199254740993"),
        ({"$binary": {"base64": "EjRWeBI0VniSNFZ4EjRWeA==", "subType": "04"}}, str(UUID)),
        ({"$binary": {"base64": "?"}}, '{"$binary":{"base64":"?"}}'),
        ({"b": 1, "a": [1, None]}, '{"a":[1,null],"b":1}'),
        ([1, "x"], '[1,"x"]'),
        ([], None),
        ({}, None),
        (date(2024, 5, 1), "2024-05-01"),
        ("a\x00\ud800", "a\ufffd\ufffd"),
    ],
)
def test_what_is_an_id(value: Any, expected: str | None) -> None:
    assert id_text(value) == expected


def documents(*rows: dict[str, Any]) -> list[Any]:
    raw = [RawRow(f"row {number}", row) for number, row in enumerate(rows, 1)]
    return [row.document_id if isinstance(row, Document) else row for row in sort_rows(raw, Columns())]


@pytest.mark.parametrize("value", [math.nan, math.inf, True, " ", [], {}, b""])
def test_rows_whose_id_says_nothing_are_all_kept(value: Any) -> None:
    first, second, third = documents(
        {"id": value, "text": "A"}, {"id": value, "text": "B"}, {"_id": value, "text": "C"}
    )
    assert len({first, second, third}) == 3
    assert documents({"id": value, "doc_id": "x", "text": "A"}) == ["x"]
    assert documents({"id": value, "url": "https://a.example/", "text": "A"}) == ["https://a.example/"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=17) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("$oid"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(ANYTHING)
def test_any_value_gives_an_id_by_which_it_is_taken_down(value: Any) -> None:
    row = RawRow("row 1", {"id": value, "text": "A"})
    (document,) = sort_rows([row], Columns())
    assert isinstance(document, Document)
    assert document.document_id.strip()
    document.document_id.encode()
    assert traits(row, Columns()).document_id == document.document_id


@pytest.mark.parametrize("value", [{"$oid": "64f0"}, b"doc-17", UUID.bytes, 1.0])
def test_what_was_taken_down_under_its_former_id_stays_out(value: Any) -> None:
    stones = Tombstones([Tombstone.document("a", str(value))], "a")
    assert stones.has_row(RawRow("row 1", {"id": value, "text": "A text that was edited since."}), Columns())
