"""Find the answer in a model's text without another request.

Models put an answer into thinking, code fences, prose, special tokens, another object, or the wrong field; they write
trailing commas, and choices in capitals. This module undoes only unambiguous changes, and the result must be valid for
the answer class, so nothing is invented: an answer that is cut off is not completed, an answer that breaks a bound
stays wrong, and a repeated schema is not an answer.

A candidate is a whole JSON object or list, read by a decoder from its opening bracket; brackets inside strings and in
prose do not count. The last valid candidate after the thinking is the answer: the final answer instead of a draft, and
either copy of an answer that is written twice.
"""

import ast
import html
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Generic, TypeVar, get_origin

from pydantic import ValidationError

from personahub_assets.core.records import Answer
from personahub_assets.core.text import sanitise
from personahub_assets.generation.replies.relaxed_json import Malformed, Span, has_object, read_relaxed, scan
from personahub_assets.generation.replies.reply import Reply

A = TypeVar("A", bound=Answer)
Kinds = tuple[str, ...]

_NO_JSON: Any = object()
_DEPTH = 4  # nested wrappings
_ROUNDS = 6  # passes over one value: errors inside a list appear only after it has become a list
_TRIED = 24  # candidates of one text
_CHILDREN = 24  # keys of an object that can hold the answer among others
_AROUND = 2_000  # characters before and after an answer that are read to name the wrapping

_NAMES = r"(?:think|thought|reason|scratch|reflect|analysis|monologue|rationale|deliberat|ponder|cot(?![a-z]))"
# The end of the thinking, in all styles: a closing tag, an end token, or the heading of the next section.
_THINK_END = re.compile(
    r"[<\[◁](?:"  # first what a search finds fast
    rf"(?:(?<=[<\[◁])/|\|/|\|end_?(?:of_?)?)[\w:. -]{{0,24}}?{_NAMES}[\w:. -]{{0,24}}\|?[>\]▷]"
    r"|(?<=<)(?:\|inner_suffix\||channel\||unused95)>|(?<=<)\|channel\|>\s{0,20}final\b[^{\[<]{0,60}(?:<\|message\|>)?"
    r"|(?<=<)(?:answer|response|final|output|final_answer)>|(?<=<)\|(?:begin_of_(?:solution|answer)|START_RESPONSE)\|>)",
    re.IGNORECASE,
)
_FLAT_END = re.compile(r"assistantfinal(?:json)?|[Hh]ere is (?:my|the) (?:response|answer)\W")
_THINK_OPEN = re.compile(
    rf"[<\[◁](?!/)\|?[\w:. -]{{0,24}}?{_NAMES}[\w:. -]{{0,24}}\|?[>\]▷]|<\|inner_prefix\|>|<unused94>"
    r"|<\|channel\|?>\s{0,20}(?:analysis|thought|commentary)|^analysis(?-i:(?=[A-Z]))|^here is my thought process\W",
    re.IGNORECASE | re.MULTILINE,
)
# The end of the assistant's turn: the model invents the conversation after it.
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|endoftext|end_of_text|end_of_turn|eom_id|eos|user|END_OF_TURN_TOKEN)\|>|</s>|<eos>|<end_of_turn>"
    r"|<\|im_start\|>\s*+user|<\|start_header_id\|>\s*+user|<start_of_turn>\s*+user|\[INST\]|<｜end▁of▁sentence｜>"
    r"|^[ \t]{0,4}(?:user|human)[ \t]?:",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"```|~~~")
_TOKEN = re.compile(r"<[|｜]?/?[\w:▁ /|-]{1,40}[|｜]?>|\[/?[A-Z][A-Z_]{1,20}\]")
_OUTER_TOKENS = re.compile(rf"\A(?:\s|{_TOKEN.pattern})++|(?:{_TOKEN.pattern})\s*+\Z")
_ESCAPED_START = re.compile(r"[{\[](?:[\s\[{]|\\[nrt]){0,12}+\\{1,8}+[\"']")
_ESCAPE = re.compile(r"\\(?:u[0-9A-Fa-f]{4}(?:\\u[0-9A-Fa-f]{4})?|.)", re.DOTALL)
_STRING_START = re.compile(r'"(?=(?:\s|\\[nrt]){0,12}+[{\[])')
_STRINGS = 6  # JSON strings of a text that are read
_DECODER = json.JSONDecoder(strict=False)
_SURROUNDING = "\ufeff\u200b\u2060\x00 \t\r\n"

