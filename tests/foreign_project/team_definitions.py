"""A team's own project: its assets, resources, executor and IO manager, and the graph of a hub merged into them.

Many of its names are also names of the hub; they do not clash.
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg

from personahub_assets import Environment, Hub
from personahub_assets.definitions import build_definitions

FOLDER = Path(os.environ["TEAM_FOLDER"])
ENVIRONMENT = Environment(home=FOLDER / "hub", llm_url="standin:")
EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}


class JsonFiles(dg.ConfigurableIOManager):
    """Stores the results of the team's assets, one JSON file each."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        path = self._path(context.asset_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(obj))

    def load_input(self, context: dg.InputContext) -> Any:
        return json.loads(self._path(context.asset_key).read_text())

    def _path(self, key: dg.AssetKey) -> Path:
        return Path(self.folder, *key.path).with_suffix(".json")


@dg.asset
def personas() -> list[str]:
    return ["A customer who pays by cheque."]


@dg.asset(deps=[["personahub", "tools"]])
def catalogue(personas: list[str]) -> list[str]:
    tools = Hub(environment=ENVIRONMENT).dataset("tools")
    return [*personas, *tools.select("name").collect()["name"]]


@dg.op
def drop_superseded() -> None: ...


@dg.job
def maintenance() -> None:
    drop_superseded()


@dg.sensor(job_name="maintenance")
def inbox() -> None: ...


defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[personas, catalogue],
        jobs=[maintenance, dg.define_asset_job("refresh_batch", selection=[personas, catalogue])],
        sensors=[inbox],
        resources={"store": object(), "llm": object(), "io_manager": JsonFiles(folder=str(FOLDER / "json"))},
        executor=EXECUTORS[os.environ.get("TEAM_EXECUTOR", "in_process")],
    ),
    build_definitions("personahub", "hub", environment=ENVIRONMENT),
)
