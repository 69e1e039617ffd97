"""Run programs of a language model where they can do no harm.

`monty` is an interpreter for a part of Python; programs that it cannot run are `unsupported`. With `bubblewrap` those
programs run in Linux namespaces. The code is never run in this process.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Literal

from personahub_assets.verification.sandbox.bubblewrap import BubblewrapSandbox
from personahub_assets.verification.sandbox.monty import MontySandbox
from personahub_assets.verification.sandbox.programs import (
    LIMITS,
    Call,
    CallTest,
    Limits,
    ProgramResult,
    Reason,
    Sandbox,
    Status,
    TestsResult,
    run_each_test,
)

__all__ = [
    "LIMITS",
    "Call",
    "CallTest",
    "Engine",
    "Limits",
    "ProgramResult",
    "Reason",
    "Sandbox",
    "Status",
    "TestsResult",
    "open_sandbox",
    "run_program",
    "run_tests",
]

Engine = Literal["monty", "bubblewrap"]


class _FirstMonty:
    """Monty, and bubblewrap for what Monty does not support."""

    def __init__(self, monty: MontySandbox, bubblewrap: BubblewrapSandbox):
        self.limits, self._monty, self._bubblewrap = monty.limits, monty, bubblewrap

    def run(self, code: str, entry: str | Call | None = None) -> ProgramResult:
        ended = self._monty.run(code, entry)
        return self._bubblewrap.run(code, entry) if ended.status is Status.UNSUPPORTED else ended


@contextmanager
def open_sandbox(engine: Engine = "monty", limits: Limits = LIMITS, processes: int = 2) -> Iterator[Sandbox]:
    """A sandbox for many programs; its worker processes end with the block.

    Args:
        engine: "monty", or "bubblewrap" for Monty first and bubblewrap for what it does not support.
        limits: of each program.
        processes: maximum number of programs at once, one for each thread.

    Raises:
        ConfigError: if bubblewrap is missing or may not make namespaces.
    """
    with MontySandbox(limits, processes) as monty:
        if engine == "monty":
            yield monty
            return
        with BubblewrapSandbox(limits) as bubblewrap:
            yield _FirstMonty(monty, bubblewrap)


def run_program(
    code: str, entry: str | None = None, *, limits: Limits = LIMITS, sandbox: Sandbox | None = None
) -> ProgramResult:
    """Run a program.

    Args:
        code: source of the program.
        entry: what is the program's value: the name of a variable, or of a function as in "solve()"; as text.
        limits: of the program; those of `sandbox` where it is given.
        sandbox: an open sandbox; without it, one is opened for this program.
    """
    with nullcontext(sandbox) if sandbox else open_sandbox(limits=limits) as opened:
        return opened.run(code, entry)


def run_tests(
    code: str,
    function: str,
    tests: Sequence[CallTest],
    *,
    limits: Limits = LIMITS,
    sandbox: Sandbox | None = None,
) -> TestsResult:
    """Call a function of a program with the arguments of each test, and compare what it returns.

    The program does not see the expected values. Each test has a fresh copy of the program.
    """
    with nullcontext(sandbox) if sandbox else open_sandbox(limits=limits) as opened:
        return run_each_test(opened, code, function, tests)
