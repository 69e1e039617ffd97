"""Web archives: the records of WARC and WET files as a stream, with what is damaged among them.

Archives are compressed record by record, each in a gzip member or zstd frame of its own. They are decompressed here,
one at a time, and fastwarc reads what is inside: so damage stays within its member, a reader can begin at any of them,
and a record whose length is wrong cannot swallow the next ones. Nothing is kept in memory but one record.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import zstandard
from fastwarc.warc import ArchiveIterator, HeaderMap, WarcRecord

from personahub_assets.domain.pages import TooDeep, Undecodable, decoded, language, main_text
from personahub_assets.domain.sources import RAW_LIMIT, RawRow

LARGEST = 16 << 20
"""Bytes of a record's content, and of a decoded body, that are read at most."""

_PIECE = 1 << 14  # compressed bytes at a time: even such a piece may hold thousands of times as much
_SCANNED = 1 << 20
_READ = frozenset({"response", "conversion"})
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_BEGINS = re.compile(rb"(?:^|\r?\n)(WARC/1\.\d\r?\n[\w-]+:)")
_LONGEST_MARK = 128
_MARKUP = re.compile(rb"\A\s*<|<html", re.IGNORECASE)
_DAMAGED = (OSError, EOFError, zlib.error, zstandard.ZstdError)
# Of zstd archives that need a dictionary, which is their first frame.
_DICTIONARY = b"\x5d\x2a\x4d\x18"


@dataclass(frozen=True)
class Record:
    """One record, or a stretch of a file that is none.

    Args:
        at: where a reader can begin to find it as its first, None if it cannot.
        kind: what it says it is, such as 'response'; empty for what is no record.
        headers: its named fields.
        content: of responses and conversions only, and at most `LARGEST` bytes.
        length: of the content, as the record says.
        problem: what is damaged; empty for a whole record.
    """

    at: int | None
    kind: str = ""
    headers: HeaderMap | None = None
    content: bytes = b""
    length: int = 0
    problem: str = ""


@dataclass(frozen=True)
class _Codec:
    magic: bytes
    make: Callable[[], Any]


_CODECS = {
    ".gz": _Codec(b"\x1f\x8b\x08", lambda: zlib.decompressobj(wbits=31)),
    ".zst": _Codec(b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor().decompressobj()),
}


def records(path: Path, first_byte: int = 0) -> Iterator[Record]:
    """Stream the records of an archive from a place on; the same ones whether a reader began there or before.

    Args:
        path: a .warc or .wet file, also .gz or .zst.
        first_byte: the `at` of a record.
    """
    codec = _CODECS.get(path.suffix.lower())
    with path.open("rb") as file:
        file.seek(first_byte)
        yield from _plain(file) if codec is None else _compressed(file, codec)


def needs_dictionary(path: Path) -> bool:
    """Whether a zstd archive was made with a dictionary."""
    with path.open("rb") as file:
        return file.read(len(_DICTIONARY)) == _DICTIONARY


# --- rows ---


def row(number: int, record: Record) -> RawRow:
    """What a record holds: the text of a page, a fault with its reason, or nothing to read."""
    place = f"record {number}"
    if record.problem:
        return _damaged(place, record, record.problem)
    if record.kind not in _READ:
        return RawRow(place, skipped=record.kind or "unknown")
    if record.length > LARGEST:
        return RawRow(place, reason="too_long", detail=f"{record.length:,} bytes, more than {LARGEST:,}")
    try:
        return _page(place, record) if record.kind == "response" else _plain_text(place, record)
    except Undecodable as error:
        return replace(_damaged(place, record, str(error)), reason="bad_encoding")
    except (OSError, TooDeep) as error:  # what cannot be decompressed or put together
        return _damaged(place, record, str(error))


def _page(place: str, record: Record) -> RawRow:
    """The main text of a response with an HTML page."""
    answer = _answer(record.content)
    headers = answer.http_headers
    if headers.status_code is None:
        return _damaged(place, record, "no HTTP response")
    if headers.status_code != 200:
        return RawRow(place, skipped=f"status {headers.status_code}")
    kind = _kind(answer.http_content_type or _header(record, "WARC-Identified-Payload-Type"))
    if kind not in _PAGES:
        return RawRow(place, skipped=kind or "no content type")
    body = _body(record.content, answer)
    if len(body) > LARGEST:
        return RawRow(place, reason="too_long", detail=f"a page of more than {LARGEST:,} bytes")
    page = decoded(body, answer.http_charset, html=True)
    text = main_text(page.text)
    if not text:
        return replace(_damaged(place, record, "the page has no main text"), reason="empty")
    return _text(place, record, text, page.replaced)


def _plain_text(place: str, record: Record) -> RawRow:
    """The text of a conversion, as WET files have it."""
    kind = _kind(_header(record, "Content-Type"))
    if kind not in ("text/plain", ""):
        return RawRow(place, skipped=kind)
    found = decoded(record.content, "utf-8")
    return _text(place, record, found.text, found.replaced)


def _text(place: str, record: Record, text: str, replaced: int) -> RawRow:
    columns = {
        "id": (_header(record, "WARC-Record-ID") or "").strip("<>") or None,
        "url": _header(record, "WARC-Target-URI"),
        "date": _header(record, "WARC-Date"),
        "language": language(text),
        "text": text,
    }
    return RawRow(place, columns=columns, replaced=replaced)


def _answer(content: bytes, decode: Any = "none") -> WarcRecord:
    """The HTTP response in a record's content."""
    answer = WarcRecord()
    answer.set_bytes_content(content)
    answer.is_http = True
    answer.parse_http(decode)
    return answer


