"""The sensor that finds new source files."""

import json
from typing import Any

import dagster as dg

from personahub_assets.core.errors import PersonaHubError
from personahub_assets.defs.naming import Names
from personahub_assets.instance.compat import UnresolvedAssetJobDefinition
from personahub_assets.sources.register import register, unregistered_files
from personahub_assets.store.tables import Store


def inbox_sensor(job: UnresolvedAssetJobDefinition, names: Names) -> dg.SensorDefinition:
    """Register complete source files of the inbox as batches and request one run per batch."""

    @dg.sensor(
        name=names.name("inbox"),
        job=job,
        minimum_interval_seconds=30,
        required_resource_keys=names.resource_keys(["store"]),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Registers new files in the home's inbox and requests a run of each of their batches. Stopped "
        "until you start it: a run may spend money. A file is complete when its size is the same at two looks.",
    )
    def inbox(context: dg.SensorEvaluationContext, **_: Any) -> dg.SensorResult | dg.SkipReason:
        # A sensor that is called directly, as a test does, is given its resources a second time, by their names.
        store: Store = names.resources(context, ["store"])["store"]
        last_marks: dict[str, list[int]] = json.loads(context.cursor or "{}")
        new = unregistered_files(store)
        marks = {path.name: mark for path, mark in new.items()}
        ready = [path for path in new if last_marks.get(path.name) == marks[path.name]]
        context.update_cursor(json.dumps(marks))
        keys, failures = [], []
        for path in ready:
            try:
                keys += register(store, str(path))
            except PersonaHubError as error:
                failures.append(f"{path.name}: {error}")
        if failures:
            context.log.error("; ".join(failures))
        if not keys:
            return dg.SkipReason(
                "; ".join(failures) or f"{len(new)} new files in {store.paths.inbox}, none complete yet"
            )
        specs = {key: store.read("batches", key).row(0, named=True) for key in keys}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{key}:{spec['sha256'][:16]}", partition_key=key) for key, spec in specs.items()
            ],
            dynamic_partitions_requests=[names.batches.build_add_request(keys)],
        )

    return inbox
