"""Send requests and write their outcomes to the journal, with a sliding window of requests in flight.

Requests are read from an iterator when a place in the window is free, and outcomes are not kept, so memory does not
grow with the number of requests.

The pattern over requests, not a status code, decides whether the server or a request is at fault. Requests that end
without an answer are held back. If a later request is answered, the held requests are at fault, and are settled. After
several in a row, a probe is sent: if it fails, too, the step stops and no row is rejected.
"""

import asyncio
import math
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from personahub_assets.core.errors import (
    BudgetSpent,
    EndpointDown,
    EndpointRefuses,
    LLMError,
    Submitted,
    SystematicFault,
)
from personahub_assets.core.text import plain
from personahub_assets.endpoints.pool import Pool
from personahub_assets.generation.batch_api.submissions import line_name
from personahub_assets.generation.budget import Deferred
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request, Usage

if TYPE_CHECKING:
    from personahub_assets.generation.client import Asker

Watch = Callable[[Usage], None]
OpenAsker = Callable[[], AbstractAsyncContextManager["Asker"]]

_DRAIN_S = 3.0
_WATCH_S = 0.1
_TICK_S = 1.0  # of the countdown while the server asks to wait
_PATIENCE = 3  # requests in a row without an answer before a probe is sent
_CAREFUL = 4  # requests in flight until the first accepted answer
_SUSPECT = frozenset({"bad_request", "unreachable", "timeout"})
_SAMPLE_CHARS = 400
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def ask_all(
    requests: Iterator[Request],
    open_asker: OpenAsker,
    journal: Journal,
    window: AdaptiveConcurrency,
    tally: Usage,
    watch: Watch,
    settled: Callable[[Request], None] = lambda _request: None,
    seconds_left: float | None = None,
    systematic_faults: int = 0,
) -> None:
    """Send every request and write its outcome to the journal.

    Args:
        requests: the requests; read only as far as the window needs.
        open_asker: makes the asker, and closes its connections.
        settled: called with every request whose outcome is in the journal.
        seconds_left: seconds after which no new request is sent.
        systematic_faults: stop if the first outcomes, as many as this, are all rejected for one reason; 0: never.

    Raises:
        BudgetSpent: if a bound was reached; the answers to requests in flight are in the journal.
        Submitted: if requests wait for the answers of a batch API; all others have an outcome.
        KeyboardInterrupt: on Ctrl-C; answers received within three seconds are in the journal.
        EndpointDown: if the endpoint failed too often in a row; received answers are in the journal.
        EndpointRefuses: if the account, the key, the path or the model is wrong.
        SystematicFault: see `systematic_faults`.
        LLMError: if the server does not accept this kind of request at all.
    """
    window.begin()
    watch(tally)  # before the first answer, which may take long
    crew = _Crew(requests, journal, window, tally, watch, settled, systematic_faults)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(crew.work_off(open_asker, seconds_left))
        except BaseExceptionGroup as errors:
            # Many requests can fail for one cause: raise the first error. Ctrl-C comes before errors that it causes.
            if not isinstance(crew.stopped, KeyboardInterrupt):
                raise errors.exceptions[0] from None
        finally:
            tally.in_flight = 0
            watch(tally)
    if crew.stopped is not None:
        raise crew.stopped


@dataclass
class _Trouble:
    """A request that ended without an answer.

    Attributes:
        outcome: the outcome if the request is at fault; None: it is sent again.
        error: the server's error.
    """

    request: Request
    outcome: Outcome | None
    error: EndpointRefuses | None = None
    at: float = field(default_factory=time.perf_counter)


