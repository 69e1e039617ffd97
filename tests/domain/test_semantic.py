"""Pairs of vectors: all of them where all are compared, none wrong and nearly none missed where an index proposes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personahub_assets.domain.semantic import Vectors, similar_pairs

EXACT = 10**12
INDEX = 0


def unit(vectors: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Vectors:
    found: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return found


def clustered(seed: int, groups: int, size: int, dimensions: int = 48, noise: float = 0.03) -> Vectors:
    random = np.random.default_rng(seed)
    centres = np.repeat(random.normal(size=(groups, dimensions)), size, axis=0)
    vectors = unit(centres + noise * random.normal(size=centres.shape))
    return vectors[random.permutation(len(vectors))]


def brute_force(
    vectors: Vectors, new: np.ndarray[tuple[int], np.dtype[np.bool_]], threshold: float
) -> dict[tuple[int, int], float]:
    double = vectors.astype(np.float64)
    return {
        (a, b): float(double[a] @ double[b])
        for a in range(len(vectors))
        for b in range(a + 1, len(vectors))
        if (new[a] or new[b]) and double[a] @ double[b] >= threshold
    }


@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.5, 0.95), st.floats(0, 1))
def test_exact_is_brute_force(seed: int, rows: int, threshold: float, share: float) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random.normal(size=(rows, 3)))
    new = random.random(rows) < share
    pairs = similar_pairs(vectors, new, threshold, EXACT)
    found = {(a, b): similarity for a, b, similarity in pairs.table.iter_rows()}
    assert (pairs.method, pairs.recall) == ("exact", 1.0)
    assert len(found) == pairs.table.height
    assert found == pytest.approx(brute_force(vectors, new, threshold), abs=1e-6)


def test_blocks_make_no_difference() -> None:
    vectors = clustered(1, groups=1500, size=3)  # more rows than one block has
    pairs = similar_pairs(vectors, np.ones(len(vectors), bool), 0.9, EXACT)
    assert pairs.table.height == 1500 * 3
    assert pairs.table["similarity"].max() <= 1.0  # type: ignore[operator]


def test_the_index_finds_the_pairs_and_invents_none() -> None:
    vectors = clustered(2, groups=500, size=4)
    new = np.arange(len(vectors)) % 3 == 0
    exact = similar_pairs(vectors, new, 0.9, EXACT).table
    pairs = similar_pairs(vectors, new, 0.9, INDEX)
    assert pairs.method == "usearch"
    assert pairs.table.join(exact, on=["a", "b"], how="anti").is_empty()
    assert pairs.table.height >= 0.99 * exact.height
    assert pairs.recall >= 0.99
    assert pairs.table["similarity"].min() >= 0.9  # type: ignore[operator]


def test_the_index_finds_all_of_a_group_larger_than_its_first_question() -> None:
    group, others = clustered(3, groups=1, size=150), clustered(4, groups=400, size=1)
    vectors = np.concatenate([group, others])
    pairs = similar_pairs(vectors, np.ones(len(vectors), bool), 0.9, INDEX)
    assert pairs.table.height == 150 * 149 // 2
    assert pairs.recall == 1.0


def test_the_index_with_more_neighbours_asked_than_there_are_rows() -> None:
    vectors = clustered(5, groups=1, size=40)
    pairs = similar_pairs(vectors, np.ones(40, bool), 0.9, INDEX)
    assert pairs.table.height == 40 * 39 // 2


@pytest.mark.parametrize("exact_up_to", [EXACT, INDEX])
def test_only_pairs_with_a_new_row(exact_up_to: int) -> None:
    vectors = unit(np.ones((4, 8)))
    pairs = similar_pairs(vectors, np.array([False, True, False, False]), 0.9, exact_up_to)
    assert pairs.table.select("a", "b").rows() == [(0, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("exact_up_to", [EXACT, INDEX])
def test_one_row_has_no_pair(exact_up_to: int) -> None:
    pairs = similar_pairs(unit(np.ones((1, 4))), np.array([True]), 0.9, exact_up_to)
    assert pairs.table.is_empty()
    assert pairs.recall == 1.0


@pytest.mark.parametrize("exact_up_to", [EXACT, INDEX])
def test_nothing_gives_nothing(exact_up_to: int) -> None:
    pairs = similar_pairs(np.empty((0, 1), np.float32), np.empty(0, bool), 0.9, exact_up_to)
    assert pairs.table.is_empty()
    assert pairs.table.columns == ["a", "b", "similarity"]


@pytest.mark.parametrize("exact_up_to", [EXACT, INDEX])
def test_nothing_new_gives_nothing(exact_up_to: int) -> None:
    pairs = similar_pairs(unit(np.ones((5, 4))), np.zeros(5, bool), 0.9, exact_up_to)
    assert pairs.table.is_empty()
