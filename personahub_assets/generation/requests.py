"""What is asked and what became of it."""

import json
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

from personahub_assets.domain.prompts import Message, Prompt
from personahub_assets.domain.records import Answer
from personahub_assets.domain.text import digest

Reason = Literal[
    "truncated",
    "invalid_json",
    "schema_violation",
    "refused",
    "too_long",
    "content_filtered",
    "bad_request",
    "empty",
    "timeout",
    "unreachable",
]
"""Why a request ended without an accepted answer.

truncated: the answer hit the token limit, the larger second try too
invalid_json: not JSON after all re-asks
schema_violation: JSON, but not as the schema wants it, after all re-asks
refused: the model declined
too_long: the prompt does not fit the model's context
content_filtered: the server withheld the answer
bad_request: the server says the request is wrong
empty: an answer without text
timeout: no answer in time, at every try
unreachable: connection faults, 429 or 5xx at every try
"""

TRANSIENT: frozenset[Reason] = frozenset({"timeout", "unreachable"})
"""Reasons that say nothing about the request: it is asked again at the next materialisation."""


@dataclass(frozen=True)
class Task:
    """One asset's way of asking: its prompt, its answer class and the model."""

    asset: str
    prompt: Prompt
    answer: type[Answer]
    model: str

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""
        return self.answer.model_json_schema()

    @cached_property
    def schema_fingerprint(self) -> str:
        """Hash of the JSON schema; descriptions count, since the model may read them."""
        return digest(json.dumps(self.schema, sort_keys=True), size=16)

    def code_version(self, *settings: str | int | float) -> str:
        """Hash of all that can change this asset's rows: prompt, schema, sampling, model and some settings."""
        return digest(self.prompt.fingerprint, self.schema_fingerprint, self.model, *map(str, settings), size=16)

    def request(self, input_id: str, values: dict[str, str], sample: int = 0, **shared: str | int) -> "Request":
        """Render one request; its key covers exactly what can change the answer."""
        messages = self.prompt.messages(values, sample, **shared)
        sampling = (str(self.prompt.temperature), str(self.prompt.top_p))
        key = digest(
            self.model, json.dumps(messages, sort_keys=True), *sampling, self.schema_fingerprint, sample, size=32
        )
        return Request(key, input_id, sample, messages)


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one input."""

    key: str
    input_id: str
    sample: int
    messages: list[Message]


@dataclass(slots=True)
class Outcome:
    """What became of a request: an accepted answer, or a reason."""

    key: str
    status: Literal["accepted", "rejected"]
    response: str  # the accepted answer as JSON, or the last bad answer
    model: str = ""
    reason: Reason | None = None
    detail: str | None = None
    attempts: int = 0
    repaired: bool = False
    finish_reason: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    wasted_tokens: int = 0
    latency_s: float = 0.0
    reused: bool = False

    def to_json(self) -> str:
        """Write for the journal."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Read from the journal; fields of a later version are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})


@dataclass
class Tally:
    """Running totals of one asset and batch, for progress and metadata."""

    total: int = 0
    calls: int = 0  # answers received over the network, rejected and re-asked ones included
    accepted: int = 0
    rejected: int = 0
    reused: int = 0  # requests answered from the home, without a call
    prompt_tokens: int = 0
    completion_tokens: int = 0
    wasted_tokens: int = 0
    seconds: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Requests with an outcome."""
        return self.accepted + self.rejected

    def __add__(self, other: "Tally") -> "Tally":
        """Sum of two tallies."""
        reasons = {key: self.reasons.get(key, 0) + other.reasons.get(key, 0) for key in {*self.reasons, *other.reasons}}
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name != "reasons"}
        return Tally(**sums, reasons=reasons)

    def add(self, outcome: Outcome, *, paid: bool) -> None:
        """Count one outcome; `paid` if it came from calls of this run."""
        if outcome.status == "accepted":
            self.accepted += 1
        else:
            self.rejected += 1
            self.reasons[outcome.reason or ""] = self.reasons.get(outcome.reason or "", 0) + 1
        if not paid:
            self.reused += 1
            return
        self.calls += outcome.attempts
        self.prompt_tokens += outcome.prompt_tokens
        self.completion_tokens += outcome.completion_tokens
        self.wasted_tokens += outcome.wasted_tokens
