"""Common functions for text: sanitising, words, hashes, keys."""

import hashlib
import re
import sys
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

import regex
from anyascii import anyascii

from personahub_assets.core.errors import BatchError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BATCH_KEY = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
_SUFFIXES = re.compile(
    r"(\.(jsonl|ndjson|json|parquet|csv|tsv|txt|warc|wet|warc\.wet))?(\.(gz|zst|bz2|xz))?$", re.IGNORECASE
)

_KEY_CHARS = 56  # of a key made from a name, with space for the number of a slice

# Lone surrogates and NUL: DuckDB and Polars refuse the first and corrupt the second.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Characters of a word. Python's \w lacks combining marks (Thai, Hindi, Arabic).
_LETTERS = r"\w\p{M}"
# Pictographs are separate words; so are unassigned characters, which can get a meaning.
_SYMBOLS = r"[\p{So}\p{Co}\p{Cn}\U0001F3FB-\U0001F3FF\U000E0020-\U000E007F--[\w]]"
# These belong to the word before them: C++, C#. A dot belongs to the word after it at a start: .NET, not ASP.NET.
_SIGNS = "+#"
_OPENING = r"\s(\[{/|,;:=<>&“‘„«‹¿¡「『【《〈\-–—"
_NEUTRAL = r"\"'`*"
_WORD = regex.compile(
    rf"(?V1)(?:(?<=(?:^|[{_OPENING}])[{_NEUTRAL}]*)\.(?=[A-Za-z0-9_]))?[{_LETTERS}]+[{_SIGNS}]*|{_SYMBOLS}+"
)
# Scripts without spaces between words: a "word" would be a whole sentence, so bigrams are used.
_UNSPACED = regex.compile(
    r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}\p{Line_Break=SA}\p{Yi}\p{Tangut}\p{Nushu}\p{Javanese}\p{Balinese}&&[\w\p{M}]]"
)
_PICTURED = regex.compile(rf"(?V1){_SYMBOLS}")
# Invisible characters such as zero-width ones make no difference. Tags do: they distinguish flags of regions.
_UNSEEN = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}--[\U000E0020-\U000E007F]]+")
OUTSIDE, OPENING, NEUTRAL, DOT, SIGN, SYMBOL, WORD, UNSPACED = range(8)
WORDS = "words 2"
"""Version of the word segmentation. A change decides all personas again, so change it with the rules below."""


def sanitise(text: str) -> tuple[str, int]:
    """Replace unstorable characters by U+FFFD; return the text and the number of replaced characters.

    >>> sanitise("a\\x00b")
    ('a\\ufffdb', 1)
    """
    return _UNSTORABLE.subn("\ufffd", text)


def words(text: str) -> list[str]:
    """Split text into words after NFKC and case folding, in order, repeats included.

    The dedup method of the paper (section 2.2.1) compares sets of 1-grams; this is the one definition of a 1-gram.
    Text in scripts without spaces, and a row of pictographs, gives character bigrams instead.

    >>> words("The Café’s 2nd café")
    ['the', 'café', 's', '2nd', 'café']
    >>> words("Writes C++ and .NET 🙂.")
    ['writes', 'c++', 'and', '.net', '🙂']
    """
    return [token for word in _WORD.findall(normalised(text)) for token in _split_word(word)]


def normalised(text: str) -> str:
    """Normalise a text for comparing words: NFKC, case folding, no invisible characters, ♯ as #."""
    return without_invisible(unicodedata.normalize("NFKC", without_invisible(text)).casefold().replace("♯", "#"))


def without_invisible(text: str) -> str:
    """Remove invisible characters: zero-width ones, variation selectors, soft hyphens and similar ones."""
    return _UNSEEN.sub("", text)


@cache
def character_kinds(count: int = sys.maxunicode + 1) -> "npt.NDArray[np.uint8]":
    """Classify the first code points (count,): OUTSIDE of words, WORD, UNSPACED and so on.

    The table for compiled code; it follows the same patterns as `words`.
    """
    characters = "".join(map(chr, range(count)))
    import numpy as np  # the import takes as long as all others of most commands

    kind_of = np.zeros(count, np.uint8)
    for kind, pattern in (
        (OPENING, f"[{_OPENING}]+"),
        (NEUTRAL, f"[{_NEUTRAL}]+"),
        (DOT, r"\."),
        (SIGN, f"[{_SIGNS}]"),
        (SYMBOL, f"{_SYMBOLS}+"),
        (WORD, f"[{_LETTERS}]+"),
        (UNSPACED, f"{_UNSPACED.pattern}+"),
    ):
        for match in regex.finditer(f"(?V1){pattern}", characters):
            kind_of[match.start() : match.end()] = kind
    kind_of.flags.writeable = False
    return kind_of


