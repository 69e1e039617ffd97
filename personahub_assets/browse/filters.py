"""Filters of the pages, from the query of an address to conditions with bound values."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_WORDS = 8
_ESCAPED = re.compile(r"[\\%_]")


@dataclass
class Conditions:
    """Conditions of a query that must all hold; values are bound, never written into the SQL."""

    tests: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def add(self, test: str, **values: Any) -> None:
        """Add a condition with its named values."""
        self.tests.append(test)
        self.values |= values

    def equal(self, wanted: Mapping[str, str], names: Iterable[str]) -> None:
        """Add `column = value` for each of these columns that has a value."""
        for name in names:
            if wanted.get(name):
                self.add(f"{name} = ${name}", **{name: wanted[name]})

    def contain(self, column: str, text: str) -> None:
        """Require each word of a text, in any case and place; a phrase stands in quotes."""
        phrases = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', text)]
        for number, phrase in enumerate(phrases[:_WORDS]):
            pattern = f"%{_ESCAPED.sub(lambda sign: chr(92) + sign[0], phrase)}%"
            self.add(f"{column} ILIKE $word{number} ESCAPE '\\'", **{f"word{number}": pattern})

    @property
    def where(self) -> str:
        """The WHERE clause, empty without conditions."""
        return f"WHERE {' AND '.join(self.tests)}" if self.tests else ""


def number(text: str | None) -> int | None:
    """A whole number of an address, or None: an address can hold anything."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text) else None
