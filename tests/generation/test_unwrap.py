"""Answers in all wrappings of models, and answers that stay invalid."""

import html
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from personahub_assets.core.records import (
    Answer,
    GameNPC,
    Instruction,
    KnowledgeText,
    MathProblem,
    ReasoningProblem,
    RelatedPersonas,
    TextPersonas,
    Tool,
)
from personahub_assets.generation.replies.relaxed_json import Malformed, read_relaxed, scan
from personahub_assets.generation.replies.reply import Finish, Reply
from personahub_assets.generation.replies.unwrap import thoughts_in, unwrap

LONG = (
    'A keeper\'s deputy who reads "{tide}" tables [all night], writes a letter\n'
    "and counts the ships \\ boats: 7, 8, 9. "
)
EXAMPLES: dict[type[Answer], dict[str, Any]] = {
    TextPersonas: {
        "personas": [
            {"persona": LONG.strip(), "relation": "read", "granularity": "fine"},
            {"persona": "Schmied aus Köln – 你好 – who mends bells", "relation": "like", "granularity": "coarse"},
        ]
    },
    RelatedPersonas: {"personas": [{"persona": LONG.strip(), "relation": "younger sister"}]},
    MathProblem: {"topic": "Graph theory", "problem": LONG.strip()},
    ReasoningProblem: {"kind": "spatial", "problem": LONG.strip()},
    Instruction: {"category": "planning", "instruction": LONG.strip()},
    KnowledgeText: {"title": "On tides", "article": (LONG * 2).strip()},
    GameNPC: {
        "name": "Ola",
        "role": "Ferryman",
        "background": LONG.strip(),
        "interaction": LONG.strip(),
        "greeting": "Ahoy, {player}!",
    },
    Tool: {
        "name": "Tide planner",
        "description": LONG.strip(),
        "function_name": "plan_tides",
        "input_arguments": [{"name": "port", "type": "string", "description": "Where the ship lies"}],
        "returns": "The tides by hour",
        "dependencies": ["numpy", "tide tables"],
    },
}
ANSWERS = {kind.__name__: (kind, example) for kind, example in EXAMPLES.items()}
CLASS, GOOD = ANSWERS["TextPersonas"]
TEXT = json.dumps(GOOD)


def read(text: str, answer: type[Answer] = CLASS, finish: Finish = "stop", **fields: str) -> tuple[Any, str | None]:
    parsed, kind = unwrap(Reply(text=text, finish=finish, **fields), answer)
    return parsed.model_dump(), kind


def is_refused(text: str, answer: type[Answer] = CLASS, finish: Finish = "stop", **fields: str) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        unwrap(Reply(text=text, finish=finish, **fields), answer)
    return caught.value


