"""What is done to text everywhere in the same way: sanitising, tokens, hashes, keys."""

import hashlib
import re
import sys
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
import regex

from personahub_assets.domain.errors import BatchError

BATCH_KEY = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
_SUFFIXES = re.compile(
    r"(\.(jsonl|ndjson|json|parquet|csv|tsv|txt|warc|wet|warc\.wet))?(\.(gz|zst|bz2|xz))?$", re.IGNORECASE
)

# Lone surrogates and NUL: DuckDB and Polars refuse the first and mangle the second.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Letters, digits and the marks that belong to them; Python's own \w leaves the marks out (Thai, Hindi, Arabic).
_WORD = regex.compile(r"[\w\p{M}]+")
# Scripts written without spaces between words: a "word" of theirs is a whole sentence, so bigrams stand in for words.
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
OUTSIDE, WORD, UNSPACED = 0, 1, 2
WORDS = "words 1"
"""Name of this way to cut words; another one decides about all personas again, so change it with what follows."""


def sanitise(text: str) -> tuple[str, int]:
    """Replace what cannot be stored by U+FFFD and say how many characters that were.

    >>> sanitise("a\\x00b")
    ('a\\ufffdb', 1)
    """
    return _UNSTORABLE.subn("\ufffd", text)


def words(text: str) -> list[str]:
    """Split text into words after NFKC and case folding, in order, repeats included.

    The dedup method of the paper (section 2.2.1) compares sets of 1-grams; this is the one definition of a 1-gram.
    Text in scripts without spaces gives character bigrams instead.

    >>> words("The Café’s 2nd café")
    ['the', 'café', 's', '2nd', 'café']
    """
    return [part for word in _WORD.findall(normalised(text)) for part in _parts(word)]


def normalised(text: str) -> str:
    """Give a text the form in which its words are compared: NFKC, then case folding."""
    return unicodedata.normalize("NFKC", text).casefold()


@cache
def kinds(count: int = sys.maxunicode + 1) -> npt.NDArray[np.uint8]:
    """Say of each of the first code points whether it is OUTSIDE of words, WORD, or WORD in an UNSPACED script.

    What compiled code cuts words by; the same two patterns as `words`.
    """
    characters = "".join(map(chr, range(count)))
    found = np.zeros(count, np.uint8)
    for match in _WORD.finditer(characters):
        found[match.start() : match.end()] = WORD
    unspaced = [match.start() for match in _UNSPACED.finditer(characters)]
    found[unspaced] *= UNSPACED  # their punctuation stays outside
    found.flags.writeable = False
    return found


def _parts(word: str) -> list[str]:
    if not _UNSPACED.search(word) or len(word) < 3:
        return [word]
    return [word[i : i + 2] for i in range(len(word) - 1)]


def digest(*parts: str | int, size: int = 20) -> str:
    """Hash parts into `size` hex digits (4 bits each) so that no two different lists of parts look alike.

    >>> digest("ab", "c") == digest("a", "bc")
    False
    """
    hasher = hashlib.blake2b(digest_size=32)
    for part in parts:
        data = str(part).encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.hexdigest()[:size]


def check_batch_key(key: str) -> str:
    """Return the key if it is a legal batch key.

    Raises:
        BatchError: if it is not; it becomes a folder name, so nothing else may pass.
    """
    if not BATCH_KEY.fullmatch(key):
        raise BatchError(
            f"batch key {key!r} is not allowed: use 1 to 64 of a-z, 0-9, '_' and '-', beginning with a letter or digit"
        )
    return key


def batch_key(name: str) -> str:
    """Make a legal batch key from a file name.

    >>> batch_key("Crawl 2024-10.part.jsonl.gz")
    'crawl-2024-10-part'
    """
    stem = _SUFFIXES.sub("", name)
    slug = re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")
    return check_batch_key(slug[:56].rstrip("-_") or "batch")


def shorten(text: str, limit: int = 200) -> str:
    """Cut text to at most `limit` characters, with an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(text: str, limit: int = 240) -> str:
    """Give text for a cell of a table: on one line, cut, without characters that are not seen or turn others around."""
    beginning = text[: 4 * limit]
    seen = "".join(char if char.isprintable() else " " for char in beginning)
    shown = " ".join(seen.split())
    return shorten(shown + "…" if len(text) > len(beginning) else shown, limit)


_SENTENCE_END = regex.compile(r"[.!?。！？।؟…][\"'”’)\]]*\s|\n")


def cut(text: str, limit: int) -> str:
    """Give the beginning of a text, at most `limit` characters, ending with a sentence where one ends in its last half.

    >>> cut("One two. Three four. Five six.", 25)
    'One two. Three four.'
    """
    if len(text) <= limit:
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text[: limit + 1])]
    end = ends[-1] if ends and ends[-1] * 2 >= limit else limit
    return text[:end].rstrip()
