"""HTTP responses as stored by crawlers: header and body, which can differ from its header.

    response = parse_response(block)
    response.status, response.content_type, response.decode(limit=16 << 20)

The header often does not match: bodies stored decoded, undeclared compression, lines without a carriage return, a
missing status line. Such a body is read as it is. Nothing is decompressed beyond the limit.
"""

import io
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import brotli
import zstandard
from fastwarc.warc import HeaderMap

LONGEST_HEADER = 1 << 16
"""Maximum bytes of a header block."""

BROKEN = (zlib.error, zstandard.ZstdError, brotli.error)
_LINE_END = re.compile(rb"\r?\n")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"(?:HTTP(?:/[\d.]{1,8})?|ICY)[ \t]+(\d{3})(?!\d)", re.IGNORECASE)
_FIELD = re.compile(rb"\A[!#$%&'*+.^_`|~\w-]{1,256}[ \t]*:")
_CHUNK = re.compile(rb"[ \t]{0,64}+([0-9A-Fa-f]{1,16}+)[ \t]{0,64}+(?:;[^\r\n]{0,256}+)?\r?\n")
_MARKUP = re.compile(rb"\A(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*<")
_MARKUP_BYTES = 256
_MOST_HEADERS = 8  # maximum interim responses before the final one
_MOST_CODINGS = 5
_NO_STATUS = b"HTTP/0.9 200\r\n"
_DIGITS = 18
_UNDECLARED = ("identity",) * 2
_PIECE = 4_096
_SMALL_PIECE = 512  # of zstd, whose decompressor has no limit: such a piece decompresses to at most 16 MiB


class ResponseError(ValueError):
    """A block is not an HTTP response, or its body matches neither its header nor a page."""


class TooLarge(ValueError):
    """A decompressed body is larger than the limit."""


class Decoded(NamedTuple):
    """Decoded bytes, and whether they are complete."""

    data: bytes
    is_complete: bool


@dataclass(frozen=True)
class Response:
    """A response with its stored body.

    Args:
        status: status code; 200 without a status line.
        fields: header fields.
        body: stored bytes, not decoded; they can be cut off.
    """

    status: int
    fields: HeaderMap
    body: bytes

    @property
    def content_type(self) -> str:
        """The unparsed field; of several the last one, as in browsers; empty if it is missing."""
        return (self.fields.get_multiple("Content-Type") or ("",))[-1]

    def decode(self, limit: int) -> Decoded:
        """Join and decompress the body by its header or its magic bytes; a body that is already a page is unchanged.

        Raises:
            ResponseError: if the body matches neither.
            TooLarge: if the decoded body is longer than `limit` bytes.
        """
        codings = [*_tokens(self.fields, "Content-Encoding"), *_tokens(self.fields, "Transfer-Encoding")]
        is_declared = "chunked" in codings
        codings = [coding for coding in codings if coding not in _AS_IT_IS]
        joined, is_chunked = _join_chunks(self.body, is_declared=is_declared)
        decoded = decode_body(joined.data, codings, limit)
        if is_declared and not is_chunked and not is_markup(decoded.data):
            raise ResponseError("the body is not chunked, as its header declares, and is not a page")
        # Content-Length counts the sent bytes, so it cannot check a body that was stored decoded.
        is_short = not codings and not is_chunked and len(self.body) < _content_length(self.fields)
        return Decoded(decoded.data, joined.is_complete and decoded.is_complete and not is_short)


def parse_response(block: bytes) -> Response:
    """Read a response; of several in a row, such as after 100 Continue, the final one.

    Raises:
        ResponseError: if the block is not a response.
    """
    response = _parse_one(block)
    for _ in range(_MOST_HEADERS):
        if not _is_interim(response):
            break
        response = _parse_one(response.body)
    return response


def parse_fields(header: bytes) -> HeaderMap:
    """Read the fields of a header block with its first line; any line ends are accepted."""
    fields = HeaderMap()
    fields.parse(io.BytesIO(_LINE_END.sub(b"\r\n", header.rstrip(b"\r\n")) + b"\r\n\r\n"), has_status_line=True)
    return fields


def find_header_end(block: bytes) -> tuple[int, int] | None:
    """Find the end of a header block and the begin of the body; None without an end within the limit."""
    match = _HEADER_END.search(block, 0, LONGEST_HEADER)
    return match.span() if match else None


def is_markup(body: bytes) -> bool:
    """Whether bytes begin like an HTML page."""
    return bool(_MARKUP.match(body[:_MARKUP_BYTES]))


def decode_body(body: bytes, codings: list[str], limit: int) -> Decoded:
    """Decompress a body by its header or its magic bytes; an uncompressed page is unchanged.

    Raises:
        ResponseError: if the body matches neither.
        TooLarge: if the decompressed body is longer than `limit` bytes.
    """
    if len(codings) > _MOST_CODINGS:
        raise ResponseError(f"{len(codings)} content encodings in a row; want at most {_MOST_CODINGS}")
    problem, is_complete = "", True
    for declared in (*reversed(codings), *_UNDECLARED):
        coding = _sniff_coding(body) or declared
        try:
            body, reached = _decoder(coding)(body, limit)
        except (ResponseError, *BROKEN) as error:
            problem = f"the body is not {coding}: {error}"
        else:
            is_complete &= reached
    if problem and not is_markup(body):
        raise ResponseError(problem)
    return Decoded(body, is_complete)


# --- header ---


