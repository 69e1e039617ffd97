"""Code versions: what can change an asset's rows. Where one changes, every partition of the asset is stale."""

from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import DATASETS
from personahub_assets.core.text import digest
from personahub_assets.steps.datasets import dataset_task, version
from personahub_assets.steps.personas import related_personas_task, text_personas_task


def code_versions(config: HubConfig, model: str, embedding_model: str) -> dict[str, str]:
    """Give the code version of every asset, by its name.

    A number is counted up by hand where the code makes other rows of the same inputs. Assets that ask a model have a
    hash of prompt, schema, sampling, model and settings.

    Args:
        config: the settings of the home.
        model: that is asked.
        embedding_model: that makes vectors.

    Raises:
        PromptError: if a prompt file is wrong.
        SelectionError: if the personas that a dataset is written for cannot be found.
    """
    text, related, semantic = config.text_personas, config.related_personas, config.semantic
    return {
        "documents": digest("3", config.sources.gates),
        "text_personas": text_personas_task(config, model).code_version(
            text.per_document, text.granularity, text.max_chars
        ),
        "related_personas": related_personas_task(config, model).code_version(related.hops, related.fan_out),
        "lexical_duplicates": digest("2", config.lexical.rule, size=16),
        "persona_embeddings": digest("2", embedding_model, size=16),
        "semantic_duplicates": digest("3", str(semantic.threshold), str(semantic.max_unread), size=16),
        "personas": "1",
        **{name: _dataset_version(name, config, model) for name in DATASETS},
        "warehouse": "1",
        "release": "1",
    }


def _dataset_version(name: str, config: HubConfig, model: str) -> str:
    return dataset_task(name, config, model).code_version(*version(config.dataset(name)))
