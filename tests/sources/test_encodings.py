"""Encodings of pages, by the Encoding Standard of browsers."""

import random

import pytest
import webencodings
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from webencodings.labels import LABELS

from personahub_assets.sources.encodings import Undecodable, declared_encoding, decode, decode_text, find_encoding

GERMAN = "Der Hafenkran blieb um zwölf Uhr stehen, und „die Container“ warteten – bis 5 € gefunden waren. "
RUSSIAN = "Портовый кран остановился в полдень, и контейнеры ждали, пока не нашли сгоревшее реле. "
JAPANESE = "港のクレーンは正午に止まり、焼けた①リレーが見つかるまでコンテナは待っていた～㈱。"
KOREAN = "항구의 크레인은 정오에 멈췄고 똠방각하 컨테이너는 계전기를 찾을 때까지 기다렸다. "
TRADITIONAL = "港口的起重機在中午停了下來，貨櫃一直等到找到燒壞的繼電器為止，會意字。"
SIMPLIFIED = "港口的起重机在中午停了下来，集装箱一直等到找到烧坏的继电器为止，朱镕基。"
GREEK = "Ο γερανός του λιμανιού σταμάτησε το μεσημέρι και τα κιβώτια περίμεναν. "
HEBREW = "המנוף של הנמל נעצר בצהריים והמכולות חיכו עד שנמצא הממסר השרוף. "
ARABIC = "توقفت رافعة الميناء عند الظهر وانتظرت الحاويات حتى عثر على المرحل المحترق. "
THAI = "เครนท่าเรือหยุดตอนเที่ยงและตู้คอนเทนเนอร์รอจนพบรีเลย์ที่ไหม้ "
TURKISH = "Liman vinci öğlen durdu ve konteynerler yanmış röle bulunana kadar bekledi, şöyle ığdır. "
POLISH = "Dźwig portowy zatrzymał się w południe, a kontenery czekały, aż znaleziono spalony przekaźnik. "
VIETNAMESE = "Câu đó đã dài và rô ràng, công nhân đi về nhà êm đẹp, ăn cơm và ngủ. "

