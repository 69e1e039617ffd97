"""Quality gates over answers: mask personal data, and reject rows, by the settings in [quality].

Data is masked before the journal, so that no stored form has it. Rows are rejected after it, when they are written: the
answer stays in `generations`, so that other settings judge it again without a call.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import Answer, AssistantTurn, DatasetItem, RelatedPersonas, TextPersonas, Turn
from personahub_assets.core.worlds import world_of
from personahub_assets.generation.requests import Outcome, Reason, Request, Task
from personahub_assets.quality.items import item_echo
from personahub_assets.quality.languages import language_of, likely_language, other_language
from personahub_assets.quality.personas import persona_fault
from personahub_assets.quality.pii import find_pii, mask_pii
from personahub_assets.quality.spans import Kind
from personahub_assets.quality.worlds import misfit

_LEAST_ECHO = 20  # characters: shorter fields are labels
_LANGUAGES = re.compile(
    r"\b(?:afrikaans|albanian|arabic|armenian|basque|bengali|bulgarian|catalan|chinese|mandarin|croatian|czech|danish|dutch|english|"
    r"estonian|finnish|french|german|greek|gujarati|hebrew|hindi|hungarian|icelandic|indonesian|irish|italian|japanese|kannada|korean|"
    r"latvian|lithuanian|malay|malayalam|marathi|nepali|norwegian|persian|farsi|polish|portuguese|punjabi|romanian|russian|serbian|"
    r"slovak|slovene|slovenian|spanish|swahili|swedish|tagalog|tamil|telugu|thai|turkish|ukrainian|urdu|vietnamese|welsh|"
    r"languages?\b(?! models?\b))",
    re.IGNORECASE,
)


class Rejection(NamedTuple):
    """A row that a gate rejects.

    Attributes:
        detail: its place; it does not quote personal data.
        raw: its text.
    """

    reason: Reason
    detail: str
    raw: str


@dataclass(frozen=True)
class Judged:
    """An outcome after the gates.

    Attributes:
        outcome: rejected if no row of its answer is left.
        answer: the rows that are left; None if the outcome is rejected.
        rejections: rows of an accepted answer that are rejected.
    """

    outcome: Outcome
    answer: Answer | None = None
    rejections: list[Rejection] = field(default_factory=list)


class Gates:
    """The gates of one task.

    Args:
        config: the settings of the home.
        task: the task, whose prompt tells which language can be expected.
    """

    def __init__(self, config: HubConfig, task: Task):
        self._settings, self._task = config.quality, task
        self._language = config.dataset(task.asset).language or config.quality.language
        self._masked = cast("frozenset[Kind]", config.quality.kinds("mask"))
        self._refused = cast("frozenset[Kind]", config.quality.kinds("quarantine"))

    def mask(self, outcome: Outcome) -> Outcome:
        """An outcome without the personal data that is masked, also in its reasoning and its bad answer."""
        if not self._masked:
            return outcome
        is_answer = outcome.status == "accepted"
        response = self._mask_json(outcome.response) if is_answer else self.mask_text(outcome.response)
        reasoning = outcome.reasoning and self.mask_text(outcome.reasoning)
        detail = outcome.detail and self.mask_text(outcome.detail)
        if (response, reasoning, detail) == (outcome.response, outcome.reasoning, outcome.detail):
            return outcome
        return replace(outcome, response=response, reasoning=reasoning, detail=detail)

    def mask_text(self, text: str) -> str:
        """A text without the personal data that is masked."""
        return mask_pii(text, self._masked)

    def mask_attributes(self, attributes: str | None) -> str | None:
        """The JSON of a row's attributes without the personal data that is masked."""
        return attributes and self._mask_json(attributes)

    def judge(self, request: Request, outcome: Outcome) -> Judged:
        """Judge the rows of an answer."""
        if outcome.status != "accepted":
            return Judged(outcome)
        try:
            answer = self._task.answer.model_validate_json(outcome.response)
        except ValidationError:
            if self._masked and "[" in outcome.response:
                return _rejected(outcome, Rejection("pii", "with placeholders it does not match the schema", ""))
            raise
        if isinstance(answer, TextPersonas | RelatedPersonas):
            return self._judge_personas(request, outcome, answer)
        rejection = self._item_rejection(request, answer)
        return _rejected(outcome, rejection) if rejection else Judged(outcome, answer)

    def judge_imported(self, persona: str) -> Rejection | None:
        """The rejection of an imported persona; its language is not judged."""
        return self._persona_rejection(persona)

    # --- rows ---

    def _judge_personas(self, request: Request, outcome: Outcome, answer: TextPersonas | RelatedPersonas) -> Judged:
        rows, rejections = list[Any](), list[Rejection]()
        for row in answer.personas[: self._task.rows_asked]:
            rejection = self._persona_rejection(row.persona) or self._language_rejection(
                request, row.persona, row.persona
            )
            if rejection is None:
                rows.append(row)
            else:
                rejections.append(rejection)
        if not rows:
            return _rejected(outcome, rejections[0])
        return Judged(outcome, answer.model_copy(update={"personas": rows}) if rejections else answer, rejections)

    def _persona_rejection(self, text: str) -> Rejection | None:
        if spans := self._refused and find_pii(text, self._refused):
            return Rejection("pii", f"{_places(spans)} in the persona", text)
        if (fault := persona_fault(text)) and getattr(self._settings, fault[0]):
            return Rejection(fault[0], fault[1], text)
        return None

    def _item_rejection(self, request: Request, answer: Answer) -> Rejection | None:
        texts = list(_texts(answer))
        for name, text in texts:
            if spans := self._refused and find_pii(text, self._refused):
                return Rejection("pii", f"{_places(spans)} in {name}", "")
        if not isinstance(answer, Turn) and not _is_about_persona(request, answer):
            return None  # a dataset that is made from another one answers about its items
        if self._settings.off_world and self._task.worlds and (reason := self.misfit(request, answer)):
            return Rejection("off_world", reason, "")
        # "Sure, here is the list:" is how assistants begin.
        echoes = self._settings.instruction_echo and not isinstance(answer, AssistantTurn)
        for name, text in texts:
            if echoes and len(text) >= _LEAST_ECHO and (echo := item_echo(text, request.values["persona"])):
                return Rejection("instruction_echo", f"{name}: {echo}", "")
        longest = max((text for _, text in texts), key=len, default="")
        return self._language_rejection(request, longest, "")

    def _mask_json(self, text: str) -> str:
        value = json.loads(text)
        masked = _each_text(value, self.mask_text)
        return text if masked == value else json.dumps(masked, ensure_ascii=False, separators=(",", ":"))

    def misfit(self, request: Request, answer: Answer) -> str | None:
        """Why an item does not belong to the world of its request; None if it does, or if there is none."""
        worlds = self._task.worlds
        return misfit(worlds[world_of(request.input_id, worlds)], dict(answer)) if worlds else None

    # --- language ---

    def _language_rejection(self, request: Request, text: str, raw: str) -> Rejection | None:
        """The rejection of a text in another language than that of the input and that of the prompt."""
        if self._language == "input" and self._prompt_language and not other_language(text, self._prompt_language):
            return None  # without a look at the language of the input
        return _language_rejection(text, self._expected(request), raw)

    def _expected(self, request: Request) -> "Expected | None":
        """The languages that are accepted; None if any is."""
        if self._language == "off":
            return None
        if self._language != "input":
            return Expected((self._language,))
        if self._prompt_language is None:
            return None
        own = likely_language(request.values.get("persona") or request.values.get("text", "")[:2_000])
        return Expected((own, self._prompt_language)) if own else None

    @cached_property
    def _prompt_language(self) -> str | None:
        """The language of the prompt; None if it names a language, which its answers can have."""
        instructions = self._task.prompt.instructions
        language = None if _LANGUAGES.search(instructions) else language_of(instructions)
        return language and language.code


