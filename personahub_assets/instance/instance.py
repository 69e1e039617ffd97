"""The Dagster instance of a home: one for the UI and the command line. `shared.py` has that of several machines."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from filelock import FileLock
from sqlalchemy.exc import SQLAlchemyError

from personahub_assets.core import project_files
from personahub_assets.core.processes import is_alive
from personahub_assets.instance.compat import NO_COMPUTE_LOGS_MODULE, InstanceRef
from personahub_assets.instance.faults import history_problem
from personahub_assets.instance.shared import open_shared, shared_folder
from personahub_assets.store.home import Home

# Capturing output starts three processes per run, sends the progress bars through one of them, and makes the others
# print tracebacks at Ctrl-C. Runs of the command line write to the terminal; the UI captures the output of its runs.
_IN_PROCESS = {
    "compute_logs": {
        "module": NO_COMPUTE_LOGS_MODULE,
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}
PARTITIONS = "batch"
"""Name of the dynamic partitions: their keys are batches."""
_EVENTS = "1000"  # that are stored in one transaction, where Dagster has several at once
PID_TAG, HOST_TAG = "personahub/pid", "personahub/host"


def prepare(home: Path) -> Home:
    """Create the instance's folder with its dagster.yaml, and set the variables of Dagster.

    The file is copied at every start: without it there would be no pool limits and no warning.
    """
    paths = Home(home.expanduser().resolve())
    paths.dagster.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project_files.root() / "dagster.yaml", paths.dagster_settings)
    os.environ["DAGSTER_HOME"] = str(paths.dagster)
    os.environ["DAGSTER_EVENT_BATCH_SIZE"] = _EVENTS
    return paths


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance for runs in this process.

    Opening an empty home creates its databases, under a lock. An instance that DAGSTER_HOME shares is used instead.

    Raises:
        StoreError: if the databases cannot be opened, or are damaged.
    """
    if folder := shared_folder():
        instance = open_shared(folder, _IN_PROCESS)
        _free_dead_runs(instance)
        return instance
    paths = prepare(home)
    with _history(paths), FileLock(paths.dagster_lock):
        instance = dg.DagsterInstance.from_ref(_reference(paths))
        # The databases are created by the first query, not by opening the instance.
        instance.get_runs(limit=1)
        instance.event_log_storage.get_concurrency_keys()
        _free_dead_runs(instance)
    return instance


def _reference(paths: Home) -> InstanceRef:
    return InstanceRef.from_dir(str(paths.dagster), overrides=_settings(paths))


def _settings(paths: Home) -> dict[str, Any]:
    """The settings of dagster.yaml, with the storages of `storage.py` and without captured output.

    Dagster finds the file by a glob pattern, which fails in a home with brackets in its path.
    """
    module = "personahub_assets.instance.storage"
    history, schedules = paths.history, paths.dagster / "schedules"
    return {
        **yaml.safe_load((project_files.root() / "dagster.yaml").read_text("utf-8")),
        **_IN_PROCESS,
        "run_storage": {"module": module, "class": "Runs", "config": {"base_dir": f"{history}/"}},
        "event_log_storage": {"module": module, "class": "EventLog", "config": {"base_dir": f"{history}/runs/"}},
        "schedule_storage": {"module": module, "class": "Schedules", "config": {"base_dir": f"{schedules}/"}},
    }


@contextmanager
def open_read_only(home: Path) -> Iterator[dg.DagsterInstance | None]:
    """Open the instance for reading: it is not created if it is missing, and no run is closed."""
    if folder := shared_folder():
        with open_shared(folder, _IN_PROCESS) as instance:
            yield instance
        return
    paths = Home(home)
    if not paths.dagster_settings.exists() or not paths.history.exists():
        yield None
        return
    with _history(paths), dg.DagsterInstance.from_ref(_reference(paths)) as instance:
        yield instance


@contextmanager
def _history(paths: Home) -> Iterator[None]:
    """Turn errors of Dagster's databases into a StoreError."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise history_problem(paths, error) from error


def forget_partition(home: Path, batch: str) -> bool:
    """Delete the partition of a batch that was never materialised; return whether there is no such partition now."""
    with open_read_only(home) as instance:
        if instance is None or batch not in instance.get_dynamic_partitions(PARTITIONS):
            return True
        storage = instance.event_log_storage
        if any(batch in storage.get_materialized_partitions(asset) for asset in instance.all_asset_keys()):
            return False
        instance.delete_dynamic_partition(PARTITIONS, batch)
        return True


def run_tags() -> dict[str, str]:
    """Tags that tell a later start whether the process of a run is alive."""
    return {PID_TAG: str(os.getpid()), HOST_TAG: socket.gethostname()}


def _free_dead_runs(instance: dg.DagsterInstance) -> None:
    """Close runs whose process was killed, so that they release their slots in a pool."""
    open_runs = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING], tags={HOST_TAG: socket.gethostname()}
    )
    for run in instance.get_runs(open_runs):
        if not is_alive(int(run.tags[PID_TAG])):
            instance.report_run_failed(run, "its process ended without a report (killed?); run again to continue")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
