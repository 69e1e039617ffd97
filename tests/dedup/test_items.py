"""Items that nearly repeat another item of their dataset: the rule of the personas, over items of any batch."""

import itertools
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.text import words
from personahub_assets.defs.batches import Report
from personahub_assets.defs.checks import all_checks
from personahub_assets.defs.metadata.drops import with_drops
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.reading import SAME
from personahub_assets.embedding.vectors import item_vectors
from personahub_assets.runs.forecast import Aside
from personahub_assets.runs.plan import plan
from personahub_assets.steps.dedup import ItemsDecided, find_item_duplicates
from personahub_assets.steps.result import Result
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.live import open_live

Texts = dict[str, str]
"""Texts of items by id."""
DATASET, OTHER = "instructions", "math_problems"

VERBS, THINGS = ("Write", "Draft", "Compose"), ("a letter", "an email", "a note", "a poem")
READERS, TOPICS = ("my landlord", "the school"), ("the broken boiler", "a late invoice")


def generated(seed: int, count: int) -> Texts:
    """Instructions of which many are alike; ids sort in this order."""
    chance = random.Random(seed)
    every = list(itertools.product(VERBS, THINGS, READERS, TOPICS, ("", " in a firm tone", ", please")))
    chosen = [chance.choice(every) for _ in range(count)]
    texts = (f"{verb} {thing} to {reader} about {topic}{end}." for verb, thing, reader, topic, end in chosen)
    return {f"i{number:03d}": text for number, text in enumerate(texts)}


class Home:
    """A home with items, without personas and calls."""

    def __init__(self, root: Path, settings: str = ""):
        root.mkdir(parents=True)
        self.store, self.embedder = Store(home=str(root)), Embedder()
        self.configure(settings)

    def configure(self, settings: str) -> None:
        (self.store.root / "hub.toml").write_text(settings)

    def write(self, batch: str, texts: Texts, dataset: str = DATASET, call: str = "g") -> None:
        schema = self.store.columns(dataset)
        ids = pl.Series(list(texts), dtype=pl.String)
        rows = pl.DataFrame({"item_id": ids, "text": pl.Series(list(texts.values()), dtype=pl.String)}).with_columns(
            batch=pl.lit(batch), persona_id="p" + ids, generation_id=call + ids, sample=pl.lit(0)
        )
        missing = [
            pl.lit(None if kind.is_nested() else "", kind).alias(name)
            for name, kind in schema.items()
            if name not in rows.columns
        ]
        self.store.write(dataset, batch, rows.with_columns(missing))

    def decide(self, batch: str, dataset: str = DATASET) -> ItemsDecided:
        return find_item_duplicates(self.store, dataset, self.embedder, batch, lambda *_: None)

    def decisions(self, dataset: str = DATASET) -> pl.DataFrame:
        return self.store.read_all("item_decisions").filter(dataset=dataset)

    def dropped(self, dataset: str = DATASET) -> dict[str, tuple[str, str]]:
        rows = self.decisions(dataset).drop_nulls("keeper_id").select("item_id", "stage", "keeper_id")
        return {item_id: (stage, keeper) for item_id, stage, keeper in rows.iter_rows()}

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with open_live(self.store, query) as connection:
            return connection.execute(query).fetchall()

    def failing(self) -> set[str]:
        checks = [check for check in all_checks()["warehouse"] if "item" in check.name]
        with open_live(self.store, " ".join(check.sql for check in checks)) as connection:
            filled = [check.filled(self.store.config) for check in checks]
            return {check.name for check in filled if not check.result(connection).passed}

    def files(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (self.store.root / "tables").glob("item_*/**/*.parquet")}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "hub")


def jaccard(one: str, other: str) -> float:
    a, b = set(words(one)), set(words(other))
    return len(a & b) / len(a | b)