THINKING = 'The user wants {personas}. It\'s like {"personas": [...]}; a 5" draft: {"topic": "T"}. Hm, [1] {x: y}'
AROUND: dict[str, tuple[str, Callable[[str], str]]] = {
    "think": ("think", lambda t: f"<think>\n{THINKING}\n</think>\n\n{t}"),
    "thinking": ("think", lambda t: f"<thinking>{THINKING}</thinking>{t}"),
    "reasoning": ("think", lambda t: f"<reasoning>{THINKING}</reasoning>\n{t}"),
    "orphan": ("think", lambda t: f"{THINKING}\n</think>\n\n{t}"),
    "attributes": ("think", lambda t: f"<seed:think>{THINKING}</seed:think>{t}"),
    "mistral": ("think", lambda t: f"[THINK]{THINKING}[/THINK]{t}"),
    "sky": (
        "think",
        lambda t: f"<|begin_of_thought|>{THINKING}<|end_of_thought|>{t}",
    ),
    "cohere": ("think", lambda t: f"<|START_THINKING|>{THINKING}<|END_THINKING|><|START_RESPONSE|>{t}<|END_RESPONSE|>"),
    "kimi": ("think", lambda t: f"◁think▷{THINKING}◁/think▷{t}"),
    "hermes": ("think", lambda t: f"<scratch_pad>{THINKING}</scratch_pad>\n{t}"),
    "granite": ("think", lambda t: f"Here is my thought process: {THINKING}\nHere is my response: {t}"),
    "gemma": ("think", lambda t: f"<|channel>thought\n{THINKING}<channel|>{t}"),
    "after": ("think", lambda t: f"{t}\n<think>Is it right? {THINKING}</think>"),
    "answer_tag": ("think", lambda t: f"<think>{THINKING}</think><answer>{t}</answer>"),
    "within": ("think", lambda t: f"<think>\n{t}\n</think>"),
    "harmony": (
        "think",
        lambda t: f"<|channel|>analysis<|message|>{THINKING}<|end|><|channel|>final<|message|>{t}<|return|>",
    ),
    "harmony_flat": ("think", lambda t: f"analysisWe need {THINKING}.assistantfinal{t}"),
    "fence": ("fence", lambda t: f"```json\n{t}\n```"),
    "fence_prose": (
        "fence",
        lambda t: f"Here is the JSON you asked for {{as agreed}}:\n\n~~~\n{t}\n~~~\n\nAnything else?",
    ),
    "prose": ("prose", lambda t: f"Sure! Here are the {{personas}} [1]: {t}\nI hope that it's of help."),
    "tail": ("special_tokens", lambda t: f"{t}<|im_end|>"),
    "head": ("special_tokens", lambda t: f"<s>[OUT]{t}</s>"),
    "tool_call": ("special_tokens", lambda t: f"<tool_call>\n{t}\n</tool_call>"),
    "next_turn": (
        "special_tokens",
        lambda t: f'{t}<|eot_id|><|start_header_id|>user\n{{"personas": []}}',
    ),
    "twice": ("repeated", lambda t: f"{t}\n\n{t}"),
    "draft": ("prose", lambda t: f'Draft: {{"personas": [], "topic": "x"}}\nFinal: {t}'),
    "bom": ("bom", lambda t: f"\ufeff{t}"),
    "string": ("json_string", json.dumps),
    "escapes": ("escapes", lambda t: f"Here: {json.dumps(t)[1:-1]}"),
    "html_entities": ("html_entities", html.escape),
}
VALUES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "object": ("wrapped", lambda v: {"result": v}),
    "array": ("wrapped", lambda v: [v]),
    "beside": ("wrapped", lambda v: {"reasoning": f"A text {THINKING}", "answer": v, "confidence": 0.9}),
    "schema_values": ("schema_values", lambda v: {"type": "object", "properties": v}),
    "call": ("wrapped", lambda v: {"name": "json_tool_call", "arguments": v}),
    "call_of_text": ("wrapped+json_string", lambda v: {"name": "json_tool_call", "arguments": json.dumps(v)}),
    "extra": ("extra_keys", lambda v: {**v, "explanation": "because", "n": None} if isinstance(v, dict) else [v]),
}
SYNTAX: dict[str, Callable[[Any], str]] = {
    "commas": lambda v: re.sub(r"(\n *[}\]])", r",\1", json.dumps(v, indent=1)),
    "repr": repr,
    "comments": lambda v: json.dumps(v, indent=1).replace("\n", " // it's {so}\n", 2),
    "nan": lambda v: json.dumps({**v, "score": float("nan")} if isinstance(v, dict) else v),
    "lines": lambda v: re.sub(r"(?<!\\)\\n", "\n", json.dumps(v)),
    "plain": json.dumps,
    "unicode": lambda v: json.dumps(v, ensure_ascii=False, indent=2),
}


@pytest.mark.parametrize("name", [name for name, (kind, _) in AROUND.items() if kind == "think"])
def test_the_thinking_before_an_answer_is_kept(name: str) -> None:
    thoughts = thoughts_in(AROUND[name][1](TEXT))
    if name == "within":
        assert thoughts == TEXT
    elif name != "after":
        assert thoughts in (THINKING, f": {THINKING}", f"We need {THINKING}.")


@pytest.mark.parametrize("name", [name for name, (kind, _) in AROUND.items() if kind != "think"])
def test_where_nothing_was_thought_there_is_no_thinking(name: str) -> None:
    assert thoughts_in(AROUND[name][1](TEXT)) == ""


