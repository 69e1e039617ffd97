"""What an answer is: a quantity, a choice, a set, an interval, a time, a text.

`read` turns an answer in plain notation into one of these values. Two values are compared in `equality`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Literal

from personahub_assets.verification.arithmetic import Number, number
from personahub_assets.verification.units import CURRENCIES, MONEY, Unit, singular, unit_named

_MAX_DEPTH = 6
_MAX_ITEMS = 200
_MAX_WORDS = 12


@dataclass(frozen=True)
class Quantity:
    """A number with its unit.

    Attributes:
        number: as written.
        unit: what it converts to; None without a unit, or with one that is not in the table.
        noun: words after the number that are no unit of the table, such as "apple".
        decimals: digits after the point, if it is written as a decimal number.
        is_percent: whether it is written with a percent sign.
    """

    number: Fraction
    unit: Unit | None = None
    noun: str = ""
    decimals: int | None = None
    is_percent: bool = False

    @property
    def base(self) -> Fraction:
        """The number in the base unit of its dimension."""
        return self.number if self.unit is None else self.number * self.unit.factor + self.unit.offset


@dataclass(frozen=True)
class Choice:
    """A letter of a multiple choice, with the text of the option where it is given."""

    letter: str
    text: str = ""


@dataclass(frozen=True)
class Truth:
    """Yes or no, true or false."""

    is_true: bool
    family: str


@dataclass(frozen=True)
class Group:
    """Several values: a set, an ordered tuple or list, or a bare enumeration."""

    kind: Literal["set", "tuple", "list", "bare"]
    items: tuple["Value", ...]


@dataclass(frozen=True)
class Interval:
    """Bounds; None is infinite."""

    low: Fraction | None
    high: Fraction | None
    has_low: bool
    has_high: bool


@dataclass(frozen=True)
class Union:
    """Intervals in the order of their bounds."""

    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class Assignment:
    """`name = value`."""

    name: str
    value: "Value"


@dataclass(frozen=True)
class Ratio:
    """Numbers with colons between them, such as 3:2."""

    pieces: tuple[Fraction, ...]


@dataclass(frozen=True)
class Clock:
    """A time of day; without am or pm, `is_full` is False for hours up to 12."""

    minutes: Fraction
    is_full: bool


@dataclass(frozen=True)
class Date:
    """A date; a month and day that could be exchanged are `is_certain` = False."""

    year: int | None
    month: int
    day: int | None
    is_certain: bool = True


@dataclass(frozen=True)
class Ordinal:
    """First, 2nd, third."""

    number: int


@dataclass(frozen=True)
class Text:
    """Words, without case, articles and punctuation."""

    words: str


Value = Quantity | Choice | Truth | Group | Interval | Union | Assignment | Ratio | Clock | Date | Ordinal | Text

_CHOICE = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([A-Za-z])\s*[.):])(?:\s+(.+))?"
    r"|(?:option|choice|answer)\s+([A-Za-z])|([A-Za-z])",
    re.IGNORECASE,
)
_TRUTHS = {"yes": ("yes", True), "no": ("yes", False), "true": ("true", True), "false": ("true", False)}
_TRUTH = re.compile(
    r"(?!no\.? ?\d)(yes|no|true|false)(?:\s*[,.;:!-]\s*.*|\s+(?:because|since|it|he|she|they|we|you|i|there)\b.*)?",
    re.IGNORECASE | re.DOTALL,
)
_APPROXIMATE = re.compile(r"(?:~|about |approximately |approx\.? |around |roughly |exactly |nearly )\s*", re.IGNORECASE)
_NAME = r"[A-Za-zΑ-Ωα-ω][\w']*(?:\([a-zA-Z]\))?(?: [A-Za-z]\w*){0,3}"
_ASSIGNMENT = re.compile(rf"({_NAME})\s*(?:=|:=)\s*([^=<>].*)")
_REVERSED = re.compile(r"([^=<>A-Za-z]+)=\s*([A-Za-z])")
_MEMBER = re.compile(r"[A-Za-z]\s*∈\s*(.+)")
_BUILDER = re.compile(r"[⟦{]\s*[A-Za-z](?:\s*∈\s*[\w ]+)?\s*[|:]\s*(.+?)\s*[⟧}]")
_ALL = {"all real numbers", "all reals", "real numbers"}
_BETWEEN = re.compile(r"([^<>=]+)(<=?)\s*([A-Za-z])\s*(<=?)([^<>=]+)")
_BELOW = re.compile(r"([A-Za-z]?)\s*(<=?|>=?)\s*([^<>=]+)")
_ABOVE_AND_BELOW = re.compile(r"([A-Za-z])\s*>(=?)\s*([^<>=]+?) and \1\s*<(=?)\s*([^<>=]+)")
_BELOW_AND_ABOVE = re.compile(r"([A-Za-z])\s*<(=?)\s*([^<>=]+?) and \1\s*>(=?)\s*([^<>=]+)")
_ABOVE = re.compile(r"([^<>=A-Za-z]+)(<=?|>=?)\s*([A-Za-z])")
_INTERVAL = re.compile(r"([\[\]()])([^,;\[\]()]+)[,;]([^,;\[\]()]+)([\[\]()])")
_INFINITE = {"∞": 1, "inf": 1, "infinity": 1, "+∞": 1, "+inf": 1, "-∞": -1, "-inf": -1, "-infinity": -1}
_TIME = re.compile(r"(\d{1,2})(?:[:.h](\d{2}))?(?::(\d{2}))?\s*([ap])\.?\s?m\b\.?|(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\s*(?:h|hrs|hours|o'clock))?", re.IGNORECASE)  # fmt: skip
_O_CLOCK = re.compile(r"(\w+) o'clock", re.IGNORECASE)
_MONTHS = "january february march april may june july august september october november december".split()
_MONTH = "(" + "|".join(f"{name[:3]}(?:{name[3:]})?" if name != "may" else "may" for name in _MONTHS) + r"|sept)\.?"
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})")
_SLASHED = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")
_MONTH_FIRST = re.compile(rf"{_MONTH}\s+(\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_DAY_FIRST = re.compile(
    rf"(?:the\s+)?(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(\d{{4}}))?", re.IGNORECASE
)
_RATIO = re.compile(r"\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+")
_ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)")
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
_SCALE = re.compile(r"(hundred|thousand|million|billion|trillion|dozen|lakh|crore)\s+(.+)", re.IGNORECASE)
_ORDINAL_DIGITS = {
    word: f"{index}{('th', 'st', 'nd', 'rd')[index if index < 4 else 0]}" for index, word in enumerate(_ORDINALS)
}
_QUANTITY = re.compile(
    r"(.*?(?:\d\.?|\)(?:\.\.\.)?|\.\.\.|\b(?:million|billion|thousand|trillion|hundred|dozen|lakh|crore|half|quarter|third)))\s*"
    r"(%|‰|percent|per cent|[A-Za-zµ°′″\"'$€£¥₹¢][\w°²³^/*. $€£¥₹¢'-]*)"
)
_COMMA = re.compile(r"(-?\d+),(\d{2})(?!\d)")
_CODE = re.compile(r"([A-Z]{3})\s?(\d[\d.,' ]*)")
_REPEATED = re.compile(r"([^()]*[\w%])\s+\(([^()]+)\)")
_NAMED_TUPLE = re.compile(r"\(\s*([a-zA-Z](?:\s*,\s*[a-zA-Z])+)\s*\)\s*=\s*\((.*)\)")
_PARTS = re.compile(r"(?<=[a-z°$€£])[ ,]+(?:and )?(?=\d)", re.IGNORECASE)
_NOTHING = {
    "∅",
    "⟦⟧",
    "{}",
    "⟦ ⟧",
    "{ }",
    "no solution",
    "no solutions",
    "empty set",
    "no real solution",
    "no real solutions",
}
_ARTICLES = re.compile(r"^(?:the|a|an)\s+|\bthe\s+")
_SYMBOLS = re.compile(r"[\^=+*/<>()\[\]{}⟦⟧|\\_√]")


def read(text: str, depth: int = 0) -> Value:
    """Read an answer in plain notation; what is nothing else is a `Text`.

    >>> read("x = 5")
    Assignment(name='x', value=Quantity(number=Fraction(5, 1), unit=None, noun='', decimals=None, is_percent=False))
    """
    text = _APPROXIMATE.sub("", text.strip(), count=1) if _APPROXIMATE.match(text.strip()) else text.strip()
    if depth > _MAX_DEPTH:
        return Text(words_of(text))
    if text.casefold() in _NOTHING:
        return Group("set", ())
    flat: tuple[Callable[[str], Value | None], ...] = (_choice, _truth, _date, _clock, _ordinal, _quantity, _ratio)
    nested: tuple[Callable[[str, int], Value | None], ...] = (_region, _group, _assignment, _plus_minus, _enumeration)
    values = chain((reader(text) for reader in flat), (reader(text, depth) for reader in nested))
    return next((value for value in values if value is not None), Text(words_of(text)))


def words_of(text: str) -> str:
    """The words of a text, without case, articles and punctuation.

    >>> words_of("The Red-Box!")
    'red box'
    """
    if _SYMBOLS.search(text):
        return "".join(text.split())  # mathematics: brackets and letters count
    if len(text) == 2 and text.isupper():
        return text  # CO is not Co
    text = _ARTICLES.sub("", text.casefold())
    words = re.sub(r"[^\w\s%$€£-]|(?<=\w)-(?=\w)", " ", text).split()
    return " ".join(_ORDINAL_DIGITS.get(word, word) for word in words)


def _choice(text: str) -> Choice | None:
    match = _CHOICE.fullmatch(text)
    if not match:
        return None
    letter = next(filter(None, (match[1], match[2], match[3], match[5], match[6])))
    return Choice(letter.upper(), (match[4] or "").strip())


def _truth(text: str) -> Truth | None:
    match = _TRUTH.fullmatch(text)
    if not match:
        return None
    family, is_true = _TRUTHS[match[1].lower()]
    return Truth(is_true, family)


def _date(text: str) -> Date | None:
    if match := _ISO.fullmatch(text):
        return _dated(int(match[1]), int(match[2]), int(match[3]))
    if match := _SLASHED.fullmatch(text):
        first, second, year = map(int, match.groups())
        if first > 12:
            return _dated(year, second, first)
        return _dated(year, first, second, is_certain=second > 12 or first == second)
    if match := _MONTH_FIRST.fullmatch(text):
        return _dated(int(match[3] or 0), _month(match[1]), int(match[2]))
    if match := _DAY_FIRST.fullmatch(text):
        return _dated(int(match[3] or 0), _month(match[2]), int(match[1]))
    return None


def _dated(year: int, month: int, day: int, is_certain: bool = True) -> Date | None:
    return Date(year or None, month, day, is_certain) if 1 <= month <= 12 and 1 <= day <= 31 else None


def _month(name: str) -> int:
    return next(index for index, month in enumerate(_MONTHS, 1) if month.startswith(name.casefold()[:3]))


def _clock(text: str) -> Clock | None:
    text = text.removeprefix("at ")
    if text.casefold() in ("noon", "midday", "midnight"):
        return Clock(Fraction(0 if text.casefold() == "midnight" else 720), is_full=True)
    if match := _O_CLOCK.fullmatch(text):
        hour = number(match[1])
        return Clock(hour.value * 60, is_full=False) if hour and 0 < hour.value <= 12 else None
    match = _TIME.fullmatch(text)
    if not match:
        return None
    hours, minutes, seconds = int(match[1] or match[5]), int(match[2] or match[6] or 0), int(match[3] or match[7] or 0)
    half = (match[4] or "").casefold()
    if minutes > 59 or seconds > 59 or hours > (12 if half else 24) or (half and not hours):
        return None
    if half:
        hours = hours % 12 + (12 if half == "p" else 0)
    is_full = bool(half) or hours > 12 or hours == 0 or (match[5] or "").startswith("0")
    return Clock(Fraction(hours * 60 + minutes) + Fraction(seconds, 60), is_full)


def _quantity(text: str) -> Quantity | None:
    bare = text.strip()
    if sign := re.match(rf"(-?)\s*([A-Z]{{0,2}})([{CURRENCIES}])\s*(-?)(?=[\d.])", bare):
        return _with_currency(sign[1] + sign[4] + bare[sign.end() :], sign[2] + sign[3])
    if code := _CODE.fullmatch(bare):
        return _with_unit(f"{code[2]} {code[1]}")
    if repeated := _REPEATED.fullmatch(bare):
        first, second = _quantity(repeated[1]), _quantity(repeated[2])
        return first if first and second and first.base == second.base else None
    if plain := number(bare):
        return Quantity(plain.value, decimals=plain.decimals)
    return _with_unit(bare) or _sum_of_units(bare)


def _with_currency(digits: str, currency: str) -> Quantity | None:
    if large := re.fullmatch(r"(.*\d)\s*([MB])", digits):
        digits = large[1] + (" million" if large[2] == "M" else " billion")
    digits = re.sub(rf"\s*(?:dollars?|usd|euros?|eur|[{CURRENCIES}])$", "", digits, flags=re.IGNORECASE)
    digits = _COMMA.sub(r"\1.\2", digits) if _COMMA.fullmatch(digits.strip()) else digits
    amount = number(re.sub(r"(?<=\d)\s*[kK]$", " thousand", digits))
    if not amount:
        return None
    unit = unit_named(currency)
    return Quantity(amount.value, unit, "" if unit else currency.casefold(), amount.decimals)


def _with_unit(text: str) -> Quantity | None:
    comma = _COMMA.match(text)
    amount, name = _split_unit(f"{comma[1]}.{comma[2]}{text[comma.end() :]}" if comma else text)
    name = re.sub(r"^(?:of )?an? ", "", name)
    if not amount:
        return None
    if name.casefold() in ("%", "percent", "per cent"):
        return Quantity(amount.value / 100, decimals=_shifted(amount.decimals), is_percent=True)
    if name == "‰":
        return Quantity(amount.value / 1000, decimals=_shifted(amount.decimals, 3), is_percent=True)
    unit = unit_named(name)
    if comma and (unit is None or unit.dimension not in MONEY):
        return None  # 3,50 is a price, or two numbers
    if unit:
        return Quantity(amount.value, unit, decimals=amount.decimals)
    if re.search(r"^(?:st|nd|rd|th)\b|\d|\b(?:and|or|to|than|of)\b|[=^]", name) or len(name.split()) > 4:
        return None
    if len(name) == 1 and name.isalpha():
        return None  # 2x is a product, not two of x
    return Quantity(amount.value, noun=" ".join(map(singular, name.casefold().split())), decimals=amount.decimals)


def _split_unit(text: str) -> tuple[Number | None, str]:
    """The number at the start of a text, in digits or words, and the words after it."""
    if match := _QUANTITY.fullmatch(text):
        scale = _SCALE.fullmatch(match[2])
        digits, name = (f"{match[1]} {scale[1]}", scale[2]) if scale else match.groups()
        return number(digits), name.strip(" .")
    words = text.split()
    if len(words) > _MAX_WORDS or not text[:1].isalpha():
        return None, ""
    for count in range(len(words) - 1, 0, -1):
        if amount := number(" ".join(words[:count])):
            return amount, " ".join(words[count:])
    return None, ""


def _shifted(decimals: int | None, by: int = 2) -> int | None:
    return None if decimals is None else decimals + by


def _sum_of_units(text: str) -> Quantity | None:
    """A quantity of several units of one dimension, such as 1 h 30 min; in its base unit."""
    pieces = [_with_unit(piece) for piece in _PARTS.split(text)]
    units = [piece.unit for piece in pieces if piece and piece.unit]
    if len(pieces) < 2 or len(units) != len(pieces) or len({unit.dimension for unit in units}) > 1:
        return None
    total = sum((piece.base for piece in pieces if piece), Fraction(0))
    return Quantity(total, Unit(units[0].dimension))


def _ordinal(text: str) -> Ordinal | None:
    word = text.casefold().removeprefix("the ")
    if match := _ORDINAL.fullmatch(word):
        return Ordinal(int(match[1]))
    if word in _ORDINALS:
        return Ordinal(_ORDINALS.index(word))
    tens, _, ones = word.replace(" ", "-").partition("-")
    if ones in _ORDINALS[1:10] and (ten := number(tens)) and ten.value in range(20, 100, 10):
        return Ordinal(int(ten.value) + _ORDINALS.index(ones))
    return None


def _ratio(text: str) -> Ratio | None:
    text = re.sub(r"(?<=\d)\s+to\s+(?=\d)", ":", text)
    if not _RATIO.fullmatch(text):
        return None
    pieces = [Fraction(piece.strip()) for piece in text.split(":")]
    unit_piece = next((piece for piece in pieces if piece), None)
    return Ratio(tuple(piece / unit_piece for piece in pieces)) if unit_piece else None


def _region(text: str, depth: int) -> Value | None:
    """Intervals, inequalities, and unions of them; ± is not among them."""
    if text.casefold() in _ALL:
        return Interval(None, None, has_low=False, has_high=False)
    if match := _MEMBER.fullmatch(text) or _BUILDER.fullmatch(text):
        return read(match[1], depth + 1)
    pieces = re.split(r"\s*∪\s*|(?<=[\])])\s*U\s*(?=[\[(])|\s+or\s+", text)
    intervals = [_interval(piece) for piece in pieces]
    kept = [interval for interval in intervals if interval]
    if len(kept) != len(pieces):
        return None
    if len(kept) == 1:
        return kept[0]
    return Union(tuple(sorted(kept, key=_by_bounds)))


def _by_bounds(interval: Interval) -> tuple[bool, Fraction, bool, Fraction]:
    low, high = interval.low, interval.high
    return low is not None, low or Fraction(0), high is None, high or Fraction(0)


def _interval(text: str) -> Interval | None:
    text = text.strip()
    if match := _BETWEEN.fullmatch(text):
        return _bounded(match[1].strip(), match[5].strip(), match[2] == "<=", match[4] == "<=")
    if match := _ABOVE_AND_BELOW.fullmatch(text):
        return _bounded(match[3].strip(), match[5].strip(), bool(match[2]), bool(match[4]))
    if match := _BELOW_AND_ABOVE.fullmatch(text):
        return _bounded(match[5].strip(), match[3].strip(), bool(match[4]), bool(match[2]))
    if match := _BELOW.fullmatch(text):
        return _half_line(match[2], match[3])
    if match := _ABOVE.fullmatch(text):
        return _half_line(match[2].translate(str.maketrans("<>", "><")), match[1].strip())
    if match := _INTERVAL.fullmatch(text):
        if match[1] == ")" or match[4] == "(":
            return None
        is_open = match[1] == "(" and match[4] == ")"
        is_list = match[1] == "[" and match[4] == "]"
        bounds = {match[2].strip().casefold(), match[3].strip().casefold()}
        if (is_open or is_list) and not bounds & _INFINITE.keys():
            return None  # it can be a point or a list: a group, which is compared as an interval, too
        return _bounded(match[2].strip(), match[3].strip(), match[1] == "[", match[4] == "]")
    return None


def _half_line(sign: str, bound: str) -> Interval | None:
    has_bound = sign.endswith("=")
    if sign.startswith("<"):
        return _bounded("-∞", bound, False, has_bound)
    return _bounded(bound, "∞", has_bound, False)


def _bounded(low: str, high: str, has_low: bool, has_high: bool) -> Interval | None:
    bounds: list[Fraction | None] = []
    for text, infinite in ((low, -1), (high, 1)):
        if _INFINITE.get(text.strip().casefold()) == infinite:
            bounds.append(None)
        elif value := number(text):
            bounds.append(value.value)
        else:
            return None
    first, last = bounds
    if first is not None and last is not None and first > last:
        return None
    return Interval(first, last, has_low and first is not None, has_high and last is not None)


_BRACKETS: dict[str, tuple[str, Literal["set", "tuple", "list"]]] = {
    "⟦": ("⟧", "set"),
    "{": ("}", "set"),
    "(": (")", "tuple"),
    "[": ("]", "list"),
}


def _group(text: str, depth: int) -> Group | None:
    if not text or text[0] not in _BRACKETS:
        return None
    closing, kind = _BRACKETS[text[0]]
    if not text.endswith(closing):
        return None
    pieces = split_items(text[1:-1])
    if pieces is None or (len(pieces) < 2 and kind != "set"):
        return None
    return Group(kind, tuple(read(piece, depth + 1) for piece in pieces))


def split_items(text: str) -> list[str] | None:
    """Split at the commas or semicolons outside of brackets; None if brackets do not match, or there are too many."""
    separator = ";" if ";" in text else ","
    depth, start, pieces = 0, 0, []
    for index, char in enumerate(text):
        depth += (char in "([{⟦") - (char in ")]}⟧")
        if depth < 0:
            return None
        if char == separator and not depth:
            pieces.append(text[start:index])
            start = index + 1
    pieces.append(text[start:])
    if depth or len(pieces) > _MAX_ITEMS or not all(piece.strip() for piece in pieces):
        return None
    return pieces


def _assignment(text: str, depth: int) -> Value | None:
    if pairs := _NAMED_TUPLE.fullmatch(text):
        names, pieces = pairs[1].replace(" ", "").split(","), split_items(pairs[2]) or []
        if len(names) == len(pieces):
            return Group("set", tuple(map(Assignment, names, (read(piece, depth + 1) for piece in pieces))))
    match = _ASSIGNMENT.fullmatch(text)
    if match and "=" not in match[2]:
        return Assignment(match[1].replace(" ", ""), read(match[2], depth + 1))
    reverse = _REVERSED.fullmatch(text)
    return Assignment(reverse[2], read(reverse[1].strip(), depth + 1)) if reverse else None


def _plus_minus(text: str, depth: int) -> Value | None:
    before, sign, after = text.partition("±")
    if not sign or "±" in after:
        return None
    middle = number(before) if before.strip() else None
    around = read(after, depth + 1)
    if not isinstance(around, Quantity) or (before.strip() and not middle):
        return None
    centre = middle.value if middle else Fraction(0)
    return Group("set", tuple(Quantity(centre + step, around.unit) for step in (around.number, -around.number)))


def _enumeration(text: str, depth: int) -> Value | None:
    """Values with commas, "and" or "or" between them."""
    joined = re.sub(r"(?:,|(?<!\s))\s++(?:and|or)\s++", ", ", text)
    pieces = split_items(joined) if "," in joined or ";" in joined else None
    if not pieces or len(pieces) < 2 or any(len(piece.split()) > 4 for piece in pieces):
        return None
    values = tuple(read(piece, depth + 1) for piece in pieces)
    if re.search(r"\sor\s", text) and any(isinstance(value, Text) for value in values):
        return None  # "red or blue" is not "red and blue"; 2 or 3 are two solutions
    names = {value.name for value in values if isinstance(value, Assignment)}
    head, *tail = values
    if isinstance(head, Assignment) and not any(isinstance(value, Assignment) for value in tail):
        return Assignment(head.name, Group("bare", (head.value, *tail)))
    if len(names) == 1 and all(isinstance(value, Assignment) for value in values):
        return Assignment(names.pop(), Group("set", tuple(v.value for v in values if isinstance(v, Assignment))))
    return Group("set" if len(names) == len(values) else "bare", values)
