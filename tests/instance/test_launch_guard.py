"""Every way of starting a run in the UI is checked first; a refusal is the error of the launch, and no run exists."""

import asyncio
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from graphql import graphql

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.launch_guard import ASSETS_JOB, Launch, guarded_webserver

NAMED = 'repositoryName: "__repository__", repositoryLocationName: "personahub"'
SELECTED = f'selector: {{{NAMED}, assetSelection: [{{path: ["tools"]}}]}}, mode: "default", runConfigData: "max: 1"'
CHOSEN = f'{{{SELECTED}, executionMetadata: {{tags: [{{key: "dagster/partition", value: "a"}}]}}}}'
BACKFILL = '{assetSelection: [{path: ["tools"]}], partitionNames: ["a"], runConfigData: {max: 1}}'
AGAIN = '(reexecutionParams: {parentRunId: "r", strategy: ALL_STEPS})'
MUTATIONS = {
    "launchRun": f"(executionParams: {CHOSEN})",
    "launchPipelineExecution": f"(executionParams: {CHOSEN})",
    "launchMultipleRuns": f"(executionParamsList: [{CHOSEN}])",
    "launchPartitionBackfill": f"(backfillParams: {BACKFILL})",
    "launchRunReexecution": AGAIN,
    "launchPipelineReexecution": AGAIN,
}

BATCH_OF_TOOLS = Launch(ASSETS_JOB, ["tools"], ["a"], {"max": 1})


@pytest.fixture
def instance() -> Any:
    """An instance that has the run `r`, of tools of batch a."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.run_storage.add_run(
            dg.DagsterRun(
                job_name=ASSETS_JOB,
                run_id="r",
                run_config={"max": 1},
                asset_selection={dg.AssetKey("tools")},
                tags={"dagster/partition": "a"},
            )
        )
        yield instance


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_launch_is_refused_before_a_run_exists(name: str, instance: dg.DagsterInstance) -> None:
    launches: list[Launch] = []

    def refuse(launch: Launch) -> None:
        launches.append(launch)
        raise ConfigError("no prices: set them")

    schema = guarded_webserver(refuse, None).build_graphql_schema().graphql_schema
    mutation = f"mutation {{ {name}{MUTATIONS[name]} {{ ... on PythonError {{ message stack }} }} }}"
    answer = asyncio.run(graphql(schema, mutation, context_value=SimpleNamespace(instance=instance)))
    assert answer.errors is None
    assert answer.data == {name: {"message": "no prices: set them\n", "stack": []}}
    assert launches == [BATCH_OF_TOOLS]
    assert len(instance.get_runs()) == 1
