"""Views as configs of a release, and rows in the formats that trainers read."""

from typing import Any

import polars as pl
import pytest
from answered import digest, write_answers
from hypothesis import given
from hypothesis import strategies as st
from written import calls, problem, put

from personahub_assets.core.errors import ConfigError, StoreError
from personahub_assets.core.exchange import Exchange, pieces
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import Release, count_rows_of, verify
from personahub_assets.releases.formats import FORMATS
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store

SAID = "A lamp turns once in xx seconds – 2."


@pytest.fixture
def solved(store: Store) -> Store:
    write_answers(store)
    return store


def order(store: Store, *select: str, form: str | None = None, where: tuple[str, ...] = ()) -> ReleaseSpec:
    return ReleaseSpec.of("v1", select, where, format=form, relations=relations(store))


def rows(made: Release, config: str) -> list[dict[str, Any]]:
    return pl.read_parquet(made.data(config), glob=False).sort("item_id").to_dicts()


def left_out(made: Release, config: str) -> dict[str, int]:
    return {reason: count for reason, count in made.manifest["configs"][config]["left_out"].items() if count}


# --- views ---


def test_a_view_is_a_config_beside_datasets(solved: Store) -> None:
    made = freeze(solved, order(solved, "personas", "math_verified", "tools_verified", "tools_unique"))
    assert made.rows == {"personas": 9, "math_verified": 4, "tools_verified": 2, "tools_unique": 5}
    first = rows(made, "math_verified")[2]
    assert list(first)[:4] == ["persona", "text", "topic", "difficulty"]
    assert (first["problem"], first["answer"], first["votes"]) == (SAID, "2", 2)
    columns = {row["column"]: row["meaning"] for row in made.manifest["configs"]["math_verified"]["columns"]}
    assert columns["answer"] == "Answer that they agree on"
    assert count_rows_of(made, ["pa0"]) == 6  # with its rival
    assert verify(made) == []
    texts = [(row["config"], row["dataset"], row["model"], row["rows"]) for row in made.manifest["texts"]]
    assert texts == [("math_verified", "math_solutions", "tiny", 4), ("tools_verified", "tools", "tiny", 2)]
    card = (made.path / "README.md").read_text("utf-8")
    assert "| `math_verified` | `math_solutions` | `tiny` | 4 |" in card
    assert {(each["config"], each["name"]) for each in made.manifest["prompts"]} >= {
        ("math_verified", "math_solutions")
    }


def test_a_format_with_the_prompts_of_a_source_names_their_writers(solved: Store) -> None:
    made = freeze(solved, order(solved, "math_solutions", form="messages"))
    assert [(row["dataset"], row["model"]) for row in made.manifest["texts"]] == [("math_problems", "tiny")]


def test_the_default_has_no_views(solved: Store) -> None:
    assert set(order(solved).configs) == {"personas", *solved.catalog.datasets}


def test_rows_of_a_view_go_with_the_items_that_are_left_out(solved: Store) -> None:
    same = {"dataset": "math_problems", "stage": "semantic", "generation_id": "g", "text_hash": "t", "admission": 1}
    decided = [{**same, "item_id": "ima2", "persona_id": "pa2", "keeper_id": "ima0", "similarity": 0.93}]
    put(solved, "item_decisions", "a", decided, "math_problems-semantic")
    match = {"test_file": "t.jsonl", "test_row": 1, "method": "long_run", "similarity": 1.0, "passage": "x"}
    put(solved, "contaminated", "a", [{**match, "dataset": "math_problems", "item_id": "ima3"}], "math_problems")
    made = freeze(
        solved, order(solved, "math_verified", where=("votes = 2 AND length(solution) > 3 AND model = 'tiny'",))
    )
    assert [row["item_id"] for row in rows(made, "math_verified")] == ["ima0", "ima1"]
    assert left_out(made, "math_verified") == {}  # the view does not have the other two
    unique = freeze(
        solved, ReleaseSpec.of("v2", ["math_problems_unique", "math_problems"], relations=relations(solved))
    )
    assert unique.rows == {"math_problems": 7, "math_problems_unique": 7}
    assert left_out(unique, "math_problems") == {"contaminated": 1, "near_duplicate": 1}


def test_a_view_without_rows_is_said_to_be_empty(store: Store) -> None:
    made = freeze(store, order(store, "tools", "math_verified"))
    assert list(made.manifest["empty"]) == ["math_verified"]
    with pytest.raises(StoreError, match="would be empty: math_verified: there are no rows"):
        freeze(store, ReleaseSpec.of("v2", ["math_verified"], relations=relations(store)))


# --- formats ---

