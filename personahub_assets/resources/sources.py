"""Source files: finding their format, cutting them into slices, reading the rows of a slice as a stream."""

import codecs
import csv
import gzip
import io
import itertools
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import polars as pl
import zstandard

from personahub_assets.domain.addresses import public, redact, secrets_of
from personahub_assets.domain.errors import SourceError
from personahub_assets.domain.sources import RAW_LIMIT, RawRow
from personahub_assets.domain.text import digest
from personahub_assets.resources import archives
from personahub_assets.resources.hashes import sha256
from personahub_assets.resources.store import UNREADABLE

_FORMATS = {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "parquet": "parquet", "warc": "warc", "wet": "warc"}
_COMPRESSIONS = {"gz", "zst"}
VALID = ".jsonl, .ndjson, .csv, .warc or .wet (each also with .gz or .zst) and .parquet"
PERSONA_FREE = frozenset({"warc"})
"""Formats whose rows are never ready personas."""
LOOKED_AT = 1_000
"""Rows that are looked at for the names of columns."""
_CHUNK = 1 << 20
_PIECE = 1 << 16  # compressed bytes at a time
_PARQUET_ROWS = 8_192  # at a time

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Slice:
    """A run of rows of a source file."""

    first_row: int
    first_byte: int  # in an uncompressed JSONL file and in a web archive; 0 where rows must be counted from the start
    rows: int


@dataclass(frozen=True)
class Survey:
    """What registration learns from reading a source file once."""

    format: str
    sha256: str
    bytes: int
    slices: list[Slice]


def file_format(name: str) -> str | None:
    """Give 'jsonl', 'csv', 'parquet' or 'warc' for a file name, None for any other file."""
    suffixes = name.lower().split(".")[1:]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
        return _FORMATS.get(suffixes[-1]) if suffixes and suffixes[-1] != "parquet" else None
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def is_remote(address: str) -> bool:
    """Whether the address names another machine, such as hf://, https:// or s3://."""
    return "://" in address


def fetch(address: str, folder: Path) -> Path:
    """Download a remote source file into a folder, so that a refresh reads what was registered.

    Each address has a subfolder of its own: many files of the web have the same name. It is the same one whatever signs
    the address.

    Raises:
        SourceError: if it cannot be opened or read.
    """
    shown = public(address)
    name = shown.partition("://")[2].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    target = folder / digest(shown, size=12) / name
    aside = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with fsspec.open(address, "rb") as source, aside.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except Exception as error:  # noqa: BLE001 - every protocol's library raises types of its own
        aside.unlink(missing_ok=True)
        reason = _reason(error)
        raise SourceError(
            f"{shown}: cannot be fetched: {redact(str(reason), *secrets_of(address))}. {_remedy(reason)}"
        ) from None  # the library's own errors quote the address
    return aside.replace(target)


def _reason(error: BaseException) -> BaseException:
    """What the server said; fsspec says of a refusal that the file is not found."""
    cause: BaseException | None = error
    while cause and not hasattr(cause, "status"):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _remedy(error: BaseException) -> str:
    if getattr(error, "status", None) in (400, 401, 403) or isinstance(error, PermissionError):
        return "User name, password and signature of an address are not kept: give the whole address each time"
    return "Is there a network? s3:// and hf:// need the extra [hub]"


def survey(path: Path, rows_per_slice: int) -> Survey:
    """Read a whole source file once: format, hash, and where slices of at most `rows_per_slice` rows begin.

    Raises:
        SourceError: if it is missing, of an unknown format, or damaged.
    """
    kind = file_format(path.name)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    if kind is None:
        raise SourceError(f"{path}: unknown format {path.suffix!r}; want {VALID}")
    with _reading(path):
        slices = _SURVEYS[kind](path, rows_per_slice)
        hashed = sha256(path)
    return Survey(kind, hashed, path.stat().st_size, slices or [Slice(0, 0, 0)])


def read_rows(path: Path, kind: str, part: Slice) -> Iterator[RawRow]:
    """Stream the rows of one slice; rows that cannot be read come as faults.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise SourceError(f"{path}: the source file is gone; put it back, or register it anew with personahub ingest")
    with _reading(path):
        yield from _READERS[kind](path, part)


def columns(path: Path, kind: str, part: Slice) -> list[str]:
    """Names of the columns in the first rows of a slice, in order.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    rows = itertools.islice(read_rows(path, kind, part), LOOKED_AT)
    return list(dict.fromkeys(str(name) for row in rows for name in row.columns or () if name is not None))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into one clear error."""
    try:
        yield
    except (EOFError, zlib.error, zstandard.ZstdError, csv.Error, *UNREADABLE) as error:
        raise SourceError(f"{path}: damaged or not what its name says: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, decompressed."""
    if path.suffix.lower() == ".gz":
        with gzip.open(path, "rb") as file:
            yield cast(IO[bytes], file)
    elif path.suffix.lower() == ".zst":
        with path.open("rb") as raw:
            yield cast(IO[bytes], io.BufferedReader(_Zst(raw), _CHUNK))
    else:
        with path.open("rb") as file:
            yield file


class _Zst(io.RawIOBase):
    """The decompressed bytes of a .zst file; zstandard's own reader takes a file that was cut off for a whole one."""

    def __init__(self, raw: IO[bytes]):
        self._raw, self._frame, self._ready = raw, _frame(), memoryview(b"")
        self._within = False  # a frame has begun and not ended

    def readable(self) -> bool:
        """True, as BufferedReader asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 only at the end of the last frame."""
        while not self._ready:
            data = self._frame.unused_data or self._raw.read(_PIECE)
            if not data and self._within:
                raise EOFError("the compressed file ends within a frame")
            if not data:
                return 0
            self._frame = _frame() if self._frame.eof else self._frame
            self._ready = memoryview(self._frame.decompress(data))
            self._within = not self._frame.eof
        size = min(len(self._ready), len(buffer))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _frame() -> Any:
    return zstandard.ZstdDecompressor().decompressobj()


