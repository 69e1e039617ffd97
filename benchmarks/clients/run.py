"""The benchmark of clients: equal rows, messages and schema, the same mock server, one contender after the other.

    .venv/bin/python benchmarks/clients/run.py                                 everything, about a quarter of an hour
    .venv/bin/python benchmarks/clients/run.py --scenarios speed --rows 300 --only ours,instructor --no-docs

Scenarios:

    speed    CPU per row and rows/s at 0 latency, client on one core, server on another; 64 slots
    latency  rows/s at 200 ms latency, 64 slots
    wide     rows/s at 200 ms latency, 512 slots (personahub and Instructor)
    faults   2 % of each of seven faults: rows delivered, failed with a reason, and missing
    resume   kill -9 after half of the calls, a second run in the same home, then a third with another max_tokens

Results go to benchmarks/results/clients.json and, as tables, into docs/benchmarks.md. All figures of
a table are from the same run.

A contender is run as

    PYTHON SCRIPT --url URL --rows N --window W --home DIR [--max-tokens M]

URL is the root of the server, without /v1; the model's name is "mock". DIR is the same for the runs of one `resume`
and new for all others. The last line of its output that is a JSON object is its result:

    asked, delivered, wrong, doubled, missing    rows; wrong: kept as data, but not the row's right answer
    failed, unexplained                          {reason: rows}; rows handed over as failed without a reason
    error                                        null, or the error that stopped it
    cpu_s, wall_s                                of the generation in all processes, without start and imports
    versions                                     {package: version}

The contract of `ours.py`: it is run by the interpreter that runs this file, with the arguments above, and prints that
line. It drives the project's own asset `instructions` through personahub's own code: `persona(n)` of
contenders/task.py for n = 1 to N imported into the home DIR, none of them lost to dedup, and the asset materialised
against URL/v1 with W requests in flight. Rows are judged by `Tally`: `keep(n, row)` for each row of the published
table, `fail(reason)` for each quarantined one, with its reason. The meter runs around the materialisation of
`instructions` alone. The client's timeout is TIMEOUT_S of contenders/task.py. Called again with the same DIR it
imports nothing and uses the same journal; with another --max-tokens it only changes that setting. PERSONAHUB_*
variables are not set when it is called. `task.run(generate, description, packages)` does the reading and printing:

    sys.path.insert(0, str(Path(__file__).parent / "contenders"))
    from task import run
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import report
from common import DOCS, RESULTS, NotInstalled, machine, write
from environments import CONTENDERS, HERE, Contender, python_of, version_of

_RESULTS = RESULTS / "clients.json"
_MAX_TOKENS = 768
_CORES = sorted(os.sched_getaffinity(0))
_CLIENT_CORE, _SERVER_CORE = _CORES[0], _CORES[-1]
# No network access except to the mock server, and no files outside the home.
_QUIET = {
    "CURATOR_VIEWER": "0",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NEMO_TELEMETRY_ENABLED": "false",
    "TELEMETRY_ENABLED": "false",
}

Result = dict[str, Any]


@dataclass
class Plan:
    """What to run: rows by scenario, rounds of the speed scenarios, and the limit of one contender's run in seconds."""

    rows: dict[str, int]
    rounds: int
    limit_s: float
    contenders: list[Contender]
    notes: dict[str, str] = field(default_factory=dict)
    pythons: dict[str, Path] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)


class Server:
    """The mock server in its own process."""

    def __init__(self, url: str):
        self.url = url

    def stats(self) -> Result:
        return self._get("/stats")

    def reset(self) -> None:
        self._get("/reset")

    def _get(self, path: str) -> Result:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            page: Result = json.load(answer)
        return page


