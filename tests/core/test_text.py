"""Text: words in many scripts, hashes of parts without ambiguity, keys that stay in their folder."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.errors import BatchError
from personahub_assets.core.text import batch_key, check_batch_key, cut, digest, sanitise, shorten, words

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates too


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Café’s 2nd café, re-opened.", ["the", "café", "s", "2nd", "café", "re", "opened"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Ａｂｃ １２ ﬁne oﬃce", ["abc", "12", "fine", "office"]),
        ("e\u0301tude étude", ["étude", "étude"]),
        ("हिन्दी में पढ़ना", ["हिन्दी", "में", "पढ़ना"]),
        ("مُدَرِّسَة في القرية", ["مُدَرِّسَة", "في", "القرية"]),
        ("ครูสอน", ["คร", "รู", "ูส", "สอ", "อน"]),
        ("图书管理员 2024", ["图书", "书管", "管理", "理员", "2024"]),
        ("学者", ["学者"]),
        ("Καλημέρα ΟΔΟΣ", ["καλημέρα", "οδοσ"]),
        ("snake_case it's", ["snake_case", "it", "s"]),
        ("— … ∑", []),
        ("☃ 🙂\ufe0f, 20°", ["☃", "🙂", "20", "°"]),
        ("👨\u200d🍳🍜 cooks", ["👨🍳", "🍳🍜", "cooks"]),
        ("C++, C# and F♯; .NET, ASP.NET", ["c++", "c#", "and", "f#", ".net", "asp", "net"]),
        ("He said “.NET”, not '.NET'.Then", ["he", "said", ".net", "not", ".net", "then"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    # Devanagari's composed letters are decomposed by NFKC; the expectation is written as people type it.
    assert words(text) == [unicodedata.normalize("NFKC", word) for word in expected]


@given(ANY_TEXT)
def test_words_do_not_depend_on_case_of_ascii_or_spacing(text: str) -> None:
    assert words(f"  {text}\n") == words(text)
    if text.isascii():
        assert words(text.upper()) == words(text.lower())


@given(ANY_TEXT)
def test_sanitised_text_can_be_stored_and_its_replacements_are_counted(text: str) -> None:
    clean, replaced = sanitise(text)
    clean.encode("utf-8")
    assert "\x00" not in clean
    assert len(clean) == len(text)
    assert replaced == sum(a != b for a, b in zip(text, clean, strict=True))
    assert sanitise(clean) == (clean, 0)


@given(st.lists(ANY_TEXT, max_size=4), st.lists(ANY_TEXT, max_size=4))
def test_only_equal_lists_have_equal_digests(one: list[str], two: list[str]) -> None:
    assert (digest(*one, size=64) == digest(*two, size=64)) == (one == two)


@given(st.lists(st.sampled_from(["", "a", "b", "ab", "\x00", "1"]), max_size=5), st.data())
def test_moving_a_boundary_changes_the_digest(parts: list[str], data: st.DataObject) -> None:
    joined = "".join(parts)
    at = data.draw(st.integers(0, len(joined)))
    other = [joined[:at], joined[at:]]
    assert (digest(*parts, size=64) == digest(*other, size=64)) == (parts == other)


def test_a_digest_is_hex_of_the_wanted_size() -> None:
    assert re.fullmatch(r"[0-9a-f]{20}", digest("a"))
    assert digest("a", size=32).startswith(digest("a"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "-a",
        "_a",
        "A",
        "a" * 65,
        "..",
        "a/b",
        "a\\b",
        "a.b",
        "a b",
        "ä",
        "a\n",
        "\na",
        "a\x00",
        "batch=a",
        "a*",
        "①",
    ],
)
def test_a_bad_batch_key_is_refused_with_the_rule(key: str) -> None:
    with pytest.raises(BatchError, match="1 to 64 of a-z"):
        check_batch_key(key)


@pytest.mark.parametrize("key", ["a", "0", "a" * 64, "crawl-2024_10", "a--b"])
def test_a_good_batch_key_is_given_back(key: str) -> None:
    assert check_batch_key(key) == key


@given(ANY_TEXT)
def test_no_key_that_passes_leaves_its_folder(key: str) -> None:
    try:
        passed = check_batch_key(key)
    except BatchError:
        return
    folder = Path("/store/tables")
    assert (folder / f"batch={passed}" / "part.parquet").resolve().parent.parent == folder
    assert passed.isascii()


@given(ANY_TEXT)
def test_any_file_name_gives_a_legal_key_with_room_for_a_slice_number(name: str) -> None:
    key = batch_key(name)
    assert check_batch_key(f"{key}-0002").startswith(key)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Crawl 2024-10.part.jsonl.gz", "crawl-2024-10-part"),
        ("personas.parquet", "personas"),
        ("x.JSONL.ZST", "x"),
        ("../../etc/passwd", "etc-passwd"),
        ("__init__.csv", "init"),
        ("文件.jsonl", "wenjian"),
        (".jsonl", "batch-81e47a19"),
        ("a" * 200 + ".csv", "a" * 47 + "-b3e2db10"),
    ],
)
def test_keys_of_file_names(name: str, key: str) -> None:
    assert batch_key(name) == key


def test_cut_prefers_the_end_of_a_sentence() -> None:
    assert cut("One two. Three four. Five six.", 25) == "One two. Three four."
    assert cut("一二三。\n四五六。\n七八九。", 10) == "一二三。\n四五六。"
    assert cut("Short.", 25) == "Short."


def test_cut_falls_back_to_the_limit_where_a_sentence_would_lose_too_much() -> None:
    text = "Yes. " + "word " * 20
    assert cut(text, 50) == text[:50].rstrip()
    assert cut("x" * 100, 30) == "x" * 30


@given(ANY_TEXT, st.integers(1, 60))
def test_cut_gives_a_beginning_within_the_limit(text: str, limit: int) -> None:
    part = cut(text, limit)
    assert text.startswith(part)
    assert len(part) <= limit or part == text


@given(ANY_TEXT, st.integers(1, 60))
def test_shorten_keeps_the_limit_and_shows_the_cut(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
