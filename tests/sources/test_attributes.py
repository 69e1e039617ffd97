"""Attributes: all values of a row become JSON that SQL can read, or are omitted."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.sources.attributes import attributes


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ('["a", "b"]', ["a", "b"]),  # a list written as JSON text
        (["a", None], ["a", None]),
        ('{"x": 1}', {"x": 1}),
        ("['a', 'b']", "['a', 'b']"),  # Python's way to write a list is text
        ("[unclosed", "[unclosed"),
        ("", ""),
        (True, True),
        (2**63, str(2**63)),
        (float("inf"), None),
        (date(2024, 5, 1), "2024-05-01"),
        (datetime(2024, 5, 1, 10, tzinfo=UTC), "2024-05-01T10:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (b"\x00\xff", "00ff"),
        ("a\x00\ud800", "a\ufffd\ufffd"),
    ],
)
def test_values_as_they_are_kept(value: Any, kept: Any) -> None:
    found = attributes({"x": value})
    assert found is not None
    assert json.loads(found) == {"x": kept}


def test_what_is_null_is_left_out() -> None:
    assert attributes({"a": None, "b": 1}) == '{"b": 1}'
    assert attributes({"a": None}) is attributes({}) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=20)
@given(st.dictionaries(st.text(st.characters(exclude_categories=[]), max_size=6), ANYTHING, max_size=4))
def test_sql_reads_all_of_it(row: dict[str, Any]) -> None:
    found = attributes(row)
    if found is not None:
        connection = duckdb.default_connection()
        keys = connection.execute("SELECT json_valid($1), len(json_keys($1))", [found]).fetchone()
        assert keys == (True, len(json.loads(found)))
