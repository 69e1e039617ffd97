"""Candidates: stable ids when a file grows, lines back to the root, hops without repetition."""

from typing import Any

import polars as pl

from personahub_assets.core.records import RelatedPersonas, TextPersonas
from personahub_assets.steps.candidates import Rows, from_relations, from_text, frontier, imported

LONG = "A keeper of the lighthouse on the outer skerry"


def text_answer(*relations: Any) -> TextPersonas:
    items = [{"persona": f"{LONG} {r}", "relation": r, "granularity": "fine"} for r in relations]
    return TextPersonas.model_validate({"personas": items})


def related_answer(*names: str) -> RelatedPersonas:
    return RelatedPersonas.model_validate({"personas": [{"persona": f"{LONG} {n}", "relation": n} for n in names]})


def ids(rows: Rows) -> list[str]:
    return [row["persona_id"] for row in rows]


def test_imported_twins_stay_apart_and_a_grown_file_keeps_their_ids() -> None:
    rows = imported("b", ["A", "B", "A", "A"])
    assert len(set(ids(rows))) == 4
    assert ids(imported("b", ["A", "B", "A", "A", "C"]))[:4] == ids(rows)
    assert set(ids(imported("b", ["B", "A", "A", "A"]))) == set(ids(rows))
    assert not set(ids(imported("c", ["A", "B"]))) & set(ids(rows))
    assert {(row["origin"], row["hop"], row["root_id"] == row["persona_id"]) for row in rows} == {("imported", 0, True)}


def test_personas_of_a_document_know_it_and_are_no_more_than_asked() -> None:
    rows = from_text("b", [("d1", "g1", text_answer("read", "write", "like")), ("d2", "g2", text_answer("read"))], 2)
    assert [(row["document_id"], row["relation"], row["generation_id"]) for row in rows] == [
        ("d1", "read", "g1"),
        ("d1", "write", "g1"),
        ("d2", "read", "g2"),
    ]
    assert len(set(ids(rows))) == 3
    again = from_text("b", [("d2", "g9", text_answer("read"))], 2)
    assert ids(again) == ids(rows)[2:]  # the call that gave it is no part of who it is


def test_equal_personas_of_one_answer_stay_apart() -> None:
    rows = from_text("b", [("d1", "g1", text_answer("read", "read"))], 3)
    assert len(set(ids(rows))) == 2


def test_a_related_persona_is_one_hop_further_on_the_same_line() -> None:
    (root,) = from_text("b", [("d1", "g1", text_answer("read"))], 1)
    (child,) = from_relations("b", [(root, "g2", related_answer("sister", "rival"))], 1)
    (grandchild,) = from_relations("b", [(child, "g3", related_answer("pupil"))], 1)
    assert (child["hop"], child["parent_id"], child["root_id"]) == (1, root["persona_id"], root["persona_id"])
    assert (grandchild["hop"], grandchild["parent_id"]) == (2, child["persona_id"])
    assert grandchild["root_id"] == root["persona_id"]
    assert grandchild["document_id"] == "d1"
    assert (child["origin"], child["relation"], child["granularity"]) == ("relation", "sister", None)


def test_a_hop_expands_each_set_of_words_once_and_who_was_expanded_before_first() -> None:
    candidates = pl.DataFrame({"persona_id": ["a", "b", "c"], "persona": ["A nurse", "nurse, a!", "A diver"]})
    seen: set[frozenset[str]] = set()
    assert [row["persona_id"] for row in frontier(candidates, seen, set())] == ["a", "c"]
    assert list(frontier(candidates, seen, set())) == []
    assert [row["persona_id"] for row in frontier(candidates, set(), {"b"})] == ["b", "c"]
    assert [row["persona_id"] for row in frontier(candidates.reverse(), set(), set())] == ["a", "c"]
