"""Detect degenerate answers: text that matches the schema but has no content.

The rules check whether there is an answer, not whether it is good. They must not reject text about markup: a prompt
engineer names `<|im_end|>`, a tool strips `&amp;`, a problem in LaTeX has `\\nu`. So the rules distinguish leftovers
from meant text by their position, and by the topic of the rest of the text.

Labels (a topic, a name, a relation) are only checked for being filled in; fields with the answer itself get all checks.
docs/answers.md lists the rules with measured precision and recall.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from html.entities import name2codepoint
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ValidationError

from personahub_assets.core.prompts import Message
from personahub_assets.core.records import Answer
from personahub_assets.core.text import shorten
from personahub_assets.generation.replies.refusal_texts import is_refusal

Verdict = tuple[Literal["refused", "degenerate"], str]

_CARRYING = 300  # minimal length bound of a field with the answer, unless it is the largest of its class
_QUOTED = 60  # characters of a text that a detail shows


class Field(NamedTuple):
    """One text of an answer."""

    path: str
    text: str
    carries: bool  # the answer itself, not a label


class Context(NamedTuple):
    """Texts to compare an answer with."""

    descriptions: Mapping[str, tuple[str, ...]]
    """Descriptions of the schema in plain form, by their first characters."""
    names: frozenset[str]
    """Names of the schema's fields."""
    prompt: list[str]
    """The request, without later turns, which quote rejected answers."""


def fault_of(answer: Answer, messages: list[Message]) -> Verdict | None:
    """Find the first degenerate text of an answer.

    Args:
        answer: the parsed answer.
        messages: the request; turns from the assistant's first one on are ignored.

    Returns:
        The reason, and a detail that names the field, the rule and the first words; None if no text is degenerate.
    """
    context = _context(answer, messages)
    for field in _fields(answer):
        if fault := _fault(field, context):
            return fault
    return None


def sound_part(answer: Answer, messages: list[Message]) -> Answer | None:
    """Remove degenerate rows from a list of rows.

    Only an answer whose fields are all lists of objects is a list of rows; any other answer is a single row.

    Returns:
        The answer with the remaining rows; None if there are none, or fewer than the schema requires.
    """
    lists = {name: value for name, value in answer if isinstance(value, list)}
    rows = [row for value in lists.values() for row in value]
    if len(lists) < len(type(answer).model_fields) or not all(isinstance(row, BaseModel) for row in rows):
        return None
    context = _context(answer, messages)
    sound = {
        name: [row for row in value if not any(_fault(field, context) for field in _fields(row))]
        for name, value in lists.items()
    }
    try:
        return type(answer).model_validate({name: [row.model_dump() for row in rows] for name, rows in sound.items()})
    except ValidationError:
        return None


def _fault(field: Field, context: Context) -> Verdict | None:
    text = field.text
    has_mark = any([sign in text for sign in _SIGNS]) and _MARK.search(text) is not None  # noqa: C419  # the sooner
    for name, rule, needs_mark in _RULES if field.carries else _RULES_OF_LABELS:
        if (has_mark or not needs_mark) and rule(text, context):
            reason: Literal["refused", "degenerate"] = "refused" if name == "refusal" else "degenerate"
            return reason, f"{field.path}: {name}: {shorten(text, _QUOTED)}"
    return None


# First characters of tokens, tags and blanks of a form: most texts have none of them.
_MARK = re.compile(r"[<‹＜\[⁅{#\]](?:\s{0,3}[^\W\d]|[|｜¦/<‹{~#])")
_SIGNS = "<[{#]‹＜⁅"


# --- the texts of an answer ---


def _fields(value: BaseModel, path: str = "") -> list[Field]:
    """All texts of an answer except choices of the schema."""
    texts, fields = _texts_of(type(value)), []
    for name, child in value.__dict__.items():
        if isinstance(child, str):
            if name in texts and child:
                fields.append(Field(path + name, child, texts[name]))
        # Texts in a list are names, such as those of libraries, and "none" is one of them.
        elif isinstance(child, BaseModel | list):
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, BaseModel):
                    fields += _fields(item, f"{path}{name}.")
    return fields


