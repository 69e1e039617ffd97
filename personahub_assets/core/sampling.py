"""Parameters of a request beyond temperature, top_p and max_tokens; those that are not set are not sent.

They can be set in a task's table of hub.toml, in a prompt's front matter, and in `[generation]`; the first of these
that sets one wins.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

MAX_TOKENS = 1_000_000
"""Bound of `max_tokens`; models that reason before they answer need many."""


def json_table(value: dict[str, Any]) -> dict[str, Any]:
    """A table that can be sent as JSON.

    Raises:
        ValueError: if it contains a date or a number that JSON cannot represent.
    """
    try:
        json.dumps(value, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"cannot be sent as JSON: {error}") from error
    return value


class SamplingOptions(BaseModel):
    """Parameters that only some servers accept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top_k: int | None = Field(None, ge=-1, description="Sample among so many tokens; vLLM takes -1 for all")
    min_p: float | None = Field(
        None, ge=0, le=1, description="Drop tokens less likely than this share of the likeliest"
    )
    presence_penalty: float | None = Field(None, ge=-2, le=2, description="Penalty of tokens that were used")
    frequency_penalty: float | None = Field(
        None, ge=-2, le=2, description="Penalty of tokens by how often they were used"
    )
    repetition_penalty: float | None = Field(
        None, gt=0, le=10, description="Factor against tokens that were used, the prompt's included; 1: none"
    )
    stop: list[str] | None = Field(None, description="Texts at which the answer ends; OpenAI takes up to four")
    reasoning_effort: str | None = Field(None, description='How long the model thinks, such as "none", "low" or "high"')
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Arguments of the server's chat template, such as {enable_thinking = false}"
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _is_json(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        return value if value is None else json_table(value)

    @property
    def options(self) -> dict[str, Any]:
        """Those that are set, by name, in the order of this class."""
        return {name: value for name in OPTIONS if (value := getattr(self, name)) is not None}


OPTIONS = tuple(SamplingOptions.model_fields)
"""Names of all parameters of `SamplingOptions`."""
