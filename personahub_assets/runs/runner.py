"""Run the graph without the UI: in this process, recorded in the instance of the home."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import polars as pl

from personahub_assets.core import interrupts
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import (
    ArgumentError,
    BatchError,
    BatchesFailed,
    BudgetSpent,
    ConfigError,
    PersonaHubError,
    Submitted,
    Unfinished,
    choices,
)
from personahub_assets.core.verified import assets_of_view
from personahub_assets.definitions import build, unselected
from personahub_assets.defs.batches import BATCHES, REBUILD, REFRESH
from personahub_assets.defs.failures import StepFailed, StepStopped
from personahub_assets.defs.releases import RELEASE
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.llm import LLM, check_budget
from personahub_assets.generation.requests import TRANSIENT, Reason, Usage
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import open_instance, run_tags
from personahub_assets.instance.progress import Listener, RunProgress
from personahub_assets.instance.storage import OwnRuns
from personahub_assets.runs.waiting import OnWait, batches_of, wait_for_answers
from personahub_assets.search import selections
from personahub_assets.steps.tasks import require_runnable
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.build import is_fresh

_WAREHOUSE, _RELEASE = dg.AssetKey("warehouse"), dg.AssetKey("release")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Result:
    """Result of a run.

    Attributes:
        failed: problems by batch.
        unfinished: requests that --retry left for the next run, by batch.
        waiting: asset and batch whose requests wait for the answers of a batch API, with how many.
        left: rows without an answer while others got one, by asset and batch; the next run sends them again. Also
            datasets that are left out because they are still the template.
        rejected: assets and batches most of whose rows were rejected, with the reasons.
        stopped: reason for stopping before the end; None if it did not.
        seconds: duration.
        rows: rows of each table after the run, for counted tables.
        usage: calls, tokens and money of this run, by asset and batch that asked the model.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None
    seconds: float = field(default=0.0, compare=False)
    rows: dict[str, int] = field(default_factory=dict, compare=False)
    usage: dict[str, Usage] = field(default_factory=dict, compare=False)

    @property
    def exit_code(self) -> int:
        """Exit code of `personahub run`.

        0: done; 1: something failed; 3: stopped, waiting for a batch API, or with rows left; 4: done, and most rows of
        an asset were rejected.
        """
        if self.failed:
            return 1
        return 3 if self.stopped or self.unfinished or self.waiting or self.left else 4 if self.rejected else 0

    def raise_for_failure(self) -> "Result":
        """Return this result, or raise if something failed.

        Raises:
            BatchesFailed: naming the batches with their problems.
        """
        if self.failed:
            raise BatchesFailed("; ".join(f"{name}: {problem}" for name, problem in self.failed.items()))
        return self


@dataclass(frozen=True)
class Ordered:
    """The work of a run: batches with their assets, in order, and the definitions of the graph."""

    store: Store
    definitions: dg.Definitions
    batches: list[str]
    work: list[tuple[str, set[dg.AssetKey]]]
    datasets: list[str]
    reasons: list[str]
    llm: LLM
    usage: dict[str, Usage] = field(default_factory=dict)  # by asset and batch
    unedited: dict[str, str] = field(default_factory=dict)
    """Selected datasets that are left out, because they are still the template, with the reason."""

    @property
    def named(self) -> list[tuple[str, set[str]]]:
        """The work, with names of assets."""
        return [(batch, {key.to_user_string() for key in assets}) for batch, assets in self.work]


def ordered(
    environment: Environment,
    batches: list[str],
    select: list[str],
    *,
    retry: list[str] | None = None,
    personas_from: Path | None = None,
    budget: Budget | None = None,
    listener: Listener | None = None,
    batch_api: bool | None = None,
) -> Ordered:
    """Resolve batches and assets of a run; see `run_batches` for the arguments.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, no batch is registered, or the file of
            personas cannot be used.
    """
    home = environment.home.expanduser().resolve()
    store = Store(home=str(home)).pulled()
    reasons = _reasons(retry) if retry is not None else []
    # All runs of the order use the same objects: they share one budget and one stand-in.
    llm = LLM.of(environment, retry=reasons, shared_budget=budget, batch_api=batch_api)
    usage: dict[str, Usage] = {}
    run_resources = {"llm": llm, "progress": RunProgress(listener, usage)}
    definitions = build(environment, run_resources=run_resources)
    keys = known_batches(store, batches)
    assets = selected(definitions, select, store.catalog, unselected(store.catalog, store.config))
    unedited = _unedited(store.catalog, assets)
    assets -= {dg.AssetKey(name) for name in unedited}
    if unedited and not assets - {_WAREHOUSE}:
        raise ConfigError("; ".join(f"{name}: {reason}" for name, reason in unedited.items()))
    check_tasks(store, [name for name in store.catalog.tasks if dg.AssetKey(name) in assets])
    datasets = [name for name in store.catalog.names if dg.AssetKey(name) in assets]
    if personas_from:
        store = Store(home=str(home), personas_from=_selecting(personas_from, datasets, store.catalog))
        definitions = build(environment, store.personas_from, run_resources)
    work = _quarantined(store, keys, assets, reasons) if reasons else [(key, assets) for key in keys]
    return Ordered(store, definitions, keys, work, datasets, reasons, llm, usage, unedited)


