"""Numbers exactly: literals in their many spellings, words, and arithmetic with bounds.

Fractions, never floats: 0.1 + 0.2 is 3/10. A number that has no exact value here, such as a root of two, or that would
be too large, is `None`.
"""

import math
import re
from fractions import Fraction
from typing import NamedTuple

_MAX_DEPTH = 30
_MAX_BITS = 4_096
_MAX_DIGITS = 1_000

_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALES |= {"lakh": 10**5, "crore": 10**7, "k": 10**3, "mn": 10**6, "bn": 10**9, "dozen": 12}
_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_WORDS = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_WORDS |= {"a": 1, "an": 1}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
_PARTS |= {"ninth": 9, "tenth": 10, "hundredth": 100}
_PARTS |= {word + "s": value for word, value in _PARTS.items()} | {"halves": 2}

_LITERAL = re.compile(
    r"\d{1,3}(?:([, '_])\d{3})(?:\1\d{3})*(?:\.\d+)?(?!\d|[,'_]\d)"  # 1,234.5 with one separator
    r"|\d{1,3}(?: \d{3})+,\d{1,2}(?!\d)"  # 1 234,50
    r"|\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?(?!\d|,\d)"  # 12,34,567
    r"|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?(?!\d)"  # 1.234.567,8
    r"|\d{1,3}(?:\.\d{3})+,\d+(?!\d)"  # 1.234,5
    r"|\d+\.\d*|\.\d+|\d+"
)
_EXPONENT = re.compile(r"[eE]([+-]?\d{1,4})(?![\w.])")
_REPEATING = re.compile(r"(-?)(\d+)\.(\d*)\((\d+)\)(?:\.\.\.)?")
_MIXED = re.compile(r"([-+]?)\s*(\d+)(?:\s+and\s+|\s+)(\d+)\s*/\s*(\d+)")
_SCALED = re.compile(
    r"(.*?[\d)])(?! K$)\s*(" + "|".join(sorted(_SCALES, key=len, reverse=True)) + r")s?", re.IGNORECASE
)


class Number(NamedTuple):
    """An exact value, with the digits after the point if it is written as a decimal number."""

    value: Fraction
    decimals: int | None = None


def number(text: str) -> Number | None:
    """Read a number, or arithmetic with numbers.

    >>> number("1,234.50").value, number("3 1/2").value, number("1.5*10^3").value, number("2 million").value
    (Fraction(2469, 2), Fraction(7, 2), Fraction(1500, 1), Fraction(2000000, 1))
    """
    text = text.strip().removesuffix("...") if not text.rstrip().endswith(")...") else text.strip()
    if len(text) > _MAX_DIGITS or not text:
        return None
    if match := _REPEATING.fullmatch(text):
        return Number(_repeating(*match.groups()))
    if match := _MIXED.fullmatch(text):
        sign, integer, top, bottom = match.groups()
        if int(bottom) == 0 or int(top) >= int(bottom):
            return None
        value = int(integer) + Fraction(int(top), int(bottom))
        return Number(-value if sign == "-" else value)
    if (match := _SCALED.fullmatch(text)) and (scaled := number(match[1])):
        return Number(scaled.value * _SCALES[match[2].lower()])
    return _expression(text) or _in_words(text)


def _repeating(sign: str, integer: str, fixed: str, repeated: str) -> Fraction:
    value = Fraction(int(integer + fixed), 10 ** len(fixed))
    value += Fraction(int(repeated), (10 ** len(repeated) - 1) * 10 ** len(fixed))
    return -value if sign else value


def _expression(text: str) -> Number | None:
    parser = _Parser(text)
    try:
        value = parser.sum(0)
        parser.end()
    except (_NotPlainError, ZeroDivisionError):
        return None
    return Number(value, parser.decimals if parser.literals == 1 else None)


class _NotPlainError(Exception):
    """The text is no arithmetic, or it exceeds a bound."""


