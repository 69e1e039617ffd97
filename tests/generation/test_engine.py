"""The engine with real servers: requests, repeats, concurrency, and the state after a stop."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from engine_run import TASK, Run, outcomes, requests
from scripted import TASK as SCRIPTED
from scripted import Reply, Script, error, good, serving

from personahub_assets.core.errors import BudgetSpent, EndpointDown, LLMError, StoreError
from personahub_assets.core.records import MathProblem
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Request
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.usefixtures("brisk")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sqlite"


def test_each_request_gets_its_outcome_and_all_are_in_the_journal(path: Path) -> None:
    seen: list[tuple[int, int]] = []
    wanted = requests(60)
    with StandinServer() as server, Journal(path) as journal:
        run = Run(server.url, watch=lambda t: seen.append((t.done, t.in_flight))).of(wanted, journal)
        found = outcomes(journal)
        assert server.stats()["calls"] == 60
    tally = run.tally
    assert found.keys() == {request.key for request in wanted}
    assert {outcome.status for outcome in found.values()} == {"accepted"}
    assert all(MathProblem.model_validate_json(outcome.response) for outcome in found.values())
    assert (tally.accepted, tally.calls, tally.reused, tally.wasted_tokens, tally.in_flight) == (60, 60, 0, 0, 0)
    assert tally.prompt_tokens == sum(outcome.prompt_tokens for outcome in found.values()) > 0
    assert tally.completion_tokens == sum(outcome.completion_tokens for outcome in found.values()) > 0
    assert tally.seconds > 0
    assert seen == sorted(seen, key=lambda step: step[0])
    assert seen[-1] == (60, 0)


def test_a_request_is_settled_when_its_outcome_is_on_disk(path: Path) -> None:
    with StandinServer() as server, Journal(path) as journal:
        settled: list[str] = []

        def check(request: Request) -> None:
            assert request.key in journal.find([request.key])
            settled.append(request.key)

        Run(server.url, settled=check).of(requests(30), journal)
    assert sorted(settled) == sorted(request.key for request in requests(30))


def test_no_requests_are_no_calls(path: Path) -> None:
    with StandinServer() as server, Journal(path) as journal:
        assert Run(server.url).of([], journal).tally.done == 0
        assert server.stats()["calls"] == 0


@pytest.mark.parametrize("most", [1, 3, 16])
def test_no_more_are_in_flight_than_the_window_allows(path: Path, most: int) -> None:
    with StandinServer(latency_ms=10) as server, Journal(path) as journal:
        Run(server.url, most).of(requests(50), journal)
        stats = server.stats()
    assert stats["calls"] == 50
    assert stats["in_flight_max"] <= most


@pytest.mark.parametrize("most", [2, 3, 16])
def test_the_window_fills(script: Script, path: Path, most: int) -> None:
    # All but the first request, which goes alone, are answered when a whole window of them has come in.
    script.told(otherwise=good())
    full, original = threading.Event(), script.next

    def next_reply(body: dict[str, Any]) -> Reply:
        reply = original(body)
        place = len(script.bodies)
        if place == most + 1:
            full.set()
        if place > 1 and not full.wait(30):
            return error(400, "the window never filled")
        return reply

    script.next = next_reply  # type: ignore[method-assign]
    try:
        with Journal(path) as journal:
            run = Run(script.url, most, SCRIPTED).of(requests(50, SCRIPTED), journal)
    finally:
        del script.next
    assert run.tally.accepted == 50


def test_requests_are_taken_as_places_become_free(path: Path) -> None:
    taken, settled, furthest = 0, 0, 0

    def made() -> Iterator[Request]:
        nonlocal taken, furthest
        for request in requests(80):
            taken += 1
            furthest = max(furthest, taken - settled)
            yield request

    def count(_: Request) -> None:
        nonlocal settled
        settled += 1

    with StandinServer() as server, Journal(path) as journal:
        Run(server.url, 8, settled=count).of(made(), journal)
    assert (taken, settled) == (80, 80)
    assert furthest <= 8


def test_a_slow_straggler_does_not_keep_the_others_waiting(script: Script, path: Path) -> None:
    # The second request is answered only when all others have come in: with a barrier anywhere they never would.
    script.told(otherwise=good())
    every, original = threading.Event(), script.next

    def next_reply(body: dict[str, Any]) -> Reply:
        reply = original(body)
        place = len(script.bodies)
        if place == 60:
            every.set()
        if place == 2 and not every.wait(30):
            return error(400, "the others never came")
        return reply

    script.next = next_reply  # type: ignore[method-assign]
    try:
        with Journal(path) as journal:
            run = Run(script.url, 4, SCRIPTED).of(requests(60, SCRIPTED), journal)
    finally:
        del script.next
    assert run.tally.accepted == 60


def test_stragglers_of_the_stand_in_keep_the_window(path: Path) -> None:
    with StandinServer("slow=0.05,slow_s=1,seed=3", latency_ms=5) as server, Journal(path) as journal:
        run = Run(server.url, 24).of(requests(200), journal)
        stats = server.stats()
    assert stats["faults"]["slow"] > 3
    assert (run.tally.accepted, stats["calls"]) == (200, 200)
    assert stats["in_flight_max"] <= 24


# --- the first request ---


def test_the_first_request_goes_alone(script: Script, path: Path) -> None:
    script.told(otherwise=good())
    beside: list[int] = []
    original = script.next

    def next_reply(body: dict[str, Any]) -> Reply:
        reply = original(body)
        if len(script.bodies) == 1:
            threading.Event().wait(0.2)
            beside.append(len(script.bodies) - 1)
        return reply

    script.next = next_reply  # type: ignore[method-assign]
    try:
        with Journal(path) as journal:
            Run(script.url, 8, SCRIPTED).of(requests(20, SCRIPTED), journal)
    finally:
        del script.next
    assert beside == [0]


def test_a_schema_that_was_taken_once_is_not_tried_alone_again(script: Script, path: Path) -> None:
    proven: dict[Any, Any] = {}
    with Journal(path) as journal:
        Run(script.told(otherwise=good()).url, task=SCRIPTED, proven=proven).of(requests(1, SCRIPTED), journal)
        script.bodies.clear()
        script.gate = threading.Barrier(6)  # it opens for six at once only
        run = Run(script.url, 6, SCRIPTED, proven=proven).of(requests(12, SCRIPTED), journal)
    assert run.tally.accepted == 12


# --- budgets ---


@pytest.mark.parametrize("most", [1, 8])
@pytest.mark.parametrize("calls", [1, 17])
def test_a_budget_of_calls_is_exact_and_the_next_run_goes_on(path: Path, calls: int, most: int) -> None:
    wanted = requests(40)
    with StandinServer(latency_ms=3) as server, Journal(path) as journal:
        with pytest.raises(BudgetSpent, match=f"the budget of {calls} calls is spent"):
            Run(server.url, most, budget=Budget(max_calls=calls)).of(wanted, journal)
        assert server.stats()["calls"] == calls == len(outcomes(journal))
        done = outcomes(journal).keys()
        Run(server.url, most).of([request for request in wanted if request.key not in done], journal)
        assert len(outcomes(journal)) == 40
        assert (server.stats()["calls"], server.stats()["repeats"]) == (40, 0)


def test_a_budget_of_calls_is_exact_amid_faults(path: Path) -> None:
    with StandinServer("500=0.2,bad_json=0.2,truncate=0.2,429=0.1,seed=2") as server, Journal(path) as journal:
        with pytest.raises(BudgetSpent):
            Run(server.url, 12, budget=Budget(max_calls=50)).of(requests(100), journal)
        assert server.stats()["calls"] == 50


def test_a_budget_that_just_suffices_is_enough(path: Path) -> None:
    with StandinServer() as server, Journal(path) as journal:
        assert Run(server.url, budget=Budget(max_calls=20)).of(requests(20), journal).tally.accepted == 20


@pytest.mark.parametrize(("most", "tokens"), [(1, 1_500), (4, 3_333), (64, 12_000)])
def test_a_budget_of_tokens_is_never_passed_however_many_are_in_flight(path: Path, most: int, tokens: int) -> None:
    with StandinServer(latency_ms=5) as server, Journal(path) as journal:
        run = Run(server.url, most, budget=Budget(max_tokens=tokens))
        with pytest.raises(BudgetSpent, match=f"the budget of {tokens:,} tokens is spent"):
            run.of(requests(400), journal)
        stats, found = server.stats(), outcomes(journal)
    spent = [outcome.prompt_tokens + outcome.completion_tokens for outcome in found.values()]
    assert sum(spent) == stats["prompt_tokens"] + stats["completion_tokens"] == run.budget.tokens
    assert len(found) == stats["calls"]
    assert tokens - TASK.prompt.max_tokens - max(spent, default=1_000) - 100 <= sum(spent) <= tokens
    assert run.budget.flying == run.budget.reserved_tokens == 0


@pytest.mark.parametrize("usage", [True, False])
def test_a_budget_holds_where_answers_are_invalid_cut_or_without_usage(script: Script, path: Path, usage: bool) -> None:
    """Every call costs its maximum; the server cannot count tokens before the call."""
    cut, invalid = Reply("{", "length", usage=usage), Reply("{}", usage=usage)
    script.told(*[cut, cut, invalid, invalid, good()] * 40)
    bytes_of_prompt = len(json.dumps(requests(1, SCRIPTED)[0].messages)) + 2_000
    worst = bytes_of_prompt + 2 * SCRIPTED.prompt.max_tokens
    budget = Budget(max_tokens=worst if usage else 10 * worst)
    with Journal(path) as journal, pytest.raises(BudgetSpent, match="tokens is spent"):
        Run(script.url, 8, SCRIPTED, budget=budget).of(requests(200, SCRIPTED), journal)
    assert budget.max_tokens is not None
    assert 0 < budget.tokens <= budget.max_tokens
    assert len(script.bodies) > 8


@pytest.mark.parametrize("usage", [{"prompt_tokens": -(10**9), "completion_tokens": 1, "total_tokens": 1}, {}])
def test_a_budget_holds_whatever_a_server_says_it_used(script: Script, path: Path, usage: dict[str, int]) -> None:
    script.told(otherwise=Reply(body=json.dumps(json.loads(good().data()) | {"usage": usage}).encode()))
    budget = Budget(max_tokens=20_000)
    with Journal(path) as journal, pytest.raises(BudgetSpent, match="tokens is spent"):
        Run(script.url, 8, SCRIPTED, budget=budget).of(requests(50, SCRIPTED), journal)
    assert 0 < budget.tokens <= 20_000


def test_a_budget_that_no_call_fits_sends_none(script: Script, path: Path) -> None:
    with Journal(path) as journal:
        script.told(otherwise=good())
        with pytest.raises(BudgetSpent, match="100 tokens is spent: 0 are used, and the next call can take"):
            Run(script.url, 16, SCRIPTED, budget=Budget(max_tokens=100)).of(requests(30, SCRIPTED), journal)
    assert script.bodies == []


@pytest.mark.parametrize("left", [0.0, -5.0, 0.3])
def test_when_the_time_is_up_nothing_more_is_asked_and_what_came_is_kept(path: Path, left: float) -> None:
    with StandinServer(latency_ms=20) as server, Journal(path) as journal:
        with pytest.raises(BudgetSpent, match="the time of the run is up"):
            Run(server.url, 4, seconds_left=left).of(requests(2_000), journal)
        assert server.stats()["calls"] == len(outcomes(journal)) < 2_000


# --- faults ---


def test_an_endpoint_that_goes_away_ends_the_step_and_what_was_answered_is_not_asked_again(path: Path) -> None:
    wanted = requests(60)
    way = {"tries": 9, "faults_in_a_row": 4}
    with StandinServer() as server, Journal(path) as journal:
        settled: list[str] = []

        def stop_at(request: Request) -> None:
            settled.append(request.key)
            if len(settled) == 20:
                server.stop()

        with pytest.raises(EndpointDown, match=r"\d+ transport faults in a row.*in the journal.*run again"):
            Run(server.url, 4, way=way, settled=stop_at).of(wanted, journal)
    with StandinServer() as server, Journal(path) as journal:
        known = outcomes(journal).keys()
        assert known >= set(settled)
        tally = Run(server.url, 4, way=way).of([r for r in wanted if r.key not in known], journal).tally
        assert server.stats()["calls"] == 60 - len(known) == tally.calls
        assert {outcome.status for outcome in outcomes(journal).values()} == {"accepted"}
        assert len(outcomes(journal)) == 60


def test_answers_that_came_just_before_the_end_are_kept(script: Script, path: Path) -> None:
    """The run is aborted while many outcomes wait for their group commit."""
    script.told(*[good()] * 41, otherwise=error(401))
    with Journal(path) as journal, pytest.raises(LLMError, match="401"):
        Run(script.url, 32, SCRIPTED).of(requests(200, SCRIPTED), journal)
    with Journal(path) as journal:
        kept = len(outcomes(journal))
    # What had not been read off the wire when the first 401 came is lost; it is less than what was in flight.
    assert 41 - 32 < kept <= 41


def test_a_journal_that_cannot_be_written_ends_the_step(path: Path) -> None:
    def break_it(request: Request) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DROP TABLE IF EXISTS answers")

    with StandinServer() as server, Journal(path) as journal:
        with pytest.raises(StoreError, match="cannot be written"):
            Run(server.url, 4, settled=break_it).of(requests(60), journal)
        assert server.stats()["calls"] < 20


def test_a_hostile_endpoint_still_gives_every_request_an_outcome(path: Path) -> None:
    kinds = ["500", "reset", "429", "503", "malformed", "truncate", "whitespace", "bad_json", "bad_schema", "control"]
    kinds += ["surrogate", "empty"]
    sticky = ["refusal", "content_filter", "400", "too_long", "endless"]
    faults = ",".join([f"{kind}=0.05" for kind in kinds] + [f"{kind}=0.03" for kind in sticky] + ["seed=5"])
    wanted = requests(300)
    with StandinServer(faults) as server, Journal(path) as journal:
        run = Run(server.url, 32, way={"tries": 8}).of(wanted, journal)
        stats, found, tally = server.stats(), outcomes(journal), run.tally
    assert found.keys() == {request.key for request in wanted}
    assert tally.accepted + tally.rejected == 300
    assert set(tally.reasons) >= {"refused", "content_filtered", "bad_request", "too_long", "truncated"}
    assert sum(tally.reasons.values()) == tally.rejected == sum(o.reason is not None for o in found.values())
    assert tally.repaired == sum(outcome.repaired for outcome in found.values()) > 0
    # Every token that the server counted is accounted for, and so is every answer.
    assert tally.prompt_tokens == stats["prompt_tokens"]
    assert tally.cached_tokens == stats["cached_tokens"]
    assert tally.completion_tokens == stats["completion_tokens"]
    unanswered = sum(stats["faults"].get(kind, 0) for kind in ("500", "reset", "429", "503", "malformed"))
    unanswered += stats["faults"]["400"] + stats["faults"]["too_long"]
    assert tally.calls == stats["calls"] - unanswered
    assert 0 < tally.wasted_tokens < tally.prompt_tokens + tally.completion_tokens
    # What is wasted beside the rows went for asking the server something harmless.
    assert 0 <= tally.wasted_tokens - sum(outcome.wasted_tokens for outcome in found.values()) < 1_000


# --- stops ---

ASKER = """
import sys
from pathlib import Path
url, journal_path, drain, most, *folders = sys.argv[1:]
sys.path += folders
from engine_run import Run, stream
from personahub_assets.generation import engine
from personahub_assets.generation.journal import Journal

