"""Batches: the partitions, and assets made from a function of one batch."""

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import dagster as dg

from personahub_assets.core import interrupts
from personahub_assets.core.errors import BatchesFailed, BudgetSpent, Submitted
from personahub_assets.core.text import digest
from personahub_assets.defs.assets import OWNERS, Asset, named_resources
from personahub_assets.defs.metadata.pages import page_of
from personahub_assets.defs.metadata.sample import asked_next, persona_texts, sample
from personahub_assets.generation.engine import Watch
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import PARTITIONS
from personahub_assets.instance.progress import RunProgress, Step
from personahub_assets.steps.result import Result
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import STAGES, UNREADABLE, Store

BATCHES = dg.DynamicPartitionsDefinition(name=PARTITIONS)
REFRESH, REBUILD = "refresh_batch", "rebuild_warehouse"
LLM_POOL = "llm"

Locking = Literal["wait", "refuse"]
"""The behaviour if another process holds the lock of the batch: wait, or fail with LockHeld."""

_TAGS = {"code": "dagster/code_version", "data": "dagster/data_version"}


@dataclass(frozen=True)
class Batch:
    """The argument of a function of one batch.

    Attributes:
        key: of the batch.
        watch: called with the tally of calls, for progress and the log of the run.
        tell: called with the number of finished rows and their total.
        note: called with a text about the work before the first row.
    """

    key: str
    watch: Watch
    tell: Callable[[int, int], None]
    note: Callable[[str], None]


@dataclass
class Report:
    """The record of an asset for one batch.

    Attributes:
        result: the result of the step.
        pictures: metadata for people, the engine's figures last; its `sample` replaces the sample of the first rows.
        texts: texts of the personas in the first rows, by id.
        total: rows of all batches.
    """

    result: Result
    pictures: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    total: int | None = None

    def as_metadata(self) -> dict[str, Any]:
        """Metadata by importance: sample, command about its first row, counts, pictures, figures of the engine."""
        result = self.result
        totals = {} if self.total is None else {"dagster/row_count": self.total}
        return {
            "sample": self.pictures.get("sample") or sample(result.head, self.texts),
            **asked_next(result.head),
            "dagster/partition_row_count": result.rows,
            **totals,
            **result.facts,
            **{name: value for name, value in self.pictures.items() if name != "sample"},
        }


def batch_asset(
    *,
    group: str,
    kinds: set[str],
    lock: Locking | None,
    deps: Sequence[str] = (),
    pool: str | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., Report]], Asset]:
    """Make an asset, partitioned by batch, from a function that makes one batch and returns a report.

    The function gets `batch`, a `Batch`, and the resources named by its parameters. Several batches in one run (a
    single-run backfill) are made one after the other.

    Args:
        group: shown in the UI.
        kinds: shown in the UI.
        lock: hold the batch's lock, which a takedown also holds, while the function runs: "wait" for the lock, or
            "refuse" if two runs would both pay; None if the step takes its own locks.
        deps: upstream assets.
        pool: limits how many steps run at a time.
        name: instead of the function's.
        description: instead of the function's docstring.
    """

    def decorate(function: Callable[..., Report]) -> Asset:
        spec = dg.AssetSpec(
            name or function.__name__,
            deps=list(deps),
            description=description or inspect.getdoc(function),
            metadata=page_of(name or function.__name__, group),
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            partitions_def=BATCHES,
        )
        needed = named_resources(function)

        def compute(
            context: dg.AssetExecutionContext, store: Store, progress: RunProgress, **others: Any
        ) -> Iterator[dg.MaterializeResult[Any]]:
            resources = {"store": store, "progress": progress, **others}
            make = partial(function, **{resource: resources[resource] for resource in needed})
            yield _Run(context, store, progress, lock, make).all_batches()

        return Asset(spec, compute, {"store", "progress", *needed}, pool=pool)

    return decorate


@dataclass(frozen=True)
class _Run:
    """One step of a run: a function with its batches.

    Attributes:
        make: the asset's function, with its resources.
    """

    context: dg.AssetExecutionContext
    store: Store
    progress: RunProgress
    lock: Locking | None
    make: Callable[[Batch], Report]

    def all_batches(self) -> dg.MaterializeResult[Any]:
        """Make every batch of the step and report each.

        Each of several batches is logged when it is published, and the failure of one does not stop the others.

        Raises:
            BatchesFailed: at the end, naming the batches that failed.
            Submitted: at the end, if none failed and some wait for the answers of a batch API.
        """
        keys = list(self.context.partition_keys)
        if len(keys) == 1:
            report = self._timed(keys[0])
            return dg.MaterializeResult(metadata=report.as_metadata(), data_version=_version(report))
        versions, failures, waits = [], {}, dict[str, Submitted]()
        for key in keys:
            try:
                report = self._timed(key)
            except BudgetSpent:
                raise  # the budget is also spent for the other batches
            except Submitted as submitted:
                waits[key] = submitted
                continue
            except (*UNREADABLE, Exception) as error:  # noqa: BLE001 - one batch's fault must not keep the others from running
                interrupts.check()
                failures[key] = explain(error, self.store.root)
                self.context.log.error(f"batch {key}: {failures[key]}")
                continue
            versions.append(_version(report).value)
            self._log_published(key, report)
        if failures:
            raise BatchesFailed("; ".join(f"batch {key}: {reason}" for key, reason in failures.items()))
        if waits:
            raise Submitted("; ".join(f"batch {key}: {wait}" for key, wait in waits.items()))
        # Dagster records one data version for all partitions of a run: docs/decisions.md, "Single-run backfills".
        return dg.MaterializeResult(data_version=dg.DataVersion(digest(*versions, size=32)))

    def _timed(self, key: str) -> Report:
        interrupts.check()
        self._tell(key, 0, None)
        started, cpu = time.perf_counter(), time.process_time()
        with self._locked(key):
            report = self.make(self._batch(key))
        report.result.facts["seconds"] = round(time.perf_counter() - started, 3)
        report.result.facts["cpu_seconds"] = round(time.process_time() - cpu, 3)
        report.texts = persona_texts(self.store, key, report.result.head)
        report.total = self.store.total(self._asset) if self._asset in {*self.store.table_set.sql, *STAGES} else None
        self._tell(key, report.result.rows, report.result.rows, "done")
        return report

    @property
    def _asset(self) -> str:
        name: str = self.context.asset_key.path[-1]
        return name

    def _batch(self, key: str) -> Batch:
        shown = self.context.asset_key.to_user_string()
        watch = self.progress.watcher(key, shown, self.context.log.info)
        return Batch(key, watch, partial(self._tell, key), partial(self._tell, key, 0, None))

    def _tell(self, key: str, done: int, total: int | None, note: str = "") -> None:
        self.progress.tell(Step(key, self._asset, done, total, note))

    def _locked(self, key: str) -> AbstractContextManager[Any]:
        if self.lock is None:
            return nullcontext()
        return self.store.lock(Lock.of(self._asset, key), wait=self.lock == "wait")

    def _log_published(self, key: str, report: Report) -> None:
        metadata = report.as_metadata()
        self.context.add_asset_metadata(metadata, partition_key=key)
        tags = {
            _TAGS["data"]: _version(report).value,
            _TAGS["code"]: self.context.assets_def.code_versions_by_key[self.context.asset_key] or "",
        }
        self.context.log_event(
            dg.AssetMaterialization(self.context.asset_key, partition=key, metadata=metadata, tags=tags)
        )


def _version(report: Report) -> dg.DataVersion:
    return dg.DataVersion(report.result.version)
