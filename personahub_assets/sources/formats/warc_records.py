"""Records of web archives that are written: empty ones of a given length, and those of samples."""

import gzip
import struct
import zlib
from collections.abc import Callable

import zstandard

from personahub_assets.core.errors import SourceError

_BLOCK = 1 << 17  # bytes of a zstd block at most
_HEAD = b"WARC/1.0\r\nWARC-Type: metadata\r\nContent-Length: %010d\r\n\r\n"
_TAIL = b"\r\n\r\n"


def empty_record(suffix: str, size: int) -> bytes:
    """A record that says nothing, of as many bytes in a file of a suffix.

    Raises:
        SourceError: if no record is so short.
    """
    return _EMPTY.get(suffix, _empty_plain)(size)


def conversion(text: str) -> bytes:
    """A record with the text of a page, as WET files have them."""
    content = text.encode()
    head = f"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content + _TAIL


def compress_record(suffix: str, record: bytes) -> bytes:
    """A record as a file of a suffix has it: in a gzip member or zstd frame of its own."""
    return _COMPRESS.get(suffix, bytes)(record)


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
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}
