"""A run launcher for tests: each run is a process with a working copy of its own, as on a machine of its own.

Like the launchers of Kubernetes and Docker it can tell whether a worker is alive, so run monitoring finds a dead one.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData


class WorkerLauncher(RunLauncher, ConfigurableClass):
    """Starts runs on workers that are free.

    Args:
        folder: of the workers; each has a folder with its working copies, and `run.json` with its run.
        workers: number of workers.
    """

    def __init__(self, folder: str, workers: int, inst_data: ConfigurableClassData | None = None):
        self._folder, self._workers, self._inst_data = Path(folder), workers, inst_data
        self._processes = dict[str, subprocess.Popen[bytes]]()
        super().__init__()

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> Any:
        return {"folder": str, "workers": int}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> "WorkerLauncher":
        return cls(inst_data=inst_data, **config_value)

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        while (name := self._free_worker()) is None:  # a process ends after its run
            time.sleep(0.2)
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        arguments = ExecuteRunArgs(
            job_origin=run.job_code_origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),  # type: ignore[arg-type]
        ).get_command_args()
        with (folder / f"{run.run_id}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "PERSONAHUB_WORK": str(folder)},
            )
        self._processes[run.run_id] = process
        (folder / "run.json").write_text(json.dumps({"run": run.run_id, "pid": process.pid}))

    def _free_worker(self) -> str | None:
        runs = [json.loads(file.read_text()) | {"name": file.parent.name} for file in self._folder.glob("*/run.json")]
        busy = {each["name"] for each in runs if self._is_alive(each)}
        return next((name for number in range(self._workers) if (name := f"worker-{number}") not in busy), None)

    def terminate(self, run_id: str) -> bool:
        self._processes[run_id].terminate()
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        process = self._processes.get(run.run_id)
        if process is None or process.poll() is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED if process.returncode else WorkerStatus.SUCCESS)

    def _is_alive(self, worker: Mapping[str, Any]) -> bool:
        process = self._processes.get(str(worker["run"]))
        return process is not None and process.poll() is None
