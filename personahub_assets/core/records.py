"""Answer classes for the language model, and the datasets made from them.

Every string and list is bounded: guided decoding needs an end, and without bounds one bad answer could cost as much as
a thousand good ones. Bounds count Unicode characters.

To add a dataset: write a class here, add its line to `DATASETS`, and put `prompts/<name>.md` beside the others. The
SQL table, its comments, its checks and its asset follow from the class (docs/add-a-dataset.md). A dataset that is made
from the items of another one has a `Derivation`, and its line in `DERIVED`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from personahub_assets.core.constraints import VERIFIER, Constraint, stated
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.exchange import Exchange

MAX_PERSONAS_PER_CALL = 8


class Answer(BaseModel):
    """Answer of one call; unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class TextPersona(Answer):
    """A kind of person who has to do with a document (paper, section 2.1)."""

    persona: Annotated[str, StringConstraints(min_length=20, max_length=400)] = Field(
        description="One or two sentences describing a kind of person"
    )
    relation: Literal["read", "write", "like", "dislike"] = Field(description="What this person does with the text")
    granularity: Literal["coarse", "fine"] = Field(description="coarse: a broad group; fine: a specific person")


class TextPersonas(Answer):
    """The personas inferred from one document."""

    personas: Annotated[list[TextPersona], Field(min_length=1, max_length=MAX_PERSONAS_PER_CALL)]


class RelatedPersona(Answer):
    """A kind of person who stands in a close relationship to another (paper, section 2.1)."""

    persona: Annotated[str, StringConstraints(min_length=20, max_length=400)] = Field(
        description="One or two sentences describing a kind of person"
    )
    relation: Annotated[str, StringConstraints(min_length=3, max_length=60)] = Field(
        description="What this person is to the given one, such as patient, rival, younger sister"
    )


class RelatedPersonas(Answer):
    """The personas related to one persona."""

    personas: Annotated[list[RelatedPersona], Field(min_length=1, max_length=MAX_PERSONAS_PER_CALL)]


@dataclass(frozen=True)
class DefaultVariant:
    """A participant in a role, used where hub.toml names none.

    Attributes:
        name: shown in the column `variant`.
        style: one of the derivation's styles; "" for the first.
        sampling: temperature and others, instead of the prompt's.
    """

    name: str = ""
    style: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Derivation:
    """How a dataset is made from the items of another one.

    Attributes:
        source: name of the dataset whose items are the input.
        samples: answers per item, if hub.toml sets no number.
        least_samples: fewest answers that hub.toml may set.
        is_optional: whether a run without --select leaves it out, unless hub.toml enables it.
        styles: ways of answering, each with the class of its answers; None if the answers are the items. The first
            uses `prompts/<dataset>.md`, the others `prompts/<dataset>.<style>.md`.
        variants: who answers, where the role has no variants in hub.toml; sample n is written by variant n.
    """

    source: str
    samples: int = 1
    least_samples: int = 1
    is_optional: bool = False
    styles: Mapping[str, type[Answer] | None] = field(default_factory=lambda: {"": None})
    variants: tuple[DefaultVariant, ...] = (DefaultVariant(),)

    def style(self, name: str) -> str:
        """The style of this name, the first for an empty one.

        Raises:
            KeyError: if there is no such style.
        """
        if name and name not in self.styles:
            raise KeyError(name)
        return name or next(iter(self.styles))


