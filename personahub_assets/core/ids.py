"""Ids of documents: convert values of id columns to text, or reject them.

| value | id |
| --- | --- |
| text | unchanged; a blank one is not an id |
| number | as written, so that 1 and 1.0 are two ids; NaN and infinity are not ids |
| true, false, null | none: they identify nothing |
| bytes | text if they are printable UTF-8; else 16 of them as a UUID, others in hexadecimal |
| `{"$oid": …}` and similar objects of MongoDB's JSON | the value inside |
| date, UUID | in its usual form |
| any other object, or a list | its JSON with sorted keys; an empty one is not an id |

If a value is not an id, the next id column is used, then the address, then a hash of the text.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from personahub_assets.core.text import sanitise

_WRAPPED = frozenset({"$oid", "$uuid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$symbol"})
_UUID_BYTES = 16


def id_text(value: Any) -> str | None:
    """Convert a value of an id column to text; None if it is not an id.

    Raises:
        RecursionError: if it is nested too deeply.

    >>> [id_text(value) for value in ("17", 17, float("nan"), " ", True, b"doc-17", {"$oid": "64f0"})]
    ['17', '17', None, None, None, 'doc-17', '64f0']
    """
    if isinstance(value, str):
        return sanitise(value)[0] if value.strip() else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float | Decimal):
        return str(value) if math.isfinite(value) else None
    if isinstance(value, bytes):
        return _of_bytes(value)
    if isinstance(value, Mapping):
        return _of_object(value)
    if isinstance(value, list | tuple | set):
        return _as_json(list(value)) if value else None
    return _plain(value)


def former_id(value: Any) -> str | None:
    """The id of a value in earlier versions; existing homes and tombstones use it."""
    return None if value is None or value == "" else sanitise(str(value))[0]


def _of_bytes(value: bytes) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and text.strip():
        return text
    if not value.strip():
        return None
    return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value.hex()


def _of_object(value: Mapping[Any, Any]) -> str | None:
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in _WRAPPED:
            return id_text(inner)
        if name == "$binary" and isinstance(inner, Mapping):
            try:
                return _of_bytes(base64.b64decode(str(inner.get("base64")), validate=True))
            except (binascii.Error, ValueError):
                pass
    return _as_json(value) if value else None


def _as_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)
    return sanitise(text)[0]


def _plain(value: Any) -> str:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return _of_bytes(value) or ""
    return sanitise(str(value))[0]
