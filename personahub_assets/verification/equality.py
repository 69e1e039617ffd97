"""Whether two answers are equal: exact rules first, then math-verify, and otherwise undecided.

Every rule prefers `UNDECIDED`, which the caller passes to a judge, to a guess.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from personahub_assets.verification import notation
from personahub_assets.verification.comparer import Comparer
from personahub_assets.verification.units import unit_named
from personahub_assets.verification.values import (
    Assignment,
    Choice,
    Clock,
    Date,
    Group,
    Interval,
    Ordinal,
    Quantity,
    Ratio,
    Text,
    Truth,
    Union,
    Value,
    read,
)

__all__ = ["Agreement", "Comparer", "Outcome", "Verdict", "agreement", "equal", "normal_form"]

_ROUNDED_DIGITS = 3
"""Significant digits from which a decimal number equals a fraction that it is the correct rounding of."""
_MAX_LATEX_CHARS = 500
_KELVIN = unit_named("kelvin")


class Outcome(StrEnum):
    """Whether two answers are equal."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a comparison, and the rule that decided it."""

    outcome: Outcome
    rule: str

    @property
    def is_equal(self) -> bool:
        """Whether the answers are equal for certain."""
        return self.outcome is Outcome.EQUAL

    @property
    def is_decided(self) -> bool:
        """Whether no judge is needed."""
        return self.outcome is not Outcome.UNDECIDED


def _equal(rule: str) -> Verdict:
    return Verdict(Outcome.EQUAL, rule)


def _different(rule: str) -> Verdict:
    return Verdict(Outcome.DIFFERENT, rule)


def _undecided(rule: str) -> Verdict:
    return Verdict(Outcome.UNDECIDED, rule)


def _exact(is_equal: bool, rule: str) -> Verdict:
    return _equal(rule) if is_equal else _different(rule)


def equal(left: str, right: str, *, comparer: Comparer | None = None) -> Verdict:
    """Compare two answers.

    Args:
        left: an answer.
        right: another one; the order does not matter.
        comparer: the process of math-verify; without it, expressions that the exact rules do not read are undecided.

    >>> equal("1/2", "0.5").outcome.value, equal("5 km", "5000 m").outcome.value, equal("red", "blue").outcome.value
    ('equal', 'equal', 'undecided')
    """
    first, second = _squeezed(left), _squeezed(right)
    if not first or not second:
        return _undecided("empty")
    if first == second:
        return _equal("same_text")
    if max(len(first), len(second)) > notation.MAX_CHARS:
        return _undecided("too_long")
    texts = notation.plain(first), notation.plain(second)
    if texts[0] == texts[1] and texts[0]:
        return _equal("same_text")
    values = read(texts[0]), read(texts[1])
    verdict = _compare(*values)
    if verdict.is_decided or comparer is None or not any(map(_has_text, values)):
        return verdict
    return _symbolic((first, second), texts, values, comparer) or verdict


def normal_form(answer: str) -> str | None:
    """A text that is the same for answers which the exact rules find equal; None for an answer without one.

    >>> normal_form("0.50"), normal_form("$\\\\frac{1}{2}$"), normal_form("(B)"), normal_form("The Moon.")
    ('1/2', '1/2', 'B', 'moon')
    """
    text = _squeezed(answer)
    if not text or len(text) > notation.MAX_CHARS:
        return None
    return _shown(read(notation.plain(text)))


@dataclass(frozen=True)
class Agreement:
    """Answers in groups of equal ones.

    Attributes:
        groups: indices of the answers, the largest group first.
        majority: index of the answer that stands for the largest group; None if there are no answers, or two groups
            are the largest.
        share: share of the answers in the largest group.
    """

    groups: tuple[tuple[int, ...], ...]
    majority: int | None
    share: float


def agreement(answers: Sequence[str], is_equal: Callable[[str, str], bool]) -> Agreement:
    """Group answers; the groups do not depend on the order of the answers.

    Answers are in one group if a chain of equal answers joins them: so the outcome is the same for every order, even
    where equality is not transitive.
    """
    names = list(range(len(answers)))
    for index, answer in enumerate(answers):
        for previous in range(index):
            if names[index] != names[previous] and is_equal(*sorted((answer, answers[previous]))):
                old, new = max(names[index], names[previous]), min(names[index], names[previous])
                names = [new if name == old else name for name in names]
    groups = [tuple(i for i, name in enumerate(names) if name == root) for root in sorted(set(names))]
    groups.sort(key=lambda group: (-len(group), min(answers[index] for index in group)))
    if not groups:
        return Agreement((), None, 0.0)
    is_tie = len(groups) > 1 and len(groups[1]) == len(groups[0])
    majority = None if is_tie else min(groups[0], key=lambda index: (len(answers[index]), answers[index]))
    return Agreement(tuple(groups), majority, len(groups[0]) / len(answers))


