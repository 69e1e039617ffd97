"""Programs that must not harm the host, and ordinary ones."""

import resource
import shutil
import socket
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from personahub_assets.core.errors import ConfigError
from personahub_assets.verification.sandbox import (
    CallTest,
    Limits,
    Reason,
    Sandbox,
    Status,
    open_sandbox,
    run_program,
    run_tests,
)
from personahub_assets.verification.sandbox.bubblewrap import BubblewrapSandbox, check_bubblewrap
from personahub_assets.verification.sandbox.programs import MAX_CODE_CHARS, is_same

PROGRAMS = tomllib.loads((Path(__file__).parents[1] / "data" / "hostile_programs.toml").read_text("utf-8"))["program"]
LIMITS = Limits(seconds=0.2)
SLOW = {Reason.TIME, Reason.MEMORY, Reason.OUTPUT, Reason.RECURSION}
"""Which of these limits a program reaches first depends on the machine."""


IN_BUBBLEWRAP = {
    *("loop without end", "list of a billion", "recursion without end", "file read", "file written", "folder listed"),
    *("socket", "subprocess", "fork bomb", "replaced process", "parent killed", "threads", "ctypes"),
    *("output without end", "long value", "exit of the process", "limit of digits raised", "deep list as a value"),
}


def has_bubblewrap() -> bool:
    try:
        check_bubblewrap()
    except ConfigError:
        return False
    return True


needs_bubblewrap = pytest.mark.skipif(not has_bubblewrap(), reason="bubblewrap does not work here")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_sandbox(limits=LIMITS) as opened:
        yield opened


class Bait:
    """A file with a secret and a port that listens, which no program may touch."""

    def __init__(self, folder: Path):
        self.file = folder / "canary"
        self.file.write_text("secret-of-the-host")
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.settimeout(0)

    def code(self, program: dict[str, Any]) -> str:
        values = {"CANARY": self.file, "FOLDER": self.file.parent, "PORT": self.server.getsockname()[1]}
        code: str = program["code"]
        for name, value in values.items():
            code = code.replace(name, str(value))
        return code

    def check(self) -> None:
        assert [path.name for path in self.file.parent.iterdir()] == ["canary"]
        assert self.file.read_text() == "secret-of-the-host"
        with pytest.raises(BlockingIOError):
            self.server.accept()
        self.server.close()


def test_hostile_programs_end_with_their_reason(sandbox: Sandbox, tmp_path: Path) -> None:
    bait = Bait(tmp_path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda p: sandbox.run(bait.code(p), p.get("entry")), PROGRAMS))
    bait.check()
    assert len(PROGRAMS) >= 60
    for program, result in zip(PROGRAMS, ended, strict=True):
        expected = Reason(program["reason"])
        reasons = SLOW if expected in SLOW else {expected, Reason.TIME}  # on a busy machine
        assert (result.status, result.reason in reasons) == (program["status"], True), (program["name"], result)
        assert result.detail
        assert "secret-of-the-host" not in f"{result.output}{result.value}{result.detail}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000  # KiB


@needs_bubblewrap
def test_hostile_programs_do_no_harm_in_bubblewrap(tmp_path: Path) -> None:
    bait = Bait(tmp_path)
    chosen = [program for program in PROGRAMS if program["name"] in IN_BUBBLEWRAP]
    assert len(chosen) == len(IN_BUBBLEWRAP)
    limits = Limits(seconds=1)
    with BubblewrapSandbox(limits) as bubblewrap, ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(lambda p: bubblewrap.run(bait.code(p), p.get("entry")), chosen))
    bait.check()
    for program, result in zip(chosen, ended, strict=True):
        assert result.status is not Status.PASSED or program["name"] == "parent killed", (program["name"], result)
        assert "secret-of-the-host" not in f"{result.output}{result.value}{result.detail}"


