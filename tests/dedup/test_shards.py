"""However kept rows are divided into shards, and wherever rows of a walk are held, the decisions are the same bits."""

import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.dedup import lexical as walk
from personahub_assets.dedup import semantic as vectors
from personahub_assets.dedup.cosines import Kept
from personahub_assets.dedup.keepers import NONE, Decided
from personahub_assets.dedup.shard_holder import Holder
from personahub_assets.dedup.shards import NOWHERE, Best, Matches, Spans, no_keepers
from personahub_assets.dedup.signatures import SignatureScheme
from personahub_assets.dedup.vector_shards import shard

counts = st.sampled_from([1, 2, 5])
seeds = st.integers(0, 2**32)


def same(one: Decided, other: Decided) -> bool:
    pairs = ((one.keeper, other.keeper), (one.stays, other.stays), (one.similarity, other.similarity))
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def elsewhere(value: Any) -> Any:
    """A shard that was sent to another process."""
    return pickle.loads(pickle.dumps(value))


@settings(max_examples=25, deadline=None)
@given(seeds, counts, st.sampled_from([0.5, 0.8, 0.9]), st.integers(1, 3))
def test_parts_of_the_signatures_find_the_same_keepers(seed: int, count: int, threshold: float, width: int) -> None:
    random = np.random.default_rng(seed)
    texts = pl.Series([" ".join(random.choice(list("aabcdefghij"), random.integers(1, 9))) for _ in range(120)])
    chosen = SignatureScheme(threshold, "exact", 1, 128, width=width)
    places = random.permutation(120)
    whole = walk.segment(chosen.sets(texts[:60]), places[:60], chosen)
    case = texts[60:], np.sort(places[60:]), random.random(60) < 0.9
    parts = [elsewhere(walk.shard(whole, number, count, range(60))) for number in range(count)]
    expected = walk.decide(*case, [whole], chosen, threads=1)
    assert same(walk.decide(*case, parts, chosen, threads=1), expected)
    assert same(walk.decide(*case, parts[::-1], chosen, threads=1), expected)


