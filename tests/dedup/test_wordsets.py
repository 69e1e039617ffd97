"""Word sets: compiled splitting and hashing agree with `core.text.words`, in every script."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from personahub_assets.core.text import normalised, words
from personahub_assets.dedup.wordsets import UNORDERED, Sets, WordOrder, order_of, word_sets

BITS = 2**64 - 1

SCRIPTS = [
    "abcXYZ 019_-.,!’",
    "éßÅﬁĲı\u0301\u0308\u200d\u200b\u00a0\ufeff",
    "हिन्दी में पढ़ना",
    "مُدَرِّسَة في القرية٣",
    "ครูสอนภาษาไทย",
    "图书管理员,。学者",
    "ひらがなカタカナﾊﾝｶｸー、々",
    "🙂☃👩‍🏫🇳🇴\U0001f3fd",
    "ລາວខ្មែរမြန်မာ",
    "ΟΔΟΣσς ДЖ Ǆ ㎏ ½ Ⅷ ①",
    "\x00\t\n\u2028\U0010ffff\U00020000",
    "aZ9+#♯.. /([\"'`*-“‘)…\u00a0ß",
    "🙂♯+.a👨\u200d🍳\ufe0f\u0301°\ue000\U000e0067\u0378図",
]
# Words of one script, and texts that mix scripts within a word.
TEXTS = st.one_of(
    st.text(max_size=40),
    *(st.text(st.sampled_from(script), max_size=30) for script in SCRIPTS),
    st.text(st.sampled_from("".join(SCRIPTS)), max_size=60),
)


def mixed(x: int) -> int:
    for _ in range(2):
        x ^= x >> 32
        x = x * 0xD6E8FEB86659FD93 & BITS
    return x ^ x >> 32


def hashed(points: bytes | list[int], start: int = 0xCBF29CE484222325) -> int:
    for point in points:
        start = (start ^ point) * 0x100000001B3 & BITS
    return mixed(start)


def joined(gram: list[str], ngram: int) -> int:
    if ngram == 1:
        return hashed([ord(c) for c in gram[0]])
    found = ngram
    for word in gram:
        found = mixed(found + hashed([ord(c) for c in word]) & BITS)
    return found


def expected(text: str, ngram: int) -> list[int]:
    """Hash the words of a text one by one; a text without words is its only element."""
    parts = words(text)
    grams = [parts[i : i + ngram] for i in range(max(1, len(parts) - ngram + 1))]
    hashes = {joined(gram, ngram) for gram in grams} if parts else {hashed(normalised(text).encode(), 1)}
    return sorted(h >> 1 for h in hashes)


def rows(sets: Sets) -> list[list[int]]:
    return [keys.tolist() for keys in np.split(sets.keys, sets.starts[1:-1])] if len(sets.starts) > 1 else []


def alike(one: str, other: str, ngram: int = 1) -> float:
    a, b = (set(keys) for keys in rows(word_sets(pl.Series([one, other]), ngram)))
    return len(a & b) / len(a | b)


@settings(max_examples=100)
@given(st.lists(TEXTS, max_size=6), st.integers(1, 3))
@example([], 1)
@example(["", "", "\x00", "\x00\x00", " "], 1)
@example(["a" * 70_000, "ครู" * 30_000, " ".join(f"w{i % 9000}" for i in range(20_000))], 2)
@example([" ".join(f"w{i}" for i in range(size)) for size in (63, 64, 65, 66)], 1)
@example([" ".join(f"w{i}" for i in range(size, 0, -1)) for size in (63, 64, 65, 66)], 3)
def test_the_sets_are_the_hashes_of_the_words(texts: list[str], ngram: int) -> None:
    found = word_sets(pl.Series(texts, dtype=pl.String), ngram)
    assert rows(found) == [expected(text, ngram) for text in texts]
    assert found.starts[0] == 0


@settings(max_examples=20)
@given(st.lists(TEXTS, max_size=5), TEXTS)
def test_a_set_does_not_depend_on_the_texts_around_it(others: list[str], text: str) -> None:
    """The code differs for ASCII only, for ASCII beside other scripts, and for a slice of a column."""
    alone = rows(word_sets(pl.Series([text])))
    beside = pl.Series([*others, text, *others], dtype=pl.String)
    assert rows(word_sets(beside))[len(others)] == alone[0]
    assert rows(word_sets(beside.slice(len(others), 1))) == alone
    assert rows(word_sets(beside.reverse()[[len(others)]])) == alone


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from("abcdefghijk図書員"), max_size=9).map(" ".join), max_size=12))
def test_an_order_renames_frequent_words_and_puts_them_last(texts: list[str]) -> None:
    plain = word_sets(pl.Series(texts, dtype=pl.String))
    often = {word: count for word, count in Counter(plain.keys.tolist()).items() if count > 1}
    ordered = word_sets(pl.Series(texts, dtype=pl.String), 1, order_of(plain))
    names: dict[int, int] = {}
    for before, after in zip(rows(plain), rows(ordered), strict=True):
        assert after == sorted(after)
        assert [key for key in before if key not in often] == [key for key in after if key < 2**63]
        assert len(before) == len(after)
        for key in after:
            if key >= 2**63:
                names.setdefault(key, 0)
    # Frequent words keep their frequencies under their new names, and the more frequent one comes later.
    counts = Counter(ordered.keys.tolist())
    ranked = [counts[key] for key in sorted(names)]
    assert ranked == sorted(often.values())


def test_no_order_is_an_order_without_words() -> None:
    assert rows(word_sets(pl.Series(["b a"]), 1, order_of(word_sets(pl.Series(["a", "b"]))))) == rows(
        word_sets(pl.Series(["a b"]), 1, UNORDERED)
    )


def test_a_full_table_of_ranks_is_searched_to_its_end() -> None:
    hashes = np.array([8, 16, 24, 0], np.uint64)  # all begin at the same place
    order = WordOrder(hashes, np.array([3, 2, 1, 0], np.uint32))
    text = pl.Series(["some words that the table has not"])
    assert rows(word_sets(text, 1, order)) == rows(word_sets(text))


@pytest.mark.parametrize(
    ("one", "other", "similarity"),
    [
        ("A nurse in Oslo.", "in OSLO a nurse, a nurse", 1.0),
        ("The Café’s 2nd café", "the cafe\u0301 S 2ND", 1.0),
        ("Straße", "STRASSE", 1.0),
        ("ｎｕｒｓｅ ﬁne", "nurse fine", 1.0),
        ("हिन्दी में पढ़ना", "हिन्दी में गाना", 2 / 4),
        ("हिन्दी", "हन्द", 0.0),  # the vowel signs belong to the word
        ("مُدَرِّسَة في القرية", "مُدَرِّسَة في المدينة", 2 / 4),
        ("مُدَرِّسَة", "مدرسة", 0.0),  # and so do Arabic marks
        ("ครูสอน", "ครูเรียน", 2 / 10),  # คร รู ูส สอ อน; คร รู ูเ เร รี ีย ยน
        ("图书管理员", "图书管理", 3 / 4),
        ("学者 図書館", "図書館 学者", 1.0),
        ("ひらがなを書く", "ひらがなを書く人", 6 / 7),
        ("ﾃﾞｰﾀ", "データ", 1.0),
        ("GPT图书", "gpt图书", 1.0),
        ("GPT图书", "GPT", 0.0),  # bigrams of the whole mixed word: gp pt t图 图书
        ("學", "学", 0.0),
        ("nurse 🙂", "nurse ☃", 1 / 3),  # pictographs are words
        ("nurse🙂", "nurse 🙂\ufe0f", 1.0),
        ("👨‍🍳🍜", "🧑‍🌾🌽", 0.0),
        ("👨‍🍳", "👨🍳", 1.0),  # what joins them is none
        ("❤\ufe0f", "☃\ufe0f", 0.0),  # nor is what chooses their look
        ("🇫🇷🇩🇪", "🇩🇪🇫🇷", 2 / 4),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0073\U000e0063\U000e007f", 0.0),
        ("می\u200cخواهم", "میخواهم", 1.0),
        ("nur\u00adse\u200b", "nurse", 1.0),
        ("a C developer", "a C++ developer", 2 / 4),
        ("a C# developer", "a C++ developer", 2 / 4),
        ("a C＃ developer", "a C# developer", 1.0),
        ("an F♯ tuner", "an F tuner", 2 / 4),
        ("F♯", "f#", 1.0),
        ("a .NET developer", "a net developer", 2 / 4),
        ("C#/.NET", "c# (.net)", 1.0),
        ("ASP.NET", "asp net", 1.0),
        ("He said so.Then he left", "he said so. then he left", 1.0),
        ("and ...more", "and more", 1.0),
        ("C++17", "C17", 0.0),
        ("one", "one two", 1 / 2),
    ],
)
def test_likeness_in_many_scripts(one: str, other: str, similarity: float) -> None:
    assert alike(one, other) == similarity


WORDLESS = ["", " ", "+", "++", "#", ".", "—", "!", "\x00", "\x00\x00", "…!", "、。", "∑", "∑√"]


def test_a_text_without_words_is_alike_only_to_itself() -> None:
    sets = [tuple(keys) for keys in rows(word_sets(pl.Series([*WORDLESS, "word"])))]
    assert all(len(keys) == 1 for keys in sets)
    assert len(set(sets)) == len(sets)
    assert alike("∑", "∑") == 1.0
    assert rows(word_sets(pl.Series(WORDLESS))) == rows(word_sets(pl.Series(WORDLESS), 3))


def test_grams_are_words_in_a_row() -> None:
    assert alike("the old nurse", "the old nurse", 2) == 1.0
    assert alike("the old nurse", "old the nurse", 2) == 0.0
    assert alike("the old nurse sings", "the old nurse reads", 2) == 2 / 4
    assert alike("nurse", "nurse", 3) == 1.0  # shorter than a gram: the whole text is one
    assert alike("old nurse", "nurse old", 3) == 0.0
    assert alike("a", "a a", 2) == 0.0
