"""Plans compared with the runs after them: the stand-in counts calls, files are compared byte by byte."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hub import EVERY, TOPICS, Hub

from personahub_assets.core import project_files
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.errors import BatchError, BudgetSpent, ConfigError, Unfinished
from personahub_assets.core.records import DATASETS
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.runs import lookup, reasons
from personahub_assets.runs.forecast import Plan, Work
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import ordered
from personahub_assets.sources.register import source_rows
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.corpus import document_rows
from personahub_assets.steps.datasets import write_items
from personahub_assets.steps.personas import expand_personas, infer_text_personas

PRICES = "[prices]\nprompt = 1\ncached = 0.5\ncompletion = 4\n"
DEDUP = ("lexical_duplicates", "persona_embeddings", "semantic_duplicates", "personas")
CORPUS = ("documents", "text_personas")
TASKS = [name for name in Catalog().tasks if Catalog().is_enabled(name, None)]


@pytest.fixture
def ran(ran: Hub) -> Hub:
    """The finished home, with its source files beside it."""
    for key in ran.store.batches():
        path = str(ran.home / f"{key}.jsonl")
        spec = ran.store.read("batches", key)
        ran.store.write("batches", key, spec.with_columns(path=pl.lit(path), source=pl.lit(path)))
    return ran


@pytest.fixture(scope="module")
def refusing() -> Iterator[StandinServer]:
    with StandinServer(faults="refusal=0.5,seed=3") as server:
        yield server


def edit(prompts: Path, name: str) -> None:
    path = prompts / f"{name}.md"
    path.write_text(path.read_text().replace("\n---\n<data", "\nBe brief.\n---\n<data"))


EXPAND = partial(expand_personas, embedder=Embedder(), tell=lambda _done, _total: None)


def settle(hub: Hub, text: str) -> None:
    (hub.home / "hub.toml").write_text(text)


def planned(hub: Hub, *batches: str, select: Iterable[str] = (), retry: Iterable[str] = ()) -> Plan:
    assets = set(select or ("documents", *TASKS, *DEDUP))
    return plan(hub.environment, [(key, assets) for key in batches or hub.store.batches()], retry=retry)


def go(hub: Hub, *batches: str, select: Iterable[str], **llm: Any) -> None:
    """Run the steps of the assets, batch by batch, without a Dagster run."""
    asked = LLM(url=hub.standin.url, model="standin", **llm)
    steps: dict[str, Any] = {"text_personas": infer_text_personas, "related_personas": EXPAND}
    steps |= {name: partial(write_items, name) for name in DATASETS}
    for batch in batches or hub.store.batches():
        for asset in select:
            if asset == "documents":
                hub.store.write(asset, batch, document_rows(batch, source_rows(hub.store, batch)))
            else:
                steps[asset](hub.store, asked, batch, lambda _usage: None)


def kept_to(hub: Hub, *batches: str, select: Iterable[str]) -> Plan:
    """Check that a plan is exact and that the assets send exactly its requests."""
    made, before = planned(hub, *batches, select=select), hub.calls()
    total = made.total
    assert (total.follow, total.calls, total.is_exact, made.problems) == (0, total.ask, True, {})
    go(hub, *batches, select=select)
    assert hub.calls() - before == total.ask
    return made


def open_of(made: Plan) -> dict[tuple[str, str], int]:
    return {(work.asset, work.batch): work.ask for work in made.work if work.ask}


def of(made: Plan, asset: str) -> Work:
    (work,) = [work for work in made.work if work.asset == asset]
    return work


def everything(folder: Path) -> dict[str, str]:
    """Every file below a folder, with a hash of its content; without caches that depend on the time or are of plans."""
    every = (path for path in folder.rglob("*") if path.is_file())
    found = sorted(path for path in every if not {"hashes", "compacted", "locks"} & set(path.parts))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


# --- what a run asks ---


def test_a_finished_home_has_nothing_to_ask_and_is_not_touched(ran: Hub) -> None:
    before = everything(ran.home)
    made = planned(ran)
    assert (made.total.ask, made.total.follow, made.total.calls) == (0, 0, 0)
    assert (made.model, made.model_from, made.notes, made.asides) == ("standin", "server", [], [])
    assert len(made.work) == 2 * len(TASKS)
    assert everything(ran.home) == before


def test_a_word_of_one_prompt_makes_stale_its_dataset_and_nothing_else(ran: Hub, own_prompts: Path) -> None:
    path = own_prompts / "math_problems.md"
    text = path.read_text()
    path.write_text(text.replace("several steps", "many steps"))
    before = everything(ran.home)
    made = planned(ran)
    assert everything(ran.home) == before
    total = ran.personas_kept()
    assert {asset for asset, _ in open_of(made)} == {"math_problems"}
    assert made.total.reasons == {reasons.PROMPT: total}
    assert (made.total.ask, made.total.calls, made.total.is_exact) == (total, total, True)
    paid = ran.calls()
    assert ran.run(select=["math_problems"]) == {}
    assert ran.calls() - paid == total
    path.write_text(text)
    back = kept_to(ran, select=["math_problems"])
    assert (back.total.ask, back.total.reused) == (0, {lookup.SUPERSEDED: total})


def test_a_fresh_home_is_planned_step_by_step(hub: Hub) -> None:
    hub.pages("a", TOPICS[:2])
    made = planned(hub)
    assert (of(made, "text_personas").ask, made.total.ask) == (2, 2)
    assert made.total.reasons == {reasons.NEVER_RUN: 2}
    # As the settings say: 2 personas per document, 1 related to each, all of them kept.
    assert [round(work.follow) for work in made.work] == [0, 4, *[8] * len(DATASETS)]
    assert made.total.basis == "settings"
    assert 8 * 100 < of(made, "tools").completion_tokens < 8 * project_files.prompt("tools").max_tokens / 2
    assert (made.total.seconds, made.total.cost) == (None, None)
    assert made.asides[0].documents_new == 2
    assert kept_to(hub, select=CORPUS).total.ask == 2
    assert kept_to(hub, select=["related_personas"]).total.ask == 4
    made = planned(hub)
    assert (made.total.ask, round(made.total.follow)) == (0, 8 * len(DATASETS))
    assert (made.asides[0].to_decide, made.asides[0].to_embed) == (8, 8)
    hub.store.write("personas", "a", hub.store.candidates("a"))
    assert kept_to(hub, select=["tools"]).total.ask == 8


def test_an_edit_of_text_personas_is_told_with_what_follows(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "text_personas")
    made = planned(ran)
    assert open_of(made) == {("text_personas", "one"): 2, ("text_personas", "two"): 2}
    assert {work.asset: round(work.follow) for work in made.work if work.follow} == {
        "related_personas": 4,
        **dict.fromkeys(DATASETS, 8),
    }
    assert not made.total.is_exact
    assert {aside.personas_out for aside in made.asides} == {8}
    assert kept_to(ran, select=["text_personas"]).total.ask == 4
    assert kept_to(ran, select=["related_personas"]).total.ask == 8


def test_answers_that_a_limit_cuts_off_or_lets_through_are_counted(ran: Hub) -> None:
    settle(ran, EVERY + "[datasets.tools]\nmax_tokens = 16\n")
    rows, select = ran.store.read("generations", "one", "tools"), ["tools"]
    longer = rows.filter(pl.col("answer_tokens") > 16).height
    assert planned(ran, "one", select=select).total.reasons == {reasons.LOWERED: longer}
    go(ran, "one", select=select)
    cut = ran.store.read("quarantine", "one", "tools")
    assert set(cut["reason"]) == {"truncated"}
    made = planned(ran, "one", select=select)
    assert (made.total.ask, made.total.quarantined) == (0, {"truncated": cut.height})
    settle(ran, EVERY)
    before = ran.calls()
    made = planned(ran, "one", select=select)
    assert (made.total.ask, made.total.reasons) == (cut.height, {reasons.RAISED: cut.height})
    # Each of them took two answers the last time, a short one and a longer one.
    assert made.total.calls > made.total.ask
    assert not made.total.is_exact
    go(ran, "one", select=select)
    assert ran.calls() - before == cut.height


def test_one_more_document_and_a_changed_one(ran: Hub) -> None:
    ran.pages("one", [*TOPICS[:2], TOPICS[5]])
    made = kept_to(ran, "one", select=CORPUS)
    assert (made.total.ask, made.total.reasons) == (1, {reasons.NEW_ROWS: 1})
    assert (made.asides[0].documents_new, made.asides[0].documents_gone) == (1, 0)
    ran.pages("one", [TOPICS[0], "Quite another text, of a lighthouse and the keeper who counts the ships."])
    made = kept_to(ran, "one", select=CORPUS)
    assert (made.total.ask, made.total.reasons) == (1, {reasons.INPUT: 1})
    assert (made.asides[0].documents_new, made.asides[0].documents_gone) == (1, 1)


def test_a_stopped_run_is_planned_from_where_it_stands(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "tools")
    with pytest.raises(BudgetSpent):
        go(ran, "one", select=["tools"], max_calls=3)
    before = everything(ran.home)
    made = planned(ran, "one", select=["tools"])
    assert everything(ran.home) == before
    assert (made.total.ask, made.total.reused) == (5, {lookup.UNPUBLISHED: 3})
    assert kept_to(ran, "one", select=["tools"]).total.ask == 5


def test_quarantined_rows_stand_unless_they_are_retried(ran: Hub, own_prompts: Path, refusing: StandinServer) -> None:
    edit(own_prompts, "tools")
    go(Hub(ran.home, refusing), "one", select=["tools"])
    refused = ran.store.read("quarantine", "one", "tools").height
    assert 0 < refused < 8
    made = planned(ran, "one", select=["tools"])
    assert (made.total.ask, made.total.quarantined) == (0, {"refused": refused})
    made, before = planned(ran, "one", select=["tools"], retry=["refused"]), ran.calls()
    assert (made.total.ask, made.total.reasons) == (refused, {"retry of refused": refused})
    go(ran, "one", select=["tools"], retry=["refused"])
    assert ran.calls() - before == refused
    assert planned(ran, "one", select=["tools"], retry=["timeout"]).total.ask == 0


def test_a_retry_of_related_personas_leads_to_no_other_request(
    ran: Hub, own_prompts: Path, refusing: StandinServer
) -> None:
    settle(ran, EVERY.replace("hops = 1", "hops = 2"))
    edit(own_prompts, "related_personas")
    go(Hub(ran.home, refusing), "one", select=["related_personas"])
    refused = ran.store.read("quarantine", "one", "related_personas").height
    made, before = planned(ran, "one", select=["related_personas"], retry=["refused"]), ran.calls()
    assert (made.total.ask, made.total.follow, made.total.is_exact) == (refused, 0, True)
    assert refused > 0
    with suppress(Unfinished):
        go(ran, "one", select=["related_personas"], retry=["refused"])
    assert ran.calls() - before == refused


def test_a_retry_is_planned_where_rows_are_quarantined(ran: Hub, own_prompts: Path, refusing: StandinServer) -> None:
    edit(own_prompts, "tools")
    go(Hub(ran.home, refusing), "one", select=["tools"])
    refused = ran.store.read("quarantine", "one", "tools").height

    def named(*reason: str) -> Plan:
        order = ordered(ran.environment, [], [], retry=list(reason))
        return plan(ran.environment, order.named, retry=order.reasons)

    assert open_of(named()) == open_of(named("refused")) == {("tools", "one"): refused}
    assert named("timeout").work == []
    with pytest.raises(ConfigError, match=r"'refusd' .did you mean 'refused'"):
        named("refusd")


def test_one_more_hop_and_none(ran: Hub) -> None:
    settle(ran, EVERY.replace("hops = 1", "hops = 2"))
    made = planned(ran)
    assert open_of(made) == {("related_personas", "one"): 4, ("related_personas", "two"): 4}
    assert made.total.reasons == {reasons.NEW_ROWS: 8}
    assert {round(work.follow) for work in made.work if work.asset in DATASETS} == {4}
    assert kept_to(ran, select=["related_personas"]).total.ask == 8
    assert [aside.to_decide for aside in planned(ran).asides] == [4, 4]
    settle(ran, EVERY.replace("hops = 1", "hops = 0"))
    made = planned(ran)
    assert (made.total.ask, [aside.personas_out for aside in made.asides]) == (0, [4, 4])


def test_a_text_met_again_is_asked_once(ran: Hub) -> None:
    ran.pages("again", TOPICS[:2])
    ran.pages("new", [TOPICS[4], TOPICS[4], TOPICS[5]])
    ran.pages("newer", [TOPICS[5], TOPICS[3]])
    made = planned(ran, "again", "new", "newer")
    # What is asked for `new` is not asked for `newer`; but what follows from it is not written yet there either.
    assert {work.batch: round(work.follow) for work in made.work if work.asset == "related_personas"} == {
        "again": 0,
        "new": 6,
        "newer": 2,
    }
    made = kept_to(ran, "again", "new", "newer", select=CORPUS)
    assert {work.batch: work.ask for work in made.work} == {"again": 0, "new": 2, "newer": 0}
    assert {work.batch: dict(work.reused) for work in made.work} == {
        "again": {lookup.ELSEWHERE: 2},
        "new": {},
        "newer": {lookup.EARLIER: 1, lookup.ELSEWHERE: 1},
    }


def test_only_what_is_selected_is_planned(ran: Hub, own_prompts: Path) -> None:
    for name in ("text_personas", "tools", "instructions"):
        edit(own_prompts, name)

    def named(batches: list[str], select: list[str]) -> Plan:
        return plan(ran.environment, ordered(ran.environment, batches, select).named)

    assert open_of(named(["two"], ["tools"])) == {("tools", "two"): 8}
    assert open_of(named([], ["tools", "instructions"])) == {
        (name, batch): 8 for name in ("tools", "instructions") for batch in ("one", "two")
    }
    assert named([], ["warehouse"]).work == []
    # Without dedup, what text_personas writes does not reach the datasets.
    assert of(named(["one"], ["text_personas", "tools"]), "tools").follow == 0
    with pytest.raises(BatchError, match=r"'tow' .did you mean 'two'"):
        named(["tow"], [])
    with pytest.raises(ConfigError, match=r"'tool' .did you mean 'tools'"):
        named([], ["+tool"])


def test_an_empty_home_names_the_first_step_and_stays_empty(hub: Hub, tmp_path: Path) -> None:
    environment = hub.environment.model_copy(update={"home": tmp_path / "absent"})
    with pytest.raises(BatchError, match="personahub ingest FILE"):
        ordered(environment, [], [])
    assert not (tmp_path / "absent").exists()


def test_a_model_that_cannot_be_reached_is_named_by_what_is_on_file(ran: Hub) -> None:
    for url in ("http://127.0.0.1:9/v1", None):
        ran.environment = ran.environment.model_copy(update={"llm_url": url})
        made = planned(ran, "one", select=["tools"])
        assert (made.model, made.model_from, made.total.ask) == ("standin", "generations", 0)
        assert "Planned for standin" in made.notes[0]
    ran.environment = ran.environment.model_copy(update={"llm_model": "another"})
    made = planned(ran, "one", select=["tools"])
    assert (made.model, made.model_from) == ("another", "environment")
    assert made.total.reasons == {reasons.MODEL: 8}
    assert "a run will be refused" in made.notes[0]


def test_each_kind_of_change_is_named(ran: Hub, own_prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def why(settings: str, name: str = "tools") -> dict[str, int]:
        settle(ran, EVERY + settings)
        return dict(of(planned(ran, "one", select=[name]), name).reasons)

    assert why("") == {}
    assert why("[datasets.tools]\ntemperature = 0.3\n") == {reasons.SAMPLING: 8}
    assert why("[datasets.tools]\nsamples = 2\n") == {reasons.MORE_SAMPLES: 8}
    assert why('[datasets.game_npcs.parameters]\nworld = "A moon."\n', "game_npcs") == {reasons.PROMPT: 8}
    monkeypatch.setitem(DATASETS, "tools", DATASETS["instructions"])
    assert why("") == {reasons.SCHEMA: 8}
    edit(own_prompts, "tools")
    both = f"{reasons.PROMPT}, {reasons.SAMPLING}, {reasons.SCHEMA}"
    assert why("[datasets.tools]\ntop_p = 0.5\n") == {both: 8}
    settle(ran, EVERY.replace("per_document = 2", "per_document = 3"))
    assert planned(ran, "one", select=["text_personas"]).total.reasons == {reasons.INPUT: 2}


def test_rows_of_an_older_version_say_what_they_can(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "tools")
    path = ran.store.path("generations", "one", "tools")
    pl.read_parquet(path).drop("temperature", "top_p").write_parquet(path)
    assert planned(ran, "one", select=["tools"]).total.reasons == {f"{reasons.PROMPT} or {reasons.SAMPLING}": 8}


def test_a_source_file_that_changed_is_a_problem_of_its_batch(ran: Hub) -> None:
    (ran.home / "one.jsonl").write_text("")
    made = planned(ran)
    assert "personahub ingest" in made.problems["one"]
    assert {work.batch for work in made.work} == {"two"}


# --- what a run does without asking ---


def test_who_was_dropped_for_one_who_is_gone_comes_back(hub: Hub) -> None:
    settle(hub, EVERY.replace("hops = 1", "hops = 0"))
    text = "A retired tram driver who restores the clocks of a village."
    hub.personas("first", [text, "A ferry captain who paints what the river brings along."])
    hub.personas("second", [text, "A baker who keeps a diary of the weather in her street."])
    hub.run(select=["+personas"])
    assert hub.rows("personas").height == 3
    hub.personas("first", ["A ferry captain who paints what the river brings along."])
    before = everything(hub.home)
    gone, back = planned(hub, "first", "second").asides
    assert everything(hub.home) == before
    assert (gone.batch, gone.personas_out, gone.coming_back) == ("first", 1, 0)
    assert (back.batch, back.personas_out, back.coming_back, back.to_decide) == ("second", 0, 1, 1)
    assert back.to_embed == 0  # its text was embedded for the first batch
    assert planned(hub, "second").asides == []
    hub.run("first", "second", select=["+personas"])
    assert planned(hub).asides == []
    assert hub.rows("personas").height == 3


def test_another_threshold_is_told_and_costs_only_who_may_come_back(ran: Hub) -> None:
    settle(ran, EVERY + "[lexical]\nthreshold = 0.95\n[semantic]\nthreshold = 0.8\n")
    made = planned(ran)
    assert [aside.decided_again for aside in made.asides] == [("lexical", "semantic")] * 2
    assert (made.total.ask, round(made.total.follow)) == (0, 0)
    assert [aside.personas_out for aside in made.asides] == [0, 0]


def test_another_embedding_model_embeds_every_text_again(ran: Hub) -> None:
    settle(ran, EVERY + '[embeddings]\nprecision = "int8"\n')
    (aside,) = planned(ran, "one").asides
    assert (aside.to_embed, aside.decided_again) == (8, ("semantic",))


# --- figures ---


def test_figures_are_this_homes_own(ran: Hub, own_prompts: Path) -> None:
    settle(ran, EVERY + PRICES)
    edit(own_prompts, "tools")
    work = of(planned(ran, "one", select=["tools"]), "tools")
    paid = ran.rows("generations").filter(pl.col("asset") == "tools")
    assert work.prompt_tokens == pytest.approx(8 * paid["prompt_tokens"].mean())
    assert work.completion_tokens == pytest.approx(8 * paid["completion_tokens"].mean())
    fresh = work.prompt_tokens - work.cached_tokens
    assert work.cost == pytest.approx((fresh + work.cached_tokens * 0.5 + work.completion_tokens * 4) / 1e6)
    assert work.basis == "history"
    with ran.instance() as instance:
        runs = instance.fetch_materializations(dg.AssetKey("tools"), limit=9).records
    said = [run.asset_materialization.metadata for run in runs if run.asset_materialization]
    rows, seconds = (sum(float(m[name].value) for m in said) for name in ("rows_asked", "seconds_asking"))
    assert rows == 16
    assert work.seconds == pytest.approx(8 * seconds / rows)


def test_a_plan_as_json_is_plain_described_and_adds_up(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "text_personas")
    edit(own_prompts, "tools")
    said = json.loads(json.dumps(planned(ran).as_json()))
    total = said["total"]
    assert total["to_ask"] == sum(work["to_ask"] for work in said["work"]) == 4
    assert abs(total["calls"] - sum(work["calls"] for work in said["work"])) < len(said["work"])
    assert (total["exact"], said["model"], said["problems"]) == (False, "standin", {})
    page = (Path(__file__).resolve().parents[2] / "docs" / "plan.md").read_text("utf-8")
    for name in (*said, *total, *said["work"][0], *said["without_calls"][0]):
        assert f"`{name}`" in page, name
