"""CPU of measuring the diversity of a dataset, as a share of the CPU of its run.

    .venv/bin/python benchmarks/diversity/run.py            (part of `make bench`)

The asset `instructions` alone is materialised against the stand-in, with items that are compared by nothing, by words,
and by meaning. The CPU of a run is that of this process, without the server. Then the same measures are made again over
the published rows, alone. The share is the CPU of the second by that of the first. The table goes into
docs/benchmarks.md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_CLIENTS = HERE.parent / "clients"
sys.path[:0] = [str(folder) for folder in (HERE.parent, _CLIENTS, _CLIENTS / "contenders")]
from common import DOCS, RESULTS, write  # noqa: E402
from ours import BATCH, materialised, prepared  # noqa: E402

from personahub_assets.standin.server import StandinServer  # noqa: E402
from personahub_assets.steps.diversity import measure_meaning, measure_words  # noqa: E402
from personahub_assets.store.tables import Store  # noqa: E402

DATASET = "instructions"
_CASES = {
    "nothing": "near_duplicates = false",
    "words": 'near_duplicates = 0.9\nnear_duplicates_by = "words"',
    "meaning": "near_duplicates = 0.9",
}


def measured(server: StandinServer, compared_by: str, rows: int) -> dict[str, Any]:
    """CPU seconds of the run of the asset, and of its measures."""
    with tempfile.TemporaryDirectory(prefix="diversity-") as folder:
        store = prepared(Path(folder), range(rows), window=64, timeout_s=120, sampling="")
        settings = store.paths.config.read_text()
        store.paths.config.write_text(settings.replace(_CASES["nothing"], _CASES[compared_by]))
        store = Store(home=folder)
        started = time.process_time()
        materialised(store, server.url, "standin")
        before = time.process_time()
        measure_words(store, DATASET, BATCH)
        measure_meaning(store, DATASET, BATCH)
        own, run = time.process_time() - before, before - started
    result = {"compared_by": compared_by, "rows": rows, "run_s": run, "measures_s": own, "share": own / run}
    print(json.dumps(result), flush=True)
    return result


def page(results: list[dict[str, Any]], arguments: str) -> Iterator[str]:
    """The results as Markdown."""
    command = f".venv/bin/python benchmarks/diversity/run.py {arguments}".strip()
    yield f"Run on {datetime.now(UTC).date().isoformat()}: `{command}`."
    yield ""
    yield "| items compared by | items | CPU-seconds of the run | of the measures | share |"
    yield "| --- | --- | --- | --- | --- |"
    for each in results:
        yield (
            f"| {each['compared_by']} | {each['rows']:,} | {each['run_s']:.1f} | {each['measures_s']:.2f} | "
            f"{each['share']:.1%} |"
        )


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="items compared by nothing and by words")
    parser.add_argument("--meaning", type=int, default=3_000, help="items compared by meaning")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    with StandinServer() as server:
        measured(server, "nothing", 200)  # compiles and imports
        results = [
            measured(server, name, chosen.meaning if name == "meaning" else rows)
            for name in _CASES
            for rows in ([chosen.meaning] if name == "meaning" else [chosen.rows // 10, chosen.rows])
        ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "diversity.json").write_text(json.dumps(results, indent=2))
    if not chosen.no_docs:
        arguments = " ".join(sys.argv[1:])
        write(DOCS, "diversity", "\n".join(page(results, arguments)))


if __name__ == "__main__":
    main()
