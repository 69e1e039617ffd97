"""The tasks that call the language model, by name."""

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.generation.requests import Task
from personahub_assets.steps.datasets import dataset_task
from personahub_assets.steps.personas import related_personas_task, text_personas_task


def current_task(catalog: Catalog, config: HubConfig, name: str, model: str) -> Task:
    """A task with its current prompt file and hub.toml.

    Raises:
        PromptError, ConfigError: if its prompt file is missing or malformed, or its class cannot be made.
    """
    if name == "text_personas":
        return text_personas_task(catalog, config, model)
    if name == "related_personas":
        return related_personas_task(catalog, config, model)
    return dataset_task(name, catalog, config, model)
