"""Corpus: source files to documents."""

from personahub_assets.defs.batches import Batch, Report, batch_asset
from personahub_assets.defs.metadata import charts
from personahub_assets.steps.corpus import read_documents
from personahub_assets.store.tables import Store


@batch_asset(group="corpus", kinds={"parquet"}, lock="wait")
def documents(batch: Batch, store: Store) -> Report:
    """Texts to infer personas from, one row per usable row of the batch's source file.

    Rows that cannot be used go to quarantine with file, line and reason; rows that already are personas go straight
    to text_personas; records of web archives that are no pages are counted in skipped.
    """
    result = read_documents(store, batch.key)
    lengths = charts.lengths(store, "documents", batch.key, "text")
    return Report(result, lengths | charts.reasons(store, "documents", batch.key))
