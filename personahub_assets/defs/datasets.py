"""Datasets: personas to synthetic data, one asset per line of `core.records.DATASETS`."""

from personahub_assets.core.records import DATASETS
from personahub_assets.defs.assets import Asset
from personahub_assets.defs.batches import LLM_POOL, Batch, Report, batch_asset
from personahub_assets.defs.metadata.usage import report
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.datasets import write_items
from personahub_assets.store.tables import Store


def _dataset(name: str) -> Asset:
    @batch_asset(
        name=name,
        description=DATASETS[name].__doc__,
        group="datasets",
        deps=["personas"],
        kinds={"vllm", "parquet"},
        lock="refuse",
        pool=LLM_POOL,
    )
    def dataset(batch: Batch, store: Store, llm: LLM) -> Report:
        return report(store, name, batch.key, write_items(name, store, llm, batch.key, batch.watch))

    return dataset


datasets = [_dataset(name) for name in DATASETS]
