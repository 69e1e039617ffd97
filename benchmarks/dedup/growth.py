"""Growth of the dedup stages on one machine: time and memory at 1, 3, 10 and 30 million kept rows.

    .venv/bin/python benchmarks/dedup/growth.py lexical --rows 30000000
    .venv/bin/python benchmarks/dedup/growth.py semantic --rows 10000000 --dimensions 384
    .venv/bin/python benchmarks/dedup/growth.py estimates --rows 60000
    .venv/bin/python benchmarks/dedup/growth.py embeddings --rows 300000
    .venv-cluster/bin/python benchmarks/dedup/growth.py lexical --rows 5000000 --raylets 2
    .venv-cluster/bin/python benchmarks/dedup/growth.py stage --rows 5000000 --raylets 2
    .venv-cluster/bin/python benchmarks/dedup/growth.py semantic --rows 5000000 --raylets 2

`lexical` decides batch after batch against the state that grows on disk, as the stage does. `semantic` decides one
batch against ever more vectors in a file. `estimates` compares the estimated time of the exact method with the true
one, and the cells with both, for vectors of several kinds. `embeddings` publishes the random vectors of one batch.
With `--raylets`, a Ray cluster on this machine decides the same again (`[compute] engine = "ray"`), and the two are
compared by time: seconds of the clock, with those of Ray's parts. `stage` does that for the whole lexical stage, with
reading rows, keeping the state and writing decisions. Threads wait for actors at the same time, and actors
search at the same time, so parts can add up to more than the whole.

CPU seconds are those of all threads: they change less than the time if the machine has other work. Texts and vectors
are generated, in a folder that is removed at the end (`--folder`: where). Generating is not timed. Memory is that of
the process: anonymous, and pages of mapped files, which the system takes back when it needs them.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from generate import _pieces, _written

SIZES = (1_000_000, 3_000_000, 5_000_000, 10_000_000, 30_000_000)
THRESHOLD = 0.9
_AGAIN = 0.02  # share of the rows of a batch that repeat one of the first batch, with another word
_MILLION = 1 << 20

Vectors = Any  # float32 (n, d)


class Memory:
    """The most memory of this process since the last call of `read`, sampled."""

    def __init__(self) -> None:
        self._most = {"RssAnon": 0, "RssFile": 0}
        self._lock = threading.Lock()
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            self._note()
            time.sleep(0.1)

    def _note(self) -> None:
        lines = Path("/proc/self/status").read_text().splitlines()
        sizes = {name: int(line.split()[1]) // 1024 for line in lines if (name := line.split(":")[0]) in self._most}
        with self._lock:
            self._most = {name: max(most, sizes[name]) for name, most in self._most.items()}

    def read(self) -> dict[str, int]:
        """Megabytes, anonymous and of mapped files."""
        self._note()
        with self._lock:
            most, self._most = self._most, dict.fromkeys(self._most, 0)
        return {"anonymous_mb": most["RssAnon"], "mapped_mb": most["RssFile"]}


class Beside:
    """A Ray cluster on this machine that decides the same as this process; the times of both, added up."""

    def __init__(self, raylets: int, name: str) -> None:
        os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # as this process, for a comparison
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 6 << 30})
        for _ in range(raylets - 1):
            cluster.add_node(num_cpus=1, object_store_memory=6 << 30)
        ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
        self._name, self._seconds = name, dict[str, float]()

    def decide(self, run: Callable[..., Any], kept: Sequence[Any], divisible: Sequence[Any]) -> None:
        """Decide in this process and with actors; the results must be equal."""
        from personahub_assets.core.config import Compute
        from personahub_assets.dedup.lexical import REMOTE_PIECE
        from personahub_assets.dedup.ray_shards import placed

        started = time.perf_counter()
        expected = run(kept)
        between = time.perf_counter()
        with placed(self._name, divisible, Compute(engine="ray")) as shards:
            is_lexical = self._name == "lexical"
            found = run([shards], piece_rows=REMOTE_PIECE) if is_lexical else run([], shards=[shards])
        ended = time.perf_counter()
        for name in ("keeper", "stays", "similarity"):
            assert getattr(expected, name).tobytes() == getattr(found, name).tobytes(), f"{name} differs"
        self.add({"local_s": between - started, "ray_s": ended - between, **shards.facts})

    def add(self, spent: Mapping[str, float]) -> None:
        """Add seconds by name."""
        self._seconds = {name: self._seconds.get(name, 0.0) + value for name, value in spent.items()}

    def figures(self) -> dict[str, float]:
        """Seconds since the last call, their ratio, and the parts of Ray's."""
        spent, self._seconds = self._seconds, {}
        ratio = spent["ray_s"] / spent["local_s"] if spent else 0.0
        return {"ratio": round(ratio, 2), **{name: round(value, 1) for name, value in spent.items()}}


