"""The lexical stage against common tools: seconds, memory, and whether the right rows are dropped.

Every timed run is a separate process, one at a time, with all cores. Tables:

    sizes       100 k, 1 M and 5 M rows; pairs and drops judged by the exact answer at 100 k
    scripts     100 k rows, 3 % of them with accents or in other scripts: correctness of ours
    templates   200 k sentences from one template, and from 500
    lengths     texts of 20 and of 40 distinct words
    added       10,000 rows added to a hub of a million, against the rebuild
    thresholds  ours from 0.5 to 1.0, with the result at 5,000 rows checked against the exact answer
    real        real personas, if a file is given

Correctness: `truth.py` finds all pairs at the threshold by another exact method. For tools that return pairs the tables
have recall, recall of pairs that are not equal, and precision. For all tools: a drop is right if the tool keeps a row
within the threshold of it; a row is missed if it is kept although an earlier kept row is within the threshold.
"""

import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl
from environments import CONTENDERS, HERE, Contender
from truth import greedy

Result = dict[str, Any]
SIZES = (100_000, 1_000_000, 5_000_000)
QUICK_SIZES = SIZES[:1]
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
ADDED = 10_000
_CHECKED_ROWS = 5_000
_SHORT_S = 10.0
_TEMPLATES_LIMIT_S = 60.0
# No telemetry and no network access.
_QUIET = {
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "SCARF_NO_ANALYTICS": "true",
}


@dataclass
class Bench:
    """Settings of the benchmark, and its folders."""

    folder: Path
    pythons: dict[str, Path]
    contenders: list[Contender]
    quick: bool
    limit_s: float
    lock: Path | None = None
    real: Path | None = None
    warm: set[str] = field(default_factory=set)

    @property
    def kernels(self) -> Path:
        """Folder of compiled kernels; empty at first, so that the first run includes compiling."""
        return self.folder / "kernels"

    def only(self, *names: str) -> list[Contender]:
        return [contender for contender in self.contenders if contender.name in names]

    def data(self, name: str, *options: str) -> Path:
        """Generate rows, once."""
        return self._made(name, "generate.py", *options)

    def pairs(self, source: Path, *options: str) -> pl.DataFrame:
        """All pairs within the threshold, by `truth.py`."""
        name = f"{source.stem}.{'-'.join(options) or 'true'}"
        return pl.read_parquet(self._made(name, "truth.py", str(source), *options))

    def _made(self, name: str, script: str, *options: str) -> Path:
        file = self.folder / f"{name}.parquet"
        if not file.exists():
            inputs, rest = [o for o in options if o.endswith(".parquet")], [o for o in options if ".parquet" not in o]
            aside = file.with_suffix(".part")
            subprocess.run([sys.executable, str(HERE / script), *inputs, str(aside), *rest], check=True, env=_paths())
            aside.rename(file)
        return file


def _paths() -> dict[str, str]:
    """Search path for our own scripts: the project of this file."""
    return {**os.environ, "PYTHONPATH": str(HERE.parents[1])}


