"""PersonaHub's own client: the asset `instructions`, materialised by Dagster over N personas of one batch.

The measurement covers the body of the asset, the whole path of a row: reading the personas, rendering, requesting,
validating, the journal, publishing and reading back three tables, and the diversity of the words. It excludes the
import of N personas, their dedup and that of the items, and Dagster's run around the body, whose events take about
0.8 s of CPU for any number of rows.
"""

import argparse
import base64
import re
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from instructor.v2.providers import openai as _handlers  # noqa: F401 - imports are excluded for all clients

sys.path.insert(0, str(Path(__file__).parent / "contenders"))
from meter import Meter
from task import MODEL, TEMPERATURE, TIMEOUT_S, Instruction, Tally, persona, run

from personahub_assets.core.config import Environment
from personahub_assets.definitions import build
from personahub_assets.defs.batches import BATCHES
from personahub_assets.generation import client as _ask  # noqa: F401 - likewise
from personahub_assets.instance.instance import open_instance
from personahub_assets.steps.candidates import imported
from personahub_assets.store.tables import SLICE_ROWS, Store, table_schema

BATCH = "people"
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main(chosen: argparse.Namespace, tally: Tally, meter: Meter) -> None:
    """Materialise the asset and judge its rows."""
    sampling = f"temperature = {TEMPERATURE}\nmax_tokens = {chosen.max_tokens}"
    store = prepared(
        chosen.home, range(1, chosen.rows + 1), window=chosen.window, timeout_s=TIMEOUT_S, sampling=sampling
    )
    materialised(store, f"{chosen.url}/v1", MODEL, meter)
    judge(store, tally)


def prepared(home: Path, numbers: range, *, window: int, timeout_s: float, sampling: str) -> Store:
    """A home with these personas in its hub; an existing home keeps its personas and gets the settings."""
    store = Store(home=str(home))
    (home / "hub.toml").write_text(
        f"[generation]\nmax_in_flight = {window}\ntimeout_s = {timeout_s}\n[datasets.instructions]\n{sampling}\n"
        # No other client compares the items or looks at their language, which random text does not have.
        '[items]\nnear_duplicates = false\n[quality]\nlanguage = "off"\n'
    )
    if not store.height("personas", BATCH):
        writer = store.writer("personas", BATCH)
        for start in range(0, len(numbers), SLICE_ROWS):
            texts = [persona(number) for number in numbers[start : start + SLICE_ROWS]]
            writer.add(pl.DataFrame(imported(BATCH, texts), table_schema("personas")))
        writer.publish()
    return store


def materialised(store: Store, url: str, model: str, meter: Meter | None = None) -> dict[str, Any]:
    """Run the asset in the home's instance; return its metadata, and the ramp of its concurrency as SVG."""
    environment = Environment(home=store.root, llm_url=url, llm_model=model)
    asset = dg.AssetKey("instructions")
    job = build(environment).resolve_implicit_job_def_def_for_assets([asset])
    assert job is not None
    with open_instance(store.root) as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), [BATCH])
        if meter:
            meter.start()
        done = job.execute_in_process(
            instance=instance, partition_key=BATCH, asset_selection=[asset], run_config=_QUIET
        )
    (event,) = done.get_asset_materialization_events()
    metadata = {name: value.value for name, value in event.materialization.metadata.items()}
    if meter:
        meter.began, meter.ended = (0.0, 0.0), (metadata["seconds"], metadata["cpu_seconds"])
    table, _, ramp = str(metadata.pop("engine", "")).strip().partition("base64,")
    metadata |= {name: float(value) for name, value in re.findall(r"^\| (\w+) \| ([\d.e+-]+) \|", table, re.MULTILINE)}
    return {"metadata": metadata, "ramp": base64.b64decode(ramp.rstrip(")")).decode()}


def judge(store: Store, tally: Tally) -> None:
    """Count the published rows and the quarantine in the tally."""
    personas = store.read("personas", BATCH)
    number_of = dict(zip(personas["persona_id"], personas["persona"].str.extract(r"(\d+)").cast(int), strict=True))
    for rows in store.slices("instructions", BATCH):
        for row in rows.iter_rows(named=True):
            tally.keep(number_of[row["persona_id"]], {name: row[name] for name in Instruction.model_fields})
    for reason in store.read("quarantine", BATCH, "instructions")["reason"]:
        tally.fail(reason)


if __name__ == "__main__":
    run(main, __doc__, ["personahub-assets", "dagster", "instructor", "aiohttp", "uvloop"])
