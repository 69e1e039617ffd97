"""Degenerate answers: the rules on labelled cases, and lists of which only some rows are valid."""

import time

import pytest
from answer_rules import Case, cases, scores

from personahub_assets.core.prompts import Message
from personahub_assets.core.records import MathProblem, TextPersona, TextPersonas, Tool, ToolArgument
from personahub_assets.generation.replies.degenerate import RULES, fault_of, sound_part
from personahub_assets.generation.replies.refusal_texts import is_refusal_text

CASES = list(cases())
ASKED: list[Message] = [
    {"role": "system", "content": "Name people."},
    {"role": "user", "content": '<data name="text">\nA\n</data>'},
]
GOOD = "A locksmith who collects failed patents."
PROBLEM = (
    "A ferry crosses the river 12 times a day. Each crossing takes 14 minutes with the tide and 18 minutes against it, "
    "and the tide turns once, after the fifth crossing. Boarding takes 3 to 5 minutes, depending on the load. How long "
    "is the pilot on the water in one day, and how many minutes would a constant tide have saved? If a crossing "
    "is late with a chance of 1/9, what is the expected number of late crossings in a week of six days, given that "
    "at least one crossing of the first day was late? Round to two digits."
)


def personas(*texts: str) -> TextPersonas:
    return TextPersonas.model_construct(
        personas=[TextPersona.model_construct(persona=text, relation="read", granularity="fine") for text in texts]
    )


# --- labelled cases ---


def test_there_are_enough_cases_and_more_good_rows_than_of_any_fault() -> None:
    good = [case for case in CASES if case.rule is None]
    assert len(CASES) >= 600
    assert len(good) * 2 >= len(CASES)
    assert {case.rule for case in CASES} == {None, *RULES}
    assert len({(case.field, case.text, case.row) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("rule", [*RULES, "any"])
def test_a_rule_is_precise_and_finds_most(rule: str, held_out: bool) -> None:
    score = scores(case for case in CASES if case.held_out == held_out)[rule]
    assert score.precision >= 0.99
    assert score.recall >= 0.9


# --- the verdict ---


def test_a_fault_names_field_and_rule_and_quotes_a_few_words() -> None:
    fault = fault_of(personas(GOOD, "I'm sorry, but I can't help with that. " + "Ask for something else. " * 9), ASKED)
    assert fault is not None
    reason, detail = fault
    assert reason == "refused"
    assert detail.startswith("personas.persona: refusal: I'm sorry, but I can't help with that.")
    assert len(detail) < 100
    assert fault_of(personas("One or two sentences describing a kind of person"), ASKED) == (
        "degenerate",
        "personas.persona: description: One or two sentences describing a kind of person",
    )


def test_labels_are_not_asked_for_refusals() -> None:
    assert fault_of(MathProblem(topic="I cannot help with that", problem=PROBLEM), ASKED) is None


def test_a_rejected_answer_that_is_quoted_in_a_later_turn_is_not_the_prompt() -> None:
    answer = personas(GOOD + " She writes down why each of them failed.")
    text = answer.personas[0].persona
    quoted = [*ASKED, {"role": "assistant", "content": "(rejected)"}, {"role": "user", "content": text}]
    assert fault_of(answer, quoted) is None
    assert fault_of(answer, [*ASKED, {"role": "user", "content": text}]) is not None


# --- lists of rows ---


def test_a_list_of_rows_loses_those_that_are_no_answer_and_no_others() -> None:
    answer = personas(GOOD, "I'm unable to fulfill this request.", "A nurse who cannot help crying.")
    assert fault_of(answer, ASKED) is not None
    left = sound_part(answer, ASKED)
    assert isinstance(left, TextPersonas)
    assert [row.persona for row in left.personas] == [GOOD, "A nurse who cannot help crying."]


def test_nothing_is_left_where_all_rows_are_no_answer_and_of_an_item_that_is_one_row() -> None:
    assert sound_part(personas("string string string string string string string"), ASKED) is None
    tool = Tool.model_construct(
        name="Tides",
        description="I'm sorry, but I can't help with that.",
        input_arguments=[ToolArgument(name="harbour", type="string", description="The harbour")],
    )
    assert sound_part(tool, ASKED) is None


# --- answers that are no JSON ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("**I cannot do this.**", True),
        ("As an AI language model, I cannot", True),
        ("Lo siento, pero no puedo ayudar con esa solicitud.", True),
        ("很抱歉，我无法完成这个请求。", True),
        ("Here are three personas: a baker, a nurse and a judge.", False),
        ('{"personas": [{"persona": "A baker who', False),
    ],
)
def test_a_refusal_instead_of_json_is_seen(text: str, expected: bool) -> None:
    assert is_refusal_text(text) is expected


# --- time ---


PIECES = ("<", "[", "{ ", "\\n", "&#39;", "I cannot ", "sorry ", "a", "the the ", "我不能", '\\"', "<data ", "# ")


@pytest.mark.parametrize("piece", PIECES)
def test_the_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    def seconds(length: int) -> float:
        answer = MathProblem.model_construct(topic="tides", problem=piece * (length // len(piece)) + "~")
        began = time.process_time()
        fault_of(answer, ASKED)
        return time.process_time() - began

    assert min(seconds(200_000) for _ in range(3)) < 20 * min(seconds(20_000) for _ in range(3)) + 0.05


def test_a_clean_answer_costs_next_to_nothing() -> None:
    answer = MathProblem(topic="Tides", problem=PROBLEM)
    assert fault_of(answer, ASKED) is None
    began = time.process_time()
    for _ in range(1_000):
        fault_of(answer, ASKED)
    assert (time.process_time() - began) / 1_000 < 200e-6  # about 15 on an idle core


def test_a_case_says_what_was_asked() -> None:
    case = Case(None, "persona", GOOD, "The mill burned down.", held_out=True)
    assert "The mill burned down." in case.messages[-1]["content"]
    assert case.hit is None
