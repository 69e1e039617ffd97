"""A chat request in the OpenAI dialect: read, checked and measured."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from personahub_assets.standin.source import message_text
from personahub_assets.standin.writer import Order, order, schema_name, schema_of, tool_of, wants_json

CHARS_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 3


class RequestError(Exception):
    """A request that is answered with 4xx and an OpenAI-style error body."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


@dataclass(frozen=True, slots=True)
class Call:
    """One valid chat request.

    `digest` identifies the body byte for byte. `prompt_digest` identifies messages and schema, independent of
    `max_tokens`. Lengths are in tokens. `first` is the digest of the first message and `first_tokens` its length.
    `tool` is the name of the tool that receives the answer, if there is one.
    """

    order: Order
    wants_json: bool
    schema_name: str
    digest: bytes
    prompt_digest: bytes
    prompt_tokens: int
    first_tokens: int
    first: int
    max_tokens: int | None
    room: int
    tool: str

    @property
    def asked(self) -> str:
        """The text of the first message that is not the instructions."""
        messages = self.order.messages
        return next((message_text(message) for message in messages if message["role"] == "user"), "")


def parse(raw: bytes, max_model_len: int) -> Call:
    """Parses the body of a chat request; raises RequestError for unsupported or invalid parameters."""
    body = parse_object(raw)
    _check(body)
    max_tokens = _max_tokens(body)
    lengths = _lengths(body)
    prompt_tokens = sum(lengths)
    if prompt_tokens + (max_tokens or 1) > max_model_len:
        raise RequestError(
            f"This model's maximum context length is {max_model_len} tokens, but {prompt_tokens} in the messages "
            f"and {max_tokens or 1} for the answer were asked for. Shorten the messages or lower max_tokens.",
            param="messages",
            code="context_length_exceeded",
        )
    left = max_model_len - prompt_tokens
    chat_order, first = _order(body), body["messages"][0]
    return Call(
        order=chat_order,
        wants_json=wants_json(body),
        schema_name=schema_name(body),
        digest=_digest(raw),
        prompt_digest=_digest(chat_order.asked.encode("ascii")),
        prompt_tokens=prompt_tokens,
        first_tokens=lengths[0],
        first=hash((first["role"], message_text(first))),
        max_tokens=max_tokens,
        room=left if max_tokens is None else min(max_tokens, left),
        tool=str(tool_of(body).get("name") or ""),
    )


def parse_object(raw: bytes) -> dict[str, Any]:
    """Reads a JSON object; raises RequestError for anything else."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The request body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError("The request body must be a JSON object.")
    return body


def prompt_tokens(body: dict[str, Any]) -> int:
    """Estimates the tokens of `messages` or `prompt`; chat requests and `/tokenize` use the same estimate."""
    return sum(_lengths(body))


def tokens(characters: int) -> int:
    """Estimates the number of tokens from a number of characters."""
    return -(-characters // CHARS_PER_TOKEN)


def _lengths(body: dict[str, Any]) -> list[int]:
    messages = body.get("messages")
    if isinstance(messages, list):
        texts = [message_text(message) for message in messages if isinstance(message, dict)]
        return [tokens(len(text)) + _TOKENS_PER_MESSAGE for text in texts]
    if isinstance(body.get("prompt"), str):
        return [tokens(len(body["prompt"]))]
    raise RequestError("The request needs 'messages' or 'prompt'.", param="messages")


def _order(body: dict[str, Any]) -> Order:
    try:
        return order(body)
    except RecursionError as error:
        raise RequestError("The request is nested too deeply.") from error


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=8).digest()


def _check(body: dict[str, Any]) -> None:
    """Raises RequestError for unsupported or invalid parameters."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError("'messages' must be a list of at least one message.", param="messages")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(f"'messages[{index}]' must be an object with a role.", param=f"messages[{index}]")
        if not isinstance(message.get("content"), str | list | None):
            raise RequestError(
                f"'messages[{index}].content' must be text or a list of parts.", param=f"messages[{index}]"
            )
    if body.get("stream"):
        raise RequestError("The stand-in does not stream; leave 'stream' out or set it to false.", param="stream")
    if body.get("n") not in (None, 1):
        raise RequestError(f"The stand-in writes one choice, not n={body['n']!r}.", param="n")
    if not isinstance(schema_of(body), dict | bool | None):
        raise RequestError("The JSON schema in 'response_format' must be an object.", param="response_format")


def _max_tokens(body: dict[str, Any]) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RequestError(f"'{key}' must be a whole number of at least 1, not {value!r}.", param=key)
        return value
    return None
