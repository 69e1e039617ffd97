"""Dedup: which candidates stay, each dropped one with the persona it was dropped for.

A stage decides about one batch under its admission lock, reading what other batches keep from the store as state; that
is no dependency in the graph, since a new batch must not make the old ones stale.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from personahub_assets.core.config import HubConfig
from personahub_assets.core.text import digest
from personahub_assets.defs.batches import BATCHES, OWNERS, Report, locked, over_batches
from personahub_assets.defs.metadata import charts
from personahub_assets.defs.metadata.drops import explained
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.instance import progress
from personahub_assets.steps.dedup import collect_personas, find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.steps.embeddings import embed_personas
from personahub_assets.store.tables import Store

if TYPE_CHECKING:
    pass


def dedup_assets(config: HubConfig, embedding_model: str) -> list[dg.AssetsDefinition]:
    """The four dedup assets, versioned by thresholds and embedding model."""
    shared: dict[str, Any] = {
        "partitions_def": BATCHES,
        "group_name": "dedup",
        "owners": OWNERS,
        "backfill_policy": dg.BackfillPolicy.single_run(),
    }

    @dg.asset(
        **shared,
        deps=["text_personas", "related_personas"],
        kinds={"polars", "parquet"},
        code_version=digest("2", config.lexical.rule, size=16),
    )
    def lexical_duplicates(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Candidates that share nearly all words with a kept persona of any batch (paper, 2.2.1: MinHash at 0.9)."""

        def body(batch: str) -> Report:
            decided = find_lexical_duplicates(store, batch)
            return Report(decided, explained(decided.hub, decided.made, batch))

        return over_batches(context, body)

    @dg.asset(
        **shared,
        deps=["text_personas", "related_personas", "lexical_duplicates"],
        kinds={"huggingface", "parquet"},
        code_version=digest("2", embedding_model, size=16),
    )
    def persona_embeddings(
        context: dg.AssetExecutionContext, store: dg.ResourceParam[Store], embedder: dg.ResourceParam[Embedder]
    ) -> dg.MaterializeResult:
        """Unit vectors of the lexical survivors, those of before included; no text is embedded twice."""

        def body(batch: str) -> Report:
            asset = "persona_embeddings"
            embedded = embed_personas(
                store, embedder, batch, lambda done, total: progress.tell(progress.Step(batch, asset, done, total))
            )
            return Report(embedded, charts.neighbours(embedded.vectors))

        return over_batches(context, locked(store, "persona_embeddings", body))

    @dg.asset(
        **shared,
        deps=["lexical_duplicates", "persona_embeddings"],
        kinds={"numpy", "parquet"},
        code_version=digest("3", str(config.semantic.threshold), str(config.semantic.max_unread), size=16),
    )
    def semantic_duplicates(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Lexical survivors that mean nearly the same as a kept persona of any batch (paper, 2.2.1: cosine 0.9)."""

        def body(batch: str) -> Report:
            decided = find_semantic_duplicates(store, batch, embedding_model)
            return Report(decided, explained(decided.hub, decided.made, batch))

        return over_batches(context, body)

    @dg.asset(
        **shared, deps=["text_personas", "related_personas", "semantic_duplicates"], kinds={"parquet"}, code_version="1"
    )
    def personas(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """The hub: the batch's candidates that survived both stages."""

        def body(batch: str) -> Report:
            result = collect_personas(store, batch)
            pictures = charts.kept(result.candidates, result.personas)
            return Report(result, pictures | charts.lengths(store, "personas", batch, "persona"))

        return over_batches(context, locked(store, "personas", body))

    return [lexical_duplicates, persona_embeddings, semantic_duplicates, personas]
