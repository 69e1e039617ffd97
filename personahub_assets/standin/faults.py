"""Seeded faults: what a server or a model gets wrong, at chosen rates, the same way every time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from personahub_assets.standin.words import REFUSALS

# What befalls the request; what befalls the answer; what befalls a prompt whenever it is asked.
TRANSPORT = ("429", "500", "hang", "reset", "503", "slow", "malformed")
CONTENT = ("truncate", "bad_json", "control", "surrogate", "empty", "whitespace", "bad_schema")
STICKY = ("refusal", "content_filter", "400", "too_long", "endless")
KINDS = (*TRANSPORT, *CONTENT, *STICKY)
SETTINGS = ("seed", "hang_s", "slow_s", "latency_ms", "max_model_len")
MAX_MODEL_LEN = 32_768
_WHOLE = ("seed", "max_model_len")

_ENDLESS_CHARS = 60_000
_CHARS_PER_TOKEN = 4
_UNBOUNDED_TOKENS = 4096


class FaultError(ValueError):
    """A fault specification that cannot be read."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates of faults by kind, in 0 .. 1, and the seed that decides which requests they meet.

    A transport or content fault depends on the seed, the request body and how often that body was seen, so a retry can
    succeed. A sticky fault depends on the seed and the prompt alone: asking again does not help.

    `hang_s` is how long a hanging request is held, `slow_s` how late the answer of a straggler comes, `latency_ms` how
    long every answer takes, and `max_model_len` the model's context in tokens.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    hang_s: float = 30.0
    latency_ms: float = 0.0
    slow_s: float = 5.0
    max_model_len: int = MAX_MODEL_LEN

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Reads "429=0.02,hang=0.01,seed=7"; empty means no faults. Raises FaultError naming all that is wrong."""
        rates: dict[str, float] = {}
        settings: dict[str, Any] = {}
        problems = []
        for setting in filter(None, (setting.strip() for setting in text.split(","))):
            name, _, value = (side.strip() for side in setting.partition("="))
            problem = _problem(name, value)
            if problem:
                problems.append(problem)
            elif name in KINDS:
                rates[name] = float(value)
            else:
                settings[name] = int(value) if name in _WHOLE else float(value)
        for kinds in ((*TRANSPORT, *CONTENT), STICKY):  # one draw decides between the kinds of a group
            total = sum(rates.get(kind, 0.0) for kind in kinds)
            if total > 1 + 1e-9:
                named = ", ".join(kind for kind in kinds if kind in rates)
                problems.append(f"the rates of {named} add up to {total:g}; together they may be at most 1")
        if problems:
            raise FaultError(f"faults {text!r}: " + "; ".join(problems))
        return cls(rates, **settings)

    def transient(self, body: bytes, seen: int) -> str | None:
        """Draws the fault, if any, that meets this body when it has been seen `seen` times before."""
        return self._drawn((*TRANSPORT, *CONTENT), self._throw(b"%d %s" % (seen, body)))

    def sticky(self, prompt: bytes) -> str | None:
        """Returns the fault, if any, that always meets this prompt."""
        return self._drawn(STICKY, self._throw(b"refusal " + prompt))

    def _drawn(self, kinds: tuple[str, ...], throw: float) -> str | None:
        for kind in kinds:
            throw -= self.rates.get(kind, 0.0)
            if throw < 0:
                return kind
        return None

    def variant(self, prompt: bytes, count: int) -> int:
        """Chooses one of `count` forms of a fault for this prompt."""
        return int(self._throw(b"variant " + prompt) * count)

    def _throw(self, data: bytes) -> float:
        digest = blake2b(b"%d " % self.seed + data, digest_size=8).digest()
        return int.from_bytes(digest, "little") / 2**64


def _problem(name: str, value: str) -> str | None:
    if name not in KINDS and name not in SETTINGS:
        return f"unknown kind {name!r} (kinds: {', '.join(KINDS)}; settings: {', '.join(SETTINGS)})"
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", value) or (name in _WHOLE and not value.isdigit()):
        wanted = (
            "a whole number" if name in _WHOLE else "a rate such as 0.02" if name in KINDS else "a number such as 30"
        )
        return f"{name}={value!r} is not {wanted}"
    if name in KINDS and float(value) > 1:
        return f"{name}={value!r} is above 1 (a rate is the share of requests, 0 to 1)"
    if name == "max_model_len" and int(value) < 1:
        return f"{name}={value!r} is too small (a context has at least 1 token)"
    return None


def refusal_text(variant: int) -> str:
    """Returns an apology in place of an answer."""
    return REFUSALS[variant % len(REFUSALS)]


def spoiled(kind: str, content: str, variant: int) -> str:
    """Returns the answer with a content fault that leaves its length about the same."""
    return _SPOILERS[kind](content, variant)


def _bad_json(content: str, variant: int) -> str:
    if not content.startswith(("{", "[")):
        return '{"text": '
    if variant % 3 == 0:
        return content[:-1] + ","
    if variant % 3 == 1:
        return content.replace('":', '" ', 1) if '":' in content else content[:-1]
    return content.replace('"', "", 1) if '"' in content else content[:-1]


def _control(content: str, variant: int) -> str:
    return _inside_string(content, ("\n", "\t", "\r\n", "\x07")[variant % 4] + "\n\x0b")


def _surrogate(content: str, variant: int) -> str:
    return _inside_string(content, ("\\ud800", "\\udfff", "\\udbff ")[variant % 3])


def _inside_string(content: str, signs: str) -> str:
    """Puts signs after the first space inside a JSON string, or at the start of the first string value."""
    # The writer leaves no space between tokens, so the first space is inside a string.
    at = content.find(" ") + 1
    if not at:
        match = re.search(r'[:\[]"', content)
        at = match.end() if match else len(content)
    return content[:at] + signs + content[at:]


_SPOILERS: dict[str, Callable[[str, int], str]] = {
    "bad_json": _bad_json,
    "control": _control,
    "surrogate": _surrogate,
    "empty": lambda _content, _variant: "",
}


def endless_whitespace(max_tokens: int | None) -> str:
    """Returns the start of an object followed by whitespace up to the token limit (or 60,000 characters)."""
    return _endless("{", "\n  \t", max_tokens)


def endless_talk(max_tokens: int | None) -> str:
    """Returns the start of an object whose first string never ends, up to the token limit (or 60,000 characters)."""
    return _endless('{"text":"It goes on', " and on", max_tokens)


def _endless(start: str, more: str, max_tokens: int | None) -> str:
    chars = min((max_tokens or _UNBOUNDED_TOKENS) * _CHARS_PER_TOKEN, _ENDLESS_CHARS)
    return (start + more * (chars // len(more) + 1))[:chars]
