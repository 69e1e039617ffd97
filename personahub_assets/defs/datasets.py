"""Datasets: personas to synthetic data, one asset per line of `core.records.DATASETS`."""

import dagster as dg

from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import DATASETS
from personahub_assets.defs.batches import BATCHES, LLM_POOL, OWNERS, Report, locked, over_batches, watcher
from personahub_assets.defs.metadata.usage import report
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.datasets import dataset_task, version, write_items
from personahub_assets.store.tables import Store


def dataset_assets(config: HubConfig, model: str) -> list[dg.AssetsDefinition]:
    """All dataset assets."""
    return [_dataset_asset(name, config, model) for name in DATASETS]


def _dataset_asset(name: str, config: HubConfig, model: str) -> dg.AssetsDefinition:
    settings = config.dataset(name)

    @dg.asset(
        name=name,
        deps=["personas"],
        partitions_def=BATCHES,
        group_name="datasets",
        kinds={"vllm", "parquet"},
        owners=OWNERS,
        pool=LLM_POOL,
        description=DATASETS[name].__doc__,
        code_version=dataset_task(name, config, model).code_version(*version(settings)),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def dataset(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], llm: dg.ResourceParam[LLM]
    ) -> dg.MaterializeResult:
        def body(batch: str) -> Report:
            return report(store, name, batch, write_items(name, store, llm, batch, watcher(context, batch)))

        return over_batches(context, locked(store, name, body, wait=False))

    return dataset
