"""An answer with a violation is JSON that its schema rejects, for any schema and any choice."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from personahub_assets.core.records import DATASETS, Answer, RelatedPersonas, TextPersonas
from personahub_assets.standin.violations import violated
from personahub_assets.standin.writer import write

ANSWERS: list[type[Answer]] = [TextPersonas, RelatedPersonas, *DATASETS.values()]
ROOMY = 1 << 20


def written(schema: dict[str, Any]) -> str:
    asked = {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema}}
    messages = [{"role": "user", "content": "<data>Tide tables of Islay</data>"}]
    return write({"messages": messages, "response_format": asked})


@given(st.sampled_from(ANSWERS), st.integers(0, 1 << 30))
def test_no_answer_of_the_project_is_taken(answer: type[Answer], choice: int) -> None:
    schema = answer.model_json_schema()
    content = violated(written(schema), schema, choice, ROOMY)
    assert not Draft202012Validator(schema).is_valid(json.loads(content))
    with pytest.raises(ValueError, match="validation error"):
        answer.model_validate_json(content)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "integer"},
        {"type": "null"},
        {"type": "array", "items": {"type": "boolean"}},
        {"type": "array", "prefixItems": [{"type": "integer"}], "items": {"type": "string", "minLength": 3}},
        {"enum": [1, 2]},
        {"const": "yes"},
        {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
        {
            "$ref": "#/$defs/Node",
            "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
        },
    ],
    ids=str,
)
def test_other_schemas_are_broken_too(schema: dict[str, Any]) -> None:
    for choice in range(40):
        broken = json.loads(violated(written(schema), schema, choice, ROOMY))
        assert not Draft202012Validator(schema).is_valid(broken)


def test_a_schema_that_takes_anything_leaves_the_answer_json() -> None:
    assert json.loads(violated('{"a":1}', {}, 5, ROOMY)) is not None


def test_a_violation_that_fits_the_room_is_preferred() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 5000}}, "required": ["a"]}
    found = [violated('{"a":"short"}', schema, choice, 100) for choice in range(20)]
    assert max(map(len, found)) <= 100
    assert any(len(violated('{"a":"short"}', schema, choice, ROOMY)) > 5000 for choice in range(20))
