import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.text import shorten
from personahub_assets.takedown.shingles import Shingles

WORDS = st.lists(
    st.sampled_from(["lamp", "café", "tide", "ruhig", "Müller", "saw", "17", "north", "of", "isle", "who"]), max_size=30
)
SENTENCE = 'The lighthouse keeper of the northern isle wrote down every ship, and "the" name of each captain.'


def shingles(*texts: str) -> Shingles:
    found = Shingles()
    for text in texts:
        found.add(text)
    return found


@pytest.mark.parametrize(
    "form",
    [
        SENTENCE,
        SENTENCE.upper(),
        shorten(SENTENCE, 60),
        "documents[crawl]: cannot store " + SENTENCE,
        "  ".join(SENTENCE.split(" ")),
        json.dumps(SENTENCE),
        SENTENCE[20:90],
    ],
)
def test_a_text_is_found_however_it_is_shown(form: str) -> None:
    assert shingles(SENTENCE).has_match(form)


def test_other_texts_are_not_found() -> None:
    other = "The lighthouse keeper of the southern isle wrote nothing down, and no captain had a name."
    assert not shingles(SENTENCE).has_match(other)
    assert not Shingles()
    assert not Shingles().has_match(SENTENCE)
    assert not shingles("", " ... ").has_match("")


def test_a_short_text_is_found_alone_and_one_of_few_words_within() -> None:
    found = shingles("a baker", "a retired tram driver")
    assert found.has_match("A BAKER")
    assert not found.has_match("asked a baker about it today")
    assert found.has_match("dropped: a retired tram driver of Lyon")


@given(WORDS, WORDS, WORDS)
def test_what_contains_a_text_is_found(before: list[str], text: list[str], after: list[str]) -> None:
    if len(text) >= 4:
        assert shingles(" ".join(text)).has_match(" ".join([*before, *text, *after]))


@given(st.integers(0, 60), st.integers(23, 40))
def test_beyond_its_bound_long_pieces_are_found_and_nothing_else(begin: int, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("personahub_assets.takedown.shingles._MOST", 3)
        long = " ".join(f"word{n}" for n in range(100))
        found = shingles(SENTENCE, long)
    assert found.has_match(" ".join(["before", *long.split()[begin : begin + length], "after"]))
    assert found.has_match(SENTENCE)
    assert not found.has_match("some other words that nobody said")
    assert not found.has_match(" ".join(reversed(long.split())))


def test_how_much_is_in_common_is_counted_in_runs_of_eight() -> None:
    found = shingles(SENTENCE, "a retired tram driver")
    piece = " ".join(SENTENCE.split()[:9])
    assert found.has_matches(f"He said: {piece} and more", 2)
    assert not found.has_matches(f"He said: {piece} and more", 3)
    assert not found.has_matches("a retired tram driver", 1)


def test_a_text_to_be_found_alone_is_not_found_within() -> None:
    found = Shingles()
    found.add("https://www.example.org/", alone=True)
    assert found.has_match("https://www.example.org/")
    assert not found.has_match("https://www.example.org/another page of it")
