"""Read the time to wait from a server's reply: from headers, fields and sentences, in all their forms.

`wait_of` reads a refusal, `pause_before_next` a good reply that used up a limit. `retry_after.seconds_asked` reads only
the header `Retry-After`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone

from personahub_assets.core.retry_after import http_date, seconds_asked

_LONGEST_S = 31_536_000.0
_LONGEST_TEXT = 65_536

_UNITS = (
    ("ms", 0.001, r"ms|msecs?|millis(?:econds?)?|milliseconds?|毫秒"),
    ("s", 1.0, r"s|secs?|seconds?|秒(?:钟|鐘)?|초|секунд\w*|сек|segundos?|secondes?|sekunden?"),
    ("m", 60.0, r"m|mins?|minutes?|分(?:钟|鐘)?|분|минут\w*|мин|minutos?|minuten?"),
    ("h", 3_600.0, r"h|hrs?|hours?|小时|小時|个小时|時間|시간|час\w*|horas?|heures?|stunden?"),
    ("d", 86_400.0, r"d|days?|天|일|дн\w*|día?s?|jours?|tagen?"),
)
_NUMBER_WORDS = {
    word: number
    for number, words in {
        1: "a an one", 2: "two", 3: "three", 4: "four", 5: "five", 10: "ten", 15: "fifteen", 20: "twenty",
        30: "thirty", 60: "sixty",
    }.items()
    for word in words.split()
}  # fmt: skip
_NUMBER = r"\d{1,15}(?:[.,]\d{1,12}){0,3}|\.\d{1,12}"
_WORDS = "|".join(_NUMBER_WORDS)
_ANY_UNIT = "|".join(unit for _, _, unit in _UNITS)
_PART = rf"(?:{_NUMBER}|\b(?:{_WORDS})\b)\s{{0,3}}(?:{_ANY_UNIT})(?![a-zа-яё])"
_DURATION = rf"{_PART}(?:(?:\s|,|\band\b){{0,5}}{_PART}){{0,4}}"
_PIECE = re.compile(
    rf"(?P<number>{_NUMBER}|\b(?:{_WORDS})\b)\s{{0,3}}"
    rf"(?:{'|'.join(f'(?P<{name}>{unit})' for name, _, unit in _UNITS)})(?![a-zа-яё])",
    re.IGNORECASE,
)
_MOMENT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)?"
_DATE_ONLY = rf"{_MOMENT}|\d{{4}}-\d\d-\d\d(?: at \d\d:\d\d(?::\d\d)?)?\s?(?:UTC|GMT)?"

_WHOLE = re.compile(rf"\s*(?:{_DURATION})\s*", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})", re.ASCII)
_WHOLE_MOMENT = re.compile(rf"\s*(?:{_MOMENT})\s*", re.IGNORECASE)
# "retryDelay": "29.46s", \"retry_after_ms\": 1200, 'estimated_time': 20.0, Retry-After: 30
_KEYED = re.compile(
    r"""\b(?:retry[ _-]?(?:after|delay|in)|estimated[ _-]?time|resets?[ _-]?(?:in|after)
    |wait[ _-]?(?:time|for)?|cool[ _-]?down)
    (?:[ _-]?(?P<unit>ms|milliseconds?|s|secs?|seconds?))?
    [\\"'`]{0,8}\s{0,3}[:=]\s{0,3}[\\"'`]{0,8}"""
    rf"(?P<value>{_DURATION}|{_NUMBER})",
    re.IGNORECASE | re.VERBOSE,
)
_KEYED_MOMENT = re.compile(
    rf"""\b(?:resets?[ _-]?(?:at|time)?|retry[ _-]?(?:at|after)|available[ _-]?at|until)
    [\\"'`]{{0,8}}\s{{0,3}}[:=]\s{{0,3}}[\\"'`]{{0,8}}
    (?P<value>{_MOMENT}|\d{{10}}(?:\d{{3}})?(?!\d))""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKING = (
    r"(?:try(?:ing)? (?:it |the request |your request )?again|retry(?:ing)?|re-?try(?: the request)?|come back|wait|"
    r"available|resets?|back ?off|again|regain access|resume|renews?|refresh(?:es)?)"
)
_PHRASE = re.compile(
    rf"\b{_ASKING}\b[^\d.;:!?\n]{{0,30}}?\b(?:in|after|for|within|wait|at least|about|another)\b[^\d.;!?\n]{{0,12}}?"
    rf"(?P<value>{_DURATION}|(?:{_NUMBER})(?![.,:/-]?\w|\s\w))",
    re.IGNORECASE,
)
_BARE_PHRASE = re.compile(rf"\b(?:wait|retry|delay)\s{{1,3}}(?P<value>{_DURATION})", re.IGNORECASE)
_MOMENT_PHRASE = re.compile(
    rf"(?:\b{_ASKING}\b[^\d.;!?\n]{{0,30}}?\b(?:in|after|at|on|until)\b[^\d.;!?\n]{{0,12}}?|\buntil\s|将在\s?|将于\s?)(?P<value>{_DATE_ONLY})",
    re.IGNORECASE,
)
# 请在 20 秒后重试, 30秒後, 20초 후, 等待30秒, через 30 секунд, en 20 segundos
_OTHER_LANGUAGES = re.compile(
    rf"(?:等待?|请等|через|attendez|warten sie|espere|(?:dans|in|en))\s{{0,3}}(?P<after>{_DURATION})"
    rf"|(?P<before>{_DURATION})\s{{0,3}}(?:之|以)?(?:后|後|후)",
    re.IGNORECASE,
)
_LIMITING = re.compile(r"rate[-_]?limit", re.IGNORECASE)
_STRUCTURED = re.compile(r"\b(r|remaining|t|reset)\s*=\s*(\d{1,15}(?:\.\d{1,9})?)", re.IGNORECASE)


def wait_of(headers: Mapping[str, str], body: str) -> float | None:
    """Seconds that a refusal asks to wait; None if it names no time, or a wait of 0.

    A time to retry (`Retry-After`, similar headers, the body) comes before the headers of rate limits, which name the
    time of a full reset. The longest time counts, because a retry after a shorter one would fail.

    Args:
        headers: of the reply; their names are compared without case.
        body: of the reply as text; the first 64 KiB are read.
    """
    return asked_wait(headers, body) or limit_reset(headers)


def asked_wait(headers: Mapping[str, str], body: str) -> float | None:
    """As `wait_of`, without the headers of rate limits, which also occur in replies about other faults."""
    now = _now(headers)
    waits = [seconds for name, value in headers.items() if (seconds := _retry_after(name.lower(), value, now))]
    waits += [seconds for seconds in _waits_in(body[:_LONGEST_TEXT], now) if seconds]
    return _bounded(max(waits)) if waits else None


def limit_reset(headers: Mapping[str, str]) -> float | None:
    """Seconds until the used-up limits are reset, or until the first reset if no limit is used up."""
    limits = list(_limits(headers))
    used_up = [reset for remaining, reset in limits if remaining == 0 and reset]
    if used_up:
        return _bounded(max(used_up))
    untold = [reset for _, reset in limits if reset]
    return _bounded(min(untold)) if untold else None


def pause_before_next(headers: Mapping[str, str]) -> float | None:
    """Seconds until the next request can succeed, after a good reply that used up a limit and names its reset."""
    names = "\n".join(headers)
    if "imit" not in names and "IMIT" not in names:  # nearly all servers; a pattern takes three times as long
        return None
    if not any(_may_be_used_up(name, value) for name, value in headers.items()):
        return None
    resets = [reset for remaining, reset in _limits(headers) if remaining == 0 and reset]
    return _bounded(max(resets)) if resets else None


def seconds_of(value: str, now: datetime | None = None) -> float | None:
    """Read a time from now: `20`, `20s`, `1m30.5s`, `6ms`, seconds or parts of them since 1970, an ISO time, a date.

    >>> seconds_of("1m30.5s"), seconds_of("6ms"), seconds_of("20")
    (90.5, 0.006, 20.0)
    """
    text, now = value.strip().strip("\"'")[:100], now or datetime.now(UTC)
    if _PLAIN_NUMBER.fullmatch(text):
        return _number_of(float(text), now)
    if _WHOLE.fullmatch(text):
        return _duration(text)
    if _WHOLE_MOMENT.fullmatch(text):
        return _until(text, now)
    return seconds_asked(text, now.strftime("%a, %d %b %Y %H:%M:%S GMT"))


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), _LONGEST_S)


def _now(headers: Mapping[str, str]) -> datetime:
    """The server's clock if the reply has it: it can differ from the local one."""
    return http_date(headers.get("Date") or headers.get("date") or "") or datetime.now(UTC)


def _retry_after(name: str, value: str, now: datetime) -> float | None:
    if "retry-after" not in name and "retry_after" not in name:
        return None
    seconds = seconds_of(value, now)
    if seconds is not None and name.endswith(("-ms", "_ms")) and _PLAIN_NUMBER.fullmatch(value.strip()):
        return float(value) / 1000
    return seconds


def _limits(headers: Mapping[str, str]) -> Iterator[tuple[float | None, float | None]]:
    """The remainder of each limit and the seconds until its reset; None if a reply lacks them."""
    named = {name.lower(): value for name, value in headers.items() if _LIMITING.search(name)}
    now = _now(headers) if named else datetime.now(UTC)
    resets = {name: value for name, value in named.items() if "reset" in name}
    for name, value in resets.items():
        remaining = _float(named.get(name.replace("reset", "remaining"), ""))
        if remaining is None and len(resets) == 1:  # Kong: x-ratelimit-remaining-minute and ratelimit-reset
            counts = [_float(count) for key, count in named.items() if "remaining" in key]
            remaining = min((count for count in counts if count is not None), default=None)
        yield remaining, seconds_of(value, now)
    for name, value in named.items():  # of the IETF's draft: "default";r=0;t=30, or limit=9, remaining=0, reset=30
        if "reset" not in name and "=" in value:
            fields = {
                key[0].lower() if len(key) == 1 else key.lower(): float(number)
                for key, number in _STRUCTURED.findall(value)
            }
            yield fields.get("r", fields.get("remaining")), fields.get("t", fields.get("reset"))


def _may_be_used_up(name: str, value: str) -> bool:
    """Whether a header can say that nothing remains; a cheap test, because good replies have such headers, too."""
    return value[:1] == "0" if "emaining" in name or "EMAINING" in name else "=0" in value or "= 0" in value


def _float(text: str) -> float | None:
    return float(text) if _PLAIN_NUMBER.fullmatch(text.strip()) else None


def _number_of(number: float, now: datetime) -> float:
    """Seconds; a too large number is a time since 1970, in seconds or fractions of a second."""
    for bound, scale in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0)):
        if number >= bound:
            return max(0.0, number / scale - now.timestamp())
    return max(0.0, number)


