"""Requests in, outcomes into the journal: a sliding window of requests in flight, never a barrier.

Requests are taken from an iterator as places become free, and outcomes are not kept, so memory does not grow with the
number of requests.
"""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from personahub_assets.core.errors import BudgetSpent, LLMError
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request, Usage

if TYPE_CHECKING:
    from personahub_assets.generation.client import Asker

Watch = Callable[[Usage], None]
OpenAsker = Callable[[], AbstractAsyncContextManager["Asker"]]

_DRAIN_S = 3.0
_WATCH_S = 0.1
_SCHEMA_TRIES = 3
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
) -> None:
    """Ask every request and put its outcome into the journal.

    Args:
        requests: what to ask; read as far as the window is wide.
        open_asker: makes the asker, and closes its connections.
        settled: called with every request whose outcome is in the journal.
        seconds_left: after so long nothing new is asked.

    Raises:
        BudgetSpent: if a bound was reached; what was in flight came back and is in the journal.
        KeyboardInterrupt: on Ctrl-C; what came within three seconds is in the journal.
        EndpointDown: if the endpoint failed too often in a row; what was answered is in the journal.
        LLMError: if the server does not take this kind of request at all.
    """
    window.begin()
    crew = _Crew(requests, journal, window, tally, watch, settled)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(crew.work_off(open_asker, seconds_left))
        except BaseExceptionGroup as errors:
            # Many requests fail for the same cause at once; the first says it. Ctrl-C says more than what it causes.
            if not isinstance(crew.stopped, KeyboardInterrupt):
                raise errors.exceptions[0] from None
        finally:
            tally.in_flight = 0
            watch(tally)
    if crew.stopped is not None:
        raise crew.stopped


class _Crew:
    """The workers, one for each place in the window: each takes the next request the moment its last one ended."""

    def __init__(
        self,
        requests: Iterator[Request],
        journal: Journal,
        window: AdaptiveConcurrency,
        tally: Usage,
        watch: Watch,
        settled: Callable[[Request], None],
    ):
        self.requests, self.journal, self.window, self.tally = requests, journal, window, tally
        self.watch, self.settled = watch, settled
        self.stopped: BaseException | None = None
        self._running = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._began = self._told = time.perf_counter()
        self._before, self._cpu = tally.seconds, tally.cpu_s - time.process_time()

    async def work_off(self, open_asker: OpenAsker, seconds_left: float | None) -> None:
        """Ask everything, unless told to stop."""
        async with open_asker() as asker:
            try:
                with suppress(asyncio.CancelledError):
                    async with _interruptible(self._stop), asyncio.TaskGroup() as self.group:
                        self._cancel = asyncio.current_task().cancel  # type: ignore[union-attr]
                        if seconds_left is not None:
                            self._later(seconds_left, self._stop, BudgetSpent("the time of the run is up"))
                        if await self._proven(asker):
                            self._hire(asker)
            finally:
                for timer in self._timers:
                    timer.cancel()

    def _stop(self, cause: BaseException) -> None:
        """Ask nothing more; what is in flight has some seconds to come back."""
        interrupted = isinstance(cause, KeyboardInterrupt)
        again = interrupted and isinstance(self.stopped, KeyboardInterrupt)
        if interrupted or self.stopped is None:
            self.stopped = cause
        # What is in flight is paid for. A spent budget waits for it; a person or a broken server does not wait long.
        if not isinstance(cause, BudgetSpent):
            self._later(0 if again else _DRAIN_S, self._cancel)

    def _later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(max(0.0, seconds), call, *arguments))

    def _hire(self, asker: "Asker") -> None:
        for _ in range(self.window.width - self._running):
            self._running += 1
            self.group.create_task(self._work(asker))

    async def _work(self, asker: "Asker") -> None:
        try:
            while self._running <= self.window.width and self.stopped is None:
                request = next(self.requests, None)
                if request is None:
                    return
                outcome = await self._asked(asker, request)
                if outcome is not None:
                    await self._settle(asker, request, outcome)
        finally:
            self._running -= 1

    async def _asked(self, asker: "Asker", request: Request) -> Outcome | None:
        """Ask one request; None if there was no call left for it, or the server does not work."""
        try:
            return await asker.ask(request)
        except BudgetSpent as spent:
            self.stopped = self.stopped or spent
            if isinstance(spent.partial, Outcome):
                # Paid and not finished: noted, so that the accounts are right, and asked again by the next run.
                await self.journal.record(asker.task, request, spent.partial.after(request.earlier))
                self.tally.spend(spent.partial)
        except LLMError as error:
            self._stop(error)
        return None

    async def _settle(self, asker: "Asker", request: Request, outcome: Outcome) -> None:
        await self.journal.record(asker.task, request, outcome.after(request.earlier))
        self.settled(request)
        self.tally.add(outcome)
        self._tell()
        if outcome.attempts and self.window.answered(outcome.answer_s, self._running):
            self._hire(asker)

    def _tell(self) -> None:
        now = time.perf_counter()
        self.tally.seconds = self._before + now - self._began
        self.tally.cpu_s = self._cpu + time.process_time()
        if now - self._told >= _WATCH_S:
            self._told, self.tally.in_flight = now, self._running
            self.tally.rows_per_second = self.window.spans[-1].rate if self.window.spans else 0.0
            self.watch(self.tally)

    async def _proven(self, asker: "Asker") -> bool:
        """Send the first requests alone, until one shows that the server takes their schema.

        A schema that a backend cannot compile may stop its engine for everybody (vllm#17248, vllm#45346). The first
        request of a task is the test, so the test costs nothing.

        Returns:
            Whether to go on with the others.

        Raises:
            LLMError: if the server calls one after the other wrong.
        """
        alone, wrong = asker.proof not in asker.proven, list[tuple[Request, Outcome]]()
        while alone:
            request = next(self.requests, None)
            outcome = await self._asked(asker, request) if request else None
            if request is None or outcome is None:
                break
            if outcome.attempts:
                asker.proven.add(asker.proof)
                alone = False
            if outcome.reason == "bad_request":
                wrong.append((request, outcome))
            else:
                await self._settle(asker, request, outcome)
            if len(wrong) == _SCHEMA_TRIES:
                # Nothing is noted about these rows: it is the server that is wrong.
                raise LLMError(
                    f"{asker.transport.url} calls the first {len(wrong)} requests of {asker.task.asset} wrong: "
                    f"{outcome.detail}. Does it serve chat, and take JSON schemas? Try: personahub doctor"
                )
        for request, outcome in wrong:
            await self._settle(asker, request, outcome)
        return not alone


@asynccontextmanager
async def _interruptible(stop: Callable[[BaseException], None]) -> AsyncIterator[None]:
    """Ctrl-C and a request to terminate let what is in flight come back first; the second one does not."""
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
    except ImportError:  # there is none for Windows
        return None
    return uvloop.new_event_loop
