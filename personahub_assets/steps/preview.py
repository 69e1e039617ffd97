"""Try a prompt on a few rows: real answers, kept in the journal for the next run; no row is written."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from personahub_assets.core import project_files
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import DatasetTask, HubConfig, PromptSettings
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import ArgumentError, ConfigError, PromptError
from personahub_assets.core.prompts import Message, Prompt
from personahub_assets.core.records import DatasetItem, RelatedPersonas, TextPersonas, readable
from personahub_assets.generation.answers import Answered
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Task, Usage
from personahub_assets.steps.datasets import controlled, item_based_requests, persona_requests, with_demonstrations
from personahub_assets.steps.dialogues import OpenDialogue, requests_of
from personahub_assets.steps.inputs import Input, first_inputs, named_inputs, typed_input
from personahub_assets.steps.personas import document_requests, related_requests
from personahub_assets.steps.tasks import current_task, current_tasks
from personahub_assets.store.home import Home, Lock
from personahub_assets.store.tables import Store

MOST = 100
"""Rows of one preview at most."""

_NO_BATCH = "preview"
_SCHEMA: dict[str, Any] = {
    "task": pl.String,
    "prompt": pl.String,
    "model": pl.String,
    "batch": pl.String,
    "input_id": pl.String,
    "input": pl.String,
    "instructions": pl.String,
    "message": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "detail": pl.String,
    "answer": pl.String,
    "response": pl.String,
    "is_sent": pl.Boolean,
    "calls": pl.Int64,
    "prompt_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "seconds": pl.Float64,
    "cost": pl.Float64,
}


@dataclass(frozen=True)
class PromptSource:
    """A prompt with its displayed name."""

    label: str
    prompt: Prompt


@dataclass(frozen=True)
class PreviewSpec:
    """The specification of a preview.

    Args:
        task: a dataset, text_personas or related_personas.
        count: number of rows, if no persona is given.
        prompts: prompts instead of the task's own, or none; two are compared.
        models: models instead of the configured one; two are compared.
        persona: text of a persona, instead of rows of the home.
        ids: ids of personas, or of documents for text_personas.

    Raises:
        ConfigError: if the task is unknown, or the other values exclude each other.
        PromptError: if a prompt belongs to another task.
    """

    task: str
    count: int = 3
    prompts: tuple[PromptSource, ...] = ()
    models: tuple[str, ...] = ()
    persona: str | None = None
    ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise ArgumentError(f"the number of rows is from 1 to {MOST}, got {self.count}")
        if self.persona is not None and self.ids:
            raise ArgumentError("a persona is given as text or by its id, not both: omit --persona or --from")
        for prompt in (each.prompt for each in self.prompts):
            if prompt.name != self.task:
                raise PromptError(f"the prompt has name: {prompt.name!r} in its front matter, expected {self.task!r}")
        if len(self.models) > 2:
            raise ArgumentError(f"at most two models are compared, got {len(self.models)}: {', '.join(self.models)}")
        if len(self.prompts) > 1 and len(self.models) > 1:
            raise ArgumentError("two prompts or two models are compared, not both: omit --against or one --model")

    @classmethod
    def of(
        cls, catalog: Catalog, task: str, *, prompt: Path | None = None, against: Path | None = None, **options: Any
    ) -> "PreviewSpec":
        """Read the prompt files.

        Args:
            catalog: the tasks of the home.
            prompt: a prompt file instead of the task's own.
            against: a second one, to compare with the first.

        Raises:
            ConfigError: as the class does.
            PromptError: if a file cannot be read, or is a prompt of another task.
        """
        check_task(catalog, task)
        spec = cls(task, **options)
        files = [
            PromptSource(str(path), project_files.prompt_file(path, task))
            for path in (prompt, against)
            if path is not None
        ]
        if against is not None and prompt is None:
            files.insert(0, own_prompt(catalog, task))
        return replace(spec, prompts=tuple(files))


def check_task(catalog: Catalog, task: str) -> None:
    """Check the name of a task.

    Raises:
        ConfigError: naming the valid ones.
    """
    if task not in catalog.tasks:
        raise ConfigError(catalog.unknown("task", task, catalog.tasks))


def own_prompt(catalog: Catalog, task: str) -> PromptSource:
    """The prompt that a run of a task uses.

    Raises:
        PromptError: if its file is missing or malformed.
    """
    return PromptSource(catalog.shown_path(task), catalog.prompt(task))


@dataclass(frozen=True)
class Variant:
    """A prompt with a model."""

    label: str
    task: Task

    @property
    def title(self) -> str:
        """Prompt and model."""
        return f"{self.label}, {self.task.model}"


@dataclass(frozen=True)
class PreviewRow:
    """One document or persona with one answer."""

    variant: Variant
    source: Input
    answered: Answered

    @property
    def messages(self) -> list[Message]:
        """The messages as sent."""
        return self.answered.request.messages

    @cached_property
    def answer(self) -> str | None:
        """The answer as readable text; None if it was rejected."""
        outcome = self.answered.outcome
        if outcome.status == "rejected":
            return None
        parsed = self.variant.task.answer.model_validate_json(outcome.response)
        if isinstance(parsed, DatasetItem):
            return controlled(self.variant.task, self.answered.request, parsed).as_text()
        if isinstance(parsed, TextPersonas | RelatedPersonas):
            return "\n".join(f"{each.relation}: {each.persona}" for each in parsed.personas)
        return "\n".join(f"{name}: {readable(value)}" for name, value in parsed.model_dump().items())


@dataclass(frozen=True)
class Preview:
    """Rows of one or two variants, with their usage.

    Attributes:
        rows: of the first variant in the order of the inputs, then of the second.
        usage: of this call alone, by variant.
        seconds: wall time.
        currency: of the cost; None without prices.
        is_kept: whether the answers are in the journal for the next run.
    """

    task: str
    variants: list[Variant]
    rows: list[PreviewRow]
    usage: list[Usage]
    seconds: float
    currency: str | None
    is_kept: bool

    @property
    def by_input(self) -> list[list[PreviewRow]]:
        """The rows of each input, one for each variant."""
        count = len(self.rows) // len(self.variants)
        return [self.rows[start::count] for start in range(count)]

    @property
    def rejected(self) -> int:
        """Rows without an accepted answer."""
        return sum(row.answer is None for row in self.rows)

    @property
    def reused(self) -> int:
        """Rows with an answer from the home, without a call."""
        return sum(not row.answered.is_sent for row in self.rows)

    @property
    def notes(self) -> list[str]:
        """Notes about settings that the server needs."""
        return list(dict.fromkeys(note for usage in self.usage for note in usage.notes))

    def frame(self) -> pl.DataFrame:
        """One row for each input and variant; tokens, seconds and cost are those of the call that gave the answer."""
        return pl.DataFrame([self._record(row) for row in self.rows], _SCHEMA)

    def _record(self, row: PreviewRow) -> dict[str, Any]:
        outcome, messages = row.answered.outcome, row.messages
        return {
            "task": self.task,
            "prompt": row.variant.label,
            "model": row.variant.task.model,
            "batch": row.source.batch,
            "input_id": row.source.input_id,
            "input": row.source.text,
            "instructions": messages[0]["content"],
            "message": messages[-1]["content"],
            "status": outcome.status,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "answer": row.answer,
            "response": outcome.response,
            "is_sent": row.answered.is_sent,
            "calls": outcome.attempts,
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
            "seconds": outcome.flight_s,
            "cost": outcome.cost if self.currency else None,
        }


def preview(
    store: Store, llm: LLM, spec: PreviewSpec, watch: Callable[[int, int], None] = lambda _done, _total: None
) -> Preview:
    """Send requests about a few rows without writing rows; the answers stay in the journal for the next run.

    Args:
        store: the tables of the home.
        llm: the language model.
        spec: the specification of the preview.
        watch: called with the number of answers and their total.

    Raises:
        StoreError: if the home has no suitable row.
        UnknownId: if an id is unknown.
        LLMError: if calls are needed and there is no endpoint, or it fails.
        LockHeld: if a run works on the same task and batch.
    """
    began, config = time.perf_counter(), store.config
    check_task(store.catalog, spec.task)
    inputs = _inputs(store, spec)
    llm = llm.online()
    variants = _variants(store, llm, spec)
    rows, usages = list[PreviewRow](), list[Usage]()
    total = len(variants) * len(inputs)
    with _store_of(store, inputs) as kept:
        for variant in variants:
            answered, usage = _ask(kept, llm, variant, inputs, partial(_tell, watch, len(rows), total))
            rows += [PreviewRow(variant, *pair) for pair in zip(inputs, answered, strict=True)]
            usages.append(usage)
    currency = config.prices.currency if config.prices.is_set else None
    seconds = time.perf_counter() - began
    return Preview(spec.task, variants, rows, usages, seconds, currency, is_kept=kept is store)


def _tell(watch: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    watch(before + done, total)


def _inputs(store: Store, spec: PreviewSpec) -> list[Input]:
    if spec.persona is not None:
        return [typed_input(store, spec.task, spec.persona)]
    if spec.ids:
        return named_inputs(store, spec.task, spec.ids)
    return first_inputs(store, spec.task, spec.count)


def _variants(store: Store, llm: LLM, spec: PreviewSpec) -> list[Variant]:
    """Each prompt with each model; only one of the two has several values."""
    catalog, config = store.catalog, store.config
    prompts = spec.prompts or (own_prompt(catalog, spec.task),)
    if not spec.models:
        task = current_tasks(catalog, config, spec.task, llm.servers(store))[0]
        return [Variant(each.label, _with_prompt(task, store, each.prompt)) for each in prompts]
    tasks = [current_task(catalog, config, spec.task, model) for model in spec.models]
    return [Variant(each.label, _with_prompt(task, store, each.prompt)) for each in prompts for task in tasks]


def _with_prompt(task: Task, store: Store, prompt: Prompt) -> Task:
    """The task with this prompt, its fields if it has any, and the settings of hub.toml."""
    config, answer = store.config, prompt.item or task.answer
    settings, section = _settings(config, prompt.name), config.role(task.role)
    own = {**section.sampling(), **settings.sampling(), **section.variant(task.variant).sampling()}
    prompt = prompt.with_settings(settings.parameters, own)
    if isinstance(settings, DatasetTask):
        prompt = with_demonstrations(prompt, store.catalog, settings, answer)
    return replace(task, prompt=prompt, answer=answer)


def _settings(config: HubConfig, name: str) -> PromptSettings:
    settings: dict[str, PromptSettings] = {
        "text_personas": config.text_personas,
        "related_personas": config.related_personas,
    }
    return settings.get(name) or config.dataset(name)


def requests_about(config: HubConfig, task: Task, inputs: list[Input], samples: int = 1) -> Iterator[Request]:
    """The requests of a run about these inputs, with the given number of samples of a dataset.

    Of dialogues: the first message, and those that follow stored ones.
    """
    texts = [(each.input_id, each.text) for each in inputs]
    if task.asset == "text_personas":
        return document_requests(task, texts, config.text_personas)
    if task.asset == "related_personas":
        parents = {persona_id: {"persona": text} for persona_id, text in texts}
        return related_requests(task, parents, config.related_personas.fan_out)
    if task.asset == DIALOGUES:
        dialogues = [(OpenDialogue(each.input_id, each.text), each.row) for each in inputs]
        return (request for each, texts in dialogues for request in requests_of(task, each, texts))
    if any(each.row for each in inputs):
        return item_based_requests(task, (dict(each.row) for each in inputs), range(samples), {})
    return persona_requests(task, texts, range(samples))


def _ask(
    store: Store, llm: LLM, variant: Variant, inputs: list[Input], watch: Callable[[int], None]
) -> tuple[list[Answered], Usage]:
    """Send the requests of each batch under its lock; return the answers in the order of the inputs."""
    task, tallies = variant.task, list[Usage]()
    answered: dict[tuple[str | None, str], Answered] = {}
    for batch in dict.fromkeys(each.batch for each in inputs):
        key, own = batch or _NO_BATCH, [each for each in inputs if each.batch == batch]
        report = partial(_tell_usage, watch, len(answered))
        with store.lock(Lock.of(task.asset, key), wait=False), llm.answers(store, task, key, report) as answers:
            for each in answers.preview(list(requests_about(store.config, task, own))):
                answered[batch, each.request.input_id] = each
        tallies.append(answers.tally)
    return [answered[each.batch, each.input_id] for each in inputs], Usage.together(tallies)


def _tell_usage(watch: Callable[[int], None], before: int, usage: Usage) -> None:
    watch(before + usage.done)


@contextmanager
def _store_of(store: Store, inputs: list[Input]) -> Iterator[Store]:
    """The store for the journal; without a batch a temporary one, because a takedown would not find its answers."""
    if all(each.batch for each in inputs):
        yield store
        return
    with TemporaryDirectory(prefix="personahub-preview-") as folder:
        if store.paths.config.exists():
            shutil.copy(store.paths.config, Home(Path(folder)).config)
        yield Store(home=folder, datasets_home=store.home)
