"""Measure how much the items of a dataset differ, and how far they follow their personas; store it as tables."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from personahub_assets.embedding.vectors import Vectors, item_vectors, matrix
from personahub_assets.measures import vectors
from personahub_assets.measures.pairs import PairSimilarity, pair_similarity
from personahub_assets.measures.vectors import VectorDiversity
from personahub_assets.measures.words import SIZES, WordDiversity, measure
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.tables import Store, content_version, table_schema

_MOST_ROWS = 4 * max(SIZES)  # texts without words are skipped
_NEIGHBOURS = 4_000  # items that are compared with each other
_PAIRED = 2_000  # items whose pairs are compared with those of their personas


def measure_words(store: Store, dataset: str, batch: str) -> list[WordDiversity]:
    """Measure the published items of a batch at each number of words that they fill, and publish the table.

    The sample are the items with the lowest ids. Ids are hashes, so it depends on neither the order nor the content.
    """
    items = store.read(dataset, batch, columns=["item_id", "text"])
    measured = measure(items.bottom_k(_MOST_ROWS, by="item_id").sort("item_id")["text"])
    rows = [{"batch": batch, "dataset": dataset, **asdict(diversity)} for diversity in measured]
    store.write("word_diversity", batch, pl.DataFrame(rows, table_schema("word_diversity")), dataset)
    return measured


def largest(measured: list[WordDiversity]) -> dict[str, Any]:
    """Facts of the largest number of words; empty without any."""
    if not measured:
        return {}
    facts = _rounded(measured[-1])
    del facts["texts"]
    return {"words_measured": facts.pop("words"), **facts}


def meaning_facts(measured: VectorDiversity | None) -> dict[str, Any]:
    """Facts of the vectors of a dataset; empty without any."""
    return {} if measured is None else _rounded(measured)


def _rounded(measured: WordDiversity | VectorDiversity) -> dict[str, Any]:
    """The figures that are defined, by name."""
    return {name: round(value, 4) for name, value in asdict(measured).items() if value is not None}


# --- by vectors ---


@dataclass(kw_only=True)
class Compared(Result):
    """The similarities of a batch.

    Attributes:
        similarities: by dataset whose items have vectors.
    """

    similarities: dict[str, PairSimilarity]


def measure_meaning(store: Store, dataset: str, batch: str) -> VectorDiversity | None:
    """Measure the vectors of the published items of a batch, and publish the table; None without vectors."""
    rows, every = item_vectors(store, dataset, batch)
    measured, table = None, table_schema("meaning_diversity")
    published = pl.DataFrame(schema=table)
    if rows.height:
        sample = rows.with_row_index("at").sort("item_id").head(_NEIGHBOURS)["at"].to_numpy()
        measured = vectors.measure(every[sample], vendi_of=every)
        values = {"batch": batch, "dataset": dataset, "model": rows["model"][0], "items": rows.height}
        published = pl.DataFrame([{**values, **asdict(measured)}], table)
    store.write("meaning_diversity", batch, published, dataset)
    return measured


def measure_similarity(store: Store, batch: str) -> Compared:
    """Compare the pairs of items of each dataset with the pairs of their personas, and publish the table."""
    similarities, without, frames = dict[str, PairSimilarity](), list[str](), list[pl.DataFrame]()
    for dataset in store.catalog.datasets:
        if dataset in store.catalog.scores or not store.height(dataset, batch):
            continue
        similarity = compare_with_personas(store, dataset, batch)
        if similarity is None:
            without.append(dataset)
            continue
        similarities[dataset] = similarity
        frames.append(_similarity_rows(batch, dataset, similarity))
    rows = pl.concat([pl.DataFrame(schema=table_schema("persona_item_similarity")), *frames])
    store.write("persona_item_similarity", batch, rows)
    pearson = {name: each.pearson for name, each in similarities.items()}
    facts: dict[str, Any] = {
        f"pearson_{name}": round(value, 4) for name, value in pearson.items() if math.isfinite(value)
    }
    facts |= {"datasets_without_vectors": without} if without else {}
    return Compared(rows.head(HEAD_ROWS), rows.height, content_version(rows), facts, similarities=similarities)


def compare_with_personas(store: Store, dataset: str, batch: str, most: int | None = _PAIRED) -> PairSimilarity | None:
    """Compare the pairs of items of a batch with the pairs of their personas; None for fewer than two with vectors.

    Args:
        most: number of items of the sample, those with the lowest ids; None for all.
    """
    rows, items = item_vectors(store, dataset, batch)
    embedded = store.read("persona_embeddings", batch, columns=["persona_id", "model", "embedding"])
    of_personas = embedded.drop_nulls("embedding").select("persona_id", "model")
    paired = rows.with_row_index("at").join(of_personas, on=["persona_id", "model"]).sort("item_id")
    paired = paired.head(paired.height if most is None else most)
    if paired.height < 2:
        return None
    ids = paired.select(batch=pl.lit(batch), persona_id="persona_id").unique(maintain_order=True)
    personas: Vectors = matrix(store, paired["model"][0], ids)
    rows_of = paired.join(ids.with_row_index("row"), on="persona_id", maintain_order="left")["row"].to_numpy()
    return pair_similarity(personas[rows_of], items[paired["at"].to_numpy()])


def _similarity_rows(batch: str, dataset: str, similarity: PairSimilarity) -> pl.DataFrame:
    """The rows of the table: one for each bin, then one for all pairs."""
    bins = {
        "persona_cosine": similarity.lower,
        "pairs": similarity.pairs,
        "item_cosine": similarity.mean,
        "less_alike": similarity.less_alike,
    }
    every = {
        "pairs": similarity.all_pairs,
        "item_cosine": float((similarity.mean * similarity.pairs).sum() / similarity.all_pairs),
        "less_alike": similarity.all_less_alike,
        "pearson": similarity.pearson if math.isfinite(similarity.pearson) else None,
    }
    named = [{"batch": batch, "dataset": dataset, **row} for row in [*pl.DataFrame(bins).iter_rows(named=True), every]]
    return pl.DataFrame(named, table_schema("persona_item_similarity"))
