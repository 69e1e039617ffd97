"""The keep rule in small cases that can be read; its laws are in test_dedup.py."""

import polars as pl

from personahub_assets.domain.keepers import Candidate, Decision, decide


def pairs(*rows: tuple[int, int, float]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), {"a": pl.Int64, "b": pl.Int64, "similarity": pl.Float64}, orient="row")


def test_the_first_in_the_walk_stays() -> None:
    found = decide(
        [Candidate("b", 0, 1), Candidate("c", 1, 2), Candidate("a", 2, 3)], [], pairs((1, 2, 0.9), (1, 3, 0.8)), 1
    )
    assert found == [Decision("b", 1), Decision("c", 1, "b", 0.9), Decision("a", 1, "b", 0.8)]


def test_likeness_is_not_passed_on() -> None:
    found = decide(
        [Candidate("a", 0, 1), Candidate("b", 0, 2), Candidate("c", 0, 3)], [], pairs((1, 2, 0.9), (2, 3, 0.9)), 1
    )
    assert [d.persona_id for d in found if d.keeper_id is None] == ["a", "c"]


def test_the_most_similar_keeper_is_named_and_of_equals_the_first() -> None:
    kept = [Candidate("x", 0, 1, 2), Candidate("y", 0, 2, 1), Candidate("z", 0, 3, 1)]
    near = pairs((1, 9, 0.9), (2, 9, 0.95), (3, 9, 0.95))
    assert decide([Candidate("a", 0, 9)], kept, near, 3) == [Decision("a", 3, "y", 0.95)]


def test_one_node_is_full_likeness() -> None:
    assert decide([Candidate("a", 0, 7), Candidate("b", 0, 7)], [], pairs(), 1)[1] == Decision("b", 1, "a", 1.0)


def test_a_later_admission_never_displaces() -> None:
    mine = Candidate("a", 0, 1, admission=1)
    assert decide([mine], [Candidate("b", 0, 2, admission=5)], pairs((1, 2, 1.0)), 6) == [Decision("a", 1)]


def test_who_lost_every_keeper_is_admitted_after_everybody() -> None:
    orphan = Candidate("a", 0, 1, admission=1, dropped=True)
    later = Candidate("b", 0, 2, admission=5)
    assert decide([orphan], [], pairs(), 6) == [Decision("a", 6)]
    assert decide([orphan], [later], pairs((1, 2, 0.9)), 6) == [Decision("a", 6, "b", 0.9)]


def test_who_has_another_keeper_left_keeps_its_admission() -> None:
    dropped = Candidate("b", 0, 2, admission=4, dropped=True)
    assert decide([dropped], [Candidate("a", 0, 1, admission=3)], pairs((1, 2, 0.9)), 6) == [Decision("b", 4, "a", 0.9)]


def test_nothing_to_decide() -> None:
    assert decide([], [Candidate("a", 0, 1, 1)], pairs(), 2) == []
