"""Solutions of several solvers, compared: what is verified is right, although many solutions are wrong."""

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from hub import Hub

from personahub_assets.core import project_files
from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import MathSolution, ProgramSolution
from personahub_assets.defs.checks import all_checks
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Server, Task
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import selected
from personahub_assets.standin import words
from personahub_assets.standin.puzzles import solved
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.agreement import write_agreement
from personahub_assets.steps.datasets import dataset_tasks, write_items
from personahub_assets.steps.sent import sent_messages
from personahub_assets.steps.solutions import program_answer, solution, unfenced, write_solutions
from personahub_assets.store.tables import Store
from personahub_assets.verification.equality import equal
from personahub_assets.verification.sandbox import run_program
from personahub_assets.warehouse.live import open_live

Called = Callable[..., tuple[int, str, str]]
Once = Callable[[str, Callable[[Path], None]], Path]

PROBLEMS = 330
FAULTS = "wrong_answers=0.3,seed=11"
BATCH = "many"
TARGETS = """[datasets.reasoning_problems.targets.kind]
logical = 0.5
spatial = 0.3
trick = 0.2
"""


def personas(count: int) -> pl.DataFrame:
    """Personas that were kept, as `personas` has them."""
    pairs = list(product(words.OCCUPATIONS[:30], words.PLACES[:40]))[:count]
    return pl.DataFrame(
        [
            {
                "batch": BATCH,
                "persona_id": f"p{number:04d}",
                "persona": f"A {job} from {place} who keeps a record of every tide and every visitor.",
                "origin": "imported",
                "hop": 0,
                "root_id": f"p{number:04d}",
            }
            for number, (job, place) in enumerate(pairs)
        ]
    )


@pytest.fixture(scope="session")
def many(once: Once) -> Path:
    """A home with problems and their solutions, three in ten of which are wrong."""

    def make(folder: Path) -> None:
        home = folder / "hub"
        home.mkdir()
        (home / "hub.toml").write_text(f"[datasets.reasoning_problems]\nshare = 0.15\n{TARGETS}")
        store = Store(home=str(home))
        rows = personas(PROBLEMS)
        empty = pl.DataFrame(schema=store.columns("personas"))
        store.write("personas", BATCH, pl.concat([empty, rows], how="diagonal_relaxed"))
        with StandinServer(faults=FAULTS) as server:
            llm = LLM(url=server.url)
            write_items("math_problems", store, llm, BATCH, lambda _tally: None)
            write_solutions("math_solutions", store, llm, BATCH, lambda _tally: None)
            write_agreement("math_agreement", store, llm, BATCH, lambda _tally: None)
            write_items("reasoning_problems", store, llm, BATCH, lambda _tally: None)
            write_solutions("reasoning_solutions", store, llm, BATCH, lambda _tally: None)
            write_agreement("reasoning_agreement", store, llm, BATCH, lambda _tally: None)
            assert server.stats()["faults"]["wrong_answers"] > PROBLEMS / 2

    return once("verified", make) / "hub"


@pytest.fixture
def store(many: Path, tmp_path: Path) -> Store:
    return Store(home=str(shutil.copytree(many, tmp_path / "hub")))


def is_right(problem: str, answer: str) -> bool:
    puzzle = solved(problem)
    assert puzzle is not None
    return equal(answer, puzzle.answer).is_equal


def test_what_is_verified_is_right_although_three_in_ten_answers_are_wrong(many: Path) -> None:
    store = Store(home=str(many))
    problems = dict(store.read_all("math_problems", ["item_id", "problem"]).iter_rows())
    solutions = store.read_all("math_solutions")
    assert solutions.height == 3 * PROBLEMS
    assert solutions.group_by("variant", "style").len().sort("variant").rows() == [
        ("program", "program", PROBLEMS),
        ("reasoning", "reasoning", PROBLEMS),
        ("reasoning-warm", "reasoning", PROBLEMS),
    ]
    assert set(solutions.filter(style="program")["outcome"]) == {"ran"}
    wrong = [
        not is_right(problems[row[0]], row[1]) for row in solutions.select("source_id", "final_answer").iter_rows()
    ]
    assert 0.25 < sum(wrong) / len(wrong) < 0.35
    with open_live(store, "math_verified") as connection:
        verified = connection.execute("SELECT problem, answer, votes, share FROM math_verified").fetchall()
    assert PROBLEMS * 0.7 < len(verified) < PROBLEMS * 0.85  # .784 of them have two right answers
    wrong_verified = [problem for problem, answer, _, _ in verified if not is_right(problem, answer)]
    assert len(wrong_verified) <= 0.01 * len(verified)
    assert {votes for _, _, votes, _ in verified} == {2, 3}


