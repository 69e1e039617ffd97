"""The window: how many requests are in flight, as wide as the server makes use of and no wider.

It doubles until a doubling gives no more answers per second while each takes that much longer: then the extra requests
only wait at the server, so it goes back, holds, and tries a little more from time to time. Both signs are asked for,
since either alone is often chance. It shrinks when much of what is sent comes back as too much (429, 503, timeouts),
and when answers become slower and fewer at the same width. Widths are compared over spans in which about as many
answers came as the window is wide, since it takes so long until a change is felt.
"""

import time
from dataclasses import dataclass

_START = 64
_SPAN_S = 0.1  # shorter spans say more about chance than about the server
_SLOW_SPANS = 4  # a span ends after so many times an answer's usual time, however few have come
_GAIN = 1.03  # throughput that counts as more
_CLEAR = 1.15  # throughput that counts as more at first sight
_LOSS = 0.8  # throughput that counts as less
_SLOWER = 1.5  # answers that take so much longer were waiting
_OVERLOAD = 0.2  # share of tries answered with 429, 503 or not in time, from which the window shrinks
_OVERLOADS = 4  # and so many at least
_QUEUED = 0.6  # part of the widening that latency must follow, to say that the extra requests only waited
_SHRINK = 0.7
_PROBE = 1.25
_HOLD = 12  # spans until more is tried again
_SPANS_KEPT = 400


@dataclass(frozen=True, slots=True)
class Span:
    """What was seen between two looks: seconds since the start, width, answers per second, seconds per answer."""

    at: float
    width: int
    rate: float
    latency: float
    overloads: int


class AdaptiveConcurrency:
    """Decides the width; told of every answer and of every sign of overload.

    Args:
        most: upper bound of the width.
        clock: the time now in seconds, as the caller's clock has it.
    """

    def __init__(self, most: int, clock: float | None = None):
        self.most = most
        self.width = min(_START, most)
        self.spans: list[Span] = []
        self._began = self._since = time.monotonic() if clock is None else clock
        self._answers = self._overloads = 0
        self._seconds = 0.0
        self._factor = 2.0
        self._before: Span | None = None  # the last span at the width before the present one
        self._tries = 0  # spans without a gain at the present width
        self._calm = 0  # spans since the window was last changed; counts only while it holds

    def answered(self, seconds: float, running: int, now: float | None = None) -> bool:
        """Note an answer and its seconds, with `running` requests under way; true if the width changed."""
        self._answers += 1
        self._seconds += seconds
        return self._look(time.monotonic() if now is None else now, running)

    def overloaded(self) -> None:
        """Note a 429, a 503 or a timeout; many without an answer between them narrow the window at once."""
        self._overloads += 1
        if self._overloads >= max(_OVERLOADS, self.width) and self._answers < self._overloads * _OVERLOAD:
            self.width = self._changed(None, max(1, int(self.width * _SHRINK)), _PROBE)
            self._answers, self._overloads, self._seconds = 0, 0, 0.0

    def begin(self, now: float | None = None) -> None:
        """Forget the time since the last answer: nothing was asked."""
        self._since = time.monotonic() if now is None else now
        self._answers, self._overloads, self._seconds = 0, 0, 0.0

    def _look(self, now: float, running: int) -> bool:
        elapsed = now - self._since
        latency = self._seconds / self._answers
        due = self._answers >= self.width or elapsed > _SLOW_SPANS * latency
        if not due or elapsed < _SPAN_S:
            return False
        span = Span(now - self._began, self.width, self._answers / elapsed, latency, self._overloads)
        share = self._overloads / (self._answers + self._overloads)
        self._since, self._answers, self._overloads, self._seconds = now, 0, 0, 0.0
        self.spans.append(span)
        if len(self.spans) > _SPANS_KEPT:
            del self.spans[1::2]
        width = self._next(span, share, full=running >= self.width * 0.9)
        changed = width != self.width
        self.width = width
        return changed

    def _next(self, span: Span, overload: float, *, full: bool) -> int:
        """Width for the next span."""
        if overload > _OVERLOAD and span.overloads >= min(_OVERLOADS, self.width):
            return self._changed(None, max(1, int(self.width * _SHRINK)), _PROBE)
        if not full:  # the requests run out, or the window is being widened just now
            return self.width
        if self._before is None:
            return self._wider(span)
        return self._held(span) if self._factor == 1.0 else self._judged(span)

    def _judged(self, span: Span) -> int:
        """After a widening: was it worth it?"""
        assert self._before is not None
        if span.rate >= self._before.rate * _CLEAR:
            return self._wider(span)
        self._tries += 1
        if self._tries < 2:  # what came in the first span was half sent before the widening
            return self.width
        widened = self.width / self._before.width - 1
        slower = span.latency / self._before.latency - 1
        if span.rate >= self._before.rate * _GAIN or slower < widened * _QUEUED:
            return self._wider(span)
        return self._changed(span, self._before.width, 1.0)

    def _held(self, span: Span) -> int:
        """While it holds: has the server become slower, or is it time to try more?"""
        assert self._before is not None
        if span.rate < self._before.rate * _LOSS and span.latency > self._before.latency * _SLOWER:
            self._tries += 1
            if self._tries >= 2:
                return self._changed(None, max(1, int(self.width * _SHRINK)), _PROBE)
            return self.width
        self._tries = 0
        self._calm += 1
        if self._calm >= _HOLD:
            self._factor = _PROBE
            return self._wider(span)
        return self.width

    def _wider(self, span: Span) -> int:
        return self._changed(span, min(self.most, max(self.width + 1, int(self.width * self._factor))), self._factor)

    def _changed(self, before: Span | None, width: int, factor: float) -> int:
        self._before, self._factor = before, factor
        self._tries = self._calm = 0
        return width
