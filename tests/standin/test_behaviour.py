"""Each behaviour of a real server in the stand-in, tested on the application without a child process."""

import asyncio
import gzip
import json
import re
import runpy
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from personahub_assets.standin.app import create_app
from personahub_assets.standin.batch_faults import BATCH_FAULTS
from personahub_assets.standin.bodies import BODIES
from personahub_assets.standin.catalogue import CATALOGUE, overview
from personahub_assets.standin.endpoint_troubles import ENDPOINT, MOVED, SOLD
from personahub_assets.standin.envelopes import ENVELOPES, PLACES
from personahub_assets.standin.faults import KINDS, SETTINGS, FaultError, Faults
from personahub_assets.standin.limits import LIMITS
from personahub_assets.standin.model_lists import MODEL_LISTS
from personahub_assets.standin.needs import NEEDS
from personahub_assets.standin.nonsense import NONSENSE
from personahub_assets.standin.row_troubles import ROW, TOO_LONG
from personahub_assets.standin.wrappings import WRAPPINGS
from personahub_assets.standin.writer import write
from personahub_assets.standin.wrong_answers import ANSWERS

PERSON = {
    "type": "object",
    "properties": {
        "persona": {
            "type": "string",
            "minLength": 20,
            "maxLength": 2400,
            "description": "A sentence or two about somebody who would read the text.",
        },
        "relation": {"type": "string", "enum": ["read", "write"]},
    },
    "required": ["persona", "relation"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {"personas": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "minItems": 2, "maxItems": 2}},
    "required": ["personas"],
    "additionalProperties": False,
    "$defs": {"Person": PERSON},
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "TextPersonas", "schema": SCHEMA}}


def chat(text: str = "Tide tables of Islay", **more: Any) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": "Write 2 personas as JSON."},
        {"role": "user", "content": f'<data name="text">{text}</data>'},
    ]
    asked = {"messages": messages, "response_format": FORMAT, "max_tokens": 1024, "temperature": 0.8, "top_p": 0.9}
    return {"model": "standin", **asked, **more}


class Reply:
    """What the application sent."""

    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.status: int = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.raw: bytes = sent[1]["body"]

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def message(self) -> Any:
        return self.body["choices"][0]["message"]

    @property
    def content(self) -> str:
        return str(self.message["content"])


class Server:
    """The application with some faults, called directly."""

    def __init__(self, faults: str = "") -> None:
        self.hung_up: list[Any] = []
        self.patience_s = 0.0  # after each reply, for what the server does then
        self._app = create_app(Faults.parse(faults), hang_up=self.hung_up.append)

    def ask(self, body: dict[str, Any], path: str = "/v1/chat/completions") -> Reply:
        return self._sent("POST", path, json.dumps(body).encode())

    def get(self, path: str) -> Reply:
        return self._sent("GET", path, b"")

    def stats(self) -> Any:
        return self.get("/stats").body

    def _sent(self, method: str, path: str, body: bytes) -> Reply:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer sk-seen"), (b"user-agent", b"Python-urllib/3.12")]
        scope = {"type": "http", "method": method, "path": path, "client": ("127.0.0.1", 7), "headers": headers}

        async def asked() -> None:
            await self._app(scope, receive, send)
            await asyncio.sleep(self.patience_s)

        asyncio.run(asked())
        return Reply(sent)


def strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(inner)


@pytest.mark.parametrize("kind", WRAPPINGS)
def test_a_wrapping_holds_the_right_answer_and_is_not_it(kind: str) -> None:
    server = Server(f"{kind}=1")
    content = server.ask(chat()).content
    right = json.loads(write(chat()))
    assert content != write(chat())
    assert not is_valid(content)
    said = content.replace("\\", "")
    assert all(text in said for text in strings(right) if len(text) > 20 and "'" not in text)
    stats = server.stats()
    assert (stats["sold"], stats["good"], stats["faults"]) == (1, 1, {kind: 1})


def is_valid(content: str) -> bool:
    try:
        return bool(Draft202012Validator(SCHEMA).is_valid(json.loads(content)))
    except ValueError:
        return False


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_sold_and_not_good(kind: str) -> None:
    server = Server(f"{kind}=1")
    content = server.ask(chat()).content
    assert isinstance(json.loads(content), dict)
    assert is_valid(content) == (kind != "schema_echo")
    assert content != write(chat())
    assert (server.stats()["sold"], server.stats()["good"]) == (1, 0)


