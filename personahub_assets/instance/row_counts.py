"""Row counts in the UI after rows were removed outside of a run.

The UI shows the row count of an asset's latest materialisation, and prefers it to that of an observation. So a removal
is reported as a materialisation without a run. It has the tags of the one before it (code version, data version,
versions of the inputs): nothing becomes stale, and no run is due. Its metadata says why it exists.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from personahub_assets.instance.instance import PARTITIONS
from personahub_assets.store.tables import STAGES, Store

_TOTAL, _OF_PARTITION = "dagster/row_count", "dagster/partition_row_count"


def report_rows(instance: dg.DagsterInstance, store: Store, takedown_id: str) -> int:
    """Report the row counts of all assets and batches that differ from those that the UI shows.

    Args:
        instance: of the home; no run is active.
        store: the tables of the home.
        takedown_id: the takedown that removed the rows, for the metadata.

    Returns:
        The number of reported materialisations.
    """
    batches = sorted(set(instance.get_dynamic_partitions(PARTITIONS)) & set(store.batches()))
    tables = {*store.table_set.sql, *STAGES}
    events = [
        event
        for key in instance.all_asset_keys()
        if key.path[-1] in tables
        for event in _outdated(instance, store, key, batches, takedown_id)
    ]
    events += _of_warehouse(instance, store, takedown_id)
    for event in events:
        instance.report_runless_asset_event(event)
    return len(events)


def _outdated(
    instance: dg.DagsterInstance, store: Store, key: dg.AssetKey, batches: list[str], takedown_id: str
) -> Iterator[dg.AssetMaterialization]:
    """Materialisations of one asset that report the current counts."""
    name = key.path[-1]
    by_batch = {batch: last for batch in batches if (last := _latest(instance, key, batch))}
    differing = [
        batch
        for batch, last in by_batch.items()
        if _number(last, _OF_PARTITION) not in (None, store.partition_total(name, batch))
    ]
    shown = instance.get_latest_materialization_event(key)
    latest = shown.asset_materialization if shown else None
    total = store.total(name)
    if not differing and latest is not None and _number(latest, _TOTAL) not in (None, total):
        # The rows were in a batch that is gone: any other batch can report the total.
        differing = list(by_batch)[-1:]
    for batch in differing:
        counts = {_OF_PARTITION: store.partition_total(name, batch), _TOTAL: total}
        yield _reported(key, batch, counts, by_batch[batch], takedown_id)


def _of_warehouse(instance: dg.DagsterInstance, store: Store, takedown_id: str) -> Iterator[dg.AssetMaterialization]:
    """The counts of all tables, if the latest materialisation of the warehouse has other ones."""
    for key in instance.all_asset_keys():
        shown = instance.get_latest_materialization_event(key) if key.path[-1] == "warehouse" else None
        latest = shown.asset_materialization if shown else None
        counts = {name: store.total(name) for name in store.table_set.sql} if latest else {}
        if latest and _number(latest, "rows") != sum(counts.values()):
            records = [dg.TableRecord({"table": name, "rows": count}) for name, count in counts.items()]
            metadata = {"tables": dg.MetadataValue.table(records=records), "rows": sum(counts.values())}
            yield _reported(key, None, metadata, latest, takedown_id)


def _reported(
    key: dg.AssetKey,
    batch: str | None,
    metadata: dict[str, Any],
    before: dg.AssetMaterialization,
    takedown_id: str,
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        key,
        description=f"Row counts after the takedown {takedown_id}; nothing was computed.",
        partition=batch,
        metadata={"after_a_takedown": f"takedown_id {takedown_id}: see the table takedowns", **metadata},
        tags=before.tags,
    )


def _latest(instance: dg.DagsterInstance, key: dg.AssetKey, batch: str) -> dg.AssetMaterialization | None:
    fetched = instance.fetch_materializations(dg.AssetRecordsFilter(key, asset_partitions=[batch]), limit=1)
    return fetched.records[0].asset_materialization if fetched.records else None


def _number(event: dg.AssetMaterialization, label: str) -> Any:
    value = event.metadata.get(label)
    return value.value if value is not None else None
