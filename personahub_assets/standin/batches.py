"""The stand-in's `/v1/files` and `/v1/batches`: a file of requests in, a file of answers out, as OpenAI's Batch API.

Each line is answered by the same code as a request over HTTP, and counts in `/stats` like one.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from personahub_assets.standin import wire
from personahub_assets.standin.batch_faults import BATCH_FAULTS, CHANGING, ONCE
from personahub_assets.standin.faults import Faults
from personahub_assets.standin.stats import Stats
from personahub_assets.standin.wire import Receive, Reply, Scope, failure, reply

MAX_FILE_BYTES = 200_000_000
MAX_LINES = 50_000
_PAGE = 100
_TOGETHER = 64  # lines that are answered at a time
_DAY_S = 86_400
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_PAGE_OF_HTML = Reply(b"<html><body>Sign in</body></html>", media_type="text/html")
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_FIELD = re.compile(rb'\bname="([^"]*)"')
_FILENAME = re.compile(rb'\bfilename="([^"]*)"')

Answer = Callable[[Scope, Receive], Awaitable[Reply | None]]


@dataclass
class _File:
    file_id: str
    name: str
    purpose: str
    content: bytes
    created_at: int = field(default_factory=lambda: int(time.time()))

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.file_id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created_at,
            "filename": self.name,
            "purpose": self.purpose,
        }


@dataclass
class _Batch:
    batch_id: str
    input_file_id: str
    endpoint: str
    window: str
    metadata: dict[str, str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    status: str = "validating"
    created_at: int = field(default_factory=lambda: int(time.time()))
    completed: int = 0
    failed: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)
    is_canceled: asyncio.Event = field(default_factory=asyncio.Event)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.batch_id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
            "input_file_id": self.input_file_id,
            "completion_window": self.window,
            "status": self.status,
            "output_file_id": self.output_file_id,
            "error_file_id": self.error_file_id,
            "created_at": self.created_at,
            "expires_at": self.created_at + _DAY_S,
            "request_counts": {"total": len(self.lines), "completed": self.completed, "failed": self.failed},
            "metadata": self.metadata,
        }


class BatchDesk:
    """Receives files and batches, works through the batches, and keeps all of it in memory."""

    def __init__(self, faults: Faults, stats: Stats, answer: Answer) -> None:
        self.faults, self.stats, self._answer = faults, stats, answer
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}
        self._met: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def serves(self, path: str) -> bool:
        """Tells whether a path is one of the batch API."""
        return path.split("/")[1:3] in (["v1", "files"], ["v1", "batches"])

    async def handle(self, scope: Scope, receive: Receive) -> Reply | None:
        """Answers one request; None if the client has disconnected."""
        _, _, kind, *names = scope["path"].split("/")
        method = (scope["method"], kind, len(names), names[1] if len(names) > 1 else "")
        routes: dict[tuple[str, str, int, str], Callable[..., Awaitable[Reply | None]]] = {
            ("POST", "files", 0, ""): self._upload,
            ("GET", "files", 0, ""): self._list_files,
            ("GET", "files", 1, ""): self._show_file,
            ("DELETE", "files", 1, ""): self._delete_file,
            ("GET", "files", 2, "content"): self._download,
            ("POST", "batches", 0, ""): self._submit,
            ("GET", "batches", 0, ""): self._list_batches,
            ("GET", "batches", 1, ""): self._show_batch,
            ("POST", "batches", 2, "cancel"): self._cancel,
        }
        handler = routes.get(method)
        if handler is None:
            return failure(405, f"{scope['path']} does not take {scope['method']}.")
        return await handler(scope, receive, *names[:1])

    def _meets(self, fault: str) -> bool:
        """Tells whether a fault is met now; one of `ONCE` only the first time."""
        if fault not in self.faults.batch or fault in self._met:
            return False
        if fault in ONCE:
            self._met.add(fault)
        self.stats.faults[fault] += 1
        return True

    async def _hang(self, receive: Receive) -> Reply | None:
        if await wire.gone(receive, self.faults.hang_s):
            return None
        return failure(504, f"No answer within {self.faults.hang_s:g} s.", code="timeout")

    async def _upload(self, scope: Scope, receive: Receive) -> Reply | None:
        body = await wire.body(receive, MAX_FILE_BYTES + (1 << 20))
        if body is None:
            return failure(413, f"A file has at most {MAX_FILE_BYTES:,} bytes.")
        fields = _multipart(body, wire.headers(scope).get("content-type", ""))
        if "file" not in fields or fields.get("purpose", ("", b""))[1] != b"batch":
            return failure(400, "Send a form with `file` and `purpose`, which is 'batch'.", param="purpose")
        if self._meets("page_upload"):
            return _PAGE_OF_HTML
        name, content = fields["file"]
        file = self._stored(name, content)
        if self._meets("hang_upload"):
            return await self._hang(receive)
        return reply(file.as_json())

    def _stored(self, name: str, content: bytes, purpose: str = "batch") -> _File:
        file = _File(f"file-{uuid4().hex}", name, purpose, content)
        self._files[file.file_id] = file
        self.stats.files = len(self._files)
        return file

    async def _list_files(self, _scope: Scope, _receive: Receive) -> Reply:
        files = [file.as_json() for file in reversed(self._files.values())]
        return reply({"object": "list", "data": files, "has_more": False})

    async def _show_file(self, _scope: Scope, _receive: Receive, file_id: str) -> Reply:
        file = self._files.get(file_id)
        return reply(file.as_json()) if file else _no("file", file_id)

    async def _delete_file(self, _scope: Scope, _receive: Receive, file_id: str) -> Reply:
        if self._files.pop(file_id, None) is None:
            return _no("file", file_id)
        self.stats.files = len(self._files)
        return reply({"id": file_id, "object": "file", "deleted": True})

    async def _download(self, _scope: Scope, receive: Receive, file_id: str) -> Reply | None:
        file = self._files.get(file_id)
        if file is None:
            return _no("file", file_id)
        if self._meets("hang_download"):
            return await self._hang(receive)
        if self._meets("page_download"):
            return _PAGE_OF_HTML
        if self._meets("torn_download"):
            return Reply(file.content[:-40], media_type="application/octet-stream")
        return Reply(file.content, media_type="application/octet-stream")

    async def _submit(self, _scope: Scope, receive: Receive) -> Reply | None:
        body = await wire.body(receive, 1 << 20)
        try:
            order = json.loads(body or b"")
            batch = _Batch(
                f"batch_{uuid4().hex}",
                str(order["input_file_id"]),
                str(order["endpoint"]),
                str(order["completion_window"]),
                {} if self._meets("no_metadata") else dict(order.get("metadata") or {}),
            )
        except (ValueError, KeyError, TypeError) as error:
            return failure(400, f"The batch cannot be read: {error!r}.")
        if batch.input_file_id not in self._files:
            return failure(400, f"No such file object: {batch.input_file_id}", param="input_file_id")
        if self._meets("lose_submit"):
            return await self._hang(receive)
        self._batches[batch.batch_id] = batch
        self.stats.batches += 1
        task = asyncio.get_running_loop().create_task(self._work_off(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._meets("hang_submit"):
            return await self._hang(receive)
        return reply(batch.as_json())

    async def _list_batches(self, scope: Scope, _receive: Receive) -> Reply:
        if self._meets("no_list"):
            return failure(404, "There is no list of batches.")
        batches = list(reversed(self._batches.values()))
        if self._meets("late_list"):
            batches = batches[1:]
        after = _query(scope).get("after")
        ids = [batch.batch_id for batch in batches]
        start = ids.index(after) + 1 if after in ids else 0
        page = batches[start : start + _PAGE]
        return reply(
            {
                "object": "list",
                "data": [batch.as_json() for batch in page],
                "last_id": page[-1].batch_id if page else None,
                "has_more": start + _PAGE < len(batches),
            }
        )

    async def _show_batch(self, _scope: Scope, _receive: Receive, batch_id: str) -> Reply:
        batch = self._batches.get(batch_id)
        if batch is None:
            return _no("batch", batch_id)
        if self._meets("page_status"):
            return _PAGE_OF_HTML
        late = {"output_file_id": None} if batch.status in _ENDED and self._meets("late_output") else {}
        return reply(batch.as_json() | late)

    async def _cancel(self, _scope: Scope, _receive: Receive, batch_id: str) -> Reply:
        batch = self._batches.get(batch_id)
        if batch is None:
            return _no("batch", batch_id)
        if batch.status not in _ENDED:
            batch.status = "cancelling"
            batch.is_canceled.set()
        return reply(batch.as_json())

    # --- the work ---

    async def _work_off(self, batch: _Batch) -> None:
        content = self._files[batch.input_file_id].content
        if problem := self._problem(batch, content):
            batch.status, batch.errors = "failed", [problem]
            return
        batch.status = "in_progress"
        half = (len(batch.lines) + 1) // 2
        good, bad = await self._answered(batch, batch.lines[:half])
        ending = "expired" if self._meets("expired") else ""
        if not ending:
            await self._pause(batch)
            if batch.is_canceled.is_set():
                ending = "cancelled"
            else:
                later = await self._answered(batch, batch.lines[half:])
                good, bad = good + later[0], bad + later[1]
        if ending:
            bad += [_failed(line, f"batch_{ending}") for line in batch.lines[half:]]
        self._finish(batch, good, bad, ending or "completed")

    async def _pause(self, batch: _Batch) -> None:
        """Stays half done for a while, or until it is canceled."""
        seconds = None if self._meets("stuck") else self.faults.batch_s
        if seconds != 0:
            try:
                async with asyncio.timeout(seconds):
                    await batch.is_canceled.wait()
            except TimeoutError:
                pass

    def _problem(self, batch: _Batch, content: bytes) -> dict[str, Any] | None:
        """Reads the lines of a batch; returns why it cannot be begun, or None."""
        if self._meets("invalid"):
            return {"code": "token_limit_exceeded", "message": "Enqueued token limit reached.", "line": None}
        ids = set()
        for number, text in enumerate(content.splitlines(), 1):
            try:
                line = json.loads(text)
                is_known = line["custom_id"] not in ids
            except (ValueError, KeyError, TypeError):
                return {"code": "invalid_json_line", "message": "This line is not parseable.", "line": number}
            if not is_known:
                return {"code": "duplicate_custom_id", "message": "The custom_id is used twice.", "line": number}
            if line.get("url") != batch.endpoint:
                return {"code": "mismatched_url", "message": "The URL is not the endpoint.", "line": number}
            ids.add(line["custom_id"])
            batch.lines.append(line)
        if not 0 < len(ids) <= MAX_LINES:
            return {"code": "invalid_lines", "message": f"A batch has 1 to {MAX_LINES:,} lines.", "line": None}
        return None

    async def _answered(self, batch: _Batch, lines: list[dict[str, Any]]) -> tuple[list[bytes], list[bytes]]:
        """Answers lines; returns the lines of the output file and of the error file."""
        failing = set(range(0, len(lines), 3)) if self._meets("failed_lines") else set[int]()
        good, bad = list[bytes](), list[bytes]()
        for start in range(0, len(lines), _TOGETHER):
            chunk = lines[start : start + _TOGETHER]
            answers = await asyncio.gather(
                *(self._answer_line(line, is_failing=start + at in failing) for at, line in enumerate(chunk))
            )
            for status, answer in answers:
                (good if status == 200 else bad).append(answer)
                batch.completed += status == 200
                batch.failed += status != 200
        return good, bad

    async def _answer_line(self, line: dict[str, Any], *, is_failing: bool) -> tuple[int, bytes]:
        if is_failing:
            return _output(line, failure(500, "The server had an error."))
        if self._meets("refused_lines"):
            return _output(line, failure(400, "This response_format type is unavailable now"))
        scope: Scope = {"path": "/v1/chat/completions", "method": "POST", "headers": [], "client": None}
        answer = await self._answer(scope, _receiving(json.dumps(line["body"]).encode("ascii")))
        return _output(line, answer or failure(500, "The server had an error."))

    def _finish(self, batch: _Batch, good: list[bytes], bad: list[bytes], status: str) -> None:
        for name, form in BATCH_FAULTS.items():
            if name in CHANGING and self._meets(name):
                good = form.make(good)
        if good:
            batch.output_file_id = self._stored("output.jsonl", b"".join(good), "batch_output").file_id
        if bad:
            batch.error_file_id = self._stored("error.jsonl", b"".join(bad), "batch_output").file_id
        batch.status = status


def _receiving(body: bytes) -> Receive:
    """Returns a client that sends a body and never disconnects."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    return receive


