"""Read from a refusal which part of the request the server does not accept.

Servers name a parameter, a role, or a keyword of the schema. This module searches for the names in any sentence, not
for sentences of known servers. Quotations of the request are removed first.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from personahub_assets.core.sampling import OPTIONS

_LONGEST = 20_000  # characters of a message that are read
_ECHOES = frozenset({"input", "ctx", "body", "request", "payload", "data", "url", "failed_generation", "trace"})
_NAMING = frozenset({"param", "loc", "parameter", "field"})
_REPR_LOC = re.compile(r"'loc': \('body', '(\w{1,40})'")
_REPR_ECHO = re.compile(r"'input': .*?(?='(?:type|loc|msg|ctx|url)': |\Z)", re.DOTALL)

_WORD = re.compile(r"[$a-z][a-z0-9_$]*", re.IGNORECASE)
_QUOTED = re.compile(r"""['"`“‘]([$\w.\[\]-]{1,80})['"`”’]""")
_LIMIT = re.compile(r"max_?(?:\w{1,20}_?)?tokens|max_?length|num_predict|n_predict", re.IGNORECASE)
_NOT_A_NAME = re.compile(r"max_?(?:model|total|context|input|prompt)", re.IGNORECASE)

_RANGE = re.compile(
    r"too (?:large|big|high|long|small|many)|at (?:most|least)|exceed|out of range|\brange\b|between|"
    r"(?:less|greater|smaller|larger|higher|lower|more) than|[<>]=?|maximum (?:allowed|value|number|of|is)|\blimit"
)
_SYSTEM_ROLE = re.compile(
    r"\b(?:system|developer)\b.{0,40}?\b(?:role|messages?|prompts?|instructions?)\b|"
    r"\brole\w*.{0,60}?\b(?:system|developer)\b|"
    r"\broles?\b.{0,80}?\b(?:alternat\w+|user\W{1,8}(?:and |or )?\W{0,3}assistant)|"
    r"\buser\W{1,8}(?:and |or )?\W{0,3}assistant\W{1,3}(?:roles?|messages?)\b",
    re.DOTALL,
)
_SCHEMA_WORDS = frozenset(
    (
        "$ref",
        "$defs",
        "minlength",
        "maxlength",
        "minitems",
        "maxitems",
        "additionalproperties",
        "anyof",
        "oneof",
        "allof",
    )
)
_SCHEMA_WORDS |= {"grammar", "gbnf", "regex", "xgrammar", "llguidance", "outlines", "responseschema", "prefixitems"}
_SCHEMA_WORDS |= {"uniqueitems", "multipleof", "exclusiveminimum", "exclusivemaximum", "unevaluatedproperties"}
_QUOTED_SCHEMA_WORDS = frozenset(
    ("ref", "defs", "definitions", "pattern", "title", "default", "format", "const", "minimum", "maximum", "enum")
)
_BAD_SCHEMA = re.compile(
    r"(?:invalid|unsupported|bad|malformed|too complex|too large|too many|too deep|nest\w*|recurs\w*|compil\w*|"
    r"convert\w*|pars\w*|fail\w*|keyword\w*|unknown|unexpected).{0,60}?\bschemas?\b(?! (?:mode|output))|"
    r"\bschemas?\b.{0,60}?(?:invalid|not valid|too complex|too large|too many|too deep|nest\w*|recurs\w*|compil\w*|"
    r"convert\w*|pars\w*|keyword\w*)",
    re.DOTALL,
)
_FORMAT = re.compile(
    r"response_?format|json_?\s?schema|json_?\s?object|json_?\s?mode|structured.?outputs?|guided.?(?:json|decoding)|"
    r"constrained.?(?:decoding|generation)|\btools?\b|tool_choice|function.?call"
)
_MUST = re.compile(r"additional_?properties\W.{0,80}?(?:required|must be|to be|should be|set to|missing)", re.DOTALL)
_DEMAND = re.compile(r"\b(\w{2,40})['\"`]? must be (?:set to |equal to )?['\"`]?(true|false)\b")
_BOTH = re.compile(r"\bboth\b|only one|either|together|not.{0,20}same time|mutually|simultaneous|one of", re.DOTALL)


