"""A small home for running the real graph with the real stand-in."""

import json
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
import polars as pl
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from personahub_assets.core.config import Environment
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build, unselected
from personahub_assets.defs.batches import BATCHES
from personahub_assets.instance.instance import open_instance
from personahub_assets.runs.runner import run_batches
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import STAGES, Store

EVERY = """
[text_personas]
per_document = 2
[related_personas]
hops = 1
fan_out = 1
[items]
near_duplicates_by = "words"
"""
"""Settings of a small home with all datasets."""

ENABLED = ("math_problems", "tools")

SETTINGS = EVERY + "".join(f"[datasets.{name}]\nenabled = false\n" for name in DATASETS if name not in ENABLED)
"""The same with two of them: a run takes two thirds of the time."""

TOPICS = [
    "The harbour crane stopped at noon and the containers waited until the electricians had found the burnt relay.",
    "Soak the chickpeas overnight, boil them with a bay leaf, and keep a cup of the water for the dressing.",
    "The court found that the fence stood forty centimetres on the neighbour's land and had to be moved by spring.",
    "Our bees came through the winter with six frames of brood, and the willow is already giving pollen.",
    "The new timetable drops the last bus to the valley, which leaves the night shift of the bakery without a ride.",
    "A telescope of eight inches shows the ring of Saturn clearly when the air above the roofs is calm.",
]


class Hub:
    """One home, its store, and how to run it."""

    def __init__(self, home: Path, standin: StandinServer, settings: str = SETTINGS):
        self.home, self.standin = home, standin
        if not home.exists():
            home.mkdir(parents=True)
            (home / "hub.toml").write_text(settings)
        self.environment = Environment(
            home=home, llm_url=standin.url, llm_model=None, embed_url=None, embed_model="all-MiniLM-L6-v2"
        )
        self.store = Store(home=str(home))

    def pages(self, name: str, texts: Iterable[str]) -> list[str]:
        """Write texts as a source file and register it."""
        path = self.home / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"id": f"{name}-{n}", "text": t}) + "\n" for n, t in enumerate(texts)))
        return register(self.store, str(path))

    def personas(self, name: str, texts: Iterable[str]) -> list[str]:
        """Write personas as a source file and register it."""
        path = self.home / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"persona": t}) + "\n" for t in texts))
        return register(self.store, str(path))

    def run(self, *batches: str, select: Iterable[str] = ()) -> dict[str, str]:
        """Run like `personahub run`, in this process."""
        return run_batches(self.environment, list(batches), list(select)).failed

    def calls(self) -> int:
        """Calls that the stand-in has counted so far."""
        return int(self.standin.stats()["calls"])

    def personas_kept(self) -> int:
        """Personas of the hub."""
        return self.rows("personas").height

    def instance(self) -> dg.DagsterInstance:
        """The instance of the runs."""
        return open_instance(self.home)

    def stale(self) -> set[tuple[str, str]]:
        """`(asset, batch)` of every stale partition of a plain run, for a newly loaded code location."""
        graph = build(self.environment).resolve_asset_graph()
        left_out = unselected(self.store.catalog, self.store.config)
        with self.instance() as instance:
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return {
                (key.to_user_string(), batch)
                for key in graph.materializable_asset_keys
                if key.to_user_string() not in left_out
                if graph.get(key).partitions_def is not None
                for batch in instance.get_dynamic_partitions(str(BATCHES.name))
                if resolver.get_status(key, batch).value != "FRESH"
            }

    def files(self) -> dict[str, bytes]:
        """Every table file with its content, by its path below the home."""
        tables = self.home / "tables"
        return {path.relative_to(tables).as_posix(): path.read_bytes() for path in sorted(tables.rglob("*.parquet"))}

    def rows(self, table: str) -> pl.DataFrame:
        """All rows of a table."""
        return self.store.dropped(table).collect() if table in STAGES else self.store.read_all(table)