def _output(line: dict[str, Any], answer: Reply) -> tuple[int, bytes]:
    """Returns the status of an answer and its line of an output file."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = {"error": {"message": "The answer is not JSON.", "type": "server_error"}}
    response = {"status_code": answer.status, "request_id": uuid4().hex, "body": body}
    return answer.status, _line(line, response, None)


def _failed(line: dict[str, Any], code: str) -> bytes:
    return _line(line, None, {"code": code, "message": "This request was not answered."})


def _line(line: dict[str, Any], response: Any, error: Any) -> bytes:
    output = {"id": f"batch_req_{uuid4().hex}", "custom_id": line["custom_id"], "response": response, "error": error}
    return json.dumps(output).encode("ascii") + b"\n"


def _no(kind: str, name: str) -> Reply:
    return failure(404, f"No such {kind} object: {name}", param="id")


def _query(scope: Scope) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in scope.get("query_string", b"").decode("latin-1").split("&"))
    return {name: value for name, _, value in pairs}


def _multipart(body: bytes, content_type: str) -> dict[str, tuple[str, bytes]]:
    """Reads a form; returns the file name and the content of each field."""
    match = _BOUNDARY.search(content_type)
    fields: dict[str, tuple[str, bytes]] = {}
    for section in body.split(b"--" + match[1].encode("latin-1")) if match else ():
        head, separator, content = section.partition(b"\r\n\r\n")
        if separator and (name := _FIELD.search(head)):
            file = _FILENAME.search(head)
            file_name = file[1].decode("utf-8", "replace") if file else ""
            fields[name[1].decode()] = (file_name, content.removesuffix(b"\r\n"))
    return fields
