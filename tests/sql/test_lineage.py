"""The macros `lineage` and `fate` with related views, compared with a second implementation."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core.records import DATASETS
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build, live

Rows = list[dict[str, Any]]

EVERYTHING = "lineage(), fate(), persona_lineage, item_lineage"
STEP = ("step", "kind", "id", "text", "batch", "generation_id", "model")


def ask(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> Rows:
    result = connection.execute(query, list(values))
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def candidates(store: Store) -> dict[str, dict[str, Any]]:
    rows = pl.concat([store.read_all("text_personas"), store.read_all("related_personas")])
    return {row["persona_id"]: row for row in rows.iter_rows(named=True)}


def walk(people: dict[str, dict[str, Any]], persona_id: str, step: int = 0) -> list[tuple[int, str, str]]:
    """`(step, kind, id)` of a persona's line, one by one."""
    row = people[persona_id]
    line = [(step, "persona", persona_id)]
    if row["parent_id"] is not None:
        return line + (walk(people, row["parent_id"], step + 1) if row["parent_id"] in people else [])
    return line + ([(step + 1, "document", row["document_id"])] if row["document_id"] else [])


@pytest.fixture(scope="module")
def connection(built: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with build.reader(built) as connection:
        yield connection


# --- the built home ---


def test_a_persona_leads_to_its_document(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    people = candidates(built)
    texts = {(row["batch"], row["document_id"]): row for row in built.read_all("documents").iter_rows(named=True)}
    calls = {row["generation_id"]: row for row in built.read_all("generations").iter_rows(named=True)}
    hops = set()
    for persona_id, row in people.items():
        line = ask(connection, "SELECT * FROM lineage($1)", persona_id)
        assert [(step["step"], step["kind"], step["id"]) for step in line] == walk(people, persona_id)
        hops.add(row["hop"])
        for step in line:
            call = calls.get(step["generation_id"])
            assert step["of_id"] == persona_id
            assert (step["prompt"], step["prompt_fingerprint"], step["model"]) == (
                (call["prompt"], call["prompt_fingerprint"], call["model"]) if call else (None, None, None)
            )
            text = texts.get((step["batch"], step["document_id"]))
            assert (step["url"], step["source"]) == ((text["url"], text["source"]) if text else (None, None))
            wanted = text and text["text"] if step["kind"] == "document" else people[step["id"]]["persona"]
            assert step["text"] == wanted
    assert hops == {0, 1}


def test_an_item_leads_to_its_persona_and_on(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    people = candidates(built)
    for dataset in DATASETS:
        item = built.read(dataset, "first").row(-1, named=True)
        first, *above = ask(connection, "SELECT * FROM lineage($1)", item["item_id"])
        assert (first["kind"], first["text"], first["asset"]) == ("item", item["text"], dataset)
        assert (first["generation_id"], first["prompt"], first["model"]) == (item["generation_id"], dataset, "standin")
        assert [(step["step"], step["kind"], step["id"]) for step in above] == walk(people, item["persona_id"], 1)


def test_what_a_call_gave_has_a_line_each(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    people = candidates(built)
    (call,) = built.read("text_personas", "first").drop_nulls("generation_id")["generation_id"].head(1)
    given_by = {key for key, row in people.items() if row["generation_id"] == call}
    assert len(given_by) == 2
    lines = ask(connection, "SELECT * FROM lineage($1)", call)
    assert {step["of_id"] for step in lines} == given_by
    assert len(lines) == 4
    item = built.read("tools", "second").row(0, named=True)
    lines = ask(connection, "SELECT * FROM lineage($1)", item["generation_id"])
    assert lines == ask(connection, "SELECT * FROM lineage($1)", item["item_id"])


def test_the_view_and_the_macro_say_the_same(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    everything = ask(connection, "SELECT * FROM persona_lineage ORDER BY of_persona_id, step")
    assert len(everything) > 30
    for persona_id in candidates(built):
        mine = [row for row in everything if row["of_persona_id"] == persona_id]
        line = ask(connection, "SELECT * FROM lineage($1)", persona_id)
        same = (
            "step",
            "kind",
            "text",
            "batch",
            "origin",
            "relation",
            "hop",
            "document_id",
            "url",
            "generation_id",
            "prompt",
            "model",
        )
        assert [[row[name] for name in same] for row in mine] == [[row[name] for name in same] for row in line]
        assert [row["persona_id"] or row["document_id"] for row in mine] == [row["id"] for row in line]


def test_items_are_joined_to_where_they_came_from(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    rows = ask(connection, "SELECT * FROM item_lineage ORDER BY item_id")
    assert len(rows) == sum(built.read_all(name).height for name in DATASETS)
    people = candidates(built)
    for row in rows:
        persona = people[row["persona_id"]]
        for name in ("persona", "origin", "relation", "hop", "root_id", "document_id"):
            assert row[name] == persona[name]
        assert (row["prompt"], row["model"]) == (row["dataset"], "standin")


def test_sorted_or_not_the_ids_are_the_same(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    quickly = ask(connection, "SELECT * FROM ids ORDER BY ALL")
    with live.open_live(built, "ids") as other:
        assert ask(other, "SELECT * FROM ids ORDER BY ALL") == quickly
    assert {row["kind"] for row in quickly} == {"document", "persona", "item", "generation"}
    (tables,) = connection.execute("SELECT list(table_name) FROM duckdb_tables()").fetchone() or ([],)
    assert {"places", "sorted_ids"} <= set(tables)


def test_more_ids_than_are_sorted_are_searched_for(copied: Store) -> None:
    persona_id = next(iter(candidates(copied)))
    (copied.root / "hub.toml").write_text("[warehouse]\nsorted_ids = 3\nnative_rows = 0\n")
    build.build(copied)
    with build.reader(copied) as connection:
        assert ask(connection, "SELECT table_name FROM duckdb_tables() WHERE table_name = 'sorted_ids'") == []
        assert ask(connection, "SELECT comment FROM duckdb_views() WHERE view_name = 'ids'")[0]["comment"]
        assert ask(connection, "SELECT id FROM lineage($1) LIMIT 1", persona_id) == [{"id": persona_id}]
        assert ask(connection, "SELECT what FROM why($1)", persona_id)


def test_a_plain_shell_has_the_macros(built: Store) -> None:
    persona_id = next(iter(candidates(built)))
    asked = [
        f"SELECT count(*) > 0 AS found FROM {macro}('{persona_id}')" for macro in ("lineage", "fate", "why", "near")
    ]
    asked.append("SELECT count(comment) = 1 AS found FROM duckdb_functions() WHERE function_name = 'why'")
    command = [Path(sys.executable).with_name("duckdb"), "-readonly", "-csv", "-noheader", built.paths.warehouse]
    done = subprocess.run([*command, "; ".join(asked)], text=True, capture_output=True, timeout=60, check=False)
    assert (done.stdout.split(), done.stderr) == (["true"] * len(asked), "")


# --- random homes ---


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Empty tables for a test, with all views and macros."""
    with live.open_live(Store(home=str(tmp_path_factory.mktemp("blank"))), EVERYTHING) as connection:
        yield connection


@st.composite
def forests(draw: st.DrawFn) -> Rows:
    """Personas of two batches, each with a parent before it or none, some parents and documents being lost."""
    rows: Rows = []
    for n in range(draw(st.integers(1, 14))):
        parents = [row for row in rows if row["hop"] < 6]
        parent = draw(st.sampled_from([None, *parents]))
        batch = parent["batch"] if parent else draw(st.sampled_from("ab"))
        document = parent["document_id"] if parent else draw(st.sampled_from([None, "d1", "d2", "d lost"]))
        key = f"p{n}"
        rows.append(
            {
                "batch": batch,
                "persona_id": key,
                "persona": f"persona {n}",
                "origin": "relation" if parent else "text" if document else "imported",
                "document_id": document,
                "hop": parent["hop"] + 1 if parent else 0,
                "parent_id": parent and parent["persona_id"],
                "root_id": parent["root_id"] if parent else key,
                "generation_id": draw(st.sampled_from([None, "g1", "g2"])),
            }
        )
    lost = draw(st.sampled_from([None, *range(len(rows))]))
    return [row for n, row in enumerate(rows) if n != lost]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=forests())
def test_a_line_is_what_a_walk_finds(blank: duckdb.DuckDBPyConnection, rows: Rows) -> None:
    for table in ("text_personas", "related_personas", "documents"):
        blank.execute(f"DELETE FROM {table}")
    for row in rows:
        table = "related_personas" if row["hop"] else "text_personas"
        blank.execute(f"INSERT INTO {table} BY NAME SELECT {', '.join(f'${name} AS {name}' for name in row)}", row)
    for batch in "ab":
        blank.execute("INSERT INTO documents BY NAME SELECT $1 AS batch, 'd1' AS document_id, 'text' AS text", [batch])
    people = {row["persona_id"]: row for row in rows}
    of_view = ask(
        blank,
        "SELECT of_persona_id, step, kind, coalesce(persona_id, document_id) AS id FROM persona_lineage ORDER BY step",
    )
    for key in people:
        found = ask(blank, "SELECT step, kind, id, batch FROM lineage($1)", key)
        assert [(row["step"], row["kind"], row["id"]) for row in found] == walk(people, key)
        assert {row["batch"] for row in found} == {people[key]["batch"]}
        mine = [(row["step"], row["kind"], row["id"]) for row in of_view if row["of_persona_id"] == key]
        assert mine == walk(people, key)


def test_a_walk_ends_where_parents_go_in_circles(blank: duckdb.DuckDBPyConnection) -> None:
    blank.execute("DELETE FROM text_personas; DELETE FROM related_personas")
    for key, parent, hop in (("p1", "p2", 1), ("p2", "p1", 2), ("p3", "p3", 1)):
        blank.execute(
            "INSERT INTO related_personas BY NAME SELECT 'a' AS batch, $1 AS persona_id, $2 AS parent_id, $3 AS hop, "
            "'p1' AS root_id, 'x' AS persona, 'relation' AS origin",
            [key, parent, hop],
        )
    assert [row["id"] for row in ask(blank, "SELECT id FROM lineage('p2')")] == ["p2", "p1"]
    assert [row["id"] for row in ask(blank, "SELECT id FROM lineage('p3')")] == ["p3"]
    assert len(ask(blank, "SELECT * FROM persona_lineage")) == 4


# --- fate ---


def test_every_candidate_ends_in_the_hub(built: Store, connection: duckdb.DuckDBPyConnection) -> None:
    said = {row["persona_id"]: row for row in ask(connection, "SELECT * FROM persona_fate")}
    dropped = 0
    for persona_id, fate in said.items():
        links = ask(connection, "SELECT * FROM fate($1)", persona_id)
        assert [link["link"] for link in links] == list(range(len(links)))
        assert links[0]["persona_id"] == persona_id
        assert [link["fate"] for link in links] == [said[link["persona_id"]]["fate"] for link in links]
        assert (links[0]["keeper_id"], links[0]["similarity"]) == (fate["keeper_id"], fate["similarity"])
        assert links[-1]["fate"] == "kept"
        assert [link["keeper_id"] for link in links[:-1]] == [link["persona_id"] for link in links[1:]]
        assert not any(link["stale"] for link in links)
        dropped += len(links) > 1
    assert dropped >= 4


def test_fate_of_an_item_and_of_a_call_is_that_of_their_personas(
    built: Store, connection: duckdb.DuckDBPyConnection
) -> None:
    item = built.read("tools", "first").row(0, named=True)
    (link,) = ask(connection, "SELECT * FROM fate($1)", item["item_id"])
    assert (link["persona_id"], link["fate"]) == (item["persona_id"], "kept")
    call = built.read("text_personas", "first").drop_nulls("generation_id")["generation_id"][0]
    firsts = [row["persona_id"] for row in ask(connection, "SELECT * FROM fate($1) WHERE link = 0", call)]
    assert sorted(firsts) == sorted(key for key, row in candidates(built).items() if row["generation_id"] == call)
