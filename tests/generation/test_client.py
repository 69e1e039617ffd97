"""One request with every kind of failure: a scripted server, and the faults of the stand-in.

Nothing is timed: the tests check the number of calls and their bodies.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted import COST, GOOD, MAX_TOKENS, PROMPT_TOKENS, TASK, Reply, Script, ask, ask_one, error, good

from personahub_assets.core import project_files
from personahub_assets.core.errors import BudgetSpent, EndpointDown, LLMError
from personahub_assets.core.records import GameNPC, Tool
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.client import RAW_LIMIT, Limits
from personahub_assets.generation.requests import Task
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.usefixtures("brisk")


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
    assert outcome.attempts == 1


def test_the_time_of_an_outcome_is_told_by_where_it_went(script: Script) -> None:
    outcome = ask_one(script, error(429, retry_after="0.2"), Reply("{}"), good())
    assert outcome.queue_s >= 0.2
    assert 0 < outcome.flight_s <= outcome.latency_s
    assert outcome.max_tokens == MAX_TOKENS
    assert outcome.answer_tokens == 10


def test_every_answer_is_paid_for_whatever_becomes_of_it(script: Script) -> None:
    spent: list[tuple[int, int, int]] = []
    script.told(error(500), Reply("{}"), Reply(""), Reply("{", "length"), good())
    ask(script.url, spend=lambda *tokens: spent.append(tokens) or 0.0)
    assert spent == [(100, 7, 10)] * 4


def test_a_budget_that_is_spent_before_a_reask_ends_the_request(script: Script) -> None:
    budget = Budget(max_calls=2)
    with pytest.raises(BudgetSpent):
        ask(script.told(Reply("{}"), Reply("{}")).url, before=budget.call)
    assert len(script.bodies) == 2


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
        ("null", "schema_violation", "Input should be an object"),
        ('{"category": "planning", ', "invalid_json", "Invalid JSON"),
        ("Here is your plan.", "invalid_json", "Invalid JSON"),
        ("[" * 100_000, "invalid_json", "Invalid JSON"),
        ("[" * 600 + "]" * 600, "invalid_json", "Invalid JSON"),
        ('{"category": ' + "7" * 5_000 + ", ", "invalid_json", "Invalid JSON"),
        ('{"category": "a\nb", "instruction": ' + "7" * 5_000 + "}", "invalid_json", "Invalid JSON"),
        ('{"category": NaN}', "schema_violation", "instruction: Field required"),
    ],
)
def test_an_answer_that_stays_invalid_is_rejected_after_the_reasks(
    script: Script, content: str, reason: str, detail: str
) -> None:
    outcome = ask_one(script, *[Reply(content)] * 3, limits=Limits(validation_retries=2))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", reason, 3)
    assert detail in (outcome.detail or "")
    assert outcome.wasted_tokens == 3 * COST == outcome.prompt_tokens + outcome.completion_tokens
    assert outcome.response == content[:3_999] + "…" if len(content) > 4_000 else content
    assert len(script.bodies) == 3


def test_no_reasks_means_one_call(script: Script) -> None:
    assert ask_one(script, Reply("{}"), limits=Limits(validation_retries=0)).reason == "schema_violation"


@pytest.mark.parametrize("reasks", [1, 2, 5])
@pytest.mark.parametrize(
    "bad",
    [
        json.dumps({"category": "x"} | {f"surplus_{n}": "x" * 50 for n in range(300)}),
        json.dumps({"category": "x" * 50_000, "instruction": "y" * 50_000}),
        '{"category": "' + "\x07" * 20_000,
        "é" * 100_000,
    ],
)
def test_a_prompt_of_a_reask_is_bounded_whatever_was_wrong_and_however_often(
    script: Script, bad: str, reasks: int
) -> None:
    outcome = ask_one(script, *[Reply(bad)] * (1 + reasks), limits=Limits(validation_retries=reasks))
    assert outcome.attempts == 1 + reasks
    first, *again = ([message["content"] for message in body["messages"]] for body in script.bodies)
    for messages in again:
        assert messages[: len(first)] == first
        assert len(messages) == len(first) + 2
        assert sum(map(len, messages[len(first) :])) < RAW_LIMIT + 2_000
    assert len(outcome.response) <= RAW_LIMIT


def test_a_reask_carries_the_last_bad_answer_and_no_earlier_one(script: Script) -> None:
    bad = [json.dumps({"category": f"mistake {n}", "instruction": "short"}) for n in range(3)]
    ask_one(script, *map(Reply, bad), good(), limits=Limits(validation_retries=3))
    said = [[message["content"] for message in body["messages"][-2:]] for body in script.bodies[1:]]
    assert [hint.partition('"rejected_answer">\n')[2].removesuffix("\n</data>") for _, hint in said] == bad
    assert all("at least 20 characters" in hint for _, hint in said)
    assert all(str(said[2]).count(f"mistake {n}") == 0 for n in range(2))


# --- empty answers ---


@pytest.mark.parametrize("content", ["", " \n\t ", None])
def test_an_empty_answer_is_asked_again_as_it_was(script: Script, content: str | None) -> None:
    outcome = ask_one(script, Reply(content), good())
    assert (outcome.status, outcome.attempts, outcome.wasted_tokens) == ("accepted", 2, COST)
    assert script.bodies[0] == script.bodies[1]


@pytest.mark.parametrize("content", ["", " \n\t ", None])
def test_an_answer_that_stays_empty_has_a_reason_of_its_own(script: Script, content: str | None) -> None:
    outcome = ask_one(script, *[Reply(content)] * 3, limits=Limits(validation_retries=2))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "empty", 3)
    assert outcome.detail
    assert outcome.wasted_tokens == 3 * COST


def test_an_empty_answer_to_a_reask_does_not_lose_what_was_wrong(script: Script) -> None:
    assert ask_one(script, Reply("{}"), Reply(""), good()).status == "accepted"
    assert script.bodies[1] == script.bodies[2] != script.bodies[0]


# --- repairs ---


def test_raw_control_characters_are_repaired(script: Script) -> None:
    raw = '{"category": "planning", "instruction": "Plan the watches:\nfirst\tnight,\x07 then day."}'
    outcome = ask_one(script, Reply(raw))
    assert (outcome.status, outcome.repaired, outcome.attempts) == ("accepted", True, 1)
    assert json.loads(outcome.response)["instruction"] == "Plan the watches:\nfirst\tnight,\x07 then day."


@pytest.mark.parametrize("sign", ["\\ud800", "\\udfff", "\\u0000", "\x00", "\ud800"])
@pytest.mark.parametrize("layout", [None, 1])
def test_what_cannot_be_stored_is_replaced(script: Script, sign: str, layout: int | None) -> None:
    content = json.dumps(GOOD, indent=layout).replace("night", f"night{sign}")
    outcome = ask_one(script, Reply(content))
    assert (outcome.status, outcome.repaired, outcome.attempts) == ("accepted", True, 1)
    assert "night\ufffd watches" in json.loads(outcome.response)["instruction"]
    outcome.response.encode("utf-8")


def test_what_cannot_be_stored_is_replaced_wherever_it_is(script: Script) -> None:
    task = Task("tools", project_files.prompt("tools"), Tool, "scripted")
    argument = {"name": "night", "type": "string", "description": "Which\x00 night"}
    tool = {
        "name": "Watch\x00planner",
        "description": "Plans the\ud800 watches of a lighthouse.",
        "function_name": "plan_watches",
        "input_arguments": [argument],
        "returns": "The watches\x00 by hour",
        "dependencies": ["the\x00 tide table"],
    }
    outcome = ask_one(script, Reply(json.dumps(tool)), task=task)
    assert (outcome.status, outcome.repaired) == ("accepted", True)
    assert outcome.response.count("\ufffd") == 5
    assert "\\u0000" not in outcome.response


def test_a_repaired_answer_must_still_be_as_the_schema_wants_it(script: Script) -> None:
    outcome = ask_one(script, Reply('{"category": "a\nb"}'), limits=Limits(validation_retries=0))
    assert (outcome.reason, outcome.repaired) == ("schema_violation", False)


def test_escaped_pairs_and_spaces_around_need_no_repair(script: Script) -> None:
    content = "\n " + json.dumps(GOOD).replace("night", "night \\ud83c\\udf19") + " \n"
    outcome = ask_one(script, Reply(content))
    assert (outcome.status, outcome.repaired) == ("accepted", False)
    assert "night 🌙" in json.loads(outcome.response)["instruction"]


_ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=300)
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_ANY_TEXT, inner),
    max_leaves=8,
)
_NESTED = st.builds(lambda depth, sign: sign * depth + "1" + "]" * depth, st.integers(0, 3_000), st.sampled_from("[ "))
_DIGITS = st.builds(
    lambda count, end: "1" * count + end, st.integers(1, 9_000), st.sampled_from(["", " x", "\n}", "e"])
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ANY_TEXT | _ANY_JSON.map(json.dumps) | _NESTED | _DIGITS)
def test_no_answer_whatsoever_ends_in_a_traceback(script: Script, content: str) -> None:
    (outcome,) = ask(script.told(*[Reply(content)] * 4).url, Limits(validation_retries=1))
    assert outcome.status == "rejected"
    assert outcome.reason in {"invalid_json", "schema_violation", "empty", "refused"}
    json.loads(outcome.to_json().encode("utf-8"))
    outcome.response.encode("utf-8")
    (outcome.detail or "").encode("utf-8")


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


def test_the_larger_try_is_made_once_and_later_ones_keep_its_room(script: Script) -> None:
    outcome = ask_one(
        script, Reply("{", "length"), Reply("{}"), Reply("{", "length"), limits=Limits(validation_retries=5)
    )
    assert (outcome.reason, outcome.attempts) == ("truncated", 3)
    assert [body["max_tokens"] for body in script.bodies] == [MAX_TOKENS, 2 * MAX_TOKENS, 2 * MAX_TOKENS]
    assert outcome.max_tokens == MAX_TOKENS


def test_a_reask_that_is_cut_gets_the_larger_try_with_its_own_prompt(script: Script) -> None:
    assert ask_one(script, Reply("{}"), Reply("{", "length"), good()).status == "accepted"
    assert [body["max_tokens"] for body in script.bodies] == [MAX_TOKENS, MAX_TOKENS, 2 * MAX_TOKENS]
    assert script.bodies[1]["messages"] == script.bodies[2]["messages"] != script.bodies[0]["messages"]


@pytest.mark.parametrize("message", ["max_tokens is too large", "maximum context length is 2048 tokens"])
def test_a_server_without_room_for_the_larger_try_leaves_it_truncated(script: Script, message: str) -> None:
    outcome = ask_one(script, Reply('{"cat', "length"), error(400, message))
    assert (outcome.reason, outcome.attempts, outcome.response) == ("truncated", 1, '{"cat')
    assert message in (outcome.detail or "")
    assert str(2 * MAX_TOKENS) in (outcome.detail or "")


def test_a_larger_try_that_meets_a_fault_of_the_way_is_asked_again_another_day(script: Script) -> None:
    assert ask_one(script, Reply("{", "length"), error(500), error(500)).reason == "unreachable"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(None, refusal="I will not."),
        Reply(None, refusal="I will\x00 not."),
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
    assert (reply.refusal or reply.content or "")[:6] in (outcome.detail or "")
    assert outcome.wasted_tokens == COST


def test_an_answer_about_refusing_is_no_refusal(script: Script) -> None:
    text = "I cannot sleep after the night watch. Write me a plan for the day."
    assert ask_one(script, good(instruction=text)).status == "accepted"


def test_a_refusal_over_thousands_of_brackets_is_found_out_at_once(script: Script) -> None:
    assert ask_one(script, *[Reply("[({" * 20_000)] * 3).reason == "invalid_json"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("{", "content_filter"), "content_filtered"),
        (Reply(None, "content_filter"), "content_filtered"),
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
    with pytest.raises(LLMError, match=f"(?s){status}.*PERSONAHUB_LLM_(MODEL|API_KEY).*personahub doctor"):
        ask(script.url)
    assert len(script.bodies) == 1


# --- transport ---

_NO_CHOICES = b'{"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}'
_DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "fault",
    [
        error(429, retry_after="0"),
        error(500),
        error(503),
        Reply(hang_up=True),
        Reply("x" * 1_000, half=True),
        Reply(body=b"<html>a proxy</html>", headers={"content-type": "text/html"}),
        Reply(body=_DEEP),
        Reply(body=good().data()[:-20]),
    ],
)
def test_a_transport_fault_is_tried_again_and_costs_no_tokens(script: Script, fault: Reply) -> None:
    outcome = ask_one(script, fault, good())
    assert (outcome.status, outcome.attempts, outcome.wasted_tokens) == ("accepted", 1, 0)
    first, second = script.bodies
    assert first == second


@pytest.mark.parametrize("fault", [error(502), Reply(body=_DEEP), Reply(body=b"<html>"), Reply(hang_up=True)])
def test_a_fault_at_every_try_is_rejected_for_now(script: Script, fault: Reply) -> None:
    outcome = ask_one(script, error(500), fault)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "unreachable", 0)
    assert (outcome.detail or "").startswith("at every attempt, the last: ")


def test_a_reply_without_a_choice_is_asked_again_and_then_counts_as_empty(script: Script) -> None:
    outcome = ask_one(script, *[Reply(body=_NO_CHOICES)] * 3)
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "empty", 3)


def test_a_reply_that_was_paid_and_cannot_be_read_is_kept_and_not_asked_again(script: Script) -> None:
    body = b'data: {"x": 1}\n\ndata: [DONE]'
    outcome = ask_one(script, Reply(body=body))
    assert (outcome.status, outcome.reason, outcome.attempts) == ("rejected", "unreadable", 1)
    assert outcome.response == body.decode()


def test_no_answer_in_time_is_a_reason_of_its_own() -> None:
    with StandinServer("hang=1") as server:
        (outcome,) = ask(server.url, tries=1, timeout_s=0.3)
        assert server.stats()["calls"] == 1
    assert (outcome.status, outcome.reason) == ("rejected", "timeout")


def test_faults_in_a_row_over_several_requests_stop_the_step(script: Script) -> None:
    script.told(*[error(500)] * 3)
    with pytest.raises(EndpointDown, match="3 transport faults in a row, the last: 500"):
        ask(script.url, tries=1, faults_in_a_row=3, rows=9)
    assert len(script.bodies) == 3


# --- the stand-in's faults ---

NPC = Task("game_npcs", project_files.prompt("game_npcs"), GameNPC, "standin")


@pytest.mark.parametrize(
    ("faults", "calls", "reason"),
    [
        ("", 1, None),
        ("truncate=1", 2, None),
        ("whitespace=1", 2, None),
        ("control=1", 1, None),
        ("surrogate=1", 1, None),
        ("bad_json=1", 3, "invalid_json"),
        ("empty=1", 3, "empty"),
        ("refusal=1", 1, "refused"),
        ("content_filter=1", 1, "content_filtered"),
        ("400=1", 1, "bad_request"),
        ("too_long=1", 1, "too_long"),
        ("endless=1", 2, "truncated"),
        ("500=1", 2, "unreachable"),
        ("reset=1", 2, "unreachable"),
    ],
)
def test_each_fault_of_the_stand_in(faults: str, calls: int, reason: str | None) -> None:
    with StandinServer(faults) as server:
        outcomes = ask(server.url, Limits(validation_retries=2), NPC, rows=2, faults_in_a_row=99)
        stats = server.stats()
    assert [outcome.reason for outcome in outcomes] == [reason] * 2
    assert stats["calls"] == 2 * calls
    assert [outcome.repaired for outcome in outcomes] == [faults.startswith(("control", "surrogate"))] * 2
    assert sum(outcome.prompt_tokens for outcome in outcomes) == stats["prompt_tokens"]
    assert sum(outcome.completion_tokens for outcome in outcomes) == stats["completion_tokens"]
    spent = stats["prompt_tokens"] + stats["completion_tokens"]
    wasted = sum(outcome.wasted_tokens for outcome in outcomes)
    assert wasted == spent if reason else (wasted > 0) == (calls > 1)


@pytest.mark.parametrize("end", [None, "abort", "eos_token", "stop_sequence"])
def test_an_answer_that_ends_for_a_reason_of_the_servers_own_is_read(script: Script, end: str | None) -> None:
    reply = json.loads(good().data())
    reply["choices"][0]["finish_reason"] = end
    outcome = ask_one(script, Reply(body=json.dumps(reply).encode()))
    assert (outcome.status, outcome.attempts, outcome.prompt_tokens) == ("accepted", 1, PROMPT_TOKENS)


USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
BESIDE = [
    {"id": None, "created": 1.5, "object": "", "model": None, "service_tier": "on_demand", "system_fingerprint": 1},
    {"usage": USAGE | {"prompt_tokens_details": [], "completion_tokens_details": 1}},
    {"choices": [{"message": {"content": json.dumps(GOOD)}}]},
    {"choices": [{"message": {"role": "tool", "content": GOOD, "function_call": {}, "annotations": [{"x": 1}]}}]},
    {"choices": [{"message": {"content": [{"type": "text", "text": json.dumps(GOOD)}]}, "logprobs": []}]},
]


@pytest.mark.parametrize("beside", BESIDE, ids=["top", "details", "no role", "object", "parts"])
def test_a_paid_answer_is_taken_whatever_stands_beside_it(script: Script, beside: dict[str, object]) -> None:
    reply = json.loads(good().data()) | {"usage": USAGE} | beside
    outcome = ask_one(script, Reply(body=json.dumps(reply).encode()))
    assert (outcome.status, outcome.attempts, outcome.prompt_tokens) == ("accepted", 1, PROMPT_TOKENS)
    assert json.loads(outcome.response) == GOOD


IMPOSSIBLE: list[object] = [
    [],
    {},
    {"prompt_tokens": 100},
    *(USAGE | {"prompt_tokens": count} for count in (-(10**9), 0, 10**30, 2**63, "many", None, float("nan"))),
    USAGE | {"completion_tokens": -1},
]


@pytest.mark.parametrize("usage", IMPOSSIBLE, ids=str)
def test_counts_that_cannot_be_are_taken_for_none(script: Script, usage: object) -> None:
    """Negative counts would increase a budget, and large ones do not fit into the table."""
    reply = json.loads(good().data()) | {"usage": usage}
    outcome = ask_one(script, Reply(body=json.dumps(reply).encode()))
    assert (outcome.status, outcome.attempts) == ("accepted", 1)
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost) == (0, 0, 0)


@pytest.mark.parametrize(("cached", "counted"), [(-5, 0), (10**6, 100), (7, 7)])
def test_cached_tokens_are_among_those_of_the_prompt(script: Script, cached: int, counted: int) -> None:
    usage = USAGE | {"prompt_tokens_details": {"cached_tokens": cached}}
    outcome = ask_one(script, Reply(body=json.dumps(json.loads(good().data()) | {"usage": usage}).encode()))
    assert outcome.cached_tokens == counted


def test_what_a_server_says_beside_an_answer_can_be_stored(script: Script) -> None:
    """A single such text would prevent publishing a whole batch, at every run."""
    reply = json.dumps(json.loads(good().data()) | {"model": "m\ud800\0"}).encode()
    bad = Reply(status=400, body=b'{"message": "a\0b"}')
    assert ask_one(script, Reply(body=reply)).model == "m"
    assert "\0" not in str(ask_one(script, bad).detail)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that request.", True),
        ("I cannot assist with this, since it may be harmful to others.", True),
        ("As an AI language model, I cannot create that for you.", True),
        ("Sorry, I am unable to comply with your request as it stands.", True),
        ("I can't sleep after the night watch. Write me a plan for the day.", False),
        ("I cannot write well in English, so please correct this letter to my landlord.", False),
        ("Unfortunately I cannot find my keys: how do I open an old lock?", False),
        ("I'm sorry to bother you, but can you help me with this tax form?", False),
        ("My neighbour can't help with that, so plan the move for one person.", False),
    ],
)
def test_a_refusal_inside_the_schema_is_a_refusal(script: Script, text: str, refused: bool) -> None:
    outcome = ask_one(script, good(instruction=text))
    assert outcome.reason == ("refused" if refused else None)
