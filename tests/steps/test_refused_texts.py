"""Texts that the embeddings server refuses: null vectors in the tables, and what every reader makes of them."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from embedding_server import Server, direction, status
from starlette.responses import JSONResponse, Response

from personahub_assets.browse.points import _sample
from personahub_assets.core import project_files
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.defs.checks import filled
from personahub_assets.defs.metadata.charts import neighbours
from personahub_assets.embedding.embedder import EmbedError
from personahub_assets.search.searcher import Searcher
from personahub_assets.steps.dedup import collect_personas, find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.steps.embeddings import Embedded, embed_personas
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse.live import open_live

NURSE = "A nurse who paints the harbour at night and sells the pictures to sailors."
NURSE_AGAIN = "A nurse whose paintings of ships after dark are bought by the crews."
WITCH = "A witch who knows every curse of the valley, and lifts them for a loaf of bread."
WITCH_AGAIN = "A witch whose trade is to free farmers from bad luck in return for food."
PILOT = "A pilot who counts storks from the cockpit for a museum of birds."
PILOT_AGAIN = "A pilot whose notes about flights of birds are kept by scientists."


def vector(text: str) -> list[float]:
    """Texts with one second word are similar."""
    return list(np.array(direction(text.split()[1])) + 0.1 * np.array(direction(text)))


def careful(body: dict[str, Any]) -> Response:
    """Refuse curses."""
    if any("curse" in text for text in body["input"]):
        return JSONResponse({"error": {"message": "The prompt was filtered", "code": "content_filter"}}, 400)
    return mended(body)


def mended(body: dict[str, Any]) -> Response:
    return JSONResponse({"data": [{"embedding": vector(text)} for text in body["input"]]})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, server: Server) -> Store:
    """A home whose batch has a refused text. The model reads every text, however few of its letters."""
    store = Store(home=str(tmp_path))
    (store.root / "hub.toml").write_text("[semantic]\nmax_unread = 1.0\n")
    make(store, server, careful, "one", [NURSE, WITCH, PILOT])
    return store


def make(store: Store, server: Server, answer: Any, batch: str, texts: list[str] | None = None) -> Embedded:
    """Run the dedup steps of a batch."""
    server.script, server.bodies = [answer], []
    if texts:
        schema = table_schema("text_personas")
        rows = pl.DataFrame({"persona_id": [f"{batch}-{n}" for n in range(len(texts))], "persona": texts})
        absent = [pl.lit("0").cast(kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
        store.write("text_personas", batch, rows.with_columns(absent).with_columns(batch=pl.lit(batch)))
    find_lexical_duplicates(store, batch)
    embedded = embed_personas(store, server.client(retry_wait=0.001), batch, lambda *_: None)
    find_semantic_duplicates(store, batch, "tiny")
    collect_personas(store, batch)
    return embedded


def row(store: Store, persona_id: str) -> dict[str, Any]:
    return store.read_all("persona_embeddings").filter(pl.col("persona_id") == persona_id).row(0, named=True)


def hub(store: Store) -> list[str]:
    return sorted(store.read_all("personas")["persona_id"])


def test_the_others_are_published_and_the_reason_is_told(
    store: Store, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        embedded = make(store, server, careful, "two", [NURSE_AGAIN, WITCH_AGAIN, "A cook in fear of a curse."])
    refused = row(store, "two-2")
    assert (refused["embedding"], refused["unread"], refused["unread_hash"]) == (None, 1.0, "refused")
    assert embedded.facts.items() >= {"refused": 1, "texts_embedded": 2, "not_read": 0}.items()
    assert embedded.facts["refused_sample"] == "two-2: 400: The prompt was filtered"
    assert "batch two: tiny refuses 1 texts" in caplog.text
    assert "400: The prompt was filtered" in caplog.text
    assert hub(store) == ["one-0", "one-1", "one-2", "two-1", "two-2"]  # the second nurse is a duplicate
    assert "nearest_neighbours" in neighbours(embedded.vectors)


def test_readers_pass_over_null_vectors(store: Store, server: Server) -> None:
    told: list[str] = []
    searcher = Searcher(store, server.client(), told.append, lambda *_: None)
    assert searcher.find("A nurse", 5)["persona_id"].to_list()[0] == "one-0"
    assert set(searcher.find("A witch", 5)["persona_id"]) == {"one-0", "one-2"}
    assert any("1 personas have no vector of tiny" in notice for notice in told)
    assert searcher.choose(2).total == 2
    assert _sample(store)["persona_id"].to_list() == ["one-0", "one-2"]
    macro = "FROM similar_personas('{}')"
    with open_live(store, macro) as connection:
        assert connection.sql(macro.format("one-1")).fetchall() == []
        assert [found[1] for found in connection.sql(macro.format("one-0")).fetchall()] == ["one-2"]


@pytest.mark.parametrize(
    ("check", "rows"),
    [
        ("persona_embeddings/no_text_is_refused", 1),
        ("persona_embeddings/texts_are_read_by_the_model", 0),
        ("persona_embeddings/one_unit_vector_per_persona", 0),
        ("warehouse/every_survivor_has_a_vector", 0),
    ],
)
def test_one_check_warns(store: Store, check: str, rows: int) -> None:
    sql = filled(project_files.sql_files("checks")[check], store.config, check)
    with open_live(store, sql) as connection:
        assert len(connection.sql(sql).fetchall()) == rows


def test_a_refused_text_is_asked_again_alone(store: Store, server: Server) -> None:
    embedded = make(store, server, careful, "one")
    assert embedded.facts.items() >= {"refused": 1, "texts_embedded": 0}.items()
    assert server.bodies[0]["input"] == [WITCH]
    assert len(server.bodies) == 2  # and a plain text

    embedded = make(store, server, mended, "one")
    assert embedded.facts.items() >= {"refused": 0, "texts_embedded": 1, "not_read": 0}.items()
    assert row(store, "one-1")["embedding"] == pytest.approx(
        np.array(vector(WITCH)) / np.linalg.norm(vector(WITCH)), abs=1e-6
    )
    assert row(store, "one-1")["unread_hash"] == ""
    assert hub(store) == ["one-0", "one-1", "one-2"]
    assert make(store, server, status(500), "one").facts["texts_embedded"] == 0
    assert server.bodies == []


def test_later_personas_are_compared_with_a_vector_that_came_late(store: Store, server: Server) -> None:
    make(store, server, careful, "two", [PILOT_AGAIN])  # stores the searchable form of the first batch
    make(store, server, mended, "one")
    make(store, server, mended, "three", [WITCH_AGAIN])
    assert hub(store) == ["one-0", "one-1", "one-2"]


def test_a_server_that_is_down_does_not_stop_a_batch_of_which_only_refused_texts_are_left(
    store: Store, server: Server
) -> None:
    embedded = make(store, server, status(401, "who are you"), "one")
    assert embedded.facts["refused"] == 1
    assert "refused before, and not asked again" in embedded.facts["refused_sample"]
    assert "401" in embedded.facts["refused_sample"]


def test_a_server_that_refuses_everything_publishes_nothing(store: Store, server: Server) -> None:
    with pytest.raises(EmbedError, match="refuses: 400: no") as raised:
        make(store, server, status(400, "no"), "two", [NURSE_AGAIN, WITCH_AGAIN])
    assert isinstance(raised.value, PersonaHubError)
    assert store.partitions("persona_embeddings") == ["one"]
