"""Behaviour of vLLM that the client relies on, with a model of random weights."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from vllm_server import VllmServer

pytestmark = pytest.mark.vllm

RELATIONS = ["read", "write", "like", "dislike"]
PERSONA = {
    "type": "object",
    "properties": {
        "persona": {"type": "string", "minLength": 20, "maxLength": 300},
        "relation": {"enum": RELATIONS},
    },
    "required": ["persona", "relation"],
    "additionalProperties": False,
}
PERSONAS = {
    "type": "object",
    "properties": {"personas": {"type": "array", "items": PERSONA, "minItems": 1, "maxItems": 3}},
    "required": ["personas"],
    "additionalProperties": False,
}
MAX_TOKENS = 768
# The grammar counts an encoded lone surrogate as one character; it arrives as three U+FFFD.
REPLACEMENTS = 2


@pytest.fixture(scope="module")
def client(tiny_llm: VllmServer) -> Iterator[httpx2.Client]:
    # No connection is used again: the server closes those that were idle for 5 s, at times just as a request is sent.
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=0)
    with httpx2.Client(base_url=tiny_llm.url, timeout=300, limits=limits) as client:
        yield client


@pytest.fixture(scope="module")
def answers(client: httpx2.Client) -> list[dict[str, Any]]:
    """32 answers to the same question, 16 in flight."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda row: ask(client, f"Row {row}.", PERSONAS), range(32)))


def request(text: str, schema: dict[str, Any] | None, max_tokens: int) -> dict[str, Any]:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0.8,
        "max_tokens": max_tokens,
    }
    if schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema}}
    return body


def ask(client: httpx2.Client, text: str, schema: dict[str, Any] | None, max_tokens: int = MAX_TOKENS) -> Any:
    response = client.post("/v1/chat/completions", json=request(text, schema, max_tokens))
    assert response.status_code == 200, response.text
    return response.json()


def content(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def finish_reason(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["finish_reason"])


def one_string(**limits: object) -> dict[str, Any]:
    return {"type": "object", "properties": {"it": {"type": "string", **limits}}, "required": ["it"]}


def strictly_valid(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_random_weights_keep_to_the_schema(answers: list[dict[str, Any]]) -> None:
    assert {finish_reason(answer) for answer in answers} == {"stop"}
    for answer in answers:
        personas = json.loads(content(answer), strict=False)["personas"]
        assert 1 <= len(personas) <= 3
        for row in personas:
            assert set(row) == {"persona", "relation"}
            assert row["relation"] in RELATIONS
            assert 20 <= len(row["persona"]) <= 300 + REPLACEMENTS * row["persona"].count("\ufffd")


def test_no_token_is_spent_on_whitespace_between_json_tokens(answers: list[dict[str, Any]]) -> None:
    assert all(content(answer).startswith('{"personas":[{"persona":"') for answer in answers)
    assert all(content(answer).endswith('"}]}') for answer in answers)


def test_complete_answers_hold_control_characters_that_a_strict_parser_refuses(answers: list[dict[str, Any]]) -> None:
    assert not all(strictly_valid(content(answer)) for answer in answers)


def test_answers_to_one_request_differ_without_a_seed(client: httpx2.Client) -> None:
    assert content(ask(client, "Row.", PERSONAS)) != content(ask(client, "Row.", PERSONAS))


def test_an_answer_cut_by_the_token_limit_says_so(client: httpx2.Client) -> None:
    answer = ask(client, "Row.", one_string(minLength=400, maxLength=600), max_tokens=8)
    assert finish_reason(answer) == "length"
    assert answer["usage"]["completion_tokens"] == 8
    assert not strictly_valid(content(answer))


def test_a_counted_pattern_holds(client: httpx2.Client) -> None:
    answer = ask(client, "Row.", one_string(pattern="^[a-z][a-z0-9_]{2,15}$"))
    value = json.loads(content(answer))["it"]
    assert 3 <= len(value) <= 16
    assert value.isidentifier()


@pytest.mark.parametrize("limits", [{"pattern": "^[a-z]+$", "maxLength": 9}, {"type": "array", "uniqueItems": True}])
def test_a_schema_beyond_the_grammar_is_refused_not_ignored(client: httpx2.Client, limits: dict[str, Any]) -> None:
    response = client.post("/v1/chat/completions", json=request("Row.", one_string(**limits), 16))
    assert response.status_code == 400
    assert "not supported by xgrammar" in response.json()["error"]["message"]


def test_an_over_long_prompt_is_refused_with_400(client: httpx2.Client) -> None:
    response = client.post("/v1/chat/completions", json=request("word " * 9000, PERSONAS, 16))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "input_tokens"
    assert "maximum context length is 8192 tokens" in error["message"]


def test_prompt_tokens_can_be_counted_before_sending(client: httpx2.Client) -> None:
    body = request("How long is this, naïve reader? 你好", PERSONAS, 1)
    counted = client.post("/tokenize", json={"model": "tiny", "messages": body["messages"]}).json()
    answer = client.post("/v1/chat/completions", json=body).json()
    assert counted["count"] == answer["usage"]["prompt_tokens"]
    assert counted["max_model_len"] == 8192


def test_the_shared_start_of_prompts_comes_from_the_cache(client: httpx2.Client) -> None:
    shared = "These instructions are the same for every row of this task. " * 20
    first, second = (ask(client, f"{shared} Row {row}.", None, 1)["usage"] for row in "ab")
    cached = second["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < second["prompt_tokens"]
    assert first["prompt_tokens"] == second["prompt_tokens"]


def test_ninety_six_in_flight_are_all_answered(client: httpx2.Client) -> None:
    with ThreadPoolExecutor(96) as pool:
        answers = list(pool.map(lambda row: ask(client, f"Row {row}.", one_string(maxLength=120)), range(96)))
    assert {finish_reason(answer) for answer in answers} == {"stop"}
    assert client.get("/health").status_code == 200
