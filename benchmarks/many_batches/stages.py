"""CPU seconds of the parts of a run for one new batch, in homes with more and more small batches.

    python benchmarks/many_batches/stages.py [--batches 10,100,1000] [--rows 20] [--new 1000]

The homes are written through the store, with the decisions and vectors that their runs would have made; then the stages
decide about a new batch. Each figure is the least of three new batches.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.dedup.records import Personas
from personahub_assets.steps.dedup import collect_personas, find_lexical_duplicates, find_semantic_duplicates
from personahub_assets.store.tables import Store, table_schema

MODEL, DIMENSIONS = "benchmark", 384
_WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "u", "an", "er") for c in "dgklmnrst"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="10,100,1000")
    parser.add_argument("--rows", type=int, default=20, help="personas of each old batch")
    parser.add_argument("--new", type=int, default=1000, help="personas of a new batch")
    options = parser.parse_args()
    counts = [int(count) for count in options.batches.split(",")]
    figures = {count: _measure(count, options.rows, options.new) for count in counts}
    print(f"| stage | {' | '.join(f'{count:,} batches' for count in counts)} | ratio |")
    print(f"|---|{'---:|' * (len(counts) + 1)}")
    for stage in figures[counts[0]]:
        row = [figures[count][stage] for count in counts]
        print(f"| {stage} | {' | '.join(f'{cpu:.2f} s' for cpu in row)} | {row[-1] / row[0]:.2f} |")


def _measure(batches: int, rows: int, new: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=folder)
        for number in range(batches):
            write_batch(store, f"old-{number:06d}", rows, number + 1)
        best: dict[str, float] = {}
        for number in range(4):
            batch = f"new-{number}"
            write_batch(store, batch, 40 if number == 0 else new, None)
            steps: dict[str, Callable[[], object]] = {
                "lexical": lambda batch=batch: find_lexical_duplicates(store, batch),  # type: ignore[misc]
                "semantic": lambda batch=batch: find_semantic_duplicates(store, batch, MODEL),  # type: ignore[misc]
                "personas": lambda batch=batch: collect_personas(store, batch),  # type: ignore[misc]
            }
            for name, step in steps.items():
                began = time.process_time()
                step()
                spent = time.process_time() - began
                if number:  # the first builds the segments, and compiles
                    best[name] = min(best.get(name, spent), spent)
        return best


def write_batch(store: Store, batch: str, rows: int, admission: int | None) -> None:
    """Write a batch of personas that are like no others, with decisions if it has an admission."""
    chance = random.Random(batch)
    texts = [" ".join(chance.choices(_WORDS, k=14)) for _ in range(rows)]
    ids = sorted("p" + digest(batch, text) for text in texts)
    now = datetime.now(UTC).replace(tzinfo=None)
    put = _Writer(store, batch, rows)
    put("batches", {"source": f"{batch}.jsonl", "rows": rows, "registered_at": now}, one=True)
    roots = {"persona_id": ids, "persona": texts, "origin": "imported", "hop": 0, "root_id": ids}
    put("text_personas", roots)
    vectors = np.random.default_rng(chance.getrandbits(32)).normal(size=(rows, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    put("persona_embeddings", {"persona_id": ids, "model": MODEL, "text_hash": ids, "embedding": vectors,
                               "unread": 0.0, "unread_hash": ""})  # fmt: skip
    if admission is None:
        return
    put("personas", roots)
    records = Personas(store)
    for stage, rule in (("lexical", records.lexical.rule), ("semantic", records.semantic.rule(MODEL))):
        asset = f"{stage}_duplicates"
        put("decisions", {"persona_id": ids, "stage": stage, "admission": admission}, asset)
        run = {"stage": stage, "rule": rule, "method": "exact", "recall": 1.0, "candidates": rows, "kept": rows}
        put("dedup_runs", run, asset, one=True)


class _Writer:
    def __init__(self, store: Store, batch: str, rows: int) -> None:
        self._store, self._batch, self._rows = store, batch, rows

    def __call__(self, table: str, values: dict[str, object], asset: str | None = None, *, one: bool = False) -> None:
        schema = table_schema(table)
        columns = {name: values.get(name) for name in schema} | {"batch": self._batch}
        height = 1 if one else self._rows
        frame = pl.DataFrame({
            name: pl.Series(name, value if isinstance(value, list | np.ndarray) else [value] * height)
            for name, value in columns.items()
        }, schema_overrides={name: kind for name, kind in schema.items() if name != "embedding"})  # fmt: skip
        path = self._store.path(table, self._batch, asset)
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.select(pl.col(name).cast(kind) for name, kind in schema.items()).write_parquet(path)


if __name__ == "__main__":
    main()
