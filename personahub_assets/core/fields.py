"""Fields of a dataset, declared in the front matter of its prompt, and the class that they make.

fields:
  title: {type: string, min: 5, max: 80, description: Name of the dish}
  minutes: {type: integer, min: 1, max: 600, description: Time from start to plate}
  difficulty: {type: choice, values: [easy, hard], description: For a home cook}
  steps: {type: list, min: 1, max: 8, of: {type: string, max: 200}, description: What to do, in order}
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PydanticUserError,
    StringConstraints,
    TypeAdapter,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError, SchemaError

from personahub_assets.core.exchange import Exchange
from personahub_assets.core.records import Answer, DatasetItem, Derivation

COLUMNS = ("batch", "item_id", "persona_id", "sample", "text", "generation_id")
"""Columns that the table of every dataset has, besides its fields."""

DERIVED_COLUMNS = ("source_id", "source_hash", "variant")
"""Further columns of a dataset that is made from the items of another one."""

FieldType = Literal["string", "integer", "number", "boolean", "choice", "list", "object"]

# Types that are made at run time: type checkers refuse to index the originals.
_LITERAL: Any = Literal
_LIST: Any = list
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_KEYS: dict[FieldType, tuple[str, ...]] = {
    "string": ("min", "max", "pattern"),
    "integer": ("min", "max"),
    "number": ("min", "max"),
    "boolean": (),
    "choice": ("values",),
    "list": ("min", "max", "of"),
    "object": ("fields",),
}
_NEEDED: dict[FieldType, tuple[str, ...]] = {
    "string": ("max",),
    "choice": ("values",),
    "list": ("max", "of"),
    "object": ("fields",),
}


def _field_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _fault(f"name {name!r}: use 1 to 63 of a-z, 0-9 and _, beginning with a letter")
    if hasattr(DatasetItem, name):
        raise _fault(f"name {name!r} has a meaning for pydantic, which reads the answers: choose another")
    return name


def _column_name(name: str) -> str:
    if name in COLUMNS:
        raise _fault(f"name {name!r}: the table has this column already, and {', '.join(COLUMNS)}: choose another")
    return _field_name(name)


FieldName = Annotated[str, AfterValidator(_field_name)]
ColumnName = Annotated[str, AfterValidator(_column_name)]


class FieldSpec(BaseModel):
    """One field as the front matter declares it.

    Attributes:
        min, max: least and greatest value of a number; least and greatest length of a string or list.
        pattern: regular expression that a whole string has to match.
        values: values of a choice.
        of: field of a list's items.
        fields: fields of an object.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: FieldType
    description: str = ""
    min: float | None = None
    max: float | None = None
    pattern: str | None = None
    values: Annotated[list[Annotated[str, StringConstraints(strict=True)]], Field(min_length=1)] | None = None
    of: "FieldSpec | None" = None
    fields: "dict[FieldName, NamedField] | None" = None

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> "FieldSpec":
        keys = self.model_fields_set - {"type", "description"}
        valid = _KEYS[self.type]
        if foreign := sorted(keys - set(valid)):
            raise _fault(f"a {self.type} has no {foreign[0]}; valid: {', '.join((*valid, 'type', 'description'))}")
        if missing := [key for key in _NEEDED.get(self.type, ()) if getattr(self, key) is None]:
            raise _fault(f"a {self.type} needs {missing[0]}{_HINTS.get(missing[0], '')}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise _fault(f"min {self.min:g} is greater than max {self.max:g}")
        if self.type in ("string", "list", "integer"):
            _check_whole(self)
        if self.pattern is not None:
            _check_pattern(self.pattern)
        return self

    def annotation(self, name: str) -> Any:
        """The type of the field, with its bounds."""
        low, high = (None if bound is None else int(bound) for bound in (self.min, self.max))
        match self.type:
            case "string":
                return Annotated[str, StringConstraints(min_length=low, max_length=high, pattern=self.pattern)]
            case "integer":
                return Annotated[int, Field(ge=low, le=high)]
            case "number":
                return Annotated[float, Field(ge=self.min, le=self.max)]
            case "boolean":
                return bool
            case "choice":
                return _LITERAL[tuple(self.values or ())]
            case "list":
                assert self.of is not None
                return Annotated[_LIST[self.of.annotation(name)], Field(min_length=low, max_length=high)]
            case "object":
                return create_model(camel(name), __base__=Answer, **_definitions(self.fields or {}, name))


class NamedField(FieldSpec):
    """A field with a name."""

    description: Annotated[str, StringConstraints(min_length=1)]


Columns = Annotated[dict[ColumnName, NamedField], Field(min_length=1)]
"""The fields of a dataset."""

_HINTS = {
    "max": ", the greatest length: a model that is guided by the schema needs an end",
    "values": ": a list of texts",
    "of": ", a field without a name: {type: string, max: 80}",
    "fields": ": names with their fields",
}


def item_class(
    name: str,
    description: str,
    fields: Mapping[str, FieldSpec],
    source: str = "",
    exchange: Exchange | None = None,
) -> type[DatasetItem]:
    """Make the class of a dataset.

    Args:
        name: of the dataset, such as `recipes`; the class is `Recipes`.
        description: becomes the docstring, the description of the table.
        source: dataset whose items are its input; empty for the personas.
        exchange: what a user says and an assistant answers; None for neither.
    """
    item: type[DatasetItem] = create_model(
        camel(name),
        __base__=DatasetItem,
        __doc__=description,
        __cls_kwargs__={"derivation": Derivation(source)} if source else None,
        **_definitions(fields, name),
    )
    item.__exchange__ = exchange
    return item


def _definitions(fields: Mapping[str, FieldSpec], prefix: str) -> dict[str, Any]:
    """The fields for `create_model`; classes of objects are named by their path, so that no two have one name."""
    return {
        name: (spec.annotation(f"{prefix}_{name}"), Field(description=spec.description))
        for name, spec in fields.items()
    }


def camel(name: str) -> str:
    """Return the name of a class.

    >>> camel("interview_questions")
    'InterviewQuestions'
    """
    return "".join(word.capitalize() for word in name.split("_"))


def _check_whole(spec: FieldSpec) -> None:
    for key, bound in (("min", spec.min), ("max", spec.max)):
        if bound is not None and (bound != int(bound) or (spec.type != "integer" and bound < 0)):
            raise _fault(f"{key} of a {spec.type} is a whole number{'' if spec.type == 'integer' else ' from 0 on'}")


def _check_pattern(pattern: str) -> None:
    try:
        TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])
    except (SchemaError, PydanticUserError) as error:
        raise _fault(f"pattern {pattern!r} is no regular expression: {str(error).splitlines()[-1].strip()}") from None


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("field", "{message}", {"message": message})
