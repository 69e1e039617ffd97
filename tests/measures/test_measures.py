"""Measures of diversity: against direct definitions, and their laws."""

import zlib
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.measures import pairs, vectors, words

TEXTS = [
    "a nurse counts the beds of the ward every night",
    "every night the baker counts the loaves in the oven",
    "a nurse counts the beds of the clinic",
]


def unit(seed: int, rows: int, dimensions: int = 6) -> vectors.Vectors:
    rows_ = np.random.default_rng(seed).normal(size=(rows, dimensions)) + 0.5
    return (rows_ / np.linalg.norm(rows_, axis=1, keepdims=True)).astype(np.float32)


def test_measures_of_words_follow_their_definitions() -> None:
    (measured,) = words.measure(TEXTS, [28])
    split = [text.split() for text in TEXTS]
    grams = [{tuple(text[i : i + 4]) for i in range(len(text) - 3)} for text in split]
    shared = sum(gram in other for i, mine in enumerate(grams) for gram in mine for other in grams[:i] + grams[i + 1 :])
    bigrams = [pair for text in split for pair in pairwise(text)]
    raw = "\n".join(TEXTS).encode()
    assert measured == words.WordDiversity(
        words=28,
        texts=3,
        distinct_1=len({word for text in split for word in text}) / 28,
        distinct_2=len(set(bigrams)) / len(bigrams),
        compression_ratio=len(raw) / len(zlib.compress(raw, 9)),
        self_repetition=shared / sum(map(len, grams)),
    )
    assert measured.self_repetition is not None
    assert measured.self_repetition > 0


def test_texts_are_cut_at_the_number_of_words() -> None:
    measured = words.measure(TEXTS, [5, 12, 10_000])
    assert [(one.words, one.texts) for one in measured] == [(5, 1), (12, 2)]
    assert measured[0].distinct_1 == 1
    assert measured[0] == words.measure([TEXTS[0], "other words"], [5])[0]


def test_texts_without_words_say_nothing() -> None:
    assert words.measure(["", " … ", "!"], [1]) == []
    assert words.measure([], [1]) == []
    (one,) = words.measure(["", "word", "", "word"], [2])
    assert (one.texts, one.distinct_1, one.distinct_2, one.self_repetition) == (2, 0.5, None, None)


def test_repeated_texts_are_less_diverse() -> None:
    (same,) = words.measure([TEXTS[0]] * 10, [100])
    (different,) = words.measure([f"w{10 * row + word}" for row in range(10) for word in range(10)], [100])
    assert same.distinct_1 < different.distinct_1 == 1
    assert same.compression_ratio > different.compression_ratio
    assert same.self_repetition == 1


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 8))
def test_vendi_equals_its_definition(seed: int, rows: int, dimensions: int) -> None:
    some = unit(seed, rows, dimensions)
    eigenvalues = np.linalg.eigvalsh(some.astype(np.float64) @ some.T.astype(np.float64) / rows)
    kept = eigenvalues[eigenvalues > 1e-12]
    assert vectors.vendi(some) == pytest.approx(np.exp(-(kept * np.log(kept)).sum()), rel=1e-4)


def test_vendi_counts_what_differs() -> None:
    assert vectors.vendi(np.eye(7, dtype=np.float32)) == pytest.approx(7)
    assert vectors.vendi(np.ones((5, 1), np.float32)) == pytest.approx(1)
    assert vectors.vendi(np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)) == pytest.approx(3)


def test_neighbours_equal_all_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_BLOCK", 7)  # so that a few rows fill several blocks
    some = unit(1, 40, 3)
    cosines = some @ some.T
    np.fill_diagonal(cosines, -1)
    best = cosines.max(axis=1)
    measured = vectors.measure(some)
    assert np.allclose(vectors.nearest(some), best, atol=1e-6)
    assert measured.near_80 == (best >= 0.8).mean()
    assert measured.near_90 == (best >= 0.9).mean()
    assert measured.mean_nearest == pytest.approx(best.mean(), abs=1e-6)


def test_one_vector_has_no_neighbour() -> None:
    assert vectors.measure(unit(0, 1)) == vectors.VectorDiversity(1, None, None, None, pytest.approx(1))
    with pytest.raises(ValueError, match="no vectors"):
        vectors.measure(unit(0, 0))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_pairs_equal_all_comparisons(seed: int, rows: int) -> None:
    personas, items = unit(seed, rows, 3), unit(seed + 1, rows, 4)
    measured = pairs.pair_similarity(personas, items)
    both = [(float(personas[i] @ personas[j]), float(items[i] @ items[j])) for i, j in combinations(range(rows), 2)]
    assert measured.all_pairs == len(both)
    if len(both) > 2:
        x, y = np.array(both).T
        assert measured.pearson == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-4)
        assert measured.all_less_alike == pytest.approx((y < x).mean(), abs=0.02)
        assert (measured.mean * measured.pairs).sum() == pytest.approx(y.sum(), abs=1e-3)


def test_a_pair_is_in_the_bin_of_its_personas() -> None:
    turn = np.array([[1, 0], [0.95, np.sqrt(1 - 0.95**2)]], np.float32)
    measured = pairs.pair_similarity(turn, np.array([[1, 0], [0, 1]], np.float32))
    assert measured.lower.tolist() == [0.9]
    assert (measured.pairs.tolist(), measured.less_alike.tolist()) == ([1], [1.0])
    assert measured.mean[0] == pytest.approx(0)
    assert np.isnan(measured.pearson)


def test_pairs_need_equal_numbers_of_rows() -> None:
    with pytest.raises(ValueError, match="2 personas and 3 items"):
        pairs.pair_similarity(unit(0, 2), unit(0, 3))
