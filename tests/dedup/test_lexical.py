"""The walk over word sets: equal to brute force if it is exact, for any plan, pieces and places."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from personahub_assets.core.text import words
from personahub_assets.dedup import lexical, merging
from personahub_assets.dedup.keepers import NONE, Decided
from personahub_assets.dedup.lexical import Segment, decide, merged, segment
from personahub_assets.dedup.signatures import Method, SignatureScheme, cost, plan, suits
from personahub_assets.dedup.wordsets import order_of, word_sets

THRESHOLDS = [0.5, 0.55, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
WIDTHS = [1, 2, 3, 4, 5, 6]

thresholds = st.sampled_from(THRESHOLDS)
widths = st.sampled_from(WIDTHS)
seeds = st.integers(0, 2**32)

Row = tuple[int, str, bool]  # place, text, may stay
Ints = np.typing.NDArray[np.int64]


def bare_plan(
    threshold: float, method: Method = "exact", ngram: int = 1, permutations: int = 128, **more: Any
) -> SignatureScheme:
    return SignatureScheme(threshold, method, ngram, permutations, **more)


# --- The rule, as plainly as possible ------------------------------------------------------------------------------


def jaccard(one: str, other: str) -> float:
    a, b = set(words(one)), set(words(other))
    return len(a & b) / len(a | b) if a or b else float(one == other)


def brute_force(rows: list[Row], kept: list[tuple[int, str]], threshold: float) -> Decided:
    """Compare each row with every kept one before it."""
    found, kept = [], list(kept)
    for place, text, may_stay in rows:
        near = [(-jaccard(text, other), earlier) for earlier, other in kept if earlier < place]
        best, keeper = min((pair for pair in near if -pair[0] >= threshold), default=(np.nan, NONE))
        found.append((keeper, -best, keeper == NONE and may_stay))
        if found[-1][2]:
            kept.append((place, text))
    keepers, similarities, stays = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    return Decided(np.array(keepers, np.int64), np.array(similarities, np.float64), np.array(stays, np.bool_))


def same(one: Decided, other: Decided) -> bool:
    return (
        one.keeper.tolist() == other.keeper.tolist()
        and one.stays.tolist() == other.stays.tolist()
        and np.array_equal(one.similarity, other.similarity, equal_nan=True)
    )


# --- Cases ---------------------------------------------------------------------------------------------------------


def series(texts: list[str]) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)


def walked(rows: list[Row], kept: list[Segment], chosen: SignatureScheme, threads: int = 1) -> Decided:
    places, texts, may_stay = zip(*rows, strict=True) if rows else ((), (), ())
    return decide(
        series(list(texts)), np.array(places, np.int64), np.array(may_stay, np.bool_), kept, chosen, threads=threads
    )


def kept_in(parts: list[list[tuple[int, str]]], chosen: SignatureScheme) -> list[Segment]:
    return [
        segment(chosen.sets(series([text for _, text in part])), np.array([p for p, _ in part], np.int64), chosen)
        for part in parts
    ]


def few_words(chance: random.Random) -> str:
    """Texts of few words, so that sets overlap; one word is far more frequent, and some texts have no word."""
    return " ".join(chance.choice("aaabcdefghij☃") for _ in range(chance.randint(0, 12)))


def edited(chance: random.Random, sizes: list[int]) -> Callable[[random.Random], str]:
    """Texts of very different lengths, each a few edits away from another one."""
    made = [[f"w{chance.randint(0, 3 * size)}" for _ in range(size)] for size in sizes]

    def draw(chance: random.Random) -> str:
        text = list(chance.choice(made))
        for _ in range(chance.choice([0, 1, 1, 2, 5, len(text) // 10, len(text) // 3])):
            at = chance.randrange(len(text) + 1)
            text[at : at + chance.randint(0, 1)] = [chance.choice(["a", "b", f"x{chance.randint(0, 99)}"])] * (
                chance.randint(0, 1)
            )
        made.append(text)
        return " ".join(text)

    return draw


def drawn(seed: int, count: int, draw: Callable[[random.Random], str]) -> tuple[list[Row], list[list[tuple[int, str]]]]:
    """Rows to decide, and kept rows in up to three parts; their places are mixed, with gaps."""
    chance = random.Random(seed)
    places = chance.sample(range(3 * count + 1), count)
    if chance.random() < 0.3:
        places = [place << 32 for place in places]
    cut = chance.randint(count // 2, count)
    rows = [(place, draw(chance), chance.random() < 0.85) for place in sorted(places[:cut])]
    cuts = [cut, *sorted(chance.choices(range(cut, count + 1), k=chance.randint(0, 2))), count]
    parts = [[(place, draw(chance)) for place in sorted(places[a:b])] for a, b in pairwise(cuts)]
    return rows, parts


def planned(threshold: float, width: int, texts: list[str], ordered: bool) -> SignatureScheme:
    bare = bare_plan(threshold, width=width)
    return replace(bare, order=order_of(word_sets(series(texts)))) if ordered else bare


# --- Exact ---------------------------------------------------------------------------------------------------------


@settings(max_examples=70)
@given(seeds, st.integers(0, 40), thresholds, widths, st.booleans(), st.sampled_from([1, 3]))
def test_a_walk_is_brute_force(
    seed: int, count: int, threshold: float, width: int, ordered: bool, threads: int
) -> None:
    rows, parts = drawn(seed, count, few_words)
    chosen = planned(threshold, width, [text for _, text, _ in rows], ordered)
    found = walked(rows, kept_in(parts, chosen), chosen, threads)
    assert same(found, brute_force(rows, [*chain.from_iterable(parts)], threshold))


@settings(max_examples=15)
@given(
    seeds,
    st.lists(st.sampled_from([1, 2, 5, 19, 20, 63, 65, 120, 300]), min_size=1, max_size=5),
    thresholds,
    widths,
    st.booleans(),
)
def test_long_texts_beside_short_ones(seed: int, sizes: list[int], threshold: float, width: int, ordered: bool) -> None:
    rows, parts = drawn(seed, 30, edited(random.Random(seed), sizes))
    chosen = planned(threshold, width, [text for _, text, _ in rows], ordered)
    found = walked(rows, kept_in(parts, chosen), chosen)
    assert same(found, brute_force(rows, [*chain.from_iterable(parts)], threshold))


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("width", [1, 3, 6])
@pytest.mark.parametrize("ordered", [False, True])
def test_parts_of_other_texts_to_the_word(threshold: float, width: int, ordered: bool) -> None:
    """Subsets of all sizes, in both orders: the ratio of the sizes decides.

    In the order of words, those of only the larger set come first: the maximum number is missing.
    """
    texts = [" ".join(f"w{i}" for i in range(size)) for size in range(1, 90)]
    chosen = planned(threshold, width, texts, ordered)
    sets = chosen.sets(series(texts))
    for other in (1, 2, 9, 10, 18, 19, 20, 45, 89):
        kept = segment(chosen.sets(series(texts[other - 1 : other])), np.array([0]), chosen)
        found = decide(series(texts), np.arange(1, 90), np.zeros(89, np.bool_), [kept], chosen)
        ratios = [min(size, other) / max(size, other) for size in range(1, 90)]
        assert (found.keeper == 0).tolist() == [ratio >= threshold for ratio in ratios]
        assert found.similarity[found.keeper == 0].tolist() == [ratio for ratio in ratios if ratio >= threshold]
    assert len(sets.starts) == 90


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), thresholds, widths)
@example(18, 1, 1, 0.9, 4)
@example(9, 1, 0, 0.9, 6)
@example(1, 1, 0, 0.5, 6)
@example(2, 1, 1, 0.5, 5)
def test_sizes_just_at_the_threshold(shared: int, first: int, second: int, threshold: float, width: int) -> None:
    both = [f"w{i}" for i in range(shared)]
    texts = [" ".join([*both, *(f"{name}{i}" for i in range(more))]) for name, more in (("x", first), ("y", second))]
    similarity = shared / (shared + first + second)
    for ordered in (False, True):  # in order, what one of them has alone comes first, and what they share comes last
        chosen = planned(threshold, width, texts, ordered)
        found = walked([(0, texts[0], True), (1, texts[1], True)], [], chosen)
        assert found.keeper.tolist() == [NONE, 0 if similarity >= threshold else NONE]
        assert found.stays.tolist() == [True, similarity < threshold]
        if similarity >= threshold:
            assert found.similarity[1] == similarity


@pytest.mark.parametrize("threshold", [0.5, 0.9, 1.0])
def test_many_identical_texts_cost_one_comparison_each(threshold: float) -> None:
    texts = series(["A nurse in Oslo who sings", "someone else entirely"]).gather([0, 1] * 20_000)
    found = decide(texts, np.arange(40_000), np.ones(40_000, np.bool_), [], plan(bare_plan(threshold), texts, 40_000))
    assert found.stays.sum() == 2
    assert found.keeper[2:].tolist() == [0, 1] * 19_999
    assert set(found.similarity[2:]) == {1.0}


def test_the_most_similar_keeper_is_named_and_of_equals_the_first() -> None:
    kept = [(1, "a b c x"), (3, "a b c d"), (2, "a b c y"), (8, "a b c d e")]
    chosen = bare_plan(0.5)
    for parts in ([kept], [[row] for row in kept], [kept[2:], kept[:2]]):
        segments = kept_in([sorted(part) for part in parts], chosen)
        found = walked([(4, "a b c d e", False), (5, "a b c z", True), (9, "a b c d e", True)], segments, chosen)
        assert found.keeper.tolist() == [3, 1, 8]
        assert found.similarity.tolist() == [4 / 5, 3 / 5, 1.0]


def test_nothing_gives_nothing() -> None:
    for chosen in (bare_plan(0.9), bare_plan(0.9, "minhash"), plan(bare_plan(0.5), series([]), 0)):
        empty = kept_in([[], []], chosen)
        assert len(walked([], empty, chosen).keeper) == 0
        assert walked([(0, "", True), (1, "", True)], empty, chosen).keeper.tolist() == [NONE, 0]


@settings(max_examples=25)
@given(seeds, st.integers(0, 60), thresholds, widths, st.sampled_from(["exact", "minhash"]))
def test_walks_one_after_the_other_are_one_walk(
    seed: int, count: int, threshold: float, width: int, method: Method
) -> None:
    """The kept rows of a walk are a segment for the next one; also with minhash, whose signatures do not change."""
    rows, _ = drawn(seed, count, few_words)
    chosen = bare_plan(threshold, method, width=width)
    whole = walked(rows, [], chosen)
    cuts = [0, *sorted(random.Random(seed).choices(range(len(rows) + 1), k=3)), len(rows)]
    segments: list[Segment] = []
    found: list[Decided] = []
    for a, b in pairwise(cuts):
        found.append(walked(rows[a:b], segments, chosen))
        stayed = [(place, text) for (place, text, _), stays in zip(rows[a:b], found[-1].stays, strict=True) if stays]
        segments += kept_in([stayed], chosen)
    parts = [np.concatenate([getattr(each, name) for each in found]) for name in ("keeper", "similarity", "stays")]
    assert same(Decided(*parts), whole)


@settings(max_examples=25)
@given(seeds, thresholds, widths, st.integers(1, 3))
def test_grams_are_compared_like_words(seed: int, threshold: float, width: int, ngram: int) -> None:
    chance = random.Random(seed)
    texts = [" ".join(chance.choice("abc") for _ in range(chance.randint(1, 9))) for _ in range(30)]

    def grams(text: str) -> str:
        parts = text.split()
        return " ".join("_".join(parts[i : i + ngram]) for i in range(max(1, len(parts) - ngram + 1)))

    used = bare_plan(threshold, ngram=ngram, width=width)
    found = walked([(i, text, True) for i, text in enumerate(texts)], [], used)
    assert same(found, brute_force([(i, grams(text), True) for i, text in enumerate(texts)], [], threshold))


# --- Beyond a piece ------------------------------------------------------------------------------------------------


def many(rows: int, seed: int = 0) -> tuple[pl.Series, Ints]:
    """Sets of up to 8 words out of 24, written as texts and as bits; places with gaps."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 24, (rows, 8))
    drawn = np.where(np.arange(8) < random.integers(1, 9, (rows, 1)), drawn, drawn[:, :1])
    names = np.array([f"w{i}" for i in range(24)])
    texts = series([" ".join(row) for row in names[drawn].tolist()])
    bits: Ints = np.bitwise_or.reduce(np.int64(1) << drawn, axis=1)
    return texts, bits