class _Crew:
    """The workers, one for each place in the window: each takes the next request when its last one has ended."""

    def __init__(
        self,
        requests: Iterator[Request],
        journal: Journal,
        window: AdaptiveConcurrency,
        tally: Usage,
        watch: Watch,
        settled: Callable[[Request], None],
        systematic_faults: int,
    ):
        self.requests, self.journal, self.window, self.tally = requests, journal, window, tally
        self.watch, self.settled = watch, settled
        self.stopped: BaseException | None = None
        self._running = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._began = self._told = time.perf_counter()
        self._before, self._cpu = tally.seconds, tally.cpu_s - time.process_time()
        self._held: list[_Trouble] = []
        self._patience = _PATIENCE
        self._judging = asyncio.Lock()
        self._group: asyncio.TaskGroup | None = None
        self._again: deque[Request] = deque()  # to be sent once more, because they were not at fault
        self._returned: set[str] = set()  # keys that were in `_again`
        self._answers = 0
        self._systematic = 0 if tally.accepted else systematic_faults  # probes left
        self._first: Counter[str] = Counter()  # reasons of the first outcomes
        self._pool: Pool | None = None

    async def work_off(self, open_asker: OpenAsker, seconds_left: float | None) -> None:
        """Send all requests, unless stopped."""
        async with open_asker() as asker:
            asker.attach(self._waiting)
            self._pool = asker.transport if isinstance(asker.transport, Pool) else None
            try:
                with suppress(asyncio.CancelledError):
                    async with _interruptible(self._stop):
                        self._cancel = asyncio.current_task().cancel  # type: ignore[union-attr]
                        if seconds_left is not None:
                            self._later(seconds_left, self._stop, BudgetSpent("the time of the run is up"))
                        await self._ask_all(asker)
                        await self._submit(asker)
            finally:
                self.tally.spend(asker.probed)
                self.tally.other_models = asker.other_models
                self.tally.notes += asker.notes
                if asker.submissions is not None:
                    self.tally.notes += asker.submissions.notes
                if self._pool is not None:
                    self.tally.servers = self._pool.shares
                    self.tally.notes += self._pool.outages
                for timer in self._timers:
                    timer.cancel()

    async def _ask_all(self, asker: "Asker") -> None:
        """Send the first request alone, then all others, then again those that failed without being at fault."""
        if not asker.is_proven:
            await self._work(asker, alone=True)
        while self.stopped is None:
            async with asyncio.TaskGroup() as self._group:
                self._start_workers(asker)
            if self.stopped is None and self._held:
                await self._find_culprit(asker)
            self._group = None
            if not self._again:
                return

    async def _submit(self, asker: "Asker") -> None:
        """Submit the requests that were collected for a batch API, unless the step failed."""
        submissions = asker.submissions
        if submissions is None or not (self.stopped is None or isinstance(self.stopped, BudgetSpent)):
            return
        await submissions.submit()
        if submissions.deferred:
            waits = submissions.summary()
            self.stopped = BudgetSpent(f"{self.stopped}; {waits}") if self.stopped else Submitted(waits)

    def _stop(self, cause: BaseException) -> None:
        """Send no further request; requests in flight get some seconds to end."""
        interrupted = isinstance(cause, KeyboardInterrupt)
        again = interrupted and isinstance(self.stopped, KeyboardInterrupt)
        if interrupted or self.stopped is None:
            self.stopped = cause
        # Requests in flight are paid for. A spent budget waits for them; Ctrl-C or a broken server waits only briefly.
        if not isinstance(cause, BudgetSpent):
            self._later(0 if again else _DRAIN_S, self._cancel)

    def _later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(max(0.0, seconds), call, *arguments))

    @property
    def _width(self) -> int:
        """Requests that may be in flight: of one server its window, of several the sum of theirs."""
        return self.window.width if self._pool is None else self._pool.width

    def _start_workers(self, asker: "Asker") -> None:
        width = min(self._width, _CAREFUL) if self._systematic else self._width
        for _ in range(width - self._running if self._group else 0):
            assert self._group is not None
            self._running += 1
            self._group.create_task(self._run_worker(asker))

    async def _run_worker(self, asker: "Asker") -> None:
        try:
            await self._work(asker)
        finally:
            self._running -= 1

    def _next(self) -> Request | None:
        return next(self.requests, None) or (self._again.popleft() if self._again else None)

    async def _work(self, asker: "Asker", *, alone: bool = False) -> None:
        """Send one request after the other.

        Args:
            alone: end when the server has answered one. A schema that a backend cannot compile can stop the engine for
                all users (vllm#17248, vllm#45346): the first request of a task is the test, so it costs nothing.
        """
        while (alone or self._running <= self._width) and self.stopped is None:
            request = self._next()
            if request is None:
                return
            began = time.perf_counter()
            try:
                outcome = await asker.ask(request)
            except Deferred:
                continue
            except BudgetSpent as spent:
                await self._note_spent(asker, request, spent)
            except EndpointRefuses as error:
                await self._hold_back(asker, _Trouble(request, None, error), alone=alone)
            except LLMError as error:
                self._stop(error)
            else:
                if outcome.reason in _SUSPECT and not outcome.attempts:
                    await self._hold_back(asker, _Trouble(request, outcome), alone=alone)
                else:
                    await self._finish(asker, request, outcome, began)
                    if alone and outcome.attempts:
                        return

    async def _note_spent(self, asker: "Asker", request: Request, spent: BudgetSpent) -> None:
        """Record the cost of a request that the budget stopped before its end."""
        self.stopped = self.stopped or spent
        is_kept = asker.submissions is not None and asker.submissions.is_from_batch(line_name(request.key, 0))
        if isinstance(spent.partial, Outcome) and not is_kept:  # what is in the ledger is counted when it is finished
            # Paid and not finished: recorded, so that the totals are right, and sent again by the next run.
            await self.journal.record(asker.task, request, spent.partial.after(request.earlier))
            self.tally.spend(spent.partial)

    async def _finish(self, asker: "Asker", request: Request, outcome: Outcome, began: float) -> None:
        """Settle a request; if it was answered, also settle those that failed before it was sent: they are at fault."""
        if outcome.attempts:
            self._answers += 1
            if any(trouble.at < began for trouble in self._held):
                self._patience = _PATIENCE
                await self._settle_held(asker, began)
        await self._settle(asker, request, outcome)

    async def _hold_back(self, asker: "Asker", trouble: _Trouble, *, alone: bool) -> None:
        """Hold a request back until it is known whether the request or the server is at fault."""
        if trouble.error is not None and not self._answers:
            self._stop(trouble.error)
            return
        self._held.append(trouble)
        reason = trouble.outcome and trouble.outcome.reason
        if alone and not self._answers and reason == "bad_request" and self._pool is None:  # a pool adapts each server
            await self._adapt_dialect(asker)
        elif len(self._held) >= (self._patience if self._answers else 1):
            await self._find_culprit(asker)

    async def _find_culprit(self, asker: "Asker") -> None:
        """Find out by a probe whether the server or the held requests are at fault."""
        async with self._judging:
            if not self._held or self.stopped is not None:
                return
            answers, last = self._answers, self._held[-1]
            try:
                await asker.probe()
            except BudgetSpent as spent:
                self.stopped = self.stopped or spent
            except Exception as error:  # noqa: BLE001 - whatever it is, the server does not answer
                if self._answers == answers:
                    self._stop(last.error or self._endpoint_down(asker, error))
            else:
                self._patience *= 2
                await self._settle_held(asker)

    def _endpoint_down(self, asker: "Asker", error: Exception) -> LLMError:
        if isinstance(error, LLMError):
            return error
        return EndpointDown(
            f"{asker.transport.url} answers no request any more; the last error: {error}. No outcome is noted for the "
            f"{len(self._held):,} rows of the last requests. Bring the endpoint back and run again"
        )

    async def _settle_held(self, asker: "Asker", before: float = math.inf) -> None:
        """Settle the requests that were held back: others are answered, so these are at fault.

        Args:
            before: only those that ended before this time.
        """
        released = [trouble for trouble in self._held if trouble.at < before]
        self._held = [trouble for trouble in self._held if trouble.at >= before]
        for trouble in released:
            request, outcome = trouble.request, trouble.outcome
            if outcome is None and request.key not in self._returned:
                self._returned.add(request.key)
                self._again.append(request)
                continue
            if outcome is None:
                outcome = Outcome(request.key, "rejected", "", reason="unreachable", detail=str(trouble.error))
            await self._settle(asker, request, outcome)

    async def _adapt_dialect(self, asker: "Asker") -> None:
        """Find a dialect that the server accepts, if it refuses the dialect and not the row.

        If there is none, the step stops with an error that names the setting.
        """
        (server,) = asker.transport.servers
        try:
            has_changed = await asker.adapt(server)
        except BudgetSpent as spent:
            self.stopped = self.stopped or spent
        except LLMError as error:  # no outcome for these rows: the server is at fault
            self._stop(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server does not answer
            self._stop(self._endpoint_down(asker, error))
        else:
            if not has_changed:
                await self._settle_held(asker)
                return
            self._again.extend(trouble.request for trouble in self._held)
            self._held.clear()

    async def _settle(self, asker: "Asker", request: Request, outcome: Outcome) -> None:
        await self.journal.record(asker.task, request, outcome.after(request.earlier))
        self.settled(request)
        self.tally.add(outcome)
        self._tell()
        if self._systematic:
            self._look_for_systematic_fault(asker, outcome)
        if outcome.attempts and outcome.answer_s and self._measure(outcome):
            self._start_workers(asker)

    def _measure(self, outcome: Outcome) -> bool:
        """Record an answer in the window; return whether more requests may be in flight."""
        if self._pool is None:
            return self.window.answered(outcome.answer_s, self._running)
        self.window.follow(self._pool.width, outcome.answer_s)
        return self._running < self._pool.width

    def _look_for_systematic_fault(self, asker: "Asker", outcome: Outcome) -> None:
        """Stop if the first outcomes are all rejected for one reason; reasons that rows cause do not count."""
        if outcome.status == "accepted":
            self._systematic = 0
            self._start_workers(asker)
        elif outcome.attempts or outcome.reason == "bad_request":
            self._first[str(outcome.reason)] += 1
            if len(self._first) > 1:
                self._systematic = 0
            elif self._first.total() >= self._systematic:
                self._stop(SystematicFault(_systematic(asker, outcome, self._first.total())))

    def _tell(self) -> None:
        now = time.perf_counter()
        self.tally.seconds = self._before + now - self._began
        self.tally.cpu_s = self._cpu + time.process_time()
        if now - self._told >= _WATCH_S:
            self._told, self.tally.in_flight = now, self._running
            self.tally.rows_per_second = self.window.spans[-1].rate if self.window.spans else 0.0
            self.watch(self.tally)

    def _waiting(self, seconds: float, words: str) -> None:
        """Show for how long all requests wait, and count down."""
        self.tally.waits_for = words
        self.tally.waits_until = time.monotonic() + seconds if seconds else 0.0
        self._count_down()

    def _count_down(self) -> None:
        self.watch(self.tally)
        if self.tally.waits_until > time.monotonic() and self.stopped is None:
            self._later(_TICK_S, self._count_down)


@asynccontextmanager
async def _interruptible(stop: Callable[[BaseException], None]) -> AsyncIterator[None]:
    """On Ctrl-C or SIGTERM, wait for requests in flight; a second signal ends them at once."""
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop, KeyboardInterrupt())
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows has no signal handlers of event loops
        return None
    return uvloop.new_event_loop


_REMEDIES = {
    "truncated": "Raise max_tokens of this prompt, or let the model think less (generation.reasoning_effort)",
    "empty": "Check whether the server has a reasoning parser that removes the answer, or set generation.mode",
    "invalid_json": "Set generation.mode in hub.toml to another one (json_schema, json_object, tools, prompt)",
    "schema_violation": 'Set generation.mode = "json_schema", so that the server enforces it, or take a larger model',
    "degenerate": "Look at the sample: the model may be too small for this task, or its chat template wrong",
    "refused": "Look at the sample: the prompt or the model's safety training makes it decline",
}


def _systematic(asker: "Asker", outcome: Outcome, count: int) -> str:
    remedy = _REMEDIES.get(str(outcome.reason), "Try: personahub doctor")
    sample = plain(outcome.response, _SAMPLE_CHARS) or "(nothing)"
    return (
        f"the first {count:,} answers of {asker.task.asset} are all rejected as {outcome.reason} "
        f"({outcome.detail}), so no further request is sent. The last of them: {sample}. {remedy}. Then run again with "
        f"--retry {outcome.reason}. "
        "To continue anyway, set generation.systematic_faults = 0 in hub.toml"
    )
