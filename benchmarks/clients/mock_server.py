"""A mock chat server that is faster than any client.

    python benchmarks/clients/mock_server.py --port 8321 --core 1 --latency-ms 200 --fault-rate 0.02

It serves the OpenAI protocol with uvloop and httptools, without a framework. A request whose text contains
"Persona N:" gets a structured row that contains N, so a client can check that each row has its own answer. Requests
without a persona (probes, health checks) get the smallest answer that matches the requested schema. They have no
faults and are counted separately.

Routes: /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /health, /stats, /reset. Pipelining is not
supported: a client must wait for the answer before it sends the next request on a connection.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import httptools
import uvloop

MODEL = "mock"
FAULTS = ("429", "500", "hang", "reset", "truncate", "bad_json", "control")
MAX_MODEL_LEN = 32_768
_PERSONA = re.compile(rb"Persona (\d+):")
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
_CHARS_PER_TOKEN = 4
_UNBOUNDED = 1 << 30


@dataclass(frozen=True)
class Settings:
    """Settings of the server.

    Times are in seconds; `fault_rate` is the probability of each of the seven faults.
    """

    latency_s: float = 0.0
    fault_rate: float = 0.0
    hang_s: float = 30.0
    seed: int = 0


@dataclass
class Stats:
    """Requests since the last reset; `calls` are requests for a row, `others` are probes."""

    calls: int = 0
    others: int = 0
    in_flight: int = 0
    in_flight_max: int = 0
    personas: set[int] = field(default_factory=set)
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[bytes] = field(default_factory=Counter)
    # Largest max_tokens with which a body was cut: with a larger one it is not cut.
    cut_at: dict[bytes, int] = field(default_factory=dict)
    cpu_s: float = field(default_factory=time.process_time)

    def page(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "others": self.others,
            "unique": len(self.seen),
            "repeats": self.calls - len(self.seen),
            "personas": len(self.personas),
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "faults": {kind: self.faults[kind] for kind in FAULTS},
            "server_cpu_s": round(time.process_time() - self.cpu_s, 4),
        }


def row(number: int) -> str:
    """The right answer for a persona."""
    return json.dumps(
        {
            "category": "planning",
            "instruction": f"I am persona {number}. Plan my next week around the work I described: "
            "list each day with two tasks, the material I need and the time each takes, and leave Sunday free.",
        }
    )


def smallest(schema: dict[str, Any]) -> Any:
    """The smallest value that matches a simple JSON schema, as probes use it."""
    kind = schema.get("type", "string")
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        return {name: smallest(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [smallest(schema.get("items", {}))] * int(schema.get("minItems", 0))
    if kind in ("integer", "number"):
        return int(schema.get("minimum", 1))
    return True if kind == "boolean" else "x" * max(2, int(schema.get("minLength", 0)))


def spoilt(kind: str | None, text: str) -> tuple[str, str]:
    """The text and the finish reason after a fault of the content."""
    if kind == "truncate":
        return text[: len(text) // 2], "length"
    if kind == "bad_json":
        return text.replace('"planning"', "planning", 1), "stop"
    if kind == "control":
        return text.replace(". Plan", ".\n\tPlan", 1), "stop"
    return text, "stop"


class Server:
    """Answers the requests of all connections."""

    def __init__(self, settings: Settings):
        self.settings, self.stats = settings, Stats()

    def reset(self) -> None:
        """Reset the counters; requests in progress are kept."""
        self.stats = Stats(in_flight=self.stats.in_flight, in_flight_max=self.stats.in_flight)

    def fault(self, body: bytes, limit: int) -> str | None:
        """Draw the fault of this request from its body and the number of its repeats, and count it."""
        digest = blake2b(body, digest_size=16).digest()
        seen = self.stats.seen[digest]
        self.stats.seen[digest] = seen + 1
        if not self.settings.fault_rate:
            return None
        draw = blake2b(b"%d %d " % (self.settings.seed, seen) + digest, digest_size=8).digest()
        index = int(int.from_bytes(draw) / 2**64 / self.settings.fault_rate)
        kind = FAULTS[index] if index < len(FAULTS) else None
        if kind == "truncate":
            if limit > self.stats.cut_at.get(digest, _UNBOUNDED):
                return None
            self.stats.cut_at[digest] = limit
        if kind:
            self.stats.faults[kind] += 1
        return kind

    def page(self, path: bytes, body: bytes) -> dict[str, Any] | None:
        """The answer of all routes except the two that generate."""
        if path == b"/stats":
            return self.stats.page()
        if path == b"/reset":
            self.reset()
            return {}
        if path == b"/v1/models":
            return {"object": "list", "data": [{**_MODEL_CARD, "max_model_len": MAX_MODEL_LEN}]}
        if path == b"/tokenize":
            count = len(body) // _CHARS_PER_TOKEN
            return {"count": count, "max_model_len": MAX_MODEL_LEN, "tokens": [0] * count}
        return {"status": "ok"} if path == b"/health" else None


_MODEL_CARD = {"id": MODEL, "object": "model", "created": 0, "owned_by": "mock"}


def completion(path: bytes, body: bytes, text: str, finish: str) -> bytes:
    """The response body: a chat answer, a call of the requested tool, or a plain completion."""
    usage = {"prompt_tokens": len(body) // _CHARS_PER_TOKEN, "completion_tokens": len(text) // _CHARS_PER_TOKEN}
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
    if path == b"/v1/completions":
        choice["text"] = text
    elif b'"tools"' in body and (tools := json.loads(body).get("tools")):
        call = {"name": tools[0]["function"]["name"], "arguments": text}
        calls = [{"id": "call_0", "type": "function", "function": call}]
        choice["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
    else:
        choice["message"] = {"role": "assistant", "content": text}
    kind = "text_completion" if "text" in choice else "chat.completion"
    answer = {"id": "mock-0", "object": kind, "created": 0, "model": MODEL, "choices": [choice], "usage": usage}
    return json.dumps(answer).encode()


def probe_text(body: bytes) -> str:
    """The answer to a request without a persona."""
    request = json.loads(body or b"{}")
    wanted = (request.get("response_format") or {}).get("json_schema") or {}
    if not wanted and (tools := request.get("tools")):
        wanted = {"schema": tools[0]["function"].get("parameters", {})}
    return json.dumps(smallest(wanted["schema"])) if wanted else "Hello."


_STATUS = {200: b"OK", 404: b"Not Found", 429: b"Too Many Requests", 500: b"Internal Server Error"}
_ERRORS = {
    status: json.dumps({"error": {"message": text, "type": text, "code": status}}).encode()
    for status, text in ((404, "not found"), (429, "rate limited"), (500, "internal error"))
}


class Connection(asyncio.Protocol):
    """One connection: parses requests one after the other, and sends each answer when it is due."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop):
        self.server, self.loop = server, loop
        self.parser = httptools.HttpRequestParser(self)
        self.url, self.body = b"", b""
        self.transport: asyncio.Transport | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.busy, self.keep = False, True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer:
            self.timer.cancel()
        self.transport = None
        self._over()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            assert self.transport
            self.transport.abort()

    def on_message_begin(self) -> None:
        self.url, self.body = b"", b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path = self.url.split(b"?", 1)[0]
        # Read now, because the parser forgets it after the message.
        self.keep = self.parser.should_keep_alive()
        if path in (b"/v1/chat/completions", b"/v1/completions"):
            self._generate(path)
        elif (page := self.server.page(path, self.body)) is None:
            self._send(404, _ERRORS[404])
        else:
            self._send(200, json.dumps(page).encode())

    def _generate(self, path: bytes) -> None:
        stats, body = self.server.stats, self.body
        self.busy = True
        stats.in_flight += 1
        stats.in_flight_max = max(stats.in_flight, stats.in_flight_max)
        persona = _PERSONA.search(body)
        if persona is None:
            stats.others += 1
            self._later(self.server.settings.latency_s, 200, completion(path, body, probe_text(body), "stop"))
            return
        number = int(persona[1])
        stats.calls += 1
        stats.personas.add(number)
        limit = _MAX_TOKENS.search(body)
        # max_tokens is not part of the identity of a request.
        asked = body if limit is None else body[: limit.start()] + body[limit.end() :]
        kind = self.server.fault(asked, _UNBOUNDED if limit is None else int(limit[1]))
        self._answer(path, kind, number)

    def _answer(self, path: bytes, kind: str | None, number: int) -> None:
        settings = self.server.settings
        if kind == "reset":
            self.timer = self.loop.call_later(settings.latency_s, self._abort)
        elif kind in ("429", "500"):
            self._later(settings.latency_s, int(kind), _ERRORS[int(kind)])
        else:
            delay = settings.latency_s + (settings.hang_s if kind == "hang" else 0)
            self._later(delay, 200, completion(path, self.body, *spoilt(kind, row(number))))

    def _later(self, delay_s: float, status: int, body: bytes) -> None:
        if delay_s:
            self.timer = self.loop.call_later(delay_s, self._send, status, body)
        else:
            self._send(status, body)

    def _abort(self) -> None:
        if self.transport:
            self.transport.abort()

    def _send(self, status: int, body: bytes) -> None:
        self._over()
        if not self.transport:
            return
        connection = b"keep-alive" if self.keep else b"close"
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: %s\r\n\r\n"
        self.transport.write(head % (status, _STATUS[status], len(body), connection) + body)
        if not self.keep:
            self.transport.close()

    def _over(self) -> None:
        if self.busy:
            self.busy = False
            self.server.stats.in_flight -= 1


async def serve(settings: Settings, port: int) -> None:
    """Serve on 127.0.0.1 until the process ends; port 0 uses a free port, which is printed."""
    loop = asyncio.get_running_loop()
    server = Server(settings)
    # Deep backlog: a client that opens a connection per request must not be refused.
    listening = await loop.create_server(lambda: Connection(server, loop), "127.0.0.1", port, backlog=4096)
    address: socket.socket = listening.sockets[0]
    print(json.dumps({"url": f"http://127.0.0.1:{address.getsockname()[1]}"}), flush=True)
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--core", type=int, help="the one core to run on")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--fault-rate", type=float, default=0.0, help="probability of each of: " + ", ".join(FAULTS))
    parser.add_argument("--hang-s", type=float, default=30.0, help="seconds before a hanging request is closed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not 0 <= options.fault_rate * len(FAULTS) <= 1:
        parser.error(f"--fault-rate {options.fault_rate:g}: want 0 to 1/{len(FAULTS)}, it is the chance of each fault")
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    settings = Settings(options.latency_ms / 1000, options.fault_rate, options.hang_s, options.seed)
    uvloop.run(serve(settings, options.port))


if __name__ == "__main__":
    main()
