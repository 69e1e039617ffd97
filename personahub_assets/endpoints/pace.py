"""Pace: one wait that all requests share while a server limits them or is not ready.

A rate limit is not the fault of a row and uses none of its attempts. When a server reports a limit, no request is sent
until the time that it names, or for a growing time if it names none. Then one request is sent, and each answer doubles
the number of requests allowed in flight, so a server at its limit does not get hundreds of calls. The pace learns how
many answers arrive between two limits: later periods stop after about as many requests.
"""

import asyncio
import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from personahub_assets.core.errors import LimitReached

_FIRST_S = 1.0
_LONGEST_GUESS_S = 60.0  # if the server names no time
_JITTER_S = 0.25
_GROWTH = 1.1  # growth of a learnt limit after each period without a refusal
_UNBOUNDED = 4_096  # requests in flight at which the bound is removed

OnWait = Callable[[float, str], None]
"""Called with the seconds to wait and the server's words when a wait begins, and with 0 seconds when it is over."""


class _Quota(NamedTuple):
    requests: int
    seconds: float


class Pace:
    """Decides when a request may be sent.

    Args:
        longest_s: the step ends at a longer wait, and at waits with a longer sum without an answer in between.
        on_wait: see `OnWait`.
    """

    def __init__(self, longest_s: float, on_wait: OnWait = lambda _seconds, _words: None):
        self.longest_s, self.on_wait = longest_s, on_wait
        self._is_free = True  # nothing to wait for: the usual case, checked first
        self._until = 0.0  # no request is sent before this time
        self._most: int | None = None  # bound of requests in flight after a limit
        self._quota: _Quota | None = None
        self._round = 0  # counts the limits
        self._streak = 0  # limits since the last answer
        self._began: float | None = None  # the first limit since the last answer
        self._flying = self._sent = self._answers = 0  # the last two: since the period began
        self._period = time.monotonic()
        self._waiters: list[asyncio.Future[None]] = []

    async def enter(self) -> int:
        """Wait until a request may be sent.

        Returns:
            The round that the request belongs to, for `limited`.
        """
        if not self._is_free:
            await self._allowed()
        self._flying += 1
        self._sent += 1
        return self._round

    @property
    def delay(self) -> float:
        """Seconds until a request may be sent; 0 if nothing is known against one now."""
        if self._is_free:
            return 0.0
        now = time.monotonic()
        if now < self._until:
            return self._until - now
        if self._most is not None and self._flying >= self._most:
            return _JITTER_S
        if self._quota is not None and self._sent >= self._quota.requests:
            return max(0.0, self._period + self._quota.seconds - now)
        return 0.0

    def leave(self) -> None:
        """Record that a request ended, with or without an answer."""
        self._flying -= 1
        self._wake()

    def answered(self) -> None:
        """Record an answer."""
        self._answers += 1
        if self._is_free:
            return
        self._streak, self._began = 0, None
        if self._most is not None:
            self._most = self._most * 2 if self._most < _UNBOUNDED else None
        self._wake()

    def limited(self, round_: int, asked_s: float | None, words: str) -> None:
        """Record that a server refused a request because there were too many, or because it is not ready.

        Args:
            round_: of the request, as returned by `enter`.
            asked_s: seconds that the server asks to wait, if it names a time.
            words: the server's message.

        Raises:
            LimitReached: if the wait is longer than `longest_s`.
        """
        now, is_first = time.monotonic(), round_ == self._round
        self._streak += is_first
        self._began = now if self._began is None else self._began
        guess = min(_FIRST_S * 2 ** min(self._streak - 1, 10), _LONGEST_GUESS_S)
        # After a wait of the named time was too short, the named time is ignored.
        wait = max(asked_s, guess if self._streak > 1 else 0.0) if asked_s else guess
        until = now + wait + random.uniform(0, _JITTER_S)  # noqa: S311 - no secret
        if is_first:
            self._learn(until)
            self._round += 1
            self._most = 1
        elif until <= self._until:
            return  # sent before the first refusal
        self._hold(until, words)
        if wait > self.longest_s or self._until - self._began > self.longest_s:
            raise self._too_long(wait, now - self._began, words)

    def pause(self, seconds: float, words: str) -> None:
        """Wait before the next request: the headers of an answer say that nothing is left of the limit."""
        if seconds <= self.longest_s and time.monotonic() + seconds > self._until:
            self._hold(time.monotonic() + seconds, words)

    def _hold(self, until: float, words: str) -> None:
        self._until, self._is_free = max(self._until, until), False
        self.on_wait(self._until - time.monotonic(), words)

    def _learn(self, until: float) -> None:
        """Record the number of answers in the period that ends, if its start is known."""
        if self._round:
            self._quota = _Quota(self._answers, until - self._period) if self._answers > 1 else None
        self._period, self._sent, self._answers = until, 0, 0

    async def _allowed(self) -> None:
        while True:
            now = time.monotonic()
            if now < self._until:
                await asyncio.sleep(self._until - now)
            elif self._most is not None and self._flying >= self._most:
                waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                await waiter
            elif self._quota is None or self._sent < self._quota.requests:
                break
            elif now < self._period + self._quota.seconds:
                self._hold(self._period + self._quota.seconds, "as many as it answered before its last limit were sent")
            else:
                self._period, self._sent, self._answers = now, 0, 0
                self._quota = self._quota._replace(requests=int(self._quota.requests * _GROWTH) + 1)
        if self._until:
            self._until = 0.0
            self.on_wait(0.0, "")
        self._is_free = self._most is None and self._quota is None

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _too_long(self, wait: float, waited: float, words: str) -> LimitReached:
        if wait > self.longest_s:
            back = datetime.now().astimezone() + timedelta(seconds=wait)
            reason = f"asks to wait {timedelta(seconds=round(wait))}, until {back:%Y-%m-%d %H:%M:%S %Z}"
        else:
            reason = f"let nothing through for {timedelta(seconds=round(waited))}"
        return LimitReached(
            f"the server {reason}; generation.longest_wait is {self.longest_s:g} s. It says: {words}. "
            "What is answered is kept: run again then, or raise generation.longest_wait in hub.toml"
        )
