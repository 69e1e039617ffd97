"""Dialogues: the persona as the user, and an assistant, in turn (paper, section 4.3); each message is a call.

All dialogues of a slice of personas go forward together: a round asks for the next message of each one that has all
earlier ones. A request contains the whole conversation so far, so its key does, too: after a crash, and after a change
of a later prompt, the messages that are there are used again, and the rest is asked.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import polars as pl

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import DatasetTask, HubConfig
from personahub_assets.core.dialogues import ASSISTANT, DIALOGUES, Position, transcript
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.prompts import WANTED, Prompt
from personahub_assets.core.records import AssistantTurn, ChatMessage, Dialogue, Turn, UserTurn
from personahub_assets.core.text import digest
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.answers import Answers
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, ServerOf, Task
from personahub_assets.search import selections
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import asked_personas, items, nowhere, with_demonstrations
from personahub_assets.steps.decontamination import find_contaminated
from personahub_assets.steps.diversity import largest, measure_words
from personahub_assets.steps.role_tasks import role_task, variants_of
from personahub_assets.store.tables import Store

VARIANT = "variant"
"""In the hash that decides which variant of a role takes part in a dialogue."""


@dataclass(frozen=True)
class OpenDialogue:
    """A dialogue with its messages so far.

    Attributes:
        number: of the dialogue, among those of its persona.
        messages: their texts, the user's first.
        calls: the call that wrote each of them.
        is_retried: whether --retry sent a request of it in this run, so that the rest of it is sent, too.
    """

    persona_id: str
    persona: str
    number: int = 0
    messages: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    is_retried: bool = False

    @property
    def position(self) -> Position:
        """The next message."""
        return Position(self.number, len(self.messages))

    def with_message(self, content: str, call: str = "", *, is_retried: bool = False) -> "OpenDialogue":
        """The dialogue with one more message."""
        return replace(
            self,
            messages=(*self.messages, content),
            calls=(*self.calls, call),
            is_retried=self.is_retried or is_retried,
        )

    @property
    def roles_and_messages(self) -> list[tuple[str, str]]:
        """Its messages as `(role, content)`."""
        return [(Position(self.number, index).role, text) for index, text in enumerate(self.messages)]


# --- tasks and requests ---


def dialogue_tasks(catalog: Catalog, config: HubConfig, server_of: ServerOf) -> list[Task]:
    """The tasks of the user, one for each variant of the role, then those of the assistant.

    Raises:
        PromptError: if a prompt file is missing or malformed, or has not a parameter of hub.toml.
        ConfigError: if hub.toml sets values of fields, which messages do not have.
    """
    settings = config.dataset(DIALOGUES)
    _refuse_fields(settings)
    user, assistant = catalog.prompt(DIALOGUES), catalog.prompt(ASSISTANT)
    return [
        *_side(with_demonstrations(user, catalog, settings, UserTurn), UserTurn, settings, config, server_of),
        *_side(assistant, AssistantTurn, _known_to(assistant, user, settings), config, server_of),
    ]


def side_of(tasks: Sequence[Task], message: int) -> list[Task]:
    """The tasks of the side that writes a message, by its number."""
    return [task for task in tasks if (task.prompt.name == ASSISTANT) == bool(message % 2)]


def taking_part(side: Sequence[Task], dialogue: OpenDialogue) -> Task:
    """The variant that writes the messages of one side: by a hash, so that a further variant takes only its share."""
    if len(side) == 1:
        return side[0]
    return max(side, key=lambda task: digest(VARIANT, task.variant, dialogue.persona_id, str(dialogue.number)))


def _refuse_fields(settings: DatasetTask) -> None:
    for name in ("controls", "targets"):
        if getattr(settings, name):
            raise ConfigError(f"datasets.{DIALOGUES}.{name}: the messages of a dialogue have no such fields: remove it")


def _known_to(prompt: Prompt, first: Prompt, settings: DatasetTask) -> DatasetTask:
    """The settings for the second prompt: it takes those parameters of the first that it has, and its own."""
    own = {
        name: value
        for name, value in settings.parameters.items()
        if name in prompt.parameters or name not in first.parameters
    }
    return settings.model_copy(update={"parameters": own})


def _side(
    prompt: Prompt, answer: type[Turn], settings: DatasetTask, config: HubConfig, server_of: ServerOf
) -> list[Task]:
    # The number of a message is its call's sample: it asks for no other text.
    sampling = {**settings.sampling(), "vary": False}
    task_of = partial(
        role_task, DIALOGUES, prompt, answer, config, server_of, parameters=settings.parameters, sampling=sampling
    )
    return [task_of(variant=name) for name in variants_of(config, prompt.role)]


def opened(store: Store, batch: str) -> Iterator[list[OpenDialogue]]:
    """New dialogues with the personas of a batch, in slices.

    Raises:
        SelectionError: if the selected personas cannot be found.
    """
    settings = store.config.dataset(DIALOGUES)
    most = selections.most_samples(settings.personas_from)
    for rows in asked_personas(store, DIALOGUES, batch):
        yield [
            OpenDialogue(persona_id, persona, number)
            for persona_id, persona in rows.iter_rows()
            for number in range(min(settings.samples, most.get(persona_id, settings.samples)))
        ]


def turn_requests(task: Task, dialogues: Iterable[OpenDialogue]) -> Iterator[Request]:
    """The requests for the next message of each dialogue.

    Args:
        task: of the side whose turn it is.
        dialogues: all with the same number of messages.
    """
    for dialogue in dialogues:
        position = dialogue.position
        values = {"conversation": transcript(dialogue.roles_and_messages)}
        shared: dict[str, str | int] = {}
        if position.role == "user":  # the assistant does not know who asks
            values["persona"] = dialogue.persona
            if position.dialogue and not position.message:
                shared[WANTED] = f"This is conversation {position.dialogue + 1}: begin with another need."
        request = task.request(dialogue.persona_id, values, position.sample, **shared)
        yield replace(request, follows=True) if dialogue.is_retried else request


def opening_requests(store: Store, users: Sequence[Task], task: Task, batch: str) -> Iterator[Request]:
    """The requests for the first message of the dialogues of a batch that one variant of the user begins.

    Args:
        users: tasks of all variants.
        task: one of them.
    """
    for dialogues in opened(store, batch):
        yield from turn_requests(task, (each for each in dialogues if taking_part(users, each) is task))


def requests_of(task: Task, dialogue: OpenDialogue, texts: Mapping[int, str]) -> Iterator[Request]:
    """The requests of one side of the first dialogue of a persona, and of its others, as far as messages are stored.

    Args:
        task: of the side.
        dialogue: without messages.
        texts: stored messages, by the samples of their calls.
    """
    is_assistant = task.prompt.name == ASSISTANT
    for number in sorted({0, *(Position.of(sample).dialogue for sample in texts)}):
        current: OpenDialogue | None = replace(dialogue, number=number)
        while current is not None:
            position = current.position
            if (position.role == "assistant") == is_assistant:
                yield from turn_requests(task, [current])
            text = texts.get(position.sample)
            current = None if text is None else current.with_message(text)


def stored_messages(store: Store, batch: str, persona_id: str) -> dict[int, str]:
    """The messages of the dialogues of a persona, by the samples of their calls; those that are not superseded first.

    Raises:
        StoreError: if the table is damaged.
    """
    columns = ["input_id", "sample", "reason", "response", "superseded_at"]
    rows = store.read("generations", batch, DIALOGUES, columns=columns)
    answered = rows.filter(pl.col("input_id") == persona_id, pl.col("reason").is_null())
    latest_last = answered.sort("superseded_at", nulls_last=True).select("sample", "response")
    return {sample: str(next(iter(json.loads(response).values()))) for sample, response in latest_last.iter_rows()}


# --- the step ---


def write_dialogues(
    name: str, store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder | None = None
) -> Asked:
    """Hold the dialogues with the personas of a batch, and publish those that are complete.

    A dialogue whose message is rejected ends in `quarantine`, with the turn; a later run asks from that turn on.

    Args:
        name: the dataset.
        embedder: compares dialogues with test sets by meaning, too.

    Raises:
        LLMError: if there is no model, or it fails for all requests.
        BudgetSpent: if the budget is spent; the received messages are kept for the next run.
        SelectionError: if the selected personas cannot be found.
    """
    settings = store.config.dataset(name)
    height = sum(rows.height for rows in asked_personas(store, name, batch))
    tasks = dialogue_tasks(store.catalog, store.config, llm.servers(store) if height else nowhere)
    with llm.answers(store, tasks[0], batch, watch) as answers:
        answers.label = _label
        for dialogues in opened(store, batch):
            complete = hold(dialogues, tasks, settings.turns, partial(_next, answers))
            answers.write(name, dialogue_rows(name, batch, complete))
        answers.publish(name)
    facts: dict[str, Any] = {"turns": settings.turns}
    facts |= {"personas_from": settings.personas_from} if settings.personas_from else {}
    tests = find_contaminated(store, embedder, name, batch)
    return Asked.of(answers, **facts, **largest(measure_words(store, name, batch)), **tests)


def _label(sample: int) -> str:
    return Position.of(sample).label


Continue = Callable[[Task, Sequence[OpenDialogue]], list[OpenDialogue]]
"""Gets the next message of each dialogue; those without one are left out."""


def hold(dialogues: list[OpenDialogue], tasks: Sequence[Task], turns: int, next_of: Continue) -> list[OpenDialogue]:
    """Go through all turns; return the dialogues that have all their messages, in their order.

    Args:
        dialogues: without messages.
        tasks: of user and assistant.
        turns: of each side.
        next_of: asks for the next messages.
    """
    for number in range(2 * turns):
        side, longer = side_of(tasks, number), list[OpenDialogue]()
        for task in side:
            if own := [each for each in dialogues if taking_part(side, each) is task]:
                longer += next_of(task, own)
        dialogues = longer if len(side) == 1 else _in_order_of(dialogues, longer)
    return dialogues


def _in_order_of(before: list[OpenDialogue], after: list[OpenDialogue]) -> list[OpenDialogue]:
    by_id = {(each.persona_id, each.number): each for each in after}
    keys = [(each.persona_id, each.number) for each in before]
    return [by_id[key] for key in keys if key in by_id]


def _next(answers: Answers, task: Task, dialogues: Sequence[OpenDialogue]) -> list[OpenDialogue]:
    """Ask for the next message of each dialogue, all at once."""
    answers.use(task)
    by_id = {(each.persona_id, each.position.sample): each for each in dialogues}
    longer = []
    for accepted in answers.request_all(partial(turn_requests, task, dialogues), len(dialogues)):
        for request, call, answer in accepted:
            is_retried = request.key in answers.retried
            dialogue = by_id[request.input_id, request.sample]
            longer.append(dialogue.with_message(answer.content, call, is_retried=is_retried))
    return longer


def dialogue_rows(name: str, batch: str, dialogues: Iterable[OpenDialogue]) -> list[dict[str, Any]]:
    """The rows of complete dialogues."""
    return items(name, batch, [(each.persona_id, each.number, each.calls[-1], _item(each)) for each in dialogues])


def _item(dialogue: OpenDialogue) -> Dialogue:
    messages = [ChatMessage(role=role, content=text) for role, text in dialogue.roles_and_messages]
    return Dialogue(turns=len(messages) // 2, messages=messages, calls=list(dialogue.calls))
