"""Context window: a prompt that is too long is detected before it is sent, and no other is rejected."""

import asyncio
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import MAX_TOKENS, TASK, WAY, Reply, Script, ask, error, good

from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.client import Asker, Limits
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.usefixtures("brisk")
_TEMPLATE = 64


def quarter(body: dict[str, object]) -> Reply:
    """A tokenizer for which four bytes are a token."""
    messages = body["messages"]
    assert isinstance(messages, list)
    count = sum(len(message["content"].encode()) for message in messages) // 4
    return Reply(body=json.dumps({"count": count}).encode())


def prompt_bytes(text: str) -> int:
    return sum(len(m["content"].encode()) for m in TASK.request("p", {"persona": text}).messages)


def sentences(count: int) -> str:
    return "".join(f"Keeper number {n} trims the wick and writes the weather into the book. " for n in range(count))


def test_where_the_context_is_not_known_the_server_decides(script: Script) -> None:
    (outcome,) = ask(script.told(good()).url, Limits(2, context=None), text="x" * 100_000)
    assert outcome.status == "accepted"
    assert script.count_calls == 0
    (outcome,) = ask(script.told(error(413)).url, Limits(2, context=None), text="x" * 100_000)
    assert outcome.reason == "too_long"


def test_what_surely_fits_is_not_counted(script: Script) -> None:
    context = MAX_TOKENS + prompt_bytes("x" * 500) + _TEMPLATE
    script.told(good())
    (outcome,) = ask(script.url, Limits(2, context=context), text="x" * 500)
    assert (outcome.status, script.count_calls) == ("accepted", 0)


def test_what_may_not_fit_is_counted_and_sent_if_it_does(script: Script) -> None:
    script.told(good()).count = quarter
    context = MAX_TOKENS + prompt_bytes("x" * 500) // 4
    (outcome,) = ask(script.url, Limits(2, context=context), text="x" * 500)
    assert (outcome.status, outcome.detail, script.count_calls) == ("accepted", None, 1)


def test_what_does_not_fit_by_one_token_costs_no_call(script: Script) -> None:
    script.told().count = quarter
    tokens = prompt_bytes("x" * 500) // 4
    (outcome,) = ask(script.url, Limits(2, context=MAX_TOKENS + tokens - 1), text="x" * 500)
    assert (outcome.reason, outcome.attempts, outcome.prompt_tokens) == ("too_long", 0, 0)
    assert f"{tokens:,} prompt tokens and {MAX_TOKENS:,} for the answer" in (outcome.detail or "")
    assert f"{MAX_TOKENS + tokens - 1:,}" in (outcome.detail or "")
    assert script.bodies == []


def test_without_a_tokenizer_the_estimate_is_on_the_safe_side(script: Script) -> None:
    text = "x" * 500
    enough = MAX_TOKENS + prompt_bytes(text) + _TEMPLATE
    assert ask(script.told(good()).url, Limits(2, context=enough), text=text)[0].status == "accepted"
    assert ask(script.told().url, Limits(2, context=enough - 1), text=text)[0].reason == "too_long"
    assert (script.bodies, script.count_calls) == ([], 1)


def test_the_share_of_bytes_that_became_tokens_is_learned(script: Script) -> None:
    # The scripted server says 100 prompt tokens for each prompt, far fewer than it has bytes.
    text = "A keeper of lighthouse {}"
    short, long = prompt_bytes(text), prompt_bytes(text + "x" * 300)
    context = MAX_TOKENS + _TEMPLATE + short

    async def both() -> list[str | None]:
        async with Transport(script.url, "none", **WAY) as transport:
            asker = Asker(transport, TASK, Limits(2, context=context))
            wanted = [TASK.request(name, {"persona": text + "x" * n}) for name, n in (("a", 0), ("b", 300))]
            return [(await asker.ask(request)).reason for request in wanted]

    assert long > short
    script.told(good(), good())
    assert asyncio.run(both()) == [None, None]
    assert script.count_calls == 0