def test_some_nonsense_by_its_words() -> None:
    def persona(kind: str) -> str:
        return str(json.loads(Server(f"{kind}=1").ask(chat()).content)["personas"][0]["persona"])

    assert persona("description_echo") == PERSON["properties"]["persona"]["description"]  # type: ignore[index]
    assert "<|eot_id|>" in persona("special_inside")
    assert r"\u4f60" in persona("double_unicode")
    assert "&quot;" in persona("escape_html")
    assert "Tide tables of Islay" in persona("prompt_echo")
    assert set(persona("loop").split()) <= {"the", "th", "t"}


def test_nonsense_for_one_schema_leaves_the_others_alone() -> None:
    server = Server("loop=1,schema=MathProblem")
    assert server.ask(chat()).content == write(chat())


@pytest.mark.parametrize("kind", ENVELOPES)
def test_what_stands_beside_an_answer_leaves_it_alone(kind: str) -> None:
    server, right = Server(f"{kind}=1"), Server().ask(chat()).body
    reply = server.ask(chat())
    assert reply.content == write(chat())
    kinds = [{**body, "created": type(body["created"])} for body in (reply.body, right)]  # it is the time
    assert kinds[0] != kinds[1]
    assert server.stats()["good"] == 1


def test_what_stands_beside_an_answer_may_come_later() -> None:
    server = Server("other_model=1,after=2")
    models = [server.ask(chat(f"text {n}")).body["model"] for n in range(4)]
    assert models == ["standin", "standin", "tiny-fallback-q4", "tiny-fallback-q4"]


@pytest.mark.parametrize("kind", PLACES)
def test_the_answer_is_elsewhere(kind: str) -> None:
    server = Server(f"{kind}=1")
    message = server.ask(chat()).message
    assert message["content"] != write(chat())
    assert server.stats()["good"] == PLACES[kind].is_usable
    if PLACES[kind].is_usable:
        assert any(
            json.dumps(text) in json.dumps(message).replace("\\", "") for text in strings(json.loads(write(chat())))
        )


@pytest.mark.parametrize("kind", BODIES)
def test_the_bytes_of_a_reply(kind: str) -> None:
    server = Server(f"{kind}=1")
    server.patience_s = 0.06
    reply = server.ask(chat())
    assert reply.status == (206 if kind == "status_206" else 200)
    assert server.stats()["good"] == BODIES[kind].is_usable
    assert server.hung_up == [("127.0.0.1", 7)] * (kind in ("body_cut", "close_each"))
    if kind == "sse":
        deltas = [json.loads(line[6:]) for line in reply.raw.decode().split("\n\n") if line.startswith("data: {")]
        assert "".join(delta["choices"][0]["delta"]["content"] for delta in deltas) == write(chat())
    elif kind == "body_cut":
        assert len(reply.raw) == int(reply.headers["content-length"]) // 2
    elif kind.startswith("gzip_"):
        assert json.loads(gzip.decompress(reply.raw))["choices"]
    elif kind == "other_api":
        assert json.loads(reply.raw)["candidates"][0]["content"]["parts"][0]["text"] == write(chat())
    elif kind == "body_in_string":
        assert json.loads(json.loads(reply.raw))["choices"][0]["message"]["content"] == write(chat())
    elif kind == "comments_first":
        assert reply.raw.startswith(b": ")
    elif kind != "br_broken":
        assert json.loads(reply.raw.decode("utf-8-sig"))["choices"][0]["message"]["content"] == write(chat())


@pytest.mark.parametrize("kind", ["finish_max_tokens", "finish_length", "reasoning_ate_budget"])
def test_an_answer_needs_room(kind: str) -> None:
    server = Server(f"{kind}=1,needed_tokens=1500")
    cut, whole = server.ask(chat(max_tokens=1024)), server.ask(chat(max_tokens=1500))
    assert cut.body["choices"][0]["finish_reason"] == ("MAX_TOKENS" if kind == "finish_max_tokens" else "length")
    assert cut.body["usage"]["completion_tokens"] == 1024
    assert whole.content == write(chat())
    assert (server.stats()["sold"], server.stats()["good"]) == (2, 1)


@pytest.mark.parametrize("kind", ENDPOINT)
def test_a_trouble_of_the_endpoint_begins_after_some_answers(kind: str) -> None:
    server = Server(f"{kind}=1,after=2")
    replies = [server.ask(chat(f"text {n}")) for n in range(5)]
    assert [reply.content for reply in replies[:2]] == [write(chat(f"text {n}")) for n in range(2)]
    assert kind == "notice" or not any(b'"content": "' in reply.raw for reply in replies[2:])
    stats = server.stats()
    assert (stats["good"], stats["sold"]) == (2, 5 if kind in SOLD else 2)


