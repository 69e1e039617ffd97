"""The stand-in as an ASGI application that speaks the OpenAI and vLLM dialect of HTTP."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from personahub_assets.standin import faults as faulty
from personahub_assets.standin.faults import Faults
from personahub_assets.standin.source import message_text
from personahub_assets.standin.writer import schema_name, schema_of, write

MODEL = "standin"
MAX_MODEL_LEN = 32_768
MAX_BODY_BYTES = 16 * 1024 * 1024
_CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 3
# Hex digests of bodies are kept as integers; a long soak test must not fill the memory.
_MAX_REMEMBERED = 2_000_000

HangUp = Callable[[Any], None]


class RequestError(Exception):
    """A request that is answered with 4xx and an OpenAI-style error body."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


@dataclass(frozen=True, slots=True)
class Call:
    """One chat request that is in order."""

    body: dict[str, Any]
    digest: bytes
    prompt_digest: bytes
    prompt_tokens: int
    max_tokens: int | None
    seen: int

    def room(self) -> int:
        """Returns the number of tokens that the answer may have."""
        left = MAX_MODEL_LEN - self.prompt_tokens
        return left if self.max_tokens is None else min(self.max_tokens, left)


class Stats:
    """What the server has been asked and has answered since it started."""

    def __init__(self) -> None:
        self.started_at = time.time()
        self.calls = self.rejected = self.repeats = self.in_flight = self.in_flight_max = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.by_schema: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def enter(self) -> None:
        """Notes that a request has come in."""
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)

    def leave(self) -> None:
        """Notes that a request is done with."""
        self.in_flight -= 1

    def as_dict(self) -> dict[str, Any]:
        """Returns the counters as they go out under `/stats`."""
        return {
            "calls": self.calls,
            "calls_by_schema": dict(self.by_schema),
            "rejected": self.rejected,
            "repeats": self.repeats,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "faults": dict(self.faults),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "started_at": self.started_at,
        }