def brute_force(texts: Texts, embedder: Embedder, threshold: float = 0.9) -> dict[str, tuple[str, str]]:
    """Walk the items in order at each stage, and compare each with all kept ones before it."""
    names = list(texts)
    vectors = dict(zip(names, embedder.embed(list(texts.values())), strict=True))

    def cosine(a: str, b: str) -> float:
        alike = float(np.dot(vectors[a].astype(float), vectors[b].astype(float)))
        return alike if alike < SAME else -1.0

    dropped: dict[str, tuple[str, str]] = {}
    for stage, similarity in (("lexical", lambda a, b: jaccard(texts[a], texts[b])), ("semantic", cosine)):
        kept: list[str] = []
        for name in [name for name in names if name not in dropped]:
            best = max(((similarity(name, each), -at, each) for at, each in enumerate(kept)), default=(0.0, 0, ""))
            if best[0] >= threshold:
                dropped[name] = (stage, best[2])
            else:
                kept.append(name)
    return dropped


def test_batches_one_by_one_give_the_same_as_all_at_once_and_as_brute_force(tmp_path: Path) -> None:
    stages = set[str]()
    for seed in range(2):
        texts = generated(seed, 30)
        expected = brute_force(texts, Embedder())
        stages |= {stage for stage, _ in expected.values()}
        at_once, in_turn = Home(tmp_path / f"one-{seed}"), Home(tmp_path / f"three-{seed}")
        at_once.write("all", texts)
        at_once.decide("all")
        for number, batch in enumerate(("first", "second", "third")):
            in_turn.write(batch, dict(itertools.islice(texts.items(), 10 * number, 10 * number + 10)))
            in_turn.decide(batch)
        assert at_once.dropped() == in_turn.dropped() == expected
    assert stages == {"lexical", "semantic"}


LETTER, SAME_WORDS = (
    "Write a letter to my landlord about the boiler.",
    "Write a letter about the boiler to my landlord!",
)
NEARLY, POEM = "Write my landlord a letter on the boiler.", "Compose a poem about the first snow of the year."


def test_an_item_is_dropped_for_an_earlier_one_of_its_dataset_only(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "c": POEM})
    home.write("two", {"d": NEARLY, "e": "Explain the boiler of my landlord in a poem."})
    home.write("two", {"x": LETTER}, OTHER)
    result = home.decide("one")
    assert result.facts.items() >= {"unique_items": 2, "lexical_duplicates": 1, "semantic_duplicates": 0}.items()
    home.decide("two")
    home.decide("two", OTHER)
    assert home.dropped() == {"b": ("lexical", "a"), "d": ("semantic", "a")}
    assert home.dropped(OTHER) == {}
    assert home.rows("SELECT batch, item_id, keeper_id, stage FROM instructions_duplicates ORDER BY item_id") == [
        ("one", "b", "a", "lexical"),
        ("two", "d", "a", "semantic"),
    ]
    assert home.rows("SELECT item_id FROM instructions_unique ORDER BY item_id") == [("a",), ("c",), ("e",)]
    assert home.rows("SELECT item_id FROM math_problems_unique") == [("x",)]
    rows, vectors = item_vectors(home.store, DATASET, "one")
    assert rows.rows() == [("a", "pa", "all-MiniLM-L6-v2"), ("c", "pc", "all-MiniLM-L6-v2")]
    assert vectors.shape == (2, 384)
    assert home.failing() == set()


def test_items_that_were_not_compared_yet_are_unique(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS})
    assert home.rows("SELECT count(*) FROM instructions_unique") == [(2,)]


def test_nothing_is_done_for_items_that_did_not_change(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "c": POEM})
    before = home.decide("one")
    files = home.files()
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "c": POEM})
    again = home.decide("one")
    assert (before.facts["texts_embedded"], again.facts["texts_embedded"]) == (2, 0)
    assert again.version == before.version
    assert home.files() == files


