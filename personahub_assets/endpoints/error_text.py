"""Read an error reply of any shape: the server's own sentence, and the words that identify the kind of error.

Many servers quote the request or half an answer in their errors. Values under such names (`input`, `messages`,
`content`) are skipped: a document about bankruptcy must not look like an account without credit.
"""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from personahub_assets.core.text import plain

LONGEST_BODY = 65_536
_LONGEST_SENTENCE = 400
_DEPTH = 12

_QUOTED = frozenset(
    [
        "input",
        "inputs",
        "flaggedinput",
        "messages",
        "request",
        "requestbody",
        "originalrequest",
        "prompt",
        "schema",
        "tools",
        "headers",
        "ctx",
        "content",
        "reasoning",
        "reasoningcontent",
        "arguments",
    ]
)
_ANSWERS = frozenset({"failedgeneration", "failedoutput", "rawoutput", "modeloutput", "generatedtext", "invalidoutput"})
_CONTAINERS = (
    "error",
    "errors",
    "fault",
    "baseresp",
    "response",
    "header",
    "result",
    "data",
    "detail",
    "details",
    "body",
)
_SENTENCES = (
    "message", "errormessage", "errormsg", "errmsg", "msg", "statusmsg", "statusmessage", "faultstring", "detail",
    "details", "errordescription", "description", "reason", "error", "errors", "text", "cause", "body", "title", "raw",
    "code", "type",
)  # fmt: skip
_STATUSES = frozenset({"code", "status", "statuscode", "errorcode", "httpcode", "httpstatus", "httpstatuscode"})
_SAYS_NOTHING = re.compile(
    r"(?:upstream |model )?(?:provider|server|service) returned (?:an )?error\.?|error|bad request", re.IGNORECASE
)

_TERMINAL_COMMAND = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|[PX^_][^\x1b]{0,4096}(?:\x1b\\)?|.)"
)
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{0,400})", re.IGNORECASE)
_UNSEEN = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|$)|<!--.*?(?:-->|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,2000}>?")
_HTML = re.compile(r"<(?:!doctype html|html|head|body|h1|center|title)\b", re.IGNORECASE)
_EVENT = re.compile(r"^(?:event:[^\n]{0,200}\n)?data:\s?", re.MULTILINE)
# "message": "…" in JSON that was cut, in JSON inside a string, or in what Python prints of a dict
_MESSAGE = re.compile(
    r"""\\{0,4}["'](?:message|msg|detail|error_msg)\\{0,4}["']\s{0,5}:\s{0,5}\\{0,4}(["'])((?:(?!\1|\\+["']).){1,2000})"""
)
_STATUS_IN_TEXT = re.compile(
    r"(?:error|status|http|code)[\s\\\"'`:=_-]{0,6}(?:code)?[\s\\\"'`:=<(-]{0,4}([45]\d\d)\b", re.IGNORECASE
)
_PYDANTIC_INPUT = re.compile(r"input_value=.{0,400}?, input_type=")


@dataclass(frozen=True)
class ErrorText:
    """An error reply as it was read.

    Attributes:
        sentence: the server's message on one line, without control characters, at most 400 characters; may be empty.
        words: all sentences and codes of the reply, to identify the kind of error.
        statuses: HTTP-like status codes in the body.
        answer: the refused answer of the model, if the reply contains it.
        is_page: whether the body is an HTML page.
        parameter: the parameter of the request that the server names, if any.
    """

    sentence: str
    words: str
    statuses: frozenset[int]
    answer: str
    is_page: bool
    parameter: str


def readable(body: bytes) -> str:
    """The server's sentence from JSON of any shape, a page or plain text; at most 400 characters on one line."""
    return read_error(body).sentence


def read_error(body: bytes) -> ErrorText:
    """Read the body of an error reply; never raises. Only the first 64 KiB are read."""
    text = decoded(body)
    value = _json(text)
    if isinstance(value, dict | list):
        return _of_json(value, text)
    if text.startswith("<"):
        return _of_markup(text)
    embedded = _MESSAGE.search(text)
    sentence = (
        embedded[2] if embedded and text.startswith(("{", "[")) else _nested(value if isinstance(value, str) else text)
    )
    return ErrorText(_clean(sentence), _spoken(text), _in_text(text), "", False, "")


def decoded(body: bytes) -> str:
    """The first 64 KiB as text, without a byte order mark and surrounding blanks."""
    return body[:LONGEST_BODY].decode("utf-8-sig", "replace").strip()