class DatasetItem(Answer):
    """One row of a synthetic dataset; a subclass's docstring becomes the table's description.

    `class Solution(DatasetItem, derivation=Derivation("math_problems"))` is made from the items of another dataset.
    """

    __derivation__: ClassVar[Derivation | None] = None
    __turns__: ClassVar[tuple[type[Answer], ...]] = ()
    """Classes of the answers of a dialogue, whose messages are calls: the user's and the assistant's."""
    __controls__: ClassVar[tuple[str, ...]] = ()
    """Fields whose values `[datasets.NAME.controls]` of hub.toml can set; the prompt has them as names."""
    __modes__: ClassVar[tuple[str, ...]] = ("plain",)
    """Values that `mode` in `[datasets.NAME]` of hub.toml can have."""
    __rule__: ClassVar[str] = ""
    """Version of code that makes columns from answers; another one makes the rows again, without a call."""
    __exchange__: ClassVar[Exchange | None] = None
    """What a user says and an assistant answers, for the formats of a release; None if the items are neither."""

    def __init_subclass__(cls, *, derivation: Derivation | None = None, **options: Any) -> None:
        """Keep the derivation of the class; a class that inherits from a derived one is derived alike."""
        super().__init_subclass__(**options)
        if derivation is not None:
            cls.__derivation__ = derivation

    def as_text(self) -> str:
        """Write the item as readable text: a single field unchanged, several fields with their names."""
        fields = {name: value for name, value in self.model_dump().items() if value is not None}
        if len(fields) == 1:
            return str(next(iter(fields.values())))
        return "\n".join(f"{name.replace('_', ' ').capitalize()}: {readable(value)}" for name, value in fields.items())


def _is_none(value: object) -> bool:
    return value is None


@lru_cache(256)
def unasked_fields(item: type[Answer]) -> tuple[str, ...]:
    """The fields of a class that its JSON schema leaves out, because a model does not fill them in."""
    return tuple(item.model_fields.keys() - item.model_json_schema().get("properties", {}).keys())


class MathProblem(DatasetItem):
    """A challenging mathematics problem set in the persona's world, without its solution."""

    topic: Annotated[str, StringConstraints(min_length=3, max_length=80)] = Field(
        description="Field of mathematics the problem draws on"
    )
    problem: Annotated[str, StringConstraints(min_length=40, max_length=1200)] = Field(
        description="The full problem statement, at most two sub-problems, no solution"
    )
    # Not part of the answer: hub.toml sets it.
    difficulty: SkipJsonSchema[str | None] = Field(
        None, description="Difficulty that hub.toml asked for; null without", exclude_if=_is_none
    )
    __controls__: ClassVar[tuple[str, ...]] = ("topic", "difficulty")
    __exchange__: ClassVar[Exchange | None] = Exchange(prompt="{problem}")


class ReasoningProblem(DatasetItem):
    """A logical, spatial or trick-language puzzle that suits the persona, without its solution."""

    kind: Literal["logical", "spatial", "trick"] = Field(description="What the puzzle demands")
    problem: Annotated[str, StringConstraints(min_length=40, max_length=1000)] = Field(
        description="The full puzzle, no solution"
    )
    __exchange__: ClassVar[Exchange | None] = Exchange(prompt="{problem}")


class Instruction(DatasetItem):
    """A request that the persona would make of an AI assistant."""

    category: Annotated[str, StringConstraints(min_length=3, max_length=60)] = Field(
        description="Kind of request, such as planning, explanation, editing"
    )
    instruction: Annotated[str, StringConstraints(min_length=20, max_length=800)] = Field(
        description="The request as the persona would type it, specific and complete"
    )
    # Not part of the answer: chosen by a hash in the mode `constraints`.
    constraints: SkipJsonSchema[list[Constraint] | None] = Field(
        None,
        description="Constraints on the answer, stated at the end of the instruction; null in the plain mode",
        exclude_if=_is_none,
    )
    __modes__: ClassVar[tuple[str, ...]] = ("plain", "constraints")
    __exchange__: ClassVar[Exchange | None] = Exchange(prompt="{instruction}")

    def with_constraints(self, constraints: list[Constraint]) -> "Instruction":
        """The instruction with the sentences of its constraints, in place of any that the answer has."""
        text = f"{self.instruction}\n\n{stated(constraints)}" if constraints else self.instruction
        return self.model_copy(update={"instruction": text, "constraints": constraints or None})

    def as_text(self) -> str:
        """Write category and instruction, which states the constraints."""
        return super(Instruction, self.with_constraints([])).as_text()


