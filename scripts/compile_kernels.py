"""Compile the kernels of dedup, so that the first run does not wait for it: `make install` calls this.

It decides about random personas of two batches at both stages in a temporary home. Numba keeps the compiled kernels in
the project's folder. Methods other than the default ones compile theirs when they are first used.
"""

import random
import tempfile

import numpy as np
import polars as pl

from personahub_assets.steps.dedup import find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.store.tables import Store, table_schema

_MODEL = "random"
_WORDS = ["a", "nurse", "pilot", "cook", "who", "sails", "paints", "repairs", "old", "small", "boats"]
_PERSONAS, _DIMENSIONS = 40, 384


def main() -> None:
    """Run both stages for two batches."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=folder)
        for batch in ("a", "b"):
            _write(store, batch)
            find_lexical_duplicates(store, batch)
            find_semantic_duplicates(store, batch, _MODEL)


def _write(store: Store, batch: str) -> None:
    chance = random.Random(batch)
    ids = [f"{batch}{n}" for n in range(_PERSONAS)]
    texts = [" ".join(chance.choices(_WORDS, k=9)) for _ in ids]
    vectors = np.random.default_rng(len(ids)).normal(size=(len(ids), _DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    personas = pl.DataFrame({"persona_id": ids, "persona": texts, "hop": 0, "batch": batch})
    rows = [(batch, id_, _MODEL, id_, vector, 0.0, "") for id_, vector in zip(ids, vectors.tolist(), strict=True)]
    store.write("text_personas", batch, _complete(personas, "text_personas"))
    store.write("persona_embeddings", batch, pl.DataFrame(rows, table_schema("persona_embeddings"), orient="row"))


def _complete(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """Rows with all columns of a table."""
    absent = [pl.lit("").alias(name) for name in table_schema(table) if name not in rows.columns]
    return rows.with_columns(absent)


if __name__ == "__main__":
    main()
