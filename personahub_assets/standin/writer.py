"""The writer: a chat request in, the text of its answer out."""

import contextlib
import json
from dataclasses import dataclass
from typing import Any

from personahub_assets.standin import conditions, functions, judging, prose, schema, source
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.topic import Topic

_ANY_OBJECT = '{"type": "object", "properties": {"text": {"type": "string", "maxLength": 1200}}, "required": ["text"]}'


_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Order:
    """Messages and schema of a chat request, both also as JSON text."""

    messages: list[Any]
    messages_text: str
    schema: Any
    schema_text: str

    @property
    def asked(self) -> str:
        """Identifies messages and schema, independent of `max_tokens`."""
        return f"[{self.messages_text}, {self.schema_text}]"


def order(body: dict[str, Any]) -> Order:
    """Parses a chat request; `schema` is None if the request has none."""
    messages, json_schema = body.get("messages") or [], schema_of(body)
    return Order(messages, json.dumps(messages), json_schema, json.dumps(json_schema))


def write(body: dict[str, Any]) -> str:
    """Returns the answer to a chat request: JSON that satisfies the request's schema, or plain text without one.

    The answer depends only on messages and schema, so the same request always gets the same answer.
    """
    return written(order(body), wants_json=wants_json(body))


def written(asked: Order, *, wants_json: bool) -> str:
    """Returns the answer to an order; without a schema, an object if JSON is requested, else plain text."""
    text = asked.schema_text if asked.schema is not None else _ANY_OBJECT if wants_json else ""
    read = source.read(asked.messages, asked.messages_text, salt=text)
    if not text:
        return prose.article(Topic(read, ""), Dice(read.seed, "text"), "text")
    writers = (functions.answer, conditions.answer, judging.answer)
    special = next((answer for write in writers if (answer := write(asked.schema, read))), None)
    return _compact(special or schema.fill(text, read))


def schema_of(body: dict[str, Any]) -> Any:
    """Returns the JSON schema of a request or None: OpenAI's field, vLLM's field, a tool, or the messages."""
    wanted = body.get("response_format")
    if isinstance(wanted, dict):
        inner = wanted.get("json_schema")
        json_schema = inner.get("schema") if isinstance(inner, dict) else wanted.get("schema")
        if json_schema is not None:
            return json_schema
    structured = body.get("structured_outputs")
    if isinstance(structured, dict) and structured.get("json") is not None:
        return structured["json"]
    if body.get("guided_json") is not None:
        return body["guided_json"]
    tool = tool_of(body)
    return tool.get("parameters") if tool else _told_schema(body)


def tool_of(body: dict[str, Any]) -> dict[str, Any]:
    """Returns the function of the first tool of a request; empty if it has no tools."""
    tools = body.get("tools")
    tool = tools[0].get("function") if isinstance(tools, list) and tools and isinstance(tools[0], dict) else None
    return tool if isinstance(tool, dict) else {}


def _told_schema(body: dict[str, Any]) -> Any:
    """Returns a schema in the text of the messages, as sent to servers without structured output."""
    for message in body.get("messages") or ():
        text = source.message_text(message) if isinstance(message, dict) else ""
        schema_found = _first_schema(text) if '"properties"' in text else None
        if schema_found is not None:
            return schema_found
    return None


def _first_schema(text: str) -> Any:
    start = text.find("{")
    while start >= 0:
        with contextlib.suppress(ValueError, RecursionError):
            value, _ = json.JSONDecoder().raw_decode(text, start)
            if isinstance(value, dict) and isinstance(value.get("properties"), dict):
                return value
        start = text.find("{", start + 1)
    return None


def schema_name(body: dict[str, Any]) -> str:
    """Returns the name of the schema of a request: "unnamed" if it has no name, "text" if there is no schema."""
    wanted = body.get("response_format")
    inner = wanted.get("json_schema") if isinstance(wanted, dict) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    name = name or tool_of(body).get("name")
    if isinstance(name, str) and name:
        return name
    return "text" if schema_of(body) is None else "unnamed"


def wants_json(body: dict[str, Any]) -> bool:
    """Tells whether a request asks for JSON, with a schema or without one."""
    wanted = body.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