# --- Lexical ---------------------------------------------------------------------------------------------------------


def lexical(folder: Path, rows: int, batch: int, memory_mb: int, raylets: int) -> Iterator[dict[str, Any]]:
    """Decide batches against all before; yield figures at each size."""
    from functools import partial

    from personahub_assets.dedup import array_cache, signatures
    from personahub_assets.dedup import lexical as walk
    from personahub_assets.dedup.kept_rows import KeptRows, Rows

    class Form:
        """Kept rows as the stage holds them."""

        name, largest = "growth", np.inf

        def make(self, kept: pl.DataFrame) -> array_cache.Arrays:
            made = walk.segment(plan.sets(kept_texts), kept["place"].to_numpy(), plan)
            return {name: array for name, array in made._asdict().items() if name != "places"}

        def merge(self, segments: Sequence[array_cache.Arrays], firsts: Sequence[int]) -> Mapping[str, Any]:
            whole = [walk.Segment(*(each[name] for name in walk.Segment._fields)) for each in segments]
            return {name: array for name, array in walk.merged(whole).items() if name != "places"}

    bare = signatures.SignatureScheme(THRESHOLD, "exact", 1, 128)
    first = plan = None
    beside = Beside(raylets, "lexical") if raylets else None
    state, memory, spent, dropped = KeptRows(folder / "state"), Memory(), {"decide": 0.0, "append": 0.0}, 0
    compared = 0
    for number, begin in enumerate(range(0, rows, batch)):
        texts = pl.concat(list(_written(_pieces(batch, 100 + number, None, 0.0))))
        if plan is None:
            first, plan = texts, signatures.plan(bare, texts, rows)
        else:
            again = int(_AGAIN * batch)
            texts = pl.concat([texts[:-again], first[number::7][:again] + " indeed"])
        segments = [walk.Segment(*(each.arrays[name] for name in walk.Segment._fields)) for each in state.segments]
        places = np.arange(begin, begin + len(texts))
        started = time.process_time()
        decided = walk.decide(texts, places, np.ones(len(texts), np.bool_), segments, plan, memory=memory_mb << 19)
        searched = time.process_time()
        if beside and segments:
            pairs = zip(state.segments, segments, strict=True)
            divisible = [each.divisible("growth", frozenset(), partial(walk.shard, whole)) for each, whole in pairs]
            case = texts, places, np.ones(len(texts), np.bool_)
            beside.decide(partial(walk.decide, *case, chosen=plan, memory=memory_mb << 19), segments, divisible)
        kept_texts = texts.filter(pl.Series(decided.stays))
        ids = pl.Series([f"{place:016x}" for place in places[decided.stays].tolist()])
        kept = pl.DataFrame({"batch": str(number), "id": ids, "place": places[decided.stays]})
        prepared = time.process_time()
        state.append({str(number): "growth"}, lambda _, kept=kept: Rows(kept, pl.Series(dtype=pl.String)), Form())
        state.save(())
        appended = time.process_time()
        spent = {"decide": spent["decide"] + searched - started, "append": spent["append"] + appended - prepared}
        dropped += int((~decided.stays).sum())
        compared += _pairs(plan.signatures(plan.sets(texts))[1], [each.signatures for each in segments])
        done = begin + batch
        if done in SIZES or done >= rows:
            size = sum(path.stat().st_size for path in (folder / "state").rglob("*.npy"))
            yield {
                "rows": done, "kept": done - dropped, "segments": len(state.segments),
                "batch_cpu_s": round(searched - started + appended - prepared, 2),
                **{f"{name}_cpu_s": round(value, 1) for name, value in spent.items()},
                "cpu_us_per_row": round(1e6 * sum(spent.values()) / done, 1), "pairs": compared,
                "decide_cpu_ns_per_pair": round(1e9 * spent["decide"] / compared, 1), "disk_mb": size >> 20,
                **memory.read(), **(beside.figures() if beside else {}),
            }  # fmt: skip


