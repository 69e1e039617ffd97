import json
from typing import Any

import pytest

from personahub_assets.core.text import digest
from personahub_assets.sources.rows import Columns, Document, Fault, Imported, RawRow, sort_rows
from personahub_assets.sources.tombstones import (
    Tombstone,
    Tombstones,
    answer_without,
    scopes,
    without,
)

PAGE = {"id": "17", "url": "https://Example.org/ann#top", "text": "What Ann wrote."}


def taken(*stones: Tombstone, batch: str | None = "crawl") -> Tombstones:
    return Tombstones(stones, batch)


@pytest.mark.parametrize(
    ("stone", "hits"),
    [
        (Tombstone.document("crawl", "17"), True),
        (Tombstone.document("other", "17"), False),
        (Tombstone.document(None, "1"), False),
        (Tombstone.url(None, "https://example.org/ann"), True),
        (Tombstone.url(None, "https://example.org/Ann"), False),
        (Tombstone.url_prefix(None, "HTTPS://example.org/ann"), True),
        (Tombstone.url_prefix(None, "https://example.org"), True),
        (Tombstone.url_prefix(None, "https://example.org/a"), False),
        (Tombstone.url_prefix(None, "https://example.org/b"), False),
        (Tombstone.text(None, "What Ann wrote."), True),
        (Tombstone.persona(None, "", "What Ann wrote."), False),
    ],
)
def test_what_a_stone_of_a_document_hits(stone: Tombstone, hits: bool) -> None:
    (row,) = sort_rows(without([RawRow("line 1", PAGE)], Columns(), taken(stone)), Columns())
    assert isinstance(row, Fault if hits else Document)
    if isinstance(row, Fault):
        assert (row.place, row.reason, row.raw) == ("line 1", "taken_down", "")
        assert "Ann" not in row.detail


def test_rows_that_would_be_quarantined_say_nothing_either() -> None:
    rows = [
        RawRow("line 1", {"id": "17", "text": "Of the same id."}),
        RawRow("line 2", {"id": "18", "text": " "}),
        RawRow("line 3", reason="malformed", raw="half a line"),
        RawRow("line 4", {"id": 17, "body": "An id that is a number."}),
    ]
    stones = taken(Tombstone.document("crawl", "17"), Tombstone.text(None, "half a line"))
    reasons = [
        row.reason if isinstance(row, Fault) else None for row in sort_rows(without(rows, Columns(), stones), Columns())
    ]
    assert reasons == ["taken_down", "empty", "taken_down", "taken_down"]


def test_a_document_without_an_id_is_known_by_what_stands_in_for_it() -> None:
    for columns, identity in (
        ({"url": "https://a.example/", "text": "T"}, "https://a.example/"),
        ({"text": " T "}, "d"),
    ):
        (row,) = sort_rows([RawRow("row 1", columns)], Columns())
        assert isinstance(row, Document)
        assert row.document_id.startswith(identity)
        stones = taken(Tombstone.document("crawl", row.document_id))
        (row,) = sort_rows(without([RawRow("row 1", columns)], Columns(), stones), Columns())
        assert isinstance(row, Fault)


def test_an_imported_line_is_known_by_its_text() -> None:
    rows = [RawRow("line 1", {"persona": " A baker. "}), RawRow("line 2", {"persona": "A tailor."})]
    found = sort_rows(without(rows, Columns(), taken(Tombstone.persona(None, "", "A baker."))), Columns())
    assert [type(row) for row in found] == [Fault, Imported]


def test_a_row_nested_too_deeply_is_known_by_its_text() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    stones = taken(Tombstone.text(None, "T"))
    rows = [RawRow("line 1", {"id": deep, "text": "T"}), RawRow("record 2", skipped="image/png")]
    assert [row.reason for row in without(rows, Columns(), stones)] == ["taken_down", None]


def test_rows_pass_untouched_where_there_is_no_stone() -> None:
    rows = [RawRow("line 1", PAGE)]
    assert without(rows, Columns(), taken(Tombstone.document("other", "17"))) is rows


def test_what_is_left_of_an_answer() -> None:
    answer = json.dumps({"personas": [{"persona": "A baker."}, {"persona": "A tailor."}]})
    assert answer_without(answer, "17", taken()) == answer
    assert answer_without(answer, "18", taken(Tombstone.persona(None, "17", "A baker."))) == answer
    one = taken(Tombstone.persona("crawl", "17", "A baker."))
    assert json.loads(answer_without(answer, "17", one)) == {"personas": [{"persona": "A tailor."}]}
    both = taken(Tombstone.persona(None, "17", "A baker."), Tombstone.persona(None, "17", "A tailor."))
    assert answer_without(answer, "17", both) == ""


@pytest.mark.parametrize(("standing", "everywhere"), [(set(), True), ({"a"}, True), ({"c"}, True), (set(), False)])
def test_a_stone_counts_everywhere_unless_something_stays(standing: set[str], everywhere: bool) -> None:
    found = list(scopes({"a", "b"}, standing, everywhere=everywhere))
    assert found == ([None] if everywhere and not standing else sorted({"a", "b"} - standing))


@pytest.mark.parametrize(
    "address",
    [
        "https://Example.org/ann#top",
        "HTTP://example.org:80/ann",
        "<https://example.org/ann>",
        "https://example.org./%61nn",
    ],
)
def test_the_stone_of_an_address_hits_it_however_it_is_written(address: str) -> None:
    assert taken(Tombstone.url(None, "https://example.org/ann")).has_document(None, address, None)
    assert taken(Tombstone.url(None, address)).has_document(None, "https://example.org/ann", None)


def test_stones_of_addresses_from_older_homes_hit_still() -> None:
    """They are hashes of the earlier normal form of addresses, including `<…>` of some archives."""
    for old in ("https://example.org./ann", "<https://example.org/ann>", "ftp://x/%7Eann"):
        stones = taken(Tombstone("url", None, digest("url", old)))
        assert stones.has_document(None, old, None)
        assert stones.has_document(None, old.strip("<>"), None)
        assert not stones.has_document(None, "https://example.org/other", None)


def test_a_batch_that_was_taken_down_has_nothing_left() -> None:
    stones = taken(Tombstone.whole_batch("crawl"))
    assert stones.has_document("1", None, None)
    assert stones.has_persona("", "A baker.")
    assert stones.has_row(RawRow("line 1", reason="malformed"), Columns())
    assert not taken(Tombstone.whole_batch("crawl"), batch="other")
