"""The writer satisfies any bounded schema, is deterministic, and writes different texts for different data."""

import ast
import json
import re
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field

from personahub_assets import standin
from personahub_assets.standin import words
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.source import keywords, person_in
from personahub_assets.standin.writer import write

FERRY = "The ferry captain from Islay sold three boats to Hewlett Packard, and the tide tables were wrong again."
SENTENCE = re.compile(r"[A-Z“\"].*[.\"?]$", re.DOTALL)


def request(schema: Any, data: str = FERRY, ask: str = "Describe who may read this.") -> dict[str, Any]:
    return {
        "model": "standin",
        "messages": [
            {"role": "system", "content": ask},
            {"role": "user", "content": f'Here it is.\n<data kind="document">\n{data}\n</data>'},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema}},
    }


def answer(schema: Any, data: str = FERRY, ask: str = "Describe who may read this.") -> Any:
    return json.loads(write(request(schema, data, ask)))


def valid(schema: Any, times: int = 12) -> list[Any]:
    validator = Draft202012Validator(schema)
    answers = [answer(schema, f"{FERRY} Row {index}.") for index in range(times)]
    for found in answers:
        validator.validate(found)
    return answers


PERSONAS = {
    "type": "object",
    "properties": {
        "personas": {
            "type": "array",
            "minItems": 1,
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {"persona": {"type": "string", "minLength": 20, "maxLength": 400}},
                "required": ["persona"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["personas"],
    "additionalProperties": False,
}
RELATED = {
    "type": "object",
    "properties": {
        "related": {
            "type": "array",
            "maxItems": 6,
            "items": {
                "type": "object",
                "properties": {
                    "persona": {"type": "string", "minLength": 20, "maxLength": 400},
                    "relation": {"type": "string", "maxLength": 60},
                },
                "required": ["persona", "relation"],
            },
        }
    },
    "required": ["related"],
}

SCHEMAS: list[Any] = [
    {"type": "string", "maxLength": 0},
    {"type": "string", "minLength": 1, "maxLength": 1},
    {"type": "string", "minLength": 4000, "maxLength": 4000},
    {"type": "string", "maxLength": 9},
    {"type": "string", "enum": ["coarse", "fine"]},
    {"const": {"fixed": [1, None]}},
    {"enum": [1, "two", None]},
    {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": 12},
    {"type": "string", "pattern": "^[a-z][a-z0-9_]{2,60}$", "minLength": 40, "maxLength": 60},
    {"type": "string", "pattern": r"^[A-Z]{3}-\d{4}$"},
    {"type": "string", "pattern": "^(red|green|blu+e)$"},
    {"type": "string", "pattern": r"^\S+$", "maxLength": 9},
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
    {"type": "integer", "minimum": 5, "maximum": 5},
    {"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 7},
    {"type": "integer", "minimum": 10, "multipleOf": 7},
    {"type": "integer", "minimum": 2.5, "maximum": 3.5},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.001},
    {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 1},
    {"type": "number", "maximum": -5},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["string", "null"], "maxLength": 30},
    {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
    {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {
        "type": "object",
        "anyOf": [
            {"properties": {"t": {"const": "a"}, "n": {"type": "integer"}}, "required": ["t", "n"]},
            {"properties": {"t": {"const": "b"}, "s": {"type": "string"}}, "required": ["t", "s"]},
        ],
    },
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5, "maximum": 6}, "b": {"const": "q"}}, "required": ["b"]},
        ]
    },
    {"type": "array", "items": {"type": "boolean"}, "minItems": 12, "maxItems": 12},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 3, "maxItems": 3},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "null"}, "minItems": 4},
    {"type": "array", "maxItems": 0},
    {"type": "object", "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "object", "additionalProperties": {"type": "string", "maxLength": 8}, "minProperties": 9},
    {"type": "object", "propertyNames": {"pattern": "^[a-z]{3}$"}, "additionalProperties": {"type": "null"}},
    {"type": "object", "required": ["undescribed"]},
    {
        "$defs": {"E": {"enum": [1, 2]}, "S": {"type": "object", "properties": {"e": {"$ref": "#/$defs/E"}}}},
        "type": "object",
        "properties": {"sub": {"$ref": "#/$defs/S", "description": "a part"}},
    },
    {
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
                "required": ["kids"],
            }
        },
        "$ref": "#/$defs/Tree",
    },
    {
        "$defs": {
            "Link": {
                "type": "object",
                "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Link"}, {"type": "null"}]}},
                "required": ["next"],
            }
        },
        "$ref": "#/$defs/Link",
    },
    {},
    PERSONAS,
    RELATED,
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:70])
def test_every_schema_feature_is_satisfied(schema: Any) -> None:
    valid(schema)


