"""Blanking: rows of source files inside the home lose what they say and keep their place.

A row is not cut out: those behind it would move into another slice, so into another batch, and everything made of them
would be asked for again. What is blanked is as long as before, so that offsets stay. The file is written anew and
renamed into its place.
"""

import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import archives, reader
from personahub_assets.sources.formats import overwriting as texts
from personahub_assets.sources.rows import Columns, RawRow
from personahub_assets.sources.tombstones import Tombstones, stones
from personahub_assets.store.hashes import content_hash
from personahub_assets.store.removal import discard
from personahub_assets.store.tables import Store

REMEDY = "remove this file and run the same takedown again"
_PIECE = 1 << 20
_BLOCK = 1 << 17  # bytes of a zstd block at most


class Piece(NamedTuple):
    """Rows of a source file that a batch reads; there is no batch where a file of the inbox is not registered."""

    batch: str | None
    path: Path
    format: str
    part: reader.Slice
    columns: Columns
    sha256: str


class Hit(NamedTuple):
    """A row of a source file."""

    number: int  # from 0, in the file
    place: str


def registered(store: Store) -> Iterator[Piece]:
    """What batches read."""
    limit = store.config.sources.max_document_chars
    for row in store.read_all("batches").iter_rows(named=True):
        part = reader.Slice(row["first_row"], row["first_byte"], row["rows"], row["reading"])
        columns = Columns(row["text_column"], row["persona_column"], limit)
        yield Piece(row["batch"], Path(row["path"]), row["format"], part, columns, row["sha256"])


def pieces(store: Store) -> tuple[list[Piece], list[Path]]:
    """What batches read and what lies in the inbox and is not registered; and files there that cannot be read."""
    found, unread = list(registered(store)), list[Path]()
    known = {piece.path for piece in found}
    for path in sorted((store.root / "inbox").rglob("*")):
        if (
            path.is_file()
            and reader.file_format(path.name)
            and path.resolve() not in known
            and not path.name.startswith(".")
        ):
            columns = Columns(max_chars=store.config.sources.max_document_chars)
            try:
                survey = reader.survey(path, 1 << 62)
            except SourceError:  # a copy that is not at its end, such as half an archive
                unread.append(path.resolve())
                continue
            whole = path.resolve(), survey.format
            found += [Piece(None, *whole, part, columns, survey.sha256) for part in survey.slices]
    return found, unread


def is_inside(store: Store, piece: Piece) -> bool:
    """Whether a source file is the home's own: a download, or one that was put into it."""
    return piece.path.is_relative_to(store.root)


def is_readable(store: Store, piece: Piece) -> bool:
    """Whether a source file is there, as it was when it was registered."""
    return piece.path.is_file() and content_hash(piece.path, store.hashes) == piece.sha256


def hits(piece: Piece, is_taken: Callable[[RawRow, Columns], bool]) -> Iterator[Hit]:
    """The rows of a piece that were taken down.

    Raises:
        SourceError: if the file is damaged.
    """
    rows = reader.read_rows(piece.path, piece.format, piece.part)
    for number, row in enumerate(rows, piece.part.first_row):
        if is_taken(row, piece.columns):
            yield Hit(number, row.place)


def blank_taken(store: Store, path: Path) -> bool:
    """Blank the rows of a registered file that stand under tombstones; whether there were any.

    Raises:
        SourceError: if the file is damaged, or of a format that cannot be written.
    """
    numbers, every = dict[tuple[str, str | None], set[int]](), stones(store)
    for piece in registered(store) if every else ():
        if piece.path == path and (taken := Tombstones(every, piece.batch)):
            same_way = numbers.setdefault((piece.format, piece.part.file_reading), set())
            same_way |= {hit.number for hit in hits(piece, taken.has_row)}
    for (kind, reading), some in numbers.items():
        if some:
            blank(path, kind, some, reading)
    return any(numbers.values())


