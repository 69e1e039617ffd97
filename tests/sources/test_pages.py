"""Pages: main text, encodings, languages."""

import pytest

from personahub_assets.core.languages import LANGUAGES
from personahub_assets.sources.encodings import Undecodable, decode_text
from personahub_assets.sources.pages import TooDeep, depth, detect_language, main_text

GERMAN = "Der Hafenkran blieb um zwölf Uhr stehen, und die Container warteten, bis das Relais gefunden war. "
ENGLISH = "The harbour crane stopped at noon, and the containers waited until the burnt relay had been found. "
RUSSIAN = "Портовый кран остановился в полдень, и контейнеры ждали, пока электрики не нашли сгоревшее реле. "


def test_the_main_text_is_what_a_page_is_about() -> None:
    page = (
        "<head><title>T</title><style>p {}</style></head><nav><a href='/'>Home</a></nav>"
        f"<main><h1>Tides</h1><p>{ENGLISH}</p><ul><li>ebb</li><li>flow</li></ul></main><footer>Imprint</footer>"
    )
    text = main_text(page)
    assert text.startswith("Tides")
    assert ENGLISH.strip() in text
    assert not any(word in text for word in ("Home", "Imprint", "p {}"))
    assert main_text("") == main_text("<html>") == ""


def test_a_page_that_would_take_minutes_is_refused() -> None:
    for tag in ("div", "SPAN", "table"):
        with pytest.raises(TooDeep, match="more than 500 deep"):
            main_text(f"<{tag}>" * 5_000)
    # What does not nest may be there as often as it likes.
    assert depth("<p>x<br><img src=y>" * 3_000) == 0
    assert depth("<b>x</b>" * 3_000) == 1


@pytest.mark.parametrize(
    ("data", "charset", "html"),
    [
        (GERMAN.encode(), "utf-8", False),
        (GERMAN.encode(), None, False),
        (GERMAN.encode("cp1252"), "iso-8859-1", False),
        (GERMAN.encode("cp1252"), None, False),
        (GERMAN.encode("cp1252"), "utf-8", False),  # the server is wrong
        (GERMAN.encode("cp1252"), "no-such-charset", False),
        (GERMAN.encode("utf-16"), None, False),
        (b"\xef\xbb\xbf" + GERMAN.encode(), "utf-8", False),
    ],
)
def test_text_is_read_in_the_encoding_that_it_is_in(data: bytes, charset: str | None, html: bool) -> None:
    found = decode_text(data, charset, is_html=html)
    assert (found.text, found.replaced) == (GERMAN, 0)


def test_a_page_may_say_its_encoding_itself() -> None:
    page = '<meta charset="koi8-r"><p>' + RUSSIAN
    assert decode_text(page.encode("koi8-r"), is_html=True).text == page


def test_a_few_bad_bytes_are_replaced_and_many_are_refused() -> None:
    few = decode_text(("語" * 200).encode() + b"\xff", "utf-8")
    assert (few.text, few.replaced) == ("語" * 200 + "\ufffd", 1)
    for data in (b"\xfd\xfe\xff\x81" * 100, bytes(range(256)) * 4, ("語" * 9).encode() + b"\xff"):
        with pytest.raises(Undecodable, match="characters are not"):
            decode_text(data)


@pytest.mark.parametrize(("text", "code"), [(GERMAN, "de"), (ENGLISH, "en"), (RUSSIAN, "ru")])
def test_languages_are_told_from_a_few_sentences(text: str, code: str) -> None:
    assert detect_language(text * 2) == code
    assert code in LANGUAGES


def test_a_short_text_has_no_language() -> None:
    assert detect_language("Hello there") is detect_language("") is None
