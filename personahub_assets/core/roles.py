"""Roles: who answers a task. Each can have its own model, server and sampling (`[roles.NAME]` of hub.toml)."""

from typing import Literal, get_args

Role = Literal["writer", "solver", "judge", "user", "assistant"]
"""Roles that the front matter of a prompt can name.

writer: writes personas and items; the default
solver: solves problems
judge: compares or scores answers
user: plays the persona in a dialogue
assistant: answers instructions and dialogues
"""

ROLES: tuple[Role, ...] = get_args(Role)
WRITER: Role = "writer"
