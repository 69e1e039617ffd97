"""The transport: which failures are retried, which are not, and when it gives up.

Nothing is timed: the tests check the number of calls and their bodies.
"""

import asyncio
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from scripted import Reply, Script, error, good, over

from personahub_assets.core.errors import BudgetSpent, EndpointDown, EndpointRefuses, LLMError
from personahub_assets.endpoints import transport as transport_module
from personahub_assets.endpoints.transport import Fault, Meter, Refused, Transport
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.llm import LLM
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.usefixtures("brisk")
_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def post(url: str, rows: int = 1, *, together: bool = False, meter: Meter | None = None, **way: Any) -> list[Any]:
    """Send requests; return an error or a refusal in place of the reply."""

    async def one(transport: Transport, number: int) -> Any:
        try:
            return await transport.post("/chat/completions", json.dumps({"n": number}).encode(), meter or Meter())
        except (Fault, Refused) as problem:
            return problem

    async def work(transport: Transport) -> list[Any]:
        if together:
            return await asyncio.gather(*(one(transport, n) for n in range(rows)))
        return [await one(transport, n) for n in range(rows)]

    found: list[Any] = over(url, work, **way)
    return found


FAULTS = {
    **{str(status): error(status) for status in (408, 409, 425, 500, 502, 503, 504)},
    "connection reset": Reply(hang_up=True),
    "half a reply": Reply("x" * 1_000, half=True),
    "a proxy's page": Reply(body=_PAGE, headers={"content-type": "text/html"}),
    "nothing": Reply(body=b""),
    "no UTF-8": Reply(body=b'{"a": "\xff\xfe"}'),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_what_says_nothing_about_the_request_is_tried_again(script: Script, fault: Reply) -> None:
    meter = Meter()
    (reply,) = post(script.told(fault, fault, good()).url, meter=meter, tries=3)
    assert reply["model"] == "scripted-1"
    assert script.bodies == [{"n": 0}] * 3
    assert meter.flight_s > 0


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_the_last_fault_is_given_when_no_try_was_answered(script: Script, fault: Reply) -> None:
    (problem,) = post(script.told(fault, fault).url, tries=2)
    assert isinstance(problem, Fault)
    assert str(problem)
    assert not problem.timeout
    assert problem.overload == (fault.status in (503, 504))
    assert len(script.bodies) == 2


def test_one_try_means_one_call(script: Script) -> None:
    (problem,) = post(script.told(error(500)).url, tries=1)
    assert str(problem).startswith("500: ")
    assert len(script.bodies) == 1


def test_the_tries_of_one_request_are_its_own(script: Script) -> None:
    script.told(error(500), error(500), good(), error(500), error(500), good())
    assert all(isinstance(reply, dict) for reply in post(script.url, 2, tries=3))


def test_no_answer_in_time_is_told_apart() -> None:
    seen: list[int] = []
    with StandinServer("hang=1") as server:
        (problem,) = post(server.url, tries=2, timeout_s=0.2, on_overload=lambda: seen.append(1))
        # The fault is drawn for requests that are in order only.
        assert isinstance(problem, Refused)
        body = json.dumps({"model": "standin", "messages": [{"role": "user", "content": "x"}]}).encode()
        with pytest.raises(Fault, match=r"no answer within 0\.2 s") as caught:
            over(
                server.url,
                lambda transport: transport.post("/chat/completions", body, Meter()),
                tries=2,
                timeout_s=0.2,
                on_overload=lambda: seen.append(1),
            )
        assert server.stats()["calls"] == 2
    assert (caught.value.timeout, caught.value.overload, len(seen)) == (True, True, 2)


def test_signs_of_overload_are_told_one_by_one(script: Script) -> None:
    seen: list[int] = []
    script.told(error(429), error(500), error(503), Reply(hang_up=True), error(504), good())
    post(script.url, tries=9, on_overload=lambda: seen.append(1))
    assert len(seen) == 3


# --- pauses ---


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_pause_that_the_server_asks_for_is_kept(script: Script, status: int) -> None:
    # One that comes back sooner gets another 429 and so makes a third call.
    script.told(error(status, retry_after="0.3"), good())
    meter = Meter()
    script.not_before = time.monotonic()
    original = script.next

    def next_reply(body: dict[str, Any]) -> Reply:
        reply = original(body)
        if len(script.bodies) == 1:
            script.not_before = time.monotonic() + 0.3
        return reply

    script.next = next_reply  # type: ignore[method-assign]
    try:
        (reply,) = post(script.url, meter=meter, tries=9)
    finally:
        del script.next
    assert isinstance(reply, dict)
    assert len(script.bodies) == 2
    assert meter.pause_s >= 0.3


@pytest.mark.parametrize("after", ["soon", "", "-1", "Wed, 21 Oct 2015 07:28:00 GMT", "\u00b2", ".", "1.2.3", "nan"])
def test_a_pause_that_cannot_be_read_is_no_fault(script: Script, after: str) -> None:
    (reply,) = post(script.told(error(429, retry_after=after), good()).url)
    assert isinstance(reply, dict)


# --- verdicts ---


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example", "ex\u2100mple.org"])
def test_what_cannot_be_sent_is_no_fault_of_a_reply(host: str) -> None:
    with pytest.raises(LLMError, match="cannot send requests"):
        post(f"http://{host}/v1")


def test_a_reply_without_end_is_not_read_to_it(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "_LONGEST_REPLY", 1 << 20)
    bomb = Reply(body=gzip.compress(bytes(4 << 20)), headers={"content-encoding": "gzip"})
    (fault,) = post(script.told(otherwise=bomb).url, tries=1)
    assert str(fault) == "the reply has more than 1,048,576 bytes"


def test_a_key_that_a_reply_quotes_is_not_shown(script: Script) -> None:
    def refuse(content: bytes) -> None:
        raise ValueError(content.decode())

    async def work(transport: Transport) -> None:
        with pytest.raises(Fault, match=r"cannot be read: the key is \*\*\*$"):
            await transport.post("/chat/completions", b"{}", Meter(), parse=refuse)

    script.told(otherwise=Reply(body=b"the key is none"))  # as `over` has it
    over(script.url, work, tries=1)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_path_or_model_stops_with_the_remedy(script: Script, status: int) -> None:
    script.told(error(status, "The model `x` does not exist."))
    variable = "API_KEY" if status == 401 else "MODEL"
    pattern = f"(?s){script.url}: {status}: .*does not exist.*PERSONAHUB_LLM_{variable}.*doctor"
    with pytest.raises(EndpointRefuses, match=pattern):
        post(script.url)
    assert len(script.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "too_long"),
    [
        (error(400, "temperature must be positive"), False),
        (error(422, "unprocessable"), False),
        (error(400, "This model's maximum context length is 4096 tokens, however you requested 9000"), True),
        (error(413, "Payload too large"), True),
    ],
)
def test_a_wrong_request_is_not_repeated(script: Script, reply: Reply, too_long: bool) -> None:
    (problem,) = post(script.told(reply).url, tries=5)
    assert isinstance(problem, Refused)
    assert (problem.verdict.reason == "too_long") == too_long
    assert str(problem).startswith(f"{reply.status}: ")
    assert len(script.bodies) == 1