# Each: the text, the codec that makes its bytes, what the server says, what the page says.
CASES = [
    *((GERMAN, codec, label, meta) for codec, label, meta in [
        ("utf-8", None, None), ("utf-8", "utf-8", None), ("utf-8", "UTF8", None), ("utf-8", None, "utf-8"),
        ("utf-8", "iso-8859-1", None), ("utf-8", "windows-1252", "utf-8"), ("utf-8", None, "iso-8859-1"),
        ("utf-8", "gb2312", None), ("utf-8", "shift_jis", None), ("utf-8", "no-such-charset", None),
        ("utf-8-sig", "iso-8859-1", None), ("utf-8-sig", "utf-16", None), ("utf-16", "utf-8", None),
        ("utf-16", None, None), ("utf-16-le", "utf-16", None), ("utf-16-le", "utf-16le", None),
        ("utf-16-be", "utf-16be", None), ("utf-8", None, "utf-16"), ("cp1252", "iso-8859-1", None),
        ("cp1252", "latin1", None), ("cp1252", "us-ascii", None), ("cp1252", "ascii", None), ("cp1252", "cp819", None),
        ("cp1252", "windows-1252", None), ("cp1252", None, "iso-8859-1"), ("cp1252", "utf-8", None),
        ("cp1252", "utf-8", "windows-1252"), ("cp1252", "klingon", "latin1"), ("iso8859-15", "iso-8859-15", None),
        ("mac-roman", "macintosh", None),
    ]),
    *((JAPANESE, codec, label, meta) for codec, label, meta in [
        ("cp932", "shift_jis", None), ("cp932", "Shift_JIS", None), ("cp932", "x-sjis", None),
        ("cp932", "windows-31j", None),
        ("cp932", "ms_kanji", None), ("cp932", None, "shift-jis"), ("cp932", "shift_jis", "euc-jp"),
        ("utf-8", "shift_jis", None), ("utf-8", "euc-jp", "shift_jis"), ("utf-8", "iso-2022-jp", None),
    ]),
    *((KOREAN, "cp949", label, meta) for label, meta in [
        ("euc-kr", None), ("ks_c_5601-1987", None), ("korean", None), ("windows-949", None), (None, "euc-kr"),
    ]),
    *((TRADITIONAL, "big5", label, meta) for label, meta in [
        ("big5", None), ("big5-hkscs", None), ("x-x-big5", None), (None, "cn-big5"),
    ]),
    *((SIMPLIFIED, codec, label, meta) for codec, label, meta in [
        ("gb18030", "gb2312", None), ("gbk", "gb_2312-80", None), ("gbk", "x-gbk", None), ("gbk", "chinese", None),
        ("gb18030", "gb18030", None), ("gbk", None, "gb2312"), ("gbk", None, "gbk"), ("gbk", None, None),
    ]),
    (RUSSIAN, "koi8-r", "koi8-r", None), (RUSSIAN, "koi8-r", None, "koi"), (RUSSIAN, "cp1251", "windows-1251", None),
    (RUSSIAN, "cp1251", "cp1251", None), (RUSSIAN, "cp1251", None, "x-cp1251"), (RUSSIAN, "cp866", "ibm866", None),
    (RUSSIAN, "iso8859-5", "iso-8859-5", None), (RUSSIAN, "mac-cyrillic", "x-mac-cyrillic", None),
    (RUSSIAN, "koi8-u", "koi8-u", None), (RUSSIAN, "utf-8", "koi8-r", None), (RUSSIAN, "cp1251", None, None),
    (GREEK, "iso8859-7", "iso-8859-7", None), (GREEK, "cp1253", "windows-1253", None),
    (HEBREW, "cp1255", "windows-1255", None), (HEBREW, "iso8859-8", "iso-8859-8-i", None),
    (HEBREW, "iso8859-8", "logical", None), (ARABIC, "cp1256", "windows-1256", None),
    (ARABIC, "iso8859-6", "iso-8859-6", None), (THAI, "cp874", "tis-620", None), (THAI, "cp874", "iso-8859-11", None),
    (THAI, "cp874", "windows-874", None), (THAI, "cp874", None, "tis-620"), (TURKISH, "cp1254", "iso-8859-9", None),
    (TURKISH, "cp1254", "latin5", None), (TURKISH, "cp1254", "windows-1254", None),
    (POLISH, "iso8859-2", "iso-8859-2", None), (POLISH, "cp1250", "windows-1250", None),
    (VIETNAMESE, "cp1258", "windows-1258", None),
]  # fmt: skip
CASES = [
    (text, codec, label, meta)
    for text, codec, label, meta in CASES
    if text.encode(codec, "ignore").decode(codec) == text
]


def page(text: str, meta: str | None) -> str:
    return (f'<html><head><meta charset="{meta}">' if meta else "<html><head>") + f"<title>x</title></head><p>{text}"


@pytest.mark.parametrize(("text", "codec", "label", "meta"), CASES)
def test_a_page_is_read_as_browsers_read_it_or_as_the_utf_8_that_it_is(
    text: str, codec: str, label: str | None, meta: str | None
) -> None:
    html = page(text * 3, meta)
    found = decode_text(html.encode(codec), label, is_html=True)
    assert (found.text, found.replaced) == (html, 0)


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 80


ENCODINGS = sorted(
    set(LABELS.values()) - {"replacement", "utf-8", "utf-16le", "utf-16be", "x-user-defined", "iso-2022-jp"}
)


WIDE = frozenset({"gbk", "gb18030", "big5", "euc-jp", "shift_jis", "euc-kr"})


def encoded(label: str, seed: int) -> tuple[str, bytes]:
    """Letters of the encoding that a label names, and their bytes."""
    name, dice, good = LABELS[label], random.Random(seed), list[bytes]()
    codec = webencodings.lookup(label).codec_info
    while len(good) < 12:
        piece = bytes(dice.choices(range(0x81, 0xFF), k=2 if name in WIDE else 1))
        text = codec.decode(piece, "ignore")[0]
        if len(text) == 1 and text.isalpha() and codec.encode(text, "ignore")[0] == piece:
            good.append(piece)
    data = b"".join(good)
    return decode(data, name), data


