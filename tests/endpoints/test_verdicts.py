"""Classification of errors: over 400 replies of servers, gateways and made-up wordings."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.endpoints.verdicts import Verdict, judge, judge_error, readable

DATA = Path(__file__).parents[1] / "data" / "error_replies.jsonl"


class ErrorReply(NamedTuple):
    """A reply, and its verdict: the kind, or the reason of a row. A body that is an object is sent as JSON."""

    verdict: str
    name: str
    status: int
    body: Any


REPLIES = [ErrorReply(**json.loads(line)) for line in DATA.read_text("utf-8").splitlines()]


def raw(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def verdict_on(reply: ErrorReply) -> Verdict:
    if reply.status != 200:
        return judge(reply.status, {}, raw(reply.body))
    error = reply.body.get("error")
    told = error if isinstance(error, dict) else {}
    code = told.get("code")
    return judge_error(code if isinstance(code, int) else None, told.get("message", ""), raw(reply.body))


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: f"{reply.verdict}: {reply.name}")
def test_each_reply_is_judged_by_what_it_says(reply: ErrorReply) -> None:
    verdict = verdict_on(reply)
    assert (verdict.reason if verdict.kind == "row" else verdict.kind) == reply.verdict
    assert bool(verdict.remedy) or verdict.kind not in ("account", "setup")
    assert (verdict.reason == "invalid_json") == (verdict.kind == "answer")
    assert verdict.message.isprintable()
    assert len(verdict.message) <= 410


def test_the_table_has_each_kind_many_times() -> None:
    kinds = [reply.verdict for reply in REPLIES]
    assert len(kinds) >= 400
    assert min(kinds.count(kind) for kind in set(kinds)) >= 9


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (402, {"error": {"message": "Insufficient Balance"}}, "402: Insufficient Balance"),
        (400, {"error": "Model is unloaded."}, "400: Model is unloaded."),
        (400, [{"error": {"message": "in a list"}}], "400: in a list"),
        (422, {"detail": [{"loc": ["body", "top_p"], "msg": "too large", "input": "secret"}]}, "422: top_p: too large"),
        (401, {"error": "Unauthorized", "message": "the key is old"}, "401: the key is old"),
        (500, {"errors": [{"message": "one"}, {"message": "two"}]}, "500: one; two"),
        (
            400,
            {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"why"}}'}}},
            "400: why",
        ),
        (
            400,
            {"error": {"message": "Provider returned error", "metadata": {"raw": ""}}},
            "400: Provider returned error",
        ),
        (
            500,
            {"error": {"message": "litellm: Error code: 400 - {'error': {'message': \"it's bad\"}}"}},
            "500: it's bad",
        ),
        (500, {"title": "Oops", "detail": "what happened", "status": 500}, "500: what happened"),
        (500, {"fault": {"faultstring": "policy", "detail": {"errorcode": "x"}}}, "500: policy"),
        (500, {"Response": {"Error": {"Code": "X", "Message": "from another cloud"}}}, "500: from another cloud"),
        (500, {"unheard": {"of": 1}}, '500: {"unheard": {"of": 1}}'),
        (500, 'data: {"error": {"message": "boom"}}\n\n', "500: boom"),
        (500, '{"error": {"message": "cut off", "more": "' + "x" * 70_000, "500: cut off"),
        (500, "\ufeff  plain  text ", "500: plain text"),
        (
            502,
            "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>",
            "502: an HTML page '502 Bad Gateway'",
        ),
        (502, "<html><body>Please <b>sign in</b></body></html>", "502: an HTML page: Please sign in"),
        (500, "<Error><Code>E</Code><Message>it broke</Message></Error>", "500: E it broke"),
        (400, "\x1b[2J\x1b]0;owned\x07\x1b[31mbad\x00 request", "400: bad request"),
        (
            418,
            {"error": {"message": "bad\x1b[31m\x1b]0;owned\x07 request\x00 \ud800 end\u202e"}},
            "418: bad request end",
        ),
        (500, "", "500: no text"),
        (500, b"\xff\xfe", "500: \ufffd\ufffd"),
    ],
)
def test_the_servers_own_sentence_is_shown(status: int, body: Any, message: str) -> None:
    assert judge(status, {}, body if isinstance(body, bytes) else raw(body)).message == message


def test_a_long_sentence_is_cut_where_it_is_shown_and_read_to_its_end() -> None:
    long = "Bad request. " + "word " * 2_000 + "The prompt exceeds the context window."
    verdict = judge(400, {}, raw({"error": {"message": long}}))
    assert len(readable(raw({"error": {"message": long}}))) == 400
    assert verdict.reason == "too_long"


@pytest.mark.parametrize("key", ["input", "messages", "content", "request_body"])
def test_what_is_quoted_of_the_request_is_no_word_of_the_server(key: str) -> None:
    quoted = "Insufficient balance. Rate limit exceeded. The prompt is too long. Invalid API key. Content filtered."
    verdict = judge(400, {}, raw({"error": {"message": "stream must be true", key: quoted}}))
    assert verdict.kind == "suspect"


def test_a_refused_answer_is_kept() -> None:
    body = {
        "error": {"message": "Failed to generate JSON", "code": "json_validate_failed", "failed_generation": "{half"}
    }
    assert judge(400, {}, raw(body)) == Verdict(
        "answer", "400: Failed to generate JSON", "invalid_json", answer="{half"
    )
    body["error"]["failed_generation"] = {"a": 1}  # type: ignore[assignment]
    assert json.loads(judge(400, {}, raw(body)).answer) == {"a": 1}
    of_parser = {"error": {"code": 500, "message": 'Failed to parse input at pos 4: {"a"'}}
    assert judge(500, {}, raw(of_parser)).answer == '{"a"'


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "wait_s"),
    [
        (429, {}, {"error": {"message": "Please try again in 29.46s."}}, "limit", 29.46),
        (429, {"Retry-After": "43200"}, {"error": {"message": "free-models-per-day"}}, "limit", 43200),
        (429, {"x-ratelimit-reset-tokens": "20s", "x-ratelimit-remaining-tokens": "0"}, {}, "limit", 20),
        (429, {"Retry-After": "0"}, {}, "limit", None),
        (503, {}, {"error": "Model m is currently loading", "estimated_time": 20.5}, "loading", 20.5),
        (503, {"retry-after": "3"}, {}, "fault", 3),
        (500, {"x-ratelimit-reset-requests": "20s"}, {}, "fault", None),
        (402, {"Retry-After": "3"}, {}, "account", None),
    ],
)
def test_what_the_server_asks_to_wait(
    status: int, headers: dict[str, str], body: Any, kind: str, wait_s: float
) -> None:
    verdict = judge(status, headers, raw(body))
    assert (verdict.kind, verdict.wait_s) == (kind, wait_s)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"error": {"message": "Insufficient Balance"}}, "Top up"),
        ({"error": {"message": "Key limit exceeded (monthly limit)"}}, "limit of the key"),
        ({"error": {"message": "Budget has been exceeded"}}, "budget"),
        ({"error": {"message": "Your account has been suspended"}}, "restricted"),
        ({"error": {"message": "license expired"}}, "license"),
        ({"error": "Model is unloaded."}, "load the model"),
        ({"error": "Invalid API key"}, "PERSONAHUB_LLM_API_KEY"),
        ({"error": "The model m does not exist"}, "PERSONAHUB_LLM_MODEL"),
    ],
)
def test_the_remedy_fits_the_trouble(body: Any, word: str) -> None:
    assert word in judge(400, {}, raw(body)).remedy


@pytest.mark.parametrize("body", [{}, {"detail": "no"}, {"message": "Forbidden"}, "blocked"])
def test_a_403_without_a_reason_names_the_key(body: Any) -> None:
    verdict = judge(403, {}, raw(body))
    assert verdict.kind == "suspect"
    assert "PERSONAHUB_LLM_API_KEY" in verdict.remedy
    assert judge(400, {}, raw(body)).remedy == ""


def test_a_request_above_the_limit_of_a_minute_is_too_long_and_one_below_waits() -> None:
    words = "Request too large for model m on tokens per minute (TPM): Limit {}, Requested {}, please try again in 2s."
    for status in (413, 429):
        above = judge(status, {}, raw({"error": {"message": words.format("6,000", "9,000")}}))
        assert (above.reason, bool(above.remedy)) == ("too_long", True)
        below = judge(status, {}, raw({"error": {"message": words.format("6,000", "900")}}))
        assert (below.kind, below.wait_s) == ("limit", 2)


def test_the_callers_message_serves_where_the_body_says_nothing() -> None:
    verdict = judge_error(None, "Insufficient credits", b"{}")
    assert (verdict.kind, verdict.message) == ("account", "Insufficient credits")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "loc", "msg", "metadata", "raw", "x"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
bodies = (
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
    | json_values.map(lambda value: json.dumps(value).encode())
)
headers = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "Date", "x-ratelimit-reset", "x-ratelimit-remaining", "RateLimit", "retry-after-ms"]
    ),
    st.text(max_size=40),
    max_size=4,
)


@given(st.integers(-1, 999), headers, bodies)
def test_no_reply_is_an_error(status: int, sent: dict[str, str], body: bytes) -> None:
    verdict = judge(status, sent, body)
    assert verdict.message.isprintable()
    assert verdict.wait_s is None or 0 <= verdict.wait_s <= 31_536_000


@given(st.none() | st.integers(), st.text(max_size=100), bodies)
def test_no_error_within_a_good_reply_is_an_error(code: int | None, message: str, body: bytes) -> None:
    assert judge_error(code, message, body).message.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 20_000,
        b"[" * 100_000,
        b"<" * 100_000,
        b"\x1b]" * 40_000,
        b"\\" * 100_000,
        b'{"message": "x {' * 6_000,
        b"model is " * 10_000,
        b"again in 1" * 9_000,
        b"1,1 s " * 15_000,
        b"retry_after: " * 8_000,
        b"1" * 100_000,
    ],
    ids=range(11),
)
def test_no_body_takes_long(body: bytes) -> None:
    started = time.process_time()
    judge(400, {}, body)
    assert time.process_time() - started < 10
