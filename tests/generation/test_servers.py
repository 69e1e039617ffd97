"""Several servers of one role: which one gets a request, and what happens when one is dead, silent, slow or refuses."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from engine_run import outcomes, requests
from pooled import PoolRun
from scripted import TASK, Reply, Script, error, good, serving

from personahub_assets.core.errors import BudgetSpent, EndpointDown, KeyRefused, LimitReached
from personahub_assets.endpoints import pool
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Request
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.usefixtures("brisk", "quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probe soon, and find silent servers soon."""
    monkeypatch.setattr(pool, "_PROBE_FIRST_S", 0.05)
    monkeypatch.setattr(pool, "_TICK_S", 0.05)


@pytest.fixture(scope="module")
def scripts() -> Iterator[list[Script]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving()) for _ in range(3)]


@pytest.fixture
def trio(scripts: list[Script]) -> list[Script]:
    """Three servers that answer everything."""
    return [script.told(otherwise=good()) for script in scripts]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "a.sqlite") as opened:
        yield opened


def run(servers: list[Script], count: int, journal: Journal, **more: Any) -> PoolRun:
    done = PoolRun(urls=[server.url for server in servers], task=TASK, **({"most": 8} | more))
    done.of(requests(count, TASK), journal)
    return done


def at(script: Script, answer: Callable[[dict[str, Any]], Reply], patch: pytest.MonkeyPatch) -> None:
    """Let a function answer the requests of a server; they are kept as usual."""
    original = script.next
    patch.setattr(script, "next", lambda body: (original(body), answer(body))[1], raising=False)


# --- a killed, a silent and a slow one ---


