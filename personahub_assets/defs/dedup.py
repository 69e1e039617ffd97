"""Dedup: which candidates stay, each dropped one with the persona it was dropped for.

A stage decides about one batch under its admission lock, reading what other batches keep from the store as state; that
is no dependency in the graph, since a new batch must not make the old ones stale.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl

from personahub_assets.core.config import HubConfig
from personahub_assets.core.text import digest
from personahub_assets.defs.batches import BATCHES, OWNERS, Report, exclusively, over_batches
from personahub_assets.defs.metadata import charts
from personahub_assets.defs.metadata.drops import explained
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG
from personahub_assets.embedding.vectors import VectorJournal, vector_frame
from personahub_assets.instance import progress
from personahub_assets.store.tables import Store, content_version, read_file, table_schema

if TYPE_CHECKING:
    from personahub_assets.dedup.state import Hub, LexicalSearch, SemanticSearch

_READINGS = {"text_hash": pl.String(), "unread": pl.Float64(), "unread_hash": pl.String()}
_NO_PLACES = pl.DataFrame(schema={"persona_id": pl.String, "place": pl.Int64})


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

        from personahub_assets.dedup.state import LexicalHub

        def body(batch: str) -> Report:
            with store.lock("admission-lexical", wait=True):
                hub = LexicalHub(store)
                rows = hub.rows(batch, lambda key: store.candidates(key, ["persona_id", "hop", "persona"]))
                return _decided(hub, hub.search(rows, batch), rows, batch)

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
            texts = with_hashes(to_embed(store, batch, embedder.name), embedder)
            journal = VectorJournal(store.root / "journal" / "persona_embeddings" / batch, embedder.name)
            vectors, made = _vectors(store, embedder, journal, batch, texts)
            rows = (
                _with_readings(store, embedder, texts)
                .join(vectors, on="text_hash", how="left", maintain_order="left")
                .with_columns(batch=pl.lit(batch), model=pl.lit(embedder.name))
                .select(list(table_schema("persona_embeddings")))
            )
            store.write("persona_embeddings", batch, rows)
            journal.drop()
            about = {"texts_embedded": made, "model": embedder.name, **_unread(rows, config.semantic.max_unread)}
            return Report.of(rows, about | charts.neighbours(rows["embedding"]))

        return over_batches(context, exclusively(store, "persona_embeddings", body))

    @dg.asset(
        **shared,
        deps=["lexical_duplicates", "persona_embeddings"],
        kinds={"numpy", "parquet"},
        code_version=digest("3", str(config.semantic.threshold), str(config.semantic.max_unread), size=16),
    )
    def semantic_duplicates(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """Lexical survivors that mean nearly the same as a kept persona of any batch (paper, 2.2.1: cosine 0.9)."""

        from personahub_assets.dedup.state import SemanticHub

        def body(batch: str) -> Report:
            with store.lock("admission-semantic", wait=True):
                models = store.read("persona_embeddings", batch, columns=["model"])["model"]
                hub = SemanticHub(store, str(models[0]) if len(models) else embedding_model)
                rows = hub.rows(batch, hub.reach)
                report = _decided(hub, hub.search(rows, batch), rows, batch)
            report.metadata["batches_of_other_models"] = len(hub.apart)
            report.metadata["not_read"] = hub.marks(batch).filter(~pl.col("is_read")).height
            return report

        return over_batches(context, body)

    @dg.asset(
        **shared, deps=["text_personas", "related_personas", "semantic_duplicates"], kinds={"parquet"}, code_version="1"
    )
    def personas(context: dg.AssetExecutionContext, store: dg.ResourceParam[Store]) -> dg.MaterializeResult:
        """The hub: the batch's candidates that survived both stages."""

        def body(batch: str) -> Report:
            candidates = store.candidates(batch)
            rows = candidates.join(kept(store, "semantic", batch), on="persona_id", how="semi", maintain_order="left")
            store.write("personas", batch, rows)
            said = {"candidates": candidates.height, "kept_share": _share(rows, candidates)}
            pictures = charts.kept(candidates, rows) | charts.lengths(store, "personas", batch, "persona")
            return Report.of(rows, said | pictures)

        return over_batches(context, exclusively(store, "personas", body))

    return [lexical_duplicates, persona_embeddings, semantic_duplicates, personas]


def kept(store: Store, stage: str, batch: str) -> pl.DataFrame:
    """`(persona_id)` of what a batch keeps at a stage."""
    decisions = store.read(f"{stage}_decisions", batch, columns=["persona_id", "keeper_id"])
    return decisions.filter(pl.col("keeper_id").is_null()).select("persona_id")


