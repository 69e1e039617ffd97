"""The engine over the real stand-in: what is asked, how often, how many at once, and what a fault leaves behind."""

from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from personahub_assets.domain.errors import EndpointDown
from personahub_assets.domain.records import MathProblem
from personahub_assets.generation.ask import Asker, Limits
from personahub_assets.generation.engine import generate
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request, Tally, Task
from personahub_assets.resources import files
from personahub_assets.standin.server import StandinServer


@pytest.fixture(scope="module")
def task() -> Task:
    return Task("math_problems", files.prompt("math_problems"), MathProblem, "standin")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.sqlite"


def requests(task: Task, count: int) -> list[Request]:
    return [task.request(f"p{n}", {"persona": f"A keeper of lighthouse number {n}"}) for n in range(count)]


def asker(server: StandinServer, task: Task, limits: Limits) -> Callable[[], Asker]:
    def client() -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0, timeout=20)

    return lambda: Asker(client(), task, limits)


def nobody() -> Asker:
    raise AssertionError("nothing had to be asked")


def ignore(_: Tally) -> None:
    """Watch nothing."""


def test_each_request_gets_its_outcome_and_all_are_in_the_journal(task: Task, path: Path) -> None:
    seen: list[int] = []
    with StandinServer() as server, Journal(path) as journal:
        wanted = requests(task, 30)
        outcomes, tally = generate(wanted, {}, asker(server, task, Limits()), journal, lambda t: seen.append(t.done))
        assert journal.load() == outcomes
        assert server.stats()["calls"] == 30
    assert outcomes.keys() == {request.key for request in wanted}
    assert {outcome.status for outcome in outcomes.values()} == {"accepted"}
    assert all(MathProblem.model_validate_json(outcome.response) for outcome in outcomes.values())
    assert (tally.total, tally.accepted, tally.calls, tally.reused, tally.wasted_tokens) == (30, 30, 30, 0, 0)
    assert tally.prompt_tokens == sum(outcome.prompt_tokens for outcome in outcomes.values()) > 0
    assert tally.completion_tokens == sum(outcome.completion_tokens for outcome in outcomes.values()) > 0
    assert seen == list(range(31))


def test_equal_requests_are_asked_once_and_known_ones_not_at_all(task: Task, path: Path) -> None:
    wanted = requests(task, 4)
    known = {wanted[0].key: Outcome(wanted[0].key, "accepted", "{}"), "unrelated": Outcome("unrelated", "accepted", "")}
    twin = Request(wanted[1].key, "another input", 0, wanted[1].messages)
    with StandinServer() as server, Journal(path) as journal:
        outcomes, tally = generate([*wanted, twin, wanted[2]], known, asker(server, task, Limits()), journal, ignore)
        assert server.stats()["calls"] == 3
        assert journal.load().keys() == {request.key for request in wanted[1:]}
    assert outcomes.keys() == {request.key for request in wanted}
    assert (tally.total, tally.calls, tally.reused, tally.accepted) == (4, 3, 1, 4)


def test_nothing_to_ask_needs_no_endpoint(task: Task, path: Path) -> None:
    (request,) = requests(task, 1)
    rejected = Outcome(request.key, "rejected", "", reason="refused")
    with Journal(path) as journal:
        assert generate([], {}, nobody, journal, ignore) == ({}, Tally())
        outcomes, tally = generate([request], {request.key: rejected}, nobody, journal, ignore)
        assert journal.load() == {}
    assert outcomes == {request.key: rejected}
    assert (tally.rejected, tally.reused, tally.reasons, tally.calls) == (1, 1, {"refused": 1}, 0)


@pytest.mark.parametrize("window", [1, 3, 16])
def test_no_more_are_in_flight_than_the_window_allows(task: Task, path: Path, window: int) -> None:
    with StandinServer(latency_ms=15) as server, Journal(path) as journal:
        generate(requests(task, 40), {}, asker(server, task, Limits(window=window)), journal, ignore)
        stats = server.stats()
    assert stats["calls"] == 40
    assert stats["in_flight_max"] <= window
    assert window == 1 or stats["in_flight_max"] > 1


def test_an_endpoint_that_goes_away_ends_the_step_and_what_was_answered_is_not_asked_again(
    task: Task, path: Path
) -> None:
    wanted = requests(task, 60)
    limits = Limits(window=4, transport_tries=2, consecutive_faults=4)
    with StandinServer() as server, Journal(path) as journal:

        def stop_at(tally: Tally) -> None:
            if tally.done == 20:
                server.stop()

        with pytest.raises(EndpointDown, match=r"4 transport faults in a row.*in the journal.*run again"):
            generate(wanted, {}, asker(server, task, limits), journal, stop_at)
        assert len(journal.load()) >= 20
    with StandinServer() as server, Journal(path) as journal:
        known = {key: outcome for key, outcome in journal.load().items() if outcome.status == "accepted"}
        outcomes, tally = generate(wanted, known, asker(server, task, limits), journal, ignore)
        assert server.stats()["calls"] == 60 - len(known) == tally.calls
        assert server.stats()["repeats"] == 0
    assert {outcome.status for outcome in outcomes.values()} == {"accepted"}
    assert (tally.reused, tally.accepted) == (len(known), 60)


def test_a_hostile_endpoint_still_gives_every_request_an_outcome(task: Task, path: Path) -> None:
    faults = "500=0.08,reset=0.05,truncate=0.1,bad_json=0.1,control=0.1,surrogate=0.1,empty=0.05,refusal=0.1,seed=5"
    wanted = requests(task, 120)
    with StandinServer(faults) as server, Journal(path) as journal:
        outcomes, tally = generate(wanted, {}, asker(server, task, Limits(window=32)), journal, ignore)
        stats = server.stats()
        assert journal.load() == outcomes
    assert outcomes.keys() == {request.key for request in wanted}
    assert tally.accepted + tally.rejected == 120
    assert tally.accepted > 80
    assert tally.reasons["refused"] == sum(outcome.reason == "refused" for outcome in outcomes.values()) > 0
    assert any(outcome.repaired for outcome in outcomes.values())
    # Every token that the server counted is accounted for, and so is every answer.
    assert tally.prompt_tokens == stats["prompt_tokens"]
    assert tally.completion_tokens == stats["completion_tokens"]
    assert tally.calls == stats["calls"] - stats["faults"]["500"] - stats["faults"]["reset"]
    assert 0 < tally.wasted_tokens < tally.prompt_tokens + tally.completion_tokens
