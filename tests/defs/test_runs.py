"""Real runs of the whole graph: paid calls, kept rows, stale assets."""

import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hub import EVERY, SETTINGS, TOPICS, Hub

from personahub_assets.core import project_files
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES
from personahub_assets.defs.failures import StepFailed
from personahub_assets.generation.requests import Task
from personahub_assets.instance.instance import open_instance, run_tags
from personahub_assets.standin.server import StandinServer


def edit(prompts: Path, name: str) -> None:
    path = prompts / f"{name}.md"
    shared, _, row = path.read_text().rpartition("\n---\n")
    path.write_text(f"{shared}\nBe brief.\n---\n{row}")


def test_batches_are_refreshed_end_to_end(finished: Path, standin: StandinServer) -> None:
    hub = Hub(finished, standin)
    candidates = hub.rows("text_personas").height + hub.rows("related_personas").height
    assert hub.rows("documents").height == 4
    assert candidates == 4 * 2 * 2
    kept = hub.rows("personas").height
    dropped = hub.rows("lexical_duplicates").height + hub.rows("semantic_duplicates").height
    assert kept + dropped == candidates
    assert {name: hub.rows(name).height for name in DATASETS} == dict.fromkeys(DATASETS, kept)
    with hub.instance() as instance:
        for name in ("documents", "personas", *DATASETS):
            assert instance.get_materialized_partitions(dg.AssetKey(name)) == {"one", "two"}
        event = instance.get_latest_materialization_event(dg.AssetKey("instructions"))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = event.asset_materialization.metadata
        of_the_last = hub.rows("instructions").filter(batch="one").height
        assert metadata["dagster/partition_row_count"].value == of_the_last
        assert metadata["dagster/row_count"].value == kept
        assert metadata["calls"].value == of_the_last
        assert next(iter(metadata)) == "sample"
        assert "**persona**" in metadata["sample"].value
        # Known to the UI as runs of its code location: below their job, and on the timeline.
        for run in instance.get_runs():
            assert run.remote_job_origin.repository_origin.get_label() == "__repository__@personahub"


def test_what_is_answered_is_not_asked_again(ran: Hub) -> None:
    paid, before = ran.calls(), ran.files()
    assert ran.run() == {}
    assert ran.calls() == paid
    # Calls keep their first cost in `generations`, so nothing of any table changes.
    assert ran.files() == before


def test_one_more_document_costs_only_its_own_calls(hub: Hub) -> None:
    wanted = ["+personas", "instructions", "tools"]
    hub.pages("pages", TOPICS[:1])
    hub.run(select=wanted)
    paid, before = hub.calls(), hub.rows("instructions")
    hub.pages("pages", TOPICS[:2])
    hub.run(select=wanted)
    # One document: 1 call, 2 personas: 2 calls, 4 personas for two datasets.
    assert hub.calls() - paid == 1 + 2 + 4 * 2
    assert before.join(hub.rows("instructions"), on=before.columns, how="anti", nulls_equal=True).is_empty()


def test_a_page_met_again_in_another_batch_is_not_paid_twice(ran: Hub) -> None:
    paid = ran.calls()
    ran.pages("again", TOPICS[:2])
    ran.run("again", select=["documents", "text_personas"])
    assert ran.calls() == paid
    rows = ran.store.read("generations", "again", "text_personas")
    assert rows.height == 2
    assert rows["reused"].all()


def test_a_new_batch_leaves_the_others_fresh_and_unchanged(ran: Hub) -> None:
    before = ran.files()
    assert ran.stale() == set()
    ran.pages("three", TOPICS[4:6])
    ran.run("three")
    assert ran.stale() == set()
    after = ran.files()
    assert {path: after[path] for path in before} == before


def test_a_prompt_edit_makes_exactly_its_dataset_stale(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "math_problems")
    assert ran.stale() == {("math_problems", "one"), ("math_problems", "two")}
    paid, personas = ran.calls(), ran.rows("personas").filter(batch="one").height
    ran.run("one")
    assert ran.calls() - paid == personas
    assert ran.stale() == {("math_problems", "two")}


def test_an_edit_of_an_early_prompt_reaches_its_descendants_once_it_ran(ran: Hub, own_prompts: Path) -> None:
    edit(own_prompts, "related_personas")
    assert ran.stale() == {("related_personas", "one"), ("related_personas", "two")}
    ran.run("one", select=["related_personas"])
    stale = {name for name, batch in ran.stale() if batch == "one"}
    assert stale >= {"lexical_duplicates", "persona_embeddings", "personas"}
    assert {name for name, batch in ran.stale() if batch == "two"} == {"related_personas"}


