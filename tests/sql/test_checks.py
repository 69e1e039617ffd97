"""Every check passes on a good home, and every check has a planted fault that only this check finds."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from rich.console import Console

from personahub_assets.cli.run import run_and_report
from personahub_assets.core.config import Environment, HubConfig, Lexical
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.project_files import sql_files
from personahub_assets.core.records import DATASETS
from personahub_assets.definitions import build
from personahub_assets.defs.checks import Check, all_checks
from personahub_assets.hub import Hub
from personahub_assets.runs.runner import run_batches
from personahub_assets.sources.register import register
from personahub_assets.store.tables import CANDIDATES, STAGES, Store
from personahub_assets.warehouse.live import open_live

CHECKS = [check for checks in all_checks().values() for check in checks]
EVERY_CHECK = " ".join(check.sql for check in CHECKS)
ANY = "any_dataset"
NOBODY = "pnobody"

Place = tuple[str, str]


def failures(store: Store) -> dict[Place, dg.AssetCheckResult]:
    """The result of every check that fails, by `(asset, check)`."""
    with open_live(store, EVERY_CHECK) as connection:
        return failures_in(connection, store.config)


def failures_in(connection: duckdb.DuckDBPyConnection, config: HubConfig) -> dict[Place, dg.AssetCheckResult]:
    """The same for the tables of a connection."""
    results = {(check.asset, check.name): check.filled(config).result(connection) for check in CHECKS}
    return {place: result for place, result in results.items() if not result.passed}


def failing(store: Store) -> set[Place]:
    """`(asset, check)` of every check that fails."""
    return set(failures(store))


def shown(result: dg.AssetCheckResult) -> list[dict[str, object]]:
    """The offending rows that a result shows."""
    table = result.metadata["first_rows"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


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
    assert set(all_checks()) == assets - {"release"}  # which is no table: its manifest is what it is checked by
    assert {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys} == {
        (check.asset, check.name) for check in CHECKS
    }


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.asset}/{check.name}")
def test_a_check_names_settings_that_exist(check: Check) -> None:
    assert "{" not in check.filled(HubConfig()).sql


def test_a_setting_is_put_into_a_check() -> None:
    check = Check("personas", "few", "-- Few\nSELECT {lexical.threshold}, {lexical.ngram} FROM 'x' WHERE y = {'a': 1}")
    config = HubConfig(lexical=Lexical(threshold=0.75))
    assert check.filled(config).sql == "-- Few\nSELECT 0.75, 1 FROM 'x' WHERE y = {'a': 1}"


@pytest.mark.parametrize("name", ["lexical.treshold", "lexical.method", "nothing.threshold"])
def test_an_unknown_setting_is_an_error_with_the_valid_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"personas/few.*{name}.*valid: .*lexical\.threshold"):
        Check("personas", "few", f"SELECT {{{name}}}").filled(HubConfig())


# --- the good home ---


@pytest.fixture(scope="module")
def good(built: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_live(built, EVERY_CHECK) as connection:
        yield connection


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.asset}/{check.name}")
def test_a_good_home_passes(good: duckdb.DuckDBPyConnection, built: Store, check: Check) -> None:
    result = check.filled(built.config).result(good)
    assert result.passed, result.metadata
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(0)


def test_an_empty_home_passes(store: Store) -> None:
    assert failing(store) == set()


def test_the_good_home_has_what_the_checks_look_at(built: Store) -> None:
    for table in ("related_personas", *DATASETS):
        assert built.read_all(table).height, table
    for asset in STAGES:
        assert built.dropped(asset).collect().height, asset
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
    stage: str | None = None
    asset: str | None = None  # whose partition of `generations`
    dataset: str | None = None  # of decisions about items, with the stage


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


def matching(rows: pl.DataFrame) -> pl.DataFrame:
    """An item of each dataset that matches a test row."""
    item = {"batch": "first", "item_id": "i", "persona_id": NOBODY, "test_file": "gsm8k.jsonl", "test_row": 3}
    match = {"method": "long_run", "similarity": 0.5, "passage": "a ferry carries forty cars"}
    return pl.concat([rows, pl.DataFrame([{**item, **match, "dataset": name} for name in DATASETS], rows.schema)])


def mostly_dropped(rows: pl.DataFrame) -> pl.DataFrame:
    """A stage more that dropped most items of each dataset."""
    counts = rows.tail(1).with_columns(stage=pl.lit("third"), candidates=pl.lit(1_000), kept=pl.lit(199))
    return pl.concat([rows, *(counts.with_columns(dataset=pl.lit(name)).cast(rows.schema) for name in DATASETS)])


def runaway(rows: pl.DataFrame) -> pl.DataFrame:
    """A keeper with a hundred more dropped personas."""
    one = rows.filter(pl.col("keeper_id").is_not_null()).tail(1)
    many = pl.concat([one] * 100).with_columns(persona_id=pl.format("p{}", pl.int_range(100)))
    return pl.concat([rows, many])


def of_the_dropped(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Give all decisions to drop another value."""
    dropped = pl.col("keeper_id").is_not_null()

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        new = {name: pl.when(dropped).then(pl.lit(value)).otherwise(name) for name, value in values.items()}
        return rows.with_columns(**new).cast(rows.schema)

    return change


