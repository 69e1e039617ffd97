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


BODIES: dict[str, Form[Pack]] = {
    "sse": Form("an event stream", _streamed),
    "spaces_first": Form("blanks before the body", lambda reply: replace(reply, body=b" \n" * 300 + reply.body)),
    "body_bom": Form("a byte order mark before the body", lambda r: replace(r, body=b"\xef\xbb\xbf" + r.body)),
    "gzip_forced": Form("gzip, unasked", _zipped),
    "br_broken": Form(
        "a body that is not in the encoding it names",
        lambda reply: replace(reply, headers=(("content-encoding", "br"),)),
        is_usable=False,
    ),
    "body_cut": Form("a body that breaks off", lambda reply: replace(reply, ending="cut"), is_usable=False),
    "close_each": Form("a connection that closes after each reply", lambda reply: replace(reply, ending="close")),
}
