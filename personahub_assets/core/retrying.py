"""When to retry: one policy for chat and for embeddings."""

import random
from dataclasses import dataclass

import tenacity


@dataclass(frozen=True)
class Backoff:
    """Exponential backoff with full jitter, unless the server names a time to wait.

    Args:
        first_s: upper bound of the first pause in seconds; doubled for each further one.
        longest_s: bound of every pause that the server did not ask for.
        longest_asked_s: bound of a pause that the server asked for.
        jitter_s: maximal addition to a pause that the server asked for, so that retries do not coincide.
    """

    first_s: float
    longest_s: float
    longest_asked_s: float
    jitter_s: float = 0.0

    def pause(self, failures: int, asked_s: float | None = None) -> float:
        """Seconds to wait before the next attempt.

        Args:
            failures: failed attempts so far, at least 1.
            asked_s: seconds that the server asked for; 0, or a date in the past, counts as no time.
        """
        if asked_s:
            return min(asked_s, self.longest_asked_s) + random.uniform(0, self.jitter_s)  # noqa: S311 (no secret)
        bound = min(self.longest_s, self.first_s * 2 ** min(failures - 1, 60))
        return random.uniform(0, bound)  # noqa: S311

    def __call__(self, state: tenacity.RetryCallState) -> float:
        """The same for tenacity; the attribute `pause` of the exception has the seconds that the server asked for."""
        error = state.outcome.exception() if state.outcome else None
        return self.pause(state.attempt_number, getattr(error, "pause", None))
