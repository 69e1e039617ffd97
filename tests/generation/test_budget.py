"""Budgets: what is left of a run."""

import asyncio

import pytest

from personahub_assets.core.errors import BudgetSpent, ConfigError
from personahub_assets.core.prices import Prices
from personahub_assets.generation.budget import Budget, seconds_of


def test_without_bounds_there_is_always_something_left() -> None:
    budget = Budget()
    for _ in range(1_000):
        budget.call()
        budget.returned()
        budget.spend(Prices(1e6, 1e6, 1e6), 1_000, 10, 1_000)
    assert (budget.calls, budget.tokens) == (1_000, 2_000_000)
    assert budget.seconds_left is None


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        (Budget(max_calls=3), r"the budget of 3 calls is spent"),
        (Budget(max_tokens=330), r"the budget of 330 tokens is spent"),
        (Budget(max_tokens=321), r"the budget of 321 tokens is spent"),
        (Budget(max_cost=0.0006), r"the budget of 0\.0006 is spent"),
    ],
)
def test_a_bound_that_is_reached_is_named(budget: Budget, spent: str) -> None:
    for _ in range(3):
        budget.call()
        budget.returned()
        budget.spend(Prices(2.0, 1.0, 3.0), 100, 30, 10)
    with pytest.raises(BudgetSpent, match=spent):
        budget.call()
    assert budget.calls == 3


async def _worst(_exactly: bool) -> tuple[int, int]:
    return 90, 10


@pytest.mark.parametrize("bound", [Budget(max_tokens=1_050), Budget(max_cost=0.00105)])
def test_calls_wait_for_those_in_flight_and_stop_when_none_is(bound: Budget) -> None:
    """Ten calls of at most 100 tokens fit; another one fits after a call that cost less."""
    prices, most = Prices(1.0, 1.0, 1.0), 0

    async def one(number: int) -> bool:
        nonlocal most
        try:
            async with bound.reserve(prices, _worst):
                most = max(most, bound.reserved_tokens)
                await asyncio.sleep(0)
                bound.spend(prices, 90 if number else 0, 0, 10)
        except BudgetSpent:
            return False
        return True

    async def all_of_them() -> list[bool]:
        return await asyncio.gather(*map(one, range(50)))

    done = asyncio.run(all_of_them())
    assert sum(done) == 11
    assert bound.tokens <= 1_050
    assert most == 1_000
    assert bound.reserved_tokens == 0
    assert bound.reserved_cost == 0


def test_a_rough_bound_that_does_not_fit_is_counted_exactly() -> None:
    asked: list[bool] = []

    async def worst(exactly: bool) -> tuple[int, int]:
        asked.append(exactly)
        return (10 if exactly else 1_000), 10

    async def call() -> None:
        async with Budget(max_tokens=50).reserve(Prices(), worst):
            pass

    asyncio.run(call())
    assert asked == [False, True]


def test_the_most_that_tokens_cost_does_not_count_on_a_cache() -> None:
    assert Prices(2.0, 0.5, 6.0).most(1_000_000, 1_000_000) == 8.0
    assert Prices(0.0, 0.5, 0.0).most(1_000_000, 0) == 0.5


def test_time_that_is_up_is_a_bound_too() -> None:
    budget = Budget(max_seconds=60)
    assert 0 < (budget.seconds_left or 0) <= 60
    budget.started -= 61
    assert (budget.seconds_left or 0) < 0
    with pytest.raises(BudgetSpent, match="the time of 60 s is up"):
        budget.call()


@pytest.mark.parametrize(
    ("tokens", "cost"), [((1_000_000, 0, 0), 2.0), ((1_000_000, 1_000_000, 0), 0.5), ((0, 0, 1_000_000), 6.0)]
)
def test_cached_tokens_are_among_the_prompts_and_have_their_own_price(
    tokens: tuple[int, int, int], cost: float
) -> None:
    assert Prices(2.0, 0.5, 6.0).cost(*tokens) == cost


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7_200), ("1d", 86_400), (".5 h", 1_800), (" 3 M ", 180)],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5", "5w", "1h30m", "soon", "nan", "inf", "1e3"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write 90s, 30m, 2h or 1d"):
        seconds_of(text)
