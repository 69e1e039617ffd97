"""Tasks of a role that one of its variants is asked by: the judge of answers, and both sides of a dialogue."""

from typing import Any

from personahub_assets.core.config import HubConfig
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import Answer
from personahub_assets.core.roles import Role
from personahub_assets.generation.requests import Server, ServerOf, Task
from personahub_assets.generation.servers.dialect import Dialect


def role_task(
    asset: str,
    prompt: Prompt,
    answer: type[Answer],
    config: HubConfig,
    server_of: ServerOf,
    *,
    parameters: dict[str, Any] | None = None,
    sampling: dict[str, Any] | None = None,
    variant: str | None = None,
) -> Task:
    """The task of the role that a prompt names, with the model, server and sampling of the role.

    Args:
        asset: that sends the requests.
        prompt: names the role.
        answer: class of the answers.
        config: the settings of the home.
        server_of: the server of each role.
        parameters: values for parameters of the prompt.
        sampling: over that of the role, and under that of its variant.
        variant: its name; None for the first one.

    Raises:
        PromptError: if the prompt does not have a parameter.
    """
    role = prompt.role
    section = config.role(role)
    variant = variants_of(config, role)[0] if variant is None else variant
    server = server_of(role, variant)
    own = {**section.sampling(), **(sampling or {}), **section.variant(variant).sampling()}
    dialect = dialect_of(config, role, variant, server)
    prompt = prompt.with_settings(parameters or {}, own)
    return Task(asset, prompt, answer, server.model, dialect, role=role, variant=variant)


def variants_of(config: HubConfig, role: Role) -> list[str]:
    """The names of the variants of a role; one empty name for a role without variants."""
    return [each.name for each in config.role(role).variants] or [""]


def dialect_of(config: HubConfig, role: Role, variant: str, server: Server) -> Dialect:
    """The dialect of the server that a variant of a role is asked on."""
    section = config.role(role)
    is_own = bool(section.variant(variant).url or section.url) if server.is_own is None else server.is_own
    return Dialect.of(config.as_role(role, variant, is_own_server=is_own).generation)
