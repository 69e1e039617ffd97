"""Who stays: the one rule by which both dedup stages keep and drop.

Walk the candidates in the order (admission, hop, persona_id); keep one unless an already kept one is within the
threshold. It follows that every dropped persona has a keeper that was kept at that stage and is within the threshold,
that no two kept ones are within it, and that the order of rows inside a batch or of batch names changes nothing.

An admission is the number of the dedup run that first decided about a candidate, per stage. It never changes, with one
exception: a *dropped* candidate whose every keeper has gone (its batch was refreshed, or the threshold was raised) is
admitted anew, after everybody who is there. So nobody who was kept, and for whom datasets were paid, is displaced by a
late arrival or by the refresh of an older batch, and replaying the stored admissions always gives the stored result.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

DECISIONS = {
    "persona_id": pl.String,
    "admission": pl.Int64,
    "keeper_id": pl.String,
    "similarity": pl.Float64,
}


@dataclass(frozen=True)
class Candidate:
    """A persona to decide about, or one of another batch that is already kept."""

    persona_id: str
    hop: int
    node: int  # what the pairs speak of; personas alike in every respect may share a node
    admission: int | None = None  # None: never decided at this stage
    dropped: bool = False  # what the last decision said

    @property
    def order(self) -> tuple[int, int, str]:
        """Place in the walk."""
        return (-1 if self.admission is None else self.admission, self.hop, self.persona_id)


@dataclass(frozen=True)
class Decision:
    """What became of a candidate; a kept one has no keeper."""

    persona_id: str
    admission: int
    keeper_id: str | None = None
    similarity: float | None = None


class Walk:
    """The kept personas so far, found by node."""

    def __init__(self, pairs: pl.DataFrame, kept: Iterable[Candidate]):
        self._near: dict[int, list[tuple[int, float]]] = defaultdict(list)
        for a, b, similarity in pairs.select("a", "b", "similarity").iter_rows():
            self._near[a].append((b, similarity))
            self._near[b].append((a, similarity))
        self._kept: dict[int, list[Candidate]] = defaultdict(list)
        for candidate in kept:
            self._kept[candidate.node].append(candidate)

    def keeper(self, candidate: Candidate) -> tuple[float, Candidate] | None:
        """The most similar kept persona that comes before this one; of equally similar ones the first."""
        near = [(candidate.node, 1.0), *self._near.get(candidate.node, ())]
        found = [
            (similarity, kept)
            for node, similarity in near
            for kept in self._kept.get(node, ())
            if kept.order < candidate.order
        ]
        return min(found, key=lambda pair: (-pair[0], pair[1].order), default=None)

    def keep(self, candidate: Candidate) -> None:
        """Count the candidate among the kept."""
        self._kept[candidate.node].append(candidate)


def decide(candidates: list[Candidate], kept: list[Candidate], pairs: pl.DataFrame, admission: int) -> list[Decision]:
    """Decide about the candidates of one batch.

    Args:
        candidates: all candidates of the batch at this stage; those decided before carry their admission.
        kept: the personas of all other batches that are kept at this stage.
        pairs: `(a, b, similarity)` of nodes within the threshold, at least those with a candidate of this batch.
        admission: the number of this run, higher than every earlier one.

    Returns:
        One decision per candidate, in the order of the walk.
    """
    walk = Walk(pairs, kept)
    known = sorted((c for c in candidates if c.admission is not None), key=lambda c: c.order)
    fresh = [c for c in candidates if c.admission is None]
    decisions = []
    for candidate in known:
        found = walk.keeper(candidate)
        if found is None and candidate.dropped:
            fresh.append(candidate)
            continue
        decisions.append(_decision(walk, candidate, found))
    for candidate in sorted((Candidate(c.persona_id, c.hop, c.node, admission) for c in fresh), key=lambda c: c.order):
        decisions.append(_decision(walk, candidate, walk.keeper(candidate)))
    return decisions


def _decision(walk: Walk, candidate: Candidate, found: tuple[float, Candidate] | None) -> Decision:
    assert candidate.admission is not None
    if found is None:
        walk.keep(candidate)
        return Decision(candidate.persona_id, candidate.admission)
    return Decision(candidate.persona_id, candidate.admission, found[1].persona_id, found[0])
