"""The benchmark of search: the index of a large hub, and personas that cover it.

    .venv/bin/python benchmarks/search/run.py                     100,000 personas
    .venv/bin/python benchmarks/search/run.py --rows 1000000      takes minutes, 2 GB of memory and 4 GB of disk
    .venv/bin/python benchmarks/search/run.py --home DIR          keeps the home, and goes on with it

Vectors are drawn: groups of unequal size around random centres, 384 numbers, of which a persona's neighbours share few
directions. They are written as the tables of a home, and everything is measured through the code that the commands use.
Recall is the share of the ten nearest, found by comparing with all, that the index finds. Prints JSON as its last line.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine

from personahub_assets.domain.diversity import cover, drawn, spread
from personahub_assets.resources.nearest import Nearest, hub
from personahub_assets.resources.store import Store, table_schema
from personahub_assets.resources.vectors import matrix

MODEL, DIMENSIONS = "drawn", 384
_BATCH, _GROUPS, _QUERIES, _COUNT = 50_000, 20_000, 200, 10

Vectors = Any  # float32 (n, 384)


def drawn_vectors(rows: int) -> Iterator[Vectors]:
    """Unit vectors, a batch at a time."""
    chance = np.random.default_rng(5)
    broad = chance.normal(size=(96, DIMENSIONS)).astype(np.float32)
    centres = chance.normal(size=(_GROUPS, 96)).astype(np.float32) @ broad + 4 * chance.normal(size=DIMENSIONS)
    narrow = chance.normal(size=(64, 32, DIMENSIONS)).astype(np.float32)
    weights = np.arange(1, _GROUPS + 1) ** -0.7
    for begin in range(0, rows, _BATCH):
        group = chance.choice(_GROUPS, min(_BATCH, rows - begin), p=weights / weights.sum())
        found = (centres[group] + 1.5 * chance.normal(size=(len(group), DIMENSIONS))).astype(np.float32)
        inner = 1.1 * chance.normal(size=(len(group), 32)).astype(np.float32)
        for kind in range(64):
            some = np.flatnonzero(group % 64 == kind)
            found[some] += inner[some] @ narrow[kind]
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


def make_home(store: Store, rows: int) -> None:
    for number, vectors in enumerate(drawn_vectors(rows)):
        batch = f"batch-{number:04d}"
        if store.path("personas", batch).exists():
            continue
        ids = [f"p{number:04d}{at:016d}" for at in range(len(vectors))]
        shared = pl.DataFrame({"batch": [batch] * len(ids), "persona_id": ids})
        embedding = pl.Series("embedding", vectors).cast(pl.List(pl.Float32))
        embedded = shared.with_columns(embedding, model=pl.lit(MODEL), text_hash=pl.lit(""))
        store.write("persona_embeddings", batch, embedded)
        absent = [pl.lit(None, kind).alias(name) for name, kind in table_schema("personas").items()]
        people = pl.DataFrame({"persona": [f"Persona {each}" for each in ids]})
        store.write(
            "personas",
            batch,
            shared.with_columns(people["persona"]).with_columns(
                [column for column in absent if column.meta.output_name() not in ("batch", "persona_id", "persona")]
            ),
        )


def timed(work: Any) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), round(time.perf_counter() - started, 3)


def index(store: Store, vectors: Vectors, ids: pl.Series) -> dict[str, Any]:
    chance = np.random.default_rng(1)
    _, made = timed(lambda: Nearest(store, MODEL))
    found, opened = timed(lambda: Nearest(store, MODEL))
    noise = chance.normal(size=(_QUERIES, DIMENSIONS)).astype(np.float32) * 0.02
    queries = vectors[chance.choice(len(vectors), _QUERIES, replace=False)] + noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    answers = [timed(lambda query=query: found.find(query, _COUNT)) for query in queries]
    products = queries @ vectors.T
    truth = np.argpartition(-products, _COUNT, axis=1)[:, :_COUNT]
    hits = [
        len(set(answer["persona_id"]) & set(ids.gather(best))) for (answer, _), best in zip(answers, truth, strict=True)
    ]
    folder = store.root / "cache" / "search"
    return {
        "seconds to make": made,
        "seconds to open": opened,
        "bytes per persona": round(sum(file.stat().st_size for file in folder.rglob("*.npy")) / len(vectors)),
        "ms per query": round(1000 * median(seconds for _, seconds in answers), 2),
        "recall at 10": round(sum(hits) / _COUNT / _QUERIES, 4),
    }


def covering(vectors: Vectors, count: int) -> dict[str, Any]:
    chosen, seconds = timed(lambda: spread(vectors, count))
    chance = cover(vectors, drawn(len(vectors), count))
    return {
        "chosen": count,
        "seconds": seconds,
        "mean, least": (round(chosen.mean, 3), round(chosen.least, 3)),
        "at random": (round(chance.mean, 3), round(chance.least, 3)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--chosen", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=str(arguments.home or folder))
        make_home(store, arguments.rows)
        rows, _ = hub(store, MODEL)
        rows = rows.sort("persona_id")
        vectors = matrix(store, MODEL, rows)
        result: dict[str, Any] = {"machine": machine(), "rows": len(vectors)}
        result["index"] = index(store, vectors, rows["persona_id"])
        print(json.dumps(result["index"]), flush=True)
        result["cover"] = []
        for count in arguments.chosen:
            result["cover"].append(covering(vectors, count))
            print(json.dumps(result["cover"][-1]), flush=True)
    result["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
