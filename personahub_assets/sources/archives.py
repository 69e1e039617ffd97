"""Web archives: stream the records of WARC and WET files; damaged parts are reported as records.

In archives each record is compressed on its own, as a gzip member or zstd frame. Members are decompressed one by one:
damage stays within its member, a reader can begin at any member, and a record with a wrong length does not affect the
next ones. Only one record is in memory, and only the beginning of a record that is too long.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import zstandard
from fastwarc.warc import HeaderMap

from personahub_assets.core.text import shorten
from personahub_assets.sources.encodings import Text, Undecodable, decode_text
from personahub_assets.sources.extraction import extract_text
from personahub_assets.sources.pages import TooDeep, TooMuchMarkup, detect_language
from personahub_assets.sources.responses import (
    LONGEST_HEADER,
    Decoded,
    ResponseError,
    TooLarge,
    decode_body,
    find_header_end,
    parse_fields,
    parse_response,
)
from personahub_assets.sources.rows import RAW_LIMIT, RawRow

LARGEST = 16 << 20
"""Maximum bytes of a record's content, and of a decoded body."""

_PIECE = 1 << 14  # compressed bytes at a time
_SMALL_PIECE = 512  # of zstd: such a piece decompresses to at most 16 MiB; the decompressor itself has no limit
_READY = 1 << 18  # decompressed bytes at a time
_SCANNED = 1 << 20
_READ = frozenset({"response", "resource", "conversion"})
_KINDS = _READ | {"warcinfo", "request", "metadata", "revisit", "continuation"}
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_BEGINS = re.compile(rb"(?:^|\r?\n)(WARC/\d\.\d{1,2}[ \t]*\r?\n[\w-]+[ \t]*:)")
_VERSION = re.compile(rb"WARC/\d\.\d{1,2}[ \t]*\r?\n")
_LONGEST_MARK = 128
_SHORT_HEADER = 2_048
_LONGEST_KIND = 100
_MEDIA_TYPE = re.compile(r"\A\s*([\w.+-]+/[\w.+-]+)")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE)
_DAMAGED = (OSError, EOFError, zlib.error, zstandard.ZstdError)
# First frame of zstd archives with a dictionary.
_DICTIONARY = b"\x5d\x2a\x4d\x18"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """One record, or a damaged part of a file.

    Args:
        at: byte at which a reader can begin with this record; None if it cannot.
        kind: type of the record, such as 'response'; empty for a damaged part.
        headers: its named fields.
        content: only of records that can be a page or a text; at most `LARGEST` bytes.
        length: length of the content in bytes, as declared.
        problem: description of the damage; empty for an intact record.
    """

    at: int | None
    kind: str = ""
    headers: HeaderMap | None = None
    content: bytes = b""
    length: int = 0
    problem: str = ""


def _step_gzip(member: Any, chunk: bytes) -> tuple[bytes, bytes]:
    ready = member.decompress(chunk, _READY)
    return ready, member.unused_data if member.eof else member.unconsumed_tail


def _step_zstd(member: Any, chunk: bytes) -> tuple[bytes, bytes]:
    ready = member.decompress(chunk)
    return ready, member.unused_data if member.eof else b""


@dataclass(frozen=True)
class _Codec:
    """A compression.

    Args:
        piece: compressed bytes per step.
        step: decompress a piece; return the output and the unused rest of the piece.
    """

    magic: bytes
    make: Callable[[], Any]
    step: Callable[[Any, bytes], tuple[bytes, bytes]]
    piece: int


_CODECS = {
    ".gz": _Codec(b"\x1f\x8b\x08", lambda: zlib.decompressobj(wbits=31), _step_gzip, _PIECE),
    ".zst": _Codec(b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj(), _step_zstd, _SMALL_PIECE),
}


def records(path: Path, first_byte: int = 0) -> Iterator[Record]:
    """Stream the records of an archive from a byte on; the same records as for a reader that began before.

    Args:
        path: a .warc or .wet file, also .gz or .zst.
        first_byte: the `at` of a record.
    """
    codec = _CODECS.get(path.suffix.lower())
    with path.open("rb") as file:
        file.seek(first_byte)
        yield from _plain(file) if codec is None else _compressed(file, codec)


def needs_dictionary(path: Path) -> bool:
    """Whether a zstd archive needs a dictionary."""
    with path.open("rb") as file:
        return file.read(len(_DICTIONARY)) == _DICTIONARY


# --- rows ---