def joined(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.concatenate(each) if isinstance(each, list) else np.asarray(each) for name, each in arrays.items()}


def by_bits(bits: Ints, places: Ints, may_stay: Ints, threshold: float) -> Decided:
    keeper, similarity = np.full(len(bits), NONE), np.full(len(bits), np.nan)
    kept, kept_places, count = np.empty(len(bits), np.int64), np.empty(len(bits), np.int64), 0
    stays = np.zeros(len(bits), np.bool_)
    for i, mine in enumerate(bits):
        found = np.bitwise_count(kept[:count] & mine) / np.bitwise_count(kept[:count] | mine)
        if count and found[best := int(np.argmax(found))] >= threshold:
            keeper[i], similarity[i] = kept_places[best], found[best]
        elif may_stay[i]:
            stays[i] = True
            kept[count], kept_places[count] = mine, places[i]
            count += 1
    return Decided(keeper, similarity, stays)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_pieces_threads_and_spilling_change_nothing(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "_FROZEN", 300)
    monkeypatch.setattr(merging, "_PIECE", 500)
    rows = 5_000  # three pieces
    texts, bits = many(rows)
    places = np.arange(rows) * 3 + 7
    may_stay = np.arange(rows) % 11 != 5
    expected = by_bits(bits, places, may_stay, threshold)
    chosen = plan(bare_plan(threshold), texts, rows)
    spilled: list[Segment] = []

    def spill(segments: Iterable[Segment]) -> list[Segment]:
        whole = Segment(**joined(merged(list(segments))))
        spilled.append(whole)
        return [whole]

    for threads in (1, 3):
        spilled.clear()
        walked = partial(decide, texts, places, may_stay, [], chosen, threads=threads, piece_rows=2_000)
        assert same(walked(), expected)
        assert same(walked(memory=0, spill=spill), expected)
        assert len(spilled) == 2  # after each piece but the last
        kept = np.concatenate([each.places for each in spilled])
        assert set(kept) < set(places[expected.stays])


