"""Spans of personal data in a text."""

from typing import Literal, NamedTuple

Kind = Literal["email", "url", "iban", "card", "tax_id", "id_number", "phone", "ip"]

KINDS: tuple[Kind, ...] = ("email", "url", "iban", "card", "tax_id", "id_number", "phone", "ip")
"""All kinds; of two overlapping spans the kind that comes first here is kept."""


# Chinese, Japanese and Korean have no blanks between words and numbers.
LETTER = r"[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
NOT_IN_WORD = rf"(?<!{LETTER})"
"""Pattern: no letter or digit before, apart from Chinese, Japanese and Korean."""
NOT_BEFORE_WORD = rf"(?!{LETTER})"
"""Pattern: no letter or digit behind, likewise."""


class Span(NamedTuple):
    """A part of a text, from `start` up to `end`, in characters."""

    kind: Kind
    start: int
    end: int
