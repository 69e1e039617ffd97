"""Corpus: source files to documents."""

from dataclasses import asdict

import dagster as dg
import polars as pl

from personahub_assets.defs import pictured
from personahub_assets.defs.batches import BATCHES, OWNERS, Report, over_batches
from personahub_assets.domain.sources import Document, Fault, Imported
from personahub_assets.resources.inbox import source_rows
from personahub_assets.resources.store import Store, table_schema


@dg.asset(
    partitions_def=BATCHES,
    group_name="corpus",
    kinds={"parquet"},
    owners=OWNERS,
    code_version="1",
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def documents(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
    """Texts to infer personas from, one row per usable row of the batch's source file.

    Rows that cannot be used go to quarantine with file, line and reason; rows that already are personas go straight to
    text_personas.
    """

    def body(batch: str) -> Report:
        rows = source_rows(store, batch)
        texts = [{"batch": batch, **asdict(row)} for row in rows if isinstance(row, Document)]
        faults = [row for row in rows if isinstance(row, Fault)]
        frame = pl.DataFrame(texts, {**table_schema("documents"), "replaced": pl.Int64})
        store.write("documents", batch, frame)
        store.write(
            "quarantine", batch, _quarantine(batch, store.read("batches", batch)["source"][0], faults), "documents"
        )
        return Report.of(
            frame.drop("replaced"),
            {
                "imported_personas": sum(isinstance(row, Imported) for row in rows),
                "quarantined": len(faults),
                "characters_replaced": sum(row.replaced for row in rows if not isinstance(row, Fault)),
                **pictured.lengths(store, "documents", batch, "text"),
                **pictured.reasons(store, "documents", batch),
            },
        )

    return over_batches(context, body)


def _quarantine(batch: str, source: str, faults: list[Fault]) -> pl.DataFrame:
    rows = [(batch, "documents", fault.place, fault.reason, f"{source}, {fault.detail}", fault.raw) for fault in faults]
    return pl.DataFrame(rows, table_schema("quarantine"), orient="row")
