"""Wrong final answers of solvers, each drawn on its own, so that two wrong ones are rarely the same."""

import json
import re
from collections.abc import Callable

from personahub_assets.standin.forms import Form
from personahub_assets.standin.words import FIRST_NAMES

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_SPREAD = 97
_PRINTED = re.compile(r"print\((.*)\)\s*\Z", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"[A-Z]\w+")

WrongAnswer = Callable[[str, int], str]
"""Changes the final answer in an answer; the number chooses the mistake."""


def _wrong_answer(content: str, number: int) -> str:
    try:
        value = json.loads(content)
    except ValueError:
        return content
    if not isinstance(value, dict):
        return content
    if isinstance(value.get("final_answer"), str):
        return _compact(value | {"final_answer": mistaken(value["final_answer"], number)})
    if isinstance(value.get("program"), str):
        return _compact(value | {"program": _mistaken_program(value["program"], number)})
    return content


def mistaken(answer: str, number: int) -> str:
    """Returns an answer with another number, else with another name."""
    if match := _NUMBER.search(answer):
        return f"{answer[: match.start()]}{int(match[0]) + _offset(number)}{answer[match.end() :]}"
    match = _NAME.search(answer)
    name = FIRST_NAMES[number % len(FIRST_NAMES)]
    if match is None or match[0] == name:
        return f"not {answer}"
    return f"{answer[: match.start()]}{name}{answer[match.end() :]}"


def _offset(number: int) -> int:
    return 1 + number % _SPREAD


def _mistaken_program(program: str, number: int) -> str:
    return _PRINTED.sub(lambda match: f"print({match[1]} + {_offset(number)})", program)


ANSWERS: dict[str, Form[WrongAnswer]] = {
    "wrong_answers": Form("a wrong final answer of a solver, or a program that prints one", _wrong_answer),
}
