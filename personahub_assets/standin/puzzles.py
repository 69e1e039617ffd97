"""Small problems with numbers or clues, each with its worked solution and its answer."""

from dataclasses import dataclass

from personahub_assets.standin import words
from personahub_assets.standin.dice import Dice


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A problem, its solution in sentences and its short answer; the three agree."""

    problem: str
    solution: str
    answer: str


@dataclass(frozen=True, slots=True)
class _Scene:
    name: str
    other: str
    job: str
    place: str
    units: str
    subject: str


def _scene(dice: Dice, subject: str) -> _Scene:
    name, second_name = dice.pick(words.FIRST_NAMES), dice.pick(words.FIRST_NAMES)
    if name == second_name:
        second_name = "Robin"
    job, location, units = dice.pick(words.OCCUPATIONS), dice.pick(words.PLACES), dice.pick(words.UNITS)
    return _Scene(name, second_name, job, location, units, subject)


def math_puzzle(dice: Dice, subject: str) -> Puzzle:
    """Returns one of eight kinds of arithmetic word problem about a subject."""
    return dice.pick(_MATH)(dice, _scene(dice, subject))


def logic_puzzle(dice: Dice, subject: str) -> Puzzle:
    """Returns one of four kinds of reasoning problem about a subject."""
    return dice.pick(_LOGIC)(dice, _scene(dice, subject))


def _stock(dice: Dice, s: _Scene) -> Puzzle:
    boxes, each, gone = dice.between(6, 40), dice.between(8, 60), dice.between(5, 45)
    left = boxes * each - gone
    return Puzzle(
        f"For a project on {s.subject}, {s.name}, working in {s.place}, orders {boxes} boxes with {each} {s.units} "
        f"in each. On the way {gone} {s.units} are lost. How many {s.units} arrive?",
        f"The order holds {boxes} × {each} = {boxes * each} {s.units}. Taking away {gone} leaves {left}.",
        f"{left} {s.units}",
    )


def _rate(dice: Dice, s: _Scene) -> Puzzle:
    first, second, hours = dice.between(4, 18), dice.between(4, 18), dice.between(3, 12)
    total = (first + second) * hours
    return Puzzle(
        f"{s.name} sorts {first} {s.units} an hour and {s.other} sorts {second}. They prepare an exhibition "
        f"on {s.subject} in {s.place} and work side by side for {hours} hours. How many {s.units} do they "
        f"sort together?",
        f"Together they sort {first} + {second} = {first + second} an hour. In {hours} hours that makes {total}.",
        f"{total} {s.units}",
    )


def _percent(dice: Dice, s: _Scene) -> Puzzle:
    percentage, base = dice.between(1, 18) * 5, dice.between(3, 60) * 20
    share = base * percentage // 100
    return Puzzle(
        f"In {s.place}, {base} people answered a survey about {s.subject}, and {percentage} per cent of them wanted to "
        f"hear more. How many people did not ask to hear more?",
        f"{percentage} per cent of {base} is {share}. So {base} − {share} = {base - share} did not ask.",
        f"{base - share} people",
    )


def _fare(dice: Dice, s: _Scene) -> Puzzle:
    fixed, per, count = dice.between(12, 95), dice.between(3, 19), dice.between(7, 48)
    total = fixed + per * count
    return Puzzle(
        f"A hall in {s.place} charges {fixed} euros plus {per} euros per guest for an evening on {s.subject}. "
        f"{s.name}, one of the hosts, has a bill of {total} euros. How many guests came?",
        f"Without the fixed part the bill is {total} − {fixed} = {per * count}. "
        f"Divided by {per} that gives {count} guests.",
        f"{count} guests",
    )


def _average(dice: Dice, s: _Scene) -> Puzzle:
    mean, shift, days = dice.between(20, 90), dice.between(1, 9), dice.between(3, 6)
    last = mean + shift * (days + 1)
    return Puzzle(
        f"Over {days} days {s.name} counted an average of {mean} mentions of {s.subject} a day. After one more day the "
        f"average rose to {mean + shift}. How many mentions were counted on the last day?",
        f"The first {days} days sum to {days * mean}, all {days + 1} days to {(days + 1) * (mean + shift)}. "
        f"The difference is {last}.",
        f"{last} mentions",
    )


def _ages(dice: Dice, s: _Scene) -> Puzzle:
    young, gap = dice.between(9, 38), dice.between(2, 30)
    total = 2 * young + gap
    return Puzzle(
        f"{s.name} and {s.other} share an interest in {s.subject}. {s.other} is {gap} years older, and their ages add "
        f"up to {total}. How old is {s.name}?",
        f"Taking the {gap} years away leaves {total - gap}, twice the age of {s.name}: {young}.",
        f"{young} years",
    )


def _trip(dice: Dice, s: _Scene) -> Puzzle:
    speed, hours, breaks = dice.between(3, 22) * 4, dice.between(2, 9), dice.between(1, 3)
    far = speed * hours
    return Puzzle(
        f"To attend a meeting on {s.subject}, {s.name} drives {far} kilometres to {s.place} at {speed} kilometres "
        f"an hour and rests {breaks * 15} minutes on the way. How many minutes does the journey take?",
        f"Driving takes {far} ÷ {speed} = {hours} hours, or {hours * 60} minutes. With the rest it is "
        f"{hours * 60 + breaks * 15} minutes.",
        f"{hours * 60 + breaks * 15} minutes",
    )


def _choices(dice: Dice, s: _Scene) -> Puzzle:
    books, films, talks = dice.between(3, 12), dice.between(2, 9), dice.between(2, 8)
    total = books * films * talks
    return Puzzle(
        f"A club in {s.place} picks one of {books} books, one of {films} films and one of {talks} talks for its "
        f"evening on {s.subject}. {s.name} wants to list every possible programme. How many are there?",
        f"Each choice is free of the others, so there are {books} × {films} × {talks} = {total} programmes.",
        f"{total} programmes",
    )


def _order(dice: Dice, s: _Scene) -> Puzzle:
    start = dice.below(len(words.FIRST_NAMES) - 4)
    a, b, c, d = words.FIRST_NAMES[start : start + 4]
    return Puzzle(
        f"Four people in {s.place} spoke about {s.subject}, one after the other. {a} spoke right before {b}. {c} spoke "
        f"after {b}. {d} was neither first nor third, and {c} was not last. Who spoke first, and who last?",
        f"{a} and {b} are neighbours and {c} comes after both, so {d} stands before, between {b} and {c}, or after. "
        f"{c} is not last, hence {d} is last, which fits the clue. The order is {a}, {b}, {c}, {d}.",
        f"{a} first, {d} last",
    )


def _liar(dice: Dice, s: _Scene) -> Puzzle:
    day = dice.pick(("Tuesday", "Thursday", "Saturday"))
    return Puzzle(
        f"Either {s.name} or {s.other} hid the notes on {s.subject}; exactly one of the two always tells the "
        f'truth. {s.name} says: "We are both liars." {s.other} says: "They have been hidden since {day}." '
        f"What can be concluded?",
        f"A truthful person cannot say that both are liars, so {s.name} lies. Then exactly one liar exists and "
        f"{s.other} is truthful: the notes have been hidden since {day}.",
        f"{s.name} lies, and the notes have been hidden since {day}",
    )


def _match(dice: Dice, s: _Scene) -> Puzzle:
    first, second = dice.pick(words.COLOURS[:6]), dice.pick(words.COLOURS[6:])
    return Puzzle(
        f"{s.name}, {s.other} and Sam each carry one folder on {s.subject}: one is {first}, one is {second}, one is "
        f"white. Sam has no white folder, {s.other} has neither the white nor the {second} one. Who carries which?",
        f"{s.other} can only have {first}. Sam, without white, has {second}. The white one remains for {s.name}.",
        f"{s.other} {first}, Sam {second}, {s.name} white",
    )


def _boxes(dice: Dice, s: _Scene) -> Puzzle:
    red, blue = dice.between(3, 19), dice.between(3, 19)
    need = max(red, blue) + 1
    return Puzzle(
        f"A dark cupboard in {s.place} holds {red} red and {blue} blue envelopes about {s.subject}. {s.name}, "
        f"{'an' if s.job[0] in 'aeiou' else 'a'} {s.job}, takes envelopes without looking. How many are needed to be "
        f"sure of both colours?",
        f"At worst all {max(red, blue)} of the commoner colour come first; one more settles it. With equal numbers "
        f"the same holds.",
        f"{need} envelopes",
    )


_MATH = (_stock, _rate, _percent, _fare, _average, _ages, _trip, _choices)
_LOGIC = (_order, _liar, _match, _boxes)
