"""Tools that are implemented: tests from the interface, code that is run with them, and the view of what passed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hub import Hub

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import ToolCall
from personahub_assets.standin import functions
from personahub_assets.standin.server import StandinServer
from personahub_assets.standin.source import read
from personahub_assets.steps.tools import Interface, interfaces, outcome
from personahub_assets.verification.sandbox import CallTest, Limits, open_sandbox, run_tests
from personahub_assets.warehouse.live import open_live

Once = Callable[[str, Callable[[Path], None]], Path]

PERSONAS = [
    "A ferry cook on the Elbe who trades recipes with pilots and never measures salt.",
    "A retired glassblower in Murano who builds barometers for the schools of the lagoon.",
    "A night porter in Aberdeen who writes chess problems between two trains.",
]
SETTINGS = "[related_personas]\nhops = 0\n[datasets.tool_implementations]\nsamples = 2\n"
ADD = "def add(a, b=0):\n    return a + b"
TESTS = [ToolCall(arguments='{"a": 1, "b": 2}', expected="3"), ToolCall(arguments='{"a": 0.5}', expected="0.5")]


@pytest.fixture(scope="module")
def hub(once: Once, standin: StandinServer) -> Hub:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        (hub.home / "hub.toml").write_text(SETTINGS)
        hub.personas("people", PERSONAS)
        assert hub.run(select=["+tool_implementations", "warehouse"]) == {}

    return Hub(once("tools", make) / "hub", standin)


def test_every_tool_has_tests_and_code_with_a_status(hub: Hub) -> None:
    tools, tests = (hub.store.read(name, "people") for name in ("tools", "tool_tests"))
    rows = hub.store.read("tool_implementations", "people")
    assert (tools.height, tests.height, rows.height) == (3, 3, 6)
    assert set(rows["source_id"]) == set(tests["source_id"]) == set(tools["item_id"])
    for row in rows.iter_rows(named=True):
        again = run_tests(
            row["code"],
            row["function_name"],
            [CallTest(json.loads(test["arguments"]), json.loads(test["expected"])) for test in row["tests"]],
        )
        assert (again.status, again.reason or None) == (row["status"], row["reason"])
        assert (row["status"] == "passed") == (row["reason"] is None) == (row["passed_tests"] == 3)


def test_neither_request_sees_the_other(hub: Hub) -> None:
    catalog = hub.store.catalog
    for name in ("tool_tests", "tool_implementations"):
        assert not catalog.prompt(name).row_names & {"tests", "code", "expected"}
    assert catalog.sources("tool_implementations") == catalog.sources("tool_tests") == ["tools"]


def test_the_view_has_tools_with_code_that_passed(hub: Hub) -> None:
    with open_live(hub.store, "tools_verified") as connection:
        verified = connection.execute("SELECT item_id, code FROM tools_verified").fetchall()
    rows = hub.store.read("tool_implementations", "people").filter(status="passed").sort("sample")
    first = rows.unique("source_id", keep="first")
    assert sorted(verified) == sorted(first.select("source_id", "code").iter_rows())
    assert verified


def test_a_second_run_sends_nothing(hub: Hub) -> None:
    calls = hub.standin.stats()["calls"]
    assert hub.run(select=["tool_tests", "tool_implementations"]) == {}
    assert hub.standin.stats()["calls"] == calls


@pytest.mark.parametrize(
    ("code", "changes", "status", "reason", "passed"),
    [
        (ADD, {}, "passed", None, 2),
        (ADD.replace("+", "-"), {}, "failed", "different_value", 0),
        ("import numpy\n" + ADD, {}, "unsupported", "missing_module", 0),
        ("def add(a, b=0):\n    while True:\n        pass", {}, "error", "time_limit", 0),
        ("def add(a, b):\n    return a + b", {}, "error", "exception", 1),
        ("add = 1 +", {}, "error", "syntax", 0),
        (ADD, {"tests": ()}, "error", "no_tests", 0),
        (ADD, {"arguments": frozenset({"a"})}, "error", "unknown_arguments", 0),
        (ADD, {"function": "class"}, "error", "syntax", 0),
    ],
)
def test_the_outcome_of_code(code: str, changes: dict[str, Any], status: str, reason: str | None, passed: int) -> None:
    interface = Interface(**{"function": "add", "arguments": frozenset({"a", "b"}), "tests": tuple(TESTS), **changes})
    with open_sandbox(limits=Limits(seconds=0.3)) as sandbox:
        columns = outcome(sandbox, code, interface)
    assert (columns["status"], columns["reason"], columns["passed_tests"]) == (status, reason, passed)
    assert (columns["detail"] is None) == (status == "passed")


@pytest.mark.parametrize(
    ("arguments", "expected", "message"),
    [
        ("[1]", "1", "JSON object"),
        ("{'a': 1}", "1", "Expecting property name"),
        ('{"a": NaN}', "1", "NaN is not JSON"),
        ('{"a": 1}', "three", "Expecting value"),
        ('{"a": ' + "[" * 900 + "]" * 10, "1", "Expecting|nested"),
    ],
)
def test_a_test_that_is_not_json_is_refused(arguments: str, expected: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ToolCall(arguments=arguments, expected=expected)


def test_a_home_with_tools_of_its_own_has_a_warehouse(tmp_path: Path, standin: StandinServer) -> None:
    hub = Hub(tmp_path / "hub", standin)
    (hub.home / "prompts").mkdir()
    (hub.home / "prompts" / "tools.md").write_text(
        "---\nname: tools\ndescription: A tool.\nmax_tokens: 99\nfields:\n"
        "  title: {type: string, min: 3, max: 60, description: Name}\n---\nYou invent tools.\n---\n{{ persona }}\n"
    )
    with pytest.raises(ConfigError, match="tools of this home has no function_name, input_arguments"):
        interfaces(hub.store, "people")
    with open_live(hub.store, "tools_verified tools") as connection:
        assert connection.execute("SELECT count(*) FROM tools_verified").fetchone() == (0,)


def test_a_class_for_a_fixed_dataset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "tool_implementations.py").write_text("x = 1")
    assert "has fixed fields" in str(Catalog(tmp_path).faults["tool_implementations"])


def test_the_stand_in_agrees_with_itself_in_most_cases() -> None:
    statuses = []
    with open_sandbox() as sandbox:
        for number in range(60):
            interface = [{"name": "count", "type": "integer"}, {"name": "names", "type": "array"}]
            data = f"function_name: tool_{number}\ninput_arguments: {json.dumps(interface)}"
            source = read([{"role": "user", "content": f"<data>\n{data}\n</data>"}], data)
            tests = functions.answer({"properties": {"tests": {}}}, source)
            code = functions.answer({"properties": {"code": {}}}, source)
            assert tests is not None
            assert code is not None
            calls = tuple(ToolCall(**test) for test in tests["tests"])
            known = Interface(f"tool_{number}", frozenset({"count", "names"}), calls)
            statuses.append(outcome(sandbox, code["code"], known)["status"])
    shares = pl.Series(statuses).value_counts(normalize=True)
    assert dict(shares.iter_rows())["passed"] > 0.75
    assert {"failed", "unsupported"} <= set(statuses)
