"""Budgets: how much a run may ask, and what it has spent."""

import re
import time
from dataclasses import dataclass, field

from personahub_assets.domain.errors import BudgetSpent, ConfigError
from personahub_assets.generation.requests import Prices


@dataclass
class Budget:
    """Bounds of one run and what was spent of them; None is no bound.

    The bound on calls is exact. Tokens and cost are known when an answer has come; what is in flight is reckoned
    with by the mean of the answers so far, so those bounds are passed by little.

    Args:
        max_calls: requests sent to the model, tries that failed included.
        max_tokens: prompt and completion tokens.
        max_cost: money, by the prices in hub.toml.
        max_seconds: time since the budget was made.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    max_seconds: float | None = None
    calls: int = 0
    tokens: int = 0
    cost: float = 0.0
    answers: int = 0
    flying: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time is up."""
        return None if self.max_seconds is None else self.started + self.max_seconds - time.monotonic()

    def check(self) -> None:
        """See that there is something left.

        Raises:
            BudgetSpent: naming the bound that is reached.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise BudgetSpent(f"the budget of {self.max_calls:,} calls is spent")
        soon = 1 + self.flying / max(1, self.answers)  # times what was spent so far, once all is back
        if self.max_tokens is not None and self.tokens * soon >= self.max_tokens:
            raise BudgetSpent(f"the budget of {self.max_tokens:,} tokens is spent, by what is in flight at the latest")
        if self.max_cost is not None and self.cost * soon >= self.max_cost:
            raise BudgetSpent(f"the budget of {self.max_cost:g} is spent, by what is in flight at the latest")
        if (left := self.seconds_left) is not None and left <= 0:
            raise BudgetSpent(f"the time of {self.max_seconds:g} s is up")

    def call(self) -> None:
        """Take one call, about to be made.

        Raises:
            BudgetSpent: if there is none left.
        """
        self.check()
        self.calls += 1
        self.flying += 1

    def returned(self) -> None:
        """Note that a call came back, with an answer or without."""
        self.flying -= 1

    @property
    def blind(self) -> bool:
        """Whether there is a bound on tokens or cost, and no answer yet to reckon with."""
        return not self.answers and (self.max_tokens is not None or self.max_cost is not None)

    def spend(self, prices: Prices, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """Note the tokens of an answer; gives what they cost."""
        self.answers += 1
        self.tokens += prompt_tokens + completion_tokens
        cost = prices.cost(prompt_tokens, cached_tokens, completion_tokens)
        self.cost += cost
        return cost


def seconds_of(text: str) -> float:
    """Read a time such as 90, 90s, 30m, 2h or 1.5d, in seconds.

    Raises:
        ConfigError: if it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([smhd]?)", text.strip().lower())
    if not found or not float(found[1]):
        raise ConfigError(f"{text!r} is not a time: write 90s, 30m, 2h or 1d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
