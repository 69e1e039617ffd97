"""Pages: the main text of an HTML page, and the language of a text."""

import re

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.lang import detect_fast

ENOUGH = 100
"""Characters from which a text's language can be told."""

_UNKNOWN = "unknown"
_JUDGED = 20_000  # characters that are looked at for the language
# The time that extraction takes grows with the square of the depth: 0.3 s at 2,000 elements, minutes at 100,000.
_DEEPEST = 500
_MOST_TAGS = 250_000  # an element takes up to 600 bytes of memory: such a page up to 150 MB
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# What a parser opens again in each block after the one that it was left open in.
_FORMATTING = re.compile(r"<(?:b|big|code|em|font|i|s|small|strike|strong|tt|u)[\s/>]", re.IGNORECASE)
_LIGHT_CHARS, _LIGHT_TAGS, _LIGHT_REOPENED = 1 << 16, 2_000, 200_000
# Elements without an end, and those whose end a parser puts in by itself: they do not nest.
_FLAT = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"),
        *("p", "li", "dt", "dd", "td", "th", "tr", "option", "optgroup", "thead", "tbody", "tfoot", "rt", "rp"),
        *("colgroup", "html", "head", "body"),
    )
)


class TooDeep(ValueError):
    """A page nests more elements than any page that is read by people."""


class TooMuchMarkup(ValueError):
    """A page has more elements than fit into the memory and time that one page may take."""


def main_text(html: str) -> str:
    """Extract what a page is about: paragraphs, headings and lists, without navigation, forms, scripts and footers.

    Raises:
        TooDeep: if its elements are nested beyond reason.
        TooMuchMarkup: if it has too many of them.

    >>> main_text("<nav><a>Home</a></nav><main><h1>Tides</h1><p>The tide is out.</p></main>")
    'Tides\\n\\nThe tide is out.'
    """
    if html.count("<") > _MOST_TAGS:
        raise TooMuchMarkup(f"the page has more than {_MOST_TAGS:,} tags")
    if depth(html) > _DEEPEST:
        raise TooDeep(f"the page's elements are nested more than {_DEEPEST} deep")
    return extract_plain_text(html, main_content=True, alt_texts=False).strip()


def is_light(html: str) -> bool:
    """Whether a page takes a second at most to parse, whatever is in it.

    Some pages of a few kilobytes take minutes or gigabytes: thousands of attributes in one tag, each compared with all
    before it; elements that stay open and are opened again in each paragraph.
    """
    tags = html.count("<")
    if len(html) > _LIGHT_CHARS or tags > _LIGHT_TAGS:
        return False
    return tags * sum(1 for _ in _FORMATTING.finditer(html)) <= _LIGHT_REOPENED


def depth(html: str) -> int:
    """How deep the elements of a page are nested, at most; 0 for pages with few elements, which are not looked at."""
    if html.count("<") <= _DEEPEST:
        return 0
    deepest = now = 0
    for tag in _TAG.finditer(html):
        if tag[2].lower() not in _FLAT:
            now = max(0, now - 1) if tag[1] else now + 1
            deepest = max(deepest, now)
    return deepest


def language(text: str) -> str | None:
    """The language of a text as its two letters of ISO 639-1; None where it cannot be told, as of a short text.

    >>> language("The crane of the harbour stopped at noon, and the containers waited until it was mended. " * 2)
    'en'
    """
    if len(text) < ENOUGH:
        return None
    code = detect_fast(text[:_JUDGED])[0]
    return None if code == _UNKNOWN else str(code)
