"""Budgets: what is left of a run."""

import pytest

from personahub_assets.domain.errors import BudgetSpent, ConfigError
from personahub_assets.generation.budget import Budget, seconds_of
from personahub_assets.generation.requests import Prices


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


@pytest.mark.parametrize("bound", [Budget(max_tokens=1_000), Budget(max_cost=0.001)])
def test_what_is_in_flight_is_reckoned_with_by_the_mean_of_the_answers(bound: Budget) -> None:
    assert bound.blind
    for _ in range(2):  # each of 100 tokens that cost 0.0001
        bound.call()
        bound.returned()
        bound.spend(Prices(1.0, 1.0, 1.0), 90, 0, 10)
    assert not bound.blind
    for _ in range(8):
        bound.call()
    with pytest.raises(BudgetSpent):
        bound.call()
    bound.returned()  # one comes back without an answer
    bound.call()
    assert (bound.calls, bound.flying, bound.answers) == (11, 8, 2)


@pytest.mark.parametrize("budget", [Budget(), Budget(max_calls=3), Budget(max_seconds=3)])
def test_a_bound_that_needs_no_answers_is_not_blind(budget: Budget) -> None:
    assert not budget.blind


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