ANSWERED = "reasoning 2-0: {}\n\nFinal answer: 2"
USER, ASSISTANT = {"role": "user", "content": SAID}, {"role": "assistant", "content": ANSWERED}


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("messages", {"messages": [USER, ASSISTANT]}),
        ("prompt_completion", {"prompt": [USER], "completion": [ASSISTANT]}),
        ("prompt", {"prompt": [USER], "answer": "2"}),
        (
            "sharegpt",
            {"conversations": [{"from": "human", "value": SAID}, {"from": "gpt", "value": ANSWERED}]},
        ),
        ("alpaca", {"instruction": SAID, "input": "", "output": ANSWERED}),
    ],
)
def test_verified_problems_in_every_format(solved: Store, form: str, expected: dict[str, Any]) -> None:
    made = freeze(solved, order(solved, "math_verified", form=form))
    found = {row["item_id"]: row for row in rows(made, "math_verified")}
    ids = {"item_id": "ima2", "persona_id": "pa2", "batch": "a", "generation_id": "gma2"}
    assert found["ima2"] == {**expected, **ids}
    assert made.rows == {"math_verified": 4}
    card = (made.path / "README.md").read_text("utf-8")
    assert f"The rows are in the format `{form}`." in card
    assert FORMATS[form].loading in card
    assert "| `math_problems` | verified | 4 | 80.0 % | 0.6667 |" in card
    assert set(made.manifest["configs"]["math_verified"]["columns"][0]) == {"column", "type", "meaning"}
    assert verify(made) == []


def test_preferences_are_an_answer_that_agrees_and_one_that_does_not(solved: Store) -> None:
    made = freeze(solved, order(solved, "math_solutions", form="preference"))
    found = rows(made, "math_solutions")
    assert [row["item_id"] for row in found] == ["is0-0", "is1-0", "is2-0", "is3-0"]
    rejected = [{"role": "assistant", "content": "reasoning 2-2: {}\n\nFinal answer: 3"}]
    assert found[2]["prompt"] == [USER]
    assert (found[2]["chosen"], found[2]["rejected"]) == ([ASSISTANT], rejected)
    assert (found[2]["score_chosen"], found[2]["score_rejected"]) == (1.0, 0.0)
    assert left_out(made, "math_solutions") == {"not_in_format": 11}


def test_a_derived_dataset_takes_the_prompt_from_its_source(solved: Store) -> None:
    same = {"dataset": "math_problems", "stage": "semantic", "generation_id": "g", "text_hash": "t", "admission": 1}
    decided = [{**same, "item_id": "ima2", "persona_id": "pa2", "keeper_id": "ima0", "similarity": 0.93}]
    put(solved, "item_decisions", "a", decided, "math_problems-semantic")
    made = freeze(solved, order(solved, "math_solutions", "tool_implementations", form="messages"))
    assert made.rows == {"math_solutions": 12, "tool_implementations": 3}
    assert left_out(made, "math_solutions") == {"near_duplicate": 3}  # of the problem
    (turn, answer) = rows(made, "tool_implementations")[0]["messages"]
    assert turn == {"role": "user", "content": "Write this function in Python.\n\nName: Tide clock 0"}
    assert answer == {"role": "assistant", "content": "def tide_clock():\n    return 1"}


def test_a_format_alone_selects_all_that_it_fits(solved: Store) -> None:
    assert set(order(solved, form="messages").configs) == {
        *("math_solutions", "reasoning_solutions", "tool_implementations", "instruction_answers"),
        *("math_verified", "reasoning_verified", "tools_verified", "instructions_verified"),
        "dialogues",
    }
    assert set(order(solved, form="preference").configs) == {
        *("math_solutions", "reasoning_solutions", "instruction_answers")
    }


def test_a_format_that_makes_no_sense_is_refused_with_the_tables_for_which_it_does(solved: Store) -> None:
    with pytest.raises(ConfigError) as refused:
        order(solved, "personas", "game_npcs", "math_verified", form="messages")
    for text in (
        (
            "--format messages needs a prompt and its answer, or a column messages, and personas has none; it is "
            "possible for: math_solutions, reasoning_solutions, tool_implementations, instruction_answers, "
        ),
        "and game_npcs has none",
    ):
        assert text in str(refused.value)
    with pytest.raises(ConfigError, match=r"unknown format 'chat' .*valid: messages, prompt_completion"):
        order(solved, "math_verified", form="chat")


def test_splits_and_json_lines_have_the_format_too(solved: Store) -> None:
    spec = ReleaseSpec.of(
        "v1", ["math_verified"], format="alpaca", validation=0.4, jsonl=True, relations=relations(solved)
    )
    made = freeze(solved, spec)
    splits = made.manifest["configs"]["math_verified"]["splits"]
    assert sum(split["rows"] for split in splits.values()) == 4
    lines = [line for path in (made.path / "jsonl").glob("*") for line in path.read_text("utf-8").splitlines()]
    assert len(lines) == 4
    assert all(line.startswith('{"instruction":') for line in lines)


# --- exchanges of a home ---

HINTS = """---
name: hints
description: A hint for a math problem.
role: assistant
source: math_problems
fields:
  hint: {type: string, max: 400, description: The hint}
exchange: {prompt: "Give a hint: {source.problem}", answer: "{hint}"}
---
You give hints.
---
{{ problem }}
"""
CHATS = '''"""Talks."""
from personahub_assets.core.records import Answer, DatasetItem


class Turn(Answer):
    role: str
    content: str


class Chats(DatasetItem):
    """A talk."""

    messages: list[Turn]
'''