def _squeezed(answer: str) -> str:
    return " ".join(answer.split())


def _compare(left: Value, right: Value) -> Verdict:
    left, right = _without_name(left, right), _without_name(right, left)
    pair = (left, right)
    for kinds, rule in _RULES:
        if isinstance(left, kinds[0]) and isinstance(right, kinds[1]):
            return rule(left, right)
        if isinstance(right, kinds[0]) and isinstance(left, kinds[1]):
            return rule(right, left)
    return _equal("same_value") if pair[0] == pair[1] else _undecided("kinds")


def _without_name(value: Value, opposite: Value) -> Value:
    """The value of `x = 5`, unless the other answer has a name, too."""
    return value.value if isinstance(value, Assignment) and not isinstance(opposite, Assignment) else value


def _quantities(left: Quantity, right: Quantity) -> Verdict:
    if left.is_percent != right.is_percent:
        return _percent_and_number(*((left, right) if left.is_percent else (right, left)))
    if left.unit and right.unit:
        if left.unit.dimension != right.unit.dimension:
            return _undecided("units") if left.number == right.number else _different("units")
        return _numbers(left.base, right.base, left, right)
    if left.noun and right.noun and left.noun != right.noun:
        return _undecided("nouns") if left.number == right.number else _different("number")
    if _is_pound(left, right) or _is_pound(right, left):
        return _numbers(left.number, right.number, left, right)
    if (left.unit and right.noun) or (right.unit and left.noun):
        return _undecided("units") if left.number == right.number else _different("number")
    if left.unit or right.unit:
        return _with_and_without_unit(left, right)
    return _numbers(left.number, right.number, left, right)


def _is_pound(left: Quantity, right: Quantity) -> bool:
    """Whether one is in pounds, without a word on which, and the other in one of the two kinds: both answer one question."""
    return right.noun == "pound" and left.unit in (unit_named("£"), unit_named("lb"))


def _with_and_without_unit(left: Quantity, right: Quantity) -> Verdict:
    verdict = _numbers(left.number, right.number, left, right)
    with_unit, without = (left, right) if left.unit else (right, left)
    if with_unit.unit == _KELVIN and with_unit.number * 1000 == without.number:
        return _undecided("units")  # 50 K can be 50 thousand
    if verdict.is_equal or left.base != right.base:
        return verdict
    return _undecided("units")  # 5 km and 5000: the question may ask for metres


def _percent_and_number(percent: Quantity, quantity: Quantity) -> Verdict:
    if quantity.unit or quantity.noun:
        return _undecided("units")
    verdict = _numbers(percent.number, quantity.number, percent, quantity)
    return _undecided("percent") if percent.number * 100 == quantity.number else verdict


def _numbers(left: Fraction, right: Fraction, *quantities: Quantity) -> Verdict:
    if left == right:
        return _equal("number")
    first, second = quantities
    for rounded, exact, digits, against in ((left, right, first, second), (right, left, second, first)):
        if digits.decimals is not None and _is_rounding(rounded, exact, digits.decimals):
            return _rounding(rounded, exact, against)
    return _different("number")


def _is_rounding(rounded: Fraction, exact: Fraction, decimals: int) -> bool:
    return abs(rounded - exact) * 10**decimals * 2 <= 1 or (
        abs(rounded) <= abs(exact) and abs(rounded - exact) * 10**decimals < 1 and _is_endless(exact)
    )


