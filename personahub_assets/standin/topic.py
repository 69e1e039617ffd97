"""The topic of one object of an answer, so that its fields are consistent."""

import re
import unicodedata
from collections.abc import Callable
from functools import cached_property

from personahub_assets.standin import words
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.puzzles import Puzzle, logic_puzzle, math_puzzle, solved
from personahub_assets.standin.source import Source

_NOT_IDENTIFIER = re.compile(r"[^a-z0-9]+")


class Topic:
    """The subject, names and numbers that the fields of one object share, all drawn from one seed."""

    def __init__(self, source: Source, path: str) -> None:
        self.source = source
        self.path = path
        self.dice = Dice(source.seed, f"topic {path}")
        # An enum of the object can set the relation before the persona is written.
        self.relation = ""
        self.related = False
        self.math = True

    @cached_property
    def _subjects(self) -> list[str]:
        """One main and two further keywords; better ones are more likely (minimum of two random numbers)."""
        pool = self._pool()
        chosen = [pool.pop(min(self.dice.below(len(pool)), self.dice.below(len(pool))))] if pool else []
        while len(chosen) < 3:
            chosen.append(pool.pop(self.dice.below(len(pool))) if pool else self.dice.pick(words.SUBJECTS))
        return chosen

    def _pool(self) -> list[str]:
        if not (self.related and self.person):
            return list(self.source.keywords)
        # Someone related to a shy baker is not interested in "shy baker".
        own = set(self.person.lower().split())
        return [word for word in self.source.keywords if not own & set(word.lower().split())]

    def subject(self, index: int = 0) -> str:
        """Returns the keyword that the object is mainly (0) or also (1, 2) about."""
        return self._subjects[index]

    @cached_property
    def name(self) -> str:
        """A first name."""
        return self.dice.pick(words.FIRST_NAMES)

    @cached_property
    def surname(self) -> str:
        """A family name."""
        return self.dice.pick(words.SURNAMES)

    @cached_property
    def verb(self) -> str:
        """A verb for a tool about this topic."""
        return self.dice.pick(words.VERBS)

    @cached_property
    def tool_noun(self) -> str:
        """A noun for the name of such a tool."""
        return self.dice.pick(words.TOOL_NOUNS)

    @cached_property
    def person(self) -> str:
        """The person that the data describes, or ""."""
        return self.source.person

    @cached_property
    def puzzle(self) -> Puzzle:
        """The problem that the fields problem, solution and answer share: that of the data, if it is one."""
        if puzzle := solved(self.source.data):
            return puzzle
        make = math_puzzle if self.math else logic_puzzle
        return make(Dice(self.source.seed, f"puzzle {self.path}"), self.subject())


def ascii_words(text: str) -> list[str]:
    """Returns the words of a text in lower-case ASCII, without accents."""
    plain = text if text.isascii() else unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
    return _NOT_IDENTIFIER.sub(" ", plain.lower()).split()


def article(noun: str) -> str:
    """Puts "a" or "an" before a noun by its first letter, with the usual exceptions."""
    lowered = noun.lower()
    if lowered.startswith(("uni", "uk", "eu", "one", "once", "use", "uro", "url")) and not lowered.startswith("unp"):
        # "an unflappable" and "an unhurried" sound the u of "un"; "a university" does not.
        vowel = lowered.startswith("unin")
    else:
        vowel = lowered[:1] in "aeiou" or lowered.startswith(("hour", "honest", "heir"))
    return f"an {noun}" if vowel else f"a {noun}"


class Slots(dict[str, str]):
    """Values of the placeholders of one sentence template, drawn at first use."""

    def __init__(self, topic: Topic, dice: Dice, label: str = "text") -> None:
        super().__init__(label=label)
        self._topic = topic
        self._dice = dice

    def __missing__(self, key: str) -> str:
        if key.startswith(("a_", "A_")):
            value = article(self[key[2:]])
            value = value[0].upper() + value[1:] if key[0] == "A" else value
        else:
            value = _SLOTS[key](self, self._topic, self._dice)
        self[key] = value
        return value

    def fill(self, mould: str) -> str:
        """Fills a template and capitalises its first letter."""
        text = mould.format_map(self)
        return text[0].upper() + text[1:]


_Slot = Callable[[Slots, Topic, Dice], str]


def _drawn(options: tuple[str, ...]) -> _Slot:
    return lambda _slots, _topic, dice: dice.pick(options)


def _identifier(_slots: Slots, topic: Topic, dice: Dice) -> str:
    tokens = ascii_words(topic.subject(dice.below(3)))[:3]
    return "_".join(word for word in tokens if not word[0].isdigit()) or dice.pick(
        ("value", "source", "entry", "limit")
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


_SLOTS: dict[str, _Slot] = {
    "k": lambda _s, topic, _d: topic.subject(0),
    "k2": lambda _s, topic, _d: topic.subject(1),
    "k3": lambda _s, topic, _d: topic.subject(2),
    "K": lambda _s, topic, _d: _capital(topic.subject(0)),
    "att": lambda slots, _t, dice: dice.pick(words.ATTITUDES).format_map(slots),
    "occ": _drawn(words.OCCUPATIONS),
    "occ2": _drawn(words.OCCUPATIONS),
    "place": _drawn(words.PLACES),
    "trait": _drawn(words.TRAITS),
    "stage": _drawn(words.STAGES),
    "habit": _drawn(words.HABITS),
    "why": _drawn(words.REASONS),
    "colour": _drawn(words.COLOURS),
    "type": _drawn(words.VALUE_TYPES),
    "name": lambda _s, topic, _d: topic.name,
    "verb": lambda _s, topic, _d: topic.verb,
    "person": lambda _s, topic, _d: topic.person or "the person described",
    "rel": lambda _s, topic, dice: topic.relation or dice.pick(words.RELATIONS),
    "ident": _identifier,
    "n": lambda _s, _t, dice: str(dice.between(3, 40)),
    "m": lambda _s, _t, dice: str(dice.between(5, 90) * 10),
    "p": lambda _s, _t, dice: str(dice.between(11, 88)),
    "year": lambda _s, _t, dice: str(dice.between(1921, 2019)),
}
