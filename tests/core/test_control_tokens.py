"""Control tokens: none is left, and text without them is left alone."""

import pytest
from hostile import TAG, TAGS, TOKENS, as_read
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.core.control_tokens import BRACKETS, break_tokens, named_tokens, pattern_of

SIGNS: st.SearchStrategy[str] = st.text(st.sampled_from("<>[]|/ _～｜＜\u200bIadtesxAN1\n"), max_size=40)


@given(SIGNS)
def test_breaking_changes_only_brackets_and_only_once(text: str) -> None:
    broken = break_tokens(text)
    assert break_tokens(broken) == broken
    assert len(broken) == len(text)
    assert all(new == old or old in BRACKETS for old, new in zip(text, broken, strict=True))


@given(st.lists(st.one_of(st.sampled_from([*TOKENS, *TAGS]), SIGNS), max_size=6).map("".join))
def test_no_token_is_left_whatever_stands_around_it(text: str) -> None:
    for read in as_read(break_tokens(text)):
        assert [token for token in TOKENS if token in read] == []
        assert not TAG.search(read)


@pytest.mark.parametrize(
    "text",
    [
        "A teacher of <b>physics</b> & a<b, x[1], arr[i], [citation needed], f(x) |> g, a || b, List<String> <h1>",
        "See [1] and <https://example.org/a_b>, <me@example.org>; <p class='x'> <br/> <database> [edit] [sic] <3 >_<",
        "Ein Gärtner [ä] <über> «Zitat» ＜書名 な本＞ 《书名》 – 1 < 2 > 0 | Tabelle | 🧑‍🌾 <3",
    ],
)
def test_text_without_tokens_stays_as_it_is(text: str) -> None:
    assert break_tokens(text) == text


def test_only_tokens_with_a_sign_count() -> None:
    config = {
        "eos_token": "</s>",
        "pad_token": None,
        "unk_token": "unk",
        "added_tokens_decoder": {"1": "\n\n", "2": "▁▁"},
    }
    assert named_tokens(config) == {"</s>"}
    assert pattern_of(["</s>", "<|im_end|>"]) is None  # broken by their form already
