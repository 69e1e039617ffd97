"""The verifier of constraints: labelled answers, the table of docs/verification.md, and laws over any text."""

import unicodedata

import pytest
import verification_tables
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.constraints import KINDS, Draw, parameters
from personahub_assets.quality.languages import is_in_language
from personahub_assets.verification.verify_constraints import CHECKS, check, satisfied

CASES = verification_tables.constraint_cases()
SIGNS = [
    *(
        "one",
        "Two",
        "3",
        "é",
        "中",
        "ß",
        ".",
        "!",
        ",",
        "，",
        "\n",
        "\n\n",
        " ",
        "- ",
        "## ",
        "**",
        "[",
        "]",
        '"',
        "“",
        "”",
    ),
    *("<<", ">>", "(((", ")))", "{", "}", ":", "=====", "P.S.", "Part 1", "`", "'", "’", "e.g", "\u0301"),
]
TEXTS = st.lists(st.sampled_from(SIGNS), max_size=14).map("".join)
CONSTRAINTS = [parameters(kind, Draw("law", kind, number)).model_dump() for kind in KINDS for number in range(3)]


def test_every_kind_has_labelled_answers_and_reaches_its_bar() -> None:
    scores = verification_tables.constraint_scores(CASES)
    assert scores.keys() == {*KINDS, "all"}
    assert scores["all"].cases + scores["all"].good >= 200
    for kind, score in scores.items():
        assert min(score.cases, score.good) >= 3, kind
        assert score.precision >= 0.95, kind
        assert score.recall >= 0.85, kind


def test_the_page_has_the_computed_table() -> None:
    page = verification_tables.PAGE.read_text("utf-8")
    assert verification_tables.constraints_table() in page, "run scripts/verification_tables.py"


@given(TEXTS, st.sampled_from([each for each in CONSTRAINTS if each["kind"] != "language"]))
def test_the_form_of_line_breaks_and_of_letters_and_outer_space_change_nothing(text: str, constraint: dict) -> None:
    result = check(text, constraint)
    for same in (
        text.replace("\n", "\r\n"),
        text.replace("\n", "\r"),
        unicodedata.normalize("NFD", text),
        f" \n{text}\n",
        f"\ufeff{text}",
    ):
        assert check(same, constraint) == result


@given(TEXTS)
def test_limits_are_consistent(text: str) -> None:
    for kind in ("words", "sentences", "paragraphs", "characters", "placeholders", "bold"):
        for number in (1, 2, 5):
            least, most, exact = (
                check(text, {"kind": kind, "relation": relation, "number": number, "text": "##"})
                for relation in ("at_least", "at_most", "exactly")
            )
            assert exact == (least and most)
            assert least or most


def test_the_language_is_not_checked_without_a_detector() -> None:
    german = {"kind": "language", "text": "de"}
    assert satisfied("Der Kessel wird vor dem Winter geprüft.", [german, {"kind": "no_commas"}]) == [None, True]
    assert check("Der Kessel wird vor dem Winter geprüft.", german, is_in_language) is True


def test_an_unknown_kind_is_an_error_with_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="no kind 'rhyme'; kinds: language, words"):
        check("text", {"kind": "rhyme"})
    assert {*CHECKS, "language"} == set(KINDS)


def test_long_hostile_answers_are_checked_in_linear_time() -> None:
    """Quadratic checks of these texts would take minutes."""
    for unit in ("a.", "e.g. ", '"a ', "[a", "**a", "<<a", "\n", "''", "step by ste", "- \n", "1.1", "```\n"):
        text = unit * (20_000 // len(unit))
        for constraint in CONSTRAINTS:
            if constraint["kind"] != "language":
                check(text, constraint)
