"""Warehouse: everything in one DuckDB file."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from personahub_assets.defs.assets import hub_asset
from personahub_assets.defs.metadata.charts import novelty_of_batches, tables
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.build import build


@hub_asset(group="warehouse", deps=["documents", "personas"], kinds={"duckdb"})
def warehouse(context: dg.AssetExecutionContext, store: Store) -> Iterator[dg.MaterializeResult[Any]]:  # noqa: ARG001
    """warehouse.duckdb: tables, views and comments over the store, published by rename.

    Tables up to warehouse.native_rows rows are copied in; larger ones and the calls are views over the store.
    """
    built = build(store)
    counts = [dg.TableRecord({"table": name, "rows": count}) for name, count in built.rows.items()]
    yield dg.MaterializeResult(
        metadata={
            "tables": dg.MetadataValue.table(records=counts),
            "rows": sum(built.rows.values()),
            "copied_in": ", ".join(built.native),
            "rebuilt": built.rebuilt,
            "bytes": store.paths.warehouse.stat().st_size,
            "seconds": built.seconds,
            **tables(store, built.rows),
            **novelty_of_batches(built.novelty),
            "open_with": dg.MetadataValue.md("`personahub browse`, `personahub sql`"),
        },
    )
