"""All faults and settings of the stand-in by kind, each in a few words."""

from collections.abc import Mapping
from dataclasses import dataclass

from personahub_assets.standin.faults import CONTENT, GROUPS, KINDS, SETTINGS, STICKY, TRANSPORT
from personahub_assets.standin.forms import described
from personahub_assets.standin.limits import LIMITS
from personahub_assets.standin.model_lists import MODEL_LISTS
from personahub_assets.standin.needs import NEEDS


@dataclass(frozen=True, slots=True)
class Chapter:
    """One kind of faults: its title, when they meet a request, and what each of them is by name."""

    title: str
    when: str
    entries: Mapping[str, str]


_BASIC = {
    "429": "too many requests, come back at once or in a second",
    "500": "an error of the server",
    "hang": "no answer for `hang_s`",
    "reset": "a connection that is closed without an answer",
    "503": "overloaded, come back at once or in a second",
    "slow": "an answer after `slow_s`",
    "malformed": "a 200 that is no chat completion",
    "truncate": "an answer that is cut until there is more room",
    "bad_json": "text that is no JSON",
    "control": "control characters in strings",
    "surrogate": "half a surrogate pair in a string",
    "empty": "no text",
    "whitespace": "whitespace up to the limit",
    "bad_schema": "JSON that is not of the schema",
    "refusal": "an apology",
    "content_filter": "an answer that is withheld",
    "400": "an invalid request",
    "too_long": "beyond the context, as vLLM says it",
    "endless": "a text without an end",
}
_SETTINGS = {
    "seed": "which requests are met; 0",
    "max_model_len": "the context in tokens; 32768",
    "after": "good answers before troubles of the endpoint, and what stands beside an answer, begin; 0",
    "until": "the call that the trouble of the endpoint ends with; 0: it does not",
    "first": "how many of the texts the troubles of prompts meet; 0: all",
    "limit": "answers per period; 0: no limit",
    "needed_tokens": "room that an answer needs; 1500",
    "hang_s": "seconds that a request is held; 30",
    "slow_s": "seconds that a late answer takes; 5",
    "latency_ms": "milliseconds that every answer takes; 0",
    "trouble_s": "seconds after which the trouble of the endpoint ends; 0: it does not",
    "limit_s": "seconds of a period; 60",
    "limit_told": "how a limit is told: see below; seconds",
    "models": "the form of the list of models: see below; usual",
    "needs": "what is refused, joined by `+`: see below",
    "only": "the word of the texts that the troubles of prompts meet; a number behind it chooses the wording",
    "schema": "the name of the schema whose answers are changed",
}
_WHERE = {
    "endpoint": ("The endpoint", "each request, after `after` good answers"),
    "row": ("Prompts", "the same texts each time"),
    "text": ("The text of the answer", "each answer"),
    "budget": ("Room", "each answer with less room than `needed_tokens`"),
    "place": ("Where the answer is", "each answer, after `after` good ones"),
    "envelope": ("Beside the answer", "each answer, after `after` good ones"),
    "body": ("The bytes of the reply", "each answer"),
}


def _basic(title: str, when: str, names: tuple[str, ...]) -> Chapter:
    return Chapter(title, when, {name: _BASIC[name] for name in names})


CATALOGUE = (
    _basic("Transport", "each request", TRANSPORT),
    _basic("Content", "each answer", CONTENT),
    _basic("Always for the same prompts", "the same prompts each time", STICKY),
    *(Chapter(title, when, described(GROUPS[group])) for group, (title, when) in _WHERE.items()),
    Chapter("Settings", "with their defaults", {name: _SETTINGS[name] for name in SETTINGS}),
    Chapter("limit_told", "what a 429 says of the time to wait", described(LIMITS)),
    Chapter("models", "what `GET /v1/models` gives", described(MODEL_LISTS)),
    Chapter("needs", "the server takes", described(NEEDS)),
)


def overview() -> str:
    """All of it as text: the names of each kind, then what they are."""
    widest = max(map(len, (*KINDS, *SETTINGS)))
    chapters = []
    for chapter in CATALOGUE:
        lines = [f"  {name:{widest}}  {words}" for name, words in chapter.entries.items()]
        chapters.append("\n".join([f"{chapter.title} ({chapter.when})", *lines]))
    return "\n\n".join(chapters)