class _Parser:
    """Arithmetic by recursive descent, with bounds of depth and size."""

    def __init__(self, text: str):
        self._text, self._at = text, 0
        self.literals = 0
        self.decimals: int | None = None

    def end(self) -> None:
        if self._peek():
            raise _NotPlainError

    def sum(self, depth: int) -> Fraction:
        value = self._product(depth)
        while True:
            # Without blanks "3-5" can be a range or a score.
            if self._takes("+"):
                value = _bounded(value + self._product(depth))
            elif self._text[self._at - 1 : self._at + 2] == " - " and self._takes("-"):
                value = _bounded(value - self._product(depth))
            else:
                return value

    def _product(self, depth: int) -> Fraction:
        value = self._signed(depth)
        while True:
            if self._takes("*"):
                value = _bounded(value * self._signed(depth))
            elif self._takes("/"):
                value = _bounded(value / self._signed(depth))
            else:
                return value

    def _signed(self, depth: int) -> Fraction:
        if depth > _MAX_DEPTH:
            raise _NotPlainError
        if self._takes("-"):
            return -self._signed(depth + 1)
        if self._takes("+"):
            return self._signed(depth + 1)
        return self._power(depth)

    def _power(self, depth: int) -> Fraction:
        base = self._atom(depth)
        if not self._takes("^"):
            return base
        return _raised(base, self._signed(depth + 1))

    def _atom(self, depth: int) -> Fraction:
        if self._takes("sqrt("):
            return _root(self._closed(depth))
        if self._takes("("):
            return self._closed(depth)
        self._skip()
        match = _LITERAL.match(self._text, self._at)
        if not match:
            raise _NotPlainError
        self._at = match.end()
        return self._literal(match[0])

    def _closed(self, depth: int) -> Fraction:
        value = self.sum(depth + 1)
        if not self._takes(")"):
            raise _NotPlainError
        return value

    def _literal(self, text: str) -> Fraction:
        self.literals += 1
        digits = _english(text)
        self.decimals = len(digits.partition(".")[2]) if "." in digits else None
        value = Fraction(digits.rstrip("."))
        if exponent := _EXPONENT.match(self._text, self._at):
            self._at, self.decimals = exponent.end(), None
            return _bounded(value * _raised(Fraction(10), Fraction(int(exponent[1]))))
        return value

    def _takes(self, sign: str) -> bool:
        self._skip()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _peek(self) -> str:
        self._skip()
        return self._text[self._at :]

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at] == " ":
            self._at += 1


def _english(literal: str) -> str:
    """The digits of a literal with at most one point.

    >>> _english("1.234.567,8"), _english("12,345.6")
    ('1234567.8', '12345.6')
    """
    is_continental = literal.count(".") > 1 or 0 < literal.find(".") < literal.find(",")
    if re.fullmatch(r"[\d ]+ \d{3},\d{1,2}", literal):
        return literal.replace(" ", "").replace(",", ".")
    if is_continental:
        return literal.replace(".", "").replace(",", ".")
    return re.sub(r"[, '_]", "", literal)


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MAX_BITS:
        raise _NotPlainError
    return value


def _raised(base: Fraction, exponent: Fraction) -> Fraction:
    """A power, if it is exact and not too large; the size is estimated before it is computed."""
    if exponent.denominator in (2, 3, 4):
        base, exponent = _root(base, exponent.denominator), Fraction(exponent.numerator)
    if exponent.denominator != 1 or abs(exponent) > _MAX_BITS:
        raise _NotPlainError
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(base.numerator) > 1 and bits * abs(exponent) > _MAX_BITS:
        raise _NotPlainError
    return _bounded(base ** int(exponent))


def _root(value: Fraction, degree: int = 2) -> Fraction:
    if value < 0:
        raise _NotPlainError
    top, bottom = (_integer_root(number, degree) for number in (value.numerator, value.denominator))
    if top**degree != value.numerator or bottom**degree != value.denominator:
        raise _NotPlainError
    return Fraction(top, bottom)


def _integer_root(value: int, degree: int) -> int:
    """The largest integer whose power is not above a value."""
    if degree != 3:
        return math.isqrt(value) if degree == 2 else math.isqrt(math.isqrt(value))
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle - 1)
    return low


def _in_words(text: str) -> Number | None:
    """Read an English number up to trillions, or a fraction such as "two thirds".

    >>> _in_words("two hundred and five").value, _in_words("three quarters").value
    (Fraction(205, 1), Fraction(3, 4))
    """
    words = text.casefold().replace("-", " ").split()
    if not words or len(words) > 20 or words in (["a"], ["an"]):
        return None
    sign = -1 if words[0] in ("minus", "negative") else 1
    words = words[1:] if sign < 0 else words
    if (
        words
        and words[-1] in _PARTS
        and "and" not in words
        and (top := _integer(words[:-1]) if words[:-1] else int(words == ["half"]))
    ):
        return Number(Fraction(sign * top, _PARTS[words[-1]]))
    if len(words) > 3 and words[-1] in _PARTS and "and" in words:
        split = len(words) - 1 - words[::-1].index("and")
        integer, top = _integer(words[:split]), _integer(words[split + 1 : -1])
        if integer is not None and top:
            return Number(sign * (integer + Fraction(top, _PARTS[words[-1]])))
    integer = _integer(words)
    return None if integer is None else Number(Fraction(sign * integer))


def _integer(words: list[str]) -> int | None:
    total, group = 0, 0
    previous = ""
    for word in words:
        if word in _WORDS and previous not in _SMALL[1:]:
            group += _WORDS[word]
        elif word == "hundred" and group:
            group *= 100
        elif word == "dozen" and group:
            group *= 12
        elif word in ("thousand", "million", "billion", "trillion") and group:
            total, group = total + group * _SCALES[word], 0
        elif word != "and" or not previous:
            return None
        previous = word
    return total + group if words and words[-1] != "and" else None
