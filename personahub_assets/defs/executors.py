"""Executors of runs in a code location, by the name in PERSONAHUB_EXECUTOR.

A separate process per step takes about five seconds, and batches run in parallel as separate runs. So the steps of a
run share its process unless the variable says otherwise. `personahub run` always works in its own process.
"""

from importlib.util import find_spec

import dagster as dg

from personahub_assets.core.errors import ConfigError, choices

RAY_ADDRESS = "RAY_DASHBOARD_URL"
"""Variable with the address of the Ray cluster's dashboard, which takes jobs."""

_NAMES = ["in_process", "multiprocess", "ray"]


def executor_named(name: str) -> dg.ExecutorDefinition:
    """The executor with a name: in_process, multiprocess, or ray, where each step is a Ray job.

    Raises:
        ConfigError: if there is no such executor, or dagster-ray is not installed.
    """
    if name not in _NAMES:
        raise ConfigError(f"PERSONAHUB_EXECUTOR is {choices(name, _NAMES)}")
    if name == "ray":
        return _ray_executor()
    return dg.in_process_executor if name == "in_process" else dg.multiprocess_executor


def _ray_executor() -> dg.ExecutorDefinition:
    if find_spec("dagster_ray") is None:
        raise ConfigError("PERSONAHUB_EXECUTOR=ray needs dagster-ray: pip install 'personahub-assets[cluster]'")
    from dagster_ray import ray_executor

    executor: dg.ExecutorDefinition = ray_executor.configured({"ray": {"address": {"env": RAY_ADDRESS}, "num_cpus": 1}})
    return executor