@contextmanager
def mock_server(**options: float) -> Iterator[Server]:
    """Run the mock server on its core; options are those of its command line."""
    command = [sys.executable, str(HERE / "mock_server.py"), "--core", str(_SERVER_CORE)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Server(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # it waits for open connections of a client in this process
            process.kill()
            process.wait()
        assert process.stdout
        process.stdout.close()


@dataclass
class Run:
    """One run of a contender: its arguments, and its process after the start."""

    contender: Contender
    python: Path
    url: str
    rows: int
    window: int
    home: Path
    max_tokens: int = _MAX_TOKENS

    def start(self) -> subprocess.Popen[bytes]:
        """Start it on the client's core, in its own process group, with its output in the home's log."""
        self.home.mkdir(parents=True, exist_ok=True)
        arguments = {"url": self.url, "rows": self.rows, "window": self.window, "home": self.home / "data"}
        command = [str(self.python), str(self.contender.path), "--max-tokens", str(self.max_tokens)]
        for name, value in arguments.items():
            command += [f"--{name}", str(value)]
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=partial(os.sched_setaffinity, 0, {_CLIENT_CORE}),
            )

    def finish(self, process: subprocess.Popen[bytes], limit_s: float) -> Result:
        """Wait for its result, at most `limit_s` seconds."""
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return {"error": f"did not end within {limit_s:g} s"}
        finally:
            end(process)
        return self._line() or {"error": f"ended with {process.returncode} and no result: {self._tail()}"}

    @property
    def _log(self) -> Path:
        return self.home / "output.log"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PERSONAHUB_")}
        if not self.contender.packages:
            return kept
        return {**kept, **_QUIET, "HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache")}

    def _line(self) -> Result | None:
        for line in reversed(self._log.read_text("utf-8", "replace").splitlines()):
            if line.startswith('{"asked"'):
                found: Result = json.loads(line)
                return found
        return None

    def _tail(self) -> str:
        return " ".join(self._log.read_text("utf-8", "replace").split())[-300:]


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a contender with its child processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measured(plan: Plan, server: Server, contender: Contender, rows: int, window: int) -> Result:
    """One run in a new home, with the counts of the server."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        run = Run(contender, plan.pythons[contender.name], server.url, rows, window, Path(folder))
        server.reset()
        result = run.finish(run.start(), plan.limit_s)
        return {"rows": rows, "window": window, **result, "server": server.stats()}


def rotated(contenders: list[Contender], by: int) -> list[Contender]:
    """The contenders in another order, so that none is always first."""
    start = by % max(1, len(contenders))
    return contenders[start:] + contenders[:start]


def rounds(plan: Plan, scenario: str, window: int, contenders: list[Contender], **server: float) -> dict[str, Any]:
    """Several rounds over the contenders, in a rotated order each."""
    results: dict[str, list[Result]] = {contender.name: [] for contender in contenders}
    with mock_server(**server) as mock:
        for number in range(plan.rounds):
            for contender in rotated(contenders, number):
                count = plan.rows[scenario]
                # A sequential client would take minutes; a few rows are enough to measure its rate.
                if contender.sequential and server:
                    count = min(count, 25)
                result = measured(plan, mock, contender, count, window)
                results[contender.name].append(result)
                say(scenario, contender, result)
    return results


def speed(plan: Plan) -> dict[str, Any]:
    return rounds(plan, "speed", 64, plan.contenders)


def latency(plan: Plan) -> dict[str, Any]:
    return rounds(plan, "latency", 64, plan.contenders, latency_ms=200)


def wide(plan: Plan) -> dict[str, Any]:
    chosen = [contender for contender in plan.contenders if contender.name in ("ours", "instructor")]
    return rounds(plan, "wide", 512, chosen, latency_ms=200)


def faults(plan: Plan) -> dict[str, Any]:
    results = {}
    with mock_server(fault_rate=0.02) as mock:
        for contender in plan.contenders:
            count = plan.rows["faults"]
            # A sequential client waits for each hanging request in turn.
            if contender.sequential:
                count = min(count, 300)
            results[contender.name] = measured(plan, mock, contender, count, 64)
            say("faults", contender, results[contender.name])
    return results


def resume(plan: Plan) -> dict[str, Any]:
    results = {}
    # Some latency: without it a fast client would end before it can be killed.
    with mock_server(latency_ms=50) as mock:
        for contender in plan.contenders:
            results[contender.name] = resumed(plan, mock, contender) if contender.resumes else {"error": "no resume"}
            say("resume", contender, results[contender.name])
    return results


def resumed(plan: Plan, server: Server, contender: Contender) -> Result:
    """Kill it at half, run it again to the end, and again with twice the max_tokens."""
    rows = plan.rows["resume"]
    # Limit for a contender that hangs.
    limit_s = plan.limit_s / 2
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        call = partial(Run, contender, plan.pythons[contender.name], server.url, rows, 64, Path(folder))
        server.reset()
        at_kill = killed_at(call(), server, rows // 2, limit_s)
        again = call()
        second = again.finish(again.start(), limit_s)
        calls = server.stats()["calls"]
        server.reset()
        larger = call(max_tokens=2 * _MAX_TOKENS)
        third = larger.finish(larger.start(), limit_s)
        paid_again = server.stats()["calls"]
    return {"rows": rows, "at_kill": at_kill, "calls": calls, "again": second, "larger": third, "paid": paid_again}


def killed_at(run: Run, server: Server, calls: int, limit_s: float) -> int:
    """Start a run and kill it after a number of calls; return the calls that it made (all, if it ended before)."""
    process, started = run.start(), time.monotonic()
    while process.poll() is None and server.stats()["calls"] < calls and time.monotonic() - started < limit_s:
        time.sleep(0.005)
    end(process)
    while server.stats()["in_flight"]:
        time.sleep(0.01)
    made: int = server.stats()["calls"]
    return made


SCENARIOS: dict[str, Callable[[Plan], dict[str, Any]]] = {
    "speed": speed,
    "latency": latency,
    "wide": wide,
    "faults": faults,
    "resume": resume,
}
_ROWS = {"speed": 5_000, "latency": 1_000, "wide": 10_000, "faults": 1_000, "resume": 2_000}


def say(scenario: str, contender: Contender, result: Result) -> None:
    """Print one line of progress."""
    shown = result.get("again", result)
    facts = [f"{name} {shown[name]}" for name in ("delivered", "missing", "cpu_s", "wall_s") if name in shown]
    if "at_kill" in result:
        facts += [f"calls {result['calls']} for {result['rows']}", f"then {result['paid']} paid again"]
    if shown.get("error"):
        facts.append(shown["error"])
    print(f"{scenario:8} {contender.name:14} {', '.join(facts)}", flush=True)


def prepare(plan: Plan) -> dict[str, str]:
    """Create the environments; contenders without one are removed and returned with the reason."""
    absent = {}
    for contender in list(plan.contenders):
        try:
            plan.pythons[contender.name], note = python_of(contender)
        except NotInstalled as error:
            absent[contender.name] = str(error)
            plan.contenders.remove(contender)
            print(f"{contender.name}: not measured: {error}", flush=True)
        else:
            plan.versions[contender.name] = version_of(contender)
            if note:
                plan.notes[contender.name] = note
    return absent


def arguments() -> argparse.Namespace:
    known = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", default=",".join(known), help="contenders: %(default)s")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="%(default)s")
    parser.add_argument("--rows", type=int, help="rows of every scenario; by default " + json.dumps(_ROWS))
    parser.add_argument("--rounds", type=int, default=2, help="rounds of speed, latency and wide; the median is shown")
    parser.add_argument("--limit-s", type=float, default=120.0, help="limit of one run of one contender")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/benchmarks.md as it is")
    chosen = parser.parse_args()
    for option, valid in (("only", known), ("scenarios", list(SCENARIOS))):
        names = getattr(chosen, option).split(",")
        if unknown := [name for name in names if name not in valid]:
            parser.error(f"--{option}: unknown {', '.join(unknown)}; choose from {', '.join(valid)}")
        setattr(chosen, option, names)
    return chosen


def main() -> None:
    chosen = arguments()
    rows = dict.fromkeys(_ROWS, chosen.rows) if chosen.rows else _ROWS
    contenders = [contender for contender in CONTENDERS if contender.name in chosen.only]
    plan = Plan(rows, chosen.rounds, chosen.limit_s, contenders)
    asked = [contender.name for contender in contenders]
    absent = prepare(plan)
    started = time.monotonic()
    found: Result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "command": shlex.join(["python", "benchmarks/clients/run.py", *sys.argv[1:]]),
        "contenders": asked,
        "absent": absent,
        "notes": plan.notes,
        "versions": plan.versions,
        "rows": {name: rows[name] for name in chosen.scenarios},
        "scenarios": {name: SCENARIOS[name](plan) for name in SCENARIOS if name in chosen.scenarios},
    }
    found["seconds"] = round(time.monotonic() - started)
    _RESULTS.parent.mkdir(parents=True, exist_ok=True)
    _RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    text = report.rendered(found)
    if not chosen.no_docs:
        write(DOCS, "clients", text)
    print("\n" + text)


if __name__ == "__main__":
    main()