def stage(folder: Path, rows: int, batch: int, raylets: int) -> Iterator[dict[str, Any]]:
    """Run the lexical stage for batches, from their rows to the stored decisions, with each engine in a home."""
    from personahub_assets.steps.dedup import find_lexical_duplicates
    from personahub_assets.store.tables import Store

    cluster = Beside(raylets, "stage")
    stores = {name: Store(home=str(folder / name)) for name in ("local", "ray")}
    for name, store in stores.items():
        store.root.mkdir()
        store.paths.config.write_text(f'[compute]\nengine = "{name}"\n')
    for number, begin in enumerate(range(0, rows, batch)):
        texts = pl.concat(list(_written(_pieces(batch, 100 + number, None, 0.0))))
        personas = _personas(texts, begin, f"b{number:03}")
        spent = dict[str, float]()
        for name, store in stores.items():
            store.write("text_personas", f"b{number:03}", personas)
            started = time.perf_counter()
            find_lexical_duplicates(store, f"b{number:03}")
            spent[f"{name}_s"] = time.perf_counter() - started
        local, ray = (store.read("decisions", f"b{number:03}", "lexical_duplicates") for store in stores.values())
        assert local.equals(ray), "decisions differ"
        cluster.add(spent)
        if begin + batch in SIZES or begin + batch >= rows:
            yield {"rows": begin + batch, **cluster.figures()}


def _personas(texts: pl.Series, first: int, batch: str) -> pl.DataFrame:
    """Rows of `text_personas` with ids from a number on."""
    from personahub_assets.store.tables import table_schema

    ids = [f"{number:016x}" for number in range(first, first + len(texts))]
    personas = pl.DataFrame({"persona_id": ids, "persona": texts, "batch": batch, "hop": 0})
    absent = [pl.lit("").alias(name) for name in table_schema("text_personas") if name not in personas.columns]
    return personas.with_columns(absent)


