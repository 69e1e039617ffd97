"""Answers to requests with conditions on their form, such as "Use at most 80 words. Do not use any commas."

The conditions are read from the text of the request. The answer follows all of them, except that in a share of the
answers one is overlooked.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from personahub_assets.standin.dice import Dice
from personahub_assets.standin.paragraphs import Block, Line, counted, laid_out
from personahub_assets.standin.prose import sentence
from personahub_assets.standin.source import Source, keywords
from personahub_assets.standin.tongues import TONGUES
from personahub_assets.standin.topic import Topic

_OVERLOOKED = 0.15
_FIELD = "response"
_LEAST_CHARS = 4_000
_AMOUNT = r"(at least|at most|exactly) (\d+|once|twice)"
_PATTERNS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "words": rf"Use {_AMOUNT} words\.",
        "sentences": rf"Write {_AMOUNT} sentences\.",
        "paragraphs": rf"Write {_AMOUNT} paragraphs,",
        "characters": rf"Use {_AMOUNT} characters,",
        "language": r"Write the whole answer in (?P<text>[A-Z][a-z]+)\.",
        "json": r"Answer with a JSON object and nothing else\. It has the keys? (?P<text>[^.\n]+)\.",
        "contains": rf'Use the phrase "(?P<text>[^"\n]+)" {_AMOUNT}',
        "excludes": r'Do not use the word "(?P<text>[^"\n]+)"\.',
        "list_items": rf"Give a list with {_AMOUNT} items,",
        "starts_with": r'Begin the answer with the words "(?P<text>[^"\n]+)"\.',
        "ends_with": r'End the answer with the words "(?P<text>[^"\n]+)"\.',
        "upper_case": r"Write everything in capital letters\.",
        "lower_case": r"Write everything in lower-case letters\.",
        "title_case": r"Begin every word with a capital letter\.",
        "headings": rf'Use {_AMOUNT} headings, each on a line of its own that begins with "(?P<text>#+) "',
        "sections": rf"Divide the answer into {_AMOUNT} numbered sections\. .{{1,60}}?: (?P<text>\w+) 1,",
        "quoted": r"Put the whole answer in double quotation marks\.",
        "wrapped": r'Put the whole answer between "(?P<text>[^"\n]+)" and ',
        "no_commas": r"Do not use any commas\.",
        "no_digits": r"Do not use any digits\.",
        "postscript": r'Add a postscript at the end that begins with "(?P<text>[^"\n]+)"\.',
        "placeholders": rf"Use {_AMOUNT} placeholders in square brackets",
        "two_answers": r'Give two different answers, separated by a line that has only "(?P<text>[^"\n]+)"\.',
        "title": r"Give the answer a title in double angle brackets",
        "bold": rf"Put {_AMOUNT} phrases in bold letters",
    }.items()
}
_WORDS = {"once": 1, "twice": 2}


class Condition(NamedTuple):
    """The parameters of a condition; empty or 0 if its kind has none."""

    relation: str
    number: int
    text: str


Conditions = dict[str, Condition]


def answer(json_schema: Any, source: Source) -> dict[str, Any] | None:
    """Returns the answer to a request if the schema wants nothing but a long response; else None."""
    properties = json_schema.get("properties") if isinstance(json_schema, dict) else None
    if not isinstance(properties, dict) or set(properties) != {_FIELD}:
        return None
    field = properties[_FIELD]
    if not isinstance(field, dict) or field.get("type") != "string" or int(field.get("maxLength", 0)) < _LEAST_CHARS:
        return None
    dice = Dice(source.seed, "conditions")
    conditions = read(source.data)
    if conditions and dice.chance(_OVERLOOKED):
        del conditions[dice.pick(list(conditions))]
    return {_FIELD: compose(conditions, source)}


def read(request: str) -> Conditions:
    """Returns the conditions in a request, by kind."""
    matches = {kind: pattern.search(request) for kind, pattern in _PATTERNS.items()}
    return {kind: _condition(match) for kind, match in matches.items() if match}


def _condition(match: re.Match[str]) -> Condition:
    text = match["text"] if "text" in match.re.groupindex else ""
    amount = re.search(_AMOUNT, match[0])
    if not amount:
        return Condition("", 0, text)
    return Condition(amount[1], _WORDS.get(amount[2]) or int(amount[2]), text)


def compose(conditions: Conditions, source: Source) -> str:
    """Returns an answer that follows all conditions, if they do not contradict each other."""
    request = source.data.partition("\n\n")[0]  # the conditions are no topic
    lines = _lines(conditions, replace(source, keywords=keywords(request, Dice(source.seed, "stretch"))))
    if "json" in conditions:
        return _object(conditions, lines)
    blocks = _blocks(conditions, lines)
    text = _sized(conditions, blocks, lines)
    return _finished(conditions, text)


# --- sentences ---


def _lines(conditions: Conditions, source: Source) -> Iterator[Line]:
    """Sentences without the signs and words that are to be avoided; the first has what has to occur."""
    texts = _texts(conditions, source)
    first = Line(next(texts))
    if condition := conditions.get("contains"):
        first.after.append(" and ".join([condition.text] * condition.number))
    if condition := conditions.get("placeholders"):
        first.after.append("for " + " or ".join(f"[{word}]" for word in _SLOTS[: condition.number]))
    if condition := conditions.get("bold"):
        first.after.append("with " + " and ".join(f"**{word}**" for word in _STRONG[: condition.number]))
    if condition := conditions.get("starts_with"):
        first.before.append(f"{condition.text} and note that")
    yield first
    yield from map(Line, texts)


_SLOTS = ("address", "street", "sender", "amount")
_STRONG = ("care", "plain words", "patience", "good notes")


def _texts(conditions: Conditions, source: Source) -> Iterator[str]:
    index = 0
    language = conditions["language"].text if "language" in conditions else ""
    while True:
        own = TONGUES.get(language)
        if own:
            text = own[(index + source.seed[0]) % len(own)]
        else:
            text = sentence(Topic(source, f"sentence {index}"), Dice(source.seed, f"sentence {index}"))
        index += 1
        yield _without(text, conditions)


def _without(text: str, conditions: Conditions) -> str:
    """One sentence without its full stop, and without the words, digits and commas that are not wanted."""
    text = re.sub(r"[.!?;:…\"“”„\[\]<>*]", "", text)
    for kind in ("contains", "excludes"):
        if kind in conditions:
            text = re.sub(rf"\b{re.escape(conditions[kind].text)}\b", "indeed", text, flags=re.IGNORECASE)
    if "no_digits" in conditions:
        text = re.sub(r"\d+", "some", text)
    if "no_commas" in conditions:
        text = text.replace(",", "")
    return " ".join(text.split())


# --- layout ---


def _number(conditions: Conditions, kind: str, default: int) -> int:
    return conditions[kind].number if kind in conditions else default


def _blocks(conditions: Conditions, lines: Iterator[Line]) -> list[Block]:
    """The paragraphs of the answer."""
    count = _number(conditions, "sentences", 4)
    closing = conditions.get("ends_with")
    size = max(1, count - 1 if closing and "sentences" in conditions else count)
    body = [next(lines) for _ in range(max(size, _number(conditions, "paragraphs", 1)))]
    paragraphs = _number(conditions, "paragraphs", 1)
    share = len(body) // paragraphs
    pieces = [
        body[index * share : (index + 1) * share if index < paragraphs - 1 else None] for index in range(paragraphs)
    ]
    blocks = [Block(piece) for piece in pieces]
    if "list_items" in conditions:
        items = [next(lines).shortened(5) for _ in range(conditions["list_items"].number)]
        blocks.append(Block(items, form="list"))
    if condition := conditions.get("headings"):
        blocks += [Block([next(lines)], heading=f"{condition.text} {_heading(lines)}") for _ in range(condition.number)]
    if condition := conditions.get("sections"):
        blocks += [Block([next(lines)], heading=f"{condition.text} {index + 1}") for index in range(condition.number)]
    if "title" in conditions:
        blocks.insert(0, Block([], heading=f"<<{_heading(lines)}>>"))
    if condition := conditions.get("two_answers"):
        blocks += [Block([], heading=condition.text), Block([next(lines), next(lines)])]
    if closing:
        last = blocks[-1] if blocks[-1].form != "list" else blocks[0]
        blocks = blocks if last is blocks[-1] else [*blocks, Block([])]
        blocks[-1].lines.append(Line(closing.text, is_fixed=True))
    if condition := conditions.get("postscript"):
        note = next(lines)
        note.before.append(condition.text)
        blocks.append(Block([note]))
    return blocks


def _heading(lines: Iterator[Line]) -> str:
    return str(next(lines).shortened(4)).rstrip(".,")


def _sized(conditions: Conditions, blocks: list[Block], lines: Iterator[Line]) -> str:
    """The text, with as many words or characters as wanted."""
    if "words" in conditions:
        _fit(blocks, lines, conditions["words"], counted)
    if "characters" in conditions:
        _fit(blocks, lines, conditions["characters"], lambda text: len(_finished(conditions, text)))
    return laid_out(blocks)


def _fit(blocks: list[Block], lines: Iterator[Line], condition: Condition, measure: Callable[[str], int]) -> None:
    """Adds and removes sentences and words until the text has the wanted size."""
    body = next(block for block in blocks if block.form == "text" and block.lines).lines
    for _ in range(_ROUNDS):
        missing = condition.number - measure(laid_out(blocks))
        if missing == 0 or (condition.relation, missing < 0) in _FINE:
            return
        if missing > _SENTENCE or (missing > 0 and condition.relation == "at least"):
            body.insert(max(1, len(body) - body[-1].is_fixed), next(lines))
        elif missing > 0:
            body[0].words.insert(1, next(lines).words[0].lower())
        else:
            free = [line for block in blocks for line in block.lines if not line.is_fixed]
            longest = max(free, key=lambda line: len(line.words)).words
            longest.pop(0)


_FINE = {("at least", True), ("at most", False)}
_SENTENCE = 25  # words from which a sentence is missing, not a word
_ROUNDS = 500


# --- the whole text ---


_MIRROR = str.maketrans("()", ")(")


def _finished(conditions: Conditions, text: str) -> str:
    if "quoted" in conditions:
        text = f'"{text}"'
    if condition := conditions.get("wrapped"):
        text = f"{condition.text}\n{text}\n{condition.text[::-1].translate(_MIRROR)}"
    if "upper_case" in conditions:
        return text.upper()
    if "lower_case" in conditions:
        return text.lower()
    if "title_case" in conditions:
        return re.sub(r"(?<!\S)([^\w\s]*)(\w)", lambda match: match[1] + match[2].upper(), text)
    return text


def _object(conditions: Conditions, lines: Iterator[Line]) -> str:
    """A JSON object with the wanted keys, and as long as wanted."""
    values = {key: str(next(lines)) for key in re.findall(r'"([^"]+)"', conditions["json"].text)}
    last = list(values)[-1]
    condition = conditions.get("characters", Condition("", 0, ""))
    while condition.relation == "at least" and len(_dumped(values)) < condition.number:
        values[last] += f" {next(lines)}"
    while condition.relation == "at most" and len(_dumped(values)) > condition.number:
        values[last] = values[last][: len(values[last]) // 2]
    return _dumped(values)


def _dumped(values: dict[str, str]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=1)