_SCHEMA_KEYS = frozenset({"type", "$ref", "enum", "anyOf", "allOf", "oneOf", "const", "items"})
# Keys of the values in a tool call, or in a schema that is filled in.
_HOLDERS = frozenset({"properties", "arguments", "parameters", "input", "args", "function"})
_CONTAINERS = frozenset(
    {"list_type", "tuple_type", "set_type", "frozen_set_type", "dict_type", "model_type", "model_attributes_type"}
)
_QUOTED = re.compile(r"'(?:[^'\\]|\\.){0,200}+'|\"(?:[^\"\\]|\\.){0,200}+\"")


def unwrap(reply: Reply, answer: type[A]) -> tuple[A, str | None]:
    """Parse the answer of a reply.

    Returns:
        The answer, and the undone changes, such as "think" or "prose+extra_keys"; None if the text was only the answer.

    Raises:
        ValidationError: of the best candidate, if nothing in the reply is a valid answer.
    """
    text = reply.text
    try:
        # An escaped NUL is legal JSON that no database stores.
        if "\\u0000" not in text:
            return answer.model_validate_json(text), None
    except ValidationError:
        pass
    return _repaired(reply, answer)


def thoughts_in(text: str) -> str:
    """The thinking in a text, without its marks; empty if there is none.

    Without an end mark, the thinking is all text after an opening mark at the beginning: the reply was cut within it.
    """
    if text.startswith("{"):  # the common case, without a search
        return ""
    if end := _thinking_end(text):
        text = text[:end]
    elif not (opened := _THINK_OPEN.match(text.lstrip(_SURROUNDING))):
        return ""
    else:
        text = text.lstrip(_SURROUNDING)[opened.end() :]
    return _OUTER_TOKENS.sub("", _THINK_OPEN.sub("", _FLAT_END.sub("", _THINK_END.sub("", text)))).strip(_SURROUNDING)


def _repaired(reply: Reply, answer: type[A]) -> tuple[A, str]:
    finder = _Finder(answer, is_cut=reply.finish == "length")
    sources: list[tuple[str, Kinds]] = [(reply.text, ())]
    if reply.tool_arguments:
        sources.append((reply.tool_arguments, ("tool_arguments",)))
    # Thinking contains drafts: it is searched last, and not if it was cut or an answer, even a bad one, follows.
    if reply.reasoning and not finder.is_cut and not has_object(reply.text, _thinking_end(reply.text)):
        sources.append((reply.reasoning, ("reasoning",)))
    errors = []
    for source, kinds in sources:
        try:
            parsed, inner = finder.in_text(source, _DEPTH)
            return parsed, "+".join(dict.fromkeys((*kinds, *inner))) or "control_characters"
        except ValidationError as error:
            errors.append(error)
    raise _best(errors)


def _best(errors: list[ValidationError]) -> ValidationError:
    """The error of the best candidate: the first one that is JSON."""
    return next((error for error in errors if not _is_no_json(error)), errors[0])


def _is_no_json(error: ValidationError) -> bool:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return any(fault["type"] == "json_invalid" for fault in faults[:1])