engine._DRAIN_S = float(drain)
stop = engine._Crew._stop

def told(crew, cause):
    stop(crew, cause)
    print("stopping", flush=True)

engine._Crew._stop = told

def watch(tally):
    print(tally.done, flush=True)

with Journal(Path(journal_path)) as journal:
    Run(url, int(most), watch=watch).of(stream(100_000), journal)
"""


class Child:
    """A process that sends requests until it is stopped."""

    def __init__(self, url: str, path: Path, *, drain: float, most: int):
        here = Path(__file__).parent
        options = map(str, (url, path, drain, most, here, here.parent / "helpers"))
        command = [sys.executable, "-c", ASKER, *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for(self, wanted: Callable[[str], bool]) -> None:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if wanted(line.strip()):
                return
        raise AssertionError(f"it ended: {self.process.communicate()[1]}")

    def tell(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def ended(self) -> str:
        _, problem = self.process.communicate(timeout=60)
        return problem


def kept(path: Path) -> int:
    with Journal(path) as journal:
        return len(outcomes(journal))


def test_a_signal_to_terminate_lets_what_is_in_flight_come_back(path: Path) -> None:
    with StandinServer(latency_ms=100) as server, Child(server.url, path, drain=30, most=32) as child:
        child.wait_for(lambda line: line.isdecimal() and int(line) >= 60)
        child.tell(signal.SIGTERM)
        problem = child.ended()
        stats = server.stats()
    assert problem.strip().endswith("KeyboardInterrupt")
    assert kept(path) == stats["calls"] >= 60
    assert stats["in_flight"] == 0


def test_ctrl_c_leaves_only_what_does_not_come_back_within_the_drain(path: Path) -> None:
    with StandinServer("hang=0.05,hang_s=600", latency_ms=20) as server:
        with Child(server.url, path, drain=0.5, most=32) as child:
            child.wait_for(lambda line: line.isdecimal() and int(line) >= 60)
            child.tell(signal.SIGINT)
            assert child.ended().strip().endswith("KeyboardInterrupt")
        stats = server.stats()
    assert 0 < stats["faults"]["hang"] <= 32
    assert stats["calls"] - kept(path) == stats["faults"]["hang"]


def test_the_second_signal_ends_at_once(path: Path) -> None:
    answer = Reply(json.dumps({"topic": "geometry", "problem": "How far does the light reach? " * 3}))
    all_stuck, released = threading.Event(), threading.Event()
    with serving() as script:
        script.told(otherwise=answer)
        original = script.next

        def next_reply(body: dict[str, Any]) -> Reply:
            reply = original(body)
            if len(script.bodies) == 28:  # twenty answered, and eight in flight that do not come back
                all_stuck.set()
            if len(script.bodies) > 20:
                released.wait(120)
            return reply

        script.next = next_reply  # type: ignore[method-assign]
        with Child(script.url, path, drain=600, most=8) as child:
            assert all_stuck.wait(60)
            child.tell(signal.SIGINT)
            child.wait_for(lambda line: line == "stopping")
            assert child.process.poll() is None
            child.tell(signal.SIGINT)
            assert child.ended().strip().endswith("KeyboardInterrupt")
        released.set()
    assert kept(path) == 20
    assert len(script.bodies) == 28
