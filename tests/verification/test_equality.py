"""Equality of answers: labelled pairs, hostile answers, and agreement."""

import itertools
from collections.abc import Iterator

import pytest
import verification_tables

from personahub_assets.verification.equality import Comparer, Outcome, agreement, equal, normal_form

PAIRS = verification_tables.labelled_pairs()


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer(seconds=30) as process:
        yield process


def test_the_rules_are_precise_and_find_most(comparer: Comparer) -> None:
    assert len(PAIRS) >= 300
    verdicts = verification_tables.compared(PAIRS, comparer)
    called_equal = [pair for pair, verdict in verdicts if verdict.is_equal]
    truly_equal = [pair for pair in PAIRS if pair[1] == "equal"]
    right = [pair for pair in called_equal if pair[1] == "equal"]
    assert len(right) / len(called_equal) >= 0.99, [pair for pair in called_equal if pair[1] != "equal"]
    assert len(right) / len(truly_equal) >= 0.95
    assert not [pair for pair, verdict in verdicts if verdict.outcome is Outcome.DIFFERENT and pair[1] == "equal"]
    assert comparer.starts == 1
    page = verification_tables.PAGE.read_text("utf-8")
    assert verification_tables.equality_table(verdicts) in page, "run scripts/verification_tables.py"
    assert verification_tables.programs_table() in page, "run scripts/verification_tables.py"


def test_order_does_not_matter() -> None:
    for _, _, left, right in PAIRS:
        assert equal(left, right).outcome == equal(right, left).outcome, (left, right)


def test_an_answer_equals_itself_and_a_normal_form_decides_nothing_wrongly() -> None:
    for _, label, left, right in PAIRS:
        assert equal(left, left).is_equal
        if label == "different" and normal_form(left) is not None and normal_form(left) == normal_form(right):
            assert not equal(left, right).is_equal, (left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("50%", "50"),  # the question may ask for a percentage
        ("5 km", "5000"),  # or for metres
        ("$5", "€5"),
        ("10 m", "10 m^2"),
        ("3.14", "3.14159"),
        ("1,5", "1.5"),
        ("(1, 2)", "[1, 2]"),
        ("1, 2, 3", "3, 2, 1"),
        ("x = 5", "y = 5"),
        ("3:00", "3 PM"),
        ("03/05/2024", "March 5, 2024"),
        ("3:2", "1.5"),
        ("Yes", "True"),
        ("third", "3"),
        ("red", "crimson"),
        ("", "5"),
    ],
)
def test_what_depends_on_the_question_is_undecided(comparer: Comparer, left: str, right: str) -> None:
    assert equal(left, right, comparer=comparer).outcome is Outcome.UNDECIDED


HOSTILE = {
    "many digits": ("9" * 10**6, "8" * 10**6),
    "long text": ("a" * 10**6, "b"),
    "long text with blanks": ("a " * 500_000, "b"),
    "tower of powers": ("9**9**9**9", "5"),
    "towers of powers": ("9^9^9^9", "9^9^9^8"),
    "giant exponent": ("1e99999999999", "1"),
    "giant factorial": ("99999999!", "1"),
    "nested fractions": (r"\frac{" * 1000 + "1" + "}{2}" * 1000, "1"),
    "nested fractions that are short enough": (r"\frac{" * 150 + "1" + "}{2}" * 150, "1/2"),
    "nested brackets": ("(" * 999 + "1" + ")" * 999, "1"),
    "nested lists": ("[" * 900 + "1" + "]" * 900, "[1]"),
    "nested roots": ("sqrt(" * 300 + "4" + ")" * 300, "2"),
    "opening braces": ("{" * 1900, "}"),
    "backslashes": ("\\" * 1900, "\\"),
    "dollars": ("$" * 1500, "$"),
    "minus signs": ("- " * 900 + "1", "1"),
    "divisions": ("1/" * 900 + "1", "2"),
    "division by zero": ("1/0", "1"),
    "many items": (",".join("1" * 900), ",".join("1" * 899 + "2")),
    "many equations": ("x = " * 400, "x"),
    "many words": ("and " * 400, "and"),
    "many scales": ("million " * 200, "1"),
    "surrogate": ("\ud800", "1"),
    "control characters": ("\x00\x01", "1"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_answer_is_decided_at_once(kind: str) -> None:
    left, right = HOSTILE[kind]
    assert not equal(left, right).is_equal
    assert not equal(right, left).is_equal
    assert equal(left, left).is_equal


def test_a_comparison_that_hangs_is_ended_and_the_next_one_works(comparer: Comparer) -> None:
    assert comparer.are_equal("x+1", "1+x") is True  # the process runs, whichever test was the first
    starts, late = comparer.starts, comparer.late
    comparer._seconds = 0.0
    assert comparer.are_equal("(x+1)^{900}", "(x+2)^{900}") is None
    comparer._seconds = 30.0
    assert comparer.are_equal("x+1", "x+2") is False
    assert comparer.are_equal("x+1", "1+x") is True
    assert (comparer.starts - starts, comparer.late - late) == (1, 1)


def test_without_math_verify_expressions_are_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with Comparer() as comparer:
        outcomes = {equal(f"{n}x + 1", f"1 + {n}x", comparer=comparer).outcome for n in range(2, 8)}
        assert outcomes == {Outcome.UNDECIDED}
        assert comparer.starts == 3


def test_agreement_does_not_depend_on_the_order() -> None:
    answers = ["1/2", "0.5", "2", "50%", "0.7"]
    seen = set()
    for order in itertools.permutations(answers):
        result = agreement(order, lambda left, right: equal(left, right).is_equal)
        assert result.majority is not None
        groups = tuple(tuple(sorted(order[index] for index in group)) for group in result.groups)
        seen.add((groups, order[result.majority], result.share))
    assert seen == {((("0.5", "1/2", "50%"), ("0.7",), ("2",)), "0.5", 0.6)}


def test_agreement_without_a_majority() -> None:
    assert agreement([], lambda *_: True).majority is None
    tie = agreement(["1", "2"], lambda left, right: left == right)
    assert (tie.majority, tie.share) == (None, 0.5)
