"""Requests and their outcomes."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from personahub_assets.core.constraints import Constraint, choose, request_note
from personahub_assets.core.prompts import WANTED, Message, Prompt
from personahub_assets.core.records import Answer
from personahub_assets.core.roles import WRITER, Role
from personahub_assets.core.text import digest
from personahub_assets.core.worlds import PARAMETER, World, world_of
from personahub_assets.generation.servers.dialect import Dialect

Reason = Literal[
    "truncated",
    "invalid_json",
    "schema_violation",
    "refused",
    "too_long",
    "content_filtered",
    "bad_request",
    "degenerate",
    "empty",
    "unreadable",
    "timeout",
    "unreachable",
    "taken_down",
    "pii",
    "not_a_person",
    "named_person",
    "too_generic",
    "instruction_echo",
    "other_language",
    "off_world",
]
"""Why a request ended without an accepted answer.

truncated: the answer reached the token limit, also in the second attempt with a larger limit
invalid_json: not JSON after all re-asks
schema_violation: JSON that does not match the schema, after all re-asks
refused: the model declined
too_long: the prompt and its answer do not fit the model's context
content_filtered: the server withheld the answer
bad_request: the server says the request is wrong
degenerate: JSON that matches the schema but has no content: placeholders, the schema's own words, one word repeated
empty: an answer without text, after all re-asks
unreadable: a paid reply that is not a chat completion
timeout: no answer in time, at every attempt
unreachable: connection faults, 5xx or a page instead of a reply, at every attempt, while others were answered
taken_down: all personas of the answer were taken down (docs/takedown.md); the request is not sent again
pii: personal data of a kind that [quality] quarantines
not_a_person: a persona that is an organisation, a place, a text, a product, an animal or a machine
named_person: a persona with a full name
too_generic: a persona that says nothing that tells one person from another
instruction_echo: a text that talks about the request, such as "Here is a persona:"
other_language: clearly not in the expected language
off_world: a game NPC that does not belong to its world
"""

WITH_OUTCOME = ("accepted", "rejected")
"""Values of `status` in `generations` of requests that are current and have an outcome."""

TRANSIENT: frozenset[Reason] = frozenset({"timeout", "unreachable"})
"""Reasons independent of the request: it is sent again at the next materialisation."""

GATES: frozenset[Reason] = frozenset(
    {"pii", "not_a_person", "named_person", "too_generic", "instruction_echo", "other_language", "off_world"}
)
"""Reasons of the quality gates: the answer is complete, and is judged again when the settings of [quality] change."""


_DEFAULT = Dialect()


@lru_cache(256)
def _schema(answer: type[Answer]) -> dict[str, Any]:
    return answer.model_json_schema()


@lru_cache(256)
def _fingerprint(answer: type[Answer]) -> str:
    return digest(json.dumps(_schema(answer), sort_keys=True), size=16)


@dataclass(frozen=True)
class Server:
    """What a task needs to know about the server of its role.

    Attributes:
        model: name of the model.
        is_own: whether it is another server than the writer's; None if only hub.toml says so.
    """

    model: str
    is_own: bool | None = None


ServerOf = Callable[[Role, str], Server]
"""The server of a role and variant."""


@dataclass(frozen=True)
class Task:
    """How an asset makes requests: its prompt, its answer class and the model.

    Attributes:
        rows_asked: number of rows that a prompt asks for, if its answer is a list.
        settings: settings of the task that change its messages, for the record of prompts.
        role: who answers: it has a model, a server and prices.
        variant: name of one of the role's variants; empty without variants.
        targets: shares of the values of some fields; each request asks for one value of each.
    """

    asset: str
    prompt: Prompt
    answer: type[Answer]
    model: str
    dialect: Dialect = _DEFAULT
    rows_asked: int = 1
    settings: Mapping[str, str | int] = field(default_factory=dict)
    role: Role = WRITER
    variant: str = ""
    targets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""
        return _schema(self.answer)

    @property
    def schema_fingerprint(self) -> str:
        """Hash of the JSON schema with its descriptions, because the model can read them."""
        return _fingerprint(self.answer)

    @cached_property
    def controls(self) -> dict[str, list[str]]:
        """Values of the fields that the settings ask for, by field; the values of a request are chosen by a hash."""
        return dict(json.loads(str(self.settings.get("controls", "{}"))))

    def constraints(self, input_id: str, sample: int) -> list[Constraint]:
        """Constraints of the item of a request, chosen by a hash; none without the mode `constraints`."""
        return choose(self.asset, input_id, sample) if self.settings.get("mode") == "constraints" else []

    @cached_property
    def worlds(self) -> dict[str, World]:
        """The worlds that requests are about, by name; a persona has one of them by a hash."""
        return {name: World(**each) for name, each in json.loads(str(self.settings.get("worlds", "{}"))).items()}

    def code_version(self, *settings: str | int | float) -> str:
        """Hash of all values that can change this asset's rows: prompt, schema, sampling, model and some settings."""
        own = (self.prompt.fingerprint, self.schema_fingerprint, self.model)
        return digest(*own, *self.identity, *map(str, settings), size=16)

    @cached_property
    def identity(self) -> tuple[str, ...]:
        """The settings of the dialect that can change an answer; empty with the default settings."""
        return self.dialect.identity(self.prompt)

    def request(self, input_id: str, values: dict[str, str], sample: int = 0, **shared: str | int) -> "Request":
        """Render one request; its key is a hash of exactly the values that can change the answer."""
        shared |= self.wanted(input_id, sample)
        if self.worlds:
            shared[PARAMETER] = self.worlds[world_of(input_id, self.worlds)].text
        messages = self.prompt.messages(values, sample, **shared)
        key = request_key(self.model, self.prompt, messages, self.schema_fingerprint, self.identity, sample)
        return Request(key, input_id, sample, messages, values, shared)

    def wanted(self, input_id: str, sample: int) -> dict[str, str]:
        """The sentences that ask for values of fields and for constraints, by their name for `Prompt.messages`.

        The value is chosen by a hash: the same at every refresh, and over many inputs in the shares of the targets.
        """
        values = {
            name: _value_at(_fraction(self.asset, name, input_id, sample), shares)
            for name, shares in self.targets.items()
        }
        sentences = [f"The field {name} of your answer is: {value}." for name, value in values.items()]
        constraints = self.constraints(input_id, sample)
        paragraphs = [" ".join(sentences), request_note(constraints) if constraints else ""]
        text = "\n\n".join(filter(None, paragraphs))
        return {WANTED: text} if text else {}


