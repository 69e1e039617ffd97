"""The modes for JSON, and a server with a reasoning parser, with a real vLLM."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from vllm_server import VllmServer

from personahub_assets import Hub
from personahub_assets.core.records import TextPersonas
from personahub_assets.store.tables import Store

pytestmark = pytest.mark.vllm

DOCUMENTS = [
    "The ferry to the outer islands was cancelled for the third day while engineers looked for a spare gearbox.",
    "Knead the dough for ten minutes, let it rest under a damp cloth, and fold it once more before shaping the loaf.",
    "The choir of the parish meets on Thursdays; nobody needs to read music, and tea is served afterwards.",
    "The council lowered the speed limit near the school after parents counted cars for a week.",
]
ROW = r'\{"persona": "[a-z ]{30,60}", "relation": "(read|write|like|dislike)", "granularity": "(coarse|fine)"\}'
ANSWER = rf'\{{"personas": \[{ROW}\]\}}'
# vLLM's own grammar stands in for a model that does what the prompt says: random weights write noise without it.
SCHEMA = {"structured_outputs": {"json": TextPersonas.model_json_schema()}}

UNREAD = {
    "bad_request",
    "content_filtered",
    "empty",
    "invalid_json",
    "timeout",
    "too_long",
    "unreachable",
    "unreadable",
}


def asked(home: Path, server: VllmServer, mode: str, extra_body: dict[str, object]) -> pl.DataFrame:
    """The outcomes of `text_personas` for the documents, one row each."""
    home.mkdir()
    lines = [f"mode = {json.dumps(mode)}", *(f"extra_body.{name} = {toml(of)}" for name, of in extra_body.items())]
    (home / "hub.toml").write_text("\n".join(["[text_personas]", "per_document = 1", "[generation]", *lines]) + "\n")
    source = home / "pages.jsonl"
    source.write_text("".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, text in enumerate(DOCUMENTS)))
    hub = Hub(home, llm_url=f"{server.url}/v1", llm_model="tiny")
    hub.ingest(source)
    assert not hub.run(select=["+text_personas"]).failed
    store = Store(home=str(home))
    return pl.concat([store.read("generations", batch, "text_personas") for batch in store.batches()])


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(child)}" for name, child in value.items()) + "}"
    return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)


@pytest.fixture(scope="module")
def thinking_llm(
    tiny_llm: VllmServer, vllm_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    """The same model with a reasoning parser; the grammar also applies to the reasoning."""
    outputs = {"backend": "xgrammar", "disable_any_whitespace": True, "enable_in_reasoning": True}
    with VllmServer(
        tiny_llm.model,
        name="tiny",
        python=vllm_python,
        log=tmp_path_factory.mktemp("thinking-llm") / "vllm.log",
        config=tiny_llm.config,
        args=(*tiny_llm.args, "--reasoning-parser", "deepseek_r1", "--structured-outputs-config", json.dumps(outputs)),
    ) as server:
        yield server


@pytest.mark.parametrize(("mode", "extra_body"), [("json_schema", {}), ("tools", {}), ("prompt", SCHEMA)])
def test_an_answer_in_each_mode_is_read(
    tiny_llm: VllmServer, tmp_path: Path, mode: str, extra_body: dict[str, object]
) -> None:
    outcomes = asked(tmp_path / "home", tiny_llm, mode, extra_body)
    accepted = outcomes.filter(status="accepted")
    # Random weights repeat themselves, find no end, write half characters, which become longer, and know no language:
    # their answers can be rejected for what they say, but not for how they came.
    assert UNREAD.isdisjoint(outcomes.filter(status="rejected")["reason"])
    assert len(outcomes) == len(DOCUMENTS)
    assert len(accepted) > 0
    for response in accepted["response"]:
        TextPersonas.model_validate_json(response)


def test_an_object_that_is_no_answer_is_kept_with_its_reason(tiny_llm: VllmServer, tmp_path: Path) -> None:
    outcomes = asked(tmp_path / "home", tiny_llm, "json_object", {})
    assert set(outcomes["status"]) == {"rejected"}
    assert set(outcomes["reason"]) <= {"schema_violation", "truncated", "degenerate"}
    assert all(response.startswith("{") for response in outcomes["response"])
    assert min(outcomes["attempts"]) > 1


def test_thoughts_are_kept_beside_the_answer(thinking_llm: VllmServer, tmp_path: Path) -> None:
    forced = {"structured_outputs": {"regex": f"<think>[a-z ]{{20,80}}</think>{ANSWER}"}}
    outcomes = asked(tmp_path / "home", thinking_llm, "prompt", forced)
    accepted = outcomes.filter(status="accepted")
    assert len(accepted) >= len(DOCUMENTS) / 2
    assert all(10 <= len(reasoning) <= 80 for reasoning in accepted["reasoning"])
    assert set(accepted["repair"]) == {None}


def test_thoughts_before_the_answer_cost_nothing(tiny_llm: VllmServer, tmp_path: Path) -> None:
    forced = {"structured_outputs": {"regex": f"<think>[a-z ]{{20,80}}</think>{ANSWER}"}}
    outcomes = asked(tmp_path / "home", tiny_llm, "prompt", forced)
    accepted = outcomes.filter(status="accepted")
    assert len(accepted) >= len(DOCUMENTS) / 2
    assert set(accepted["attempts"]) == {1}
    assert set(accepted["repair"]) == {"think"}
    assert all(10 <= len(reasoning) <= 80 for reasoning in accepted["reasoning"])
