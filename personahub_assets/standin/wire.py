"""Minimal HTTP on ASGI: a framework would take more time than writing the answer."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NONE: Mapping[str, str] = {}
_ERROR_TYPES = {429: "rate_limit_error"}


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    media_type: str = "application/json"
    retry_after: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    ending: Literal["", "cut", "close"] = ""

    async def send(self, send: Send) -> None:
        """Sends the reply, or half of it if `ending` is "cut"."""
        headers = [(b"content-type", self.media_type.encode()), (b"content-length", b"%d" % len(self.body))]
        if self.retry_after is not None:
            headers.append((b"retry-after", self.retry_after.encode()))
        headers += [(name.encode(), value.encode()) for name, value in self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.ending == "cut":
            half = self.body[: len(self.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
        else:
            await send({"type": "http.response.body", "body": self.body})


def reply(value: Any, status: int = 200, retry_after: str | None = None, headers: Mapping[str, str] = _NONE) -> Reply:
    """Returns a JSON reply."""
    return Reply(json.dumps(value).encode("ascii"), status, retry_after=retry_after, headers=tuple(headers.items()))


def failure(
    status: int,
    message: str,
    *,
    param: str | None = None,
    code: str | int | None = None,
    retry_after: str | None = None,
    kind: str | None = None,
) -> Reply:
    """Returns an error in OpenAI's format; its `type` is derived from the status unless `kind` is given."""
    kind = kind or _ERROR_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    error: Mapping[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return reply({"error": error}, status, retry_after)


def headers(scope: Scope) -> dict[str, str]:
    """Returns the headers of a request, their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers") or ()}


async def body(receive: Receive, limit: int) -> bytes | None:
    """Reads the body of a request; None if it is larger than `limit` bytes."""
    message = await receive()
    chunk: bytes = message.get("body", b"")
    if not message.get("more_body"):  # nearly always
        return chunk if len(chunk) <= limit else None
    chunks, size = [chunk], len(chunk)
    while message.get("more_body") and size <= limit:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    return b"".join(chunks) if size <= limit else None


async def gone(receive: Receive, within_s: float) -> bool:
    """Waits at most `within_s` seconds for the client to disconnect; tells whether it did."""
    try:
        async with asyncio.timeout(within_s):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
