"""Prices of tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Prices:
    """Price per million tokens; zero without a price."""

    prompt: float = 0.0
    cached: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: float, cached_tokens: float, completion_tokens: float) -> float:
        """Cost of tokens; prompt tokens include the cached ones."""
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.prompt + cached_tokens * self.cached + completion_tokens * self.completion) / 1e6

    def most(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Maximum cost of tokens."""
        return (prompt_tokens * max(self.prompt, self.cached) + completion_tokens * self.completion) / 1e6

    def times(self, factor: float) -> "Prices":
        """These prices with a discount, such as 0.5 for a batch API."""
        return Prices(self.prompt * factor, self.cached * factor, self.completion * factor)