def _parse_one(block: bytes) -> Response:
    block = block.lstrip(b"\r\n")
    status = _STATUS.match(block)
    if not status and not _FIELD.match(block):
        if not is_markup(block):
            raise ResponseError("no HTTP response")
        return Response(200, parse_fields(_NO_STATUS + b"Content-Type: text/html"), block)
    end = find_header_end(block)
    if end is None and len(block) > LONGEST_HEADER:
        raise ResponseError(f"its HTTP header has no end within {LONGEST_HEADER:,} bytes")
    header, body = (block[: end[0]], block[end[1] :]) if end else (block, b"")
    return Response(int(status[1]) if status else 200, parse_fields((b"" if status else _NO_STATUS) + header), body)


def _is_interim(response: Response) -> bool:
    """Whether another response follows, as after 100 Continue or the response of a proxy to CONNECT."""
    is_tunnel = response.status == 200 and not response.content_type and response.body.startswith(b"HTTP/")
    return is_tunnel or (100 <= response.status < 200 and bool(response.body))


def _tokens(fields: HeaderMap, name: str) -> list[str]:
    """The values of a list field, which can have several lines."""
    values = ",".join(fields.get_multiple(name)).lower().split(",")
    return [value.strip() for value in values if value.strip()]


# --- body ---


def _content_length(fields: HeaderMap) -> int:
    value = (fields.get("Content-Length") or "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) <= _DIGITS else 0


def _join_chunks(body: bytes, *, is_declared: bool) -> tuple[Decoded, bool]:
    """Join a chunked body; also return whether it was chunked.

    A declared body without chunks is returned unchanged; an undeclared one must consist of chunks only.
    """
    if not _CHUNK.match(body):
        return Decoded(body, is_complete=True), False
    data, at, is_complete = bytearray(), 0, False
    while not is_complete and (chunk := _CHUNK.match(body, at)):
        size = int(chunk[1], 16)
        data += body[chunk.end() : chunk.end() + size]
        at = chunk.end() + size
        at += 2 if body.startswith(b"\r\n", at) else body.startswith(b"\n", at)
        is_complete = size == 0
    if not is_complete and (not is_declared or not _is_cut_chunk(body[at : at + _PIECE])):
        return Decoded(body, is_complete=True), False
    return Decoded(bytes(data), is_complete), True


def _is_cut_chunk(remainder: bytes) -> bool:
    """Whether the rest of a body can be the beginning of a chunk's first line."""
    return len(remainder) < _PIECE and bool(
        re.fullmatch(rb"[ \t\r]*+[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\r\n]*)?\r?", remainder)
    )


def _sniff_coding(body: bytes) -> str | None:
    return next((coding for magic, coding in _MAGIC.items() if body.startswith(magic)), None)


def _decoder(coding: str) -> Callable[[bytes, int], Decoded]:
    if coding not in _DECODERS:
        raise ResponseError("unknown encoding")
    return _DECODERS[coding]


def _inflate(
    data: bytes, limit: int, make: Callable[[], Any], magic: bytes | None = None, piece: int = _PIECE
) -> Decoded:
    """Decompress members or frames one by one, in pieces small enough to bound their output."""
    out, at, member = bytearray(), 0, make()
    while at < len(data):
        chunk = data[at : at + piece]
        out += member.decompress(chunk, limit + 1 - len(out))
        if len(out) > limit:
            raise TooLarge
        at += len(chunk) - len(member.unused_data if member.eof else b"")
        if member.eof:
            if magic is None or not data.startswith(magic, at):
                return Decoded(bytes(out), is_complete=True)
            member = make()
    return Decoded(bytes(out), is_complete=False)


class _Zstd:
    """A decompressor of a zstd frame with zlib's interface."""

    def __init__(self) -> None:
        self._frame: Any = zstandard.ZstdDecompressor().decompressobj()

    def decompress(self, data: bytes, _limit: int) -> bytes:
        return bytes(self._frame.decompress(data))

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._frame.unused_data)


def _gzip(data: bytes, limit: int) -> Decoded:
    return _inflate(data, limit, lambda: zlib.decompressobj(wbits=31), _GZIP)


def _gzip_or_zlib(data: bytes, limit: int) -> Decoded:
    """Decompress gzip, or zlib, which some servers send under that name."""
    return _gzip(data, limit) if data.startswith(_GZIP) else _inflate(data, limit, zlib.decompressobj)


def _zstd(data: bytes, limit: int) -> Decoded:
    return _inflate(data, limit, _Zstd, _ZSTD, _SMALL_PIECE)


def _deflate(data: bytes, limit: int) -> Decoded:
    """Decompress deflate with the zlib header, as in the standard, or without, as some servers send it."""
    try:
        return _inflate(data, limit, zlib.decompressobj)
    except zlib.error:
        return _inflate(data, limit, lambda: zlib.decompressobj(wbits=-15))


def _brotli(data: bytes, limit: int) -> Decoded:
    decoder, out, chunk = brotli.Decompressor(), bytearray(), data
    while len(out) <= limit:
        out += decoder.process(chunk, output_buffer_limit=limit + 1)
        chunk = b""
        if decoder.is_finished() or decoder.can_accept_more_data():
            break
    if len(out) > limit:
        raise TooLarge
    return Decoded(bytes(out), decoder.is_finished())


_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_MAGIC = {_GZIP: "gzip", _ZSTD: "zstd"}
_AS_IT_IS = frozenset({"identity", "chunked", "none", "utf-8", "8bit", "binary"})
_DECODERS: dict[str, Callable[[bytes, int], Decoded]] = {
    "gzip": _gzip_or_zlib,
    "x-gzip": _gzip_or_zlib,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
    "identity": lambda data, _limit: Decoded(data, is_complete=True),
}
