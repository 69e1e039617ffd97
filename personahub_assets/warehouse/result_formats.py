"""Encode results as CSV, JSON Lines or Parquet, piece by piece, with constant memory."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import polars as pl

from personahub_assets.core.access import obstacle_to_writing
from personahub_assets.core.errors import AccessError

_READ_BYTES = 1 << 20
# Texts that spreadsheets run as formulas, also after invisible characters; `;` and tabs begin cells in some.
_FORMULA = r"(^|[;\t])([\s\p{C}]*[=+\-@＝＋－＠])"
_BEGINS_CELL = r"^([\t\r\n])"


class Encoder(Protocol):
    """Encodes the pieces of one result."""

    def add(self, piece: pl.DataFrame) -> bytes:
        """Encode a piece; return the available bytes."""

    def end(self) -> Iterator[bytes]:
        """Return the remaining bytes after the last piece."""


def encoder(form: str, folder: Path, *, safe: bool = False) -> Encoder:
    """Make the encoder of a format.

    Args:
        form: csv, json or parquet.
        folder: folder for temporary files.
        safe: in CSV, write cells that a spreadsheet would run as formulas as text.
    """
    if form == "parquet":
        return _Parquet(folder)
    return _Csv(safe=safe) if form == "csv" else _Json()


class _Csv:
    def __init__(self, *, safe: bool):
        self._safe, self._is_begun = safe, False

    def add(self, piece: pl.DataFrame) -> bytes:
        rows = _flat(piece)
        text = (_safe(rows) if self._safe else rows).write_csv(include_header=not self._is_begun)
        self._is_begun = True
        return text.encode()

    def end(self) -> Iterator[bytes]:
        return iter(())


class _Json:
    def add(self, piece: pl.DataFrame) -> bytes:
        return piece.write_ndjson().encode()

    def end(self) -> Iterator[bytes]:
        return iter(())


class _Parquet:
    """A Parquet footer needs all pieces: they are written aside, then joined as a stream."""

    def __init__(self, folder: Path):
        self._folder, self._files = folder, list[Path]()

    def add(self, piece: pl.DataFrame) -> bytes:
        self._files.append(self._folder / f"{len(self._files):06d}.parquet")
        with _writing(self._files[-1]):
            piece.write_parquet(self._files[-1])
        return b""

    def end(self) -> Iterator[bytes]:
        merged = self._files[0]
        if len(self._files) > 1:
            merged = self._folder / "whole.parquet"
            with _writing(merged):
                pl.scan_parquet(self._files, glob=False).sink_parquet(merged)
        with merged.open("rb") as file:
            while data := file.read(_READ_BYTES):
                yield data
        for file_aside in {merged, *self._files}:
            file_aside.unlink()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn a failed write into a StoreError."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise AccessError(obstacle_to_writing(error, path) or f"{path}: {error}") from error


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON text, because CSV cannot store them."""
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    as_json = {
        name: pl.struct(pl.col(name).alias("v")).struct.json_encode().str.slice(5).str.head(-1) for name in nested
    }
    return frame.with_columns(
        **{name: pl.when(pl.col(name).is_not_null()).then(text) for name, text in as_json.items()}
    )


def _safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before texts and headings that a spreadsheet would run as formulas."""
    is_text = [dtype in (pl.String, pl.Categorical) or isinstance(dtype, pl.Enum) for dtype in frame.dtypes]
    texts = [name for name, text in zip(frame.columns, is_text, strict=True) if text]
    rows = frame.with_columns(_escaped(pl.col(name).cast(pl.String)) for name in texts)
    headings = pl.DataFrame({"name": frame.columns}).select(_escaped(pl.col("name")))["name"]
    return rows.rename(dict(zip(frame.columns, headings, strict=True)))


def _escaped(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(_FORMULA, "${1}'${2}").str.replace(_BEGINS_CELL, "'${1}")


def write_all(frame: pl.DataFrame, form: str, folder: Path, *, safe: bool = False) -> bytes:
    """A whole result as CSV, JSON lines or Parquet."""
    data, kind = io.BytesIO(), encoder(form, folder, safe=safe)
    data.write(kind.add(frame))
    for piece in kind.end():
        data.write(piece)
    return data.getvalue()
