"""Adaptive concurrency: find the number of requests in flight that the server can use.

The width doubles until a doubling gives no more answers per second while each answer takes that much longer: then the
extra requests only wait at the server. It goes back, holds, and grows a little from time to time. Both signs are
needed, because either alone is often noise. The width shrinks if many requests fail as overload (429, 503, timeouts),
and if answers become slower and fewer at the same width. Widths are compared over spans with about as many answers as
the width, because a change needs that long to take effect.
"""

import time
from dataclasses import dataclass

_START = 64
_SPAN_S = 0.1  # shorter spans are too noisy
_SLOW_SPANS = 4  # a span ends after this multiple of an answer's usual time, even with few answers
_GAIN = 1.03  # throughput that counts as more
_CLEAR = 1.15  # ratio that counts as a gain at once
_LOSS = 0.8  # ratio that counts as a loss
_SLOWER = 1.5  # ratio of latency that shows waiting
_OVERLOAD = 0.2  # share of attempts with 429, 503 or a timeout from which the width shrinks
_OVERLOADS = 4  # and at least so many
_QUEUED = 0.6  # share of the widening by which latency must grow to show that the extra requests only waited
_SHRINK = 0.7
_PROBE = 1.25
_HOLD = 12  # spans before a larger width is tried again
_SPANS_KEPT = 400


@dataclass(frozen=True, slots=True)
class Span:
    """Measurements of a span: seconds since the start, width, answers per second, seconds per answer."""

    at: float
    width: int
    rate: float
    latency: float
    overloads: int


class AdaptiveConcurrency:
    """Decides the width from every answer and every sign of overload.

    Args:
        most: upper bound of the width.
        clock: returns the current time in seconds.
    """

    def __init__(self, most: int, clock: float | None = None):
        self.most = most
        self.width = min(_START, most)
        self.spans: list[Span] = []
        self._began = self._since = time.monotonic() if clock is None else clock
        self._answers = self._overloads = 0
        self._seconds = 0.0
        self._factor = 2.0
        self._before: Span | None = None  # the last span at the previous width
        self._tries = 0  # spans without a gain at the current width
        self._calm = 0  # spans since the last change; counts only while the width holds
        self._by_server: dict[str, AdaptiveConcurrency] = {}

    def of_server(self, server: str) -> "AdaptiveConcurrency":
        """The width of one of several servers; kept for the next task."""
        return self._by_server.setdefault(server, AdaptiveConcurrency(self.most))

    def answered(self, seconds: float, running: int, now: float | None = None) -> bool:
        """Record an answer and its seconds, with `running` requests in flight; return whether the width changed."""
        self._answers += 1
        self._seconds += seconds
        return self._end_span(time.monotonic() if now is None else now, running)

    def follow(self, width: int, seconds: float, now: float | None = None) -> None:
        """Record an answer, for the spans alone: the width is decided elsewhere."""
        self.width = width
        self._answers += 1
        self._seconds += seconds
        self._end_span(time.monotonic() if now is None else now, 0)
        self.width = width

    def overloaded(self) -> None:
        """Record a 429, a 503 or a timeout; many in a row without an answer reduce the width at once."""
        self._overloads += 1
        if self._overloads >= max(_OVERLOADS, self.width) and self._answers < self._overloads * _OVERLOAD:
            self.width = self._change(None, max(1, int(self.width * _SHRINK)), _PROBE)
            self._answers, self._overloads, self._seconds = 0, 0, 0.0

    def begin(self, now: float | None = None) -> None:
        """Start a new span: no request was in flight since the last answer."""
        self._since = time.monotonic() if now is None else now
        self._answers, self._overloads, self._seconds = 0, 0, 0.0

    def _end_span(self, now: float, running: int) -> bool:
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
        width = self._next_width(span, share, full=running >= self.width * 0.9)
        changed = width != self.width
        self.width = width
        return changed

    def _next_width(self, span: Span, overload: float, *, full: bool) -> int:
        """Width for the next span."""
        if overload > _OVERLOAD and span.overloads >= min(_OVERLOADS, self.width):
            return self._change(None, max(1, int(self.width * _SHRINK)), _PROBE)
        if not full:  # the last requests, or the width has just grown
            return self.width
        if self._before is None:
            return self._widen(span)
        return self._hold(span) if self._factor == 1.0 else self._evaluate_widening(span)

    def _evaluate_widening(self, span: Span) -> int:
        """Evaluate a widening."""
        assert self._before is not None
        if span.rate >= self._before.rate * _CLEAR:
            return self._widen(span)
        self._tries += 1
        if self._tries < 2:  # half of the answers of the first span were sent before the widening
            return self.width
        widened = self.width / self._before.width - 1
        slower = span.latency / self._before.latency - 1
        if span.rate >= self._before.rate * _GAIN or slower < widened * _QUEUED:
            return self._widen(span)
        return self._change(span, self._before.width, 1.0)

    def _hold(self, span: Span) -> int:
        """While the width holds: shrink if the server became slower, or try more."""
        assert self._before is not None
        if span.rate < self._before.rate * _LOSS and span.latency > self._before.latency * _SLOWER:
            self._tries += 1
            if self._tries >= 2:
                return self._change(None, max(1, int(self.width * _SHRINK)), _PROBE)
            return self.width
        self._tries = 0
        self._calm += 1
        if self._calm >= _HOLD:
            self._factor = _PROBE
            return self._widen(span)
        return self.width

    def _widen(self, span: Span) -> int:
        return self._change(span, min(self.most, max(self.width + 1, int(self.width * self._factor))), self._factor)

    def _change(self, before: Span | None, width: int, factor: float) -> int:
        self._before, self._factor = before, factor
        self._tries = self._calm = 0
        return width
