"""Diversity of a dataset's words, measured by each materialisation."""

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hub import Hub

from personahub_assets.defs.metadata.charts import item_similarity, word_diversity
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.vectors import item_vectors, matrix
from personahub_assets.measures.vectors import vendi
from personahub_assets.measures.words import measure
from personahub_assets.steps.dedup import find_item_duplicates
from personahub_assets.steps.diversity import largest, measure_meaning, measure_similarity, measure_words
from personahub_assets.store.tables import Store


def test_each_materialisation_measures_its_items(ran: Hub) -> None:
    store = ran.store
    items = store.read("math_problems", "one").sort("item_id")
    stored = store.read("word_diversity", "one", "math_problems")
    expected = measure(items["text"])
    assert expected
    assert stored.drop("batch", "dataset").rows(named=True) == [vars(one) for one in expected]
    assert list(word_diversity(store, "math_problems", "one")) == ["word_diversity"]
    # The order of the rows makes no difference.
    store.write("math_problems", "one", items.sample(fraction=1, shuffle=True, seed=3))
    assert measure_words(store, "math_problems", "one") == expected
    assert largest(expected)["words_measured"] == expected[-1].words


def test_an_empty_dataset_has_no_measures(ran: Hub) -> None:
    store = ran.store
    store.write("math_problems", "one", store.read("math_problems", "one").clear())
    assert measure_words(store, "math_problems", "one") == []
    assert store.read("word_diversity", "one", "math_problems").equals(
        pl.DataFrame(schema=store.columns("word_diversity"))
    )
    assert largest([]) == word_diversity(store, "math_problems", "one") == {}


@pytest.fixture
def store(ran: Hub) -> Store:
    """A home in which tools are compared by meaning."""
    with (ran.home / "hub.toml").open("a") as settings:
        settings.write('\n[datasets.tools]\nnear_duplicates_by = "meaning"\n')
    find_item_duplicates(ran.store, "tools", Embedder(), "one", lambda _done, _total: None)
    return ran.store


def test_vectors_of_items_are_measured(store: Store) -> None:
    rows, items = item_vectors(store, "tools", "one")
    (measured,) = store.read("meaning_diversity", "one", "tools").rows(named=True)
    assert (measured["items"], measured["compared"]) == (rows.height, rows.height)
    assert measured["vendi"] == pytest.approx(vendi(items))
    cosines = items @ items.T
    np.fill_diagonal(cosines, -1)
    assert measured["mean_nearest"] == pytest.approx(cosines.max(axis=1).mean(), abs=1e-5)


def test_items_are_compared_as_their_personas_are(store: Store) -> None:
    compared = measure_similarity(store, "one")
    assert list(compared.similarities) == ["tools"]
    assert list(item_similarity(compared.similarities)) in ([], ["similarity_of_pairs"])
    assert compared.facts["pearson_tools"] == pytest.approx(compared.similarities["tools"].pearson, abs=1e-4)
    rows, items = item_vectors(store, "tools", "one")
    personas = matrix(store, rows["model"][0], rows.select(pl.lit("one").alias("batch"), "persona_id"))
    pairs = list(combinations(range(rows.height), 2))
    x = [float(personas[a] @ personas[b]) for a, b in pairs]
    y = [float(items[a] @ items[b]) for a, b in pairs]
    stored = store.read("persona_item_similarity", "one").filter(dataset="tools")
    every = stored.filter(pl.col("persona_cosine").is_null()).row(0, named=True)
    assert every["pairs"] == len(pairs)
    assert every["item_cosine"] == pytest.approx(np.mean(y), abs=1e-5)
    assert every["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-4)
    assert stored["pairs"].sum() == 2 * len(pairs)


def test_a_dataset_without_vectors_is_named(store: Store) -> None:
    store.write("item_embeddings", "one", store.read("item_embeddings", "one", "tools").clear(), "tools")
    compared = measure_similarity(store, "one")
    assert "tools" not in compared.similarities
    assert "tools" in compared.facts["datasets_without_vectors"]
    assert measure_meaning(store, "tools", "one") is None
    assert store.read("meaning_diversity", "one", "tools").is_empty()
