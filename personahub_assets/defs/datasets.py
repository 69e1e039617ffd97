"""Datasets: personas, or items of another dataset, to synthetic data; one asset per dataset of the home's catalog."""

import inspect
from collections.abc import Callable

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.defs.assets import Asset
from personahub_assets.defs.batches import LLM_POOL, Batch, Report, batch_asset
from personahub_assets.defs.metadata.drops import with_drops
from personahub_assets.defs.metadata.usage import report
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import write_items
from personahub_assets.steps.dedup import find_item_duplicates
from personahub_assets.steps.dialogues import write_dialogues
from personahub_assets.steps.instructions import write_instruction_answers
from personahub_assets.steps.scores import write_scores
from personahub_assets.steps.solutions import write_solutions
from personahub_assets.steps.tools import write_implementations
from personahub_assets.store.tables import Store

_STEPS: dict[str, Callable[..., Asked]] = {
    "math_solutions": write_solutions,
    "reasoning_solutions": write_solutions,
    "tool_implementations": write_implementations,
    "instruction_answers": write_instruction_answers,
    DIALOGUES: write_dialogues,
}
"""Steps of datasets whose rows are not simply the answers."""
_ALSO_READ = {"tool_implementations": ["tool_tests"]}
"""Assets that a step reads besides the source of its dataset."""


def datasets(catalog: Catalog) -> list[Asset]:
    """Make an asset for each dataset; for an invalid file, the description and a run show the error."""
    steps = _STEPS | dict.fromkeys(catalog.scores, write_scores)
    return [
        _dataset(
            name,
            _description(catalog, name),
            _source(catalog, name),
            steps.get(name, write_items),
            group="judges" if name in catalog.scores else "datasets",
        )
        for name in catalog.names
    ]


def _source(catalog: Catalog, name: str) -> str:
    """The asset that a dataset is made from."""
    derivation = catalog.derivation(name)
    return derivation.source if derivation else "personas"


def _description(catalog: Catalog, name: str) -> str:
    try:
        return inspect.getdoc(catalog.item(name)) or name
    except PersonaHubError as error:
        return f"Cannot be made: {error}"


def _dataset(name: str, description: str, source: str, step: Callable[..., Asked], group: str) -> Asset:
    @batch_asset(
        name=name,
        description=description,
        group=group,
        deps=[source, *_ALSO_READ.get(name, ())],
        kinds={"llm", "parquet"},
        lock="refuse",
        pool=LLM_POOL,
    )
    def dataset(batch: Batch, store: Store, llm: LLM, embedder: Embedder) -> Report:
        generated = step(name, store, llm, batch.key, batch.watch, embedder=embedder)
        decided = find_item_duplicates(store, name, embedder, batch.key, batch.tell)
        return with_drops(report(store, name, batch.key, generated), decided, batch.key)

    return dataset
