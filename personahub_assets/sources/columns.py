"""Columns with equal names: all are kept, and a rule chooses one.

Of columns with the same name (ignoring case and surrounding spaces) the last one that is not blank is used, as JSON
readers use the last of two keys. The others are kept as attributes, numbered as in DuckDB: `text_1`, `text_2`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def fold_name(name: Any) -> str:
    """Normalise the name of a column for comparison."""
    return str(name).strip().casefold()


def is_blank(value: Any) -> bool:
    """Whether a value is null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


class Numbered(str):
    """A numbered name, given because another column has the original one."""

    __slots__ = ("original",)
    original: str


def distinct(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object from pairs without losing any: the last one that is not blank keeps its name.

    >>> distinct([("text", "a"), ("id", 1), ("text", "b"), ("text", None)])
    {'text_1': 'a', 'id': 1, 'text': 'b', 'text_2': None}
    """
    columns = dict(pairs)
    return columns if len(columns) == len(pairs) else _numbered(pairs)


def _numbered(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    chosen: dict[str, int] = {}
    for at, (name, value) in enumerate(pairs):
        if name not in chosen or not is_blank(value):
            chosen[name] = at
    taken, columns = set(chosen), dict[str, Any]()
    for at, (name, value) in enumerate(pairs):
        columns[name if chosen[name] == at else _numbered_name(name, taken)] = value
    return columns


def _numbered_name(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    free = Numbered(f"{name}_{number}")
    free.original = name
    taken.add(free)
    return free


def by_name(columns: Mapping[Any, Any]) -> dict[str, Any]:
    """Map each folded name to the exact name of the column used for it."""
    names: dict[str, Any] = {}
    for name, value in columns.items():
        if name is None:
            continue
        folded = fold_name(name)
        if folded not in names or not is_blank(value):
            names[folded] = name
    return names


def name_header(fields: Iterable[str]) -> list[str]:
    """Name columns with an empty header by their number from 0, as DuckDB does."""
    return [name.strip() or f"column{number}" for number, name in enumerate(fields)]


def clashes(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of columns that are equal except for case, surrounding spaces and number, by their folded form."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(fold_name(getattr(name, "original", name)), []).append(name)
    return {folded: group for folded, group in groups.items() if len(group) > 1}
