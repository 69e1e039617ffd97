"""Constraints on the form of an answer that a program can check: their kinds, their sentences, and their conflicts.

An instruction of the mode `constraints` carries one to three. Kinds and numbers are chosen by a hash, not by the model,
and stated in plain English. `verification/verify_constraints.py` checks an answer; releases contain that file.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from personahub_assets.core.text import digest

RULE = "constraints 1"
"""Version of the choice; another one asks for other constraints."""

VERIFIER = f"{RULE}, verifier 2"
"""Version of the verifier; another one checks stored answers again, without a call."""

MOST = 3
"""Constraints of one instruction at most."""

ConstraintKind = Literal[
    "words",
    "sentences",
    "paragraphs",
    "characters",
    "language",
    "json",
    "contains",
    "excludes",
    "list_items",
    "starts_with",
    "ends_with",
    "upper_case",
    "lower_case",
    "title_case",
    "headings",
    "sections",
    "quoted",
    "wrapped",
    "no_commas",
    "no_digits",
    "postscript",
    "placeholders",
    "two_answers",
    "title",
    "bold",
]
Relation = Literal["at_least", "at_most", "exactly"]

KINDS: tuple[ConstraintKind, ...] = get_args(ConstraintKind)

LANGUAGES = {
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "ru": "Russian",
}
"""Languages that an answer can be asked for: they separate words, and the detector tells them apart."""

_Text = Annotated[str, StringConstraints(max_length=200)]


class Constraint(BaseModel):
    """One constraint: its kind and the parameters that the kind has; the others are null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ConstraintKind = Field(description="What is checked")
    relation: Relation | None = Field(None, description="How the number is meant")
    number: int | None = Field(None, description="Words, sentences, items, times and so on")
    text: _Text | None = Field(None, description="Phrase, marker, or code of a language")
    keys: Annotated[list[_Text], Field(max_length=8)] | None = Field(None, description="Keys of a JSON object")

    @property
    def sentence(self) -> str:
        """The constraint in plain English."""
        return _KINDS[self.kind].sentence(self)


# --- conflicts ---

_LENGTHS = ("words", "sentences", "paragraphs", "characters")
_CASES = ("upper_case", "lower_case", "title_case")
_LINES = ("list_items", "headings", "sections", "two_answers", "postscript", "title")
_WITH_JSON = {"json", "contains", "excludes", "no_digits", "characters"}

_TOGETHER: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # One length is enough: two of them can exclude each other.
    (_LENGTHS, _LENGTHS),
    (_CASES, _CASES),
    # Phrases and markers have a case, and English words are not in another language.
    (_CASES, ("contains", "starts_with", "ends_with", "sections", "postscript", "language")),
    (("language",), ("contains", "excludes", "starts_with", "ends_with", "sections")),
    (("json",), tuple(kind for kind in KINDS if kind not in _WITH_JSON)),
    # It is open how lines without a full stop count.
    (("sentences", "paragraphs"), _LINES),
    (("sentences",), ("wrapped",)),
    (("words",), ("postscript",)),
    # Two of them claim the same end of the answer.
    (("quoted", "wrapped"), ("quoted", "wrapped", "starts_with", "ends_with", "two_answers", "postscript")),
    (("quoted",), ("sections", "title")),
    (("starts_with",), ("title",)),
    (("ends_with",), ("postscript",)),
    # It is open whether the number is that of one answer or of both.
    (("two_answers",), ("list_items", "headings", "sections", "postscript", "title")),
    (("headings",), ("sections",)),
    (("no_digits",), ("sections",)),
)


def _conflicts() -> dict[str, frozenset[str]]:
    pairs = {frozenset((left, right)) for lefts, rights in _TOGETHER for left in lefts for right in rights}
    return {kind: frozenset().union(*(pair - {kind} for pair in pairs if kind in pair)) for kind in KINDS}


CONFLICTS: dict[str, frozenset[str]] = _conflicts()
"""Kinds that are never combined with a kind, by kind: they contradict each other, or together are not exact."""


def are_compatible(kinds: Iterable[str]) -> bool:
    """Whether kinds can stand in one instruction.

    >>> are_compatible(["words", "no_commas"]), are_compatible(["upper_case", "lower_case"])
    (True, False)
    """
    return all(left != right and right not in CONFLICTS[left] for left, right in combinations(kinds, 2))


# --- choice ---


