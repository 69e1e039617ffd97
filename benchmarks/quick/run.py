"""Check for performance regressions: three ratios in about three minutes, compared with docs/benchmarks.md.

    make bench-quick                                   measures, compares, exits with 1 if one fell by more than 15 %
    .venv/bin/python benchmarks/quick/run.py --write   writes the new ratios to the page

    client    CPU per row of Instructor as documented, divided by ours; both with the mock server, in turns
    daft      seconds of daft divided by ours: lexical dedup of a million rows
    rensa     the same with rensa's 16 bands
    hub       CPU of a new batch in a hub of 20 batches, divided by the same in one of 200

Larger is better for all. The environments of the other tools are in `.venv-bench`; they are created at the first use.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCHMARKS))
from common import DOCS, NotInstalled, environment, table, write  # noqa: E402

BLOCK = "quick"
FELL = 0.85
_LINE = re.compile(r"\| ([a-z]{2,20}) \| (\d{1,9}(?:\.\d{1,9})?) \|")
_CLIENT_ROWS = {"ours": 2_000, "instructor": 200}
_ROUNDS = 2
_LEXICAL_ROWS = 1_000_000
_PERSONAS_PER_BATCH = 100
_NEW_ROWS = 300


def last_object(text: str) -> dict[str, float]:
    """The last JSON object in the output of a script."""
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"no result: {text[-500:]}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def done(*command: str | Path, **environment_of: str) -> str:
    """Run a command; return its standard output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PERSONAHUB_")}
    ended = subprocess.run(command, env={**kept, **environment_of}, capture_output=True, text=True, timeout=600)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} {command[1]} ended with {ended.returncode}: {ended.stderr[-500:]}")
    return ended.stdout


def client(folder: Path) -> dict[str, float]:
    """CPU per row of ours and of Instructor, in turns; the median of each."""
    sys.path.insert(0, str(BENCHMARKS / "clients"))
    from environments import CONTENDERS, python_of  # type: ignore[import-not-found]
    from run import mock_server  # type: ignore[import-not-found]

    contenders = [(one, python_of(one)[0]) for one in CONTENDERS if one.name in _CLIENT_ROWS]
    per_row: dict[str, list[float]] = {name: [] for name in _CLIENT_ROWS}
    with mock_server() as server:
        for number in range(_ROUNDS):
            for contender, python in contenders:
                options = {"url": server.url, "rows": str(_CLIENT_ROWS[contender.name]), "window": "64"}
                options["home"] = str(folder / f"{contender.name}-{number}")
                given = [part for name, value in options.items() for part in (f"--{name}", value)]
                line = last_object(done(python, contender.path, *given, HOME=str(folder)))
                per_row[contender.name].append(line["cpu_s"] / line["delivered"] * 1e3)
    ours, theirs = (statistics.median(per_row[name]) for name in ("ours", "instructor"))
    print(f"client: ours {ours:.3f} ms of CPU per row, Instructor {theirs:.2f} ms", flush=True)
    return {"client": theirs / ours}


def lexical(folder: Path) -> dict[str, float]:
    """Seconds for a million rows of ours, daft and rensa; ours runs once before, to compile."""
    dedup, source, few = BENCHMARKS / "dedup", folder / "rows.parquet", folder / "few.parquet"
    path = {"PYTHONPATH": str(BENCHMARKS.parent)}
    done(sys.executable, dedup / "generate.py", source, "--rows", str(_LEXICAL_ROWS), **path)
    done(sys.executable, dedup / "generate.py", few, "--rows", "20000", **path)
    seconds = {}
    for name, script, packages in (
        ("compiling", "ours.py", ()),
        ("ours", "ours.py", ()),
        ("daft", "with_daft.py", ("daft==0.7.26", "numpy>=2")),
        ("rensa", "with_rensa_16.py", ("rensa==0.5.0",)),
    ):
        try:
            python = (
                environment(f"dedup-{name}", (*packages, "polars>=2.1,<3"))[0] if packages else Path(sys.executable)
            )
            rows = few if name == "compiling" else source
            line = last_object(done(python, dedup / "contenders" / script, rows, folder / f"{name}.parquet", **path))
        except (NotInstalled, RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{name}: not measured: {error}", flush=True)
        else:
            seconds[name] = line["seconds"]
            print(f"lexical, {_LEXICAL_ROWS:,} rows: {name} {line['seconds']:.2f} s", flush=True)
    return {name: seconds[name] / seconds["ours"] for name in ("daft", "rensa") if name in seconds}


def hub(folder: Path) -> dict[str, float]:
    """CPU of one new batch in a small hub and in a large one."""
    cpu = {batches: _new_batch(folder / str(batches), batches) for batches in (20, 200)}
    print(f"a new batch: {cpu[20]:.1f} s of CPU in a hub of 20, {cpu[200]:.1f} s in one of 200", flush=True)
    return {"hub": cpu[20] / cpu[200]}


def _new_batch(home: Path, batches: int) -> float:
    personas = str(batches * _PERSONAS_PER_BATCH)
    options = ["--personas", personas, "--items", "0", "--batches", str(batches), "--embeddings"]
    done(sys.executable, BENCHMARKS / "warehouse" / "generate.py", home, *options, PYTHONPATH=str(BENCHMARKS.parent))
    (home / "hub.toml").write_text("[related_personas]\nhops = 0\n")  # no language model is asked
    people = home.parent / f"new-{home.name}.jsonl"
    texts = (f"A {number}-year-old keeper of lighthouse {number * 7} who counts ships" for number in range(_NEW_ROWS))
    people.write_text("".join(json.dumps({"persona": text}) + "\n" for text in texts))
    path = {"PYTHONPATH": str(BENCHMARKS.parent)}
    return last_object(done(sys.executable, BENCHMARKS / "quick" / "new_batch.py", home, people, **path))["cpu_s"]


def stored(page: str) -> dict[str, float]:
    """The ratios on the page."""
    inside = page.partition(f"<!-- generated: {BLOCK} -->")[2].partition("<!-- end -->")[0]
    return {name: float(value) for name, value in _LINE.findall(inside)}


def compared(today: dict[str, float], page: dict[str, float]) -> tuple[str, list[str]]:
    """A table of the new ratios and those of the page, and the ratios that fell."""
    rows = []
    for name, ratio in today.items():
        change = f"{ratio / page[name] - 1:+.0%}" if name in page else "not on the page"
        rows.append([name, f"{ratio:.2f}", f"{page[name]:.2f}" if name in page else "–", change])
    fell = [name for name, ratio in today.items() if name in page and ratio < FELL * page[name]]
    return table(["ratio", "today", "page", "change"], rows), fell


MEASURES: dict[str, Callable[[Path], dict[str, float]]] = {"client": client, "lexical": lexical, "hub": hub}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=list(MEASURES), help="one of the three measurements")
    parser.add_argument("--write", action="store_true", help="write the new ratios to the page")
    chosen, started = parser.parse_args(), time.monotonic()
    today: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        for name, measure in MEASURES.items():
            if chosen.only in (None, name):
                today |= measure(Path(folder))
    page = stored(DOCS.read_text("utf-8"))
    text, fell = compared(today, page)
    print(f"\n{text}\n\n{time.monotonic() - started:.0f} s")
    if chosen.write:
        lines = [[name, f"{ratio:.2f}"] for name, ratio in {**page, **today}.items()]
        write(DOCS, BLOCK, table(["ratio", "value"], lines))
    elif fell:
        sys.exit(f"fell by more than {1 - FELL:.0%}: {', '.join(fell)}")


if __name__ == "__main__":
    main()
