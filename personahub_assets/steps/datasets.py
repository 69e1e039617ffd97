"""Convert personas to synthetic data: select a dataset's personas, make its requests, and build its rows."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import polars as pl

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import DatasetTask, HubConfig
from personahub_assets.core.records import DatasetItem
from personahub_assets.core.text import digest
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task
from personahub_assets.generation.servers.dialect import Dialect
from personahub_assets.search import selections
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.diversity import largest, measure_words
from personahub_assets.store.tables import Store

_SCALE = 1 << 32


def chosen(personas: pl.DataFrame, dataset: str, share: float, among: pl.Series | None = None) -> pl.DataFrame:
    """Choose a share of the personas by a hash: the same ones at every refresh, different ones for each dataset.

    Args:
        among: choose only from these ids.
    """
    if among is not None:
        personas = personas.filter(personas["persona_id"].is_in(among.implode()))
    if share >= 1:
        return personas
    hashes = [int(digest(dataset, persona_id, size=8), 16) for persona_id in personas["persona_id"]]
    return personas.filter(pl.Series(hashes, dtype=pl.Int64) < int(share * _SCALE))


def items(dataset: str, batch: str, answers: Iterable[tuple[str, int, str, DatasetItem]]) -> list[dict[str, Any]]:
    """Rows of a dataset from `(persona id, sample, generation id, answer)`."""
    return [
        {
            "batch": batch,
            "item_id": "i" + digest(dataset, persona_id, sample),
            "persona_id": persona_id,
            "sample": sample,
            **answer.model_dump(),
            "text": answer.as_text(),
            "generation_id": generation_id,
        }
        for persona_id, sample, generation_id, answer in answers
    ]


def dataset_task(name: str, catalog: Catalog, config: HubConfig, model: str) -> Task:
    """A dataset's task from its current prompt file, class and hub.toml.

    Raises:
        PromptError, ConfigError: if there is no such dataset, or one of its files is invalid.
    """
    item = catalog.item(name)
    settings = config.dataset(name)
    prompt = catalog.prompt(name).with_settings(settings.parameters, settings.sampling())
    return Task(name, prompt, item, model, Dialect.of(config.generation))


def item_requests(store: Store, task: Task, batch: str) -> Iterator[Request]:
    """The requests of a dataset for a batch: the configured samples for each chosen persona."""
    samples = store.config.dataset(task.asset).samples
    for rows in asked_personas(store, task.asset, batch):
        yield from persona_requests(task, rows.iter_rows(), samples)


def persona_requests(task: Task, personas: Iterable[tuple[str, str]], samples: int = 1) -> Iterator[Request]:
    """The requests of a dataset about personas `(id, text)`."""
    # The samples of one persona are adjacent: their prompts have the same prefix, for the server's prefix cache.
    for persona_id, persona in personas:
        for sample in range(samples):
            yield task.request(persona_id, {"persona": persona}, sample)


def asked_personas(store: Store, name: str, batch: str) -> Iterator[pl.DataFrame]:
    """`(persona_id, persona)` of the personas that a dataset uses, in slices."""
    settings = store.config.dataset(name)
    among = selections.chosen(store, settings.personas_from, batch)
    for rows in store.slices("personas", batch, ["persona_id", "persona"]):
        yield chosen(rows, name, settings.share, among)


def leaving_rows(store: Store, name: str, batches: Iterable[str]) -> tuple[int, int]:
    """Count the rows that a run removes from a dataset's table, because their personas are not selected; and all rows.

    Raises:
        ConfigError: if the selection of the dataset cannot be used.
    """
    leaving = total = 0
    for batch in batches:
        rows = store.read(name, batch, columns=["persona_id"])["persona_id"]
        ids = [personas["persona_id"] for personas in asked_personas(store, name, batch)]
        kept = pl.concat(ids) if ids else pl.Series(dtype=pl.String)
        leaving += len(rows) - int(rows.is_in(kept.implode()).sum())
        total += len(rows)
    return leaving, total


def version(settings: DatasetTask) -> list[int | float | str]:
    """The settings of a dataset, besides the prompt, that can change its rows; a selection by its ids."""
    selected = [selections.fingerprint(settings.personas_from)] if settings.personas_from else []
    return [settings.samples, settings.share, *selected]


def write_items(name: str, store: Store, llm: LLM, batch: str, watch: Watch) -> Asked:
    """Generate the items of a dataset for each of its personas in a batch, and publish them.

    Raises:
        LLMError: if there is no model, or it fails for all requests.
        BudgetSpent: if the budget is spent; the received answers are kept for the next run.
        SelectionError: if the selected personas cannot be found.
    """
    settings = store.config.dataset(name)
    total = sum(rows.height for rows in asked_personas(store, name, batch)) * settings.samples
    task = dataset_task(name, store.catalog, store.config, llm.model_for(store) if total else "none")
    with llm.answers(store, task, batch, watch) as answers:
        for accepted in answers.request_all(partial(item_requests, store, task, batch), total):
            parsed = [
                (request.input_id, request.sample, generation, answer) for request, generation, answer in accepted
            ]
            answers.write(name, items(name, batch, parsed))
        answers.publish(name)
    facts: dict[str, Any] = {"personas_from": settings.personas_from} if settings.personas_from else {}
    return Asked.of(answers, **facts, **largest(measure_words(store, name, batch)))