def _waits_in(text: str, now: datetime) -> Iterator[float]:
    for match in _KEYED.finditer(text):
        yield _value(match["value"], match["unit"] or "", now)
    for pattern in (_PHRASE, _BARE_PHRASE):
        for match in pattern.finditer(text):
            yield _value(match["value"], "", now)
    for match in _OTHER_LANGUAGES.finditer(text):
        yield _duration(match["after"] or match["before"])
    for match in _KEYED_MOMENT.finditer(text):
        yield seconds_of(match["value"], now) or 0.0
    for match in _MOMENT_PHRASE.finditer(text):
        # Chinese servers send their local time.
        yield _until(match["value"], now, hours=8 if match[0][0] == "将" else 0)


def _value(text: str, unit: str, now: datetime) -> float:
    if _PIECE.search(text):
        return _duration(text)
    number = _decimal(text)
    return number / 1000 if unit.lower().startswith("m") else _number_of(number, now)


def _duration(text: str) -> float:
    seconds = 0.0
    for match in _PIECE.finditer(text):
        number = _NUMBER_WORDS.get(match["number"].lower())
        value = float(number) if number is not None else _decimal(match["number"])
        seconds += value * next(scale for name, scale, _ in _UNITS if match[name])
    return seconds


def _decimal(text: str) -> float:
    """Read 86,400 and 1.5 and 29,46: a comma before three digits marks thousands, any other one is a decimal point."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", text):
        return float(text.replace(",", ""))
    integer, _, fraction = text.replace(",", ".").partition(".")
    return float(f"{integer or 0}.{fraction.replace('.', '') or 0}")


def _until(text: str, now: datetime, hours: int = 0) -> float:
    plain = re.sub(r"\s?(?:UTC|GMT|Z)$", "+00:00", text.strip().replace(" at ", " "), flags=re.IGNORECASE)
    try:
        then = datetime.fromisoformat(plain)
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=timezone(timedelta(hours=hours)))
    return max(0.0, (then - now).total_seconds())
