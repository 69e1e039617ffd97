"""The SQL of a dataset's table, derived from its answer class."""

import types
import typing
from typing import Any, Literal, Union

from pydantic import BaseModel

from personahub_assets.core.literals import quoted
from personahub_assets.core.records import DatasetItem

_SCALARS: dict[Any, str] = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}

# Columns of every dataset before and after the fields of its class.
_BEFORE = {
    "batch": ("VARCHAR NOT NULL", "Batch of the document or persona file that the row is from"),
    "item_id": ("VARCHAR NOT NULL", "Hash of dataset, persona and sample"),
    "persona_id": ("VARCHAR NOT NULL", "Persona that the item was written for, in personas"),
    "sample": ("INTEGER NOT NULL", "Number of the answer for this persona, from 0"),
}
_AFTER = {
    "text": ("VARCHAR NOT NULL", "The item as one readable text"),
    "generation_id": ("VARCHAR NOT NULL", "Call that produced it, in generations"),
}


def dataset_sql(table: str, item: type[DatasetItem]) -> str:
    """Write the CREATE TABLE and COMMENT statements of a dataset.

    Raises:
        TypeError: if a field's type has no SQL counterpart.
    """
    fields = {
        name: (
            sql_type(field.annotation) + ("" if _optional(field.annotation) else " NOT NULL"),
            field.description or "",
        )
        for name, field in item.model_fields.items()
    }
    columns = {**_BEFORE, **fields, **_AFTER}
    body = ",\n".join(f'    "{name}" {kind}' for name, (kind, _) in columns.items())
    summary = (item.__doc__ or table).strip().splitlines()[0]
    comments = [f"COMMENT ON TABLE {table} IS {quoted(summary)};"]
    comments += [f'COMMENT ON COLUMN {table}."{name}" IS {quoted(text)};' for name, (_, text) in columns.items()]
    return f"CREATE TABLE {table} (\n{body}\n);\n" + "\n".join(comments) + "\n"


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


def _optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)