def _fraction(*keys: str | int) -> float:
    return int(digest(*keys, size=8), 16) / (1 << 32)


def _value_at(fraction: float, shares: Mapping[str, float]) -> str:
    """The value at a place between 0 and 1; shares that do not add up to 1 are scaled."""
    left = fraction * sum(shares.values())
    for value, share in shares.items():
        left -= share
        if left < 0:
            return value
    return list(shares)[-1]


def request_key(
    model: str,
    prompt: Prompt,
    messages: list[Message],
    schema_fingerprint: str,
    dialect: Iterable[str],
    sample: int,
) -> str:
    """The identity of a request: a hash of the values that can change its answer."""
    sampling = (str(prompt.temperature), str(prompt.top_p))
    identity = (model, json.dumps(messages, sort_keys=True), *sampling, schema_fingerprint)
    return digest(*identity, *dialect, sample, size=32)


@dataclass(frozen=True, slots=True)
class Request:
    """One request about one input."""

    key: str
    input_id: str
    sample: int
    messages: list[Message]
    values: dict[str, str]
    shared: dict[str, str | int]
    earlier: "Outcome | None" = field(default=None, compare=False)  # its earlier outcome, with its cost
    follows: bool = field(default=False, compare=False)  # after one that --retry sent: new, and sent all the same
    ready: float = field(default_factory=time.perf_counter, compare=False)  # start of its wait