class KnowledgeText(DatasetItem):
    """An informative article that the persona would write, for pre-training and retrieval."""

    title: Annotated[str, StringConstraints(min_length=5, max_length=120)] = Field(description="Title of the article")
    article: Annotated[str, StringConstraints(min_length=120, max_length=3000)] = Field(
        description="The article, informative and self-contained"
    )


class GameNPC(DatasetItem):
    """A non-player character for a described game world, built from the persona."""

    name: Annotated[str, StringConstraints(min_length=2, max_length=60)] = Field(description="The character's name")
    role: Annotated[str, StringConstraints(min_length=3, max_length=100)] = Field(
        description="Place of the character in the game world"
    )
    background: Annotated[str, StringConstraints(min_length=40, max_length=700)] = Field(
        description="History, looks and temper of the character"
    )
    interaction: Annotated[str, StringConstraints(min_length=30, max_length=500)] = Field(
        description="How the character interacts with players: quests, trade, conflict, help"
    )
    greeting: Annotated[str, StringConstraints(min_length=5, max_length=200)] = Field(
        description="First line the character says to a player"
    )
    # Not part of the answer: the request has the world, and a rule compares.
    world: SkipJsonSchema[str | None] = Field(
        None, description="Its world, a file of prompts/worlds; null without", exclude_if=_is_none
    )
    misfit: SkipJsonSchema[str | None] = Field(
        None,
        description="Why it does not belong to its world; null if it does, or without a world",
        exclude_if=_is_none,
    )

    def as_text(self) -> str:
        """Write the answer as readable text."""
        return super(GameNPC, self.model_copy(update={"world": None, "misfit": None})).as_text()