def record_row(number: int, record: Record) -> RawRow:
    """Make a row of a record: the text of a page, a fault with its reason, or a skipped record."""
    position = f"record {number}"
    if record.problem:
        return _damaged_record(position, record, record.problem)
    if record.kind not in _READ:
        return RawRow(position, skipped=record.kind if record.kind in _KINDS else "unknown")
    try:
        return _conversion(position, record) if record.kind == "conversion" else _page_row(position, record)
    except Undecodable as error:
        return replace(_damaged_record(position, record, str(error)), reason="bad_encoding")
    except TooLarge:
        return RawRow(position, reason="too_long", detail=f"a page of more than {LARGEST:,} bytes")
    except TooMuchMarkup as error:
        return replace(_damaged_record(position, record, str(error)), reason="too_long")
    except (ResponseError, TooDeep) as error:
        return _damaged_record(position, record, str(error))


def _page_row(position: str, record: Record) -> RawRow:
    """Extract the main text of an HTML page from a response or a resource, which has no HTTP header."""
    if _is_http(record):
        response = parse_response(record.content)
        if response.status != 200:
            return RawRow(position, skipped=f"status {response.status}")
        content_type, decode = response.content_type, response.decode
    else:
        content_type = _header(record, "Content-Type") or ""
        decode = partial(decode_body, record.content, [])
    kind = _kind(content_type) or _kind(_header(record, "WARC-Identified-Payload-Type"))
    if kind not in _PAGES:
        return RawRow(position, skipped=kind or "no content type")
    return _too_long(position, record) or _main_text(position, record, decode(LARGEST), content_type)


def _is_http(record: Record) -> bool:
    """Whether a record's content has an HTTP header; resources and DNS responses have none."""
    kind = _kind(_header(record, "Content-Type"))
    scheme = _address(record).partition(":")[0].lower()
    is_said = kind == "application/http" or (not kind and scheme in ("http", "https"))
    return record.kind == "response" and (is_said or record.content.startswith(b"HTTP/"))


def _main_text(position: str, record: Record, body: Decoded, content_type: str) -> RawRow:
    page = decode_text(body.data, _charset(content_type), is_html=True)
    text = extract_text(page.text)
    if text:
        return _text_row(position, record, replace(page, text=text), is_complete=body.is_complete)
    if not body.is_complete:
        return _damaged_record(position, record, "the page is cut off, and its beginning has no main text")
    return replace(_damaged_record(position, record, "the page has no main text"), reason="empty")


def _conversion(position: str, record: Record) -> RawRow:
    """The text of a conversion record, as in WET files."""
    content_type = _header(record, "Content-Type") or ""
    kind = _kind(content_type)
    if kind not in ("text/plain", ""):
        return RawRow(position, skipped=kind)
    return _too_long(position, record) or _text_row(
        position, record, decode_text(record.content, _charset(content_type))
    )


def _too_long(position: str, record: Record) -> RawRow | None:
    if record.length <= LARGEST:
        return None
    detail = f"{record.length:,} bytes, more than {LARGEST:,}{_address_suffix(record)}"
    return RawRow(position, reason="too_long", detail=detail)


def _text_row(position: str, record: Record, text: Text, *, is_complete: bool = True) -> RawRow:
    columns = {
        "id": (_header(record, "WARC-Record-ID") or "").strip("<> ") or None,
        "url": _address(record) or None,
        "date": _header(record, "WARC-Date"),
        "language": detect_language(text.text),
        "text": text.text,
    }
    truncated = _truncated(record, is_complete=is_complete)
    if truncated:
        columns["truncated"] = truncated
    if text.overruled:
        columns |= {"encoding": text.encoding, "declared_encoding": text.overruled}
    return RawRow(position, columns=columns, replaced=text.replaced)


def _truncated(record: Record, *, is_complete: bool) -> str | None:
    """The reason why a text is not complete, from the crawler or from the body."""
    declared = _header(record, "WARC-Truncated")
    if declared:
        return shorten(declared.lower(), _LONGEST_KIND)
    if _header(record, "WARC-Segment-Number"):
        return "segmented"
    return None if is_complete else "incomplete"


def _kind(content_type: str | None) -> str:
    """The media type of a content type, without parameters; an invalid one unchanged."""
    text = content_type or ""
    match = _MEDIA_TYPE.match(text)
    return shorten(match[1] if match else text.partition(";")[0].strip(), _LONGEST_KIND).lower()


def _charset(content_type: str) -> str | None:
    match = _CHARSET.search(content_type)
    return match[1] if match else None


