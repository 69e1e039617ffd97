"""Forms of `GET /v1/models`."""

import dataclasses
import gzip
from collections.abc import Callable
from typing import Any

from personahub_assets.standin.forms import Form
from personahub_assets.standin.wire import Reply, failure, reply

MODEL = "standin"
Headers = dict[str, str]
ModelList = Callable[[int, Headers], Reply]
"""Makes the reply from the model's context length in tokens and the headers of the request."""


def _entry(**fields: object) -> dict[str, Any]:
    return {"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL, **fields}


def _listed(*entries: object) -> ModelList:
    return lambda _length, _headers: reply({"object": "list", "data": list(entries)})


def _says(value: object, status: int = 200) -> ModelList:
    return lambda _length, _headers: reply(value, status)


def _usual(length: int, _headers: Headers) -> Reply:
    return reply({"object": "list", "data": [_entry(max_model_len=length)]})


def _zipped(length: int, headers: Headers) -> Reply:
    usual = _usual(length, headers)
    return dataclasses.replace(usual, body=gzip.compress(usual.body), headers=(("content-encoding", "gzip"),))


def _picky(length: int, headers: Headers) -> Reply:
    if headers.get("user-agent", "").startswith("Python-urllib"):
        return Reply(b"error code: 1010", 403, media_type="text/plain")
    return _usual(length, headers)


def _key_echo(_length: int, headers: Headers) -> Reply:
    return failure(401, f"Incorrect API key provided: {headers.get('authorization', '').removeprefix('Bearer ')}")


def _page(_length: int, _headers: Headers) -> Reply:
    return Reply(b"<!DOCTYPE html><html><title>Open the app</title></html>", media_type="text/html")


MODEL_LISTS: dict[str, Form[ModelList]] = {
    "usual": Form("OpenAI's list, with vLLM's length", _usual),
    "missing": Form("404", _says({"error": {"code": "404", "message": "Resource not found"}}, 404)),
    "not_allowed": Form("405", _says({"detail": "Method Not Allowed"}, 405)),
    "empty": Form("an empty list", _listed()),
    "null": Form("null as the list", _says({"object": "list", "data": None})),
    "bare": Form("a list without its object", _says([_entry(), {"id": "other", "type": "chat"}])),
    "prefix": Form("names with a prefix", _listed(_entry(id=f"models/{MODEL}"), _entry(id="models/other"))),
    "tag": Form("a name with a tag", _listed(_entry(id=f"{MODEL}:latest"))),
    "wild": Form("a pattern as a name", _listed(_entry(id="openai/*"))),
    "path": Form("a path as the name", _listed(_entry(id="/data/models/Some-8B/"))),
    "len_str": Form("a length as a string", _listed(_entry(max_model_len="32768"))),
    "len_float": Form("a length with a fraction", _listed(_entry(max_model_len=32768.0))),
    "no_id": Form("an entry without id", _listed(_entry(), {"name": "other"})),
    "id_int": Form("a number as id", _listed(_entry(), _entry(id=7))),
    "gzip": Form("gzip, unasked", _zipped),
    "html": Form("a page of HTML", _page),
    "agent": Form("403 for Python's urllib", _picky),
    "busy": Form("503, the model is being loaded", _says({"error": {"code": 503, "message": "Loading model"}}, 503)),
    "limited": Form("429", lambda _length, _headers: failure(429, "Too many requests", retry_after="1")),
    "key_echo": Form("401 that repeats the key", _key_echo),
}
