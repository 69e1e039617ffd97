"""CPU seconds of commands for one new batch, in homes with more and more batches.

    python benchmarks/many_batches/whole_run.py [--batches 10,100,1000] [--rows 4] [--new 50]
        [--keep FOLDER] [--settings benchmarks/many_batches/two_datasets.toml]

One batch is run with the stand-in; its rows are then written again under other batch keys and ids, so a home of any
size takes seconds. Each command is a process of its own; the figure is its CPU time with that of its children.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.store.tables import Store, asset_of, folder_names

_JOBS = ("a piano tuner", "a ferry captain", "a lichen expert", "a baker", "a sailmaker", "a judge of sheep dogs")
_PLACES = ("Lisbon", "Turku", "the Faroes", "Chennai", "Oaxaca", "Groningen", "Hobart", "Bergamo", "Kigali", "Sapporo")
_COMMANDS = {
    "ingest": ["ingest", "{file}", "--name", "newest-{n}"],
    "plan": ["plan", "--batch", "newest-{n}"],
    "run": ["run", "--batch", "newest-{n}"],
    "run again": ["run", "--batch", "newest-{n}"],
    "sql": ["sql", "SELECT count(*) FROM personas"],
    "why": ["why", "{persona}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="10,100,1000")
    parser.add_argument("--rows", type=int, default=4, help="documents of each old batch")
    parser.add_argument("--new", type=int, default=50, help="documents of a new batch")
    parser.add_argument("--keep", help="folder in which homes are left, and found again")
    parser.add_argument("--settings", type=Path, help="a hub.toml for the homes, such as one with fewer datasets")
    options = parser.parse_args()
    counts = [int(count) for count in options.batches.split(",")]
    folder = Path(options.keep or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    settings = options.settings.read_text() if options.settings else ""
    figures = {count: _measure(folder / str(count), count, options.rows, options.new, settings) for count in counts}
    if not options.keep:
        shutil.rmtree(folder)
    print(f"| command | {' | '.join(f'{count:,} batches' for count in counts)} | ratio |")
    print(f"|---|{'---:|' * (len(counts) + 1)}")
    for command in _COMMANDS:
        row = [figures[count][command] for count in counts]
        print(f"| {command} | {' | '.join(f'{cpu:.1f} s' for cpu in row)} | {row[-1] / row[0]:.2f} |")


def _measure(home: Path, batches: int, rows: int, new: int, settings: str) -> dict[str, float]:
    store = Store(home=str(home))
    if not home.exists():
        home.mkdir(parents=True)
        (home / "hub.toml").write_text(settings)
        _command(home, ["ingest", str(_file(home / "first.jsonl", rows, 0)), "--name", "first"])
        _command(home, ["run", "--batch", "first"])
        multiply(store, "first", batches)
        _add_partitions(home, batches)
        _command(home, ["run", "--batch", "first"])
    spent: dict[str, float] = {}
    first = sum(key.startswith("newest-") for key in store.partitions("batches"))
    for n in range(first, first + 2):  # the first run also brings caches up to date
        values = {"file": str(_file(home / f"new-{n}.jsonl", new, n + 1)), "n": n, "persona": ""}
        for name, words in _COMMANDS.items():
            if name == "why":
                values["persona"] = store.read("personas", f"newest-{n}")["persona_id"][0]
            spent[name] = _command(home, [word.format(**values) for word in words])
    print(json.dumps({"batches": batches, **spent}), file=sys.stderr)
    return spent


def _command(home: Path, words: list[str]) -> float:
    """Run a command; return the CPU seconds of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"PERSONAHUB_HOME": str(home), "OPENBLAS_NUM_THREADS": "1"}
    environment.setdefault("PERSONAHUB_LLM_URL", "standin:")
    command = [sys.executable, "-m", "personahub_assets", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _file(path: Path, rows: int, seed: int) -> Path:
    texts = (
        f"Notes {seed}-{n} of {_JOBS[n % 6]} in {_PLACES[n % 10]}: what {digest(seed, n)} cost." for n in range(rows)
    )
    path.write_text("".join(json.dumps({"id": f"d{seed}-{n}", "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


def multiply(store: Store, template: str, batches: int) -> None:
    """Write the rows of a batch again under other batch keys, with other ids and texts."""
    for table, asset, rows in list(_partitions(store, template)):
        for number in range(1, batches):
            store_path = store.path(table, f"copy-{number:06d}", asset)
            store_path.parent.mkdir(parents=True, exist_ok=True)
            _renamed(rows, f"copy-{number:06d}", number).write_parquet(store_path)


def _partitions(store: Store, batch: str) -> Iterator[tuple[str, str | None, pl.DataFrame]]:
    tables = {"decisions", *store.table_set.sql} & {*folder_names(store), "decisions"}
    for table in sorted(tables):
        for folder in store.folders(table):
            file = folder / f"batch={batch}" / "part.parquet"
            if file.exists():
                asset = asset_of(table, folder)
                yield table, asset, pl.read_parquet(file, glob=False)


def _renamed(rows: pl.DataFrame, batch: str, number: int) -> pl.DataFrame:
    names = [name for name, kind in rows.schema.items() if kind == pl.String]
    ids = [name for name in names if name.endswith("_id")]
    texts = [name for name in ("persona", "text") if name in names]
    hashes = [name for name in ("request_key", "text_hash") if name in names]
    tail = f"{number:06x}"
    changed = [pl.col(name) + tail for name in ids]
    changed += [pl.col(name) + f" {tail} {digest(tail)}" for name in texts]
    changed += [(pl.lit(tail) + pl.col(name).str.slice(len(tail))).alias(name) for name in hashes]
    if "admission" in rows.columns:
        changed.append(pl.col("admission") + number * 100)
    return rows.with_columns(*changed, batch=pl.lit(batch)) if "batch" in rows.columns else rows.with_columns(changed)


def _add_partitions(home: Path, batches: int) -> None:
    from personahub_assets.defs.batches import BATCHES
    from personahub_assets.instance.instance import open_instance

    with open_instance(home) as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), [f"copy-{number:06d}" for number in range(1, batches)])


if __name__ == "__main__":
    main()