@dataclass(frozen=True)
class Complaint:
    """The words of a refusal.

    Args:
        text: in lower case, without quotations of the request.
        words: names and words, in lower case and without underscores: max_tokens and maxTokens are equal.
        quoted: words in quotes, or in a field that names the parameter.
        limits: names of token limits, as written.
    """

    text: str
    words: frozenset[str]
    quoted: frozenset[str]
    limits: tuple[str, ...]

    @classmethod
    def read(cls, refusal: str) -> "Complaint":
        """Read a message, or the body of a reply with the message."""
        plain, named = _without_echo(refusal[:_LONGEST])
        quoted = {word for name in (*named, *_QUOTED.findall(plain)) for word in re.split(r"[.\[\]]", name)}
        limits = dict.fromkeys(name for name in _WORD.findall(plain) if _LIMIT.fullmatch(name))
        return cls(
            "\n".join((plain, *named)).lower(),
            frozenset(map(_key, _WORD.findall(f"{plain} {' '.join(named)}"))),
            frozenset(map(_key, quoted)),
            tuple(name for name in limits if not _NOT_A_NAME.match(name)),
        )

    def names(self, parameter: str) -> bool:
        """Whether a parameter is named; a name that is also a common word only counts in quotes."""
        is_word = "_" not in parameter and parameter != "temperature"
        return _key(parameter) in (self.quoted if is_word else self.words)

    def options(self) -> list[str]:
        """The optional parameters that are named."""
        return [name for name in OPTIONS if self.names(name)]

    def other_limits(self, sent: str) -> list[str]:
        """Names of a token limit beside the one that was sent."""
        return [name for name in self.limits if _key(name) != _key(sent)]

    def is_about_length(self, limit: str) -> bool:
        """Whether the value of the token limit is refused, not its name."""
        return self.names(limit) and bool(_RANGE.search(self.text)) and "instead" not in self.text

    def demanded(self) -> dict[str, bool]:
        """Parameters that must be true or false for this server, such as enable_thinking."""
        ignored = _SCHEMA_WORDS | {"stream", "strict"}
        return {name: value == "true" for name, value in _DEMAND.findall(self.text) if _key(name) not in ignored}

    def is_about_both(self) -> bool:
        """Whether two parameters are refused together."""
        return bool(_BOTH.search(self.text))

    def is_about_system_role(self) -> bool:
        """Whether a message with the system role is refused."""
        return bool(_SYSTEM_ROLE.search(self.text))

    def is_about_schema(self) -> bool:
        """Whether a part of the schema is refused, not schemas in general."""
        is_named = self.words & _SCHEMA_WORDS or self.quoted & _QUOTED_SCHEMA_WORDS
        return bool(is_named or _BAD_SCHEMA.search(self.text))

    def wants_closed_objects(self) -> bool:
        """Whether objects of the schema must set additionalProperties to false."""
        return bool(_MUST.search(self.text))

    def is_about_format(self) -> bool:
        """Whether the refusal is about the way to request JSON."""
        return bool(_FORMAT.search(self.text))


def _key(name: str) -> str:
    return name.lower().replace("_", "")


def _without_echo(refusal: str) -> tuple[str, list[str]]:
    """The texts of a refusal without quotations of the request, and the names in its fields `param` and `loc`."""
    start = min((at for at in map(refusal.find, "{[") if at >= 0), default=len(refusal))
    try:
        value = json.loads(refusal[start:])
    except (ValueError, RecursionError):
        return _REPR_ECHO.sub("", refusal), _REPR_LOC.findall(refusal)
    texts, named = [refusal[:start]], list[str]()
    _collect(value, texts, named)
    return "\n".join(texts), named


def _collect(value: Any, texts: list[str], named: list[str], key: str = "") -> None:
    if isinstance(value, dict):
        for name, child in value.items():
            if name not in _ECHOES:
                _collect(child, texts, named, name)
    elif isinstance(value, list):
        for child in value:
            _collect(child, texts, named, key)
    elif isinstance(value, str) and key in _NAMING:
        named.append(value)
    elif isinstance(value, str):  # gateways put the body of another server's reply into their message
        inner, names = _without_echo(value)
        texts.append(inner)
        named += names