def test_an_answer_longer_than_the_whole_context_is_too_long_even_where_inputs_are_cut(script: Script) -> None:
    script.told().count = quarter
    (outcome,) = ask(script.url, Limits(2, context=MAX_TOKENS, cuts=True), text=sentences(50))
    assert (outcome.reason, script.bodies) == ("too_long", [])


def test_instructions_that_leave_no_room_are_too_long_even_where_inputs_are_cut(script: Script) -> None:
    script.told().count = quarter
    (outcome,) = ask(script.url, Limits(2, context=MAX_TOKENS + 20, cuts=True), text=sentences(50))
    assert (outcome.reason, script.bodies) == ("too_long", [])
    assert "even with the shortest input" in (outcome.detail or "")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(count=st.integers(1, 400), spare=st.integers(30, 2_000), counts=st.booleans())
def test_a_cut_input_fits_and_ends_with_a_sentence(script: Script, count: int, spare: int, counts: bool) -> None:
    script.told(good()).count = quarter if counts else None
    text = sentences(count)
    share, template = (4, 0) if counts else (1, _TEMPLATE)
    context = MAX_TOKENS + prompt_bytes("") // share + template + spare
    (outcome,) = ask(script.url, Limits(2, context=context, cuts=True), text=text)
    assert outcome.status == "accepted"
    (body,) = script.bodies
    sent = body["messages"][1]["content"]
    tokens = sum(len(message["content"].encode()) for message in body["messages"]) // share + template
    assert tokens + body["max_tokens"] <= context
    assert body["messages"][0]["content"] == TASK.request("p", {"persona": "x"}).messages[0]["content"]
    kept = sent.removeprefix('<data name="persona">\n').removesuffix("\n</data>")
    assert text.startswith(kept)
    if kept == text:
        assert outcome.detail is None
    else:
        assert f"input cut to {len(kept):,} of {len(text):,} characters" in (outcome.detail or "")
        assert f"{context:,}" in (outcome.detail or "")
        # A sentence, if one ends in the last half of what there is room for.
        assert kept.endswith("book.") or len(kept) < 2 * len(sentences(1))


def test_a_cut_input_keeps_its_key(script: Script) -> None:
    script.told(good()).count = quarter
    (cut,) = ask(script.url, Limits(2, context=MAX_TOKENS + 400, cuts=True), text=sentences(100))
    (whole,) = ask(script.told(good()).url, text=sentences(100))
    assert cut.key == whole.key
    assert cut.detail
    assert whole.detail is None


def test_a_cut_input_that_is_rejected_all_the_same_says_why(script: Script) -> None:
    script.told(Reply("{}")).count = quarter
    (outcome,) = ask(script.url, Limits(0, cuts=True, context=MAX_TOKENS + 400), text=sentences(100))
    assert outcome.reason == "schema_violation"
    assert "Field required" in (outcome.detail or "")


def test_the_stand_ins_context_is_kept() -> None:
    with StandinServer(f"max_model_len={MAX_TOKENS + 600}") as server:
        limits = Limits(2, context=MAX_TOKENS + 600)
        (outcome,) = ask(server.url, limits, text=sentences(100))
        assert (outcome.reason, server.stats()["calls"], server.stats()["rejected"]) == ("too_long", 0, 0)
        assert server.stats()["tokenize_calls"] == 1
        (outcome,) = ask(server.url, Limits(2, context=MAX_TOKENS + 600, cuts=True), text=sentences(100))
        assert (outcome.status, server.stats()["rejected"]) == ("accepted", 0)
        # Where the context is not known, the server's own verdict counts.
        (outcome,) = ask(server.url, text=sentences(100))
        assert (outcome.reason, server.stats()["rejected"]) == ("too_long", 1)


def test_a_prompt_is_not_given_up_because_it_could_not_be_counted(script: Script) -> None:
    """One failed request to /tokenize says nothing about the length of the prompt."""
    replies = [error(503), error(503)]
    script.told(good()).count = lambda body: replies.pop(0) if replies else quarter(body)
    (outcome,) = ask(script.url, Limits(2, context=MAX_TOKENS + prompt_bytes("x" * 500) // 2), text="x" * 500)
    assert outcome.reason != "too_long"