@pytest.mark.parametrize(
    "text", ["<think>All of it", "\n[THINK] All of it ", "<|channel|>analysis<|message|>All of it"]
)
def test_a_thinking_that_was_cut_is_kept(text: str) -> None:
    assert thoughts_in(text) == "All of it"


@pytest.mark.parametrize("name", ANSWERS)
def test_a_clean_answer_needs_no_repair(name: str) -> None:
    answer, good = ANSWERS[name]
    assert read(json.dumps(good, indent=1), answer) == (good, None)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("wrapping", AROUND)
def test_what_stands_around_an_answer(name: str, wrapping: str) -> None:
    answer, good = ANSWERS[name]
    kind, wrapped = AROUND[wrapping]
    assert read(wrapped(json.dumps(good)), answer) == (good, kind)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("wrapping", VALUES)
def test_an_answer_in_another_form(name: str, wrapping: str) -> None:
    answer, good = ANSWERS[name]
    kind, wrapped = VALUES[wrapping]
    assert read(json.dumps(wrapped(good)), answer) == (good, kind)


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("syntax", SYNTAX)
def test_nearly_json(name: str, syntax: str) -> None:
    answer, good = ANSWERS[name]
    expected = {"nan": "extra_keys", "lines": "control_characters", "plain": None, "unicode": None}.get(
        syntax, "syntax"
    )
    assert read(SYNTAX[syntax](good), answer) == (good, expected)


@pytest.mark.parametrize("first", ["string", "escapes"])
@pytest.mark.parametrize("second", ["think", "after", "next_turn", "twice", "tail", "string", "escapes"])
def test_an_escaped_answer_among_other_text(first: str, second: str) -> None:
    for answer, good in ANSWERS.values():
        assert read(AROUND[second][1](AROUND[first][1](json.dumps(good))), answer)[0] == good


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(ANSWERS)),
    st.lists(st.sampled_from(sorted(VALUES)), max_size=2),
    st.sampled_from(sorted(SYNTAX)),
    st.lists(st.sampled_from(sorted(AROUND)), max_size=2),
)
def test_any_wrapping_of_any_wrapping(name: str, values: list[str], syntax: str, around: list[str]) -> None:
    answer, good = ANSWERS[name]
    value: Any = good
    for wrapping in values:
        value = VALUES[wrapping][1](value)
    text = SYNTAX[syntax](value)
    for wrapping in around:
        text = AROUND[wrapping][1](text)
    assert read(text, answer)[0] == good


def test_forms_of_fields() -> None:
    people = GOOD["personas"]
    assert read(json.dumps(people)) == (GOOD, "bare_list")
    assert read(json.dumps({"personas": json.dumps(people)})) == (GOOD, "json_string")
    assert read(json.dumps({"personas": repr(people)})) == (GOOD, "json_string")
    assert read(json.dumps({"personas": [json.dumps(item) for item in people]})) == (GOOD, "json_string")
    assert read(json.dumps({"Personas ": people})) == (GOOD, "key")
    assert read(TEXT.replace('"read"', '" READ "').replace('"coarse"', '"Coarse."')) == (GOOD, "enum")
    assert read(json.dumps({"personas": [{**item, "id": 1} for item in people]})) == (GOOD, "extra_keys")
    answer, good = ANSWERS["MathProblem"]
    assert read(json.dumps({**good, "topic": 2024}), answer) == ({**good, "topic": "2024"}, "number")
    answer, good = ANSWERS["Tool"]
    renamed = {("functionName" if key == "function_name" else key): value for key, value in good.items()}
    assert read(json.dumps({**renamed, "dependencies": '["numpy", "tide tables"]'}), answer)[0] == good


def test_the_answer_in_another_field() -> None:
    assert read("", tool_arguments=TEXT) == (GOOD, "tool_arguments")
    assert read("Calling the tool.", tool_arguments=json.dumps({"x": GOOD})) == (GOOD, "tool_arguments+wrapped")
    assert read("", reasoning=TEXT) == (GOOD, "reasoning")
    assert read("Done.", reasoning=f"{THINKING}\nSo: {TEXT} That is it.") == (GOOD, "reasoning+prose")
    assert read("", tool_arguments="{}", reasoning=TEXT) == (GOOD, "reasoning")


