"""Progress of a run, for the progress bars of the command line and the log of the run."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from personahub_assets.core.text import shorten
from personahub_assets.generation.requests import Usage

LOG_EVERY_S = 15.0
_WORDS = 80  # maximum characters of a server's message


@dataclass(frozen=True)
class Step:
    """Progress of one asset of one batch; `total` is None if it is unknown.

    `usage` has the running totals of its calls, if it asks a language model.
    """

    batch: str
    asset: str
    done: int
    total: int | None
    note: str = ""
    usage: Usage | None = field(default=None, compare=False)


Listener = Callable[[Step], None]


@dataclass(frozen=True)
class RunProgress:
    """Receives the progress of the assets of a run.

    Attributes:
        listener: called with every step.
        usage: running totals of each asset and batch that asks the model, by name as in `tools[notes]`.
    """

    listener: Listener | None = None
    usage: dict[str, Usage] = field(default_factory=dict)

    def tell(self, step: Step) -> None:
        """Pass the progress of a step to the listener, if there is one."""
        if self.listener:
            self.listener(step)

    def watcher(self, batch: str, asset: str, log: Callable[[str], None]) -> Callable[[Usage], None]:
        """Return a callback that passes every update to the listener, and one every few seconds to the log."""
        last = time.monotonic()

        def watch(tally: Usage) -> None:
            nonlocal last
            self.usage[f"{asset}[{batch}]"] = tally
            note = describe(tally)
            self.tell(Step(batch, asset, tally.done, tally.total, note, tally))
            if time.monotonic() - last >= LOG_EVERY_S:
                last = time.monotonic()
                log(f"{asset}[{batch}]: {tally.done} of {tally.total}; {note}")

        return watch


def describe(tally: Usage) -> str:
    """Describe results, speed and remaining time of the calls in one line."""
    if (seconds := tally.waits_until - time.monotonic()) > 0:
        return (
            f"waits {timedelta(seconds=math.ceil(seconds))}: {shorten(tally.waits_for, _WORDS)}; {tally.calls:,} calls"
        )
    phrases = [f"{tally.calls:,} calls"]
    if tally.seconds and tally.paid:
        phrases.append(f"{tally.paid / tally.seconds:,.0f} rows/s")
        phrases.append(f"{tally.completion_tokens / tally.seconds:,.0f} tokens/s")
    if tally.in_flight:
        phrases.append(f"{tally.in_flight} in flight")
    if tally.reused:
        phrases.append(f"{tally.reused:,} reused")
    if tally.rejected:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(tally.reasons.items()))
        phrases.append(f"{tally.rejected:,} quarantined ({reasons})")
    if tally.cost:
        phrases.append(f"cost {tally.cost:,.4f}")
    if tally.rows_per_second and 0 < tally.done < tally.total:
        left = timedelta(seconds=round((tally.total - tally.done) / tally.rows_per_second))
        phrases.append(f"{left} left")
    return ", ".join(phrases)