def _unedited(catalog: Catalog, assets: set[dg.AssetKey]) -> dict[str, str]:
    """The selected datasets that are still the template, with the reason."""
    reasons = {name: catalog.unedited(name) for name in catalog.own if dg.AssetKey(name) in assets}
    return {name: reason for name, reason in reasons.items() if reason}


def run_batches(
    environment: Environment,
    batches: list[str],
    select: list[str],
    *,
    budget: Budget | None = None,
    retry: list[str] | None = None,
    approve: Callable[[Ordered], None] | None = None,
    personas_from: Path | None = None,
    listener: Listener | None = None,
    batch_api: bool | None = None,
    on_wait: OnWait | None = None,
) -> Result:
    """Materialise assets for batches, one run per batch, then the warehouse.

    Args:
        batches: batch keys; empty for all registered batches.
        select: asset names, with '+' before the name for everything upstream and '+' after it for everything
            downstream; empty for all.
        budget: limits for all runs together.
        retry: send only quarantined requests with these reasons (an empty list: any reason).
        approve: called with the order before the run; an exception stops it.
        personas_from: a file with the personas that the selected datasets are written for, in this run only.
        listener: called with the progress of each step.
        batch_api: submit requests to the batch API or do not, instead of `[batch_api] use`.
        on_wait: called with the open submissions at each look at them; without it, the run ends when all that can be
            submitted is.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, no batch is registered, the file of
            personas cannot be used, or a budget cannot be kept.
    """
    order = ordered(
        environment,
        batches,
        select,
        retry=retry,
        personas_from=personas_from,
        budget=budget,
        listener=listener,
        batch_api=batch_api,
    )
    if budget:
        check_budget(budget, order.store)
    if approve:
        approve(order)
    result = Result(usage=order.usage, left=dict(order.unedited))
    with open_instance(order.store.root) as instance:
        registered = _partitions(instance)
        instance.add_dynamic_partitions(str(BATCHES.name), [key for key in order.batches if key not in registered])
        started = time.perf_counter()
        executor = _Executor(order.definitions, instance)
        _all_runs(order, executor, result)
        while on_wait and result.waiting and not result.stopped and not result.failed:
            if not wait_for_answers(order.store, order.llm, batches_of(result.waiting), on_wait):
                break
            order = replace(order, work=[each for each in order.work if each[0] in batches_of(result.waiting)])
            result.waiting.clear()
            before = dict(order.usage)
            _all_runs(order, executor, result)
            order.usage.update(
                {
                    name: order.usage[name].after(tally)
                    for name, tally in before.items()
                    if order.usage[name] is not tally
                }
            )
        look_at_quarantine(order, result)
        result.seconds = time.perf_counter() - started
    return result


def look_at_quarantine(order: Ordered, result: Result) -> None:
    """Add the assets with rows that are left, or that were mostly rejected, to the result."""
    store = order.store
    limit = store.config.generation.max_rejected_share
    for batch, assets in order.named:
        for asset in (name for name in store.catalog.tasks if name in assets):
            outcomes = store.read("generations", batch, asset, columns=["status", "reason"])
            current = outcomes.filter(pl.col("status") != "superseded", pl.col("reason").ne_missing("taken_down"))
            reasons = current.filter(status="rejected")["reason"]
            if reasons.is_empty():
                continue
            name, rows = f"{asset}[{batch}]", len(current)
            counts = dict(reasons.value_counts(sort=True).iter_rows())
            if left := sum(count for reason, count in counts.items() if reason in TRANSIENT):
                result.left[name] = f"{left:,} rows got no answer at any try; the next run asks them again, last"
            if len(reasons) / rows > limit:
                reasons_text = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
                result.rejected[name] = f"{len(reasons):,} of {rows:,} rows are in quarantine ({reasons_text})"


