"""HTTP to an OpenAI-compatible server: one pool of connections, and the only owner of retries and waits.

`verdicts.py` classifies a failed attempt by its reply. A transport fault is retried. A limit, or a server that is still
loading, makes all requests wait and uses no attempt (`pace.py`). After several faults in a row, over all requests, a
probe checks the server before it counts as down.

This module uses aiohttp, because calls of the openai client cost several times the CPU time (docs/decisions.md).
"""

import asyncio
import json
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import aiohttp
import tenacity
import yarl

from personahub_assets.core.access import local_obstacle
from personahub_assets.core.addresses import base_url, below, public, redact, request_headers, secrets_of
from personahub_assets.core.config import Generation
from personahub_assets.core.control_tokens import named_tokens
from personahub_assets.core.errors import EndpointDown, EndpointRefuses, KeyRefused, LLMError
from personahub_assets.core.retrying import Backoff
from personahub_assets.core.text import sanitise, shorten
from personahub_assets.core.waits import pause_before_next
from personahub_assets.endpoints import tls
from personahub_assets.endpoints.pace import OnWait, Pace
from personahub_assets.endpoints.proxies import proxy_of
from personahub_assets.endpoints.reply_errors import ErrorReply, UnreadableReply
from personahub_assets.endpoints.verdicts import CHECK_KEY, Verdict, judge, judge_error

_VARIABLE = "PERSONAHUB_LLM_URL"
_TOKENIZE = "/tokenize"
_TOKENIZER_INFO = "/tokenizer_info"
_TOKENIZER_INFO_S = 10.0
_BACKOFF = Backoff(first_s=0.5, longest_s=30.0, longest_asked_s=300.0, jitter_s=0.25)
_CONNECT_S = 10.0
_OVERLOAD = frozenset({429, 503, 504})
_OF_GATEWAY = frozenset({500, 502, 503, 504})
_PROXY_WANTS_LOGIN = 407
_GZIP = b"\x1f\x8b\x08"
_LONGEST_REPLY = 64 << 20  # bytes, decompressed
_OF_COMPLETIONS = frozenset({"choices", "usage", "output", "candidates", "response", "message"})
_REDIRECTS = frozenset({301, 302, 307, 308})
_HOPS = 3
_GET_TRIES = 3
_PROBE_S = 120.0
_SILENCES = 2  # attempts without an answer in time, before the first answer
_PROBE_AGAIN_S = 5.0
_PROBE_TRIES = 3


class Fault(Exception):
    """A fault of the network or the server that says nothing about the request."""

    def __init__(
        self,
        text: str,
        *,
        timeout: bool = False,
        overload: bool = False,
        local: bool = False,
        unconnected: bool = False,
    ):
        super().__init__(text)
        self.timeout, self.overload, self.local, self.unconnected = timeout, overload or timeout, local, unconnected
        self.pause: float | None = None  # seconds that the server asks for


_FAULTS = tenacity.retry_if_exception_type(Fault)


class Refused(Exception):
    """The server's refusal of one request.

    Attributes:
        verdict: of kind 'row', 'answer' or 'suspect'.
        body: the whole reply, to find the refused parameter.
    """

    def __init__(self, verdict: Verdict, body: str):
        super().__init__(verdict.message)
        self.verdict, self.body = verdict, body


class Limited(Exception):
    """A limit of one server, noted by its pace; the request can be sent to another server."""


class _Wait(Exception):
    """A limit, or a server that is not ready."""

    def __init__(self, verdict: Verdict):
        super().__init__(verdict.message)
        self.verdict = verdict


@dataclass(slots=True)
class Meter:
    """Durations of one request, in seconds."""

    flight_s: float = 0.0
    last_s: float = 0.0  # of the last attempt alone
    pause_s: float = 0.0
    server: str = ""  # public address of the server that answered last
    batch_line: str = ""  # the line of a batch API that the last answer came from


