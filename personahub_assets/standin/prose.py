"""Texts for each kind of field; name and description of a field choose the kind."""

import re
from collections.abc import Callable
from functools import lru_cache

from personahub_assets.standin import words
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.topic import Slots, Topic, ascii_words

Prose = Callable[[Topic, Dice, str], str]

_PERSONA_WORDS = (12, 40)
_PERSONA_TRIES = 6
_PLAIN_LABEL = re.compile(r"[^\W\d_]+( [^\W\d_]+)?")


def persona(topic: Topic, dice: Dice, label: str) -> str:
    """Writes one or two sentences of 12 to 40 words on a kind of person."""
    text = ""
    for _ in range(_PERSONA_TRIES):
        text = Slots(topic, dice, label).fill(dice.pick(_persona_moulds(topic)))
        if _PERSONA_WORDS[0] <= text.count(" ") + 1 <= _PERSONA_WORDS[1]:
            return text
    return text


def _persona_moulds(topic: Topic) -> tuple[str, ...]:
    if not (topic.related and topic.person):
        return words.PERSONAS
    relation(topic, topic.dice, "relation")
    return words.RELATED_PERSONAS if _PLAIN_LABEL.fullmatch(topic.relation) else words.LABELLED_PERSONAS


def relation(topic: Topic, _dice: Dice, _label: str) -> str:
    """Names the relation between the person in the data and the persona of the same object."""
    topic.relation = topic.relation or topic.dice.pick(words.RELATIONS)
    return topic.relation


def article(topic: Topic, dice: Dice, _label: str) -> str:
    """Writes two to four paragraphs of three to six distinct sentences."""
    pool = list(words.SENTENCES)
    paragraphs = []
    for _ in range(dice.between(2, 4)):
        lines = [_drawn(pool, dice) for _ in range(dice.between(3, 6))]
        paragraphs.append(" ".join(Slots(topic, dice).fill(line) for line in lines))
    return "\n\n".join(paragraphs)


def backstory(topic: Topic, dice: Dice, _label: str) -> str:
    """Writes three sentences about the origin of a character, of its world if there is one."""
    if topic.source.world:
        return _in_world(topic, dice, words.WORLD_BACKSTORIES, 3)
    pool = list(words.BACKSTORIES)
    return " ".join(Slots(topic, dice).fill(_drawn(pool, dice)) for _ in range(3))


def _in_world(topic: Topic, dice: Dice, moulds: tuple[str, ...], count: int) -> str:
    """Writes sentences that name only things of the game world."""
    pool, names = list(moulds), [f"the {term.removeprefix('the ')}" for term in topic.source.world]
    sentences = []
    for _ in range(count):
        nearer, further = names.pop(dice.below(len(names))), dice.pick(names)
        slots = {"name": topic.name, "one": nearer, "two": further, "n": dice.between(3, 40)}
        sentences.append(_drawn(pool, dice).format_map(slots))
    return " ".join(text[0].upper() + text[1:] for text in sentences)


def _of_world(moulds: tuple[str, ...], usual: Prose) -> Prose:
    def write(topic: Topic, dice: Dice, label: str) -> str:
        return _in_world(topic, dice, moulds, 1) if topic.source.world else usual(topic, dice, label)

    return write


def sentence(topic: Topic, dice: Dice) -> str:
    """Writes one more sentence for a text that is too short."""
    return Slots(topic, dice).fill(dice.pick(words.SENTENCES))


def _drawn(pool: list[str], dice: Dice) -> str:
    return pool.pop(dice.below(len(pool)))


def _mould(moulds: tuple[str, ...]) -> Prose:
    return lambda topic, dice, label: Slots(topic, dice, label).fill(dice.pick(moulds))


def _choice(options: tuple[str, ...]) -> Prose:
    return lambda _topic, dice, _label: dice.pick(options)


def _title(topic: Topic, dice: Dice, label: str) -> str:
    return Slots(topic, dice, label).fill(dice.pick(words.TITLES))


def _tool_name(topic: Topic, _dice: Dice, _label: str) -> str:
    subject = topic.subject()
    return f"{subject[0].upper()}{subject[1:]} {topic.tool_noun}"


def identifier(topic: Topic, dice: Dice, label: str) -> str:
    """Writes a snake_case identifier about the topic."""
    if label in _COUNTER_LABELS:
        return f"{label}_{dice.below(1_000_000):06d}"
    tokens = [topic.verb, *ascii_words(topic.subject())[:2], *ascii_words(topic.subject(1))[:1]]
    return "_".join(tokens) if len(tokens) > 1 else f"{topic.verb}_{topic.tool_noun.lower()}"


_COUNTER_LABELS = frozenset({"id", "uuid", "key", "code"})


def _argument(topic: Topic, dice: Dice, label: str) -> str:
    return dice.pick(words.ARGUMENTS).format_map(Slots(topic, dice, label))


def _argument_name(topic: Topic, dice: Dice, label: str) -> str:
    return Slots(topic, dice, label)["ident"]


