"""Rate limits: one wait for all requests, no attempt of a row is used, and an end if the wait is too long."""

import asyncio
import json
import time
from email.utils import formatdate
from typing import Any

import pytest
from scripted import Reply, Script, error, good, over

from personahub_assets.core.errors import LimitReached
from personahub_assets.endpoints import pace as module
from personahub_assets.endpoints.pace import Pace
from personahub_assets.endpoints.transport import Meter, Transport

_PER_PERIOD, _PERIOD_S = 4, 0.4


def _words(left: float) -> str:
    return f"Rate limit reached. Please try again in {left:.3f}s."


WAYS = {
    "nothing": lambda left: error(429, "Too many requests"),
    "words": lambda left: error(429, _words(left)),
    "seconds": lambda left: error(429, retry_after=f"{left:.3f}"),
    "too short": lambda left: error(429, retry_after="0.01"),
    "zero": lambda left: error(429, retry_after="0"),
    "milliseconds": lambda left: error(429, retry_after_ms=f"{left * 1000:.0f}"),
    "a date": lambda left: error(429, retry_after=formatdate(time.time() + left, usegmt=True)),
    "a reset": lambda left: error(429, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests=f"{left:.3f}s"),
    "retryDelay": lambda left: Reply(
        status=429, body=json.dumps({"error": {"details": [{"retryDelay": f"{left:.3f}s"}]}}).encode()
    ),
    "overloaded": lambda left: error(503, "Overloaded, please slow down"),
    "loading": lambda left: error(503, "Loading model"),
}


class _Limited:
    """Accepts a number of requests per period, and refuses the others."""

    def __init__(self, script: Script, way: str):
        self.script, self.way = script.told(), WAYS[way]
        self.times: list[float] = []
        script.next = self.reply  # type: ignore[method-assign]

    def reply(self, body: dict[str, Any]) -> Reply:
        with self.script.lock:
            now = time.monotonic()
            self.script.bodies.append(body)
            self.times = [at for at in self.times if now - at < _PERIOD_S]
            if len(self.times) >= _PER_PERIOD:
                return self.way(_PERIOD_S - (now - self.times[0]))
            self.times.append(now)
            return good()


def _all(url: str, rows: int, pace: Pace, tries: int = 1) -> list[Any]:
    async def work(transport: Transport) -> list[Any]:
        sent = (transport.post("/chat/completions", json.dumps({"n": n}).encode(), Meter()) for n in range(rows))
        return await asyncio.gather(*sent)

    replies: list[Any] = over(url, work, tries=tries, pace=pace)
    return replies


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_S", 0.05)
    monkeypatch.setattr(module, "_JITTER_S", 0.01)


@pytest.mark.parametrize("way", WAYS)
def test_a_limit_costs_no_row_however_it_is_told(script: Script, way: str) -> None:
    rows = 4 * _PER_PERIOD
    waits: list[float] = []
    server = _Limited(script, way)
    try:
        replies = _all(script.url, rows, Pace(60, lambda seconds, _words: waits.append(seconds)))
    finally:
        del script.next
    assert len(replies) == rows
    assert max(waits) > 0
    assert waits.count(0.0)
    # All that were in flight at the first limit, then few per period: one try ahead, and those beyond what was learnt.
    assert len(server.script.bodies) <= 6 * rows


def test_a_wait_beyond_what_is_wanted_ends_at_once_and_says_until_when(script: Script) -> None:
    script.told(otherwise=error(429, "Rate limit exceeded: free-models-per-day", retry_after="43200"))
    with pytest.raises(LimitReached, match=r"asks to wait 12:00:00, until \d{4}-.*longest_wait is 60 s.*per-day"):
        _all(script.url, 1, Pace(60))
    assert len(script.bodies) == 1


def test_waits_without_an_answer_in_between_add_up(script: Script) -> None:
    script.told(otherwise=error(429, "Too many requests"))
    with pytest.raises(LimitReached, match=r"let nothing through for .*longest_wait is 0.3 s"):
        _all(script.url, 8, Pace(0.3))


def test_an_answer_that_says_that_nothing_is_left_makes_the_next_request_wait(script: Script) -> None:
    empty = good()
    empty.headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "200ms"}
    waits: list[float] = []
    script.told(empty, otherwise=good())

    async def work(transport: Transport) -> None:
        for n in range(2):
            await transport.post("/chat/completions", json.dumps({"n": n}).encode(), Meter())

    over(script.url, work, pace=Pace(60, lambda seconds, _words: waits.append(seconds)))
    assert len(waits) == 2
    assert 0.1 < waits[0] <= 0.2
    assert waits[1] == 0.0


def test_after_a_limit_one_request_goes_ahead() -> None:
    async def work() -> tuple[int, int]:
        pace = Pace(60)
        for _ in range(8):
            await pace.enter()
        for _ in range(8):
            pace.limited(0, 0.01, "slow down")
            pace.leave()
        entered = 0

        async def enter() -> None:
            nonlocal entered
            await pace.enter()
            entered += 1

        tasks = [asyncio.create_task(enter()) for _ in range(8)]
        await asyncio.sleep(0.2)
        first = entered
        pace.answered()
        pace.leave()
        await asyncio.sleep(0.05)
        second = entered
        for task in tasks:
            task.cancel()
        return first, second

    assert asyncio.run(work()) == (1, 3)


def test_the_delay_is_known_without_waiting() -> None:
    async def delays() -> list[float]:
        pace = Pace(600)
        free, round_ = pace.delay, await pace.enter()
        pace.limited(round_, 100.0, "Too many requests")
        return [free, pace.delay]

    free, limited = asyncio.run(delays())
    assert free == 0
    assert 99 < limited < 101
