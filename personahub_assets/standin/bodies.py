"""Faults in the bytes of a valid reply: encoding of the body, and end of the connection."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply

Pack = Callable[[Reply], Reply]


def _streamed(reply: Reply) -> Reply:
    """Converts the reply to an event stream, although the request did not ask for one."""
    completion: dict[str, Any] = json.loads(reply.body)
    text = completion["choices"][0]["message"]["content"] or ""
    chunks = [
        {
            "id": completion["id"],
            "object": "chat.completion.chunk",
            "model": completion["model"],
            "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}],
        }
        for piece in (text[:30], text[30:])
    ]
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return replace(reply, body=f"{events}data: [DONE]\n\n".encode(), media_type="text/event-stream")


def _zipped(reply: Reply) -> Reply:
    return replace(reply, body=gzip.compress(reply.body, 1), headers=(("content-encoding", "gzip"),))


def _of_gemini(reply: Reply) -> Reply:
    """Writes the answer in the form of another interface, as gateways do that pass it on."""
    completion: dict[str, Any] = json.loads(reply.body)
    text, usage = completion["choices"][0]["message"]["content"] or "", completion["usage"]
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
    counts = {"promptTokenCount": usage["prompt_tokens"], "candidatesTokenCount": usage["completion_tokens"]}
    return replace(reply, body=json.dumps({"candidates": [candidate], "usageMetadata": counts}).encode())


BODIES: dict[str, Form[Pack]] = {
    "sse": Form("an event stream", _streamed),
    "spaces_first": Form("blanks before the body", lambda reply: replace(reply, body=b" \n" * 300 + reply.body)),
    "body_bom": Form("a byte order mark before the body", lambda r: replace(r, body=b"\xef\xbb\xbf" + r.body)),
    "gzip_forced": Form("gzip, unasked", _zipped),
    "gzip_unnamed": Form("gzip that no header names", lambda r: replace(r, body=gzip.compress(r.body, 1))),
    "comments_first": Form(
        "comments that keep the connection alive before the body",
        lambda reply: replace(reply, body=b": PROCESSING\n\n" * 20 + reply.body),
    ),
    "body_in_string": Form(
        "JSON inside a JSON string", lambda reply: replace(reply, body=json.dumps(reply.body.decode()).encode())
    ),
    "status_206": Form("status 206", lambda reply: replace(reply, status=206)),
    "other_api": Form("the form of Gemini's own interface", _of_gemini),
    "br_broken": Form(
        "a body that is not in the encoding it names",
        lambda reply: replace(reply, headers=(("content-encoding", "br"),)),
        is_usable=False,
    ),
    "body_cut": Form("a body that breaks off", lambda reply: replace(reply, ending="cut"), is_usable=False),
    "close_each": Form("a connection that closes after each reply", lambda reply: replace(reply, ending="close")),
}
