"""The walk over embeddings: equal to brute force if exact; an index gives no wrong keeper and misses few."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.dedup import semantic, vector_shards
from personahub_assets.dedup.bounds import fit_projection
from personahub_assets.dedup.cells import Cells, nearest, probes_of
from personahub_assets.dedup.cosines import Flags, Ints, Kept, Vectors, cosine
from personahub_assets.dedup.keepers import NONE
from personahub_assets.dedup.semantic import Decided, decide, differences

THRESHOLDS = [0.5, 0.7, 0.9, 1.0]
DIMENSIONS = [1, 2, 3, 8, 63, 64, 65, 200]
NOTHING = np.empty(0, np.int64)


def unit(vectors: npt.ArrayLike) -> Vectors:
    doubles = np.asarray(vectors, np.float64)
    found: Vectors = (doubles / np.linalg.norm(doubles, axis=1, keepdims=True)).astype(np.float32)
    return found


def clustered(seed: int, rows: int, dimensions: int, noise: float | None = None, groups: int | None = None) -> Vectors:
    """Rows near common centres, so that many cosines are close to each threshold; without noise they are equal."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(groups or max(1, rows // 4), dimensions))
    amount = random.choice([0.0, 0.1, 0.3, 0.6], size=(rows, 1)) if noise is None else noise
    return unit(centres[random.integers(0, len(centres), rows)] + amount * random.normal(size=(rows, dimensions)))


def everyone(vectors: Vectors) -> tuple[Vectors, Ints, Flags]:
    return vectors, np.arange(len(vectors)), np.ones(len(vectors), bool)


def brute_force(vectors: Vectors, places: Ints, may_stay: Flags, kept: list[Kept], threshold: float) -> Decided:
    """The rule, implemented directly."""
    rows = [(int(place), vector) for each in kept for place, vector in zip(each.places, each.vectors, strict=True)]
    found = []
    for vector, place, may in zip(vectors, places, may_stay, strict=True):
        near = [(-cosine(vector, other), earlier) for earlier, other in rows if earlier < place]
        best, keeper = min((pair for pair in near if -pair[0] >= threshold), default=(np.nan, NONE))
        found.append((keeper, -best, keeper == NONE and may))
        if found[-1][2]:
            rows.append((int(place), vector))
    keepers, similarities, stays = (np.array(column) for column in zip(*found, strict=True))
    return Decided(keepers, similarities, stays, "exact", 1.0)


def same(one: Decided, other: Decided) -> bool:
    return (
        one.keeper.tolist() == other.keeper.tolist()
        and one.stays.tolist() == other.stays.tolist()
        and np.array_equal(one.similarity, other.similarity, equal_nan=True)
    )


def drawn(seed: int, rows: int, earlier: int, dimensions: int) -> tuple[Vectors, Ints, Flags, list[Kept]]:
    """Rows to decide, and kept rows in two parts; their places are mixed."""
    random = np.random.default_rng(seed)
    vectors = clustered(seed, rows + earlier, dimensions)
    places = random.permutation(rows + earlier)
    parts = rows + np.array([0, random.integers(0, earlier + 1), earlier])
    kept = [Kept(vectors[a:b], places[a:b]) for a, b in pairwise(parts)]
    return vectors[:rows], np.sort(places[:rows]), random.random(rows) < 0.9, kept


