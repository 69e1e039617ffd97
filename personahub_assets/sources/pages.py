"""Pages: the main text of an HTML page, and the language of a text."""

import re

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.lang import detect_fast

ENOUGH = 100
"""Characters needed to detect the language of a text."""

_UNKNOWN = "unknown"
_JUDGED = 20_000  # characters used to detect the language
# The time of extraction grows with the square of the depth: 0.3 s at 2,000 elements, minutes at 100,000.
_DEEPEST = 500
_MOST_TAGS = 250_000  # an element takes up to 600 bytes of memory, such a page up to 150 MB
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
# Elements that a parser reopens in each following block if they were left open.
_FORMATTING = re.compile(r"<(?:b|big|code|em|font|i|s|small|strike|strong|tt|u)[\s/>]", re.IGNORECASE)
_LIGHT_CHARS, _LIGHT_TAGS, _LIGHT_REOPENED = 1 << 16, 2_000, 200_000
# Elements without an end tag, and those with an implied end tag: they do not nest.
_FLAT = frozenset(
    (
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"),
        *("p", "li", "dt", "dd", "td", "th", "tr", "option", "optgroup", "thead", "tbody", "tfoot", "rt", "rp"),
        *("colgroup", "html", "head", "body"),
    )
)


class TooDeep(ValueError):
    """The elements of a page are nested too deeply."""


class TooMuchMarkup(ValueError):
    """A page has too many elements for the limits of memory and time."""


def main_text(html: str) -> str:
    """Extract the main content of a page: paragraphs, headings, lists, without navigation, forms, scripts and footers.

    Raises:
        TooDeep: if its elements are nested too deeply.
        TooMuchMarkup: if it has too many elements.

    >>> main_text("<nav><a>Home</a></nav><main><h1>Tides</h1><p>The tide is out.</p></main>")
    'Tides\\n\\nThe tide is out.'
    """
    if html.count("<") > _MOST_TAGS:
        raise TooMuchMarkup(f"the page has more than {_MOST_TAGS:,} tags")
    if depth(html) > _DEEPEST:
        raise TooDeep(f"the page's elements are nested more than {_DEEPEST} deep")
    return extract_plain_text(html, main_content=True, alt_texts=False).strip()


def is_light(html: str) -> bool:
    """Whether a page of any content takes at most a second to parse.

    Some pages of a few kilobytes take minutes or gigabytes: with thousands of attributes in one tag, each compared with
    all before it, or with open elements that are reopened in each paragraph.
    """
    tags = html.count("<")
    if len(html) > _LIGHT_CHARS or tags > _LIGHT_TAGS:
        return False
    return tags * sum(1 for _ in _FORMATTING.finditer(html)) <= _LIGHT_REOPENED


def depth(html: str) -> int:
    """Upper bound of the nesting depth of a page; 0 for pages with few elements, which are not checked."""
    if html.count("<") <= _DEEPEST:
        return 0
    deepest = now = 0
    for tag in _TAG.finditer(html):
        if tag[2].lower() not in _FLAT:
            now = max(0, now - 1) if tag[1] else now + 1
            deepest = max(deepest, now)
    return deepest


def detect_language(text: str) -> str | None:
    """Detect the language of a text, as an ISO 639-1 code; None if it is unclear, as for a short text.

    >>> detect_language("The crane of the harbour stopped at noon, and the containers waited until it was mended. " * 2)
    'en'
    """
    if len(text) < ENOUGH:
        return None
    code = detect_fast(text[:_JUDGED])[0]
    return None if code == _UNKNOWN else str(code)