WAYS = ["header", "meta", "quoted", "http-equiv", "both", "xml", "late"]


@settings(max_examples=25)
@given(
    label=st.sampled_from(sorted(label for label, name in LABELS.items() if name in ENCODINGS)),
    seed=st.integers(0, 1 << 32),
    way=st.sampled_from(WAYS),
    is_upper=st.booleans(),
)
def test_text_of_any_encoding_comes_back_however_it_is_labelled(
    label: str, seed: int, way: str, is_upper: bool
) -> None:
    text, data = encoded(label, seed)
    assert "\ufffd" not in text
    label = label.upper() if is_upper else label
    start = {
        "header": "<p>",
        "meta": f"<META charset={label}><p>",
        "quoted": f"<!-- <meta charset=utf-7> --><meta name=x content='a>b' CharSet = '{label}' /><p>",
        "http-equiv": f'<meta http-equiv=Content-Type content="text/html; charset={label}"><p>',
        "both": "<meta charset=windows-1251><p>",
        "xml": f'<?xml version="1.0" encoding="{label}"?><p>',
        "late": "<!-- " + "x" * 1_500 + f" --><meta charset={label}><p>",
    }[way].encode()
    assume("\ufffd" in data.decode("utf-8", "replace"))  # some bytes are text as UTF-8, too, and then are that
    found = decode_text(start + data * 4, label if way in ("header", "both") else None, is_html=True)
    assert found.text == start.decode() + text * 4
    assert (found.replaced, found.overruled) == (0, "")


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (b"\x80\x81\x8d\x93", "windows-1252", "€\x81\x8d“"),
        (b"\xad\xa1\xa1\xc1\xa1\xdd\x8e\xb1\x8f\xb0\xa1", "euc-jp", "①～－ｱ丂"),
        (b"\x1b$B0!-!\x1b(I12\x1b(Bok\x1b(J\\~", "iso-2022-jp", "亜①ｱｲok¥‾"),
        (b"\x87\x40\x81\x60\xb1\xfa\x40", "shift_jis", "①～ｱⅰ"),
        (b"\x8c\x63\xb0\xa1", "euc-kr", "똠가"),
        (b"\x80\xa6\xd9\x90\x34\xcc\x38", "gbk", "€︐" + b"\x90\x34\xcc\x38".decode("gb18030")),
        (b"\x87\x7a\xfa\x5f\xa2\x44\xa1\x45", "big5", "㡵倩￥‧"),
        (b"\xae\xbe", "koi8-u", "ўЎ"),
        (b"\xca\x81", "windows-1255", "\u05ba\x81"),
        (b"\x80a", "x-user-defined", "\uf780a"),
        (b"\xe0", "iso-8859-8-i", "א"),
        (b"\xa1\x80", "windows-874", "ก€"),
    ],
)
def test_codecs_decode_what_chromium_decodes(data: bytes, name: str, text: str) -> None:
    assert decode(data, name) == text


def test_a_bad_pair_costs_no_markup() -> None:
    for name in ("shift_jis", "big5", "euc-kr", "gbk", "euc-jp"):
        assert decode(b"\xfe<p>x", name).endswith("<p>x")


@pytest.mark.parametrize(
    ("html", "name"),
    [
        (b"<meta charset=utf-16>", "utf-8"),
        (b"<meta charset=x-user-defined>", "windows-1252"),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b"<!-- <meta charset=big5> --><meta charset='gbk'>", "gbk"),
        (b'<a title="<meta charset=big5>"><meta charset="gbk">', "gbk"),
        (b"<metadata charset=big5><meta charset=gbk>", "gbk"),
        (b"<meta content='text/html; charset=big5'>", None),
        (b"<meta http-equiv=refresh content='0; charset=big5'>", None),
        (b"<meta\ncharset\n=\nbig5\n>", "big5"),
        (b'<meta/charset="big5"/>', "big5"),
        (b"<?xml version='1.0' encoding='euc-jp'?><html>", "euc-jp"),
        (b"<?xml version='1.0' encoding='utf-16'?><html>", "utf-8"),
        (b"<\0?\0x\0m\0l\0", "utf-16le"),
        (b"<meta charset=gbk" + b" " * 9_000 + b">", "gbk"),
        (b" " * 9_000 + b"<meta charset=gbk>", None),
        (b"<" * 4_096, None),
        (b"<meta " + b"a='" * 2_000, None),
        (b"", None),
    ],
)
def test_what_a_page_says_of_itself(html: bytes, name: str | None) -> None:
    assert declared_encoding(html) == name