@dataclass
class _Finder(Generic[A]):
    """Finds answers of one class.

    `is_cut` says that the reply was cut at the token limit.
    """

    answer: type[A]
    is_cut: bool

    @cached_property
    def list_field(self) -> str | None:
        """The only field of a class, if it is a list."""
        if len(self.answer.model_fields) != 1:
            return None
        ((name, field),) = self.answer.model_fields.items()
        return (field.alias or name) if get_origin(field.annotation) in (list, tuple, set, frozenset) else None

    @cached_property
    def names(self) -> frozenset[str]:
        """The keys of an answer."""
        return frozenset(field.alias or name for name, field in self.answer.model_fields.items())

    # --- texts ---

    def in_text(self, text: str, depth: int) -> tuple[A, Kinds]:
        """Find the answer in a text.

        Raises:
            ValidationError: if there is none.
        """
        stripped = text.strip(_SURROUNDING)
        try:
            value, kinds = _read_whole(stripped)
            if value is not _NO_JSON:
                if isinstance(value, str) and depth:
                    parsed, inner = self.in_text(value, depth - 1)
                    inner = ("json_string", *inner)
                else:
                    parsed, inner = self.in_value(value, depth)
                return parsed, (*_trimmed(text, stripped), *kinds, *inner)
            return self._within(stripped, depth)
        except RecursionError:
            raise self._error(text) from None

    def _within(self, text: str, depth: int) -> tuple[A, Kinds]:
        """Find the answer in a text with other parts."""
        errors: list[ValidationError] = []
        for section in self._turns(text):
            if result := self._in_section(section, depth, errors):
                span, parsed, kinds = result
                return parsed, (*_around(text, span), *kinds)
        for unescaped, kind in _unescaped(text) if depth else ():
            try:
                parsed, kinds = self.in_text(unescaped, depth - 1)
                return parsed, (kind, *kinds)
            except ValidationError as error:
                errors.append(error)
        raise _best(errors or [self._error(text)])

    def _error(self, text: str) -> ValidationError:
        """The error of a text that is not JSON."""
        try:
            self.answer.model_validate_json(sanitise(text)[0])
        except ValidationError as error:
            return error
        return ValidationError.from_exception_data(self.answer.__name__, [])

    def _turns(self, text: str) -> Iterator[str]:
        """The assistant's first turn, and the whole text; without cut thinking, which contains only drafts."""
        if self.is_cut and (opened := _THINK_OPEN.search(text, _thinking_end(text))):
            text = text[: opened.start()]
        end = _TURN_END.search(text, text.find("}") + 1) if "}" in text else None
        if end:
            yield text[: end.start()]
        yield text

    def _in_section(self, text: str, depth: int, errors: list[ValidationError]) -> tuple[Span, A, Kinds] | None:
        """The last answer after the thinking; if none is after it, the largest one anywhere."""
        end = _thinking_end(text)
        behind = scan(text, end)
        result = self._first(text, reversed(behind.spans[-_TRIED:]), depth, errors)
        if not result and behind.broken_at is not None:
            errors.append(self._error(text[behind.broken_at :]))
        if result or not end:
            return result
        anywhere = not behind.spans and behind.broken_at is None and not self.is_cut
        spans = [span for span in scan(text).spans if anywhere or span.start < end < span.end]
        spans.sort(key=lambda span: (span.end - span.start, span.start), reverse=True)
        return self._first(text, spans[:_TRIED], depth, errors)

    def _first(
        self, text: str, spans: Iterable[Span], depth: int, errors: list[ValidationError]
    ) -> tuple[Span, A, Kinds] | None:
        for span in spans:
            try:
                # A candidate that can be a part of a broken answer must be a complete answer.
                return span, *(
                    self._fitted(span.value) if _is_doubtful(text, span) else self.in_value(span.value, depth)
                )
            except ValidationError as error:
                errors.append(error)
        return None

    # --- values ---

    def in_value(self, value: Any, depth: int) -> tuple[A, Kinds]:
        """Find the answer in a JSON value.

        Raises:
            ValidationError: if there is none.
        """
        if isinstance(value, str) and depth and _may_hold(value):
            parsed, kinds = self.in_text(value, depth - 1)
            return parsed, ("json_string", *kinds)
        if _is_schema(value):
            return self._strict(value), ()
        try:
            return self._fitted(value)
        except ValidationError as error:
            if depth and (result := self._inside(value, depth - 1)):
                return result
            raise error from None

    def _inside(self, value: Any, depth: int) -> tuple[A, Kinds] | None:
        """The answer in a list of one, in a list for its only field, or under one key of an object."""
        if isinstance(value, list):
            if len(value) == 1 and (result := self._tried(value[0], "wrapped", depth)):
                return result
            return self._tried({self.list_field: value}, "bare_list", 0) if self.list_field else None
        if (
            not isinstance(value, dict)
            or len(value) > _CHILDREN
            or (self.names & value.keys() and not _HOLDERS & value.keys())
        ):
            return None
        inner = {key: item for key, item in value.items() if _may_hold(item)}
        fits = [self._tried(item, _holder(key), depth) for key, item in inner.items()]
        answers = [fit for fit in fits if fit]
        return answers[0] if len(answers) == 1 else None

    def _tried(self, value: Any, kind: str, depth: int) -> tuple[A, Kinds] | None:
        try:
            parsed, kinds = self.in_value(value, depth)
        except ValidationError:
            return None
        return parsed, (kind, *kinds)

    def _fitted(self, value: Any) -> tuple[A, Kinds]:
        """Parse a value, with repairs of its form where the errors show a wrong one."""
        storable = _storable(value)
        kinds = [] if json.dumps(storable) == json.dumps(value) else ["control_characters"]
        for _ in range(_ROUNDS):
            try:
                return self._strict(storable), tuple(kinds)
            except ValidationError as error:
                mends = _mended(storable, error)
                if not mends:
                    raise
                kinds += mends
        return self._strict(storable), tuple(kinds)

    def _strict(self, value: Any) -> A:
        return self.answer.model_validate_json(json.dumps(value))