def test_the_metadata_says_the_rate(store: Store) -> None:
    again = write_agreement("math_agreement", store, LLM(), BATCH, lambda _tally: None)
    facts = again.facts
    assert facts["problems"] == PROBLEMS
    assert facts["verified"] == store.read_all("math_agreement")["verified"].sum()
    assert sum(facts["votes"].values()) == PROBLEMS
    assert abs(facts["estimated_error_rate"] - 0.3) < 0.05
    assert facts["answers"] == {"stated": 2 * PROBLEMS, "ran": PROBLEMS}


def test_a_ready_question_says_how_often_each_solver_agrees(many: Path) -> None:
    store, query = Store(home=str(many)), project_files.sql_files("analysis")["agreement_by_solver"]
    with open_live(store, query) as connection:
        rows = connection.execute(query).fetchall()
    assert [row[0] for row in rows] == ["program", "reasoning", "reasoning-warm"]
    # Of the verified problems with three solutions that are right in seven of ten cases, .82 agree.
    assert all(75 < row[6] < 95 for row in rows)


def test_checks_hold_and_find_what_changed(store: Store) -> None:
    checks = [
        check.filled(store.config)
        for asset in ("math_solutions", "math_agreement")
        for check in all_checks()[asset]
        if check.name != "no_text_fills_the_dataset"
    ]
    assert len(checks) >= 9
    sql = " ".join(check.sql for check in checks) + " math_verified"
    with open_live(store, sql) as connection:
        assert [check.name for check in checks if not check.result(connection).passed] == []
        (before,) = connection.execute("SELECT count(*) FROM math_verified").fetchone() or (0,)
    rows = store.read("math_problems", BATCH)
    verified = store.read_all("math_agreement").filter("verified")["source_id"][0]
    anew = pl.when(pl.col("item_id") == verified).then(pl.lit("Another problem")).otherwise("text").alias("text")
    store.write("math_problems", BATCH, rows.with_columns(anew))
    with open_live(store, sql) as connection:
        assert {check.name for check in checks if not check.result(connection).passed} == {"source_has_not_changed"}
        # The old answer is not that of the new problem.
        assert connection.execute("SELECT count(*) FROM math_verified").fetchone() == (before - 1,)


@pytest.mark.parametrize(
    ("table", "change", "check"),
    [
        ("math_agreement", pl.lit(4, pl.Int32).alias("votes"), "votes_are_counted"),
        ("math_agreement", pl.lit(None, pl.String).alias("answer"), "votes_are_counted"),
        ("math_agreement", pl.lit("0").alias("source_hash"), "every_solved_problem_is_compared"),
        ("math_agreement", pl.lit(value=False).alias("verified"), "solvers_mostly_agree"),
        ("math_solutions", pl.lit("0").alias("source_hash"), "source_has_not_changed"),
    ],
)
def test_a_planted_fault_is_found(store: Store, table: str, change: pl.Expr, check: str) -> None:
    store.write(table, BATCH, store.read(table, BATCH).with_columns(change))
    (planted,) = [each.filled(store.config) for each in all_checks()[table] if each.name == check]
    with open_live(store, planted.sql) as connection:
        assert not planted.result(connection).passed


def test_reasoning_problems_are_verified_alike(many: Path) -> None:
    store = Store(home=str(many))
    problems = store.read_all("reasoning_problems")
    assert store.read_all("reasoning_solutions").height == 3 * problems.height
    with open_live(store, "reasoning_verified") as connection:
        verified = connection.execute("SELECT problem, answer FROM reasoning_verified").fetchall()
    assert len(verified) > 0.6 * problems.height
    assert sum(not is_right(*row) for row in verified) <= 0.01 * len(verified)