class _Trouble:
    """Kills the first server, stops the second and slows down the third, each after so many rows."""

    def __init__(self, killed: StandinServer, silent: StandinServer):
        self.done, self.delay_s = 0, 0.02
        self._killed, self._silent = killed.pid, silent.pid

    def __call__(self, _: Request) -> None:
        self.done += 1
        if self.done == 60:
            os.kill(self._killed, signal.SIGKILL)
        elif self.done == 90:
            os.kill(self._silent, signal.SIGSTOP)
        elif self.done == 120:
            self.delay_s *= 10


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_a_silent_and_a_slow_server_lose_nothing_and_nothing_is_paid_twice(
    scripts: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LEAST_SILENCE_S", 1.5)
    slow, lock, answered = scripts[0].told(otherwise=good()), threading.Lock(), list[str]()
    with StandinServer(latency_ms=20) as killed, StandinServer(latency_ms=20) as silent:
        trouble = _Trouble(killed, silent)

        def answer(body: dict[str, Any]) -> Reply:
            time.sleep(trouble.delay_s)
            with lock:
                answered.append(body["messages"][-1]["content"])
            return good()

        at(slow, answer, monkeypatch)
        done = PoolRun(urls=[killed.url, silent.url, slow.url], task=TASK, most=8, settled=trouble)
        done.of(requests(300, TASK), journal)
        killed_url, silent_url = killed.url, silent.url
        os.kill(silent.pid, signal.SIGKILL)  # it is stopped, so it would not end by itself
    results = outcomes(journal)
    assert len(results) == 300
    assert {outcome.status for outcome in results.values()} == {"accepted"}
    assert {outcome.attempts for outcome in results.values()} == {1}
    shares, tally = done.tally.servers, done.tally
    assert sum(shares.values()) == 300
    assert min(shares.values()) > 10
    rows = [text for text in answered if "lighthouse number" in text]
    assert len(rows) == len(set(rows)) == shares[slow.url]
    assert tally.calls - tally.accepted <= 12  # answered probes
    notes = {note.partition(" ")[0]: note for note in tally.notes}
    assert notes.keys() == {killed_url, silent_url}
    assert "silent for" in notes[silent_url]


def test_a_slow_server_gets_fewer_requests(
    trio: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_: dict[str, Any]) -> Reply:
        time.sleep(0.3)
        return good()

    at(trio[0], answer, monkeypatch)
    done = run(trio, 300, journal, most=4)
    slow, *others = (done.tally.servers[script.url] for script in trio)
    assert slow < min(others) / 2
    assert done.tally.accepted == 300


# --- the circuit breaker ---


def test_a_server_that_comes_back_is_used_again(trio: list[Script], journal: Journal) -> None:
    first, second, _ = trio
    first.told(*[Reply(hang_up=True)] * 12, otherwise=good())
    done = run([first, second], 400, journal, most=2)
    assert done.tally.accepted == 400
    assert {outcome.attempts for outcome in outcomes(journal).values()} == {1}
    assert done.tally.servers[first.url] > 0
    assert any(first.url in note and "also at the end" not in note for note in done.tally.notes)


def test_a_server_that_is_not_there_costs_no_attempt(trio: list[Script], journal: Journal) -> None:
    dead = "http://127.0.0.1:9/v1"
    done = PoolRun(urls=[dead, trio[0].url], task=TASK, budget=Budget(max_calls=100))
    done.of(requests(40, TASK), journal)
    assert done.tally.accepted == 40
    assert done.tally.servers[dead] == 0
    (note,) = done.tally.notes
    assert note.startswith(f"{dead} was left out once, also at the end: ")


@pytest.mark.parametrize("status", [401, 402, 404])
def test_a_server_that_refuses_everybody_is_left_out(trio: list[Script], journal: Journal, status: int) -> None:
    trio[0].told(otherwise=error(status, "The account has no credit." if status == 402 else "No."))
    done = run(trio, 60, journal)
    assert done.tally.accepted == 60
    assert done.tally.servers[trio[0].url] == 0


def test_when_all_refuse_the_step_stops_and_names_each(trio: list[Script], journal: Journal) -> None:
    for script in trio:
        script.told(otherwise=error(401))
    with pytest.raises(KeyRefused) as raised:
        run(trio, 20, journal)
    assert all(script.url in str(raised.value) for script in trio)
    assert not outcomes(journal)


def test_when_none_is_there_the_step_stops_and_names_each(journal: Journal) -> None:
    urls = ["http://127.0.0.1:9/v1", "http://127.0.0.2:9/v1"]
    with pytest.raises(EndpointDown, match="none of the 2 servers can be used") as raised:
        PoolRun(urls=urls, task=TASK).of(requests(20, TASK), journal)
    assert all(url in str(raised.value) for url in urls)
    assert not outcomes(journal)


def test_all_die_in_the_middle_and_the_next_run_goes_on(trio: list[Script], journal: Journal) -> None:
    for script in trio:
        script.told(*[good()] * 10, otherwise=Reply(hang_up=True))
    with pytest.raises(EndpointDown):
        run(trio, 60, journal, most=4)
    kept = outcomes(journal)
    assert 3 < len(kept) <= 30
    assert {outcome.status for outcome in kept.values()} == {"accepted"}
    for script in trio:
        script.told(otherwise=good())
    assert run(trio, 60, journal).tally.accepted == 60


def test_a_limited_server_makes_no_other_wait(trio: list[Script], journal: Journal) -> None:
    waits: list[float] = []
    trio[0].told(otherwise=error(429, "Slow down.", retry_after="500"))
    done = run(trio, 60, journal, watch=lambda tally: waits.append(tally.waits_until))
    assert done.tally.accepted == 60
    assert {outcome.attempts for outcome in outcomes(journal).values()} == {1}
    assert set(waits) == {0.0}
    assert len(trio[0].bodies) <= 2


def test_when_all_limit_for_too_long_the_step_stops_as_with_one(trio: list[Script], journal: Journal) -> None:
    for script in trio:
        script.told(otherwise=error(429, "Slow down.", retry_after="5000"))
    with pytest.raises(LimitReached, match="asks to wait"):
        run(trio, 20, journal)


def test_a_short_limit_of_all_is_waited_for(trio: list[Script], journal: Journal) -> None:
    for script in trio:
        script.not_before = time.monotonic() + 1
    assert run(trio, 30, journal).tally.accepted == 30


# --- whose fault it is ---


@pytest.mark.parametrize("status", [500, 402])
def test_a_row_that_no_server_answers_is_at_fault_and_no_server_is(
    trio: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        return error(status, "Broken.") if "number 20" in body["messages"][-1]["content"] else good()

    for script in trio:
        at(script, answer, monkeypatch)
    done = run(trio, 60, journal, most=2)
    rejected = [outcome for outcome in outcomes(journal).values() if outcome.status == "rejected"]
    assert done.tally.accepted == 59
    assert [outcome.reason for outcome in rejected] == ["unreachable"]


def test_an_invalid_answer_is_asked_again_and_both_count(trio: list[Script], journal: Journal) -> None:
    trio[0].told(Reply("{"), otherwise=good())
    done = run(trio, 30, journal)
    assert done.tally.accepted == 30
    assert done.tally.calls == 30 + (len(trio[0].bodies) > 0)


def test_a_request_that_breaks_servers_reaches_two_before_any_answer(trio: list[Script], journal: Journal) -> None:
    for script in trio:
        script.told(otherwise=Reply(hang_up=True))
    with pytest.raises(EndpointDown):
        run(trio, 1, journal)
    rows = [sum("number 0" in str(body["messages"]) for body in script.bodies) for script in trio]
    assert sorted(map(bool, rows)) == [False, True, True]


# --- budgets ---


def test_a_budget_of_calls_holds_for_all_servers_together(trio: list[Script], journal: Journal) -> None:
    with pytest.raises(BudgetSpent):
        run(trio, 60, journal, budget=Budget(max_calls=25))
    assert sum(len(script.bodies) for script in trio) == 25
    assert len(outcomes(journal)) == 25


# --- dialects and the prefix cache ---


def test_servers_may_need_different_ways_of_asking(
    trio: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        return error(400, "response_format is not supported.") if "response_format" in body else good()

    at(trio[1], answer, monkeypatch)
    done = run(trio, 90, journal, most=4)
    assert done.tally.accepted == 90
    assert all(count > 0 for count in done.tally.servers.values())
    assert [note for note in done.tally.notes if "takes requests of" in note and trio[1].url in note]
    assert not [body for body in trio[0].bodies + trio[2].bodies if "response_format" not in body]


def test_few_requests_stay_with_the_server_that_has_read_the_instructions(trio: list[Script], journal: Journal) -> None:
    done = run(trio, 8, journal, most=8)
    assert sorted(done.tally.servers.values()) == [0, 0, 8]


def test_a_cold_server_gets_one_request_until_it_has_answered(
    trio: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    most, lock, flying = [0], threading.Lock(), [0]
    warm = threading.Event()

    def answer(_: dict[str, Any]) -> Reply:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0]) if not warm.is_set() else most[0]
        time.sleep(0.1)
        with lock:
            flying[0] -= 1
            warm.set()
        return good()

    at(trio[1], answer, monkeypatch)
    assert run(trio[:2], 120, journal, most=16).tally.accepted == 120
    assert most == [1]


def test_weights_divide_the_requests(trio: list[Script], journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for script in trio[:2]:
        at(script, lambda _: (time.sleep(0.02), good())[1], monkeypatch)
    heavy, light = trio[:2]
    done = run([heavy, light], 400, journal, most=16, weights={heavy.url: 3.0}, proven={})
    assert done.tally.servers[heavy.url] > done.tally.servers[light.url]
