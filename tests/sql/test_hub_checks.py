"""Checks of the whole hub look at what changed, and give what they give when they look at everything."""

import shutil
from collections.abc import Iterator

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personahub_assets.core.config import Environment
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES
from personahub_assets.defs.checks import HUB, all_checks
from personahub_assets.instance.instance import open_instance
from personahub_assets.store.tables import STAGES, Store, table_schema
from personahub_assets.warehouse.hub_checks import Offending, offending
from personahub_assets.warehouse.live import open_live

CHECKS = {check.name: check for check in all_checks()[HUB]}
NOTHING = Offending(0, [])


def changed_only(store: Store) -> dict[str, Offending]:
    """The results of all checks of the hub, which look at what changed since the last call."""
    return offending(store, {name: check.filled(store.config).sql for name, check in CHECKS.items()})


def counts(results: dict[str, Offending]) -> dict[str, int]:
    return {name: result.count for name, result in results.items() if result.count}


def counts_of_all(store: Store) -> dict[str, int]:
    """The number of offending rows over all rows of the tables."""
    every = {name: check.filled(store.config) for name, check in CHECKS.items()}
    with open_live(store, " ".join(check.sql for check in every.values())) as connection:
        rows = {name: len(connection.execute(check.sql).fetchall()) for name, check in every.items()}
    return {name: count for name, count in rows.items() if count}


# --- the law: what changed is enough ---

IDS = [f"p{number}" for number in range(6)]
PERSONA = st.tuples(
    st.sampled_from(IDS),
    st.integers(1, 3),
    st.one_of(st.none(), st.sampled_from(IDS)),
    st.sampled_from(["lexical_duplicates", "semantic_duplicates"]),
)
BATCH = st.tuples(
    st.sampled_from(["one", "two", "three"]),
    st.lists(PERSONA, max_size=6, unique_by=lambda row: (row[0], row[3])),
    st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from("abc")), max_size=4, unique_by=lambda row: row[0]),
    st.sampled_from(["old rule", "new rule"]),
)


def put(store: Store, table: str, batch: str, rows: list[dict[str, object]], asset: str | None = None) -> None:
    """Write a partition, or delete it if there are no rows."""
    if not rows:
        store.path(table, batch, asset).unlink(missing_ok=True)
        return
    schema = table_schema(table)
    frame = pl.DataFrame([{**dict.fromkeys(schema), **row, "batch": batch} for row in rows], schema)
    store.write(table, batch, frame, asset)


def write(
    store: Store, batch: str, decided: list[tuple[str, int, str | None, str]], hub: list[tuple[str, str]], rule: str
) -> None:
    """Replace the decisions, the personas and the items of a batch."""
    ids = {persona_id: f"{batch}-{persona_id}" for persona_id in IDS[:2]} | {each: each for each in IDS[2:]}
    for asset, stage in STAGES.items():
        mine = [
            {"stage": stage, "persona_id": ids[each], "admission": admission, "keeper_id": keeper}
            for each, admission, keeper, of in decided
            if of == asset
        ]
        put(store, "decisions", batch, mine, asset)
        run = {"stage": stage, "rule": rule, "method": "exact", "candidates": len(mine), "kept": 1}
        put(store, "dedup_runs", batch, [run] if mine else [], asset)
        items = [
            {
                **row,
                "dataset": "tools",
                "item_id": row["persona_id"],
                "persona_id": "p",
                "generation_id": "g",
                "text_hash": "h",
            }
            for row in mine
        ]
        put(store, "item_decisions", batch, items, f"tools-{stage}")
        put(store, "item_dedup_runs", batch, [{**run, "dataset": "tools"}] if mine else [], f"tools-{stage}")
    put(
        store,
        "personas",
        batch,
        [{"persona_id": ids[each], "persona": text, "origin": "text", "hop": 0, "root_id": each} for each, text in hub],
    )
    vectors = [{"persona_id": ids[each], "model": "m", "text_hash": "h"} for each, _ in hub[:2]]
    put(store, "persona_embeddings", batch, vectors)


