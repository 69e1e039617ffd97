"""Run the engine alone: requests in, outcomes to a journal, with the progress that it reported."""

from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scripted import LIMITS

from personahub_assets.core import project_files
from personahub_assets.core.prices import Prices
from personahub_assets.core.records import MathProblem
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.client import Asker, Limits
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.engine import OpenAsker, ask_all
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request, Task, Usage

TASK = Task("math_problems", project_files.prompt("math_problems"), MathProblem, "standin")


def stream(count: int, task: Task = TASK) -> Iterator[Request]:
    return (task.request(f"p{n}", {"persona": f"A keeper of lighthouse number {n}"}) for n in range(count))


def requests(count: int, task: Task = TASK) -> list[Request]:
    return list(stream(count, task))


@dataclass
class Run:
    """One run of the engine, with its reported progress."""

    url: str
    most: int = 16
    task: Task = TASK
    limits: Limits = LIMITS
    budget: Budget = field(default_factory=Budget)
    way: dict[str, Any] = field(default_factory=dict)
    seconds_left: float | None = None
    watch: Callable[[Usage], None] = lambda _tally: None
    settled: Callable[[Request], None] = lambda _request: None
    tally: Usage = field(default_factory=Usage)
    proven: dict[Any, Any] = field(default_factory=dict)
    systematic_faults: int = 0

    def __post_init__(self) -> None:
        self.window = AdaptiveConcurrency(self.most)

    def asker(self) -> OpenAsker:
        @asynccontextmanager
        async def opened() -> Any:
            more: dict[str, Any] = {
                "timeout_s": 20,
                "tries": 5,
                "faults_in_a_row": 20,
                "on_overload": self.window.overloaded,
            }
            more |= {"before": self.budget.call, "after": self.budget.returned}
            async with Transport(self.url, "none", **(more | self.way)) as transport:
                reserve = partial(self.budget.reserve, Prices())
                spend = partial(self.budget.spend, Prices())
                yield Asker(transport, self.task, self.limits, spend, (), reserve, proven=self.proven)

        return opened

    def of(self, wanted: Iterator[Request] | list[Request], journal: Journal) -> "Run":
        ask_all(
            iter(wanted),
            self.asker(),
            journal,
            self.window,
            self.tally,
            lambda tally: self.watch(tally),
            lambda request: self.settled(request),
            self.seconds_left,
            self.systematic_faults,
        )
        return self


def outcomes(journal: Journal) -> dict[str, Outcome]:
    return {one.outcome.key: one.outcome for one in journal.entries()}
