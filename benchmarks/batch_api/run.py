"""CPU, memory and disk of requests that go to a batch API, beside the same requests online.

    .venv/bin/python benchmarks/batch_api/run.py [--rows 20000]       about two minutes; writes into docs/batch-api.md

The requests of `math_problems` for so many personas are sent to the stand-in, which also serves files and batches. Each
pass is a process of its own: one submits, one collects. Only the client is measured: CPU seconds and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import ROOT, table, write  # noqa: E402

_PASSES = (("online", "online"), ("batch API", "submit"), ("batch API", "collect"))


def measure(kind: str, url: str, home: Path, rows: int) -> dict[str, Any]:
    """One pass in this process."""
    from personahub_assets.core import project_files
    from personahub_assets.core.errors import Submitted
    from personahub_assets.core.records import MathProblem
    from personahub_assets.generation.llm import LLM
    from personahub_assets.generation.requests import Task
    from personahub_assets.store.tables import Store

    store = Store(home=str(home))
    llm = LLM(url=url, model="standin", batch_api=kind != "online")
    task = Task("math_problems", project_files.prompt("math_problems"), MathProblem, "standin")
    before, accepted = time.process_time(), 0
    with llm.answers(store, task, "b", lambda _tally: None) as answers:
        try:
            for chunk in answers.request_all(
                lambda: (task.request(f"p{n}", {"persona": f"A keeper of lighthouse {n}"}) for n in range(rows)), rows
            ):
                accepted += len(chunk)
        except Submitted:
            pass
    ledger = store.paths.ledger("math_problems", "b")
    return {
        "cpu_ms": 1_000 * (time.process_time() - before) / rows,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
        "accepted": accepted,
        "ledger_mb": ledger.stat().st_size / 1e6 if ledger.exists() else 0.0,
    }


def run_pass(kind: str, url: str, home: Path, rows: int) -> dict[str, Any]:
    """One pass in a process of its own."""
    command = [sys.executable, __file__, "--rows", str(rows), "--one", kind, "--url", url, "--home", str(home)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return result


def report(rows: int) -> str:
    """The table, and the answers that were paid for each that was needed."""
    from personahub_assets.standin.server import StandinServer

    lines, sold = [], {}
    for way in dict.fromkeys(way for way, _ in _PASSES):
        with StandinServer() as server, tempfile.TemporaryDirectory() as folder:
            for kind in (kind for each, kind in _PASSES if each == way):
                result = run_pass(kind, server.url, Path(folder), rows)
                while kind == "submit" and server.stats()["sold"] < rows:
                    time.sleep(1)
                figures = [f"{result['cpu_ms']:.2f}", f"{result['memory_mb']:.0f}", f"{result['ledger_mb']:.0f}"]
                lines.append([kind, *figures, f"{result['accepted']:,}"])
            sold[way] = server.stats()["sold"] / rows
    head = ["pass", "CPU ms per request", "peak MB", "ledger MB", "answers"]
    paid = "; ".join(f"{way} {share:.3f}" for way, share in sold.items())
    return f"{table(head, lines)}\n\nPaid for each needed answer: {paid}. {rows:,} requests."


def main() -> None:
    """Run, and write the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--one", help="one pass, in this process")
    parser.add_argument("--url", default="")
    parser.add_argument("--home", type=Path, default=Path())
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.url, options.home, options.rows)))
        return
    text = report(options.rows)
    print(text)
    write(ROOT / "docs" / "batch-api.md", "batch_api", text)


if __name__ == "__main__":
    main()