def _read_whole(text: str) -> tuple[Any, Kinds]:
    """The value of a text that is only JSON; raw control characters are allowed."""
    if text[:1] not in ("{", "[", '"'):
        return _NO_JSON, ()
    try:
        return json.loads(text), ()
    except ValueError:
        pass
    try:
        return json.loads(text, strict=False), ("control_characters",)
    except ValueError:
        return _NO_JSON, ()


def _thinking_end(text: str) -> int:
    """The end of the last thinking in a text; 0 if there is none."""
    ends = (match.end() for pattern in (_THINK_END, _FLAT_END) for match in pattern.finditer(text))
    return max(ends, default=0)


def _is_doubtful(text: str, span: Span) -> bool:
    """Whether a value can be a part of a broken one: no thinking ends between them."""
    return span.broken_at is not None and not _thinking_end(text[span.broken_at : span.start])


def _may_hold(value: Any) -> bool:
    """Whether an item of an object can be the answer, also as a text, in a fence or after thinking."""
    if isinstance(value, str):
        return value.lstrip(_SURROUNDING)[:1] in ("{", "[", "`", "<", '"') and len(value) > 1
    return isinstance(value, dict | list) and bool(value)


def _unescaped(text: str) -> Iterator[tuple[str, str]]:
    """JSON strings with an object or list in a text, and the text without escapes of a string or of HTML."""
    begins = sorted({_thinking_end(text), 0}, reverse=True)
    for begin in begins:
        yield from ((value, "json_string") for value in _strings(text, begin))
    for begin in begins if '\\"' in text else ():
        if start := _ESCAPED_START.search(text, begin):
            escaped = text[start.start() : max(text.rfind("}"), text.rfind("]")) + 1]
            with suppress(ValueError):
                yield json.loads(f'"{escaped}"', strict=False), "escapes"
            # Not all of it is escaped: thinking or a further turn without escapes follows.
            yield _ESCAPE.sub(_plain_sign, text[start.start() :]), "escapes"
    if "&quot;" in text or "&amp;quot;" in text:
        yield html.unescape(text), "html_entities"


def _strings(text: str, begin: int) -> Iterator[str]:
    """The values of JSON strings that begin with a bracket."""
    for match in islice(_STRING_START.finditer(text, begin), _STRINGS):
        with suppress(ValueError):
            value, _ = _DECODER.raw_decode(text, match.start())
            yield value


def _plain_sign(match: re.Match[str]) -> str:
    """The sign of one escape."""
    try:
        return str(json.loads(f'"{match[0]}"'))
    except ValueError:
        return match[0]


def _trimmed(text: str, stripped: str) -> Kinds:
    """The name of the part that `strip` removed, if it was more than blanks."""
    if text.strip() == stripped:
        return ()
    return ("control_characters",) if "\x00" in text else ("bom",)


def _around(text: str, span: Span) -> Kinds:
    """Name the wrapping of an answer, and whether the answer is relaxed JSON."""
    kinds = []
    before = text[max(0, span.start - _AROUND) : span.start]
    around = f"{before}\n{text[span.end : span.end + _AROUND]}"
    if _thinking_end(around) or _THINK_OPEN.search(text, 0, span.start):
        kinds.append("think")
    elif _FENCE.search(around):
        kinds.append("fence")
    elif _TOKEN.search(around):
        kinds.append("special_tokens")
    elif text[span.start : span.end] in around:
        kinds.append("repeated")
    elif around.strip(_SURROUNDING):
        kinds.append("prose")
    if span.is_relaxed:
        kinds.append("syntax")
    elif _read_whole(text[span.start : span.end])[1]:
        kinds.append("control_characters")
    return tuple(kinds)


def _holder(key: str) -> str:
    return "schema_values" if key == "properties" else "wrapped"