def test_kinds_have_the_shares_of_hub_toml(many: Path, standin: StandinServer, called: Called) -> None:
    store = Store(home=str(many))
    kinds = store.read_all("reasoning_problems")["kind"]
    shares = {kind: count / len(kinds) for kind, count in kinds.value_counts().iter_rows()}
    wanted = {"logical": 0.5, "spatial": 0.3, "trick": 0.2}
    assert shares.keys() == wanted.keys()
    assert all(abs(shares[kind] - target) < 0.15 for kind, target in wanted.items())
    from personahub_assets.core.config import Environment

    environment = Environment(home=many, llm_url=standin.url, llm_model="standin")
    made = plan(environment, [(BATCH, {"reasoning_problems"})])
    assert made.total.ask == 0
    assert [(gap["dataset"], gap["field"], gap["value"], gap["target"]) for gap in made.as_json()["gaps"]] == [
        ("reasoning_problems", "kind", "logical", 0.5),
        ("reasoning_problems", "kind", "spatial", 0.3),
        ("reasoning_problems", "kind", "trick", 0.2),
    ]
    assert any("logical" in note and "target 50 %" in note for note in made.notes)


@pytest.mark.parametrize(
    ("targets", "fault"),
    [
        ("kind = {logic = 1.0}", "'logic'"),
        ("problem = {a = 1.0}", "problem is no choice"),
        ("kind = {logical = 0.0}", "greater than 0"),
    ],
)
def test_wrong_targets_are_named(home: Path, targets: str, fault: str) -> None:
    from personahub_assets.core.errors import ConfigError
    from personahub_assets.steps.datasets import dataset_task

    home.mkdir()
    (home / "hub.toml").write_text(f"[datasets.reasoning_problems.targets]\n{targets}\n")
    store = Store(home=str(home))
    with pytest.raises(ConfigError, match=fault):
        dataset_task("reasoning_problems", store.catalog, store.config, "m")


def test_views_of_other_columns_are_left_out(home: Path) -> None:
    (home / "prompts").mkdir(parents=True)
    text = "---\nname: math_problems\ndescription: Mine.\nfields:\n  sum: {type: string, max: 60, description: A sum}\n"
    (home / "prompts" / "math_problems.md").write_text(f"{text}---\nWrite a sum.\n---\n{{{{ persona }}}}\n")
    with open_live(Store(home=str(home)), "math_problems reasoning_verified math_verified") as connection:
        assert connection.execute("SELECT count(sum) FROM math_problems").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM reasoning_verified").fetchone() == (0,)


def test_a_higher_share_verifies_less_without_a_call(store: Store) -> None:
    all_agree = store.read_all("math_agreement").filter(pl.col("votes") == 3).height
    store.paths.config.write_text("[verification]\nmin_share = 0.9\n")
    write_agreement("math_agreement", store, LLM(), BATCH, lambda _tally: None)
    assert store.read_all("math_agreement")["verified"].sum() == all_agree


def test_the_judge_is_asked_about_undecided_pairs_only_and_once(store: Store, standin: StandinServer) -> None:
    store.paths.config.write_text("[verification]\njudge = true\n")
    rows = store.read("math_solutions", BATCH)
    # Words that no rule compares: two solvers say the same in another order, the third says something else.
    said = pl.col("sample").replace_strict({0: "the tall red tower", 1: "the red tall tower", 2: "a green hut"})
    few = pl.col("source_id").is_in(rows["source_id"].unique().sort().head(3).implode())
    store.write("math_solutions", BATCH, rows.filter(few).with_columns(final_answer=said))
    assert plan_of(store, standin) == {"judge": store_pairs(store)}
    done = write_agreement("math_agreement", store, LLM(url=standin.url), BATCH, lambda _tally: None)
    agreed = store.read_all("math_agreement")
    assert set(agreed["judged"]) == {3}
    assert set(agreed["votes"]) == {2}
    assert agreed["verified"].all()
    calls = store.read_all("generations", asset="math_agreement")
    assert set(calls["role"]) == {"judge"}
    assert calls.height == store_pairs(store)
    messages = sent_messages(store, BATCH, "math_agreement", calls["generation_id"][0])
    assert messages is not None
    assert "You compare two final answers" in messages[0]["content"]
    assert "tower" in messages[1]["content"]
    assert done.tally is not None
    again = write_agreement("math_agreement", store, LLM(url=standin.url), BATCH, lambda _tally: None)
    assert again.tally is not None
    assert (done.tally.calls, again.tally.calls) == (calls.height, 0)
    assert plan_of(store, standin) == {"judge": 0}


