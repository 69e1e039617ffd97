"""Judges: scores by a rubric are a derived dataset, found by plan, why, takedown, checks and conditions."""

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hub import TOPICS, Hub
from pydantic import ValidationError
from written import put

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.errors import ConfigError, PromptError
from personahub_assets.core.records import DATASETS
from personahub_assets.core.rubrics import Scores, criteria_of
from personahub_assets.definitions import unselected
from personahub_assets.defs.checks import all_checks
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.datasets import write_items
from personahub_assets.steps.scores import write_scores
from personahub_assets.steps.sent import sent_messages
from personahub_assets.steps.solutions import write_solutions
from personahub_assets.store.tables import Store
from personahub_assets.takedown.receipts import Target
from personahub_assets.takedown.takedown import takedown
from personahub_assets.warehouse.live import open_live

Once = Callable[[str, Callable[[Path], None]], Path]
Said = tuple[int, str, str]

BATCH = "all"
COUNT = 40
JOBS = ("baker", "welder", "nurse", "beekeeper", "surveyor", "tailor", "pilot", "cooper", "printer", "glazier")
SHIPPED = [*DATASETS, "math_solutions", "instruction_answers", "dialogues"]


def ignore(_tally: object) -> None:
    pass


@pytest.fixture(scope="session")
def scored(once: Once) -> Path:
    """A home with problems and their solutions, both scored."""

    def make(folder: Path) -> None:
        store = Store(home=str(folder / "hub"))
        store.root.mkdir()
        people = [
            {
                "batch": BATCH,
                "persona_id": f"p{number:02d}",
                "persona": f"A {JOBS[number % len(JOBS)]} of street {number} who keeps a record of every tide.",
                "origin": "imported",
                "hop": 0,
                "root_id": f"p{number:02d}",
            }
            for number in range(COUNT)
        ]
        empty = pl.DataFrame(schema=store.columns("personas"))
        rows = pl.concat([empty, pl.DataFrame(people)], how="diagonal_relaxed")
        store.write("personas", BATCH, rows)
        store.write("text_personas", BATCH, rows.select(list(store.columns("text_personas"))))
        with StandinServer() as server:
            llm = LLM(url=server.url)
            write_items("math_problems", store, llm, BATCH, ignore)
            write_solutions("math_solutions", store, llm, BATCH, ignore)
            write_scores("math_problems_scores", store, llm, BATCH, ignore)
            write_scores("math_solutions_scores", store, llm, BATCH, ignore)

    return once("scored", make) / "hub"


@pytest.fixture
def store(scored: Path, tmp_path: Path) -> Store:
    return Store(home=str(shutil.copytree(scored, tmp_path / "hub")))


# --- rubrics ---


def test_the_package_has_a_rubric_for_each_kind_of_item() -> None:
    catalog = Catalog()
    assert {*catalog.scores} >= {f"{name}_scores" for name in SHIPPED}
    for name in catalog.scores:
        item = catalog.item(name)
        assert issubclass(item, Scores)
        fields = list(item.model_fields)
        for criterion in criteria_of(item):
            assert fields.index(f"{criterion}_reason") + 1 == fields.index(criterion)
        assert fields[-2:] == ["reason", "score"]
        assert catalog.prompt(name).role == "judge"
        assert all(
            criterion in catalog.prompt(name).messages(dict.fromkeys(catalog.values(name), "x"))[0]["content"]
            for criterion in criteria_of(item)
        )


def test_a_score_is_an_integer_from_one_to_five_with_a_reason() -> None:
    item = Catalog().item("tools_scores")
    names = [*criteria_of(item)]
    row = dict.fromkeys(names, 3) | {f"{name}_reason": "It is so." for name in names}
    assert item(**row, reason="It is so.", score=4).as_text().startswith("Score: 4. It is so.\nUseful: 3. It is so.")
    for wrong in ({"score": 6}, {"score": 0}, {"score": 2.5}, {"reason": ""}):
        with pytest.raises(ValidationError):
            item(**row, **{"reason": "It is so.", "score": 4, **wrong})


RUBRIC = """---
name: {name}
description: How useful it is.
role: judge
criteria: {criteria}
---
Judge it.
{{{{ criteria }}}}
---
{{{{ {value} }}}}
"""


def write_rubric(
    home: Path, name: str = "tools_scores", criteria: str = "{short: Few words}", value: str = "text"
) -> None:
    folder = home / "prompts" / "rubrics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tools.md").write_text(RUBRIC.format(name=name, criteria=criteria, value=value))


