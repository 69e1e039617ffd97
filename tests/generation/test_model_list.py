"""The list of models: read in all formats, and matched with equivalent names."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.generation.servers.model_list import is_same_model, offered_as, read_models

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["data", "id"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("reply", "models"),
    [
        ({"data": [{"id": "m"}]}, {"m": None}),
        ([{"id": "m"}, {"id": "n"}], {"m": None, "n": None}),
        ({"models": [{"name": "models/m"}]}, {"models/m": None}),
        ({"data": ["m"]}, {"m": None}),
        ({"data": None}, {}),
        ({"data": []}, {}),
        ({"data": [{"id": 7}, {"owner": "x"}]}, {"7": None}),
        ({"data": [{"id": "m", "max_model_len": 8192}]}, {"m": 8192}),
        ({"data": [{"id": "m", "max_model_len": "8192"}]}, {"m": 8192}),
        ({"data": [{"id": "m", "context_length": 8192.0}]}, {"m": 8192}),
        ({"data": [{"id": "m", "max_model_len": "much", "context_window": 4096}]}, {"m": 4096}),
        ({"data": [{"id": "m", "max_model_len": -1}]}, {"m": None}),
        ({"data": [{"id": "m\ud800"}]}, {"m\ufffd": None}),
    ],
)
def test_every_form_of_the_list_is_read(reply: Any, models: dict[str, int | None]) -> None:
    assert read_models(json.dumps(reply).encode()) == models


@pytest.mark.parametrize("content", [b"", b"<html>", b"null", b"7", b'{"error": 1}', b"[" * 100_000])
def test_what_is_no_list_is_said_to_be_none(content: bytes) -> None:
    if content == b"null":
        assert read_models(content) == {}
        return
    with pytest.raises(ValueError, match=r".+"):
        read_models(content)


@given(_JSON)
def test_no_reply_ends_in_another_error(reply: Any) -> None:
    try:
        models = read_models(json.dumps(reply).encode())
    except ValueError:
        return
    assert all(isinstance(name, str) and name for name in models)


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("m", "m"),
        ("m", "models/m"),
        ("m", "m:latest"),
        ("Qwen/Qwen3-8B", "qwen3-8b"),
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("mistral-small", "mistral-small-latest"),
        ("/data/models/Qwen3-8B/", "Qwen3-8B"),
    ],
)
def test_the_same_model_under_another_spelling(asked: str, got: str) -> None:
    assert is_same_model(asked, got)
    assert is_same_model(got, asked)
    assert offered_as(asked, {"other": 1, got: 2}) == got


@pytest.mark.parametrize(
    ("asked", "got"),
    [("m", "n"), ("m", "m-small-fallback"), ("m", "qwen2.5-0.5b"), ("gpt-4o", "gpt-4o-mini"), ("m", "")],
)
def test_another_model(asked: str, got: str) -> None:
    assert not is_same_model(asked, got)
    assert offered_as(asked, {got: 1}) is None


def test_a_pattern_of_a_router_offers_what_it_matches() -> None:
    assert offered_as("openai/gpt", {"openai/*": None}) == "openai/*"
    assert offered_as("gpt", {"openai/*": None}) is None
