"""Find telephone numbers, with the numbering plans of the phonenumbers package.

Three forms are candidates without further evidence: an international number with `+`, the North American form, and a
number with a leading zero in groups. Any other form needs a word such as "phone" or "Tel." before it.
"""

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from personahub_assets.quality.identifiers import NUMBERED_THING
from personahub_assets.quality.spans import NOT_BEFORE_WORD, NOT_IN_WORD, Span

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

# Where a number can be: seven digits or more with at most three other signs between two of them.
_REGION = re.compile(r"\d(?:[\s().\-/]{0,3}\d){6,80}")
_DASHES = str.maketrans({"‐": "-", "‑": "-", "‒": "-", "–": "-", "\u00a0": " ", "\u202f": " "})
_PLUS = re.compile(r"(?<![A-Za-z0-9_+])\+\(?\d(?:[ \-./()]{0,3}\d){6,14}(?!\d)")
_AMERICAN = re.compile(
    rf"{NOT_IN_WORD}(?<![.+,$-])(?:1[-. ])?(?:\((?P<area>\d{{3}})\) ?|(?P<code>\d{{3}})[-.])(?P<exchange>\d{{3}})[-. ]\d{{4}}"
    rf"{NOT_BEFORE_WORD}(?!-|[.,]\d)"
)
_TRUNK = re.compile(
    rf"{NOT_IN_WORD}(?<![.,+$-])(?:\(0\d{{1,5}}\)|0\d{{1,5}})(?:[ \-/.]{{1,2}}\d{{2,8}}){{1,4}}{NOT_BEFORE_WORD}(?!-|[.,]\d)"
)
_SAID = re.compile(
    r"(?:\b(?:tel|telefon|telefono|teléfono|téléphone|telephone|telefone|telefoon|telefonnummer|phones?|phone number|mobile|"
    r"cell|cellphone|call(?: me| us| him| her| them)?|dial|text(?: me| us)|ring|fax|whatsapp|sms|handy|mobil|rufnummer|durchwahl|"
    r"mobilnummer|mobilen|mobiltelefon|handynummer|móvil|movil|celular|portable|cellulare|numéro|hotline|reach(?: me| us| him| her)?|extension|nomor|numer telefonu|telefonu|appele[zr](?:[- ]moi)?(?: le| au)?|ll[aá]m[ae](?:me|nos|lo|la)?(?: al?)?|"
    r"chiama(?:mi|teci|re)?(?: al)?|zadzwoń|dzwoń|bel (?:me|mij|ons)|ligue(?: para)?|soittakaa|soita|volejte|hívj[ao]n?)\b|"
    r"电话|電話|手机|携帯|連絡先|тел\b|телефон|전화)[^\d+(\n]{0,24}[+(]?\Z",
    re.IGNORECASE,
)
_STEMS = tuple(
    "tel tél phone mobil cell call dial text ring fax whatsapp sms handy rufnummer durchwahl móvil movil portable numéro hotline reach extension "
    "nomor appele llam llám chiam dzwoń bel ligue soit volejte hívj 电话 電話 手机 携帯 連絡先 тел 전화".split()
)
_NUMBER = re.compile(r"[+(]?\d(?:[ \-./()]{0,2}\d){6,14}(?![^\W\u3040-\u9fff]|-|[.,]\d)")
_LOCAL = re.compile(r"\d{3}-\d{4}")
_COUNTED = re.compile(
    r"\s?(?:times|seconds|calls|units|bytes|users|people|customers|%|dollars|euros|minutes)", re.IGNORECASE
)
_COMPUTED = re.compile(r"\b(?:what is|compute|calculate|evaluate|simplify)\s\Z", re.IGNORECASE)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ .,]\d{3})+")
_PLURAL = re.compile(r" [a-z]{3,}(?:s|people)\b")
_REGIONS = (
    "US GB DE FR ES IT NL BE CH AT PT PL SE NO DK FI IE AU NZ IN JP KR CN BR MX AR ZA SG HK RU TR GR CZ HU RO UA IL EG NG "
    "KE PH ID"
).split()
_OF_TRUNK = ["GB", "DE", "FR", "AU", "JP", "NL", "CH", "AT", "BE", "SE", "IE", "NZ", "ZA", "KR"]
_BEFORE = 48
_LONG = 11  # digits without a separator that are meant as a number after a plus


