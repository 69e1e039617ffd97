"""A simulated server with a fixed number of slots, a queue, and a simulated clock."""

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from personahub_assets.generation.concurrency import AdaptiveConcurrency


@dataclass
class Model:
    """A server with `slots` places, each answer taking about `seconds`, before which a window lets requests through.

    Args:
        spread: share by which the time of an answer varies.
        straggler: every so many-th answer takes a hundred times as long; 0 for none.
        limit: with more than so many in flight, each further request is told 429 and comes back a little later.
    """

    slots: int
    seconds: float = 1.0
    spread: float = 0.2
    straggler: int = 0
    limit: int | None = None
    seed: int = 0
    now: float = 0.0
    answers: int = 0
    sent: int = 0
    widths: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.waiting: deque[float] = deque()
        self.busy: list[tuple[float, int, float]] = []  # (end, number, since)
        self.flying = 0

    @property
    def capacity(self) -> float:
        """Answers per second with all places taken."""
        return self.slots / self.seconds

    def rate(self, window: AdaptiveConcurrency, seconds: float) -> float:
        """Run for some seconds; return the answers per second."""
        began, before = self.now, self.answers
        self.run(window, until=lambda: self.now >= began + seconds)
        return (self.answers - before) / (self.now - began)

    def run(self, window: AdaptiveConcurrency, *, until: Callable[[], bool], left: float = float("inf")) -> None:
        """Answer requests until a condition holds, or no requests are left."""
        while not until():
            while self.flying < window.width and left > 0:
                left -= 1
                self._send(window)
            if not self.flying:
                return
            end, _, since = heapq.heappop(self.busy)
            self.now = max(self.now, end)
            self._start()
            running, self.flying = self.flying, self.flying - 1
            self.answers += 1
            window.answered(self.now - since, running, self.now)
            self.widths.append(window.width)

    def _send(self, window: AdaptiveConcurrency) -> None:
        self.sent += 1
        self.flying += 1
        if self.limit is not None and self.flying > self.limit:
            window.overloaded()
        self.waiting.append(self.now)
        self._start()

    def _start(self) -> None:
        while self.waiting and len(self.busy) < self.slots:
            since = self.waiting.popleft()
            slow = self.straggler and self.random.randrange(self.straggler) == 0
            takes = self.seconds * self.random.uniform(1 - self.spread, 1 + self.spread) * (100 if slow else 1)
            heapq.heappush(self.busy, (self.now + takes, self.sent, since))
