"""Materialise one batch of the hub and the team's own assets in this process; print the result as JSON."""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")

import dagster as dg  # noqa: E402
from team_definitions import ENVIRONMENT, defs  # noqa: E402

import personahub_assets  # noqa: E402

(batch,) = personahub_assets.Hub(environment=ENVIRONMENT).ingest(sys.argv[1])
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("personahub_batch", [batch])
    hub = defs.resolve_job_def("personahub_refresh_batch")
    made = hub.execute_in_process(instance=instance, partition_key=batch)
    defs.resolve_job_def("refresh_batch").execute_in_process(instance=instance)
print(
    json.dumps(
        {
            "package": str(Path(personahub_assets.__file__).parent),
            "files": sorted(file for module in sys.modules.values() if (file := getattr(module, "__file__", None))),
            "materialised": sorted(
                event.asset_key.to_user_string() for event in made.get_asset_materialization_events()
            ),
            "checks": {
                f"{check.asset_key.to_user_string()} {check.check_name}": check.passed
                for check in made.get_asset_check_evaluations()
            },
        }
    )
)
