"""A table whose files each have one row, such as `batches`, with a copy of all rows in one file below `cache/`.

Opening ten thousand files takes seconds; the copy has the mark of the file of each row, so that only rows of other
files are read from them. It can be deleted at any time.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.store.atomic import replacing
from personahub_assets.store.manifest import listing

_MARK = ("_size", "_modified", "_inode")
_OF_FILE = "_batch"
_FEW = 16
"""Files that are read again each time before the copy is written anew."""


def read_rows(
    folder: Path, copy: Path, schema: dict[str, pl.DataType], read: Callable[[str], pl.DataFrame]
) -> pl.DataFrame:
    """The rows of all files in a folder of partitions, by batch.

    Args:
        folder: the folder of partitions.
        copy: file of the copy; it can be missing, damaged, or have other columns.
        schema: the columns of the table.
        read: reads the file of a batch.
    """
    files = listing(folder)
    marks = dict(zip(_MARK, files.marks.T, strict=True))
    now = pl.DataFrame({_OF_FILE: files.batches, **marks}, {_OF_FILE: pl.String, **dict.fromkeys(_MARK, pl.Int64)})
    stored = _load(copy, {**now.schema, **schema})
    keys = [_OF_FILE, *_MARK]
    rows, others = stored.join(now, on=keys, how="semi"), now.join(stored, on=keys, how="anti")
    new = [_with_mark(read(mark[_OF_FILE]), mark, now.schema) for mark in others.iter_rows(named=True)]
    rows = pl.concat([rows, *(each.select(rows.columns) for each in new)])
    if others.height > _FEW or stored.height > 2 * rows.height + _FEW:
        with suppress(OSError), replacing(copy, sync=False) as aside:
            rows.write_parquet(aside)
    return rows.sort(_OF_FILE, maintain_order=True).select(list(schema))


def _with_mark(rows: pl.DataFrame, mark: dict[str, Any], kinds: Mapping[str, pl.DataType]) -> pl.DataFrame:
    return rows.with_columns(pl.lit(value, kinds[name]).alias(name) for name, value in mark.items())


def _load(copy: Path, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """The copy; without rows if it cannot be used."""
    with suppress(OSError, pl.exceptions.PolarsError):
        stored = pl.read_parquet(copy, glob=False)
        if dict(stored.schema) == schema:
            return stored
    return pl.DataFrame(schema=schema)
