"""Personas: documents to candidates, candidates to related candidates."""

from typing import Any

import dagster as dg
import polars as pl

from personahub_assets.defs.batches import BATCHES, LLM_POOL, OWNERS, Report, over_batches
from personahub_assets.domain import personas as rules
from personahub_assets.domain.records import RelatedPersonas, TextPersonas
from personahub_assets.domain.sources import Imported
from personahub_assets.domain.text import cut
from personahub_assets.generation.requests import Tally, Task
from personahub_assets.resources import files, progress
from personahub_assets.resources.config import HubConfig
from personahub_assets.resources.inbox import source_rows
from personahub_assets.resources.llm import LLM
from personahub_assets.resources.store import Store, table_schema

_GRANULARITY = {
    "coarse": "Make all of them coarse.",
    "fine": "Make all of them fine.",
    "both": "Mix both kinds.",
}


def text_personas_task(config: HubConfig, model: str) -> Task:
    """Text-to-persona as the prompt file and hub.toml have it now."""
    settings = config.text_personas
    prompt = files.prompt("text_personas").with_settings(settings.parameters, settings.sampling())
    return Task("text_personas", prompt, TextPersonas, model)


def related_personas_task(config: HubConfig, model: str) -> Task:
    """Persona-to-persona as the prompt file and hub.toml have it now."""
    settings = config.related_personas
    prompt = files.prompt("related_personas").with_settings(settings.parameters, settings.sampling())
    return Task("related_personas", prompt, RelatedPersonas, model)


def accounting(tally: Tally) -> dict[str, Any]:
    """Metadata about calls and tokens."""
    made = tally.done - tally.reused
    return {
        "calls": tally.calls,
        "answers_reused": tally.reused,
        "quarantined": tally.rejected,
        "prompt_tokens": tally.prompt_tokens,
        "completion_tokens": tally.completion_tokens,
        "wasted_tokens": tally.wasted_tokens,
        "rows_per_second": round(made / tally.seconds, 1) if tally.seconds else 0.0,
        "tokens_per_second": round(tally.completion_tokens / tally.seconds, 1) if tally.seconds else 0.0,
    } | ({"quarantine_reasons": dict(tally.reasons)} if tally.reasons else {})


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
    def text_personas(context: dg.AssetExecutionContext, store: Store, llm: LLM) -> dg.MaterializeResult:
        """Candidates: who would read, write, like or dislike each document (paper, 2.1), and imported personas."""

        def body(batch: str) -> Report:
            with store.lock(f"text_personas-{batch}", wait=False):
                return _text_personas(store, llm, batch, context)

        return over_batches(context, body)

    @dg.asset(
        **shared,
        deps=["text_personas"],
        code_version=related_personas_task(config, model).code_version(related.hops, related.fan_out),
    )
    def related_personas(context: dg.AssetExecutionContext, store: Store, llm: LLM) -> dg.MaterializeResult:
        """Candidates: who stands in a close relationship to each candidate (paper, 2.1), repeated for each hop."""

        def body(batch: str) -> Report:
            with store.lock(f"related_personas-{batch}", wait=False):
                return _related_personas(store, llm, batch, context)

        return over_batches(context, body)

    return [text_personas, related_personas]


def _text_personas(store: Store, llm: LLM, batch: str, context: dg.AssetExecutionContext) -> Report:
    settings = store.config.text_personas
    ready = [row.persona for row in source_rows(store, batch) if isinstance(row, Imported)]
    documents = store.read("documents", batch).select("document_id", "text")
    task = text_personas_task(store.config, llm.model_name if documents.height else "none")
    shared: dict[str, str | int] = {"count": settings.per_document, "granularity": _GRANULARITY[settings.granularity]}
    requests = [
        task.request(document_id, {"text": cut(text, settings.max_chars)}, 0, **shared)
        for document_id, text in documents.iter_rows()
    ]
    watch = progress.watcher(batch, task.asset, context.log.info)
    answers = llm.answer(store, task, batch, requests, watch)
    found = [(request.input_id, generation, answer) for request, generation, answer in answers.accepted()]
    rows = rules.imported(batch, ready) + rules.from_text(batch, found, settings.per_document)
    frame = pl.DataFrame(rows, table_schema("text_personas"))
    llm.publish(store, answers, {"text_personas": frame})
    return Report(frame, {"imported": len(ready), **accounting(answers.tally)})


def _related_personas(store: Store, llm: LLM, batch: str, context: dg.AssetExecutionContext) -> Report:
    settings = store.config.related_personas
    roots = store.read("text_personas", batch)
    task = related_personas_task(store.config, llm.model_name if roots.height and settings.hops else "none")
    watch = progress.watcher(batch, task.asset, context.log.info)
    expanded = set(store.read("related_personas", batch)["parent_id"].drop_nulls().to_list())
    schema = table_schema("related_personas")
    answers = llm.answer(store, task, batch, [], watch)
    hops, last, seen = [pl.DataFrame(schema=schema)], roots, set[frozenset[str]]()
    for _ in range(settings.hops):
        parents = {row["persona_id"]: row for row in rules.frontier(last, seen, expanded)}
        requests = [
            task.request(persona_id, {"persona": row["persona"]}, count=settings.fan_out)
            for persona_id, row in parents.items()
        ]
        step = llm.answer(store, task, batch, requests, watch)
        found = [(parents[request.input_id], generation, answer) for request, generation, answer in step.accepted()]
        last = pl.DataFrame(rules.from_relations(batch, found, settings.fan_out), schema)
        hops.append(last)
        answers = answers + step
    frame = pl.concat(hops)
    llm.publish(store, answers, {"related_personas": frame})
    return Report(
        frame, {"rows_per_hop": {str(h): f.height for h, f in enumerate(hops) if h}, **accounting(answers.tally)}
    )