def _rounding(rounded: Fraction, exact: Fraction, against: Quantity) -> Verdict:
    """A fraction without an exact decimal number equals its rounding; two decimal numbers are for the judge."""
    significant = len(str(abs(rounded.numerator * 10**12 // rounded.denominator)).lstrip("0").rstrip("0"))
    is_fine = significant >= _ROUNDED_DIGITS and against.decimals is None and _is_endless(exact)
    return _equal("rounding") if is_fine else _undecided("rounding")


def _is_endless(value: Fraction) -> bool:
    """Whether the decimal number has no end."""
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator > 1


def _choices(left: Choice, right: Choice) -> Verdict:
    if left.letter == right.letter and left.text and right.text and not equal(left.text, right.text).is_equal:
        return _undecided("choice")  # two names with one initial are no choices
    return _exact(left.letter == right.letter, "choice")


def _choice_and_text(choice: Choice, value: Value) -> Verdict:
    if choice.text and equal(choice.text, _shown(value) or "").is_equal:
        return _equal("choice")
    return _undecided("choice")


def _truths(left: Truth, right: Truth) -> Verdict:
    if left.family != right.family:
        return _undecided("truth") if left.is_true == right.is_true else _different("truth")
    return _exact(left.is_true == right.is_true, "truth")


def _groups(left: Group, right: Group) -> Verdict:
    if len(left.items) != len(right.items):
        return _sizes(left, right)
    kinds = {left.kind, right.kind}
    ordered = _in_order(left.items, right.items)
    if _names_all(left) and _names_all(right):
        return _in_any_order(left.items, right.items)
    if "set" in kinds or kinds == {"bare"}:
        matched = _in_any_order(left.items, right.items)
        if kinds <= {"set", "bare"} and "set" in kinds:
            return matched
        if not matched.is_equal:
            return matched
        return ordered if ordered.is_equal and kinds == {"bare"} else _undecided("order")
    if kinds == {"tuple", "list"} and ordered.is_equal:
        return _undecided("brackets") if len(left.items) == 2 else ordered
    return ordered


def _names_all(group: Group) -> bool:
    """Whether each item says what it counts, such as 3 boys and 2 girls, so that the order does not matter."""
    nouns = [value.noun for value in group.items if isinstance(value, Quantity) and value.noun]
    return group.kind == "bare" and len(group.items) == len(nouns) == len(set(nouns))


def _sizes(left: Group, right: Group) -> Verdict:
    if left.kind == right.kind == "set":
        distinct = [_distinct(group.items) for group in (left, right)]
        if len(distinct[0]) == len(distinct[1]):
            return _in_any_order(*distinct)
    return _different("number_of_items") if _is_plain(left) and _is_plain(right) else _undecided("number_of_items")


def _is_plain(group: Group) -> bool:
    return not any(isinstance(value, Text) for value in group.items)


def _distinct(values: tuple[Value, ...]) -> tuple[Value, ...]:
    kept: list[Value] = []
    for value in values:
        if not any(_compare(value, unique).is_equal for unique in kept):
            kept.append(value)
    return tuple(kept)


def _in_order(left: tuple[Value, ...], right: tuple[Value, ...]) -> Verdict:
    return _together([_compare(*pair) for pair in zip(left, right, strict=True)])


def _in_any_order(left: tuple[Value, ...], right: tuple[Value, ...]) -> Verdict:
    remaining, unmatched = list(right), []
    for value in left:
        match = next((candidate for candidate in remaining if _compare(value, candidate).is_equal), None)
        if match is None:
            unmatched.append(value)
        else:
            remaining.remove(match)
    if not unmatched:
        return _equal("items")
    is_different = any(all(_compare(v, o).outcome is Outcome.DIFFERENT for o in remaining) for v in unmatched)
    return _different("items") if is_different else _undecided("items")


def _together(verdicts: list[Verdict]) -> Verdict:
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.DIFFERENT in outcomes:
        return _different("items")
    return _undecided("items") if Outcome.UNDECIDED in outcomes else _equal("items")


def _group_and_interval(group: Group, interval: Interval) -> Verdict:
    """`(1, 2)` is a point or an open interval; the other answer says which."""
    if len(group.items) != 2 or group.kind not in ("tuple", "list"):
        return _undecided("interval")
    low, high = group.items
    if not isinstance(low, Quantity) or not isinstance(high, Quantity):
        return _undecided("interval")
    is_closed = group.kind == "list"
    return _exact(Interval(low.number, high.number, is_closed, is_closed) == interval, "interval")


def _group_and_value(group: Group, single: Value) -> Verdict:
    if len(group.items) == 1:
        return _compare(group.items[0], single)
    if isinstance(single, Quantity) and all(isinstance(value, Quantity) for value in group.items) and group.items:
        return _undecided("kinds") if group.kind == "bare" else _different("kinds")
    return _undecided("kinds")


def _assignments(left: Assignment, right: Assignment) -> Verdict:
    verdict = _compare(left.value, right.value)
    if left.name.casefold() == right.name.casefold() or not verdict.is_equal:
        return verdict if left.name.casefold() == right.name.casefold() else _undecided("names")
    return _undecided("names")


def _clocks(left: Clock, right: Clock) -> Verdict:
    if left.is_full == right.is_full:
        return _exact(left.minutes == right.minutes, "time")
    if (left.minutes - right.minutes) % 720 == 0:
        return _undecided("time") if left.minutes != right.minutes or left.minutes <= 720 else _equal("time")
    return _different("time")


def _dates(left: Date, right: Date) -> Verdict:
    same_year = left.year == right.year
    if left.is_certain and right.is_certain:
        if (left.month, left.day) != (right.month, right.day) or (left.year and right.year and not same_year):
            return _different("date")
        return _equal("date") if same_year else _undecided("date")
    orders = {(left.month, left.day), (left.day, left.month)} & {(right.month, right.day), (right.day, right.month)}
    return _undecided("date") if orders and same_year else _different("date")


def _ratios(left: Ratio, right: Ratio) -> Verdict:
    return _exact(left == right, "ratio")


def _texts(left: Text, right: Text) -> Verdict:
    if not left.words or not right.words:
        return _undecided("text")
    return _equal("text") if left == right else _undecided("text")


def _same(left: Value, right: Value) -> Verdict:
    return _exact(left == right, "interval" if isinstance(left, Interval | Union) else "ordinal")


Rule = Callable[..., Verdict]
_RULES: tuple[tuple[tuple[type, type], Rule], ...] = (
    ((Quantity, Quantity), _quantities),
    ((Choice, Choice), _choices),
    ((Choice, Text), _choice_and_text),
    ((Choice, Quantity), _choice_and_text),
    ((Truth, Truth), _truths),
    ((Group, Group), _groups),
    ((Group, Interval), _group_and_interval),
    ((Group, Quantity), _group_and_value),
    ((Group, Text), _group_and_value),
    ((Interval, Interval), _same),
    ((Union, Union), _same),
    ((Interval, Union), _same),
    ((Ordinal, Ordinal), _same),
    ((Assignment, Assignment), _assignments),
    ((Clock, Clock), _clocks),
    ((Date, Date), _dates),
    ((Ratio, Ratio), _ratios),
    ((Text, Text), _texts),
)


def _symbolic(
    answers: tuple[str, str], texts: tuple[str, str], values: tuple[Value, Value], comparer: Comparer
) -> Verdict | None:
    """The verdict of math-verify for answers that look like mathematics; None if it does not know."""
    if not all(map(_is_mathematical, texts)) or max(map(len, answers)) > _MAX_LATEX_CHARS:
        return None
    # What is exact here is passed in digits: math-verify reads 1e5 and "1 million" as 1.
    latex = [_digits_of(value) or _as_latex(answer) for value, answer in zip(values, answers, strict=True)]
    return _equal("math_verify") if comparer.are_equal(*latex) else None


def _has_text(value: Value) -> bool:
    """Whether the exact rules do not read the value."""
    if isinstance(value, Assignment):
        return _has_text(value.value)
    return isinstance(value, Text) or (isinstance(value, Group) and any(map(_has_text, value.items)))


def _as_latex(answer: str) -> str:
    """The answer with the operators of LaTeX."""
    text = re.sub(r"√\s*\(?([^\s()]+)\)?", r"\\sqrt{\1}", answer.replace("**", "^"))
    text = re.sub(r"(?<![\\A-Za-z])pi(?![A-Za-z])", r"\\pi", re.sub(r"∛\s*(\d+)", r"\\sqrt[3]{\1}", text))
    text = re.sub(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)", r"\\sqrt{\1}", text)
    return re.sub(r"(?<![\\A-Za-z])(sin|cos|tan|log|ln|exp)(?![A-Za-z])", r"\\\1", text)


def _digits_of(value: Value) -> str | None:
    value = value.value if isinstance(value, Assignment) else value
    return f"{value.number}" if isinstance(value, Quantity) and not value.noun else None


_OPERATORS = re.compile(r"[-+*/^=<>!(√π\\]|\d[a-zA-Z]|\d")
_NOT_MATHEMATICS = re.compile(
    r"\d\s*\^[\s({]*\d+\s*\^|\^[\s({]*-?\d{4,}|\d[eE][+-]?\d{4,}|\d{4,}\s*!|!\s*!"  # powers that take forever
    r"|^[\d.]+(?:\s*-\s*[\d.]+)+$|\d_\d|^[A-Z][A-Za-z0-9]*$"  # ranges and scores, digits of a base, formulas such as H2O
    # Words, which would be read as products of their letters.
    r"|(?<![\\A-Za-z])(?!(?:sin|cos|tan|log|ln|exp|sqrt|pi|begin|end|[pbv]?matrix|left|right|frac)(?![A-Za-z]))[A-Za-z]{2,}"
)


def _is_mathematical(text: str) -> bool:
    """Whether math-verify can be trusted with a text: it has operators or digits, and no words."""
    return bool(_OPERATORS.search(text)) and not _NOT_MATHEMATICS.search(text)


def _shown(value: Value) -> str | None:
    """One text for each value."""
    if isinstance(value, Assignment):
        return _shown(value.value)
    if isinstance(value, Quantity):
        unit = f" {value.unit.dimension}" if value.unit else f" {value.noun}" if value.noun else ""
        return f"{value.base}{unit}"
    if isinstance(value, Text):
        return value.words or None
    if isinstance(value, Choice):
        return value.letter
    if isinstance(value, Group):
        items = [_shown(item) or "" for item in value.items]
        return f"{value.kind}({', '.join(sorted(items) if value.kind == 'set' else items)})"
    return str(value)
