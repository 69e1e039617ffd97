"""Dedup: which candidates stay, each dropped one with the persona it was dropped for.

A stage decides about one batch under its admission lock, reading what other batches keep from the store as state; that
is no dependency in the graph, since a new batch must not make the old ones stale.
"""

from personahub_assets.defs.batches import Batch, Report, batch_asset
from personahub_assets.defs.metadata import charts
from personahub_assets.defs.metadata.drops import explained
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.steps.dedup import (
    collect_personas,
    compile_note,
    find_lexical_duplicates,
    find_semantic_duplicates,
)
from personahub_assets.steps.embeddings import embed_personas
from personahub_assets.store.tables import Store


@batch_asset(group="dedup", deps=["text_personas", "related_personas"], kinds={"polars", "parquet"}, lock=None)
def lexical_duplicates(batch: Batch, store: Store) -> Report:
    """Candidates that share nearly all words with a kept persona of any batch (paper, 2.2.1: MinHash at 0.9)."""
    batch.note(compile_note("lexical"))
    decided = find_lexical_duplicates(store, batch.key)
    return Report(decided, explained(decided.hub, decided.others, decided.made, batch.key))


@batch_asset(
    group="dedup",
    deps=["text_personas", "related_personas", "lexical_duplicates"],
    kinds={"embedder", "parquet"},
    lock="wait",
)
def persona_embeddings(batch: Batch, store: Store, embedder: Embedder) -> Report:
    """Unit vectors of the lexical survivors, those of before included; no text is embedded twice."""
    embedded = embed_personas(store, embedder, batch.key, batch.tell)
    return Report(embedded, charts.neighbours(embedded.vectors))


@batch_asset(group="dedup", deps=["lexical_duplicates", "persona_embeddings"], kinds={"numpy", "parquet"}, lock=None)
def semantic_duplicates(batch: Batch, store: Store, embedder: Embedder) -> Report:
    """Lexical survivors that mean nearly the same as a kept persona of any batch (paper, 2.2.1: cosine 0.9)."""
    batch.note(compile_note("semantic"))
    decided = find_semantic_duplicates(store, batch.key, embedder.name)
    return Report(decided, explained(decided.hub, decided.others, decided.made, batch.key))


@batch_asset(
    group="dedup", deps=["text_personas", "related_personas", "semantic_duplicates"], kinds={"parquet"}, lock="wait"
)
def personas(batch: Batch, store: Store) -> Report:
    """The hub: the batch's candidates that survived both stages."""
    result = collect_personas(store, batch.key)
    novel = charts.novelty(result.facts.get("new_per_1000_calls", {}))
    pictures = charts.kept(result.candidates, result.personas) | novel
    return Report(result, pictures | charts.lengths(store, "personas", batch.key, "persona"))