# --- Exact ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(1, 80),
    st.integers(0, 50),
    st.sampled_from(DIMENSIONS),
    st.sampled_from(THRESHOLDS),
)
def test_exact_is_brute_force(seed: int, rows: int, earlier: int, dimensions: int, threshold: float) -> None:
    case = drawn(seed, rows, earlier, dimensions)
    found = decide(*case, threshold)
    assert (found.method, found.recall) == ("exact", 1.0)
    assert same(found, brute_force(*case, threshold))


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(THRESHOLDS), st.sampled_from([1, 16, 37, 200]), st.integers(1, 3))
def test_blocks_and_threads_change_nothing(seed: int, threshold: float, block: int, threads: int) -> None:
    case = drawn(seed, 150, 120, 16)
    expected = decide(*case, threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_BLOCK", block)
        patch.setattr(vector_shards, "_SLICE", max(1, block // 3))
        patch.setattr(vector_shards, "PIECE", block)
        patch.setattr(vector_shards, "_PIECES", threads)
        assert same(decide(*case, threshold, threads=threads), expected)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(THRESHOLDS), st.lists(st.integers(0, 300), max_size=4))
def test_two_walks_are_one(seed: int, threshold: float, cuts: list[int]) -> None:
    vectors, places, may_stay = everyone(clustered(seed, 300, 24))
    whole = decide(vectors, places, may_stay, [], threshold)
    kept: list[Kept] = []
    found: list[Decided] = []
    for begin, end in pairwise([0, *sorted(cuts), 300]):
        part = decide(vectors[begin:end], places[begin:end], may_stay[begin:end], kept, threshold)
        kept.append(Kept(vectors[begin:end][part.stays], places[begin:end][part.stays]))
        found.append(part)
    assert np.concatenate([part.keeper for part in found]).tolist() == whole.keeper.tolist()
    assert np.concatenate([part.stays for part in found]).tolist() == whole.stays.tolist()


def test_the_rule_holds_over_many_blocks() -> None:
    vectors, places, may_stay = everyone(clustered(1, 5000, 48))
    found = decide(vectors, places, may_stay, [], 0.9)
    dropped = np.flatnonzero(~found.stays)
    assert 500 < len(dropped) < 4500
    assert found.stays[found.keeper[dropped]].all()
    assert (found.keeper[dropped] < dropped).all()
    assert [cosine(vectors[i], vectors[found.keeper[i]]) for i in dropped] == found.similarity[dropped].tolist()
    cosines = vectors[found.stays].astype(np.float64) @ vectors[found.stays].astype(np.float64).T
    assert np.max(np.triu(cosines, 1)) < 0.9


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_equal_vectors_have_one_keeper(threshold: float) -> None:
    vectors = np.repeat(clustered(2, 3, 384, noise=1.0), 1500, axis=0)
    found = decide(*everyone(vectors), [], threshold)
    assert np.flatnonzero(found.stays).tolist() == [0, 1500, 3000]
    assert set(found.similarity[~found.stays].tolist()) == {1.0}


def test_of_equally_similar_keepers_the_first_is_taken() -> None:
    kept = [Kept(unit([[1, 0], [1, 0]]), np.array([7, 3])), Kept(unit([[1, 0]]), np.array([5]))]
    assert decide(unit([[1, 1]]), np.array([9]), np.array([True]), kept, 0.5).keeper.tolist() == [3]
    assert decide(unit([[1, 1]]), np.array([4]), np.array([True]), kept, 0.5).keeper.tolist() == [3]
    assert decide(unit([[1, 1]]), np.array([3]), np.array([True]), kept, 0.5).keeper.tolist() == [NONE]


def test_a_row_that_may_not_stay_is_nobodys_keeper() -> None:
    found = decide(unit([[1, 0], [1, 0], [1, 0]]), np.arange(3), np.array([False, True, True]), [], 0.9)
    assert found.keeper.tolist() == [NONE, NONE, 1]
    assert found.stays.tolist() == [False, True, False]


@pytest.mark.parametrize("exact_up_to", [np.inf, 0])
def test_nothing_gives_nothing(exact_up_to: int) -> None:
    kept = [Kept(np.empty((0, 1), np.float32), NOTHING), Kept(clustered(3, 5, 8), np.arange(5))]
    found = decide(np.empty((0, 8), np.float32), NOTHING, np.empty(0, bool), kept[1:], 0.9, exact_up_to=exact_up_to)
    assert found.keeper.tolist() == found.similarity.tolist() == found.stays.tolist() == []
    assert decide(*everyone(clustered(3, 1, 1)), kept[:1], 0.9, exact_up_to=exact_up_to).stays.tolist() == [True]


def test_kept_rows_may_be_in_a_file(tmp_path: Path) -> None:
    vectors, places, may_stay, kept = drawn(4, 100, 400, 32)
    np.save(tmp_path / "kept.npy", kept[1].vectors)
    stored = Kept(np.load(tmp_path / "kept.npy", mmap_mode="r"), kept[1].places)
    expected = decide(vectors, places, may_stay, kept, 0.9)
    assert same(decide(vectors, places, may_stay, [kept[0], stored], 0.9), expected)


@pytest.mark.parametrize(
    ("vectors", "places", "says"),
    [
        (np.ones((2, 4), np.float32), [0, 1], "one has 2.0; divide"),
        (np.zeros((2, 4), np.float32), [0, 1], "one has 0.0; divide"),
        (np.full((2, 4), np.nan, np.float32), [0, 1], "one has nan; divide"),
        (unit(np.ones((2, 4))), [1, 0], "ascending"),
        (unit(np.ones((2, 4))), [0], r"expected float32 \(1, dimensions\)"),
        (np.ones((2, 1)), [0, 1], "are float64"),
    ],
)
def test_what_cannot_be_compared_is_refused(vectors: Vectors, places: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decide(vectors, np.array(places), np.ones(len(places), bool), [], 0.9)


def test_vectors_of_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="kept vectors have 3 dimensions, the rows to decide 4"):
        decide(*everyone(unit(np.ones((2, 4)))), [Kept(unit(np.ones((1, 3))), np.array([5]))], 0.9)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(THRESHOLDS[:3]), st.sampled_from([0, 10**13]), st.integers(1, 4))
def test_marks_and_equal_vectors_keep_rows_apart(seed: int, threshold: float, exact_up_to: int, marks: int) -> None:
    """Rows with other marks or with an equal vector are ignored."""
    random = np.random.default_rng(seed)
    vectors, places, may_stay, kept = drawn(seed, 60, 40, 12)
    own = random.integers(0, marks, len(places))
    marked = [Kept(each.vectors, each.places, random.integers(0, marks, len(each.places))) for each in kept]
    found = decide(vectors, places, may_stay, marked, threshold, marks=own, same=0.9999, exact_up_to=exact_up_to)

    rows = [row for each in marked for row in zip(each.places, each.vectors, each.all_marks, strict=True)]
    for at, (vector, place, mark) in enumerate(zip(vectors, places, own, strict=True)):
        near = [(-cosine(vector, other), earlier) for earlier, other, of in rows if earlier < place and of == mark]
        best, keeper = min((pair for pair in near if threshold <= -pair[0] < 0.9999), default=(np.nan, NONE))
        assert (found.keeper[at], found.stays[at]) == (keeper, keeper == NONE and may_stay[at])
        assert np.array_equal(found.similarity[at], -best, equal_nan=True)
        if found.stays[at]:
            rows.append((place, vector, mark))


# --- Cosine and bound ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_cosine(seed: int, dimensions: int) -> None:
    x, y = clustered(seed, 2, dimensions, noise=1.0)
    assert cosine(x, y) == cosine(y, x)
    assert cosine(x, x) == cosine(np.float32(3) * x, np.float32(3) * x) == 1.0
    doubles = x.astype(np.float64), y.astype(np.float64)
    assert cosine(x, y) == pytest.approx(np.dot(*doubles) / np.prod(np.linalg.norm(doubles, axis=1)), abs=1e-12)


def spread(seed: int, rows: int, dimensions: int) -> dict[str, Vectors]:
    """Rows that are hard for the bound, by kind."""
    random = np.random.default_rng(seed)
    normal = random.normal(size=(rows, dimensions))
    one = np.eye(dimensions)[random.integers(0, dimensions, rows)]
    return {
        "normal": unit(normal),
        "clustered": clustered(seed, rows, dimensions),
        "axes": unit(one * random.choice([-1, 1], size=(rows, 1))),
        "nearly axes": unit(one + 1e-4 * normal),
        "signs": unit(np.sign(normal)),
        "skewed": unit(normal * np.geomspace(1, 1e-6, dimensions)),
        "positive": unit(np.abs(normal) + 1),
        "long": unit(normal) * np.float32(1.00004),
        "short": unit(normal) * np.float32(0.99996),
    }


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from([*DIMENSIONS, 384, 700]), st.sampled_from(THRESHOLDS), st.data())
def test_the_bound_is_never_below_the_cosine(seed: int, dimensions: int, threshold: float, data: st.DataObject) -> None:
    """Directions and step can come from different vectors."""
    kinds = spread(seed, 40, dimensions)
    fitted, x, y = (kinds[data.draw(st.sampled_from(sorted(kinds)))] for _ in range(3))
    chosen = fit_projection(fitted, threshold)
    one, other = chosen.quantize(x), chosen.quantize(y)
    products = one.codes.astype(np.int64) @ other.codes.astype(np.int64).T
    losses = one.losses[:, None] + other.losses
    doubles = [rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None] for rows in (x, y)]
    cosines = doubles[0] @ doubles[1].T
    assert (products * chosen.square + losses >= cosines).all()


