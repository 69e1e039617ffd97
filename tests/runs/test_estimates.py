"""Estimates of answers: from the bounds of the schema at first, then from the first answers."""

from copy import copy
from pathlib import Path

import pytest
from hub import TOPICS, Hub

from personahub_assets.cli.bars import _Shown, second_line
from personahub_assets.core.records import DATASETS, TextPersonas
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.likely import likely_chars
from personahub_assets.generation.requests import FIRST_ANSWERS, Usage
from personahub_assets.instance.progress import Step
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import run_batches
from personahub_assets.standin.server import StandinServer


@pytest.mark.parametrize("name", list(DATASETS))
def test_an_answer_is_estimated_between_its_bounds(name: str) -> None:
    longest = sum(part.get("maxLength", 0) for part in DATASETS[name].model_json_schema()["properties"].values())
    assert 150 < likely_chars(DATASETS[name].model_json_schema()) < max(1_500, longest)


def test_a_list_is_as_long_as_the_prompt_asks() -> None:
    one, two, many = (likely_chars(TextPersonas.model_json_schema(), count) for count in (1, 2, 100))
    assert two - one == pytest.approx((many - one) / 7)  # 8 at most


def test_after_fifty_answers_plan_and_progress_are_near_what_the_run_takes(home: Path, standin: StandinServer) -> None:
    hub = Hub(home, standin)
    pages = [
        f"{TOPICS[n % len(TOPICS)]} This is note {n} of the year, and {'again ' * (n % 5)}no reply." for n in range(150)
    ]
    hub.pages("notes", pages)
    work = [("notes", {"documents", "text_personas"})]
    before = plan(hub.environment, work).total

    run_batches(hub.environment, ["notes"], ["documents", "text_personas"], budget=Budget(max_calls=FIRST_ANSWERS + 5))
    assert hub.rows("text_personas").is_empty()
    halfway = plan(hub.environment, work).total
    assert [work.basis for work in plan(hub.environment, work).work] == ["history"]

    steps = list[Usage]()
    result = run_batches(
        hub.environment, ["notes"], ["text_personas"], listener=lambda step: steps.append(copy(step.usage or Usage()))
    )
    actual = sum(usage.completion_tokens for usage in result.usage.values())
    assert actual > 2_000
    assert halfway.completion_tokens == pytest.approx(actual, rel=0.25)
    assert before.completion_tokens * (1 - 55 / 150) == pytest.approx(actual, rel=0.5)
    early = next(usage for usage in steps if usage.paid >= FIRST_ANSWERS)
    assert early.tokens_in_all == pytest.approx(max(usage.tokens for usage in steps), rel=0.25)


def test_progress_shows_the_estimate_until_the_step_ends() -> None:
    usage = Usage(total=100, accepted=10, calls=10, prompt_tokens=1_000, completion_tokens=500, likely_tokens=200)
    assert usage.tokens_in_all == 1_500 + 90 * (100 + 200)
    assert usage.cost_in_all == 0
    usage.accepted, usage.cost, usage.completion_tokens, usage.prompt_tokens = 50, 0.5, 2_500, 5_000
    assert usage.tokens_in_all == 15_000
    line = second_line(_Shown(Step("notes", "tools", 50, 100, "", usage)), "USD")
    assert line == "10 calls, 7,500 tokens, 0.5000 of ~1.00 USD"
    usage.cost = 0
    assert second_line(_Shown(Step("notes", "tools", 50, 100, "", usage))) == "10 calls, 7,500 of ~15k tokens"
    usage.accepted = 100
    assert "~" not in second_line(_Shown(Step("notes", "tools", 100, 100, "", usage)), "USD")
