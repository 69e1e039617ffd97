"""Measure generation with several servers: throughput when one is dead, silent or slow, and the prefix cache.

    .venv/bin/python benchmarks/servers/run.py             measures and writes to docs/benchmarks.md (five minutes)
    .venv/bin/python benchmarks/servers/run.py --rows 600  a quick look, without writing

Each server (server.py) has a fixed capacity, as a GPU has. The client is the whole step of a dataset, without Dagster:
journal, tables and the pool of servers. The trouble begins after a third of the rows.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCHMARKS))
from common import DOCS, table, write  # noqa: E402

from personahub_assets.core import project_files  # noqa: E402
from personahub_assets.core.records import Instruction  # noqa: E402
from personahub_assets.generation.llm import LLM  # noqa: E402
from personahub_assets.generation.requests import Task, Usage  # noqa: E402
from personahub_assets.store.tables import Store  # noqa: E402

BLOCK = "servers"
ROWS = 3_000
SLOTS, SECONDS = 32, 1.0
SLOWER = 10


class Server:
    """A process of server.py."""

    def __init__(self, log: Path, port: int = 0):
        self.log = log
        command = [sys.executable, Path(__file__).with_name("server.py"), "--log", log, "--port", str(port)]
        command += ["--slots", str(SLOTS), "--seconds", str(SECONDS)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def rows(self) -> list[str]:
        """The rows that it has answered."""
        return self.log.read_text().split()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def slow_down(self) -> None:
        address = f"http://127.0.0.1:{self.port}/slow?factor={SLOWER}"
        urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=5).close()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def kill(servers: list[Server]) -> None:
    servers[0].signal(signal.SIGKILL)


def hang(servers: list[Server]) -> None:
    servers[0].signal(signal.SIGSTOP)


def slow(servers: list[Server]) -> None:
    servers[0].slow_down()


def all_three(servers: list[Server]) -> None:
    servers[0].signal(signal.SIGKILL)
    servers[1].signal(signal.SIGSTOP)
    servers[2].slow_down()


def restart(servers: list[Server]) -> None:
    """Kill a server, and start it again on its port."""
    first = servers[0]
    first.stop()
    servers[0] = Server(first.log, first.port)


@dataclass
class Scenario:
    """A number of servers, and what happens to them.

    Attributes:
        left: the capacity after it, in servers.
        share: share of the rows that are requested: a smaller capacity needs fewer for a measurement.
        begin: share of them after which it happens.
    """

    name: str
    servers: int
    trouble: Callable[[list[Server]], None] | None = None
    left: float = 0.0
    share: float = 1.0
    begin: float = 1 / 3


SCENARIOS = [
    Scenario("one server", 1, left=1, share=1 / 3),
    Scenario("three servers", 3, left=3),
    Scenario("one of three killed", 3, kill, 2),
    Scenario("one of three silent", 3, hang, 2),
    Scenario("one of three ten times slower", 3, slow, 2 + 1 / SLOWER),
    Scenario("one of three restarted", 3, restart, 3),
    Scenario("one killed, one silent, one ten times slower", 3, all_three, 1 / SLOWER, 0.3, 0.5),
]


@dataclass
class Result:
    """What a scenario gave.

    Attributes:
        rate: rows per second after the trouble, to the last answer that was not one of the last requests in flight.
        whole_rate: rows per second after the trouble, to the end.
        lost: rows without an answer in the tables.
        twice: rows that two servers answered.
        shares: answers of each server.
    """

    rate: float
    whole_rate: float
    lost: int
    twice: int
    cached_share: float
    shares: list[int] = field(default_factory=list)


def measured(scenario: Scenario, rows: int, folder: Path) -> Result:
    """Run one scenario."""
    rows = round(rows * scenario.share)
    with ExitStack() as stack:
        servers = [Server(folder / f"{number}.log") for number in range(scenario.servers)]
        urls = [server.url for server in servers]
        stack.callback(lambda: [server.stop() for server in servers])
        samples: list[tuple[float, int]] = []
        begun: list[int] = []

        def watch(tally: Usage) -> None:
            samples.append((time.perf_counter(), tally.accepted))
            if not begun and tally.accepted >= rows * scenario.begin:
                begun.append(len(samples) - 1)
                if scenario.trouble:
                    scenario.trouble(servers)
                    samples.append((time.perf_counter(), tally.accepted))

        store = Store(home=str(folder / "hub"))
        tally = asked(store, ",".join(urls), rows, watch)
        answered = Counter(row for server in servers for row in server.rows())
        return Result(
            rate=_rate(samples[begun[0] :], round(rows * 0.9)),
            whole_rate=_rate(samples[begun[0] :], rows),
            lost=rows - store.read("generations", "a", "instructions")["input_id"].n_unique(),
            twice=sum(count > 1 for count in answered.values()),
            cached_share=tally.cached_tokens / max(1, tally.prompt_tokens),
            shares=[tally.servers.get(url, tally.calls) for url in urls],
        )


def asked(store: Store, urls: str, rows: int, watch: Callable[[Usage], None]) -> Usage:
    """The step of a dataset: requests, answers, published tables."""
    task = Task("instructions", project_files.prompt("instructions"), Instruction, "mock")
    texts = (f"A keeper of lighthouse number {number}" for number in range(rows))
    requests = (task.request(f"p{number}", {"persona": text}) for number, text in enumerate(texts))
    with LLM(url=urls, model="mock").answers(store, task, "a", watch) as answers:
        for _ in answers.request_all(lambda: requests, rows):
            pass  # items are not of interest, only the published answers
        answers.publish("instructions")
        return answers.tally


def _rate(samples: list[tuple[float, int]], until: int) -> float:
    """Rows per second from the first sample to the first one with so many rows."""
    began, rows = samples[0]
    ended, rows_then = next((sample for sample in samples if sample[1] >= until), samples[-1])
    return (rows_then - rows) / max(1e-9, ended - began)


def shown(results: dict[str, Result]) -> str:
    """The results as a table."""
    capacity = results["one server"].rate if "one server" in results else SLOTS / SECONDS
    head = ["scenario", "rows/s", "of the sum", "with the last 10 %", "lost", "paid twice", "cached", "answers"]
    lines = [
        [
            scenario.name,
            f"{result.rate:,.0f}",
            f"{result.rate / capacity / scenario.left:.2f}",
            f"{result.whole_rate / capacity / scenario.left:.2f}",
            str(result.lost),
            str(result.twice),
            f"{result.cached_share:.1%}".replace("%", " %"),
            ", ".join(f"{share:,}" for share in result.shares),
        ]
        for scenario in SCENARIOS
        if (result := results.get(scenario.name))
    ]
    return table(head, lines)


def main() -> None:
    """Measure all scenarios, or those with a word in their name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args()
    results: dict[str, Result] = {}
    for scenario in SCENARIOS:
        if chosen.only in scenario.name:
            with tempfile.TemporaryDirectory() as folder:
                results[scenario.name] = measured(scenario, chosen.rows, Path(folder))
            print(scenario.name, results[scenario.name], flush=True)
    print(shown(results))
    if chosen.rows >= ROWS and not chosen.only:
        setting = f"Each server answers {SLOTS} requests at a time, each in {SECONDS} s."
        write(DOCS, BLOCK, f"{setting}\n\n{shown(results)}")


if __name__ == "__main__":
    main()
