"""The benchmark of the semantic stage: pairs with cosine >= 0.9, found by us and by other tools.

    .venv/bin/python benchmarks/dedup/semantic.py --quick                   20,000 rows
    .venv/bin/python benchmarks/dedup/semantic.py                           100,000 rows; 300,000 for the crossover
    .venv/bin/python benchmarks/dedup/semantic.py --vectors FILE.npy --methods exact,usearch --tables peers
    .venv/bin/python benchmarks/dedup/semantic.py --hub 1000000             and 10,000 rows added to a million

Vectors are those of all-MiniLM-L6-v2 for generated personas (`generate.py`). Further vectors are random with the same
mean and covariance; a fifth of them are variants of earlier ones. Each run is a separate process that first reads the
vectors. Reading is not timed, and compiled kernels are on disk. The last printed line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Vectors = Any  # float32 (n, d)
Result = dict[str, Any]

THRESHOLD = 0.9
THRESHOLDS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)
_BLOCK = 2048
_NEW = 10_000
_NEIGHBOURS = 20
_ANEW = "for comparison: all kept ones decided anew, exact"


# --- Methods: vectors -> kept rows or None, pairs or None, and further results ----------------------------------------


def _ours(vectors: Vectors, threshold: float = THRESHOLD, exact_up_to: int = 10**18) -> Result:
    from personahub_assets.dedup.semantic import decide

    everyone = np.arange(len(vectors)), np.ones(len(vectors), bool)
    found = decide(vectors, *everyone, [], threshold, exact_up_to=exact_up_to)
    return {"keeper": found.keeper, "recall_of_sample": round(found.recall, 6)}


def exact(vectors: Vectors) -> Result:
    return _ours(vectors)


def index(vectors: Vectors) -> Result:
    return _ours(vectors, exact_up_to=0)


def blocks(vectors: Vectors) -> Result:
    """All pairs by matrix products of blocks."""
    return {"pairs": _joined(_all_pairs(vectors, half=False))}


def half(vectors: Vectors) -> Result:
    """The same, each pair once."""
    return {"pairs": _joined(_all_pairs(vectors, half=True))}


def _all_pairs(vectors: Vectors, half: bool) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(vectors), _BLOCK):
        for begin in range(0, start + 1 if half else len(vectors), _BLOCK):
            cosines = vectors[start : start + _BLOCK] @ vectors[begin : begin + _BLOCK].T
            a, b = np.divmod(np.flatnonzero(cosines >= THRESHOLD), cosines.shape[1])
            yield a + start, b + begin


def usearch(vectors: Vectors) -> Result:
    """usearch with its default precision and settings."""
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="cos", dtype="f32", connectivity=16, expansion_add=128)
    index.add(np.arange(len(vectors)), vectors)
    return {"pairs": _checked(vectors, index.search(vectors, _NEIGHBOURS).keys.astype(np.int64))}


def faiss(vectors: Vectors) -> Result:
    import faiss as library  # type: ignore[import-not-found]

    index = library.IndexHNSWFlat(vectors.shape[1], 16, library.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = 40, 32
    index.add(vectors)
    return {"pairs": _checked(vectors, index.search(vectors, _NEIGHBOURS)[1])}


def semhash(vectors: Vectors) -> Result:
    """semhash; it returns the rows it keeps, not the pairs."""
    from semhash import SemHash  # type: ignore[import-not-found]

    class Model:
        def encode(self, inputs: Any, **_: Any) -> Any:
            raise AssertionError("embeddings are given")

    records = [str(row) for row in range(len(vectors))]
    found = SemHash.from_embeddings(vectors, records, Model()).self_deduplicate(threshold=THRESHOLD)
    return {"kept": len(found.selected)}


def _checked(vectors: Vectors, keys: Any) -> Any:
    """The pairs of proposed neighbours that are within the threshold."""
    found = []
    for start in range(0, len(vectors), _BLOCK):
        near = keys[start : start + _BLOCK]
        cosines = np.einsum("nd,nkd->nk", vectors[start : start + _BLOCK], vectors[np.maximum(near, 0)])
        row, column = np.nonzero((cosines >= THRESHOLD) & (near >= 0))
        found.append((row + start, near[row, column]))
    return _joined(found)


def _joined(found: Any) -> Any:
    """Unordered pairs without repeats, each as one number."""
    parts = [np.minimum(a, b) << 32 | np.maximum(a, b) for a, b in ((a[a != b], b[a != b]) for a, b in found)]
    return np.unique(np.concatenate(parts))


def hub(vectors: Vectors, path: str, by: str = "") -> Result:
    """Add rows to a hub whose kept vectors are in a file, in pieces of 100,000."""
    from personahub_assets.dedup.cells import nearest
    from personahub_assets.dedup.cosines import Kept
    from personahub_assets.dedup.semantic import choose_cells, decide

    stored = np.load(path, mmap_mode="r")
    pieces = [(begin, min(begin + 100_000, len(stored))) for begin in range(0, len(stored), 100_000)]
    kept = [Kept(stored[begin:end], np.arange(begin, end)) for begin, end in pieces]
    everyone = np.arange(len(vectors)) + len(stored), np.ones(len(vectors), bool)
    if not by:
        return {"keeper": decide(vectors, *everyone, kept, THRESHOLD, exact_up_to=10**18).keeper}
    started = time.perf_counter()
    cells = choose_cells(vectors, kept, THRESHOLD)
    cells = cells._replace(of_kept=[nearest(each.vectors, cells.centroids, 1)[:, 0] for each in kept])
    ready = time.perf_counter() - started
    found = decide(vectors, *everyone, kept, THRESHOLD, exact_up_to=0, index=lambda: cells)
    return {"keeper": found.keeper, "recall_of_sample": found.recall, "index_seconds": round(ready, 2)}


METHODS: dict[str, tuple[str, Callable[[Vectors], Result], tuple[str, ...]]] = {
    "exact": ("personahub, exact", exact, ()),
    "index": ("personahub, by cells", index, ()),
    "blocks": ("NumPy, all pairs", blocks, ()),
    "half": ("NumPy, each pair once", half, ()),
    "usearch": ("usearch, its defaults (float32)", usearch, ()),
    "faiss": ("faiss HNSW (16, 40, 32)", faiss, ("faiss-cpu==1.15.1", "numpy>=2")),
    "semhash": ("semhash", semhash, ("semhash==0.5.0", "numpy>=2")),
}


# --- One run, in a separate process ----------------------------------------------------------------------------------


def one(name: str, file: Path, out: Path, rows: int) -> None:
    """Run a method on the first rows of a file and write its result to another."""
    vectors = np.ascontiguousarray(np.load(file, mmap_mode="r")[:rows])
    name, _, argument = name.partition(":")
    if name in ("exact", "index", "hub"):
        _warm(vectors[:200])
    before, cpu = time.perf_counter(), time.process_time()
    if name == "hub":
        found = hub(vectors, *argument.split(":"))
    elif argument:
        found = _ours(vectors, float(argument))
    else:
        found = METHODS[name][1](vectors)
    seconds = {"seconds": round(time.perf_counter() - before, 3), "cpu": round(time.process_time() - cpu, 3)}
    arrays = {key: value for key, value in found.items() if isinstance(value, np.ndarray)}
    np.savez(out, allow_pickle=False, **arrays)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**seconds, "peak_rss_mb": peak, **{k: v for k, v in found.items() if k not in arrays}}))


def _warm(vectors: Vectors) -> None:
    """Load the compiled kernels from disk, or compile them."""
    from personahub_assets.dedup.cosines import Kept
    from personahub_assets.dedup.semantic import decide

    kept = [Kept(vectors[:10], np.arange(10))]
    for most in (10**12, 0):
        decide(vectors[10:], np.arange(10, len(vectors)), np.ones(len(vectors) - 10, bool), kept, 0.9, exact_up_to=most)


class Bench:
    """Runs methods and compares their results."""

    def __init__(self, folder: Path, lock: Path | None, limit_s: float) -> None:
        self.folder, self.lock, self.limit_s = folder, lock, limit_s

    def run(self, name: str, file: Path, rows: int) -> tuple[Result, dict[str, Any]]:
        """Return seconds, memory and further values, and the resulting arrays; `error` if it failed."""
        out = self.folder / "found.npz"
        out.unlink(missing_ok=True)
        try:
            python = _python(METHODS[name][2]) if name in METHODS else sys.executable
        except Exception as error:  # noqa: BLE001  # a method that cannot be installed is reported, the others run
            return {"error": str(error)}, {}
        command = [str(python), __file__, "--one", name, "--vectors", str(file), "--rows", str(rows), "--out", str(out)]
        locked = ["flock", str(self.lock)] if self.lock else []
        try:
            done = subprocess.run([*locked, *command], capture_output=True, text=True, timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {self.limit_s:.0f} s"}, {}
        if done.returncode:
            return {"error": " ".join(done.stderr.split())[-300:]}, {}
        result: Result = json.loads(done.stdout.splitlines()[-1])
        print(name, rows, result, file=sys.stderr, flush=True)
        return result, dict(np.load(out))


def _python(packages: tuple[str, ...]) -> Path:
    if not packages:
        return Path(sys.executable)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from common import environment

    return environment(f"dedup-{packages[0].partition('=')[0]}", packages)[0]


# --- Tables ----------------------------------------------------------------------------------------------------------


def peers(bench: Bench, file: Path, rows: int, methods: list[str]) -> Result:
    """All methods on the same vectors; recall of all pairs, or of our exact decisions."""
    lines: Result = {}
    truth: dict[str, Any] = {}
    for name in sorted(methods, key=list(METHODS).index):
        lines[name], found = bench.run(name, file, rows)
        truth.update({key: found[key] for key in found if name in ("exact", "blocks")})
        if "keeper" in found:
            lines[name]["kept"] = int(np.sum(found["keeper"] < 0))
            lines[name]["decided_otherwise"] = int(np.sum(found["keeper"] != truth.get("keeper", found["keeper"])))
        if "pairs" in found and "pairs" in truth:
            lines[name]["recall"] = round(float(np.mean(np.isin(truth["pairs"], found["pairs"]))), 6)
    return lines


def sizes(bench: Bench, file: Path, rows: list[int]) -> Result:
    """Sizes at which the cells become faster than the exact walk."""
    return {str(count): {name: bench.run(name, file, count)[0] for name in ("exact", "index")} for count in rows}


def thresholds(bench: Bench, file: Path, rows: int) -> Result:
    """Time of the exact walk by threshold."""
    lines = {}
    for threshold in THRESHOLDS:
        lines[str(threshold)], found = bench.run(f"exact:{threshold}", file, rows)
        lines[str(threshold)]["kept"] = int(np.sum(found["keeper"] < 0))
    return lines


def additions(bench: Bench, folder: Path, file: Path, kept: int) -> Result:
    """Rows added to a hub; kept vectors are in files."""
    stored, new = folder / "hub.npy", folder / "new.npy"
    real = np.load(file, mmap_mode="r")
    grown(real, kept, stored, seed=1, variants=0.0)
    rows = np.load(stored, mmap_mode="r")[:: max(1, kept // _NEW)][:_NEW].copy()
    mixed = np.concatenate([np.asarray(real[: _NEW // 2]), rows[: _NEW - _NEW // 2]])
    np.save(new, mixed)
    lines = {}
    for title, by in (("exact", ""), ("by cells", ":index")):
        lines[title], _ = bench.run(f"hub:{stored}{by}", new, _NEW)
    lines[_ANEW], _ = bench.run("exact", stored, kept)
    return lines


def grown(vectors: Vectors, rows: int, out: Path, seed: int = 0, variants: float = 0.2) -> None:
    """Write random vectors with mean and covariance of given ones; a share of them are variants of earlier ones."""
    some = np.asarray(vectors[:20_000], np.float64)
    values, directions = np.linalg.eigh(np.cov(some.T))
    spread = (directions * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)
    random = np.random.default_rng(seed)
    found = np.lib.format.open_memmap(out, "w+", np.float32, (rows, vectors.shape[1]))
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        piece = _unit(
            random.standard_normal((count, len(spread)), np.float32) @ spread + some.mean(0, dtype=np.float32)
        )
        chosen = np.flatnonzero(random.random(count) < variants)
        base = piece[random.integers(0, np.maximum(chosen, 1))]
        amount = random.uniform(0, 0.6, (len(chosen), 1)).astype(np.float32)
        piece[chosen] = base + amount * (random.standard_normal(base.shape, np.float32) @ spread)
        found[start : start + count] = _unit(piece)


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedded(rows: int, out: Path) -> None:
    """Embed generated personas; 100,000 take minutes."""
    from generate import sentences

    from personahub_assets.embedding.embedder import Embedder

    np.save(out, Embedder().embed(sentences(rows)))


# --- Markdown --------------------------------------------------------------------------------------------------------


def markdown(found: Result) -> str:
    parts = ["### Semantic: cosine >= 0.9, embeddings given", _peers_table(found.get("peers", {}), found["rows"])]
    if found.get("sizes"):
        head = ["rows", "exact, s", "by cells, s", "recall of the cells, sampled"]
        lines = [
            [
                f"{int(rows):,}",
                *(_seconds(line[name]) for name in ("exact", "index")),
                str(line["index"].get("recall_of_sample", "–")),
            ]
            for rows, line in found["sizes"].items()
        ]
        parts.append(_table(head, lines))
    if found.get("thresholds"):
        lines = [[name, _seconds(line), f"{line['kept']:,}"] for name, line in found["thresholds"].items()]
        parts.append(_table(["threshold, exact", "seconds", "kept"], lines))
    if found.get("additions"):
        lines = [
            [name, _seconds(line), str(line.get("index_seconds", "–"))] for name, line in found["additions"].items()
        ]
        parts.append(f"10,000 rows added to {found['hub']:,} kept ones:")
        parts.append(_table(["method", "seconds", "of which the cells are made"], lines))
        exact, anew = (found["additions"][name] for name in ("exact", _ANEW))
        if "seconds" in exact and "seconds" in anew:
            parts.append(f"Exact: {exact['seconds'] / anew['seconds']:.2%} of deciding about all anew.")
    return "\n\n".join(part for part in parts if part)


def _peers_table(lines: Result, rows: int) -> str:
    head = [f"{rows:,} rows", "seconds", "memory, MB", "pair recall", "decided otherwise than exact"]
    body = [
        [
            METHODS[name][0],
            _seconds(line),
            str(line.get("peak_rss_mb", "–")),
            str(line.get("recall", "–")),
            str(line.get("decided_otherwise", "–")),
        ]
        for name, line in lines.items()
    ]
    return _table(head, body) if lines else ""


def _seconds(line: Result) -> str:
    return f"{line['seconds']:,.2f}" if "seconds" in line else line.get("error", "–")[:60]


def _table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def main() -> None:
    tables = ("peers", "sizes", "thresholds")
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 rows")
    parser.add_argument("--rows", type=int, default=100_000, help="%(default)s")
    parser.add_argument("--sizes", default="10000,30000,100000,300000", help="for the crossover: %(default)s")
    parser.add_argument("--methods", default=",".join(METHODS), help="%(default)s")
    parser.add_argument("--tables", default=",".join(tables), help="%(default)s")
    parser.add_argument("--hub", type=int, default=0, help="kept rows to which 10,000 are added; minutes at a million")
    parser.add_argument("--vectors", type=Path, help="a .npy file of unit vectors; by default they are made")
    parser.add_argument("--lock", type=Path, help="a file to lock during each run")
    parser.add_argument("--limit-s", type=float, default=600.0, help="limit of one run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        return one(chosen.one, chosen.vectors, chosen.out, chosen.rows)
    rows = 20_000 if chosen.quick else chosen.rows
    counts = [int(count) for count in chosen.sizes.split(",") if not chosen.quick or int(count) <= rows]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        bench, file, large = Bench(folder, chosen.lock, chosen.limit_s), folder / "vectors.npy", folder / "large.npy"
        if not chosen.vectors:
            embedded(rows, file)
        file = (chosen.vectors or file).resolve()
        found: Result = {"rows": rows, "hub": chosen.hub}
        if "peers" in chosen.tables:
            found["peers"] = peers(bench, file, rows, chosen.methods.split(","))
        if "thresholds" in chosen.tables:
            found["thresholds"] = thresholds(bench, file, rows)
        if "sizes" in chosen.tables:
            grown(np.load(file, mmap_mode="r"), max(counts), large)
            found["sizes"] = sizes(bench, large, counts)
        if chosen.hub:
            found["additions"] = additions(bench, folder, file, chosen.hub)
    print(json.dumps({**found, "markdown": markdown(found)}))
    return None


if __name__ == "__main__":
    main()
