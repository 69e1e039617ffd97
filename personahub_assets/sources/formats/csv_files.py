"""CSV and TSV files: slices with the dialect that was detected at registration."""

import csv
import io
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from personahub_assets.sources.columns import distinct
from personahub_assets.sources.formats.csv_dialect import find_dialect
from personahub_assets.sources.formats.csv_records import Dialect, Record, records
from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.overwriting import Extent, Overwritten, overwrite, write_text
from personahub_assets.sources.formats.slices import Cutter, Layout, Slice
from personahub_assets.sources.formats.streams import Stream, opened, stream_at
from personahub_assets.sources.rows import RawRow, SourceReason


class Csv(Format):
    """CSV of any usual dialect."""

    name = "csv"
    title = "CSV"
    suffixes = ("csv", "tsv")
    row = "a record"
    errors = (csv.Error,)

    def survey(self, path: Path, rows_per_slice: int, limit: int) -> Layout:
        """Detect the dialect, count the records and cut them into slices."""
        dialect = find_dialect(path)
        cutter = Cutter(rows_per_slice, {**dialect.as_options(), "limit": limit})
        for at, record in _file_records(path, dialect, limit):
            cutter.add(at, first_line=record.line)
        return Layout("csv", cutter.cut())

    def describe(self, options: dict[str, Any]) -> str:
        """Name the dialect."""
        return Dialect.from_options(options).describe() if options else ""

    def read(self, path: Path, selected: Slice, _limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice; the registered dialect determines the records."""
        if selected.reading is None:
            yield from _read_undetected(path, selected)
            return
        columns = Dialect.from_options(selected.options).columns
        for number, record in enumerate(_slice_records(path, selected), selected.first_row + 1):
            yield _row(f"record {number}", record, columns)

    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Replace rows by records of empty fields; without options rows are counted as in earlier versions."""
        rows = _detected(path, numbers, options) if options else Overwritten(_undetected(path, numbers))
        overwrite(path, aside, rows)

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a header and a quoted record per text."""
        buffer = io.StringIO(newline="")
        csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["text"], *([text] for text in texts)])
        write_text(path, buffer.getvalue())


def _slice_records(path: Path, selected: Slice) -> Iterator[Record]:
    """The records of a slice."""
    options = selected.options
    dialect = Dialect.from_options(options)
    with stream_at(path, selected.first_byte, dialect.encoding, has_old_line_ends=dialect.has_old_line_ends) as stream:
        yield from itertools.islice(records(stream, dialect, options["limit"], options["first_line"]), selected.rows)


def _file_records(path: Path, dialect: Dialect, limit: int) -> Iterator[tuple[int, Record]]:
    """All records of a file without its header, each with its first byte."""
    stream = Stream(path, dialect.encoding, has_old_line_ends=dialect.has_old_line_ends)
    try:
        stream.go(dialect.start)
        at = stream.at
        for number, record in enumerate(records(stream, dialect, limit, dialect.line)):
            if number or not dialect.has_header:
                yield at, record
            at += record.size
    finally:
        stream.close()


def _row(place: str, record: Record, columns: tuple[str, ...]) -> RawRow:
    if record.fields is None:
        reason: SourceReason = "too_long" if record.is_long else "malformed"
        return RawRow(place, reason=reason, detail=f"line {record.line}: {record.problem}", raw=record.text)
    return _fields_row(place, record.fields, columns, record.text.rstrip("\r\n"), f"line {record.line}: ")


def _fields_row(place: str, fields: list[str], columns: Sequence[str], raw: str, where: str) -> RawRow:
    if not any(map(str.strip, fields)):
        return RawRow(place, reason="empty", detail=f"{where}blank record")
    if not raw.isascii() and not _is_text(raw):
        return RawRow(place, reason="bad_encoding", detail=f"{where}not in the encoding of the file", raw=raw)
    if len(fields) > len(columns) and not any(fields[len(columns) :]):
        fields = fields[: len(columns)]  # trailing delimiters, as spreadsheets write them
    if len(fields) != len(columns):
        detail = f"{where}{len(fields)} fields where the header has {len(columns)}"
        return RawRow(place, reason="malformed", detail=detail, raw=raw)
    return RawRow(place, columns=distinct(list(zip(columns, fields, strict=True))), raw=raw)


def _is_text(raw: str) -> bool:
    """Whether all bytes could be decoded."""
    try:
        raw.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_undetected(path: Path, selected: Slice) -> Iterator[RawRow]:
    """Rows as read by earlier versions, for batches that they registered: ids and batches of rows must not change."""
    with opened(path) as file:
        decoded = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(decoded)
        header = next(reader, [])
        wanted = itertools.islice(reader, selected.first_row, selected.first_row + selected.rows)
        for number, fields in enumerate(wanted, selected.first_row + 1):
            yield _fields_row(f"record {number}", fields, header, ",".join(fields), "")


# --- blanked records ---


def _detected(path: Path, numbers: Collection[int], options: dict[str, Any]) -> Overwritten:
    dialect = Dialect.from_options(options)
    numbered = enumerate(_file_records(path, dialect, options["limit"]))
    wanted = (
        Extent(at, at + record.size, _record_blanker(dialect, len(record.fields or ()), record.lines))
        for number, (at, record) in numbered
        if number in numbers
    )
    return Overwritten(wanted, dialect.encoding, dialect.has_old_line_ends)


def _record_blanker(dialect: Dialect, fields: int, line_count: int) -> Callable[[bytes], bytes]:
    """Make a record with the same number of empty fields; an invalid record becomes a line of spaces."""
    ends = dialect.delimiter.encode() * (fields - 1)

    def blank(row: bytes) -> bytes:
        content = row.rstrip(b"\r\n") if line_count > 1 else row.removesuffix(b"\n").removesuffix(b"\r")
        end = row[len(content) :]
        room = len(content) - len(ends)
        if line_count < 2:
            return ends + b" " * room + end
        quote = dialect.quote.encode()
        breaks = content.count(b"\n")
        return quote + b"\n" * breaks + b" " * (room - 2 - breaks) + quote + ends + end

    return blank


def _undetected(path: Path, numbers: Collection[int]) -> Iterator[Extent]:
    with opened(path) as file:
        taken: list[str] = []
        decoded = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
        start = 0
        for number, fields in enumerate(csv.reader(_note_blanked(decoded, taken)), -1):  # -1: the header
            end = start + sum(len(line.encode("utf-8", "surrogateescape")) for line in taken)
            if number in numbers:
                yield Extent(start, end, _record_blanker(Dialect(), len(fields), len(taken)))
            start = end
            taken.clear()


def _note_blanked(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line
