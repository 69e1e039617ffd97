"""Recorded answers of one home replayed in another: by request key, without a server."""

import shutil
from pathlib import Path

import polars as pl
import pytest
from hub import TOPICS, Hub

import personahub_assets
from personahub_assets.cli.sql import run_query
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import LLMError
from personahub_assets.generation import recorded as seeds
from personahub_assets.generation.llm import LLM
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

QUERY = "SELECT * FROM generations"


@pytest.fixture(scope="module")
def recorded(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recorded answers of the finished home: one Parquet file, made by `personahub sql`."""
    path = tmp_path_factory.mktemp("published") / "gens.parquet"
    run_query(personahub_assets.Hub(finished), QUERY, "parquet", path)
    return path


def offline(home: Path, standin: StandinServer) -> Hub:
    """A home without an endpoint, with the pages of the finished one."""
    hub = Hub(home, standin)
    hub.environment = Environment(home=home, llm_url=None, llm_model=None, embed_url=None)
    hub.pages("one", TOPICS[:2])
    return hub


def test_a_published_run_is_replayed_without_a_server(
    recorded: Path, finished: Path, tmp_path: Path, standin: StandinServer
) -> None:
    hub = offline(tmp_path / "it's a [new] hub", standin)
    imported = seeds.import_answers(hub.store, str(recorded))
    assert imported.models == {"standin"}
    assert not imported.left_out
    before = hub.calls()
    assert hub.run() == {}
    assert hub.calls() == before
    made = hub.rows("generations")
    assert made.height > 0
    assert made["reused"].all()
    assert set(made["model"]) == {"standin"}
    assert made.select(pl.sum("cost", "prompt_tokens", "completion_tokens", "attempts")).row(0) == (0, 0, 0, 0)
    original = Store(home=str(finished))
    for table in ("text_personas", "related_personas", "math_problems"):
        assert hub.store.read(table, "one").equals(original.read(table, "one"))


def test_what_nobody_recorded_needs_a_server_and_says_so(
    recorded: Path, tmp_path: Path, standin: StandinServer
) -> None:
    hub = offline(tmp_path / "hub", standin)
    seeds.import_answers(hub.store, str(recorded))
    hub.pages("new", TOPICS[4:5])
    failed = hub.run("new", select=["documents", "text_personas"])
    assert "PERSONAHUB_LLM_URL is not set" in failed["new"]


def test_answers_of_the_standin_never_meet_a_model(recorded: Path, tmp_path: Path, standin: StandinServer) -> None:
    of_model = tmp_path / "model.parquet"
    pl.read_parquet(recorded).with_columns(model=pl.lit("qwen")).write_parquet(of_model)
    store = Store(home=str(tmp_path / "hub"))
    seeds.import_answers(store, str(of_model))
    with pytest.raises(LLMError, match=r"holds rows written by a language model.*cannot be mixed"):
        seeds.import_answers(store, str(recorded))
    assert seeds.models(store) == ["qwen"]
    assert LLM().model_for(store) == "qwen"
    hub = Hub(store.root, standin)
    hub.pages("one", TOPICS[:1])
    assert "cannot be mixed" in hub.run("one", select=["documents", "text_personas"])["one"]


def test_a_whole_home_is_taken_with_what_was_edited_since(ran: Hub, tmp_path: Path) -> None:
    shutil.rmtree(ran.home / "tables" / "generations" / "asset=tools")
    store = Store(home=str(tmp_path / "hub"))
    imported = seeds.import_answers(store, str(ran.home))
    assert "tools" not in imported.usable
    assert imported.usable["math_problems"] == ran.rows("math_problems").height
    assert imported.usable.total() == sum(
        pl.read_parquet(p).height for a in store.catalog.tasks for p in seeds.files(store, a)
    )