@needs_bubblewrap
def test_bubblewrap_runs_what_monty_cannot() -> None:
    code = "from fractions import Fraction\ndef solve():\n    print('seen')\n    return Fraction(1, 3) + Fraction(1, 6)"
    assert run_program(code, "solve()").status is Status.UNSUPPORTED
    with open_sandbox("bubblewrap") as both:
        result = both.run(code, "solve()")
        assert (result.status, result.value, result.output) == (Status.PASSED, "1/2", "seen\n")
        tests = [CallTest({"x": 2}, [2, 4]), CallTest({"x": 3}, [3, 9])]
        program = "import statistics\ndef f(x):\n    return (statistics.mean([x]), x * x)"
        assert run_tests(program, "f", tests, sandbox=both).status is Status.PASSED


def test_a_missing_bubblewrap_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert shutil.which("bwrap") is None
    with pytest.raises(ConfigError, match=r'install bubblewrap.* or set sandbox = "monty"'), open_sandbox("bubblewrap"):
        pass


def test_bubblewrap_that_may_not_make_namespaces_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    refusing = tmp_path / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with pytest.raises(ConfigError, match=r"No permissions to create a new namespace.*user namespaces"):
        check_bubblewrap()


def test_the_value_of_a_program(sandbox: Sandbox) -> None:
    result = run_program("def solve():\n    print('step')\n    return 6 * 7", "solve()", sandbox=sandbox)
    assert (result.status, result.value, result.output) == (Status.PASSED, "42", "step\n")
    assert run_program("answer = 'x = 5'", "answer", sandbox=sandbox).value == "x = 5"
    assert run_program("x = 1", sandbox=sandbox).value is None
    with pytest.raises(ValueError, match="not the name"):
        run_program("x = 1", "print(1)", sandbox=sandbox)


@pytest.mark.parametrize(
    ("code", "tests", "status", "reason", "passed"),
    [
        ("def f(x):\n    return x * 2", [({"x": 2}, 4), ({"x": "a"}, "aa")], "passed", "", 2),
        ("def f(x):\n    return x / 3", [({"x": 1}, 0.333333333)], "passed", "", 1),
        ("def f(x):\n    return x * 2", [({"x": 2}, 4), ({"x": 3}, 7)], "failed", "different_value", 1),
        ("def f(x):\n    return {'a': (x, None)}", [({"x": 1}, {"a": [1, None]})], "passed", "", 1),
        ("def f(x):\n    return True", [({"x": 1}, 1)], "failed", "different_value", 0),
        ("def f(x):\n    return {x}", [({"x": 1}, [1])], "error", "value_not_json", 0),
        ("def g(x):\n    return x", [({"x": 1}, 1)], "error", "exception", 0),
        ("def f(x):\n    return x", [({"y": 1}, 1)], "error", "exception", 0),
        ("import numpy\ndef f(x):\n    return x", [({"x": 1}, 1)], "unsupported", "missing_module", 0),
        ("n = 0\ndef f(x):\n    global n\n    n += 1\n    return n", [({"x": 1}, 1), ({"x": 1}, 1)], "passed", "", 2),
        ("class A:\n    def __eq__(s, o):\n        return 1\ndef f(x):\n    return A()", [({"x": 1}, 1)], "error", "value_not_json", 0),  # noqa: E501
        ("def f(x):\n    return float('inf')", [({"x": 1}, 1)], "failed", "different_value", 0),
        ("x" * (MAX_CODE_CHARS + 1), [({"x": 1}, 1)], "error", "code_too_long", 0),
        ("x = '\ud800'", [({"x": 1}, 1)], "error", "syntax", 0),
        ("def f(x):\n    return x", [({"x": "\ud800"}, 1)], "error", "value_not_json", 0),
    ],
)  # fmt: skip
def test_tests_of_a_function(
    sandbox: Sandbox, code: str, tests: list[tuple[dict[str, Any], Any]], status: str, reason: str, passed: int
) -> None:
    result = run_tests(code, "f", [CallTest(*test) for test in tests], sandbox=sandbox)
    assert (result.status, result.reason, result.passed) == (status, reason, passed), result


def test_json_values_are_the_same() -> None:
    assert is_same(10**400, 10**400)
    assert not is_same(10**400, 1.5)
    assert not is_same(10**16, 10**16 + 1)
    assert not is_same("1", 1)
    assert not is_same({"a": 1}, {"b": 1})
    assert not is_same([1], [1, 2])
