"""Personas: documents to candidates, candidates to related candidates."""

from typing import Any

import dagster as dg

from personahub_assets.core.config import HubConfig
from personahub_assets.defs.batches import BATCHES, LLM_POOL, OWNERS, Report, locked, over_batches, watcher
from personahub_assets.defs.metadata.usage import report
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.personas import (
    expand_personas,
    infer_text_personas,
    related_personas_task,
    text_personas_task,
)
from personahub_assets.store.tables import Store


def persona_assets(config: HubConfig, model: str) -> list[dg.AssetsDefinition]:
    """The two assets that make candidates, versioned by prompt, schema, sampling, model and settings."""
    text, related = config.text_personas, config.related_personas
    shared: dict[str, Any] = {
        "partitions_def": BATCHES,
        "group_name": "personas",
        "kinds": {"vllm", "parquet"},
        "owners": OWNERS,
        "pool": LLM_POOL,
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }

    @dg.asset(
        **shared,
        deps=["documents"],
        code_version=text_personas_task(config, model).code_version(
            text.per_document, text.granularity, text.max_chars
        ),
    )
    def text_personas(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], llm: dg.ResourceParam[LLM]
    ) -> dg.MaterializeResult:
        """Candidates: who would read, write, like or dislike each document (paper, 2.1), and imported personas."""

        def body(batch: str) -> Report:
            result = infer_text_personas(store, llm, batch, watcher(context, batch))
            return report(store, "text_personas", batch, result)

        return over_batches(context, locked(store, "text_personas", body, wait=False))

    @dg.asset(
        **shared,
        deps=["text_personas"],
        code_version=related_personas_task(config, model).code_version(related.hops, related.fan_out),
    )
    def related_personas(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], llm: dg.ResourceParam[LLM]
    ) -> dg.MaterializeResult:
        """Candidates: who stands in a close relationship to each candidate (paper, 2.1), repeated for each hop."""

        def body(batch: str) -> Report:
            result = expand_personas(store, llm, batch, watcher(context, batch))
            return report(store, "related_personas", batch, result)

        return over_batches(context, locked(store, "related_personas", body, wait=False))

    return [text_personas, related_personas]
