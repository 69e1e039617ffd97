"""Diversity of a dataset's words, measured by each materialisation."""

import polars as pl
from hub import Hub

from personahub_assets.defs.metadata.charts import word_diversity
from personahub_assets.measures.words import measure
from personahub_assets.steps.diversity import largest, measure_words


def test_each_materialisation_measures_its_items(ran: Hub) -> None:
    store = ran.store
    items = store.read("math_problems", "one").sort("item_id")
    stored = store.read("word_diversity", "one", "math_problems")
    expected = measure(items["text"])
    assert expected
    assert stored.drop("batch", "asset").rows(named=True) == [vars(one) for one in expected]
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