@cache
def _texts_of(kind: type[BaseModel]) -> dict[str, bool]:
    """The fields of a class with free text, and whether they hold the answer itself."""
    sizes = {}
    for name, schema in kind.model_json_schema().get("properties", {}).items():
        text = next((option for option in (schema, *schema.get("anyOf", ())) if option.get("type") == "string"), None)
        if text and not {"enum", "const", "pattern"} & text.keys():
            sizes[name] = text.get("maxLength", _CARRYING)
    largest = max(sizes.values(), default=0)
    return {name: size >= min(_CARRYING, largest) for name, size in sizes.items()}


def _context(answer: Answer, messages: list[Message]) -> Context:
    descriptions, names = _described(type(answer))
    prompt = []
    for message in messages:
        if message["role"] == "assistant":
            break
        prompt.append(message["content"])
    return Context(descriptions, names, prompt)


# --- the schema's own words ---

_KEY = 7
_WHOLE = 25  # characters of a description that no answer starts with by chance
_CUT = 20  # minimum if a description was cut
_BLANKS = re.compile(r"\s+")


@cache
def _described(kind: type[Answer]) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """The descriptions of a schema by their first characters, and the names of its fields."""
    descriptions, names = set(), set()
    for schema in _objects(kind.model_json_schema()):
        descriptions.add(_plain(str(schema.get("description", ""))))
        names |= schema.get("properties", {}).keys()
    keys = {text[:_KEY] for text in descriptions if len(text) > _KEY}
    return {key: tuple(text for text in descriptions if text.startswith(key)) for key in keys}, frozenset(names)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from _objects(child)


def _plain(text: str) -> str:
    text = _BLANKS.sub(" ", text.casefold().replace("’", "'"))
    return text.strip(" .…\"'`“”«»_*-:")


def _is_description(text: str, context: Context) -> bool:
    start = text[: 4 * _KEY].lstrip(" .\"'`“«_*-:").casefold()[:_KEY].replace("’", "'")
    if start not in context.descriptions:
        return False
    plain = _plain(text[:1_000])
    return any(
        plain == description
        or (len(description) >= _WHOLE and plain.startswith(description))
        or (len(plain) >= _CUT and description.startswith(plain))
        for description in context.descriptions[start]
    )


# --- words left over ---

_MENTION = frozenset("\"'`“”‘’«»")
_PUNCTUATION = frozenset("?,;:.")
_ABOUT_MODELS = re.compile(
    r"templat|token|prompt|chatml|llama|language model|chatbot|\bmodels?\b|\bxml\b|html|element|parse|markup|\btags?\b|"
    r"resource file|resx",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    # The opening character comes first: the rest is matched only after it.
    r"""
    [<‹\[⁅\]\#]
    (?: (?<=[<‹])
        (?: [|｜¦]/?[^\W\d][\w\ .:/▁-]{1,60}[|｜¦>›]{0,2}            # <|im_start|> <|tool>
          | /?[A-Za-z_]{2,40}[|¦][>›]                               # <turn|>
          | /?(?:start|end)_of_\w{2,20}[>›]
          | /?(?:bos|eos|pad|unk|sop|eop|mask|cls|sep|BOS|EOS|PAD|UNK)[>›]
          | /?(?:think(?:ing)?|thought|tool_calls?|tool_response|function_calls?|scratchpad)[>›]
          | /s[>›] | (?<=\A.)s[>›]
          | [<‹]?/?SYS[>›]{1,2}
          | (?:extra_id_|unused_?|reserved_(?:\w{1,20}_)?)\d{1,5}[>›]
          | (?<![\w<].)/?[A-Z]{2,20}(?:_[A-Z]{2,20}){1,4}[>›]        # <END_OF_TEXT>
        )
      | (?<=[\[⁅])
        (?: \|/?[a-z_]{3,40}\|\]
          | /?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|BOS|EOS|PAD|UNK|CLS|SEP|MASK|[gs]MASK)\]
          | (?:control|unused)_?\d{1,4}\]
        )
      | (?<=\])~b\]
      | (?<=\#)\#{1,2}\ ?(?:Instruction|Response|Assistant|Human|User|System)s?:
    )
    (?:\n?(?:assistant|model|user|system)\b)?
    """,
    re.VERBOSE,
)
_SENTENCE_ENDS = frozenset(".!?。！？…:")
_OPENINGS = "<[]#‹⁅"


