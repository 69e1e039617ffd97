"""Add one batch of personas to a home through its assets; print the CPU seconds of their bodies as JSON.

    python benchmarks/quick/new_batch.py HOME FILE

A smaller batch is added first, so that compiling and loading are not timed. Dagster's events, imports and the warehouse
are excluded: they cost the same in any hub, or are measured elsewhere.
"""

import json
import sys
import time
from pathlib import Path

import dagster as dg

from personahub_assets.core.config import Environment
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES
from personahub_assets.instance.instance import open_instance
from personahub_assets.sources.register import register
from personahub_assets.store.tables import Store

_ASSETS = ("documents", "text_personas", "related_personas", "lexical_duplicates", "persona_embeddings",
           "semantic_duplicates", "personas")  # fmt: skip
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> None:
    store = Store(home=sys.argv[1])
    few = Path(sys.argv[2]).with_suffix(".few.jsonl")
    few.write_text("".join(f'{{"persona": "A piano tuner of {age} who keeps {age} bees"}}\n' for age in range(20, 60)))
    (warm,), (key,) = register(store, str(few), name="warm"), register(store, sys.argv[2], name="newest")
    assets = [dg.AssetKey(name) for name in _ASSETS]
    job = build(Environment(home=Path(sys.argv[1]))).resolve_implicit_job_def_def_for_assets(assets)
    assert job is not None
    with open_instance(store.root) as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), [warm, key])
        job.execute_in_process(instance=instance, partition_key=warm, asset_selection=assets, run_config=_QUIET)
        began = time.process_time()
        done = job.execute_in_process(instance=instance, partition_key=key, asset_selection=assets, run_config=_QUIET)
        whole = time.process_time() - began
    bodies = [event.materialization.metadata["cpu_seconds"].value for event in done.get_asset_materialization_events()]
    print(json.dumps({"cpu_s": round(sum(map(float, bodies)), 3), "with_dagster_s": round(whole, 3)}))


if __name__ == "__main__":
    main()