def run_release(environment: Environment, config: dict[str, Any], listener: Listener) -> None:
    """Build a release as a run that the UI shows.

    Args:
        config: fields of `defs.releases.ReleaseConfig`.
        listener: called with the progress.

    Raises:
        BatchError: if no batch is registered.
        ConfigError: if the name is taken, or another setting is wrong.
        StoreError: if nothing can be released.
    """
    home = environment.home.expanduser().resolve()
    known_batches(Store(home=str(home)), [])
    definitions = build(environment, run_resources={"progress": RunProgress(listener)})
    with open_instance(home) as instance:
        _Executor(definitions, instance)(RELEASE, {_RELEASE}, None, {"release": config})


def _reasons(wanted: list[str]) -> list[str]:
    valid = [reason for reason in get_args(Reason) if reason != "taken_down"]  # removed rows are never sent
    unknown = [reason for reason in wanted if reason not in valid]
    if unknown:
        raise ArgumentError("; ".join(f"unknown reason {choices(reason, valid)}" for reason in unknown))
    return wanted or valid


def _selecting(file: Path, datasets: list[str], catalog: Catalog) -> dict[str, str]:
    """The same selection for all datasets of a run.

    Raises:
        ConfigError: if no dataset is selected, or the file cannot be used.
    """
    if not datasets:
        raise ArgumentError(f"--personas-from {file} is for datasets, and none is selected: {', '.join(catalog.names)}")
    path = file.expanduser().resolve()
    selections.read(path)
    return dict.fromkeys(datasets, str(path))


def _quarantined(
    store: Store, keys: list[str], assets: set[dg.AssetKey], reasons: list[str]
) -> list[tuple[str, set[dg.AssetKey]]]:
    """Partitions with quarantined rows of these reasons; each gets its own run."""
    partitions = []
    for key in keys:
        for name in store.catalog.tasks:
            rows = store.read("quarantine", key, name, columns=["reason"]) if dg.AssetKey(name) in assets else None
            if rows is not None and rows["reason"].is_in(reasons).any():
                partitions.append((key, {dg.AssetKey(name)}))
    return partitions


def _partitions(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_dynamic_partitions(str(BATCHES.name)))


def known_batches(store: Store, wanted: list[str]) -> list[str]:
    """The requested batches, or all.

    Raises:
        BatchError: if one is unknown, or none is registered.
    """
    registered = store.batches()
    if not registered:
        raise BatchError(f"{store.root} has no batches yet; register a source file first: personahub ingest FILE")
    unknown = [key for key in wanted if key not in registered]
    if unknown:
        raise BatchError("; ".join(f"unknown batch {choices(key, registered)}" for key in unknown))
    return wanted or registered


def selected(
    definitions: dg.Definitions,
    select: list[str],
    catalog: Catalog | None = None,
    optional: Collection[str] = (),
) -> set[dg.AssetKey]:
    """The selected assets, with their upstream and downstream assets if requested; all without a selection.

    Args:
        definitions: the graph.
        select: names, with `+` as in `run_batches`.
        catalog: the datasets of the home, for errors.
        optional: assets that take part only if they are named, or upstream or downstream of one that is.

    Raises:
        ConfigError: if one is unknown.
    """
    graph = definitions.resolve_asset_graph()
    if any(item.strip("+") == "release" for item in select):
        raise ArgumentError("a release is made only by its own command: personahub release NAME")
    # A refresh never builds a release, although the release is downstream.
    keys = set(graph.get_all_asset_keys()) - {_RELEASE}
    every = {key.to_user_string() for key in keys}
    select = [name for item in select for name in _of_view(item)]
    unknown = [name for item in select if (name := item.strip("+")) not in every]
    if unknown:
        raise ConfigError("; ".join((catalog or Catalog()).unknown("asset", name, sorted(every)) for name in unknown))
    left_out = set(map(dg.AssetKey, optional))
    chosen = [
        assets if item.strip("+") in optional else assets - left_out
        for item in select
        for assets in [_selection(item).resolve(graph)]
    ]
    return set().union(*chosen) & keys if chosen else keys - left_out


def _of_view(item: str) -> list[str]:
    """The assets that make a view of verified problems, such as `math_verified`; any other name as it is."""
    name = item.strip("+")
    assets = assets_of_view(name)
    return [item.replace(name, asset) for asset in assets] or [item]


def check_tasks(store: Store, tasks: list[str]) -> None:
    """Refuse a run of tasks whose files, settings or sandbox do not work, before anything is asked.

    Raises:
        ConfigError: naming every problem, files with line and remedy.
    """
    problems = list[str]()
    for name in tasks:
        try:
            require_runnable(store.catalog, store.config, name)
        except PersonaHubError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(dict.fromkeys(problems)))


