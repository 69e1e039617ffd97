"""Checks launches of the UI before a run exists.

Dagster creates a run for every launch and a run per batch for a backfill, and each finds out by itself that the server
is down or that a budget has no prices. `GuardedWebserver` asks first; a refusal is an error of the launch.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from dagster_graphql.schema.errors import GraphenePythonError
from dagster_webserver.webserver import DagsterWebserver
from graphene import Schema

from personahub_assets.core.errors import PersonaHubError
from personahub_assets.instance.compat import SerializableErrorInfo

ASSETS_JOB = "__ASSET_JOB"
"""Name that Dagster gives to runs of chosen assets."""

_SET_SUFFIX = "_partition_set"


@dataclass(frozen=True)
class Launch:
    """What somebody starts in the UI.

    Attributes:
        job: its name; `ASSETS_JOB` where assets are chosen.
        assets: names of the chosen assets; none means all of the job.
        batches: keys of the chosen batches; none where they are not known.
        config: of the run.
    """

    job: str
    assets: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[[Launch], None]
"""Raises a PersonaHubError to refuse a launch."""

Launches = Callable[..., Iterator[Launch]]
"""Reads launches out of the instance and the arguments of a mutation."""


def guarded_webserver(check: Check, *arguments: Any) -> DagsterWebserver[Any, Any]:
    """Make Dagster's web server with a check before launches and backfills.

    Args:
        check: called with each launch.
        arguments: of `DagsterWebserver`.
    """

    class GuardedWebserver(DagsterWebserver[Any, Any]):
        def build_graphql_schema(self) -> Schema:
            schema = super().build_graphql_schema()
            fields = schema.graphql_schema.mutation_type.fields
            for name in _LAUNCHES:
                fields[name].resolve = _guarded(fields[name].resolve, _LAUNCHES[name], check)
            return schema

    return GuardedWebserver(*arguments)


def _guarded(resolve: Callable[..., Any], launches: Launches, check: Check) -> Callable[..., Any]:
    async def checked(root: Any, info: Any, **arguments: Any) -> Any:
        try:
            for launch in launches(info.context.instance, **arguments):
                await asyncio.to_thread(check, launch)  # it asks the server: other pages need not wait
        except PersonaHubError as error:
            return GraphenePythonError(SerializableErrorInfo(f"{error}\n", [], None))  # type: ignore[no-untyped-call]
        launched = resolve(root, info, **arguments)
        return await launched if inspect.isawaitable(launched) else launched

    return checked


def _of_params(_: Any, executionParams: Mapping[str, Any]) -> Iterator[Launch]:  # noqa: N803 - as GraphQL names it
    selector = executionParams.get("selector") or {}
    tags = (executionParams.get("executionMetadata") or {}).get("tags") or []
    yield Launch(
        selector.get("pipelineName") or selector.get("jobName") or ASSETS_JOB,
        _names(selector.get("assetSelection")),
        [tag["value"] for tag in tags if tag["key"] == "dagster/partition"],
        _config(executionParams.get("runConfigData")),
    )


def _of_list(instance: Any, executionParamsList: list[Mapping[str, Any]]) -> Iterator[Launch]:  # noqa: N803
    for params in executionParamsList:
        yield from _of_params(instance, params)


def _of_backfill(_: Any, backfillParams: Mapping[str, Any]) -> Iterator[Launch]:  # noqa: N803
    job = (backfillParams.get("selector") or {}).get("partitionSetName", ASSETS_JOB).removesuffix(_SET_SUFFIX)
    by_asset = backfillParams.get("partitionsByAssets") or []
    assets = _names(backfillParams.get("assetSelection")) or _names([entry["assetKey"] for entry in by_asset])
    config = _config(backfillParams.get("runConfigData"))
    yield Launch(job, assets, list(backfillParams.get("partitionNames") or []), config)


def _of_run_again(
    instance: Any,
    executionParams: Mapping[str, Any] | None = None,  # noqa: N803
    reexecutionParams: Mapping[str, Any] | None = None,  # noqa: N803
) -> Iterator[Launch]:
    if executionParams:
        yield from _of_params(instance, executionParams)
    run = instance.get_run_by_id(reexecutionParams["parentRunId"]) if reexecutionParams else None
    if run:
        keys = [key.path[-1] for key in run.asset_selection or ()]
        batch = run.tags.get("dagster/partition")
        yield Launch(run.job_name, keys, [batch] if batch else [], run.run_config)


def _of_backfill_again(instance: Any, reexecutionParams: Mapping[str, Any]) -> Iterator[Launch]:  # noqa: N803
    backfill = instance.get_backfill(reexecutionParams["parentRunId"])
    if backfill:
        keys = [key.path[-1] for key in backfill.asset_selection or ()]
        yield Launch(backfill.job_name or ASSETS_JOB, keys, [], backfill.run_config or {})


_LAUNCHES: dict[str, Launches] = {
    "launchPipelineExecution": _of_params,
    "launchRun": _of_params,
    "launchMultipleRuns": _of_list,
    "launchPipelineReexecution": _of_run_again,
    "launchRunReexecution": _of_run_again,
    "launchPartitionBackfill": _of_backfill,
    "reexecutePartitionBackfill": _of_backfill_again,
}
"""Mutations that start runs, by their names in GraphQL."""


def _names(keys: Any) -> list[str]:
    return [key["path"][-1] for key in keys or ()]


def _config(data: Any) -> Mapping[str, Any]:
    """The configuration of a run; the launchpad sends YAML. Anything else is left to Dagster's own check."""
    try:
        config = yaml.safe_load(data) if isinstance(data, str) else data
    except yaml.YAMLError:
        config = None
    return config if isinstance(config, Mapping) else {}