def test_thinking_is_no_answer_where_it_was_cut_or_an_answer_follows() -> None:
    is_refused("", "length" and CLASS, "length", reasoning=TEXT)
    is_refused(f"<think>{THINKING} {TEXT} but", finish="length")
    is_refused(f"<think>{TEXT}</think>", finish="length")
    is_refused(f"<think>{TEXT}</think>{TEXT[:90]}")
    is_refused(f"<think>{TEXT}</think>" + '{"personas": []}')
    is_refused(TEXT[:90], reasoning=TEXT)


def test_a_whole_answer_counts_though_it_was_cut_behind() -> None:
    assert read(f"{TEXT}\n\n{TEXT[:90]}", finish="length") == (GOOD, "prose")
    assert read(f"<think>{THINKING}</think>{TEXT}", finish="length") == (GOOD, "think")


def test_the_final_answer_is_taken_of_two() -> None:
    other = TEXT.replace("mends bells", "rings bells")
    assert read(f"{other}\nOn second thoughts:\n{TEXT}")[0] == GOOD
    assert read(f"<think>{other}</think>{TEXT}")[0] == GOOD
    assert read(f"{TEXT}<|im_end|>\n<|im_start|>user\nAgain<|im_end|>\n<|im_start|>assistant\n{other}")[0] == GOOD
    assert read(f"```json\n{TEXT}\n```\nwhere <think> and </think> are tags")[0] == GOOD


@pytest.mark.parametrize("end", range(2, len(TEXT), 7))
@pytest.mark.parametrize("wrapping", ["think", "fence", "prose", "harmony_flat", "escapes"])
def test_an_answer_that_is_cut_is_not_completed(wrapping: str, end: int) -> None:
    is_refused(TEXT[:end])
    is_refused(AROUND[wrapping][1](TEXT[:end]))
    is_refused(repr(GOOD)[: min(end, len(repr(GOOD)) - 1)])
    is_refused(TEXT[:end], finish="length")


@pytest.mark.parametrize("name", ANSWERS)
def test_a_schema_is_no_answer(name: str) -> None:
    answer, good = ANSWERS[name]
    schema = answer.model_json_schema()
    for value in (
        schema,
        {"schema": schema},
        schema["properties"],
        [schema],
        {"result": {"properties": schema["properties"]}},
    ):
        for wrapped in (json.dumps(value), f"```json\n{json.dumps(value, indent=1)}\n```", repr(value)):
            is_refused(wrapped, answer)
    assert read(f"Schema: {json.dumps(schema)}\nAnswer: {json.dumps(good)}", answer)[0] == good


class Choices(Answer):
    """A class with only optional fields."""

    words: tuple[str, ...] = ()
    note: str = ""


@pytest.mark.parametrize(
    "text",
    ['{"foo": 1}', '{"foo": 1, "bar": {}}', json.dumps(Choices.model_json_schema()), "[{}, {}]", "null"],
)
def test_nothing_known_is_no_answer(text: str) -> None:
    is_refused(text, Choices)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        "42",
        '"personas"',
        "{}",
        "[]",
        "null",
        '{"personas": []}',
        '{"personas": "A nurse who knows all about it"}',
        '{"personas": {"persona": "A nurse who knows all about it", "relation": "read", "granularity": "fine"}}',
        '{"persona": "A nurse who knows all about it", "relation": "read", "granularity": "fine"}',
        '{"personas": [{"persona": "short", "relation": "read", "granularity": "fine"}]}',
        '{"personas": [{"persona": "A nurse who knows all about it", "relation": "reader", "granularity": "fine"}]}',
        '{"personas": [{"persona": "A nurse who knows all about it", "relation": null, "granularity": "fine"}]}',
        '{"personas": [{"persona": ["A nurse who knows all about it"], "relation": "read", "granularity": "fine"}]}',
        '{"personas": [{"persona": "A nurse who knows all about it", "relation": "read"}]}',
        '{"personas": [{"persona": "A "nurse" who knows all of it", "relation": "read", "granularity": "fine"}]}',
        '{"personas": [{"persona": "A nurse who knows all about it" "relation": "read", "granularity": "fine"}]}',
        "{'personas': [{'persona': 'A nurse who's all about it', 'relation': 'read', 'granularity': 'fine'}]}",
        '{"personas": [{"persona": A nurse who knows all about it, "relation": "read", "granularity": "fine"}]}',
    ],
)
def test_wrong_answers_stay_wrong(text: str) -> None:
    is_refused(text)
    for wrapping in ("think", "fence", "prose"):
        is_refused(AROUND[wrapping][1](text))


