"""Datasets: personas to synthetic data, one asset per line of `domain.records.DATASETS`."""

import dagster as dg
import polars as pl

from personahub_assets.defs.batches import BATCHES, LLM_POOL, OWNERS, Report, over_batches
from personahub_assets.defs.personas import accounting
from personahub_assets.domain.datasets import chosen, items
from personahub_assets.domain.records import DATASETS
from personahub_assets.generation.requests import Task
from personahub_assets.resources import files, progress
from personahub_assets.resources.config import HubConfig
from personahub_assets.resources.llm import LLM
from personahub_assets.resources.store import Store, table_schema


def dataset_task(name: str, config: HubConfig, model: str) -> Task:
    """A dataset's task as its prompt file, its class and hub.toml have it now."""
    settings = config.dataset(name)
    prompt = files.prompt(name).with_settings(settings.parameters, settings.sampling())
    return Task(name, prompt, DATASETS[name], model)


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
        code_version=dataset_task(name, config, model).code_version(settings.samples, settings.share),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def dataset(context: dg.AssetExecutionContext, store: Store, llm: LLM) -> dg.MaterializeResult:
        def body(batch: str) -> Report:
            with store.lock(f"{name}-{batch}", wait=False):
                return _items(name, store, llm, batch, context)

        return over_batches(context, body)

    return dataset


def _items(name: str, store: Store, llm: LLM, batch: str, context: dg.AssetExecutionContext) -> Report:
    settings = store.config.dataset(name)
    personas = chosen(store.read("personas", batch), name, settings.share).select("persona_id", "persona")
    task = dataset_task(name, store.config, llm.model_name if personas.height else "none")
    requests = [
        task.request(persona_id, {"persona": persona}, sample)
        for persona_id, persona in personas.iter_rows()
        for sample in range(settings.samples)
    ]
    answers = llm.answer(store, task, batch, requests, progress.watcher(batch, name, context.log.info))
    found = [
        (request.input_id, request.sample, generation, answer) for request, generation, answer in answers.accepted()
    ]
    frame = pl.DataFrame(items(name, batch, found), table_schema(name))
    llm.publish(store, answers, {name: frame})
    return Report(frame, accounting(answers.tally))
