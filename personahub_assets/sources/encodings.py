"""Encodings: decode bytes as browsers do, by the Encoding Standard (https://encoding.spec.whatwg.org).

    text = decode_text(body, "iso-8859-1", is_html=True)
    text.text, text.encoding, text.replaced

In order of precedence: a byte order mark, UTF-8 if the bytes are valid UTF-8, the label of the server, the label of the
page, and detection. Browsers do not try UTF-8 without a label: they show a mislabelled UTF-8 page garbled, which is
useless here.

Labels and tables are those of webencodings. Most of Python's codecs decode them by the standard; the others are
corrected here, compared byte by byte with Chromium.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import webencodings
from resiliparse.parse.encoding import detect_encoding

from personahub_assets.sources.big5 import BIG5

_ODD_SHARE = 0.01
_ODD = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_SCANNED = 4_096  # bytes searched for the encoding of a page; browsers search 1,024
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16be"), (codecs.BOM_UTF16_LE, "utf-16le"))
_OTHER_THAN_ASCII = re.compile("[^\x00-\x7f]")
_C1 = re.compile(rb"[\x80-\x9f]")
_SEVEN_BIT = re.compile(rb"[\x1b\x0e]|~[{}]")  # shift sequences of encodings with only ASCII bytes
_REPLACEMENT = "replacement"
# Names of the detector (Python's) that are not labels of the standard.
_LABELS = {"cp949": "euc-kr", "iso2022-jp": "iso-2022-jp", "mac-cyrillic": "x-mac-cyrillic"}
# ISO 8859 has control characters at 80 to 9F, the code pages of Windows have letters.
_TWINS = {
    "iso-8859-2": "windows-1250",
    "iso-8859-5": "windows-1251",
    "iso-8859-6": "windows-1256",
    "iso-8859-7": "windows-1253",
    "iso-8859-8": "windows-1255",
    "iso-8859-13": "windows-1257",
    "iso-8859-4": "windows-1257",
}


class Undecodable(ValueError):
    """The bytes are not text in any declared or detected encoding."""


@dataclass(frozen=True)
class Text:
    """Decoded text.

    Args:
        text: text without a byte order mark.
        replaced: number of undecodable characters, which are now U+FFFD.
        encoding: encoding used, by its name in the Encoding Standard.
        overruled: declared encoding of a text that is UTF-8.
    """

    text: str
    replaced: int
    encoding: str = "utf-8"
    overruled: str = ""


def decode_text(data: bytes, charset: str | None = None, *, is_html: bool = False) -> Text:
    """Decode bytes; a few undecodable ones become U+FFFD.

    Args:
        data: the whole text.
        charset: label of the server.
        is_html: also search for the label of the page.

    Raises:
        Undecodable: if more than one character in a hundred cannot be decoded or is a control character. Without this
            limit any bytes would be text in some encoding.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _checked(decode(data[len(mark) :], name), name)
    labels = [find_encoding(charset), declared_encoding(data) if is_html else None]
    declared = next((name for name in labels if name), "")
    text = _as_utf_8(data, declared)
    return text if text is not None else _as_declared(data, [name for name in labels if name])


def find_encoding(label: str | None) -> str | None:
    """Find the standard's name of an encoding by any of its labels.

    >>> find_encoding(" Latin1 "), find_encoding("x-sjis"), find_encoding("klingon")
    ('windows-1252', 'shift_jis', None)
    """
    codec = webencodings.lookup(label) if label and label.isascii() else None
    return str(codec.name) if codec else None


def declared_encoding(page: bytes) -> str | None:
    """Find the encoding that a page declares in its first bytes, in <meta> or as XML.

    >>> declared_encoding(b'<meta http-equiv="Content-Type" content="text/html; charset=GB2312">')
    'gbk'
    """
    start = page[:_SCANNED]
    for pattern, wide in _XML_IN_UTF_16:
        if start.startswith(pattern):
            return wide
    labels = [_label_of_meta(tag[1]) for tag in _TOKEN.finditer(start) if tag[1] is not None]
    if declaration := _XML.match(start):
        labels.append(declaration[2].decode("latin-1"))
    name = next(filter(None, map(find_encoding, labels)), None)
    return _of_meta(name) if name else None


def decode(data: bytes, name: str) -> str:
    """Decode bytes in an encoding of the standard; undecodable bytes become U+FFFD.

    Args:
        data: bytes without a byte order mark.
        name: result of `find_encoding`.
    """
    special = _SPECIAL.get(name)
    if special:
        return special(data)
    codec = webencodings.lookup(name)
    text, _ = codec.codec_info.decode(data, _ERRORS.get(name, "replace"))
    return str(text)


# --- choice ---