def test_every_label_of_the_standard_is_known() -> None:
    assert {find_encoding(f"\t{label.upper()} ") for label in LABELS} == set(LABELS.values())
    assert find_encoding("utf-7") is find_encoding("") is find_encoding(None) is find_encoding("\xe9") is None


def test_utf_8_under_another_label_is_said() -> None:
    found = decode_text(GERMAN.encode(), "iso-8859-1")
    assert (found.text, found.encoding, found.overruled) == (GERMAN, "utf-8", "windows-1252")
    assert decode_text(b"plain", "iso-8859-1").overruled == decode_text(GERMAN.encode(), "utf-8").overruled == ""


@pytest.mark.parametrize("label", ["hz-gb-2312", "iso-2022-kr", "iso-2022-cn", "iso-2022-cn-ext"])
def test_an_encoding_that_browsers_refuse_is_refused(label: str) -> None:
    with pytest.raises(Undecodable, match="browsers refuse"):
        decode_text(b"\x1b$)C\x0e~{VPND~}", label)
    assert decode_text(b"plain", label).text == "plain"
    assert decode_text(RUSSIAN.encode(), label).text == RUSSIAN


def test_seven_bits_are_read_as_they_are_labelled() -> None:
    data = JAPANESE.replace("①", "").replace("～㈱", "").encode("iso2022_jp")
    assert decode_text(data, "iso-2022-jp").text == JAPANESE.replace("①", "").replace("～㈱", "")
    assert decode_text(b"<meta charset=iso-2022-jp>" + data, is_html=True).text.startswith(
        "<meta charset=iso-2022-jp>港"
    )


@pytest.mark.parametrize(("text", "codec", "label"), [(JAPANESE, "cp932", "shift_jis"), (SIMPLIFIED, "gbk", "gb2312")])
def test_one_bad_byte_makes_no_other_encoding_of_a_page(text: str, codec: str, label: str) -> None:
    found = decode_text((text * 9).encode(codec) + b"\xff" + text.encode(codec), label)
    assert found.text.startswith(text * 9)
    assert found.replaced == 1
    assert found.encoding == find_encoding(label)


@settings(max_examples=15)
@given(data=st.binary(max_size=60), label=st.sampled_from([None, "utf-8", "utf-16", *ENCODINGS, "iso-2022-jp"]))
def test_any_bytes_are_text_or_refused(data: bytes, label: str | None) -> None:
    try:
        found = decode_text(data, label, is_html=True)
    except Undecodable:
        return
    assert found.replaced == found.text.count("\ufffd")


UNLABELLED = {
    "cp949": "서울의 간호사는 노래를 부릅니다",
    "euc_jp": "日本語のテキストです。東京の看護師",
    "iso2022_jp": "日本語のテキストです。東京の看護師",
    "shift_jis": "日本語のテキストです。東京の看護師",
    "gb18030": "中文文本在这里，北京的护士喜欢唱歌",
    "big5": "台北的護士喜歡唱歌，中文文本",
    "cp1250": "Žluťoučký kůň pěl ďábelské ódy, sestřička",
    "cp1251": "Привет, мир: медсестра из Киева",
    "koi8-r": "Привет, мир: медсестра из Киева",
    "cp1253": "Καλημέρα κόσμε νοσοκόμα",
    "cp1255": "שלום עולם אחות מתל אביב",
    "cp1256": "ممرضة من القاهرة تحب الغناء",
    "cp874": "พยาบาลจากกรุงเทพ",
}


@pytest.mark.parametrize("codec", UNLABELLED)
def test_a_text_without_a_label_is_read_as_what_it_looks_like(codec: str) -> None:
    text = f"{UNLABELLED[codec]}. " * 5
    assert decode_text(text.encode(codec)).text == text
