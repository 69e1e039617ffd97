"""The graph as Dagster loads it."""

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from personahub_assets.core.config import Environment
from personahub_assets.core.project_files import root
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build, defs

PARTITIONED = [
    "documents",
    "text_personas",
    "related_personas",
    "lexical_duplicates",
    "persona_embeddings",
    "semantic_duplicates",
    "personas",
    *DATASETS,
]
PAYING = ["text_personas", "related_personas", *DATASETS]


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


@pytest.mark.parametrize("name", PARTITIONED)
def test_data_assets_are_partitioned_by_batch_and_backfilled_in_one_run(graph: AssetGraph, name: str) -> None:
    node = graph.get(dg.AssetKey(name))
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    assert node.partitions_def.name == "batch"
    assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_only_assets_that_pay_carry_the_pool(graph: AssetGraph) -> None:
    assert {n for n in PARTITIONED if graph.get(dg.AssetKey(n)).pools == {"llm"}} == set(PAYING)


def test_nothing_that_pays_runs_by_itself(graph: AssetGraph) -> None:
    assert all(graph.get(key).automation_condition is None for key in graph.get_all_asset_keys())
    sensor = defs().resolve_sensor_def("inbox")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED


def test_the_code_location_has_one_name() -> None:
    workspace = yaml.safe_load((root() / "workspace.yaml").read_text())
    (location,) = workspace["load_from"]
    assert location["python_module"] == {"module_name": "personahub_assets.definitions", "location_name": "personahub"}