@settings(max_examples=12)
@given(steps=st.lists(BATCH, min_size=1, max_size=4))
def test_what_changed_gives_the_same_as_everything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]
) -> None:
    store = Store(home=str(tmp_path_factory.mktemp("hub")))
    for batch, decided, hub, rule in steps:
        write(store, batch, decided, hub, rule)
        results = changed_only(store)
    assert counts(results) == counts_of_all(store)


# --- a home ---


@pytest.fixture(scope="module")
def home(built: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy of the good home, whose changes the tests undo."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(built.root / "tables", folder / "tables")
    shutil.copy(built.root / "hub.toml", folder)
    return Store(home=str(folder))


@pytest.fixture
def good(home: Store) -> Iterator[Store]:
    """The home, which passes all checks before and after the test."""
    assert counts(changed_only(home)) == {}
    yield home
    assert counts(changed_only(home)) == {}


def test_a_keeper_that_another_batch_lost_is_found_and_stays_so_until_it_is_back(good: Store) -> None:
    before = good.read("decisions", "first", "lexical_duplicates")
    dropped = good.read("decisions", "second", "lexical_duplicates").filter(pl.col("keeper_id").is_not_null())
    of_first = dropped.filter(pl.col("keeper_id").is_in(before["persona_id"].implode()))
    keeper = of_first["keeper_id"][0]
    good.write("decisions", "first", before.filter(pl.col("persona_id") != keeper), "lexical_duplicates")
    (row,) = changed_only(good)["keeper_is_kept"].first
    assert row == {
        "batch": "second",
        "stage": "lexical",
        "persona_id": of_first["persona_id"][0],
        "keeper_id": keeper,
        "remedy": "personahub run --batch second",
    }
    assert changed_only(good)["keeper_is_kept"].first == [row]  # nothing changed
    good.write("decisions", "first", before, "lexical_duplicates")
    assert changed_only(good)["keeper_is_kept"] == NOTHING


def test_a_batch_that_is_gone_fails_those_that_name_its_personas(good: Store) -> None:
    folders = [path for path in good.paths.partition_folders("first") if "item_" not in str(path)]
    aside = {path: path.with_name("aside") for path in folders}
    for path, other in aside.items():
        path.rename(other)
    results = counts(changed_only(good))
    assert results == counts_of_all(good)
    assert results["keeper_is_kept"] > 0
    for path, other in aside.items():
        other.rename(path)


@pytest.mark.parametrize("damage", [b"no database", None])
def test_the_state_can_be_damaged_or_deleted(good: Store, damage: bytes | None) -> None:
    file = good.paths.hub_checks
    file.unlink() if damage is None else file.write_bytes(damage * 1_000)
    assert counts(changed_only(good)) == {}
    assert file.read_bytes().startswith(b"SQLite")


def test_a_check_that_reads_otherwise_looks_at_everything_again(good: Store) -> None:
    other = "SELECT batch, persona_id FROM changed_decisions"
    assert offending(good, {"keeper_is_kept": other})["keeper_is_kept"].count == good.read_all("decisions").height


# --- in Dagster ---


def test_a_check_is_of_its_batch_alone(copied: Store) -> None:
    rows = copied.read("documents", "first")
    copied.write("documents", "first", rows.with_columns(text=pl.lit("")))
    environment = Environment(home=copied.root, llm_url=None, embed_url=None)
    graph = build(environment)
    checks = dg.AssetSelection.checks_for_assets("documents")
    job = graph.resolve_implicit_global_asset_job_def().get_subset(
        asset_check_selection=checks.resolve_checks(graph.resolve_asset_graph()), asset_selection=set()
    )
    by_range = {"dagster/asset_partition_range_start": "first", "dagster/asset_partition_range_end": "second"}
    with open_instance(copied.root) as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), ["first", "second"])
        alone = job.execute_in_process(instance=instance, partition_key="second").get_asset_check_evaluations()
        both = job.execute_in_process(instance=instance, tags=by_range).get_asset_check_evaluations()
        every = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert {(one.partition, one.passed) for one in alone} == {("second", True)}
    expected = {("first", "text_is_usable", False), ("first", "unique_ids", True), ("second", "text_is_usable", True)}
    for evaluations in (both, every):
        assert {(one.partition, one.check_name, one.passed) for one in evaluations} >= expected
        assert len(evaluations) == 2 * len(all_checks()["documents"])