def _split_word(word: str) -> list[str]:
    if len(word) < 3 or not (_UNSPACED.search(word) or _PICTURED.match(word)):
        return [word]
    return [word[i : i + 2] for i in range(len(word) - 1)]


def digest(*parts: str | int, size: int = 20) -> str:
    """Hash parts into `size` hex digits (4 bits each); the hash depends on the boundaries of the parts.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    hasher = hashlib.blake2b(digest_size=32)
    for value in parts:
        data = str(value).encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()[:size]


def check_batch_key(key: str) -> str:
    """Return the key if it is a valid batch key.

    Raises:
        BatchError: if it is not valid; keys become folder names.
    """
    if not BATCH_KEY.fullmatch(key):
        raise BatchError(
            f"batch key {key!r} is not allowed: use 1 to 64 of a-z, 0-9, '_' and '-', beginning with a letter or digit"
        )
    return key


def batch_key(name: str) -> str:
    """Make a valid batch key from a file name in any script; a key that loses characters gets a hash of the name.

    >>> batch_key("Crawl 2024-10.part.jsonl.gz"), batch_key("Οδηγός.csv")
    ('crawl-2024-10-part', 'odigos')
    """
    stem = _SUFFIXES.sub("", unicodedata.normalize("NFC", name))
    slug = _slug(anyascii(stem))
    if slug and len(slug) <= _KEY_CHARS:
        return check_batch_key(slug)
    return check_batch_key(f"{slug[: _KEY_CHARS - 9].rstrip('-_') or 'batch'}-{digest(stem, size=8)}")


def former_batch_key(name: str) -> str:
    """The key of a file name in earlier versions, without transliteration; existing homes use it."""
    return check_batch_key(_slug(_SUFFIXES.sub("", name))[:_KEY_CHARS].rstrip("-_") or "batch")


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")


def shorten(text: str, limit: int = 200) -> str:
    """Cut text to at most `limit` characters, with an ellipsis if it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


# Controls, format characters (bidirectional and invisible ones), line separators, lone surrogates. Joiners and signs
# before numbers are format characters too, but belong to words and emoji.
_KEPT = r"[\u200c\u200d\p{Prepended_Concatenation_Mark}]"
_UNPRINTABLE = regex.compile(rf"[[\p{{Cc}}\p{{Cf}}\p{{Cs}}\p{{Zl}}\p{{Zp}}]--{_KEPT}]", regex.V1)
_UNPRINTABLE_IN_LINES = regex.compile(rf"(?!\n){_UNPRINTABLE.pattern}", regex.V1)


def printable(text: object, *, lines: bool = False) -> str:
    """Make text safe for a terminal: control and invisible characters become escapes.

    Args:
        lines: keep line ends; otherwise they are escaped too.

    >>> printable("a\x1b[2Jb\\u202e\\n")
    'a\\\\x1b[2Jb\\\\u202e\\\\n'
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    if lines:
        return _UNPRINTABLE_IN_LINES.sub(_escaped, shown.replace("\r\n", "\n"))
    return _UNPRINTABLE.sub(_escaped, shown)


def _escaped(match: regex.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def plain(text: str, limit: int = 240) -> str:
    """Make text for a table cell: one line, cut, without invisible and bidirectional characters."""
    beginning = text[: 4 * limit]
    visible = "".join(char if char.isprintable() else " " for char in beginning)
    shown = " ".join(visible.split())
    return shorten(shown + "…" if len(text) > len(beginning) else shown, limit)


_SENTENCE_END = regex.compile(r"[.!?。！？।؟…][\"'”’)\]]*\s|\n")


def cut(text: str, limit: int) -> str:
    """Cut a text to at most `limit` characters, at the end of a sentence if one ends in the last half.

    >>> cut("One two. Three four. Five six.", 25)
    'One two. Three four.'
    """
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text[: limit + 1])]
    end = ends[-1] if ends and ends[-1] * 2 >= limit else limit
    return text[:end].rstrip()
