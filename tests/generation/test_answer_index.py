"""Reuse: the index agrees with a plain dict of the rows for every key, and the policy decides which are valid."""

from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core.text import digest
from personahub_assets.generation import answer_index
from personahub_assets.generation.answer_index import AnswerIndex, Mark, hash_of, hashes_of, outcome_of
from personahub_assets.generation.requests import GATES, Outcome, Reason, ReusePolicy
from personahub_assets.store import tables
from personahub_assets.store.tables import table_schema

REASONS = get_args(Reason)


def key(number: int) -> str:
    return digest("key", number, size=32)


def row(number: int, **more: Any) -> dict[str, Any]:
    """A row of `generations`; accepted by default."""
    found: dict[str, Any] = dict.fromkeys(table_schema("generations"))
    found |= {name: "x" for name, kind in table_schema("generations").items() if kind == pl.String}
    found |= dict.fromkeys(("sample", "attempts", "wasted_tokens", "cached_tokens", "prompt_tokens"), 1)
    found |= dict.fromkeys(("completion_tokens", "answer_tokens"), 10) | dict.fromkeys(("reused", "repaired"), False)
    found |= dict.fromkeys(("latency_s", "cost", "queue_s", "flight_s"), 0.5)
    found |= {"request_key": key(number), "status": "accepted", "reason": None, "detail": None, "max_tokens": 100}
    return found | more


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, table_schema("generations")).write_parquet(path, row_group_size=3)
    return path


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of three rows, so that a few rows fill several."""
    monkeypatch.setattr(tables, "SLICE_ROWS", 3)
    monkeypatch.setattr(answer_index, "SLICE_ROWS", 3)


# --- the rule ---

_PLAIN = ReusePolicy(max_tokens=100)


@pytest.mark.parametrize(
    ("rule", "reason", "max_tokens", "answer_tokens", "stands"),
    [
        # An answer stands, whatever the limit was.
        (_PLAIN, None, 100, 50, True),
        (_PLAIN, None, 100, 100, True),
        (_PLAIN, None, 50, 40, True),
        (_PLAIN, None, None, 40, True),
        # The limit was lowered: what is longer than it may be now is asked again, the rest is not.
        (_PLAIN, None, 200, 100, True),
        (_PLAIN, None, 200, 101, False),
        (_PLAIN, None, 200, 200, False),
        # The larger try may have taken more than the limit of that time; that was legal, and is.
        (_PLAIN, None, 100, 180, True),
        (_PLAIN, None, 60, 110, True),
        (_PLAIN, None, 101, 180, False),
        (_PLAIN, None, None, 180, True),
        # A truncated one is asked again when there is more room, and only then.
        (_PLAIN, "truncated", 50, 50, False),
        (_PLAIN, "truncated", 99, 99, False),
        (_PLAIN, "truncated", 100, 100, True),
        (_PLAIN, "truncated", 200, 400, True),
        (_PLAIN, "truncated", None, 100, True),
        # What says nothing about the request.
        (_PLAIN, "timeout", 100, 0, False),
        (_PLAIN, "unreachable", 100, 0, False),
        # Inputs that do not fit.
        (_PLAIN, "too_long", 100, 0, True),
        (ReusePolicy(100, cuts=True), "too_long", 100, 0, False),
        (ReusePolicy(100, cuts=True), None, 100, 50, True),
        (ReusePolicy(100, cuts=True), "refused", 100, 50, True),
        # Only what was named, and all of that.
        (ReusePolicy(100, frozenset({"refused"})), "refused", 100, 50, False),
        (ReusePolicy(100, frozenset({"refused"})), "empty", 100, 50, True),
        (ReusePolicy(100, frozenset({"refused"})), None, 100, 50, True),
        (ReusePolicy(100, frozenset({"refused"})), None, 200, 150, True),
        (ReusePolicy(100, frozenset({"refused"})), "timeout", 100, 0, True),
        (ReusePolicy(100, frozenset({"refused"}), cuts=True), "too_long", 100, 0, True),
        (ReusePolicy(100, frozenset({"truncated"})), "truncated", 200, 50, False),
        (ReusePolicy(100, frozenset(REASONS)), "unreachable", 100, 0, False),
        (ReusePolicy(100, frozenset(REASONS)), None, 100, 0, True),
    ],
)
def test_which_outcomes_stand(
    rule: ReusePolicy, reason: str | None, max_tokens: int | None, answer_tokens: int, stands: bool
) -> None:
    assert rule.is_valid(reason, max_tokens, answer_tokens) == stands


@pytest.mark.parametrize("reason", sorted(set(REASONS) - {"timeout", "unreachable"}))
def test_a_rejection_stands_in_an_ordinary_run(reason: str) -> None:
    assert _PLAIN.is_valid(reason, 100, 10)


# --- the shelf against a plain dict ---

_ROWS = st.builds(
    lambda number, status, reason, max_tokens, answer_tokens, attempts: row(
        number,
        status=status,
        reason=reason if status == "rejected" else None,
        max_tokens=max_tokens,
        answer_tokens=answer_tokens,
        attempts=attempts,
        response=f"{number} {status} {attempts}",
    ),
    st.integers(0, 12),
    st.sampled_from(["accepted", "rejected", "superseded"]),
    st.sampled_from(REASONS),
    st.sampled_from([None, 50, 100, 150, 200]),
    st.sampled_from([0, 10, 99, 100, 101, 150, 400]),
    st.integers(0, 5),
)
_RULES = st.builds(
    ReusePolicy, st.sampled_from([50, 100, 150]), st.frozensets(st.sampled_from(REASONS), max_size=2), st.booleans()
)


def plain(
    files: list[list[dict[str, Any]]], rule: ReusePolicy, *, accepted_only: bool
) -> dict[str, tuple[Mark, Outcome]]:
    """The expected result: for equal keys the first row of the first file with the key."""
    said: dict[str, tuple[Mark, Outcome]] = {}
    for rows in files:
        for each in rows:
            stands = rule.is_valid(each["reason"], each["max_tokens"], each["answer_tokens"])
            reason = None if each["reason"] in GATES else each["reason"]  # judged again by the gates
            if accepted_only and ((each["status"] == "rejected" and reason) or not stands):
                continue
            said.setdefault(each["request_key"], (Mark(reason, stands), outcome_of(each)))
    return said


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.lists(_ROWS, max_size=14), max_size=3),
    rule=_RULES,
    accepted_only=st.booleans(),
    asked=st.lists(st.integers(0, 16), max_size=20),
)
def test_the_shelf_agrees_with_a_plain_dict(
    tmp_path: Path, files: list[list[dict[str, Any]]], rule: ReusePolicy, accepted_only: bool, asked: list[int]
) -> None:
    if accepted_only:  # within one file a key that stands and one that does not are never both accepted
        files = [list({each["request_key"]: each for each in rows}.values()) for rows in files]
    paths = [written(tmp_path / f"{n}.parquet", rows) for n, rows in enumerate(files)]
    shelf = AnswerIndex(paths, rule, accepted_only=accepted_only)
    expected = plain(files, rule, accepted_only=accepted_only)
    keys = [key(number) for number in asked]
    assert shelf.marks(keys) == {name: expected[name][0] for name in keys if name in expected}
    assert shelf.outcomes(keys) == {name: expected[name][1] for name in keys if name in expected}
    for name in keys:  # one by one, in whatever order the groups are read
        assert shelf.outcomes([name]) == ({name: expected[name][1]} if name in expected else {})


def test_an_outcome_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rejected = row(2, status="rejected", reason="refused", detail="no", attempts=3, repaired=True, response="I can't")
    shelf = AnswerIndex([written(tmp_path / "a.parquet", [row(1), rejected])], _PLAIN)
    found = shelf.outcomes([key(2)])[key(2)]
    assert found == Outcome(
        key(2),
        "rejected",
        "I can't",
        model="x",
        reason="refused",
        detail="no",
        attempts=3,
        repaired=True,
        repair="x",
        finish_reason="x",
        finish_word="x",
        reasoning="x",
        prompt_tokens=1,
        cached_tokens=1,
        completion_tokens=10,
        answer_tokens=10,
        wasted_tokens=1,
        cost=0.5,
        max_tokens=100,
        latency_s=0.5,
        queue_s=0.5,
        flight_s=0.5,
        role="x",
    )


def test_a_superseded_answer_is_an_accepted_one(tmp_path: Path) -> None:
    shelf = AnswerIndex([written(tmp_path / "a.parquet", [row(1, status="superseded")])], _PLAIN)
    assert shelf.marks([key(1)]) == {key(1): Mark(None, True)}
    assert shelf.outcomes([key(1)])[key(1)].status == "accepted"


def test_of_equal_keys_the_one_that_was_paid_counts(tmp_path: Path) -> None:
    twins = [row(1, attempts=2), row(5), row(1, attempts=0, reused=True)]
    shelf = AnswerIndex([written(tmp_path / "a.parquet", twins)], _PLAIN)
    assert shelf.outcomes([key(1)])[key(1)].attempts == 2


@pytest.mark.parametrize("files", [[], [[]], [[], []]])
def test_an_empty_shelf_knows_nothing(tmp_path: Path, files: list[list[dict[str, Any]]]) -> None:
    paths = [written(tmp_path / f"{n}.parquet", rows) for n, rows in enumerate(files)]
    for accepted_only in (False, True):
        shelf = AnswerIndex(paths, _PLAIN, accepted_only=accepted_only)
        for keys in ([key(1)], []):
            assert shelf.marks(keys) == {}
            assert shelf.outcomes(keys) == {}


def test_a_file_that_goes_away_or_is_replaced_is_as_if_it_had_no_such_key(tmp_path: Path) -> None:
    paths = [written(tmp_path / f"{n}.parquet", [row(n * 10 + m) for m in range(5)]) for n in range(3)]
    shelf = AnswerIndex(paths, _PLAIN, accepted_only=True)
    paths[0].unlink()
    written(paths[1], [row(77)])
    keys = [key(number) for number in range(30)]
    assert shelf.outcomes(keys).keys() == {key(number) for number in range(20, 25)}


def test_a_file_without_later_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.parquet"
    late = ["max_tokens", "answer_tokens", "flight_s", "queue_s", "superseded_at", "cached_tokens"]
    frame = pl.DataFrame([row(1), row(2, status="rejected", reason="empty")], table_schema("generations"))
    frame.drop(late).write_parquet(path)
    shelf = AnswerIndex([path], _PLAIN)
    assert shelf.marks([key(1), key(2)]) == {key(1): Mark(None, True), key(2): Mark("empty", True)}
    assert shelf.outcomes([key(1)])[key(1)].max_tokens is None


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=20))
def test_the_hash_of_a_column_is_the_hash_of_its_keys(numbers: list[int]) -> None:
    keys = [key(number) for number in numbers]
    assert pl.DataFrame({"k": keys}).select(hashes_of(pl.col("k")))["k"].to_list() == [hash_of(k) for k in keys]
