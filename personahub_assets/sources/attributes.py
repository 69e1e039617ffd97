"""Attributes: the other columns of a source row, stored as one JSON object.

A row of a release or table of this program has attributes already. If it is ingested again, its attributes are merged
with its own columns of the first time (persona_id, batch, hop, …) instead of being nested, so they stay the same from
the second time on. Other columns are added.
"""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from personahub_assets.core.text import sanitise

_EXACT = 2**63  # larger integers are stored as text: JSON readers turn them into floats
_NESTED = ("[", "{")


OWN_COLUMNS = frozenset({"batch", "persona_id", "document_id", "item_id", "origin", "relation", "granularity", "hop"})
OWN_COLUMNS |= {"parent_id", "root_id", "sample", "generation_id"}
"""Columns of this program's tables with the origin of a row."""


def attributes(columns: Mapping[Any, Any]) -> str | None:
    """Write columns as a JSON object without nulls; None if no column is left.

    Lists and objects that are stored as JSON text are parsed, so that SQL can access their values.

    Raises:
        RecursionError: if a value is nested too deeply.

    >>> attributes({"labels": '["a", "b"]', "age": 41, "note": None})
    '{"labels": ["a", "b"], "age": 41}'
    """
    kept = {_key(name): _value(value) for name, value in columns.items() if value is not None}
    return json.dumps(kept, ensure_ascii=False) if kept else None


def released_attributes(columns: Mapping[Any, Any]) -> dict[str, Any] | None:
    """The attributes of a row of this program's own tables; None for other rows.

    Such a row has a batch, an id of ours, and attributes that are null or an object, as JSON text or not.
    """
    if not {"batch", "attributes"} <= columns.keys() or not columns.keys() & {"persona_id", "document_id"}:
        return None
    inner = columns["attributes"]
    inner = {} if inner is None else _value(inner)
    return inner if isinstance(inner, dict) else None


def merge_released(columns: Mapping[Any, Any], inner: dict[str, Any]) -> str | None:
    """Merge released attributes with the other columns of the row.

    >>> merge_released({"batch": "b", "score": 1}, {"city": "Rome"})
    '{"batch": "b", "city": "Rome", "score": 1}'
    >>> merge_released({"batch": "c", "score": 2}, {"batch": "b", "city": "Rome", "score": 1})
    '{"batch": "b", "city": "Rome", "score": 2}'
    """
    own = {} if "batch" in inner else {name: columns[name] for name in columns if name in OWN_COLUMNS}
    added = {name: value for name, value in columns.items() if name not in OWN_COLUMNS and name != "attributes"}
    first, last = (json.loads(attributes(group) or "{}") for group in (own, added))
    kept = {**first, **inner, **last}
    return json.dumps(kept, ensure_ascii=False) if kept else None


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(name): _value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_value(inner) for inner in value]
    return _other_value(value)


def _text(value: str) -> Any:
    if value.startswith(_NESTED):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            pass
        else:
            return _value(inner)
    return sanitise(value)[0]


def _other_value(value: Any) -> str:
    """Dates in ISO 8601, bytes in hexadecimal, other values by `str`."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else sanitise(str(value))[0]


def _key(name: Any) -> str:
    return sanitise(str(name))[0]