def test_a_prompt_edited_back_costs_nothing(ran: Hub, own_prompts: Path) -> None:
    text = (own_prompts / "tools.md").read_text()
    edit(own_prompts, "tools")
    ran.run("one", select=["tools"])
    paid = ran.calls()
    (own_prompts / "tools.md").write_text(text)
    ran.run("one", select=["tools"])
    assert ran.calls() == paid
    rows = ran.store.read("generations", "one", "tools")
    assert set(rows["status"]) == {"accepted", "superseded"}


def test_refreshing_an_older_batch_displaces_nobody(ran: Hub, own_prompts: Path) -> None:
    before = {path: data for path, data in ran.files().items() if "batch=two" in path}
    edit(own_prompts, "text_personas")
    ran.run("one", select=["+personas"])
    after = ran.files()
    assert {path: data for path, data in after.items() if "batch=two" in path} == before
    assert ran.rows("personas").filter(pl.col("batch") == "one").height > 0


def test_imported_personas_need_no_language_model(hub: Hub) -> None:
    hub.personas("ready", ["A retired tram driver who restores clocks.", "A retired tram driver who restores clocks."])
    (hub.home / "hub.toml").write_text(SETTINGS.replace("hops = 1", "hops = 0"))
    hub.environment = hub.environment.model_copy(update={"llm_url": None})
    assert hub.run(select=["+personas"]) == {}
    assert hub.rows("personas").height == 1
    assert hub.rows("lexical_duplicates")["similarity"].to_list() == [1.0]


def test_without_an_endpoint_the_remedies_are_named(hub: Hub) -> None:
    hub.pages("one", TOPICS[:1])
    hub.environment = hub.environment.model_copy(update={"llm_url": None})
    failed = hub.run()
    assert "PERSONAHUB_LLM_URL is not set" in failed["one"]
    assert "make demo-vllm" in failed["one"]
    assert "standin:" in failed["one"]


def test_an_empty_batch_is_legal_all_the_way_down(hub: Hub) -> None:
    hub.pages("empty", [])
    assert hub.run() == {}
    assert hub.rows("personas").is_empty()
    assert (hub.home / "warehouse.duckdb").exists()


def test_a_failed_batch_does_not_stop_the_others(hub: Hub) -> None:
    hub.pages("good", TOPICS[:1])
    hub.pages("gone", TOPICS[1:2])
    (hub.home / "gone.jsonl").unlink()
    failed = hub.run(select=["+text_personas"])
    assert list(failed) == ["gone"]
    assert "gone.jsonl" in failed["gone"]
    assert set(hub.rows("text_personas")["batch"]) == {"good"}


def test_a_single_run_backfill_publishes_what_it_can_and_names_what_failed(hub: Hub) -> None:
    for number, name in enumerate(("a", "b", "c")):
        hub.pages(name, TOPICS[number : number + 1])
    (hub.home / "b.jsonl").unlink()
    with hub.instance() as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), ["a", "b", "c"])
        job = build(hub.environment).resolve_job_def("refresh_batch")
        tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
        documents = [dg.AssetKey("documents")]
        with pytest.raises(StepFailed, match="batch b:"):
            job.execute_in_process(instance=instance, asset_selection=documents, tags={**tags, **run_tags()})
        assert instance.get_materialized_partitions(dg.AssetKey("documents")) == {"a", "c"}
        hub.pages("b", TOPICS[1:2])
        result = job.execute_in_process(instance=instance, asset_selection=documents, tags={**tags, **run_tags()})
        assert result.success
        events = instance.fetch_materializations(dg.AssetKey("documents"), limit=3).records
        counts = {
            e.partition_key: e.asset_materialization.metadata["dagster/partition_row_count"].value for e in events
        }
        assert counts == {"a": 1, "b": 1, "c": 1}


def test_the_pool_of_the_language_model_is_in_force(hub: Hub) -> None:
    with hub.instance() as instance:
        storage = instance.event_log_storage
        # What an executor does before the first step of a pool.
        storage.initialize_concurrency_limit_to_default("llm")
        claims = [storage.claim_concurrency_slot("llm", f"run-{n}", "step") for n in range(5)]
    assert [claim.is_claimed for claim in claims] == [True, True, True, True, False]


def test_the_instance_of_a_home_opens_for_several_processes_at_once(tmp_path: Path) -> None:
    with open_instance(tmp_path) as first, open_instance(tmp_path) as second:
        first.add_dynamic_partitions("batch", ["x"])
        assert second.get_dynamic_partitions("batch") == ["x"]