def _has_template_token(text: str, context: Context) -> bool:
    tokens = _tokens(text)
    if not tokens or _ABOUT_MODELS.search(_TOKEN.sub(" ", text)):
        # A text about control tokens names them in its sentences.
        return bool(tokens) and _is_left_over(text, tokens)
    return not all(_is_mention(text, token) for token in tokens)


def _is_label_with_token(text: str, context: Context) -> bool:
    tokens = _tokens(text)
    return bool(tokens) and (tokens[0].start() == 0 or tokens[-1].end() == len(text))


def _tokens(text: str) -> list[re.Match[str]]:
    return _matches(_TOKEN, text, _OPENINGS)


def _matches(pattern: re.Pattern[str], text: str, openings: str) -> list[re.Match[str]]:
    """All matches of a pattern that start with one of some characters; faster than the pattern alone in most texts."""
    starts = [start for sign in openings if sign in text for start in _positions(text, sign)]
    return [match for start in sorted(starts) if (match := pattern.match(text, start))]


def _positions(text: str, sign: str) -> Iterator[int]:
    start = text.find(sign)
    while start >= 0:
        yield start
        start = text.find(sign, start + 1)


def _is_left_over(text: str, tokens: list[re.Match[str]]) -> bool:
    """Whether tokens are before the first sentence or after the last one."""
    first, last = tokens[0], tokens[-1]
    if not text[: first.start()].strip() and not _is_mention(text, first):
        return True
    return not text[last.end() :].strip() and text[: last.start()].rstrip()[-1:] in _SENTENCE_ENDS


def _is_mention(text: str, match: re.Match[str]) -> bool:
    """Whether a match is within quotation marks, or is a word before a comma or similar punctuation."""
    before, behind = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
    return (before in _MENTION and behind in _MENTION) or (before == " " and behind in _PUNCTUATION)


_DATA = re.compile(
    r"[<‹＜]\s{0,3}(?P<end>/?)\s{0,3}data\b(?:\s{1,3}name\s{0,3}=\s{0,3}[\"'“]?(?P<name>\w{1,60}))?[^<>\n]{0,20}",
    re.IGNORECASE,
)
_NAMED = re.compile(r"<data name=\"(\w+)\">")
_OWN_NAMES = frozenset({"text", "persona", "errors", "rejected_answer"})


def _has_data_tag(text: str, context: Context) -> bool:
    tags = _matches(_DATA, text, "<‹＜")
    if not tags:
        return False
    names = _OWN_NAMES.union(*(_NAMED.findall(message) for message in context.prompt))
    if any(tag["name"] and tag["name"].lower() in names for tag in tags):
        return True
    return any(tag["end"] for tag in tags) and not _ABOUT_MODELS.search(_DATA.sub(" ", text))


_ABOUT_CODE = re.compile(
    r"unicode|escap|encod|decod|json|utf-?\d|\bcsv\b|regex|regular expression|code point|mojibake|printf?\b|python|javascript|"
    r"\bjava\b|line (?:break|end|feed)|newline|separator|delimit|latex|\bc program|\bbash\b|script\b|转义|编码|正则|换行",
    re.IGNORECASE,
)
_UNICODE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|u\{[0-9a-fA-F]{2,6}\}|x[89a-fA-F][0-9a-fA-F])")
_UNICODE_WITHOUT_SIGN = re.compile(r"(?<=[a-zA-Z])u(?:00[c-f][0-9a-f]|20(?:1[3489cd]|26))(?=[a-z\s.,;!?]|$)")
# In LaTeX \nu is a letter: an escaped line break comes after the end of a sentence and before the next one.
_LINE_END = re.compile(
    r"\\(?:r\\)?n(?!(?:u|e|eq|eg|i|ot|otin|abla|mid|leq|geq|exists|parallel|earrow|warrow|[RL]\w+|olimits|ewline)\b)"
    r"(?=[\w\s\-*•\\\"'“(#]|$)"
)
_LINES_END = frozenset(".!?:;,)]\"'”’。！？：，")
_QUOTE = re.compile(r"\\\"[^\"\\]{1,200}\\\"")


