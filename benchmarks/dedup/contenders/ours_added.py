"""personahub: a batch of 10,000 rows added to a hub of all rows before them, and the rebuild it replaces.

The kept rows of the hub lie in files, as they do in a hub of the project, and are memory-mapped for the search. Reading
the texts of the hub is not needed for adding; the seconds are those of the walk over the new rows, with their
signatures. Both are asked to decide alike, row for row.
"""

from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from task import Outcome, Task, run

from personahub_assets.dedup.lexical import Segment, decide, segment
from personahub_assets.dedup.signatures import SignatureScheme, plan

_ADDED = 10_000


def deduplicate(task: Task) -> Outcome:
    """Walk all rows at once, then the last ones against a segment of the others."""
    texts = pl.read_parquet(task.source, columns=["persona"])["persona"]
    count = len(texts)
    places, before = np.arange(count), count - _ADDED
    started = perf_counter()
    chosen = plan(SignatureScheme(task.threshold, "exact", 1, 128), texts.head(before), before)
    whole = decide(texts, places, np.ones(count, np.bool_), [], chosen)
    rebuilt = perf_counter() - started

    kept = np.flatnonzero(whole.stays[:before])
    hub = _on_disk(segment(chosen.sets(texts.gather(kept)), kept, chosen), task.scratch)
    added = texts.tail(_ADDED).rechunk()
    times = []
    for _ in range(3):
        started = perf_counter()
        found = decide(added, places[before:], np.ones(_ADDED, np.bool_), [hub], chosen)
        times.append(perf_counter() - started)
    same = bool((found.keeper == whole.keeper[before:]).all() and (found.stays == whole.stays[before:]).all())
    return Outcome(
        rows=np.flatnonzero(whole.stays).tolist(),
        facts=lambda: {"added": _ADDED, "adding_s": sorted(times)[1], "rebuild_s": rebuilt, "alike": same},
    )


def _on_disk(made: Segment, folder: Path) -> Segment:
    for name, array in made._asdict().items():
        np.save(folder / f"{name}.npy", array)
    return Segment(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in made._fields))


if __name__ == "__main__":
    run(deduplicate, "numba")
