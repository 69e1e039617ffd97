"""Precision and recall of the rules that reject answers, on the labelled cases of tests/data/answers.

    python scripts/answer_rules.py            the table of docs/answers.md, for the held-out cases
    python scripts/answer_rules.py --wrong    the misclassified cases, of both halves

The precision of a rule is one minus the share of good rows among its hits. Its recall counts only its own hits. The
recall of `any` counts the hits of all rules.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scores import Score

from personahub_assets.core import project_files
from personahub_assets.core.prompts import Message, Prompt
from personahub_assets.core.records import (
    Answer,
    GameNPC,
    Instruction,
    KnowledgeText,
    MathProblem,
    ReasoningProblem,
    RelatedPersona,
    RelatedPersonas,
    TextPersona,
    TextPersonas,
    Tool,
    ToolArgument,
)
from personahub_assets.generation.replies.degenerate import RULES, fault_of

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "data" / "answers"
PERSONA = "A ferry pilot who collects old tide tables."

_ANSWERS: dict[str, tuple[str, Any, str]] = {
    "persona": ("text_personas", TextPersona, "persona"),
    "related": ("related_personas", RelatedPersona, "persona"),
    "relation": ("related_personas", RelatedPersona, "relation"),
    "math": ("math_problems", MathProblem, "problem"),
    "topic": ("math_problems", MathProblem, "topic"),
    "puzzle": ("reasoning_problems", ReasoningProblem, "problem"),
    "instruction": ("instructions", Instruction, "instruction"),
    "category": ("instructions", Instruction, "category"),
    "article": ("knowledge_texts", KnowledgeText, "article"),
    "title": ("knowledge_texts", KnowledgeText, "title"),
    "npc_name": ("game_npcs", GameNPC, "name"),
    "role": ("game_npcs", GameNPC, "role"),
    "background": ("game_npcs", GameNPC, "background"),
    "interaction": ("game_npcs", GameNPC, "interaction"),
    "greeting": ("game_npcs", GameNPC, "greeting"),
    "tool": ("tools", Tool, "description"),
    "tool_name": ("tools", Tool, "name"),
    "returns": ("tools", Tool, "returns"),
    "argument": ("tools", ToolArgument, "description"),
}
_LISTS: dict[Any, Any] = {TextPersona: TextPersonas, RelatedPersona: RelatedPersonas}


def _construct(kind: Any, **fields: Any) -> Answer:
    """Construct an answer with only some fields."""
    answer: Answer = kind.model_construct(**fields)
    return answer


@dataclass(frozen=True)
class Case:
    """One labelled text, in one field of an answer."""

    rule: str | None  # None: a good row
    field: str
    text: str
    row: str
    held_out: bool

    @property
    def answer(self) -> Answer:
        """The text in its field, without the others; it is not validated, because a labelled text can be short."""
        _, kind, name = _ANSWERS[self.field]
        answer = _construct(kind, **{name: self.text})
        if kind is ToolArgument:
            return _construct(Tool, input_arguments=[answer])
        return _construct(_LISTS[kind], personas=[answer]) if kind in _LISTS else answer

    @property
    def messages(self) -> list[Message]:
        """The messages of the request, from the prompt of the project."""
        asset = _ANSWERS[self.field][0]
        name = "text" if asset == "text_personas" else "persona"
        return prompt_of(asset).messages({name: self.row}, count=3, granularity="")

    @property
    def hit(self) -> str | None:
        """The rule that finds a fault."""
        fault = fault_of(self.answer, self.messages)
        return fault and fault[1].split(": ")[1]


@cache
def prompt_of(asset: str) -> Prompt:
    """The prompt of an asset."""
    return project_files.prompt(asset)


def cases() -> Iterator[Case]:
    """All labelled cases."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            fields = json.loads(line)
            row = fields.get("row", PERSONA)
            yield Case(fields.get("rule"), fields["field"], fields["text"], row, fields["half"] == "held_out")


def scores(labelled: Iterable[Case]) -> dict[str, Score]:
    """The score of each rule, and of all together as `any`."""
    hits = [(case, case.hit) for case in labelled]
    good = [hit for case, hit in hits if case.rule is None]
    found = {
        rule: Score(
            sum(case.rule == rule for case, _ in hits),
            sum(case.rule == rule == hit for case, hit in hits),
            good.count(rule),
            len(good),
        )
        for rule in RULES
    }
    bad = [hit for case, hit in hits if case.rule is not None]
    return {**found, "any": Score(len(bad), sum(map(bool, bad)), sum(map(bool, good)), len(good))}


def table(labelled: Iterable[Case]) -> str:
    """The table in Markdown."""
    lines = ["| rule | cases of it | good rows | precision | recall |", "|---|---|---|---|---|"]
    for rule, score in scores(labelled).items():
        lines.append(f"| `{rule}` | {score.cases} | {score.good} | {score.precision:.3f} | {score.recall:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or the misclassified cases."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--wrong", action="store_true", help="print the misclassified cases")
    if not parser.parse_args().wrong:
        print(table(case for case in cases() if case.held_out))
        return
    for case in cases():
        if case.hit != case.rule:
            print(f"{'held out' if case.held_out else 'write'}: want {case.rule}, got {case.hit}: {case.text}")


if __name__ == "__main__":
    main()
