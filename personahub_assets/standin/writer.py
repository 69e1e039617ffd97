"""The writer: a chat request in, the text of its answer out."""

import json
from typing import Any

from personahub_assets.standin import prose, schema, source
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.topic import Topic

_ANY_OBJECT = '{"type": "object", "properties": {"text": {"type": "string", "maxLength": 1200}}, "required": ["text"]}'


def write(body: dict[str, Any]) -> str:
    """Returns the answer to a chat request: JSON that satisfies the request's schema, or plain text without one.

    The answer depends on the messages and the schema alone, so the same request always gets the same answer.
    """
    found = schema_of(body)
    text = _ANY_OBJECT if found is None and _wants_json(body) else json.dumps(found) if found is not None else ""
    read = source.read(body.get("messages") or [], salt=text)
    if not text:
        return prose.article(Topic(read, ""), Dice(read.seed, "text"), "text")
    return json.dumps(schema.fill(text, read), ensure_ascii=False, separators=(",", ":"))


def schema_of(body: dict[str, Any]) -> Any:
    """Returns the JSON schema that a request asks for, in OpenAI's place or in one of vLLM's, or None."""
    wanted = body.get("response_format")
    if isinstance(wanted, dict):
        inner = wanted.get("json_schema")
        found = inner.get("schema") if isinstance(inner, dict) else wanted.get("schema")
        if found is not None:
            return found
    structured = body.get("structured_outputs")
    if isinstance(structured, dict) and structured.get("json") is not None:
        return structured["json"]
    return body.get("guided_json")


def schema_name(body: dict[str, Any]) -> str:
    """Returns the name that a request gives its schema, "unnamed" if it gives none, "text" if it has no schema."""
    wanted = body.get("response_format")
    inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    if isinstance(name, str) and name:
        return name
    return "text" if schema_of(body) is None else "unnamed"


def _wants_json(body: dict[str, Any]) -> bool:
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
