"""The SQL of a dataset's table, derived from its answer class."""

import typing
from typing import Any

from personahub_assets.core.column_types import sql_type
from personahub_assets.core.literals import quoted
from personahub_assets.core.records import DatasetItem

__all__ = ["dataset_sql", "sql_type"]

# What every dataset's row carries before and after the fields of its class; core.fields.COLUMNS and DERIVED_COLUMNS
# have their names.
_BEFORE = {
    "batch": ("VARCHAR NOT NULL", "Batch of the document or persona file that the row is from"),
    "item_id": ("VARCHAR NOT NULL", "Hash of dataset, persona and sample"),
    "persona_id": ("VARCHAR NOT NULL", "Persona that the item was written for, in personas"),
    "sample": ("INTEGER NOT NULL", "Number of the answer for this persona, from 0"),
}
_DERIVED = {
    "item_id": ("VARCHAR NOT NULL", "Hash of dataset, item of the source and sample"),
    "persona_id": ("VARCHAR NOT NULL", "Persona that the item of the source was written for, in personas"),
    "source_id": ("VARCHAR NOT NULL", "Item that it was made from, in {source}"),
    "source_hash": (
        "VARCHAR NOT NULL",
        "First 16 digits of the SHA-256 of that item's text, to see whether it changed",
    ),
    "sample": ("INTEGER NOT NULL", "Number of the answer about that item, from 0"),
    "variant": ("VARCHAR", "Which variant of the role wrote it; null without variants"),
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
    columns = {**_columns_before(item), **fields, **_AFTER}
    body = ",\n".join(f'    "{name}" {kind}' for name, (kind, _) in columns.items())
    summary = (item.__doc__ or table).strip().splitlines()[0]
    comments = [f"COMMENT ON TABLE {table} IS {quoted(summary)};"]
    comments += [f'COMMENT ON COLUMN {table}."{name}" IS {quoted(text)};' for name, (_, text) in columns.items()]
    return f"CREATE TABLE {table} (\n{body}\n);\n" + "\n".join(comments) + "\n"


def _columns_before(item: type[DatasetItem]) -> dict[str, tuple[str, str]]:
    derivation = item.__derivation__
    if derivation is None:
        return _BEFORE
    derived = {name: (kind, text.format(source=derivation.source)) for name, (kind, text) in _DERIVED.items()}
    return {"batch": _BEFORE["batch"], **derived}


def _optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)