def test_a_trouble_of_the_endpoint_may_end() -> None:
    server = Server("loading=1,until=2")
    assert [server.ask(chat(f"text {n}")).status for n in range(4)] == [503, 503, 200, 200]
    server = Server("loading=1,trouble_s=0.05")
    assert server.ask(chat()).status == 503
    time.sleep(0.06)
    assert server.ask(chat()).status == 200


def test_a_server_that_moved_answers_elsewhere() -> None:
    server = Server("moved_308=1")
    reply = server.ask(chat())
    assert (reply.status, reply.headers["location"]) == (308, f"{MOVED}/v1/chat/completions")
    assert server.ask(chat(), reply.headers["location"]).content == write(chat())


def test_a_key_is_repeated() -> None:
    assert "sk-seen" in Server("key_echo=1").ask(chat()).body["error"]["message"]
    assert "sk-seen" in Server("models=key_echo").get("/v1/models").body["error"]["message"]


@pytest.mark.parametrize("kind", ROW)
def test_a_trouble_of_rows_meets_those_with_the_word_each_time(kind: str) -> None:
    server = Server(f"{kind}=1,only=MARKED")
    bad = [server.ask(chat("MARKED 1", max_tokens=room)).raw for room in (900, 1000)]
    assert bad[0] == bad[1]
    assert server.ask(chat()).content == write(chat())
    assert server.stats()["good"] == 1


def test_a_trouble_of_rows_may_meet_the_first_ones_only() -> None:
    server = Server("row_filtered=1,first=2")
    assert [server.ask(chat(f"text {n}")).status for n in (0, 1, 2, 0, 1, 2)] == [400, 400, 200, 400, 400, 200]


def test_a_trouble_of_rows_meets_a_share() -> None:
    server = Server("row_500=0.3,seed=5")
    statuses = [server.ask(chat(f"text {n}")).status for n in range(60)]
    assert 8 < statuses.count(500) < 28


def test_too_long_comes_in_all_wordings() -> None:
    server = Server("row_too_long=1,only=MARKED")
    replies = [server.ask(chat(f"MARKED {n}. A long text")) for n in range(len(TOO_LONG))]
    assert [(reply.status, reply.body) for reply in replies] == list(TOO_LONG.values())


