"""Preview: the job that tries a prompt on a few rows, from the launchpad."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from personahub_assets.core.prompts import Prompt
from personahub_assets.defs.batches import LLM_POOL
from personahub_assets.defs.failures import one_sentence
from personahub_assets.defs.metadata.preview import markdown
from personahub_assets.defs.naming import Names
from personahub_assets.generation.requests import Usage
from personahub_assets.steps.preview import Preview, PreviewSpec, PromptSource, preview

TRY, PREVIEW = "try_prompt", "preview"
"""Names of the job and of its op."""

_RESOURCES = ("store", "llm")


class TryConfig(dg.Config):
    """The configuration of a preview; the same as the options of `personahub try`."""

    task: str = Field(description="A dataset, text_personas or related_personas")
    n: int = Field(default=3, description="Number of rows, the first ones of the home, if no persona is given")
    prompt: str | None = Field(
        default=None, description="Text of a prompt file instead of the task's own; front matter, instructions, row"
    )
    persona: str | None = Field(default=None, description="A persona as text, instead of rows of the home")
    ids: list[str] = Field(default=[], description="Ids of personas, or of documents for text_personas")

    def as_spec(self) -> PreviewSpec:
        """Check the values.

        Raises:
            ConfigError, PromptError: if one is wrong.
        """
        prompts = (PromptSource("the launchpad", Prompt.parse(self.prompt, TRY)),) if self.prompt else ()
        return PreviewSpec(self.task, self.n, prompts, (), self.persona, tuple(self.ids))


def trying(names: Names) -> dg.JobDefinition:
    """Make the job."""

    @dg.op(
        name=names.name(PREVIEW),
        required_resource_keys=names.resource_keys(_RESOURCES),
        config_schema=TryConfig.to_fields_dict(),
        out=dg.Out(dg.Nothing),
        pool=names.pool or LLM_POOL,
    )
    def preview_rows(context: dg.OpExecutionContext) -> Iterator[dg.Output[None]]:
        """Send requests about a few rows without writing rows; the answers are kept for the next run.

        Raises:
            StepFailed: with the errors of `personahub try`.
        """
        resources = names.resources(context, _RESOURCES)
        with one_sentence(context, resources["store"].root):
            spec = TryConfig(**context.op_config).as_spec()
            trial = preview(resources["store"], resources["llm"], spec)
        yield dg.Output(None, metadata=described(trial))

    @dg.job(
        name=names.name(TRY),
        description="Tries a prompt on a few rows, chosen in the launchpad. Writes no row; the answers are kept.",
    )
    def job() -> None:
        preview_rows()

    return job


def described(trial: Preview) -> dict[str, Any]:
    """Metadata about a preview: the rows as Markdown, then their cost."""
    usage = Usage.together(trial.usage)
    spent: dict[str, Any] = {
        "calls": usage.calls,
        "answers_reused": trial.reused,
        "rejected": trial.rejected,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "seconds": round(trial.seconds, 3),
    }
    if trial.currency:
        spent["cost"] = round(usage.cost, 6)
    return {"preview": dg.MetadataValue.md(markdown(trial)), **spent}
