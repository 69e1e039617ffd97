"""Rewrite a JSON schema for servers that support only a part of JSON Schema.

Removed keywords become text in the description. The answer class still checks them, so only the server's enforcement is
lost.
"""

from typing import Any

Schema = dict[str, Any]

_KEPT = frozenset({"type", "properties", "required", "items", "enum", "anyOf", "description"})
_DEEPEST = 2  # times that a schema which contains itself is written out


def simplified(schema: Schema, keep: frozenset[str] = frozenset()) -> Schema:
    """A schema with keywords that all servers know: types, properties, items, enums, alternatives and descriptions.

    References are written out. Bounds and patterns go into the description.

    Args:
        schema: as pydantic writes it, with its definitions under `$defs`.
        keep: keywords that stay, such as `additionalProperties`.
    """
    return _Rewriting(schema.get("$defs", {}), _KEPT | keep).of(schema)


class _Rewriting:
    def __init__(self, definitions: Schema, kept: frozenset[str]):
        self.definitions, self.kept = definitions, kept

    def of(self, schema: Schema, opened: tuple[str, ...] = ()) -> Schema:
        """The schema rewritten; `opened` are the references on the way to it."""
        written, opened = self._written_out(schema, opened)
        merged = _alternatives(written)
        rewritten = {key: self._value(key, value, opened) for key, value in merged.items() if key in self.kept}
        if bounds := _in_words({key: value for key, value in merged.items() if key not in self.kept}):
            description = merged.get("description", "").rstrip(".")
            rewritten["description"] = f"{description}. {bounds}" if description else bounds
        return rewritten

    def _written_out(self, schema: Schema, opened: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """The schema with its reference replaced by the target, and the opened references; keywords beside it win."""
        merged: Schema = {}
        sources = list(schema.get("allOf", []))
        if "$ref" in schema:
            sources.append(self._referred(schema["$ref"], opened))
            opened = (*opened, schema["$ref"])
        for source in sources:
            written, opened = self._written_out(source, opened)
            merged |= written
        return merged | {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}, opened

    def _referred(self, reference: str, opened: tuple[str, ...]) -> Schema:
        definition: Schema = self.definitions.get(reference.rpartition("/")[2], {})
        if opened.count(reference) < _DEEPEST:
            return definition
        return {"type": definition["type"]} if "type" in definition else {}

    def _value(self, key: str, value: Any, opened: tuple[str, ...]) -> Any:
        if key == "properties":  # its keys are names, not keywords
            return {name: self.of(child, opened) for name, child in value.items()}
        if key == "anyOf":
            return [self.of(child, opened) for child in value]
        return self.of(value, opened) if isinstance(value, dict) else value


def _alternatives(schema: Schema) -> Schema:
    """The schema with `const` and `oneOf` as kept keywords."""
    renamed = {"oneOf": "anyOf"}
    merged = {renamed.get(key, key): value for key, value in schema.items() if key != "const"}
    return {**merged, "enum": [schema["const"]]} if "const" in schema else merged


def _in_words(keywords: Schema) -> str:
    """The removed keywords as text, such as '20 to 400 characters'."""
    bounds = [
        _range(keywords, "minLength", "maxLength", "characters"),
        _range(keywords, "minItems", "maxItems", "items"),
        _range(keywords, "minimum", "maximum", "as a number"),
        f"matches {keywords['pattern']}" if "pattern" in keywords else "",
        f"format: {keywords['format']}" if "format" in keywords else "",
    ]
    text = "; ".join(filter(None, bounds))
    return text[:1].upper() + text[1:]


def _range(keywords: Schema, least: str, most: str, unit: str) -> str:
    low, high = keywords.get(least), keywords.get(most)
    if low is None:
        return "" if high is None else f"at most {high} {unit}"
    return f"at least {low} {unit}" if high is None else f"{low} to {high} {unit}"