Body = bytes | Callable[["Transport"], bytes]
"""A request, or a function that writes it for a server."""


class Owner(Protocol):
    """What the owner of a transport can do with one of its servers."""

    async def probe(self, server: "Transport") -> None:
        """Send a harmless request; raise an error if the server does not work."""


class Transport:
    """A pool of connections to one server. Use as an async context manager.

    Args:
        url: base address, ending in /v1.
        key: sent as a bearer token; empty for none.
        timeout_s: longest time of an attempt.
        tries: attempts per request.
        faults_in_a_row: number of faults, over all requests and without an answer in between, before `probe` is called.
            Faults of requests that were in flight together count as one.
        before: called before every attempt; its exceptions are passed on.
        after: called after every attempt for which `before` raised nothing.
        on_overload: called at every limit, 503 and timeout.
        pace: decides when a request may be sent.
        headers: of hub.toml, sent with every request; a value may hold `${NAME}` of an environment variable.
        variable: the environment variable that names the address; the remedies name it and related variables.
        backoff: pauses between the attempts of a request.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float,
        tries: int,
        faults_in_a_row: int,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
        on_overload: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
        headers: Mapping[str, str] | None = None,
        variable: str = _VARIABLE,
        backoff: Backoff | None = None,
    ):
        self._variable, self.backoff = variable, backoff or _BACKOFF
        self.url, self._limit = public(url.strip().rstrip("/")), faults_in_a_row
        own = request_headers(url, key, variable, headers or {}, os.environ)
        self._base = base_url(url, variable)
        self._proxy = proxy_of(self._base)
        of_proxy = secrets_of(self._proxy.url) if self._proxy else ()
        addresses = (self._base, self._proxy.url if self._proxy else "")
        self._tls = tls.context() if any(each.lower().startswith("https:") for each in addresses) else True
        self._secrets = (key, *secrets_of(url), *of_proxy, *map(own.__getitem__, headers or {}))
        self._addresses: dict[str, yarl.URL] = {}
        self._stop = tenacity.stop_after_attempt(tries)
        self._before, self._after, self._on_overload = before, after, on_overload
        self._headers = {**own, "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(_CONNECT_S, timeout_s))
        self._session: aiohttp.ClientSession | None = None
        self.pace = pace or Pace(Generation().longest_wait)
        self.probe: Callable[[], Awaitable[None]] | None = None  # raises an error if the server does not work
        self._probing = asyncio.Lock()
        self._flying = self._faults = self._allowed = self._forgiven = 0
        self._answers = self._silences = 0
        self._heard = time.perf_counter()  # the last reply, or the begin of the requests in flight
        self.counts = True  # whether the server has a route that counts tokens; None if unknown

    async def __aenter__(self) -> "Transport":
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ssl=self._tls)
        cookies = aiohttp.DummyCookieJar()
        # Without headers: aiohttp would send those of a session, with the key, to the proxy as well.
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=cookies,
            proxy=self._proxy.url if self._proxy else None,  # not trust_env, which reads ~/.netrc, too
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        await asyncio.sleep(0)  # connections close in the loop's next iteration, and this one can be its last

    @property
    def servers(self) -> tuple["Transport", ...]:
        """The server itself; a pool has several."""
        return (self,)

    def attach(self, owner: "Owner", on_wait: OnWait) -> None:
        """Set who probes the server, and who is told about waits."""
        self.probe = partial(owner.probe, self)
        self.pace.on_wait = on_wait

    @property
    def silence(self) -> float:
        """Seconds without any reply while requests are in flight."""
        return time.perf_counter() - self._heard if self._flying else 0.0

    def hear(self) -> None:
        """Note a sign of life."""
        self._heard = time.perf_counter()

    async def post(
        self,
        path: str,
        body: Body,
        meter: Meter,
        *,
        parse: Callable[[bytes], Any] = json.loads,
        tries: int | None = None,
    ) -> Any:
        """Send a request until there is a reply.

        Args:
            path: below the base address.
            body: the request, or a function that writes it for this server.
            meter: records the durations.
            parse: reads a reply. A ValueError counts as a transport fault (a proxy's page, half a reply), an ErrorReply
                is judged like an error status, and an UnreadableReply that was paid for is passed on.
            tries: attempts, if other than those of the transport.

        Raises:
            Fault: the last one, if no attempt was answered.
            Refused: if the server says that this request or its answer is wrong.
            ErrorReply: if a reply has no choices.
            UnreadableReply: if no answer can be read from a reply; a retry would be paid again.
            EndpointRefuses: if the account, the key, the path or the model is wrong.
            EndpointDown: if the server failed too often in a row.
            LimitReached: if the server asks for a wait longer than the limit.
            LLMError: if this machine cannot open a connection.
            BudgetSpent: from `before`.
        """
        body = body(self) if callable(body) else body
        try:
            return await self._try(path, body, meter, parse)
        except Fault as fault:
            # Tenacity costs as much CPU time as the request itself, so it is used only for retries.
            return await self._again(fault, tries, path, body, meter, parse)

    async def _again(self, first: Fault, tries: int | None, *request: Any) -> Any:
        meter: Meter = request[2]
        faults = [first]

        async def pause(seconds: float) -> None:
            meter.pause_s += seconds
            await asyncio.sleep(seconds)

        async def attempt() -> Any:
            if faults:
                raise faults.pop()
            return await self._try(*request)

        stop = self._stop if tries is None else tenacity.stop_after_attempt(tries)
        retrying = tenacity.AsyncRetrying(retry=_FAULTS, stop=stop, wait=self.backoff, sleep=pause, reraise=True)
        try:
            return await retrying(attempt)
        except Fault as fault:
            if fault.local:
                raise LLMError(f"no connection to {self.url} can be opened from here: {fault}") from fault
            raise

    async def tokenize(self, body: bytes) -> int | None:
        """Prompt tokens counted by the server; None if it cannot count (only vLLM and similar servers can) or fails."""
        if not self.counts:
            return None
        try:
            return int(json.loads(await self._send(_TOKENIZE, body))["count"])
        except (LLMError, Refused, KeyError, TypeError, ValueError):
            self.counts = False
        except (Fault, _Wait):
            pass
        return None

    async def control_tokens(self) -> frozenset[str]:
        """Control tokens of the server's tokenizer; empty if the server does not list them (vLLM can).

        See `enable-tokenizer-info-endpoint` in vllm/serve.yaml.
        """
        assert self._session is not None, "use the transport in an async with block"
        timeout = aiohttp.ClientTimeout(total=_TOKENIZER_INFO_S)
        try:
            async with self._session.get(
                self._address(_TOKENIZER_INFO), headers=self._headers, timeout=timeout
            ) as reply:
                return named_tokens(await reply.json(content_type=None)) if reply.status == 200 else frozenset()
        except (aiohttp.ClientError, OSError, ValueError, RecursionError):
            return frozenset()  # tokens of the common forms are broken anyway

    async def get(self, path: str) -> bytes:
        """Fetch a page below the base address; faults and limits are retried a few times.

        Raises:
            Fault, Refused, EndpointRefuses, LLMError: as `post` does.
        """
        for left in range(_GET_TRIES - 1, -1, -1):
            try:
                return await self._send(path, None)
            except _Wait as wait:
                if not left:
                    raise Fault(wait.verdict.message, overload=True) from wait
                await asyncio.sleep(min(wait.verdict.wait_s or 1.0, _CONNECT_S))
            except Fault as fault:
                if not left or fault.local:
                    raise
                await asyncio.sleep(min(fault.pause or 0.5, _CONNECT_S))
        raise AssertionError("unreachable: the loop returns or raises")

    async def send_once(self, path: str, body: Body, parse: Callable[[bytes], Any], tries: int = _PROBE_TRIES) -> Any:
        """Send a request once, independent of all others; its result does not change the counts of faults or the pace.

        Raises:
            Fault, Refused, UnreadableReply, EndpointRefuses, LLMError: as `post` does.
            BudgetSpent: from `before`.
        """
        until, seconds = time.monotonic() + self.pace.longest_s, _PROBE_AGAIN_S
        body, left = body(self) if callable(body) else body, tries
        while True:
            self._before()
            try:
                async with asyncio.timeout(_PROBE_S):
                    return parse(await self._send(path, body))
            except TimeoutError as error:
                raise Fault(f"no answer within {_PROBE_S:g} s", timeout=True) from error
            except (Fault, UnreadableReply):
                left -= 1
                if not left:
                    raise
                seconds = self.backoff.pause(tries - left)
            except ErrorReply as error:
                if error.is_empty:
                    return None
                raise self._error_in_success(error) from error
            except _Wait as wait:
                seconds = wait.verdict.wait_s or _PROBE_AGAIN_S
                if time.monotonic() + seconds > until:
                    raise Fault(wait.verdict.message, overload=True) from wait
            finally:
                self._after()
            await asyncio.sleep(seconds)

    async def attempt(self, path: str, body: bytes, meter: Meter, parse: Callable[[bytes], Any]) -> Any:
        """One attempt after the wait of this server, without retries: for a caller with other servers to ask.

        Raises:
            Limited: if the server limits requests; `pace` knows for how long.
            Fault, Refused, ErrorReply, UnreadableReply, LLMError, BudgetSpent: as `post` does.
        """
        waits = time.perf_counter()
        round_ = await self.pace.enter()
        meter.pause_s += time.perf_counter() - waits
        try:
            return await self._once(path, body, meter, parse)
        except _Wait as wait:
            self._on_overload()
            self.pace.limited(round_, wait.verdict.wait_s, wait.verdict.message)
            raise Limited(wait.verdict.message) from wait
        finally:
            self.pace.leave()

    async def _try(self, path: str, body: bytes, meter: Meter, parse: Callable[[bytes], Any]) -> Any:
        """One attempt of a request; waits while the server limits requests."""
        while True:
            with suppress(Limited):
                return await self.attempt(path, body, meter, parse)

    async def _once(self, path: str, body: bytes, meter: Meter, parse: Callable[[bytes], Any]) -> Any:
        self._before()
        started, answers = time.perf_counter(), self._answers
        if not self._flying:
            self._heard = started
        self._flying += 1
        try:
            reply = parse(await self._send(path, body))
        except Fault as fault:
            await self._fault(fault, answers)
            raise
        except ErrorReply as error:
            if error.is_empty:
                raise
            raise await self._count_fault_of(self._error_in_success(error), answers) from error
        except ValueError as error:
            if isinstance(error, UnreadableReply) and _is_paid(error):
                raise
            unreadable = Fault(f"the reply cannot be read: {shorten(self._masked(str(error)))}")
            await self._fault(unreadable, answers)
            raise unreadable from error
        finally:
            self._flying -= 1
            self._after()
            meter.last_s = time.perf_counter() - started
            meter.flight_s += meter.last_s
        self._faults = self._forgiven = 0
        self._answers += 1
        meter.server = self.url
        self.pace.answered()
        return reply

    def _error_in_success(self, error: ErrorReply) -> Exception:
        """Convert an error in a reply of status 200 into an exception."""
        masked = self._masked_bytes(error.body)
        return self._error_of(judge_error(error.code, self._masked(error.message), masked), masked)

    async def _count_fault_of(self, problem: Exception, answers: int) -> Exception:
        """Return the same exception; a fault is counted."""
        if isinstance(problem, Fault):
            await self._fault(problem, answers)
        return problem

    async def exchange(
        self, method: str, path: str, body: bytes | aiohttp.FormData | None = None, sink: BinaryIO | None = None
    ) -> bytes:
        """Send one request of any method, without retries; its result does not change the counts of faults.

        Args:
            body: JSON, or a form with a file.
            sink: gets the body of a good reply, which can be large; the returned body is then empty.

        Raises:
            Fault: also for a limit; its `pause` has the seconds that the server asks for.
            Refused, EndpointRefuses, LLMError: as `post` does.
        """
        try:
            return await self._send(path, body, method, sink)
        except _Wait as wait:
            raise _as_fault(wait) from wait

    def read(self, status: int, content: bytes, parse: Callable[[bytes], Any]) -> Any:
        """Read an answer that did not come over HTTP, such as a line of a file, as if it had.

        Raises:
            Fault, Refused, ErrorReply, UnreadableReply, EndpointRefuses: as `post` does.
        """
        masked = self._masked_bytes(content)
        try:
            if not 200 <= status < 300:
                raise self._error_of(judge(status, {}, masked), masked, status)
            return parse(content)
        except _Wait as wait:
            raise _as_fault(wait) from wait
        except ErrorReply as error:
            if error.is_empty:
                raise
            problem = self._error_in_success(error)
            raise _as_fault(problem) if isinstance(problem, _Wait) else problem from error

    async def _send(
        self,
        path: str,
        body: bytes | aiohttp.FormData | None,
        method: str | None = None,
        sink: BinaryIO | None = None,
    ) -> bytes:
        """The body of a good reply; redirects on the same host are followed, as a POST."""
        address = self._address(path)
        for _ in range(_HOPS):
            reply, content = await self._exchange(address, body, method or ("GET" if body is None else "POST"), sink)
            if 200 <= reply.status < 300:
                if (pause := pause_before_next(reply.headers)) is not None:
                    self.pace.pause(pause, "nothing is left of the limit that it names")
                return content
            target = reply.headers.get("Location")
            if not target or reply.status not in _REDIRECTS:
                break
            following = address.join(yarl.URL(target))
            if not _is_same_host(address, following):
                break
            address = following
        if target := reply.headers.get("Location"):
            raise LLMError(
                f"{self.url} redirects to {self._masked(target)} ({reply.status}); key and prompts are not "
                f"sent there unless {self._variable} names it"
            )
        masked = self._masked_bytes(content)
        raise self._error_of(judge(reply.status, reply.headers, masked), masked, reply.status)

    async def _exchange(
        self, address: yarl.URL, body: bytes | aiohttp.FormData | None, method: str, sink: BinaryIO | None
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        assert self._session is not None, "use the transport in an async with block"
        headers, options = self._headers, dict[str, Any]()
        if sink is not None or isinstance(body, aiohttp.FormData):  # of any size: only a pause is a timeout
            headers = {name: value for name, value in headers.items() if name != "Content-Type"}
            options["timeout"] = aiohttp.ClientTimeout(connect=self._timeout.connect, sock_read=self._timeout.total)
        try:
            async with self._session.request(
                method, address, data=body, headers=headers, allow_redirects=False, **options
            ) as reply:
                content = await _content(reply) if sink is None or reply.status >= 300 else await _drain(reply, sink)
                self.hear()
                return reply, content
        except aiohttp.ConnectionTimeoutError as error:
            raise Fault(f"no connection within {self._timeout.connect:g} s", unconnected=True) from error
        except TimeoutError as error:
            raise Fault(f"no answer within {self._timeout.total:g} s", timeout=True) from error
        except aiohttp.ClientHttpProxyError as error:  # of CONNECT: the server has seen nothing
            raise self._of_proxy(error.status, str(error.message)) from None
        except (aiohttp.ClientError, OSError) as error:
            if reason := tls.obstacle(error, self._variable):
                self._faults = 0
                raise EndpointRefuses(f"{self.url}: {self._with_proxy(self._masked(reason))}") from None
            if reason := local_obstacle(error):
                raise Fault(reason, local=True, unconnected=True) from error
            unconnected = isinstance(error, aiohttp.ClientConnectorError)
            raise Fault(
                self._with_proxy(f"{type(error).__name__}: {self._masked(str(error))}"),
                unconnected=unconnected,
            ) from None
        except ValueError as error:  # of the request: the reply was not looked at
            raise LLMError(f"cannot send requests to {self.url}: {self._masked(str(error))}") from None

    def _address(self, path: str) -> yarl.URL:
        if path not in self._addresses:
            instead_of = "/v1" if path in (_TOKENIZE, _TOKENIZER_INFO) else ""
            page, _, query = path.partition("?")
            try:
                address = yarl.URL(below(self._base, page, instead_of=instead_of))  # parsed once
                self._addresses[path] = address.update_query(query) if query else address
            except ValueError as error:
                raise LLMError(f"cannot send requests to {self.url}: {self._masked(str(error))}") from None
        return self._addresses[path]

    @property
    def _more_time(self) -> str:
        is_chat = self._variable.endswith("LLM_URL")
        return "raise generation.timeout_s in hub.toml, and" if is_chat else "use a faster server, or raise"

    def _masked(self, text: str) -> str:
        """A message of a server or a library without the key and the address's secrets, which it can quote."""
        return sanitise(redact(text, *self._secrets))[0]

    def _masked_bytes(self, content: bytes) -> bytes:
        return redact(content.decode("utf-8", "replace"), *self._secrets).encode("utf-8", "replace")

    def _with_proxy(self, words: str) -> str:
        return f"{words.rstrip('.')}. {self._proxy.description}" if self._proxy else words

    def _of_proxy(self, status: int, words: str) -> Exception:
        """The exception for a proxy's own error; the request was not passed on."""
        message = self._with_proxy(f"{status}: {self._masked(words)}")
        if status == _PROXY_WANTS_LOGIN and self._proxy:
            self._faults = 0
            return EndpointRefuses(
                f"{self.url}: the proxy wants a user name and a password: write {self._proxy.variable} as "
                f"http://user:password@host:port, with special characters as %XX. {message}"
            )
        if status in _OF_GATEWAY:
            return Fault(message, overload=status in _OVERLOAD)
        self._faults = 0
        return EndpointRefuses(f"{self.url}: the proxy refuses: {message}")

    def _error_of(self, verdict: Verdict, body: bytes, status: int = 200) -> Exception:
        """The exception for an error reply."""
        if status == _PROXY_WANTS_LOGIN and self._proxy:
            return self._of_proxy(status, verdict.message.removeprefix(f"{status}: "))
        if self._proxy and body.lstrip().startswith(b"<"):  # model servers write no HTML pages
            verdict = replace(verdict, message=self._with_proxy(verdict.message))
        remedy = verdict.remedy.replace(_VARIABLE.removesuffix("URL"), self._variable.removesuffix("URL"))
        if verdict.kind in ("limit", "loading"):
            return _Wait(verdict)
        if verdict.kind == "fault" or (verdict.kind == "setup" and status >= 500):
            words = f"{verdict.message.rstrip('.')}. {remedy}" if remedy else verdict.message.rstrip(".")
            fault = Fault(words, overload=status in _OVERLOAD)
            fault.pause = verdict.wait_s
            return fault
        self._faults = 0
        if verdict.kind in ("account", "setup"):
            error = KeyRefused if verdict.remedy == CHECK_KEY else EndpointRefuses
            return error(f"{self.url}: {verdict.message.rstrip('.')}. {remedy}")
        return Refused(replace(verdict, remedy=remedy), body.decode("utf-8", "replace"))

    async def _fault(self, fault: Fault, answers: int) -> None:
        """Count a fault; faults of requests that were in flight together count as one.

        Args:
            fault: the fault.
            answers: number of answers when the request was sent.

        Raises:
            EndpointDown: if there were too many faults in a row and the probe fails, too.
        """
        if fault.overload:
            self._on_overload()
        if fault.pause is not None:
            return  # a server that names a time to retry is not down; the attempts of the request bound this
        if fault.local:
            self._on_overload()  # a limit of this machine, not of the server; fewer connections can suffice
            return
        if not self._faults:
            self._allowed = self._limit + self._flying - 1 + self._forgiven
        self._faults += 1
        # No answer for the longest time of an attempt: further waits of this length would take hours.
        is_silent = fault.timeout and answers == self._answers and self.probe is not None
        if self._faults >= self._allowed or is_silent:
            await self._probe_server(fault)
            self._silences += is_silent and not self._answers
            if self._silences >= _SILENCES:
                raise EndpointDown(
                    f"{self.url}: {fault}, {self._silences} times, though it answers a short question. Each attempt "
                    f"can cost money: {self._more_time} the limit of a proxy in between"
                ) from fault

    async def _probe_server(self, fault: Fault) -> None:
        """Send a probe to the server: if it is answered, the requests cause the faults."""
        faults = self._faults
        async with self._probing:
            if self._faults < faults:
                return  # another task has probed meanwhile, or there was an answer
            if self.probe is not None:
                try:
                    await self.probe()
                except (Fault, Refused, UnreadableReply) as error:
                    raise self._endpoint_down(error) from fault
                self._faults, self._forgiven = 0, 2 * self._forgiven + self._limit
                return
        raise self._endpoint_down(fault) from fault

    def _endpoint_down(self, fault: Exception) -> EndpointDown:
        return EndpointDown(
            f"{self.url}: {self._faults} transport faults in a row, the last: {str(fault).rstrip('.')}. "
            "The answers so far are in the journal; bring the endpoint back and run again"
        )


def _is_paid(error: UnreadableReply) -> bool:
    """Whether a model wrote the unreadable reply: a completion of some kind or a stream, not a proxy's page."""
    try:
        reply = json.loads(error.body)
    except (ValueError, RecursionError):
        return error.body.lstrip().startswith("data:")
    return isinstance(reply, dict) and not _OF_COMPLETIONS.isdisjoint(reply)


def _is_same_host(address: yarl.URL, target: yarl.URL) -> bool:
    """Whether the key may go to a redirect's target: the same host and port, or from http to https."""
    if address.host != target.host or target.scheme not in ("http", "https"):
        return False
    is_upgrade = address.scheme == "http" and target.scheme == "https"
    return (address.port == target.port and address.scheme == target.scheme) or is_upgrade


async def _content(reply: aiohttp.ClientResponse) -> bytes:
    """Read the body of a reply, with a limit for its decompressed size."""
    pieces, size = list[bytes](), 0
    while piece := await reply.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > _LONGEST_REPLY:
            raise Fault(f"the reply has more than {_LONGEST_REPLY:,} bytes")
    content = b"".join(pieces)
    return _unpacked(content) if content.startswith(_GZIP) else content


async def _drain(reply: aiohttp.ClientResponse, sink: BinaryIO) -> bytes:
    """Write the body of a reply to a file; return nothing of it."""
    async for piece in reply.content.iter_any():
        sink.write(piece)
    return b""


def _as_fault(wait: _Wait) -> Fault:
    """A limit as a fault with the time that the server asks to wait."""
    fault = Fault(wait.verdict.message, overload=True)
    fault.pause = wait.verdict.wait_s
    return fault


def _unpacked(content: bytes) -> bytes:
    """Unpack gzip data without a standard header; unchanged if it cannot be unpacked."""
    try:
        return zlib.decompressobj(wbits=31).decompress(content, _LONGEST_REPLY)
    except zlib.error:
        return content
