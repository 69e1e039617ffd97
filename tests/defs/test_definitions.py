"""The graph as Dagster loads it."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment
from personahub_assets.core.project_files import root
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.definitions import build, defs
from personahub_assets.defs.metadata.definition import llm_kind
from personahub_assets.generation.llm import LLM
from personahub_assets.store.tables import Store

PARTITIONED = [
    "documents",
    "text_personas",
    "related_personas",
    "lexical_duplicates",
    "persona_embeddings",
    "semantic_duplicates",
    "personas",
    *Catalog().names,
    *COMPARISONS,
    "persona_item_similarity",
]
PAYING = ["text_personas", "related_personas", *Catalog().names]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> AssetGraph:
    return build(Environment(home=tmp_path_factory.mktemp("hub"))).resolve_asset_graph()


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs())


def test_every_asset_of_the_design_is_there(graph: AssetGraph) -> None:
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {*PARTITIONED, "warehouse", "release"}


def test_every_asset_says_what_it_is(graph: AssetGraph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description, key
        assert node.code_version, key
        assert node.owners == ["team:personahub"], key
        assert node.kinds, key
        assert node.group_name != "default", key
        assert "Stage " in node.description, key
        assert not set("*`[#") & set(node.description.splitlines()[0]), key  # the list of assets shows plain text


def test_tables_show_their_columns_with_types_and_meanings(graph: AssetGraph) -> None:
    for name in PARTITIONED:
        columns = graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"].columns
        assert all(column.type and column.description for column in columns), name
    tools = graph.get(dg.AssetKey("tools")).metadata["dagster/column_schema"].columns
    names = [column.name for column in tools]
    assert names[:4] == ["batch", "item_id", "persona_id", "sample"]
    dropped = graph.get(dg.AssetKey("lexical_duplicates")).metadata["dagster/column_schema"].columns
    assert [column.name for column in dropped] == ["batch", "persona_id", "keeper_id", "similarity", "admission"]


def test_assets_that_ask_show_their_prompt(graph: AssetGraph) -> None:
    shown = {n for n in PARTITIONED if "prompt" in graph.get(dg.AssetKey(n)).metadata}
    assert shown == set(PAYING)
    metadata = graph.get(dg.AssetKey("math_problems")).metadata
    assert "You write mathematics problems." in metadata["prompt"].value
    assert r"\<data name=" in metadata["prompt"].value  # a tag of the prompt is text
    assert "temperature 0.8" in metadata["sampling"]


@pytest.mark.parametrize(
    ("url", "settings", "kind"),
    [
        (None, "", "llm"),
        ("standin:", "", "standin"),
        ("https://api.openai.com/v1", "", "openai"),
        ("http://127.0.0.1:8000/v1", "", "openai-compatible"),
        ("http://127.0.0.1:8000/v1", '[generation]\nserver = "vllm"\n', "vllm"),
    ],
)
def test_kinds_name_what_is_asked(tmp_path: Path, url: str | None, settings: str, kind: str) -> None:
    (tmp_path / "hub.toml").write_text(settings)
    assert llm_kind(LLM(url=url), Store(home=str(tmp_path)).config) == kind


@pytest.mark.parametrize("name", PARTITIONED)
def test_data_assets_are_partitioned_by_batch_and_backfilled_side_by_side(graph: AssetGraph, name: str) -> None:
    node = graph.get(dg.AssetKey(name))
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    assert node.partitions_def.name == "batch"
    assert node.backfill_policy is None  # a run for each batch


@pytest.mark.parametrize(
    ("batches", "policy"), [(0, dg.BackfillPolicy.single_run()), (5, dg.BackfillPolicy.multi_run(5))]
)
def test_a_setting_chooses_how_many_batches_one_run_of_a_backfill_has(
    tmp_path: Path, batches: int, policy: dg.BackfillPolicy
) -> None:
    (tmp_path / "hub.toml").write_text(f"[run]\nbatches_per_run = {batches}\n")
    node = build(Environment(home=tmp_path)).resolve_asset_graph().get(dg.AssetKey("tools"))
    assert node.backfill_policy == policy


def test_only_assets_that_pay_carry_the_pool(graph: AssetGraph) -> None:
    assert {n for n in PARTITIONED if graph.get(dg.AssetKey(n)).pools == {"llm"}} == {*PAYING, *COMPARISONS}


def test_nothing_that_pays_runs_by_itself(graph: AssetGraph) -> None:
    assert all(graph.get(key).automation_condition is None for key in graph.get_all_asset_keys())
    sensor = defs().resolve_sensor_def("inbox")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


def test_the_code_location_has_one_name() -> None:
    workspace = yaml.safe_load((root() / "workspace.yaml").read_text())
    (location,) = workspace["load_from"]
    assert location["python_module"] == {"module_name": "personahub_assets.definitions", "location_name": "personahub"}