def test_an_item_with_another_text_is_decided_again_and_others_keep_their_place(home: Home) -> None:
    home.write("one", {"a": LETTER, "c": POEM})
    home.write("two", {"d": NEARLY})
    home.decide("one")
    home.decide("two")
    home.write("one", {"a": "Translate the recipe of my grandmother.", "c": POEM}, call="h")
    assert home.decide("one").facts["texts_embedded"] == 1
    admitted = dict(home.decisions().filter(stage="lexical").select("item_id", "admission").iter_rows())
    assert admitted == {"a": 3, "c": 1, "d": 2}
    assert set(home.decisions().filter(batch="one")["generation_id"]) == {"ha", "hc"}
    assert home.failing() == {"item_keepers_are_kept"}
    home.decide("two")
    assert home.dropped() == {}
    assert home.failing() == set()
    home.write("one", {"a": NEARLY, "c": POEM})  # the same calls as before, answered in another way
    home.decide("one")
    assert home.dropped() == {"a": ("lexical", "d")}


def test_a_dataset_is_compared_by_words_alone_or_not_at_all(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "d": NEARLY})
    home.decide("one")
    home.configure('[datasets.instructions]\nnear_duplicates_by = "words"\n')
    assert "texts_embedded" not in home.decide("one").facts
    assert home.dropped() == {"b": ("lexical", "a")}
    home.configure("[items]\nnear_duplicates = false\n")
    home.decide("one")
    assert home.dropped() == {}
    home.configure("")
    assert home.decide("one").facts["texts_embedded"] == 0
    assert home.dropped() == {"b": ("lexical", "a"), "d": ("semantic", "a")}
    assert home.failing() == set()


def test_a_plan_counts_the_items_to_compare_and_the_texts_to_embed(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "c": POEM})
    environment = Environment(home=home.store.root, llm_model="m", embed_url=None, llm_url=None)

    def planned() -> tuple[int, int]:
        (aside,) = plan(environment, [("one", {DATASET})]).asides or [Aside("one")]
        return aside.items_to_compare, aside.to_embed

    assert planned() == (3, 3)
    home.decide("one")
    assert planned() == (0, 0)
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "c": POEM, "d": NEARLY})
    assert planned() == (1, 1)
    home.configure("[items]\nnear_duplicates = 0.8\n")
    assert planned() == (4, 2)
    home.configure('[items]\nnear_duplicates_by = "words"\n')
    assert planned() == (1, 0)


@pytest.mark.parametrize("value", ["0.4", "1.01", "true", '"off"'])
def test_a_threshold_that_is_no_similarity_is_an_error(home: Home, value: str) -> None:
    home.configure(f"[datasets.tools]\nnear_duplicates = {value}\n")
    with pytest.raises(ConfigError, match=r"datasets\.tools\.near_duplicates: .* from 0\.5 to 1, or false, got"):
        HubConfig.load(home.store.paths.config)


def test_the_metadata_of_the_dataset_explains_the_drops(home: Home) -> None:
    home.write("one", {"a": LETTER, "b": SAME_WORDS, "d": NEARLY})
    items = Result.of(home.store.read(DATASET, "one"))
    version = items.version
    metadata = with_drops(Report(items), home.decide("one"), "one").as_metadata()
    assert metadata["dagster/partition_row_count"] == 3
    assert metadata["unique_items"] == 1
    assert items.version != version
    assert NEARLY.removesuffix(".") in str(metadata["semantic_drops"])
    assert {"lexical_similarities", "semantic_similarities", "semantic_largest_keepers"} <= metadata.keys()


def test_answers_to_items_of_another_dataset_are_compared_only_if_asked_for() -> None:
    config = HubConfig.model_validate({"items": {"near_duplicates": 0.8}, "datasets": {"a": {"near_duplicates": 0.7}}})
    compared = {name: config.comparison(name, is_derived=True).near_duplicates for name in ("a", "b")}
    assert compared == {"a": 0.7, "b": False}
    assert config.comparison("b", is_derived=False).near_duplicates == 0.8
