"""personahub: the lexical join of the asset, from Parquet to who stays; Dagster's run around it is left out."""

from functools import partial
from time import perf_counter
from typing import get_args

import numpy as np
import polars as pl
from task import PERMUTATIONS, Outcome, Task, run

from personahub_assets.dedup.lexical import decide
from personahub_assets.dedup.signatures import Method, SignatureScheme, plan


def deduplicate(task: Task, method: Method) -> Outcome:
    """Plan and walk all rows as one batch with nothing kept before it."""
    texts = pl.read_parquet(task.source, columns=["persona"])["persona"]
    task.in_memory = perf_counter()
    count = len(texts)
    chosen = plan(SignatureScheme(task.threshold, method, 1, PERMUTATIONS), texts, count)
    decided = decide(texts, np.arange(count), np.ones(count, np.bool_), [], chosen)
    return Outcome(rows=np.flatnonzero(decided.stays).tolist(), facts=partial(_candidates, chosen, texts))


def load() -> None:
    """Load the compiled kernels, as the imports of other tools load theirs; compiled where there is no cache."""
    texts = pl.Series(["a nurse", "a nurse who paints", "a nurse who paints é"])
    for method in get_args(Method):
        chosen = plan(SignatureScheme(0.9, method, 1, 128), texts, 3)
        decide(texts, np.arange(3), np.ones(3, np.bool_), [], chosen)


def _candidates(chosen: SignatureScheme, texts: pl.Series) -> dict[str, float | bool]:
    """Pairs of rows with a common signature, per row: an upper bound, since only kept rows are compared with."""
    first, found = chosen.signatures(chosen.sets(texts))
    _, counts = np.unique(found, return_counts=True)
    rows = len(texts)
    return {"candidates": float((counts * (counts - 1) / 2).sum() / rows), "signatures": float(first[-1] / rows)}


if __name__ == "__main__":
    load()
    run(partial(deduplicate, method="exact"), "numba", threshold=True)