def store_pairs(store: Store) -> int:
    return 3 * store.read("math_solutions", BATCH)["source_id"].n_unique()


def plan_of(store: Store, standin: StandinServer) -> dict[str, int]:
    from personahub_assets.core.config import Environment

    environment = Environment(home=store.root, llm_url=standin.url, llm_model="standin")
    return {work.role: work.ask for work in plan(environment, [(BATCH, {"math_agreement"})]).work}


def test_a_plain_run_leaves_solutions_out_until_they_are_enabled(home: Path, standin: StandinServer) -> None:
    from personahub_assets.definitions import build, unselected

    hub = Hub(home, standin)

    def chosen(*select: str) -> set[str]:
        optional = unselected(hub.store.catalog, hub.store.config)
        keys = selected(build(hub.environment), list(select), hub.store.catalog, optional)
        return {key.to_user_string() for key in keys}

    both = {"math_solutions", "math_agreement"}
    assert not both & chosen()
    assert not both & chosen("+warehouse") | (both & chosen("math_problems+"))
    assert chosen("math_verified") == both
    assert {*both, "math_problems", "text_personas"} <= chosen("+math_verified")
    (home / "hub.toml").write_text("[datasets.math_solutions]\nenabled = true\n")
    assert both <= chosen() & chosen("math_problems+")


@pytest.mark.parametrize(
    ("program", "answer", "outcome"),
    [
        ("print(6 * 7)", "42", "ran"),
        ("print('working')\nprint('1/2')\n", "1/2", "ran"),
        ("```python\nprint(3)\n```", "3", "ran"),
        ("total = 12345", None, "no_answer"),
        ("print('9' * 500)", None, "no_answer"),
        ("print(1 / 0)", None, "error"),
        ("import socket\nprint(1)", None, "unsupported"),
        ("while True: pass", None, "error"),
    ],
)
def test_the_last_line_of_a_program_is_its_answer(program: str, answer: str | None, outcome: str) -> None:
    task = Task("math_solutions", None, ProgramSolution, "m")  # type: ignore[arg-type]
    row = solution(MathSolution, run_program, task, ProgramSolution(program=program))
    assert isinstance(row, MathSolution)
    assert (row.final_answer, row.outcome) == (answer, outcome)
    assert (row.detail is None) == (outcome == "ran")
    assert row.solution == unfenced(program.strip())
    assert program_answer(run_program(unfenced(program)))["outcome"] == outcome


def test_fewer_than_three_solutions_are_refused(home: Path) -> None:
    from personahub_assets.core.errors import ConfigError
    from personahub_assets.steps.datasets import samples_of

    home.mkdir()
    store = Store(home=str(home))
    assert samples_of("math_solutions", store.catalog, store.config) == 3
    config = HubConfig(datasets={"math_solutions": {"samples": 2}})
    with pytest.raises(ConfigError, match="needs 3 or more"):
        samples_of("math_solutions", store.catalog, config)
    roles = {"solver": {"temperature": 0.1, "variants": [{"style": "program"}, {"model": "b"}, {}, {}]}}
    config = HubConfig(roles=roles)
    assert samples_of("math_solutions", store.catalog, config) == 4
    tasks = dataset_tasks("math_solutions", store.catalog, config, lambda _role, variant: Server(variant))
    assert [(task.variant, task.prompt.name, task.prompt.temperature) for task in tasks] == [
        ("program", "math_solutions.program", 0.1),
        ("2", "math_solutions", 0.1),
        ("3", "math_solutions", 0.1),
        ("4", "math_solutions", 0.1),
    ]
