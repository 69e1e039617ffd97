"""Tests and code of a described function: two requests about the same interface agree in most cases.

Both follow from a rule that only the interface decides, so that they agree without seeing each other. A share of the
code is wrong, or needs what a sandbox does not have.
"""

import json
import re
from typing import Any, NamedTuple

from personahub_assets.standin.dice import Dice
from personahub_assets.standin.source import Source

_NAME = re.compile(r"^function_name: *([A-Za-z_]\w*) *$", re.MULTILINE)
_ARGUMENTS = re.compile(r"^input_arguments: *(\[.*\]) *$", re.MULTILINE)
_TESTS = 3
_WRONG, _MISSING, _BROKEN = 0.06, 0.04, 0.03
_WORDS = ("amber", "birch", "canal", "dune", "ember", "fjord")


class _Argument(NamedTuple):
    name: str
    kind: str
    weight: int


class _Function(NamedTuple):
    """A function: a weighted sum of its arguments, where texts and lists count by their length."""

    name: str
    arguments: list[_Argument]
    base: int
    key: str


def answer(json_schema: Any, source: Source) -> dict[str, Any] | None:
    """Returns the tests or the code if the schema asks for them and the data has an interface; else None."""
    properties = json_schema.get("properties") if isinstance(json_schema, dict) else None
    names = set(properties) if isinstance(properties, dict) else set()
    if names not in ({"tests"}, {"code"}):
        return None
    function = _function(source.data)
    if function is None:
        return None
    dice = Dice(source.seed, "function")
    return {"code": _code(function, dice)} if "code" in names else {"tests": _tests(function, dice)}


def _function(data: str) -> _Function | None:
    name, listed = _NAME.search(data), _ARGUMENTS.search(data)
    if not name or not listed:
        return None
    try:
        described = [(str(each["name"]), str(each["type"])) for each in json.loads(listed[1])]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    dice = Dice(name[1].encode(), "rule")
    arguments = [_Argument(argument, kind, dice.between(1, 9)) for argument, kind in dict(described).items()]
    return _Function(name[1], arguments, dice.between(0, 40), dice.pick(("", "", "total", "score")))


def _tests(function: _Function, dice: Dice) -> list[dict[str, str]]:
    calls = [{each.name: _value(each.kind, dice, index) for each in function.arguments} for index in range(_TESTS)]
    return [
        {"arguments": json.dumps(values, ensure_ascii=False), "expected": json.dumps(_returned(function, values))}
        for values in calls
    ]


def _value(kind: str, dice: Dice, index: int) -> Any:
    """Returns an argument; those of the first call are empty or zero where that makes sense."""
    words = [dice.pick(_WORDS) for _ in range(0 if index == 0 else dice.between(1, 3))]
    values = {
        "integer": 0 if index == 0 else dice.between(1, 60),
        "number": 0 if index == 0 else dice.between(2, 200) / 4,
        "boolean": index % 2 == 1,
        "array": words,
        "object": dict.fromkeys(words, index),
    }
    return values.get(kind, " ".join(words))


def _returned(function: _Function, values: dict[str, Any]) -> Any:
    total: float = function.base
    for each in function.arguments:
        value = values[each.name]
        total += each.weight * (value if each.kind in ("integer", "number") else _size(value))
    return {function.key: total} if function.key else total


def _size(value: Any) -> int:
    return int(value) if isinstance(value, bool) else len(value)


def _code(function: _Function, dice: Dice) -> str:
    lines = [f"def {function.name}({', '.join(each.name for each in function.arguments)}):"]
    lines += [f"    total = {function.base + (1 if dice.chance(_WRONG) else 0)}"]
    lines += [f"    total += {each.weight} * {_term(each)}" for each in function.arguments]
    if dice.chance(_BROKEN):
        lines.append(f"    total += {function.name}_rates['base']")
    lines.append(f'    return {{"{function.key}": total}}' if function.key else "    return total")
    head = ["import statistics", ""] if dice.chance(_MISSING) else []
    return "\n".join([*head, *lines])


def _term(argument: _Argument) -> str:
    if argument.kind in ("integer", "number"):
        return argument.name
    return f"(1 if {argument.name} else 0)" if argument.kind == "boolean" else f"len({argument.name})"
