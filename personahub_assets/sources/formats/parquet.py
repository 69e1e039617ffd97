"""Parquet files: rows by number, read in pieces; an unreadable value is a fault of its row.

Polars reads them. If it refuses a piece because of a string that is not UTF-8, the strings are read as bytes. If it
refuses a piece for other reasons, the piece is halved until the bad rows are found. A file with an unsupported type, or
decimals of more than 38 digits, is read by DuckDB.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.parquet_bytes import PREFIX, Unannotated
from personahub_assets.sources.formats.slices import Layout, Slice, by_number
from personahub_assets.sources.rows import RawRow, SourceReason
from personahub_assets.store.connections import connect_small
from personahub_assets.store.tables import UNREADABLE

_ROWS = 8_192  # at a time
_TRIES = 400  # of halving a piece: enough for a dozen bad rows, and a bound if all rows are bad
_REFUSED = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # the years 1 to 9999, in days from 1970
_CYCLE_DAYS = 146_097
_NANOSECONDS = 86_400_000_000_000
_DIGITS = 38  # digits of a decimal of Polars
_Rows = list[dict[str, Any]]
_Read = Callable[[int, int], _Rows]


class Parquet(Format):
    """Rows of Parquet."""

    name = "parquet"
    title = "Parquet"
    suffixes = ("parquet",)
    row = "a row"
    compressions = ()
    errors = UNREADABLE

    def survey(self, path: Path, rows_per_slice: int, _limit: int) -> Layout:
        """Count the rows and cut them into slices."""
        try:
            total = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
        except _REFUSED as error:
            total = _count_by_duckdb(path, error)
        return Layout("parquet", list(by_number(total, rows_per_slice)))

    def read(self, path: Path, selected: Slice, _limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice."""
        read = _reader(path)
        end = selected.first_row + selected.rows
        for start in range(selected.first_row, end, _ROWS):
            yield from _piece(path, read, start, min(_ROWS, end - start), iter(range(_TRIES)))

    def redact(self, path: Path, aside: Path, numbers: Collection[int], _options: dict[str, Any]) -> None:
        """Set all values of some rows to null."""
        rows = pl.scan_parquet(path, glob=False)
        names = rows.collect_schema().names()
        number = pl.int_range(pl.len(), dtype=pl.Int64)
        gone = number.is_in(pl.Series(sorted(numbers), dtype=pl.Int64).implode())
        rows.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in names).sink_parquet(aside)

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a file with a column of texts."""
        pl.DataFrame({"text": texts}).write_parquet(path)


def _piece(path: Path, read: _Read, start: int, size: int, tries: Iterator[int]) -> Iterator[RawRow]:
    """Read rows from a number on; unreadable rows are found by halving, within the number of tries."""
    try:
        rows = read(start, size)
    except (*_REFUSED, duckdb.Error) as error:
        if _is_of_encoding(error) and (decoded := _decoded_rows(path, start, size)):
            yield from decoded
        elif size == 1 or next(tries, None) is None:
            yield from _faults(start, size, error)
        else:
            yield from _piece(path, read, start, size // 2, tries)
            yield from _piece(path, read, start + size // 2, size - size // 2, tries)
        return
    for number, columns in enumerate(rows, start + 1):
        yield RawRow(f"row {number}", columns=columns)


def _is_of_encoding(error: BaseException) -> bool:
    return "utf" in str(error).lower()


def _faults(start: int, size: int, error: BaseException) -> Iterator[RawRow]:
    reason: SourceReason = "bad_encoding" if _is_of_encoding(error) else "damaged"
    together = f", in a run of {size:,} rows that cannot be read" if size > 1 else ""
    for number in range(start + 1, start + size + 1):
        yield RawRow(f"row {number}", reason=reason, detail=str(error).splitlines()[0] + together)


def _reader(path: Path) -> _Read:
    """Choose the reader of a file: Polars if it supports the types."""
    frame = pl.scan_parquet(path, glob=False)
    try:
        is_known = not any(map(_is_too_precise, frame.collect_schema().dtypes()))
    except _REFUSED:
        is_known = False
    return lambda start, size: (_rows_by_polars if is_known else _rows_by_duckdb)(path, start, size)


def _is_too_precise(dtype: Any) -> bool:
    """Whether a type has decimals with more digits than Polars can store."""
    if isinstance(dtype, pl.Struct):
        return any(_is_too_precise(field.dtype) for field in dtype.fields)
    if isinstance(dtype, pl.List | pl.Array):
        return _is_too_precise(dtype.inner)
    return isinstance(dtype, pl.Decimal) and (dtype.precision or 0) > _DIGITS


def _rows_by_polars(path: Path, start: int, size: int) -> _Rows:
    frame = pl.scan_parquet(path, glob=False).slice(start, size).collect()
    try:
        return _rows_of(frame)
    except (ValueError, OverflowError, *_REFUSED):  # such as a date in a list outside Python's range
        return _rows_by_duckdb(path, start, size)


def _rows_of(frame: pl.DataFrame) -> _Rows:
    """Rows as Python objects; times outside Python's range or precision become text."""
    exotic = {name: numbers for name in frame.columns if (numbers := _exotic_times(frame[name]))}
    blank = (pl.when(~pl.Series(range(frame.height)).is_in(list(at))).then(pl.col(name)) for name, at in exotic.items())
    rows = list(frame.with_columns(blank).iter_rows(named=True))
    for name, numbers in exotic.items():
        for at, number in numbers.items():
            rows[at][name] = _time_text(number, frame.schema[name])
    return rows


