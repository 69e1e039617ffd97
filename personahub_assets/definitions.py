"""The Definitions that Dagster loads.

`build_definitions` builds the graph for the Definitions of another project: docs/your-own-dagster.md.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.defs.agreement import agreements
from personahub_assets.defs.assets import Asset
from personahub_assets.defs.batches import REBUILD, REFRESH
from personahub_assets.defs.checks import sql_checks
from personahub_assets.defs.corpus import documents
from personahub_assets.defs.datasets import datasets
from personahub_assets.defs.dedup import (
    lexical_duplicates,
    persona_embeddings,
    personas,
    semantic_duplicates,
)
from personahub_assets.defs.executors import executor_named
from personahub_assets.defs.maintenance import maintenance
from personahub_assets.defs.measures import persona_item_similarity
from personahub_assets.defs.metadata.definition import described
from personahub_assets.defs.naming import Names
from personahub_assets.defs.personas import related_personas, text_personas
from personahub_assets.defs.preview import trying
from personahub_assets.defs.releases import RELEASE, release
from personahub_assets.defs.resources import resources
from personahub_assets.defs.sensors import inbox_sensor
from personahub_assets.defs.versions import code_versions
from personahub_assets.defs.warehouse import warehouse
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.store.tables import Store

__all__ = ["build", "build_definitions", "defs"]


def build_definitions(
    key_prefix: str | Sequence[str] | None = None,
    group_prefix: str | None = None,
    *,
    name_prefix: str | None = None,
    pool: str | None = None,
    environment: Environment | None = None,
    llm: LLM | None = None,
    embedder: Embedder | None = None,
) -> dg.Definitions:
    """Build the graph as a part of another project, to be merged into that project's own Definitions.

        dg.Definitions.merge(ours, build_definitions("personahub", "personahub"))

    No executor and no IO manager is set: those of the other project are used. The assets write their tables
    themselves and do not use an IO manager. Sensor and schedule are stopped until they are started.

    Args:
        key_prefix: prefix of the key of each asset; with `"personahub"`, `tools` becomes `personahub/tools`.
        group_prefix: prefix of the name of each group; with `"personahub"`, `datasets` becomes `personahub_datasets`.
        name_prefix: prefix of the names of jobs, schedules, sensors, ops and resources, and of the dynamic partitions;
            with `"personahub"`, `refresh_batch` becomes `personahub_refresh_batch` and the partitions
            `personahub_batch`. Without it, the key prefix joined by `_`.
        pool: pool of the assets that call the language model; default `llm`.
        environment: the home and the endpoints; without it, the `PERSONAHUB_…` variables.
        llm: the language model, instead of that of `environment`.
        embedder: the embedding model, instead of that of `environment`.

    Returns:
        Assets, checks, jobs, the schedule, the sensor, and the resources store, llm, embedder and progress.

    Raises:
        ConfigError: if a prefix has characters that Dagster refuses, or hub.toml is wrong.
        PromptError: if a prompt file is wrong.
    """
    names = Names.of(key_prefix, group_prefix, name_prefix, pool)
    environment = environment or Environment()
    store = Store(home=str(environment.home.expanduser().resolve())).pulled()
    return _assembled(environment, store, llm, embedder, names)


def build(
    environment: Environment,
    personas_from: dict[str, str] | None = None,
    run_resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    """Assemble the graph for one home and one set of endpoints.

    Args:
        environment: the home and the endpoints.
        personas_from: selections of this run, by dataset, instead of hub.toml's.
        run_resources: resources of runs in this process, by name, instead of those in the launchpad.

    Raises:
        ConfigError: if hub.toml or the name of the executor is wrong.
        PromptError: if a prompt file is wrong.
    """
    store = Store(home=str(environment.home.expanduser().resolve()), personas_from=personas_from or {}).pulled()
    return _assembled(environment, store, None, None, Names(), executor_named(environment.executor), run_resources)


def unselected(catalog: Catalog, config: HubConfig) -> list[str]:
    """Assets that a run without a selection leaves out: datasets that hub.toml does not enable."""
    left_out = [name for name in catalog.names if not catalog.is_enabled(name, config.enabled(name))]
    return [*left_out, *(name for name, comparison in COMPARISONS.items() if comparison.solutions in left_out)]


def graph_assets(catalog: Catalog) -> list[Asset]:
    """The assets of a home, in the order of the graph."""
    first = [documents, text_personas, related_personas]
    stages = [lexical_duplicates, persona_embeddings, semantic_duplicates, personas]
    similarity = persona_item_similarity.after([name for name in catalog.names if name not in catalog.scores])
    before_warehouse = [*catalog.names, *COMPARISONS, similarity.name]
    last = [similarity, warehouse.after(before_warehouse), release.after(catalog.names)]
    return [*first, *stages, *datasets(catalog), *agreements(), *last]


def _assembled(
    environment: Environment,
    store: Store,
    llm: LLM | None,
    embedder: Embedder | None,
    names: Names,
    executor: dg.ExecutorDefinition | None = None,
    run_resources: Mapping[str, object] | None = None,
) -> dg.Definitions:
    llm = llm or LLM.of(environment)
    embedder = embedder or Embedder.of(environment, store.config)
    catalog = store.catalog
    graph = graph_assets(catalog)
    servers = llm.configured(store.config, llm.model or environment.model_name)
    versions = code_versions(catalog, store.config, servers, embedder.name)
    assets = dg.map_asset_specs(
        lambda spec: described(spec, store, llm, embedder).replace_attributes(code_version=versions[spec.key.path[-1]]),
        [asset.define(names, store.config.run.batches_per_run) for asset in graph],
    )
    provided = {**resources(store, llm, embedder), **(run_resources or {})}
    groups = {asset.name: asset.spec.group_name or "" for asset in graph}
    every = dg.AssetSelection.assets(*(names.key(asset.spec.key) for asset in graph))
    left_out = dg.AssetSelection.assets(*(names.key(dg.AssetKey(name)) for name in unselected(catalog, store.config)))
    releases, one_file = (dg.AssetSelection.assets(names.key(each.spec.key)) for each in (release, warehouse))
    refresh = dg.define_asset_job(
        names.name(REFRESH),
        selection=every - releases - left_out,
        description="Refreshes one batch end to end, then the warehouse. Only rows whose request changed cost a call.",
    )
    rebuild = dg.define_asset_job(
        names.name(REBUILD), selection=one_file, description="Rebuilds warehouse.duckdb if stale."
    )
    releasing = dg.define_asset_job(
        names.name(RELEASE), selection=releases, description="Makes one release, whose name is given in the launchpad."
    )
    maintaining, nightly = maintenance(names)
    return dg.Definitions(
        assets=assets,
        asset_checks=sql_checks(groups, names, catalog.datasets),
        jobs=[refresh, rebuild, releasing, maintaining, trying(names)],
        schedules=[nightly],
        sensors=[inbox_sensor(refresh, names)],
        resources={names.name(name): each for name, each in provided.items()},
        executor=executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The Definitions for the UI and the daemon."""
    return build(Environment())
