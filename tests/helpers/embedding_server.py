"""An embeddings server with scripted answers, over real HTTP."""

import socket
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from personahub_assets.embedding.embedder import Embedder

Answer = Callable[[dict[str, Any]], Response]


def direction(text: str) -> list[float]:
    """The 8-dimensional vector that the test server returns for a text."""
    numbers = np.random.default_rng(zlib.crc32(text.encode())).normal(scale=3, size=8)
    return [float(number) for number in numbers]


def honest(body: dict[str, Any]) -> Response:
    """Answer correctly, in reverse order."""
    data = [{"index": index, "embedding": direction(text)} for index, text in enumerate(body["input"])]
    return JSONResponse({"object": "list", "data": data[::-1], "model": body["model"]})


def status(code: int, text: str = "", **headers: str) -> Answer:
    renamed = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: PlainTextResponse(text, code, headers=renamed)


def raw(text: str) -> Answer:
    return lambda _: Response(text, media_type="application/json")


class Server:
    """An /embeddings endpoint with scripted answers; the last one is repeated."""

    def __init__(self) -> None:
        self.script: list[Answer] = [honest]
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        app = Starlette(routes=[Route("/v1/embeddings", self._embeddings, methods=["POST"])])
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._socket],))

    async def _embeddings(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.authorizations.append(request.headers.get("authorization"))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await run_in_threadpool(answer, body)  # one may wait for another

    def __enter__(self) -> "Server":
        self._thread.start()
        while not self._uvicorn.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()

    def client(self, **settings: Any) -> Embedder:
        return Embedder(url=self.url, model="tiny", **{"retry_wait": 0.01, **settings})
