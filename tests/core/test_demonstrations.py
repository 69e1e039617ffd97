"""Demonstrations in prompts: files, errors, and texts that look like templates."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core import project_files
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.demonstrations import SUFFIX, Demonstration, as_instructions, read_demonstrations
from personahub_assets.core.errors import PromptError
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import DATASETS, MathProblem
from personahub_assets.generation.requests import Task
from personahub_assets.steps.datasets import dataset_task

EXAMPLE = {"persona": "A baker", "answer": {"topic": "Rates", "problem": "How many loaves does the oven bake? " * 2}}


def rendered(examples: list[Demonstration], mode: str) -> str:
    added = as_instructions(examples, mode)  # type: ignore[arg-type]
    prompt = Prompt(name="x", description="x", instructions=f"Write.\n\n{added}", row="{{ persona }}")
    return prompt.messages({"persona": "p"})[0]["content"].removeprefix("Write.").strip()


@pytest.mark.parametrize("name", DATASETS)
def test_each_dataset_has_examples(name: str) -> None:
    examples = read_demonstrations(project_files.root() / "prompts" / f"{name}{SUFFIX}", DATASETS[name])
    assert len(examples) >= 3
    assert len({example.persona for example in examples}) == len(examples)
    assert examples[0].persona not in rendered(examples, "few_shot")
    for example in examples:
        assert example.answer in rendered(examples, "few_shot")
        assert f"{example.persona}\nAnswer: {example.answer}" in rendered(examples, "persona_few_shot")
    assert rendered(examples, "zero_shot") == ""


@given(st.lists(st.sampled_from(["{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "raw", "endraw", " ", "x", "-"])))
def test_examples_are_no_templates(pieces: list[str]) -> None:
    text = "".join(pieces)
    shown = rendered([Demonstration(f"a{text}b", json.dumps(text))], "persona_few_shot")
    assert shown.endswith(f"Person: a{text}b\nAnswer: {json.dumps(text)}")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", 'line 2: expected {"persona"'),
        ('{"persona": "x"}', 'line 2: expected {"persona"'),
        (json.dumps({**EXAMPLE, "persona": " "}), "line 2: persona must be a text, got ' '"),
        (json.dumps({**EXAMPLE, "answer": {"topic": "Rates"}}), "line 2: problem: Field required"),
        (json.dumps({**EXAMPLE, "answer": 3}), "line 2: answer: Input should be"),
    ],
)
def test_a_wrong_example_is_named(tmp_path: Path, line: str, error: str) -> None:
    path = tmp_path / "math_problems.examples.jsonl"
    path.write_text(f"{json.dumps(EXAMPLE)}\n{line}\n\n")
    with pytest.raises(PromptError) as raised:
        read_demonstrations(path, MathProblem)
    assert error in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match=r"none\.examples\.jsonl: cannot be read"):
        read_demonstrations(tmp_path / "none.examples.jsonl", MathProblem)


def test_the_mode_is_part_of_the_identity(tmp_path: Path) -> None:
    def task(**settings: object) -> Task:
        config = HubConfig.model_validate({"datasets": {"math_problems": settings}})
        return dataset_task("math_problems", Catalog(tmp_path), config, "m")

    modes = ("zero_shot", "few_shot", "persona_few_shot")
    requests = {mode: task(prompting=mode).request("p", {"persona": "A baker"}) for mode in modes}
    assert len({request.key for request in requests.values()}) == 3
    assert requests["zero_shot"] == task().request("p", {"persona": "A baker"})
    assert (
        task(prompting="few_shot", demonstrations=1).prompt.fingerprint != task(prompting="few_shot").prompt.fingerprint
    )
    system = requests["persona_few_shot"].messages[0]["content"]
    assert system.startswith(requests["zero_shot"].messages[0]["content"])
    assert "dairy farmer" in system

    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / f"math_problems{SUFFIX}").write_text(json.dumps(EXAMPLE))
    assert "Person: A baker" in task(prompting="persona_few_shot").prompt.instructions
    assert "dairy farmer" not in task(prompting="persona_few_shot").prompt.instructions


def test_examples_are_needed_for_a_dataset_of_the_home(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "recipes.md").write_text(
        "---\nname: recipes\ndescription: Recipes.\nfields:\n  recipe: {type: string, min: 5, max: 90, "
        "description: A recipe}\n---\nWrite.\n---\n{{ persona }}\n"
    )
    config = HubConfig.model_validate({"datasets": {"recipes": {"prompting": "few_shot"}}})
    with pytest.raises(PromptError, match=r'recipes\.examples\.jsonl is missing.*prompting = "zero_shot"'):
        dataset_task("recipes", Catalog(tmp_path), config, "m")