@contextmanager
def _alone(lock: Path | None) -> Iterator[None]:
    """Hold the lock file, if one is given, so that other measurements on the machine can wait for it."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass
class Run:
    """One contender on one file."""

    bench: Bench
    contender: Contender
    source: Path
    threshold: float = 0.9
    pairs: bool = False

    def once(self) -> tuple[Result, pl.Series | None, pl.DataFrame | None]:
        """Return its result, the ids it keeps, and its pairs."""
        with tempfile.TemporaryDirectory(prefix="bench-", dir=self.bench.folder, ignore_cleanup_errors=True) as folder:
            out = Path(folder) / "kept.parquet"
            with _alone(self.bench.lock):
                line = self._line(out, Path(folder))
            if line.get("error"):
                return line, None, None
            found = out.with_suffix(".pairs.parquet")
            return line, pl.read_parquet(out)["persona_id"], pl.read_parquet(found) if found.exists() else None

    def _line(self, out: Path, home: Path) -> Result:
        command = [str(self.bench.pythons[self.contender.name]), str(self.contender.path), str(self.source), str(out)]
        command += ["--threshold", str(self.threshold)] if self.threshold != 0.9 else []
        command += ["--pairs"] if self.pairs else []
        own = {"NUMBA_CACHE_DIR": str(self.bench.kernels)} if not self.contender.packages else {"HOME": str(home)}
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(home / "errors.log").open("wb"),
            cwd=home,
            env={**_paths(), **_QUIET, **own},
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=self.bench.limit_s)
        except subprocess.TimeoutExpired:
            return {"error": f"did not end within {self.bench.limit_s:g} s"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for line in reversed(said.decode("utf-8", "replace").splitlines()):
            if line.startswith('{"seconds"'):
                found: Result = json.loads(line)
                return found
        tail = " ".join((home / "errors.log").read_text("utf-8", "replace").split())[-300:]
        return {"error": f"ended with {process.returncode} and no result: {tail}"}


def measured(run: Run) -> tuple[Result, pl.Series | None, pl.DataFrame | None]:
    """The median of three runs, or one run of a slow contender; with the ids and pairs of the first run.

    For a contender that compiles, the first run is reported separately, because users see it at the first use.
    """
    bench, contender = run.bench, run.contender
    cold: Result = {}
    if contender.compiled and contender.name not in bench.warm:
        bench.warm.add(contender.name)
        cold, _, _ = run.once()
    line, ids, pairs = run.once()
    lines = [line]
    if not line.get("error") and line["seconds"] < _SHORT_S:
        again = Run(bench, contender, run.source, run.threshold)
        lines += [found for found in (again.once()[0] for _ in range(2)) if not found.get("error")]
    if not line.get("error"):
        line = {**line, "runs": [each["seconds"] for each in lines]}
        for name in ("seconds", "seconds_from_memory", "cpu_s"):
            times = [each[name] for each in lines if each[name] is not None]
            line[name] = statistics.median(times) if times else None
        line["peak_rss_mb"] = max(each["peak_rss_mb"] for each in lines)
        line["cold_s"] = cold.get("loading_s")
    return line, ids, pairs


def judged(source: Path, truth: pl.DataFrame, ids: pl.Series, pairs: pl.DataFrame | None) -> Result:
    """Correctness of the kept rows and of the pairs."""
    order = pl.read_parquet(source, columns=["persona_id"]).with_row_index("row")
    kept = order["persona_id"].is_in(ids.implode()).to_numpy()
    a, b = truth["a"].to_numpy(), truth["b"].to_numpy()
    near = pl.concat([truth.select(x="a", y="b"), truth.select(x="b", y="a")])
    covered = near.filter(pl.Series(kept[near["y"].to_numpy()]))["x"].unique().to_numpy()
    right = int((~kept[covered]).sum())
    missed = len(set(b[kept[a] & kept[b]].tolist()))
    dropped = int((~kept).sum())
    result: Result = {
        "dropped": dropped,
        "rightly": right,
        "missed": missed,
        "drop_precision": right / dropped if dropped else 1.0,
        "drop_recall": right / (right + missed) if right + missed else 1.0,
        "same": kept.tolist() == greedy(order.height, truth),
        "true_pairs": truth.height,
        "true_near_pairs": truth.filter(pl.col("similarity") < 1).height,
    }
    return {**result, **_pairs_judged(truth, pairs)} if pairs is not None else result


def _pairs_judged(truth: pl.DataFrame, pairs: pl.DataFrame) -> Result:
    found = truth.join(pairs, on=["a", "b"], how="semi")
    near = truth.filter(pl.col("similarity") < 1).height
    return {
        "pairs": pairs.height,
        "pair_recall": found.height / max(1, truth.height),
        "near_recall": found.filter(pl.col("similarity") < 1).height / max(1, near),
        "pair_precision": found.height / max(1, pairs.height),
    }


def _compared(
    bench: Bench, table: str, source: Path, truth: pl.DataFrame | None, contenders: Sequence[Contender]
) -> Result:
    results = {}
    for contender in contenders:
        line, ids, pairs = measured(Run(bench, contender, source, pairs=truth is not None))
        if truth is not None and ids is not None:
            line |= judged(source, truth, ids, pairs)
        results[contender.name] = line
        say(table, source.stem, contender.name, line)
    return results


def say(table: str, data: str, name: str, line: Result) -> None:
    """Print one line of progress."""
    shown = ("seconds", "peak_rss_mb", "kept", "drop_recall", "drop_precision", "same", "cold_s", "error")
    facts = [
        f"{key} {line[key]:.4g}" if isinstance(line[key], float) else f"{key} {line[key]}"
        for key in shown
        if line.get(key) is not None
    ]
    print(f"{table:10} {data:18} {name:16} {', '.join(facts)}", flush=True)


def _name(rows: int) -> str:
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else f"{rows // 1_000}k"


def sizes(bench: Bench) -> Result:
    results = {}
    for rows in QUICK_SIZES if bench.quick else SIZES:
        source = bench.data(_name(rows), "--rows", str(rows))
        truth = bench.pairs(source) if rows == SIZES[0] else None
        results[str(rows)] = _compared(bench, "sizes", source, truth, [c for c in bench.contenders if c.most >= rows])
    return results


def scripts(bench: Bench) -> Result:
    source = bench.data("scripts", "--rows", "100000", "--foreign", "0.03")
    return _compared(bench, "scripts", source, bench.pairs(source), bench.only("ours", "ours_minhash"))


def templates(bench: Bench) -> Result:
    # A tool that takes longer compares almost all pairs.
    bench = replace(bench, limit_s=min(bench.limit_s, _TEMPLATES_LIMIT_S))
    rows = 20_000 if bench.quick else 200_000
    contenders = bench.only("ours", "ours_minhash", "polars", "daft", "rensa", "rensa_default", "datasketch")
    results = {}
    for count in (1, 500):
        source = bench.data(f"templates-{count}", "--rows", str(rows), "--templates", str(count))
        # Prefix filters are too slow for templates, so `truth.py` uses deletions.
        truth = bench.pairs(source, "--deletions")
        results[str(count)] = {
            "rows": rows,
            "pairs": truth.height,
            **_compared(bench, "templates", source, truth, contenders),
        }
    return results


def lengths(bench: Bench) -> Result:
    contenders = bench.only("ours", "ours_minhash", "daft", "rensa")
    results: Result = {}
    for rows in (100_000,) if bench.quick else (300_000, 1_000_000):
        for words in (20, 40):
            source = bench.data(f"{words}-words-{_name(rows)}", "--rows", str(rows), "--words", str(words))
            results.setdefault(str(rows), {})[str(words)] = _compared(bench, "lengths", source, None, contenders)
    return results


def thresholds(bench: Bench) -> Result:
    rows = QUICK_SIZES if bench.quick else SIZES[:2]
    results: Result = {}
    few = bench.data("few", "--rows", str(_CHECKED_ROWS))
    for contender in bench.only("ours", "ours_minhash"):
        mine = results.setdefault(contender.name, {})
        for threshold in THRESHOLDS:
            _, ids, _ = Run(bench, contender, few, threshold).once()
            truth = bench.pairs(few, "--threshold", str(threshold))
            mine[str(threshold)] = {"checked": judged(few, truth, ids, None) if ids is not None else None}
            # minhash has bands of one at 0.5, so it is measured only at its usual thresholds.
            for count in rows if contender.name == "ours" else rows[:1]:
                line = _at(bench, contender, count, threshold, mine[str(threshold)])
                mine[str(threshold)][str(count)] = line
                say("thresholds", f"{_name(count)} at {threshold}", contender.name, line)
    return results


def _at(bench: Bench, contender: Contender, rows: int, threshold: float, smaller: Result) -> Result:
    """One line of the table of thresholds; not run if the time of fewer rows predicts minutes."""
    before = [line.get("seconds", bench.limit_s) for size, line in smaller.items() if size != "checked"]
    if before and before[-1] > _SHORT_S:
        return {"error": f"threshold {threshold}, {rows:,} rows: not run, since fewer took {before[-1]:.0f} s"}
    source = bench.data(_name(rows), "--rows", str(rows))
    line, _, _ = measured(Run(bench, contender, source, threshold))
    return line


def added(bench: Bench) -> Result:
    """A batch added to a hub, compared with the rebuild."""
    rows = 100_000 if bench.quick else 1_000_000
    if not bench.only("ours"):
        return {}
    source = bench.data(_name(rows) + "-and-more", "--rows", str(rows + ADDED))
    script = Contender("ours_added", "", "ours_added.py")
    bench.pythons[script.name] = bench.pythons["ours"]
    line, _, _ = Run(bench, script, source, pairs=True).once()
    say("added", source.stem, script.name, line)
    return {"rows": rows, **line}


def real(bench: Bench) -> Result:
    if bench.real is None:
        return {}
    source = bench.folder / "real.parquet"
    texts = _personas(bench.real)
    pl.DataFrame({"persona_id": [f"{row:020x}" for row in range(len(texts))], "persona": texts}).write_parquet(source)
    contenders = bench.only("ours", "ours_minhash", "polars", "daft", "rensa", "rensa_default", "datasketch")
    return {"rows": len(texts), **_compared(bench, "real", source, bench.pairs(source), contenders)}


def _personas(file: Path) -> list[str]:
    """The texts of a JSONL file, under `persona` or `input persona`."""
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    key = next((key for key in ("persona", "input persona") if rows and key in rows[0]), None)
    if key is None:
        raise SystemExit(
            f"{file}: no column 'persona' or 'input persona' in its first row; give a JSONL file that has one"
        )
    return [row[key] for row in rows]


TABLES: dict[str, Callable[[Bench], Result]] = {
    "sizes": sizes,
    "scripts": scripts,
    "templates": templates,
    "lengths": lengths,
    "thresholds": thresholds,
    "added": added,
    "real": real,
}
__all__ = ["CONTENDERS", "TABLES", "Bench"]