def test_the_bound_is_close() -> None:
    vectors = clustered(5, 300, 384, noise=0.3)
    chosen = fit_projection(vectors, 0.9)
    codes, losses = chosen.quantize(vectors)
    products = codes.astype(np.int64) @ codes.astype(np.int64).T * chosen.square
    assert np.mean(products + losses[:, None] + losses - vectors @ vectors.T) < 0.15


def test_without_the_instruction_the_result_is_the_same(tmp_path: Path) -> None:
    """Kernels are compiled for a baseline CPU, in another process."""
    case = drawn(6, 400, 300, 100)
    np.savez(tmp_path / "case.npz", *case[:3], case[3][0].vectors, case[3][0].places)
    code = (
        "import sys, numpy as np; from personahub_assets.dedup.cosines import Kept\n"
        "from personahub_assets.dedup.semantic import decide\n"
        "a = list(np.load(sys.argv[1]).values()); r = decide(*a[:3], [Kept(*a[3:])], 0.9)\n"
        "np.savez(sys.argv[2], r.keeper, r.similarity)"
    )
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "kernels")}
    arguments = [sys.executable, "-c", code, str(tmp_path / "case.npz"), str(tmp_path / "found.npz")]
    subprocess.run(arguments, env={**os.environ, **plain}, check=True)
    keeper, similarity = np.load(tmp_path / "found.npz").values()
    expected = decide(*case[:3], case[3][:1], 0.9)
    assert keeper.tolist() == expected.keeper.tolist()
    assert np.array_equal(similarity, expected.similarity, equal_nan=True)


