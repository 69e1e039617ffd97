"""Small problems with numbers or clues, each with its worked solution and its answer."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from personahub_assets.standin import words
from personahub_assets.standin.dice import Dice


@dataclass(frozen=True, slots=True)
class Puzzle:
    """A problem, its solution in sentences, its short answer, and a program that prints it; all agree."""

    problem: str
    solution: str
    answer: str
    program: str


Solved = tuple[str, str, str]
"""Solution, answer and program."""


@dataclass(frozen=True, slots=True)
class _Scene:
    name: str
    friend: str
    job: str
    town: str
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
    return _solved(
        f"For a project on {s.subject}, {s.name}, working in {s.town}, orders {boxes} boxes with {each} {s.units} "
        f"in each. On the way {gone} {s.units} are lost. How many {s.units} arrive?",
        _solve_stock(boxes, each, s.units, gone),
    )


def _solve_stock(boxes: int, each: int, units: str, gone: int) -> Solved:
    left = boxes * each - gone
    return (
        f"The order holds {boxes} × {each} = {boxes * each} {units}. Taking away {gone} leaves {left}.",
        f"{left} {units}",
        f"arrived = {boxes} * {each} - {gone}\nprint(arrived)",
    )


def _rate(dice: Dice, s: _Scene) -> Puzzle:
    first, second, hours = dice.between(4, 18), dice.between(4, 18), dice.between(3, 12)
    return _solved(
        f"{s.name} sorts {first} {s.units} an hour and {s.friend} sorts {second}. They prepare an exhibition "
        f"on {s.subject} in {s.town} and work side by side for {hours} hours. How many {s.units} do they "
        f"sort together?",
        _solve_rate(first, s.units, second, hours),
    )


def _solve_rate(first: int, units: str, second: int, hours: int) -> Solved:
    total = (first + second) * hours
    return (
        f"Together they sort {first} + {second} = {first + second} an hour. In {hours} hours that makes {total}.",
        f"{total} {units}",
        f"rates = [{first}, {second}]\nprint(sum(rates) * {hours})",
    )


def _percent(dice: Dice, s: _Scene) -> Puzzle:
    percentage, base = dice.between(1, 18) * 5, dice.between(3, 60) * 20
    return _solved(
        f"In {s.town}, {base} people answered a survey about {s.subject}, and {percentage} per cent of them wanted to "
        f"hear more. How many people did not ask to hear more?",
        _solve_percent(base, percentage),
    )


def _solve_percent(base: int, percentage: int) -> Solved:
    share = base * percentage // 100
    return (
        f"{percentage} per cent of {base} is {share}. So {base} − {share} = {base - share} did not ask.",
        f"{base - share} people",
        f"wanted = {base} * {percentage} // 100\nprint({base} - wanted)",
    )


def _fare(dice: Dice, s: _Scene) -> Puzzle:
    fixed, per, count = dice.between(12, 95), dice.between(3, 19), dice.between(7, 48)
    total = fixed + per * count
    return _solved(
        f"A hall in {s.town} charges {fixed} euros plus {per} euros per guest for an evening on {s.subject}. "
        f"{s.name}, one of the hosts, has a bill of {total} euros. How many guests came?",
        _solve_fare(fixed, per, total),
    )


def _solve_fare(fixed: int, per: int, total: int) -> Solved:
    count = (total - fixed) // per
    return (
        (
            f"Without the fixed part the bill is {total} − {fixed} = {total - fixed}. "
            f"Divided by {per} that gives {count} guests."
        ),
        f"{count} guests",
        f"guests = 0\nwhile {fixed} + guests * {per} < {total}:\n    guests += 1\nprint(guests)",
    )


def _average(dice: Dice, s: _Scene) -> Puzzle:
    mean, shift, days = dice.between(20, 90), dice.between(1, 9), dice.between(3, 6)
    return _solved(
        f"Over {days} days {s.name} counted an average of {mean} mentions of {s.subject} a day. After one more day the "
        f"average rose to {mean + shift}. How many mentions were counted on the last day?",
        _solve_average(days, mean, mean + shift),
    )


def _solve_average(days: int, mean: int, after: int) -> Solved:
    before, total = days * mean, (days + 1) * after
    return (
        f"The first {days} days sum to {before}, all {days + 1} days to {total}. The difference is {total - before}.",
        f"{total - before} mentions",
        f"days = {days}\nprint((days + 1) * {after} - days * {mean})",
    )


def _ages(dice: Dice, s: _Scene) -> Puzzle:
    young, gap = dice.between(9, 38), dice.between(2, 30)
    return _solved(
        f"{s.name} and {s.friend} share an interest in {s.subject}. {s.friend} is {gap} years older, and their ages "
        f"add up to {2 * young + gap}. How old is {s.name}?",
        _solve_ages(gap, 2 * young + gap, s.name),
    )


def _solve_ages(gap: int, total: int, name: str) -> Solved:
    young = (total - gap) // 2
    return (
        f"Taking the {gap} years away leaves {total - gap}, twice the age of {name}: {young}.",
        f"{young} years",
        f"print(({total} - {gap}) // 2)",
    )


def _trip(dice: Dice, s: _Scene) -> Puzzle:
    speed, hours, breaks = dice.between(3, 22) * 4, dice.between(2, 9), dice.between(1, 3)
    return _solved(
        f"To attend a meeting on {s.subject}, {s.name} drives {speed * hours} kilometres to {s.town} at {speed} "
        f"kilometres an hour and rests {breaks * 15} minutes on the way. How many minutes does the journey take?",
        _solve_trip(speed * hours, speed, breaks * 15),
    )


def _solve_trip(far: int, speed: int, pause: int) -> Solved:
    hours = far // speed
    return (
        (
            f"Driving takes {far} ÷ {speed} = {hours} hours, or {hours * 60} minutes. With the rest it is "
            f"{hours * 60 + pause} minutes."
        ),
        f"{hours * 60 + pause} minutes",
        f"driving = {far} * 60 // {speed}\nprint(driving + {pause})",
    )


def _choices(dice: Dice, s: _Scene) -> Puzzle:
    books, films, talks = dice.between(3, 12), dice.between(2, 9), dice.between(2, 8)
    return _solved(
        f"A club in {s.town} picks one of {books} books, one of {films} films and one of {talks} talks for its "
        f"evening on {s.subject}. {s.name} wants to list every possible programme. How many are there?",
        _solve_choices(books, films, talks),
    )


def _solve_choices(books: int, films: int, talks: int) -> Solved:
    total = books * films * talks
    return (
        f"Each choice is free of the others, so there are {books} × {films} × {talks} = {total} programmes.",
        f"{total} programmes",
        f"count = 1\nfor options in [{books}, {films}, {talks}]:\n    count *= options\nprint(count)",
    )


def _order(dice: Dice, s: _Scene) -> Puzzle:
    start = dice.below(len(words.FIRST_NAMES) - 4)
    a, b, c, d = words.FIRST_NAMES[start : start + 4]
    return _solved(
        f"Four people in {s.town} spoke about {s.subject}, one after the other. {a} spoke right before {b}. {c} spoke "
        f"after {b}. {d} was neither first nor third, and {c} was not last. Who spoke first, and who last?",
        _solve_order(a, b, c, d),
    )


def _solve_order(a: str, b: str, c: str, d: str) -> Solved:
    return (
        (
            f"{a} and {b} are neighbours and {c} comes after both, so {d} stands before, between {b} and {c}, or "
            f"after. {c} is not last, hence {d} is last, which fits the clue. The order is {a}, {b}, {c}, {d}."
        ),
        f"{a} first, {d} last",
        f'order = ["{a}", "{b}", "{c}", "{d}"]\nprint(f"{{order[0]}} first, {{order[-1]}} last")',
    )


def _liar(dice: Dice, s: _Scene) -> Puzzle:
    day = dice.pick(("Tuesday", "Thursday", "Saturday"))
    return _solved(
        f"Either {s.name} or {s.friend} hid the notes on {s.subject}; exactly one of the two always tells the "
        f'truth. {s.name} says: "We are both liars." {s.friend} says: "They have been hidden since {day}." '
        f"What can be concluded?",
        _solve_liar(s.name, s.friend, day),
    )


def _solve_liar(name: str, friend: str, day: str) -> Solved:
    return (
        (
            f"A truthful person cannot say that both are liars, so {name} lies. Then exactly one liar exists and "
            f"{friend} is truthful: the notes have been hidden since {day}."
        ),
        f"{name} lies, and the notes have been hidden since {day}",
        f'print("{name} lies, and the notes have been hidden since {day}")',
    )


def _match(dice: Dice, s: _Scene) -> Puzzle:
    first, second = dice.pick(words.COLOURS[:6]), dice.pick(words.COLOURS[6:])
    return _solved(
        f"{s.name}, {s.friend} and Sam each carry one folder on {s.subject}: one is {first}, one is {second}, one is "
        f"white. Sam has no white folder, {s.friend} has neither the white nor the {second} one. Who carries which?",
        _solve_match(s.name, s.friend, first, second),
    )


def _solve_match(name: str, friend: str, first: str, second: str) -> Solved:
    return (
        f"{friend} can only have {first}. Sam, without white, has {second}. The white one remains for {name}.",
        f"{friend} {first}, Sam {second}, {name} white",
        f'print("{friend} {first}, Sam {second}, {name} white")',
    )


def _boxes(dice: Dice, s: _Scene) -> Puzzle:
    red, blue = dice.between(3, 19), dice.between(3, 19)
    return _solved(
        f"A dark cupboard in {s.town} holds {red} red and {blue} blue envelopes about {s.subject}. {s.name}, "
        f"{'an' if s.job[0] in 'aeiou' else 'a'} {s.job}, takes envelopes without looking. How many are needed to be "
        f"sure of both colours?",
        _solve_boxes(red, blue),
    )


def _solve_boxes(red: int, blue: int) -> Solved:
    return (
        (
            f"At worst all {max(red, blue)} of the commoner colour come first; one more settles it. With equal numbers "
            f"the same holds."
        ),
        f"{max(red, blue) + 1} envelopes",
        f"print(max({red}, {blue}) + 1)",
    )


def _solved(problem: str, solved: Solved) -> Puzzle:
    return Puzzle(problem, *solved)


_MATH = (_stock, _rate, _percent, _fare, _average, _ages, _trip, _choices)
_LOGIC = (_order, _liar, _match, _boxes)
# The quantities of each kind of problem, in the order of its `_solve_…`; subjects and places can be any text.
_READ: tuple[tuple[str, Callable[..., Solved]], ...] = (
    (r"orders (\d+) boxes with (\d+) (\w+) in each\. On the way (\d+) \w+ are lost\.", _solve_stock),
    (r"^\w+ sorts (\d+) (\w+) an hour and \w+ sorts (\d+)\..* side by side for (\d+) hours\.", _solve_rate),
    (r"^In .*, (\d+) people answered a survey about .*, and (\d+) per cent of them wanted", _solve_percent),
    (r"^A hall in .* charges (\d+) euros plus (\d+) euros per guest .* has a bill of (\d+) euros\.", _solve_fare),
    (r"^Over (\d+) days \w+ counted an average of (\d+) mentions .* the average rose to (\d+)\.", _solve_average),
    (r"is (\d+) years older, and their ages add up to (\d+)\. How old is (\w+)\?", _solve_ages),
    (r"drives (\d+) kilometres to .* at (\d+) kilometres an hour and rests (\d+) minutes on the way", _solve_trip),
    (r"picks one of (\d+) books, one of (\d+) films and one of (\d+) talks", _solve_choices),
    (r"\. (\w+) spoke right before (\w+)\. (\w+) spoke after \w+\. (\w+) was neither first", _solve_order),
    (r'(\w+) says: "We are both liars\." (\w+) says: "They have been hidden since (\w+)\."', _solve_liar),
    (r"^(\w+), (\w+) and Sam each carry .*: one is ([\w ]+), one is ([\w ]+), one is white\.", _solve_match),
    (r"holds (\d+) red and (\d+) blue envelopes", _solve_boxes),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL), solve) for pattern, solve in _READ]


def solved(text: str) -> Puzzle | None:
    """Solves a problem of these kinds from its text; None for any other text."""
    problem = text.strip().removeprefix("Problem:").strip()
    for pattern, solve in _PATTERNS:
        if match := pattern.search(problem):
            return Puzzle(problem, *solve(*(int(each) if each.isdigit() else each for each in match.groups())))
    return None
