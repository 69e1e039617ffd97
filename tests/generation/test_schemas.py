"""Schemas with only the keywords that all servers support; the prompt describes omitted ones."""

import json
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from personahub_assets.core.records import DATASETS, RelatedPersonas, TextPersonas
from personahub_assets.generation.servers.schemas import simplified

ANSWERS = [TextPersonas, RelatedPersonas, *DATASETS.values()]
KEYWORDS = {"type", "properties", "required", "items", "enum", "anyOf", "description"}


def keywords(schema: Any) -> set[str]:
    """The keywords of a schema and its subschemas, without names of properties."""
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    below += [schema["items"]] if "items" in schema else []
    return set(schema).union(*map(keywords, below))


def of(model: type[BaseModel], *keep: str) -> Any:
    return simplified(model.model_json_schema(), frozenset(keep))


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_of_the_project_gets_a_simple_schema(answer: type[BaseModel]) -> None:
    full = answer.model_json_schema()
    before = json.dumps(full)
    schema = simplified(full)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert keywords(schema) <= KEYWORDS
    assert schema["properties"].keys() == full["properties"].keys()
    assert schema["required"] == full["required"]
    assert json.dumps(full) == before


def test_a_property_may_be_called_like_a_keyword() -> None:
    class Odd(BaseModel):
        pattern: str
        title: str
        items: list[str]
        properties: int

    assert of(Odd)["properties"].keys() == {"pattern", "title", "items", "properties"}


def test_what_is_left_out_is_said() -> None:
    class Bounded(BaseModel):
        name: str = Field(min_length=3, max_length=9, pattern="^a", description="A name.")
        age: int = Field(ge=1)
        tags: list[str] = Field(max_length=4)

    properties = of(Bounded)["properties"]
    assert properties["name"] == {"type": "string", "description": "A name. 3 to 9 characters; matches ^a"}
    assert properties["age"] == {"type": "integer", "description": "At least 1 as a number"}
    assert properties["tags"] == {
        "type": "array",
        "items": {"type": "string"},
        "description": "At most 4 items",
    }


def test_kept_keywords_stay_everywhere() -> None:
    schema = of(TextPersonas, "additionalProperties", "minItems")
    assert schema["additionalProperties"] is False
    assert schema["properties"]["personas"]["items"]["additionalProperties"] is False
    assert schema["properties"]["personas"]["minItems"] == 1
    assert schema["properties"]["personas"]["description"] == "At most 8 items"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int | None = None


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind", description="The pet.")
    other: Dog = Field(description="Another one.")


def test_alternatives_and_constants() -> None:
    properties = of(Owner)["properties"]
    assert properties["pet"]["description"] == "The pet."
    assert [option["properties"]["kind"]["type"] for option in properties["pet"]["anyOf"]] == ["string", "string"]
    assert [option["properties"]["kind"]["enum"] for option in properties["pet"]["anyOf"]] == [["cat"], ["dog"]]
    assert properties["other"]["description"] == "Another one."
    assert properties["other"]["properties"].keys() == {"kind"}
    assert keywords(of(Owner)) <= KEYWORDS


class Tree(BaseModel):
    label: str
    children: list["Tree"]
    left: "Tree | None"
    right: "Tree | None"
    up: "Tree | None"


def test_a_schema_that_contains_itself_ends() -> None:
    schema = of(Tree)
    assert keywords(schema) <= KEYWORDS
    assert len(json.dumps(schema)) < 10_000
    leaf = {"label": "b", "children": [], "left": None, "right": None, "up": None}
    jsonschema.validate({**leaf, "children": [leaf], "left": {**leaf, "right": leaf}}, schema)
