"""Runs one program inside the sandbox of bubblewrap: python harness.py, which reads job.json and program.py beside it.

It imports nothing of the package, because only this file is inside. The report is the last line of standard error.
"""

import builtins
import json
import os
import resource
import runpy
import signal
import sys
from typing import Any

_START_MB = 192
"""Address space of Python and its libraries before a program starts."""


def main() -> None:
    """Limit this process, run the program, and report."""
    with open("/box/job.json", encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes time to import
        job = json.load(file)
    # A program can close or write to its own standard error; this is another descriptor.
    report_to = os.dup(2)
    os.dup2(1, 2)
    write, dumps, leave = os.write, json.dumps, os._exit
    bound(job)
    report = outcome(job)
    write(report_to, b"\x00" + dumps(report).encode())
    leave(0)


def bound(job: dict[str, Any]) -> None:
    """Set the limits of the operating system."""
    seconds, memory = job.get("seconds", 2), (job.get("memory_mb", 64) + _START_MB) << 20
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CPU, int(seconds) + 2),
    ):
        resource.setrlimit(kind, (limit, limit))
    sys.setrecursionlimit(job.get("recursion", 500))
    # Not handled, so that it ends the process at any point: also inside of a regular expression.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def outcome(job: dict[str, Any]) -> dict[str, Any]:
    """Run the program and return its report."""
    try:
        names = runpy.run_path("/box/program.py", run_name="program")
        value = evaluated(job, names)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt
        return classified(error)
    return {"status": "passed", "reason": "", "detail": "", "value": value}


def evaluated(job: dict[str, Any], names: dict[str, Any]) -> str | None:
    """The value of the program as text."""
    if "function" in job:
        return json.dumps(names[job["function"]](**job["arguments"]))[: job["value_chars"]]
    entry = job.get("entry")
    if entry is None:
        return None
    value = names[entry.removesuffix("()")]
    return f"{value() if entry.endswith('()') else value}"[: job["value_chars"]]


def classified(error: BaseException) -> dict[str, Any]:
    """The report of an exception."""
    try:
        text = f"{type(error).__name__}: {error}"[:1_000]
    except BaseException:  # noqa: BLE001 - the message is code of the program
        text = type(error).__name__
    status, reason = "error", "exception"
    if isinstance(error, SyntaxError):
        reason = "syntax"
    elif isinstance(error, MemoryError):
        reason = "memory_limit"
    elif isinstance(error, RecursionError):
        reason = "recursion_limit"
    elif isinstance(error, ModuleNotFoundError):
        status, reason = "unsupported", "missing_module"
    elif isinstance(error, OSError) and type(error).__module__ == builtins.__name__:
        status, reason = "unsupported", "no_files"
    elif isinstance(error, TypeError) and "not JSON serializable" in text:
        reason = "value_not_json"
    return {"status": status, "reason": reason, "detail": text}


if __name__ == "__main__":
    main()
