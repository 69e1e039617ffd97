"""Find JSON objects and lists in any text, and read relaxed JSON.

The reader accepts trailing commas, comments, single and typographic quotes, keys without quotes, and the literals of
Python and JavaScript, because each has one meaning. It adds nothing: no closing bracket or quote, no comma, no value.
"""

import json
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

_DECODER = json.JSONDecoder(strict=False)  # accepts raw control characters within strings
# Limits for hostile texts, so that the time is linear in the length of the text.
_STARTS = 20_000  # brackets of one text that are tried
_TOO_DEEP = 8  # values nested too deep for the decoder, after which the search ends
_WORK = 3  # characters read per character of a text
_SEEN = 4  # the decoder counts the lines before an error, in a 16th of the time of reading them
_DEEPEST = 40  # nested brackets of relaxed JSON

_START = re.compile(r"\{(?=\s*+(?:[\"'“]|[A-Za-z_$][\w$]{0,60}+\s*+:|//|/\*))|\[(?=\s*+[\[{\"'“])")
_BEGUN = re.compile(
    r"[\[\s]{0,40}+\{\s{0,400}+(?:\"(?:[^\"\\]|\\.){0,200}+\"|'(?:[^'\\]|\\.){0,200}+'|“[^”]{0,200}+”)\s*+:", re.DOTALL
)
_BRACKETS = re.compile(r"[\[{\s]*+")
_LEXEME = re.compile(
    r"""(?P<blank>\s++|//[^\n]*+|\#[^\n]*+|/\*.{0,4000}?\*/)
      | (?P<string>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|“[^”]*+”)
      | (?P<sign>[{}\[\],:])
      | (?P<number>-?\d[\w.+-]*+)
      | (?P<name>-?[A-Za-z_$][\w$]*+)""",
    re.VERBOSE | re.DOTALL,
)
_LITERALS = {
    **{name: name for name in ("true", "false", "null", "NaN", "Infinity", "-Infinity")},
    "True": "true",
    "False": "false",
    "None": "null",
    "nan": "NaN",
    "inf": "Infinity",
    "-inf": "-Infinity",
}
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})|\\(.)|\"", re.DOTALL)
_CLOSED = {"]": "[", "}": "{"}
_AFTER_A_VALUE = frozenset(",:]}")
_BEFORE_A_VALUE = frozenset(("", "[", "{", ",", ":"))
_COLON = re.compile(r"\s*+:")


class Malformed(ValueError):
    """The text is not JSON, not even relaxed; `position` is the position of the fault."""

    def __init__(self, position: int):
        super().__init__(f"no JSON at character {position}")
        self.position = position


class Span(NamedTuple):
    """A JSON object or list with its position in a text.

    Attributes:
        is_relaxed: whether it is relaxed JSON.
        broken_at: start of the last broken object before it, of which it can be a part; None if there is none.
    """

    start: int
    end: int
    value: Any
    is_relaxed: bool
    broken_at: int | None


@dataclass(slots=True)
class Scan:
    """The outermost JSON objects and lists of a text, and the start of the first broken one."""

    spans: list[Span] = field(default_factory=list)
    broken_at: int | None = None


def scan(text: str, start: int = 0) -> Scan:
    """Find the JSON objects and lists of a text after a position."""
    result = Scan()
    work, too_deep = _WORK * len(text) + 200_000, 0
    last_broken: int | None = None
    position = _next(text, start)
    for _ in range(_STARTS):
        if position is None or work < 0 or too_deep > _TOO_DEEP:
            break
        try:
            value, end, is_relaxed = _read(text, position)
        except RecursionError:
            too_deep += 1
            end = _end_of_brackets(text, position)
        except Malformed as error:
            end = max(error.position, position + 1)
            work -= end >> _SEEN
            if _BEGUN.match(text, position):
                last_broken = position
                result.broken_at = position if result.broken_at is None else result.broken_at
            if text[error.position : error.position + 1] in (
                "“",
                "'",
                '"',
                "/",
            ):  # an unclosed value was read to the end
                work -= len(text) - end
        else:
            work -= end >> _SEEN if is_relaxed else 0
            result.spans.append(Span(position, end, value, is_relaxed, last_broken))
        work -= end - position
        position = _next(text, end)
    return result


def has_object(text: str, start: int = 0) -> bool:
    """Whether a text contains the start of a JSON object."""
    return any(_BEGUN.match(text, match.start()) for match in islice(_START.finditer(text, start), _STARTS))


def _next(text: str, position: int) -> int | None:
    match = _START.search(text, position)
    return match.start() if match else None


def _end_of_brackets(text: str, position: int) -> int:
    match = _BRACKETS.match(text, position)
    return max(match.end() if match else 0, position + 1)


def _read(text: str, position: int) -> tuple[Any, int, bool]:
    """The value that starts at a position, its end, and whether it is relaxed JSON.

    Raises:
        Malformed: if it is not relaxed JSON either.
        RecursionError: if it is nested too deep.
    """
    try:
        return *_DECODER.raw_decode(text, position), False
    except json.JSONDecodeError as error:
        strict = error.pos
    except ValueError as error:  # an integer of thousands of digits
        raise Malformed(position + 1) from error
    try:
        return *read_relaxed(text, position), True
    except Malformed as error:
        raise Malformed(max(strict, error.position)) from None


def read_relaxed(text: str, position: int = 0) -> tuple[Any, int]:
    """Read relaxed JSON: return the object or list that starts at a position, and its end.

    Raises:
        Malformed: if it is not relaxed JSON, or is cut off.

    >>> read_relaxed("{'a': [1, None,], /* why */ b: True} and so on")
    ({'a': [1, None], 'b': True}, 36)
    """
    strict, open_brackets = [""], [""]
    while match := _LEXEME.match(text, position):
        token, kind = match[0], match.lastgroup
        position = match.end()
        if kind == "blank":
            continue
        if token not in _AFTER_A_VALUE and strict[-1] not in _BEFORE_A_VALUE:
            break
        if kind == "name":
            token = _name(token, is_key=strict[-1] in ("{", ",") and open_brackets[-1] == "{", rest=(text, position))
        elif kind == "string":
            token = _string(token)
        elif token in _CLOSED:
            if _CLOSED[token] != open_brackets.pop():
                token = ""
            elif strict[-1] == "," and strict[-2] not in ("{", "[", ","):
                strict.pop()
        elif token in ("{", "["):
            open_brackets.append(token)
        if not token or len(open_brackets) > _DEEPEST:
            raise Malformed(match.start())
        strict.append(token)
        if len(open_brackets) <= 1:
            return _loaded("".join(strict), position), position
    raise Malformed(position)


def _loaded(strict: str, end: int) -> Any:
    try:
        return json.loads(strict, strict=False)
    except ValueError as error:
        raise Malformed(end) from error


def _name(token: str, *, is_key: bool, rest: tuple[str, int]) -> str:
    """Convert a word without quotes: a key or a literal; empty for any other word."""
    if is_key and _COLON.match(*rest):
        return f'"{token}"'
    return _LITERALS.get(token, "")


def _string(token: str) -> str:
    """Convert a string in any quotes to one in double quotes."""
    if token[0] == '"' and "\\'" not in token and "\\x" not in token:
        return token
    return '"' + _ESCAPE.sub(_escape, token[1:-1]) + '"'


def _escape(match: re.Match[str]) -> str:
    if match[1]:
        return "\\u00" + match[1]
    return "'" if match[2] == "'" else match[0] if match[2] else '\\"'
