"""Precision and recall of a rule on labelled cases, for the tables in the documentation."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Hits and misses of a rule.

    Attributes:
        cases: cases that it should hit.
        caught: those of them that it hits.
        wrong: others that it hits.
        good: cases that it should not hit.
    """

    cases: int
    caught: int
    wrong: int
    good: int = 0

    @classmethod
    def of(cls, judged: Iterable[tuple[bool, bool]]) -> "Score":
        """Count pairs of what is right and what the rule says."""
        pairs = list(judged)
        hits = [is_right for is_right, is_hit in pairs if is_hit]
        cases = sum(is_right for is_right, _ in pairs)
        return cls(cases, sum(hits), len(hits) - sum(hits), len(pairs) - cases)

    @property
    def precision(self) -> float:
        """Share of correct ones among the hits; one without hits."""
        return self.caught / (self.caught + self.wrong) if self.caught + self.wrong else 1.0

    @property
    def recall(self) -> float:
        """Share of its cases that it hits; one without cases."""
        return self.caught / self.cases if self.cases else 1.0