class Draw:
    """Numbers that follow from some keys, the same on every machine."""

    def __init__(self, *keys: str | int):
        self._keys, self._count = keys, 0

    def below(self, limit: int) -> int:
        """A number from 0 on, below a limit."""
        self._count += 1
        return int(digest(*self._keys, self._count, size=12), 16) % limit

    def pick(self, options: Iterable[Any]) -> Any:
        """One of the options."""
        values = list(options)
        return values[self.below(len(values))]

    def several(self, options: Iterable[Any], number: int) -> list[Any]:
        """Several different options, in their order."""
        values = list(options)
        while len(values) > number:
            values.pop(self.below(len(values)))
        return values


def choose(*keys: str | int) -> list[Constraint]:
    """One to three constraints that can stand together, chosen by a hash of the keys.

    >>> choose("instructions", "p1", 0) == choose("instructions", "p1", 0)
    True
    """
    draw = Draw(RULE, *keys)
    number, chosen, candidates = 1 + draw.below(MOST), list[Constraint](), list(KINDS)
    while candidates and len(chosen) < number:
        kind = draw.pick(candidates)
        chosen.append(parameters(kind, draw))
        candidates = [each for each in candidates if each != kind and each not in CONFLICTS[kind]]
    return chosen


def parameters(kind: ConstraintKind, draw: Draw) -> Constraint:
    """A constraint of this kind, its parameters drawn."""
    return Constraint(kind=kind, **_KINDS[kind].draw(draw))


def stated(constraints: Iterable[Constraint]) -> str:
    """The sentences of constraints as one paragraph."""
    return " ".join(each.sentence for each in constraints)


def request_note(constraints: Iterable[Constraint]) -> str:
    """What the writer of an instruction is told about the constraints that are added to it."""
    return (
        "These sentences are added to the end of the request, word for word:\n"
        f"{stated(constraints)}\n"
        "Write a request whose answer can follow them. Do not repeat them, and ask for nothing else about the form or "
        "the length of the answer."
    )


# --- kinds ---


@dataclass(frozen=True)
class _Kind:
    draw: Callable[[Draw], dict[str, Any]]
    sentence: Callable[[Constraint], str]


_RELATIONS: dict[str | None, str] = {"at_least": "at least", "at_most": "at most", "exactly": "exactly"}


def _amount(constraint: Constraint) -> str:
    return f"{_RELATIONS[constraint.relation]} {constraint.number}"


def _times(constraint: Constraint) -> str:
    number = constraint.number
    times = {1: "once", 2: "twice"}.get(number or 0, f"{number} times")
    return f"{_RELATIONS[constraint.relation]} {times}"


_MIRROR = str.maketrans("()[]{}<>", ")(][}{><")


def _closing(marker: str | None) -> str:
    """The closing marker of an opening one: the same, with its brackets turned."""
    return (marker or "")[::-1].translate(_MIRROR)


def _listed(keys: list[str] | None) -> str:
    quoted = [f'"{key}"' for key in keys or ()]
    if len(quoted) == 1:
        return f"the key {quoted[0]}"
    return f"the keys {', '.join(quoted[:-1])} and {quoted[-1]}"


def _numbered(**numbers: tuple[int, int, int]) -> Callable[[Draw], dict[str, Any]]:
    """Draws a relation, and a number of its range: first, last, step."""

    def draw(draw: Draw) -> dict[str, Any]:
        relation = draw.pick(numbers)
        first, last, step = numbers[relation]
        return {"relation": relation, "number": draw.pick(range(first, last + 1, step))}

    return draw


def _of(*texts: str) -> Callable[[Draw], dict[str, Any]]:
    return lambda draw: {"text": draw.pick(texts)}


def _with_text(numbered: Callable[[Draw], dict[str, Any]], *texts: str) -> Callable[[Draw], dict[str, Any]]:
    return lambda draw: {**numbered(draw), "text": draw.pick(texts)}


def _nothing(_draw: Draw) -> dict[str, Any]:
    return {}


def _plain(sentence: str) -> Callable[[Constraint], str]:
    return lambda _constraint: sentence


# Phrases, words to avoid and keys have no word in common, so that they can be combined.
_PHRASES = ("in the long run", "step by step", "on the other hand", "as a rule", "at first sight", "little by little")
_OPENINGS = ("Thank you for asking", "Here is what I would do", "Let us begin", "This is my answer")
_ENDINGS = ("I hope this helps", "Let me know how it goes", "That is all", "Good luck with it")
_AVOIDED = ("very", "really", "important", "great", "simply", "always", "never", "also")
_KEYS = ("summary", "steps", "reasons", "advice", "risks", "audience", "next_step", "title")