def _selection(item: str) -> dg.AssetSelection:
    """Parse `tools`, `+tools` (with everything upstream) or `tools+` (with everything downstream)."""
    assets = dg.AssetSelection.assets(item.strip("+"))
    above = assets.upstream() if item.startswith("+") else assets
    return above | assets.downstream() if item.endswith("+") else above


def _all_runs(order: Ordered, execute: "_Executor", result: Result) -> None:
    """Execute a run per batch, given its job, assets and batch, then rebuild the warehouse if a table changed."""
    home = order.store.root
    work = [(key, assets - {_WAREHOUSE}) for key, assets in order.work]
    for index, (key, assets) in enumerate(work):
        if assets:
            name = key if len(assets) > 1 else f"{key}: {min(assets).to_user_string()}"
            left: set[dg.AssetKey] | None = assets
            while left:
                waiting = _attempt(result, name, home, partial(execute, REFRESH, left, key))
                left = _independent(order.definitions, left, waiting) if waiting else None
        if result.stopped:
            later = list(dict.fromkeys(name for name, _ in work[index + 1 :]))
            result.stopped += f" Not begun: {', '.join(later)}." if later else ""
            break
    is_alone = not any(assets for _, assets in work)
    if is_alone or not is_fresh(order.store) or not execute.has_recorded(_WAREHOUSE):
        _attempt(result, "warehouse", home, partial(execute, REBUILD, {_WAREHOUSE}, None))


def _independent(definitions: dg.Definitions, assets: set[dg.AssetKey], waiting: str) -> set[dg.AssetKey]:
    """The assets that can run while one waits for answers: those that are neither made from it nor made before it."""
    graph, waits = definitions.resolve_asset_graph(), dg.AssetSelection.assets(waiting)
    return assets - (waits.upstream() | waits.downstream()).resolve(graph)


def _attempt(result: Result, name: str, home: Path, work: Callable[[], None]) -> str | None:
    """Record a failure in one line, and continue.

    Returns:
        The asset that waits for the answers of a batch API; None if none does.

    Raises:
        KeyboardInterrupt: on Ctrl-C, also if it was wrapped in another exception.
    """
    interrupts.check()
    try:
        work()
    except BudgetSpent as spent:
        result.stopped = f"{spent}."
    except Submitted as submitted:
        result.waiting[f"{submitted.asset}[{name.partition(': ')[0]}]"] = f"{submitted}."
        return submitted.asset
    except Unfinished as rest:
        result.unfinished[name] = f"{rest}."
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - one batch's fault, of whatever type, must not stop the others
        interrupts.check()
        result.failed[name] = explain(error, home)
    interrupts.check()
    return None


class _Executor:
    """Executes runs in this process."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance):
        self._definitions, self._instance = definitions, instance
        assert isinstance(instance.run_storage, OwnRuns)
        self._runs = instance.run_storage
        self._jobs: dict[tuple[str, frozenset[dg.AssetKey]], dg.JobDefinition] = {}

    def __call__(
        self, job: str, assets: set[dg.AssetKey], batch: str | None, config: dict[str, Any] | None = None
    ) -> None:
        """Execute one run in this process; exceptions of its assets are raised unchanged.

        Args:
            config: configuration of the assets, by name.

        Raises:
            KeyboardInterrupt: on Ctrl-C; the run is closed in the instance.
        """
        run_config = {**_QUIET, "ops": {name: {"config": values} for name, values in (config or {}).items()}}
        try:
            with self._runs.selecting(assets):
                self._job(job, assets).execute_in_process(
                    instance=self._instance,
                    partition_key=batch,
                    run_config=run_config,
                    tags=run_tags(),
                )
        except (StepFailed, StepStopped) as error:
            raise error.__cause__ or error from None
        except dg.DagsterExecutionInterruptedError as error:
            raise KeyboardInterrupt from error
        except Exception as error:
            # The context is Dagster's error, whose cause is this one: a traceback would follow the cycle for ever.
            error.__context__ = None
            raise

    def has_recorded(self, asset: dg.AssetKey) -> bool:
        """Whether the instance shows a materialisation of an asset."""
        return self._instance.get_latest_materialization_event(asset) is not None

    def _job(self, name: str, assets: set[dg.AssetKey]) -> dg.JobDefinition:
        """A job with some of its assets.

        Dagster makes it twice for every run that is given a selection, and a snapshot of the whole job with it.
        """
        key = name, frozenset(assets)
        if key not in self._jobs:
            self._jobs[key] = self._definitions.resolve_job_def(name).get_subset(asset_selection=key[1])
        return self._jobs[key]