def _check_encoding(path: Path, start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(f"{path}: UTF-16; convert it first: iconv -f UTF-16 -t UTF-8")


# --- JSONL -----------------------------------------------------------------------------------------------------------


def _survey_jsonl(path: Path, rows_per_slice: int) -> list[Slice]:
    slices: list[Slice] = []
    start, rows, at, first = 0, 0, 0, 0
    with opened(path) as file:
        for line in file:
            if at == 0:
                _check_encoding(path, line)
            at += len(line)
            rows += 1
            if rows == rows_per_slice:
                slices.append(Slice(first, start, rows))
                first, start, rows = first + rows, at, 0
    return [*slices, Slice(first, start, rows)] if rows else slices


def _read_jsonl(path: Path, part: Slice) -> Iterator[RawRow]:
    with opened(path) as file:
        if file_is_plain(path):
            file.seek(part.first_byte)
            lines = itertools.islice(file, part.rows)
        else:
            lines = itertools.islice(file, part.first_row, part.first_row + part.rows)
        for number, line in enumerate(lines, part.first_row + 1):
            yield _json_row(f"line {number}", line)


def file_is_plain(path: Path) -> bool:
    """Whether a file is not compressed, so that a byte offset leads somewhere."""
    return path.suffix.lower().lstrip(".") not in _COMPRESSIONS


def _json_row(place: str, line: bytes) -> RawRow:
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        return RawRow(place, reason="bad_encoding", detail=str(error), raw=repr(line[:RAW_LIMIT]))
    if not text:
        return RawRow(place, reason="empty", detail="blank line")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        return RawRow(place, reason="malformed", detail=f"not JSON: {error}", raw=text)
    if not isinstance(value, dict):
        return RawRow(place, reason="malformed", detail=f"want a JSON object, got {type(value).__name__}", raw=text)
    return RawRow(place, columns=value, raw=text)


# --- CSV -------------------------------------------------------------------------------------------------------------


@contextmanager
def _records(path: Path) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """The header and the records; bytes that are not UTF-8 come as lone surrogates, to be found per record."""
    with opened(path) as file:
        decoded = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        records = csv.reader(decoded)
        yield next(records, []), records


def _survey_csv(path: Path, rows_per_slice: int) -> list[Slice]:
    with opened(path) as file:
        _check_encoding(path, file.read(4))
    with _records(path) as (_, records):
        total = sum(1 for _ in records)
    return [Slice(at, 0, min(rows_per_slice, total - at)) for at in range(0, total, rows_per_slice)]


def _read_csv(path: Path, part: Slice) -> Iterator[RawRow]:
    with _records(path) as (header, records):
        wanted = itertools.islice(records, part.first_row, part.first_row + part.rows)
        for number, fields in enumerate(wanted, part.first_row + 1):
            yield _csv_row(f"record {number}", header, fields)


def _csv_row(place: str, header: list[str], fields: list[str]) -> RawRow:
    raw = ",".join(fields)
    if not raw.strip(", "):
        return RawRow(place, reason="empty", detail="blank record")
    if any("\udc80" <= char <= "\udcff" for char in raw):
        return RawRow(place, reason="bad_encoding", detail="not UTF-8", raw=raw)
    if len(fields) != len(header):
        return RawRow(
            place, reason="malformed", detail=f"{len(fields)} fields where the header has {len(header)}", raw=raw
        )
    return RawRow(place, columns=dict(zip(header, fields, strict=True)), raw=raw)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _survey_parquet(path: Path, rows_per_slice: int) -> list[Slice]:
    total = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())
    return [Slice(at, 0, min(rows_per_slice, total - at)) for at in range(0, total, rows_per_slice)]


def _read_parquet(path: Path, part: Slice) -> Iterator[RawRow]:
    end = part.first_row + part.rows
    for start in range(part.first_row, end, _PARQUET_ROWS):
        frame = pl.scan_parquet(path, glob=False).slice(start, min(_PARQUET_ROWS, end - start)).collect()
        for number, columns in enumerate(frame.iter_rows(named=True), start + 1):
            yield RawRow(f"row {number}", columns=columns)


# --- web archives ----------------------------------------------------------------------------------------------------


def _survey_archive(path: Path, rows_per_slice: int) -> list[Slice]:
    if archives.needs_dictionary(path):
        raise SourceError(f"{path}: zstd with a dictionary; decompress it first: zstd -d")
    slices: list[Slice] = []
    first, start, rows, kinds = 0, 0, 0, set[str]()
    for record in archives.records(path):
        if rows == rows_per_slice:
            slices.append(Slice(first, start, rows))
            first, start, rows = first + rows, record.at or 0, 0
        rows += 1
        kinds.add(record.kind)
    if kinds == {""}:
        raise SourceError(f"{path}: damaged or not what its name says: it has no record of a web archive")
    return [*slices, Slice(first, start, rows)] if rows else slices


def _read_archive(path: Path, part: Slice) -> Iterator[RawRow]:
    before = 0 if part.first_byte else part.first_row
    wanted = itertools.islice(archives.records(path, part.first_byte), before, before + part.rows)
    for number, record in enumerate(wanted, part.first_row + 1):
        yield archives.row(number, record)


_SURVEYS: dict[str, Callable[[Path, int], list[Slice]]] = {
    "jsonl": _survey_jsonl,
    "csv": _survey_csv,
    "parquet": _survey_parquet,
    "warc": _survey_archive,
}
_READERS: dict[str, Callable[[Path, Slice], Iterator[RawRow]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "warc": _read_archive,
}