@settings(max_examples=25, deadline=None)
@given(seeds, counts, st.sampled_from([0.5, 0.9]), st.booleans())
def test_ranges_of_rows_find_the_same_keepers(seed: int, count: int, threshold: float, is_divided: bool) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(12, 24))[random.integers(0, 12, 130)] + 0.3 * random.normal(size=(130, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    places, marks = random.permutation(130), random.integers(0, 2, 130)
    case = rows[60:], np.sort(places[60:]), random.random(70) < 0.9
    kept = Kept(rows[:60], places[:60], marks[:60])
    shards = [elsewhere(shard(kept, np.arange(60), number, count, range(60))) for number in range(count)]
    here, there = (shards[: count // 2], shards[count // 2 :]) if is_divided else ([], shards)
    expected = vectors.decide(*case, [kept], threshold, marks=marks[60:], threads=1)
    found = vectors.decide(
        *case, [each.kept for each in here], threshold, marks=marks[60:], shards=there[::-1], threads=2
    )
    assert same(found, expected)


spans = (
    st.lists(st.integers(0, 60), max_size=6)
    .map(lambda ends: sorted(set(ends)))
    .map(lambda ends: tuple(zip(ends[::2], ends[1::2], strict=False)))
)


def hidden(places: Any, masked: Spans) -> Any:
    places = places.copy()
    for begin, end in masked:
        places[begin:end] = NOWHERE
    return places


@settings(max_examples=25, deadline=None)
@given(seeds, counts, spans)
def test_masked_rows_are_no_keepers_in_any_part(seed: int, count: int, masked: Spans) -> None:
    random = np.random.default_rng(seed)
    case = np.arange(60, 120), random.random(60) < 0.9
    texts = pl.Series([" ".join(random.choice(list("aabcdef"), random.integers(1, 6))) for _ in range(120)])
    chosen, places = SignatureScheme(0.6, "exact", 1, 128), random.permutation(60)
    whole = walk.segment(chosen.sets(texts[:60]), places, chosen)
    parts = [elsewhere(walk.shard(whole, number, count, range(60))).without(masked) for number in range(count)]
    expected = walk.decide(texts[60:], *case, [whole._replace(places=hidden(places, masked))], chosen, threads=1)
    assert same(walk.decide(texts[60:], *case, parts, chosen, threads=1), expected)
    rows = random.normal(size=(8, 24))[random.integers(0, 8, 120)] + 0.3 * random.normal(size=(120, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    kept = Kept(rows[:60], places)
    ranges = [
        elsewhere(shard(kept, np.arange(60), number, count, range(60))).without(masked) for number in range(count)
    ]
    expected = vectors.decide(rows[60:], *case, [Kept(rows[:60], hidden(places, masked))], 0.7, threads=1)
    assert same(vectors.decide(rows[60:], *case, [], 0.7, shards=ranges, threads=1), expected)


@settings(max_examples=25, deadline=None)
@given(seeds, counts, st.lists(st.integers(0, 60), min_size=1, max_size=3).map(sorted))
def test_parts_that_are_joined_are_parts_of_the_whole(seed: int, count: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    texts = pl.Series([" ".join(random.choice(list("aabcdef"), random.integers(1, 6))) for _ in range(120)])
    rows = random.normal(size=(8, 24))[random.integers(0, 8, 120)] + 0.3 * random.normal(size=(120, 24))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    chosen, places = SignatureScheme(0.6, "exact", 1, 128), random.permutation(60)
    whole, kept = walk.segment(chosen.sets(texts[:60]), places, chosen), Kept(rows[:60], places)
    spans = [range(begin, end) for begin, end in pairwise([0, *cuts, 60])]
    case = np.arange(60, 120), random.random(60) < 0.9
    masked = ((3, 9), (30, 31))
    by_words, by_vectors = list[Any](), list[Any]()
    for number in range(count):
        parts = [elsewhere(walk.shard(whole, number, count, span)) for span in spans]
        by_words.append(parts[0].followed_by(parts[1:], [span.start for span in spans[1:]]).without(masked))
        ranges = [elsewhere(shard(kept, np.arange(60), number, count, span)) for span in spans]
        by_vectors.append(ranges[0].followed_by(ranges[1:], [span.start for span in spans[1:]]).without(masked))
    expected = walk.decide(texts[60:], *case, [whole._replace(places=hidden(places, masked))], chosen, threads=1)
    assert same(walk.decide(texts[60:], *case, by_words, chosen, threads=1), expected)
    expected = vectors.decide(rows[60:], *case, [Kept(rows[:60], hidden(places, masked))], 0.7, threads=1)
    assert same(vectors.decide(rows[60:], *case, [], 0.7, shards=by_vectors, threads=1), expected)


def test_a_holder_joins_rows_that_it_has() -> None:
    random = np.random.default_rng(3)
    texts = pl.Series([" ".join(random.choice(list("aabcdefgh"), 4)) for _ in range(100)])
    chosen = SignatureScheme(0.6, "exact", 1, 128)
    whole = walk.segment(chosen.sets(texts[:80]), np.arange(80), chosen)
    sets = chosen.sets(texts[80:])
    batch = walk.Batch(sets, *chosen.signatures(sets), np.arange(80, 100), 0.6)
    expected = whole.candidates(batch)
    assert len(expected.rows) > 3
    holder = Holder(0)
    holder.take("ab", ("a", "b"), range(30), walk.shard(whole, 0, 1, range(30)))
    holder.take("c", ("c",), range(10), walk.shard(whole, 0, 1, range(30, 40)))
    holder.take("other", ("x",), range(5), walk.shard(whole, 0, 1, range(5)))
    wanted = {"abcd": ("a", "b", "c", "d"), "cd": ("c", "d"), "da": ("d", "a"), "c": ("c",)}
    assert holder.count_runs(wanted) == {"abcd": 3, "cd": 1, "da": 0}
    assert holder.candidates([("abcd", ())], batch).matches is None
    holder.take("abcd", wanted["abcd"], range(30, 80), walk.shard(whole, 0, 1, range(30, 80)))
    assert "abcd" in holder.count_runs(wanted), "rows that do not follow those that are held were joined"
    holder.take("abcd", wanted["abcd"], range(40, 80), walk.shard(whole, 0, 1, range(40, 80)))
    found = holder.candidates([("abcd", ())], batch).matches
    assert found is not None
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    holder.keep_runs(["a", "b", "c", "d"])
    assert holder.count_runs({"other": ("x",), "c": ("c",)}) == {"other": 0}
    holder.keep(["abcd"])
    assert holder.count_runs({"abcd": wanted["abcd"], "c": ("c",)}) == {"c": 0}


def test_of_equal_matches_the_earlier_is_taken() -> None:
    best = no_keepers(3)
    for keepers in ([7, 9, 4], [5, 8, 6]):
        best.take(Matches(np.array([0, 1, 2]), np.array(keepers), np.array([0.9, 0.9, keepers[2] / 10])))
    best.take(Matches(np.array([], np.int64), np.array([], np.int64), np.array([])))
    assert best.keeper.tolist() == [5, 8, 6]
    assert Best(*no_keepers(2)).keeper.tolist() == [NONE, NONE]