def _exotic_times(series: pl.Series) -> dict[int, int]:
    """Times of a column outside Python's range or precision: stored number by row."""
    if not isinstance(series.dtype, pl.Date | pl.Datetime):
        return {}
    number, per_day = series.to_physical().cast(pl.Int64), _per_day(series.dtype)
    if per_day == _NANOSECONDS:  # range: 1677 to 2262
        is_exotic = number % 1_000 != 0
    else:
        is_exotic = ~number.is_between(_FIRST_DAY * per_day, (_LAST_DAY + 1) * per_day - 1)
    return {at: number[at] for at in is_exotic.fill_null(value=False).arg_true()} if is_exotic.any() else {}


def _per_day(dtype: pl.DataType) -> int:
    """Units of a stored time in a day."""
    units = {"ms": 86_400_000, "us": 86_400_000_000, "ns": _NANOSECONDS}
    return units[getattr(dtype, "time_unit", "us")] if dtype != pl.Date else 1


def _time_text(number: int, dtype: pl.DataType) -> str:
    """Write a time in ISO 8601 with all stored digits; years can have any size."""
    per_day = _per_day(dtype)
    days, ticks = divmod(number, per_day)
    cycles, days = divmod(days - _FIRST_DAY, _CYCLE_DAYS)  # the calendar repeats every 400 years
    day = date.fromordinal(days + 1)
    text = f"{day.year + 400 * cycles:04d}-{day.month:02d}-{day.day:02d}"
    if per_day == 1:
        return text
    seconds, fraction = divmod(ticks, per_day // 86_400)
    clock = f"{seconds // 3_600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    zone = "+00:00" if getattr(dtype, "time_zone", None) else ""
    return f"{text}T{clock}.{fraction:0{len(str(per_day // 86_400)) - 1}d}{zone}"


# --- DuckDB, for types that Polars does not support ---


def _count_by_duckdb(path: Path, error: BaseException) -> int:
    try:
        with connect_small() as connection:
            row = connection.execute("SELECT count(*) FROM read_parquet(?)", [_literal(path)]).fetchone()
    except duckdb.Error:
        raise error from None
    assert row is not None
    return int(row[0])


def _rows_by_duckdb(path: Path, start: int, size: int) -> _Rows:
    with connect_small() as connection:
        return _rows_between(connection, _literal(path), start, size)


def _decoded_rows(path: Path, start: int, size: int) -> list[RawRow]:
    """Read rows with strings as bytes; a string that is not UTF-8 is a fault of its row. None if reading fails."""
    with closing(Unannotated()) as files, connect_small() as connection:
        connection.register_filesystem(files)
        try:
            strings = {name for name, kind in _types(connection, _literal(path)).items() if "BLOB" not in kind}
            rows = _rows_between(connection, PREFIX + str(path), start, size)
        except duckdb.Error:
            return []
    return [_decoded_row(f"row {number}", columns, strings) for number, columns in enumerate(rows, start + 1)]


def _decoded_row(place: str, columns: dict[str, Any], strings: set[str]) -> RawRow:
    try:
        return RawRow(place, columns={n: _decoded(value) if n in strings else value for n, value in columns.items()})
    except UnicodeDecodeError as error:
        return RawRow(place, reason="bad_encoding", detail=str(error), raw=repr(columns))


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {_decoded(name): _decoded(inner) for name, inner in value.items()}
    return list(map(_decoded, value)) if isinstance(value, list) else value


def _types(connection: duckdb.DuckDBPyConnection, pattern: str) -> dict[str, str]:
    described = connection.execute("SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))", [pattern])
    return dict(described.fetchall())


def _rows_between(connection: duckdb.DuckDBPyConnection, pattern: str, start: int, size: int) -> _Rows:
    cursor = connection.execute(
        "SELECT * EXCLUDE (file_row_number) FROM read_parquet(?, file_row_number = true) "
        "WHERE file_row_number BETWEEN ? AND ? ORDER BY file_row_number",
        [pattern, start, start + size - 1],
    )
    names = [column[0] for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _literal(path: Path) -> str:
    """Escape a path as a pattern that matches only this path."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path))