def _header(record: Record, name: str) -> str | None:
    value = record.headers.get(name) if record.headers is not None else None
    return value if value is None else value.strip()


def _address(record: Record) -> str:
    """The address of a record, without the angle brackets that some crawlers, such as wget, write."""
    address = _header(record, "WARC-Target-URI") or ""
    return address[1:-1].strip() if address.startswith("<") and address.endswith(">") else address


def _address_suffix(record: Record) -> str:
    address = _address(record)
    return f" ({address})" if address else ""


def _damaged_record(position: str, record: Record, problem: str) -> RawRow:
    raw = record.content[:RAW_LIMIT].decode("utf-8", "replace")
    return RawRow(position, reason="damaged", detail=problem + _address_suffix(record), raw=raw)


# --- records ---


def _plain(file: IO[bytes]) -> Iterator[Record]:
    """Records of an uncompressed archive; after damage, reading continues at the next line that begins a record."""
    at: int | None = file.tell()
    while at is not None:
        file.seek(at)
        last = at
        for record in _within(file, at):
            last = last if record.at is None else record.at
            damaged = bool(record.problem)
            yield record
            if damaged:
                at = _next_mark(file, last + 1)
                break
        else:
            return


def _compressed(file: IO[bytes], codec: _Codec) -> Iterator[Record]:
    """Records of a compressed archive; after damage, reading continues at the next member that begins with a record."""
    members = _Members(file, codec)
    while members.begin():
        at: int | None = members.start
        problem = ""
        for record in _within(members, None):
            problem = record.problem
            yield replace(record, at=at)
            at = None
        broken = members.drain()
        if broken and not problem:
            yield Record(at, problem=f"at byte {members.start:,}: {broken}")
        if broken:
            members.seek(_next_member(file, codec, members.start + 1))


def _within(stream: "_Readable", start: int | None) -> Iterator[Record]:
    """Records of one stream, up to its end or to the first damaged one.

    If other bytes follow a record, that record is damaged: its length is wrong, so its content is cut or contains other
    data.
    """
    previous: Record | None = None
    source = _Source(stream)
    try:
        while source.skip_blank_lines():
            at = None if start is None else start + source.position
            record = _read(source, at)
            if previous is not None:
                yield previous
            previous = record
            if previous.problem:
                break
    except _DAMAGED as error:
        prefix = f"at byte {start:,}: " if previous is None and start is not None else ""
        problem = f"no record follows at its end ({error})" if previous else f"{prefix}{error}"
        previous = replace(previous or Record(start), problem=problem)
    if previous is not None:
        yield previous


def _read(source: "_Source", at: int | None) -> Record:
    """Read a record from its stream, with its content if it is needed.

    Raises:
        OSError, zlib.error, zstandard.ZstdError: if no record begins here.
    """
    header, problem = source.take_header()
    if problem:
        return Record(at, problem=problem)
    fields = parse_fields(header)
    kind = (fields.get("WARC-Type") or "unknown").strip().lower()
    length = _length(fields)
    if length is None:
        problem = (
            f"Content-Length {shorten(str(fields.get('Content-Length')), _LONGEST_KIND)!r} is not a number of bytes"
        )
        return Record(at, kind, fields, problem=problem)
    content = b""
    try:
        if kind in _READ:
            content = source.take(length if length <= LARGEST else LONGEST_HEADER)
        size = len(content) + source.skip(length - len(content))
    except _DAMAGED as error:
        problem = str(error)
    else:
        problem = f"it is cut off: {size:,} bytes of {length:,}" if size < length else ""
    return Record(at, kind, fields, content, length, problem)


