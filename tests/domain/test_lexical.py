"""The lexical join against brute force: exactly the same pairs with the same similarities."""

from itertools import combinations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.domain.lexical import similar_pairs, word_sets
from personahub_assets.domain.text import words

THRESHOLDS = st.sampled_from([0.5, 0.55, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
# Few words, so that sets overlap; one far more frequent than the others, as in any language.
TEXTS = st.lists(st.lists(st.sampled_from("aaabcdefghij"), max_size=12).map(" ".join), max_size=14)


def frame(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"persona_id": [f"p{i}" for i in range(len(texts))], "persona": texts},
        schema={"persona_id": pl.String, "persona": pl.String},
    )


def brute_force(bags: dict[int, frozenset[str]], new: set[int], threshold: float) -> dict[tuple[int, int], float]:
    found = {}
    for a, b in combinations(sorted(bags), 2):
        similarity = len(bags[a] & bags[b]) / len(bags[a] | bags[b])
        if similarity >= threshold and (a in new or b in new):
            found[a, b] = similarity
    return found


@given(TEXTS, THRESHOLDS, st.data())
def test_the_join_finds_exactly_the_pairs_that_brute_force_finds(
    texts: list[str], threshold: float, data: st.DataObject
) -> None:
    ids, tokens = word_sets(frame(texts))
    bags: dict[int, frozenset[str]] = {
        node: frozenset(words(text)) for node, text in zip(ids["node"], texts, strict=True) if words(text)
    }
    nodes = ids["node"].unique().to_list()
    new = set(data.draw(st.lists(st.sampled_from(nodes), unique=True) if nodes else st.just([])))
    pairs = similar_pairs(tokens, pl.Series(sorted(new), dtype=pl.Int64), threshold)
    found = {(a, b): similarity for a, b, similarity in pairs.iter_rows()}
    assert len(found) == pairs.height  # each unordered pair once
    assert found == pytest.approx(brute_force(bags, new, threshold), abs=1e-12)


@given(st.integers(1, 40), st.integers(0, 40), THRESHOLDS)
def test_sizes_just_at_the_threshold(shared: int, extra: int, threshold: float) -> None:
    short = " ".join(f"w{i}" for i in range(shared))
    long = " ".join([short, *(f"x{i}" for i in range(extra))])
    ids, tokens = word_sets(frame([short, long]))
    pairs = similar_pairs(tokens, ids["node"].unique(), threshold)
    assert pairs.height == (extra > 0 and shared / (shared + extra) >= threshold)


def test_texts_with_the_same_words_share_a_node() -> None:
    ids, tokens = word_sets(frame(["A nurse in Oslo.", "in OSLO a nurse, a nurse", "A nurse"]))
    assert ids["node"].to_list() == [0, 0, 1]
    assert sorted(tokens.rows()) == [(0, "a"), (0, "in"), (0, "nurse"), (0, "oslo"), (1, "a"), (1, "nurse")]


def test_a_text_without_words_is_alike_only_to_itself() -> None:
    ids, tokens = word_sets(frame(["☃", "🙂", "☃", "word"]))
    assert ids["node"].to_list() == [0, 1, 0, 2]
    assert tokens["node"].to_list() == [2]
    assert similar_pairs(tokens, ids["node"].unique(), 0.5).is_empty()


def test_nothing_gives_nothing() -> None:
    ids, tokens = word_sets(frame([]))
    assert ids.is_empty()
    assert similar_pairs(tokens, pl.Series([], dtype=pl.Int64), 0.9).columns == ["a", "b", "similarity"]