def _full_name(topic: Topic, _dice: Dice, _label: str) -> str:
    return f"{topic.name} {topic.surname}"


def _fantasy_name(topic: Topic, _dice: Dice, _label: str) -> str:
    dice = Dice(topic.source.seed, f"npc {topic.path}")
    sounds = "".join(dice.pick(words.NAME_SOUNDS) for _ in range(dice.between(1, 2))) + dice.pick(words.NAME_ENDS)
    topic.name = sounds.capitalize()
    return f"{topic.name} {topic.surname}" if dice.chance(0.7) else f"{topic.name} of {dice.pick(words.PLACES)}"


def _keyword(topic: Topic, dice: Dice, _label: str) -> str:
    return dice.pick(topic.source.keywords or words.SUBJECTS)


def _date(_topic: Topic, dice: Dice, _label: str) -> str:
    return f"{dice.between(1990, 2024)}-{dice.between(1, 12):02d}-{dice.between(1, 28):02d}"


def _time(_topic: Topic, dice: Dice, _label: str) -> str:
    return f"{dice.below(24):02d}:{dice.below(60):02d}:{dice.below(60):02d}"


def _instant(topic: Topic, dice: Dice, label: str) -> str:
    return f"{_date(topic, dice, label)}T{_time(topic, dice, label)}Z"


def _email(topic: Topic, dice: Dice, _label: str) -> str:
    return f"{topic.name.lower()}.{topic.surname.lower()}{dice.below(100)}@example.org"


def _url(topic: Topic, dice: Dice, label: str) -> str:
    return f"https://example.org/{identifier(topic, dice, label).replace('_', '-')}"


def _uuid(_topic: Topic, dice: Dice, _label: str) -> str:
    digits = f"{dice.below(1 << 64):016x}{dice.below(1 << 64):016x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"


def _code(topic: Topic, dice: Dice, label: str) -> str:
    argument = _argument_name(topic, dice, label)
    return (
        f"def {identifier(topic, dice, 'function')}({argument}):\n    return sorted({argument})[:{dice.between(2, 20)}]"
    )


def _place_name(_topic: Topic, dice: Dice, _label: str) -> str:
    location = dice.pick(words.PLACES)
    return location[0].upper() + location[1:]


def _chat_message(topic: Topic, dice: Dice, label: str) -> str:
    """The first message of a conversation, or one that follows an answer."""
    moulds = words.FOLLOW_UPS if topic.source.is_conversation else words.OPENINGS
    return Slots(topic, dice, label).fill(dice.pick(moulds))


def _final_answer(topic: Topic, dice: Dice, _label: str) -> str:
    """The answer, of a number at times without its unit."""
    number, _, unit = topic.puzzle.answer.partition(" ")
    return number if number.isdigit() and unit and dice.chance(0.5) else topic.puzzle.answer


KINDS: dict[str, Prose] = {
    "persona": persona,
    "relation": relation,
    "problem": lambda topic, _dice, _label: topic.puzzle.problem,
    "solution": lambda topic, _dice, _label: topic.puzzle.solution,
    "answer": lambda topic, _dice, _label: topic.puzzle.answer,
    "final_answer": _final_answer,
    "program": lambda topic, _dice, _label: topic.puzzle.program,
    "instruction": _mould(words.INSTRUCTIONS),
    "title": _title,
    "tool_name": _tool_name,
    "identifier": identifier,
    "description": _mould(words.DESCRIPTIONS),
    "article": article,
    "argument": _argument,
    "argument_name": _argument_name,
    "argument_note": _mould(words.ARGUMENT_NOTES),
    "argument_type": _choice(words.VALUE_TYPES),
    "returns": _mould(words.RETURNS),
    "library": _choice(words.LIBRARIES),
    "backstory": backstory,
    "dialogue": _of_world(words.WORLD_GREETINGS, _mould(words.DIALOGUES)),
    "chat_message": _chat_message,
    "chat_reply": _mould(words.REPLIES),
    "full_name": _full_name,
    "fantasy_name": _fantasy_name,
    "species": _choice(words.SPECIES),
    "calling": _of_world(words.WORLD_CALLINGS, _choice(words.CALLINGS)),
    "occupation": _choice(words.OCCUPATIONS),
    "place": _place_name,
    "country": _choice(words.COUNTRIES),
    "language": _choice(words.LANGUAGES),
    "goal": _of_world(words.WORLD_GOALS, _mould(words.GOALS)),
    "trait": _choice(words.TRAITS),
    "skill": _choice(words.SKILLS),
    "fear": _choice(words.FEARS),
    "item": _choice(words.ITEMS),
    "hobby": _choice(words.HABITS),
    "appearance": _mould(words.APPEARANCES),
    "category": _choice(words.CATEGORIES),
    "mood": _choice(words.MOODS),
    "colour": _choice(words.COLOURS),
    "keyword": _keyword,
    "rationale": _mould(words.RATIONALES),
    "step": _mould(words.STEPS),
    "code": _code,
    "date": _date,
    "time": _time,
    "instant": _instant,
    "email": _email,
    "url": _url,
    "uuid": _uuid,
    "remark": _mould(words.REMARKS),
}

