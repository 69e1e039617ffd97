"""The tasks that call the language model, by name."""

from collections.abc import Collection

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.core.records import Solution, ToolImplementation
from personahub_assets.core.roles import WRITER
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Server, ServerOf, Task
from personahub_assets.steps.agreement import judge_task
from personahub_assets.steps.datasets import dataset_tasks, samples_of
from personahub_assets.steps.dialogues import dialogue_tasks
from personahub_assets.steps.personas import related_personas_task, text_personas_task
from personahub_assets.store.tables import Store
from personahub_assets.verification.sandbox.bubblewrap import check_bubblewrap


def current_task(catalog: Catalog, config: HubConfig, name: str, model: str) -> Task:
    """A task with its current prompt file and hub.toml; the first of several variants.

    Raises:
        PromptError, ConfigError: if its prompt file is missing or malformed, or its class cannot be made.
    """
    return current_tasks(catalog, config, name, lambda _role, _variant: Server(model))[0]


def require_runnable(catalog: Catalog, config: HubConfig, name: str) -> None:
    """Refuse a task that would fail before its first request, whatever the home holds.

    Raises:
        PromptError, ConfigError: as `current_task` does; for too few samples, or a sandbox that cannot be used here.
    """
    current_task(catalog, config, name, "none")
    if name not in catalog.names:
        return
    samples_of(name, catalog, config)
    if config.verification.sandbox == "bubblewrap" and issubclass(catalog.item(name), Solution | ToolImplementation):
        check_bubblewrap()


def current_tasks(catalog: Catalog, config: HubConfig, name: str, server_of: ServerOf) -> list[Task]:
    """The tasks of this name, one for each variant of its role, or for each side of a dialogue.

    Raises:
        PromptError, ConfigError: as `current_task` does.
    """
    if name == "text_personas":
        return [text_personas_task(catalog, config, server_of(WRITER, "").model)]
    if name == "related_personas":
        return [related_personas_task(catalog, config, server_of(WRITER, "").model)]
    if name in COMPARISONS:
        return [judge_task(name, catalog, config, server_of)]
    if name == DIALOGUES:
        return dialogue_tasks(catalog, config, server_of)
    return dataset_tasks(name, catalog, config, server_of)


def role_name(role: str, variant: str) -> str:
    """A role with its variant, as it is shown."""
    return f"{role} {variant}".strip()


def enabled_tasks(store: Store) -> list[str]:
    """The tasks of a run without a selection."""
    catalog, config = store.catalog, store.config
    enabled = [name for name in catalog.tasks if catalog.is_enabled(name, config.enabled(name))]
    return [*enabled, *(name for name, each in COMPARISONS.items() if each.solutions in enabled)]


def judging(config: HubConfig) -> list[str]:
    """The comparisons that ask a judge."""
    return list(COMPARISONS) if config.verification.judge else []


def endpoints(store: Store, llm: LLM, names: Collection[str]) -> dict[tuple[str, ...], LLM]:
    """The endpoints that tasks need, each once, by the roles and variants that use it.

    Args:
        store: the home.
        llm: the endpoint of the writer.
        names: of tasks; others, and those whose files are wrong, are left out.
    """
    config, users = store.config, dict[int, tuple[LLM, dict[str, None]]]()
    for name in (name for name in (*store.catalog.tasks, *judging(config)) if name in names):
        try:
            tasks = current_tasks(store.catalog, config, name, llm.configured(config, ""))
        except PersonaHubError:
            continue
        for task in tasks:
            endpoint = llm.as_role(config, task.role, task.variant)
            users.setdefault(id(endpoint), (endpoint, {}))[1][role_name(task.role, task.variant)] = None
    return {tuple(roles): endpoint for endpoint, roles in users.values()}
