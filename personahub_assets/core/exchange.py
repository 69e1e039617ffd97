"""Exchanges: what a user says and what an assistant answers, written from the columns of a row.

    Exchange(prompt="{source.problem}", answer="{solution}\\n\\nFinal answer: {final_answer}")

A name in braces is a column of the row; `source.NAME` is a column of the item that the row was made from. A dataset
declares its exchange once, in its class, in the front matter of its prompt, or in the first comments of a view; the
formats of a release are all written from it.
"""

from collections.abc import Collection
from string import Formatter
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, field_validator

from personahub_assets.core.errors import choices

SOURCE = "source."
"""Before the name of a column of the item that a row was made from."""
MESSAGES = "messages"
"""A column of this name with role and content holds a whole conversation; it needs no exchange."""


class Piece(NamedTuple):
    """A literal text, then a column; an empty name is no column."""

    text: str
    column: str


class Exchange(BaseModel):
    """The prompt and the answer of a row, as templates; an empty answer for rows that have none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    answer: str = ""

    @field_validator("prompt", "answer")
    @classmethod
    def _is_template(cls, template: str) -> str:
        if template and not any(piece.column for piece in pieces(template)):
            raise ValueError(f"{template!r} names no column; write one in braces, such as {{problem}}")
        return template

    @property
    def columns(self) -> list[str]:
        """The columns of both templates, each once."""
        named = [piece.column for template in (self.prompt, self.answer) for piece in pieces(template)]
        return list(dict.fromkeys(filter(None, named)))

    def fault(self, own: Collection[str], of_source: Collection[str]) -> str:
        """The first column that does not exist; empty if all do.

        Args:
            own: columns of the row.
            of_source: columns of the item that it was made from; empty without one.
        """
        valid = [*own, *(SOURCE + name for name in of_source)]
        return next((f"no column {choices(name, valid)}" for name in self.columns if name not in valid), "")


def pieces(template: str) -> list[Piece]:
    r"""Split a template.

    >>> pieces("Task: {source.problem}\n")
    [Piece(text='Task: ', column='source.problem'), Piece(text='\n', column='')]

    Raises:
        ValueError: if braces do not match, or a name has a conversion.
    """
    split = [Piece(text, name or "") for text, name, spec, conversion in _parsed(template) if not (spec or conversion)]
    if len(split) < len(_parsed(template)):
        raise ValueError(f"{template!r}: a name in braces stands alone, such as {{problem}}")
    return split


def _parsed(template: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r}: {error}; a brace that is meant is written twice") from error
