"""Implement tools: code for an interface, which is run with the tests that were written before it."""

from dataclasses import dataclass
from functools import partial
from keyword import iskeyword
from typing import Any

from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import Answer, ToolCall, ToolCode, ToolImplementation, json_value
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import write_items
from personahub_assets.steps.solutions import unfenced
from personahub_assets.store.tables import Store
from personahub_assets.verification.sandbox import CallTest, Sandbox, Status, open_sandbox, run_tests


@dataclass(frozen=True)
class Interface:
    """What the tests of a tool need: the name of its function, its arguments, and the tests."""

    function: str
    arguments: frozenset[str]
    tests: tuple[ToolCall, ...] = ()


def write_implementations(
    name: str, store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder | None = None
) -> Asked:
    """Write code for the tools of a batch, run it with the tests of `tool_tests`, and publish it.

    Raises:
        ConfigError: if the sandbox of hub.toml cannot be used here, or the home has tools of another form.
        LLMError, BudgetSpent: as for `write_items`.
    """
    with open_sandbox(store.config.verification.sandbox) as sandbox:
        finish = partial(implementation, interfaces(store, batch), sandbox)
        return write_items(name, store, llm, batch, watch, finish, embedder)


def interfaces(store: Store, batch: str) -> dict[str, Interface]:
    """The interfaces of the tools of a batch with their tests, by the id of the tool.

    Raises:
        ConfigError: if the home has tools without the fields of an interface.
    """
    if missing := sorted({"function_name", "input_arguments"} - store.catalog.item("tools").model_fields.keys()):
        raise ConfigError(
            f"the dataset tools of this home has no {', '.join(missing)}, which tool_implementations needs: add the "
            "fields, or give the dataset another name"
        )
    tests: dict[str, list[ToolCall]] = {}
    written = store.read("tool_tests", batch, columns=["source_id", "sample", "tests"]).sort("source_id", "sample")
    for tool, _, calls in written.iter_rows():
        tests.setdefault(tool, []).extend(ToolCall(**call) for call in calls)
    tools = store.read("tools", batch, columns=["item_id", "function_name", "input_arguments"])
    return {
        tool: Interface(function, frozenset(each["name"] for each in arguments), tuple(tests.get(tool, ())))
        for tool, function, arguments in tools.iter_rows()
    }


def implementation(
    tools: dict[str, Interface], sandbox: Sandbox, request: Request, answer: Answer
) -> ToolImplementation:
    """Make the row of a tool's code, with the outcome of its tests.

    Args:
        tools: interfaces by the id of the tool.
        sandbox: where the code runs.
        request: about one tool.
        answer: the code.
    """
    assert isinstance(answer, ToolCode)
    code, interface = unfenced(answer.code), tools[request.input_id]
    columns = outcome(sandbox, code, interface)
    return ToolImplementation(function_name=interface.function, code=code, tests=list(interface.tests), **columns)


def outcome(sandbox: Sandbox, code: str, interface: Interface) -> dict[str, Any]:
    """Run the tests of a tool; the columns about their outcome."""
    if not interface.tests:
        return _columns(Status.ERROR, "no_tests", "tool_tests has no row for this tool")
    if iskeyword(interface.function):
        return _columns(
            Status.ERROR, "syntax", f"{interface.function} is a keyword of Python, and cannot be a function"
        )
    tests = [CallTest(json_value(call.arguments), json_value(call.expected)) for call in interface.tests]
    for number, test in enumerate(tests, 1):
        if unknown := sorted(test.arguments.keys() - interface.arguments):
            detail = f"test {number}: the interface has no argument {', '.join(unknown)}"
            return _columns(Status.ERROR, "unknown_arguments", detail)
    ended = run_tests(code, interface.function, tests, sandbox=sandbox)
    return _columns(ended.status, ended.reason or None, ended.detail or None, ended.passed)


def _columns(status: Status, reason: str | None, detail: str | None, passed: int = 0) -> dict[str, Any]:
    return {"status": str(status), "reason": reason and str(reason), "detail": detail, "passed_tests": passed}
