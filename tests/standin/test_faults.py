"""Each fault over real HTTP, the syntax that chooses them, and that they are deterministic."""

import http.client
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from personahub_assets.standin.faults import CONTENT, KINDS, MAX_MODEL_LEN, STICKY, TRANSPORT, FaultError, Faults
from personahub_assets.standin.server import StandinServer
from personahub_assets.standin.words import REFUSALS
from personahub_assets.standin.writer import write

SCHEMA = {
    "type": "object",
    "properties": {"personas": {"type": "array", "items": {"type": "string", "maxLength": 300}, "minItems": 2}},
    "required": ["personas"],
}
PEOPLE = {
    "type": "object",
    "properties": {"people": {"type": "array", "items": {"$ref": "#/$defs/Person"}, "minItems": 1, "maxItems": 4}},
    "required": ["people"],
    "additionalProperties": False,
    "$defs": {
        "Person": {
            "type": "object",
            "properties": {
                "persona": {"type": "string", "minLength": 20, "maxLength": 300},
                "relation": {"type": "string", "enum": ["read", "write"]},
            },
            "required": ["persona", "relation"],
            "additionalProperties": False,
        }
    },
}


def chat(row: int = 0, schema: dict[str, Any] = SCHEMA, **more: Any) -> dict[str, Any]:
    asked = {"type": "json_schema", "json_schema": {"name": "Personas", "schema": schema}}
    messages = [{"role": "user", "content": f"<data>Tide tables of Islay, row {row}</data>"}]
    return {"model": "standin", "messages": messages, "response_format": asked, **more}


