"""Convert a JSON Schema to shapes that generate values."""

# ruff: noqa: D102 - `fill` is described once, where Shape declares it

import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from personahub_assets.standin import prose
from personahub_assets.standin.dice import Dice
from personahub_assets.standin.patterns import matching
from personahub_assets.standin.source import Source
from personahub_assets.standin.topic import Topic

# A schema without bounds still gets a bounded answer.
_DEEP = 7
_BOTTOM = 40
_MANY_NODES = 1500
_ITEMS = 3
_MAX_ITEMS = 10_000
_MAX_CHARS = 200_000
_UNIQUE_TRIES = 60
_WORD_CHARS = 24
_ENDS = (". ", "! ", "? ", ".\n", '." ', '?" ')


class Pen:
    """State of one answer: its source, and the amount of text written so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.nodes = 0

    def dice(self, path: str) -> Dice:
        """Returns the random numbers of one place in the answer."""
        return Dice(self.source.seed, path)


class Spot:
    """Place of a value in the answer, with the topic of its object."""

    __slots__ = ("depth", "path", "pen", "topic")

    def __init__(self, pen: Pen, topic: Topic, path: str, depth: int) -> None:
        self.pen, self.topic, self.path, self.depth = pen, topic, path, depth
        pen.nodes += 1

    def inside(self, key: str | int, topic: Topic | None = None) -> "Spot":
        """Returns the place of a property or an item; its topic is `topic`, by default the current one."""
        return Spot(self.pen, topic or self.topic, f"{self.path}/{key}", self.depth + 1)

    @property
    def dice(self) -> Dice:
        """The random numbers of this place, from the start."""
        return self.pen.dice(self.path)

    @property
    def tight(self) -> bool:
        """True if a recursive schema must end here."""
        return self.depth > _DEEP or self.pen.nodes > _MANY_NODES


class Shape:
    """One node of a schema; `size` ranks the length of its values, so that recursion can choose the shortest."""

    size = 0

    def fill(self, spot: Spot) -> Any:
        """Returns a JSON value for this node, the same whenever the request is the same."""
        raise NotImplementedError


class Choice(Shape):
    """An enum or a const; the one that the instructions name for this field."""

    def __init__(self, options: list[Any], name: str = "") -> None:
        self.options, self.name = options, name

    def fill(self, spot: Spot) -> Any:
        _, _, wanted = spot.pen.source.instructions.partition(f"The field {self.name} of your answer is: ")
        named = wanted.partition(".")[0]
        return named if named in self.options else spot.dice.pick(self.options)


class Relation(Choice):
    """An enum of relations: the object's persona is written in the relation that was chosen."""

    def fill(self, spot: Spot) -> Any:
        for option in self.options:
            if isinstance(option, str) and spot.topic.relation == option.replace("_", " "):
                return option
        chosen = super().fill(spot)
        spot.topic.relation = str(chosen).replace("_", " ")
        return chosen


