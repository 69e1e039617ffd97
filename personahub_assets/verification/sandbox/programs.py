"""What a sandbox runs, and what it reports.

A program is Python source that a language model wrote. Values leave the sandbox as text of bounded length, never as
objects: a list that holds itself twice, sixty levels deep, is small inside and fills the memory of this process when
it is copied.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from keyword import iskeyword
from typing import Any, Protocol

MAX_CODE_CHARS = 50_000
"""Longer programs are not run: the parser of a program needs memory in proportion to it."""

_DETAIL_CHARS = 300
_TOLERANCE = 1e-6


class Status(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    """It ran to its end; with tests, every call returned what was expected."""
    FAILED = "failed"
    """A call returned another value than expected."""
    UNSUPPORTED = "unsupported"
    """It needs something that the sandbox does not have; nothing is known about its correctness."""
    ERROR = "error"
    """It is not valid, raised an exception, or exceeded a limit."""


class Reason(StrEnum):
    """Why a program did not pass."""

    NONE = ""
    DIFFERENT = "different_value"
    SYNTAX = "syntax"
    EXCEPTION = "exception"
    TIME = "time_limit"
    MEMORY = "memory_limit"
    RECURSION = "recursion_limit"
    OUTPUT = "output_limit"
    CODE = "code_too_long"
    VALUE = "value_not_json"
    CRASH = "crash"
    MODULE = "missing_module"
    FEATURE = "missing_feature"
    FILES = "no_files"


@dataclass(frozen=True)
class Limits:
    """Limits of one program.

    Attributes:
        seconds: time for the program and again for each call.
        memory_mb: memory of its objects, in MiB.
        output_chars: characters that it may print.
        value_chars: characters of a value that leaves the sandbox.
        recursion: depth of calls.
    """

    seconds: float = 2.0
    memory_mb: int = 64
    output_chars: int = 65_536
    value_chars: int = 20_000
    recursion: int = 500


LIMITS = Limits()


@dataclass(frozen=True)
class ProgramResult:
    """The end of one program.

    Attributes:
        status: how it ended.
        reason: why it did not pass; empty if it did.
        detail: the reason in words, such as the exception with its message.
        output: what it printed, up to the limit.
        value: the value of the requested entry as text; None if none was requested or reached.
        seconds: wall time.
    """

    status: Status
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    value: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class CallTest:
    """One call of a function with the value that it should return; both are JSON values."""

    arguments: dict[str, Any]
    expected: Any


@dataclass(frozen=True)
class TestsResult:
    """The end of the tests of one program.

    Attributes:
        status, reason, detail: of the first test that did not pass.
        passed: number of tests before it; all, if all passed.
        seconds: wall time of all.
    """

    status: Status
    reason: Reason = Reason.NONE
    detail: str = ""
    passed: int = 0
    seconds: float = 0.0

    __test__ = False


@dataclass(frozen=True)
class Call:
    """A call whose value leaves the sandbox as JSON."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Sandbox(Protocol):
    """A place where a program can do no harm; several may be used at once, in several processes."""

    limits: Limits

    def run(self, code: str, entry: str | Call | None = None) -> ProgramResult:
        """Run a program.

        Args:
            code: source of the program.
            entry: what is the program's value: a variable "answer" or a function "solve()", as text; or a call, as
                JSON; None for no value.
        """
        ...


def described(problem: str) -> str:
    """One line of bounded length for `detail`."""
    return " ".join(problem[: 4 * _DETAIL_CHARS].split())[:_DETAIL_CHARS]


def finished(ended: ProgramResult, limits: Limits) -> ProgramResult:
    """The end of a program, an error if its value is longer than the limit."""
    if ended.value is None or len(ended.value) < limits.value_chars:
        return ended
    detail = f"the value has {limits.value_chars:,} characters or more"
    return replace(ended, status=Status.ERROR, reason=Reason.OUTPUT, detail=detail)


def refusal(code: str, entry: str | Call | None = None) -> ProgramResult | None:
    """The end of a program that is not run at all; None for one that can be run.

    Raises:
        ValueError: if the entry is not a name.
    """
    name = entry.function if isinstance(entry, Call) else (entry or "answer").removesuffix("()")
    if not name.isidentifier() or iskeyword(name):
        raise ValueError(f"{name!r} is not the name of a function or variable")
    if len(code) > MAX_CODE_CHARS:
        detail = f"{len(code):,} characters of code; the limit is {MAX_CODE_CHARS:,}"
        return ProgramResult(Status.ERROR, Reason.CODE, detail)
    if not code.isascii() and any("\ud800" <= char <= "\udfff" for char in code):
        return ProgramResult(Status.ERROR, Reason.SYNTAX, "the code has half of a surrogate pair")
    return None


def run_each_test(sandbox: Sandbox, code: str, function: str, tests: Sequence[CallTest]) -> TestsResult:
    """Run each test in a fresh copy of the program, up to the first that does not pass."""
    seconds = 0.0
    for number, test in enumerate(tests, 1):
        ended = sandbox.run(code, Call(function, test.arguments))
        seconds += ended.seconds
        status, reason, detail = _judged(ended, test.expected)
        if status is not Status.PASSED:
            return TestsResult(status, reason, described(f"test {number}: {detail}"), number - 1, seconds)
    return TestsResult(Status.PASSED, passed=len(tests), seconds=seconds)


def _judged(ended: ProgramResult, expected: Any) -> tuple[Status, Reason, str]:
    if ended.status is not Status.PASSED:
        return ended.status, ended.reason, ended.detail
    try:
        actual = json.loads(ended.value or "")
        if is_same(actual, expected):
            return Status.PASSED, Reason.NONE, ""
    except (ValueError, RecursionError):
        return Status.ERROR, Reason.VALUE, "the returned value is too long or too deep"
    return Status.FAILED, Reason.DIFFERENT, f"returned {ended.value}, expected {json.dumps(expected)}"


def is_same(actual: Any, expected: Any) -> bool:
    """Compare two JSON values; numbers with a relative tolerance of 1e-6, because expectations are rounded.

    >>> is_same([1, {"a": 0.1 + 0.2}], [1.0, {"a": 0.3}]), is_same(True, 1)
    (True, False)
    """
    if isinstance(actual, bool) or isinstance(expected, bool):
        return actual is expected
    if isinstance(actual, int | float) and isinstance(expected, int | float):
        return actual == expected or _is_close(actual, expected)
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(map(is_same, actual, expected))
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(is_same(actual[key], expected[key]) for key in actual)
    return type(actual) is type(expected) and bool(actual == expected)


def _is_close(actual: float, expected: float) -> bool:
    if isinstance(actual, int) and isinstance(expected, int):
        return False
    try:
        return math.isclose(actual, expected, rel_tol=_TOLERANCE, abs_tol=1e-9)
    except OverflowError:  # an integer beyond the floats
        return False
