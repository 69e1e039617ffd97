"""Filters of the pages, from the query of an address to conditions with bound values, and pages of rows under them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from personahub_assets.browse.reader import Reader, Row

_WORDS = 8


class Page(NamedTuple):
    """Rows of one page, and the start of the next one: a value of the key, or a number of rows; None at the end."""

    rows: list[Row]
    next: str | int | None


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
        """Require each word of a text, in any case and order; quotes mark a phrase."""
        phrases = [quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', text)]
        for number, phrase in enumerate(phrases[:_WORDS]):
            # Of a million personas 0.3 to 0.6 s; ILIKE takes 1.7 to 2.1 s.
            self.add(f"contains(lower({column}), lower($word{number}))", **{f"word{number}": phrase})

    @property
    def where(self) -> str:
        """The WHERE clause, empty without conditions."""
        return f"WHERE {' AND '.join(self.tests)}" if self.tests else ""


def number(text: str | None) -> int | None:
    """A whole number of an address, or None: an address can hold anything."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,9}", text) else None


def by_id(reader: Reader, select: str, column: str, ids: Iterable[str]) -> list[Row]:
    """The rows with some ids.

    The ids are a list of parameters, which DuckDB tests before it reads other columns: a join with `unnest` reads them
    for all rows and takes six times as long.
    """
    values = {f"id{index}": each for index, each in enumerate(dict.fromkeys(ids))}
    if not values:
        return []
    return reader.rows(f"{select} WHERE {column} IN ({', '.join(f'${name}' for name in values)})", **values)


def page(
    reader: Reader, select: str, chosen: Conditions, wanted: Mapping[str, str], key: str | None, size: int
) -> Page:
    """One page of rows under conditions.

    Rows with some words, or without a key, come in stored order, so that frequent words are found fast: sorting would
    search all rows. All others come in the order of their key.

    Args:
        select: the columns and the table, such as `SELECT persona_id FROM personas`.
        wanted: the query of the address; `after` is the start of the page.
        key: a column without duplicates, if there is one.
        size: rows of a page.
    """
    after = wanted.get("after")
    if key is None or any(test.startswith("contains") for test in chosen.tests):
        start = number(after) or 0
        rows = reader.rows(f"{select} {chosen.where} LIMIT {size + 1} OFFSET {start}", **chosen.values)
        return Page(rows[:size], start + size if len(rows) > size else None)
    if after:
        chosen.add(f"{key} > $after", after=after)
    rows = reader.rows(f"{select} {chosen.where} ORDER BY {key} LIMIT {size + 1}", **chosen.values)
    return Page(rows[:size], rows[size - 1][key] if len(rows) > size else None)
