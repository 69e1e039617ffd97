"""Progress of a run: two lines for each running step on a terminal, and plain lines at intervals elsewhere.

notes        tools               ━━━━━━━━━━━━━━╸─────────  45/90  12/s  0:00:04 left
  45 calls, 12,300 tokens, 0.0123 USD, 3 rejected (2 refused, 1 truncated), 8 in flight
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from personahub_assets.cli.console import printable, say, say_styled
from personahub_assets.core.text import shorten
from personahub_assets.generation.requests import Usage
from personahub_assets.instance.progress import Step

EVERY_S = 10.0
"""Without a terminal: a line for each running step at least this often."""
SHARE = 0.05
"""Without a terminal: a line for each such share of a step."""

_APART_S = 1.0  # between two lines of one step, so that quick steps do not print twenty
_SILENT_S = 5.0  # until a step without progress shows what it waits for
_BATCH, _ASSET = 12, 19  # columns; the longest asset is semantic_duplicates
_BAR, _SHORTEST_BAR = 24, 6
_WORDS = 60  # characters of a server's message
_POLL_S = 1.0


@dataclass
class _Shown:
    """A step on the screen; times are of the monotonic clock."""

    step: Step
    started: float = field(default_factory=time.monotonic)
    advanced: float = field(default_factory=time.monotonic)
    printed: float = field(default_factory=time.monotonic)
    printed_done: int = 0

    def advance(self, step: Step) -> None:
        if step.done != self.step.done:
            self.advanced = time.monotonic()
        self.step = step

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Bars:
    """Progress of the steps of a run.

    On a terminal the running steps are redrawn, and a finished one leaves one line. Elsewhere each step prints a line
    every `EVERY_S` seconds or `SHARE` of its rows, and one at its end.

    Args:
        console: to write to.
        currency: shown after costs.
    """

    def __init__(self, console: Console, currency: str = ""):
        self._console, self._currency = console, currency
        self._steps: dict[tuple[str, str], _Shown] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._live = Live(console=console, get_renderable=self._lines, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._live.is_started:
            self._live.stop()
        self.leave()

    def leave(self) -> None:
        """Take the steps away that failed, were stopped or wait for a batch API, with a line of their last progress."""
        with self._lock:
            unfinished = list(self._steps.values())
            self._steps.clear()
        for shown in unfinished:
            self._print_line(shown)

    def update(self, step: Step) -> None:
        """Show the progress of a step."""
        self._start()
        with self._lock:
            shown = self._steps.setdefault((step.batch, step.asset), _Shown(step))
            if step.note != "done":
                shown.advance(step)
                if not self._console.is_terminal:
                    self._print_if_due(shown)
                return
            shown.step = Step(step.batch, step.asset, step.done, step.done, "done", shown.step.usage)
            self._steps.pop((step.batch, step.asset))
        # Without the lock: rich draws the steps, which needs it, while it holds locks that printing needs.
        self._print_line(shown)

    def _start(self) -> None:
        if self._ended.is_set() or self._live.is_started:
            return
        if self._console.is_terminal:
            self._live.start()
        elif not self._steps:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Print lines of steps without progress, so that a waiting run is not silent."""
        while not self._ended.wait(_POLL_S):
            with self._lock:
                if not self._steps:
                    return
                for shown in self._steps.values():
                    self._print_if_due(shown)

    def _print_if_due(self, shown: _Shown) -> None:
        quiet, step = time.monotonic() - shown.printed, shown.step
        share = (step.done - shown.printed_done) / step.total if step.total else 0.0
        if quiet >= EVERY_S or (share >= SHARE and quiet >= _APART_S):
            shown.printed, shown.printed_done = time.monotonic(), step.done
            self._print_line(shown)

    def _print_line(self, shown: _Shown) -> None:
        """One lasting line."""
        if self._console.is_terminal:
            for line in self._drawn(shown):
                say_styled(line, self._console)
            return
        figures = [text for text in (_counts(shown.step), _percent(shown.step), _rate(shown), _left(shown)) if text]
        took = f"done in {_clock(shown.seconds)}" if shown.step.note == "done" else ""
        words = "; ".join(text for text in (" ".join(figures), took, second_line(shown, self._currency)) if text)
        say(f"{shown.step.batch} {shown.step.asset}: {words}", to=self._console)

    def _lines(self) -> Group:
        with self._lock:
            lines = [part for shown in self._steps.values() for part in self._drawn(shown)]
        return Group(*lines)

    def _drawn(self, shown: _Shown) -> list[Text]:
        """One or two lines of a terminal."""
        lines = [self._first(shown)]
        if second := second_line(shown, self._currency):
            lines.append(Text(f"  {second}", style="dim", no_wrap=True, overflow="ellipsis"))
        return lines

    def _first(self, shown: _Shown) -> Text:
        """Batch, asset, bar, counts, rate and time left, in the width of the console."""
        step, room = shown.step, self._console.width
        took = _clock(shown.seconds) if step.note == "done" else _left(shown)
        figures = "  ".join(text for text in (_counts(step), _rate(shown), took) if text)
        head = f"{shorten(printable(step.batch), _BATCH):<{_BATCH}} {shorten(printable(step.asset), _ASSET):<{_ASSET}} "
        bar = min(_BAR, room - len(head) - len(figures) - 2)
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(head[: _BATCH + 1], "cyan").append(head[_BATCH + 1 :])
        if bar >= _SHORTEST_BAR:
            full = bar if step.note == "done" else round(bar * min(1.0, step.done / step.total)) if step.total else 0
            line.append("━" * full, "green").append("─" * (bar - full), "dim").append("  ")
        return line.append(figures)