def _length(fields: HeaderMap) -> int | None:
    value = (fields.get("Content-Length") or "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Source:
    """Bytes of a stream, with peeking."""

    def __init__(self, stream: _Readable):
        self._stream, self._buffer = stream, b""
        self.position = 0

    def skip_blank_lines(self) -> bool:
        """Move to the next record; False at the end of the stream."""
        if self.position == 0 and self._peek(len(_BOM)).startswith(_BOM):
            self._drop(len(_BOM))
        while self._peek(1):
            blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
            self._drop(blank)
            if self._buffer:
                return True
        return False

    def take_header(self) -> tuple[bytes, str]:
        """Read the header block of a record; the second value describes its damage.

        Raises:
            OSError: if no record begins here.
        """
        end = find_header_end(self._peek(_SHORT_HEADER)) or find_header_end(self._peek(LONGEST_HEADER))
        if not _VERSION.match(self._buffer):
            raise OSError(f"no record begins with {shorten(repr(self._buffer[:_LONGEST_MARK]), _LONGEST_KIND)}")
        if end is None:
            is_cut = len(self._buffer) < LONGEST_HEADER
            return b"", "its header is cut off" if is_cut else f"its header has no end within {LONGEST_HEADER:,} bytes"
        header = self._buffer[: end[0]]
        self._drop(end[1])
        return header, ""

    def take(self, size: int) -> bytes:
        """Read `size` bytes, fewer at the end of the stream."""
        taken = bytearray(self._buffer[:size])
        self._drop(len(taken))
        while len(taken) < size and (piece := self._stream.read(min(size - len(taken), _READY))):
            taken += piece
            self.position += len(piece)
        return bytes(taken)

    def skip(self, size: int) -> int:
        """Skip `size` bytes; return the number of skipped bytes."""
        skipped = 0
        while skipped < size and (piece := self.take(min(size - skipped, _READY))):
            skipped += len(piece)
        return skipped

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) < size and (piece := self._stream.read(size - len(self._buffer))):
            self._buffer += piece
        return self._buffer

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self.position += size


class _Members:
    """The members of a compressed file, each read as a stream, with a limit on bytes in memory."""

    def __init__(self, file: IO[bytes], codec: _Codec):
        self._file, self._codec = file, codec
        self._buffer = b""  # compressed bytes not yet decompressed
        self._ready = memoryview(b"")
        self._member: Any = None
        self.start = file.tell()

    def begin(self) -> bool:
        """Move to the next member; False at the end of the file."""
        self._skip_padding()
        self.start = self._file.tell() - len(self._buffer)
        self._member, self._ready = self._codec.make(), memoryview(b"")
        return bool(self._buffer)

    def seek(self, at: int | None) -> None:
        """Continue at another byte; None for the end."""
        self._file.seek(0, 2) if at is None else self._file.seek(at)
        self._buffer = b""

    def read(self, size: int = _READY) -> bytes:
        """Read decompressed bytes of this member; empty at its end and at the end of the file."""
        while not self._ready and not self._member.eof:
            self._fill()
            if not self._buffer:
                break
            chunk, self._buffer = self._buffer[: self._codec.piece], self._buffer[self._codec.piece :]
            ready, left = self._codec.step(self._member, chunk)
            self._ready, self._buffer = memoryview(ready), left + self._buffer
        taken, self._ready = self._ready[:size], self._ready[size:]
        return bytes(taken)

    def drain(self) -> str:
        """Read this member to its end; return a description of its damage, or an empty text."""
        try:
            while self.read():
                pass
        except _DAMAGED as error:
            return str(error)
        return "" if self._member.eof else "the file ends within a compressed record"

    def _fill(self) -> None:
        self._buffer = self._buffer or self._file.read(_PIECE)

    def _skip_padding(self) -> None:
        """Skip zero padding at the end of a file; zeros before another member are damage."""
        self._fill()
        start = self._file.tell() - len(self._buffer)
        if start == 0 or not self._buffer or self._buffer.strip(b"\0"):
            return
        piece = self._file.read(_PIECE)
        while piece and not piece.strip(b"\0"):
            piece = self._file.read(_PIECE)
        self.seek(start if piece else None)
        self._fill()


def _next_mark(file: IO[bytes], at: int) -> int | None:
    """Find the next line of an uncompressed archive that begins a record."""
    return _search(file, at, lambda window: (match.start(1) for match in _BEGINS.finditer(window)), lambda _: True)


def _next_member(file: IO[bytes], codec: _Codec, at: int) -> int | None:
    """Find the next member that begins with a record."""

    def offsets(window: bytes) -> Iterator[int]:
        offset = window.find(codec.magic)
        while offset >= 0:
            yield offset
            offset = window.find(codec.magic, offset + 1)

    def begins(offset: int) -> bool:
        file.seek(offset)
        member = _Members(file, codec)
        with suppress(*_DAMAGED):
            return member.begin() and bool(_BEGINS.match(member.read(_LONGEST_MARK)))
        return False

    return _search(file, at, offsets, begins)


def _search(
    file: IO[bytes], at: int, offsets: Callable[[bytes], Iterator[int]], accept: Callable[[int], bool]
) -> int | None:
    while True:
        file.seek(at)
        window = file.read(_SCANNED + _LONGEST_MARK)
        for offset in offsets(window):
            if accept(at + offset):
                return at + offset
        if len(window) <= _LONGEST_MARK:
            return None
        at += len(window) - _LONGEST_MARK
