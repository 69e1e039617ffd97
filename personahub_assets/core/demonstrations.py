"""Demonstrations: example answers in the shared instructions of a dataset's prompt (paper, section 3).

    zero_shot            the instructions alone
    few_shot             with some answers as examples
    persona_few_shot     each example with the persona that it was written for

Examples stand in `prompts/<dataset>.examples.jsonl`, one `{"persona": "…", "answer": {…}}` per line; a file of the same
name in the home's `prompts/` replaces the project's. They become part of the instructions, which all rows share, so a
server's prefix cache reads them once, and they are part of the identity of a request.
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from personahub_assets.core.errors import PromptError
from personahub_assets.core.records import Answer

PromptingMode = Literal["zero_shot", "few_shot", "persona_few_shot"]

SUFFIX = ".examples.jsonl"

_INTRODUCTIONS: dict[PromptingMode, str] = {
    "few_shot": "Examples of answers, for their form and level. Write something new, not a variant of one of them.",
    "persona_few_shot": "Examples of persons, each with an answer written for that person. They show how closely an "
    "answer follows the person. Write something new, not a variant of one of them.",
}


class Demonstration(NamedTuple):
    """An example: a persona and the answer for it, as JSON."""

    persona: str
    answer: str


def read_demonstrations(path: Path, answer: type[Answer]) -> list[Demonstration]:
    """Read a file of examples.

    Args:
        path: a file with one JSON object per line; blank lines are skipped.
        answer: class of the answers.

    Raises:
        PromptError: naming the line, if the file cannot be read, or a line is not an example of this class.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: cannot be read: {error}") from error
    return [
        _demonstration(line, f"{path}: line {number}", answer) for number, line in enumerate(lines, 1) if line.strip()
    ]


def _demonstration(line: str, origin: str, answer: type[Answer]) -> Demonstration:
    try:
        example = json.loads(line)
    except ValueError as error:
        raise PromptError(f"{origin}: no JSON: {error}") from error
    if not isinstance(example, dict) or example.keys() != {"persona", "answer"}:
        raise PromptError(f'{origin}: expected {{"persona": "…", "answer": {{…}}}}, got {line[:80]!r}')
    persona = example["persona"]
    if not isinstance(persona, str) or not persona.strip():
        raise PromptError(f"{origin}: persona must be a text, got {persona!r}")
    try:
        valid = answer.model_validate(example["answer"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "answer"
        raise PromptError(f"{origin}: {where}: {first['msg']}") from None
    return Demonstration(persona.strip(), valid.model_dump_json())


def as_instructions(examples: list[Demonstration], mode: PromptingMode) -> str:
    """Render examples for the end of the shared instructions, as a template without variables; empty for zero_shot."""
    if mode == "zero_shot":
        return ""
    texts = [_shown(example, with_persona=mode == "persona_few_shot") for example in examples]
    return "\n\n".join([_INTRODUCTIONS[mode], *map(_verbatim, texts)])


def _shown(example: Demonstration, *, with_persona: bool) -> str:
    return f"Person: {example.persona}\nAnswer: {example.answer}" if with_persona else f"Answer: {example.answer}"


def _verbatim(text: str) -> str:
    """Protect a text from being read as a template."""
    return text.replace("{", "{{ '{' }}") if "{{" in text or "{%" in text or "{#" in text else text
