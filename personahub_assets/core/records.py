"""Answer classes for the language model, and the datasets made from them.

Every string and list is bounded: guided decoding needs an end, and without bounds one bad answer could cost as much as
a thousand good ones. Bounds count Unicode characters.

To add a dataset: write a class here, add its line to `DATASETS`, and put `prompts/<name>.md` beside the others. The
SQL table, its comments, its checks and its asset follow from the class (docs/add-a-dataset.md).
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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


class DatasetItem(Answer):
    """One row of a synthetic dataset; a subclass's docstring becomes the table's description."""

    def as_text(self) -> str:
        """Write the item as readable text: a single field unchanged, several fields with their names."""
        fields = self.model_dump()
        if len(fields) == 1:
            return str(next(iter(fields.values())))
        return "\n".join(f"{name.replace('_', ' ').capitalize()}: {readable(value)}" for name, value in fields.items())


class MathProblem(DatasetItem):
    """A challenging mathematics problem set in the persona's world, without its solution."""

    topic: Annotated[str, StringConstraints(min_length=3, max_length=80)] = Field(
        description="Field of mathematics the problem draws on"
    )
    problem: Annotated[str, StringConstraints(min_length=40, max_length=1200)] = Field(
        description="The full problem statement, at most two sub-problems, no solution"
    )


class ReasoningProblem(DatasetItem):
    """A logical, spatial or trick-language puzzle that suits the persona, without its solution."""

    kind: Literal["logical", "spatial", "trick"] = Field(description="What the puzzle demands")
    problem: Annotated[str, StringConstraints(min_length=40, max_length=1000)] = Field(
        description="The full puzzle, no solution"
    )


class Instruction(DatasetItem):
    """A request that the persona would make of an AI assistant."""

    category: Annotated[str, StringConstraints(min_length=3, max_length=60)] = Field(
        description="Kind of request, such as planning, explanation, editing"
    )
    instruction: Annotated[str, StringConstraints(min_length=20, max_length=800)] = Field(
        description="The request as the persona would type it, specific and complete"
    )


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