# --- Minhash -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permutations", [16, 100, 128, 256, 1024])
def test_bands_find_a_pair_at_the_threshold(permutations: int) -> None:
    for threshold in np.arange(0.5, 0.96, 0.01):
        band = bare_plan(threshold, "minhash", permutations=permutations).band

        def found(band: int, threshold: float = threshold) -> float:
            return float(1 - (1 - threshold**band) ** (permutations // band))

        assert found(band) >= 0.999
        assert all(found(longer) < 0.999 for longer in range(band + 1, permutations + 1))
    assert bare_plan(1.0, "minhash", permutations=permutations).band == permutations


@settings(max_examples=40)
@given(seeds, st.integers(0, 40), thresholds, st.integers(1, 2))
def test_minhash_reports_only_what_is_within_the_threshold(seed: int, count: int, threshold: float, ngram: int) -> None:
    rows, parts = drawn(seed, count, few_words)
    chosen = bare_plan(threshold, "minhash", permutations=64)
    found = walked(rows, kept_in(parts, chosen), chosen)
    text_at = dict([*chain.from_iterable(parts)])
    for (place, text, may_stay), keeper, similarity, stays in zip(
        rows, found.keeper.tolist(), found.similarity.tolist(), found.stays, strict=True
    ):
        assert stays == (keeper == NONE and may_stay)
        if keeper != NONE:
            assert keeper < place
            assert similarity == jaccard(text, text_at[keeper]) >= threshold
        if stays:
            text_at[place] = text


@pytest.mark.parametrize(
    ("threshold", "shared", "alone"), [(0.5, 10, 5), (0.7, 14, 3), (0.8, 16, 2), (0.9, 18, 1), (0.95, 38, 1)]
)
def test_minhash_finds_planted_pairs(threshold: float, shared: int, alone: int) -> None:
    pairs = 5_000
    texts = [
        " ".join([*(f"w{pair}x{i}" for i in range(shared)), *(f"{side}{pair}x{i}" for i in range(alone))])
        for side in "ab"
        for pair in range(pairs)
    ]
    chosen = plan(bare_plan(threshold, "minhash"), series(texts), len(texts))
    found = walked([(i, text, True) for i, text in enumerate(texts)], [], chosen)
    assert found.stays[:pairs].all()
    there = found.keeper[pairs:] == np.arange(pairs)
    assert there.mean() >= 0.998  # 99.9 % are expected to be found: 5 misses, and at most 10 are tolerated
    similarity = shared / (shared + 2 * alone)
    assert set(found.similarity[pairs:][there]) == {similarity}
    assert similarity >= threshold
    exact = plan(bare_plan(threshold), series(texts), len(texts))
    assert (walked([(i, text, True) for i, text in enumerate(texts)], [], exact).keeper[pairs:] >= 0).all()


# --- Plans ---------------------------------------------------------------------------------------------------------


def templated(rows: int, seed: int = 0, name: str = "") -> list[str]:
    """One sentence of 20 words with six slots for 120 words each."""
    chance = random.Random(seed)
    fixed = (
        f"{name} ".join(
            [
                "a",
                "who",
                "works",
                "for",
                "many",
                "years",
                "in",
                "with",
                "after",
                "and",
                "to",
                "the",
                "about",
                "her",
                "his",
                "friends",
            ]
        )
        + name
    )
    return [f"{fixed} " + " ".join(f"{slot}{name}{chance.randrange(120)}" for slot in "uvwxyz") for _ in range(rows)]


@settings(max_examples=25)
@given(seeds, st.integers(1, 40), thresholds, st.lists(st.sampled_from("abcdefghij"), max_size=20))
def test_a_plan_changes_nothing(seed: int, count: int, threshold: float, other: list[str]) -> None:
    rows, parts = drawn(seed, count, few_words)
    texts = series([text for _, text, _ in rows])
    results = []
    for chosen in (
        plan(bare_plan(threshold), texts, count),
        plan(bare_plan(threshold), texts, 10**9),
        plan(bare_plan(threshold), series(other), 10**6),
    ):
        results.append(walked(rows, kept_in(parts, chosen), chosen))
    assert same(results[0], results[1])
    assert same(results[0], results[2])


@pytest.mark.parametrize("threshold", [0.8, 0.9, 0.95])
def test_templates_are_cheap_and_right(threshold: float) -> None:
    texts = series(templated(20_000))
    chosen = plan(bare_plan(threshold), texts, len(texts))
    assert cost(chosen, chosen.sets(texts), len(texts)) <= 50
    # Two of them differ in some of six slots of 22 words: one slot is 21/23, two are 20/24.
    slots = np.array([text.split()[-6:] for text in texts.to_list()])
    codes = np.unique(slots, return_inverse=True)[1].reshape(slots.shape)
    found = decide(texts, np.arange(len(texts)), np.ones(len(texts), np.bool_), [], chosen)
    kept = np.empty((0, 6), np.int64)
    size = len(set(words(texts[0])))
    for row, (keeper, stays) in enumerate(zip(found.keeper[:3_000].tolist(), found.stays.tolist(), strict=False)):
        differing = (kept != codes[row]).sum(axis=1)
        least = int(differing.min(initial=6))
        within = (size - least) / (size + least) >= threshold
        assert stays == (not within)
        assert (keeper == NONE) == stays
        if stays:
            kept = np.vstack([kept, codes[row]])


def test_a_plan_for_other_texts_does_not_suit() -> None:
    mine, foreign = series(templated(4_000)), series(templated(4_000, name="é"))
    chosen = plan(bare_plan(0.9), mine, 4_000)
    assert suits(chosen, mine)
    assert suits(chosen, series(templated(4_000, seed=1)))
    assert suits(chosen, series([]))
    assert suits(chosen, series(["one text only, of another kind"]))
    assert not suits(chosen, foreign)
    assert suits(plan(bare_plan(0.9), foreign, 4_000), foreign)


def test_the_name_of_a_plan_is_what_signatures_depend_on() -> None:
    order = order_of(word_sets(series(["a b", "a b c", "c"])))
    bare = bare_plan(0.9)
    others = [
        bare_plan(0.8),
        bare_plan(0.9, "minhash"),
        bare_plan(0.9, ngram=2),
        bare_plan(0.9, permutations=64),
        bare_plan(0.9, width=2),
        bare_plan(0.9, order=order),
    ]
    assert len({bare.name, *(each.name for each in others)}) == 7
    assert bare_plan(0.9).name == bare.name
