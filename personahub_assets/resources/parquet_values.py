"""Values of Parquet files as Python has them; dates beyond the years 1 to 9999 come as ISO 8601 text."""

from collections.abc import Iterator
from typing import Any

import polars as pl


def python_rows(frame: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a frame."""
    columns = [_values(column) for column in frame]
    for row in zip(*columns, strict=True):
        yield dict(zip(frame.columns, row, strict=True))


def _values(column: pl.Series) -> list[Any]:
    try:
        return column.to_list()
    except (ValueError, OverflowError):  # some value fits no Python type
        texts = _texts(column)
        return [_value(column, texts, at) for at in range(len(column))]


def _value(column: pl.Series, texts: pl.Series, at: int) -> Any:
    try:
        return column[at : at + 1].to_list()[0]
    except (ValueError, OverflowError):
        return texts[at : at + 1].to_list()[0]


def _texts(column: pl.Series) -> pl.Series:
    kind = column.dtype
    return column.dt.to_string("iso:strict") if kind.is_temporal() else column.cast(_with_texts(kind))


def _with_texts(kind: Any) -> Any:
    """The same type with texts in the place of dates, however deep."""
    if isinstance(kind, pl.List):
        return pl.List(_with_texts(kind.inner))
    if isinstance(kind, pl.Array):
        return pl.List(_with_texts(kind.inner))
    if isinstance(kind, pl.Struct):
        return pl.Struct([pl.Field(field.name, _with_texts(field.dtype)) for field in kind.fields])
    return pl.String if kind.is_temporal() else kind
