"""What the pages of `personahub browse` take with a million personas: first page, filters, one persona, memory.

    .venv/bin/python benchmarks/browse/run.py HOME               a home with a warehouse, such as one of
                                                                  benchmarks/warehouse/generate.py
    .venv/bin/python benchmarks/browse/run.py HOME --no-docs

The command runs as for a user, and is asked over HTTP. Results go into docs/benchmarks.md.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from common import DOCS, table, write  # noqa: E402

_TIMES = 9
_PART = {"X-Part": "results"}  # as a filter that is changed in the page
_COMMAND = [sys.executable, "-m", "personahub_assets", "browse", "--port", "0", "--no-open"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    text = report(chosen.home)
    print(text)
    if not chosen.no_docs:
        write(DOCS, "browse", text)


def report(home: Path) -> str:
    """Measure all of it."""
    started = time.perf_counter()
    with serving(home) as (address, process):
        shown = time.perf_counter() - started
        lines = [["from the command to its address, once", f"{shown * 1000:,.0f} ms", "", _cpu(process.pid, 0, 1)]]
        before = _cpu_s(process.pid)
        lines.append(["the first page, once", f"{asked(address) * 1000:,.0f} ms", "", _cpu(process.pid, before, 1)])
        medians = []
        for name, path in paths(address).items():
            before = _cpu_s(process.pid)
            took = sorted(asked(address + path, _PART) * 1000 for _ in range(_TIMES))
            middle = statistics.median(took)
            lines.append([name, f"{middle:,.0f} ms", f"{took[-1]:,.0f} ms", _cpu(process.pid, before, _TIMES)])
            medians += [middle] * name.startswith("filter")
        lines.append(["all filters, median of their medians", f"{statistics.median(medians):,.0f} ms", "", ""])
        lines.append(["peak memory of the process", f"{_peak_mb(process.pid):,.0f} MB", "", ""])
    return table(["", f"median of {_TIMES}", "the slowest", "CPU time, mean"], lines)


def _cpu(pid: int, before: float, times: int) -> str:
    return f"{(_cpu_s(pid) - before) / times * 1000:,.0f} ms"


def _cpu_s(pid: int) -> float:
    """Seconds of CPU time that a process has used, which other load on the machine changes little."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def paths(address: str) -> dict[str, str]:
    """What is asked, by its name; ids and values are those of the home."""
    page, _ = _page(address + "/")
    options = {
        name: quote(_option(page, name), safe="")
        for name in ("batch", "hop", "origin", "source")
        if _option(page, name)
    }
    persona = re.findall(r'href="(/personas/[^"]+)"', page)[0]
    return {
        "personas without a filter": "/",
        **{f"filter: {name}": f"/?{name}={value}" for name, value in options.items()},
        "filter: batch, hop and origin": "/?"
        + "&".join(f"{name}={options[name]}" for name in ("batch", "hop", "origin")),
        "filter: dropped": "/?state=dropped",
        "filter: a frequent word": "/?q=the",
        "filter: two words": "/?q=nurse+river",
        "filter: a word that no persona has": "/?q=qqqqq",
        "number of personas under a filter": "/count?hop=2",
        "a persona, first part": persona,
        "a persona, its items": f"{persona}/items",
        "a persona, its calls": f"{persona}/calls",
        "items of a dataset": "/datasets/tools",
        "two prompts or models of a dataset": "/datasets/tools/compare",
        "quarantine": "/quarantine",
        "the points of the map, made at the first request": "/map/points",
    }


def _option(page: str, name: str) -> str:
    """The second value that a filter offers: the first one is all."""
    select = re.search(rf'<select name="{name}">(.*?)</select>', page, re.DOTALL)
    values = re.findall(r'<option value="([^"]+)"', select[1]) if select else []
    return values[0] if values else ""


def asked(address: str, headers: dict[str, str] | None = None) -> float:
    """Seconds until the whole answer is here."""
    return _page(address, headers)[1]


def _page(address: str, headers: dict[str, str] | None = None) -> tuple[str, float]:
    started = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers or {})) as answer:
        return answer.read().decode(), time.perf_counter() - started


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The command, with the address that it prints."""
    environment = os.environ | {"PERSONAHUB_HOME": str(home.resolve())}
    with subprocess.Popen(_COMMAND, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            yield process.stderr.readline().split()[0], process
        finally:
            process.terminate()


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    main()
