"""Differences between a stored prompt and the current one: text, sampling, or unknown."""

import pytest

from personahub_assets.core import project_files
from personahub_assets.core.records import Tool
from personahub_assets.generation.requests import Task
from personahub_assets.runs.reasons import PROMPT, SAMPLING, _of_prompt

FILED = project_files.prompt("tools")


@pytest.mark.parametrize(
    ("sampling", "difference"),
    [
        ({"temperature": 0.3}, [SAMPLING]),
        ({"top_k": 5}, [SAMPLING]),
        ({"top_k": 5, "temperature": 0.3}, [SAMPLING]),
    ],
)
def test_a_parameter_that_was_added_is_a_change_of_sampling(sampling: dict[str, float], difference: list[str]) -> None:
    task = Task("tools", FILED.with_settings({}, sampling), Tool, "m")
    assert _of_prompt(task, FILED.fingerprint, FILED.temperature, FILED.top_p) == difference


def test_another_value_of_a_parameter_cannot_be_told_from_another_text() -> None:
    filed, today = (FILED.with_settings({}, {"top_k": top_k}) for top_k in (5, 9))
    task = Task("tools", today, Tool, "m")
    assert _of_prompt(task, filed.fingerprint, filed.temperature, filed.top_p) == [f"{PROMPT} or {SAMPLING}"]
