"""Datasets: personas to synthetic data, one asset per line of `core.records.DATASETS`."""

from collections.abc import Iterator
from functools import partial

import dagster as dg
import polars as pl

from personahub_assets.core import project_files
from personahub_assets.core.config import DatasetTask, HubConfig
from personahub_assets.core.records import DATASETS
from personahub_assets.defs.batches import BATCHES, LLM_POOL, OWNERS, Report, over_batches
from personahub_assets.defs.metadata.usage import report
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task
from personahub_assets.instance import progress
from personahub_assets.search import selections
from personahub_assets.steps.datasets import chosen, items
from personahub_assets.store.tables import Store


def dataset_task(name: str, config: HubConfig, model: str) -> Task:
    """A dataset's task as its prompt file, its class and hub.toml have it now."""
    settings = config.dataset(name)
    prompt = project_files.prompt(name).with_settings(settings.parameters, settings.sampling())
    return Task(name, prompt, DATASETS[name], model)


def item_requests(store: Store, task: Task, batch: str) -> Iterator[Request]:
    """What a dataset asks for a batch: so many samples for each of the chosen personas."""
    samples = store.config.dataset(task.asset).samples
    # The samples of one persona side by side: their prompts begin alike, which the server's prefix cache uses.
    for rows in asked_personas(store, task.asset, batch):
        for persona_id, persona in rows.iter_rows():
            for sample in range(samples):
                yield task.request(persona_id, {"persona": persona}, sample)


def asked_personas(store: Store, name: str, batch: str) -> Iterator[pl.DataFrame]:
    """`(persona_id, persona)` of the personas that a dataset uses, in slices."""
    settings = store.config.dataset(name)
    among = selections.chosen(store, settings.personas_from, batch)
    for rows in store.slices("personas", batch, ["persona_id", "persona"]):
        yield chosen(rows, name, settings.share, among)


def version(settings: DatasetTask) -> list[int | float | str]:
    """What of a dataset's settings can change its rows, beside the prompt; a selection by what it names."""
    selected = [selections.fingerprint(settings.personas_from)] if settings.personas_from else []
    return [settings.samples, settings.share, *selected]


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
            with store.lock(f"{name}-{batch}", wait=False):
                return _items(name, store, llm, batch, context)

        return over_batches(context, body)

    return dataset


def _items(name: str, store: Store, llm: LLM, batch: str, context: dg.AssetExecutionContext) -> Report:
    settings = store.config.dataset(name)
    total = sum(rows.height for rows in asked_personas(store, name, batch)) * settings.samples
    task = dataset_task(name, store.config, llm.model_for(store) if total else "none")
    with llm.answers(store, task, batch, progress.watcher(batch, name, context.log.info)) as answers:
        for accepted in answers.of(partial(item_requests, store, task, batch), total):
            found = [(request.input_id, request.sample, generation, answer) for request, generation, answer in accepted]
            answers.write(name, items(name, batch, found))
        answers.publish(name)
    return report(answers, **({"personas_from": settings.personas_from} if settings.personas_from else {}))
