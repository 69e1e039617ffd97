"""Answer instructions, and check each answer against the constraints of its instruction."""

from collections import Counter
from functools import partial
from typing import Any, NamedTuple

from personahub_assets.core.constraints import KINDS, Constraint
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import Answer, InstructionAnswer, InstructionReply
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request
from personahub_assets.quality.languages import is_in_language
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import write_items
from personahub_assets.store.tables import Store
from personahub_assets.verification.verify_constraints import satisfied


def write_instruction_answers(
    name: str, store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder | None = None
) -> Asked:
    """Answer the instructions of a batch, check the answers, and publish them.

    Raises:
        ConfigError: if the home has instructions of another form.
        LLMError, BudgetSpent: as for `write_items`.
    """
    finish = partial(instruction_answer, instructions(store, batch))
    result = write_items(name, store, llm, batch, watch, finish, embedder)
    result.facts |= outcomes(store, name, batch)
    return result


class Posed(NamedTuple):
    """An instruction with its constraints."""

    instruction: str
    constraints: list[Constraint]


def instructions(store: Store, batch: str) -> dict[str, Posed]:
    """The instructions of a batch, by id.

    Raises:
        ConfigError: if the home has instructions without the field `instruction`.
    """
    fields = store.catalog.item("instructions").model_fields
    if "instruction" not in fields:
        raise ConfigError(
            "the dataset instructions of this home has no field instruction, which instruction_answers needs: add the "
            "field, or give the dataset another name"
        )
    own = ["constraints"] if "constraints" in fields else []  # a class of the home may have none
    rows = store.read("instructions", batch, columns=["item_id", "instruction", *own])
    return {
        row["item_id"]: Posed(row["instruction"], [Constraint(**each) for each in row.get("constraints") or ()])
        for row in rows.iter_rows(named=True)
    }


def instruction_answer(posed: dict[str, Posed], request: Request, answer: Answer) -> InstructionAnswer:
    """Make the row of an answer, with the outcome of each constraint.

    Args:
        posed: instructions by id.
        request: about one of them.
        answer: of the assistant.
    """
    assert isinstance(answer, InstructionReply)
    instruction, own = posed[request.input_id]
    outcome = [bool(each) for each in satisfied(answer.response, [each.model_dump() for each in own], is_in_language)]
    return InstructionAnswer(
        instruction=instruction,
        answer=answer.response,
        constraints=own,
        satisfied=outcome,
        all_satisfied=all(outcome) if own else None,
    )


def outcomes(store: Store, name: str, batch: str) -> dict[str, Any]:
    """Shares of the answers that satisfy all constraints, and of those that satisfy each kind.

    Returns:
        `answers_checked`, `all_satisfied_share`, and `satisfied_by_kind` with the share of each kind; empty without
        constraints.
    """
    rows = store.read(name, batch, columns=["constraints", "satisfied", "all_satisfied"])
    checked = rows.filter(rows["all_satisfied"].is_not_null())
    if checked.is_empty():
        return {}
    counts, good = Counter[str](), Counter[str]()
    for constraints, outcome, _ in checked.iter_rows():
        for constraint, holds in zip(constraints, outcome, strict=True):
            counts[constraint["kind"]] += 1
            good[constraint["kind"]] += holds
    return {
        "answers_checked": checked.height,
        "all_satisfied_share": round(float(checked["all_satisfied"].mean() or 0.0), 4),  # type: ignore[arg-type]
        "satisfied_by_kind": {kind: round(good[kind] / counts[kind], 4) for kind in KINDS if counts[kind]},
    }
