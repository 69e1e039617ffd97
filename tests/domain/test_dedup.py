"""The laws of the keep rule, through the real joins: a small hub is grown, refreshed and re-decided, and after every
step its state is what one replay of all candidates in the order of their admissions gives, computed by brute force."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.domain.dedup import Hub, Stage, lexical_stage, matrix, semantic_stage
from personahub_assets.domain.keepers import DECISIONS
from personahub_assets.domain.text import words

NO_DECISIONS = pl.DataFrame(schema=DECISIONS)


@dataclass(frozen=True)
class Kind:
    """One of the two stages: what it compares, and how alike two of them are."""

    name: str
    column: str
    dtype: Any
    draw: Callable[[random.Random], Any]
    similarity: Callable[[Any, Any], float]
    stage: Callable[[pl.DataFrame, pl.DataFrame, Hub, float], Stage]


def _words(chance: random.Random) -> str:
    return " ".join(chance.choice("aabcdefg") for _ in range(chance.randint(0, 7)))


def _jaccard(one: str, two: str) -> float:
    a, b = set(words(one)), set(words(two))
    return len(a & b) / len(a | b) if a | b else float(one == two)


def _vector(chance: random.Random) -> list[float]:
    vector = np.array([chance.gauss(0, 1) for _ in range(3)], np.float32)
    return [float(x) for x in vector / np.linalg.norm(vector)]


KINDS = [
    Kind("lexical", "persona", pl.String, _words, _jaccard, lexical_stage),
    Kind(
        "semantic",
        "embedding",
        pl.List(pl.Float32),
        _vector,
        lambda one, two: float(np.dot(one, two)),
        lambda candidates, before, hub, threshold: semantic_stage(candidates, before, hub, threshold, 10**9),
    ),
]
of_both_kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


class SmallHub:
    """Candidates and decisions by batch, decided as the assets decide."""

    def __init__(self, kind: Kind, threshold: float, seed: int):
        self.kind, self.threshold, self.chance = kind, threshold, random.Random(seed)
        self.candidates: dict[str, pl.DataFrame] = {}
        self.decisions: dict[str, pl.DataFrame] = {}
        self.made = 0

    def rows(self, count: int) -> pl.DataFrame:
        """New candidates; their ids come in no order of their making."""
        made = []
        for _ in range(count):
            self.made += 1
            made.append(
                (
                    f"p{self.chance.getrandbits(40):010x}-{self.made}",
                    self.chance.randint(0, 2),
                    self.kind.draw(self.chance),
                )
            )
        return pl.DataFrame(
            made, {"persona_id": pl.String, "hop": pl.Int8, self.kind.column: self.kind.dtype}, orient="row"
        )

    def add(self, count: int) -> None:
        batch = f"batch-{self.chance.getrandbits(30)}"
        self.candidates[batch] = self.rows(count)
        self.decide(batch)

    def refresh(self, batch: str, keep: float, new: int) -> None:
        """Some candidates vanish, some appear; the batch alone is decided again."""
        old = self.candidates[batch]
        kept = old.filter(pl.Series([self.chance.random() < keep for _ in range(old.height)], dtype=pl.Boolean))
        self.candidates[batch] = pl.concat([kept, self.rows(new)])
        self.decide(batch)

    def decide(self, batch: str) -> None:
        self.decisions[batch] = self.decided(batch, self.candidates[batch], lambda frame: frame)

    def decided(
        self, batch: str, candidates: pl.DataFrame, order: Callable[[pl.DataFrame], pl.DataFrame]
    ) -> pl.DataFrame:
        stored = pl.concat([NO_DECISIONS, *self.decisions.values()])
        others = pl.concat([NO_DECISIONS, *(frame for name, frame in self.decisions.items() if name != batch)])
        kept = others.filter(pl.col("keeper_id").is_null()).select("persona_id", "admission")
        texts = pl.concat(self.candidates.values())
        hub = Hub(order(kept.join(texts, on="persona_id")), int(stored["admission"].max() or 0) + 1)  # type: ignore[arg-type]
        before = order(self.decisions.get(batch, NO_DECISIONS))
        return self.kind.stage(candidates, before, hub, self.threshold).decisions

    def decide_all(self) -> None:
        """Every batch once, in the order of admission."""
        for batch in sorted(self.decisions, key=lambda name: self.decisions[name]["admission"].min() or 0):
            self.decide(batch)

    def settle(self) -> None:
        """Every batch until nothing changes.

        One round is enough but for a lowered threshold: where a refresh or a raised threshold has given one batch
        several admissions, no order of the batches is the order of the walk. Even then no two kept ones are alike after
        the first round; what needs another is a persona whose keeper was dropped after it was decided.
        """
        for _ in range(len(self.decisions) + 1):
            before = self.decided_as()
            self.decide_all()
            self.check_kept_apart()
            if self.decided_as() == before:
                return
        raise AssertionError(f"still changing after {len(self.decisions) + 1} rounds")

    def state(self) -> dict[str, tuple[int, str | None, float | None]]:
        rows = pl.concat([NO_DECISIONS, *self.decisions.values()])
        return {persona_id: (admission, keeper, alike) for persona_id, admission, keeper, alike in rows.iter_rows()}

    def decided_as(self) -> dict[str, tuple[int, str | None]]:
        """The state without the similarities, whose last digit depends on the shape of a matrix product."""
        return {persona_id: (admission, keeper) for persona_id, (admission, keeper, _) in self.state().items()}

    def kept(self) -> set[str]:
        return {persona_id for persona_id, (_, keeper, _) in self.state().items() if keeper is None}

    def everything(self) -> dict[str, tuple[int, Any]]:
        return {row[0]: row[1:] for frame in self.candidates.values() for row in frame.iter_rows()}

    def replay(self) -> dict[str, tuple[int, str | None, float | None]]:
        """The rule, word by word: walk all in the order of admission and compare with everyone kept so far."""
        state, everything = self.state(), self.everything()
        kept: list[str] = []
        result: dict[str, tuple[int, str | None, float | None]] = {}
        for persona_id in sorted(everything, key=lambda p: (state[p][0], everything[p][0], p)):
            alike = [(self.kind.similarity(everything[k][1], everything[persona_id][1]), k) for k in kept]
            best = max((pair for pair in alike if pair[0] >= self.threshold), key=lambda pair: pair[0], default=None)
            if best is None:
                kept.append(persona_id)
            result[persona_id] = (state[persona_id][0], best and best[1], best and best[0])
        return result

    def check(self) -> None:
        """The stored state is the replay, and so has the properties that follow from the rule."""
        state, everything = self.state(), self.everything()
        assert state.keys() == everything.keys()
        replayed = self.replay()
        assert self.decided_as() == {p: (admission, keeper) for p, (admission, keeper, _) in replayed.items()}
        for persona_id, (admission, keeper, similarity) in state.items():
            if keeper is None:
                assert similarity is None
                continue
            assert state[keeper][1] is None
            assert state[keeper][0] <= admission
            assert similarity == pytest.approx(replayed[persona_id][2], abs=1e-6)
            assert similarity >= self.threshold - 1e-6  # type: ignore[operator]
        self.check_kept_apart()

    def check_kept_apart(self) -> None:
        """No two kept personas are within the threshold."""
        everything, kept = self.everything(), sorted(self.kept())
        for at, one in enumerate(kept):
            for two in kept[at + 1 :]:
                assert self.kind.similarity(everything[one][1], everything[two][1]) < self.threshold


SEEDS = st.integers(0, 2**32)
THRESHOLDS = st.sampled_from([0.5, 0.6, 0.75, 0.9, 1.0])
SIZES = st.lists(st.integers(0, 9), min_size=1, max_size=5)


def grown(kind: Kind, threshold: float, seed: int, sizes: list[int]) -> SmallHub:
    hub = SmallHub(kind, threshold, seed)
    for size in sizes:
        hub.add(size)
    return hub


def refreshed(hub: SmallHub, times: int) -> None:
    for _ in range(times):
        batch = hub.chance.choice(sorted(hub.candidates))
        hub.refresh(batch, hub.chance.choice([0.0, 0.5, 0.8, 1.0]), hub.chance.randint(0, 4))


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, THRESHOLDS, SIZES)
def test_deciding_batch_by_batch_is_one_replay_of_all(
    kind: Kind, seed: int, threshold: float, sizes: list[int]
) -> None:
    hub = SmallHub(kind, threshold, seed)
    for size in sizes:
        before = hub.state()
        hub.add(size)
        hub.check()
        assert before.items() <= hub.state().items()  # a late batch changes nothing that was decided


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, THRESHOLDS, SIZES)
def test_deciding_again_changes_nothing(kind: Kind, seed: int, threshold: float, sizes: list[int]) -> None:
    hub = grown(kind, threshold, seed, sizes)
    before = hub.decided_as()
    for batch in hub.chance.sample(sorted(hub.candidates), len(hub.candidates)):
        hub.decide(batch)
    assert hub.decided_as() == before


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, THRESHOLDS, SIZES)
def test_the_order_of_rows_and_of_batches_changes_nothing(
    kind: Kind, seed: int, threshold: float, sizes: list[int]
) -> None:
    hub = grown(kind, threshold, seed, sizes)
    batch = hub.chance.choice(sorted(hub.candidates))
    hub.candidates[batch] = pl.concat([hub.candidates[batch], hub.rows(5)])
    plain = hub.decided(batch, hub.candidates[batch], lambda frame: frame)
    shuffled = hub.decided(
        batch,
        hub.candidates[batch].sample(fraction=1, shuffle=True, seed=seed),
        lambda frame: frame.sample(fraction=1, shuffle=True, seed=seed + 1),
    )
    decided = ["persona_id", "admission", "keeper_id"]
    assert plain.select(decided).rows() == shuffled.select(decided).rows()
    assert plain["similarity"].to_list() == pytest.approx(shuffled["similarity"].to_list(), abs=1e-6)


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, THRESHOLDS, SIZES, st.integers(1, 4))
def test_a_refresh_displaces_nobody_and_heals_when_all_are_decided_again(
    kind: Kind, seed: int, threshold: float, sizes: list[int], times: int
) -> None:
    hub = grown(kind, threshold, seed, sizes)
    for _ in range(times):
        kept, before = hub.kept(), hub.decided_as()
        refreshed(hub, 1)
        changed = {p for p, decided in hub.decided_as().items() if p in before and decided != before[p]}
        assert not changed & kept  # only who was dropped is decided otherwise
        hub.decide_all()
        assert kept & hub.everything().keys() <= hub.kept()
        hub.check()


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, SIZES, THRESHOLDS, THRESHOLDS, THRESHOLDS)
def test_a_changed_threshold_is_the_replay_with_it(
    kind: Kind, seed: int, sizes: list[int], first: float, second: float, third: float
) -> None:
    hub = grown(kind, first, seed, sizes)
    for threshold in (second, third):
        kept, raised = hub.kept(), threshold >= hub.threshold
        hub.threshold = threshold
        hub.decide_all() if raised else hub.settle()
        hub.check()
        assert not raised or kept <= hub.kept()


@of_both_kinds
@settings(max_examples=20)
@given(SEEDS, SIZES, THRESHOLDS, THRESHOLDS, st.integers(1, 3))
def test_a_changed_threshold_after_refreshes(
    kind: Kind, seed: int, sizes: list[int], first: float, second: float, times: int
) -> None:
    hub = grown(kind, first, seed, sizes)
    refreshed(hub, times)
    hub.decide_all()
    hub.threshold = second
    hub.settle()
    hub.check()


@of_both_kinds
def test_an_empty_batch_is_decided(kind: Kind) -> None:
    hub = grown(kind, 0.9, 0, [0, 4, 0])
    assert hub.decisions[next(iter(hub.decisions))].schema == pl.Schema(DECISIONS)
    hub.check()


def test_texts_without_words_are_dropped_only_for_the_very_same_text() -> None:
    candidates = pl.DataFrame({"persona_id": ["a", "b", "c"], "persona": ["☃", "☃", "🙂"], "hop": [0, 0, 0]})
    kept = pl.DataFrame(schema={"persona_id": pl.String, "persona": pl.String, "hop": pl.Int64, "admission": pl.Int64})
    found = lexical_stage(candidates, NO_DECISIONS, Hub(kept, 1), 0.9).decisions
    assert found.rows() == [("a", 1, None, None), ("b", 1, "a", 1.0), ("c", 1, None, None)]


def test_a_matrix_of_no_vectors_has_no_rows() -> None:
    assert matrix(pl.Series([], dtype=pl.List(pl.Float32))).shape == (0, 1)
    assert matrix(pl.Series([[1.0, 0.0], [0.0, 1.0]], dtype=pl.List(pl.Float32))).shape == (2, 2)