class ToolArgument(Answer):
    """One input of a tool."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = Field(
        description="Name of the argument in snake_case"
    )
    type: Literal["string", "integer", "number", "boolean", "array", "object"] = Field(description="JSON type")
    description: Annotated[str, StringConstraints(min_length=5, max_length=200)] = Field(description="What it means")


class Tool(DatasetItem):
    """A tool (function) worth building for the persona, described by its interface."""

    name: Annotated[str, StringConstraints(min_length=3, max_length=80)] = Field(description="Readable name")
    description: Annotated[str, StringConstraints(min_length=20, max_length=500)] = Field(
        description="What the tool does and when to call it"
    )
    function_name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{2,59}$")] = Field(
        description="Name of the function in snake_case"
    )
    input_arguments: Annotated[list[ToolArgument], Field(min_length=1, max_length=6)] = Field(
        description="Arguments of the function"
    )
    returns: Annotated[str, StringConstraints(min_length=5, max_length=300)] = Field(
        description="What the function returns"
    )
    dependencies: Annotated[
        list[Annotated[str, StringConstraints(min_length=2, max_length=80)]], Field(max_length=5)
    ] = Field(description="Libraries, services or data that the tool needs")


DATASETS: dict[str, type[DatasetItem]] = {
    "math_problems": MathProblem,
    "reasoning_problems": ReasoningProblem,
    "instructions": Instruction,
    "knowledge_texts": KnowledgeText,
    "game_npcs": GameNPC,
    "tools": Tool,
}


_FINAL = StringConstraints(max_length=120, pattern=r"^[^\s,;:]([^\n]*[^\s.,;:])?$")
"""One line without a full stop; the patterns of final answers are simple, for servers that compile them."""


class ReasonedSolution(Answer):
    """A solution in sentences, with its final answer."""

    solution: Annotated[str, StringConstraints(min_length=10, max_length=6000)] = Field(
        description="The solution, step by step"
    )
    final_answer: Annotated[str, _FINAL] = Field(
        description="Only the answer, as short as it can be: a number, a fraction such as 3/4, or an expression; "
        "answers to several questions in their order, separated by '; '"
    )


class ProgramSolution(Answer):
    """A solution as a program, whose output is the final answer."""

    program: Annotated[str, StringConstraints(min_length=10, max_length=6000)] = Field(
        description="A Python program that computes the answer and prints it as its last line, and nothing else there"
    )


class SameAnswer(Answer):
    """Whether two final answers to one problem mean the same."""

    reason: Annotated[str, StringConstraints(min_length=3, max_length=300)] = Field(description="In one sentence")
    same: bool = Field(description="True if both mean the same as answers to this problem")


class Solution(DatasetItem):
    """A solution of a problem, with its final answer."""

    style: Literal["reasoning", "program"] = Field(description="Solved in sentences, or by a program that was run")
    solution: str = Field(description="The solution, or the program")
    final_answer: str | None = Field(description="The answer alone; null if the program gave none")
    outcome: str = Field(description="stated (in sentences), or how the program ended: ran, failed, unsupported, …")
    detail: str | None = Field(description="Why the program gave no answer; null if it did")
    __exchange__: ClassVar[Exchange | None] = Exchange(prompt="{source.problem}", answer="{text}")

    def as_text(self) -> str:
        """Write the solution with its answer."""
        return f"{self.solution}\n\nFinal answer: {self.final_answer or 'none'}"


class MathSolution(
    Solution,
    derivation=Derivation(
        "math_problems",
        samples=3,
        least_samples=3,
        is_optional=True,
        styles={"reasoning": ReasonedSolution, "program": ProgramSolution},
        variants=(
            DefaultVariant("reasoning", "reasoning"),
            DefaultVariant("program", "program"),
            DefaultVariant("reasoning-warm", "reasoning", {"temperature": 0.9}),
        ),
    ),
):
    """A solution of a math problem, with its final answer; several per problem, by different solvers."""


class ReasoningSolution(
    Solution,
    derivation=Derivation(
        "reasoning_problems",
        samples=3,
        least_samples=3,
        is_optional=True,
        styles={"reasoning": ReasonedSolution},
        variants=(
            DefaultVariant("reasoning", "reasoning"),
            DefaultVariant("reasoning-mild", "reasoning", {"temperature": 0.6}),
            DefaultVariant("reasoning-warm", "reasoning", {"temperature": 0.9}),
        ),
    ),
):
    """A solution of a reasoning problem, with its final answer; several per problem, by different solvers."""


def _is_json(text: str) -> str:
    json_value(text)
    return text


def _is_json_object(text: str) -> str:
    if not isinstance(json_value(text), dict):
        raise ValueError('expected a JSON object with the names of the arguments, such as {"count": 3}')
    return text


def json_value(text: str) -> Any:
    """Read a JSON value; NaN and infinite numbers are not JSON.

    Raises:
        ValueError: if it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class ToolCall(Answer):
    """A call of a tool, and what it should return."""

    arguments: Annotated[str, StringConstraints(min_length=2, max_length=1000), AfterValidator(_is_json_object)] = (
        Field(description='All arguments of the call as a JSON object, such as {"count": 3, "name": "Ada"}')
    )
    expected: Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_is_json)] = Field(
        description='The value that the call returns, as JSON, such as 12.5, "Ada" or {"total": 3}'
    )


class ToolTests(DatasetItem, derivation=Derivation("tools", is_optional=True)):
    """Calls of a tool with the values that they should return, written from its interface before there is code."""

    tests: Annotated[list[ToolCall], Field(min_length=2, max_length=5)] = Field(
        description="Calls that differ, edge cases among them"
    )


class ToolCode(Answer):
    """The code of a tool."""

    code: Annotated[str, StringConstraints(min_length=10, max_length=8000)] = Field(
        description="A Python module that defines the function"
    )


class ToolImplementation(DatasetItem, derivation=Derivation("tools", is_optional=True, styles={"": ToolCode})):
    """Python code for a tool, with the outcome of its tests; the author of the code did not see the tests."""

    function_name: str = Field(description="Name of the function")
    code: str = Field(description="A Python module that defines the function")
    status: Literal["passed", "failed", "unsupported", "error"] = Field(
        description="passed: every call returned the expected value; failed: one did not; unsupported: the code needs "
        "what the sandbox does not have; error: it is not valid, raised, exceeded a limit, or has no tests"
    )
    reason: str | None = Field(description="Kind of the reason for not passing, such as time_limit; null if it passed")
    detail: str | None = Field(description="The reason in words, with the test; null if it passed")
    passed_tests: int = Field(description="Number of tests that passed; the run ends at the first that does not")
    tests: list[ToolCall] = Field(description="The tests, from tool_tests")
    __exchange__: ClassVar[Exchange | None] = Exchange(
        prompt="Write this function in Python.\n\n{source.text}", answer="{code}"
    )

    def as_text(self) -> str:
        """Write the code."""
        return self.code


