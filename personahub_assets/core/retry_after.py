"""The header `Retry-After` (RFC 9110, 10.2.3): the pause that a server asks for."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})", re.ASCII)
_LONGEST_S = 31_536_000.0  # callers have their own limits


def seconds_asked(value: str | None, sent: str | None = None) -> float | None:
    """Read the header as seconds from now, at least 0; None if there is none or it cannot be read.

    Args:
        value: a number of seconds, or a date in any of the three forms of HTTP.
        sent: the header `Date` of the same reply. If valid, dates are compared with it: the server's clock can
            differ from the local one.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return min(max(0.0, float(text)), _LONGEST_S)
    then = http_date(text)
    if then is None:
        return None
    now = http_date(sent or "") or datetime.now(UTC)
    return min(max(0.0, (then - now).total_seconds()), _LONGEST_S)


def http_date(text: str) -> datetime | None:
    """Read a date in any of the three forms of HTTP; None if it is none."""
    try:
        then = parsedate_to_datetime(text.strip()[:100])
        return (then.replace(tzinfo=UTC) if then.tzinfo is None else then).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
