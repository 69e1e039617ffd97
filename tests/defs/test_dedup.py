"""The dedup assets, materialised over small batches of ready candidates: no language model anywhere near them."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from personahub_assets.defs.batches import BATCHES
from personahub_assets.defs.dedup import dedup_assets
from personahub_assets.resources.embedder import Embedder
from personahub_assets.resources.store import Store, table_schema

ALL = ("lexical_duplicates", "persona_embeddings", "semantic_duplicates", "personas")

NURSE = "A nurse on the night shift in Oslo who writes crime stories in the quiet hours before dawn."
SAME = "A nurse, on the night shift in Oslo, who writes crime stories: in the quiet hours before dawn!"
NEARLY = NURSE.replace("stories", "novels")  # 15 of 17 words
DRIVER = "A bus driver who paints watercolours of the stops along the route."
KEEPER = "A beekeeper who sells heather honey at the Saturday market in the hills above the town."


class Small:
    """A home with candidates, and an instance to record what is made of them."""

    def __init__(self, home: Path, instance: dg.DagsterInstance):
        self.store, self.instance = Store(home=str(home)), instance
        home.mkdir(parents=True)

    def add(self, batch: str, texts: list[str]) -> None:
        """Candidates of ids that sort as the texts are given."""
        schema = table_schema("text_personas")
        rows = pl.DataFrame(
            {"persona_id": [f"{batch}-{n}" for n in range(len(texts))], "persona": texts},
            {"persona_id": pl.String, "persona": pl.String},
        )
        absent = [pl.lit("0").cast(kind).alias(name) for name, kind in schema.items() if name not in rows.columns]
        self.store.write("text_personas", batch, rows.with_columns(absent).with_columns(batch=pl.lit(batch)))
        self.instance.add_dynamic_partitions(str(BATCHES.name), [batch])

    def configure(self, text: str) -> None:
        (self.store.root / "hub.toml").write_text(text)

    def make(self, batch: str, *assets: str) -> dict[str, dict[str, object]]:
        """Materialise assets of a batch; their metadata by name."""
        result = dg.materialize(
            dedup_assets(self.store.config, "all-MiniLM-L6-v2"),
            partition_key=batch,
            instance=self.instance,
            resources={"store": self.store, "embedder": Embedder()},
            selection=list(assets or ALL),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]
        return {
            name: {key: value.value for key, value in event.materialization.metadata.items()}
            for name, event in events.items()
        }

    def dropped(self, stage: str) -> list[tuple[str, str]]:
        return sorted(self.store.read_all(f"{stage}_duplicates", ["persona_id", "keeper_id"]).rows())

    def kept(self) -> list[str]:
        return sorted(self.store.read_all("personas")["persona_id"])


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Small(tmp_path / "hub", instance)


def test_duplicates_are_dropped_within_and_across_batches(small: Small) -> None:
    small.add("one", [NURSE, DRIVER, SAME])
    small.add("two", [KEEPER, DRIVER])
    said = small.make("one")
    assert (
        said["lexical_duplicates"].items()
        >= {
            "dagster/row_count": 1,
            "candidates": 3,
            "kept": 2,
            "dropped_share": 0.3333,
            "method": "exact",
            "rule": "exact, words 2, 1-grams, Jaccard 0.9",
            "decided_again": 0,
            "recall_on_sample": 1.0,
        }.items()
    )
    assert said["persona_embeddings"]["texts_embedded"] == 2
    assert (
        said["semantic_duplicates"].items()
        >= {
            "candidates": 2,
            "kept": 2,
            "dropped_share": 0.0,
            "method": "exact",
            "rule": "all-MiniLM-L6-v2, cosine 0.9",
            "decided_again": 0,
            "recall_on_sample": 1.0,
            "batches_of_other_models": 0,
        }.items()
    )
    assert said["personas"].items() >= {"candidates": 3, "kept_share": 0.6667}.items()
    small.make("two")
    assert small.dropped("lexical") == [("one-2", "one-0"), ("two-1", "one-1")]
    assert small.dropped("semantic") == []
    assert small.kept() == ["one-0", "one-1", "two-0"]


def test_another_threshold_asks_and_embeds_nothing(small: Small) -> None:
    """There is no language model here at all, and vectors of texts that were embedded are taken as they are."""
    small.add("one", [NURSE, DRIVER])
    small.add("two", [KEEPER, NEARLY])
    for batch in ("one", "two"):
        small.make(batch, "lexical_duplicates", "persona_embeddings")
    assert small.dropped("lexical") == []
    small.configure("[lexical]\nthreshold = 0.8\n")
    said = [small.make(batch, "lexical_duplicates", "persona_embeddings") for batch in ("one", "two")]
    assert small.dropped("lexical") == [("two-1", "one-0")]
    assert [each["lexical_duplicates"]["decided_again"] for each in said] == [2, 0]
    assert [each["persona_embeddings"]["texts_embedded"] for each in said] == [0, 0]
    assert {row["rule"] for row in small.store.read_all("dedup_runs").iter_rows(named=True)} == {
        "exact, words 2, 1-grams, Jaccard 0.8"
    }
    small.configure("")
    small.make("two", "lexical_duplicates")
    small.make("one", "lexical_duplicates")
    assert small.dropped("lexical") == []


def test_an_empty_batch_goes_through(small: Small) -> None:
    small.add("empty", [])
    said = small.make("empty")
    for stage in ("lexical_duplicates", "semantic_duplicates"):
        assert said[stage].items() >= {"candidates": 0, "kept": 0, "dropped_share": 0.0, "method": "exact"}.items()
    assert said["persona_embeddings"]["texts_embedded"] == 0
    assert said["personas"]["kept_share"] == 0.0
    small.add("one", [NURSE])
    small.make("one")
    small.configure("[lexical]\nthreshold = 0.5\n[semantic]\nthreshold = 0.5\n")
    assert small.make("empty")["lexical_duplicates"]["decided_again"] == 1
    assert small.make("one")["lexical_duplicates"]["decided_again"] == 0
    assert small.kept() == ["one-0"]


def test_what_decides_is_part_of_the_code_version(small: Small) -> None:
    """So that a change of it makes every batch stale, and nothing else does."""

    def versions(text: str) -> dict[str, str | None]:
        small.configure(text)
        made = dedup_assets(small.store.config, "all-MiniLM-L6-v2")
        return {key.to_user_string(): version for asset in made for key, version in asset.code_versions_by_key.items()}

    before = versions("")
    assert versions("[lexical]\nmemory_mb = 64\n") == before
    for asset, text in (
        ("lexical_duplicates", "[lexical]\nthreshold = 0.8\n"),
        ("lexical_duplicates", '[lexical]\nmethod = "minhash"\n'),
        ("lexical_duplicates", "[lexical]\nngram = 2\n"),
        ("semantic_duplicates", "[semantic]\nthreshold = 0.8\n"),
    ):
        after = versions(text)
        assert {name for name in after if after[name] != before[name]} == {asset}
