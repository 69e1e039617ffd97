"""Answers that are valid JSON but violate the schema."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from operator import setitem
from typing import Any

_FILLER = "and so on, "
_STRANGER = "note_to_reader"
_NOT_LISTED = "none of these"
_DEEP = 12
_TRIES = 8
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Flaw:
    """One violation at one place of an answer: a change of the container of the place."""

    way: str
    spoil: Callable[[], object]


def violated(content: str, schema: Schema, choice: int, room: int) -> str:
    """Returns the answer with one violation of its schema; `choice` selects kind and place.

    Kinds, as far as the schema permits them: a missing field, an additional field, a string or list that is too short
    or too long, a value outside an enum, a value of another type. Violations that need at most `room` characters are
    preferred: a longer answer would be cut, which is another fault.
    """
    spoilt = content
    for step in range(_TRIES):
        spoilt = _spoilt(content, schema, choice + step)
        if len(spoilt) <= room:
            break
    return spoilt


def _spoilt(content: str, schema: Schema, choice: int) -> str:
    holder = [json.loads(content)]
    flaws: dict[str, list[_Flaw]] = {}
    for flaw in _flaws(schema, schema, holder, 0, 0):
        flaws.setdefault(flaw.way, []).append(flaw)
    if not flaws:  # the schema accepts any value, as far as this module can tell
        return _compact(holder)
    ways = sorted(flaws)
    candidates = flaws[ways[choice % len(ways)]]
    candidates[choice // len(ways) % len(candidates)].spoil()
    return _compact(holder[0])


def _flaws(root: Schema, schema: Any, holder: Any, key: Any, depth: int) -> Iterator[_Flaw]:
    """Yields the possible violations at `holder[key]` and below; alternatives (`anyOf`) are skipped."""
    schema = _resolved(root, schema)
    if schema is None or depth > _DEEP:
        return
    value = holder[key]

    def put(way: str, other: Any) -> _Flaw:
        return _Flaw(way, partial(setitem, holder, key, other))

    listed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if listed is not None and _NOT_LISTED not in listed:
        yield put("wrong enum", _NOT_LISTED)
    if isinstance(schema.get("type"), str):
        yield put("other type", {"items": value} if schema["type"] == "array" else [value])
    if isinstance(value, str):
        yield from _of_text(schema, value, put)
    elif isinstance(value, list):
        yield from _of_list(root, schema, value, put, depth)
    elif isinstance(value, dict):
        yield from _of_object(root, schema, value, depth)


def _of_text(schema: Schema, value: str, put: Callable[[str, Any], _Flaw]) -> Iterator[_Flaw]:
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if low:
        yield put("too short", value[: low - 1])
    if high is not None:
        padded = f"{value} {_FILLER * (high // len(_FILLER) + 1)}"
        yield put("too long", padded[:high] + "etc.")


def _of_list(
    root: Schema, schema: Schema, value: list[Any], put: Callable[[str, Any], _Flaw], depth: int
) -> Iterator[_Flaw]:
    low, high = schema.get("minItems", 0), schema.get("maxItems")
    if low:
        yield put("too few", value[: low - 1])
    if high is not None and value:
        yield put("too many", [copy.deepcopy(value[index % len(value)]) for index in range(high + 1)])
    for index in range(0 if "prefixItems" in schema else len(value)):
        yield from _flaws(root, schema.get("items"), value, index, depth + 1)


def _of_object(root: Schema, schema: Schema, value: dict[str, Any], depth: int) -> Iterator[_Flaw]:
    for name in schema.get("required") or ():
        if name in value:
            yield _Flaw("missing", partial(value.pop, name))
    if schema.get("additionalProperties") is False and "patternProperties" not in schema:
        yield _Flaw("surplus", partial(setitem, value, _STRANGER, _NOT_LISTED))
    for name, inner in (schema.get("properties") or {}).items():
        if name in value:
            yield from _flaws(root, inner, value, name, depth + 1)


def _resolved(root: Schema, schema: Any, depth: int = 0) -> Schema | None:
    """Resolves a local `$ref`; None if the result is not a plain schema."""
    while isinstance(schema, dict) and isinstance(schema.get("$ref"), str) and depth < _DEEP:
        node: Any = root
        for segment in schema["$ref"].removeprefix("#").strip("/").split("/"):
            node = node.get(segment) if isinstance(node, dict) and segment else node
        schema, depth = node, depth + 1
    return schema if isinstance(schema, dict) and not schema.keys() & {"anyOf", "oneOf", "$ref"} else None
