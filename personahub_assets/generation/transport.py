"""HTTP to an OpenAI-compatible server: one connection pool, and the only place with retries.

aiohttp and not the openai client, whose calls cost several times the CPU time (docs/decisions.md).
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import tenacity
import yarl

from personahub_assets.core.access import local_obstacle
from personahub_assets.core.addresses import authorization, base_url, below, public, redact, secrets_of
from personahub_assets.core.control_tokens import named_tokens
from personahub_assets.core.errors import EndpointDown, LLMError
from personahub_assets.core.retry_after import pause_asked
from personahub_assets.core.text import shorten

VARIABLE = "PERSONAHUB_LLM_URL"
_TOKENIZE = "/tokenize"
_TOKENIZER_INFO = "/tokenizer_info"
_TOKENIZER_INFO_S = 10.0
_BACKOFF_S = 30.0
_BACKOFF = tenacity.wait_exponential_jitter(multiplier=0.25, max=_BACKOFF_S, jitter=0.25)
_JITTER = tenacity.wait_random(0, 0.25)
_CONNECT_S = 10.0
_RETRY_AFTER_S = 300.0
_LONGEST_REPLY = 64 << 20  # bytes, decompressed
_AGAIN = frozenset({408, 409, 425, 429})  # besides 5xx
_OVERLOAD = frozenset({429, 503, 504})
_SETUP = frozenset({401, 403, 404})


class Fault(Exception):
    """A transport fault, independent of the request."""

    def __init__(
        self,
        text: str,
        *,
        timeout: bool = False,
        overload: bool = False,
        pause: float | None = None,
        local: bool = False,
    ):
        super().__init__(text)
        self.timeout, self.overload, self.pause, self.local = timeout, overload or timeout, pause, local


_FAULTS = tenacity.retry_if_exception_type(Fault)


class Refused(Exception):
    """A status 4xx about this request."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.too_long = status == 413 or any(
            sign in text for sign in ("context length", "context_length", "max_model_len", "input_tokens")
        )


@dataclass(slots=True)
class Meter:
    """Durations of one request, in seconds."""

    flight_s: float = 0.0
    last_s: float = 0.0  # of the last try alone
    pause_s: float = 0.0