def _pairs(signatures: Vectors, earlier: Sequence[Vectors]) -> int:
    """Pairs of a row and an earlier one that are looked at: once for each common signature."""
    wanted, counts = np.unique(signatures, return_counts=True)
    pairs = int((counts * (counts - 1) // 2).sum())
    for each in earlier:
        matching = np.searchsorted(each, wanted, "right") - np.searchsorted(each, wanted)
        pairs += int((counts * matching).sum())
    return pairs


# --- Semantic --------------------------------------------------------------------------------------------------------


def vectors(count: int, dimensions: int, seed: int, kind: str = "structured") -> Vectors:
    """Unit vectors: of a few latent directions, as those of a model are; or all one way; or without structure."""
    random = np.random.default_rng((seed, 1))
    if kind == "unstructured":
        drawn = random.standard_normal((count, dimensions), np.float32)
    else:
        latent = 64
        fixed = np.random.default_rng(0)
        basis = fixed.standard_normal((latent, dimensions), np.float32) * np.geomspace(1, 0.1, latent)[:, None]
        drawn = random.standard_normal((count, latent), np.float32) @ basis.astype(np.float32)
        drawn += 0.05 * fixed.standard_normal((1, dimensions), np.float32)
        if kind == "one way":
            drawn += 3 * fixed.standard_normal((1, dimensions), np.float32)
    near = np.flatnonzero(random.random(count) < 0.2)  # variants of the row before
    near = near[near > 0]
    drawn[near] = drawn[near - 1] * 0.99 + 0.1 * drawn[near]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def semantic(folder: Path, rows: int, dimensions: int, batch: int, raylets: int) -> Iterator[dict[str, Any]]:
    """Decide one batch against more and more kept vectors, in shards of a million rows."""
    from functools import partial

    from personahub_assets.dedup import semantic as walk
    from personahub_assets.dedup.cosines import Kept
    from personahub_assets.dedup.scratch import Scratch
    from personahub_assets.dedup.shards import Divisible
    from personahub_assets.dedup.vector_shards import shard

    memory = Memory()
    beside = Beside(raylets, "semantic") if raylets else None
    new = vectors(batch, dimensions, 1_000_000)
    stored = np.lib.format.open_memmap(folder / "kept.npy", "w+", np.float32, (rows, dimensions))
    for begin in range(0, rows, 250_000):
        end = min(begin + 250_000, rows)
        stored[begin:end] = vectors(end - begin, dimensions, begin)
    stored.flush()
    del stored
    stored = np.load(folder / "kept.npy", mmap_mode="r")
    new[::4] = stored[: len(new[::4])] * 0.995 + 0.05 * new[::4]
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    walk.decide(new[:300], np.arange(300), np.ones(300, np.bool_), [Kept(new[300:600], np.arange(300))], THRESHOLD)
    for size in (size for size in SIZES if size <= rows and (not beside or size == rows)):
        spans = [(begin, min(begin + _MILLION, size)) for begin in range(0, size, _MILLION)]
        kept = [Kept(np.asarray(stored[begin:end]), np.arange(begin, end)) for begin, end in spans]
        case = new, np.arange(batch) + rows, np.ones(batch, np.bool_), kept, THRESHOLD
        memory.read()
        started = time.process_time()
        decided = walk.decide(*case, allocate=Scratch(folder, 1 << 30).empty)
        cpu, pairs = time.process_time() - started, batch * (size + batch / 2)
        yield {
            "kept": size, "dimensions": dimensions, "batch": batch, "seconds": round(decided.seconds, 1),
            "estimated_s": round(decided.estimate or 0.0, 1), "cpu_s": round(cpu, 1),
            "cpu_ns_per_pair": round(1e9 * cpu / pairs, 4),
            "dropped": int((~decided.stays).sum()), **memory.read(),
        }  # fmt: skip
        if beside:
            rows_of = [partial(shard, each, np.arange(len(each.places))) for each in kept]
            pairs = zip(spans, rows_of, strict=True)
            divisible = [Divisible((str(span),), (span[1] - span[0],), (), divide) for span, divide in pairs]
            for walked in ("first", "next"):
                beside.decide(partial(walk.decide, *case[:3], threshold=THRESHOLD), kept, divisible)
                yield {"kept": size, "walk": walked, **beside.figures()}


def estimates(rows: int) -> Iterator[dict[str, Any]]:
    """The estimated and the true time of the exact method, and the cells, by the kind of the vectors."""
    from personahub_assets.dedup import semantic as walk

    for dimensions in (384, 768, 1024):
        for kind in ("structured", "one way", "unstructured"):
            threshold = THRESHOLD if kind != "one way" else 0.98
            case = vectors(rows, dimensions, 7, kind), np.arange(rows), np.ones(rows, np.bool_)
            for most in (None, 0):
                walk.decide(*(each[:500] for each in case), [], threshold, exact_up_to=np.inf if most is None else most)
            exact = walk.decide(*case, [], threshold)
            cells = walk.decide(*case, [], threshold, exact_up_to=0)
            wrong = len(walk.differences(exact, cells)) / max(1, int((~exact.stays).sum()))
            yield {
                "dimensions": dimensions, "kind": kind, "rows": rows, "estimated_s": round(exact.estimate or 0.0, 2),
                "exact_s": round(exact.seconds, 2), "cells_s": round(cells.seconds, 2),
                "recall": round(cells.recall, 4), "decided_otherwise": round(wrong, 5),
            }  # fmt: skip


# --- Embeddings ------------------------------------------------------------------------------------------------------


def embeddings(folder: Path, rows: int) -> Iterator[dict[str, Any]]:
    """Publish the vectors of a batch; the vectors are random."""
    from personahub_assets.embedding.embedder import PIECE, Embedder
    from personahub_assets.steps.dedup import find_lexical_duplicates
    from personahub_assets.steps.embeddings import embed_personas
    from personahub_assets.store.tables import Store

    class Random(Embedder):
        """Random vectors instead of a model."""

        def stream(self, texts: Any, piece: int = PIECE, refusals: Any = None) -> Any:
            for begin in range(0, len(texts), piece):
                count = min(piece, len(texts) - begin)
                yield list(range(begin, begin + count)), vectors(count, 384, begin, "unstructured")

        def readings(self, texts: Any) -> Any:
            return [(0.0, "")] * len(texts)

    store, memory = Store(home=str(folder)), Memory()
    texts = pl.concat(list(_written(_pieces(rows, 0, None, 0.0))))
    store.write("text_personas", "one", _personas(texts, 0, "one"))
    find_lexical_duplicates(store, "one")
    del texts
    before = memory.read()
    started = time.perf_counter()
    result = embed_personas(store, Random(), "one", lambda *_: None)
    seconds = round(time.perf_counter() - started, 1)
    after = memory.read()
    yield {"rows": rows, "vectors": result.rows, "seconds": seconds, "before_mb": before["anonymous_mb"], **after}


def main() -> None:
    """Run one part; print a line of JSON for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["lexical", "stage", "semantic", "estimates", "embeddings"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--memory-mb", type=int, default=4_096)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; needs a fast local disk")
    parser.add_argument("--raylets", type=int, default=0, help="nodes of a Ray cluster that decides the same")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        lines = {
            "lexical": lambda: lexical(folder, chosen.rows, chosen.batch or 500_000, chosen.memory_mb, chosen.raylets),
            "stage": lambda: stage(folder, chosen.rows, chosen.batch or 500_000, chosen.raylets or 2),
            "semantic": lambda: semantic(
                folder, chosen.rows, chosen.dimensions, chosen.batch or 16_384, chosen.raylets
            ),
            "estimates": lambda: estimates(chosen.rows),
            "embeddings": lambda: embeddings(folder, chosen.rows),
        }[chosen.part]()
        for line in lines:
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
