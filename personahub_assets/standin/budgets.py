"""Answers that need more tokens than `max_tokens` allows."""

from collections.abc import Callable
from typing import Any

from personahub_assets.standin.forms import Form

Short = Callable[[str], tuple[dict[str, Any], str]]


def _cut(word: str) -> Short:
    return lambda content: ({"content": content[: len(content) // 2]}, word)


def _thought(_: str) -> tuple[dict[str, Any], str]:
    return {"content": None, "reasoning_content": "Who else could that be? " * 40}, "length"


# Message fields and finish reason while `max_tokens` is below `needed_tokens`.
BUDGETS: dict[str, Form[Short]] = {
    "finish_max_tokens": Form("a cut answer whose finish reason is MAX_TOKENS", _cut("MAX_TOKENS")),
    "finish_length": Form("a cut answer until there is room", _cut("length")),
    "reasoning_ate_budget": Form("thinking that takes all of max_tokens", _thought),
}
