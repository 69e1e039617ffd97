"""The dedup assets, materialised for small batches of given candidates, without a language model."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import DATASETS, DIALOGUE_DATASETS
from personahub_assets.core.text import digest
from personahub_assets.defs.batches import BATCHES
from personahub_assets.defs.dedup import lexical_duplicates, persona_embeddings, personas, semantic_duplicates
from personahub_assets.defs.naming import Names
from personahub_assets.defs.versions import code_versions
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.llm import LLM
from personahub_assets.instance.progress import RunProgress
from personahub_assets.search.searcher import Searcher
from personahub_assets.store.tables import Store, table_schema
from personahub_assets.warehouse.live import open_live

ASSETS = (lexical_duplicates, persona_embeddings, semantic_duplicates, personas)
ALL = tuple(asset.name for asset in ASSETS)

PEOPLE = json.loads((Path(__file__).parents[1] / "data/people.json").read_text("utf-8"))
NURSE = "A nurse on the night shift in Oslo who writes crime stories in the quiet hours before dawn."
SAME = "A nurse, on the night shift in Oslo, who writes crime stories: in the quiet hours before dawn!"
NEARLY = NURSE.replace("stories", "novels")  # 15 of 17 words
DRIVER = "A bus driver who paints watercolours of the stops along the route."
KEEPER = "A beekeeper who sells heather honey at the Saturday market in the hills above the town."


class Small:
    """A home with candidates, and an instance for its materialisations."""

    def __init__(self, home: Path, instance: dg.DagsterInstance):
        self.store, self.instance = Store(home=str(home)), instance
        self.said: dict[str, dict[str, object]] = {}
        home.mkdir(parents=True)

    def add(self, batch: str, texts: list[str]) -> None:
        """Add candidates whose ids sort in the order of the texts."""
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
        """Materialise assets of a batch; return their metadata by name."""
        result = dg.materialize(
            [asset.define(Names()) for asset in ASSETS],
            partition_key=batch,
            instance=self.instance,
            resources={"store": self.store, "embedder": Embedder(), "progress": RunProgress()},
            selection=list(assets or ALL),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}  # type: ignore[union-attr]
        return {
            name: {key: value.value for key, value in event.materialization.metadata.items()}
            for name, event in events.items()
        }

    def dropped(self, stage: str) -> list[tuple[str, str]]:
        return sorted(self.store.dropped(f"{stage}_duplicates").select("persona_id", "keeper_id").collect().rows())

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
            "dagster/partition_row_count": 1,
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
            "rule": "all-MiniLM-L6-v2, cosine 0.9, unread up to 0.4",
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
    """There is no language model here, and vectors of embedded texts are reused."""
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
    """So a change of it makes every batch stale, and no other change does."""

    def versions(text: str) -> dict[str, str]:
        small.configure(text)
        config = small.store.config
        servers = LLM(model="m").configured(config, "m")
        return code_versions(small.store.catalog, config, servers, "all-MiniLM-L6-v2")

    compared = {*DATASETS, *DIALOGUE_DATASETS}
    before = versions("")
    assert versions("[compute]\nmemory_mb = 64\n") == before
    for assets, text in (
        ({"lexical_duplicates"}, "[lexical]\nthreshold = 0.8\n"),
        ({"lexical_duplicates", *compared}, '[lexical]\nmethod = "minhash"\n'),
        ({"lexical_duplicates", *compared}, "[lexical]\nngram = 2\n"),
        ({"semantic_duplicates"}, "[semantic]\nthreshold = 0.8\n"),
        ({"semantic_duplicates", *compared}, "[semantic]\nmax_unread = 0.5\n"),
        ({"tools"}, "[datasets.tools]\nnear_duplicates = 0.8\n"),
        ({"tools"}, "[datasets.tools]\nnear_duplicates = false\n"),
    ):
        after = versions(text)
        assert {name for name in after if after[name] != before[name]} == assets


def biography(*themes: str) -> str:
    """Text of 130 words for each theme."""
    years = (
        f"In year {n} she studied {theme}{n} and sold {theme}s{n} in {theme}ville{n}."
        for theme in themes
        for n in range(12)
    )
    return " ".join(years)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    """Ten people in each of some forty languages and scripts, the first of them twice, two biographies, and English."""
    texts = [text for kind in PEOPLE for text in [*kind["people"], f" {kind['people'][0]} !"]]
    begun = biography("bridges", "schools")
    more = [
        f"{begun} {biography('whales')}",
        f"{begun} {biography('engines')}",
        NURSE,
        NURSE.replace("A nurse", "The nurse who works"),
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        small = Small(tmp_path_factory.mktemp("world") / "hub", instance)
        small.add("world", [*texts, *more])
        small.said = small.make("world")
        yield small


def test_different_people_are_kept_in_every_script_and_duplicates_are_not(world: Small) -> None:
    dropped = dict(world.dropped("lexical"))
    kept = set(world.kept())
    for number, kind in enumerate(PEOPLE):
        ids = [f"world-{number * 11 + at}" for at in range(11)]
        assert len(set(ids[:10]) & kept) >= 10 - (ids[0] in dropped), kind["of"]  # either of two equal ones
        assert (dropped.get(ids[10]) or dropped.get(ids[0])) in ids, kind["of"]


def test_long_texts_with_a_common_beginning_are_kept_and_english_is_compared(world: Small) -> None:
    last = 11 * len(PEOPLE)
    semantic = world.dropped("semantic")
    assert {f"world-{last}", f"world-{last + 1}"} <= set(world.kept())
    assert [set(pair) for pair in semantic] == [{f"world-{last + 2}", f"world-{last + 3}"}]


def test_what_is_not_read_is_counted_and_the_remedy_named(world: Small) -> None:
    said = world.said["persona_embeddings"]
    assert 300 <= said["not_read"] <= 330
    assert said["longer_than_the_model_reads"] == 2
    assert "multilingual" in str(said["remedy"])
    assert world.said["semantic_duplicates"]["not_read"] == said["not_read"]
    macro = f"SELECT count(*) FROM similar_personas('world-{PEOPLE_AT['thai']}')"
    with open_live(world.store, macro) as connection:
        assert connection.sql(macro).fetchall() == [(0,)]


PEOPLE_AT = {kind["of"]: 11 * number + 1 for number, kind in enumerate(PEOPLE)}


def test_a_search_finds_no_strangers(world: Small) -> None:
    said: list[str] = []
    searcher = Searcher(world.store, Embedder.of(Environment(), world.store.config), said.append, lambda *_: None)
    for kind in ("thai", "korean", "chinese", "emoji"):
        with pytest.raises(ConfigError, match=r"does not read .* multilingual"):
            searcher.find(PEOPLE[PEOPLE_AT[kind] // 11]["people"][0], 5)
    texts = PEOPLE[PEOPLE_AT["thai in a frame"] // 11]["people"]
    found = searcher.find(texts[3], 5)
    assert found["persona_id"][0] == f"world-{PEOPLE_AT['thai in a frame'] + 2}"
    assert found["similarity"][1] < 0.99
    assert any("does not know all words" in line for line in said)
    assert any("cannot be read by all-MiniLM-L6-v2" in line for line in said)


def test_a_home_of_an_older_version_is_decided_again_without_a_call(
    small: Small,
) -> None:
    """Its vectors are kept; only texts with a new prepared form are embedded again."""
    texts = [NURSE, DRIVER, "A baker…", *PEOPLE[PEOPLE_AT["korean"] // 11]["people"]]
    small.add("one", texts)
    small.make("one")
    rows = small.store.read("persona_embeddings", "one").with_columns(unread=pl.lit(None), unread_hash=pl.lit(None))
    rows = rows.with_columns(text_hash=pl.Series([digest(text) for text in texts]))
    small.store.write("persona_embeddings", "one", rows)
    runs = small.store.read("dedup_runs", "one", "lexical_duplicates")
    small.store.write(
        "dedup_runs",
        "one",
        runs.with_columns(rule=pl.lit("exact, words 1, 1-grams, Jaccard 0.9")),
        "lexical_duplicates",
    )
    said = small.make("one")
    assert said["lexical_duplicates"]["rule"] == "exact, words 2, 1-grams, Jaccard 0.9"
    assert said["persona_embeddings"]["texts_embedded"] == 1
    assert len(small.kept()) == 13
    assert small.store.read("persona_embeddings", "one")["unread"].null_count() == 0
    assert small.make("one")["persona_embeddings"]["texts_embedded"] == 0
