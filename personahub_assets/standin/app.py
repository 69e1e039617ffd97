"""The stand-in as an ASGI application that speaks the OpenAI and vLLM dialect of HTTP."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from personahub_assets.standin import calls, model_lists, needs, troubles, vectors, wire
from personahub_assets.standin import faults as faulty
from personahub_assets.standin.batches import BatchDesk
from personahub_assets.standin.behaviour import Behaviour
from personahub_assets.standin.calls import CHARS_PER_TOKEN, Call, RequestError
from personahub_assets.standin.endpoint_troubles import MOVED
from personahub_assets.standin.envelopes import Completion, as_tool_call
from personahub_assets.standin.faults import Faults
from personahub_assets.standin.limits import Limit
from personahub_assets.standin.model_lists import MODEL
from personahub_assets.standin.stats import Stats
from personahub_assets.standin.violations import violated
from personahub_assets.standin.wire import Receive, Reply, Scope, Send, failure, reply
from personahub_assets.standin.writer import written

MAX_BODY_BYTES = 16 * 1024 * 1024
# Digests of bodies are stored as integers to save memory in long soak tests.
_MAX_REMEMBERED = 2_000_000
_IDLE_S = 0.05

HangUp = Callable[[Any], None]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Desk:
    """Receives chat requests, applies faults, and sends replies."""

    def __init__(self, faults: Faults, latency_ms: float, hang_up: HangUp) -> None:
        self.faults, self.latency_s, self.hang_up = faults, (latency_ms or faults.latency_ms) / 1000, hang_up
        self.stats = Stats()
        self.behaviour = Behaviour(faults, self.stats)
        self._limit = Limit(faults.limit, faults.limit_s, faults.limit_told)
        self._seen: dict[int, int] = {}
        self._firsts: set[int] = set()
        self._cut_at: dict[bytes, int] = {}

    async def chat(self, scope: Scope, receive: Receive) -> Reply | None:
        """Answers `POST /v1/chat/completions`; None if the client has disconnected."""
        self.stats.enter()
        try:
            raw = await _body(receive)
            call = calls.parse(raw, self.faults.max_model_len)
            repeat, cached = self._count(call), self._cached(call)
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return self._turned_away(raw) or await _Turn(self, call, repeat, cached).reply(scope, receive)
        except RequestError as error:
            self.stats.rejected += 1
            return _refused(error)
        finally:
            self.stats.leave()

    async def tokenize(self, _scope: Scope, receive: Receive) -> Reply:
        """Answers `POST /tokenize` in vLLM's format, with the count but without the tokens."""
        self.stats.tokenize_calls += 1
        try:
            count = calls.prompt_tokens(calls.parse_object(await _body(receive)))
        except RequestError as error:
            return _refused(error)
        return reply({"count": count, "max_model_len": self.faults.max_model_len, "tokens": []})

    def _turned_away(self, raw: bytes) -> Reply | None:
        """Returns the refusal for an unsupported parameter or an exceeded rate limit, or None."""
        refused = needs.refusal(self.faults.needs, calls.parse_object(raw)) if self.faults.needs else None
        if refused:
            self.stats.faults["needs"] += 1
            return refused
        limited = self._limit.refusal()
        if limited:
            self.stats.faults["limit"] += 1
        return limited

    async def embeddings(self, _scope: Scope, receive: Receive) -> Reply:
        """Answers `POST /v1/embeddings`."""
        try:
            return vectors.embedded(calls.parse_object(await _body(receive)), self._drawn, self.faults.most_texts)
        except RequestError as error:
            return _refused(error)

    def _drawn(self, text: str) -> str | None:
        """Draws the fault of a text that is embedded."""
        is_met = self.faults.has("vector") and self.faults.only in text
        kind = self.faults.of_group("vector", text.encode("utf-8", "replace")) if is_met else None
        if kind:
            self.stats.faults[kind] += 1
        return kind

    async def models(self, scope: Scope, _receive: Receive) -> Reply:
        """Answers `GET /v1/models`."""
        listed = model_lists.MODEL_LISTS[self.faults.models].make
        return listed(self.faults.max_model_len, wire.headers(scope))

    async def health(self, _scope: Scope, _receive: Receive) -> Reply:
        """Answers `GET /health`: an empty 200."""
        return Reply(b"")

    async def show_stats(self, _scope: Scope, _receive: Receive) -> Reply:
        """Answers `GET /stats`."""
        return reply(self.stats.as_dict())

    def still_cut(self, call: Call) -> bool:
        """Tells whether this prompt is still cut: not once its `max_tokens` is larger than before."""
        max_tokens = call.max_tokens or 0
        earlier = self._cut_at.get(call.prompt_digest)
        if earlier is not None and max_tokens > earlier:
            return False
        self._cut_at[call.prompt_digest] = max_tokens
        return True

    def _count(self, call: Call) -> int:
        """Counts a call; returns how often the same body was received before."""
        key = int.from_bytes(call.digest, "little")
        earlier_calls = self._seen.get(key, 0)
        if earlier_calls or len(self._seen) < _MAX_REMEMBERED:
            self._seen[key] = earlier_calls + 1
        self.stats.calls += 1
        self.stats.repeats += earlier_calls > 0
        self.stats.by_schema[call.schema_name] += 1
        return earlier_calls

    def _cached(self, call: Call) -> int:
        """Returns the prompt tokens in a simulated prefix cache: a first message that was received before."""
        if call.first in self._firsts:
            return call.first_tokens
        if len(self._firsts) < _MAX_REMEMBERED:
            self._firsts.add(call.first)
        return 0


