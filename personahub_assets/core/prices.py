"""What tokens cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Money per million tokens; zero where nothing is charged."""

    prompt: float = 0.0
    cached: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: float, cached_tokens: float, completion_tokens: float) -> float:
        """What some tokens cost; cached ones are among the prompt's."""
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.prompt + cached_tokens * self.cached + completion_tokens * self.completion) / 1e6

    def most(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The most that some tokens can cost."""
        return (prompt_tokens * max(self.prompt, self.cached) + completion_tokens * self.completion) / 1e6
