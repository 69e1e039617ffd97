"""Batches: the partitions, how a body runs over those of its step, and the sensor that finds new source files."""

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from personahub_assets.core import interrupts
from personahub_assets.core.errors import BatchesFailed, BudgetSpent, PersonaHubError
from personahub_assets.core.text import digest, plain
from personahub_assets.defs.naming import Names
from personahub_assets.instance import progress
from personahub_assets.instance.faults import explain
from personahub_assets.instance.instance import PARTITIONS
from personahub_assets.sources.register import register, waiting
from personahub_assets.store.tables import UNREADABLE, Store, content_version

BATCHES = dg.DynamicPartitionsDefinition(name=PARTITIONS)
OWNERS = ["team:personahub"]
REFRESH, REBUILD = "refresh_batch", "rebuild_warehouse"
LLM_POOL = "llm"

_SAMPLE_ROWS = 5
_ID_CHARS = 120
_UNTOLD = frozenset({"batch", "embedding", "generation_id", "parent_id", "root_id"})  # vectors, and ids of elsewhere
_IDS = ("item_id", "persona_id", "document_id")
_TAGS = {"code": "dagster/code_version", "data": "dagster/data_version"}


@dataclass
class Report:
    """What a body says about one batch: the first rows, how many there are, and a hash of what they say."""

    head: pl.DataFrame
    rows: int
    version: str
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pl.DataFrame, metadata: dict[str, Any] | None = None) -> "Report":
        """Report on rows that are in memory."""
        return cls(rows.head(_SAMPLE_ROWS), rows.height, content_version(rows), metadata or {})

    def as_metadata(self) -> dict[str, Any]:
        """Row count, how to ask about the first row, what the body adds, and last, since it is tall, a sample."""
        return {"dagster/row_count": self.rows, **asked_next(self.head), **self.metadata, "sample": sample(self.head)}


def sample(rows: pl.DataFrame) -> dg.MetadataValue[Any]:
    """Show the first rows as a table: plain text, long values cut; what tells nothing here is left out."""
    some = rows.head(_SAMPLE_ROWS)
    shown = some.drop([column.name for column in some if column.name in _UNTOLD or column.is_null().all()])
    if some.is_empty():
        return dg.MetadataValue.text("no rows")
    records = [
        dg.TableRecord({name: plain(str(value)) if value is not None else "" for name, value in row.items()})
        for row in shown.iter_rows(named=True)
    ]
    return dg.MetadataValue.table(records=records)


def asked_next(rows: pl.DataFrame) -> dict[str, Any]:
    """The command that says where a row came from, to be pasted into a shell."""
    name = next((name for name in _IDS if name in rows.columns), None)
    # Ids of documents are the source's: one with escapes or line breaks is nothing to paste.
    ids = [key for key in rows[name] if key.isprintable() and len(key) <= _ID_CHARS] if name else []
    return {"why": dg.MetadataValue.text(f"personahub why {shlex.quote(ids[0])}")} if ids else {}


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


def exclusively(store: Store, asset: str, body: Callable[[str], Report]) -> Callable[[str], Report]:
    """Let a body work on a batch only while nobody else does, such as a takedown."""

    def alone(batch: str) -> Report:
        with store.lock(f"{asset}-{batch}", wait=True):
            return body(batch)

    return alone


def _timed(context: dg.AssetExecutionContext, body: Callable[[str], Report], key: str) -> Report:
    asset = context.asset_key.path[-1]
    interrupts.check()
    progress.tell(progress.Step(key, asset, 0, None))
    started, cpu = time.perf_counter(), time.process_time()
    report = body(key)
    report.metadata["seconds"] = round(time.perf_counter() - started, 3)
    report.metadata["cpu_seconds"] = round(time.process_time() - cpu, 3)
    progress.tell(progress.Step(key, asset, report.rows, report.rows, "done"))
    return report


def _version(report: Report) -> dg.DataVersion:
    return dg.DataVersion(report.version)


def _log_published(context: dg.AssetExecutionContext, key: str, report: Report) -> None:
    metadata = report.as_metadata()
    context.add_asset_metadata(metadata, partition_key=key)
    tags = {
        _TAGS["data"]: _version(report).value,
        _TAGS["code"]: context.assets_def.code_versions_by_key[context.asset_key] or "",
    }
    context.log_event(dg.AssetMaterialization(context.asset_key, partition=key, metadata=metadata, tags=tags))


def inbox_sensor(job: UnresolvedAssetJobDefinition, names: Names) -> dg.SensorDefinition:
    """Register complete source files of the inbox as batches and request one run per batch."""

    @dg.sensor(
        name=names.name("inbox"),
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Registers new files in the home's inbox and requests a run of each of their batches. Stopped "
        "until you start it: a run may spend money. A file is complete when its size is the same at two looks.",
    )
    @names.function
    def inbox(context: dg.SensorEvaluationContext, store: dg.ResourceParam[Store]) -> dg.SensorResult | dg.SkipReason:
        seen: dict[str, list[int]] = json.loads(context.cursor or "{}")
        new = waiting(store)
        marks = {path.name: mark for path, mark in new.items()}
        ready = [path for path in new if seen.get(path.name) == marks[path.name]]
        context.update_cursor(json.dumps(marks))
        keys, failures = [], []
        for path in ready:
            try:
                keys += register(store, str(path))
            except PersonaHubError as error:
                failures.append(f"{path.name}: {error}")
        if failures:
            context.log.error("; ".join(failures))
        if not keys:
            return dg.SkipReason(
                "; ".join(failures) or f"{len(new)} new files in {store.root / 'inbox'}, none complete yet"
            )
        specs = {key: store.read("batches", key).row(0, named=True) for key in keys}
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{key}:{spec['sha256'][:16]}", partition_key=key) for key, spec in specs.items()
            ],
            dynamic_partitions_requests=[names.batches.build_add_request(keys)],
        )

    return inbox