def test_a_long_error_page_is_cut(script: Script) -> None:
    (problem,) = post(script.told(error(400, "no " * 5_000)).url)
    assert len(str(problem)) < 500


# --- the server counts as down ---


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("tries", [1, 9])
def test_faults_in_a_row_stop_everything_after_so_many_calls(script: Script, limit: int, tries: int) -> None:
    script.told(otherwise=error(500, "the engine is dead"))
    with pytest.raises(EndpointDown, match=f"{limit} transport faults in a row, the last: 500: .*journal.*run again"):
        post(script.url, 20, tries=tries, faults_in_a_row=limit)
    assert len(script.bodies) == limit


@pytest.mark.parametrize("answer", [good(), error(400), Reply("")])
def test_any_answer_ends_the_row_of_faults(script: Script, answer: Reply) -> None:
    script.told(error(500), answer, error(500), answer, error(500), answer)
    found = post(script.url, 6, tries=1, faults_in_a_row=2)
    assert [isinstance(one, Fault) for one in found] == [True, False] * 3


@pytest.mark.parametrize("fault", [error(500), Reply(hang_up=True)])
def test_those_in_flight_together_are_one_trouble(script: Script, fault: Reply) -> None:
    script.told(*[fault] * 12, otherwise=good())
    script.gate = threading.Barrier(12)
    assert all(isinstance(reply, dict) for reply in post(script.url, 12, together=True, faults_in_a_row=2))
    assert len(script.bodies) == 24


def test_a_server_that_stays_away_is_not_called_much_more_often(script: Script) -> None:
    flying, limit = 12, 3
    script.told(otherwise=error(500))
    script.gate = threading.Barrier(flying)
    with pytest.raises(EndpointDown, match=f"{flying + limit - 1} transport faults in a row"):
        post(script.url, flying, together=True, tries=9, faults_in_a_row=limit)
    # The faults that counted, and what was on its way when the last of them came.
    assert flying + limit - 1 <= len(script.bodies) <= 2 * flying + limit - 2


