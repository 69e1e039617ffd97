"""Web archives in the format of crawlers, made record by record."""

import gzip
from collections.abc import Iterable

import zstandard

SENTENCE = "The harbour crane stopped at noon, and the containers waited until the burnt relay had been found. "


def record(kind: str, address: str, block: bytes, *fields: str, length: int | None = None) -> bytes:
    """One record; `length` is a wrong declared length."""
    head = [
        "WARC/1.0",
        f"WARC-Type: {kind}",
        f"WARC-Record-ID: <urn:uuid:{address}>",
        "WARC-Date: 2024-05-01T10:00:00Z",
        f"WARC-Target-URI: {address}",
        *fields,
        f"Content-Length: {len(block) if length is None else length}",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def http(body: bytes, kind: str = "text/html; charset=utf-8", status: str = "200 OK", *fields: str) -> bytes:
    """An HTTP response."""
    kinds = [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join([f"HTTP/1.1 {status}", *kinds, *fields]).encode() + b"\r\n\r\n" + body


def page(text: str) -> bytes:
    """A page with a text and the usual markup."""
    return (
        "<html><head><title>A page</title><script>let x = '<p>no</p>'</script></head><body>"
        "<nav><ul><li><a href='/'>Home</a></li><li><a href='/b'>Shop</a></li></ul></nav>"
        f"<main><article><p>{text}</p></article></main><footer>Imprint and cookies</footer></body></html>"
    ).encode()


def response(address: str, text: str = SENTENCE * 2, **told: int) -> bytes:
    """A record with a page."""
    return record("response", address, http(page(text)), "Content-Type: application/http; msgtype=response", **told)


def conversion(address: str, text: str = SENTENCE * 2) -> bytes:
    """A record of a WET file."""
    return record("conversion", address, text.encode(), "Content-Type: text/plain")


def plain(records: Iterable[bytes]) -> bytes:
    """As .warc."""
    return b"".join(records)


def gz(records: Iterable[bytes]) -> bytes:
    """As .warc.gz: a member per record."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)


def gz_whole(records: Iterable[bytes]) -> bytes:
    """As .warc.gz, compressed as a whole instead of by record."""
    return gzip.compress(b"".join(records), mtime=0)


def zst(records: Iterable[bytes]) -> bytes:
    """As .warc.zst: a frame per record."""
    return b"".join(zstandard.compress(one) for one in records)
