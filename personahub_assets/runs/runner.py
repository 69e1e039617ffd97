"""Run the graph without the UI: in this process, recorded in the instance of the home."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import dagster as dg
import polars as pl

from personahub_assets.core import interrupts
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import BatchError, BatchesFailed, BudgetSpent, ConfigError, Unfinished, choices
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES, REBUILD, REFRESH
from personahub_assets.defs.releases import RELEASE
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.llm import LLM, check_budget
from personahub_assets.generation.recorded import ANSWERS
from personahub_assets.generation.requests import TRANSIENT, Reason, Usage
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import open_instance, run_tags
from personahub_assets.instance.progress import Listener, RunProgress
from personahub_assets.search import selections
from personahub_assets.store.tables import Store

ASKING = tuple(ANSWERS)
"""Assets that ask the language model, in the order of the graph."""

_WAREHOUSE, _RELEASE = dg.AssetKey("warehouse"), dg.AssetKey("release")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Result:
    """Result of a run.

    Attributes:
        failed: problems by batch.
        unfinished: requests that --retry left to the next run, by batch.
        left: rows that got no answer while others did, by asset and batch; the next run asks them.
        rejected: assets and batches most of whose rows were rejected, with the reasons.
        stopped: why it stopped before the end, if it did.
        seconds: that it took.
        rows: of each table afterwards, where they were counted.
        usage: calls, tokens and money of this run, by asset and batch that asked the model.
    """

    failed: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    stopped: str | None = None
    seconds: float = field(default=0.0, compare=False)
    rows: dict[str, int] = field(default_factory=dict, compare=False)
    usage: dict[str, Usage] = field(default_factory=dict, compare=False)

    @property
    def exit_code(self) -> int:
        """What `personahub run` ends with.

        0: done; 1: something failed; 3: stopped, or with rows left; 4: done, and most rows of an asset were rejected.
        """
        if self.failed:
            return 1
        return 3 if self.stopped or self.unfinished or self.left else 4 if self.rejected else 0

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
    """What a run shall do: batches with their assets, in its order, by which definitions of the graph."""

    store: Store
    definitions: dg.Definitions
    batches: list[str]
    work: list[tuple[str, set[dg.AssetKey]]]
    datasets: list[str]
    reasons: list[str]
    usage: dict[str, Usage] = field(default_factory=dict)  # of its runs, by asset and batch

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
) -> Ordered:
    """Resolve batches and assets of a run; see `run_batches` for the arguments.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, there is no batch at all, or a file of
            personas is of no use.
    """
    home = environment.home.expanduser().resolve()
    store = Store(home=str(home))
    reasons = _reasons(retry) if retry is not None else []
    # The same objects for all runs of the order: they spend from one budget, and ask one stand-in.
    llm = LLM(url=environment.llm_url, model=environment.llm_model, retry=reasons, shared_budget=budget)
    usage: dict[str, Usage] = {}
    run_resources = {"llm": llm, "progress": RunProgress(listener, usage)}
    definitions = build(environment, run_resources=run_resources)
    keys = known_batches(store, batches)
    assets = selected(definitions, select)
    datasets = [name for name in DATASETS if dg.AssetKey(name) in assets]
    if personas_from:
        store = Store(home=str(home), personas_from=_selecting(personas_from, datasets))
        definitions = build(environment, store.personas_from, run_resources)
    work = _quarantined(store, keys, assets, reasons) if reasons else [(key, assets) for key in keys]
    return Ordered(store, definitions, keys, work, datasets, reasons, usage)


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
) -> Result:
    """Materialise assets for batches, one run per batch, then the warehouse.

    Args:
        batches: batch keys; none means all registered ones.
        select: asset names, with '+' before for what they are made of and '+' behind for what follows; none means all.
        budget: bounds of all runs together.
        retry: ask only what is quarantined for these reasons (none named: for any) in partitions that have such rows.
        approve: called with the order before the run; an exception stops it.
        personas_from: a file that names the personas that the chosen datasets are written for, in this run only.
        listener: called with the progress of each step.

    Raises:
        BatchError, ConfigError: if a batch, an asset or a reason is unknown, there is no batch at all, a file of
            personas is of no use, or a budget cannot be kept.
    """
    order = ordered(
        environment, batches, select, retry=retry, personas_from=personas_from, budget=budget, listener=listener
    )
    if budget:
        check_budget(budget, order.store)
    if approve:
        approve(order)
    result = Result(usage=order.usage)
    with open_instance(order.store.root) as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), [k for k in order.batches if k not in _partitions(instance)])
        started = time.perf_counter()
        _all_runs(order, partial(_execute, order.definitions, instance), result)
        look_at_quarantine(order, result)
        result.seconds = time.perf_counter() - started
    return result


def look_at_quarantine(order: Ordered, result: Result) -> None:
    """Say of which assets rows are left, or most were rejected."""
    store = order.store
    limit = store.config.generation.max_rejected_share
    for batch, assets in order.named:
        for asset in (name for name in ASKING if name in assets):
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
    """Make a release, as a run that the UI shows.

    Args:
        config: as `defs.releases.ReleaseConfig` has it.
        listener: called with the progress.

    Raises:
        BatchError: if there is no batch at all.
        ConfigError: if the name is taken, or something else that was asked for is wrong.
        StoreError: if nothing can be released.
    """
    home = environment.home.expanduser().resolve()
    known_batches(Store(home=str(home)), [])
    definitions = build(environment, run_resources={"progress": RunProgress(listener)})
    with open_instance(home) as instance:
        _execute(definitions, instance, RELEASE, {_RELEASE}, None, {"release": config})


def _reasons(wanted: list[str]) -> list[str]:
    valid = [reason for reason in get_args(Reason) if reason != "taken_down"]  # what is gone is not asked for
    unknown = [reason for reason in wanted if reason not in valid]
    if unknown:
        raise ConfigError("; ".join(f"unknown reason {choices(reason, valid)}" for reason in unknown))
    return wanted or valid


def _selecting(file: Path, datasets: list[str]) -> dict[str, str]:
    """The same selection for all datasets of a run.

    Raises:
        ConfigError: if there are none, or the file is of no use.
    """
    if not datasets:
        raise ConfigError(f"--personas-from {file} is for datasets, and none is selected: {', '.join(DATASETS)}")
    path = file.expanduser().resolve()
    selections.read(path)
    return dict.fromkeys(datasets, str(path))


def _quarantined(
    store: Store, keys: list[str], assets: set[dg.AssetKey], reasons: list[str]
) -> list[tuple[str, set[dg.AssetKey]]]:
    """Partitions with quarantined rows of these reasons, each for a run of its own."""
    partitions = []
    for key in keys:
        for name in ASKING:
            rows = store.read("quarantine", key, name, columns=["reason"]) if dg.AssetKey(name) in assets else None
            if rows is not None and rows["reason"].is_in(reasons).any():
                partitions.append((key, {dg.AssetKey(name)}))
    return partitions


def _partitions(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_dynamic_partitions(str(BATCHES.name)))


def known_batches(store: Store, wanted: list[str]) -> list[str]:
    """The batches that are wanted, or all.

    Raises:
        BatchError: if one is unknown, or there is none at all.
    """
    registered = store.batches()
    if not registered:
        raise BatchError(f"{store.root} has no batches yet; register a source file first: personahub ingest FILE")
    unknown = [key for key in wanted if key not in registered]
    if unknown:
        raise BatchError("; ".join(f"unknown batch {choices(key, registered)}" for key in unknown))
    return wanted or registered


def selected(definitions: dg.Definitions, select: list[str]) -> set[dg.AssetKey]:
    """The assets that are wanted, with what they are made of and what follows where that is asked for; or all.

    Raises:
        ConfigError: if one is unknown.
    """
    graph = definitions.resolve_asset_graph()
    if any(item.strip("+") == "release" for item in select):
        raise ConfigError("a release is made only by its own command: personahub release NAME")
    # A refresh never makes a release, though it follows from what is refreshed.
    keys = set(graph.get_all_asset_keys()) - {_RELEASE}
    every = {key.to_user_string() for key in keys}
    unknown = [name for item in select if (name := item.strip("+")) not in every]
    if unknown:
        raise ConfigError("; ".join(f"unknown asset {choices(name, sorted(every))}" for name in unknown))
    chosen = [_selection(item).resolve(graph) for item in select]
    return set().union(*chosen) & keys if chosen else keys


def _selection(item: str) -> dg.AssetSelection:
    """`tools`, `+tools` with all it is made of, `tools+` with all that follows."""
    assets = dg.AssetSelection.assets(item.strip("+"))
    above = assets.upstream() if item.startswith("+") else assets
    return above | assets.downstream() if item.endswith("+") else above


def _all_runs(order: Ordered, execute: Callable[..., None], result: Result) -> None:
    """Execute a run per batch, given its job, assets and batch, then rebuild the warehouse."""
    home = order.store.root
    work = [(key, assets - {_WAREHOUSE}) for key, assets in order.work]
    for index, (key, assets) in enumerate(work):
        if assets:
            name = key if len(assets) > 1 else f"{key}: {min(assets).to_user_string()}"
            _attempt(result, name, home, partial(execute, REFRESH, assets, key))
        if result.stopped:
            later = list(dict.fromkeys(name for name, _ in work[index + 1 :]))
            result.stopped += f" Not begun: {', '.join(later)}." if later else ""
            break
    # Whoever changed the store rebuilds the warehouse over it; it is skipped inside if nothing changed.
    _attempt(result, "warehouse", home, partial(execute, REBUILD, {_WAREHOUSE}, None))


def _attempt(result: Result, name: str, home: Path, work: Callable[[], None]) -> None:
    """Record a failure in one line, and continue.

    Raises:
        KeyboardInterrupt: on Ctrl-C, also where something else was made of it.
    """
    interrupts.check()
    try:
        work()
    except BudgetSpent as spent:
        result.stopped = f"{spent}."
    except Unfinished as rest:
        result.unfinished[name] = f"{rest}."
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - one batch's fault, of whatever type, must not stop the others
        interrupts.check()
        result.failed[name] = explain(error, home)
    interrupts.check()


def _execute(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str,
    assets: set[dg.AssetKey],
    batch: str | None,
    config: dict[str, Any] | None = None,
) -> None:
    """Execute one run in this process; what its assets raise comes out as it is.

    Args:
        config: of the assets, by their names.

    Raises:
        KeyboardInterrupt: on Ctrl-C; the run is closed in the instance.
    """
    try:
        definitions.resolve_job_def(job).execute_in_process(
            instance=instance,
            partition_key=batch,
            asset_selection=sorted(assets, key=str),
            run_config={**_QUIET, "ops": {name: {"config": values} for name, values in (config or {}).items()}},
            tags=run_tags(),
        )
    except dg.DagsterExecutionInterruptedError as error:
        raise KeyboardInterrupt from error
    except Exception as error:
        # Dagster's error, whose cause is this one: who follows causes and contexts would go round for ever.
        error.__context__ = None
        raise