@dataclass(slots=True)
class Outcome:
    """Outcome of a request: an accepted answer, or a reason."""

    key: str
    status: Literal["accepted", "rejected"]
    response: str  # the accepted answer as JSON, or the last bad answer
    model: str = ""
    reason: Reason | None = None
    detail: str | None = None
    attempts: int = 0
    repaired: bool = False
    repair: str | None = None  # changes that were undone without a call
    finish_reason: str | None = None  # by meaning: stop, length, content_filter or fault
    finish_word: str | None = None  # the server's own
    reasoning: str | None = None
    reasoning_tokens: int | None = None
    uncounted: int = 0  # answers without token counts
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    answer_tokens: int = 0  # of the last answer alone
    wasted_tokens: int = 0
    cost: float = 0.0
    max_tokens: int | None = None  # the prompt's limit, not the doubled one
    temperature: float | None = None
    top_p: float | None = None
    latency_s: float = 0.0
    queue_s: float = 0.0
    flight_s: float = 0.0
    answer_s: float = 0.0  # network time of the last answer alone
    reused: bool = False
    role: str | None = None  # who was asked; None in outcomes of older versions

    def to_json(self) -> str:
        """Serialise for the journal."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Read from the journal; fields of a later version are ignored."""
        attributes = json.loads(text)
        if not attributes.keys() <= _KNOWN:
            attributes = {name: value for name, value in attributes.items() if name in _KNOWN}
        return cls(**attributes)

    def after(self, earlier: "Outcome | None") -> "Outcome":
        """This outcome with the cost of an earlier one, counted as wasted."""
        if earlier is None:
            return self
        spent = earlier.prompt_tokens + earlier.completion_tokens
        return replace(
            self,
            attempts=self.attempts + earlier.attempts,
            prompt_tokens=self.prompt_tokens + earlier.prompt_tokens,
            cached_tokens=self.cached_tokens + earlier.cached_tokens,
            completion_tokens=self.completion_tokens + earlier.completion_tokens,
            wasted_tokens=self.wasted_tokens + spent,
            cost=self.cost + earlier.cost,
        )

    def copied(self) -> "Outcome":
        """The same answer for its reuse in another place, with no cost."""
        return Outcome(
            self.key,
            self.status,
            self.response,
            self.model,
            self.reason,
            self.detail,
            repaired=self.repaired,
            repair=self.repair,
            finish_reason=self.finish_reason,
            finish_word=self.finish_word,
            reasoning=self.reasoning,
            reasoning_tokens=self.reasoning_tokens,
            answer_tokens=self.answer_tokens,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            reused=True,
            role=self.role,
        )


_FIELDS = tuple(f.name for f in fields(Outcome))
_KNOWN = frozenset(_FIELDS)


@dataclass(frozen=True)
class ReusePolicy:
    """Which earlier outcomes can be reused; the other requests are sent again.

    Args:
        max_tokens: the current token limit of the prompt. It is not part of a request's identity: a complete answer is
            reused after a change, unless it is longer than a lowered limit.
        retry: send only requests again that were rejected for these reasons; empty for an ordinary run.
        cuts: inputs that do not fit are cut now, so requests rejected as too long are sent again.
    """

    max_tokens: int
    retry: frozenset[str] = frozenset()
    cuts: bool = False

    def is_valid(self, reason: str | None, max_tokens: int | None, answer_tokens: int) -> bool:
        """Whether an outcome (accepted if `reason` is None) can be reused without a call."""
        if self.retry:
            return reason not in self.retry
        limit = self.max_tokens if max_tokens is None else max_tokens
        if reason is None:
            return not self.max_tokens < min(limit, answer_tokens)
        if reason in TRANSIENT or (reason == "too_long" and self.cuts):
            return False
        return not (reason == "truncated" and self.max_tokens > limit)


FIRST_ANSWERS = 50
"""After so many answers their mean replaces the estimate from the schema."""

_SUMMED = (
    "accepted",
    "rejected",
    "reused",
    "calls",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "wasted_tokens",
    "cost",
)


