"""Description and metadata of an asset before its materialisation: stage, columns, prompt, and the kind of server."""

from typing import Any

import dagster as dg

from personahub_assets.core import presets
from personahub_assets.core.addresses import split_addresses
from personahub_assets.core.config import STANDIN_URL, HubConfig
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.roles import WRITER
from personahub_assets.defs.metadata.markup import paragraphs
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.tasks import current_tasks
from personahub_assets.store.tables import DROPPED, STAGES, Store

LLM_KIND, EMBEDDER_KIND = "llm", "embedder"
"""Kinds in the code of assets, replaced by the kind of the server."""

_STAGES = {
    "corpus": "reads the source file of a batch. It asks no model.",
    "personas": "asks the language model once for each document or persona. Accepted answers are kept; rejected ones "
    "are in the table quarantine with their reason.",
    "dedup": "compares the candidates of a batch with the kept personas of all batches. It asks no language model.",
    "datasets": "asks the language model once for each persona and sample. Accepted answers are kept; rejected ones "
    "are in the table quarantine with their reason. Items that nearly repeat a kept one of any batch stay in the "
    "table, and leave the view _unique of the dataset and releases.",
    "verification": "compares the answers of several solvers. It asks the judge about pairs that no rule decides, if "
    "verification.judge is set.",
    "judges": "asks the judge about each item of a dataset, by its rubric: scores from 1 to 5 with their reasons.",
    "warehouse": "puts all tables into one DuckDB file, which personahub sql reads.",
    "releases": "freezes personas and datasets in a folder, under a name that is given in the launchpad.",
}
"""The work of each group, in the order of the graph."""


def described(spec: dg.AssetSpec, store: Store, llm: LLM, embedder: Embedder) -> dg.AssetSpec:
    """Add the stage, the columns, the prompt and the kind of server of an asset.

    Args:
        spec: of an asset, with or without prefixes.
        store: the tables of the home.
        llm: the language model.
        embedder: the embedder.
    """
    name = spec.key.path[-1]
    stated = {LLM_KIND: llm_kind(llm, store.config), EMBEDDER_KIND: _embedder_kind(embedder)}
    return spec.replace_attributes(
        description=f"{spec.description}\n\n{_stage(spec.group_name or '')}",
        kinds={stated.get(kind, kind) for kind in spec.kinds},
        metadata={**spec.metadata, **_columns(name, store), **_prompt(name, store, llm)},
    )


def llm_kind(llm: LLM, config: HubConfig) -> str:
    """Name the kind of server from its address and `[generation] server`, without a request."""
    if not llm.url:
        return LLM_KIND
    if llm.url == STANDIN_URL:
        return "standin"
    return config.generation.server or presets.for_address(split_addresses(llm.url)[0]) or "openai-compatible"


def _embedder_kind(embedder: Embedder) -> str:
    return (presets.for_address(split_addresses(embedder.url)[0]) or "openai-compatible") if embedder.url else "onnx"


def _stage(group: str) -> str:
    stages = list(_STAGES)
    name = next((stage for stage in stages if group.endswith(stage)), None)
    # Plain text: the list of assets shows descriptions without formatting.
    return f"Stage {stages.index(name) + 1} of {len(stages)}, {name}: {_STAGES[name]}" if name else ""


def _columns(name: str, store: Store) -> dict[str, Any]:
    """The columns of a table with their SQL types and meanings."""
    table = "decisions" if name in STAGES else name
    if table not in store.table_set.sql:
        return {}
    comments, kinds = store.table_set.column_comments(table), store.table_set.types(table)
    names = DROPPED if name in STAGES else kinds
    columns = [dg.TableColumn(column, _short(kinds[column]), comments.get(column)) for column in names]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def _short(kind: str) -> str:
    """A type without the fields of a STRUCT, which would leave no room for the column's meaning."""
    inside = kind.partition("(")[2].rpartition(")")[0]
    return kind.replace(inside, "…", 1) if inside else kind


def _prompt(name: str, store: Store, llm: LLM) -> dict[str, Any]:
    if name not in store.catalog.tasks:
        return {}
    try:
        task = current_tasks(store.catalog, store.config, name, llm.configured(store.config, ""))[0]
    except PersonaHubError as error:  # the error of a single asset; the others still load
        return {"prompt": str(error)}
    sampling = ", ".join(f"{option} {value}" for option, value in task.prompt.sampling.model_dump().items())
    model = ({"model": task.model} if task.model else {}) | ({"role": task.role} if task.role != WRITER else {})
    return {"prompt": dg.MetadataValue.md(prompt_markdown(task.prompt)), "sampling": sampling, **model}


def prompt_markdown(prompt: Prompt) -> str:
    """Show both messages of a prompt as in its file."""
    return f"**System message**\n\n{paragraphs(prompt.instructions)}\n\n**User message**\n\n{paragraphs(prompt.row)}"