class Boolean(Shape):
    """True or false; `same` compares the two answers that the messages contain."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    def fill(self, spot: Spot) -> Any:
        answers = spot.pen.source.answers if self.name == "same" else ()
        if len(answers) == 2:
            first, second = (sorted(re.findall(r"\w+", answer.lower())) for answer in answers)
            return first == second
        return spot.dice.chance(0.5)


class Null(Shape):
    """Nothing."""

    def fill(self, _spot: Spot) -> Any:
        return None


class Number(Shape):
    """An integer or a number within its bounds."""

    def __init__(self, schema: dict[str, Any], name: str) -> None:
        self.whole = schema.get("type") == "integer"
        step = schema.get("multipleOf")
        self.step: float = step or (1 if self.whole else 0)
        if self.whole and self.step != int(self.step):
            self.step *= next((n for n in range(1, 1001) if float(self.step * n).is_integer()), 1)
        self.low, self.high = _bounds(schema, name)
        self.open_low = _is_number(schema.get("exclusiveMinimum"))
        self.open_high = _is_number(schema.get("exclusiveMaximum"))
        self.floor, self.ceiling = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)

    def fill(self, spot: Spot) -> Any:
        return self._stepped(spot.dice) if self.step else self._free(spot.dice)

    def _stepped(self, dice: Dice) -> Any:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        if self.open_low and first * self.step <= self.low:
            first += 1
        if self.open_high and last * self.step >= self.high:
            last -= 1
        if last < first:  # the range contains no such number, so no valid value exists
            return int(self.low) if self.whole else self.low
        value: float = first * self.step
        for _ in range(20):
            value = dice.between(first, last) * self.step
            if self.whole or (value / self.step).is_integer():
                break
        return int(value) if self.whole else value

    def _free(self, dice: Dice) -> float:
        value = self.low + dice.fraction() * (self.high - self.low)
        rounded = round(value, 2)
        return rounded if self._inside(rounded) else value if self._inside(value) else (self.low + self.high) / 2

    def _inside(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below and self.floor <= value <= self.ceiling


_RANGES = {
    "year": (1900, 2024),
    "age": (18, 90),
    "price": (1, 400),
    "score": (0, 10),
    "rating": (1, 5),
    "level": (1, 20),
    "confidence": (0, 1),
    "probability": (0, 1),
    "percent": (0, 100),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounds(schema: dict[str, Any], name: str) -> tuple[float, float]:
    lows = [schema[key] for key in ("minimum", "exclusiveMinimum") if _is_number(schema.get(key))]
    highs = [schema[key] for key in ("maximum", "exclusiveMaximum") if _is_number(schema.get(key))]
    usual = next((span for key, span in _RANGES.items() if key in name.lower()), (1, 100))
    if lows and highs:
        return max(lows), min(highs)
    if lows:
        return max(lows), max(usual[1], max(lows) + 100)
    if highs:
        return min(usual[0], min(highs) - 100), min(highs)
    return usual


class Text(Shape):
    """A string within its length limits; name and description choose its kind."""

    def __init__(self, schema: dict[str, Any], name: str, hint: str, siblings: frozenset[str]) -> None:
        self.label = " ".join(token for token in re.split(r"[^A-Za-z0-9]+", name) if token).lower() or "text"
        self.name = name.lower()
        self.kind = prose.FORMATS.get(schema.get("format", "")) or prose.kind_of(name, hint, siblings)
        self.low = min(int(schema.get("minLength", 0)), _MAX_CHARS)
        self.high = min(int(schema.get("maxLength", _MAX_CHARS)), _MAX_CHARS)
        self.pattern = _compiled(schema.get("pattern"))
        if self.high <= _WORD_CHARS and self.kind in ("remark", "description", "article", "persona"):
            self.kind = "keyword"  # too short for a sentence
        self.write = prose.KINDS[self.kind]

    def fill(self, spot: Spot) -> str:
        dice = spot.dice
        text = self.write(spot.topic, dice, self.name if self.kind == "identifier" else self.label)
        if self.pattern is not None:
            match = matching(self.pattern, self._candidates(spot, text, dice), self.low, self.high, dice)
            if match is not None:
                return match
        return self._fit(text, spot.topic, dice)

    def _candidates(self, spot: Spot, text: str, dice: Dice) -> Iterable[str]:
        yield self._fit(text, spot.topic, dice)
        name = prose.identifier(spot.topic, dice, "")
        for form in (
            name,
            name.replace("_", "-"),
            name.title().replace("_", ""),
            name.title().replace("_", " "),
            name.upper(),
        ):
            cut = form[: self.high].rstrip("_- ")
            yield cut
            yield cut + "x" * (self.low - len(cut))
        yield spot.topic.verb
        yield spot.topic.name
        for kind in ("date", "time", "instant", "uuid", "email", "url"):
            yield prose.KINDS[kind](spot.topic, dice, self.label)

    def _fit(self, text: str, topic: Topic, dice: Dice) -> str:
        while len(text) < self.low:
            text = f"{text} {prose.sentence(topic, dice)}" if text else prose.sentence(topic, dice)
        return text if len(text) <= self.high else shorten(text, self.low, self.high)


def shorten(text: str, low: int, high: int) -> str:
    """Cuts a text to `high` code points: after a sentence if one ends there, else after a word."""
    cut = text[:high]
    ended = max((cut.rfind(end) + len(end) - 1 for end in _ENDS if end in cut), default=0)
    if ended >= max(low, high // 2, 1):
        return cut[:ended]
    if text[high : high + 1].isspace() and cut[-1:].isalnum():
        return cut
    spaced = cut[: max(cut.rfind(" "), 0)].rstrip(" ,;:—-(")
    if len(spaced) < max(low, high // 2, 1):
        return cut if not cut.endswith(" ") else cut[:-1] + "."
    return spaced + "." if text.endswith(".") and len(spaced) < high else spaced


def _compiled(pattern: Any) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern) if isinstance(pattern, str) else None
    except re.error:  # ECMA patterns such as \p{L} are not supported by `re` and are ignored
        return None


class Array(Shape):
    """A list: fixed first items, then as many more as the bounds and the instructions require."""

    size = 2

    def __init__(
        self, first: list[Shape], rest: Shape | None, schema: dict[str, Any], name: str, *, outer: bool
    ) -> None:
        self.first, self.rest, self.outer = first, rest, outer
        self.low = min(int(schema.get("minItems", 0)), _MAX_ITEMS)
        self.high = min(int(schema.get("maxItems", _MAX_ITEMS)), _MAX_ITEMS)
        self.unique = schema.get("uniqueItems") is True
        self.noun = prose.singular(re.split(r"[^a-z0-9]+", name.lower())[-1])

    def fill(self, spot: Spot) -> list[Any]:
        count = self._count(spot)
        values: list[Any] = []
        keys: set[str] = set()
        tries = count * 4 + _UNIQUE_TRIES
        for index in range(tries):
            shape = self._shape(len(values))
            if len(values) >= count or shape is None:
                break
            value = self._item(spot, shape, index)
            if self.unique or isinstance(value, str):  # avoid repeated items even where they are allowed
                key = json.dumps(value, sort_keys=True)
                if key in keys and (self.unique or index < tries // 2):
                    continue
                keys.add(key)
            values.append(value)
        return values

    def _shape(self, index: int) -> Shape | None:
        return self.first[index] if index < len(self.first) else self.rest

    def _item(self, spot: Spot, shape: Shape, index: int) -> Any:
        topic = Topic(spot.pen.source, f"{spot.path}/{index}")
        topic.name, topic.surname = spot.topic.name, spot.topic.surname
        topic.related, topic.math = spot.topic.related, spot.topic.math
        return shape.fill(spot.inside(index, topic))

    def _count(self, spot: Spot) -> int:
        if self.rest is None:
            return min(len(self.first), self.high)
        if spot.tight:
            return self.low
        # An array in the outermost object counts as outermost too: most answers are objects.
        wanted = spot.pen.source.wanted(self.noun, outermost=self.outer)
        usual = wanted or max(_ITEMS, len(self.first))
        return max(self.low, min(usual, self.high))


class Object(Shape):
    """A dictionary with the properties that its schema names, in that order, optional ones included."""

    size = 3

    def __init__(
        self, properties: dict[str, Shape], required: set[str], extra: Shape | None, schema: dict[str, Any]
    ) -> None:
        self.properties, self.required, self.extra = properties, required, extra
        self.relations = [key for key in properties if prose.kind_of(key) == "relation"]
        self.low = int(schema.get("minProperties", 0))
        self.high = int(schema.get("maxProperties", _MAX_ITEMS))
        names = schema.get("propertyNames")
        self.names = Text(names if isinstance(names, dict) else {}, "argument_name", "", frozenset())

    def fill(self, spot: Spot) -> dict[str, Any]:
        keys = [key for key in self.properties if key in self.required or not spot.tight]
        if len(keys) > self.high:
            spare = [key for key in keys if key not in self.required][: len(keys) - self.high]
            keys = [key for key in keys if key not in spare]
        settled = self._settle_relation(spot, keys)
        values = {key: settled[key] if key in settled else self.properties[key].fill(spot.inside(key)) for key in keys}
        return self._extend(spot, values)

    def _settle_relation(self, spot: Spot, keys: list[str]) -> dict[str, Any]:
        """Chooses the relation first, because the persona beside it depends on it, in any order of the properties."""
        if not self.relations:
            return {}
        spot.topic.related = True
        return {key: self.properties[key].fill(spot.inside(key)) for key in self.relations if key in keys}

    def _extend(self, spot: Spot, values: dict[str, Any]) -> dict[str, Any]:
        if self.extra is None:
            return values
        wanted = self.low if self.properties or spot.tight else max(self.low, min(2, self.high))
        for index in range(wanted * 4 + _UNIQUE_TRIES):
            if len(values) >= wanted:
                break
            topic = Topic(spot.pen.source, f"{spot.path}/key{index}")
            key = self.names.fill(spot.inside(f"key{index}", topic))
            if index >= wanted * 2 and self.names.pattern is None:  # no keywords are left
                key = f"{key[: max(1, self.names.high - 6)]}_{index}"
            if key not in values:
                values[key] = self.extra.fill(spot.inside(key, topic))
        return values


class Union(Shape):
    """One of several shapes, null only as a last resort."""

    def __init__(self, options: list[Shape]) -> None:
        self.options = [shape for shape in options if not isinstance(shape, Null)] or options
        self.ways_out = options

    def fill(self, spot: Spot) -> Any:
        if spot.tight:
            return min(self.ways_out, key=lambda shape: shape.size).fill(spot)
        return spot.dice.pick(self.options).fill(spot)


class Reference(Shape):
    """A `$ref`, resolved at first use, so that schemas can be recursive."""

    size = 4
    target: Shape

    def fill(self, spot: Spot) -> Any:
        return None if spot.depth > _BOTTOM else self.target.fill(spot)


_ANNOTATIONS = frozenset(
    {"description", "title", "default", "examples", "discriminator", "$defs", "definitions", "$schema"}
)


class Reader:
    """Converts one schema document to shapes."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.references: dict[tuple[str, str], Reference] = {}
        self.title = f"{root.get('title', '')} {root.get('description', '')}" if isinstance(root, dict) else ""

    def shape(self, schema: Any, name: str = "", siblings: frozenset[str] = frozenset(), depth: int = 0) -> Shape:
        if not isinstance(schema, dict) or depth > _BOTTOM:
            return Text({}, name, "", siblings)
        if "$ref" in schema and schema.keys() <= {"$ref", *_ANNOTATIONS}:
            return self._reference(schema["$ref"], name, siblings, depth)
        schema = self._flat(schema)
        for keyword in ("anyOf", "oneOf"):
            if schema.get(keyword):
                base = {key: value for key, value in schema.items() if key != keyword}
                # If only a description is beside the options, do not merge them: a `$ref` among them can be recursive.
                bare = base.keys() <= _ANNOTATIONS
                options = [o if bare else _merged(base, self._flat(o)) for o in schema[keyword]]
                return self._union(options, name, siblings, depth)
        if isinstance(schema.get("type"), list):
            return self._union([{**schema, "type": kind} for kind in schema["type"]], name, siblings, depth)
        return self._plain(schema, name, siblings, depth)

    def _union(self, options: list[Any], name: str, siblings: frozenset[str], depth: int) -> Shape:
        shapes = [self.shape(option, name, siblings, depth) for option in options]
        return shapes[0] if len(shapes) == 1 else Union(shapes)

    def _plain(self, schema: dict[str, Any], name: str, siblings: frozenset[str], depth: int) -> Shape:
        if "const" in schema:
            return Choice([schema["const"]])
        if schema.get("enum"):
            options = [value for value in schema["enum"] if _has_type(value, schema.get("type"))] or schema["enum"]
            return Relation(options) if prose.kind_of(name) == "relation" else Choice(options, name)
        kind = schema.get("type") or _implied(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, name, siblings, depth)
        if kind in ("integer", "number"):
            return Number({**schema, "type": kind}, name)
        if kind == "boolean":
            return Boolean(name)
        if kind == "null":
            return Null()
        return Text(schema, name, f"{schema.get('description', '')} {schema.get('title', '')}", siblings)

    def _object(self, schema: dict[str, Any], depth: int) -> Shape:
        listed = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        names = frozenset(listed) | required
        extra = schema.get("additionalProperties", not listed)
        # A required property without a definition is written like an additional one.
        unlisted = {
            key: extra if isinstance(extra, dict) else {} for key in schema.get("required") or () if key not in listed
        }
        properties = {key: self.shape(value, key, names, depth + 1) for key, value in {**listed, **unlisted}.items()}
        additional = None if extra is False else self.shape(extra, "value", names, depth + 1)
        return Object(properties, required, additional, schema)

    def _array(self, schema: dict[str, Any], name: str, siblings: frozenset[str], depth: int) -> Shape:
        items = schema.get("items", {})
        listed = schema.get("prefixItems") or (items if isinstance(items, list) else [])
        if isinstance(items, list):
            items = schema.get("additionalItems", {})
        singular = "_".join([*name.split("_")[:-1], prose.singular(name.split("_")[-1])])
        first = [self.shape(item, singular, siblings, depth + 1) for item in listed]
        closed = items is False or (listed and items in ({}, True))
        additional = None if closed else self.shape(items, singular, siblings, depth + 1)
        return Array(first, additional, schema, name, outer=depth <= 1)

    def _reference(self, ref: Any, name: str, siblings: frozenset[str], depth: int) -> Shape:
        key = (str(ref), name)
        if key not in self.references:
            self.references[key] = Reference()
            self.references[key].target = self.shape(self._resolve(str(ref)), name, siblings, depth)
        return self.references[key]

    def _resolve(self, ref: str) -> Any:
        """Resolves a local JSON pointer; a missing target allows any value."""
        node = self.root
        for segment in ref.removeprefix("#").strip("/").split("/") if ref.strip("#/") else ():
            key = segment.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or key not in node:
                return {}
            node = node[key]
        return node

    def _flat(self, schema: Any, depth: int = 0) -> dict[str, Any]:
        """Merges `allOf` and the siblings of a `$ref` into one schema."""
        if not isinstance(schema, dict) or depth > _BOTTOM:
            return {}
        subschemas = list(schema.get("allOf") or ())
        if "$ref" in schema:
            subschemas.append(self._resolve(str(schema["$ref"])))
        if not subschemas:
            return schema
        flat: dict[str, Any] = {}
        for subschema in subschemas:
            flat = _merged(flat, self._flat(subschema, depth + 1))
        return _merged(flat, {key: value for key, value in schema.items() if key not in ("allOf", "$ref")})