_KINDS: dict[str, _Kind] = {
    "words": _Kind(
        _numbered(at_least=(60, 160, 20), at_most=(60, 150, 10), exactly=(40, 100, 5)),
        lambda c: f"Use {_amount(c)} words.",
    ),
    "sentences": _Kind(
        _numbered(at_least=(4, 8, 1), at_most=(3, 8, 1), exactly=(3, 8, 1)),
        lambda c: f"Write {_amount(c)} sentences.",
    ),
    "paragraphs": _Kind(
        _numbered(at_least=(2, 4, 1), at_most=(2, 4, 1), exactly=(2, 5, 1)),
        lambda c: f"Write {_amount(c)} paragraphs, with a blank line between each two of them.",
    ),
    # Nobody counts the characters of an answer exactly.
    "characters": _Kind(
        _numbered(at_least=(300, 900, 100), at_most=(500, 1200, 100)),
        lambda c: f"Use {_amount(c)} characters, blanks included.",
    ),
    "language": _Kind(_of(*LANGUAGES), lambda c: f"Write the whole answer in {LANGUAGES.get(c.text or '', c.text)}."),
    "json": _Kind(
        lambda draw: {"keys": draw.several(_KEYS, 1 + draw.below(3))},
        lambda c: f"Answer with a JSON object and nothing else. It has {_listed(c.keys)}.",
    ),
    "contains": _Kind(
        _with_text(_numbered(at_least=(1, 3, 1), exactly=(1, 2, 1)), *_PHRASES),
        lambda c: f'Use the phrase "{c.text}" {_times(c)}.',
    ),
    "excludes": _Kind(_of(*_AVOIDED), lambda c: f'Do not use the word "{c.text}".'),
    "list_items": _Kind(
        _numbered(at_least=(3, 6, 1), at_most=(3, 8, 1), exactly=(3, 8, 1)),
        lambda c: f'Give a list with {_amount(c)} items, each on a line of its own that begins with "- ".',
    ),
    "starts_with": _Kind(_of(*_OPENINGS), lambda c: f'Begin the answer with the words "{c.text}".'),
    "ends_with": _Kind(_of(*_ENDINGS), lambda c: f'End the answer with the words "{c.text}".'),
    "upper_case": _Kind(_nothing, _plain("Write everything in capital letters.")),
    "lower_case": _Kind(_nothing, _plain("Write everything in lower-case letters.")),
    "title_case": _Kind(_nothing, _plain("Begin every word with a capital letter.")),
    "headings": _Kind(
        _with_text(_numbered(at_least=(2, 4, 1), exactly=(2, 4, 1)), "#", "##", "###"),
        lambda c: f'Use {_amount(c)} headings, each on a line of its own that begins with "{c.text} ".',
    ),
    "sections": _Kind(
        _with_text(_numbered(at_least=(2, 4, 1), exactly=(2, 4, 1)), "Part", "Section", "Step"),
        lambda c: (
            f"Divide the answer into {_amount(c)} numbered sections. Each begins with a line of its own: "
            f"{c.text} 1, {c.text} 2 and so on."
        ),
    ),
    "quoted": _Kind(_nothing, _plain("Put the whole answer in double quotation marks.")),
    # No tags: they could be control tokens, which are broken in requests.
    "wrapped": _Kind(
        _of("(((", "+++", "///"), lambda c: f'Put the whole answer between "{c.text}" and "{_closing(c.text)}".'
    ),
    "no_commas": _Kind(_nothing, _plain("Do not use any commas.")),
    "no_digits": _Kind(_nothing, _plain("Do not use any digits.")),
    "postscript": _Kind(_of("P.S.", "PS:"), lambda c: f'Add a postscript at the end that begins with "{c.text}".'),
    "placeholders": _Kind(
        _numbered(at_least=(2, 4, 1), exactly=(2, 4, 1)),
        lambda c: f"Use {_amount(c)} placeholders in square brackets, such as [address].",
    ),
    "two_answers": _Kind(
        _of("=====", "%%%%%"), lambda c: f'Give two different answers, separated by a line that has only "{c.text}".'
    ),
    "title": _Kind(_nothing, _plain("Give the answer a title in double angle brackets, such as <<a title>>.")),
    "bold": _Kind(
        _numbered(at_least=(2, 4, 1), exactly=(2, 4, 1)),
        lambda c: f"Put {_amount(c)} phrases in bold letters, as in **these words**.",
    ),
}
