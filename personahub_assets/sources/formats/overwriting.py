"""Overwrite rows of text files with blank rows of the same length, so that offsets stay valid.

All other bytes of the file, its encoding and its compression are unchanged.
"""

import bz2
import codecs
import gzip
import lzma
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from backports import zstd

from personahub_assets.core.errors import SourceError
from personahub_assets.sources.formats.format import REMEDY
from personahub_assets.sources.formats.slices import LARGEST
from personahub_assets.sources.formats.streams import Stream, opened

_CHUNK = 1 << 20
_NOT_LINE_END = re.compile(rb"[^\r\n]")


@dataclass(frozen=True)
class Extent:
    """A row in the UTF-8 text of a file, with the function that blanks its bytes."""

    start: int
    end: int
    blank: Callable[[bytes], bytes]


@dataclass(frozen=True)
class Overwritten:
    """The rows of a file to overwrite, in order, and its encoding."""

    extents: Iterable[Extent]
    encoding: str = "utf-8"
    has_old_line_ends: bool = False


def spaces(row: bytes) -> bytes:
    """Replace a row by spaces, keeping its line ends."""
    return _NOT_LINE_END.sub(b" ", row)


def overwritten_lines(path: Path, numbers: Collection[int], encoding: str = "utf-8") -> Overwritten:
    """Lines of a file, by number from 0, to replace by lines of spaces."""
    return Overwritten(_lines(path, numbers, encoding), encoding)


def _lines(path: Path, numbers: Collection[int], encoding: str) -> Iterator[Extent]:
    stream = Stream(path, encoding)
    try:
        for number in range(max(numbers) + 1):
            start = stream.at
            stream.skip_line()
            if number in numbers:
                yield Extent(start, stream.at, spaces)
    finally:
        stream.close()


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, compressed by its suffix."""
    with _writing(path, path) as sink:
        sink.write(text.encode())


def overwrite(path: Path, aside: Path, rows: Overwritten) -> None:
    """Rewrite a file with some rows overwritten.

    Raises:
        SourceError: if a row is too long for memory, or the encoding does not round-trip.
    """
    _check_encoding(path, rows.encoding)
    stream = Stream(path, rows.encoding, has_old_line_ends=rows.has_old_line_ends)
    try:
        with _writing(path, aside) as sink:
            encode = _encoder(rows)
            for extent in rows.extents:
                _copy(stream, extent.start - stream.at, lambda data: sink.write(encode(data, False)))
                sink.write(encode(_blanked(path, stream, extent), False))
            _copy(stream, None, lambda data: sink.write(encode(data, False)))
            sink.write(encode(b"", True))
    finally:
        stream.close()


def _blanked(path: Path, stream: Stream, extent: Extent) -> bytes:
    size = extent.end - extent.start
    if size > 4 * LARGEST and extent.blank is not spaces:
        raise SourceError(f"{path}: a row of {size:,} bytes is too long to be blanked: {REMEDY}")
    return extent.blank(stream.read(size))


def _copy(stream: Stream, size: int | None, write: Callable[[bytes], Any]) -> None:
    end = None if size is None else stream.at + size
    while data := stream.read(_CHUNK if end is None else min(_CHUNK, end - stream.at)):
        write(data)


def _encoder(rows: Overwritten) -> Callable[[bytes, bool], bytes]:
    """Make the function that encodes UTF-8 in the encoding of the file."""
    if rows.encoding == "utf-8":
        return lambda data, _: data.replace(b"\n", b"\r") if rows.has_old_line_ends else data
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def encode(data: bytes, is_last: bool) -> bytes:
        text = decoder.decode(data, final=is_last)
        text = text.replace("\n", "\r") if rows.has_old_line_ends else text
        return text.encode(rows.encoding, "surrogateescape")

    return encode


def _check_encoding(path: Path, encoding: str) -> None:
    """Check that the file round-trips through its encoding."""
    if encoding == "utf-8":
        return
    stream = Stream(path, encoding)
    encode = _encoder(Overwritten((), encoding))
    try:
        with opened(path) as file:
            while data := stream.read(_CHUNK):
                again = encode(data, False)
                if file.read(len(again)) != again:
                    raise UnicodeError
            if file.read(1):
                raise UnicodeError
    except UnicodeError as error:
        raise SourceError(
            f"{path}: it has bytes that are not {encoding}, so rows of it cannot be overwritten: remove this file, or "
            f"convert it to UTF-8 and ingest it under the same --name, then run the same takedown again"
        ) from error
    finally:
        stream.close()


_COMPRESSED: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda raw: gzip.GzipFile(filename="", fileobj=raw, mode="wb"),
    ".bz2": lambda raw: bz2.BZ2File(raw, "wb"),
    ".xz": lambda raw: lzma.LZMAFile(raw, "wb"),  # noqa: SIM115 - closed by the caller
    ".zst": lambda raw: zstd.ZstdFile(raw, "wb"),
}


@contextmanager
def _writing(path: Path, aside: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing with the compression of another one."""
    compress = _COMPRESSED.get(path.suffix.lower())
    with aside.open("wb") as raw:
        if compress is None:
            yield raw
        else:
            with compress(raw) as file:
                yield cast(IO[bytes], file)
