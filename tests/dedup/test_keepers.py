"""The keep rule: small cases that can be read, then its laws over random histories of a small hub.

Here numbers are compared by brute force; `tests/dedup/test_state.py` tests the laws with the real joins.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.dedup.keepers import NONE, Decided, Listed, Walk, admit, in_order, places

ROWS = {
    "batch": pl.String,
    "id": pl.String,
    "hop": pl.Int8,
    "value": pl.Float64,
    "admission": pl.Int64,
    "keeper_id": pl.String,
    "similarity": pl.Float64,
}
DECIDED = ["batch", "id", "admission", "keeper_id", "similarity"]
NOBODY = pl.DataFrame(schema={"id": pl.String, "place": pl.Int64, "value": pl.Float64})


def likeness(one: float, other: float) -> float:
    """Similarity of two numbers between 0 and 1; not transitive."""
    return max(0.0, 1.0 - abs(one - other) / 16)


def by_brute_force(rows: pl.DataFrame, others: pl.DataFrame, threshold: float) -> Callable[[Walk], Decided]:
    """Compare numbers, each with every kept one before it."""
    values = rows["value"].to_numpy()
    elsewhere = [*zip(others["place"].to_list(), others["value"].to_list(), strict=True)]

    def decide(walk: Walk) -> Decided:
        assert np.all(np.diff(walk.places) > 0)
        assert np.all(np.diff(walk.standing_places) > 0)
        kept = [*elsewhere, *zip(walk.standing_places.tolist(), values[walk.standing].tolist(), strict=True)]
        keeper, similarity = np.full(len(walk.index), NONE), np.full(len(walk.index), np.nan)
        stays = np.zeros(len(walk.index), np.bool_)
        for i, (row, place) in enumerate(zip(walk.index, walk.places.tolist(), strict=True)):
            near = [(-likeness(values[row], value), earlier) for earlier, value in kept if earlier < place]
            best = min((pair for pair in near if -pair[0] >= threshold), default=None)
            if best is not None:
                similarity[i], keeper[i] = -best[0], best[1]
            elif walk.may_stay[i]:
                stays[i] = True
                kept.append((place, values[row]))
        return Decided(keeper, similarity, stays)

    return decide


# --- Small cases ---------------------------------------------------------------------------------------------------

Row = tuple[str, str, int, float, int | None, str | None, float | None]


def decided(
    rows: list[Row],
    others: list[tuple[str, int, float]] | None = None,
    admission: int = 9,
    threshold: float = 0.5,
    replay: bool = False,
) -> list[tuple[object, ...]]:
    frame = in_order(pl.DataFrame(rows, ROWS, orient="row"))
    elsewhere = pl.DataFrame(others or [], NOBODY.schema, orient="row")
    found = admit(frame, Listed(elsewhere), admission, by_brute_force(frame, elsewhere, threshold), replay=replay)
    assert found.columns == DECIDED
    return found.rows()


def new(row_id: str, value: float, hop: int = 0, batch: str = "b") -> Row:
    return (batch, row_id, hop, value, None, None, None)


def kept(row_id: str, value: float, admission: int, batch: str = "b") -> Row:
    return (batch, row_id, 0, value, admission, None, None)


def dropped(row_id: str, value: float, admission: int, keeper: str, batch: str = "b") -> Row:
    return (batch, row_id, 0, value, admission, keeper, 0.75)


def place(admission: int, number: int = 0) -> int:
    return admission << 32 | number


def test_the_first_in_the_walk_stays() -> None:
    assert decided([new("c", 0, 1), new("a", 4, 2), new("b", 2, 0)]) == [
        ("b", "b", 9, None, None),
        ("b", "c", 9, "b", 1 - 2 / 16),
        ("b", "a", 9, "b", 1 - 2 / 16),
    ]


def test_likeness_is_not_passed_on() -> None:
    assert [row[3] for row in decided([new("a", 0), new("b", 8), new("c", 16)])] == [None, "a", None]


def test_the_most_similar_keeper_is_named_and_of_equals_the_first() -> None:
    others = [("x", place(2), 0.0), ("y", place(3), 6.0), ("z", place(4), 2.0)]
    assert decided([new("a", 4)], others) == [("b", "a", 9, "y", 1 - 2 / 16)]


def test_a_later_admission_never_displaces() -> None:
    assert decided([kept("a", 0, 1)], [("x", place(5), 0.0)]) == [("b", "a", 1, None, None)]
    assert decided([kept("a", 0, 1)], [("x", place(5), 0.0)], replay=True) == [("b", "a", 1, None, None)]


def test_who_lost_every_keeper_is_admitted_after_everybody() -> None:
    orphan = dropped("a", 0, 1, "gone")
    assert decided([orphan]) == [("b", "a", 9, None, None)]
    assert decided([orphan], [("later", place(5), 4.0)]) == [("b", "a", 9, "later", 1 - 4 / 16)]
    assert decided([orphan, new("0", 0)]) == [("b", "0", 9, None, None), ("b", "a", 9, "0", 1.0)]


def test_who_has_another_keeper_before_keeps_the_admission() -> None:
    others = [("before", place(1), 7.0), ("between", place(3), 0.0)]
    assert decided([dropped("a", 0, 2, "gone")], others) == [("b", "a", 2, "before", 1 - 7 / 16)]


def test_what_stands_is_not_compared_again() -> None:
    rows = [kept("a", 0, 1), dropped("c", 3, 1, "a")]
    assert decided(rows, [("x", place(0), 0.0)]) == [("b", "a", 1, None, None), ("b", "c", 1, "a", 0.75)]


def test_a_replay_compares_again_by_the_stored_admissions() -> None:
    rows = [kept("late", 0, 7, "two"), kept("early", 4, 3, "one"), dropped("free", 12, 3, "early", "one")]
    assert decided(rows, threshold=0.75, replay=True) == [
        ("one", "early", 3, None, None),
        ("one", "free", 9, None, None),
        ("two", "late", 7, "early", 1 - 4 / 16),
    ]


def test_batches_that_are_decided_again_take_an_admission_each() -> None:
    rows = [dropped("a", 0, 3, "x", "one"), dropped("b", 100, 2, "x", "two"), dropped("c", 200, 2, "x", "two")]
    found = decided([*rows, new("d", 300, 0, "three")], replay=True)
    assert {row[1]: row[2] for row in found} == {"b": 9, "c": 9, "a": 10, "d": 11}


def test_nothing_gives_nothing() -> None:
    assert decided([]) == decided([], replay=True) == []
    assert decided([], [("x", place(1), 0.0)]) == []


def test_places_follow_the_admissions() -> None:
    assert places(pl.Series([1, 1, 4], dtype=pl.Int64)).tolist() == [place(1, 0), place(1, 1), place(4, 2)]
    assert places(pl.Series([], dtype=pl.Int64)).tolist() == []


# --- A small hub ---------------------------------------------------------------------------------------------------


@dataclass
class SmallHub:
    """Candidates and decisions by batch, decided as the assets decide."""

    threshold: float
    chance: random.Random
    candidates: dict[str, pl.DataFrame] = field(default_factory=dict)
    decisions: dict[str, pl.DataFrame] = field(default_factory=dict)
    rules: dict[str, float] = field(default_factory=dict)
    made: int = 0

    def rows(self, count: int) -> pl.DataFrame:
        """New candidates with ids in random order."""
        some = []
        for _ in range(count):
            self.made += 1
            name = f"p{self.chance.getrandbits(40):010x}-{self.made}"
            some.append((name, self.chance.randint(0, 2), self.chance.randint(0, 24) / 2))
        return pl.DataFrame(some, {name: ROWS[name] for name in ("id", "hop", "value")}, orient="row")

    def add(self, count: int) -> None:
        batch = f"batch-{self.chance.getrandbits(30)}"
        self.candidates[batch] = self.rows(count)
        self.decide(batch)

    def refresh(self, batch: str, keep: float, new: int) -> None:
        """Remove and add candidates; only this batch is decided again."""
        old = self.candidates[batch]
        stay = pl.Series([self.chance.random() < keep for _ in range(old.height)], dtype=pl.Boolean)
        self.candidates[batch] = pl.concat([old.filter(stay), self.rows(new)])
        self.decide(batch)

    def refresh_some(self) -> None:
        batch = self.chance.choice(sorted(self.candidates))
        self.refresh(batch, self.chance.choice([0.0, 0.5, 0.8, 1.0]), self.chance.randint(0, 4))

    @property
    def outdated(self) -> bool:
        return any(self.rules[batch] != self.threshold for batch in self.decisions)

    def decide(self, batch: str) -> int:
        """Decide a batch, or all if the threshold changed; return the number of changed decisions of other batches."""
        before = self.state()
        found = self.decided(batch, lambda frame: frame)
        for key in {batch, *(self.decisions if self.outdated else ())}:
            self.decisions[key] = found.filter(pl.col("batch") == key)
            self.rules[key] = self.threshold
        mine = set(self.candidates[batch]["id"])
        return sum(row != before.get(name) for name, row in self.state().items() if name not in mine)

    def decided(self, batch: str, order: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
        """Decisions about a batch, with its rows and those of others in a given order."""
        replay = self.outdated
        nothing = pl.DataFrame(schema={name: ROWS[name] for name in DECIDED[1:]})
        parts = []
        for key in sorted({batch, *(self.decisions if replay else ())}):
            rows = order(self.candidates[key].with_columns(batch=pl.lit(key)))
            before = order(self.decisions[key].drop("batch") if key in self.decisions else nothing)
            parts.append(rows.join(before, on="id", how="left" if key == batch else "inner"))
        rows = in_order(pl.concat(parts).select(list(ROWS)))
        elsewhere = [NOBODY]
        for key in () if replay else sorted(set(self.decisions) - {batch}):
            placed = self.decisions[key].with_columns(place=places(self.decisions[key]["admission"]))
            there = placed.filter(pl.col("keeper_id").is_null()).join(self.candidates[key], on="id")
            elsewhere.append(there.select(NOBODY.columns))
        others = pl.concat(elsewhere)
        highest = max((frame["admission"].max() or 0 for frame in self.decisions.values()), default=0)
        return admit(rows, Listed(others), highest + 1, by_brute_force(rows, others, self.threshold), replay=replay)  # type: ignore[operator,arg-type]

    def decide_all(self) -> None:
        """Every batch once, in any order."""
        for batch in self.chance.sample(sorted(self.candidates), len(self.candidates)):
            self.decide(batch)

    def state(self) -> dict[str, tuple[int, str | None, float | None]]:
        rows = [row for frame in self.decisions.values() for row in frame.iter_rows()]
        found = {row_id: (admission, keeper, alike) for _, row_id, admission, keeper, alike in rows}
        assert len(found) == len(rows)
        return found

    def kept(self) -> set[str]:
        return {row_id for row_id, (_, keeper, _) in self.state().items() if keeper is None}

    def everything(self) -> dict[str, tuple[int, float]]:
        return {row[0]: row[1:] for frame in self.candidates.values() for row in frame.iter_rows()}

    def order(self) -> list[str]:
        """All candidates in the order of the walk."""
        state, everything = self.state(), self.everything()
        return sorted(everything, key=lambda name: (state[name][0], everything[name][0], name))

    def replay(self) -> dict[str, tuple[int, str | None, float | None]]:
        """Walk all candidates by their admissions, without earlier decisions."""
        state, everything = self.state(), self.everything()
        standing: list[str] = []
        result: dict[str, tuple[int, str | None, float | None]] = {}
        for name in self.order():
            near = [(-likeness(everything[k][1], everything[name][1]), at, k) for at, k in enumerate(standing)]
            best = min((found for found in near if -found[0] >= self.threshold), default=None)
            if best is None:
                standing.append(name)
            result[name] = (state[name][0], best and best[2], best and -best[0])
        return result

    def check(self) -> None:
        """Check that the state equals one replay of all admissions, and has the properties of the rule."""
        state = self.state()
        assert state.keys() == self.everything().keys()
        assert state == self.replay()
        place = {name: at for at, name in enumerate(self.order())}
        for name, (_, keeper, similarity) in state.items():
            assert (keeper is None) == (similarity is None)
            if keeper is not None and similarity is not None:
                assert state[keeper][1] is None
                assert place[keeper] < place[name]
                assert similarity >= self.threshold
        self.check_apart()
        batches = [set(frame["admission"]) for frame in self.decisions.values()]
        assert sum(map(len, batches)) == len(set().union(*batches))  # an admission is of one batch

    def check_apart(self) -> None:
        """Check that no two kept rows are within the threshold."""
        everything = self.everything()
        values = sorted(everything[name][1] for name in self.kept() & everything.keys())
        assert all(likeness(a, b) < self.threshold for a, b in pairwise(values))


seeds = st.integers(0, 2**32)
thresholds = st.sampled_from([0.5, 0.6, 0.75, 0.9, 1.0])
sizes = st.lists(st.integers(0, 9), min_size=1, max_size=5)


def grown(seed: int, threshold: float, counts: list[int]) -> SmallHub:
    hub = SmallHub(threshold, random.Random(seed))
    for count in counts:
        hub.add(count)
    return hub


@settings(max_examples=12)
@given(seeds, thresholds, sizes)
def test_batch_by_batch_is_one_replay_of_all(seed: int, threshold: float, counts: list[int]) -> None:
    hub = grown(seed, threshold, [])
    for count in counts:
        before = hub.state()
        hub.add(count)
        hub.check()
        assert before.items() <= hub.state().items()  # a late batch changes nothing that was decided
    before = hub.state()
    hub.decide_all()
    assert hub.state() == before  # and deciding again changes nothing


@settings(max_examples=12)
@given(seeds, thresholds, thresholds, sizes, st.integers(0, 3))
def test_the_order_of_rows_changes_nothing(
    seed: int, threshold: float, another: float, counts: list[int], times: int
) -> None:
    hub = grown(seed, threshold, counts)
    for _ in range(times):
        hub.refresh_some()
    hub.threshold = another
    batch = hub.chance.choice(sorted(hub.candidates))
    hub.candidates[batch] = pl.concat([hub.candidates[batch], hub.rows(5)])
    plain = hub.decided(batch, lambda frame: frame)
    for n in range(3):
        shuffled = hub.decided(batch, lambda frame, n=n: frame.sample(fraction=1, shuffle=True, seed=seed + n))  # type: ignore[misc]
        assert shuffled.rows() == plain.rows()


@settings(max_examples=12)
@given(seeds, thresholds, sizes, st.integers(1, 4))
def test_a_refresh_displaces_nobody(seed: int, threshold: float, counts: list[int], times: int) -> None:
    hub = grown(seed, threshold, counts)
    for _ in range(times):
        kept, before = hub.kept(), hub.state()
        hub.refresh_some()
        state = hub.state()
        assert kept & hub.everything().keys() <= hub.kept()
        hub.check_apart()
        changed = {name for name in state if name in before and state[name] != before[name]}
        assert all(before[name][1] not in {None, *hub.kept()} for name in changed)  # who had lost its keeper


@settings(max_examples=12)
@given(seeds, thresholds, sizes, st.integers(1, 4))
def test_who_lost_its_keeper_is_decided_with_its_batch(
    seed: int, threshold: float, counts: list[int], times: int
) -> None:
    hub = grown(seed, threshold, counts)
    for _ in range(times):
        hub.refresh_some()
        before, gone = hub.state(), {keeper for _, keeper, _ in hub.state().values()} - {None} - hub.kept()
        newest = max((admission for admission, _, _ in before.values()), default=0)
        hub.decide_all()
        hub.check()
        for name, (admission, keeper, _) in hub.state().items():
            if before[name][1] in gone:  # another one before it keeps it down, or it is admitted after all others
                assert keeper != before[name][1]
                assert admission == before[name][0] or admission > newest
                assert keeper is not None or admission > newest
            else:
                assert hub.state()[name] == before[name]


@settings(max_examples=12)
@given(seeds, sizes, thresholds, st.lists(thresholds, min_size=1, max_size=4), st.integers(0, 3))
def test_a_changed_threshold_decides_all_again_with_the_first_batch(
    seed: int, counts: list[int], first: float, following: list[float], times: int
) -> None:
    hub = grown(seed, first, counts)
    for _ in range(times):
        hub.refresh_some()
    hub.decide_all()
    for threshold in following:
        kept, raised = hub.kept(), threshold >= hub.threshold
        order = hub.order()
        hub.threshold = threshold
        hub.decide(hub.chance.choice(sorted(hub.candidates)))
        hub.check()
        after, state = hub.kept(), hub.state()
        if raised:
            assert kept <= after
        for name in kept - after:  # lost only to one that came earlier and was kept before, too
            keeper = state[name][1]
            assert keeper in kept
            assert order.index(keeper) < order.index(name)
        before = hub.state()
        hub.decide_all()
        assert hub.state() == before


@settings(max_examples=12)
@given(seeds, sizes, thresholds, thresholds, st.integers(0, 3))
def test_a_threshold_that_is_raised_and_put_back_keeps_the_same(
    seed: int, counts: list[int], one: float, two: float, times: int
) -> None:
    """Rows admitted by the higher threshold are last, so the old threshold drops exactly these."""
    hub = grown(seed, min(one, two), counts)
    for _ in range(times):
        hub.refresh_some()
    hub.decide_all()
    kept, before = hub.kept(), hub.state()
    for threshold in (max(one, two), min(one, two)):
        hub.threshold = threshold
        hub.decide(hub.chance.choice(sorted(hub.candidates)))
    assert hub.kept() == kept
    for name, (_, keeper, similarity) in hub.state().items():
        if keeper is not None and similarity is not None:
            assert similarity >= (before[name][2] or 0)  # a keeper that is as near or nearer: more stand before it


@settings(max_examples=12)
@given(seeds, sizes, thresholds, thresholds)
def test_a_threshold_that_is_lowered_and_put_back(seed: int, counts: list[int], one: float, two: float) -> None:
    """A row that the lower threshold dropped can only be replaced by a row that this threshold admitted."""
    hub = grown(seed, max(one, two), counts)
    kept = hub.kept()
    hub.threshold = min(one, two)
    hub.decide_all()
    between = hub.kept()
    hub.threshold = max(one, two)
    hub.decide_all()
    hub.check()
    assert between <= hub.kept()
    if between <= kept:
        assert hub.kept() == kept
    assert all(hub.state()[name][1] in between - kept for name in kept - hub.kept())


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_an_empty_batch_is_decided(threshold: float) -> None:
    hub = grown(0, threshold, [0, 4, 0])
    hub.check()
    hub.threshold = 0.7
    hub.decide_all()
    hub.check()
