"""The benchmark of dedup: the lexical stage compared with other tools, then the semantic stage and the embedding.

    .venv/bin/python benchmarks/dedup/run.py --quick                 100,000 rows
    .venv/bin/python benchmarks/dedup/run.py                         up to 5 million rows
    .venv/bin/python benchmarks/dedup/run.py --real FILE.jsonl       and real personas: `persona` or `input persona`
    .venv/bin/python benchmarks/dedup/run.py --only ours,rensa --tables sizes --no-docs
    .venv/bin/python benchmarks/dedup/run.py --tables semantic --keep     the other tables are those of the last run

Results go to benchmarks/results/dedup.json and, as tables, into docs/benchmarks.md. Every figure is of the same run.
`semantic.py` and `embedding.py` beside this file have their own arguments; each prints a JSON object as its last line.
"""

import argparse
import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import report
from common import DOCS, RESULTS, NotInstalled, machine, write
from environments import CONTENDERS, HERE, python_of
from lexical import TABLES, Bench, Result

_RESULTS = RESULTS / "dedup.json"
_OTHERS = ("semantic", "embedding")
_WHOLE = {"semantic": ["--hub", "1000000", "--limit-s", "1800"]}
_LIMIT_S = 600.0


def prepare(bench: Bench) -> tuple[dict[str, str], dict[str, str]]:
    """Create the environments; return the reasons for missing ones, and notes on the others."""
    absent, notes = {}, {}
    for contender in list(bench.contenders):
        try:
            bench.pythons[contender.name], note = python_of(contender)
        except NotInstalled as error:
            absent[contender.name] = str(error)
            bench.contenders.remove(contender)
            print(f"{contender.name}: not measured: {error}", flush=True)
        else:
            if note:
                notes[contender.name] = note
    return absent, notes


def other(name: str, quick: bool, lock: Path | None) -> Result:
    """Run the benchmark of another stage."""
    script = HERE / f"{name}.py"
    if not script.exists():
        return {}
    options = ["--quick"] if quick else _WHOLE.get(name, [])
    command = [sys.executable, str(script), *options, *(["--lock", str(lock)] if lock else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("{"):
            found: Result = json.loads(line)
            return found
    return {"error": f"ended with {done.returncode} and no result: {' '.join(done.stderr.split())[-300:]}"}


def arguments() -> argparse.Namespace:
    known = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100,000 rows at most")
    parser.add_argument("--only", default=",".join(known), help="contenders: %(default)s")
    parser.add_argument("--tables", default=",".join((*TABLES, *_OTHERS)), help="%(default)s")
    parser.add_argument("--real", type=Path, help="a JSONL file of real personas")
    parser.add_argument("--data", type=Path, help="a folder that keeps the generated rows; by default a temporary one")
    parser.add_argument("--lock", type=Path, help="a file to lock during each timed run")
    parser.add_argument("--limit-s", type=float, default=_LIMIT_S, help="limit of one run of one contender")
    parser.add_argument("--keep", action="store_true", help="leave the other tables of the last run")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    for option, valid in (("only", known), ("tables", [*TABLES, *_OTHERS])):
        names = getattr(chosen, option).split(",")
        if unknown := [name for name in names if name not in valid]:
            parser.error(f"--{option}: unknown {', '.join(unknown)}; choose from {', '.join(valid)}")
        setattr(chosen, option, names)
    return chosen


def measure(chosen: argparse.Namespace, folder: Path) -> Result:
    """Run what was chosen."""
    contenders = [contender for contender in CONTENDERS if contender.name in chosen.only]
    bench = Bench(folder, {}, contenders, chosen.quick, chosen.limit_s, chosen.lock, chosen.real)
    absent, notes = prepare(bench)
    # The first run must compile them.
    shutil.rmtree(bench.kernels, ignore_errors=True)
    started = time.monotonic()
    found: Result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "command": shlex.join(["python", "benchmarks/dedup/run.py", *_shown(sys.argv[1:])]),
        "absent": absent,
        "notes": notes,
        "pythons": sorted(bench.pythons),
        "lexical": {name: make(bench) for name, make in TABLES.items() if name in chosen.tables},
    }
    for name in _OTHERS:
        if name in chosen.tables:
            found[name] = other(name, chosen.quick, chosen.lock)
    found["seconds"] = round(time.monotonic() - started)
    return found


def _over(last: Result, found: Result) -> Result:
    """The tables of the last run, with the new tables replacing old ones."""
    both = {**last, **found, "seconds": last["seconds"] + found["seconds"]}
    both["command"] = f"{last['command']}` and, on {found['date']}, `{found['command']}"
    both |= {name: {**last[name], **found[name]} for name in ("lexical", "absent", "notes")}
    return both | {"date": last["date"], "pythons": sorted({*last["pythons"], *found["pythons"]})}


def _shown(given: list[str]) -> list[str]:
    """The arguments without folders of this machine."""
    return [Path(each).name if "/" in each else each for each in given]


def main() -> None:
    chosen = arguments()
    # Raise SystemExit, so that a running contender is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        place = chosen.data or Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        found = measure(chosen, place.resolve())
    if chosen.keep:
        found = _over(json.loads(_RESULTS.read_text()), found)
    RESULTS.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    text = report.rendered(found)
    if not chosen.no_docs:
        write(DOCS, "dedup", text)
    print("\n" + text)


if __name__ == "__main__":
    main()
