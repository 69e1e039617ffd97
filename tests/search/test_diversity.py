"""Personas that cover the space: the bound of farthest-point selection, and equality with a direct implementation."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.search.diversity import Vectors, cover, draw, spread


def vectors(seed: int, rows: int, dimensions: int = 6, groups: int | None = None, noise: float = 0.2) -> Vectors:
    chance = np.random.default_rng(seed)
    found = chance.normal(size=(rows, dimensions))
    if groups:
        found = chance.normal(size=(groups, dimensions))[np.arange(rows) % groups] + noise * found
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def radius(cosine: float) -> float:
    """The distance that the law speaks of."""
    return float(np.sqrt(max(0.0, 2 - 2 * cosine)))


def best_radius(all_: Vectors, count: int) -> float:
    """The smallest radius of any choice, by trying them all."""
    products = all_ @ all_.T
    return min(radius(products[:, list(rows)].max(axis=1).min()) for rows in combinations(range(len(all_)), count))


def one_by_one(all_: Vectors, count: int) -> list[int]:
    """The rule, word by word, before rows give way to those in the middle."""
    rows = [int(np.argmax(all_ @ all_.mean(axis=0)))]
    while len(rows) < count:
        nearest = (all_ @ all_[rows].T).max(axis=1)
        nearest[rows] = np.inf
        rows.append(int(nearest.argmin()))
    return rows


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4))
def test_no_choice_is_twice_as_good(seed: int, rows: int, count: int, pool: int) -> None:
    some = vectors(seed, rows, 3)
    found = spread(some, count, pool=pool)
    assert radius(found.least) <= 2 * best_radius(some, min(count, rows)) + 1e-3


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 120), st.integers(1, 130), st.integers(1, 40))
def test_no_row_twice_and_each_stands_for_itself(seed: int, rows: int, count: int, pool: int) -> None:
    some = vectors(seed, rows, 5, groups=7)
    found = spread(some, count, pool=pool)
    assert len(found.rows) == len(set(found.rows)) == min(count, rows)
    assert found.nearest[found.rows].tolist() == list(range(len(found.rows)))
    assert found.sizes.sum() == rows
    if count >= rows:
        assert sorted(found.rows) == list(range(rows))
        assert found.mean == found.least == 1


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1, 2, 9, 64, 500]))
def test_pools_change_nothing_and_the_middle_is_no_worse(seed: int, count: int, pool: int) -> None:
    some = vectors(seed, 200, 12, groups=20)
    found = spread(some, count, pool=pool)
    assert found.rows.tolist() == spread(some, count).rows.tolist()
    rule = cover(some, np.array(one_by_one(some, count)))
    assert found.least >= rule.least - 1e-6
    assert found.mean >= rule.mean - 1e-6


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 20))
def test_the_order_of_the_rows_does_not_matter(seed: int, count: int) -> None:
    some = vectors(seed, 80, 8)
    mixed = np.random.default_rng(seed + 1).permutation(80)
    assert spread(some, count).rows.tolist() == mixed[spread(some[mixed], count).rows].tolist()


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 20))
def test_a_cover_is_what_all_comparisons_give(seed: int, rows: int, count: int) -> None:
    some = vectors(seed, rows)
    chosen = draw(rows, count, seed)
    found = cover(some, chosen)
    products = some @ some[chosen].T
    products[chosen, np.arange(len(chosen))] = 1
    assert len(set(chosen)) == min(rows, count)
    assert found.cosine == pytest.approx(products.max(axis=1), abs=1e-6)
    assert found.least == pytest.approx(products.max(axis=1).min(), abs=1e-6)


def test_each_group_gets_one() -> None:
    some = vectors(3, 600, 16, groups=12, noise=0.02)
    assert sorted(spread(some, 12).rows % 12) == list(range(12))
    assert spread(some, 12).least > cover(some, draw(600, 12)).least + 0.2


def test_equal_rows_are_chosen_once_until_none_is_left() -> None:
    some = np.repeat(vectors(4, 3), 5, axis=0)
    assert sorted(spread(some, 3).rows // 5) == [0, 1, 2]
    assert sorted(spread(some, 99).rows) == list(range(15))


@pytest.mark.parametrize(("rows", "count"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_of_nothing(rows: int, count: int) -> None:
    found = spread(vectors(1, rows), count)
    assert found.rows.tolist() == []
    assert cover(vectors(1, rows), found.rows).rows.tolist() == []
