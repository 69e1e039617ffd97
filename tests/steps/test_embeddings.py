"""Vectors are streamed: new ones to the journal, all of them to the partition, slice by slice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from embedding_server import Server, direction
from starlette.responses import JSONResponse, Response

from personahub_assets.core.errors import StoreError
from personahub_assets.steps import embeddings
from personahub_assets.steps.dedup import find_lexical_duplicates
from personahub_assets.steps.embeddings import Embedded, embed_personas
from personahub_assets.store.tables import Store, table_schema

TEXTS = [f"A {trade} of {town}." for trade in ("nurse", "pilot", "welder") for town in ("Oslo", "Lima", "Bern")]


def answered(body: dict[str, Any]) -> Response:
    return JSONResponse({"data": [{"embedding": list(direction(text))} for text in body["input"]]})


def shorter(body: dict[str, Any]) -> Response:
    return JSONResponse({"data": [{"embedding": [1.0, 2.0]} for _ in body["input"]]})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def embedded(store: Store, server: Server, batch: str, texts: list[str], answer: Any = answered) -> Embedded:
    server.script, server.bodies = [answer], []
    schema = table_schema("text_personas")
    rows = pl.DataFrame({"persona_id": [f"{batch}-{n}" for n in range(len(texts))], "persona": texts})
    absent = [pl.lit("0").cast(kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
    store.write("text_personas", batch, rows.with_columns(absent).with_columns(batch=pl.lit(batch)))
    find_lexical_duplicates(store, batch)
    return embed_personas(store, server.client(retry_wait=0.001), batch, lambda *_: None)


def test_slices_of_the_partition_are_the_whole(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = [Store(home=str(tmp_path / name)) for name in ("slices", "whole")]
    monkeypatch.setattr(embeddings, "SLICE_ROWS", 2)
    first = embedded(homes[0], server, "one", TEXTS)
    assert first.vectors.len() == 2
    monkeypatch.undo()
    second = embedded(homes[1], server, "one", TEXTS)
    assert homes[0].read("persona_embeddings", "one").equals(homes[1].read("persona_embeddings", "one"))
    assert (first.version, first.rows) == (second.version, second.rows) == (first.version, len(TEXTS))
    assert second.vectors.len() == len(TEXTS)
    assert not list(homes[0].paths.aside.glob("*"))


def test_vectors_of_any_batch_are_used_again(tmp_path: Path, server: Server) -> None:
    store = Store(home=str(tmp_path))
    embedded(store, server, "one", TEXTS[:5])
    again = embedded(store, server, "two", [*TEXTS[3:], TEXTS[8]])
    assert again.facts["texts_embedded"] == 4  # the lexical stage drops what batch one has
    assert {text for body in server.bodies for text in body["input"]} == set(TEXTS[5:])
    rows = store.read("persona_embeddings", "two")
    expected = [np.array(direction(text)) / np.linalg.norm(direction(text)) for text in TEXTS[5:]]
    assert np.allclose(rows["embedding"].to_list(), expected, atol=1e-6)
    (store.root / "hub.toml").write_text("[lexical]\nthreshold = 1.0\n")
    assert embedded(store, server, "three", []).rows == 0


def test_a_model_that_changes_its_dimensions_is_an_error(tmp_path: Path, server: Server) -> None:
    store = Store(home=str(tmp_path))
    embedded(store, server, "one", TEXTS[:3])
    with pytest.raises(StoreError, match=r"have 2 and \d+ dimensions: give the model another name"):
        embedded(store, server, "one", TEXTS[:5], shorter)