class Reply:
    """One HTTP answer."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.retry_after = response.getheader("retry-after")
        self.media_type = response.getheader("content-type")
        self.raw = response.read()

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def content(self) -> str:
        return str(self.body["choices"][0]["message"]["content"])

    @property
    def finish_reason(self) -> str:
        return str(self.body["choices"][0]["finish_reason"])


def ask(server: StandinServer, body: dict[str, Any], timeout: float = 20) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        return Reply(connection.getresponse())
    finally:
        connection.close()


def test_429_asks_to_come_back_soon() -> None:
    with StandinServer("429=1") as server:
        replies = [ask(server, chat(row)) for row in range(8)]
        assert server.stats()["faults"] == {"429": 8}
    assert {reply.status for reply in replies} == {429}
    assert {reply.retry_after for reply in replies} <= {"0", "1"}
    assert replies[0].body["error"]["type"] == "rate_limit_error"


def test_500_is_a_server_error() -> None:
    with StandinServer("500=1") as server:
        reply = ask(server, chat())
    assert reply.status == 500
    assert reply.body["error"]["type"] == "server_error"


def test_503_asks_to_come_back_soon() -> None:
    with StandinServer("503=1") as server:
        replies = [ask(server, chat(row)) for row in range(8)]
    assert {reply.status for reply in replies} == {503}
    assert {reply.retry_after for reply in replies} == {"0", "1"}
    assert replies[0].body["error"]["type"] == "server_error"


def test_slow_answers_late_but_rightly() -> None:
    with StandinServer("slow=1,slow_s=0.05") as server:
        assert ask(server, chat()).content == write(chat())
        assert server.stats()["faults"] == {"slow": 1}
    # Five seconds by default: longer than this client waits.
    with StandinServer("slow=1") as server, pytest.raises(TimeoutError):
        ask(server, chat(), timeout=0.2)
    with StandinServer("slow=1,slow_s=0,refusal=1") as server:  # a prompt that is refused is refused late too
        message = ask(server, chat()).body["choices"][0]["message"]
        assert (message["content"] or message["refusal"]) in REFUSALS


def test_malformed_is_a_success_without_a_completion() -> None:
    with StandinServer("malformed=1") as server:
        replies = [ask(server, chat(row)) for row in range(24)]
    assert {reply.status for reply in replies} == {200}
    assert not any(reply.raw.endswith(b"}") and "choices" in reply.body for reply in replies)
    assert {reply.media_type for reply in replies} == {"text/html", "application/json"}
    assert len({reply.raw for reply in replies}) == 4


def test_hang_holds_the_request_until_the_client_gives_up() -> None:
    with StandinServer("hang=1") as server:
        with pytest.raises(TimeoutError):
            ask(server, chat(), timeout=0.3)
        assert server.stats()["faults"] == {"hang": 1}
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
        connection.request("GET", "/health")  # others are still served
        with connection.getresponse() as response:
            assert response.status == 200
        connection.close()


def test_hang_ends_after_its_time() -> None:
    with StandinServer("hang=1,hang_s=0.1") as server:
        assert ask(server, chat()).status == 504


def test_reset_closes_the_connection_without_an_answer() -> None:
    with StandinServer("reset=1") as server:
        for row in range(3):
            with pytest.raises(ConnectionError):  # http.client's RemoteDisconnected is one
                ask(server, chat(row))
        assert server.stats()["faults"] == {"reset": 3}
        assert server.stats()["in_flight"] == 0


def test_truncate_cuts_until_there_is_more_room() -> None:
    with StandinServer("truncate=1") as server:
        cut = [ask(server, chat(max_tokens=600)) for _ in range(2)]
        whole = ask(server, chat(max_tokens=1200))
    for reply in cut:
        assert reply.finish_reason == "length"
        assert write(chat()).startswith(reply.content)
        with pytest.raises(json.JSONDecodeError):
            json.loads(reply.content)
    assert whole.finish_reason == "stop"
    assert whole.content == write(chat())


def test_bad_json_never_parses() -> None:
    with StandinServer("bad_json=1") as server:
        for row in range(12):
            reply = ask(server, chat(row))
            assert reply.finish_reason == "stop"
            with pytest.raises(json.JSONDecodeError):
                json.loads(reply.content, strict=False)


def test_bad_schema_is_json_that_breaks_its_schema_in_many_ways() -> None:
    validator, ways = Draft202012Validator(PEOPLE), set()
    with StandinServer("bad_schema=1,seed=2") as server:
        for row in range(60):
            reply = ask(server, chat(row, schema=PEOPLE))
            assert reply.finish_reason == "stop"
            faults = list(validator.iter_errors(json.loads(reply.content)))
            assert faults
            ways |= {fault.validator for fault in faults}
    assert ways == {
        *("required", "additionalProperties", "minLength", "maxLength", "enum", "type", "minItems", "maxItems")
    }


def test_bad_schema_is_gone_with_a_retry_and_needs_a_schema() -> None:
    with StandinServer("bad_schema=0.5") as server:
        valid = Draft202012Validator(PEOPLE).is_valid
        tries = [[valid(json.loads(ask(server, chat(row, PEOPLE)).content)) for _ in range(6)] for row in range(6)]
        assert all(True in row for row in tries)
        assert any(False in row for row in tries)
    with StandinServer("bad_schema=1") as server:
        plain = {"messages": [{"role": "user", "content": "Hello"}]}
        assert ask(server, plain).content == write(plain)
        assert server.stats()["faults"] == {}


def test_control_characters_parse_only_leniently() -> None:
    with StandinServer("control=1") as server:
        for row in range(8):
            content = ask(server, chat(row)).content
            with pytest.raises(json.JSONDecodeError, match="control character"):
                json.loads(content)
            assert len(json.loads(content, strict=False)["personas"]) >= 2


def test_surrogate_puts_a_lone_one_into_a_string() -> None:
    with StandinServer("surrogate=1") as server:
        for row in range(8):
            found = "".join(json.loads(ask(server, chat(row)).content)["personas"])
            with pytest.raises(UnicodeEncodeError, match="surrogates"):
                found.encode()


def test_empty_is_an_answer_without_text() -> None:
    with StandinServer("empty=1") as server:
        reply = ask(server, chat())
    assert reply.content == ""
    assert reply.finish_reason == "stop"


def test_whitespace_runs_to_the_limit() -> None:
    with StandinServer("whitespace=1") as server:
        reply = ask(server, chat(max_tokens=300))
        more = ask(server, chat(max_tokens=900))
    assert reply.finish_reason == "length"
    assert reply.content.strip() == "{"
    assert len(reply.content) == 1200
    assert more.content == write(chat())


def test_refusals_come_in_both_forms_and_stick() -> None:
    with StandinServer("refusal=1") as server:
        messages = [ask(server, chat(row)).body["choices"][0]["message"] for row in range(16)]
        again = [ask(server, chat(row, max_tokens=2000)).body["choices"][0]["message"] for row in range(16)]
    assert messages == again
    assert {message["content"] is None for message in messages} == {True, False}
    for message in messages:
        assert (message["content"] or message["refusal"]) in REFUSALS


def test_a_content_filter_withholds_all_or_most_and_sticks() -> None:
    with StandinServer("content_filter=1") as server:
        replies = [ask(server, chat(row)) for row in range(16)]
        again = [ask(server, chat(row, max_tokens=2000)) for row in range(16)]
    assert {reply.finish_reason for reply in replies} == {"content_filter"}
    contents = [reply.body["choices"][0]["message"]["content"] for reply in replies]
    assert contents == [reply.body["choices"][0]["message"]["content"] for reply in again]
    assert None in contents
    for row, content in enumerate(contents):
        assert content is None or (write(chat(row)).startswith(content) and len(content) < 50)


def test_endless_is_cut_however_much_room_there_is() -> None:
    with StandinServer("endless=1") as server:
        replies = {room: ask(server, chat(max_tokens=room)) for room in (100, 200, 4000)}
    for room, reply in replies.items():
        assert reply.finish_reason == "length"
        assert len(reply.content) == 4 * room
        with pytest.raises(json.JSONDecodeError):
            json.loads(reply.content)


def test_400_is_openais_and_sticks() -> None:
    with StandinServer("400=1") as server:
        errors = [ask(server, chat(row)) for row in range(12)]
        again = [ask(server, chat(row, max_tokens=2000)) for row in range(12)]
    assert {reply.status for reply in errors} == {400}
    assert [reply.raw for reply in errors] == [reply.raw for reply in again]
    assert len({reply.raw for reply in errors}) == 3
    for reply in errors:
        assert reply.body["error"]["type"] == "invalid_request_error"
        assert "token" not in reply.body["error"]["message"]
        assert "length" not in reply.body["error"]["message"]


def test_too_long_speaks_like_vllm_and_sticks() -> None:
    with StandinServer("too_long=1,max_model_len=900") as server:
        first, again = (ask(server, chat(max_tokens=limit)) for limit in (100, 200))
    for reply, limit in ((first, 100), (again, 200)):
        assert reply.status == 400
        error = reply.body["error"]
        assert (error["type"], error["param"], error["code"]) == ("BadRequestError", "input_tokens", 400)
        for word in ("maximum context length", "900", "901", f"{limit} output tokens"):
            assert word in error["message"]


def test_a_small_context_holds_everywhere() -> None:
    with StandinServer("max_model_len=300") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("GET", "/v1/models")
        assert Reply(connection.getresponse()).body["data"][0]["max_model_len"] == 300
        connection.request("POST", "/tokenize", json.dumps({"prompt": "x" * 2000}))
        assert Reply(connection.getresponse()).body == {"count": 500, "max_model_len": 300, "tokens": []}
        connection.close()
        over = ask(server, chat(max_tokens=290))
        assert over.status == 400
        assert "300 tokens" in over.body["error"]["message"]
        assert ask(server, chat(max_tokens=200)).content == write(chat())
        # Without a limit of its own an answer has what the prompt leaves of the context.
        long = {"messages": [{"role": "user", "content": "word " * 220}]}
        assert ask(server, long).finish_reason == "length"


@pytest.mark.parametrize("sticky", ["refusal", "content_filter", "400", "too_long", "endless"])
def test_a_sticky_fault_meets_its_share_of_the_prompts_and_no_other(sticky: str) -> None:
    faults = Faults.parse("refusal=0.1,content_filter=0.1,400=0.1,too_long=0.1,endless=0.1,seed=3")
    drawn = [faults.sticky(b"%d" % n) for n in range(4000)]
    assert 300 < drawn.count(sticky) < 500
    alone = Faults.parse("refusal=0.1,seed=3")  # who is refused does not hang on the other kinds
    assert [kind == "refusal" for kind in drawn] == [alone.sticky(b"%d" % n) is not None for n in range(4000)]


def test_faults_come_the_same_way_every_time_and_a_retry_can_succeed() -> None:
    spec = "429=0.2,500=0.2,empty=0.1,seed=11"

    def run() -> list[list[int]]:
        with StandinServer(spec) as server:
            return [[ask(server, chat(row)).status for _ in range(4)] for row in range(12)]

    first = run()
    assert first == run()
    assert any(statuses[0] != 200 and 200 in statuses for statuses in first)


def test_rates_and_seeds_decide() -> None:
    faults = Faults.parse("429=0.1,truncate=0.2,seed=3")
    other = Faults.parse("429=0.1,truncate=0.2,seed=4")
    drawn = [faults.transient(b"%d" % n, 0) for n in range(4000)]
    assert 300 < drawn.count("429") < 500
    assert 650 < drawn.count("truncate") < 950
    assert set(drawn) == {"429", "truncate", None}
    assert drawn == [faults.transient(b"%d" % n, 0) for n in range(4000)]
    assert drawn != [other.transient(b"%d" % n, 0) for n in range(4000)]
    assert drawn != [faults.transient(b"%d" % n, 1) for n in range(4000)]


def test_a_specification_is_read() -> None:
    faults = Faults.parse(" 429=0.02, hang=.5 ,refusal=1,seed=7,hang_s=2,latency_ms=15")
    assert faults == Faults({"429": 0.02, "hang": 0.5, "refusal": 1.0}, seed=7, hang_s=2.0, latency_ms=15.0)
    assert Faults.parse("slow_s=.1,max_model_len=512") == Faults(slow_s=0.1, max_model_len=512)
    assert Faults.parse("") == Faults()
    assert Faults().max_model_len == MAX_MODEL_LEN


def test_a_bad_specification_names_everything_wrong_and_the_valid_kinds() -> None:
    with pytest.raises(FaultError) as caught:
        Faults.parse(
            "404=0.1,500=2,hang=often,seed=x,truncate=0.9,empty=0.9,400=0.7,refusal=0.7,max_model_len=0,slow_s=-1"
        )
    message = str(caught.value)
    for word in (
        "'404'",
        "500='2'",
        "hang='often'",
        "seed='x'",
        "add up to 1.8",
        "add up to 1.4",
        "max_model_len='0'",
        "slow_s='-1'",
        *KINDS,
    ):
        assert word in message


def test_the_server_refuses_a_bad_specification_before_it_starts() -> None:
    with pytest.raises(FaultError, match="unknown kind 'oops'"):
        StandinServer("oops=1")


def test_every_kind_has_its_test() -> None:
    source = Path(__file__).read_text("utf-8")
    basic = (*TRANSPORT, *CONTENT, *STICKY)  # tests/standin/test_behaviour.py has the others
    assert [kind for kind in basic if f'"{kind}=1' not in source] == []
    assert len(set(KINDS)) == len(KINDS)