# --- Cells ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(0, 40), st.sampled_from(THRESHOLDS))
def test_few_cells_miss_nothing(seed: int, rows: int, earlier: int, threshold: float) -> None:
    case = drawn(seed, rows, earlier, 32)
    found = decide(*case, threshold, exact_up_to=0)
    assert (found.method, found.recall) == ("cells", 1.0)
    assert same(found, brute_force(*case, threshold))


@pytest.mark.parametrize("shift", [0.0, 0.2])
@pytest.mark.parametrize("dimensions", [64, 768])
def test_cells_find_nearly_all(dimensions: int, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of many dimensions, and of vectors that all point one way."""
    monkeypatch.setattr(semantic, "_IN_CELLS", 1_024)
    case = everyone(unit(clustered(7, 6000, dimensions) + np.float32(shift)))
    threshold = 0.9 if not shift else 0.995
    exact, found = decide(*case, [], threshold), decide(*case, [], threshold, exact_up_to=0)
    assert found.recall >= 0.99
    assert len(differences(found, exact)) <= 30
    dropped = np.flatnonzero(found.keeper != NONE)
    assert len(dropped) > 500
    assert [cosine(case[0][i], case[0][found.keeper[i]]) for i in dropped] == found.similarity[dropped].tolist()
    assert found.similarity[dropped].min() >= threshold


def test_cells_of_equal_vectors() -> None:
    case = everyone(np.repeat(clustered(8, 40, 48, noise=1.0), 100, axis=0)[np.random.default_rng(0).permutation(4000)])
    found = decide(*case, [], 0.9, exact_up_to=0)
    assert found.stays.sum() == 40
    assert same(found, decide(*case, [], 0.9))


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(THRESHOLDS), st.integers(1, 9), st.booleans())
def test_looking_into_all_cells_is_exact(seed: int, threshold: float, cells: int, is_known: bool) -> None:
    """The cells of kept rows may be known; rows are searched in blocks, and with those of earlier blocks in cells."""
    case = drawn(seed, 90, 60, 24)
    centroids = clustered(seed + 1, cells, 24)
    of_kept = [nearest(each.vectors, centroids, 1)[:, 0] for each in case[3]] if is_known else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantic, "_IN_CELLS", 16)
        patch.setattr(semantic, "_LEAST", 7)
        patch.setattr(semantic, "PIECE", 13)
        found = decide(*case, threshold, exact_up_to=0, index=lambda: Cells(centroids, cells, of_kept))
    assert same(found, decide(*case, threshold))


def test_the_nearest_cells_are_in_order() -> None:
    vectors, centroids = clustered(3, 50, 16), clustered(4, 9, 16)
    expected = np.argsort(-(vectors @ centroids.T), axis=1, kind="stable")
    assert nearest(vectors, centroids, 4).tolist() == expected[:, :4].tolist()
    assert nearest(vectors, centroids, 20).tolist() == expected.tolist()


def test_more_cells_are_looked_into_if_pairs_are_apart() -> None:
    centroids = np.eye(32, dtype=np.float32)
    near, apart = unit(centroids[:30] + 0.01), unit(centroids[:30] + 0.5 * np.roll(centroids, 1, axis=1)[:30])
    assert probes_of(np.repeat(near, 10, axis=0), np.repeat(near, 10, axis=0), centroids) == 4
    assert probes_of(np.repeat(near, 10, axis=0), np.repeat(np.roll(apart, 5, axis=0), 10, axis=0), centroids) > 4
    assert probes_of(near[:3], near[:3], centroids) == 16  # too few to say


# --- Time ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("earlier", [0, 700])
def test_the_time_is_estimated_and_decides(earlier: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_QUICK", 0)
    monkeypatch.setattr(vector_shards, "_TIMED", (64, 256))
    vectors, places, may_stay, kept = drawn(5, 400, 700, 48)
    case = vectors, places, may_stay, [Kept(each.vectors[:earlier], each.places[:earlier]) for each in kept], 0.9
    found = decide(*case)
    assert found.method == "exact"
    assert found.estimate is not None
    assert found.estimate > 0
    assert found.seconds > 0
    assert decide(*case, exact_seconds=found.estimate * 1e6).method == "exact"
    assert decide(*case, exact_seconds=0.0).method == "cells"
    assert decide(*case, exact_up_to=0).estimate is None


def test_one_row_can_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "_QUICK", 0)
    for rows in (1, 2, 3):
        assert decide(*everyone(clustered(1, rows, 8)), [], 0.9).estimate is not None
        assert decide(*everyone(clustered(1, rows, 8)), [Kept(clustered(2, 3, 8), np.arange(3) + 9)], 0.9).stays.any()


def test_differences_are_listed() -> None:
    one = Decided(np.array([NONE, 0, 0]), np.array([np.nan, 1, 1]), np.array([True, False, False]), "exact", 1.0)
    other = Decided(
        np.array([NONE, NONE, 0]), np.array([np.nan, np.nan, 1]), np.array([True, True, False]), "cells", 0.5
    )
    assert differences(one, other).tolist() == [1]
    assert differences(one, one).tolist() == []
