"""Forecast of a run: requests by asset and batch, and work without requests."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FOLLOWS = "not written yet"
"""Why requests are only expected: their inputs do not exist yet."""


@dataclass
class Work:
    """Requests of one asset for one batch.

    `ask` is exact: the number of requests about existing inputs without a valid outcome. `follow` is an estimate: the
    number of requests about inputs that the same run would write. Their cost is an estimate too.
    """

    batch: str
    asset: str
    role: str = ""
    variant: str = ""
    model: str = ""
    requests: int = 0  # about existing inputs; equal requests are counted once
    ask: int = 0
    follow: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)  # reasons of `ask`
    reused: Counter[str] = field(default_factory=Counter)  # stored answers that are used for the first time
    quarantined: Counter[str] = field(default_factory=Counter)  # valid rejections, by reason
    calls: float = 0.0
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    completion_tokens: float = 0.0
    seconds: float | None = 0.0  # None: no speed was measured
    cost: float | None = None  # None: no prices are set
    batch_cost: float | None = None  # the same by a batch API
    basis: str = "history"  # or 'settings', if this home has no answers

    @property
    def expected(self) -> float:
        """Number of requests, exact and estimated."""
        return self.ask + self.follow

    @property
    def is_exact(self) -> bool:
        """Whether the run makes exactly these calls, unless the model has a higher failure rate than before."""
        return not self.follow and self.calls == self.ask

    def as_json(self) -> dict[str, Any]:
        """The shape that docs/plan.md describes."""
        return {
            "batch": self.batch,
            "asset": self.asset,
            "role": self.role,
            "variant": self.variant,
            "model": self.model,
            "requests": self.requests,
            "to_ask": self.ask,
            "to_follow": round(self.follow),
            "reasons": dict(self.reasons.most_common()),
            "reused": dict(self.reused.most_common()),
            "quarantined": dict(self.quarantined.most_common()),
            "basis": self.basis,
            **_spent(self),
        }


@dataclass
class Aside:
    """Work of a run for one batch that needs no calls."""

    batch: str
    documents_new: int = 0  # or changed
    documents_gone: int = 0
    decided_again: tuple[str, ...] = ()  # stages whose rule changed
    to_decide: int = 0  # existing candidates without a decision at a stage
    coming_back: int = 0  # of these, dropped for a persona that no longer exists
    to_embed: int = 0  # texts of personas and of existing items
    items_to_compare: int = 0  # existing items without a decision
    personas_in: int = 0  # decided, but not in the table yet
    personas_out: int = 0

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return self == Aside(self.batch)

    def as_json(self) -> dict[str, Any]:
        """The shape that docs/plan.md describes."""
        return {**vars(self), "decided_again": list(self.decided_again)}


@dataclass
class Plan:
    """Forecast of a run."""

    home: str
    model: str
    model_from: str  # source of the model's name: see docs/plan.md
    currency: str
    work: list[Work] = field(default_factory=list)
    asides: list[Aside] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)  # batches that would fail, with the error
    notes: list[str] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)  # of datasets with target shares
    is_batch: bool = False  # whether the run asks the batch API
    has_choice: bool = True  # whether the command takes --batch-api and --online

    @property
    def total(self) -> Work:
        """All work together."""
        return added(self.work, "", "")

    @property
    def by_role(self) -> list[Work]:
        """All work with requests to send, summed by role and model."""
        askers = dict.fromkeys((work.role, work.model) for work in self.work if work.expected)
        return [
            added((work for work in self.work if work.expected and (work.role, work.model) == asker), "", "")
            for asker in askers
        ]

    def as_json(self) -> dict[str, Any]:
        """The shape that docs/plan.md describes."""
        total = self.total
        return {
            "home": self.home,
            "model": self.model,
            "model_from": self.model_from,
            "currency": self.currency,
            "total": {"to_ask": total.ask, "to_follow": round(total.follow), "exact": total.is_exact, **_spent(total)},
            "roles": [{"role": work.role, "model": work.model, **_spent(work)} for work in self.by_role],
            "work": [work.as_json() for work in self.work],
            "without_calls": [aside.as_json() for aside in self.asides],
            "gaps": self.gaps,
            "problems": self.problems,
            "notes": self.notes,
        }


def added(summands: Iterable[Work], batch: str, asset: str) -> Work:
    """Sum work; time or cost is None if one summand is unknown."""
    total, works = Work(batch, asset), list(summands)
    for name in ("role", "variant", "model"):
        values = {getattr(work, name) for work in works}
        setattr(total, name, values.pop() if len(values) == 1 else "")
    for work in works:
        for name in ("requests", "ask", "follow", "calls", "prompt_tokens", "cached_tokens", "completion_tokens"):
            setattr(total, name, getattr(total, name) + getattr(work, name))
        for name in ("reasons", "reused", "quarantined"):
            getattr(total, name).update(getattr(work, name))
    paid = [work for work in works if work.expected]
    seconds, costs = [work.seconds for work in paid], [work.cost for work in works]
    total.seconds = None if None in seconds else sum(s for s in seconds if s is not None)
    total.cost = None if None in costs else sum(c for c in costs if c is not None)
    batch_costs = [work.batch_cost for work in works]
    total.batch_cost = None if None in batch_costs else sum(c for c in batch_costs if c is not None)
    total.basis = "settings" if any(work.basis == "settings" for work in paid) else "history"
    return total


def _spent(work: Work) -> dict[str, Any]:
    return {
        "calls": round(work.calls),
        "prompt_tokens": round(work.prompt_tokens),
        "cached_tokens": round(work.cached_tokens),
        "completion_tokens": round(work.completion_tokens),
        "seconds": None if work.seconds is None else round(work.seconds, 1),
        "cost": None if work.cost is None else round(work.cost, 6),
        "batch_cost": None if work.batch_cost is None else round(work.batch_cost, 6),
    }