FORMATS = {
    "date": "date",
    "time": "time",
    "date-time": "instant",
    "email": "email",
    "uri": "url",
    "url": "url",
    "uuid": "uuid",
}

_NAMES_OF_KINDS = {
    "persona": "persona personality_description character_description profile",
    "relation": "relation relationship relationship_type tie",
    "problem": "problem question exercise puzzle riddle problem_statement",
    "solution": "solution explanation working derivation worked_solution reasoning_steps",
    "answer": "answer result",
    "final_answer": "final_answer",
    "program": "program",
    "instruction": "instruction prompt request task command user_prompt query",
    "title": "title headline heading topic_title subject_line",
    "tool_name": "tool_name interface_name",
    "identifier": "identifier function_name function id slug key method_name variable_name",
    "description": "description summary abstract overview purpose",
    "article": "text article body content passage essay document paragraph knowledge chapter section",
    "argument": "argument parameter input arg param input_arg",
    "argument_name": "argument_name parameter_name",
    "argument_type": "argument_type parameter_type type dtype",
    "returns": "return returns output",
    "library": "dependency depend library package requirement import module",
    "backstory": "backstory background biography bio history story lore origin_story",
    "chat_message": "chat_message user_message message",
    "chat_reply": "chat_reply assistant_reply reply",
    "dialogue": "dialogue greeting line quote catchphrase speech utterance saying opening_line",
    "full_name": "person_name full_name author",
    "fantasy_name": "npc_name character_name",
    "species": "race species ancestry",
    "calling": "class role archetype",
    "occupation": "occupation profession job job_title",
    "place": "place location city town region home hometown setting",
    "country": "country nationality",
    "language": "language",
    "goal": "goal motivation quest objective aim ambition",
    "trait": "trait personality temperament adjective",
    "skill": "skill ability talent strength expertise",
    "fear": "fear weakness flaw secret_fear vulnerability",
    "item": "item inventory possession equipment",
    "hobby": "hobby habit interest",
    "appearance": "appearance look clothing",
    "category": "category field domain genre area discipline",
    "mood": "mood emotion tone sentiment",
    "colour": "colour color",
    "keyword": "keyword tag topic subject theme concept label term",
    "rationale": "reason rationale why justification motive evidence reasoning thought",
    "step": "step tip action procedure",
    "code": "code snippet source_code implementation example_code",
    "date": "date day",
    "time": "time",
    "instant": "timestamp datetime",
    "email": "email",
    "url": "url uri link website",
    "uuid": "uuid",
}
_KIND_OF = {name: kind for kind, names in _NAMES_OF_KINDS.items() for name in names.split()}
_TOOL_SIGNS = frozenset(
    ["function_name", "function", "arguments", "args", "input_args", "parameters", "returns", "return_value", "depend"]
)
_GAME_SIGNS = frozenset(
    ["race", "backstory", "greeting", "dialogue", "lore", "quest", "species", "catchphrase", "inventory"]
)
_SPLIT = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")


@lru_cache(maxsize=4096)
def kind_of(name: str, hint: str = "", siblings: frozenset[str] = frozenset()) -> str:
    """Chooses the kind of text for a property by its name, then its description, then its sibling properties."""
    tokens = [singular(token.lower()) for token in _SPLIT.split(name) if token]
    if tokens == ["name"]:
        return _kind_of_name(hint, siblings)
    if tokens == ["description"] and {"name", "type"} <= siblings:
        return "argument_note"
    joined = "_".join(tokens)
    for candidate in (name.lower(), joined, *reversed(tokens)):
        if candidate in _KIND_OF:
            return _KIND_OF[candidate]
    for word in _SPLIT.split(hint.lower())[:12]:
        if singular(word) in _KIND_OF:
            return _KIND_OF[singular(word)]
    return "remark"


def _kind_of_name(hint: str, siblings: frozenset[str]) -> str:
    lowered = hint.lower()
    if siblings & _TOOL_SIGNS or re.search(r"\b(tool|function|interface)\b", lowered):
        return "tool_name"
    if siblings & _GAME_SIGNS or re.search(r"\b(npc|game)\b", lowered):
        return "fantasy_name"
    if re.search(r"\b(argument|parameter|variable|identifier)\b", lowered) or {"type", "description"} <= siblings:
        return "argument_name"
    if re.search(r"\b(person|character|author|human)\b", lowered) or siblings & {
        "age",
        "email",
        "occupation",
        "surname",
    }:
        return "full_name"
    return "title"


@lru_cache(maxsize=4096)
def singular(noun: str) -> str:
    """Drops an English plural ending: "personas" → "persona", "dependencies" → "dependency"."""
    if noun in ("returns", "class", "species", "address", "news", "series") or len(noun) < 4:
        return noun
    if noun.endswith("ies"):
        return noun[:-3] + "y"
    if noun.endswith(("sses", "xes", "ches", "shes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith("ss") else noun