@pytest.mark.parametrize("told", LIMITS)
def test_a_limit_holds_and_is_told(told: str) -> None:
    server = Server(f"limit=2,limit_s=20,limit_told={told}")
    replies = [server.ask(chat(f"text {n}")) for n in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    left = told_wait(told, replies[2])
    assert left == pytest.approx({"short": 1, "zero": 0}.get(told, 20), abs=1.5)
    assert (server.stats()["sold"], server.stats()["faults"]) == (2, {"limit": 2})


def told_wait(told: str, reply: Reply) -> float:
    """The seconds in a refusal; 20 without any."""
    message, headers = reply.body["error"]["message"], reply.headers
    if "retry-after" in headers:
        value = headers["retry-after"]
        return float(value) if value.isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    if "retry-after-ms" in headers:
        return float(headers["retry-after-ms"]) / 1000
    if "x-ratelimit-reset" in headers:
        return float(headers["x-ratelimit-reset"]) / 1000 - time.time()
    if "x-ratelimit-reset-tokens" in headers:
        return float(headers["x-ratelimit-reset-tokens"][:-1])
    if "details" in reply.body["error"]:
        return float(reply.body["error"]["details"][0]["retryDelay"][:-1])
    found = re.search(r"(?:(\d+)m)?(\d+(?:\.\d+)?) ?s", message)
    assert (found is None) == (told == "nothing")
    return float(found[1] or 0) * 60 + float(found[2]) if found else 20


def test_a_limit_lets_the_next_ones_through() -> None:
    server = Server("limit=1,limit_s=0.05")
    assert [server.ask(chat(text)).status for text in "ab"] == [200, 429]
    time.sleep(0.06)
    assert server.ask(chat("b")).status == 200


MET: dict[str, dict[str, Any]] = {
    "no_json_schema": {"response_format": {"type": "json_object"}},
    "no_json_schema_422": {"response_format": {"type": "json_object"}},
    "no_max_tokens": {"max_tokens": None, "max_completion_tokens": 900},
    "no_temperature": {"temperature": 1},
    "both_t_p": {"top_p": None},
    "no_system": {"messages": [{"role": "user", "content": "Write 2 personas."}]},
    "no_ref": {"response_format": {"type": "json_object"}},
    "no_lengths": {"response_format": {"type": "json_object"}},
    "no_extra_false": {"response_format": {"type": "json_object"}},
    "no_long_texts": {"response_format": {"type": "json_object"}},
}
UNMET: dict[str, dict[str, Any]] = {
    "no_json_object": {"response_format": {"type": "json_object"}},
    "no_tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "no_max_completion_tokens": {"max_tokens": None, "max_completion_tokens": 900},
}


@pytest.mark.parametrize("need", NEEDS)
def test_a_need_refuses_what_does_not_meet_it(need: str) -> None:
    server = Server(f"needs={need}")
    refused = server.ask(without_nulls(chat(**UNMET.get(need, {}))))
    assert refused.status in (400, 422)
    assert server.ask(without_nulls(chat(**MET.get(need, {})))).status == 200
    assert (server.stats()["sold"], server.stats()["faults"]) == (1, {"needs": 1})


def without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def test_a_schema_is_found_in_a_tool_and_in_words() -> None:
    server = Server()
    tool = {"type": "function", "function": {"name": "TextPersonas", "parameters": SCHEMA}}
    body = chat(tools=[tool])
    del body["response_format"]
    choice = server.ask(body).body["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], call["function"]["name"]) == ("tool_calls", "TextPersonas")
    assert is_valid(call["function"]["arguments"])
    del body["tools"]
    body["messages"][0]["content"] += f" Use {{braces}} and this schema:\n{json.dumps(SCHEMA, indent=2)}\nNothing else."
    assert is_valid(server.ask(body).content)


@pytest.mark.parametrize("name", MODEL_LISTS)
def test_the_list_of_models_has_forms(name: str) -> None:
    reply = Server(f"models={name}").get("/v1/models")
    assert (reply.raw == Server().get("/v1/models").raw) == (name == "usual")
    assert Server(f"models={name}").ask(chat()).content == write(chat())


def test_kinds_of_different_groups_meet_the_same_answer() -> None:
    server = Server("fence=1,tier_groq=1,reasoning_only=1,spaces_first=1")
    reply = server.ask(chat())
    assert reply.raw.startswith(b" \n")
    assert reply.body["service_tier"] == "on_demand"
    assert reply.message["reasoning_content"] == f"```json\n{write(chat())}\n```"
    assert server.stats()["good"] == 1


def test_a_bad_setting_names_the_choices() -> None:
    with pytest.raises(FaultError) as caught:
        Faults.parse("limit_told=loudly,models=none,needs=no_ref+no_fun,only=,after=x,think=0.6,fence=0.6")
    for word in (*LIMITS, *MODEL_LISTS, *NEEDS, "'no_fun'", "only is empty", "after='x'", "add up to 1.2"):
        assert word in str(caught.value)


def test_the_catalogue_has_every_name() -> None:
    names = [name for chapter in CATALOGUE for name in chapter.entries]
    assert {*KINDS, *SETTINGS, *LIMITS, *MODEL_LISTS, *NEEDS, *BATCH_FAULTS} == {*names}
    assert all(name in overview() for name in names)


def test_every_scenario_of_the_table_is_one_that_the_stand_in_knows() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "servers.py"))
    scenarios = script["scenarios"]()
    names = [scenario.name for scenario in scenarios]
    assert len(set(names)) == len(names)
    for scenario in scenarios:
        faults = Faults.parse(scenario.faults)
        name = scenario.name.partition("@")[0]
        assert name == "plain" or name in faults.rates or name in ("limit_told", "needs", "models", "most_texts")
    played = {name for scenario in scenarios for name in Faults.parse(scenario.faults).rates}
    basic = {name for chapter in CATALOGUE[:3] for name in chapter.entries}
    assert played == {*KINDS} - basic - {*ANSWERS}  # which no server causes


def test_the_table_says_what_is_not_as_it_should_be() -> None:
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "servers.py"))
    (scenario,) = (scenario for scenario in script["scenarios"]() if scenario.name == "row_filtered@first")
    right = script["Outcome"](30, {"content_filtered": 3}, 0, 30, 9.0, "")
    wrong = script["Outcome"](0, {}, 1, 90, 9.0, "Traceback: KeyError()")
    assert right.wrong(scenario) == []
    assert len(wrong.wrong(scenario)) == 5
    lines = script["table"]([(scenario, right), (scenario, wrong)]).splitlines()
    assert lines[2].endswith("| 30 | 3 content_filtered | 1.00 | 0 | yes |")
    assert "| 90 for none | 1 | no: expected 30 rows, " in lines[3]
