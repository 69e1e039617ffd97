"""Detect the encoding of a source file from its beginning."""

import codecs
import re

import webencodings

from personahub_assets.sources.encodings import detected_encodings

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LONG_MARKS = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}
_SEQUENCES = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LARGE = 1 << 16  # bytes; a shorter beginning is the whole file
_HIGH = bytes(range(0x80, 0x100))
_ENOUGH = 32  # non-ASCII bytes
# Python's codecs with all characters of an encoding.
_CODECS = {"gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949", "big5": "big5hkscs"}


def find_encoding(beginning: bytes) -> str:
    """Detect the encoding of a text from its first bytes: a mark, UTF-8, UTF-16 without a mark, or an older one.

    >>> find_encoding("id;text\\n1;Café\\n".encode("cp1252"))
    'cp1252'
    """
    for marks in (_LONG_MARKS, _MARKS):
        for mark, encoding in marks.items():
            if beginning.startswith(mark):
                return encoding
    return _without_mark(beginning)


def _without_mark(beginning: bytes) -> str:
    # In UTF-16 of Latin letters every second byte is NUL, and few others are; NULs in a row are padding.
    half, odd, even = len(beginning) // 4, beginning[1::2].count(0), beginning[::2].count(0)
    if odd > half > 8 * even:
        return "utf-16-le"
    if even > half > 8 * odd:
        return "utf-16-be"
    return "utf-8" if _is_mostly_utf8(beginning) else _detect_older(beginning)


def _is_mostly_utf8(beginning: bytes) -> bool:
    """Whether most non-ASCII bytes are UTF-8; a few bad bytes are faults of their rows."""
    if beginning.isascii():
        return True
    valid = sum(len(match) for match in _SEQUENCES.findall(beginning))
    others = len(beginning) - len(beginning.translate(None, _HIGH)) - valid
    return others <= max(valid // 2, 3 if _is_cut(beginning) else 0)


def _is_cut(beginning: bytes) -> bool:
    """Whether the last character can be cut off."""
    return len(beginning) >= _LARGE and any(byte >= 0xC2 for byte in beginning[-3:])


def _detect_older(beginning: bytes) -> str:
    """Detect an older encoding if there are enough bytes; else cp1252."""
    if len(beginning) - len(beginning.translate(None, _HIGH)) < _ENOUGH:
        return "cp1252"
    name = detected_encodings(beginning)[0]
    return "cp1252" if name.startswith("utf") else _CODECS.get(name) or str(webencodings.lookup(name).codec_info.name)
