"""How much of a text an embedding model reads. Its vector contains no information about the rest.

A tokenizer replaces every unknown word by [UNK]: all Thai sentences are equal to a model for English. A word of which
it knows only single letters is spelled, and the model cannot use it either.

    text = prepared(text)                             the form in which it is embedded
    reading_of(text, tokens)                          the share that is not read, and a hash of those words

Two texts are compared by their vectors only if both are mostly read and have the same unknown words. So texts that
differ in unknown words are never treated as duplicates.
"""

import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import regex

from personahub_assets.core.text import digest, normalised, without_invisible

SAME = 0.9999
"""Cosine from which two vectors are equal. Texts with different words reach it only if a part was not read."""

LONG = "long-"
"""Prefix of the mark of a text that is longer than the model's context."""

REFUSED = "refused"
"""Mark of a text that the server does not embed; it has no vector."""

NOT_READ = "not read"
"""Mark of a text that is not compared with any other."""

_SPELLED = 2.5  # characters per piece below which a word of several pieces counts as spelled
_CONTENT = regex.compile(r"(?V1)[\p{L}\p{M}\p{N}\p{S}\p{Co}\p{Cn}]")
_FOREIGN = regex.compile(r"(?V1)[\p{L}--\p{Latin}]")
# Joiners affect how letters of some scripts are written; between other letters they have no meaning.
_JOINERS = "\u200c\u200d"
_USELESS_JOINER = regex.compile(
    rf"(?<![\p{{L}}\p{{M}}\p{{S}}])[{_JOINERS}]+|(?<=\p{{Latin}})[{_JOINERS}]+|[{_JOINERS}]+(?=\p{{Latin}})"
)


class Word(NamedTuple):
    """A word with its pieces."""

    text: str
    pieces: int
    is_known: bool


class Reading(NamedTuple):
    """How a model reads a text: the columns `unread` and `unread_hash` of `persona_embeddings`."""

    unread: float  # share of its letters that are not read
    unread_hash: str  # hash of the unknown words; empty without any


def prepared(text: str) -> str:
    """Return a text in the form in which it is embedded: NFKC, without invisible characters.

    >>> prepared("Ａ 𝐧𝐮𝐫𝐬𝐞\\u200b, oﬃce")
    'A nurse, office'
    """
    if text.isascii():
        return text
    kept = (
        segment if set(segment) <= set(_JOINERS) else without_invisible(segment)
        for segment in regex.split(rf"([{_JOINERS}]+)", text)
    )
    return _USELESS_JOINER.sub("", unicodedata.normalize("NFKC", "".join(kept)))


def text_hash(text: str, is_long: bool) -> str:
    """Hash of a prepared text, by which its vector is looked up.

    Args:
        text: prepared.
        is_long: whether earlier versions could have embedded only its beginning.
    """
    return digest(text, "whole") if is_long else digest(text)


def text_hashes(text: str) -> set[str]:
    """All hashes by which any version may have stored the vector of a text."""
    fit = prepared(text)
    return {digest(text), text_hash(fit, is_long=False), text_hash(fit, is_long=True)}


def reading_of(words: Iterable[Word], *, is_english: bool) -> Reading:
    """Measure the unread share of a text, and hash its unknown words.

    Args:
        words: of the prepared text.
        is_english: whether the model was trained on English only. Its tokenizer spells words of many languages, and
            drops the marks of other scripts; words of other scripts count as unknown.
    """
    letters = unread = 0
    unknown = []
    for word in words:
        if not _CONTENT.search(word.text):
            continue
        letters += len(word.text)
        if not word.is_known or (is_english and _FOREIGN.search(word.text)):
            unknown.append(normalised(word.text))
            unread += len(word.text)
        elif is_english and word.pieces > 1 and len(word.text) < _SPELLED * word.pieces:
            unread += len(word.text)
    return Reading(unread / letters if letters else 0.0, digest(*unknown) if unknown else "")


def mark_long(reading: Reading, text: str) -> Reading:
    """Mark a text that is longer than the model's context: only the lexical stage compares it."""
    return reading._replace(unread_hash=LONG + digest(normalised(text)))


# --- Without the tokenizer -----------------------------------------------------------------------------------------

_WORDS = regex.compile(r"(?V1)[\p{L}\p{M}\p{N}]+|[\p{S}\p{Co}\p{Cn}]+")
_OF_ALL_SCRIPTS = {"", "LATIN", "DIGIT", "COMBINING"}


def words_by_script(text: str) -> list[tuple[str, frozenset[str]]]:
    """Cut a prepared text into words, each with its scripts; Latin letters and digits have none."""
    return [
        (word, frozenset() if word.isascii() else frozenset(map(_script, word)) - _OF_ALL_SCRIPTS)
        for word in _WORDS.findall(text)
    ]


def _script(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return "SYMBOL"
    return unicodedata.name(character, "UNKNOWN").partition(" ")[0]
