"""Code versions: hashes of inputs that change an asset's rows. A new version makes all its partitions stale."""

from collections.abc import Sequence

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import PersonaHubError
from personahub_assets.core.text import digest
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.generation.requests import ServerOf
from personahub_assets.steps.agreement import judge_task
from personahub_assets.steps.datasets import version
from personahub_assets.steps.tasks import current_tasks


def code_versions(catalog: Catalog, config: HubConfig, server_of: ServerOf, embedding_model: str) -> dict[str, str]:
    """Return the code version of every asset, by its name.

    A number is increased by hand when the code makes other rows from the same inputs. Assets that call a model have a
    hash of prompt, schema, sampling, model and settings.

    Args:
        catalog: datasets and prompts of the home.
        config: the settings of the home.
        server_of: the server of each role.
        embedding_model: the embedding model.

    A task with invalid files has a separate version: the graph loads, and a run of the task shows the error.

    Raises:
        SelectionError: if the selected personas of a dataset cannot be found.
    """
    text, related, semantic = config.text_personas, config.related_personas, config.semantic
    gates: str = config.quality.rule
    per_persona: list[str | int] = [related.hops, related.fan_out, gates, *filter(None, [related.min_novelty])]
    per_text = [text.per_document, text.granularity, text.max_chars, gates]
    return {
        "documents": digest("3", config.sources.gates),
        "text_personas": _task_version(catalog, config, "text_personas", server_of, per_text),
        "related_personas": _task_version(catalog, config, "related_personas", server_of, per_persona),
        "lexical_duplicates": digest("2", config.lexical.rule, size=16),
        "persona_embeddings": digest("2", embedding_model, size=16),
        "semantic_duplicates": digest("3", str(semantic.threshold), str(semantic.max_unread), size=16),
        "personas": "1",
        **{
            name: _task_version(catalog, config, name, server_of, _of_dataset(catalog, config, name, embedding_model))
            for name in catalog.names
        },
        **{name: _comparison_version(catalog, config, name, server_of) for name in COMPARISONS},
        "persona_item_similarity": "1",
        "warehouse": "1",
        "release": "1",
    }


def _comparison(catalog: Catalog, config: HubConfig, dataset: str, embedding_model: str) -> list[str]:
    """The settings that decide which items of a dataset are near-duplicates."""
    settings = config.comparison(dataset, is_derived=catalog.is_derived(dataset))
    threshold = settings.near_duplicates
    if not threshold:
        return []
    lexical = config.lexical.model_copy(update={"threshold": threshold})
    by_words = settings.near_duplicates_by == "words"
    embedded = [] if by_words else [embedding_model, str(threshold), str(config.semantic.max_unread)]
    return ["1", lexical.rule, *embedded]


def _of_dataset(catalog: Catalog, config: HubConfig, name: str, embedding_model: str) -> list[int | float | str]:
    """The settings of a dataset that can change its rows or their comparison."""
    settings = config.dataset(name)
    own = [*version(catalog, name, settings), config.quality.rule, settings.language or "", config.decontamination.rule]
    return [*own, *_comparison(catalog, config, name, embedding_model)]


def _task_version(
    catalog: Catalog, config: HubConfig, name: str, server_of: ServerOf, settings: Sequence[int | float | str]
) -> str:
    try:
        versions = [task.code_version(*settings) for task in current_tasks(catalog, config, name, server_of)]
    except PersonaHubError:
        return "unusable"
    return versions[0] if len(versions) == 1 else digest(*versions, size=16)


def _comparison_version(catalog: Catalog, config: HubConfig, name: str, server_of: ServerOf) -> str:
    settings = config.verification
    try:
        judge = judge_task(name, catalog, config, server_of).code_version() if settings.judge else ""
    except PersonaHubError:
        return "unusable"
    return digest("1", str(settings.min_share), judge, size=16)
