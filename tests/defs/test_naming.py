"""The graph with the prefixes of another project is equal except for names."""

import warnings
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError
from personahub_assets.definitions import build, build_definitions
from personahub_assets.generation.llm import LLM


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(home=tmp_path_factory.mktemp("hub"), llm_url=None, llm_model="m")


def described(definitions: dg.Definitions, prefix: str, group: str) -> dict[str, Any]:
    """All attributes of each asset in Dagster, without the prefixes."""
    graph = definitions.resolve_asset_graph()

    def bare(key: dg.AssetKey) -> str:
        assert key.to_user_string().startswith(prefix)
        return key.to_user_string().removeprefix(prefix)

    assets = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        facts = [node.description, node.code_version, node.owners, node.kinds, node.tags, node.metadata, node.pools]
        parents, name = {bare(parent) for parent in node.parent_keys}, node.group_name.removeprefix(group)
        partitioned = node.partitions_def is not None
        assets[bare(key)] = [*facts, node.backfill_policy, node.is_executable, parents, name, partitioned]
    checks = {
        (bare(key.asset_key), key.name): (spec.description, spec.blocking)
        for key in graph.asset_check_keys
        if (spec := graph.get_check_spec(key))
    }
    return {"assets": assets, "checks": checks}


def test_only_names_differ(environment: Environment) -> None:
    other = build_definitions(["team", "hub"], "g", environment=environment)
    assert described(other, "team/hub/", "g_") == described(build(environment), "", "")


def test_all_names_have_the_prefix(environment: Environment) -> None:
    other = build_definitions(["team", "my-hub"], environment=environment)
    repository = other.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    names = [
        *jobs,
        *(sensor.name for sensor in repository.sensor_defs),
        *(each.name for each in repository.schedule_defs),
    ]
    ops = {node.name for job in repository.get_all_jobs() for node in job.all_node_defs}
    assert all(name.startswith("team_my_hub_") for name in [*names, *ops, *(other.resources or {})])
    batched = {node.partitions_def.name for node in other.resolve_asset_graph().asset_nodes if node.partitions_def}
    assert batched == {"team_my_hub_batch"}
    assert other.executor is None


def test_names_pool_and_model_can_be_chosen(environment: Environment) -> None:
    other = build_definitions("a", name_prefix="b", pool="gpu", environment=environment, llm=LLM(model="n"))
    assert "b_refresh_batch" in {job.name for job in other.get_repository_def().get_all_jobs()}
    graph, own = other.resolve_asset_graph(), build(environment).resolve_asset_graph()
    tools = graph.get(dg.AssetKey(["a", "tools"]))
    assert tools.pools == {"gpu"}
    assert tools.code_version != own.get(dg.AssetKey("tools")).code_version


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"key_prefix": ""}, "key_prefix '' has an empty part"),
        ({"key_prefix": ["a", ""]}, "has an empty part"),
        ({"group_prefix": "my hub"}, "group_prefix 'my hub': use letters"),
        ({"name_prefix": "a-b"}, "name_prefix 'a-b': use letters"),
        ({"pool": ""}, "pool '': use letters"),
    ],
)
def test_a_prefix_that_dagster_does_not_take_is_refused(
    environment: Environment, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        build_definitions(environment=environment, **arguments)


def test_warnings_of_others_are_left_alone(environment: Environment, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        build_definitions("a", environment=environment)
        assert warnings.filters == before

        @dg.asset(backfill_policy=dg.BackfillPolicy.single_run(), partitions_def=dg.StaticPartitionsDefinition(["x"]))
        def theirs() -> None: ...

    assert [warning.category for warning in caught] == [dg.BetaWarning]
