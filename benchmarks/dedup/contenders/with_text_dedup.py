"""text-dedup: its command `minhash`, from Parquet to a saved dataset; the seconds are the command's, start included."""

import subprocess
import sys

import polars as pl
from datasets import load_from_disk
from task import PERMUTATIONS, Outcome, Task, run


def deduplicate(task: Task) -> Outcome:
    """Run the command as its README does; it is a program, not a library."""
    options = {
        "path": "parquet",
        "data_files": task.source,
        "split": "train",
        "cache_dir": task.scratch / "cache",
        "output": task.scratch / "deduplicated",
        "column": "persona",
        "ngram": 1,
        "min_length": 1,
        "num_perm": PERMUTATIONS,
        "threshold": task.threshold,
        "batch_size": 10_000,
    }
    command = [sys.executable, "-m", "text_dedup.minhash"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    kept = load_from_disk(str(task.scratch / "deduplicated"))
    return Outcome(
        ids=pl.Series(kept["persona_id"][:], dtype=pl.String),
        notes=["start of the program and writing included; hits not verified, components"],
    )


if __name__ == "__main__":
    run(deduplicate, "text-dedup")
