"""Personas: documents to candidates, candidates to related candidates."""

from personahub_assets.defs.batches import LLM_POOL, Batch, Report, batch_asset
from personahub_assets.defs.metadata.usage import report
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.personas import expand_personas, infer_text_personas
from personahub_assets.store.tables import Store


@batch_asset(group="personas", deps=["documents"], kinds={"llm", "parquet"}, lock="refuse", pool=LLM_POOL)
def text_personas(batch: Batch, store: Store, llm: LLM) -> Report:
    """Candidates: who would read, write, like or dislike each document (paper, 2.1), and imported personas."""
    return report(store, "text_personas", batch.key, infer_text_personas(store, llm, batch.key, batch.watch))


@batch_asset(group="personas", deps=["text_personas"], kinds={"llm", "parquet"}, lock="refuse", pool=LLM_POOL)
def related_personas(batch: Batch, store: Store, llm: LLM, embedder: Embedder) -> Report:
    """Candidates: who stands in a close relationship to each candidate (paper, 2.1), repeated for each hop."""
    expanded = expand_personas(store, llm, batch.key, batch.watch, embedder, batch.tell)
    return report(store, "related_personas", batch.key, expanded)