def test_a_home_has_rubrics_of_its_own(home: Path) -> None:
    write_rubric(home)
    catalog = Catalog(home)
    assert criteria_of(catalog.item("tools_scores")) == ["short"]
    assert "- short: Few words" in catalog.prompt("tools_scores").messages({"text": "x"})[0]["content"]
    assert catalog.files == [home / "prompts" / "rubrics" / "tools.md"]
    assert "short" in Store(home=str(home)).columns("tools_scores")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"criteria": "{score: Again}"}, "the table has a column score already"),
        ({"criteria": "{clear: Again, clear_reason: Again}"}, "the table has a column clear_reason already"),
        ({"criteria": "{Bad name: x}"}, "use 1 to 63 of a-z, 0-9 and _"),
        ({"criteria": "null"}, "a rubric needs `criteria`"),
        ({"name": "tools"}, "whose name ends with _scores"),
        ({"name": "other_scores"}, "expected 'tools_scores'"),
        ({"value": "txt"}, "has no value: 'txt' (did you mean 'text'?"),
    ],
)
def test_a_wrong_rubric_is_named_with_its_remedy(home: Path, change: dict[str, str], fault: str) -> None:
    write_rubric(home, **change)
    with pytest.raises((PromptError, ConfigError)) as refused:
        Catalog(home).item("tools_scores")
    assert fault in str(refused.value)
    assert str(home / "prompts" / "rubrics" / "tools.md") in str(refused.value)


def test_only_a_dataset_with_a_rubric_can_be_judged(home: Path) -> None:
    home.mkdir()
    (home / "hub.toml").write_text("[datasets.tool_tests]\njudged = true\n")
    with pytest.raises(
        ConfigError, match=r"datasets\.tool_tests\.judged: tool_tests has no rubric: write .*tool_tests\.md"
    ):
        HubConfig.load(home / "hub.toml")


def test_scores_are_left_out_unless_enabled() -> None:
    names = Catalog().scores
    assert set(names) <= set(unselected(Catalog(), HubConfig()))
    judged = HubConfig(datasets={"tools": {"judged": True}, "instructions_scores": {"enabled": True}})
    assert set(names) - set(unselected(Catalog(), judged)) == {"tools_scores", "instructions_scores"}
    off = HubConfig(datasets={"tools": {"judged": True}, "tools_scores": {"enabled": False}})
    assert "tools_scores" in unselected(Catalog(), off)


def test_a_rubric_of_the_package_is_copied_to_be_changed(home: Path, called: Callable[..., Said]) -> None:
    assert called("new", "prompt", "tools_scores", home=home)[0] == 0
    assert Catalog(home).own_rubrics.keys() == {"tools"}


# --- scores ---


def test_every_item_is_scored_and_the_scale_is_used(scored: Path) -> None:
    store = Store(home=str(scored))
    rows = store.read_all("math_problems_scores")
    assert sorted(rows["source_id"]) == sorted(store.read_all("math_problems")["item_id"])
    counts = dict(rows["score"].value_counts().iter_rows())
    assert counts.keys() <= {1, 2, 3, 4, 5}
    assert len(counts) >= 4
    assert store.read_all("math_solutions_scores").height == 3 * COUNT
    assert rows["reason"].str.len_chars().min() > 3
    calls = store.read_all("generations", asset="math_problems_scores")
    assert set(calls["role"]) == {"judge"}


def test_scores_do_not_count_as_items(scored: Path) -> None:
    with open_live(Store(home=str(scored)), "dataset_items written_items") as connection:
        items, written = (
            dict(connection.execute(f"SELECT dataset, count(*) FROM {view} GROUP BY 1").fetchall())
            for view in ("dataset_items", "written_items")
        )
    assert items == {"math_problems": COUNT, "math_solutions": 3 * COUNT}
    assert written == items | {"math_problems_scores": COUNT, "math_solutions_scores": 3 * COUNT}


def test_the_messages_of_a_judge_have_problem_and_solution(store: Store) -> None:
    first = store.read("math_solutions_scores", BATCH).row(0, named=True)
    messages = sent_messages(store, BATCH, "math_solutions_scores", first["generation_id"])
    assert messages is not None
    solution = store.read("math_solutions", BATCH).filter(item_id=first["source_id"]).row(0, named=True)
    problem = store.read("math_problems", BATCH).filter(item_id=solution["source_id"]).row(0, named=True)
    assert problem["text"][:60] in messages[1]["content"]
    assert solution["text"][:60] in messages[1]["content"]