def test_rows_of_the_stand_in_and_of_a_model_never_meet(hub: Hub) -> None:
    hub.pages("one", TOPICS[:1])
    (hub.home / "writer").write_text("model")
    failed = hub.run(select=["+text_personas"])
    assert "cannot be mixed" in failed["one"]
    assert hub.rows("generations").is_empty()


def test_identity_covers_what_changes_an_answer_and_nothing_else() -> None:
    prompt = project_files.prompt("tools")
    task = Task("tools", prompt, DATASETS["tools"], "m")
    key = task.request("p1", {"persona": "A"}).key
    assert key == task.request("p2", {"persona": "A"}).key
    longer = Task("tools", prompt.with_settings({}, {"max_tokens": 4096}), DATASETS["tools"], "m")
    assert key == longer.request("p1", {"persona": "A"}).key
    others = [
        Task("tools", prompt, DATASETS["tools"], "other").request("p1", {"persona": "A"}),
        Task("tools", prompt, DATASETS["instructions"], "m").request("p1", {"persona": "A"}),
        Task("tools", prompt.with_settings({}, {"temperature": 0.1}), DATASETS["tools"], "m").request(
            "p1", {"persona": "A"}
        ),
        task.request("p1", {"persona": "B"}),
        task.request("p1", {"persona": "A"}, sample=1),
    ]
    assert len({key, *(request.key for request in others)}) == 1 + len(others)


def test_samples_and_shares_are_honoured(hub: Hub) -> None:
    settings = "[datasets.tools]\nsamples = 3\n[datasets.math_problems]\nshare = 0.5\n[datasets.game_npcs]\nshare = 0\n"
    (hub.home / "hub.toml").write_text(EVERY + settings)
    hub.pages("one", TOPICS[:3])
    hub.run(select=["+personas", "tools", "math_problems", "game_npcs"])
    personas = hub.rows("personas").height
    tools = hub.rows("tools")
    assert tools.height == 3 * personas
    assert tools["text"].n_unique() == tools.height
    assert 0 < hub.rows("math_problems").height < personas
    assert hub.rows("game_npcs").is_empty()


def test_duplicates_across_batches_are_dropped_for_the_batch_admitted_first(hub: Hub) -> None:
    ready = [
        "A beekeeper in the hills above the town who sells heather honey at the Saturday market.",
        "A nurse on the night shift who writes crime stories in the quiet hours.",
    ]
    hub.personas("zeta", ready)
    hub.personas("alpha", [ready[0], "A bus driver who paints watercolours of the stops along the route."])
    (hub.home / "hub.toml").write_text(SETTINGS.replace("hops = 1", "hops = 0"))
    hub.run("zeta", select=["+personas"])
    hub.run("alpha", select=["+personas"])
    dropped = hub.rows("lexical_duplicates")
    keeper = hub.rows("personas").filter(pl.col("persona") == ready[0])
    assert dropped["batch"].to_list() == ["alpha"]
    assert dropped["keeper_id"].to_list() == keeper["persona_id"].to_list()
    assert keeper["batch"].to_list() == ["zeta"]


def test_a_large_hub_is_compared_by_cells(hub: Hub) -> None:
    exact = SETTINGS.replace("hops = 1", "hops = 0")
    ready = [f"A {trade} from {town}." for trade in ("baker", "judge", "diver", "welder") for town in ("Oslo", "Lima")]
    hub.personas("ready", [*ready, "A baker who comes from Oslo."])
    (hub.home / "hub.toml").write_text(exact)
    hub.run(select=["+semantic_duplicates"])
    expected = hub.rows("semantic_duplicates")
    shutil.rmtree(hub.home / "tables" / "semantic_decisions")  # what stands is not compared again
    (hub.home / "hub.toml").write_text(exact + "[semantic]\nexact_up_to = 10\n")
    hub.run(select=["semantic_duplicates"])
    with hub.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("semantic_duplicates"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["method"].value == "cells"
    assert event.asset_materialization.metadata["recall_on_sample"].value == 1.0
    assert hub.rows("semantic_duplicates").equals(expected)


def test_an_endpoint_that_is_down_is_a_clear_error(hub: Hub) -> None:
    hub.pages("one", TOPICS[:1])
    hub.environment = hub.environment.model_copy(update={"llm_url": "http://127.0.0.1:9/v1", "llm_model": "m"})
    failed = hub.run()
    assert "http://127.0.0.1:9/v1/models" in failed["one"]
    assert "doctor" in failed["one"]
