"""The list of models that a server offers, read tolerantly: if the model is set, the list is only a hint."""

import fnmatch
import json
import math
import re
from typing import Any

from personahub_assets.core.text import sanitise

_LISTS = ("data", "models", "result")
_NAMES = ("id", "name", "model", "model_name")
_CONTEXTS = ("max_model_len", "context_length", "context_window", "max_context_length", "max_input_tokens", "n_ctx")
_MOST = 100_000_000  # tokens of a context
_VERSION = re.compile(
    r"[-:@_.](v?\d[\d.-]*|latest|preview|instruct|chat|it)([-:@_.](v?\d[\d.-]*|latest|preview))*", re.IGNORECASE
)


def read_models(content: bytes) -> dict[str, int | None]:
    """Names of models, each with its context in tokens if the server reports it.

    Raises:
        ValueError: if the reply is not a list of models.
    """
    try:
        reply = json.loads(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    entries = reply
    if isinstance(reply, dict):
        entries = next((reply[name] for name in _LISTS if name in reply), reply)
    if not isinstance(entries, list | None):
        raise ValueError("no list of models")
    return {name: _context(entry) for entry in entries or [] if (name := _name(entry))}


def offered_as(wanted: str, offered: dict[str, int | None]) -> str | None:
    """The name of a model in a list; None if the list does not contain it.

    >>> offered_as("m", {"models/m": None}), offered_as("m", {"m:latest": None}), offered_as("a/m", {"a/*": None})
    ('models/m', 'm:latest', 'a/*')
    """
    if wanted in offered:
        return wanted
    return next(
        (name for name in offered if is_same_model(wanted, name) or ("*" in name and fnmatch.fnmatch(wanted, name))),
        None,
    )


def is_same_model(wanted: str, got: str) -> bool:
    """Whether two names mean the same model: without the maker or folder, a tag, or the date of a version.

    >>> is_same_model("gpt-4o-mini", "gpt-4o-mini-2024-07-18"), is_same_model("m", "models/m"), is_same_model("m", "n")
    (True, True, False)
    """
    a, b = (name.lower().rstrip("/").rsplit("/", 1)[-1].removesuffix(":latest") for name in (wanted, got))
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    if longer == shorter:
        return True
    return bool(shorter) and longer.startswith(shorter) and _VERSION.fullmatch(longer[len(shorter) :]) is not None


def _name(entry: Any) -> str:
    if isinstance(entry, dict):
        entry = next((entry[name] for name in _NAMES if isinstance(entry.get(name), str | int)), "")
    return sanitise(str(entry))[0].strip() if isinstance(entry, str | int) else ""


def _context(entry: Any) -> int | None:
    """Tokens of prompt and answer together, from the first field with a number."""
    for name in _CONTEXTS if isinstance(entry, dict) else ():
        try:
            tokens = float(entry.get(name) or 0)
        except (TypeError, ValueError):
            continue
        if math.isfinite(tokens) and 0 < tokens <= _MOST:
            return int(tokens)
    return None