class Desk:
    """Takes chat requests, lets the faults have their turn, and answers."""

    def __init__(self, faults: Faults, latency_ms: float, hang_up: HangUp) -> None:
        self.faults, self.latency_s, self.hang_up = faults, (latency_ms or faults.latency_ms) / 1000, hang_up
        self.stats = Stats()
        self._seen: dict[int, int] = {}
        self._cut_at: dict[bytes, int] = {}

    async def chat(self, request: Request) -> Response:
        """Answers `POST /v1/chat/completions`."""
        self.stats.enter()
        try:
            call = self._accept(await _body(request))
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            return await self._respond(call, request)
        except RequestError as error:
            self.stats.rejected += 1
            return _error(error.status, error.message, param=error.param, code=error.code)
        finally:
            self.stats.leave()

    async def tokenize(self, request: Request) -> Response:
        """Answers `POST /tokenize` in vLLM's shape, without the tokens themselves."""
        try:
            body = _parsed(await _body(request))
            count = _prompt_tokens(body)
        except RequestError as error:
            return _error(error.status, error.message, param=error.param, code=error.code)
        return JSONResponse({"count": count, "max_model_len": MAX_MODEL_LEN, "tokens": []})

    def _accept(self, raw: bytes) -> Call:
        body = _parsed(raw)
        _check(body)
        max_tokens = _max_tokens(body)
        prompt_tokens = _prompt_tokens(body)
        if prompt_tokens + (max_tokens or 1) > MAX_MODEL_LEN:
            raise RequestError(
                f"This model's maximum context length is {MAX_MODEL_LEN} tokens, but {prompt_tokens} in the messages "
                f"and {max_tokens or 1} for the answer were asked for. Shorten the messages or lower max_tokens.",
                param="messages",
                code="context_length_exceeded",
            )
        digest = blake2b(raw, digest_size=8).digest()
        return Call(body, digest, _prompt_digest(body), prompt_tokens, max_tokens, self._count(digest, body))

    def _count(self, digest: bytes, body: dict[str, Any]) -> int:
        key = int.from_bytes(digest, "little")
        seen = self._seen.get(key, 0)
        if seen or len(self._seen) < _MAX_REMEMBERED:
            self._seen[key] = seen + 1
        self.stats.calls += 1
        self.stats.repeats += seen > 0
        self.stats.by_schema[schema_name(body)] += 1
        return seen

    async def _respond(self, call: Call, request: Request) -> Response:
        fault = self._fault(call)
        if fault:
            self.stats.faults[fault] += 1
        if fault == "429":
            pause = str(self.faults.variant(call.digest, 2))
            return _error(429, "Rate limit reached.", code="rate_limit_exceeded", headers={"retry-after": pause})
        if fault == "500":
            return _error(500, "The server had an error while processing the request.", code="internal_error")
        if fault in ("hang", "reset"):
            return await self._go_silent(request, fault)
        return self._answer(call, fault)

    def _fault(self, call: Call) -> str | None:
        if not self.faults.rates:
            return None
        fault = self.faults.transient(call.digest, call.seen)
        if fault in faulty.TRANSPORT:
            return fault
        if self.faults.refuses(call.prompt_digest):
            return "refusal"
        if fault in ("truncate", "whitespace"):
            return fault if self._still_cut(call) else None
        return fault

    def _still_cut(self, call: Call) -> bool:
        """A prompt whose answer was cut is spared once it comes with more room."""
        asked = call.max_tokens or 0
        earlier = self._cut_at.get(call.prompt_digest)
        if earlier is not None and asked > earlier:
            return False
        self._cut_at[call.prompt_digest] = asked
        return True

    async def _go_silent(self, request: Request, fault: str) -> Response:
        if fault == "reset":
            self.hang_up(request.scope.get("client"))
        try:
            await asyncio.wait_for(_gone(request), self.faults.hang_s)
        except TimeoutError:
            return _error(504, f"No answer within {self.faults.hang_s:g} s.", code="timeout")
        return Response(status_code=499)  # nobody is left to read it

    def _answer(self, call: Call, fault: str | None) -> Response:
        variant = self.faults.variant(call.prompt_digest, 12)
        if fault == "refusal":
            return self._refusal(call, variant)
        if fault == "whitespace":
            return self._completion(call, faulty.endless_whitespace(call.max_tokens), "length")
        content = _written(call.body)
        if fault == "truncate":
            return self._completion(
                call, content[: max(1, min(len(content) // 2, call.room() * _CHARS_PER_TOKEN))], "length"
            )
        if fault:
            content = faulty.spoiled(fault, content, variant)
        room = call.room() * _CHARS_PER_TOKEN
        return self._completion(call, content[:room], "stop" if len(content) <= room else "length")

    def _refusal(self, call: Call, variant: int) -> Response:
        text = faulty.refusal_text(variant // 2)
        if variant % 2:
            return self._completion(call, None, "stop", refusal=text)
        return self._completion(call, text, "stop")

    def _completion(self, call: Call, content: str | None, finish_reason: str, refusal: str | None = None) -> Response:
        completion_tokens = _tokens(len(content or refusal or ""))
        self.stats.prompt_tokens += call.prompt_tokens
        self.stats.completion_tokens += completion_tokens
        answer = {
            "id": f"chatcmpl-{call.digest.hex()}{call.seen:04x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": content, "refusal": refusal},
                    "logprobs": None,
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {
                "prompt_tokens": call.prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": call.prompt_tokens + completion_tokens,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
        }
        return Response(json.dumps(answer), media_type="application/json")


def create_app(
    faults: Faults | None = None, latency_ms: float = 0.0, hang_up: HangUp = lambda _client: None
) -> Starlette:
    """Returns the application; `hang_up` closes the connection of a (host, port) without an answer (fault `reset`)."""
    desk = Desk(faults or Faults(), latency_ms, hang_up)

    async def models(_request: Request) -> Response:
        entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL, "max_model_len": MAX_MODEL_LEN}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(_request: Request) -> Response:
        return Response()

    async def stats(_request: Request) -> Response:
        return JSONResponse(desk.stats.as_dict())

    routes = [
        Route("/v1/chat/completions", desk.chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/tokenize", desk.tokenize, methods=["POST"]),
        Route("/health", health),
        Route("/stats", stats),
    ]
    return Starlette(routes=routes)


async def _body(request: Request) -> bytes:
    """Reads the body, but no more of it than is allowed."""
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise RequestError(f"The request body is larger than {MAX_BODY_BYTES} bytes.", status=413)
        chunks.append(chunk)
    return b"".join(chunks)


async def _gone(request: Request) -> None:
    """Waits until the client has closed its side."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _written(body: dict[str, Any]) -> str:
    try:
        return write(body)
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise RequestError(f"The JSON schema cannot be read: {error!r}.", param="response_format") from error


def _parsed(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The request body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError("The request body must be a JSON object.")
    return body


def _check(body: dict[str, Any]) -> None:
    """Raises RequestError for what the stand-in does not do."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list of at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(f"'messages[{index}]' must be an object with a role.", param=f"messages[{index}]")
        if not isinstance(message.get("content"), str | list | None):
            raise RequestError(
                f"'messages[{index}].content' must be text or a list of parts.", param=f"messages[{index}]"
            )
    if body.get("stream"):
        raise RequestError("The stand-in does not stream; leave 'stream' out or set it to false.", param="stream")
    if body.get("n") not in (None, 1):
        raise RequestError(f"The stand-in writes one choice, not n={body['n']!r}.", param="n")
    if not isinstance(schema_of(body), dict | bool | None):
        raise RequestError("The JSON schema in 'response_format' must be an object.", param="response_format")


def _max_tokens(body: dict[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RequestError(f"'{key}' must be a whole number of at least 1, not {value!r}.", param=key)
        return value
    return None


def _prompt_tokens(body: dict[str, Any]) -> int:
    """Estimates the tokens of `messages` or `prompt`, the same way for a chat request and for `/tokenize`."""
    messages = body.get("messages")
    if isinstance(messages, list):
        texts = [message_text(message) for message in messages if isinstance(message, dict)]
        return sum(_tokens(len(text)) + _TOKENS_PER_MESSAGE for text in texts)
    if isinstance(body.get("prompt"), str):
        return _tokens(len(body["prompt"]))
    raise RequestError("The request needs 'messages' or 'prompt'.", param="messages")


def _tokens(characters: int) -> int:
    return -(-characters // _CHARS_PER_TOKEN)


def _prompt_digest(body: dict[str, Any]) -> bytes:
    """Identifies what is asked, whatever room is left for the answer."""
    asked = json.dumps([body["messages"], schema_of(body)])
    return blake2b(asked.encode("ascii"), digest_size=8).digest()


def _error(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    kind = {429: "rate_limit_error", 413: "invalid_request_error", 400: "invalid_request_error"}.get(
        status, "server_error"
    )
    error = {"message": message, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status_code=status, headers=headers)