_LOWER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_HIGHER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})


def _merged(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema that is as strict as both, as far as one schema can express it."""
    merged = dict(base)
    for key, value in other.items():
        merged[key] = _stricter(key, base[key], value) if key in base else value
    return merged


def _stricter(key: str, one: Any, other: Any) -> Any:
    if key in _LOWER:
        return min(one, other)
    if key in _HIGHER:
        return max(one, other)
    if key == "properties":
        both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other and one[name] != other[name]}
        return {**one, **other, **both}
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key == "enum":
        return [value for value in one if value in other] or other
    if key == "type":
        return _common_type(one, other)
    if key == "multipleOf" and float(one).is_integer() and float(other).is_integer():
        return math.lcm(int(one), int(other))
    if key == "additionalProperties" and False in (one, other):
        return False
    return one if key == "pattern" else other


def _common_type(one: Any, other: Any) -> Any:
    ones, others = ([kind] if isinstance(kind, str) else list(kind) for kind in (one, other))
    common = [kind for kind in ones if kind in others]
    if not common and "integer" in [*ones, *others] and "number" in [*ones, *others]:
        return "integer"
    return (common[0] if len(common) == 1 else common) or other


_SIGNS = (
    ("object", ("properties", "additionalProperties", "required", "minProperties", "propertyNames")),
    ("array", ("items", "prefixItems", "minItems", "maxItems")),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)


def _implied(schema: dict[str, Any]) -> str:
    return next((kind for kind, keys in _SIGNS if any(key in schema for key in keys)), "string")


_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def _has_type(value: Any, kind: Any) -> bool:
    if not isinstance(kind, str) or kind not in _PYTHON_TYPES:
        return True
    if isinstance(value, bool) and kind != "boolean":
        return False
    return isinstance(value, _PYTHON_TYPES[kind])


@lru_cache(maxsize=512)
def _read(text: str) -> tuple[Shape, bool]:
    schema = json.loads(text)
    reader = Reader(schema)
    # The title and descriptions of the schema tell reasoning problems from arithmetic ones.
    logic = re.search(r"reason|logic|puzzle|riddle|deduc", text, re.IGNORECASE)
    return reader.shape(schema), not logic


def fill(schema_text: str, source: Source) -> Any:
    """Returns a JSON value that satisfies the schema, written from the source."""
    shape, arithmetic = _read(schema_text)
    pen = Pen(source)
    topic = Topic(source, "")
    topic.math = arithmetic
    return shape.fill(Spot(pen, topic, "", 0))
