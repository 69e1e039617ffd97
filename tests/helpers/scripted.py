"""A server with scripted answers, and functions that send requests to it."""

import asyncio
import http.server
import itertools
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from personahub_assets.core import project_files
from personahub_assets.core.records import Instruction
from personahub_assets.core.retrying import Backoff
from personahub_assets.endpoints import pace, transport
from personahub_assets.endpoints.transport import Transport
from personahub_assets.generation.client import Asker, Limits, Spend
from personahub_assets.generation.requests import Outcome, Request, Task

GOOD = {"category": "planning", "instruction": "Plan the night watches of a lighthouse in winter."}
PROMPT_TOKENS, COMPLETION_TOKENS = 100, 10
COST = PROMPT_TOKENS + COMPLETION_TOKENS
_NUMBERS = itertools.count()


@dataclass
class Reply:
    """One answer of the scripted server."""

    content: str | None = None
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # instead of a completion
    usage: bool = True
    hang_up: bool = False
    half: bool = False  # the connection breaks in the middle

    def data(self) -> bytes:
        if self.body is not None:
            return self.body
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal}
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": COMPLETION_TOKENS,
            "total_tokens": COST,
            "prompt_tokens_details": {"cached_tokens": 7},
        }
        completion = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "scripted-1",
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason, "logprobs": None}],
        }
        return json.dumps(completion | ({"usage": usage} if self.usage else {})).encode()


def good(**more: Any) -> Reply:
    return Reply(json.dumps(GOOD | more))


def error(status: int, message: str = "No.", **headers: str) -> Reply:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": None}}).encode()
    return Reply(status=status, body=body, headers=names)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection before the answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Script:
    """Gives the next reply of its script to each chat request, and keeps what it was sent.

    `otherwise` is given when the script is at its end. `count` answers /tokenize, which is absent without it. The first
    requests wait for each other at `gate`. `pages` answer GET by the last part of their address.
    """

    def __init__(self) -> None:
        self.told()
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # a reply goes out in one piece: in two, each waits for the client's acknowledgement

            def do_GET(self) -> None:
                page = script.pages.get("/" + self.path.rpartition("/")[2])
                self.answer(error(404, "There is no such page.") if page is None else Reply(body=page))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if f"{script.prefix}/" not in self.path:  # of a proxy's request the path is a whole address
                    self.answer(error(404, "This was sent to a script that is over."))
                else:
                    self.answer(script.counted(body) if self.path.endswith("/tokenize") else script.next(body))

            def answer(self, reply: Reply) -> None:
                self.close_connection = reply.hang_up or reply.half
                if reply.hang_up:
                    return
                data = reply.data()
                self.send_response(reply.status)
                for name, value in {"content-type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if reply.half else data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = _Server(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Another one after each `told`: a request that a test gave up may be read when the next one has begun."""
        return f"http://127.0.0.1:{self.server.server_port}{self.prefix}/v1"

    def told(self, *replies: Reply, otherwise: Reply | None = None) -> "Script":
        self.prefix = f"/script-{next(_NUMBERS)}"
        self.replies, self.bodies, self.otherwise = list(replies), list[dict[str, Any]](), otherwise
        self.count: Callable[[dict[str, Any]], Reply] | None = None
        self.count_calls = 0
        self.pages: dict[str, bytes] = {}
        self.gate: threading.Barrier | None = None
        self.not_before = 0.0
        self.lock = threading.Lock()
        return self

    def next(self, body: dict[str, Any]) -> Reply:
        with self.lock:
            self.bodies.append(body)
            waits = self.gate is not None and len(self.bodies) <= self.gate.parties
            early = time.monotonic() < self.not_before
            reply = None if early else self.replies.pop(0) if self.replies else self.otherwise
        if waits and self.gate is not None:
            self.gate.wait(30)
        if early:
            return error(429, retry_after="1")
        assert reply is not None, "the script is at its end"
        return reply

    def counted(self, body: dict[str, Any]) -> Reply:
        with self.lock:
            self.count_calls += 1
        return self.count(body) if self.count else error(404, "There is no such route.")


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    with serving() as scripted:
        yield scripted


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once, unless the server asks for a pause."""
    monkeypatch.setattr(transport, "_BACKOFF", Backoff(0.0, 0.0, 300.0))
    monkeypatch.setattr(pace, "_FIRST_S", 0.0)
    monkeypatch.setattr(pace, "_JITTER_S", 0.0)


@contextmanager
def serving() -> Iterator[Script]:
    script = Script()
    thread = threading.Thread(target=script.server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield script
    finally:
        script.server.shutdown()
        script.server.server_close()
        thread.join()


TASK = Task("instructions", project_files.prompt("instructions"), Instruction, "scripted")
MAX_TOKENS = TASK.prompt.max_tokens


def requests(task: Task, rows: int, text: str = "A keeper of lighthouse {}") -> list[Request]:
    return [task.request(f"p{n}", {"persona": text.format(n)}) for n in range(rows)]


WAY: dict[str, Any] = {"tries": 2, "timeout_s": 10, "faults_in_a_row": 20}
LIMITS = Limits(validation_retries=2)


def ask(
    url: str,
    limits: Limits = LIMITS,
    task: Task = TASK,
    rows: int = 1,
    *,
    text: str = "A keeper of lighthouse {}",
    together: bool = False,
    spend: Spend = lambda _prompt, _cached, _completion: 0.0,
    **way: Any,
) -> list[Outcome]:
    """Send the requests of some rows with one client, sequentially or concurrently."""

    async def all_of_them() -> list[Outcome]:
        async with Transport(url, "none", **(WAY | way)) as transport:
            asker = Asker(transport, task, limits, spend)
            wanted = requests(task, rows, text)
            if together:
                return await asyncio.gather(*map(asker.ask, wanted))
            return [await asker.ask(request) for request in wanted]

    return asyncio.run(all_of_them())


def over(url: str, work: Callable[[Transport], Awaitable[Any]], **way: Any) -> Any:
    """Run a function with a transport."""

    async def all_of_it() -> Any:
        async with Transport(url, "none", **(WAY | {"tries": 5} | way)) as transport:
            return await work(transport)

    return asyncio.run(all_of_it())


def ask_one(script: Script, *replies: Reply, **more: Any) -> Outcome:
    (outcome,) = ask(script.told(*replies).url, **more)
    assert not script.replies, "not all replies were fetched"
    return outcome
