"""Sentences, paragraphs, lists and headings of an answer, kept apart until the whole is laid out."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’-][^\W_]+)*|[^\W_]+")


class Line:
    """A sentence: words that can be left out, between texts that have to stay.

    Attributes:
        before: texts at its beginning.
        words: its own words.
        after: texts before its full stop.
        is_fixed: whether its words stay, too.
    """

    def __init__(self, text: str, *, is_fixed: bool = False) -> None:
        self.before: list[str] = []
        self.words = text.split()
        self.after: list[str] = []
        self.is_fixed = is_fixed

    def __str__(self) -> str:
        text = " ".join([*self.before, *self.words, *self.after])
        return f"{text[:1].upper()}{text[1:].rstrip(' ,')}."

    def shortened(self, number: int) -> "Line":
        """Returns a line of its first words."""
        return Line(" ".join(self.words[:number]))


@dataclass
class Block:
    """A paragraph or list, with a heading or without."""

    lines: list[Line]
    form: Literal["text", "list"] = "text"
    heading: str = field(default="")

    def __str__(self) -> str:
        texts = [f"- {line}" for line in self.lines] if self.form == "list" else [" ".join(map(str, self.lines))]
        return "\n".join(filter(None, [self.heading, *texts]))


def laid_out(blocks: Iterable[Block]) -> str:
    """Returns the blocks as one text, with a blank line between two of them."""
    return "\n\n".join(map(str, blocks))


def counted(text: str) -> int:
    """Returns the number of words of a text."""
    return len(_WORD.findall(text))
