"""Measures of the datasets that need several of them, or the personas."""

from personahub_assets.defs.batches import Batch, Report, batch_asset
from personahub_assets.defs.metadata import charts
from personahub_assets.steps.diversity import measure_similarity
from personahub_assets.store.tables import Store


@batch_asset(group="datasets", deps=["persona_embeddings"], kinds={"numpy", "parquet"}, lock="wait")
def persona_item_similarity(batch: Batch, store: Store) -> Report:
    """How alike two items are, by how alike their personas are (paper, figure 10), for each dataset with vectors."""
    result = measure_similarity(store, batch.key)
    return Report(result, charts.item_similarity(result.similarities))
