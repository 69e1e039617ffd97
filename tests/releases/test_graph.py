"""The asset `release`: made on purpose, never by a refresh, and seen in the UI with its card."""

import dagster as dg
import pytest
from written import write_home

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError
from personahub_assets.definitions import build
from personahub_assets.defs.failures import StepFailed
from personahub_assets.runs.runner import selected
from personahub_assets.store.tables import Store


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    store = Store(home=str(tmp_path_factory.mktemp("graph") / "hub"))
    write_home(store, {"a": 3})
    return build(Environment(home=store.root, llm_url=None, embed_url=None))


def test_a_release_needs_a_name(graph: dg.Definitions) -> None:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(StepFailed, match="under a name of its own: give it"),
    ):
        graph.resolve_job_def("make_release").execute_in_process(instance=instance)


def test_materialising_the_whole_graph_makes_none(graph: dg.Definitions) -> None:
    both = [dg.AssetKey("release"), dg.AssetKey("warehouse")]
    with dg.DagsterInstance.ephemeral() as instance:
        ended = graph.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=both
        )
    made = [event.materialization.asset_key for event in ended.get_asset_materialization_events()]
    assert made == [dg.AssetKey("warehouse")]


OPTIONAL = {
    "math_solutions",
    "math_agreement",
    "reasoning_solutions",
    "reasoning_agreement",
    "tool_tests",
    "tool_implementations",
    "instruction_answers",
    *Catalog().scores,
    "dialogues",
}
"""Assets that a refresh leaves out unless hub.toml enables them."""


def test_a_refresh_makes_no_release(graph: dg.Definitions) -> None:
    refreshed = graph.resolve_job_def("refresh_batch").asset_layer.executable_asset_keys
    every = graph.resolve_asset_graph().get_all_asset_keys()
    assert {key.to_user_string() for key in every - refreshed} == {"release", *OPTIONAL}
    assert selected(graph, [], optional=OPTIONAL) == refreshed
    assert dg.AssetKey("release") not in selected(graph, ["personas+", "+tools"])
    with pytest.raises(ConfigError, match="made only by its own command: personahub release NAME"):
        selected(graph, ["release"])
