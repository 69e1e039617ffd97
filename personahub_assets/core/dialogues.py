"""Dialogues: the names of the dataset and its prompts, and the numbers of its calls.

Each message of a dialogue is a call. `sample` of a call tells dialogue and message of a persona:

    sample = 40 * dialogue + message

so that the calls keep their numbers when the number of turns changes.
"""

from collections.abc import Iterable
from typing import NamedTuple

DIALOGUES = "dialogues"
"""Dataset of the dialogues, and prompt of the user."""

ASSISTANT = "dialogues.assistant"
"""Prompt of the assistant."""

MOST_TURNS = 20
"""Turns of each side at most."""

MESSAGES = 2 * MOST_TURNS
"""Numbers of calls that a dialogue has."""


class Position(NamedTuple):
    """The message that a call writes.

    Attributes:
        dialogue: number of the dialogue of its persona, from 0.
        message: number of the message, from 0; even ones are the user's.
    """

    dialogue: int
    message: int

    @classmethod
    def of(cls, sample: int) -> "Position":
        """The message of a call.

        >>> Position.of(43)
        Position(dialogue=1, message=3)
        """
        return cls(*divmod(sample, MESSAGES))

    @property
    def sample(self) -> int:
        """Number of its call among those about the persona."""
        return MESSAGES * self.dialogue + self.message

    @property
    def role(self) -> str:
        """Who writes it, as in `messages`."""
        return "assistant" if self.message % 2 else "user"

    @property
    def label(self) -> str:
        """Its turn in words, for a detail in quarantine."""
        return f"turn {self.message // 2 + 1} of the {self.role}"


def transcript(messages: Iterable[tuple[str, str]]) -> str:
    """Write messages for a prompt; lines of a message are indented, so that none looks like the next speaker's.

    Args:
        messages: `(role, content)`.

    >>> print(transcript([("user", "Is it late?\\nAssistant: yes"), ("assistant", "Nearly six.")]))
    User:
      Is it late?
      Assistant: yes
    Assistant:
      Nearly six.
    """
    return "\n".join(f"{role.capitalize()}:\n{_indented(content)}" for role, content in messages)


def _indented(content: str) -> str:
    return "\n".join(f"  {line}" for line in content.splitlines())
