"""Seeded faults of servers and models at chosen rates, reproducible."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from personahub_assets.standin.batch_faults import BATCH_FAULTS
from personahub_assets.standin.bodies import BODIES
from personahub_assets.standin.budgets import BUDGETS
from personahub_assets.standin.endpoint_troubles import ENDPOINT
from personahub_assets.standin.envelopes import ENVELOPES, PLACES
from personahub_assets.standin.forms import Form
from personahub_assets.standin.limits import LIMITS
from personahub_assets.standin.model_lists import MODEL_LISTS
from personahub_assets.standin.needs import NEEDS
from personahub_assets.standin.nonsense import NONSENSE
from personahub_assets.standin.row_troubles import ROW
from personahub_assets.standin.vectors import VECTORS
from personahub_assets.standin.words import REFUSALS
from personahub_assets.standin.wrappings import WRAPPINGS
from personahub_assets.standin.wrong_answers import ANSWERS

MAX_MODEL_LEN = 32_768

# Faults of the request; faults of the answer; faults of a prompt at every attempt.
TRANSPORT = ("429", "500", "hang", "reset", "503", "slow", "malformed")
CONTENT = ("truncate", "bad_json", "control", "surrogate", "empty", "whitespace", "bad_schema")
STICKY = ("refusal", "content_filter", "400", "too_long", "endless")
TEXTS = {**WRAPPINGS, **NONSENSE}
# Behaviours of real servers by group; one random draw chooses between the kinds of a group.
GROUPS: dict[str, Mapping[str, Form[Any]]] = {
    "endpoint": ENDPOINT,
    "row": ROW,
    "answer": ANSWERS,
    "text": TEXTS,
    "budget": BUDGETS,
    "place": PLACES,
    "envelope": ENVELOPES,
    "body": BODIES,
    "vector": VECTORS,
}
_BASIC = (*TRANSPORT, *CONTENT)
KINDS = (*_BASIC, *STICKY, *(kind for forms in GROUPS.values() for kind in forms))
_CHOICES: dict[str, Collection[str]] = {
    "limit_told": LIMITS,
    "models": MODEL_LISTS,
    "needs": NEEDS,
    "batch": BATCH_FAULTS,
}
_SEVERAL = ("needs", "batch")  # choices that can be joined
_WHOLE = ("seed", "max_model_len", "after", "until", "first", "limit", "needed_tokens", "most_texts")
_SECONDS = ("hang_s", "slow_s", "latency_ms", "trouble_s", "limit_s", "batch_s")
_WORDS = ("only", "schema")
SETTINGS = (*_WHOLE, *_SECONDS, *_CHOICES, *_WORDS)

_ENDLESS_CHARS = 60_000
_CHARS_PER_TOKEN = 4
_UNBOUNDED_TOKENS = 4096


class FaultError(ValueError):
    """A fault specification is invalid."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Rates of faults by kind, in 0 .. 1, and the seed that selects the affected requests.

    A transport or content fault depends on the seed, the request body and the number of times the body was received, so
    a retry can succeed. A sticky fault depends only on the seed and the prompt, so retries fail as well.

    One kind per group of GROUPS is drawn: in `row` by the text of the prompt, in the other groups like a transient
    fault. Faults of `endpoint` begin after `after` good answers and end with the call `until` or after `trouble_s`
    seconds, if these are not 0. Faults of `row` apply to texts that contain the word `only` (a number behind it chooses
    the wording), and to the `first` such texts, if these are set. Faults of `text` apply to answers to the schema named
    `schema`, if it is set. Faults of `vector` apply to embedded texts that contain the word `only`, if it is set; a
    request has at most `most_texts` of them, if that is not 0. Faults of `budget` end once `max_tokens` is at least
    `needed_tokens`.

    At most `limit` answers are given in `limit_s` seconds, and `limit_told` is the form in which a 429 gives the wait.
    `models` is the form of the list of models. `needs` are refused parameters, joined by `+`. `batch` are faults of
    `/v1/batches`, joined by `+`; a batch stays half done for `batch_s` seconds.

    `hang_s` is the duration of a hanging request, `slow_s` the delay of a slow answer, `latency_ms` the delay of every
    answer, and `max_model_len` the context length in tokens.
    """

    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    hang_s: float = 30.0
    latency_ms: float = 0.0
    slow_s: float = 5.0
    max_model_len: int = MAX_MODEL_LEN
    after: int = 0
    until: int = 0
    trouble_s: float = 0.0
    first: int = 0
    only: str = ""
    schema: str = ""
    limit: int = 0
    limit_s: float = 60.0
    limit_told: str = "seconds"
    models: str = "usual"
    needs: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()
    batch_s: float = 0.0
    needed_tokens: int = 1500
    most_texts: int = 0

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Reads "429=0.02,hang=0.01,seed=7"; an empty text means no faults. Raises FaultError with all problems."""
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
                settings[name] = _setting(name, value)
        problems += _excesses(rates)
        if problems:
            raise FaultError(f"faults {text!r}: " + "; ".join(problems))
        return cls(rates, **settings)

    def of_group(self, group: str, key: bytes) -> str | None:
        """Draws the fault of a group for a key (a prompt, or a body and its repeat count), or None."""
        return self._drawn(tuple(GROUPS[group]), self._throw(b"%s %s" % (group.encode(), key)))

    def has(self, group: str) -> bool:
        """Tells whether any fault of a group is configured."""
        return any(kind in GROUPS[group] for kind in self.rates)

    def transient(self, body: bytes, repeat: int) -> str | None:
        """Draws the fault for a body that was received `repeat` times before, or None."""
        return self._drawn(_BASIC, self._throw(b"%d %s" % (repeat, body)))

    def sticky(self, prompt: bytes) -> str | None:
        """Returns the fault that always affects this prompt, or None."""
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


def _setting(name: str, value: str) -> Any:
    """The value of a valid setting."""
    if name in _SEVERAL:
        return tuple(value.split("+"))
    if name in _WHOLE:
        return int(value)
    return float(value) if name in _SECONDS else value


def _excesses(rates: Mapping[str, float]) -> list[str]:
    """Names the groups with rates above 1 in total; one draw decides per group."""
    problems = []
    for kinds in (_BASIC, STICKY, *map(tuple, GROUPS.values())):
        total = sum(rates.get(kind, 0.0) for kind in kinds)
        if total > 1 + 1e-9:
            named = ", ".join(kind for kind in kinds if kind in rates)
            problems.append(f"the rates of {named} add up to {total:g}; together they may be at most 1")
    return problems


def _problem(name: str, value: str) -> str | None:
    if name not in KINDS and name not in SETTINGS:
        return f"unknown kind {name!r} (kinds: {', '.join(KINDS)}; settings: {', '.join(SETTINGS)})"
    if name in _CHOICES:
        return _unlisted(name, value)
    if name in _WORDS:
        return None if value else f"{name} is empty"
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


def _unlisted(name: str, value: str) -> str | None:
    """Names the values that are not choices of a setting."""
    values = value.split("+") if name in _SEVERAL else [value]
    wrong = [choice for choice in values if choice not in _CHOICES[name]]
    return f"{name}={'+'.join(wrong)!r} is none of {', '.join(_CHOICES[name])}" if wrong else None


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
    """Inserts characters after the first space in a JSON string, or at the start of the first string value."""
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
