"""Batches: the partitions, and how a body runs over those of its step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from personahub_assets.core import interrupts
from personahub_assets.core.errors import BatchesFailed, BudgetSpent
from personahub_assets.core.text import digest
from personahub_assets.defs.metadata.sample import asked_next, sample
from personahub_assets.generation.engine import Watch
from personahub_assets.instance import progress
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import PARTITIONS
from personahub_assets.steps.result import Result
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import UNREADABLE, Store

BATCHES = dg.DynamicPartitionsDefinition(name=PARTITIONS)
OWNERS = ["team:personahub"]
REFRESH, REBUILD = "refresh_batch", "rebuild_warehouse"
LLM_POOL = "llm"

_TAGS = {"code": "dagster/code_version", "data": "dagster/data_version"}


@dataclass
class Report:
    """What an asset records of one batch.

    Attributes:
        result: what its step says.
        pictures: metadata that only people look at.
    """

    result: Result
    pictures: dict[str, Any] = field(default_factory=dict)

    def as_metadata(self) -> dict[str, Any]:
        """Row count, how to ask about the first row, facts, pictures, and last, since it is tall, a sample."""
        result = self.result
        metadata = {"dagster/row_count": result.rows, **asked_next(result.head), **result.facts, **self.pictures}
        return {**metadata, "sample": sample(result.head)}


def watcher(context: dg.AssetExecutionContext, batch: str) -> Watch:
    """Tell those who watch the run, and its log, how far the calls of an asset are."""
    return progress.watcher(batch, context.asset_key.to_user_string(), context.log.info)


def over_batches(context: dg.AssetExecutionContext, body: Callable[[str], Report]) -> dg.MaterializeResult[Any]:
    """Run a body for every batch of the step and report each.

    With several batches in one run (a single-run backfill) each is logged as it is published, and a failure of one does
    not keep the others from being made.

    Raises:
        BatchesFailed: at the end, naming the batches that failed.
    """
    keys = list(context.partition_keys)
    if len(keys) == 1:
        report = _timed(context, body, keys[0])
        return dg.MaterializeResult(metadata=report.as_metadata(), data_version=_version(report))
    versions, failures = [], {}
    home = Path(context.instance.root_directory).parent
    for key in keys:
        try:
            report = _timed(context, body, key)
        except BudgetSpent:
            raise  # nothing is left for the other batches either
        except (*UNREADABLE, Exception) as error:  # noqa: BLE001 - one batch's fault must not keep the others from running
            interrupts.check()
            failures[key] = explain(error, home)
            context.log.error(f"batch {key}: {failures[key]}")
            continue
        versions.append(_version(report).value)
        _log_published(context, key, report)
    if failures:
        raise BatchesFailed("; ".join(f"batch {key}: {reason}" for key, reason in failures.items()))
    # Dagster records one data version for all partitions of a run: docs/decisions.md, "Single-run backfills".
    return dg.MaterializeResult(data_version=dg.DataVersion(digest(*versions, size=32)))


def locked(store: Store, asset: str, body: Callable[[str], Report], *, wait: bool = True) -> Callable[[str], Report]:
    """Hold the batch's lock while the body runs; a takedown takes it, too.

    Args:
        wait: for whoever holds it; else the body is refused with LockHeld, as where two runs would both pay.
    """

    def alone(batch: str) -> Report:
        with store.lock(Lock.of(asset, batch), wait=wait):
            return body(batch)

    return alone


def _timed(context: dg.AssetExecutionContext, body: Callable[[str], Report], key: str) -> Report:
    asset = context.asset_key.path[-1]
    interrupts.check()
    progress.tell(progress.Step(key, asset, 0, None))
    started, cpu = time.perf_counter(), time.process_time()
    report = body(key)
    report.result.facts["seconds"] = round(time.perf_counter() - started, 3)
    report.result.facts["cpu_seconds"] = round(time.process_time() - cpu, 3)
    progress.tell(progress.Step(key, asset, report.result.rows, report.result.rows, "done"))
    return report


def _version(report: Report) -> dg.DataVersion:
    return dg.DataVersion(report.result.version)


def _log_published(context: dg.AssetExecutionContext, key: str, report: Report) -> None:
    metadata = report.as_metadata()
    context.add_asset_metadata(metadata, partition_key=key)
    tags = {
        _TAGS["data"]: _version(report).value,
        _TAGS["code"]: context.assets_def.code_versions_by_key[context.asset_key] or "",
    }
    context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata, tags=tags))
