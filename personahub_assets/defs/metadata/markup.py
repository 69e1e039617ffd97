"""Foreign texts within Markdown, escaped so that no character is markup."""

import re
import textwrap

from personahub_assets.core.records import readable
from personahub_assets.core.text import plain, printable

_COLUMNS = 100  # the UI does not wrap blocks
_MARKUP = re.compile(r"[\\`*\[\]<>&~$|]|(?<!\w)_|_(?!\w)")
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
_JOINER = "\u2060"  # a character without width that separates texts, so that Markdown finds no address and no block


def escaped(value: object, chars: int = 60) -> str:
    """Write a value as one line of text without markup, cut to a number of characters; not for the start of a line."""
    return _LINKS.sub(_JOINER, _MARKUP.sub(r"\\\g<0>", plain(readable(value), chars)))


def paragraphs(text: str) -> str:
    """Write a longer text, such as a prompt, with its line breaks and its bullets, and no other markup."""
    return "  \n".join(map(_line, printable(text.strip(), lines=True).split("\n")))


def _line(line: str) -> str:
    bullet = "- " if line.startswith("- ") else ""
    content = _LINKS.sub(_JOINER, _MARKUP.sub(r"\\\g<0>", line.removeprefix(bullet).strip()))
    return f"{bullet}{_JOINER}{content}" if content else ""  # a heading, list or rule cannot begin with a joiner


def fenced(text: str) -> str:
    """Write a block of plain text, in a fence that is longer than any in the text."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    lines = "\n".join(map(_wrapped, printable(text, lines=True).split("\n")))
    return f"\n{fence}text\n{lines}\n{fence}"


def _wrapped(line: str) -> str:
    if len(line) <= _COLUMNS:
        return line
    return textwrap.fill(line, _COLUMNS, break_long_words=True, break_on_hyphens=False, replace_whitespace=False)