def _json(text: str) -> Any:
    if text.startswith(("data:", "event:")):
        text = _EVENT.split(text, maxsplit=1)[-1].split("\n", 1)[0]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_json(value: Any, text: str) -> ErrorText:
    leaves = list(_leaves(value))
    answer = next((leaf for name, leaf in leaves if name in _ANSWERS), "")
    spoken = [leaf for name, leaf in leaves if name not in _ANSWERS]
    codes = {int(leaf) for name, leaf in leaves if name in _STATUSES and re.fullmatch(r"[45]\d\d", leaf, re.ASCII)}
    parameter = next((leaf for name, leaf in leaves if name == "param"), "")
    words = _spoken("\n".join(spoken))
    sentence = _clean(_sentence(value)) or _clean(text)
    return ErrorText(sentence, words, frozenset(codes) | _in_text(words), answer, False, parameter)


def _of_markup(text: str) -> ErrorText:
    title = _TITLE.search(text)
    content = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    name = _clean(html.unescape(title[1])) if title else ""
    words = f"{name}\n{content}"
    if not _HTML.search(text):
        return ErrorText(_clean(content), words, frozenset(), "", False, "")
    first = plain(_without_commands(content), 160)
    first = "" if first == name else first
    label = f"an HTML page {name!r}" if name else "an HTML page"
    return ErrorText(_clean(f"{label}: {first}" if first else label), words, frozenset(), "", True, "")


def _leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """The texts and numbers of a body, each with its name, without parts quoted from the request."""
    if depth > _DEPTH or value is None or value is True or value is False:
        return
    if isinstance(value, dict):
        if "loc" in value and isinstance(value["loc"], list):
            yield "msg", _sentence(value)
        for key, item in value.items():
            key = re.sub(r"[\W_]", "", str(key)).lower()
            if key in _ANSWERS and not isinstance(item, str):
                yield key, json.dumps(item, ensure_ascii=False)
            elif key not in _QUOTED:
                yield from _leaves(item, key, depth + 1)
    elif isinstance(value, list):
        for item in value[:100]:
            yield from _leaves(item, name, depth + 1)
    else:
        text = str(value)
        yield name, f"block reason {text}" if name.endswith("blockreason") else text
        if name not in _ANSWERS and isinstance(inner := _json(text.strip()), dict | list):
            yield from _leaves(inner, name, depth + 1)


def _sentence(value: Any, depth: int = 0) -> str:
    if depth > _DEPTH:
        return ""
    if isinstance(value, str):
        return _nested(value, depth)
    if isinstance(value, list):
        return "; ".join(filter(None, (_sentence(item, depth + 1) for item in value[:3])))
    return _of_object(value, depth) if isinstance(value, dict) else ""


def _of_object(value: dict[str, Any], depth: int) -> str:
    named = {re.sub(r"[\W_]", "", str(key)).lower(): item for key, item in value.items()}
    message = next(
        (text for key in _SENTENCES if isinstance(named.get(key), str) and (text := _nested(named[key], depth))), ""
    )
    if isinstance(named.get("metadata"), dict):  # OpenRouter: the message of the provider behind it
        return _sentence(named["metadata"].get("raw"), depth + 1) or message
    location = named.get("loc")
    if isinstance(location, list) and message:  # FastAPI
        return ".".join(str(step) for step in location if step != "body") + ": " + message
    inside = (_sentence(named[key], depth + 1) for key in _CONTAINERS if isinstance(named.get(key), dict | list))
    deeper = next(filter(None, inside), "")
    is_message = any(isinstance(named.get(key), str) and named[key] for key in _SENTENCES[:-3] if key != "error")
    if (
        message
        and not _SAYS_NOTHING.fullmatch(message)
        and (is_message or not deeper)
        and "error" not in _objects(named)
    ):
        return message
    return deeper or message


def _objects(named: dict[str, Any]) -> set[str]:
    return {key for key, item in named.items() if isinstance(item, dict | list) and item}


def _nested(text: str, depth: int = 0) -> str:
    """A text, or the sentence of the JSON in it: gateways pass on their provider's error as a string."""
    text = text.strip()
    start = text.find("{")
    if start < 0 or depth > _DEPTH:
        return text
    start = min(start, position) if (position := text.find("[{")) >= 0 else start
    try:
        inner, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        message = _MESSAGE.search(text)
        return message[2] if message else text
    return _sentence(inner, depth + 1) or text


def _in_text(text: str) -> frozenset[int]:
    return frozenset(int(code) for code in _STATUS_IN_TEXT.findall(text[:4_000]))


def _spoken(text: str) -> str:
    return _PYDANTIC_INPUT.sub("", text)


def _without_commands(text: str) -> str:
    return _TERMINAL_COMMAND.sub("", text)


def _clean(text: str) -> str:
    return plain(_without_commands(text), _LONGEST_SENTENCE)
