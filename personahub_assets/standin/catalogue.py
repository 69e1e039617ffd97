"""All faults and settings of the stand-in by kind, each with a short description."""

from collections.abc import Mapping
from dataclasses import dataclass

from personahub_assets.standin.batch_faults import BATCH_FAULTS
from personahub_assets.standin.faults import CONTENT, GROUPS, KINDS, SETTINGS, STICKY, TRANSPORT
from personahub_assets.standin.forms import described
from personahub_assets.standin.limits import LIMITS
from personahub_assets.standin.model_lists import MODEL_LISTS
from personahub_assets.standin.needs import NEEDS


@dataclass(frozen=True, slots=True)
class Chapter:
    """One kind of fault: its title, when it applies, and a description of each fault by name."""

    title: str
    when: str
    entries: Mapping[str, str]


_BASIC = {
    "429": "too many requests; retry at once or after a second",
    "500": "an error of the server",
    "hang": "no answer for `hang_s`",
    "reset": "a connection that is closed without an answer",
    "503": "overloaded; retry at once or after a second",
    "slow": "an answer after `slow_s`",
    "malformed": "a 200 that is not a chat completion",
    "truncate": "an answer that is cut until `max_tokens` is larger",
    "bad_json": "text that is not JSON",
    "control": "control characters in strings",
    "surrogate": "half a surrogate pair in a string",
    "empty": "no text",
    "whitespace": "whitespace up to the token limit",
    "bad_schema": "JSON that does not match the schema",
    "refusal": "an apology",
    "content_filter": "an answer that is withheld",
    "400": "an invalid request",
    "too_long": "prompt longer than the context, with vLLM's message",
    "endless": "a text that never ends",
}
_SETTINGS = {
    "seed": "random seed that selects the affected requests; 0",
    "max_model_len": "context length in tokens; 32768",
    "after": "good answers before endpoint and envelope faults begin; 0",
    "until": "the call after which the endpoint fault ends; 0: never",
    "first": "number of texts that prompt faults apply to; 0: all",
    "limit": "answers per period; 0: no limit",
    "needed_tokens": "tokens that an answer needs; 1500",
    "most_texts": "texts that a request for vectors may have; 0: any number",
    "hang_s": "seconds that a request hangs; 30",
    "slow_s": "seconds that a slow answer takes; 5",
    "latency_ms": "milliseconds that every answer takes; 0",
    "trouble_s": "seconds after which the endpoint fault ends; 0: never",
    "limit_s": "length of a period in seconds; 60",
    "batch_s": "seconds that a batch stays half done; 0",
    "limit_told": "how a 429 gives the wait: see below; seconds",
    "models": "the form of the list of models: see below; usual",
    "needs": "refused parameters, joined by `+`: see below",
    "batch": "faults of the batch API, joined by `+`: see below",
    "only": "word in the texts that prompt faults apply to; a number behind it chooses the wording",
    "schema": "name of the schema whose answers are changed",
}
_WHERE = {
    "endpoint": ("The endpoint", "each request, after `after` good answers"),
    "row": ("Prompts", "the same texts each time"),
    "answer": ("The content of the answer", "each answer"),
    "text": ("The text of the answer", "each answer"),
    "budget": ("Token limit", "each answer with `max_tokens` below `needed_tokens`"),
    "place": ("Where the answer is", "each answer, after `after` good ones"),
    "envelope": ("Other fields of the reply", "each answer, after `after` good ones"),
    "body": ("The bytes of the reply", "each answer"),
    "vector": ("Embeddings", "the same texts each time"),
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
    Chapter("batch", "files and batches", described(BATCH_FAULTS)),
)


def overview() -> str:
    """Returns the catalogue as text: the names of each kind with their descriptions."""
    widest = max(map(len, (*KINDS, *SETTINGS)))
    chapters = []
    for chapter in CATALOGUE:
        lines = [f"  {name:{widest}}  {words}" for name, words in chapter.entries.items()]
        chapters.append("\n".join([f"{chapter.title} ({chapter.when})", *lines]))
    return "\n\n".join(chapters)
