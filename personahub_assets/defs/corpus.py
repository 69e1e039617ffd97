"""Corpus: source files to documents."""

import dagster as dg

from personahub_assets.core.config import HubConfig
from personahub_assets.core.text import digest
from personahub_assets.defs.batches import BATCHES, OWNERS, Report, locked, over_batches
from personahub_assets.defs.metadata import charts
from personahub_assets.steps.corpus import read_documents
from personahub_assets.store.tables import Store


def documents_asset(config: HubConfig) -> dg.AssetsDefinition:
    """The asset that reads source files, versioned by what it lets in."""

    @dg.asset(
        partitions_def=BATCHES,
        group_name="corpus",
        kinds={"parquet"},
        owners=OWNERS,
        code_version=digest("3", config.sources.gates),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def documents(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Texts to infer personas from, one row per usable row of the batch's source file.

        Rows that cannot be used go to quarantine with file, line and reason; rows that already are personas go straight
        to text_personas; records of web archives that are no pages are counted in skipped.
        """

        def body(batch: str) -> Report:
            return Report(
                read_documents(store, batch),
                charts.lengths(store, "documents", batch, "text") | charts.reasons(store, "documents", batch),
            )

        return over_batches(context, locked(store, "documents", body))

    return documents