def _body(content: bytes, answer: WarcRecord) -> bytes:
    """The body of a response, decompressed and put together.

    Some crawlers store bodies decoded, with headers that say they are not: those are taken as they are.

    Raises:
        OSError: if the body is neither what its headers say nor a page.
    """
    try:
        return _answer(content, "all").reader.read(LARGEST + 1)
    except OSError:
        body = answer.reader.read(LARGEST + 1)
        if _MARKUP.match(body[:_LONGEST_MARK]):
            return body
        raise


def _kind(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def _header(record: Record, name: str) -> str | None:
    return record.headers.get(name) if record.headers is not None else None


def _damaged(place: str, record: Record, problem: str) -> RawRow:
    address = _header(record, "WARC-Target-URI")
    raw = record.content[:RAW_LIMIT].decode("utf-8", "replace")
    return RawRow(place, reason="damaged", detail=problem + (f" ({address})" if address else ""), raw=raw)


# --- records ---


def _plain(file: IO[bytes]) -> Iterator[Record]:
    """Records of an uncompressed archive; after damage, from the next line that begins one."""
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
    """Records of an archive of members; after damage, from the next member that begins with one."""
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


def _within(stream: Any, start: int | None) -> Iterator[Record]:
    """Records of one stream up to its end, or to the first that is damaged.

    Where something follows that begins no record, the record before is the damaged one: its length is wrong, and what
    was read as its content is not all, or not only, its own.
    """
    held: Record | None = None
    try:
        for found in ArchiveIterator(stream, parse_http=False, stream_detect=False):
            if held is not None:
                yield held
                if held.problem:
                    return
            held = _read(found, start)
    except _DAMAGED as error:
        place = f"at byte {start:,}: " if held is None and start is not None else ""
        what = f"no record follows at its end ({error})" if held else f"{place}{error}"
        held = replace(held or Record(start), problem=(held and held.problem) or what)
    if held is not None:
        yield held


def _read(found: WarcRecord, start: int | None) -> Record:
    """Take a record from its stream, its content if somebody wants it."""
    kind = found.headers.get("WARC-Type") or "unknown"
    length = found.content_length
    content, problem = b"", ""
    try:
        if kind in _READ and length <= LARGEST:
            content = found.reader.read(length)
            size = len(content)
        else:
            size = found.consume()
    except _DAMAGED as error:
        problem = str(error)
    else:
        problem = f"it is cut off: {size:,} bytes of {length:,}" if size < length else ""
    at = None if start is None else found.stream_pos
    return Record(at, kind.lower(), found.headers, content, length, problem)


class _Members:
    """The members of a compressed file, read as one stream each."""

    def __init__(self, file: IO[bytes], codec: _Codec):
        self._file, self._codec = file, codec
        self._buffer = b""  # compressed, not yet given to the decompressor
        self._ready = b""
        self._member: Any = None
        self._told = 0
        self.start = file.tell()

    def begin(self) -> bool:
        """Go to the next member; false at the end of the file."""
        self._fill()
        self.start = self._file.tell() - len(self._buffer)
        self._member, self._ready, self._told = self._codec.make(), b"", 0
        return bool(self._buffer)

    def seek(self, at: int | None) -> None:
        """Go on from another place; None: there is nothing more to read."""
        self._file.seek(0, 2) if at is None else self._file.seek(at)
        self._buffer = b""

    def tell(self) -> int:
        """Decompressed bytes read of this member."""
        return self._told

    def read(self, size: int = -1) -> bytes:
        """Decompressed bytes of this member, none at its end, or where the file ends within it."""
        while not self._ready and not self._member.eof:
            self._fill()
            if not self._buffer:
                break
            self._ready = self._member.decompress(self._buffer)
            self._buffer = self._member.unused_data if self._member.eof else b""
        given = self._ready if size < 0 else self._ready[:size]
        self._ready = self._ready[len(given) :]
        self._told += len(given)
        return given

    def drain(self) -> str:
        """Read this member to its end; say what is wrong with it, if anything is."""
        try:
            while self.read():
                pass
        except _DAMAGED as error:
            return str(error)
        return "" if self._member.eof else "the file ends within a compressed record"

    def _fill(self) -> None:
        self._buffer = self._buffer or self._file.read(_PIECE)


def _next_mark(file: IO[bytes], at: int) -> int | None:
    """Where the next line of an uncompressed archive is that begins a record."""
    return _search(file, at, lambda window: (found.start(1) for found in _BEGINS.finditer(window)), lambda _: True)


def _next_member(file: IO[bytes], codec: _Codec, at: int) -> int | None:
    """Where the next member is that begins with a record."""

    def places(window: bytes) -> Iterator[int]:
        place = window.find(codec.magic)
        while place >= 0:
            yield place
            place = window.find(codec.magic, place + 1)

    def begins(place: int) -> bool:
        file.seek(place)
        member = _Members(file, codec)
        with suppress(*_DAMAGED):
            return member.begin() and bool(_BEGINS.match(member.read(_LONGEST_MARK)))
        return False

    return _search(file, at, places, begins)


def _search(
    file: IO[bytes], at: int, places: Callable[[bytes], Iterator[int]], accept: Callable[[int], bool]
) -> int | None:
    while True:
        file.seek(at)
        window = file.read(_SCANNED + _LONGEST_MARK)
        for place in places(window):
            if accept(at + place):
                return at + place
        if len(window) <= _LONGEST_MARK:
            return None
        at += len(window) - _LONGEST_MARK
