"""Files and batches of a server with OpenAI's batch API, over the connections of its transport."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import aiohttp

from personahub_assets.core.errors import EndpointRefuses, LLMError
from personahub_assets.endpoints.transport import Fault, Refused, Transport

_TRIES = 5
_PAGE = 100
_PURPOSE = "batch"
T = TypeVar("T")
Batch = dict[str, Any]
"""A batch as the server describes it."""


class NoBatch(LLMError):
    """The server does not know a batch or a file."""


class BatchRefused(LLMError):
    """The server refuses a request, such as for its key; asked again it refuses again."""


class BatchServer:
    """The batch API of one server.

    Every method but `create` is repeated after faults of the network. All raise:
        LLMError: if the server has no such route, refuses, or does not answer.
    """

    def __init__(self, transport: Transport):
        self.transport, self.url = transport, transport.url

    async def upload(self, file: Path, name: str) -> str:
        """Upload a file of requests under a name that no other has; return its id.

        Raises:
            LLMError: with the remedy if the server has no batch API.
        """
        is_repeated = False

        async def send() -> bytes:
            nonlocal is_repeated
            if is_repeated:  # the server may have stored it without an answer
                await self.delete_named(name)
            is_repeated = True
            with file.open("rb") as content:
                form = aiohttp.FormData()
                form.add_field("purpose", _PURPOSE)
                form.add_field("file", content, filename=name, content_type="application/jsonl")
                return await self.transport.exchange("POST", "/files", form)

        try:
            return str((await self._object(send, _with_id))["id"])
        except NoBatch as error:
            raise LLMError(
                f"{error}. Does PERSONAHUB_LLM_URL end in /v1, and has the server a batch API, which is /v1/files and "
                "/v1/batches? If not: personahub run --online"
            ) from error

    async def create(self, file_id: str, endpoint: str, window: str, metadata: dict[str, str]) -> Batch:
        """Submit an uploaded file. Never repeated here: whoever asks knows how to find out whether it was done.

        Raises:
            Fault: if it is unknown whether the batch was created.
        """
        order = {
            "input_file_id": file_id,
            "endpoint": endpoint,
            "completion_window": window,
            "metadata": metadata,
        }
        try:
            return _with_id(await self.transport.exchange("POST", "/batches", json.dumps(order).encode()))
        except Refused as refused:
            raise self._no_batch_api(refused) from refused

    async def retrieve(self, batch_id: str) -> Batch:
        """The current state of a batch.

        Raises:
            NoBatch: if the server does not know it.
        """
        return await self._object(lambda: self.transport.exchange("GET", f"/batches/{quote(batch_id, safe='')}"))

    async def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch; lines that are answered already can still be fetched."""
        path = f"/batches/{quote(batch_id, safe='')}/cancel"
        return await self._object(lambda: self.transport.exchange("POST", path, b"{}"))

    async def batches(self) -> AsyncIterator[Batch]:
        """All batches of the account, the newest first."""
        async for batch in self._pages("/batches"):
            yield batch

    async def download(self, file_id: str, sink: BinaryIO) -> None:
        """Write the content of a file to an empty file here."""

        async def fetch() -> bytes:
            sink.seek(0)
            sink.truncate()
            return await self.transport.exchange("GET", f"/files/{quote(file_id, safe='')}/content", None, sink)

        await self._again(fetch)

    async def delete_named(self, name: str) -> None:
        """Delete the files with a name, as far as the server lists them."""
        with suppress(LLMError):
            async for file in self._pages("/files", f"&purpose={_PURPOSE}"):
                if file.get("filename") == name:
                    await self.delete_file(str(file["id"]))

    async def delete_file(self, file_id: str) -> None:
        """Delete a file."""
        await self._again(lambda: self.transport.exchange("DELETE", f"/files/{quote(file_id, safe='')}"))

    async def _pages(self, path: str, filters: str = "") -> AsyncIterator[dict[str, Any]]:
        after, visited = "", set[str]()
        while True:
            query = f"{path}?limit={_PAGE}{filters}{f'&after={quote(after)}' if after else ''}"
            page = await self._object(lambda query=query: self.transport.exchange("GET", query))  # type: ignore[misc]
            entries = [entry for entry in page.get("data") or () if isinstance(entry, dict)]
            for entry in entries:
                yield entry
            last = str(entries[-1].get("id", "")) if entries else ""
            if not page.get("has_more") or not last or last in visited:  # some servers ignore `after`
                return
            visited.add(last)
            after = last

    async def _object(
        self, call: Callable[[], Awaitable[bytes]], parse: Callable[[bytes], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        async def parsed() -> dict[str, Any]:
            return (parse or _parsed)(await call())

        return await self._again(parsed)

    async def _again(self, call: Callable[[], Awaitable[T]]) -> T:
        for failures in range(1, _TRIES + 1):
            try:
                return await call()
            except Fault as fault:
                if failures == _TRIES or fault.local:
                    raise LLMError(f"{self.url}: the batch API does not answer: {fault}. Run again later") from fault
                await asyncio.sleep(self.transport.backoff.pause(failures, fault.pause))
            except (Refused, EndpointRefuses) as refused:
                raise self._no_batch_api(refused) from refused
        raise AssertionError("unreachable: the loop returns or raises")

    def _no_batch_api(self, refused: Exception) -> LLMError:
        text = str(refused).removeprefix(f"{self.url}: ").rstrip(".")
        if text.startswith(("404", "405")):
            return NoBatch(f"{self.url}: {text.partition('. Check PERSONAHUB_')[0]}")
        return BatchRefused(f"{self.url} refuses a request of the batch API: {text}")


def _with_id(content: bytes) -> dict[str, Any]:
    value = _parsed(content)
    if not value.get("id"):
        raise Fault("the reply has no id")
    return value


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Fault("the reply is not JSON") from error
    if not isinstance(value, dict):
        raise Fault("the reply is not a JSON object")
    return value