def _as_utf_8(data: bytes, declared: str) -> Text | None:
    """Decode valid UTF-8; None for other bytes, and for ASCII with shift sequences."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    has_other_label = declared not in ("", "utf-8")
    if has_other_label and text.isascii() and (_SEVEN_BIT.search(data) or "\0" in text):
        return None
    if is_odd(text):
        return None
    return Text(text, text.count("\ufffd"), "utf-8", declared if has_other_label and not text.isascii() else "")


def _as_declared(data: bytes, labels: list[str]) -> Text:
    """Decode with the first fitting encoding of the labels; else with the best fitting one."""
    texts = list[Text]()
    for name in _candidates(data, labels):
        if name == _REPLACEMENT:
            continue
        text = decode(data, name)
        texts.append(Text(text, text.count("\ufffd"), name))
        if _fits(text):
            break
    if not texts:
        raise Undecodable("it is in an encoding that browsers refuse to read, such as hz-gb-2312 or iso-2022-kr")
    best = texts[-1] if _fits(texts[-1].text) else min(texts, key=lambda text: count_odd(text.text) / len(text.text))
    return _checked(best.text, best.encoding)


def _candidates(data: bytes, labels: list[str]) -> Iterator[str]:
    yield from dict.fromkeys(labels)
    if _REPLACEMENT not in labels:
        yield from detected_encodings(data)
        yield "utf-8"


def detected_encodings(data: bytes) -> list[str]:
    """Detect encodings, by names of the standard; a code page of Windows is added if it can be confused.

    >>> detected_encodings("서울의 간호사는 노래를 부릅니다".encode("cp949"))
    ['euc-kr']
    """
    name = str(detect_encoding(data, html5_compatible=False)).lower().replace("_", "-")
    encoding = find_encoding(_LABELS.get(name, name)) or "windows-1252"
    names = [encoding, *filter(None, [_TWINS.get(encoding)])]
    return names[::-1] if _C1.search(data) else names


def _fits(text: str) -> bool:
    """Whether a text has few odd characters, and more decoded non-ASCII characters than odd ones."""
    odd = count_odd(text)
    return not odd or (not is_odd(text) and odd * 4 <= _count_other_than_ascii(text) - odd)


def _checked(text: str, name: str) -> Text:
    if is_odd(text):
        raise Undecodable(f"{count_odd(text):,} of {len(text):,} characters are not {name}, or control characters")
    return Text(text, text.count("\ufffd"), name)


def is_odd(text: str) -> bool:
    """Whether more than one character in a hundred is a control character or U+FFFD."""
    return count_odd(text) > len(text) * _ODD_SHARE


def count_odd(text: str) -> int:
    """Control characters and U+FFFD in a text."""
    return sum(1 for _ in _ODD.finditer(text))


def _count_other_than_ascii(text: str) -> int:
    return sum(1 for _ in _OTHER_THAN_ASCII.finditer(text))


# --- declared in a page ---

_ATTRIBUTE = re.compile(rb"""([^\s/>=]+)\s*+(?:=\s*+(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
# Comments, <meta> with its attributes as group 1, and other tags, whose attributes can contain text like a tag.
_TOKEN = re.compile(
    rb"""<!--.*?-->|<meta[\s/]((?:[^>"']|"[^"]*"|'[^']*')*+)|</?[a-z](?:[^>"']|"[^"]*"|'[^']*')*+|<[!/?][^>]*""",
    re.IGNORECASE | re.DOTALL,
)
_IN_CONTENT = re.compile(rb"""charset\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s;"']+))""", re.IGNORECASE)
_XML = re.compile(rb"""\A\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*(["'])([^"'>]{1,40})\1""", re.IGNORECASE)
_XML_IN_UTF_16 = ((b"<\0?\0x\0", "utf-16le"), (b"\0<\0?\0x", "utf-16be"))


def _label_of_meta(attributes: bytes) -> str | None:
    values = dict[bytes, bytes]()
    for match in _ATTRIBUTE.finditer(attributes):
        values.setdefault(match[1].lower(), match[2] or match[3] or match[4] or b"")
    label = values.get(b"charset")
    if label is None and values.get(b"http-equiv", b"").strip().lower() == b"content-type":
        content = _IN_CONTENT.search(values.get(b"content", b""))
        label = (content[1] or content[2] or content[3] or b"") if content else None
    return None if label is None else label.decode("latin-1")


def _of_meta(name: str) -> str:
    """The encoding of a label inside a page: never UTF-16, because the page was read as ASCII up to the label."""
    return {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252"}.get(name, name)


# --- corrections of Python's codecs ---


def _c1(error: UnicodeError) -> tuple[str, int]:
    """Bytes 80 to 9F that are unassigned in a code page of Windows are control characters; others are undecodable."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return chr(byte) if byte < 0xA0 else _FREE.get(byte, "\ufffd"), error.start + 1


def _euro(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    if error.object[error.start] == 0x80:
        return "€", error.start + 1
    return _after_lead(error)


def _big5(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    pair = error.object[error.start : error.start + 2]
    if pair in BIG5:
        return BIG5[pair], error.start + 2
    return _after_lead(error)


def _after_lead(error: UnicodeDecodeError) -> tuple[str, int]:
    """U+FFFD for an invalid pair; its second byte is kept if it is ASCII."""
    second = error.object[error.start + 1 : error.start + 2]
    return "\ufffd", error.start + (1 if not second or second.isascii() or error.object[error.start] < 0x81 else 2)


_FREE = {0xCA: "\u05ba"}  # in windows-1255, the only code page without this byte

codecs.register_error("personahub-c1", _c1)
codecs.register_error("personahub-euro", _euro)
codecs.register_error("personahub-big5", _big5)
codecs.register_error("personahub-pair", lambda error: _after_lead(error))  # type: ignore[arg-type]

_ERRORS = {
    **dict.fromkeys((f"windows-125{number}" for number in range(9)), "personahub-c1"),
    "windows-874": "personahub-c1",
    "euc-kr": "personahub-pair",
}
_KOI8_U = {0x255D: "ў", 0x256C: "Ў"}
_BIG5 = str.maketrans("•､‾∼♁☉¥¢£", "‧﹑¯～⊕⊙￥￠￡")
_SHIFT_JIS = dict.fromkeys(range(0xF8F0, 0xF8F4), "\ufffd")  # single bytes that are not in the standard
# Later versions of GB 18030 assign these.
_GB18030 = dict(
    zip(
        (
            *(0xE5E5, *range(0xE78D, 0xE797), 0xE7C7),
            *(0xE81E, 0xE826, 0xE82B, 0xE82C, 0xE832, 0xE843, 0xE854, 0xE864),
        ),
        "\u3000︐︒︑︓︔︕︖︗︘︙ḿ龴龵龶龷龸龹龺龻",
        strict=True,
    )
)
_JIS = re.compile(rb"\x1b(?:\$[@B]|\([BIJ])")
_EUC_JP = re.compile(
    rb"[\x00-\x7f]+|(?:[\xa1-\xfe][\xa1-\xfe])+|(?:\x8e[\xa1-\xdf])+|(?:\x8f[\xa1-\xfe][\xa1-\xfe])+|[\x80-\xff]"
)


def _gbk(data: bytes) -> str:
    """Decode GBK like GB 18030."""
    return data.decode("gb18030", "personahub-euro").translate(_GB18030)


def _euc_jp(data: bytes) -> str:
    """Decode EUC-JP; its NEC and IBM rows, missing in Python's codec, are in the code page of Shift_JIS."""
    return "".join(map(_euc_jp_run, (match[0] for match in _EUC_JP.finditer(data))))


def _euc_jp_run(run: bytes) -> str:
    if run[0] < 0x80:
        return run.decode("ascii")
    if len(run) == 1:
        return "\ufffd"
    if run[0] == 0x8E:
        return run[1::2].decode("cp932")
    if run[0] == 0x8F:
        return run.decode("euc_jp", "replace").replace("~", "～")
    return _jis_0208(run)


def _jis_0208(run: bytes) -> str:
    """Decode pairs of JIS X 0208, with or without high bits, as Shift_JIS."""
    shifted = bytearray()
    for row, cell in zip(run[::2], run[1::2], strict=True):
        row, cell = (row & 0x7F) - 0x21, (cell & 0x7F) - 0x21
        lead = row // 2 + (0x81 if row < 62 else 0xC1)
        trail = cell + 0x9F if row % 2 else cell + (0x40 if cell < 63 else 0x41)
        shifted += bytes((lead, trail))
    return shifted.decode("cp932", "personahub-pair")


def _iso_2022_jp(data: bytes) -> str:
    """Decode runs of bytes between escape sequences, which select the character set."""
    pieces, at, mode = list[str](), 0, b"\x1b(B"
    for escape in _JIS.finditer(data):
        pieces.append(_jis_run(data[at : escape.start()], mode))
        at, mode = escape.end(), escape[0]
    return "".join([*pieces, _jis_run(data[at:], mode)])


def _jis_run(run: bytes, mode: bytes) -> str:
    if mode == b"\x1b(I":
        return bytes(byte | 0x80 for byte in run).decode("cp932", "replace")
    if mode == b"\x1b(J":
        return run.decode("ascii", "replace").translate({0x5C: "¥", 0x7E: "‾"})
    if mode == b"\x1b(B":
        return run.decode("ascii", "replace")
    return "".join(_jis_line(line) for line in re.findall(rb"[\x21-\x7e]+|[^\x21-\x7e]+", run))


def _jis_line(line: bytes) -> str:
    if not 0x21 <= line[0] <= 0x7E:
        return line.decode("ascii", "replace")
    even_length = len(line) // 2 * 2
    return _jis_0208(line[:even_length]) + "\ufffd" * (len(line) - even_length)


def _utf_16(codec: str) -> Callable[[bytes], str]:
    return lambda data: data.decode(codec, "replace")


_SPECIAL: dict[str, Callable[[bytes], str]] = {
    "gbk": _gbk,
    "gb18030": _gbk,
    "euc-jp": _euc_jp,
    "iso-2022-jp": _iso_2022_jp,
    "utf-16le": _utf_16("utf-16-le"),
    "utf-16be": _utf_16("utf-16-be"),
    "koi8-u": lambda data: data.decode("koi8-u", "replace").translate(_KOI8_U),
    "shift_jis": lambda data: data.decode("cp932", "personahub-pair").translate(_SHIFT_JIS),
    "big5": lambda data: data.decode("big5hkscs", "personahub-big5").translate(_BIG5),
}