def _is_schema(value: Any) -> bool:
    """Whether an object is a JSON schema, with types instead of values as properties."""
    if not isinstance(value, dict):
        return False
    properties = value.get("properties")
    if not isinstance(properties, dict) or not properties:
        return "$defs" in value or "definitions" in value
    return all(isinstance(item, dict) and not _SCHEMA_KEYS.isdisjoint(item) for item in properties.values())


def _storable(value: Any) -> Any:
    """A copy of a JSON value with storable strings."""
    if isinstance(value, str):
        return sanitise(value)[0]
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {sanitise(key)[0]: _storable(item) for key, item in value.items()}
    return value


# --- repair of a value by its errors ---


def _mended(value: Any, error: ValidationError) -> list[str]:
    """Repair the form of invalid parts of a JSON value in place; return the kinds of repairs.

    A key in another spelling gets its name, an unknown key is dropped, and a choice is matched by its letters. A number
    becomes its text, and a string with a list or object becomes that list or object.
    """
    kinds = []
    faults = error.errors(include_url=False, include_input=False)
    for fault in sorted(faults, key=lambda fault: fault["type"] != "missing"):  # names first
        position = _place(value, fault["loc"])
        if position is None:
            continue
        holder, key = position
        kind = _mended_at(holder, key, fault["type"], fault.get("ctx", {}))
        if kind:
            kinds.append(kind)
    return kinds


def _place(value: Any, path: tuple[int | str, ...]) -> tuple[Any, Any] | None:
    """The object or list that contains the value at a path, and the value's key or index."""
    for step in path[:-1]:
        try:
            value = value[step]
        except (LookupError, TypeError):  # a step that names an alternative of the class
            return None
    return (value, path[-1]) if path and isinstance(value, dict | list) else None


def _mended_at(holder: Any, key: Any, fault: str, context: dict[str, Any]) -> str | None:
    if fault == "missing":
        return _renamed(holder, key)
    try:
        value = holder[key]
    except (LookupError, TypeError):
        return None
    if fault == "extra_forbidden":
        return _dropped(holder, key)
    if fault in ("literal_error", "enum"):
        return _put(holder, key, _choice(value, str(context.get("expected", ""))), "enum")
    if fault == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return _put(holder, key, json.dumps(value), "number")
    if fault in ("int_type", "float_type") and isinstance(value, str):
        return _put(holder, key, _number(value), "number")
    if fault in _CONTAINERS and isinstance(value, str):
        return _put(holder, key, _container(value), "json_string")
    return None


def _put(holder: Any, key: Any, value: Any, kind: str) -> str | None:
    if value is _NO_JSON:
        return None
    holder[key] = value
    return kind


def _renamed(holder: Any, name: Any) -> str | None:
    """Rename a key to the missing name, if it is the only one with the same letters."""
    if not isinstance(holder, dict) or not isinstance(name, str):
        return None
    alike = [key for key in holder if _letters(key) == _letters(name)]
    if len(alike) != 1 or not _letters(name):
        return None
    holder[name] = holder.pop(alike[0])
    return "key"


def _dropped(holder: Any, key: str) -> str | None:
    """Drop an unknown key; the last key stays, because the answer would be empty without it."""
    if not isinstance(holder, dict) or len(holder) < 2:
        return None
    del holder[key]
    return "extra_keys"


def _choice(value: Any, expected: str) -> Any:
    """The only choice with the letters of a value."""
    if not isinstance(value, str) or not _letters(value):
        return _NO_JSON
    choices = [ast.literal_eval(quoted) for quoted in _QUOTED.findall(expected)]
    alike = [choice for choice in choices if _letters(choice) == _letters(value)]
    return alike[0] if len(alike) == 1 else _NO_JSON


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _NO_JSON
    return value if isinstance(value, int | float) and not isinstance(value, bool) else _NO_JSON


def _container(text: str) -> Any:
    """Parse a text that is a list or object."""
    stripped = text.strip(_SURROUNDING)
    try:
        value, _ = _read_whole(stripped)
        if value is _NO_JSON and stripped[:1] in ("{", "["):
            value, end = read_relaxed(stripped)
            value = value if end == len(stripped) else _NO_JSON
    except (Malformed, RecursionError):
        return _NO_JSON
    return _storable(value) if isinstance(value, dict | list) else _NO_JSON
