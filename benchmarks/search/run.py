"""The benchmark of search: the index of a large hub, and a choice of personas that covers it.

    .venv/bin/python benchmarks/search/run.py                     1,000,000 personas: 7 GB of memory, 4 GB of disk
    .venv/bin/python benchmarks/search/run.py --rows 50000 --no-docs
    .venv/bin/python benchmarks/search/run.py --home DIR          keeps the home, and reuses it

The vectors are random: groups of unequal size around random centres, with 384 numbers; neighbours differ in few
directions. They are written as the tables of a home, and measured through the code of the commands. Recall is the share
of the exact ten nearest that the index finds. Results go into
docs/benchmarks.md.
"""

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import DOCS, machine, table, write

from personahub_assets.embedding.embedder import LOCAL_DIMENSIONS, LOCAL_MODEL
from personahub_assets.embedding.vectors import matrix
from personahub_assets.search.diversity import cover, draw, spread
from personahub_assets.search.nearest import Nearest, hub
from personahub_assets.store.tables import Store, table_schema

MODEL, DIMENSIONS = LOCAL_MODEL, LOCAL_DIMENSIONS  # so that the command uses these vectors
_COMMAND = Path(sys.executable).with_name("personahub")
_SAID = "A nurse who teaches parents of premature babies"
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
        read = {"unread": pl.lit(0.0), "unread_hash": pl.lit("")}
        embedded = shared.with_columns(embedding, model=pl.lit(MODEL), text_hash=pl.lit(""), **read)
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
    folder = store.paths.search_index(MODEL)
    return {
        "made_s": made,
        "opened_s": opened,
        "bytes": round(sum(file.stat().st_size for file in folder.rglob("*.npy")) / len(vectors)),
        "query_ms": round(1000 * median(seconds for _, seconds in answers), 2),
        "slowest_ms": round(1000 * max(seconds for _, seconds in answers), 1),
        "command_s": round(median(timed(lambda: command(store))[1] for _ in range(5)), 2),
        "recall": round(sum(hits) / _COUNT / _QUERIES, 4),
    }


def command(store: Store) -> None:
    """Run `personahub search`."""
    environment = os.environ | {"PERSONAHUB_HOME": str(store.root)}
    subprocess.run([_COMMAND, "search", _SAID], env=environment, check=True, capture_output=True)


def covering(vectors: Vectors, count: int) -> dict[str, Any]:
    """Mean and minimum similarity of a persona to the nearest chosen one."""
    chosen, seconds = timed(lambda: spread(vectors, count))
    chance = cover(vectors, draw(len(vectors), count))
    return {
        "chosen": count,
        "seconds": seconds,
        "mean": round(chosen.mean, 3),
        "least": round(chosen.least, 3),
        "mean_at_random": round(chance.mean, 3),
        "least_at_random": round(chance.least, 3),
    }


def measure(store: Store, rows: int, chosen: list[int]) -> dict[str, Any]:
    make_home(store, rows)
    found, _ = hub(store, MODEL)
    found = found.sort("persona_id")
    vectors = matrix(store, MODEL, found)
    result: dict[str, Any] = {"rows": len(vectors), "index": index(store, vectors, found["persona_id"]), "cover": []}
    print(json.dumps(result["index"]), flush=True)
    for count in chosen:
        result["cover"].append(covering(vectors, count))
        print(json.dumps(result["cover"][-1]), flush=True)
    return result | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def rendered(found: dict[str, Any], seconds: float) -> str:
    """The tables."""
    of, about = machine(), found["index"]
    command = shlex.join(["python", "benchmarks/search/run.py", *sys.argv[1:]])
    head = (
        f"Run on {datetime.now(UTC).date()} with `{command}`, "
        f"in {seconds / 60:.0f} min: {of['cores']} cores of {of['cpu']}, Python {of['python']}, {of['system']}."
    )
    facts = [
        ["making the index", f"{about['made_s']:.0f} s"],
        ["opening it", f"{about['opened_s']:.2f} s"],
        ["its size, per persona", f"{about['bytes']} bytes"],
        [f"a query for the {_COUNT} nearest, median of {_QUERIES}", f"{about['query_ms']:.1f} ms"],
        ["the slowest of them", f"{about['slowest_ms']:.0f} ms"],
        ["`personahub search`, the command from its start to its end", f"{about['command_s']:.1f} s"],
        [f"recall of the {_COUNT} nearest", str(about["recall"])],
        ["peak memory of all, all vectors for the truth included", f"{found['peak_mb'] / 1024:.1f} GB"],
    ]
    lines = [
        [f"{line['chosen']:,}", f"{line['seconds']:.1f} s"]
        + [str(line[key]) for key in ("mean", "mean_at_random", "least", "least_at_random")]
        for line in found["cover"]
    ]
    columns = ["chosen", "time", "mean similarity to the nearest", "at random", "least", "at random"]
    title = f"### {found['rows']:,} personas"
    return "\n\n".join([head, title, table(["", ""], facts), "### Chosen to cover them", table(columns, lines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--chosen", type=int, nargs="*", default=[100, 1_000])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=str(arguments.home or folder))
        found = measure(store, arguments.rows, arguments.chosen)
    text = rendered(found, time.perf_counter() - started)
    print(text)
    if not arguments.no_docs:
        write(DOCS, "search", text)


if __name__ == "__main__":
    main()