def test_datasets_of_a_home_declare_theirs(store: Store) -> None:
    for folder in ("prompts", "datasets"):
        (store.root / folder).mkdir()
    (store.root / "prompts" / "hints.md").write_text(HINTS)
    (store.root / "prompts" / "chats.md").write_text(
        "---\nname: chats\ndescription: A talk.\n---\nTalk.\n---\n{{ persona }}\n"
    )
    (store.root / "datasets" / "chats.py").write_text(CHATS)
    store = Store(home=store.home)
    hint = {"item_id": "ih", "persona_id": "pa2", "source_id": "ima2", "source_hash": "x", "sample": 0, "text": "Think"}
    _write(store, "hints", {**hint, "hint": "Think", "generation_id": "gh"})
    turns = [{"role": role, "content": role[0]} for role in ("system", "user", "assistant")]
    _write(
        store,
        "chats",
        {"item_id": "ic", "persona_id": "pa2", "sample": 0, "messages": turns, "text": "t", "generation_id": "gc"},
    )
    calls(store, "a", "hints", ["h"])
    calls(store, "a", "chats", ["c"])
    made = freeze(store, order(store, "hints", "chats", form="sharegpt"))
    (talk,), (hinted,) = rows(made, "chats"), rows(made, "hints")
    assert [turn["from"] for turn in talk["conversations"]] == ["system", "human", "gpt"]
    assert hinted["conversations"][0]["value"] == f"Give a hint: {SAID}"
    (store.root / "prompts" / "hints.md").write_text(HINTS.replace("{hint}", "{hnit}"))
    with pytest.raises(ConfigError, match=r"exchange of hints: no column 'hnit' \(did you mean 'hint'"):
        Store(home=store.home).catalog.item("hints")


def _write(store: Store, table: str, row: dict[str, Any]) -> None:
    frame = pl.DataFrame([{**dict.fromkeys(store.columns(table)), **row, "batch": "a"}], store.columns(table))
    store.write(table, "a", frame)


@given(st.lists(st.sampled_from(["{a}", "{source.b}", "text ", "{{", "}}", "\n"]), max_size=8))
def test_a_template_is_its_pieces(parts: list[str]) -> None:
    template = "".join(parts)
    columns = [piece.column for piece in pieces(template) if piece.column]
    assert columns == [part.strip("{}") for part in parts if part in ("{a}", "{source.b}")]
    if columns:
        assert Exchange(prompt=template).columns == list(dict.fromkeys(columns))


@pytest.mark.parametrize("template", ["no column", "{a", "{a!r}", "{a:>3}"])
def test_a_template_that_names_no_column_is_refused(template: str) -> None:
    with pytest.raises(ValueError):
        Exchange(prompt=template)


# --- scores ---


def scored(number: int, source_id: str, text: str, score: int) -> dict[str, Any]:
    """A score of an item of batch a."""
    reasons = {"reason": "So it is.", "score": score}
    ids = {"item_id": f"ij{source_id}", "persona_id": f"pa{number}", "source_id": source_id, "sample": 0}
    return {**ids, "source_hash": digest(text), "text": f"Score: {score}", "generation_id": f"gj{source_id}", **reasons}


def write_scores(store: Store, dataset: str, rows: list[dict[str, Any]]) -> None:
    schema = store.columns(f"{dataset}_scores")
    frame = pl.DataFrame([{**dict.fromkeys(schema), "batch": "a", "clear": 2, **row} for row in rows], schema)
    store.write(f"{dataset}_scores", "a", frame)


def test_conditions_can_use_scores_and_criteria(solved: Store) -> None:
    problems = [scored(n, f"ima{n}", problem("a", n)["text"] if n != 1 else "earlier text", n + 1) for n in range(5)]
    write_scores(solved, "math_problems", problems)
    made = freeze(solved, order(solved, "math_verified", where=("score >= 2 AND clear < 3",)))
    assert [row["item_id"] for row in rows(made, "math_verified")] == ["ima2", "ima3"]  # 1 was scored before it changed
    with pytest.raises(ConfigError, match=r"Columns of math_verified: .*model, score, solvable, hard, personal, clear"):
        freeze(solved, ReleaseSpec.of("v2", ["math_verified"], ["scoer > 2"], relations=relations(solved)))


def test_preferences_follow_the_scores_where_there_are_any(solved: Store) -> None:
    answers = solved.read("math_solutions", "a").filter(source_id="ima2").sort("sample").to_dicts()
    marks = {0: 2, 1: 5, 2: 2}
    write_scores(solved, "math_solutions", [scored(2, a["item_id"], a["text"], marks[a["sample"]]) for a in answers])
    made = freeze(solved, order(solved, "math_solutions", form="preference"))
    (pair,) = rows(made, "math_solutions")
    assert pair["chosen"][0]["content"].startswith("program 2-1")
    assert pair["rejected"][0]["content"].startswith("reasoning 2-2")
    assert (pair["score_chosen"], pair["score_rejected"]) == (5.0, 2.0)
