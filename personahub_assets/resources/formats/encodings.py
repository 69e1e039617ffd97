"""The encoding of a source file, by its beginning."""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding

_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LONG_MARKS = {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"}
_SEQUENCES = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_LARGE = 1 << 16  # bytes; a shorter beginning is the whole file
_HIGH = bytes(range(0x80, 0x100))
_ENOUGH = 32  # bytes that are not ASCII
_PYTHON_NAMES = {"windows-1252": "cp1252", "iso-8859-1": "cp1252", "ascii": "utf-8"}


def find_encoding(beginning: bytes) -> str:
    """Name the encoding of a text by its first bytes: a mark, UTF-8, UTF-16 without a mark, or an older one.

    >>> find_encoding("id;text\\n1;Café\\n".encode("cp1252"))
    'cp1252'
    """
    for marks in (_LONG_MARKS, _MARKS):
        for mark, encoding in marks.items():
            if beginning.startswith(mark):
                return encoding
    return _without_mark(beginning)


def _without_mark(beginning: bytes) -> str:
    half = len(beginning) // 4  # of text in Latin letters every second byte is NUL
    if half and beginning[1::2].count(0) > half:
        return "utf-16-le"
    if half and beginning[::2].count(0) > half:
        return "utf-16-be"
    return "utf-8" if _is_mostly_utf8(beginning) else _older(beginning)


def _is_mostly_utf8(beginning: bytes) -> bool:
    """Whether most of what is not ASCII is UTF-8: a few bad bytes are faults of their rows."""
    if beginning.isascii():
        return True
    valid = sum(len(match) for match in _SEQUENCES.findall(beginning))
    others = len(beginning) - len(beginning.translate(None, _HIGH)) - valid
    return others <= max(valid // 2, 3 if _is_cut(beginning) else 0)


def _is_cut(beginning: bytes) -> bool:
    """Whether the last character may be cut off."""
    return len(beginning) >= _LARGE and any(byte >= 0xC2 for byte in beginning[-3:])


def _older(beginning: bytes) -> str:
    """Guess, if there is enough to guess by; else what most programs of the West write."""
    if len(beginning) - len(beginning.translate(None, _HIGH)) < _ENOUGH:
        return "cp1252"
    name = str(detect_encoding(beginning)).lower()
    try:
        python_name = codecs.lookup(_PYTHON_NAMES.get(name, name)).name
    except LookupError:
        return "cp1252"
    return "cp1252" if python_name.startswith(("utf", "iso8859-1")) else python_name
