"""Solve problems: each solver's answer becomes a row; programs are run for their final answer."""

from collections.abc import Callable
from functools import partial
from typing import Any

from personahub_assets.core.records import Answer, DatasetItem, ProgramSolution, ReasonedSolution, Solution
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import write_items
from personahub_assets.store.tables import Store
from personahub_assets.verification.sandbox import ProgramResult, Status, open_sandbox

MOST_CHARS = 120
"""Characters of a final answer; a program that prints a longer line gave none."""

Run = Callable[[str], ProgramResult]


def write_solutions(
    name: str, store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder | None = None
) -> Asked:
    """Solve the problems of a batch by every solver, run their programs, and publish the solutions.

    Raises:
        ConfigError: if the sandbox of hub.toml cannot be used here.
        LLMError, BudgetSpent: as for `write_items`.
    """
    with open_sandbox(store.config.verification.sandbox) as sandbox:
        item = store.catalog.item(name)
        assert issubclass(item, Solution)
        finish = partial(solution, item, sandbox.run)
        return write_items(name, store, llm, batch, watch, finish, embedder)


def solution(item: type[Solution], run: Run, _request: Request, answer: Answer) -> DatasetItem:
    """Make the row of a solution; a program is run.

    Args:
        item: class of the rows.
        run: runs a program.
        answer: of the solver.
    """
    if isinstance(answer, ReasonedSolution):
        return item(
            style="reasoning",
            solution=answer.solution,
            final_answer=answer.final_answer,
            outcome="stated",
            detail=None,
        )
    assert isinstance(answer, ProgramSolution)
    program = unfenced(answer.program)
    return item(style="program", solution=program, **program_answer(run(program)))


def program_answer(ended: ProgramResult) -> dict[str, Any]:
    """The columns about a program's end: its final answer is the last line that it printed."""
    if ended.status is not Status.PASSED:
        detail = ": ".join(filter(None, [str(ended.reason), ended.detail]))
        return {"final_answer": None, "outcome": str(ended.status), "detail": detail}
    printed = [line.strip() for line in ended.output.splitlines() if line.strip()]
    if not printed:
        return {"final_answer": None, "outcome": "no_answer", "detail": "it printed nothing"}
    if len(printed[-1]) > MOST_CHARS:
        detail = f"its last line has {len(printed[-1]):,} characters, more than {MOST_CHARS}"
        return {"final_answer": None, "outcome": "no_answer", "detail": detail}
    return {"final_answer": printed[-1], "outcome": "ran", "detail": None}


def unfenced(program: str) -> str:
    """The program without a Markdown fence around it."""
    lines = program.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].strip() == "```":
        return "\n".join(lines[1:-1])
    return program
