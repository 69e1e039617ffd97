"""A plan counts exactly the requests that a run sends as open."""

import shutil
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core import project_files
from personahub_assets.core.records import Instruction
from personahub_assets.generation.answers import Answers
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.journal import Journal, entry
from personahub_assets.generation.requests import Outcome, Reason, Request, ReusePolicy, Task
from personahub_assets.runs.forecast import Work
from personahub_assets.runs.lookup import Lookup
from personahub_assets.store.tables import Store, table_schema

TASK = Task("tools", project_files.prompt("tools"), Instruction, "some-model")
LIMIT = TASK.prompt.max_tokens
REASONS = [None, None, None, *get_args(Reason)]

VALID = Instruction(category="planning", instruction="Plan a week of meals for a keeper.").model_dump_json()

_OUTCOMES = st.tuples(
    st.sampled_from(REASONS),
    st.sampled_from([None, LIMIT // 2, LIMIT, LIMIT * 2]),
    st.sampled_from([1, LIMIT, LIMIT + 1, LIMIT * 3]),
    st.sampled_from([VALID, VALID, "{}"]),
)
_SHELF = st.dictionaries(st.integers(0, 9), _OUTCOMES, max_size=8)


def request(number: int) -> Request:
    return TASK.request(f"p{number}", {"persona": f"A keeper of lighthouse {number}."})


def outcome(number: int, said: tuple[Any, Any, int, str]) -> Outcome:
    reason, limit, tokens, response = said
    status = "rejected" if reason else "accepted"
    return Outcome(request(number).key, status, response, "some-model", reason, max_tokens=limit, answer_tokens=tokens)


def file(store: Store, batch: str, shelf: dict[int, tuple[Any, Any, int, str]]) -> None:
    """Write `generations` as if these had been published."""
    blank = {name: "x" if dtype == pl.String else 0 for name, dtype in table_schema("generations").items()}
    rows = [
        {
            **blank,
            **{name: getattr(found, name) for name in ("status", "reason", "response", "max_tokens", "answer_tokens")},
            "request_key": found.key,
            "input_id": f"p{number}",
            "reused": False,
            "repaired": False,
            "superseded_at": None,
        }
        for number, found in ((number, outcome(number, said)) for number, said in shelf.items())
    ]
    store.write("generations", batch, pl.DataFrame(rows, table_schema("generations")), TASK.asset)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    own=_SHELF,
    other=_SHELF,
    journal=_SHELF,
    foreign=_SHELF,
    asked=st.lists(st.integers(0, 9), max_size=14),
    retry=st.frozensets(st.sampled_from(get_args(Reason)), max_size=2),
)
def test_a_plan_counts_what_a_run_asks(
    tmp_path: Path,
    own: dict[int, Any],
    other: dict[int, Any],
    journal: dict[int, Any],
    foreign: dict[int, Any],
    asked: list[int],
    retry: frozenset[str],
) -> None:
    shutil.rmtree(tmp_path / "hub", ignore_errors=True)
    store = Store(home=str(tmp_path / "hub"))
    file(store, "a", own)
    file(store, "b", other)
    for batch, shelf in (("a", journal), ("c", foreign)):
        with Journal(store.paths.journal(TASK.asset, batch)) as open_journal:
            open_journal.note([entry(TASK, request(n), outcome(n, said)) for n, said in shelf.items()])
    requests = [request(number) for number in asked]
    work = Work("a", TASK.asset)
    Lookup(store, retry, lambda *_: None).look(work, TASK, requests)
    rule = ReusePolicy(LIMIT, retry)
    with Answers(store, TASK, "a", pytest.fail, lambda _task: rule, lambda _tally: None, Budget()) as answers:
        wanted = [each.key for each in answers._open_requests(iter(requests))]
    assert work.ask == len(wanted) == len(set(wanted))
    assert sum(work.reasons.values()) == work.ask
    assert work.requests == len(set(asked))