@dataclass
class Usage:
    """Running totals of one asset and batch, for progress and metadata."""

    total: int = 0
    calls: int = 0  # answers received over the network, rejected and re-asked ones included
    accepted: int = 0
    rejected: int = 0
    reused: int = 0  # requests answered from the home, without a call
    duplicates: int = 0  # requests equal to an earlier one of the batch
    repaired: int = 0
    repairs: dict[str, int] = field(default_factory=dict)  # by kind
    uncounted: int = 0
    of_batch_api: int = 0  # outcomes whose last answer came from a batch API
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    wasted_tokens: int = 0
    queue_s: float = 0.0
    flight_s: float = 0.0
    seconds: float = 0.0
    cpu_s: float = 0.0  # of this process in those seconds
    in_flight: int = 0
    rows_per_second: float = 0.0  # recent ones, to estimate the remaining time
    cost: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # notes about the server, such as settings that it needs
    other_models: list[str] = field(default_factory=list)  # models that answered instead of the requested one
    servers: dict[str, int] = field(default_factory=dict)  # answers by address, if there are several servers
    likely_tokens: float = 0.0  # of an answer, by its schema
    waits_until: float = 0.0  # on the monotonic clock, while the server asks to wait
    waits_for: str = ""

    @property
    def done(self) -> int:
        """Requests with an outcome."""
        return self.accepted + self.rejected + self.duplicates

    @property
    def paid(self) -> int:
        """Requests with an outcome that came from calls of this run."""
        return self.accepted + self.rejected - self.reused

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens so far."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def tokens_in_all(self) -> float:
        """Estimated tokens at the end; 0 before the first answer.

        The length of an answer comes from its schema for the first `FIRST_ANSWERS` answers, then from the answers.
        """
        if not self.paid:
            return 0.0
        measured = self.completion_tokens / self.paid
        completion = measured if self.paid >= FIRST_ANSWERS or not self.likely_tokens else self.likely_tokens
        return self.tokens + (self.total - self.done) * (self.prompt_tokens / self.paid + completion)

    @property
    def cost_in_all(self) -> float:
        """Estimated cost at the end; 0 for the first `FIRST_ANSWERS` answers."""
        return self.cost + (self.total - self.done) * self.cost / self.paid if self.paid >= FIRST_ANSWERS else 0.0

    @classmethod
    def together(cls, tallies: Iterable["Usage"]) -> "Usage":
        """Sum of several tallies: requests, calls, tokens, money and notes; without times and rates."""
        tallies = list(tallies)
        sums: dict[str, Any] = {name: sum(getattr(tally, name) for tally in tallies) for name in _SUMMED}
        return cls(**sums, notes=list(dict.fromkeys(note for tally in tallies for note in tally.notes)))

    def after(self, earlier: "Usage") -> "Usage":
        """The totals of two passes over the same requests: the second one reuses the answers of the first."""
        total = Usage.together([earlier, self])
        again = min(earlier.accepted + earlier.rejected, self.reused)
        return replace(total, total=self.total, accepted=total.accepted - again, reused=total.reused - again)

    def add_reused(self, reason: str | None) -> None:
        """Count an outcome that needed no call."""
        self._count(reason)
        self.reused += 1

    def reject(self, reason: str) -> None:
        """Count an accepted answer as rejected: a quality gate judges it after all are there."""
        self.accepted -= 1
        self.rejected += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def add(self, outcome: Outcome) -> None:
        """Count an outcome that came from calls of this run."""
        self._count(outcome.reason)
        self.spend(outcome)
        self.of_batch_api += bool(outcome.attempts and not outcome.answer_s)

    def spend(self, outcome: Outcome) -> None:
        """Count the cost of an outcome in this run, without counting the request as done."""
        self.calls += outcome.attempts
        self.repaired += outcome.repaired
        if outcome.repair:
            self.repairs[outcome.repair] = self.repairs.get(outcome.repair, 0) + 1
        self.uncounted += outcome.uncounted
        self.prompt_tokens += outcome.prompt_tokens
        self.cached_tokens += outcome.cached_tokens
        self.completion_tokens += outcome.completion_tokens
        self.wasted_tokens += outcome.wasted_tokens
        self.cost += outcome.cost
        self.queue_s += outcome.queue_s
        self.flight_s += outcome.flight_s

    def _count(self, reason: str | None) -> None:
        if reason is None:
            self.accepted += 1
        else:
            self.rejected += 1
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
