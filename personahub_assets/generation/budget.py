"""Budgets: bounds of a run, and what it has spent."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from personahub_assets.core.errors import ArgumentError, BudgetSpent
from personahub_assets.core.prices import Prices


class Deferred(Exception):
    """The answer to a call comes later; nothing is recorded about its request.

    Attributes:
        name: of the call.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


Worst = Callable[[bool], Awaitable[tuple[int, int]]]
"""Returns upper bounds for prompt and completion tokens of a call; with True counted by the server if it can."""


@dataclass
class Budget:
    """Bounds of one run with the amounts spent; None means no bound.

    No bound is exceeded. The cost of a call is known only with its answer, so its maximum is reserved before it is
    sent: an upper bound of its prompt tokens, and the token limit of the answer. The answer replaces the reserve with
    the actual cost. A call that does not fit waits for the calls in flight; without any, the budget is spent. Not
    covered: a server that exceeds the token limit, and charges for calls without an answer. A call that this run
    submitted to a batch API stays reserved until its answer is here.

    Args:
        max_calls: requests sent to the model, including failed attempts.
        max_tokens: prompt and completion tokens.
        max_cost: cost by the prices in hub.toml, in their currency.
        max_seconds: time since the budget was created.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    answers: int = 0
    is_interrupted: bool = False  # by Ctrl-C in another thread
    flying: int = 0
    reserved_tokens: int = 0
    reserved_cost: float = 0.0
    submitted_tokens: int = 0
    submitted_cost: float = 0.0
    _submitted: dict[str, tuple[int, float]] = field(default_factory=dict, repr=False)
    _reserves: int = 0
    _waiting: set["asyncio.Future[None]"] = field(default_factory=set, repr=False)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """Seconds left; None without a bound."""
        return None if self.max_seconds is None else self.started + self.max_seconds - time.monotonic()

    def check(self) -> None:
        """Check that no bound is reached.

        Raises:
            BudgetSpent: naming the bound that is reached.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise BudgetSpent(f"the budget of {self.max_calls:,} calls is spent")
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens:,} tokens is spent")
        if self.max_cost is not None and self.cost >= self.max_cost:
            raise BudgetSpent(f"the budget of {self.max_cost:g} is spent")
        if (left := self.seconds_left) is not None and left <= 0:
            raise BudgetSpent(f"the time of {self.max_seconds:g} s is up")

    def call(self) -> None:
        """Count one call, before it is made.

        Raises:
            BudgetSpent: if no call is left.
        """
        self.check()
        self.calls += 1
        self.flying += 1

    def returned(self) -> None:
        """Note that a call has ended, with or without an answer."""
        self.flying -= 1

    @property
    def is_reserving(self) -> bool:
        """Whether there is a bound on tokens or cost, so that calls must be reserved."""
        return self.max_tokens is not None or self.max_cost is not None

    @asynccontextmanager
    async def reserve(self, prices: Prices, worst: "Worst") -> AsyncIterator[None]:
        """Reserve the maximal cost of a call until it has ended; wait for calls in flight if it does not fit.

        Args:
            worst: upper bounds for prompt and completion tokens of the call.

        Raises:
            BudgetSpent: if too little is left and no call is in flight.
        """
        if not self.is_reserving:
            yield
            return
        tokens, cost = await self._fitting(prices, worst)
        self._reserved(1, tokens, cost)
        try:
            yield
        except Deferred as deferred:
            self._keep_reserved(deferred.name, tokens, cost)
            raise
        finally:
            self._reserved(-1, -tokens, -cost)
            self._wake()

    async def _fitting(self, prices: Prices, worst: "Worst") -> tuple[int, float]:
        """Wait until a call fits; return the tokens and cost to reserve."""
        while True:
            # An exact count needs a request: only if the rough bound does not fit and no call is in flight.
            for exactly in (False, True) if not self._reserves else (False,):
                prompt, completion = await worst(exactly)
                tokens, cost = prompt + completion, prices.most(prompt, completion)
                if self._has_room(tokens, cost):
                    return tokens, cost
            if not self._reserves:
                self._wake()
                raise self._budget_error(tokens, cost)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)

    def submit(self, name: str) -> None:
        """Count a call that is submitted to a batch API.

        Raises:
            BudgetSpent: if no call is left.
        """
        self.call()
        self.returned()
        self._submitted.setdefault(name, (0, 0.0))

    def settle(self, name: str) -> bool:
        """Release what is reserved for a submitted call, because its answer is here; whether this run submitted it."""
        if name not in self._submitted:
            return False
        self._keep_reserved(name, 0, 0.0)
        del self._submitted[name]
        if not self._submitted:
            self.submitted_cost = 0.0
        return True

    def _keep_reserved(self, name: str, tokens: int, cost: float) -> None:
        if name in self._submitted:
            old_tokens, old_cost = self._submitted[name]
            self._submitted[name] = (tokens, cost)
            self.submitted_tokens += tokens - old_tokens
            self.submitted_cost += cost - old_cost

    def _has_room(self, tokens: int, cost: float) -> bool:
        waiting_tokens, waiting_cost = (
            self.reserved_tokens + self.submitted_tokens,
            self.reserved_cost + self.submitted_cost,
        )
        if self.max_tokens is not None and self.tokens + waiting_tokens + tokens > self.max_tokens:
            return False
        return self.max_cost is None or self.cost + waiting_cost + cost <= self.max_cost

    def _reserved(self, reserves: int, tokens: int, cost: float) -> None:
        self._reserves += reserves
        self.reserved_tokens += tokens
        self.reserved_cost = self.reserved_cost + cost if self._reserves else 0.0

    def _wake(self) -> None:
        """Wake all waiting calls; they can belong to other threads."""
        for waiter in list(self._waiting):
            with suppress(RuntimeError):  # its event loop is closed
                waiter.get_loop().call_soon_threadsafe(_release, waiter)

    def _budget_error(self, tokens: int, cost: float) -> BudgetSpent:
        if self.max_tokens is not None and self.tokens + self.submitted_tokens + tokens > self.max_tokens:
            note = f"{self.submitted_tokens:,} are reserved for submitted calls, " if self._submitted else ""
            return BudgetSpent(
                f"the budget of {self.max_tokens:,} tokens is spent: {self.tokens:,} are used, {note}"
                f"and the next call can take {tokens:,}"
            )
        note = f"{self.submitted_cost:g} is reserved for submitted calls, " if self._submitted else ""
        return BudgetSpent(
            f"the budget of {self.max_cost:g} is spent: {self.cost:g} is used, {note}"
            f"and the next call can cost {cost:g}"
        )

    def spend(self, prices: Prices, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Count the tokens of an answer; return their cost."""
        self.answers += 1
        self.tokens += prompt_tokens + completion_tokens
        cost = prices.cost(prompt_tokens, cached_tokens, completion_tokens)
        self.cost += cost
        return cost


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def seconds_of(text: str) -> float:
    """Read a time such as 90, 90s, 30m, 2h or 1.5d, in seconds.

    Raises:
        ConfigError: if the text is not a time.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([smhd]?)", text.strip().lower())
    if not match or not float(match[1]):
        raise ArgumentError(f"{text!r} is not a time: write 90s, 30m, 2h or 1d")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