def _decided(hub: "Hub", search: "LexicalSearch | SemanticSearch", rows: pl.DataFrame, batch: str) -> Report:
    """Decide about the rows, write the decisions, which are the state, then the dropped ones: the asset's rows."""
    from personahub_assets.dedup.keepers import admit

    others = pl.concat([_NO_PLACES, *(hub.kept(other) for other in hub.others(batch))])
    made = admit(rows, others, hub.next_admission, search.decide, replay=hub.outdated, elsewhere=hub.elsewhere)
    decisions = hub.publish(batch, made, search.how)
    how = hub.how(batch)
    dropped = decisions.filter(pl.col("keeper_id").is_not_null()).select(list(table_schema(hub.asset)))
    hub.store.write(hub.asset, batch, dropped)
    report = Report.of(
        dropped,
        {
            "candidates": decisions.height,
            "kept": decisions.height - dropped.height,
            "dropped_share": _share(dropped, decisions),
            "method": how.method,
            "rule": hub.rule,
            "decided_again": made.height - decisions.height,
            "recall_on_sample": how.recall,
            **explained(hub, made, batch),
        },
    )
    # Who is kept matters to what follows, not only who is dropped.
    report.version = content_version(decisions)
    return report


def to_embed(store: Store, batch: str, model: str) -> pl.DataFrame:
    """`(persona_id, persona)` of the lexical survivors, and of candidates that have a vector already.

    Those may survive again, under a higher threshold: their vectors are paid.
    """
    candidates = store.candidates(batch, ["persona_id", "persona"])
    embedded = store.read("persona_embeddings", batch, columns=["persona_id", "model"])
    wanted = pl.concat([kept(store, "lexical", batch), embedded.filter(pl.col("model") == model).select("persona_id")])
    return candidates.join(wanted.unique(), on="persona_id", how="semi", maintain_order="left")


def with_hashes(texts: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Add `text_hash`, by which vectors are found again."""
    return texts.with_columns(pl.Series("text_hash", embedder.hashes(texts["persona"].to_list()), pl.String))


def _with_readings(store: Store, embedder: Embedder, texts: pl.DataFrame) -> pl.DataFrame:
    """Add `unread` and `unread_hash`; those of texts that any batch has are taken over."""
    columns = ["text_hash", "unread", "unread_hash"]
    known = [rows.filter(pl.col("unread").is_not_null()) for rows in _published(store, embedder.name, texts, columns)]
    found = pl.concat([pl.DataFrame(schema=_READINGS), *known]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(found, on="text_hash", how="anti")
    read = pl.DataFrame(embedder.readings(missing["persona"].to_list()), list(_READINGS)[1:], orient="row")
    made = missing.select("text_hash").hstack(read.cast(dict(list(_READINGS.items())[1:])))
    return texts.join(pl.concat([found, made]), on="text_hash", how="left", maintain_order="left")


def _unread(rows: pl.DataFrame, limit: float) -> dict[str, Any]:
    """Say how many personas are compared by their words only, and what helps."""
    unread = rows.filter(pl.col("unread") > limit).height
    counts: dict[str, Any] = {
        "not_read": unread,
        "longer_than_the_model_reads": int(rows["unread_hash"].str.starts_with(LONG).sum()),
    }
    return counts | ({"remedy": f"{unread} personas are not read by the model: {REMEDY}"} if unread else {})


def _vectors(
    store: Store, embedder: Embedder, journal: VectorJournal, batch: str, texts: pl.DataFrame
) -> tuple[pl.DataFrame, int]:
    """`(text_hash, embedding)` for every text, and how many had to be made."""
    columns = ["text_hash", "embedding"]
    known = [*_published(store, embedder.name, texts, columns), journal.known(texts["text_hash"])]
    found = pl.concat([vector_frame([], np.empty((0, 0), np.float32)), *known]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(found, on="text_hash", how="anti")
    parts, done = [found], 0
    for positions, vectors in embedder.stream(missing["persona"].to_list()):
        hashes = missing["text_hash"][positions].to_list()
        journal.add(hashes, vectors)
        parts.append(vector_frame(hashes, vectors))
        done += len(positions)
        progress.tell(progress.Step(batch, "persona_embeddings", done, missing.height))
    return pl.concat(parts), missing.height


def _published(store: Store, model: str, texts: pl.DataFrame, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of texts that any batch has vectors for; they are read only where there are some."""
    for path in store.files("persona_embeddings"):
        hashes = read_file(path, "persona_embeddings", ["model", "text_hash"]).filter(pl.col("model") == model)
        if hashes.join(texts, on="text_hash", how="semi").height:
            rows = read_file(path, "persona_embeddings", ["model", *columns])
            of_model = rows.filter(pl.col("model") == model).select(columns)
            yield of_model.join(texts, on="text_hash", how="semi")


def _share(part: pl.DataFrame, whole: pl.DataFrame) -> float:
    return round(part.height / whole.height, 4) if whole.height else 0.0
