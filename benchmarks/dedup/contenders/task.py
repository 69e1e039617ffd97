"""What every contender shares: its arguments, the words, the clock, peak memory, and the line it prints.

A contender is a file with a function `deduplicate(task) -> Outcome`, ended by `run(deduplicate, "package")`, called as

    PYTHON SCRIPT IN.parquet OUT.parquet [--threshold 0.9] [--pairs]

IN has the columns persona_id and persona, sorted by persona_id. OUT gets the persona_ids that are kept; with --pairs,
and where the tool exposes them, OUT with the suffix .pairs.parquet gets the pairs of row numbers (a < b).
"""

import argparse
import json
import re
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from time import perf_counter

import polars as pl

_STARTED = perf_counter()
PERMUTATIONS = 128
# The split of 128 permutations that has the least expected error at 0.9, by the formula that all of these tools use.
BANDS, BAND_ROWS = 5, 25


@dataclass
class Outcome:
    """What is left, as row numbers or ids, and the pairs that were found, if the tool tells them."""

    rows: list[int] | None = None
    ids: pl.Series | None = None
    # Only called with --pairs, outside of the clock.
    pairs: Callable[[], Iterable[tuple[int, int]]] | None = None
    # Likewise: more about the run.
    facts: Callable[[], dict[str, float | bool]] = dict
    notes: list[str] = field(default_factory=list)


@dataclass
class Task:
    """One run: where the rows are, the threshold, and the clock."""

    source: Path
    scratch: Path
    threshold: float
    started: float = field(default_factory=perf_counter)
    in_memory: float | None = None

    def texts(self) -> list[str]:
        """The texts as Python strings, read by Polars; the seconds from memory begin here."""
        texts: list[str] = pl.read_parquet(self.source, columns=["persona"])["persona"].to_list()
        self.in_memory = perf_counter()
        return texts


_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Words as every tool is given them that takes words: Python's own idea of them, in lower case."""
    return _WORD.findall(text.lower())


def within(groups: Iterable[Iterable[int]]) -> set[tuple[int, int]]:
    """All pairs inside groups of row numbers."""
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


def peak_mb() -> float:
    """Peak resident memory of this process and of its largest child.

    The kernel's own counter is read for this process, since that of getrusage begins with what the parent had.
    """
    status = Path("/proc/self/status").read_text()
    own = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended: what does not depend on who else computes."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run(deduplicate: Callable[[Task], Outcome], *packages: str, threshold: bool = False) -> None:
    """Read the arguments, run it, write what it keeps, and print the line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--pairs", action="store_true")
    chosen = parser.parse_args()
    if chosen.threshold != 0.9 and not threshold:
        parser.error("--threshold: this contender is only set up for 0.9")
    used = cpu_s()
    task = Task(chosen.source, chosen.out.parent, chosen.threshold)
    outcome = deduplicate(task)
    ended, used, memory = perf_counter(), cpu_s() - used, peak_mb()
    kept = _kept(task, outcome)
    kept.to_frame().write_parquet(chosen.out)
    if chosen.pairs and outcome.pairs:
        pairs = list(outcome.pairs())
        pl.DataFrame(pairs, schema={"a": pl.Int64, "b": pl.Int64}, orient="row").write_parquet(
            chosen.out.with_suffix(".pairs.parquet")
        )
    line = {
        "seconds": round(ended - task.started, 3),
        "loading_s": round(task.started - _STARTED, 3),
        "seconds_from_memory": round(ended - task.in_memory, 3) if task.in_memory else None,
        "cpu_s": round(used, 3),
        "peak_rss_mb": round(memory),
        "kept": kept.len(),
        "notes": outcome.notes,
        "versions": {name: version(name) for name in packages},
        **(outcome.facts() if chosen.pairs else {}),
    }
    print(json.dumps(line), flush=True)


def _kept(task: Task, outcome: Outcome) -> pl.Series:
    if outcome.ids is not None:
        return outcome.ids.rename("persona_id")
    assert outcome.rows is not None
    return pl.read_parquet(task.source, columns=["persona_id"])["persona_id"].gather(outcome.rows)
