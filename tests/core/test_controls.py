"""`[datasets.NAME.controls]`: values that a prompt asks for, and that become columns."""

from collections import Counter
from pathlib import Path

import pytest

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import MathProblem
from personahub_assets.generation.requests import Task
from personahub_assets.steps.datasets import controlled, dataset_task, persona_requests, version

TOPICS = ["geometry", "number theory", "statistics"]
PERSONAS = [(f"p{number}", "A baker of bread") for number in range(300)]
PROBLEM = MathProblem(topic="Baking", problem="How many loaves does the oven bake in an hour, if it is full?")


def task(dataset: str = "math_problems", **controls: list[str]) -> Task:
    config = HubConfig.model_validate({"datasets": {dataset: {"controls": controls}}})
    return dataset_task(dataset, Catalog(), config, "m")


def test_values_are_asked_for_and_kept() -> None:
    controls = {"topic": TOPICS, "difficulty": ["easy", "hard"]}
    requests = list(persona_requests(task(**controls), PERSONAS, range(2)))
    for request in requests:
        text = request.messages[-1]["content"]
        row = controlled(task(**controls), request, PROBLEM)
        assert text.startswith(f"Field of mathematics, to be given as topic: {row.model_dump()['topic']}\nDifficulty: ")
        assert row.model_dump()["difficulty"] in ("easy", "hard")
        assert f"Difficulty: {row.model_dump()['difficulty']}" in row.as_text()
    pairs = Counter((request.values["topic"], request.values["difficulty"]) for request in requests)
    assert len(pairs) == 6
    assert min(pairs.values()) > 60
    assert requests == list(persona_requests(task(**controls), PERSONAS, range(2)))


def test_a_difficulty_that_a_model_invents_is_left_out() -> None:
    (request,) = persona_requests(task(), PERSONAS[:1])
    invented = PROBLEM.model_copy(update={"difficulty": "for experts"})
    assert controlled(task(), request, invented) == PROBLEM
    (request,) = persona_requests(task(difficulty=["easy"]), PERSONAS[:1])
    assert controlled(task(difficulty=["easy"]), request, invented).model_dump()["difficulty"] == "easy"


def test_without_controls_nothing_is_added() -> None:
    (request,) = persona_requests(task(), PERSONAS[:1])
    assert request.messages[-1]["content"] == '<data name="persona">\nA baker of bread\n</data>'
    assert controlled(task(), request, PROBLEM) == PROBLEM
    assert "Difficulty" not in PROBLEM.as_text()
    assert "difficulty" not in task().schema["properties"]
    plain = HubConfig.model_validate({"datasets": {"math_problems": {"controls": {"topic": TOPICS}}}})
    catalog = Catalog()
    changed = version(catalog, "math_problems", plain.dataset("math_problems"))
    assert changed != version(catalog, "math_problems", HubConfig().dataset("math_problems"))


def test_other_fields_cannot_be_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"datasets.math_problems.controls: no field 'level' \(valid: "):
        task(level=["easy"])
    with pytest.raises(ConfigError, match=r"datasets.instructions.controls: no field 'topic'"):
        task("instructions", topic=TOPICS)
