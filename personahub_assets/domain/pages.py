"""Pages: the main text of an HTML page, and the language of a text."""

import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5
from resiliparse.parse.lang import detect_fast, supported_langs

LANGUAGES = frozenset(supported_langs())
ENOUGH = 100
"""Characters from which a text's language can be told."""

_UNKNOWN = "unknown"
_JUDGED = 20_000  # characters that are looked at for the language
_ODD_SHARE = 0.01
_ODD = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
# The time that extraction takes grows with the square of the depth: 0.3 s at 2,000 elements, minutes at 100,000.
_DEEPEST = 500
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# Elements without an end, and those whose end a parser puts in by itself: they do not nest.
_FLAT = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"),
        *("p", "li", "dt", "dd", "td", "th", "tr", "option", "optgroup", "thead", "tbody", "tfoot", "rt", "rp"),
        *("colgroup", "html", "head", "body"),
    )
)


class Undecodable(ValueError):
    """Bytes are no text in any encoding that they claim or look like."""


class TooDeep(ValueError):
    """A page nests more elements than any page that is read by people."""


@dataclass(frozen=True)
class Text:
    """Decoded text, and how many characters of it could not be decoded and are U+FFFD now."""

    text: str
    replaced: int


def main_text(html: str) -> str:
    """Extract what a page is about: paragraphs, headings and lists, without navigation, forms, scripts and footers.

    Raises:
        TooDeep: if its elements are nested beyond reason.

    >>> main_text("<nav><a>Home</a></nav><main><h1>Tides</h1><p>The tide is out.</p></main>")
    'Tides\\n\\nThe tide is out.'
    """
    if depth(html) > _DEEPEST:
        raise TooDeep(f"the page's elements are nested more than {_DEEPEST} deep")
    return extract_plain_text(html, main_content=True, alt_texts=False).strip()


def depth(html: str) -> int:
    """How deep the elements of a page are nested, at most; 0 for pages with few elements, which are not looked at."""
    if html.count("<") <= _DEEPEST:
        return 0
    deepest = now = 0
    for closing, name in _TAG.findall(html):
        if name.lower() not in _FLAT:
            now = max(0, now - 1) if closing else now + 1
            deepest = max(deepest, now)
    return deepest


def decoded(data: bytes, charset: str | None = None, *, html: bool = False) -> Text:
    """Decode bytes as they say they are encoded, else as they look like; a few bad bytes become U+FFFD.

    Args:
        data: the whole text.
        charset: what the server said.
        html: look for what the page says of itself, too.

    Raises:
        Undecodable: if more than one character in a hundred cannot be decoded, or is a control character: any bytes are
            text in some encoding.
    """
    claimed = map_encoding_to_html5(charset, fallback_utf8=False) if charset else None
    guess = detect_encoding(data, from_html_meta=html)
    for encoding in (claimed, guess, "utf-8"):
        text = _strictly(data, encoding)
        if text is not None and _odd(text) <= len(text) * _ODD_SHARE:
            return Text(text, 0)
    return _leniently(data, claimed or guess or "utf-8")


def language(text: str) -> str | None:
    """The language of a text as its two letters of ISO 639-1; None where it cannot be told, as of a short text.

    >>> language("The crane of the harbour stopped at noon, and the containers waited until it was mended. " * 2)
    'en'
    """
    if len(text) < ENOUGH:
        return None
    found = detect_fast(text[:_JUDGED])[0]
    return None if found == _UNKNOWN else str(found)


def _strictly(data: bytes, encoding: str | None) -> str | None:
    try:
        return data.decode(encoding).removeprefix("\ufeff") if encoding else None
    except (UnicodeDecodeError, LookupError):
        return None


def _leniently(data: bytes, encoding: str) -> Text:
    try:
        text = data.decode(encoding, "replace")
    except LookupError:
        text = data.decode("utf-8", "replace")
    odd = _odd(text)
    if odd > len(text) * _ODD_SHARE:
        raise Undecodable(f"{odd:,} of {len(text):,} characters are not {encoding}, or control characters")
    return Text(text, text.count("\ufffd"))


def _odd(text: str) -> int:
    return len(_ODD.findall(text))
