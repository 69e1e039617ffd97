"""When to try again: one policy for chat and for embeddings."""

import random
from dataclasses import dataclass

import tenacity


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter, unless the server says when to come back.

    Args:
        first_s: upper bound of the first pause in seconds; doubled for each further one.
        longest_s: bound of every pause that the server did not ask for.
        longest_asked_s: bound of a pause that the server asked for.
        jitter_s: at most so much is added to a pause that the server asked for, so that not all come back at once.
    """

    first_s: float
    longest_s: float
    longest_asked_s: float
    jitter_s: float = 0.0

    def pause(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait before the next try.

        Args:
            failures: tries that failed so far, at least 1.
            asked_s: what the server asked for; a date that has passed, or 0, says no more than "again".
        """
        if asked_s:
            return min(asked_s, self.longest_asked_s) + random.uniform(0, self.jitter_s)  # noqa: S311 (no secret)
        bound = min(self.longest_s, self.first_s * 2 ** min(failures - 1, 60))
        return random.uniform(0, bound)  # noqa: S311

    def __call__(self, state: tenacity.RetryCallState) -> float:
        """The same for tenacity; the exception tells what the server asked for in its attribute `pause`."""
        error = state.outcome.exception() if state.outcome else None
        return self.pause(state.attempt_number, getattr(error, "pause", None))