def _has_escape(text: str, context: Context) -> bool:
    if "\\" in text:
        escape = _UNICODE.search(text) or _line_end(text) or _quotes(text)
        return escape is not None and not _is_mention(text, escape) and not _ABOUT_CODE.search(text)
    return ("u00" in text or "u20" in text) and _UNICODE_WITHOUT_SIGN.search(text) is not None


def _line_end(text: str) -> re.Match[str] | None:
    """An escaped line break after the end of a sentence or another line break."""
    if "\\n" not in text and "\\r" not in text:
        return None
    breaks = _LINE_END.finditer(text)
    return next((br for br in breaks if text[br.start() - 1] in _LINES_END or text[: br.start()].endswith("\\n")), None)


def _quotes(text: str) -> re.Match[str] | None:
    """A quotation with only escaped marks, in a text without unescaped ones."""
    return _QUOTE.search(text) if '\\"' in text and text.count('"') == text.count('\\"') else None


_ABOUT_MARKUP = re.compile(
    r"html|\bxml\b|entit|escap|encod|decod|ampersand|markup|sanitiz|browser|\brss\b|scrap", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{2,6}|#[xX][0-9a-fA-F]{2,5}|(?P<name>[A-Za-z]{2,8}\d{0,2}));")


def _has_entity(text: str, context: Context) -> bool:
    if "&" not in text or ";" not in text:
        return False
    left = [
        entity
        for entity in _ENTITY.finditer(text)
        if entity["name"] in name2codepoint or entity["name"] in (None, "apos")
    ]
    return any(not _is_mention(text, entity) for entity in left) and not _ABOUT_MARKUP.search(_ENTITY.sub(" ", text))


# --- nothing said ---

_TAIL = 12  # length of an ending that occurs earlier in the text, once or twice, only if the text repeats itself
_LONG = 200  # length of a text that can have the ending once before
_LAST = 100  # characters whose words are checked first
_MOST = 8_000  # characters that are checked
_LEAST = 30  # characters that are repeated
_SHARE = 0.5
_LOOPED = 0.3  # share of a text that a loop at its end takes
_RUN = re.compile(r"([^\W\d_])\1{29}")
_WORD = re.compile(r"[^\W_]+")


def _is_repetition(text: str, context: Context) -> bool:
    if len(set(text[:64])) <= 3 and len(text) >= 16 and len(set(text)) <= 3:
        return any(map(str.isalnum, text)) or len(text) >= 20
    last = text[-_LAST:].split()
    if len(last) >= 3 and len(set(last)) == 1 and len(set(text.split())) == 1:
        return True
    if len(last) >= 6 and len(set(last)) <= len(last) * _SHARE and _is_one_word(text[:_MOST].split()):
        return True
    middle, size = len(text) // 2, _TAIL if text.isascii() else _TAIL // 2
    least = 3 if len(text) >= _LONG else 2
    if text.count(text[-size:]) < least and text.count(text[middle : middle + size]) < least:
        return False
    return _is_loop(text) or _RUN.search(text) is not None


def _is_one_word(words: list[str]) -> bool:
    """Whether one word, or two in alternation, make up most of a text of at least seven words."""
    often = [count for _, count in Counter(words).most_common(2)]
    return len(words) >= 7 and (often[0] > len(words) * 0.6 or sum(often) > len(words) * 0.85)


def _is_loop(text: str) -> bool:
    """Whether a text ends with the same words at least four times, or consists of few different words."""
    tail = text[-_TAIL:]
    before = text.rfind(tail, 0, len(text) - 1)
    period = len(text) - _TAIL - before
    if before >= 0 and period:
        end = len(text) - period
        start = end
        while start and text[start - 1] == text[start - 1 + period]:
            start -= 1
        looped = len(text) - start
        if looped >= max(3 * period, _LEAST) and looped >= _LOOPED * len(text):
            return True
    size = 8
    pieces = [text[i : i + size] for i in range(min(len(text), _MOST) - size + 1)]
    return len(pieces) >= _LEAST and len(set(pieces)) <= len(pieces) * 0.36


_NOTHING = frozenset(
    "string text_here placeholder lorem ipsum todo tbd tba na null none undefined nan foo bar baz qux asdf qwerty test testing "
    "sample example dummy insert xxx".split()
)
_FILLING = frozenset(
    "a an the this that is are be goes go here there of for in on to with and or your my by it its please later added filled "
    "purposes only text persona personas description descriptions relation problem problems puzzle instruction statement "
    "title name value answer content person people short some any field placeholder write type enter add fill item article "
    "character background tool function argument returns string number one two three first second kind".split()
)
_KNOWN = _NOTHING | _FILLING | {"n"}
_LABELS = frozenset({"string", "n/a", "na", "null", "todo", "tbd", "undefined", "placeholder", "lorem ipsum", "..."})
_SLOT = re.compile(
    r"[\[<{]\{?\s{0,3}(?P<head>[a-z_]+)(?P<rest>[^\[\]<>{}\n]{0,150})(?:\]|>|\}\}?)(?![\w(])", re.IGNORECASE
)
_SLOT_VERBS = frozenset("insert enter your add fill put write describe provide".split())
_SLOT_NOUNS = frozenset(
    "name profession occupation job age place city country town location hobby topic subject persona person description title "
    "date number company industry field role text content adjective noun value greeting background problem puzzle instruction "
    "interest activity specific detail details relation type kind".split()
)
_ABOUT_SLOTS = re.compile(
    r"template|letter|e-?mail|\bforms?\b|placeholder|slots?\b|fill|\bsign|mail merge|variable|html|\bxml|json|java|code|python|sql",
    re.IGNORECASE,
)
_ASKS_FOR_SLOTS = "placeholders in square brackets"  # a constraint of core/constraints.py
_HERE = re.compile(r"\b(?:text|description|content|statement|name|value|persona|problem|puzzle|title) (?:goes )?here\b")
_TO_COME = re.compile(
    r"[(\[<]\s?to be (?:filled|completed|added|determined|defined|decided|written)\b[^()\[\]<>]{0,20}[)\]>]"
)
_TO_FILL = re.compile(r"待补充|占位(?:符|文本)|在?此处(?:填写|输入|插入)|ここに入力|プレースホルダー")


def _is_placeholder(text: str, context: Context) -> bool:
    if len(text) < _LONG and (
        _says_nothing(text) or _TO_COME.search(text) or (not text.isascii() and _TO_FILL.search(text))
    ):
        return True
    return text[:11].casefold() == "lorem ipsum"


def _says_nothing(text: str) -> bool:
    """Whether all words are placeholders."""
    for match in _WORD.finditer(text):
        word = match[0].casefold()
        if word not in _KNOWN and not word.isdecimal() and word.strip("x"):
            return False
    lowered = text.casefold().replace("n/a", "na")
    words = set(_WORD.findall(lowered))
    return not words or _is_filling(words, lowered)


def _is_filling(words: set[str], lowered: str) -> bool:
    """Whether a text consists of placeholders for an answer."""
    strong = {word for word in words if word in _NOTHING or (set(word) == {"x"} and len(word) > 1)}
    remaining = words - strong
    if not all(word in _FILLING or word.isdecimal() for word in remaining):
        return False
    if strong - {"string", "none"} or _HERE.search(lowered):
        return True
    # As the only word it is the return type of a tool.
    return "string" in strong and not remaining and len(lowered) > len("string")


def _has_slots(text: str, context: Context) -> bool:
    """Whether blanks of a form are not filled in: `[insert name]`, `{{ persona }}`."""
    slots = [slot for slot in _matches(_SLOT, text, "[<{") if _is_slot(slot, text, context)]
    if not slots:
        return False
    size = sum(slot.end() - slot.start() for slot in slots)
    if size > len(text) * _SHARE:
        return True
    is_asked = any(_ASKS_FOR_SLOTS in message for message in context.prompt)
    return len(slots) > 1 and not is_asked and not _ABOUT_SLOTS.search(text)


def _is_slot(slot: re.Match[str], text: str, context: Context) -> bool:
    head, before = slot["head"].lower(), text[slot.start() - 1 : slot.start()]
    if before.isalnum() or before in ("_", "]", ")"):  # an index or a link
        return False
    is_all = slot.end() - slot.start() >= len(text) - 2
    is_name = head in _SLOT_VERBS or head in _SLOT_NOUNS or head in context.names
    return is_name if len(slot["rest"]) > 30 or is_all else is_name and slot["rest"].count(" ") <= 6


def _is_empty_label(text: str, context: Context) -> bool:
    if text[:1] in "[<{" and (slot := _SLOT.fullmatch(text)) and _is_slot(slot, text, context):
        return True
    return text.strip("\"'` ").casefold() in _LABELS


# --- the prompt's own words ---

_PROBE = 24
_COPIED = 40  # copied characters of the instructions, or
_COPIED_ROW = 60  # of the row's own text
_COPIED_SHARE = 0.5  # and their minimal share of the answer
_COPIED_ROW_SHARE = 0.8
_SECTION = "<data name="


def _is_prompt_text(text: str, context: Context) -> bool:
    length = len(text)
    if length < _COPIED:
        return False
    for start in (length // 3, 2 * length // 3 - _PROBE):
        probe = text[start : start + _PROBE]
        for message in context.prompt:
            if probe in message and _is_copied(text, start, message):
                return True
    return False


def _is_copied(text: str, start: int, message: str) -> bool:
    """Whether enough of a text occurs in a message, around the probed position."""
    position = message.find(text[start : start + _PROBE])
    section = message.rfind(_SECTION, 0, position)
    begin, end, shift = start, start + _PROBE, position - start
    while begin and begin + shift and text[begin - 1] == message[begin - 1 + shift]:
        begin -= 1
    while end < len(text) and end + shift < len(message) and text[end] == message[end + shift]:
        end += 1
    least, share = (_COPIED, _COPIED_SHARE) if section < 0 else (_COPIED_ROW, _COPIED_ROW_SHARE)
    if not text.isascii():
        least //= 2
    return end - begin >= least and end - begin >= share * len(text)


def _declines(text: str, context: Context) -> bool:
    return is_refusal(text)


Rule = Callable[[str, Context], bool]

# Name, rule, and whether to skip texts without any mark; the first match is reported.
_RULES: tuple[tuple[str, Rule, bool], ...] = (
    ("refusal", _declines, False),
    ("description", _is_description, False),
    ("data_tag", _has_data_tag, True),
    ("template_token", _has_template_token, True),
    ("prompt_text", _is_prompt_text, False),
    ("escape", _has_escape, False),
    ("entity", _has_entity, False),
    ("placeholder", _is_placeholder, False),
    ("placeholder", _has_slots, True),
    ("repetition", _is_repetition, False),
)
_RULES_OF_LABELS: tuple[tuple[str, Rule, bool], ...] = (
    ("description", _is_description, False),
    ("data_tag", _has_data_tag, True),
    ("template_token", _is_label_with_token, True),
    ("escape", _has_escape, False),
    ("entity", _has_entity, False),
    ("placeholder", _is_empty_label, False),
)
RULES = tuple(dict.fromkeys(name for name, *_ in _RULES))
