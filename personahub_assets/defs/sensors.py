"""The sensor that finds new source files."""

import json
from typing import Any

import dagster as dg

from personahub_assets.core.errors import PersonaHubError
from personahub_assets.defs.naming import Names
from personahub_assets.generation.llm import LLM
from personahub_assets.instance.compat import UnresolvedAssetJobDefinition
from personahub_assets.instance.faults import explain
from personahub_assets.sources.register import register, unreadable_files, unregistered_files
from personahub_assets.steps.tasks import enabled_tasks, endpoints
from personahub_assets.store.tables import Store

_RESOURCES = ("store", "llm")


def inbox_sensor(job: UnresolvedAssetJobDefinition, names: Names) -> dg.SensorDefinition:
    """Register complete source files of the inbox as batches and request one run per batch."""

    @dg.sensor(
        name=names.name("inbox"),
        job=job,
        minimum_interval_seconds=30,
        required_resource_keys=names.resource_keys(_RESOURCES),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Registers new files in the home's inbox and requests a run of each of their batches. Stopped "
        "until you start it: a run may spend money. A file is complete when its size is the same at two looks.",
    )
    def inbox(context: dg.SensorEvaluationContext, **_: Any) -> dg.SensorResult | dg.SkipReason:
        # A direct call of a sensor, as in a test, also passes the resources by their names.
        resources = names.resources(context, _RESOURCES)
        store: Store = resources["store"]
        llm: LLM = resources["llm"]
        last_marks: dict[str, list[int]] = json.loads(context.cursor or "{}")
        new = unregistered_files(store)
        marks = {path.name: mark for path, mark in new.items()}
        ready = [path for path in new if last_marks.get(path.name) == marks[path.name]]
        context.update_cursor(json.dumps(marks))
        problems = [f"{name} {reason}" for name, reason in unreadable_files(store).items()]
        keys: list[str] = []
        try:
            for endpoint in endpoints(store, llm, enabled_tasks(store)).values() if ready else ():
                endpoint.check(store)
        except PersonaHubError as error:  # the files stay in the inbox and are registered after the fault is fixed
            ready = []
            problems.append(str(error))
        for path in ready:
            try:
                keys += register(store, str(path))
            except (PersonaHubError, OSError) as error:
                problems.append(explain(error, store.root))
        if problems:
            context.log.error("; ".join(problems))
        if not keys:
            waiting = [] if ready or problems else [f"{len(new)} new files in {store.paths.inbox}, none complete yet"]
            return dg.SkipReason("; ".join([*problems, *waiting]))
        specs = {key: store.read("batches", key).row(0, named=True) for key in keys}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{key}:{spec['sha256'][:16]}", partition_key=key) for key, spec in specs.items()
            ],
            dynamic_partitions_requests=[names.batches.build_add_request(keys)],
        )

    return inbox
