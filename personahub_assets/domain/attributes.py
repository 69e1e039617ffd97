"""Attributes: what a source file says about a row beyond its text, kept as one JSON object."""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from personahub_assets.domain.text import sanitise

_EXACT = 2**63  # whole numbers beyond are text: JSON readers make floats of them
_NESTED = ("[", "{")


def attributes(columns: Mapping[Any, Any]) -> str | None:
    """Write columns as a JSON object; what is null is left out, and None is given where nothing is left.

    Lists and objects that a file holds as JSON text are taken out of it, so that SQL reaches into them.

    Raises:
        RecursionError: if a value is nested too deeply.

    >>> attributes({"labels": '["a", "b"]', "age": 41, "note": None})
    '{"labels": ["a", "b"], "age": 41}'
    """
    kept = {_key(name): _value(value) for name, value in columns.items() if value is not None}
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
    return _other(value)


def _text(value: str) -> Any:
    if value.startswith(_NESTED):
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            pass
        else:
            return _value(inner)
    return sanitise(value)[0]


def _other(value: Any) -> str:
    """Dates as ISO 8601 has them, bytes in hexadecimal, anything else as Python writes it."""
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else sanitise(str(value))[0]


def _key(name: Any) -> str:
    return sanitise(str(name))[0]