def test_nobody_listening_is_the_endpoint_down() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else can take the port meanwhile
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EndpointDown, match=r"2 transport faults in a row, the last: ClientConnectorError: .*"):
            post(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", 2, tries=1, faults_in_a_row=2)


# --- the hook before each try ---


def test_every_try_is_a_call_of_the_budget(script: Script) -> None:
    budget = Budget(max_calls=4)
    script.told(error(500), error(429), good(), good(), otherwise=good())
    assert all(isinstance(reply, dict) for reply in post(script.url, 2, before=budget.call))
    assert (budget.calls, len(script.bodies)) == (4, 4)
    with pytest.raises(BudgetSpent, match="4 calls"):
        post(script.url, before=budget.call)
    assert len(script.bodies) == 4


def test_a_budget_spent_between_two_tries_sends_no_further_one(script: Script) -> None:
    budget = Budget(max_calls=2)
    with pytest.raises(BudgetSpent):
        post(script.told(otherwise=error(500)).url, tries=9, before=budget.call)
    assert len(script.bodies) == 2


def test_what_was_let_pass_before_a_try_is_taken_back_after_it(script: Script) -> None:
    log: list[str] = []
    script.told(error(500), Reply(hang_up=True), good(), error(400), Reply(body=b"<p>"), error(401))

    def told(what: str) -> Callable[[], None]:
        return lambda: log.append(what)

    with pytest.raises(LLMError):
        post(script.url, 3, tries=3, before=told("before"), after=told("after"))
    assert log == ["before", "after"] * 6


def test_a_try_that_is_not_let_pass_is_not_taken_back(script: Script) -> None:
    budget = Budget(max_calls=1)
    with pytest.raises(BudgetSpent):
        post(script.told(otherwise=error(500)).url, tries=9, before=budget.call, after=budget.returned)
    assert (budget.calls, budget.flying) == (1, 0)


# --- /tokenize ---


def test_tokens_are_counted_by_the_server_beside_v1(script: Script) -> None:
    script.told().count = lambda body: Reply(body=json.dumps({"count": len(body["messages"])}).encode())

    async def work(transport: Transport) -> list[int | None]:
        return [await transport.tokenize(b'{"messages": [1, 2, 3]}') for _ in range(3)]

    assert over(script.url, work) == [3, 3, 3]
    assert (script.count_calls, script.bodies) == (3, [])


@pytest.mark.parametrize(
    "reply", [error(404), error(405), error(400), error(401), Reply(body=b"<p>"), Reply(body=b"[]")]
)
def test_a_server_without_the_route_is_asked_once(script: Script, reply: Reply) -> None:
    script.told().count = lambda _body: reply

    async def work(transport: Transport) -> list[int | None]:
        return [await transport.tokenize(b"{}") for _ in range(3)]

    assert over(script.url, work) == [None] * 3
    assert script.count_calls == 1


def test_a_fault_while_counting_does_not_say_that_there_is_no_route(script: Script) -> None:
    replies = [error(503), Reply(hang_up=True), Reply(body=b'{"count": 5}')]
    script.told().count = lambda _body: replies.pop(0)

    async def work(transport: Transport) -> list[int | None]:
        return [await transport.tokenize(b"{}") for _ in range(3)]

    assert over(script.url, work, faults_in_a_row=1) == [None, None, 5]


def test_counting_takes_nothing_from_the_budget(script: Script) -> None:
    budget = Budget(max_calls=1)
    script.told().count = lambda _body: Reply(body=b'{"count": 5}')
    over(script.url, lambda transport: transport.tokenize(b"{}"), before=budget.call)
    assert budget.calls == 0


# --- the list of models ---


@pytest.mark.parametrize("told", ['"x"', "-5", "0", "NaN", "1e300", "null", "[]"])
def test_a_context_that_cannot_be_is_not_reckoned_with(script: Script, told: str) -> None:
    script.told().pages["/models"] = b'{"data": [{"id": "m\\ud800", "max_model_len": %s}]}' % told.encode()
    assert LLM(url=script.url, model=None).models() == {"m\ufffd": None}


@pytest.mark.parametrize("page", [b"[" * 100_000, b"7", b"", b'{"error": "no"}'])
def test_a_list_of_models_that_is_none_is_one_line(script: Script, page: bytes) -> None:
    script.told().pages["/models"] = page
    with pytest.raises(LLMError, match="Is the server up"):
        LLM(url=script.url, model=None).models()


@pytest.mark.parametrize("status", [201, 206, 299])
def test_every_status_of_success_is_one(script: Script, status: int) -> None:
    assert post(script.told(Reply("{}", status=status)).url) != []
    assert len(script.bodies) == 1


@pytest.mark.parametrize("named", ["x-gzip", "identity"])
def test_gzip_that_no_header_names_is_unpacked(script: Script, named: str) -> None:
    packed = Reply(body=gzip.compress(b'{"n": 1}'), headers={"content-encoding": named})
    assert post(script.told(packed).url) == [{"n": 1}]


def test_a_header_says_to_try_again(script: Script) -> None:
    again = Reply(status=400, body=b'{"error": "bad luck"}', headers={"x-should-retry": "true"})
    assert post(script.told(again, Reply(body=b'{"n": 1}')).url) == [{"n": 1}]