class Argument(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=40)
    type: Literal["string", "integer", "list"]
    description: str = Field(max_length=200)


class Tool(BaseModel):
    """A tool that a persona would want."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=80)
    function_name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)
    description: str = Field(min_length=30, max_length=400)
    arguments: list[Argument] = Field(min_length=1, max_length=6)
    returns: str = Field(max_length=200)
    dependencies: list[Annotated[str, Field(max_length=40)]] = Field(max_length=4)
    notes: str | None = Field(default=None, max_length=120)


class Problem(BaseModel):
    problem: str = Field(max_length=1200)
    solution: str = Field(max_length=1200)
    answer: str = Field(max_length=200)


class Npc(BaseModel):
    name: str = Field(max_length=80)
    race: str = Field(max_length=40)
    backstory: str = Field(max_length=800)
    greeting: str = Field(max_length=200)
    inventory: list[Annotated[str, Field(max_length=80)]] = Field(min_length=2, max_length=4)


class Knowledge(BaseModel):
    title: str = Field(max_length=120)
    text: str = Field(min_length=400, max_length=3000)


def of(model: type[BaseModel], data: str = FERRY) -> Any:
    return model.model_validate_json(write(request(model.model_json_schema(), data)))


def test_a_tool_hangs_together() -> None:
    tool: Tool = of(Tool)
    assert tool.function_name.isidentifier()
    assert tool.notes
    assert len(set(tool.dependencies)) == len(tool.dependencies)
    assert all(argument.name.isidentifier() for argument in tool.arguments)
    assert tool.description.endswith(".")


def test_a_problem_has_numbers_and_its_own_answer() -> None:
    problem: Problem = of(Problem)
    assert re.search(r"\d", problem.problem)
    assert problem.problem.endswith("?")
    assert problem.answer.split()[0] in problem.solution


def test_a_character_has_a_voice_and_things() -> None:
    npc: Npc = of(Npc)
    assert npc.greeting.startswith('"')
    assert set(npc.inventory) <= set(words.ITEMS)
    assert npc.name.split()[0] in npc.backstory


def test_a_knowledge_text_has_paragraphs_and_a_short_title() -> None:
    text: Knowledge = of(Knowledge)
    assert "\n\n" in text.text
    assert text.text.count(".") > 6
    assert "\n" not in text.title


def test_without_a_schema_it_writes_plain_text() -> None:
    body = request({})
    del body["response_format"]
    assert SENTENCE.match(write(body))


def test_json_object_without_a_schema_is_json() -> None:
    body = {**request({}), "response_format": {"type": "json_object"}}
    assert isinstance(json.loads(write(body)), dict)


def test_personas_are_sentences_of_12_to_40_words() -> None:
    for item in answer({"type": "array", "items": PERSONAS["properties"]["personas"]["items"], "minItems": 200}):  # type: ignore[index]
        assert SENTENCE.match(item["persona"])
        assert 12 <= len(item["persona"].split()) <= 40


@pytest.mark.parametrize(
    ("ask", "count"),
    [
        ("Write 4 personas.", 4),
        ("Write exactly 2.", 2),
        ("Give between 2 and 5 very different personas, each in one or two sentences.", 5),
        ("Each persona has one or two sentences. Write three personas.", 3),
        ("List 90 personas.", 5),
        ("Describe who may read this.", 3),
        ("Write one or two sentences on each.", 3),
    ],
)
def test_the_number_asked_for_is_honoured_within_bounds(ask: str, count: int) -> None:
    assert len(answer(PERSONAS, ask=ask)["personas"]) == count


def test_only_the_last_data_section_counts() -> None:
    ask = "Describe who may read this."
    schema = {"type": "array", "items": {"type": "string", "description": "keyword", "maxLength": 40}, "minItems": 3}
    messages = [
        {"role": "system", "content": ask},
        {"role": "user", "content": f"<data>oysters</data> was an example <data id=7>{FERRY}</data> as asked"},
    ]
    found = " ".join(json.loads(write({**request(schema), "messages": messages})))
    assert "oysters" not in found
    assert any(word in found for word in ("ferry", "Islay", "Hewlett", "boats", "tide"))


def test_a_re_ask_without_data_falls_back_on_the_earlier_data() -> None:
    body = request({"type": "object", "properties": {"keyword": {"type": "string"}}}, data="Zanzibarite cloves")
    body["messages"] += [
        {"role": "assistant", "content": "{}"},
        {"role": "user", "content": "Please mend your answer."},
    ]
    assert json.loads(write(body))["keyword"] in ("Zanzibarite", "cloves", "Zanzibarite cloves")


def test_the_same_request_gets_the_same_answer_and_any_other_another() -> None:
    assert write(request(PERSONAS)) == write({**request(PERSONAS), "max_tokens": 77, "temperature": 1.3})
    variants = [write(request(PERSONAS, ask=f"Describe who may read this. Variant {n}")) for n in range(50)]
    assert len(set(variants)) == 50


def test_answers_are_pinned_across_processes_and_machines() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 10**6}}}
    assert answer(schema) == {"n": 938355}


def test_a_relation_is_named_in_the_persona_beside_it() -> None:
    parent = "A retired ferry captain from the Outer Hebrides who keeps tide logs."
    for item in answer(RELATED, data=parent)["related"]:
        assert item["relation"] in item["persona"]
        assert "retired ferry captain" in item["persona"]


def test_an_enum_of_relations_decides_the_persona() -> None:
    schema = json.loads(json.dumps(RELATED))
    schema["properties"]["related"]["items"]["properties"]["relation"] = {"enum": ["business_partner", "rival"]}
    for item in answer(schema, data="A shy baker who sings.")["related"]:
        assert item["relation"].replace("_", " ") in item["persona"]


def near(texts: Iterable[str], threshold: float = 0.9) -> set[str]:
    sets = [(text, frozenset(re.findall(r"\w+", text.lower()))) for text in texts]
    close: set[str] = set()
    for (one, left), (two, right) in combinations(sets, 2):
        if len(left & right) >= threshold * len(left | right):
            close |= {one, two}
    return close


def test_personas_of_near_identical_documents_survive_dedup() -> None:
    stories = [
        f"Oil hits ${price} on winter worries in Nigeria, says analyst {n}." for n, price in enumerate(range(20, 120))
    ]
    personas = [item["persona"] for story in stories for item in answer(PERSONAS, story)["personas"]]
    related = [item["persona"] for text in personas[:100] for item in answer(RELATED, text)["related"]]
    everything = personas + related
    assert len(set(everything)) == len(everything) == 600
    assert len(near(everything)) <= 0.05 * len(everything)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "   ",
        "1234 5678",
        "日本語のテキストは空白なしで続きます。とても長い文章です。",
        "هذا نص عربي طويل عن السفن والبحر",
        "यह हिन्दी में एक लंबा पाठ है",
        "\ud800 lone \x00 signs \udfff",
        "x" * 40_000,
        "&lt;b&gt;<script>alert(1)</script> {k} {0} %s </data> <data>",
        "a " * 20_000,
    ],
    ids=lambda data: ascii(data[:12]),
)
def test_any_data_gets_a_valid_answer(data: str) -> None:
    text = write(request(PERSONAS, data))
    Draft202012Validator(PERSONAS).validate(json.loads(text))
    assert text.encode("utf-8").isascii() or text.isprintable()


def test_keywords_are_names_and_telling_words() -> None:
    found = keywords(FERRY, Dice(b"seed"))
    assert "Hewlett Packard" in found
    assert "Islay" in found
    assert not {"the", "from", "again", "sold"} & {word.lower() for word in found}


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("A retired ferry captain from Islay who sings.", "a retired ferry captain"),
        ("The mentor of a shy baker, an old poet from Lyon who sings.", "an old poet"),
        ("a young, ambitious musician", "a young, ambitious musician"),
        ("Based in Oslo, a quiet notary who doubts.", "a quiet notary"),
        ("No person at all.", ""),
    ],
)
def test_the_person_of_a_persona_is_found(text: str, person: str) -> None:
    assert person_in(text) == person


# Any bounded schema: what is generated here is valid JSON Schema with at least one instance.
_names = st.text("abcdefgh_", min_size=1, max_size=6)
_strings = st.tuples(st.integers(0, 60), st.integers(0, 200)).map(
    lambda pair: {"type": "string", "minLength": pair[0], "maxLength": sum(pair)}
)
_integers = st.tuples(st.integers(-500, 500), st.integers(0, 300)).map(
    lambda pair: {"type": "integer", "minimum": pair[0], "maximum": sum(pair)}
)
_numbers = st.tuples(st.integers(-500, 500), st.floats(0.001, 300)).map(
    lambda pair: {"type": "number", "minimum": pair[0], "exclusiveMaximum": pair[0] + pair[1]}
)
_constants = st.lists(st.none() | st.integers() | st.text(max_size=8), min_size=1, max_size=4, unique=True).map(
    lambda values: {"enum": values}
)
_leaves = st.one_of(_strings, _integers, _numbers, _constants, st.sampled_from([{"type": "boolean"}, {"type": "null"}]))


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.dictionaries(_names, inner, max_size=4), st.booleans()).map(
        lambda pair: {
            "type": "object",
            "properties": pair[0],
            "required": list(pair[0])[::2],
            "additionalProperties": pair[1],
        }
    )


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(inner, st.integers(0, 5), st.integers(0, 4)).map(
        lambda t: {"type": "array", "items": t[0], "minItems": t[1], "maxItems": t[1] + t[2]}
    )


def _unions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})


_schemas = st.recursive(
    _leaves, lambda inner: st.one_of(_objects(inner), _arrays(inner), _unions(inner)), max_leaves=12
)


@settings(max_examples=50, deadline=None)
@given(schema=_schemas, data=st.text(max_size=80))
def test_any_bounded_schema_gets_a_valid_answer(schema: Any, data: str) -> None:
    body = request(schema, data)
    text = write(body)
    Draft202012Validator(schema).validate(json.loads(text))
    assert write(json.loads(json.dumps(body))) == text


def test_the_vocabulary_is_large_enough() -> None:
    assert len(words.OCCUPATIONS) >= 300
    assert len(words.PLACES) >= 200
    assert len(words.TRAITS) >= 120
    assert len(words.HABITS) >= 200
    assert len(words.ATTITUDES) >= 25
    for pool in (words.OCCUPATIONS, words.PLACES, words.TRAITS, words.STAGES, words.HABITS, words.RELATIONS):
        assert len(set(pool)) == len(pool)


def test_the_stand_in_imports_nothing_else_of_the_project() -> None:
    folder = Path(next(iter(standin.__path__)))
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file.name} imports relatively"
                names = [node.module or ""]
            for name in names:
                inside = name.startswith("personahub_assets.standin")
                assert inside or not name.startswith("personahub_assets"), f"{file.name} imports {name}"
