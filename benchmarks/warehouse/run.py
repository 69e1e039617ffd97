"""The warehouse with a million personas and a million items: size, time of building, time of every ready query.

    .venv/bin/python benchmarks/warehouse/run.py                         with a temporary home, about four minutes
    .venv/bin/python benchmarks/warehouse/run.py --data HOME             with a home that exists, or is created
    .venv/bin/python benchmarks/warehouse/run.py --personas 20000 --no-docs

The home is made by generate.py. Results go into docs/benchmarks.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.store.tables import Store, table_sql
from personahub_assets.warehouse import build

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import DOCS, machine, table, write  # noqa: E402

_TIMES = 5
_COMMAND = Path(sys.executable).with_name("personahub")
# One id of each kind, chosen by id, which is a hash.
_IDS = {
    "a persona of hop 3": "SELECT min(persona_id) FROM personas WHERE hop = 3",
    "a dropped persona": "SELECT min(persona_id) FROM lexical_duplicates",
    "an item": "SELECT min(item_id) FROM math_problems",
    "a document": "SELECT min(document_id) FROM documents",
    "a call": "SELECT min(generation_id) FROM generations WHERE asset = 'tools'",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="home to measure; it is generated if it is missing")
    parser.add_argument("--personas", type=int, default=1_000_000, help="number of personas, and of items")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(home=str(chosen.data or Path(folder) / "hub"))
        made = _made(store, chosen.personas)
        text = report(store, made)
    print(text)
    if not chosen.no_docs:
        write(DOCS, "warehouse", text)


def _made(store: Store, personas: int) -> str | None:
    """Generate the home in a separate process, unless it exists; return the time that it took."""
    if store.files("batches"):
        return None
    command = [sys.executable, HERE / "generate.py", store.root, "--personas", str(personas), "--items", str(personas)]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    return f"{time.perf_counter() - started:.0f} s"


def report(store: Store, made: str | None) -> str:
    """Measure everything; return the page's tables."""
    started = time.perf_counter()
    built = [build.build(store, force=True).seconds for _ in range(3)]
    rows = build.build(store).rows
    items = sum(rows[name] for name in DATASETS)
    facts = [
        ["personas of the hub", f"{rows['personas']:,}"],
        ["candidates", f"{rows['text_personas'] + rows['related_personas']:,}"],
        ["items", f"{items:,}"],
        ["calls", f"{rows['generations']:,}"],
        *([["making the home", made]] if made else []),
        ["republishing `warehouse.duckdb`, median of 3", f"{statistics.median(built):.1f} s"],
        ["its size", _size(store.paths.warehouse.stat().st_size)],
    ]
    parts = [
        table(["", ""], facts),
        "### On disk\n\n" + _disk(store, rows),
        "### Ready questions\n\n" + _questions(store),
    ]
    parts.append("### One row\n\n" + _walks(store))
    now, took = datetime.now(UTC).date().isoformat(), (time.perf_counter() - started) / 60
    found = machine()
    cores = f"{found['cores']} cores of {found['cpu']}, Python {found['python']}, {found['system']}"
    head = f"Run on {now} with `python benchmarks/warehouse/run.py`, in {took:.0f} min: {cores}."
    return "\n\n".join([head, *parts])


def _disk(store: Store, rows: dict[str, int]) -> str:
    sizes = {name: sum(path.stat().st_size for path in store.files(name)) for name in table_sql()}
    lines = [
        [f"`{name}`", f"{rows[name]:,}", _size(size), f"{size / rows[name]:,.0f}", f"{size / rows['personas']:,.1f}"]
        for name, size in sorted(sizes.items(), key=lambda each: -each[1])
        if rows[name]
    ]
    total = sum(sizes.values())
    lines.append(["all", "", _size(total), "", f"{total / rows['personas']:,.1f}"])
    return table(["table (Parquet)", "rows", "size", "bytes per row", "bytes per persona of the hub"], lines)


def _questions(store: Store) -> str:
    lines = []
    for name, query in sql_files("analysis").items():
        with build.reader(store) as connection:
            took, found = _median(lambda: connection.execute(query).fetchall())  # noqa: B023 - called at once
        lines.append([f"`{name}`", f"{took:,.0f} ms", f"{len(found):,}"])
        print(*lines[-1], flush=True)
    return table(["question", f"median of {_TIMES}", "rows"], lines)


def _walks(store: Store) -> str:
    """Queries about one row, by macros and by the command."""
    lines = []
    with build.reader(store) as connection:
        ids = {kind: _one(connection, query) for kind, query in _IDS.items()}
        for name, kind in (("lineage", "a persona of hop 3"), ("why", "a persona of hop 3"), ("why", "an item")):
            query = f"FROM {name}('{ids[kind]}')"
            took, _ = _median(lambda: connection.execute(query).fetchall())  # noqa: B023 - called at once
            lines.append([f"`{name}(id)` of {kind}, in SQL", f"{took:,.0f} ms"])
    for kind, of in ids.items():
        lines.append([f"`personahub why` of {kind}, the command", f"{_command(store, 'why', of):,.0f} ms"])
    lines.append(["for comparison: `personahub version`", f"{_command(store, 'version'):,.0f} ms"])
    return table(["", f"median of {_TIMES}"], lines)


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    row: Any = connection.execute(query).fetchone()
    return str(row[0])


def _command(store: Store, *arguments: str) -> float:
    """Milliseconds of a command, including the start of the process; the first run is not counted."""
    command = [str(_COMMAND), *arguments]
    environment = os.environ | {"PERSONAHUB_HOME": str(store.root), "PATH": "/usr/bin:/bin"}
    run = lambda: subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: E731
    run()
    return _median(run)[0]


def _median(work: Callable[[], Any]) -> tuple[float, Any]:
    times, found = [], None
    for _ in range(_TIMES):
        started = time.perf_counter()
        found = work()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times), found


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1_000:
            return f"{count:.0f} {unit}"
        count /= 1_000
    return f"{count:.2f} GB"


if __name__ == "__main__":
    main()
