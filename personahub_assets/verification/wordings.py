"""Wordings of answers that become plain notation: times, angles, bounds and lengths in words or with marks."""

import re
from collections.abc import Callable

_HOURS = "one two three four five six seven eight nine ten eleven twelve".split()
_HOUR = "(" + "|".join(_HOURS) + r"|\d{1,2})"
_PAST = re.compile(rf"(?:a )?(half|quarter) (past|to) {_HOUR}(?: o'clock)?((?: ?[ap]\.?m\.?)?)", re.IGNORECASE)
_DIGITS = r"\d+(?:\.\d+)?"
_BOUNDS = {
    "at least": ">=",
    "no less than": ">=",
    "not less than": ">=",
    "no fewer than": ">=",
    "at most": "<=",
    "no more than": "<=",
    "not more than": "<=",
    "more than": ">",
    "greater than": ">",
    "less than": "<",
    "fewer than": "<",
}
_BOUND = re.compile(rf"({'|'.join(_BOUNDS)}) (-?{_DIGITS})", re.IGNORECASE)
_ARROW = re.compile(r"(?<!\s)\s*+->\s*+")


def _past(match: "re.Match[str]") -> str:
    word, side, hour_text, half = match.groups()
    hour = int(hour_text) if hour_text.isdigit() else _HOURS.index(hour_text.lower()) + 1
    minutes = 30 if word.lower() == "half" else 15
    if side.lower() == "to":
        hour, minutes = (hour - 2) % 12 + 1, 60 - minutes
    return f"{hour}:{minutes:02d}{half}"


def _arc(match: "re.Match[str]") -> str:
    degrees, minutes, seconds = match.groups()
    return f"({degrees} + {minutes}/60 + {seconds or 0}/3600)°"


def _radians(match: "re.Match[str]") -> str:
    return f"({match[1] or match[2] or 1} * 180/{match[3] or 1})°"


_WHOLE: tuple[tuple["re.Pattern[str]", str | Callable[["re.Match[str]"], str]], ...] = (
    (_PAST, _past),
    (re.compile(r"(\d+)°\s*(\d+)'(?:\s*(\d+)\")?"), _arc),
    (re.compile(r"(?:(\d+)\s*\*?\s*|\((\d+)\)\s*\*?\s*)?π(?:\s*/\s*(\d+))?\s*rad(?:ian)?s?", re.IGNORECASE), _radians),
    (re.compile(rf"(\d+)'\s*({_DIGITS})\""), r"\1 ft \2 in"),
    (_BOUND, lambda match: f"{_BOUNDS[match[1].lower()]} {match[2]}"),
    (re.compile(r"(-?\d+) (?:over|out of) (\d+)", re.IGNORECASE), r"\1/\2"),
    (re.compile(r"1 in (\d+)", re.IGNORECASE), r"1/\1"),
    (re.compile(rf"([$€£])\s*({_DIGITS}) and (\d{{1,2}}) (cents?|pence|p)", re.IGNORECASE), r"\2 \1 \3 \4"),
    (re.compile(rf"([$€£])\s*({_DIGITS})\s*(?:/|per )\s*([a-z]+)", re.IGNORECASE), r"\2 \1/\3"),
    (re.compile(r"(\d+(?:\.\d+)?)M"), r"\1 million"),
    (re.compile(rf"([NS])\s*({_DIGITS})\s*°\s*([EW])"), r"\1\2°\3"),
    (re.compile(r"([+-]?)infinity", re.IGNORECASE), r"\1∞"),
)
_MATRIX = re.compile(r"\\begin\s*\{([pb]?)matrix\}(.*?)\\end\s*\{\1matrix\}", re.DOTALL)


def plain_words(text: str) -> str:
    """The text in plain notation if all of it is one of these wordings; else the text.

    >>> plain_words("quarter to four"), plain_words("5'6\\""), plain_words("at least 5"), plain_words("A -> B -> C")
    ('3:45', '5 ft 6 in', '>= 5', 'A, B, C')
    """
    for pattern, replacement in _WHOLE:
        if match := pattern.fullmatch(text):
            return match.expand(replacement) if isinstance(replacement, str) else replacement(match)
    if "->" in text and not set("=:,;()<") & set(text):
        return _ARROW.sub(", ", text)
    return text


def plain_matrices(text: str) -> str:
    r"""Matrices of LaTeX as lists of their rows, and columns as tuples.

    >>> plain_matrices(r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}")
    '[[1 , 2], [3 , 4]]'
    """
    return _MATRIX.sub(_rows, text)


def _rows(match: "re.Match[str]") -> str:
    rows = [row.strip() for row in match[2].split(r"\\") if row.strip()]
    if len(rows) > 1 and "&" not in match[2]:
        return f"({', '.join(rows)})"
    return f"[{', '.join('[' + row.replace('&', ',') + ']' for row in rows)}]"
