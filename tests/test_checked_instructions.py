"""Instructions with constraints, their answers, and the view of answers that satisfy all of them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import polars as pl
import pytest
from hub import Hub

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.constraints import (
    CONFLICTS,
    KINDS,
    Constraint,
    Draw,
    are_compatible,
    choose,
    parameters,
    stated,
)
from personahub_assets.core.control_tokens import break_tokens
from personahub_assets.core.errors import ConfigError
from personahub_assets.core.records import Instruction, InstructionReply
from personahub_assets.defs.checks import all_checks
from personahub_assets.defs.metadata import charts
from personahub_assets.generation.answers import Answered
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.replies.degenerate import fault_of
from personahub_assets.generation.requests import Outcome, Task
from personahub_assets.quality.languages import is_in_language
from personahub_assets.releases.build import freeze
from personahub_assets.releases.extra_files import write_extra_files
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.runs.plan import plan
from personahub_assets.standin import words
from personahub_assets.standin.conditions import compose, read
from personahub_assets.standin.server import StandinServer
from personahub_assets.standin.source import read as source_of
from personahub_assets.steps.datasets import controlled, dataset_task, persona_requests, version, write_items
from personahub_assets.steps.inputs import Input
from personahub_assets.steps.instructions import instructions, outcomes, write_instruction_answers
from personahub_assets.steps.preview import PreviewRow, Variant
from personahub_assets.store.tables import Store
from personahub_assets.verification.verify_constraints import satisfied
from personahub_assets.warehouse.live import open_live

Once = Callable[[str, Callable[[Path], None]], Path]

PERSONAS = 120
BATCH = "many"
SETTINGS = '[datasets.instructions]\nmode = "constraints"\n[items]\nnear_duplicates = false\n'
INSTRUCTION = Instruction(category="planning", instruction="Plan the winter watch of our harbour office, please.")


def task(mode: str = "constraints", dataset: str = "instructions") -> Task:
    config = HubConfig.model_validate({"datasets": {dataset: {"mode": mode}}})
    return dataset_task(dataset, Catalog(), config, "m")


def ignore(_tally: object) -> None:
    """Watch nothing."""


# --- the choice ---


def test_conflicts_are_mutual_and_never_with_itself() -> None:
    assert len(KINDS) >= 15
    assert CONFLICTS.keys() == set(KINDS)
    for kind, others in CONFLICTS.items():
        assert kind not in others
        assert all(kind in CONFLICTS[other] for other in others)
    for pair in (
        ("upper_case", "lower_case"),
        ("json", "starts_with"),
        ("language", "contains"),
        ("words", "sentences"),
    ):
        assert not are_compatible(pair)


def test_chosen_constraints_are_compatible_and_spread_over_all_kinds() -> None:
    chosen = [choose("instructions", f"p{number}", 0) for number in range(2_000)]
    assert chosen == [choose("instructions", f"p{number}", 0) for number in range(2_000)]
    assert {len(each) for each in chosen} == {1, 2, 3}
    assert all(are_compatible(constraint.kind for constraint in each) for each in chosen)
    counts = pl.Series([constraint.kind for each in chosen for constraint in each]).value_counts()
    assert counts.height == len(KINDS)
    assert counts["count"].min() > 30  # type: ignore[operator]
    assert choose("instructions", "p1", 0) != choose("instructions", "p1", 1)


COMBINATIONS = [kinds for size in (1, 2, 3) for kinds in combinations(KINDS, size) if are_compatible(kinds)]


def test_all_combinations_can_be_satisfied_and_are_read_from_their_sentences() -> None:
    """A writer that sees only the sentences satisfies every combination that can be chosen, as the verifier says."""
    assert len(COMBINATIONS) > 1_000
    for kinds in COMBINATIONS:
        own = [parameters(kind, Draw("test", *kinds)) for kind in kinds]
        assert break_tokens(stated(own)) == stated(own)  # or the request would ask for something else
        text = f"Explain to a pilot how the tide table of Bremen is read.\n\n{stated(own)}"
        source = source_of([{"role": "user", "content": f"<data>\n{text}\n</data>"}], text)
        conditions = read(source.data)
        assert list(conditions) == [kind for kind in KINDS if kind in kinds], text
        answer = compose(conditions, source)
        results = satisfied(answer, [each.model_dump() for each in own], is_in_language)
        assert all(results), (own, results, answer)


# --- requests ---


def test_a_request_states_its_constraints_and_the_item_keeps_them() -> None:
    asked, pairs = task(), [(f"p{number}", "A pilot on the Weser") for number in range(40)]
    requests, plain = (list(persona_requests(each, pairs, range(2))) for each in (asked, task("plain")))
    for request, without in zip(requests, plain, strict=True):
        own = choose("instructions", request.input_id, request.sample)
        assert stated(own) in request.messages[-1]["content"]
        assert request.values == without.values
        assert request.key != without.key
        assert "added to the end" not in without.messages[-1]["content"]
        item = controlled(asked, request, INSTRUCTION)
        assert item.model_dump()["constraints"] == [each.model_dump() for each in own]
        assert item.model_dump()["instruction"] == f"{INSTRUCTION.instruction}\n\n{stated(own)}"
        assert item.as_text() == f"Category: planning\nInstruction: {item.model_dump()['instruction']}"


def test_a_preview_shows_the_instruction_with_its_constraints() -> None:
    asked = task()
    (request,) = persona_requests(asked, [("p", "A pilot on the Weser")])
    outcome = Outcome(request.key, "accepted", INSTRUCTION.model_dump_json())
    row = PreviewRow(
        Variant("own", asked), Input(None, "p", "A pilot on the Weser"), Answered(request, outcome, is_sent=True)
    )
    assert (row.answer or "").endswith(stated(choose("instructions", "p", 0)))


def test_the_plain_mode_is_as_before_whatever_a_model_adds() -> None:
    (request,) = persona_requests(task("plain"), [("p", "A pilot on the Weser")])
    own = INSTRUCTION.model_copy(update={"constraints": choose("a")})
    assert controlled(task("plain"), request, own) == INSTRUCTION
    assert "constraints" not in INSTRUCTION.model_dump()
    assert "onstraint" not in json.dumps(task().schema["properties"])
    catalog = Catalog()
    settings = HubConfig.model_validate({"datasets": {"instructions": {"mode": "constraints"}}}).dataset("instructions")
    assert version(catalog, "instructions", settings) != version(
        catalog, "instructions", HubConfig().dataset("instructions")
    )


def test_other_datasets_have_no_such_mode() -> None:
    with pytest.raises(ConfigError, match=r"datasets.tools.mode: tools has no mode 'constraints' \(valid: plain"):
        task(dataset="tools")


# --- a home ---


@pytest.fixture(scope="session")
def many(once: Once) -> Path:
    """A home with instructions and answers, written by the steps."""

    def make(folder: Path) -> None:
        home = folder / "hub"
        home.mkdir()
        (home / "hub.toml").write_text(SETTINGS)
        store = Store(home=str(home))
        jobs = list(product(words.OCCUPATIONS[:30], words.PLACES[:10]))[:PERSONAS]
        texts = [f"A {job} from {town} who keeps a record of every visitor." for job, town in jobs]
        rows = [
            {"persona_id": f"p{number:03d}", "persona": text, "root_id": f"p{number:03d}"}
            for number, text in enumerate(texts)
        ]
        same = {"batch": BATCH, "origin": "imported", "hop": 0}
        people = pl.DataFrame([{**row, **same} for row in rows])
        store.write("personas", BATCH, pl.concat([store.read("personas", BATCH), people], how="diagonal_relaxed"))
        with StandinServer() as server:
            llm = LLM(url=server.url)
            write_items("instructions", store, llm, BATCH, ignore)
            write_instruction_answers("instruction_answers", store, llm, BATCH, ignore)

    return once("checked", make) / "hub"


@pytest.fixture
def store(many: Path, tmp_path: Path) -> Store:
    return Store(home=str(shutil.copytree(many, tmp_path / "hub")))


def test_most_constraints_hold_and_the_view_has_the_answers_for_which_all_do(many: Path) -> None:
    store = Store(home=str(many))
    rows = store.read_all("instruction_answers")
    assert rows.height == PERSONAS
    for row in rows.iter_rows(named=True):
        assert row["satisfied"] == satisfied(row["answer"], row["constraints"], is_in_language)
        assert row["all_satisfied"] == all(row["satisfied"])
        assert row["instruction"].endswith(stated(Constraint(**each) for each in row["constraints"]))
    facts = outcomes(store, "instruction_answers", BATCH)
    assert facts["answers_checked"] == PERSONAS
    assert 0.75 < facts["all_satisfied_share"] < 0.97  # the stand-in overlooks one in three of twenty answers
    assert len(facts["satisfied_by_kind"]) > 15
    assert "satisfied_shares" in charts.satisfied(facts["satisfied_by_kind"])
    with open_live(store, "instructions_verified") as connection:
        verified = connection.execute("SELECT item_id, answer, len(constraints) FROM instructions_verified").fetchall()
    good = rows.filter("all_satisfied")
    assert {each[:2] for each in verified} == set(good.select("source_id", "answer").iter_rows())
    assert {each[2] for each in verified} == {1, 2, 3}


def test_a_ready_question_says_which_kinds_are_hard(many: Path) -> None:
    from personahub_assets.core import project_files

    query = project_files.sql_files("analysis")["constraints_by_kind"]
    store = Store(home=str(many))
    with open_live(store, query) as connection:
        shares = {row[0]: row[2] for row in connection.execute(query).fetchall()}
    assert shares == {
        kind: round(share, 3)
        for kind, share in outcomes(store, "instruction_answers", BATCH)["satisfied_by_kind"].items()
    }


def test_a_second_run_and_its_plan_need_no_call(store: Store, standin: StandinServer) -> None:
    environment = Environment(home=store.root, llm_url=standin.url, llm_model="standin")
    assert plan(environment, [(BATCH, {"instructions", "instruction_answers"})]).total.ask == 0
    llm, before = LLM(url=standin.url), store.read_all("instruction_answers")
    assert write_items("instructions", store, llm, BATCH, ignore).tally.calls == 0
    assert write_instruction_answers("instruction_answers", store, llm, BATCH, ignore).tally.calls == 0
    assert store.read_all("instruction_answers").equals(before)
    (store.root / "hub.toml").write_text("")
    again = Store(home=str(store.root))
    assert plan(environment, [(BATCH, {"instructions"})]).total.ask == PERSONAS
    assert again.config.dataset("instructions").mode == "plain"


def test_the_plain_mode_is_answered_too_and_nothing_is_verified(store: Store, standin: StandinServer) -> None:
    (store.root / "hub.toml").write_text("[datasets.instructions]\nshare = 0.1\n")
    plain, llm = Store(home=str(store.root)), LLM(url=standin.url)
    write_items("instructions", plain, llm, BATCH, ignore)
    done = write_instruction_answers("instruction_answers", plain, llm, BATCH, ignore)
    rows = plain.read_all("instruction_answers")
    assert 0 < rows.height < PERSONAS / 4
    assert "all_satisfied_share" not in done.facts
    assert all(len(row[0]) == len(row[1]) == 0 for row in rows.select("constraints", "satisfied").iter_rows())
    assert rows["all_satisfied"].null_count() == rows.height
    with open_live(plain, "instructions_verified") as connection:
        assert connection.execute("SELECT count(*) FROM instructions_verified").fetchone() == (0,)
    assert failing(plain) == set()


def failing(store: Store) -> set[str]:
    checks = [each.filled(store.config) for each in all_checks()["instruction_answers"]]
    with open_live(store, " ".join(check.sql for check in checks)) as connection:
        return {check.name for check in checks if not check.result(connection).passed}


ONE = Constraint(kind="no_commas").model_dump()


@pytest.mark.parametrize(
    ("columns", "check"),
    [
        ({"satisfied": [True]}, "satisfied_fits_the_constraints"),
        ({"all_satisfied": None}, "satisfied_fits_the_constraints"),
        ({"all_satisfied": False}, "satisfied_fits_the_constraints"),
        ({"constraints": [ONE, ONE], "satisfied": [True, True]}, "constraints_are_few_and_different"),
        ({"satisfied": [False, False], "all_satisfied": False}, "every_kind_holds_at_times"),
    ],
)
def test_a_planted_fault_is_found(many: Path, tmp_path: Path, columns: dict[str, object], check: str) -> None:
    good = {
        "constraints": [ONE, Constraint(kind="no_digits").model_dump()],
        "satisfied": [True, True],
        "all_satisfied": True,
    }
    store = Store(home=str(tmp_path))
    row = Store(home=str(many)).read_all("instruction_answers").head(1).to_dicts()[0]
    for own, expected in ((good, set()), ({**good, **columns}, {check})):
        rows = [{**row, "item_id": f"i{number}", **own} for number in range(20)]
        store.write("instruction_answers", BATCH, pl.DataFrame(rows, store.columns("instruction_answers")))
        own_checks = [each for each in all_checks()["instruction_answers"] if not each.name.startswith(SHARED)]
        checks = [each.filled(store.config) for each in own_checks]
        with open_live(store, " ".join(each.sql for each in checks)) as connection:
            assert {each.name for each in checks if not each.result(connection).passed} == expected


SHARED = ("every_request", "has_its", "no_item", "no_text", "one_item", "persona_in", "source_has", "most_requests")


def test_the_graph_makes_answers_and_the_view(once: Once, standin: StandinServer) -> None:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        (hub.home / "hub.toml").write_text(f"{SETTINGS}[related_personas]\nhops = 0\n")
        hub.personas("people", [f"A {job} who trades recipes with pilots." for job in words.OCCUPATIONS[:4]])
        assert hub.run(select=["+instruction_answers", "warehouse"]) == {}

    hub = Hub(once("checked_graph", make) / "hub", standin)
    assert hub.rows("instruction_answers").height == hub.rows("instructions").height == 4
    with open_live(hub.store, "instructions_verified") as connection:
        (count,) = connection.execute("SELECT count(*) FROM instructions_verified").fetchone() or (0,)
    assert count == hub.rows("instruction_answers")["all_satisfied"].sum()
    assert hub.store.catalog.sources("instruction_answers") == ["instructions"]


def test_a_home_with_instructions_of_its_own_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "instructions.md").write_text(
        "---\nname: instructions\ndescription: A request.\nmax_tokens: 99\nfields:\n"
        "  wish: {type: string, min: 3, max: 60, description: Wish}\n---\nYou invent wishes.\n---\n{{ persona }}\n"
    )
    with pytest.raises(ConfigError, match="instructions of this home has no field instruction"):
        instructions(Store(home=str(tmp_path)), BATCH)


def test_placeholders_that_were_asked_for_are_no_blanks_of_a_form() -> None:
    reply = InstructionReply(response="Dear [name], come to [place] with the papers of the boat before the frost.")
    asked = [{"role": "user", "content": stated([Constraint(kind="placeholders", relation="exactly", number=2)])}]
    assert fault_of(reply, asked) is None  # type: ignore[arg-type]
    assert fault_of(reply, [{"role": "user", "content": "Write a note."}]) is not None


# --- the release ---


def test_a_release_contains_the_verifier_which_runs_on_its_rows(store: Store, tmp_path: Path) -> None:
    for asset in ("instructions", "instruction_answers"):
        calls = store.read("generations", BATCH, asset).with_columns(model=pl.lit("tiny"))
        store.write("generations", BATCH, calls, asset)
    store.paths.writer.write_text("model")  # rows of the stand-in are not released
    release = freeze(store, ReleaseSpec("checked", ("personas", "instruction_answers"))).path
    assert {"verify_constraints.py", "languages.py"} <= json.loads((release / "manifest.json").read_text())[
        "files"
    ].keys()
    (rows,) = (release / "data" / "instruction_answers").iterdir()
    run = verified(release, str(rows))
    assert (run.returncode, run.stderr) == (0, "")
    assert "no_commas" in run.stdout
    table, lines, own = pl.read_parquet(rows), tmp_path / "rows.jsonl", tmp_path / "own.jsonl"
    table.select("item_id", "answer", "constraints", "satisfied").write_ndjson(lines)
    assert verified(release, str(lines)).stdout == run.stdout
    table.select("item_id", "answer").write_ndjson(own)
    assert verified(release, str(lines), "--answers", str(own)).stdout == run.stdout
    table.select("item_id", "constraints", pl.lit("no. Never 1, not").alias("answer"), "satisfied").write_ndjson(lines)
    changed = verified(release, str(lines))
    assert changed.returncode == 1
    assert "rows store another result in satisfied" in changed.stdout


def verified(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(folder / "verify_constraints.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


def test_a_release_without_constraints_has_no_verifier(store: Store, tmp_path: Path) -> None:
    write_extra_files(store, ["personas", "tools"], tmp_path)
    assert not (tmp_path / "verify_constraints.py").exists()