class InstructionReply(Answer):
    """The reply of an assistant to an instruction."""

    response: Annotated[str, StringConstraints(min_length=1, max_length=8000)] = Field(
        description="The whole answer to the request, exactly in the form that the request wants"
    )


class InstructionAnswer(
    DatasetItem,
    derivation=Derivation("instructions", is_optional=True, styles={"": InstructionReply}),
):
    """An answer to an instruction, with the outcome of each of the instruction's constraints."""

    instruction: str = Field(description="The instruction that was answered")
    answer: str = Field(description="The answer of the assistant")
    constraints: list[Constraint] = Field(description="Constraints of the instruction; empty in the plain mode")
    satisfied: list[bool] = Field(description="Whether the answer satisfies each constraint, in their order")
    all_satisfied: bool | None = Field(description="Whether it satisfies all; null without constraints")
    __rule__: ClassVar[str] = VERIFIER
    __exchange__: ClassVar[Exchange | None] = Exchange(prompt="{instruction}", answer="{answer}")

    def as_text(self) -> str:
        """Write the answer."""
        return self.answer


class Turn(Answer):
    """A message of a dialogue."""

    @property
    def content(self) -> str:
        """Its text."""
        raise NotImplementedError


class UserTurn(Turn):
    """The next message of the user in a dialogue."""

    message: Annotated[str, StringConstraints(min_length=2, max_length=1500)] = Field(
        description="The message as this person would type it to the assistant"
    )

    @property
    def content(self) -> str:
        """The message."""
        return self.message


class AssistantTurn(Turn):
    """The next message of the assistant in a dialogue."""

    reply: Annotated[str, StringConstraints(min_length=2, max_length=4000)] = Field(
        description="The answer to the last message of the user"
    )

    @property
    def content(self) -> str:
        """The reply."""
        return self.reply


class ChatMessage(Answer):
    """A message of a chat."""

    role: Literal["user", "assistant"] = Field(description="Who wrote it")
    content: str = Field(description="Its text")


class Dialogue(DatasetItem):
    """A conversation of the persona, as the user, with an assistant; each message is a call."""

    __turns__: ClassVar[tuple[type[Turn], ...]] = (UserTurn, AssistantTurn)

    turns: int = Field(description="Number of messages of the user; the assistant answers each")
    messages: list[ChatMessage] = Field(
        description="The messages in their order, as chat templates take them: role (user or assistant) and content"
    )
    calls: list[str] = Field(description="Call that wrote each message, in generations")

    def as_text(self) -> str:
        """Write the messages, each after its role."""
        return "\n\n".join(f"{each.role.capitalize()}: {each.content}" for each in self.messages)


DIALOGUE_DATASETS: dict[str, type[DatasetItem]] = {DIALOGUES: Dialogue}
"""Datasets whose items are dialogues, by name."""

DERIVED: dict[str, type[DatasetItem]] = {
    "math_solutions": MathSolution,
    "reasoning_solutions": ReasoningSolution,
    "tool_tests": ToolTests,
    "tool_implementations": ToolImplementation,
    "instruction_answers": InstructionAnswer,
}
"""Datasets that are made from the items of another dataset, by name."""


def packaged() -> dict[str, type[DatasetItem]]:
    """The classes of all datasets of the package, by name."""
    return {**DATASETS, **DERIVED, **DIALOGUE_DATASETS}


def readable(value: object) -> str:
    """Write a field's value as text, without brackets and quotes.

    >>> readable([{"name": "city", "type": "string"}])
    'name: city, type: string'
    """
    if isinstance(value, dict):
        return ", ".join(f"{key}: {readable(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(readable(item) for item in value) or "none"
    return str(value)
