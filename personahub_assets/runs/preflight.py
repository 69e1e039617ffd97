"""Check what somebody starts in the UI, before a run exists."""

from collections.abc import Callable, Mapping
from typing import Any

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError, PersonaHubError
from personahub_assets.defs.batches import REFRESH
from personahub_assets.defs.preview import TRY
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.llm import LLM, check_budget
from personahub_assets.instance.launch_guard import ASSETS_JOB, Launch
from personahub_assets.runs.endpoint import require_endpoint
from personahub_assets.runs.runner import ordered

_BOUNDS = ("max_calls", "max_tokens", "max_cost", "max_seconds")


def check_launch(environment: Environment, launch: Launch) -> None:
    """Refuse a launch that cannot succeed: settings, prompts, prices of a budget, endpoint, key and model.

    Raises:
        ConfigError: naming everything that is wrong.
    """
    assets = [name for name in launch.assets if name != "release"]
    if launch.job == TRY:
        llm = LLM.of(environment, batch_api=False)
        _together([llm.require_model, llm.require_way])
    elif launch.job in (REFRESH, ASSETS_JOB) and (assets or not launch.assets):
        order = ordered(environment, launch.batches, assets, batch_api=_batch_api(launch.config))
        _together(
            [
                lambda: check_budget(Budget(**_bounds(launch.config)), order.store),
                lambda: require_endpoint(environment, order),
            ]
        )


def _bounds(config: Mapping[str, Any]) -> dict[str, Any]:
    """The budget of the launchpad; what is no number is left to Dagster's own check."""
    values = _llm_values(config)
    return {name: values[name] for name in _BOUNDS if isinstance(values.get(name), int | float)}


def _batch_api(config: Mapping[str, Any]) -> bool | None:
    """Whether the launchpad says to submit requests to the batch API; None if it does not say."""
    value = _llm_values(config).get("batch_api")
    return value if isinstance(value, bool) else None


def _llm_values(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the launchpad sets under `resources`, `llm`."""
    values: Any = config
    for key in ("resources", "llm", "config"):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values if isinstance(values, Mapping) else {}


def _together(checks: list[Callable[[], None]]) -> None:
    problems = []
    for check in checks:
        try:
            check()
        except PersonaHubError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("nothing is started: " + "\n".join(problems))
