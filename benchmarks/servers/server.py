"""A server with a fixed capacity, as a GPU has: so many answers at a time, each of the same duration; more wait.

    python benchmarks/servers/server.py --port 0 --log rows.log --slots 16 --seconds 0.1

It prints its port. `POST /slow?factor=10` makes later answers slower. It reports the instructions of a prompt as cached
if it has read them before. The number of each answered row is appended to the log, so it survives the process.
"""

import argparse
import asyncio
import json
import os
import re

from aiohttp import web

MODEL = "mock"
_ROW = re.compile(r"lighthouse number (\d+)\b")
_CHARS_PER_TOKEN = 4
_ANSWER = json.dumps({"category": "planning", "instruction": "Plan the night watches of a lighthouse in winter."})


class Engine:
    """Answers requests with a fixed number of slots."""

    def __init__(self, slots: int, seconds: float, log: str):
        self.slots, self.seconds = asyncio.Semaphore(slots), seconds
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.read: set[int] = set()

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        system, *turns = (message["content"] for message in body["messages"])
        async with self.slots:
            cached = len(system) // _CHARS_PER_TOKEN if hash(system) in self.read else 0
            await asyncio.sleep(self.seconds)
            self.read.add(hash(system))
        if row := _ROW.search(turns[-1]):
            os.write(self.log, f"{row[1]}\n".encode())
        prompt = (len(system) + len(turns[-1])) // _CHARS_PER_TOKEN
        message = {"role": "assistant", "content": _ANSWER}
        usage = {"prompt_tokens": prompt, "completion_tokens": 24, "prompt_tokens_details": {"cached_tokens": cached}}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"id": "1", "model": MODEL, "choices": [choice], "usage": usage})

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def slow(self, request: web.Request) -> web.Response:
        self.seconds *= float(request.query["factor"])
        return web.json_response({})


async def serve(port: int, engine: Engine) -> None:
    """Serve on 127.0.0.1 until the process ends."""
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", engine.answer)
    app.router.add_get("/v1/models", engine.models)
    app.router.add_post("/slow", engine.slow)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, reuse_address=True)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.1)
    chosen = parser.parse_args()
    await serve(chosen.port, Engine(chosen.slots, chosen.seconds, chosen.log))


if __name__ == "__main__":
    asyncio.run(_main())
