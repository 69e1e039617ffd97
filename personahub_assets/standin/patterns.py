"""Strings that match a simple regular expression."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from personahub_assets.standin.dice import Dice

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"
_PRINTABLE = "".join(chr(code) for code in range(32, 127))
_ESCAPES = {
    "d": _DIGITS,
    "w": _LETTERS + _DIGITS + "_",
    "s": " ",
    "n": "\n",
    "t": "\t",
    "S": _LETTERS,
    "D": _LETTERS,
    "W": "-",
}
_TRIES = 12
_MORE = 6  # maximum of an open-ended repetition, above its minimum


@dataclass(frozen=True, slots=True)
class _Piece:
    """A set of characters, or a group of alternatives, with minimum and maximum repetitions."""

    characters: str
    group: tuple[tuple["_Piece", ...], ...]
    low: int
    high: int | None


_Tree = tuple[tuple[_Piece, ...], ...]


def matching(pattern: re.Pattern[str], candidates: Iterable[str], low: int, high: int, dice: Dice) -> str | None:
    """Returns the first candidate that matches with low .. high characters, else a generated match, else None."""
    for text in candidates:
        if low <= len(text) <= high and pattern.search(text):
            return text
    tree = _parsed(pattern.pattern)
    if tree is None:
        return None
    for attempt in range(_TRIES):
        # Tried in turn: some repetitions, the minimum, and enough for the minimum length.
        text = _generate(tree, dice, spread=_MORE if attempt % 3 == 0 else 0, wanted=low if attempt % 3 == 2 else 0)
        if low <= len(text) <= high and pattern.search(text):
            return text
    return None


def _generate(tree: _Tree, dice: Dice, spread: int, wanted: int) -> str:
    text = ""
    for piece in dice.pick(tree):
        room = (piece.high - piece.low) if piece.high is not None else max(spread, wanted)
        count = piece.low + (
            dice.below(min(room, spread) + 1) if not wanted else min(room, max(0, wanted - len(text) - piece.low))
        )
        for _ in range(count):
            text += _generate(piece.group, dice, spread, 0) if piece.group else dice.pick(piece.characters)
    return text


@lru_cache(maxsize=512)
def _parsed(pattern: str) -> _Tree | None:
    parser = _Parser(pattern)
    try:
        tree = parser.alternatives()
    except (ValueError, IndexError):
        return None
    return tree if parser.at == len(pattern) else None


class _Parser:
    """Parses literals, classes, groups, alternatives and repetitions; other syntax raises ValueError."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        self.at += 1
        return self.pattern[self.at - 1]

    def alternatives(self) -> _Tree:
        options = [self._sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self._sequence())
        return tuple(options)

    def _sequence(self) -> tuple[_Piece, ...]:
        pieces = []
        while self.peek() and self.peek() not in "|)":
            if self.peek() in "^$":
                self.take()
                continue
            pieces.append(self._piece())
        return tuple(pieces)

    def _piece(self) -> _Piece:
        characters, group = self._atom()
        low, high = self._repeats()
        return _Piece(characters, group, low, high)

    def _atom(self) -> tuple[str, _Tree]:
        first = self.take()
        if first == "(":
            return "", self._group()
        if first == "[":
            return self._class(), ()
        if first == "\\":
            return self._escape(), ()
        if first in "*+?{":
            raise ValueError("nothing to repeat")
        return (_LETTERS if first == "." else first), ()

    def _group(self) -> _Tree:
        if self.peek() == "?":
            if self.pattern[self.at : self.at + 2] != "?:":
                raise ValueError("look-around and named groups are not read")
            self.at += 2
        inside = self.alternatives()
        if self.take() != ")":
            raise ValueError("unclosed group")
        return inside

    def _escape(self) -> str:
        letter = self.take()
        if letter in _ESCAPES:
            return _ESCAPES[letter]
        if letter.isalnum():
            raise ValueError(f"escape \\{letter} is not read")
        return letter

    def _class(self) -> str:
        negated = self.peek() == "^"
        if negated:
            self.take()
        members = ""
        while self.peek() != "]" or not members:
            start = self.take()
            start = self._escape() if start == "\\" else start
            if len(start) == 1 and self.peek() == "-" and self.pattern[self.at + 1] != "]":
                self.take()
                end = self.take()
                end = self._escape() if end == "\\" else end
                start = "".join(chr(code) for code in range(ord(start), min(ord(end), ord(start) + 255) + 1))
            members += start
        self.take()
        return "".join(sign for sign in _PRINTABLE if sign not in members) if negated else members

    def _repeats(self) -> tuple[int, int | None]:
        sign = self.peek()
        if sign == "{":
            end = self.pattern.index("}", self.at)
            low, comma, high = self.pattern[self.at + 1 : end].partition(",")
            self.at = end + 1
            limits: tuple[int, int | None] = (int(low or 0), (int(high) if high else None) if comma else int(low))
        elif sign and sign in "*+?":
            self.take()
            limits = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        else:
            return 1, 1
        if self.peek() == "?":  # lazy or not makes no difference to what can match
            self.take()
        return limits
