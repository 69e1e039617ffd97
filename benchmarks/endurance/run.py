"""Long tests of the client: kills, faults, memory, and a profile of its CPU time.

    .venv/bin/python benchmarks/endurance/run.py              all four parts, about five minutes
    .venv/bin/python benchmarks/endurance/run.py kills faults

Each part drives the asset `instructions` (benchmarks/clients/ours.py) against the mock server of the client benchmark:

    kills    kill -9 at 25, 50 and 75 % of 3,000 rows; then settings that must not cause calls, and max_tokens
    faults   10,000 rows, 2 % of each of seven faults
    memory   peak resident memory for requesting and publishing 10,000, 50,000 and 200,000 rows
    profile  the functions that take the most CPU time, over 5,000 rows

Results go into docs/benchmarks.md.
"""

import argparse
import cProfile
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CLIENTS = HERE.parent / "clients"
sys.path[:0] = [str(CLIENTS), str(CLIENTS / "contenders"), str(HERE.parent)]
import ours  # noqa: E402
from common import write  # noqa: E402
from run import Server, mock_server  # type: ignore[attr-defined]  # noqa: E402
from task import MODEL  # noqa: E402

_SCRIPT = CLIENTS / "ours.py"
_MEBI = 1024


def client(server: Server, home: Path, rows: int, window: int = 256, max_tokens: int = 768) -> subprocess.Popen[str]:
    """Start the asset in a separate process."""
    command = [sys.executable, str(_SCRIPT), "--url", server.url, "--rows", str(rows), "--home", str(home)]
    command += ["--window", str(window), "--max-tokens", str(max_tokens)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the result of a run."""
    lines = [line for line in process.communicate()[0].splitlines() if line.startswith('{"asked"')]
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def kills(rows: int = 3_000) -> list[str]:
    """Kill at three moments, complete the run, then change settings that must not matter, then max_tokens."""
    with mock_server(latency_ms=300) as server, tempfile.TemporaryDirectory() as folder:
        home, flying = Path(folder), 0
        for share in (0.25, 0.5, 0.75):
            process = client(server, home, rows)
            while server.stats()["calls"] < rows * share + flying:
                time.sleep(0.003)
            process.kill()
            flying += server.stats()["in_flight"]
            process.wait()
            while server.stats()["in_flight"]:
                time.sleep(0.02)
        end = result(client(server, home, rows))
        calls = server.stats()["calls"]
        told = f"- kill -9 at 25, 50 and 75 % of {rows:,} rows: {calls:,} calls, {flying:,} in flight at the kills "
        told += (
            f"(together with the needed {rows + flying:,}); {end['delivered']:,} delivered, {end['missing']} missing."
        )
        lines = [told]
        with mock_server() as other:
            result(client(other, home, rows, window=7))
            lines.append(f"- another endpoint and window: {other.stats()['calls']} calls.")
        for max_tokens in (1_536, 20, 768):
            server.reset()
            store = ours.Store(home=str(home))
            answers = store.read("generations", ours.BATCH, "instructions")
            fits = answers.filter((answers["answer_tokens"] > max_tokens) & (answers["max_tokens"] > max_tokens)).height
            result(client(server, home, rows, max_tokens=max_tokens))
            stats = server.stats()
            lines.append(f"- max_tokens = {max_tokens}: {fits:,} answers no longer fit, {stats['unique']:,} calls.")
    return lines


def faults(rows: int = 10_000) -> list[str]:
    """Many rows under faults."""
    with mock_server(fault_rate=0.02) as server, tempfile.TemporaryDirectory() as folder:
        found = result(client(server, Path(folder), rows, window=64))
        stats = server.stats()
    told = f"- {rows:,} rows, 2 % of each of seven faults ({stats['faults']}): {found['delivered']:,} delivered, "
    told += f"quarantined {found['failed'] or 'none'}, {found['missing']} missing, {found['doubled']} doubled, "
    told += f"{found['wrong']} wrong; {stats['calls'] / found['delivered']:.3f} calls per delivered row, "
    return [f"{told}{found['wall_s']:.0f} s."]


def memory(sizes: tuple[int, ...] = (10_000, 50_000, 200_000)) -> list[str]:
    """Peak resident memory of the asset, each size in a separate process."""
    lines = []
    with mock_server() as server:
        for rows in sizes:
            command = [sys.executable, __file__, "--peak-of", str(rows), "--url", server.url]
            said = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            lines.append(
                f"- {rows:,} rows: peak {said['peak']} MiB ({said['before']} before it), {said['seconds']:.0f} s."
            )
    return lines


def peak(url: str, rows: int) -> None:
    """Measure one size in this process."""
    with tempfile.TemporaryDirectory() as folder:
        store = ours.prepared(Path(folder), range(1, rows + 1), window=64, timeout_s=60, sampling="")
        before = _memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        metadata = ours.materialised(store, f"{url}/v1", MODEL)["metadata"]
        print(json.dumps({"before": before, "peak": _memory("VmHWM"), "seconds": metadata["seconds"]}))


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // _MEBI


def profile(rows: int = 5_000) -> list[str]:
    """Shares of CPU time by cProfile, which doubles the time."""
    with mock_server() as server, tempfile.TemporaryDirectory() as folder:
        store = ours.prepared(Path(folder), range(1, rows + 1), window=64, timeout_s=60, sampling="")
        profiler = cProfile.Profile()
        profiler.enable()
        ours.materialised(store, f"{server.url}/v1", MODEL)
        profiler.disable()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    groups: dict[str, float] = {}
    for (path, _, name), (_, _, own, *_) in stats.items():
        groups[_group(path, name)] = groups.get(_group(path, name), 0.0) + own
    total = sum(groups.values())
    ranked = sorted(groups.items(), key=lambda each: -each[1])[:12]
    return [
        "| part | share of the CPU time |",
        "| --- | --- |",
        *(f"| {name} | {own / total:.0%} |" for name, own in ranked),
    ]


def _group(path: str, name: str) -> str:
    known = ("aiohttp", "dagster", "sqlalchemy", "polars", "jinja2", "pydantic", "instructor", "personahub_assets")
    for package in known:
        if f"{os.sep}{package}{os.sep}" in path:
            return package
    if path == "~":
        return "built-in functions (JSON, SQLite, hashes, sockets …)"
    return "asyncio and uvloop" if "asyncio" in path else "the rest of Python's library"


PARTS = {"kills": kills, "faults": faults, "memory": memory, "profile": profile}


def main() -> None:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    if chosen.peak_of:
        peak(chosen.url, chosen.peak_of)
        return
    if unknown := set(chosen.parts) - PARTS.keys():
        parser.error(f"unknown parts {sorted(unknown)}; choose from {', '.join(PARTS)}")
    told = [f"Run on {datetime.now(UTC).date().isoformat()}: `.venv/bin/python benchmarks/endurance/run.py`."]
    for name in chosen.parts or PARTS:
        lines = PARTS[name]()
        print("\n".join(lines), flush=True)
        told += ["", *lines]
    if not chosen.no_docs:
        write(HERE.parents[1] / "docs" / "benchmarks.md", "endurance", "\n".join(told))


if __name__ == "__main__":
    main()
