"""One server of a pool: its connections, its share of the requests, and whether it can be used."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from personahub_assets.core.errors import EndpointDown, EndpointRefuses, LimitReached, LLMError
from personahub_assets.endpoints.transport import Fault, Transport

_FAULTS = 3  # in a row, without an answer, after which a server is left out
_RECENT = 0.05  # share of the newest answer in the mean


class Width(Protocol):
    """The number of requests that one server may have in flight."""

    width: int

    def answered(self, seconds: float, running: int) -> bool:
        """Record an answer; return whether the width changed."""

    def begin(self) -> None:
        """Start to measure anew."""


@dataclass
class FixedWidth:
    """A width that does not change."""

    width: int

    def answered(self, seconds: float, running: int) -> bool:  # noqa: ARG002 - as of `Width`
        """Keep the width."""
        return False

    def begin(self) -> None:
        """Nothing is measured."""


@dataclass(eq=False)
class Backend:
    """One server of a pool, with its circuit breaker.

    The breaker opens when the server refuses everybody, cannot be reached, is silent, or fails several times in a row.
    While it is open, the server gets probes and no requests; it closes at the first answered probe.

    Attributes:
        weight: its share of the requests, relative to the others.
        in_flight: requests chosen for it, those that wait for its rate limit included.
        error: why it is left out; None while it is used.
        cause: why it was left out the last time.
        probes: failed probes since it is left out.
        outages: how often it was left out.
        mean_s: mean seconds of its recent answers; 0 before the first.
        is_warm: whether it is known to have answered the task.
        deadlines: of the requests in flight, to end them when the server is silent.
    """

    transport: Transport
    width: Width
    weight: float = 1.0
    in_flight: int = 0
    answers: int = 0
    faults_in_a_row: int = 0
    error: Exception | None = None
    cause: Exception | None = None
    probes: int = 0
    outages: int = 0
    mean_s: float = 0.0
    is_examined: bool = False
    is_warm: bool = False
    deadlines: set[asyncio.Timeout] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The address without its secrets."""
        return self.transport.url

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: the server gets no requests."""
        return self.error is not None

    @property
    def is_refusing(self) -> bool:
        """Whether it is left out for its account, key, model or limit, which no retry changes soon."""
        return isinstance(self.error, EndpointRefuses | LimitReached)

    def load(self, penalty: float) -> float:
        """Requests in flight in relation to the weight, with one more and a penalty."""
        return (self.in_flight + 1 + penalty) / self.weight

    def answer(self, seconds: float) -> None:
        """Record an answer."""
        self.answers += 1
        self.faults_in_a_row = 0
        self.mean_s = self.mean_s + _RECENT * (seconds - self.mean_s) if self.mean_s else seconds
        self.width.answered(seconds, self.in_flight)

    def fail(self, fault: Fault) -> bool:
        """Record a fault; return whether the server has to be left out for it."""
        if fault.local or fault.pause is not None:
            return False  # of this machine, or the server names a time to retry: it is not down
        self.faults_in_a_row += 1
        return fault.unconnected or self.faults_in_a_row >= _FAULTS

    def open(self, error: Exception) -> bool:
        """Leave the server out; return whether it was used until now."""
        was_used = not self.is_open
        if was_used:
            self.error, self.cause, self.probes = error, error, 0
            self.outages += 1
        return was_used

    def close(self) -> None:
        """Use the server again."""
        self.error, self.faults_in_a_row = None, 0
        self.width.begin()

    def end_requests(self) -> None:
        """End all requests in flight: their connections are closed, so no late answer can arrive."""
        now = asyncio.get_running_loop().time()
        for deadline in list(self.deadlines):
            deadline.reschedule(now)


def all_out(backends: list[Backend]) -> LLMError:
    """The error if no server can be used, with the reason of each; of their common kind, if they have one."""
    errors = [backend.error for backend in backends]
    reasons = "\n".join(
        f"  {backend.url}: {str(error).removeprefix(f'{backend.url}: ')}"
        for backend, error in zip(backends, errors, strict=True)
    )
    return _common_kind(errors)(
        f"none of the {len(backends)} servers can be used:\n{reasons}\n"
        "The answers so far are in the journal; bring one of them back and run again"
    )


def _common_kind(errors: list[Exception | None]) -> type[LLMError]:
    kinds = {type(error) for error in errors}
    (kind, *others) = kinds
    if not others and issubclass(kind, LLMError):
        return kind
    return EndpointRefuses if all(isinstance(error, EndpointRefuses) for error in errors) else EndpointDown


def shares(backends: list[Backend]) -> dict[str, int]:
    """Answers of each server by its address without secrets."""
    return {backend.url: backend.answers for backend in backends}


def outages(backends: list[Backend]) -> list[str]:
    """A line about each server that was left out."""
    return [
        f"{backend.url} was left out {'once' if backend.outages == 1 else f'{backend.outages} times'}"
        f"{', also at the end' if backend.is_open else ''}: "
        f"{str(backend.cause).removeprefix(f'{backend.url}: ').rstrip('.')}"
        for backend in backends
        if backend.outages
    ]
