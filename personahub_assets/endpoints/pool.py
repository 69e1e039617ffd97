"""Several servers of one model behind the interface of a transport.

A request goes to the server with the fewest requests in flight for its weight. A server that has not answered the task
yet has not read its instructions: it counts as busier, so a few requests stay where the prefix cache is warm, and it
gets one request at a time until its first answer.

Trouble of a server is not trouble of a request. A request that a dead, refusing or limited server did not answer is
sent to another one at once, and this costs none of its attempts. A server that is silent for much longer than answers
take gets a short probe. If that is not answered either, its requests are ended, with their connections, and sent
elsewhere: what was never answered was not accepted and is not accepted later. A server that is left out gets a probe
from time to time, and is used again after the first answered one. Only when all are left out does the step stop.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Protocol

from personahub_assets.core.errors import EndpointRefuses, LLMError, Unfinished
from personahub_assets.core.retrying import Backoff
from personahub_assets.endpoints.backend import Backend, all_out, outages, shares
from personahub_assets.endpoints.pace import OnWait
from personahub_assets.endpoints.reply_errors import UnreadableReply
from personahub_assets.endpoints.transport import Body, Fault, Limited, Meter, Owner, Refused, Transport

_COLD = 8  # requests in flight that a server counts for more before it has answered the task
_PROBE_FIRST_S, _PROBE_LONGEST_S = 0.5, 60.0  # pauses between probes of a server that is left out
_PROBES = 4  # failed probes of each server before the step stops; of refusing ones a single one
_FREE_MOVES = 4  # per server: sendings of one request that servers which are left out did not answer
_BROKEN_FIRST = 2  # servers that may break off a request while none has answered the task
_SILENCE = 15  # times the mean seconds of its answers, after which a silent server is examined
_LEAST_SILENCE_S = 5.0
_PROBE_SHARE = 0.5  # of that time for the probe, which has a short answer
_FIRST_SILENCE_S = 30.0  # before the first answer of any server
_TICK_S = 0.25


OF_POOL: dict[str, Any] = {"tries": 1, "faults_in_a_row": 1 << 30}
"""Options of the transports of a pool: it owns retries and the decision whether a server is down."""


class PoolOwner(Owner, Protocol):
    """What the owner of a pool knows about the task."""

    def is_warm(self, server: Transport) -> bool:
        """Whether a server has answered the task."""

    async def adapt(self, server: Transport) -> bool:
        """Find how requests are written for a server; return whether that changed."""


class Pool:
    """Several servers behind the interface of `Transport`. Use as an async context manager.

    Args:
        backends: the servers. Their transports neither retry nor count faults in a row; the pool does.
        tries: attempts per request at servers that work.
        timeout_s: longest time of an attempt.
        backoff: pauses of a request that every server failed with; default: those of the transports.
    """

    def __init__(self, backends: Iterable[Backend], *, tries: int, timeout_s: float, backoff: Backoff | None = None):
        self.backends = list(backends)
        self._tries, self._timeout_s = tries, timeout_s
        self.backoff = backoff or self.backends[0].transport.backoff
        self._owner: PoolOwner | None = None
        self._on_wait: OnWait = lambda _seconds, _words: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._adapting = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Pool":
        for backend in self.backends:
            await self._stack.enter_async_context(backend.transport)
            backend.width.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    def attach(self, owner: PoolOwner, on_wait: OnWait) -> None:
        """Set who knows the task, and who is told about waits; start to watch for silent servers."""
        self._owner, self._on_wait = owner, on_wait
        for backend in self.backends:
            backend.transport.pace.on_wait = lambda _seconds, words: self._tell_wait(words)
        self._start(self._watch_for_silence())

    @property
    def servers(self) -> tuple[Transport, ...]:
        """The transport of each server."""
        return tuple(backend.transport for backend in self.backends)

    @property
    def url(self) -> str:
        """The addresses without their secrets."""
        return ", ".join(backend.url for backend in self.backends)

    @property
    def width(self) -> int:
        """Requests that all usable servers may have in flight together; at least 1."""
        return max(1, sum(self._room(backend) for backend in self._usable))

    @property
    def counts(self) -> bool:
        """Whether a server may have a route that counts tokens."""
        return any(server.counts for server in self.servers)

    @property
    def shares(self) -> dict[str, int]:
        """Answers by address."""
        return shares(self.backends)

    @property
    def outages(self) -> list[str]:
        """A line about each server that was left out."""
        return outages(self.backends)

    async def tokenize(self, body: bytes) -> int | None:
        """Prompt tokens counted by the first usable server that can; None if none can."""
        for backend in self._usable:
            if backend.transport.counts and (count := await backend.transport.tokenize(body)) is not None:
                return count
        return None

    async def control_tokens(self) -> frozenset[str]:
        """Control tokens that any of the servers lists."""
        listed = await asyncio.gather(*(server.control_tokens() for server in self.servers))
        return frozenset[str]().union(*listed)

    async def send_once(self, path: str, body: Body, parse: Callable[[bytes], Any]) -> Any:
        """Send a request once, to one server after the other until one answers; see `Transport.send_once`."""
        last: Exception | None = None
        for backend in sorted(self.backends, key=lambda backend: (backend.is_open, backend.load(0))):
            try:
                async with asyncio.timeout(self._patience(backend)):
                    return await backend.transport.send_once(path, body, parse, tries=1)
            except TimeoutError:
                last = Fault("no answer to a probe", timeout=True)
            except (Fault, Refused, UnreadableReply, LLMError) as error:
                last = error
        assert last is not None
        raise last

    async def post(
        self, path: str, body: Body, meter: Meter, *, parse: Callable[[bytes], Any], tries: int | None = None
    ) -> Any:
        """Send a request until one of the servers replies; arguments and errors are those of `Transport.post`."""
        return await _Journey(self, path, body, meter, parse, tries or self._tries).reply()

    # --- choosing ---

    @property
    def _usable(self) -> list[Backend]:
        return [backend for backend in self.backends if not backend.is_open]

    def is_warm(self, backend: Backend) -> bool:
        """Whether a server has answered the task."""
        if not backend.is_warm:
            backend.is_warm = self._owner is None or self._owner.is_warm(backend.transport)
        return backend.is_warm

    @property
    def is_cold(self) -> bool:
        """Whether no server has answered the task yet."""
        return not any(map(self.is_warm, self.backends))

    def _room(self, backend: Backend) -> int:
        return backend.width.width if self.is_warm(backend) else 1

    async def choose(self, passed: dict[Backend, Exception]) -> Backend | None:
        """The server for a request; waits for room, or for a server that can be used again.

        Args:
            passed: servers that failed with the request.

        Returns:
            None if all usable servers failed with it.

        Raises:
            LLMError: if no server can be used.
        """
        while True:
            fresh = [backend for backend in self._usable if backend not in passed]
            if not fresh and self._usable:
                return None
            if not fresh and self._is_hopeless:
                raise all_out(self.backends)
            delays = [backend.transport.pace.delay for backend in fresh]
            rooms = [
                backend
                for backend, delay in zip(fresh, delays, strict=True)
                if not delay and backend.in_flight < self._room(backend)
            ]
            if rooms:
                return min(rooms, key=self._load)
            await self._change(min(delays, default=0.0))

    def _load(self, backend: Backend) -> float:
        return backend.load(0 if self.is_warm(backend) else _COLD)

    @property
    def _is_hopeless(self) -> bool:
        """Whether each server is left out and failed at its probes."""
        return all(backend.probes >= (1 if backend.is_refusing else _PROBES) for backend in self.backends)

    async def _change(self, delay: float) -> None:
        """Wait until a server has room or its state changes, or until all have waited for their limits."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay or None):
                await waiter

    def wake(self) -> None:
        """Let requests that wait for a server look again."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _tell_wait(self, words: str) -> None:
        """Show a wait only if all usable servers wait."""
        seconds = min((backend.transport.pace.delay for backend in self._usable), default=0.0)
        self._on_wait(seconds, words if seconds else "")

    # --- the circuit breaker ---

    def leave_out(self, backend: Backend, error: Exception) -> None:
        """Open the circuit of a server, and probe it until it works."""
        if backend.open(error):
            self._start(self._recover(backend))
        self.wake()

    async def adapt(self, backend: Backend) -> bool:
        """Find how requests are written for a server that refuses them; return whether that changed."""
        async with self._adapting:
            return self._owner is not None and await self._owner.adapt(backend.transport)

    async def _recover(self, backend: Backend) -> None:
        """Probe a server until it answers, then use it again."""
        pause = 0.0 if backend.is_refusing else _PROBE_FIRST_S
        while backend.is_open:
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            try:
                error = await self._find_fault(backend)
            except Unfinished:
                return  # the budget is spent: the step ends
            if error is None:
                backend.close()
            else:
                backend.probes += 1
            self.wake()
            pause = min(max(2 * pause, _PROBE_FIRST_S), _PROBE_LONGEST_S)

    async def _find_fault(self, backend: Backend) -> Exception | None:
        """Send a probe to a server; its error if it does not work.

        Raises:
            BudgetSpent: if no call is left.
        """
        if self._owner is None:
            return backend.error
        patience = self._patience(backend) * _PROBE_SHARE
        try:
            async with asyncio.timeout(patience):
                await self._owner.probe(backend.transport)
        except TimeoutError:
            return Fault(f"no answer to a short probe within {patience:g} s", timeout=True)
        except Unfinished:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the server does not work
            return error
        return None

    async def _watch_for_silence(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            for backend in self._usable:
                is_silent = backend.transport.silence > self._patience(backend)
                if is_silent and not backend.is_examined and len(self._usable) > 1:
                    backend.is_examined = True
                    self._start(self._examine(backend))

    def _patience(self, backend: Backend) -> float:
        """Seconds of silence after which a server is examined: long enough for one that became ten times slower.

        They follow its own answers: slow ones of another server do not hide that this one is silent.
        """
        seconds = backend.mean_s or max(each.mean_s for each in self.backends)
        patience = max(_LEAST_SILENCE_S, _SILENCE * seconds) if seconds else _FIRST_SILENCE_S
        return min(patience, self._timeout_s)

    async def _examine(self, backend: Backend) -> None:
        """Find out by a probe whether a silent server only takes long; else end its requests."""
        try:
            with suppress(Unfinished):
                error = await self._find_fault(backend)
                if error is None:
                    backend.transport.hear()
                elif (silence := backend.transport.silence) > self._patience(backend):
                    self.leave_out(backend, Fault(f"silent for {silence:.0f} s, and {error}", timeout=True))
                    backend.end_requests()
        finally:
            backend.is_examined = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Journey:
    """The way of one request from server to server.

    Attributes:
        passed: servers that did not answer it, with their errors.
        left: attempts left at servers that work.
        free: sendings left to servers that are then left out.
        broken: servers that broke it off.
    """

    def __init__(self, pool: Pool, path: str, body: Body, meter: Meter, parse: Callable[[bytes], Any], tries: int):
        self.pool, self.path, self.body, self.meter, self.parse = pool, path, body, meter, parse
        self.passed = dict[Backend, Exception]()
        self.left, self.free, self.broken, self.pauses = tries, _FREE_MOVES * len(pool.backends), 0, 0

    async def reply(self) -> Any:
        """The first reply of a server."""
        while True:
            backend = await self.pool.choose(self.passed)
            if backend is None:
                await self._begin_anew()
                continue
            try:
                return await self._send(backend)
            except Limited:
                continue  # the wait of that server holds for all requests; another one may have none
            except Refused as refused:
                await self._adapt(backend, refused)
            except Fault as fault:
                self._note(backend, fault)
            except LLMError as error:
                self.passed[backend] = error
                self.pool.leave_out(backend, error)

    async def _send(self, backend: Backend) -> Any:
        """One attempt at a server.

        Raises:
            Fault: also if the server is found to be silent.
        """
        written = self.body(backend.transport) if callable(self.body) else self.body
        deadline = asyncio.timeout(None)
        backend.in_flight += 1
        try:
            async with deadline:
                backend.deadlines.add(deadline)
                reply = await backend.transport.attempt(self.path, written, self.meter, self.parse)
        except TimeoutError:
            raise Fault(str(backend.error or "the server is silent"), timeout=True) from None
        else:
            backend.answer(self.meter.last_s)
            return reply
        finally:
            backend.deadlines.discard(deadline)
            backend.in_flight -= 1
            self.pool.wake()

    async def _adapt(self, backend: Backend, refused: Refused) -> None:
        """Find another way of asking if a server without an answer so far refuses this one.

        Raises:
            Refused: if the request is at fault.
        """
        if refused.verdict.kind != "suspect" or self.pool.is_warm(backend):
            raise refused
        try:
            has_changed = await self.pool.adapt(backend)
        except (Fault, Refused, UnreadableReply, LLMError) as error:
            self.passed[backend] = error
            self.pool.leave_out(backend, error)
            return
        if not has_changed:
            raise refused

    def _note(self, backend: Backend, fault: Fault) -> None:
        """Note a fault, whose cost depends on whether the server or the request is to blame.

        Raises:
            Fault: if no attempt is left.
            LLMError: if this machine cannot open connections.
        """
        self.passed[backend] = fault
        if backend.fail(fault):
            self.pool.leave_out(backend, fault)
        self.broken += not (fault.unconnected or fault.timeout)
        if backend.is_open:
            self.free -= 1
        else:
            self.left -= 1
        # A schema that stops engines must not stop them all: it is sent to two of them until one has answered.
        if not (self.left and self.free) or (self.broken >= _BROKEN_FIRST and self.pool.is_cold):
            if fault.local:
                raise LLMError(f"no connection to {backend.url} can be opened from here: {fault}") from fault
            raise fault

    async def _begin_anew(self) -> None:
        """After a pause, allow the servers again that had a fault with the request.

        Raises:
            EndpointRefuses: if each of them refuses it for its account, key, path or model.
        """
        refusals: dict[Backend, Exception] = {
            backend: error for backend, error in self.passed.items() if isinstance(error, EndpointRefuses)
        }
        if len(refusals) == len(self.passed):
            raise next(reversed(refusals.values()))
        self.pauses += 1
        pauses = [error.pause for error in self.passed.values() if isinstance(error, Fault) and error.pause]
        seconds = self.pool.backoff.pause(self.pauses, min(pauses, default=None))
        self.meter.pause_s += seconds
        await asyncio.sleep(seconds)
        self.passed = refusals
