"""Every check passes on a good home, and for every check there is a planted fault that it, and no other, finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
import duckdb
import polars as pl
import pytest

from personahub_assets.definitions import build
from personahub_assets.defs.checks import Check, all_checks
from personahub_assets.domain.records import DATASETS
from personahub_assets.resources.config import Environment
from personahub_assets.resources.files import sql_files
from personahub_assets.resources.store import Store
from personahub_assets.resources.warehouse import live

CHECKS = [check for checks in all_checks().values() for check in checks]
ANY = "any_dataset"
NOBODY = "pnobody"

Place = tuple[str, str]


def failing(store: Store) -> set[Place]:
    """`(asset, check)` of every check that fails."""
    with live(store, " ".join(check.sql for check in CHECKS)) as connection:
        return {(check.asset, check.name) for check in CHECKS if not check.result(connection).passed}


# --- what the files are ---


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.asset}/{check.name}")
def test_a_check_says_what_it_wants_and_how_bad_it_is(check: Check) -> None:
    assert check.sql.startswith("-- ")
    assert len(check.about) > 20
    said = [line for line in check.sql.splitlines() if "severity" in line]
    assert said in ([], ["-- severity: warn"])
    assert check.severity is (dg.AssetCheckSeverity.WARN if said else dg.AssetCheckSeverity.ERROR)
    assert "{dataset}" not in check.sql


def test_every_asset_has_a_check_and_every_check_an_asset(built: Store) -> None:
    graph = build(Environment(home=built.root)).resolve_asset_graph()
    assets = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert set(all_checks()) == assets
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        (check.asset, check.name) for check in CHECKS
    }


# --- the good home ---


@pytest.fixture(scope="module")
def good(built: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with live(built, " ".join(check.sql for check in CHECKS)) as connection:
        yield connection


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.asset}/{check.name}")
def test_a_good_home_passes(good: duckdb.DuckDBPyConnection, check: Check) -> None:
    result = check.result(good)
    assert result.passed, result.metadata
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(0)


def test_an_empty_home_passes(store: Store) -> None:
    assert failing(store) == set()


def test_the_good_home_has_what_the_checks_look_at(built: Store) -> None:
    for table in ("lexical_duplicates", "semantic_duplicates", "related_personas", *DATASETS):
        assert built.read_all(table).height, table
    reasons = built.read_all("quarantine")
    assert set(reasons["reason"]) >= {"malformed", "refused"}


# --- planted faults ---


@dataclass(frozen=True)
class Fault:
    """A change of one table of one batch that breaks one check; `also` names others that must fail with it."""

    table: str
    change: Callable[[pl.DataFrame], pl.DataFrame]
    also: tuple[Place, ...] = ()
    batch: str = "first"


def first(column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Give the first row another value."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        values = rows[column].to_list()
        return rows.with_columns(pl.Series(column, [value, *values[1:]], rows.schema[column]))

    return change


def first_as_second(column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Give the first row the value of the second."""
    return lambda rows: first(column, rows[column][1])(rows)


