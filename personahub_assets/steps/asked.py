"""Results of steps that call a language model."""

from dataclasses import dataclass
from typing import Any

from personahub_assets.generation.answers import Answers
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.requests import Usage
from personahub_assets.steps.result import Result


@dataclass(kw_only=True)
class Asked(Result):
    """A published partition with rows from a language model.

    Attributes:
        tally: calls, tokens, money and time.
        window: the number of requests in flight over time, with throughput and latency.
    """

    tally: Usage
    window: AdaptiveConcurrency

    @classmethod
    def of(cls, answers: Answers, **facts: Any) -> "Asked":  # type: ignore[override]
        """Make the result of answers that are published."""
        version = answers.version.value
        return cls(answers.head, answers.rows, version, facts, tally=answers.tally, window=answers.window)
