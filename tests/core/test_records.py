"""Answer classes: every schema is bounded, and every dataset has all of its parts."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from personahub_assets.core import project_files
from personahub_assets.core.records import (
    DATASETS,
    Answer,
    DatasetItem,
    RelatedPersonas,
    TextPersonas,
    Tool,
    ToolArgument,
)

ANSWERS: list[type[Answer]] = [TextPersonas, RelatedPersonas, *DATASETS.values()]
of_each_answer = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
of_each_dataset = pytest.mark.parametrize("name", DATASETS)


def nodes(schema: Any, path: str = "$") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            yield from nodes(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, value in enumerate(schema):
            yield from nodes(value, f"{path}[{number}]")


def unbounded(schema: dict[str, Any]) -> list[str]:
    found = []
    for path, node in nodes(schema):
        kind = node.get("type")
        if kind == "string" and not {"maxLength", "pattern", "enum", "const"} & node.keys():
            found.append(f"{path}: a string without maxLength, pattern or enum")
        if kind == "array" and "maxItems" not in node:
            found.append(f"{path}: an array without maxItems")
        if kind == "object" and node.get("additionalProperties") is not False:
            found.append(f"{path}: an object open to other fields")
    return found


@of_each_answer
def test_every_schema_is_bounded(answer: type[Answer]) -> None:
    assert unbounded(answer.model_json_schema()) == []


def test_the_walk_sees_what_is_unbounded() -> None:
    class Open(Answer):
        text: str
        items: list[int]

    assert len(unbounded(Open.model_json_schema())) == 2


@of_each_answer
def test_patterns_are_anchored_and_bounded(answer: type[Answer]) -> None:
    patterns = [n["pattern"] for _, n in nodes(answer.model_json_schema()) if isinstance(n.get("pattern"), str)]
    assert all(p.startswith("^") and p.endswith("}$") and "*" not in p and "+" not in p for p in patterns)


@of_each_answer
def test_unknown_fields_are_refused(answer: type[Answer]) -> None:
    with pytest.raises(ValidationError, match="surplus"):
        answer.model_validate({"surplus": 1})


def test_bounds_count_characters_and_ignore_outer_spaces() -> None:
    assert ToolArgument(name="a", type="string", description="  höhe  ü ").description == "höhe  ü"
    with pytest.raises(ValidationError, match="at least 5"):
        ToolArgument(name="a", type="string", description="   höhe  ")
    with pytest.raises(ValidationError, match="pattern"):
        ToolArgument(name="a" * 41, type="string", description="height")


@of_each_dataset
def test_every_dataset_has_all_its_parts(name: str) -> None:
    item = DATASETS[name]
    assert (item.__doc__ or "").strip().splitlines()[0].endswith("."), "a docstring: it describes the table"
    assert all(field.description for field in item.model_fields.values()), "a description of each field"
    prompt = project_files.prompt(name)
    assert prompt.name == name
    assert prompt.description
    checks = {**project_files.sql_files("checks/any_dataset")}
    assert {
        "persona_in_hub",
        "one_item_per_sample",
        "every_request_accounted_for",
        "has_its_generation",
    } <= checks.keys()
    assert all("{dataset}" in sql for sql in checks.values())


def test_the_text_of_an_item_is_its_field_or_all_of_them_by_name() -> None:
    class Riddle(DatasetItem):
        riddle: str

    assert Riddle(riddle="What has keys?").as_text() == "What has keys?"
    tool = Tool(
        name="Tide table",
        description="Gives the tides of a harbour for one day.",
        function_name="tide_table",
        input_arguments=[ToolArgument(name="harbour", type="string", description="Name of it")],
        returns="Times and heights",
        dependencies=[],
    )
    assert tool.as_text() == (
        "Name: Tide table\n"
        "Description: Gives the tides of a harbour for one day.\n"
        "Function name: tide_table\n"
        "Input arguments: name: harbour, type: string, description: Name of it\n"
        "Returns: Times and heights\n"
        "Dependencies: none"
    )