def again(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Append a copy of the last row, with other values."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        extra = rows.tail(1).with_columns(pl.lit(value).alias(name) for name, value in values.items())
        return pl.concat([rows, extra.cast(rows.schema)])

    return change


def runaway(rows: pl.DataFrame) -> pl.DataFrame:
    """A keeper that has dropped a hundred personas."""
    many = pl.concat([rows.tail(1)] * 100)
    return many.with_columns(persona_id=pl.format("p{}", pl.int_range(100)))


def longer(rows: pl.DataFrame) -> pl.DataFrame:
    """A vector of twice its length."""
    return first("embedding", [2 * x for x in rows["embedding"][0].to_list()])(rows)


def answered_otherwise(rows: pl.DataFrame) -> pl.DataFrame:
    """Nothing leads to the document of the last row any more."""
    return rows.with_columns(document_id=pl.col("document_id").replace(rows["document_id"][-1], "another"))


def dropped_too(rows: pl.DataFrame) -> pl.DataFrame:
    """The keeper of the first row is dropped as well, for itself."""
    return again(persona_id=rows["keeper_id"][-1])(rows)


FAULTS: dict[str, Fault] = {
    "documents/text_is_usable": Fault("documents", first("text", " ")),
    "documents/unique_ids": Fault("documents", first_as_second("document_id")),
    "text_personas/unique_ids": Fault("text_personas", again()),
    "text_personas/every_row_accounted_for": Fault("batches", first("rows", 9)),
    "text_personas/every_document_answered": Fault("text_personas", answered_otherwise, batch="second"),
    "related_personas/known_origin": Fault("related_personas", first("root_id", NOBODY)),
    "related_personas/parents_exist": Fault("related_personas", first("parent_id", NOBODY)),
    "lexical_duplicates/keeper_is_kept": Fault("lexical_duplicates", first("keeper_id", NOBODY)),
    "lexical_duplicates/keeper_was_admitted_before": Fault("lexical_duplicates", first("admission", 0)),
    "lexical_duplicates/no_keeper_absorbs_the_hub": Fault(
        "lexical_duplicates", lambda rows: pl.concat([rows, runaway(rows)])
    ),
    "semantic_duplicates/keeper_is_kept": Fault("semantic_duplicates", first("keeper_id", NOBODY), batch="second"),
    "semantic_duplicates/keeper_was_admitted_before": Fault(
        "semantic_duplicates", first("admission", 0), batch="second"
    ),
    "semantic_duplicates/no_keeper_absorbs_the_hub": Fault(
        "semantic_duplicates", lambda rows: pl.concat([rows, runaway(rows)]), batch="second"
    ),
    "persona_embeddings/one_unit_vector_per_survivor": Fault("persona_embeddings", longer),
    "personas/unique_texts": Fault("personas", first_as_second("persona")),
    "personas/every_candidate_accounted_for": Fault("lexical_duplicates", dropped_too),
    "warehouse/every_batch_is_registered": Fault("batches", lambda rows: rows.clear(), batch="second"),
    "any_dataset/persona_in_hub": Fault(ANY, again(persona_id=NOBODY)),
    "any_dataset/has_its_generation": Fault(ANY, first("generation_id", "gnone")),
    "any_dataset/every_request_accounted_for": Fault(ANY, lambda rows: rows.tail(-1)),
    "any_dataset/one_item_per_sample": Fault(ANY, again(), also=((ANY, "every_request_accounted_for"),)),
}
# Further ways in which the same checks must fail.
VARIANTS: dict[str, dict[str, Fault]] = {
    "documents/text_is_usable": {"NUL": Fault("documents", first("text", "a\0b"))},
    "related_personas/parents_exist": {"hop": Fault("related_personas", first("hop", 2))},
    "persona_embeddings/one_unit_vector_per_survivor": {
        "missing": Fault("persona_embeddings", lambda rows: rows.tail(-1)),
        "extra": Fault("persona_embeddings", again(persona_id=NOBODY)),
        "twice": Fault("persona_embeddings", again()),
    },
    "personas/every_candidate_accounted_for": {"lost": Fault("lexical_duplicates", lambda rows: rows.tail(-1))},
}
CASES = [pytest.param(place, fault, id=place) for place, fault in FAULTS.items()] + [
    pytest.param(place, fault, id=f"{place}-{name}")
    for place, faults in VARIANTS.items()
    for name, fault in faults.items()
]


def test_every_check_has_a_planted_fault() -> None:
    assert set(FAULTS) == set(sql_files("checks"))


@pytest.mark.parametrize(("place", "fault"), CASES)
def test_a_planted_fault_is_found_by_its_check_alone(copied: Store, place: str, fault: Fault) -> None:
    for table in _each(fault.table):
        rows = copied.read(table, fault.batch)
        changed = fault.change(rows)
        assert rows.height
        assert not changed.equals(rows)
        copied.write(table, fault.batch, changed)

    asset, name = place.split("/")
    expected = [(asset, name), *fault.also]
    assert failing(copied) == {(each, check) for asset, check in expected for each in _each(asset)}


def _each(name: str) -> list[str]:
    """The datasets for the faults that are planted in each of them."""
    return list(DATASETS) if name == ANY else [name]


def test_a_failing_check_shows_the_offending_rows(copied: Store) -> None:
    rows = copied.read("documents", "first")
    copied.write("documents", "first", rows.with_columns(text=pl.lit("")))
    (check,) = [c for c in CHECKS if c.name == "text_is_usable"]
    with live(copied, check.sql) as connection:
        result = check.result(connection)
    assert not result.passed
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(rows.height)
    shown = result.metadata["first_rows"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert [record.data["document_id"] for record in shown.records] == ["d1", "d2", "d3"]


def test_a_failing_check_counts_more_rows_than_it_shows(copied: Store) -> None:
    rows = copied.read("game_npcs", "first")
    assert rows.height > 10
    copied.write("game_npcs", "first", rows.with_columns(generation_id=pl.lit("gnone")))
    (check,) = [c for c in all_checks()["game_npcs"] if c.name == "has_its_generation"]
    with live(copied, check.sql) as connection:
        result = check.result(connection)
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(rows.height)
    shown = result.metadata["first_rows"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert len(shown.records) == 10