def blank(path: Path, kind: str, numbers: Collection[int], reading: str | None = None) -> None:
    """Blank some rows of a file, counted from 0.

    Args:
        reading: how the file is read, as its registration says.

    Raises:
        SourceError: if its format cannot be written.
    """
    if kind not in {**_EXTENTS, **_WRITERS}:
        raise SourceError(
            f"{path} holds rows that are taken down, and rows of {kind} files cannot be blanked: ingest one of "
            f"{' or '.join({**_EXTENTS, **_WRITERS})} under the same --name, then {REMEDY}"
        )
    aside = path.with_name(f".{path.name}.part")
    try:
        if kind in _WRITERS:
            _WRITERS[kind](path, aside, numbers)
        else:
            texts.overwrite(path, aside, _EXTENTS[kind](path, numbers, reader.Slice(0, 0, 0, reading).options))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        discard(aside)


def _blank_parquet(path: Path, aside: Path, numbers: Collection[int]) -> None:
    rows = pl.scan_parquet(path, glob=False)
    names = rows.collect_schema().names()
    number = pl.int_range(pl.len(), dtype=pl.Int64)
    gone = number.is_in(pl.Series(sorted(numbers), dtype=pl.Int64).implode())
    rows.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in names).sink_parquet(aside)


def _blank_archive(path: Path, aside: Path, numbers: Collection[int]) -> None:
    """A record becomes one that nobody reads, as many bytes long, so that the others stay where they are."""
    starts = [record.at for record in archives.records(path)]
    ends = [*starts[1:], path.stat().st_size]
    with path.open("rb") as file, aside.open("wb") as sink:
        for number in sorted(numbers):
            start, end = starts[number], ends[number]
            if start is None or end is None:
                raise SourceError(
                    f"{path}: record {number + 1} is compressed together with others, so it cannot be blanked: ingest "
                    f"an archive with a member per record under the same --name, then {REMEDY}"
                )
            _copy(file, sink, start)
            sink.write(_EMPTY.get(path.suffix.lower(), _empty_plain)(end - start))
            file.seek(end)
        _copy(file, sink, path.stat().st_size)


def _copy(file: IO[bytes], sink: IO[bytes], end: int) -> None:
    while piece := file.read(min(_PIECE, end - file.tell())):
        sink.write(piece)


_HEAD = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Length: %010d\r\n\r\n"
_TAIL = b"\r\n\r\n"


def _empty_plain(size: int) -> bytes:
    """A record of so many bytes that says nothing."""
    content = size - len(_HEAD % 0) - len(_TAIL)
    if content < 0:
        raise SourceError(f"a record of {size} bytes is too short to be blanked")
    return _HEAD % content + b" " * content + _TAIL


def _empty_gzip(size: int) -> bytes:
    """The same as a gzip member: what it is too short by stands in the comment of its header."""
    record = _empty_plain(len(_HEAD % 0) + len(_TAIL))
    packed = zlib.compress(record, wbits=-15) + struct.pack("<II", zlib.crc32(record), len(record))
    head = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
    comment = size - len(head) - 1 - len(packed)
    if comment < 0:
        raise SourceError(f"a compressed record of {size} bytes is too short to be blanked")
    return head + b" " * comment + b"\0" + packed


def _empty_zstd(size: int) -> bytes:
    """The same as a zstd frame of blocks that are not compressed."""
    head = b"\x28\xb5\x2f\xfd\x00\x38"  # a window of 128 KiB
    blocks = -(-(size - len(head)) // (_BLOCK + 3))
    record = _empty_plain(size - len(head) - 3 * blocks)
    pieces = [record[at : at + _BLOCK] for at in range(0, len(record), _BLOCK)]
    last = len(pieces) - 1
    return head + b"".join(
        struct.pack("<I", len(piece) << 3 | (number == last))[:3] + piece for number, piece in enumerate(pieces)
    )


_EMPTY: dict[str, Callable[[int], bytes]] = {".gz": _empty_gzip, ".zst": _empty_zstd}


_EXTENTS: dict[str, Callable[[Path, Collection[int], dict[str, Any]], texts.Overwritten]] = {
    "jsonl": texts.lines,
    "json": texts.values,
    "csv": texts.records,
}
_WRITERS: dict[str, Callable[[Path, Path, Collection[int]], None]] = {
    "parquet": _blank_parquet,
    "warc": _blank_archive,
}