def test_the_error_is_that_of_the_best_candidate() -> None:
    error = is_refused('Here: {"personas": [{"persona": "A nurse who knows all about it", "relation": "read"}]}')
    assert [fault["loc"] for fault in error.errors()] == [("personas", 0, "granularity")]
    assert is_refused(f"```json\n{TEXT[:60]}\n```").errors()[0]["type"] == "json_invalid"
    assert is_refused("no JSON\ud800").errors()[0]["type"] == "json_invalid"


@pytest.mark.parametrize("sign", ["\\ud800", "\\udfff", "\\u0000", "\x00", "\ud800"])
@pytest.mark.parametrize("wrapping", [None, "fence", "think"])
def test_what_cannot_be_stored_is_replaced(sign: str, wrapping: str | None) -> None:
    text = TEXT.replace("mends", f"me{sign}nds")
    parsed, kind = read(AROUND[wrapping][1](text) if wrapping else text)
    assert parsed["personas"][1]["persona"].endswith("who me\ufffdnds bells")
    assert str(kind).endswith("control_characters")


def test_nearly_json_reads_one_way_or_not_at_all() -> None:
    assert read_relaxed('{“a”: \'it\\\'s \\x41 "b"\', $c: -1.5e3, "d": [NaN, nan, -inf, True]}')[0].keys() == {
        "a",
        "$c",
        "d",
    }
    assert read_relaxed("{'a': 'it\\'s \\x41 \"b\"'}")[0] == {"a": 'it\'s A "b"'}
    assert read_relaxed("[1, /* , */ 2, # three\n]") == ([1, 2], 24)
    for text in (
        "[,]",
        "{,}",
        "[1,,2]",
        "[1 2]",
        "{'a' 'b'}",
        "{a: b}",
        "['a",
        "{'a': 1",
        "[1}",
        "[01]",
        "{1: 2}",
        "",
        "x",
    ):
        with pytest.raises(Malformed):
            read_relaxed(text)


def test_scan_gives_the_outermost_values() -> None:
    found = scan('a {b} {"c": {"d": 1}} [1] [{"e": "}"}] {"f": x} {"g": 2}')
    assert [span.value for span in found.spans] == [{"c": {"d": 1}}, [{"e": "}"}], {"g": 2}]
    assert [span.broken_at for span in found.spans] == [None, None, 39]
    assert found.broken_at == 39


@given(st.text(alphabet="{}[]\"':, \\abn/*#<>|\n1", max_size=60))
def test_any_text_ends_in_an_answer_or_a_validation_error(text: str) -> None:
    is_refused(text)
    is_refused("", reasoning=text, tool_arguments=text)


@pytest.mark.parametrize(
    "piece",
    ["{", '{"', '{"a":', "{'a':1,", '{"a":1}', '{"a" x', "{a:", "</", '\\"{', '{"a":"\\', "[[1],"],
)
def test_hostile_texts_end_soon(piece: str) -> None:
    text = piece * (500_000 // len(piece))
    started = time.process_time()
    is_refused(text)
    is_refused(f"x</think>{text}")
    assert time.process_time() - started < 3


def test_deep_answers_are_refused() -> None:
    for depth in (300, 990, 5_000):
        is_refused('{"personas": ' + "[" * depth + "]" * depth + "}")
        is_refused('{"a": ' * depth + "1" + "}" * depth)
