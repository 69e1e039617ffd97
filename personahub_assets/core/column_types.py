"""The column type of a field."""

import types
import typing
from typing import Any, Literal, Union

from pydantic import BaseModel

from personahub_assets.core.fields import COLUMNS, DERIVED_COLUMNS

_SCALARS: dict[Any, str] = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}


def sql_type(annotation: Any) -> str:
    """Return the DuckDB type of a field's annotation.

    >>> sql_type(list[str])
    'VARCHAR[]'
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return sql_type(arguments[0])
    if origin is Literal:
        return sql_type(type(arguments[0]))
    if origin in (Union, types.UnionType):
        return sql_type(next(a for a in arguments if a is not type(None)))
    if origin is list:
        return f"{sql_type(arguments[0])}[]"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        members = (f'"{name}" {sql_type(field.annotation)}' for name, field in annotation.model_fields.items())
        return f"STRUCT({', '.join(members)})"
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    raise TypeError(f"{annotation!r} has no column type; use str, int, float, bool, Literal, list or a nested model")


def column_fault(name: str, annotation: Any, *, is_derived: bool = False) -> str:
    """The reason why a field cannot be a column of a dataset's table; empty if it can."""
    taken = (*COLUMNS, *DERIVED_COLUMNS) if is_derived else COLUMNS
    if name.lower() in taken:
        return f"{name!r}: the table has this column already, and {', '.join(taken)}: choose another name"
    try:
        sql_type(annotation)
    except TypeError as error:
        return f"{name!r}: {error}"
    return ""
