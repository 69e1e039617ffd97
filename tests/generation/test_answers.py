"""Answers, end to end with the stand-in: none is paid twice or lost, and no partition is published in part."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from personahub_assets.core import project_files
from personahub_assets.core.errors import BudgetSpent, ConfigError, StoreError, Unfinished
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import Instruction, KnowledgeText
from personahub_assets.core.retrying import Backoff
from personahub_assets.endpoints import transport
from personahub_assets.generation import answer_index
from personahub_assets.generation import answers as answers_module
from personahub_assets.generation.answers import Answers
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.datasets import items
from personahub_assets.store import tables as shop
from personahub_assets.store.tables import PartitionWriter, Store

ASSET = "instructions"
PROMPT = project_files.prompt(ASSET)
NAMES = [f"A keeper of lighthouse number {n} who counts ships" for n in range(100)]
TIMES = ["latency_s", "queue_s", "flight_s"]

Before = Callable[[Answers], None]


class Killed(BaseException):
    """Simulates the death of the process."""


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_BACKOFF", Backoff(0.0, 0.0, 300.0))


@dataclass
class Hub:
    """A home and its stand-in."""

    store: Store
    server: StandinServer
    prompt: Prompt = PROMPT
    llm: dict[str, Any] = field(default_factory=dict)

    def settle(self, text: str) -> "Hub":
        self.store.root.mkdir(parents=True, exist_ok=True)
        (self.store.root / "hub.toml").write_text(text)
        return self

    def requests(self, names: list[str], samples: int = 1) -> list[Request]:
        task = Task(ASSET, self.prompt, Instruction, "standin")
        return [
            task.request(f"p{n}", {"persona": name}, sample)
            for n, name in enumerate(names)
            for sample in range(samples)
        ]

    def run(
        self,
        names: list[str],
        batch: str = "a",
        *,
        samples: int = 1,
        before_publish: Before = lambda _: None,
        **llm: Any,
    ) -> Answers:
        """Run the step of a dataset."""
        task = Task(ASSET, self.prompt, Instruction, "standin")
        requests = self.requests(names, samples)
        source = LLM(url=self.server.url, model="standin", **(self.llm | llm))
        with source.answers(self.store, task, batch, lambda _tally: None) as answers:
            for accepted in answers.request_all(lambda: iter(requests), len(requests)):
                found = [(r.input_id, r.sample, generation, answer) for r, generation, answer in accepted]
                answers.write(ASSET, items(ASSET, batch, found))
            before_publish(answers)
            answers.publish(ASSET)
        return answers

    def calls(self) -> int:
        return int(self.server.stats()["calls"])

    def asked(self, *arguments: Any, **more: Any) -> int:
        """Calls that a run makes."""
        before = self.calls()
        self.run(*arguments, **more)
        return self.calls() - before

    def stopped(self, calls: int, *arguments: Any, **more: Any) -> None:
        """A run that a budget stops."""
        before = self.calls()
        with pytest.raises(BudgetSpent):
            self.run(*arguments, max_calls=calls, **more)
        assert self.calls() - before == calls

    def rows(self, batch: str = "a") -> pl.DataFrame:
        return self.store.read(ASSET, batch)

    def generations(self, batch: str = "a", *status: str) -> pl.DataFrame:
        found = self.store.read("generations", batch, ASSET)
        return found.filter(pl.col("status").is_in(status)) if status else found

    def quarantine(self, batch: str = "a") -> pl.DataFrame:
        return self.store.read("quarantine", batch, ASSET)

    def published(self, batch: str = "a") -> list[pl.DataFrame]:
        return [self.rows(batch), self.generations(batch), self.quarantine(batch)]

    def journal(self, batch: str = "a") -> Path:
        return self.store.paths.journal(ASSET, batch)


@pytest.fixture
def hub(store: Store, standin: StandinServer) -> Hub:
    return Hub(store, standin)


@pytest.fixture(scope="module")
def moody() -> Iterator[StandinServer]:
    """A server that refuses some prompts, and truncates the answers to others."""
    with StandinServer("refusal=0.2,endless=0.2,seed=1") as server:
        yield server


def edited(prompt: Prompt, instructions: str = "Answer in the words of a sailor.") -> Prompt:
    return Prompt(**{**prompt.model_dump(), "instructions": f"{prompt.instructions}\n{instructions}"})


def limited(prompt: Prompt, max_tokens: int) -> Prompt:
    return prompt.with_settings({}, {"max_tokens": max_tokens})


def same(one: list[pl.DataFrame], other: list[pl.DataFrame], *but: str) -> bool:
    return all(a.drop(*but, strict=False).equals(b.drop(*but, strict=False)) for a, b in zip(one, other, strict=True))


# --- once ---


def test_every_request_gets_its_row_and_is_accounted_for(hub: Hub) -> None:
    before = hub.calls()
    answers = hub.run(NAMES[:20], samples=2)
    assert hub.calls() - before == 40
    assert hub.rows()["persona_id"].to_list() == [f"p{n}" for n in range(20) for _ in range(2)]
    assert hub.rows()["sample"].to_list() == [0, 1] * 20
    generations = hub.generations()
    assert generations["generation_id"].to_list() == hub.rows()["generation_id"].to_list()
    assert generations["request_key"].to_list() == [r.key for r in hub.requests(NAMES[:20], 2)]
    assert generations["generation_id"].n_unique() == 40
    assert generations["status"].unique().to_list() == ["accepted"]
    assert generations["attempts"].sum() == 40
    assert generations["superseded_at"].null_count() == 40
    assert generations["max_tokens"].unique().to_list() == [PROMPT.max_tokens]
    assert not generations["reused"].any()
    assert generations["prompt_tokens"].sum() == answers.tally.prompt_tokens
    assert hub.quarantine().is_empty()
    assert not hub.journal().exists()
    assert (answers.tally.done, answers.tally.total, answers.rows, answers.head.height) == (40, 40, 40, 5)


def test_the_second_time_makes_no_call_and_the_same_rows(hub: Hub) -> None:
    first = hub.run(NAMES[:30])
    published = hub.published()
    before = hub.calls()
    second = hub.run(NAMES[:30])
    assert hub.calls() == before
    assert same(hub.published(), published)
    assert first.version.value == second.version.value
    assert (second.tally.reused, second.tally.calls, second.tally.accepted) == (30, 0, 30)


def test_nothing_to_ask_needs_no_endpoint(store: Store, standin: StandinServer) -> None:
    hub = Hub(store, standin)
    hub.run(NAMES[:3])
    with LLM().answers(store, Task(ASSET, PROMPT, Instruction, "standin"), "a", lambda _: None) as answers:
        requests = hub.requests(NAMES[:3])
        assert sum(len(some) for some in answers.request_all(lambda: iter(requests), 3)) == 3
    with LLM().answers(store, Task(ASSET, PROMPT, Instruction, "none"), "b", lambda _: None) as answers:
        assert list(answers.request_all(lambda: iter([]), 0)) == []
        answers.publish(ASSET)
    assert hub.rows("b").is_empty()


def test_equal_requests_are_asked_once_and_counted_once(hub: Hub) -> None:
    hub.settle("[prices]\nprompt = 2.0\ncompletion = 3.0\n")
    names = [NAMES[0], NAMES[1], NAMES[0], NAMES[2], NAMES[0]]
    assert hub.asked(names) == 3
    for _ in range(2):  # and it stays that way when the partition is written again
        rows = hub.generations()
        assert hub.rows()["persona_id"].to_list() == [f"p{n}" for n in range(5)]
        assert hub.rows()["text"].n_unique() == 3
        assert rows["generation_id"].n_unique() == 5
        assert rows["attempts"].to_list() == [1, 1, 0, 1, 0]
        assert rows["reused"].to_list() == [False, False, True, False, True]
        assert [cost > 0 for cost in rows["cost"]] == [True, True, False, True, False]
        assert [tokens > 0 for tokens in rows["prompt_tokens"]] == [True, True, False, True, False]
        assert hub.asked(names) == 0


def test_rejected_requests_are_quarantined_and_not_asked_again(store: Store, moody: StandinServer) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:40])
    rejected = hub.generations("a", "rejected")
    assert set(rejected["reason"]) == {"refused", "truncated"}
    assert hub.quarantine()["input_id"].to_list() == rejected["input_id"].to_list()
    assert hub.quarantine()["reason"].to_list() == rejected["reason"].to_list()
    assert hub.quarantine()["raw"].to_list() == rejected["response"].to_list()
    assert hub.rows().height == 40 - rejected.height
    published = hub.published()
    assert hub.asked(NAMES[:40]) == 0
    assert same(hub.published(), published)


def test_what_says_nothing_about_the_request_is_asked_again(store: Store) -> None:
    settings = "[generation]\ntransport_tries = 1\nconsecutive_faults = 99\n"
    with StandinServer("malformed=0.4,seed=3") as server:
        hub = Hub(store, server).settle(settings)
        hub.run(NAMES[:20])
        failed = hub.quarantine()
        assert set(failed["reason"]) == {"unreachable"}
        # Where only such rows are left, the server is asked something harmless besides.
        assert failed.height <= hub.asked(NAMES[:20]) <= failed.height + 9
        assert set(hub.quarantine()["input_id"]) < set(failed["input_id"])


# --- stops and crashes ---


def test_a_budget_stops_cleanly_and_the_next_run_goes_on(hub: Hub) -> None:
    with pytest.raises(
        BudgetSpent, match=r"instructions\[a\]: 13 of 20 requests are left \(the budget of 7 calls.*Run ag"
    ):
        hub.run(NAMES[:20], max_calls=7)
    assert all(frame.is_empty() for frame in hub.published())
    assert hub.journal().exists()
    hub.stopped(5, NAMES[:20])
    assert hub.asked(NAMES[:20]) == 8
    assert hub.generations()["attempts"].sum() == 20
    assert not hub.journal().exists()


@pytest.mark.parametrize("fatal", [ASSET, "generations", "quarantine"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_killed_while_it_publishes_repeats_it_without_a_call(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, fatal: str, when: str
) -> None:
    hub.run(NAMES[:8])
    publish = PartitionWriter.publish

    def dies(writer: PartitionWriter) -> None:
        if writer.table == fatal and when == "before":
            raise Killed
        publish(writer)
        if writer.table == fatal:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PartitionWriter, "publish", dies)
        with pytest.raises(Killed):
            hub.run(NAMES[4:16])
    assert hub.journal().exists()
    assert hub.asked(NAMES[4:16]) == 0
    assert hub.rows()["persona_id"].to_list() == [f"p{n}" for n in range(12)]
    accepted = hub.generations("a", "accepted")
    assert accepted["generation_id"].to_list() == hub.rows()["generation_id"].to_list()
    assert accepted["attempts"].sum() == 12
    assert hub.generations("a", "superseded").height == 4
    assert not hub.journal().exists()


def test_a_process_killed_while_it_writes_leaves_nothing_half(hub: Hub) -> None:
    def die(_: Answers) -> None:
        raise Killed

    with pytest.raises(Killed):
        hub.run(NAMES[:8], before_publish=die)
    assert all(frame.is_empty() for frame in hub.published())
    assert list((hub.store.root / "aside").glob("*")) == []
    assert hub.asked(NAMES[:8]) == 0


def test_the_garbage_collector_is_let_go_whatever_happens(hub: Hub) -> None:
    before = gc.get_freeze_count()
    hub.run(NAMES[:2])
    with pytest.raises(BudgetSpent):
        hub.run(NAMES[:20], max_calls=1)
    hub.journal("c").parent.mkdir(parents=True, exist_ok=True)
    hub.journal("c").write_text("no journal at all " * 300)
    with pytest.raises(StoreError, match="damaged journal"):
        hub.run(NAMES[:2], "c")
    assert gc.get_freeze_count() == before


def test_inputs_that_change_while_they_are_asked_are_found_out(hub: Hub) -> None:
    task = Task(ASSET, PROMPT, Instruction, "standin")
    versions = [hub.requests(NAMES[:5]), hub.requests(NAMES[3:8])]
    source = LLM(url=hub.server.url, model="standin")
    with source.answers(hub.store, task, "a", lambda _: None) as answers:
        found = answers.request_all(lambda: iter(versions.pop(0)), 5)
        with pytest.raises(StoreError, match=r"instructions\[a\]: its inputs changed during the run. Run again"):
            list(found)
    assert hub.asked(NAMES[:5]) == 0


# --- prompts that change ---


def test_a_prompt_edited_and_edited_back_costs_nothing(hub: Hub) -> None:
    hub.run(NAMES[:12])
    first = hub.published()
    hub.prompt = edited(PROMPT)
    assert hub.asked(NAMES[:12]) == 12
    old, new = hub.generations("a", "superseded"), hub.generations("a", "accepted")
    assert set(old["prompt_fingerprint"]) == {PROMPT.fingerprint} != set(new["prompt_fingerprint"])
    assert old["superseded_at"].null_count() == 0
    assert new["superseded_at"].null_count() == 12
    assert old.drop("status", "superseded_at").equals(first[1].drop("status", "superseded_at"))
    assert hub.rows()["generation_id"].to_list() == new["generation_id"].to_list()

    hub.prompt = PROMPT
    assert hub.asked(NAMES[:12]) == 0
    assert hub.rows().equals(first[0])
    assert hub.generations("a", "accepted").equals(first[1])
    assert set(hub.generations("a", "superseded")["request_key"]) == set(new["request_key"])


@pytest.mark.parametrize("change", [{"temperature": 0.3}, {"top_p": 0.5}, {"instructions": "Say it in verse."}])
def test_no_stale_row_survives_a_change_that_matters(hub: Hub, change: dict[str, Any]) -> None:
    hub.run(NAMES[:6])
    old = set(hub.rows()["generation_id"])
    hub.prompt = Prompt(**{**PROMPT.model_dump(), **change})
    assert hub.asked(NAMES[:6]) == 6
    assert not old & set(hub.rows()["generation_id"])


def test_another_schema_or_model_is_another_question() -> None:
    values = {"persona": "A keeper"}
    one = Task(ASSET, PROMPT, Instruction, "m").request("p", values)
    assert Task(ASSET, PROMPT, KnowledgeText, "m").request("p", values).key != one.key
    assert Task(ASSET, PROMPT, Instruction, "n").request("p", values).key != one.key
    assert Task(ASSET, PROMPT, Instruction, "m").request("p", values, 1).key != one.key
    assert Task(ASSET, PROMPT, Instruction, "m").request("other input", values).key == one.key
    assert Task(ASSET, limited(PROMPT, 99), Instruction, "m").request("p", values).key == one.key


def test_inputs_that_went_away_are_superseded_and_come_back_for_nothing(hub: Hub) -> None:
    hub.run(NAMES[:10])
    assert hub.asked(NAMES[2:5]) == 0
    assert (hub.rows().height, hub.generations("a", "superseded").height) == (3, 7)
    assert hub.asked(NAMES[:10]) == 0
    assert hub.generations("a", "superseded").is_empty()


def test_since_when_an_answer_is_superseded_is_kept_until_it_goes(hub: Hub) -> None:
    hub.settle("[generation]\nkeep_superseded_days = 10\n")
    hub.run(NAMES[:6])
    hub.run(NAMES[:3])
    since = hub.generations("a", "superseded").select("request_key", "superseded_at")
    hub.run(NAMES[:3])
    assert hub.generations("a", "superseded").select("request_key", "superseded_at").equals(since)

    def aged(days: float) -> None:
        rows = hub.generations()
        age = pl.col("superseded_at") - timedelta(days=days)
        hub.store.write("generations", "a", rows.with_columns(age), ASSET)

    aged(9.5)
    assert hub.asked(NAMES[:2]) == 0  # one more is superseded now
    assert hub.generations("a", "superseded").height == 4
    aged(1)
    assert hub.asked(NAMES[:2]) == 0
    assert hub.generations("a", "superseded")["input_id"].to_list() == ["p2"]
    assert hub.asked(NAMES[:6]) == 3  # what was forgotten is paid again
    assert hub.generations("a", "superseded").is_empty()


def test_rejections_of_what_is_not_asked_any_more_are_kept_too(store: Store, moody: StandinServer) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:40])
    accepted = hub.rows().height
    assert accepted < 40
    hub.run(NAMES[50:52])
    assert hub.generations("a", "superseded").height == 40
    assert store.read("quarantine", "a", hub.generations()["asset"][0]).height <= 2
    assert hub.asked(NAMES[:40]) == 0  # edited back: what was refused is not asked again either
    assert hub.rows().height == accepted


def test_answers_of_stopped_runs_to_an_edited_prompt_are_not_lost(hub: Hub) -> None:
    hub.stopped(7, NAMES[:20])
    hub.prompt = edited(PROMPT)
    hub.stopped(4, NAMES[:20])
    assert hub.asked(NAMES[:20]) == 16
    left = hub.generations("a", "superseded")
    assert (left.height, set(left["prompt_fingerprint"])) == (7, {PROMPT.fingerprint})
    assert left["attempts"].to_list() == [1] * 7
    assert left["superseded_at"].null_count() == 0
    assert set(left["input_id"]) <= {f"p{n}" for n in range(20)}
    hub.prompt = PROMPT
    assert hub.asked(NAMES[:20]) == 13
    assert hub.generations("a", "superseded").height == 20


# --- the token limit ---


def test_a_lower_limit_asks_only_for_what_is_longer(hub: Hub) -> None:
    hub.run(NAMES[:40])
    tokens = hub.generations()["answer_tokens"]
    limit = sorted(tokens)[len(tokens) // 2]
    longer = int((tokens > limit).sum())
    assert 0 < longer < 40
    hub.prompt = limited(PROMPT, limit)
    answers = hub.run(NAMES[:40])
    assert answers.tally.reused == 40 - longer
    assert answers.tally.paid == longer
    again = hub.generations("a", "accepted", "rejected").filter(pl.col("max_tokens") == limit)
    assert again.height == longer
    assert hub.asked(NAMES[:40]) == 0


def test_a_higher_limit_asks_only_for_what_was_truncated(store: Store, moody: StandinServer) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:40])
    truncated = hub.generations().filter(pl.col("reason") == "truncated").height
    assert 0 < truncated < hub.quarantine().height
    hub.prompt = limited(PROMPT, PROMPT.max_tokens - 10)
    assert hub.asked(NAMES[:40]) == 0
    hub.prompt = limited(PROMPT, PROMPT.max_tokens + 10)
    assert hub.asked(NAMES[:40]) == 2 * truncated  # each with its larger try
    assert hub.asked(NAMES[:40]) == 0
    assert set(hub.generations().filter(pl.col("reason") == "truncated")["max_tokens"]) == {PROMPT.max_tokens + 10}
    assert set(hub.generations("a", "accepted")["max_tokens"]) == {PROMPT.max_tokens}


# --- other batches ---


def test_an_accepted_answer_of_another_batch_is_used_for_nothing(hub: Hub) -> None:
    hub.settle("[prices]\nprompt = 2.0\ncompletion = 3.0\n")
    hub.run(NAMES[:10], "a")
    published = hub.published("a")
    assert hub.asked(NAMES[5:15], "b") == 5
    rows = hub.generations("b")
    assert rows["reused"].to_list() == [True] * 5 + [False] * 5
    assert rows["attempts"].to_list() == [0] * 5 + [1] * 5
    assert [cost > 0 for cost in rows["cost"]] == [False] * 5 + [True] * 5
    assert rows["prompt_tokens"].to_list()[:5] == [0] * 5
    assert rows["answer_tokens"].to_list()[:5] == published[1]["answer_tokens"].to_list()[5:]
    assert hub.rows("b")["text"].to_list()[:5] == hub.rows("a")["text"].to_list()[5:]
    assert not set(rows["generation_id"]) & set(published[1]["generation_id"])
    assert same(hub.published("a"), published)
    # Once taken over it is the batch's own: the other one may go.
    hub.store.path("generations", "a", ASSET).unlink()
    published = hub.published("b")
    assert hub.asked(NAMES[5:15], "b") == 0
    assert same(hub.published("b"), published)


def test_a_superseded_answer_of_another_batch_is_used_too(hub: Hub) -> None:
    hub.run(NAMES[:10], "a")
    hub.run(NAMES[:1], "a")
    assert hub.asked(NAMES[:10], "b") == 0


def test_an_answer_in_the_journal_of_another_batch_is_used_too(hub: Hub) -> None:
    hub.stopped(6, NAMES[:10], "a")
    assert hub.asked(NAMES[:10], "b") == 4
    assert hub.generations("b")["reused"].sum() == 6
    assert hub.asked(NAMES[:10], "a") == 0


def test_a_rejection_of_another_batch_is_none_of_this_one(store: Store, moody: StandinServer) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:40], "a")
    rejected = hub.generations("a", "rejected")
    calls = rejected.filter(pl.col("reason") == "refused").height
    calls += 2 * rejected.filter(pl.col("reason") == "truncated").height
    assert hub.asked(NAMES[:40], "b") == calls > 0
    assert hub.generations("b", "accepted")["reused"].all()
    assert not hub.generations("b", "rejected")["reused"].any()


def test_an_answer_of_another_batch_that_is_too_long_today_is_asked(hub: Hub) -> None:
    hub.run(NAMES[:20], "a")
    tokens = hub.generations("a")["answer_tokens"]
    limit = sorted(tokens)[len(tokens) // 2]
    hub.prompt = limited(PROMPT, limit)
    assert hub.run(NAMES[:20], "b").tally.reused == int((tokens <= limit).sum())


_STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from(NAMES[:14]), max_size=10)), min_size=2, max_size=6
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_what_is_asked_agrees_with_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, moody: StandinServer, steps: list[tuple[str, list[str]]]
) -> None:
    hub = Hub(Store(home=str(tmp_path_factory.mktemp("hub"))), moody)
    accepted: set[str] = set()
    rejected: dict[str, set[str]] = {}
    for batch, names in steps:
        keys = {request.key for request in hub.requests(names)}
        wanted = keys - accepted - rejected.get(batch, set())
        tally = hub.run(names, batch).tally
        rows = hub.generations(batch, "accepted", "rejected")
        assert rows["request_key"].to_list() == [request.key for request in hub.requests(names)]
        assert rows["input_id"].to_list() == [f"p{n}" for n in range(len(names))]
        assert tally.paid + tally.duplicates + tally.reused == len(names)
        fresh = rows.filter(pl.col("attempts") > 0).filter(pl.col("request_key").is_in(list(wanted)))
        assert set(fresh["request_key"]) == wanted
        assert tally.calls == fresh["attempts"].sum()
        accepted |= set(rows.filter(pl.col("status") == "accepted")["request_key"])
        # Outcomes of requests that a step leaves out stand when they come back.
        rejected.setdefault(batch, set()).update(rows.filter(pl.col("status") == "rejected")["request_key"])
        assert hub.rows(batch).height + hub.quarantine(batch).height == len(names)


# --- asking quarantined rows again ---


def test_a_retry_asks_quarantined_rows_and_nothing_else(
    store: Store, moody: StandinServer, standin: StandinServer
) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:40])
    by_reason = dict(hub.quarantine()["reason"].value_counts().iter_rows())
    accepted = hub.generations("a", "accepted")
    assert hub.asked(NAMES[:40], retry=["empty"]) == 0
    assert hub.asked(NAMES[:40], retry=["refused"]) == by_reason["refused"]  # in vain
    hub.server = standin
    assert hub.asked(NAMES[:40], retry=["refused"]) == by_reason["refused"]
    assert dict(hub.quarantine()["reason"].value_counts().iter_rows()) == {"truncated": by_reason["truncated"]}
    assert hub.asked(NAMES[:40], retry=["truncated", "refused"]) == by_reason["truncated"]
    assert hub.quarantine().is_empty()
    assert hub.rows().height == 40
    kept = hub.generations().filter(pl.col("request_key").is_in(accepted["request_key"].to_list()))
    assert kept.equals(accepted)


def test_a_retry_does_not_ask_what_was_never_asked(store: Store, moody: StandinServer, standin: StandinServer) -> None:
    hub = Hub(store, moody)
    hub.run(NAMES[:20])
    refused = hub.quarantine().filter(pl.col("reason") == "refused").height
    published = hub.published()
    hub.server, before = standin, standin.stats()["calls"]
    with pytest.raises(Unfinished, match=r"5 of 25 requests are left: they are new.*--retry sends only quarantined"):
        hub.run(NAMES[:25], retry=["refused"])
    assert hub.calls() - before == refused
    assert same(hub.published(), published)
    assert hub.asked(NAMES[:25]) == 5
    assert "refused" not in set(hub.quarantine()["reason"])


# --- slices ---


def test_many_slices_make_the_same_rows_as_one(
    tmp_path: Path, moody: StandinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [*NAMES[:25], NAMES[3], NAMES[3], *NAMES[25:30], NAMES[0]]

    def story(home: str) -> list[list[pl.DataFrame]]:
        hub = Hub(Store(home=str(tmp_path / home)), moody).settle("[prices]\nprompt = 2.0\ncompletion = 3.0\n")
        told, calls = [], []
        for prompt, batch, some in (
            (PROMPT, "a", names),
            (edited(PROMPT), "a", names[:20]),
            (PROMPT, "b", names[10:]),
            (PROMPT, "a", names[5:]),
        ):
            hub.prompt = prompt
            calls.append(hub.asked(some, batch))
            told.append(hub.published(batch))
        assert "rejected" in set(told[3][1]["status"])
        assert calls[3] == 0  # neither answers nor refusals are paid twice
        return told

    whole = story("whole")
    for size in (1, 7):
        monkeypatch.setattr(shop, "SLICE_ROWS", size)
        monkeypatch.setattr(answer_index, "SLICE_ROWS", size)
        monkeypatch.setattr(answers_module, "_WRITTEN", size + 1)
        monkeypatch.setattr(answers_module, "_LOOKED_UP", size)
        for one, other in zip(whole, story(f"sliced {size}"), strict=True):
            assert same(one, other, *TIMES, "superseded_at", "cached_tokens", "cost"), size
            assert one[1]["superseded_at"].is_null().equals(other[1]["superseded_at"].is_null())


# --- settings ---


def test_a_budget_of_money_needs_prices(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"\[prices\] of .*hub\.toml"):
        hub.run(NAMES[:2], max_cost=1.0)
    hub.settle("[prices]\nprompt = 1000.0\n")
    with pytest.raises(BudgetSpent, match="requests are left"):
        hub.run(NAMES[:50], max_cost=0.5)
    assert hub.asked(NAMES[:50]) < 50


def test_concurrency_tries_and_endpoint_are_not_part_of_the_question(hub: Hub) -> None:
    hub.run(NAMES[:10])
    hub.settle("[generation]\nmax_in_flight = 2\nvalidation_retries = 5\ntransport_tries = 9\ntimeout_s = 7\n")
    with StandinServer() as server:
        hub.server = server
        assert hub.asked(NAMES[:10]) == 0


def test_an_input_that_does_not_fit_is_quarantined_until_inputs_are_cut(store: Store) -> None:
    length = PROMPT.max_tokens + 500
    names = [*NAMES[:3], "A keeper who writes long letters. " * 100]
    with StandinServer(f"max_model_len={length}") as server:
        hub = Hub(store, server)
        assert hub.asked(names) == 3
        assert hub.quarantine()["reason"].to_list() == ["too_long"]
        assert hub.asked(names) == 0
        hub.settle('[generation]\nover_long = "cut"\n')
        assert hub.asked(names) == 1
        assert hub.quarantine().is_empty()
        assert "input cut to" in hub.generations()["detail"].to_list()[3]
        assert server.stats()["rejected"] == 0
        hub.settle("")
        assert hub.asked(names) == 0


def test_the_journal_holds_what_is_not_published_and_no_more(hub: Hub) -> None:
    hub.run(NAMES[:5])
    hub.stopped(3, NAMES[:12])
    with Journal(hub.journal()) as journal:
        assert len(list(journal.entries())) == 3
    hub.run(NAMES[:12])
    assert list(hub.journal().parent.iterdir()) == []
