"""Measure how much the items of a dataset differ, and store it as a table."""

from dataclasses import asdict
from typing import Any

import polars as pl

from personahub_assets.measures.words import SIZES, WordDiversity, measure
from personahub_assets.store.tables import Store, table_schema

_MOST_ROWS = 4 * max(SIZES)  # texts without words are skipped


def measure_words(store: Store, dataset: str, batch: str) -> list[WordDiversity]:
    """Measure the published items of a batch at each number of words that they fill, and publish the table.

    The sample are the items with the lowest ids. Ids are hashes, so it depends on neither the order nor the content.
    """
    items = store.read(dataset, batch, columns=["item_id", "text"])
    measured = measure(items.bottom_k(_MOST_ROWS, by="item_id").sort("item_id")["text"])
    rows = [{"batch": batch, "asset": dataset, **asdict(diversity)} for diversity in measured]
    store.write("word_diversity", batch, pl.DataFrame(rows, table_schema("word_diversity")), dataset)
    return measured


def largest(measured: list[WordDiversity]) -> dict[str, Any]:
    """Facts of the largest number of words; empty without any."""
    if not measured:
        return {}
    last = measured[-1]
    facts = {
        "distinct_1": last.distinct_1,
        "distinct_2": last.distinct_2,
        "compression_ratio": last.compression_ratio,
        "self_repetition": last.self_repetition,
    }
    defined = {name: round(value, 4) for name, value in facts.items() if value is not None}
    return {"words_measured": last.words, **defined}
