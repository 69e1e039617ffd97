"""The whole graph with a real vLLM: a model of random weights gives the worst answers possible."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from vllm_server import VllmServer

from personahub_assets.core.config import Environment
from personahub_assets.core.records import DATASETS
from personahub_assets.generation.requests import GATES
from personahub_assets.runs.runner import run_batches
from personahub_assets.sources.register import register
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

pytestmark = pytest.mark.vllm

TASKS = ["text_personas", "related_personas", *DATASETS]
DOCUMENTS = [
    "The ferry to the outer islands was cancelled for the third day while engineers looked for a spare gearbox.",
    "Knead the dough for ten minutes, let it rest under a damp cloth, and fold it once more before shaping the loaf.",
    "Version 4.2 fixes a race in the scheduler and removes the deprecated flag for silent retries.",
    "The choir of the parish meets on Thursdays; nobody needs to read music, and tea is served afterwards.",
    "A survey of lichens on old gravestones found two species that had not been seen in the county since 1911.",
    "The council lowered the speed limit near the school after parents counted cars for a week.",
]


@pytest.fixture(scope="module")
def hub(tiny_llm: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    home = tmp_path_factory.mktemp("vllm-hub")
    (home / "hub.toml").write_text("[text_personas]\nper_document = 2\n[related_personas]\nhops = 1\nfan_out = 1\n")
    source = home / "pages.jsonl"
    source.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(DOCUMENTS)))
    register(Store(home=str(home)), str(source))
    environment = Environment(home=Path(home), llm_url=f"{tiny_llm.url}/v1", llm_model=None, embed_url=None)
    failed = run_batches(environment, [], []).failed
    assert not failed
    with build.reader(Store(home=str(home))) as connection:
        yield connection


@pytest.mark.parametrize("task", TASKS)
def test_a_third_of_the_requests_of_each_task_is_accepted(hub: duckdb.DuckDBPyConnection, task: str) -> None:
    row = hub.execute(
        "SELECT count(*), count(*) FILTER (status = 'accepted') FROM generations WHERE asset = ?", [task]
    ).fetchone()
    assert row is not None
    asked, accepted = row
    assert asked >= len(DOCUMENTS)
    assert accepted >= 0.3 * asked, f"{task}: {accepted} of {asked} accepted"


@pytest.mark.parametrize("task", TASKS)
def test_every_other_input_is_in_quarantine_with_its_reason(hub: duckdb.DuckDBPyConnection, task: str) -> None:
    rejected = hub.execute(
        "SELECT input_id, reason FROM generations WHERE asset = ? AND status = 'rejected'", [task]
    ).fetchall()
    quarantined = hub.execute(
        "SELECT input_id, reason FROM quarantine WHERE asset = ? AND detail <> ''", [task]
    ).fetchall()
    more = Counter(quarantined) - Counter(rejected)
    assert not Counter(rejected) - Counter(quarantined)
    # An accepted answer of several personas may lose some of them to a gate.
    assert {reason for _, reason in more} <= GATES
    accepted = hub.execute(
        "SELECT input_id FROM generations WHERE asset = ? AND status = 'accepted'", [task]
    ).fetchall()
    assert {input_id for input_id, _ in more} <= {input_id for (input_id,) in accepted}


@pytest.mark.parametrize("dataset", DATASETS)
def test_stored_items_satisfy_their_schema(hub: duckdb.DuckDBPyConnection, dataset: str) -> None:
    responses = hub.execute(
        f"SELECT g.response FROM {dataset} AS i JOIN generations AS g USING (generation_id)"
    ).fetchall()
    assert responses
    for (response,) in responses:
        DATASETS[dataset].model_validate_json(response)


def test_rows_carry_the_name_of_the_model(hub: duckdb.DuckDBPyConnection) -> None:
    assert hub.execute("SELECT DISTINCT model FROM generations").fetchall() == [("tiny",)]


def test_tokens_are_counted_and_the_shared_prefix_is_cached(hub: duckdb.DuckDBPyConnection) -> None:
    row = hub.execute(
        "SELECT sum(prompt_tokens), sum(completion_tokens), sum(cached_tokens) FROM generations"
    ).fetchone()
    assert row is not None
    prompt, completion, cached = row
    assert completion > 0
    assert 0 < cached < prompt
