"""One request against every kind of trouble: a server that answers exactly as it is told, and the stand-in's faults.

Nothing is timed: what was honoured is seen in how many calls the server has counted, and in their bodies.
"""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.domain.errors import EndpointDown, LLMError
from personahub_assets.domain.records import GameNPC, Instruction
from personahub_assets.generation.ask import Asker, Limits
from personahub_assets.generation.requests import Outcome, Task
from personahub_assets.resources import files
from personahub_assets.standin.server import StandinServer

GOOD = {"category": "planning", "instruction": "Plan the night watches of a lighthouse in winter."}
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10
COST = PROMPT_TOKENS + COMPLETION_TOKENS


@dataclass
class Reply:
    """One answer of the scripted server."""

    content: str | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # instead of a completion
    usage: bool = True
    hang_up: bool = False

    def data(self) -> bytes:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": COST,
            "prompt_tokens_details": {"cached_tokens": 7},
        }
        completion = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted-1",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": None}],
        }
        return json.dumps(completion | ({"usage": usage} if self.usage else {})).encode()


def good(**more: Any) -> Reply:
    return Reply(json.dumps(GOOD | more))


def error(status: int, message: str = "No.", **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": None}}).encode()
    return Reply(status=status, body=body, headers=names)


class Script:
    """A server that gives the next reply of its script to each call and keeps what it was sent."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.bodies: list[dict[str, Any]] = []
        self.not_before: float = 0.0
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                reply = script.next(json.loads(raw))
                if reply.hang_up:
                    self.close_connection = True
                    return
                data = reply.data()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def next(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(body)
        if time.monotonic() < self.not_before:
            return error(429, retry_after="1")
        return self.replies.pop(0)

    def told(self, *replies: Reply) -> "Script":
        self.replies, self.bodies, self.not_before = list(replies), [], 0.0
        return self


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    scripted = Script()
    thread = threading.Thread(target=scripted.server.serve_forever, args=(0.05,))
    thread.start()
    yield scripted
    scripted.server.shutdown()
    scripted.server.server_close()
    thread.join()


TASK = Task("instructions", files.prompt("instructions"), Instruction, "scripted")
MAX_TOKENS = TASK.prompt.max_tokens


def ask(url: str, limits: Limits | None = None, task: Task = TASK, rows: int = 1, timeout: float = 10) -> list[Outcome]:
    """Ask for some rows one after the other with one asker."""

    async def all_of_them() -> list[Outcome]:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=timeout)
        try:
            asker = Asker(client, task, limits or Limits(transport_tries=2))
            requests = [task.request(f"p{n}", {"persona": f"A keeper of lighthouse {n}"}) for n in range(rows)]
            return [await asker.ask(request) for request in requests]
        finally:
            await client.close()

    return asyncio.run(all_of_them())


def ask_one(script: Script, *replies: Reply, **more: Any) -> Outcome:
    (outcome,) = ask(script.told(*replies).url, **more)
    assert not script.replies, "not all replies were fetched"
    return outcome


def test_a_good_answer_costs_one_call(script: Script) -> None:
    outcome = ask_one(script, good())
    assert (outcome.status, outcome.reason, outcome.detail, outcome.repaired) == ("accepted", None, None, False)
    assert json.loads(outcome.response) == GOOD
    assert (outcome.model, outcome.finish_reason, outcome.attempts) == ("scripted-1", "stop", 1)
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cached_tokens) == (100, 10, 7)
    assert outcome.wasted_tokens == 0
    assert outcome.latency_s > 0


def test_what_is_asked(script: Script) -> None:
    ask_one(script, good())
    (body,) = script.bodies
    assert body["model"] == "scripted"
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (TASK.prompt.temperature, 1.0, MAX_TOKENS)
    assert body["response_format"]["type"] == "json_schema"
    assert set(body["response_format"]["json_schema"]["schema"]["properties"]) == {"category", "instruction"}
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][1]["content"].endswith("A keeper of lighthouse 0\n</data>")
    assert not body.keys() & {"seed", "tools", "functions", "n", "stream", "user"}


def test_an_answer_without_usage_is_accepted(script: Script) -> None:
    reply = good()
    reply.usage = False
    outcome = ask_one(script, reply)
    assert (outcome.status, outcome.prompt_tokens, outcome.wasted_tokens) == ("accepted", 0, 0)


# --- invalid answers ---


def test_an_invalid_answer_goes_back_with_what_was_wrong(script: Script) -> None:
    bad = Reply(json.dumps({"category": "x", "instruction": "too short"}))
    outcome = ask_one(script, bad, good())
    assert (outcome.status, outcome.attempts, outcome.wasted_tokens) == ("accepted", 2, COST)
    assert outcome.prompt_tokens + outcome.completion_tokens == 2 * COST
    first, second = script.bodies
    assert second["messages"][: len(first["messages"])] == first["messages"]
    said = json.dumps(second["messages"][len(first["messages"]) :])
    assert "too short" in said
    assert "at least 20 characters" in said
    assert "seed" not in second


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        ('{"category": "planning"}', "schema_violation", "instruction: Field required"),
        (json.dumps(GOOD | {"surplus": 1}), "schema_violation", "surplus: Extra inputs"),
        (json.dumps([GOOD]), "schema_violation", "Input should be an object"),
        ("null", "schema_violation", "Input should be an object"),
        ('{"category": "planning", ', "invalid_json", "Invalid JSON"),
        ("Here is your plan.", "invalid_json", "Invalid JSON"),
        ("[" * 100_000, "invalid_json", "Invalid JSON"),
    ],
)
def test_an_answer_that_stays_invalid_is_rejected_after_the_reasks(
    script: Script, content: str, reason: str, detail: str
) -> None:
    outcome = ask_one(script, *[Reply(content)] * 3, limits=Limits(reasks=2))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", reason, 3)
    assert detail in (outcome.detail or "")
    assert outcome.wasted_tokens == 3 * COST == outcome.prompt_tokens + outcome.completion_tokens
    assert outcome.response == content[:3_999] + "…" if len(content) > 4_000 else content
    assert len(script.bodies) == 3


def test_no_reasks_means_one_call(script: Script) -> None:
    assert ask_one(script, Reply("{}"), limits=Limits(reasks=0)).reason == "schema_violation"


def test_a_long_list_of_mistakes_does_not_grow_the_prompt_without_bound(script: Script) -> None:
    bad = Reply(json.dumps(GOOD | {f"surplus_{n}": "x" * 50 for n in range(200)}))
    ask_one(script, bad, bad, good())
    first, second, third = (len(json.dumps(body["messages"])) for body in script.bodies)
    answer = len(json.dumps(bad.content))
    assert second - first < answer + 4_000
    assert third - second < answer + 4_000


# --- repairs ---


def test_raw_control_characters_are_repaired(script: Script) -> None:
    raw = '{"category": "planning", "instruction": "Plan the watches:\nfirst\tnight,\x07 then day."}'
    outcome = ask_one(script, Reply(raw))
    assert (outcome.status, outcome.repaired, outcome.attempts) == ("accepted", True, 1)
    assert json.loads(outcome.response)["instruction"] == "Plan the watches:\nfirst\tnight,\x07 then day."


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "\\u0000"])
def test_what_cannot_be_stored_is_replaced(script: Script, escape: str) -> None:
    content = json.dumps(GOOD).replace("night", f"night{escape}")
    outcome = ask_one(script, Reply(content))
    assert (outcome.status, outcome.repaired) == ("accepted", True)
    assert "night\ufffd watches" in json.loads(outcome.response)["instruction"]
    json.loads(outcome.response)["instruction"].encode("utf-8")


def test_escaped_pairs_and_spaces_around_need_no_repair(script: Script) -> None:
    content = "\n " + json.dumps(GOOD).replace("night", "night \\ud83c\\udf19") + " \n"
    outcome = ask_one(script, Reply(content))
    assert (outcome.status, outcome.repaired) == ("accepted", False)
    assert "night 🌙" in json.loads(outcome.response)["instruction"]


@settings(max_examples=20)
@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_no_answer_whatsoever_ends_in_a_traceback(script: Script, content: str) -> None:
    (outcome,) = ask(script.told(*[Reply(content)] * 4).url, Limits(reasks=1))
    assert outcome.status == "rejected"
    assert outcome.reason in {"invalid_json", "schema_violation", "empty", "refused"}
    json.loads(outcome.to_json().encode("utf-8"))
    outcome.response.encode("utf-8")


# --- what is not repeated ---


def test_an_answer_cut_at_the_limit_gets_one_larger_try(script: Script) -> None:
    outcome = ask_one(script, Reply('{"category": "pl', "length"), good())
    assert (outcome.status, outcome.attempts, outcome.wasted_tokens) == ("accepted", 2, COST)
    assert [body["max_tokens"] for body in script.bodies] == [MAX_TOKENS, 2 * MAX_TOKENS]
    assert script.bodies[0]["messages"] == script.bodies[1]["messages"]  # never a re-ask with the stump


def test_an_answer_cut_twice_is_rejected(script: Script) -> None:
    outcome = ask_one(script, Reply("{", "length"), Reply('{"cat', "length"))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "truncated", 2)
    assert str(2 * MAX_TOKENS) in (outcome.detail or "")
    assert (outcome.finish_reason, outcome.response, outcome.wasted_tokens) == ("length", '{"cat', 2 * COST)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(None, refusal="I will not."),
        Reply("I'm sorry, but I can't help with that."),
        Reply("I cannot write this."),
        Reply("Sorry, I am not able to do this."),
        Reply("I’m sorry, I won’t do that."),
        Reply("Sorry, I have to decline: this is not for me."),
        Reply("As an AI language model, I cannot do that."),
    ],
)
def test_a_refusal_is_not_repeated(script: Script, reply: Reply) -> None:
    outcome = ask_one(script, reply)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "refused", 1)
    assert (reply.refusal or reply.content or "")[:10] in (outcome.detail or "")
    assert outcome.wasted_tokens == COST


def test_an_answer_about_refusing_is_no_refusal(script: Script) -> None:
    text = "I cannot sleep after the night watch. Write me a plan for the day."
    assert ask_one(script, good(instruction=text)).status == "accepted"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("", "stop"), "empty"),
        (Reply(" \n ", "stop"), "empty"),
        (Reply(None, "stop"), "empty"),
        (Reply("{", "content_filter"), "content_filtered"),
        (Reply(body=b'{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'), "empty"),
        (Reply(body=b"<html>a proxy</html>"), "invalid_json"),
        (error(400, "temperature must be positive"), "bad_request"),
        (error(422, "unprocessable"), "bad_request"),
        (error(400, "This model's maximum context length is 4096 tokens, however you requested 9000"), "too_long"),
        (error(413, "Payload too large"), "too_long"),
    ],
)
def test_other_verdicts_are_not_repeated(script: Script, reply: Reply, reason: str) -> None:
    outcome = ask_one(script, reply)
    assert (outcome.status, outcome.reason) == ("rejected", reason)
    assert outcome.detail
    assert len(script.bodies) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_path_or_model_stops_the_step_with_the_remedy(script: Script, status: int) -> None:
    script.told(error(status, "The model `x` does not exist."))
    with pytest.raises(LLMError, match=f"(?s){status}.*PERSONAHUB_LLM_URL.*PERSONAHUB_LLM_MODEL.*personahub doctor"):
        ask(script.url)
    assert len(script.bodies) == 1


# --- transport ---


@pytest.mark.parametrize("fault", [error(429, retry_after="0"), error(500), error(503), Reply(hang_up=True)])
def test_a_transport_fault_is_tried_again_and_costs_no_tokens(script: Script, fault: Reply) -> None:
    outcome = ask_one(script, fault, good())
    assert (outcome.status, outcome.attempts, outcome.wasted_tokens) == ("accepted", 1, 0)
    first, second = script.bodies
    assert first == second


def test_a_pause_that_the_server_asks_for_is_kept(script: Script) -> None:
    # One that comes back sooner than in a second gets another 429 and so makes a third call.
    script.told(good())
    script.not_before = time.monotonic() + 1
    (outcome,) = ask(script.url, Limits(transport_tries=9))
    assert outcome.status == "accepted"
    assert len(script.bodies) == 2


@pytest.mark.parametrize("after", ["soon", "", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "\u00b2"])
def test_a_pause_that_cannot_be_read_is_no_fault(script: Script, after: str) -> None:
    assert ask_one(script, error(429, retry_after=after), good()).status == "accepted"


def test_a_fault_at_every_try_is_rejected_for_now(script: Script) -> None:
    outcome = ask_one(script, error(500), error(502), limits=Limits(transport_tries=2))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "unreachable", 0)
    assert (outcome.detail or "").startswith("2 tries, the last: ")


def test_no_answer_in_time_is_a_reason_of_its_own() -> None:
    with StandinServer("hang=1") as server:
        (outcome,) = ask(server.url, Limits(transport_tries=1), timeout=0.3)
        assert server.stats()["calls"] == 1
    assert (outcome.status, outcome.reason) == ("rejected", "timeout")


def test_faults_in_a_row_over_several_requests_stop_the_step(script: Script) -> None:
    script.told(*[error(500)] * 3)
    with pytest.raises(EndpointDown, match="3 transport faults in a row, the last: InternalServerError"):
        ask(script.url, Limits(transport_tries=1, consecutive_faults=3), rows=9)
    assert len(script.bodies) == 3


@pytest.mark.parametrize("answer", [good(), error(400), Reply("")])
def test_any_answer_ends_the_row_of_faults(script: Script, answer: Reply) -> None:
    script.told(error(500), answer, error(500), answer, error(500), answer)
    outcomes = ask(script.url, Limits(transport_tries=1, consecutive_faults=2), rows=6)
    assert [outcome.reason == "unreachable" for outcome in outcomes] == [True, False] * 3


def test_nobody_listening_is_the_endpoint_down() -> None:
    with pytest.raises(EndpointDown, match="APIConnectionError"):
        ask("http://127.0.0.1:9/v1", Limits(transport_tries=1, consecutive_faults=2), rows=2)


# --- the stand-in's faults ---

NPC = Task("game_npcs", files.prompt("game_npcs"), GameNPC, "standin")


@pytest.mark.parametrize(
    ("faults", "calls", "reason"),
    [
        ("", 1, None),
        ("truncate=1", 2, None),
        ("whitespace=1", 2, None),
        ("control=1", 1, None),
        ("surrogate=1", 1, None),
        ("bad_json=1", 3, "invalid_json"),
        ("empty=1", 1, "empty"),
        ("refusal=1", 1, "refused"),
        ("429=1", 2, "unreachable"),
        ("500=1", 2, "unreachable"),
        ("reset=1", 2, "unreachable"),
    ],
)
def test_each_fault_of_the_stand_in(faults: str, calls: int, reason: str | None) -> None:
    with StandinServer(faults) as server:
        outcomes = ask(server.url, Limits(reasks=2, transport_tries=2, consecutive_faults=99), NPC, rows=2)
        stats = server.stats()
    assert [outcome.reason for outcome in outcomes] == [reason] * 2
    assert stats["calls"] == 2 * calls
    assert [outcome.repaired for outcome in outcomes] == [faults.startswith(("control", "surrogate"))] * 2
    assert sum(outcome.prompt_tokens for outcome in outcomes) == stats["prompt_tokens"]
    assert sum(outcome.completion_tokens for outcome in outcomes) == stats["completion_tokens"]
    spent = stats["prompt_tokens"] + stats["completion_tokens"]
    wasted = sum(outcome.wasted_tokens for outcome in outcomes)
    assert wasted == spent if reason else (wasted > 0) == (calls > 1)
