"""The Dagster instance of a home: one for the UI and the command line."""

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
from personahub_assets.store.home import Home

# Capturing a run's output starts three processes per run, sends the progress bars through one of them, and Ctrl-C
# makes the others print tracebacks. Runs of the command line write to the terminal; the UI captures its own.
_IN_PROCESS = {
    "compute_logs": {
        "module": NO_COMPUTE_LOGS_MODULE,
        "class": "NoOpComputeLogManager",
        "config": {},
    }
}
PARTITIONS = "batch"
"""Name of the dynamic partitions that batches are."""
PID_TAG, HOST_TAG = "personahub/pid", "personahub/host"


def prepare(home: Path) -> Home:
    """Make the instance's folder with its dagster.yaml, and point DAGSTER_HOME at it.

    The file is copied at every start: without it the pool limits would silently not be in force.
    """
    paths = Home(home.expanduser().resolve())
    paths.dagster.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project_files.root() / "dagster.yaml", paths.dagster_settings)
    os.environ["DAGSTER_HOME"] = str(paths.dagster)
    return paths


def open_instance(home: Path) -> dg.DagsterInstance:
    """Open the instance for runs in this process.

    The first one to open an empty home creates its databases, under a lock.

    Raises:
        StoreError: if the databases cannot be opened, or are damaged.
    """
    paths = prepare(home)
    with _history(paths), FileLock(paths.dagster_lock):
        instance = dg.DagsterInstance.from_ref(_reference(paths))
        # The databases are made at the first look, not when the instance is opened.
        instance.get_runs(limit=1)
        instance.event_log_storage.get_concurrency_keys()
        _free_dead_runs(instance)
    return instance


def _reference(paths: Home) -> InstanceRef:
    return InstanceRef.from_dir(str(paths.dagster), overrides=_settings(paths.history))


def _settings(history: Path) -> dict[str, Any]:
    """Those of dagster.yaml and of runs in this process: the storages of `instance_storage.py`, and no captured output.

    Dagster looks for the file with a glob, so in a home with brackets in its path it finds none.
    """
    module = "personahub_assets.instance.storage"
    return {
        **yaml.safe_load((project_files.root() / "dagster.yaml").read_text("utf-8")),
        **_IN_PROCESS,
        "run_storage": {"module": module, "class": "Runs", "config": {"base_dir": f"{history}/"}},
        "event_log_storage": {"module": module, "class": "EventLog", "config": {"base_dir": f"{history}/runs/"}},
    }


@contextmanager
def glimpse(home: Path) -> Iterator[dg.DagsterInstance | None]:
    """Open the instance to look at it: none is made where there is none, and no run is closed."""
    paths = Home(home)
    if not paths.dagster_settings.exists() or not paths.history.exists():
        yield None
        return
    with _history(paths), dg.DagsterInstance.from_ref(_reference(paths)) as instance:
        yield instance


@contextmanager
def _history(paths: Home) -> Iterator[None]:
    """Say in one line what is wrong with Dagster's databases."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise history_problem(paths, error) from error


def forget_partition(home: Path, batch: str) -> bool:
    """Delete a batch from the partitions, unless something was ever materialised for it; whether it is none now."""
    with glimpse(home) as instance:
        if instance is None or batch not in instance.get_dynamic_partitions(PARTITIONS):
            return True
        storage = instance.event_log_storage
        if any(batch in storage.get_materialized_partitions(asset) for asset in instance.all_asset_keys()):
            return False
        instance.delete_dynamic_partition(PARTITIONS, batch)
        return True


def run_tags() -> dict[str, str]:
    """Tags by which a later start sees whether the process of a run is still alive."""
    return {PID_TAG: str(os.getpid()), HOST_TAG: socket.gethostname()}


def _free_dead_runs(instance: dg.DagsterInstance) -> None:
    """Close runs whose process was killed, so that they do not hold their places in a pool for ever."""
    open_runs = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING], tags={HOST_TAG: socket.gethostname()}
    )
    for run in instance.get_runs(open_runs):
        if not is_alive(int(run.tags[PID_TAG])):
            instance.report_run_failed(run, "its process ended without a word (killed?); run again to continue")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
