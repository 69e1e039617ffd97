"""Make rows from JSON values."""

import json
from typing import Any

from personahub_assets.sources.columns import distinct
from personahub_assets.sources.rows import RAW_LIMIT, RawRow

_DECODER = json.JSONDecoder(object_pairs_hook=distinct)


def parse_value(text: str, at: int = 0) -> tuple[Any, int]:
    """Parse the JSON value at a character; return it with its end.

    Duplicate keys of an object are all kept.

    Raises:
        ValueError, RecursionError: if there is no complete value.
    """
    return _DECODER.raw_decode(text, at)


def json_row(place: str, line: bytes) -> RawRow:
    """Make a row of a line."""
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return RawRow(place, reason="bad_encoding", detail=str(error), raw=repr(line[:RAW_LIMIT]))
    if not text:
        return RawRow(place, reason="empty", detail="blank line")
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for a number of thousands of digits
        return RawRow(place, reason="malformed", detail=f"not JSON: {error}", raw=text)
    return value_row(place, value, text)


def value_row(place: str, value: Any, text: str) -> RawRow:
    """Make a row of a parsed value; only objects have columns."""
    if not isinstance(value, dict):
        return RawRow(place, reason="malformed", detail=f"expected a JSON object, got {type(value).__name__}", raw=text)
    return RawRow(place, columns=value, raw=text)


def too_long(place: str, what: str, limit: int, beginning: bytes) -> RawRow:
    """Make a faulty row of a value that is too long."""
    shown = beginning[:RAW_LIMIT].decode("utf-8", "replace")
    return RawRow(place, reason="too_long", detail=f"{what} of more than {limit:,} bytes", raw=shown)
