"""Rate limit, and the forms in which servers name the time to wait."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply, reply

_PLAIN = "Too many requests"
Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Message, fields and headers of a 429."""

    message: str = _PLAIN
    headers: Headers = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


Told = Callable[[float], Refusal]
"""Makes the refusal from the seconds until the next answer is allowed."""


def _headers(**headers: str) -> Refusal:
    return Refusal(headers={name.replace("_", "-"): value for name, value in headers.items()})


def _ceil(seconds: float) -> str:
    return str(math.ceil(seconds))


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}m{seconds % 60:.1f}s"


def _retry_info(left: float) -> Refusal:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{left:.2f}s"}
    return Refusal("Resource has been exhausted.", fields={"status": "RESOURCE_EXHAUSTED", "details": [info]})


def _reset_epoch(left: float) -> Refusal:
    return _headers(x_ratelimit_remaining="0", x_ratelimit_reset=str(math.ceil((time.time() + left) * 1000)))


LIMITS: dict[str, Form[Told]] = {
    "nothing": Form("nothing", lambda _left: Refusal()),
    "words": Form("seconds in the message", lambda left: Refusal(f"Limit reached. Please try again in {left:.2f}s.")),
    "long_words": Form(
        "seconds in a longer message",
        lambda left: Refusal(f"Quota of tokens per minute is used. Wait for {_ceil(left)} seconds before you retry."),
    ),
    "clock": Form("minutes in the message", lambda left: Refusal(f"Please try again in {_clock(left)}.")),
    "short": Form("Retry-After: 1, which is too short", lambda _left: _headers(retry_after="1")),
    "zero": Form("Retry-After: 0", lambda _left: _headers(retry_after="0")),
    "seconds": Form("Retry-After in seconds", lambda left: _headers(retry_after=_ceil(left))),
    "date": Form(
        "Retry-After as a date", lambda left: _headers(retry_after=formatdate(time.time() + left, usegmt=True))
    ),
    "milliseconds": Form("retry-after-ms", lambda left: _headers(retry_after_ms=str(math.ceil(left * 1000)))),
    "reset": Form(
        "x-ratelimit-reset-tokens",
        lambda left: _headers(x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens=f"{left:.2f}s"),
    ),
    "reset_epoch": Form("x-ratelimit-reset as a time", _reset_epoch),
    "retry_delay": Form("retryDelay in the body", _retry_info),
}


class Limit:
    """A sliding window: at most `count` answers in any `period_s` seconds; 0 is no limit."""

    def __init__(self, count: int, period_s: float, wording: str) -> None:
        self.count, self.period_s, self.told = count, period_s, LIMITS[wording].make
        self._times: deque[float] = deque()

    def refusal(self) -> Reply | None:
        """Returns a 429 if the window is full, else counts an answer."""
        if not self.count:
            return None
        now = time.monotonic()
        while self._times and now - self._times[0] >= self.period_s:
            self._times.popleft()
        if len(self._times) < self.count:
            self._times.append(now)
            return None
        return self._refused(self.period_s - (now - self._times[0]))

    def _refused(self, left_s: float) -> Reply:
        refusal = self.told(left_s)
        error = {"message": refusal.message, "type": "rate_limit_error", "code": 429, **refusal.fields}
        return reply({"error": error}, 429, headers=refusal.headers)
