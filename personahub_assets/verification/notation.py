"""Spellings of answers: other scripts' digits, signs, and LaTeX become plain text."""

import re
import unicodedata

from personahub_assets.verification.wordings import plain_matrices, plain_words

MAX_CHARS = 2_000
"""Longer answers are compared as they are."""
_MAX_ROUNDS = 60

_SUPERSCRIPT = {ord(char): digit for char, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True)}
_SIGNS = str.maketrans(
    {
        **dict.fromkeys("−‒–—﹣－", "-"),
        **dict.fromkeys("×✕⋅·∙∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("“”„«»″", '"'),
        **dict.fromkeys("‘’′ʼ", "'"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u2002\u2003\u3000\t\n\r", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u200e\u200f", ""),
        **dict.fromkeys("≈≃∼", "~"),
        "٫": ".",
        "٬": ",",
        "،": ",",
        "、": ",",
        "，": ",",
        "％": "%",
        "٪": "%",
        "≤": "<=",
        "≥": ">=",
        "⩽": "<=",
        "⩾": ">=",
        "º": "°",
        "˚": "°",
        "→": "->",
        "≠": "!=",
        "ℝ": "all real numbers",
    }
)
_LATEX = (
    (r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|textstyle|limits)(?![a-zA-Z])", ""),
    (r"\\[,;:!> ]|\\quad|\\qquad|(?<!\\)~", " "),
    (r"\\\\", " "),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
    (r"\{,\}", ","),
    (r"\\(?:times|cdot|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"),
    (r"\\pm(?![a-zA-Z])", "±"),
    (r"\\(?:le|leq|leqslant)(?![a-zA-Z])", "<="),
    (r"\\(?:ge|geq|geqslant)(?![a-zA-Z])", ">="),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\infty(?![a-zA-Z])", "∞"),
    (r"\\cup(?![a-zA-Z])", "∪"),
    (r"\\in(?![a-zA-Z])", "∈"),
    (r"\\(?:emptyset|varnothing)(?![a-zA-Z])", "∅"),
    (r"\\langle(?![a-zA-Z])", "("),
    (r"\\rangle(?![a-zA-Z])", ")"),
    (r"\\approx(?![a-zA-Z])", "~"),
    (r"\\pi(?![a-zA-Z])", "π"),
    (r"\\mid(?![a-zA-Z])", "|"),
    (r"\\mathbb\s*\{?R\}?", "all real numbers"),
    (r"\\%", "%"),
    (r"\\([$#&_])", r"\1"),
    (r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])", "°"),
    (r"\\lbrace(?![a-zA-Z])|\\\{", "⟦"),
    (r"\\rbrace(?![a-zA-Z])|\\\}", "⟧"),
)
_COMPILED = [(re.compile(pattern), text) for pattern, text in _LATEX]
_INNERMOST = (
    (re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|mbox|operatorname|boxed|fbox)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"(?<=\d)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r" \1/\2"),
    (re.compile(r"\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r"\1/\2"),
    (re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" ((\1)/(\2)) "),
    (re.compile(r"\\sqrt\s*\{([^{}]*)\}"), r"sqrt(\1)"),
    (re.compile(r"\\sqrt\s*\[(\d)\]\s*\{([^{}]*)\}"), r"((\2)^(1/\1))"),
    (re.compile(r"\\overline\s*\{(\d+)\}"), r"(\1)..."),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
    (re.compile(r"(?<=[a-zA-Z0-9])_\s*\{([^{}]*)\}"), r"_\1"),
)
_OPERATORS = (
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"^(?:minus|negative)\s+(?=[\d.])", re.IGNORECASE), "-"),
    (re.compile(r"\^\((-?\d+)\)"), r"^\1"),
    (re.compile(r"√\s*(\d+|[a-zA-Z])"), r"sqrt(\1)"),
    (re.compile(r"√\s*\("), "sqrt("),
    (re.compile(r"∛\s*(\d+)"), r"(\1^(1/3))"),
    (re.compile(r"(?<![A-Za-z])pi(?![A-Za-z])"), "π"),
    (re.compile(r"(?<=\d)\s+x\s+(?=\d)"), " * "),
)
_VULGAR = re.compile(r"(\d?)\s*([¼-¾⅐-⅞↉])")
_SUPER_RUN = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+")
_MATH = (re.compile(r"^\$\$(.*)\$\$$"), re.compile(r"^\$(.*[^\d\s].*|.*)\$$"), re.compile(r"^\\[(\[](.*)\\[)\]]$"))
_MARKUP = re.compile(r"(?<![\w)])(\*\*|__|`)(?=\S)(.+?)(?<=\S)\1(?![\w(])")
_LEAD = re.compile(
    r"^(?:(?:so|thus|hence|therefore)[, ]+)?(?:(?:the|my)\s+)?(?:(?:final|correct)\s+)?(?:answer|ans|result|option|choice|solution)\s*(?:is|=|:|->)+\s*:?\s*|^(?:it's|it is)\s+",
    re.IGNORECASE,
)


def plain(answer: str) -> str:
    r"""The answer in plain notation; at most `MAX_CHARS` characters may be given.

    >>> plain(r"$\boxed{-\frac{1}{2}}$"), plain("٣٫٥")
    ('-1/2', '3.5')
    """
    text = _digits(answer).translate(_SIGNS)
    text = unicodedata.normalize("NFKC", _MARKUP.sub(r"\2", text)).translate(_SIGNS).strip()
    text = _without_lead(text)
    if "\\" in text or "{" in text:
        text = _without_latex(text)
    text = _without_lead(_without_dollars(text))
    for pattern, replacement in _OPERATORS:
        text = pattern.sub(replacement, text)
    return plain_words(re.sub(r"\s+", " ", text).strip().rstrip(".").strip())


def _digits(text: str) -> str:
    """Digits of all scripts as ASCII, superscripts as powers, and vulgar fractions as a/b."""
    if text.isascii():
        return text
    text = _SUPER_RUN.sub(lambda run: "^(" + run[0].translate(_SUPERSCRIPT) + ")", text)
    text = _VULGAR.sub(_spelled, text)
    text = re.sub(r"[₀-₉]+", lambda run: "_" + unicodedata.normalize("NFKC", run[0]), text)
    return "".join(str(unicodedata.decimal(char)) if not char.isascii() and char.isdecimal() else char for char in text)


def _spelled(match: "re.Match[str]") -> str:
    top, bottom = unicodedata.normalize("NFKC", match[2]).split("⁄")
    return f"{match[1]} {top}/{bottom}" if match[1] else f"{top}/{bottom}"


def _without_lead(text: str) -> str:
    return _LEAD.sub("", text, count=1)


def _without_dollars(text: str) -> str:
    for pattern in _MATH:
        if match := pattern.match(text):
            text = match[1].strip()
    return text


def _without_latex(text: str) -> str:
    if (start := text.rfind("\\boxed{")) > 0:
        text = text[start:]  # the words before the answer
        text = text[: _closing(text, text.index("{")) + 1]
    text = plain_matrices(text)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    for _ in range(_MAX_ROUNDS):
        before = text
        for pattern, replacement in _INNERMOST:
            text = pattern.sub(replacement, text)
        if text == before:
            break
    return text


def _closing(text: str, start: int) -> int:
    """Index of the brace that closes the one at `start`; the last character if none does."""
    depth = 0
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text) - 1