def test_why_full_shows_what_the_judge_was_asked(store: Store, called: Callable[..., Said]) -> None:
    first = store.read("math_problems_scores", BATCH).row(0, named=True)
    code, out, err = called("why", first["item_id"], "--full", home=store.root)
    assert code == 0, err
    assert "You edit a collection of mathematics problems" in out
    assert first["source_id"] in out
    assert "led to" in called("why", first["source_id"], home=store.root)[1]


def test_scores_are_a_view_and_go_stale_with_the_text(store: Store) -> None:
    rows = store.read("math_problems", BATCH)
    changed = rows["item_id"][0]
    text = pl.when(pl.col("item_id") == changed).then(pl.lit("Other")).otherwise("text")
    store.write("math_problems", BATCH, rows.with_columns(text=text.alias("text")))
    with open_live(store, "item_scores") as connection:
        query = "SELECT dataset, item_id, score, judges FROM item_scores WHERE dataset = 'math_problems'"
        found = connection.execute(query).fetchall()
    assert len(found) == COUNT - 1
    assert changed not in {item for _, item, _, _ in found}
    assert {judges for *_, judges in found} == {1}
    (check,) = [
        each
        for each in all_checks(store.catalog.datasets)["math_problems_scores"]
        if each.name == "source_has_not_changed"
    ]
    with open_live(store, check.sql) as connection:
        assert len(connection.execute(check.sql).fetchall()) == 1


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (pl.lit(6).alias("score"), "scores_are_on_the_scale"),
        (pl.lit(0).alias("hard"), "scores_are_on_the_scale"),
        (pl.lit(3).alias("score"), "the_judge_uses_the_scale"),
    ],
)
def test_a_planted_fault_is_found(store: Store, change: pl.Expr, check: str) -> None:
    name = "math_problems_scores"
    (planted,) = [each for each in all_checks(store.catalog.datasets)[name] if each.name == check]
    with open_live(store, planted.sql) as connection:
        assert planted.result(connection).passed
    rows = store.read(name, BATCH)
    store.write(name, BATCH, rows.with_columns(change))
    with open_live(store, planted.sql) as connection:
        assert not planted.result(connection).passed


def test_plan_counts_the_judge_and_nothing_is_asked_twice(store: Store, standin: StandinServer) -> None:
    environment = Environment(home=store.root, llm_url=standin.url, llm_model="standin")
    work = [(BATCH, {"math_problems_scores", "math_solutions_scores"})]
    planned = plan(environment, work).work
    assert [(each.role, each.ask) for each in planned] == [("judge", 0), ("judge", 0)]
    assert planned[0].requests == COUNT
    again = write_scores("math_problems_scores", store, LLM(url=standin.url), BATCH, ignore)
    assert again.tally.calls == 0
    assert sum(again.facts["scores"].values()) == COUNT
    assert 1 < again.facts["mean_score"] < 5
    assert {"mean_solvable", "mean_hard"} <= again.facts.keys()


def test_a_takedown_of_a_persona_takes_its_scores(store: Store) -> None:
    person = store.read("math_problems_scores", BATCH)["persona_id"][0]
    source = {"source": "a.jsonl", "path": "a.jsonl", "sha256": "ab", "rows": COUNT, "format": "jsonl"}
    numbers = {"first_row": 0, "first_byte": 0, "bytes": 9, "registered_at": datetime(2026, 5, 1)}
    put(store, "batches", BATCH, [{**source, **numbers}])
    takedown(store, Target("persona", (person,)))
    for name in ("math_problems_scores", "math_solutions_scores"):
        assert person not in set(store.read(name, BATCH)["persona_id"])
        kept = store.read("generations", BATCH, name)
        assert kept.height == store.read(name, BATCH).height > 0


def test_a_judged_dataset_is_scored_in_a_plain_run(home: Path, standin: StandinServer) -> None:
    hub = Hub(home, standin)
    (home / "hub.toml").write_text((home / "hub.toml").read_text() + "[datasets.tools]\njudged = true\n")
    batch = hub.pages("a", TOPICS[:1])
    assert hub.run(*batch, select=["+tools_scores"]) == {}
    assert hub.rows("tools_scores").height == hub.rows("tools").height > 0
    with hub.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("tools_scores"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert "score_histogram" in metadata
    assert sum(dict(metadata["scores"].value).values()) == hub.rows("tools").height
