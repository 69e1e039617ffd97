"""Traces: whether a text says what another one said, also cut, reflowed, escaped, or as part of a message."""

from collections.abc import Iterator

from personahub_assets.domain.text import normalised, words

_WIDTH = 8  # words in a row; two personas may well share five
_FEWEST = 4
_MOST = 5_000_000


class Traces:
    """Texts, remembered by the hashes of their runs of words.

    A text of fewer than four words is only found where it stands alone. Beyond five million runs every text of four
    words and more is found: to hide too much is right where it is a log.
    """

    def __init__(self) -> None:
        self._runs: dict[int, set[int]] = {}
        self._short: set[str] = set()
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._runs or self._short)

    def add(self, text: str) -> None:
        """Remember a text."""
        found = words(text)
        width = min(len(found), _WIDTH)
        if not width:
            return
        if width < _FEWEST:
            self._short.add(normalised(text).strip())
        elif self._count <= _MOST:
            self._runs.setdefault(width, set()).update(_runs(found, width))
            self._count += len(found) - width + 1

    def found_in(self, text: str) -> bool:
        """Whether a text has a run of words in common with a remembered one."""
        found = words(text)
        if len(found) < _FEWEST:
            return bool(self._short) and normalised(text).strip() in self._short
        if self._count > _MOST:
            return True
        return any(not runs.isdisjoint(_runs(found, width)) for width, runs in self._runs.items())


def _runs(found: list[str], width: int) -> Iterator[int]:
    return (hash(tuple(found[at : at + width])) for at in range(len(found) - width + 1))