class Transport:
    """A pool of connections to one server. Use as an async context manager.

    Args:
        url: base address, ending in /v1.
        key: sent as a bearer token; empty for none.
        timeout_s: timeout of one try, in seconds.
        tries: maximal tries of one request.
        faults_in_a_row: faults of all requests without an answer in between, after which the server counts as down.
            Faults of requests that were in flight together count as one.
        before: called before every try; its exceptions are passed on.
        after: called after every try for which `before` raised nothing.
        on_overload: called at every 429, 503 and timeout.
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
    ):
        self.url, self._limit = public(url.strip().rstrip("/")), faults_in_a_row
        self._base, self._secrets = base_url(url, VARIABLE), (key, *secrets_of(url))
        self._addresses: dict[str, yarl.URL] = {}
        self._stop = tenacity.stop_after_attempt(tries)
        self._before, self._after, self._on_overload = before, after, on_overload
        self._headers = {**authorization(url, key, VARIABLE), "Content-Type": "application/json"}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(_CONNECT_S, timeout_s))
        self._session: aiohttp.ClientSession | None = None
        self._flying = self._faults = self._allowed = 0
        self._answered = False  # after an answer, a 403 is about one prompt: gateways filter
        self.counts = True  # whether the server has a route that counts tokens; assumed until it fails

    async def __aenter__(self) -> "Transport":
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
        cookies = aiohttp.DummyCookieJar()
        self._session = aiohttp.ClientSession(
            connector=connector, headers=self._headers, timeout=self._timeout, cookie_jar=cookies
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()
        await asyncio.sleep(0)  # the next iteration of the loop closes the connections, and this can be its last one

    async def post(self, path: str, body: bytes, meter: Meter, *, parse: Callable[[bytes], Any] = json.loads) -> Any:
        """Send a request until there is a reply.

        Args:
            path: below the base address.
            meter: receives the durations.
            parse: reads a reply; a ValueError counts as a transport fault (a proxy's page, half a reply).

        Raises:
            Fault: the last one, if no try got a reply.
            Refused: if the server rejects this request.
            EndpointDown: if the server failed too often in a row.
            LLMError: if it refuses the key, the path or the model, or this machine cannot open a connection.
            BudgetSpent: from `before`.
        """
        try:
            return await self._once(path, body, meter, parse)
        except Fault as fault:
            # Tenacity costs as much CPU time as the request itself, so it is used only for retries.
            return await self._again(fault, path, body, meter, parse)

    async def _again(self, first: Fault, *request: Any) -> Any:
        meter: Meter = request[2]
        faults = [first]

        async def pause(seconds: float) -> None:
            meter.pause_s += seconds
            await asyncio.sleep(seconds)

        async def attempt() -> Any:
            if faults:
                raise faults.pop()
            return await self._once(*request)

        retrying = tenacity.AsyncRetrying(retry=_FAULTS, stop=self._stop, wait=_pause, sleep=pause, reraise=True)
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
        except Fault:
            pass
        return None

    async def control_tokens(self) -> frozenset[str]:
        """Control tokens of the server's tokenizer; empty if the server does not list them (vLLM can).

        See `enable-tokenizer-info-endpoint` in vllm/serve.yaml.
        """
        assert self._session is not None, "use the transport in an async with block"
        timeout = aiohttp.ClientTimeout(total=_TOKENIZER_INFO_S)
        try:
            async with self._session.get(self._address(_TOKENIZER_INFO), timeout=timeout) as reply:
                return named_tokens(await reply.json(content_type=None)) if reply.status == 200 else frozenset()
        except (aiohttp.ClientError, OSError, ValueError, RecursionError):
            return frozenset()  # tokens of the common forms are broken anyway

    async def _once(self, path: str, body: bytes, meter: Meter, parse: Callable[[bytes], Any]) -> Any:
        self._before()
        started = time.perf_counter()
        self._flying += 1
        try:
            reply = parse(await self._send(path, body))
        except Fault as fault:
            self._fault(fault)
            raise
        except ValueError as error:
            unreadable = Fault(f"the reply cannot be read: {shorten(self._masked(str(error)))}")
            self._fault(unreadable)
            raise unreadable from error
        finally:
            self._flying -= 1
            self._after()
            meter.last_s = time.perf_counter() - started
            meter.flight_s += meter.last_s
        self._faults, self._answered = 0, True
        return reply

    async def _send(self, path: str, body: bytes) -> bytes:
        assert self._session is not None, "use the transport in an async with block"
        try:
            async with self._session.post(self._address(path), data=body, allow_redirects=False) as reply:
                content = await _content(reply)
        except aiohttp.ConnectionTimeoutError as error:
            raise Fault(f"no connection within {self._timeout.connect:g} s") from error
        except TimeoutError as error:
            raise Fault(f"no answer within {self._timeout.total:g} s", timeout=True) from error
        except (aiohttp.ClientError, OSError) as error:
            if reason := local_obstacle(error):
                raise Fault(reason, local=True) from error
            raise Fault(f"{type(error).__name__}: {self._masked(str(error))}") from None
        except ValueError as error:  # a fault of the request: the reply was not read
            raise LLMError(f"{self.url}: cannot send requests: {self._masked(str(error))}") from None
        if reply.status == 200:
            return content
        text = self._masked(content.decode("utf-8", "replace"))
        if target := reply.headers.get("Location"):
            raise LLMError(
                f"{self.url} redirects to {self._masked(target)} ({reply.status}); key and prompts are not "
                f"sent there unless {VARIABLE} names it"
            )
        raise self._error_of(reply.status, pause_asked(reply.headers), text)

    def _address(self, path: str) -> yarl.URL:
        if path not in self._addresses:
            instead_of = "/v1" if path in (_TOKENIZE, _TOKENIZER_INFO) else ""
            self._addresses[path] = yarl.URL(below(self._base, path, instead_of=instead_of))  # parsed once
        return self._addresses[path]

    def _masked(self, text: str) -> str:
        """A message of a server or a library without the key and the address's secrets, which it can quote."""
        return redact(text, *self._secrets)

    def _error_of(self, status: int, pause: float | None, text: str) -> Exception:
        """The error of a status: about transport, configuration, or this request."""
        text = shorten(text.strip() or "no text", 400)
        if status >= 500 or status in _AGAIN or status < 400:
            return Fault(f"{status}: {text}", overload=status in _OVERLOAD, pause=pause)
        self._faults = 0
        if status in _SETUP and not (self._answered and status != 401):
            return LLMError(
                f"{self.url}: {status}: {text}. Check PERSONAHUB_LLM_URL (it ends in /v1), "
                "PERSONAHUB_LLM_MODEL and PERSONAHUB_LLM_API_KEY, then: personahub doctor"
            )
        return Refused(status, f"{status}: {text}")

    def _fault(self, fault: Fault) -> None:
        """Count a fault; faults of requests in flight at the first one count as one."""
        if fault.overload:
            self._on_overload()
        if fault.local:
            self._on_overload()  # fewer connections can suffice; no fault of the server
            return
        if fault.pause is not None:
            return  # a server that sends Retry-After is not down; the tries of the request bound this
        if not self._faults:
            self._allowed = self._limit + self._flying - 1
        self._faults += 1
        if self._faults >= self._allowed:
            raise EndpointDown(
                f"{self._faults} transport faults in a row, the last: {fault}. "
                "The answers so far are in the journal; bring the endpoint back and run again"
            ) from fault


async def _content(reply: aiohttp.ClientResponse) -> bytes:
    """Read the body of a reply, with a limit for its decompressed size."""
    pieces, size = list[bytes](), 0
    while piece := await reply.content.readany():
        pieces.append(piece)
        size += len(piece)
        if size > _LONGEST_REPLY:
            raise Fault(f"the reply has more than {_LONGEST_REPLY:,} bytes")
    return b"".join(pieces)


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds to wait: as the server asks, else exponential backoff; with jitter."""
    fault = state.outcome.exception() if state.outcome else None
    requested_s = fault.pause if isinstance(fault, Fault) else None
    # A past date, or 0, means only "retry".
    return min(requested_s, _RETRY_AFTER_S) + _JITTER(state) if requested_s else _BACKOFF(state)