def kept_is_dropped(rows: pl.DataFrame) -> pl.DataFrame:
    """The last kept persona is dropped for another one."""
    kept = rows.filter(pl.col("keeper_id").is_null())["persona_id"]
    keeper = pl.when(pl.col("persona_id") == kept[-1]).then(pl.lit(kept[0])).otherwise("keeper_id")
    return rows.with_columns(keeper_id=keeper)


def all_rows(**values: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Give all rows other values."""
    return lambda rows: rows.with_columns(pl.lit(v).alias(n) for n, v in values.items()).cast(rows.schema)


def longer(rows: pl.DataFrame) -> pl.DataFrame:
    """A vector of twice its length."""
    return first("embedding", [2 * x for x in rows["embedding"][0].to_list()])(rows)


def answered_otherwise(rows: pl.DataFrame) -> pl.DataFrame:
    """The document of the last row has no rows derived from it."""
    return rows.with_columns(document_id=pl.col("document_id").replace(rows["document_id"][-1], "another"))


def dropped_too(rows: pl.DataFrame) -> pl.DataFrame:
    """A keeper is also dropped, for itself."""
    one = rows.filter(pl.col("keeper_id").is_not_null()).tail(1)
    return pl.concat([rows, one.with_columns(persona_id="keeper_id")])


def without_a_drop(rows: pl.DataFrame) -> pl.DataFrame:
    """A dropped persona has no decision."""
    dropped = rows.filter(pl.col("keeper_id").is_not_null())["persona_id"]
    return rows.filter(pl.col("persona_id") != dropped[0])


def refused(*assets: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A hundred more requests of some assets, all rejected."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        new = {"status": "rejected", "reason": "refused", "generation_id": "gnone"}
        one = rows.tail(1).with_columns(pl.lit(value).alias(name) for name, value in new.items())
        many = [pl.concat([one] * 100).with_columns(asset=pl.lit(asset)) for asset in assets]
        return pl.concat([rows, *(more.cast(rows.schema) for more in many)])

    return change


FAULTS: dict[str, Fault] = {
    "documents/text_is_usable": Fault("documents", first("text", " ")),
    "documents/unique_ids": Fault("documents", first_as_second("document_id")),
    "documents/some_row_of_a_batch_is_usable": Fault(
        "batches", first("rows", 1), also=(("text_personas", "every_row_accounted_for"),)
    ),
    "text_personas/unique_ids": Fault("text_personas", again()),
    "text_personas/every_row_accounted_for": Fault("batches", first("rows", 9)),
    "text_personas/every_document_answered": Fault("text_personas", answered_otherwise, batch="second"),
    "text_personas/no_text_fills_the_table": Fault("text_personas", all_rows(persona="The same again and again.")),
    "text_personas/most_requests_are_accepted": Fault("generations", refused("text_personas"), asset="text_personas"),
    "related_personas/no_text_fills_the_table": Fault(
        "related_personas", all_rows(persona="The same again and again.")
    ),
    "related_personas/most_requests_are_accepted": Fault(
        "generations", refused("related_personas"), asset="related_personas"
    ),
    "related_personas/known_origin": Fault("related_personas", first("root_id", NOBODY)),
    "related_personas/parents_exist": Fault("related_personas", first("parent_id", NOBODY)),
    "lexical_duplicates/no_batch_is_mostly_dropped": Fault(
        "dedup_runs", all_rows(candidates=1_000, kept=199), stage="lexical"
    ),
    "semantic_duplicates/index_recall": Fault("dedup_runs", all_rows(method="cells", recall=0.9949), stage="semantic"),
    "semantic_duplicates/no_batch_is_mostly_dropped": Fault(
        "dedup_runs", all_rows(candidates=1_000, kept=199), stage="semantic"
    ),
    "persona_embeddings/one_unit_vector_per_persona": Fault("persona_embeddings", longer),
    "persona_embeddings/texts_are_read_by_the_model": Fault("persona_embeddings", first("unread", 0.41)),
    "persona_embeddings/no_text_is_refused": Fault("persona_embeddings", first("unread_hash", "refused")),
    "warehouse/keeper_is_kept": Fault("decisions", of_the_dropped(keeper_id=NOBODY), stage="lexical"),
    "warehouse/keeper_was_admitted_before": Fault("decisions", of_the_dropped(admission=0), stage="lexical"),
    "warehouse/decided_by_the_current_rule": Fault("dedup_runs", all_rows(rule="another"), stage="lexical"),
    "warehouse/no_keeper_absorbs_the_hub": Fault("decisions", runaway, stage="lexical"),
    "warehouse/every_survivor_has_a_vector": Fault("persona_embeddings", lambda rows: rows.tail(-1)),
    "warehouse/follows_the_decisions": Fault("personas", again(persona_id=NOBODY, persona="A stranger.")),
    "warehouse/unique_texts": Fault("personas", first_as_second("persona")),
    "warehouse/item_keepers_are_kept": Fault(
        "item_decisions", first("keeper_id", NOBODY), stage="lexical", dataset="tools"
    ),
    "warehouse/items_are_compared_by_one_rule": Fault(
        "item_dedup_runs", all_rows(rule="another"), stage="semantic", dataset="tools"
    ),
    "persona_item_similarity/cosines_and_shares_are_in_range": Fault(
        "persona_item_similarity", first("item_cosine", 1.5)
    ),
    "personas/every_candidate_accounted_for": Fault("decisions", dropped_too, stage="lexical"),
    "warehouse/every_batch_is_registered": Fault("batches", lambda rows: rows.clear(), batch="second"),
    "game_npcs/npc_belongs_to_its_world": Fault("game_npcs", first("misfit", "names nothing of saltmark")),
    "any_dataset/persona_in_hub": Fault(ANY, again(persona_id=NOBODY)),
    "any_dataset/has_its_generation": Fault(ANY, first("generation_id", "gnone")),
    "any_dataset/every_request_accounted_for": Fault(ANY, lambda rows: rows.tail(-1)),
    "any_dataset/no_text_fills_the_dataset": Fault(ANY, all_rows(text="The same again and again.")),
    "any_dataset/most_requests_are_accepted": Fault(
        "generations", refused(*DATASETS), also=((ANY, "every_request_accounted_for"),), asset="math_problems"
    ),
    "any_compared/few_items_are_dropped": Fault("item_dedup_runs", mostly_dropped, stage="lexical", dataset="tools"),
    "any_dataset/no_item_is_in_a_test_set": Fault("contaminated", matching, asset="math_problems"),
    "any_dataset/one_item_per_sample": Fault(ANY, again(), also=((ANY, "every_request_accounted_for"),)),
}
# Further ways in which the same checks must fail.
VARIANTS: dict[str, dict[str, Fault]] = {
    "documents/text_is_usable": {"NUL": Fault("documents", first("text", "a\0b"))},
    "related_personas/parents_exist": {"hop": Fault("related_personas", first("hop", 2))},
    "persona_embeddings/one_unit_vector_per_persona": {"twice": Fault("persona_embeddings", again())},
    "semantic_duplicates/index_recall": {
        "unknown": Fault("dedup_runs", all_rows(method="usearch", recall=None), stage="semantic")
    },
    "warehouse/keeper_is_kept": {
        "semantic": Fault("decisions", of_the_dropped(keeper_id=NOBODY), batch="second", stage="semantic"),
    },
    "warehouse/keeper_was_admitted_before": {
        "semantic": Fault("decisions", of_the_dropped(admission=0), batch="second", stage="semantic"),
    },
    "warehouse/decided_by_the_current_rule": {
        "semantic": Fault("dedup_runs", all_rows(rule="another"), stage="semantic"),
        "unknown": Fault("dedup_runs", lambda rows: rows.clear(), stage="lexical"),
    },
    "warehouse/no_keeper_absorbs_the_hub": {
        "semantic": Fault("decisions", runaway, batch="second", stage="semantic"),
    },
    "personas/every_candidate_accounted_for": {
        "lost": Fault("decisions", without_a_drop, stage="lexical"),
        "twice": Fault("decisions", again(), stage="semantic"),
    },
    "warehouse/follows_the_decisions": {
        "dropped since": Fault("decisions", kept_is_dropped, stage="lexical"),
        "kept since": Fault(
            "decisions", of_the_dropped(keeper_id=None, similarity=None), batch="second", stage="semantic"
        ),
    },
}
CASES = [pytest.param(place, fault, id=place) for place, fault in FAULTS.items()] + [
    pytest.param(place, fault, id=f"{place}-{name}")
    for place, faults in VARIANTS.items()
    for name, fault in faults.items()
]


def without_fault(checks: Iterable[str], faults: Iterable[str]) -> str:
    """Instructions for checks without planted faults and the reverse; empty if there are none."""
    missing, stale = sorted(set(checks) - set(faults)), sorted(set(faults) - set(checks))
    return "\n".join([*map(_fault_to_add, missing), *map(_fault_to_remove, stale)])


def _fault_to_add(place: str) -> str:
    asset = place.split("/")[0]
    table = "ANY" if asset == ANY else f'"{asset}"'
    return (
        f"sql/checks/{place}.sql has no planted fault: add to FAULTS in tests/sql/test_checks.py a change of a table "
        f'that this check finds, and no other, such as\n    "{place}": Fault({table}, first("COLUMN", VALUE)),'
    )


def _fault_to_remove(place: str) -> str:
    return f"there is no sql/checks/{place}.sql: remove its fault from FAULTS in tests/sql/test_checks.py"


ELSEWHERE = ("any_derived", "any_agreement", "any_scores", "dialogues", "instruction_answers")
"""Folders of checks of datasets that this home does not have; their faults are in tests of these datasets."""


def test_every_check_has_a_planted_fault() -> None:
    shared = {
        "any_stage": [f"{stage}_duplicates" for stage in STAGES.values()],
        "any_candidate": [*CANDIDATES],
        "any_generated": [*CANDIDATES, ANY],
    }
    files = [
        f"{asset}/{name}"
        for folder, name in (place.split("/") for place in sql_files("checks"))
        if folder not in ELSEWHERE
        for asset in shared.get(folder, [folder])
    ]
    assert not (lacking := without_fault(files, FAULTS)), lacking


def test_a_check_without_a_planted_fault_is_told_what_to_add() -> None:
    said = without_fault(["documents/is_new", "any_dataset/is_new", "personas/unique_texts"], ["personas/unique_texts"])
    assert "sql/checks/documents/is_new.sql has no planted fault: add to FAULTS in tests/sql/test_checks.py" in said
    assert '\n    "documents/is_new": Fault("documents", first("COLUMN", VALUE)),' in said
    assert '\n    "any_dataset/is_new": Fault(ANY, first("COLUMN", VALUE)),' in said
    assert "unique_texts" not in said
    assert "there is no sql/checks/personas/old.sql: remove its fault" in without_fault([], ["personas/old"])


@pytest.fixture(scope="module")
def in_memory(built: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables of the good home, copied to memory, where all checks take a fifth of the time."""
    with open_live(built, EVERY_CHECK) as connection:
        over_files = "SELECT view_name FROM duckdb_views() WHERE NOT internal AND sql LIKE '%read_parquet(%'"
        for (table,) in connection.execute(over_files).fetchall():
            connection.execute(f"CREATE TABLE copy AS FROM {table}")
            connection.execute(f"DROP VIEW {table}")
            connection.execute(f"ALTER TABLE copy RENAME TO {table}")
        assert failures_in(connection, built.config) == {}
        yield connection


@pytest.fixture
def tables(in_memory: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables in memory; changes of a test are rolled back."""
    in_memory.begin()
    yield in_memory
    in_memory.rollback()


@dataclass(frozen=True)
class Planter:
    """Changes a table in memory as if its file had been replaced."""

    store: Store
    folder: Path
    tables: duckdb.DuckDBPyConnection

    def plant(self, fault: Fault) -> None:
        for table in _each(fault.table):
            of_stage = fault.stage and f"{fault.stage}_duplicates"
            asset = f"{fault.dataset}-{fault.stage}" if fault.dataset else fault.asset or of_stage
            rows = self.store.read(table, fault.batch, asset)
            changed = fault.change(rows)
            assert not changed.equals(rows)
            changed.write_parquet(self.folder / "changed.parquet")
            of_the_file = f"batch = '{fault.batch}'" + (f" AND stage = '{fault.stage}'" if fault.stage else "")
            has_dataset = fault.dataset or table == "contaminated"
            of_the_file += f" AND dataset = '{fault.dataset or fault.asset}'" if has_dataset else ""
            of_the_file += f" AND asset = '{fault.asset}'" if fault.asset and not has_dataset else ""
            gone = self.tables.execute(f"DELETE FROM {table} WHERE {of_the_file}").fetchone()
            assert gone == (rows.height,)
            self.tables.execute(f"INSERT INTO {table} BY NAME FROM '{self.folder}/changed.parquet'")


@pytest.fixture
def planter(built: Store, tmp_path: Path, tables: duckdb.DuckDBPyConnection) -> Planter:
    return Planter(built, tmp_path, tables)


@pytest.mark.parametrize(("place", "fault"), CASES)
def test_a_planted_fault_is_found_by_its_check_alone(planter: Planter, place: str, fault: Fault) -> None:
    planter.plant(fault)
    asset, name = place.split("/")
    expected = {(each, check) for asset, check in [(asset, name), *fault.also] for each in _each(asset)}
    assert set(failures_in(planter.tables, planter.store.config)) == expected


def _each(name: str) -> list[str]:
    """The datasets for the faults that are planted in each of them."""
    return list(DATASETS) if name in (ANY, "any_compared") else [name]


def test_a_failing_check_shows_the_offending_rows(copied: Store) -> None:
    rows = copied.read("documents", "first")
    copied.write("documents", "first", rows.with_columns(text=pl.lit("")))
    (check,) = [c for c in CHECKS if c.name == "text_is_usable"]
    with open_live(copied, check.sql) as connection:
        result = check.result(connection)
    assert not result.passed
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(rows.height)
    assert [row["document_id"] for row in shown(result)] == ["d1", "d2", "d3"]


def test_a_failing_check_counts_more_rows_than_it_shows(copied: Store) -> None:
    rows = copied.read("game_npcs", "first")
    assert rows.height > 10
    copied.write("game_npcs", "first", rows.with_columns(generation_id=pl.lit("gnone")))
    (check,) = [c for c in all_checks()["game_npcs"] if c.name == "has_its_generation"]
    with open_live(copied, check.sql) as connection:
        result = check.result(connection)
    assert result.metadata["offending_rows"] == dg.MetadataValue.int(rows.height)
    assert len(shown(result)) == 10


def test_a_batch_that_is_wholly_in_quarantine_is_warned_of_and_fails_a_check(copied: Store) -> None:
    path = copied.root / "inbox" / "wrong.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,story\n1,A page\n2,Another\n")
    register(copied, str(path))
    console = Console(record=True, width=200, quiet=False, file=io.StringIO())
    environment = Environment(home=copied.root, llm_url=None, embed_url=None)
    assert run_and_report(Hub(environment=environment), ["wrong"], ["documents"], console).failed == {}
    said = console.export_text()
    assert "warning: batch wrong: all its 2 rows are in quarantine, most as no_text" in said
    found = failures(copied)[("documents", "some_row_of_a_batch_is_usable")]
    assert shown(found) == [{"batch": "wrong", "quarantined": "2", "mostly": "no_text"}]


# --- alarms ---


@pytest.mark.parametrize(
    ("share", "dropped", "warns"),
    [(0.5, 501, True), (0.5, 500, False), (0.05, 99, False), (0.05, 100, True), (1.0, 1_000, False)],
)
def test_the_share_that_may_be_dropped_is_a_setting(
    planter: Planter, store: Store, share: float, dropped: int, warns: bool
) -> None:
    store.root.mkdir()
    (store.root / "hub.toml").write_text(f"[lexical]\nmax_drop_share = {share}\n")
    planter.plant(Fault("dedup_runs", all_rows(candidates=1_000, kept=1_000 - dropped), stage="lexical"))
    found = failures_in(planter.tables, store.config)
    assert set(found) == ({("lexical_duplicates", "no_batch_is_mostly_dropped")} if warns else set())
    for result in found.values():
        assert result.severity is dg.AssetCheckSeverity.WARN
        assert shown(result) == [
            {"batch": "first", "candidates": "1000", "dropped": str(dropped), "share": str(dropped / 1_000)}
        ]


@pytest.mark.parametrize(("share", "warns"), [(0.5, True), (0.9, False)])
def test_the_share_that_a_keeper_may_take_is_a_setting(
    planter: Planter, store: Store, share: float, warns: bool
) -> None:
    store.root.mkdir()
    (store.root / "hub.toml").write_text(f"[semantic]\nmax_keeper_share = {share}\n")
    planter.plant(Fault("decisions", runaway, batch="second", stage="semantic"))
    found = failures_in(planter.tables, store.config)
    assert (("warehouse", "no_keeper_absorbs_the_hub") in found) == warns


# --- a threshold that was changed ---


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("[lexical]\nthreshold = 0.5\n", set()),  # the persona's keeper is another one, and it stays dropped
        ("[semantic]\nthreshold = 0.99\n", {"warehouse/follows_the_decisions"}),
    ],
)
def test_batches_that_are_behind_a_new_rule_give_warnings_with_the_remedy(
    copied: Store, setting: str, expected: set[str]
) -> None:
    (copied.root / "hub.toml").write_text(setting)
    dedup = ["lexical_duplicates", "persona_embeddings", "semantic_duplicates", "personas"]
    environment = Environment(home=copied.root, llm_url=None, embed_url=None)
    # Decides about both batches anew, but makes the tables of one.
    assert run_batches(environment, ["first"], dedup).failed == {}
    behind = failures(copied)
    assert {"/".join(place) for place in behind if place[0] == "warehouse"} == expected
    for place, result in behind.items():
        assert result.severity is dg.AssetCheckSeverity.WARN, place
        if place[0] == "warehouse":
            assert {row["remedy"] for row in shown(result)} == {"personahub run --batch second"}
    assert run_batches(environment, ["second"], dedup).failed == {}
    # Items of personas that are dropped now stay until their datasets are made again.
    assert failing(copied) <= {(name, "persona_in_hub") for name in DATASETS}
