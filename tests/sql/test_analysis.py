"""The ready queries in sql/analysis: each runs on the warehouse, and its numbers agree with a second computation."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import duckdb
import polars as pl
import pytest

from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

QUERIES = sql_files("analysis")
Rows = list[tuple[Any, ...]]


def answer(store: Store, name: str) -> Rows:
    """Rows of a query over the warehouse."""
    with build.reader(store) as connection:
        return connection.execute(QUERIES[name]).fetchall()


def candidates(store: Store) -> pl.DataFrame:
    return pl.concat([store.read_all("text_personas"), store.read_all("related_personas")])


def items(store: Store) -> pl.DataFrame:
    parts = [
        store.read_all(name, ["batch", "persona_id", "text"]).with_columns(dataset=pl.lit(name)) for name in DATASETS
    ]
    return pl.concat(parts)


def count(rows: pl.DataFrame, *by: str) -> dict[Any, int]:
    """Rows by key; a tuple of keys if there are several."""
    return {key if len(by) > 1 else key[0]: part.height for key, part in rows.group_by(by)}


# --- every file ---


def test_there_are_at_least_fifteen() -> None:
    assert len(QUERIES) >= 15


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_begins_with_its_question(name: str) -> None:
    assert re.fullmatch(r"-- [A-Z].{10,100}\?", QUERIES[name].splitlines()[0])


# Those about solvers and constraints have rows where these are enabled: tests/test_verified_answers.py and others.
@pytest.mark.parametrize("name", sorted(QUERIES.keys() - {"agreement_by_solver", "constraints_by_kind"}))
def test_a_query_runs_read_only_and_has_rows(built: Store, name: str) -> None:
    assert answer(built, name)


@pytest.mark.parametrize("name", QUERIES)
def test_a_plain_connection_gives_the_same(built: Store, name: str) -> None:
    with duckdb.connect(str(built.paths.warehouse), read_only=True) as connection:
        plain = connection.execute(QUERIES[name]).fetchall()
    assert plain == answer(built, name)


def test_every_query_runs_on_a_home_without_rows(store: Store) -> None:
    build.build(store)
    assert {name: answer(store, name) for name in QUERIES} == {name: [] for name in QUERIES}


# --- their numbers ---


def test_batch_overview(built: Store) -> None:
    batches = built.read_all("batches").sort("registered_at", "batch")
    counted = [
        count(rows, "batch")
        for rows in (
            built.read_all("documents"),
            candidates(built),
            built.read_all("personas"),
            items(built),
            built.read_all("quarantine"),
        )
    ]
    expected = [
        (batch, rows, *(counts.get(batch, 0) for counts in counted))
        for batch, rows in batches.select("batch", "rows").iter_rows()
    ]
    assert answer(built, "batch_overview") == expected
    assert [row[:3] for row in expected] == [("first", 8, 3), ("second", 7, 3)]


def test_yield_per_hop(built: Store) -> None:
    kept = set(built.read_all("personas")["persona_id"])
    every = candidates(built)
    expected = []
    for (hop, origin), part in sorted(every.group_by("hop", "origin"), key=lambda pair: pair[0]):
        stay = sum(persona in kept for persona in part["persona_id"])
        expected.append((origin, hop, part.height, stay, pytest.approx(100 * stay / part.height, abs=0.051)))
    assert answer(built, "yield_per_hop") == expected
    assert {row[0] for row in expected} == {"imported", "text", "relation"}


def test_duplicate_rate_per_stage(built: Store) -> None:
    every = candidates(built)
    batch_of = dict(every.select("persona_id", "batch").iter_rows())
    expected = []
    for stage in ("lexical", "semantic"):
        dropped = built.dropped(f"{stage}_duplicates").collect()
        across = sum(batch_of[row["keeper_id"]] != row["batch"] for row in dropped.iter_rows(named=True))
        expected.append(
            (
                stage,
                dropped.height,
                pytest.approx(100 * dropped.height / every.height, abs=0.0051),
                pytest.approx(100 * across / dropped.height, abs=0.051),
                pytest.approx(sum(dropped["similarity"]) / dropped.height, abs=0.000051),
            )
        )
        assert across, stage
    assert answer(built, "duplicate_rate_per_stage") == expected


def drops(store: Store) -> list[dict[str, Any]]:
    """The rows of both dedup stages, each with its stage."""
    return [
        {"stage": stage, **row}
        for stage in ("lexical", "semantic")
        for row in store.dropped(f"{stage}_duplicates").collect().iter_rows(named=True)
    ]


def test_similarity_histogram(built: Store) -> None:
    counts: Counter[tuple[str, float]] = Counter()
    for row in drops(built):
        counts[row["stage"], min(1.0, int(round(row["similarity"], 6) * 100 + 1e-6) / 100)] += 1
    sizes = Counter(row["stage"] for row in drops(built))
    found = answer(built, "similarity_histogram")
    assert [row[:4] for row in found] == [
        (stage, pytest.approx(low), n, pytest.approx(100 * n / sizes[stage], abs=0.0051))
        for (stage, low), n in sorted(counts.items())
    ]
    assert ("lexical", 1.0) in counts
    for stage in sizes:
        bars = [(row[2], len(row[4].rstrip())) for row in found if row[0] == stage]
        assert max(bars)[1] == 40
        assert all(length <= 40 for _, length in bars)


def test_drop_rate_per_batch(built: Store) -> None:
    expected = {}
    for stage in ("lexical", "semantic"):
        for (batch,), part in built.read_all("decisions", asset=f"{stage}_duplicates").group_by("batch"):
            dropped = part.height - part["keeper_id"].null_count()
            expected[batch, stage] = (part.height, dropped, pytest.approx(100 * dropped / part.height, abs=0.0051))
    found = answer(built, "drop_rate_per_batch")
    assert {(batch, stage): tuple(rest[:3]) for batch, stage, *rest in found} == expected
    assert {tuple(row[5:7]) for row in found} == {("exact", 1.0)}
    assert all(" 0.9" in row[7] for row in found)


def test_duplicates_across_sources(built: Store) -> None:
    source = dict(built.read_all("batches").select("batch", "source").iter_rows())
    batch_of = dict(candidates(built).select("persona_id", "batch").iter_rows())
    pairs = [(row["stage"], source[row["batch"]], source[batch_of[row["keeper_id"]]]) for row in drops(built)]
    per_source = Counter(pair[:2] for pair in pairs)
    assert {row[:5] for row in answer(built, "duplicates_across_sources")} == {
        (*pair, n, round(100 * n / per_source[pair[:2]], 1)) for pair, n in Counter(pairs).items()
    }
    assert any(dropped != keeper for _, dropped, keeper in pairs)


def test_drops_near_the_threshold(built: Store) -> None:
    text = dict(candidates(built).select("persona_id", "persona").iter_rows())
    ordered = sorted(drops(built), key=lambda row: (row["stage"], row["similarity"], row["persona_id"]))
    assert answer(built, "drops_near_the_threshold") == [
        (
            row["stage"],
            pytest.approx(row["similarity"], abs=0.000051),
            text[row["persona_id"]],
            text[row["keeper_id"]],
            row["persona_id"],
        )
        for row in ordered
    ]


def test_personas_at_a_higher_threshold(built: Store) -> None:
    expected = []
    for stage in ("lexical", "semantic"):
        similarities = [row["similarity"] for row in drops(built) if row["stage"] == stage]
        every = built.read_all("decisions", asset=f"{stage}_duplicates").height
        for step in range(20, 41):
            lost = sum(value < step / 40 - 1e-6 for value in similarities)
            if step / 40 > min(similarities) + 1e-6:
                expected.append(
                    (
                        stage,
                        pytest.approx(step / 40),
                        lost,
                        len(similarities) - lost,
                        pytest.approx(100 * lost / len(similarities), abs=0.051),
                        pytest.approx(100 * lost / every, abs=0.0051),
                    )
                )
    assert answer(built, "personas_at_a_higher_threshold") == expected
    # Every semantic drop of this home is a rewording: at 1 none of them would be a duplicate.
    assert expected[-1][2:4] == (sum(row["stage"] == "semantic" for row in drops(built)), 0)


def test_datasets_per_persona(built: Store) -> None:
    datasets: dict[str, set[str]] = {persona: set() for persona in built.read_all("personas")["persona_id"]}
    for dataset, persona in items(built).select("dataset", "persona_id").iter_rows():
        datasets[persona].add(dataset)
    sizes = [len(names) for names in datasets.values()]
    assert answer(built, "datasets_per_persona") == [(size, sizes.count(size)) for size in sorted(set(sizes))]
    assert len(set(sizes)) > 1


def test_attributes_of_personas(built: Store) -> None:
    assert answer(built, "attributes_of_personas") == [("labels", 2, 3, "Craft", 2), ("age", 1, 1, "44", 1)]
    with build.reader(built) as connection:
        query = "SELECT persona FROM personas WHERE list_contains(attributes ->> '$.labels[*]', 'Music')"
        assert [persona[:14] for (persona,) in connection.execute(query).fetchall()] == ["A jazz drummer"]


def test_tokens_per_kept_row(built: Store) -> None:
    origins = count(built.read_all("personas"), "origin")
    kept = count(items(built), "dataset") | {
        "text_personas": origins["text"],
        "related_personas": origins["relation"],
    }
    paid = built.read_all("generations").filter(~pl.col("reused"))
    expected = {}
    for (asset,), part in paid.group_by("asset"):
        prompt, completion = sum(part["prompt_tokens"]), sum(part["completion_tokens"])
        each = pytest.approx((prompt + completion) / kept[asset], abs=0.051)
        expected[asset] = (kept[asset], prompt, completion, each)
    found = answer(built, "tokens_per_kept_row")
    assert {asset: rest for asset, *rest in found} == {asset: list(rest) for asset, rest in expected.items()}
    assert [row[-1] for row in found] == sorted((row[-1] for row in found), reverse=True)
    assert set(expected) == {"text_personas", "related_personas", *DATASETS}


def test_wasted_tokens(built: Store) -> None:
    asked = built.read_all("generations").filter(pl.col("status") != "superseded")
    expected = {}
    for (asset, model), part in asked.group_by("asset", "model"):
        wasted, tokens = sum(part["wasted_tokens"]), sum(part["prompt_tokens"]) + sum(part["completion_tokens"])
        rejected = part["status"].to_list().count("rejected")
        share = pytest.approx(100 * wasted / tokens, abs=0.0051)
        expected[asset, model] = [part.height, sum(part["attempts"]), rejected, wasted, share]
    found = answer(built, "wasted_tokens")
    assert {(asset, model): rest for asset, model, *rest in found} == expected
    assert sum(row[5] for row in found) > 0
    assert sum(row[4] for row in found) == built.read_all("quarantine").filter(pl.col("asset") != "documents").height


def test_quarantine_reasons(built: Store) -> None:
    found = {(asset, reason): inputs for asset, reason, inputs, _ in answer(built, "quarantine_reasons")}
    assert found == count(built.read_all("quarantine"), "asset", "reason")
    assert found["documents", "malformed"] == 1


def test_length_of_items(built: Store) -> None:
    expected = []
    for name in sorted(DATASETS):
        texts = built.read_all(name)["text"].to_list()
        lengths = sorted(map(len, texts))
        middle = (lengths[(len(lengths) - 1) // 2] + lengths[len(lengths) // 2]) / 2
        repeated = len(texts) - len(set(texts))
        expected.append((name, len(texts), lengths[0], pytest.approx(middle, abs=0.51), lengths[-1], repeated))
    assert answer(built, "length_of_items") == expected


# --- what must hold of the lists ---

Judge = Callable[[Store, Rows], None]


def _absorbed(store: Store, rows: Rows) -> None:
    dropped = pl.concat([store.dropped(f"{stage}_duplicates").collect() for stage in ("lexical", "semantic")])
    assert sum(row[2] for row in rows) == dropped.height
    assert {row[0] for row in rows} == set(dropped["keeper_id"])


def _relations(store: Store, rows: Rows) -> None:
    related = candidates(store).filter(pl.col("relation").is_not_null())
    assert sum(row[2] for row in rows) == related.height
    assert all(kept <= count for _, _, count, kept in rows)


def _documents(store: Store, rows: Rows) -> None:
    from_documents = store.read_all("personas").filter(pl.col("document_id").is_not_null())
    assert {(row[0], row[1]): row[2] for row in rows} == count(from_documents, "batch", "document_id")


@pytest.mark.parametrize(
    ("name", "judge"),
    [
        ("keepers_with_most_duplicates", _absorbed),
        ("relations", _relations),
        ("documents_with_most_personas", _documents),
    ],
)
def test_a_list_holds_everything_while_it_is_short(built: Store, name: str, judge: Judge) -> None:
    judge(built, answer(built, name))
