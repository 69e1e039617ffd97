"""Write records of web archives: empty ones of a given length, and samples."""

import gzip
import struct
import zlib
from collections.abc import Callable

import zstandard

from personahub_assets.core.errors import SourceError

_BLOCK = 1 << 17  # maximum bytes of a zstd block
_HEAD = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Length: %010d\r\n\r\n"
_TAIL = b"\r\n\r\n"


def empty_record(suffix: str, size: int) -> bytes:
    """Make an empty record of a given size in bytes, in the compression of a suffix.

    Raises:
        SourceError: if the size is too small for a record.
    """
    return _EMPTY.get(suffix, _empty_plain)(size)


def conversion(text: str) -> bytes:
    """Make a conversion record with the text of a page, as in WET files."""
    content = text.encode()
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + _TAIL


def compress_record(suffix: str, record: bytes) -> bytes:
    """Compress a record by a suffix, as a separate gzip member or zstd frame."""
    return _COMPRESS.get(suffix, bytes)(record)


def _empty_plain(size: int) -> bytes:
    """Make an empty uncompressed record of a given size."""
    content = size - len(_HEAD % 0) - len(_TAIL)
    if content < 0:
        raise SourceError(f"a record of {size} bytes is too short to be blanked")
    return _HEAD % content + b" " * content + _TAIL


def _empty_gzip(size: int) -> bytes:
    """Make an empty record as a gzip member, padded by the comment of its header."""
    record = _empty_plain(len(_HEAD % 0) + len(_TAIL))
    packed = zlib.compress(record, wbits=-15) + struct.pack("<II", zlib.crc32(record), len(record))
    head = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
    comment = size - len(head) - 1 - len(packed)
    if comment < 0:
        raise SourceError(f"a compressed record of {size} bytes is too short to be blanked")
    return head + b" " * comment + b"\0" + packed


def _empty_zstd(size: int) -> bytes:
    """Make an empty record as a zstd frame of uncompressed blocks."""
    head = b"\x28\xb5\x2f\xfd\x00\x38"  # a window of 128 KiB
    blocks = -(-(size - len(head)) // (_BLOCK + 3))
    record = _empty_plain(size - len(head) - 3 * blocks)
    pieces = [record[at : at + _BLOCK] for at in range(0, len(record), _BLOCK)]
    last = len(pieces) - 1
    return head + b"".join(
        struct.pack("<I", len(piece) << 3 | (number == last))[:3] + piece for number, piece in enumerate(pieces)
    )


_EMPTY: dict[str, Callable[[int], bytes]] = {".gz": _empty_gzip, ".zst": _empty_zstd}
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
