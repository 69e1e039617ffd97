"""Dedup: which candidates stay, each dropped one with the persona it was dropped for.

A stage decides about one batch under its admission lock, reading what other batches keep from the store as state; that
is no dependency in the graph, since a new batch must not make the old ones stale.
"""

from typing import Any

import dagster as dg
import polars as pl

from personahub_assets.defs.batches import BATCHES, OWNERS, Report, over_batches
from personahub_assets.domain.dedup import Hub, Stage, lexical_stage, semantic_stage
from personahub_assets.domain.text import digest
from personahub_assets.resources import progress
from personahub_assets.resources.config import HubConfig
from personahub_assets.resources.embedder import Embedder
from personahub_assets.resources.store import Store, table_schema

_EMBED_CHUNK = 2_048


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
        code_version=digest("1", str(config.lexical.threshold), size=16),
    )
    def lexical_duplicates(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
        """Candidates that share nearly all words with a kept persona of any batch (paper, 2.2.1: MinHash at 0.9)."""

        def body(batch: str) -> Report:
            with store.lock("admission-lexical", wait=True):
                candidates = _candidates(store, batch)
                hub = _lexical_hub(store, batch)
                before = store.read("lexical_decisions", batch)
                stage = lexical_stage(candidates, before, hub, store.config.lexical.threshold)
                return _publish(store, "lexical", batch, stage)

        return over_batches(context, body)

    @dg.asset(
        **shared,
        deps=["text_personas", "related_personas", "lexical_duplicates"],
        kinds={"huggingface", "parquet"},
        code_version=digest("1", embedding_model, size=16),
    )
    def persona_embeddings(context: dg.AssetExecutionContext, store: Store, embedder: Embedder) -> dg.MaterializeResult:
        """Unit vectors of the lexical survivors; a text that this home has embedded before is not embedded again."""

        def body(batch: str) -> Report:
            survivors = _candidates(store, batch).join(_kept(store, "lexical", batch), on="persona_id", how="semi")
            texts = survivors.with_columns(
                text_hash=pl.col("persona").map_elements(lambda text: digest(text), return_dtype=pl.String)
            )
            vectors, made = _vectors(store, embedder, batch, texts)
            rows = (
                texts.join(vectors, on="text_hash", how="left", maintain_order="left")
                .with_columns(batch=pl.lit(batch), model=pl.lit(embedder.name))
                .select(list(table_schema("persona_embeddings")))
            )
            store.write("persona_embeddings", batch, rows)
            return Report.of(rows, {"texts_embedded": made, "model": embedder.name})

        return over_batches(context, body)

    @dg.asset(
        **shared,
        deps=["persona_embeddings"],
        kinds={"numpy", "parquet"},
        code_version=digest("1", str(config.semantic.threshold), size=16),
    )
    def semantic_duplicates(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
        """Lexical survivors that mean nearly the same as a kept persona of any batch (paper, 2.2.1: cosine 0.9)."""

        def body(batch: str) -> Report:
            with store.lock("admission-semantic", wait=True):
                embeddings = store.read("persona_embeddings", batch)
                candidates = embeddings.join(_candidates(store, batch), on="persona_id", maintain_order="left")
                models = embeddings["model"].unique().to_list()
                hub, apart = _semantic_hub(store, batch, models)
                before = store.read("semantic_decisions", batch)
                settings = store.config.semantic
                stage = semantic_stage(candidates, before, hub, settings.threshold, settings.exact_up_to)
                report = _publish(store, "semantic", batch, stage)
            report.metadata["not_comparable"] = apart
            return report

        return over_batches(context, body)

    @dg.asset(
        **shared, deps=["text_personas", "related_personas", "semantic_duplicates"], kinds={"parquet"}, code_version="1"
    )
    def personas(context: dg.AssetExecutionContext, store: Store) -> dg.MaterializeResult:
        """The hub: the batch's candidates that survived both stages."""

        def body(batch: str) -> Report:
            kept = _kept(store, "semantic", batch)
            candidates = pl.concat([store.read(table, batch) for table in ("text_personas", "related_personas")])
            rows = candidates.join(kept, on="persona_id", how="semi", maintain_order="left")
            store.write("personas", batch, rows)
            return Report.of(rows, {"candidates": candidates.height, "kept_share": _share(rows, candidates)})

        return over_batches(context, body)

    return [lexical_duplicates, persona_embeddings, semantic_duplicates, personas]


def _candidates(store: Store, batch: str) -> pl.DataFrame:
    """`(persona_id, persona, hop)` of all candidates of a batch."""
    tables = ("text_personas", "related_personas")
    return pl.concat([store.read(table, batch).select("persona_id", "persona", "hop") for table in tables])


def _kept(store: Store, stage: str, batch: str) -> pl.DataFrame:
    decisions = store.read(f"{stage}_decisions", batch)
    return decisions.filter(pl.col("keeper_id").is_null()).select("persona_id")


def _others(store: Store, stage: str, batch: str) -> tuple[pl.DataFrame, int]:
    """What the other batches keep at a stage, and the number of this run."""
    decisions = store.read_all(f"{stage}_decisions")
    # Polars' max of an empty column is null.
    admission = int(decisions["admission"].max() or 0) + 1  # type: ignore[arg-type]
    kept = decisions.filter(pl.col("keeper_id").is_null() & (pl.col("batch") != batch))
    return kept.select("persona_id", "admission"), admission


def _lexical_hub(store: Store, batch: str) -> Hub:
    kept, admission = _others(store, "lexical", batch)
    columns = ["persona_id", "persona", "hop"]
    texts = pl.concat([store.read_all(table, columns) for table in ("text_personas", "related_personas")])
    return Hub(kept.join(texts, on="persona_id"), admission)


def _semantic_hub(store: Store, batch: str, models: list[str]) -> tuple[Hub, int]:
    """The kept personas of other batches with vectors of the same model, and how many have another model's."""
    kept, admission = _others(store, "semantic", batch)
    columns = ["persona_id", "model", "embedding"]
    vectors = kept.join(store.read_all("persona_embeddings", columns), on="persona_id")
    same = vectors.filter(pl.col("model").is_in(models))
    hops = pl.concat([store.read_all(table, ["persona_id", "hop"]) for table in ("text_personas", "related_personas")])
    return Hub(same.join(hops, on="persona_id"), admission), vectors.height - same.height


def _publish(store: Store, stage: str, batch: str, result: Stage) -> Report:
    """Write the decisions, which are the state, then the dropped ones, which are the asset's rows."""
    decisions = result.decisions.with_columns(batch=pl.lit(batch))
    dropped = decisions.filter(pl.col("keeper_id").is_not_null())
    store.write(f"{stage}_decisions", batch, decisions)
    store.write(f"{stage}_duplicates", batch, dropped)
    rows = dropped.select(list(table_schema(f"{stage}_duplicates")))
    return Report.of(
        rows,
        {
            "candidates": decisions.height,
            "kept": decisions.height - dropped.height,
            "dropped_share": _share(dropped, decisions),
            "method": result.method,
            "recall_on_sample": round(result.recall, 5),
        },
    )


def _vectors(store: Store, embedder: Embedder, batch: str, texts: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """`(text_hash, embedding)` for every text, and how many had to be made."""
    columns = ["model", "text_hash", "embedding"]
    known = (
        store.read_all("persona_embeddings", columns)
        .filter(pl.col("model") == embedder.name)
        .join(texts, on="text_hash", how="semi")
        .unique("text_hash")
        .select("text_hash", "embedding")
    )
    missing = texts.unique("text_hash", maintain_order=True).join(
        known, on="text_hash", how="anti", maintain_order="left"
    )
    parts = [known]
    for start in range(0, missing.height, _EMBED_CHUNK):
        part = missing.slice(start, _EMBED_CHUNK)
        progress.tell(progress.Step(batch, "persona_embeddings", start, missing.height))
        vectors = embedder.embed(part["persona"].to_list())
        made = pl.Series("embedding", vectors.tolist(), dtype=pl.List(pl.Float32))
        parts.append(pl.DataFrame({"text_hash": part["text_hash"], "embedding": made}))
    return pl.concat(parts), missing.height


def _share(part: pl.DataFrame, whole: pl.DataFrame) -> float:
    return round(part.height / whole.height, 4) if whole.height else 0.0