def second_line(shown: _Shown, currency: str = "") -> str:
    """What the step waits for; else calls, tokens, money and failures by reason. Empty without any of them."""
    parts = [waiting_for(shown) if shown.step.note != "done" else "", *_spent(shown.step.usage, currency)]
    if shown.step.note not in ("", "done") and not shown.step.usage:
        parts.append(shown.step.note)
    return printable(", ".join(filter(None, parts)))


def waiting_for(shown: _Shown) -> str:
    """What a step waits for; empty if it advances."""
    usage, silent = shown.step.usage, time.monotonic() - shown.advanced
    if usage and (seconds := usage.waits_until - time.monotonic()) > 0:
        return f"waits {_clock(math.ceil(seconds))}: {shorten(usage.waits_for, _WORDS)}"
    if silent < _SILENT_S:
        return ""
    if usage and usage.done < usage.total:
        return f"waits for the server: no {'answer' if usage.calls else 'first answer'} for {_clock(silent)}"
    return f"works for {_clock(shown.seconds)}"


def _spent(usage: Usage | None, currency: str) -> list[str]:
    if usage is None:
        return []
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(usage.reasons.items()))
    phrases: list[tuple[float, Callable[[], str]]] = [
        (usage.total, lambda: f"{usage.calls:,} calls"),
        (usage.tokens, lambda: f"{usage.tokens:,}{_tokens_in_all(usage)} tokens"),
        (usage.cost, lambda: f"{usage.cost:,.4f}{_cost_in_all(usage)} {currency}".rstrip()),
        (usage.rejected, lambda: f"{usage.rejected:,} rejected ({reasons})"),
        (usage.reused, lambda: f"{usage.reused:,} reused"),
        (usage.in_flight, lambda: f"{usage.in_flight} in flight"),
    ]
    return [phrase() for count, phrase in phrases if count]


def _cost_in_all(usage: Usage) -> str:
    """The estimated cost at the end of the step; empty if there is none, and at the end."""
    return f" of ~{usage.cost_in_all:,.2f}" if usage.cost_in_all and usage.done < usage.total else ""


def _tokens_in_all(usage: Usage) -> str:
    """The estimated tokens at the end of the step, unless its cost is shown: 80 columns have room for one of them."""
    count = usage.tokens_in_all
    if not count or usage.cost_in_all or usage.done >= usage.total:
        return ""
    for unit in ("", "k", "M"):
        if count < 1_000:
            return f" of ~{count:.0f}{unit}"
        count /= 1_000
    return f" of ~{count:,.0f}G"


def _counts(step: Step) -> str:
    return f"{step.done:,}" if step.total is None else f"{step.done:,}/{step.total:,}"


def _percent(step: Step) -> str:
    return f"({step.done / step.total:.0%})" if step.total else ""


def _per_second(shown: _Shown) -> float:
    """Rows per second: recent ones if they are measured, else the mean of the step."""
    usage = shown.step.usage
    if usage is None:
        return shown.step.done / max(shown.seconds, 0.1)
    if usage.rows_per_second and shown.step.note != "done":
        return usage.rows_per_second
    return usage.paid / usage.seconds if usage.seconds else 0.0


def _rate(shown: _Shown) -> str:
    rate = _per_second(shown)
    if rate < 0.05:
        return f"{rate * 60:.1f}/min" if rate else ""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


def _left(shown: _Shown) -> str:
    step, rate = shown.step, _per_second(shown)
    if not rate or not step.total or not 0 < step.done < step.total:
        return ""
    return f"{_clock((step.total - step.done) / rate)} left"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