class _Turn:
    """Processing of one call: draw a fault, write the answer."""

    def __init__(self, desk: Desk, call: Call, repeat: int, cached: int) -> None:
        self.desk, self.faults, self.call, self.seen, self.cached = desk, desk.faults, call, repeat, cached

    async def reply(self, scope: Scope, receive: Receive) -> Reply | None:
        behaviour, is_moved = self.desk.behaviour, scope["path"].startswith(MOVED)
        trouble = None if is_moved else behaviour.trouble(self.call, self.seen, wire.headers(scope))
        if trouble:
            return trouble
        fault = self._noted(self._drawn())
        if fault == "slow":
            if await wire.gone(receive, self.faults.slow_s):
                return None
            fault = self._noted(self.faults.sticky(self.call.prompt_digest))
        if fault in ("hang", "reset"):
            return await self._silence(scope, receive, fault)
        return self._troubled(fault) or self._answer(fault)

    def _drawn(self) -> str | None:
        if not self.faults.rates:
            return None
        fault = self.faults.transient(self.call.digest, self.seen)
        if fault in faulty.TRANSPORT:
            return fault
        fault = self.faults.sticky(self.call.prompt_digest) or fault
        if fault in ("truncate", "whitespace") and not self.desk.still_cut(self.call):
            return None
        if fault == "bad_schema" and not isinstance(self.call.order.schema, dict):
            return None  # nothing to violate
        return fault

    def _noted(self, fault: str | None) -> str | None:
        if fault:
            self.desk.stats.faults[fault] += 1
        return fault

    async def _silence(self, scope: Scope, receive: Receive, fault: str) -> Reply | None:
        if fault == "reset":
            self.desk.hang_up(scope.get("client"))
        if await wire.gone(receive, self.faults.hang_s):
            return None
        return failure(504, f"No answer within {self.faults.hang_s:g} s.", code="timeout")

    def _troubled(self, fault: str | None) -> Reply | None:
        """Returns the reply that replaces the chat completion, if the fault prevents one."""
        call, variant = self.call, self.faults.variant
        if fault in ("429", "503"):
            return troubles.busy(fault, variant(call.digest, 2))
        if fault == "500":
            return troubles.crash()
        if fault == "400":
            return troubles.bad_request(variant(call.prompt_digest, 3))
        if fault == "too_long":
            return troubles.too_long(self.faults.max_model_len, call.max_tokens)
        if fault == "malformed":
            return troubles.malformed(variant(call.digest, 4))
        return None

    def _answer(self, fault: str | None) -> Reply:
        variant = self.faults.variant(self.call.prompt_digest, 12)
        if fault == "refusal":
            return self._refusal(variant)
        if fault == "whitespace":
            return self._completion(faulty.endless_whitespace(self.call.max_tokens), "length")
        if fault == "endless":
            return self._completion(faulty.endless_talk(self.call.max_tokens), "length")
        content, room = self._written(), self.call.room * CHARS_PER_TOKEN
        is_usable = fault is None or fault in ("control", "slow")
        if fault is None:
            content = self.desk.behaviour.answer(self.call, self.seen, content)
            content, is_usable = self.desk.behaviour.text(self.call, self.seen, content)
        if fault == "truncate":
            return self._completion(content[: max(1, min(len(content) // 2, room))], "length")
        if fault == "content_filter":
            return self._completion(content[: min(room, 30 + variant)] if variant % 2 else None, "content_filter")
        if fault == "bad_schema":
            ways = self.faults.variant(b"%d %s" % (self.seen, self.call.digest), 1 << 30)
            content = violated(content, self.call.order.schema, ways, room)
        elif fault:
            content = faulty.spoiled(fault, content, variant)
        if len(content) > room:
            return self._completion(content[:room], "length")
        return self._completion(content, "stop", is_usable=is_usable)

    def _written(self) -> str:
        try:
            return written(self.call.order, wants_json=self.call.wants_json)
        except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
            raise RequestError(f"The JSON schema cannot be read: {error!r}.", param="response_format") from error

    def _refusal(self, variant: int) -> Reply:
        text = faulty.refusal_text(variant // 2)
        if variant % 2:
            return self._completion(None, "stop", refusal=text)
        return self._completion(text, "stop")

    def _completion(
        self, content: str | None, finish_reason: str, refusal: str | None = None, *, is_usable: bool = False
    ) -> Reply:
        """Returns a reply with this answer; `is_usable` tells whether the answer is complete and valid."""
        call, stats = self.call, self.desk.stats
        completion_tokens = calls.tokens(len(content or refusal or ""))
        stats.prompt_tokens += call.prompt_tokens
        stats.cached_tokens += self.cached
        stats.completion_tokens += completion_tokens
        stats.sold += 1
        completion = self._envelope({"role": "assistant", "content": content, "refusal": refusal}, finish_reason)
        completion["usage"] = {
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": call.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }
        if call.tool and content:
            as_tool_call(completion, call.tool)
        answer, is_usable = self.desk.behaviour.reply(call, self.seen, completion, is_usable=is_usable)
        stats.good += is_usable
        return answer

    def _envelope(self, message: dict[str, Any], finish_reason: str) -> Completion:
        """Returns a chat completion without its usage."""
        return {
            "id": f"chatcmpl-{self.call.digest.hex()}{self.seen:04x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
        }


def create_app(faults: Faults | None = None, latency_ms: float = 0.0, hang_up: HangUp = lambda _client: None) -> App:
    """Returns the application; `hang_up` closes the connection of a (host, port) without an answer (fault `reset`)."""
    desk = Desk(faults or Faults(), latency_ms, hang_up)
    batches = BatchDesk(desk.faults, desk.stats, desk.chat)
    routes: dict[str, tuple[str, Callable[[Scope, Receive], Awaitable[Reply | None]]]] = {
        "/v1/chat/completions": ("POST", desk.chat),
        f"{MOVED}/v1/chat/completions": ("POST", desk.chat),
        "/v1/embeddings": ("POST", desk.embeddings),
        "/v1/models": ("GET", desk.models),
        "/tokenize": ("POST", desk.tokenize),
        "/health": ("GET", desk.health),
        "/stats": ("GET", desk.show_stats),
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        method, handler = routes.get(scope["path"], (None, None))
        response: Reply | None
        if handler is None and batches.serves(scope["path"]):
            response = await batches.handle(scope, receive)
        elif handler is None:
            response = failure(404, f"There is no {scope['path']}; there are {', '.join(routes)}.")
        elif scope["method"] != method:
            response = failure(405, f"{scope['path']} takes {method}, not {scope['method']}.")
        else:
            response = await handler(scope, receive)
        if response is not None:
            await response.send(send)
            if response.ending:
                _end(response.ending, hang_up, scope.get("client"))

    return app


def _end(ending: str, hang_up: HangUp, client: Any) -> None:
    """Closes the connection: at once if the body was cut, else after the client has put it back into its pool."""
    asyncio.get_running_loop().call_later(_IDLE_S if ending == "close" else 0, hang_up, client)


async def _body(receive: Receive) -> bytes:
    data = await wire.body(receive, MAX_BODY_BYTES)
    if data is None:
        raise RequestError(f"The request body is larger than {MAX_BODY_BYTES} bytes.", status=413)
    return data


def _refused(error: RequestError) -> Reply:
    return failure(error.status, error.message, param=error.param, code=error.code)