def phones(text: str) -> Iterator[Span]:
    """Telephone numbers."""
    text = text if text.isascii() else text.translate(_DASHES)
    for region in _REGION.finditer(text):
        # The signs before and behind belong to the forms, and to what is not a number.
        yield from _in_region(text, max(0, region.start() - 2), min(len(text), region.end() + 3))


def _in_region(text: str, start: int, end: int) -> Iterator[Span]:
    region = text[start:end]
    if "+" in region:
        yield from _international(text, start, end)
    for match in _AMERICAN.finditer(text, start, end):
        if _is_american(match) and not _numbers_a_thing(text, match.start()):
            yield Span("phone", *match.span())
    if "0" in region:
        for match in _TRUNK.finditer(text, start, end):
            if _is_national(match[0]) and not _numbers_a_thing(text, match.start()):
                yield Span("phone", *match.span())
    number = _NUMBER.search(text, start, end)
    if number and _is_announced(text, number.start()) and _is_said(number[0]) and not _is_count(text, number):
        yield Span("phone", *number.span())


def _is_count(text: str, number: re.Match[str]) -> bool:
    """Whether a number counts things, such as "a ring of 12 345 678 stones"."""
    if _COUNTED.match(text, number.end()):
        return True
    return bool(_THOUSANDS.fullmatch(number[0]) and (_PLURAL.match(text, number.end()) or number[0].endswith("000")))


def _is_announced(text: str, start: int) -> bool:
    """Whether a word such as "phone" is right before a number."""
    before = text[max(0, start - _BEFORE) : start]
    small = before.lower()
    return any(stem in small for stem in _STEMS) and _SAID.search(before) is not None


def _numbers_a_thing(text: str, start: int) -> bool:
    before = text[max(0, start - _BEFORE) : start]
    return NUMBERED_THING.search(before) is not None or _COMPUTED.search(before) is not None


def _international(text: str, first: int, last: int) -> Iterator[Span]:
    for match in _PLUS.finditer(text, first, last):
        end = match.end()
        while end - match.start() > 7:
            if _is_international(text[match.start() : end]):
                yield Span("phone", match.start(), end)
                break
            # The number before the last group: what follows can be another number.
            end = match.start() + len(re.sub(r"[\s().\-/]*\d+\Z", "", text[match.start() : end]))


def _is_international(number: str) -> bool:
    import phonenumbers

    parsed = _parsed(number, None)
    if parsed is None:
        return False
    # Numbers of fiction are possible but not assigned; with groups they are still meant as numbers.
    groups = re.findall(r"\d+", number)
    is_grouped = len(groups) >= 3 or len(groups[0]) >= _LONG
    return phonenumbers.is_valid_number(parsed) or (is_grouped and phonenumbers.is_possible_number(parsed))


def _is_american(match: re.Match[str]) -> bool:
    area, exchange = match["area"] or match["code"], match["exchange"]
    if "555" in (area, exchange) or match[0].endswith("456-7890"):
        return True
    return area[0] not in "01" and (match["area"] is not None or _is_valid(match[0], ("US", "CA")))


def _is_national(number: str) -> bool:
    groups = re.findall(r"\d+", number)
    if not 9 <= sum(map(len, groups)) <= 12 or "." in number or set("".join(groups)) <= {"0", "1"}:
        return False
    if all(len(group) == 2 for group in groups):
        steps = {int(later) - int(earlier) for earlier, later in pairwise(groups)}
        return groups[0] in ("06", "07") and len(steps) > 1 and _is_valid(number, ("FR",))
    if len(groups) > 2 and any(len(group) == 2 for group in groups[1:-1]) and "-" in number:
        return False  # a date, with a time
    return _is_valid(number, tuple(_OF_TRUNK))


def _is_said(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    if _LOCAL.fullmatch(number) or (len(digits) == 10 and not number.isdigit()):
        return True
    if number.isdigit() and not 9 <= len(digits) <= 13:
        return False
    if re.fullmatch(r"\d+\.\d+", number):
        return False
    return _is_international(number) if number.startswith("+") else _is_valid(number, tuple(_REGIONS))


def _is_valid(number: str, regions: tuple[str, ...]) -> bool:
    import phonenumbers

    return any(
        parsed is not None and phonenumbers.is_valid_number(parsed)
        for parsed in (_parsed(number, region) for region in regions)
    )


@cache
def _error() -> type[Exception]:
    from phonenumbers import NumberParseException

    return NumberParseException


def _parsed(number: str, region: str | None) -> "PhoneNumber | None":
    import phonenumbers

    try:
        return phonenumbers.parse(number, region)
    except _error():
        return None
