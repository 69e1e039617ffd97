"""Counters of requests and answers, shown under `/stats`."""

import time
from collections import Counter
from typing import Any


class Stats:
    """Counters since the server started.

    `sold` counts answers that cost tokens, `good` those of them that are complete and usable.
    `files` is the number of stored files, `batches` of batches that were submitted.
    """

    def __init__(self) -> None:
        self.started_at = time.time()
        self.calls = self.rejected = self.repeats = self.in_flight = self.in_flight_max = self.tokenize_calls = 0
        self.sold = self.good = 0
        self.files = self.batches = 0
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = 0
        self.by_schema: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def enter(self) -> None:
        """Counts the start of a chat request."""
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight, self.in_flight_max)

    def leave(self) -> None:
        """Counts the end of a chat request."""
        self.in_flight -= 1

    def as_dict(self) -> dict[str, Any]:
        """Returns the counters by their names in `/stats`."""
        return {
            "calls": self.calls,
            "calls_by_schema": dict(self.by_schema),
            "sold": self.sold,
            "good": self.good,
            "files": self.files,
            "batches": self.batches,
            "rejected": self.rejected,
            "repeats": self.repeats,
            "in_flight": self.in_flight,
            "in_flight_max": self.in_flight_max,
            "tokenize_calls": self.tokenize_calls,
            "faults": dict(self.faults),
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "started_at": self.started_at,
        }