def _is_about_persona(request: Request, answer: Answer) -> bool:
    return isinstance(answer, DatasetItem) and answer.__derivation__ is None and "persona" in request.values


class Expected(NamedTuple):
    """Languages of which a text has to have one."""

    codes: tuple[str, ...]


def _language_rejection(text: str, expected: Expected | None, raw: str) -> Rejection | None:
    if expected is None:
        return None
    others = [other_language(text, code) for code in dict.fromkeys(expected.codes)]
    if not all(others) or others[0] is None:
        return None
    return Rejection("other_language", f"{others[0].code} instead of {' or '.join(dict.fromkeys(expected.codes))}", raw)


def _rejected(outcome: Outcome, rejection: Rejection) -> Judged:
    return Judged(replace(outcome, status="rejected", reason=rejection.reason, detail=rejection.detail))


def _places(spans: list[Any]) -> str:
    return ", ".join(f"{span.kind} at characters {span.start} to {span.end}" for span in spans)


def _texts(answer: Answer) -> list[tuple[str, str]]:
    """The texts of an item with the names of their fields."""
    texts = list[tuple[str, str]]()
    for name, value in answer.model_dump().items():
        _each_text(value, lambda text, name=name: texts.append((name, text)) or text)  # type: ignore[misc, func-returns-value]
    return texts


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _each_text(each, change) for name, each in value.items()}
    return value
