"""Chats: the text of a conversation that is stored as a list of turns.

Two forms are supported: `[{"role": "user", "content": "…"}]` and `[{"from": "human", "value": "…"}]`. The text has all
turns that are not empty, each after the name of its speaker, with a blank line between turns.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

CHAT_COLUMNS = ("messages", "conversations", "conversation")
_FORMS = (("role", "content"), ("from", "value"))


def chat_text(value: Any) -> str | None:
    """Write a conversation as text; None if the value is not a conversation.

    >>> chat_text([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}])
    'user: Hi\\n\\nassistant: Hello!'
    """
    turns = _parsed(value) if isinstance(value, str) else value
    if not isinstance(turns, list | tuple) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
        return None
    texts = [_turn(turn) for turn in turns]
    return None if None in texts else "\n\n".join(text for text in texts if text)


def _parsed(value: str) -> Any:
    try:
        return json.loads(value) if value.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None


def _turn(turn: Mapping[str, Any]) -> str | None:
    """The text of one turn; empty without text, such as a tool call, and None if it is not a turn."""
    for speaker, content in _FORMS:
        if speaker in turn and content in turn:
            text = _content(turn[content])
            return f"{turn[speaker]}: {text}" if text.strip() else ""
    return "" if "role" in turn else None


def _content(value: Any) -> str:
    """The text of a turn, which can have several parts and images."""
    if isinstance(value, str):
        return value
    items: Iterable[Any] = value if isinstance(value, list | tuple) else ()
    texts = [item if isinstance(item, str) else item.get("text") for item in items if isinstance(item, str | Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))
