"""CPU seconds of one more batch in homes of many small batches: the warehouse, and commands that ask it.

    .venv/bin/python benchmarks/many_batches/run.py                                 10, 100 and 1,000 batches
    .venv/bin/python benchmarks/many_batches/run.py --batches 10 1000 10000 --homes FOLDER

Each command is a process of its own; its CPU seconds are those of the process and its children, of all threads. Homes
are made by homes.py, or taken from the folder if they are there. Results go into docs/benchmarks.md.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from common import DOCS, machine, table, write  # noqa: E402
from homes import Template, extend, template, write_batch  # noqa: E402

from personahub_assets.store.tables import Store  # noqa: E402
from personahub_assets.warehouse import build  # noqa: E402

_QUERY = "SELECT count(*) FROM personas WHERE batch = 'crawl-00003'"
_OF_BATCH = "SELECT count(*), sum(attempts) FROM generations WHERE batch = 'crawl-00003'"
_BUILD = """
import sys
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.build import build
build(Store(home=sys.argv[1]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--homes", type=Path, help="folder of the homes; they stay there")
    parser.add_argument("--rows", type=int, default=20, help="most rows of a table in a batch")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        of = template(chosen.rows)
        columns = {}
        for count in chosen.batches:
            store = Store(home=str((chosen.homes or Path(folder)) / f"h{count}"))
            extend(store, of, count)
            columns[count] = measure(store, of, count)
            print(count, json.dumps(columns[count]), flush=True)
    text = report(columns, chosen.rows)
    print(text)
    if not chosen.no_docs:
        write(DOCS, "many-batches", text)


def measure(store: Store, of: Template, count: int) -> dict[str, float]:
    """CPU seconds of each step in a home of so many batches; the home is the same afterwards."""
    build.build(store)
    took = dict[str, float]()
    write_batch(store, of, count)
    took["`personahub why` of a persona, stale"] = _personahub(store, "why", _persona(of))
    took["warehouse, one batch is new"] = _cpu("-c", _BUILD, store.root)
    write_batch(store, of, 3, edition="x")
    took["warehouse, one is refreshed"] = _cpu("-c", _BUILD, store.root)
    for folder in store.paths.partition_folders(f"crawl-{count:05d}"):
        shutil.rmtree(folder)
    took["warehouse, one is removed"] = _cpu("-c", _BUILD, store.root)
    took["warehouse, nothing changed"] = _cpu("-c", _BUILD, store.root)
    took["`personahub why` of a persona"] = _personahub(store, "why", _persona(of))
    took["`personahub sql`, the hub"] = _personahub(store, "sql", _QUERY)
    took["`personahub sql`, calls of a batch"] = _personahub(store, "sql", _OF_BATCH)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "more.jsonl"
        source.write_text('{"text": "A page about bees."}\n')
        took["`personahub ingest` of a file"] = _personahub(store, "ingest", str(source))
    for path in store.paths.partition_folders("more"):
        shutil.rmtree(path)
    return took


def _persona(of: Template) -> str:
    """A persona of batch 5."""
    rows = next(rows for table, _, rows in of if table == "personas")
    return f"{rows['persona_id'][0]}-5"


def _personahub(store: Store, *arguments: str) -> float:
    return _cpu("-m", "personahub_assets", *arguments, home=store.root)


def _cpu(*arguments: str | Path, home: Path | None = None) -> float:
    """CPU seconds of a process and its children."""
    environment = os.environ | ({"PERSONAHUB_HOME": str(home)} if home else {})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def report(columns: dict[int, dict[str, float]], rows: int) -> str:
    """The page's table."""
    first, *others = columns
    head = ["", f"{first:,} batches", *(text for count in others for text in (f"{count:,} batches", "ratio"))]
    lines = []
    for step, base in columns[first].items():
        later = [
            text for count in others for text in (f"{columns[count][step]:.2f} s", f"{columns[count][step] / base:.2f}")
        ]
        lines.append([step, f"{base:.2f} s", *later])
    found = machine()
    cores = f"{found['cores']} cores of {found['cpu']}, Python {found['python']}, {found['system']}"
    today = datetime.now(UTC).date().isoformat()
    return f"Run on {today}: {cores}. At most {rows} rows of a table in a batch, 32 files a batch.\n\n" + table(
        head, lines
    )


if __name__ == "__main__":
    main()
