"""The one Definitions: what Dagster loads."""

import dagster as dg

from personahub_assets.core.config import Environment
from personahub_assets.defs.batches import REBUILD, REFRESH
from personahub_assets.defs.checks import sql_checks
from personahub_assets.defs.corpus import documents_asset
from personahub_assets.defs.datasets import dataset_assets
from personahub_assets.defs.dedup import dedup_assets
from personahub_assets.defs.maintenance import maintenance, nightly
from personahub_assets.defs.personas import persona_assets
from personahub_assets.defs.releases import RELEASE, release
from personahub_assets.defs.resources import resources
from personahub_assets.defs.sensors import inbox_sensor
from personahub_assets.defs.warehouse import warehouse
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.store.tables import Store


def build(
    environment: Environment, llm: LLM | None = None, personas_from: dict[str, str] | None = None
) -> dg.Definitions:
    """Assemble the graph for one home and one set of endpoints.

    Args:
        environment: the home and the endpoints.
        llm: the language model with other settings than the environment's.
        personas_from: selections of this run, by dataset, instead of hub.toml's.

    Raises:
        ConfigError: if hub.toml is wrong.
        PromptError: if a prompt file is.
    """
    home = environment.home.expanduser().resolve()
    store = Store(home=str(home), personas_from=personas_from or {})
    config = store.config
    model = environment.model_name
    refresh = dg.define_asset_job(
        REFRESH,
        selection=dg.AssetSelection.all() - dg.AssetSelection.assets("release"),
        description="Refreshes one batch end to end, then the warehouse. Only rows whose request changed cost a call.",
    )
    rebuild = dg.define_asset_job(REBUILD, selection=["warehouse"], description="Rebuilds warehouse.duckdb if stale.")
    releasing = dg.define_asset_job(
        RELEASE, selection=["release"], description="Makes one release, whose name is given in the launchpad."
    )
    embedder = Embedder.of(environment, config)
    assets = [
        documents_asset(config),
        *persona_assets(config, model),
        *dedup_assets(config, embedder.name),
        *dataset_assets(config, model),
        warehouse,
        release,
    ]
    groups = {spec.key.to_user_string(): spec.group_name or "" for asset in assets for spec in asset.specs}
    return dg.Definitions(
        assets=assets,
        asset_checks=sql_checks(groups),
        jobs=[refresh, rebuild, releasing, maintenance],
        schedules=[nightly],
        sensors=[inbox_sensor(refresh)],
        resources=resources(store, llm or LLM(url=environment.llm_url, model=environment.llm_model), embedder),
        # A step in a process of its own costs about five seconds here; batches run in parallel as separate runs.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What the UI and the daemon load."""
    return build(Environment())
