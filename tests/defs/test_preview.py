"""Trying a prompt: what is shown, that no row is written, and that a run does not pay for the answers again."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hub import TOPICS, Hub

import personahub_assets
from personahub_assets.cli import app, console
from personahub_assets.core import project_files
from personahub_assets.core.errors import ConfigError, LockHeld, PromptError, StoreError, UnknownId
from personahub_assets.definitions import build
from personahub_assets.defs.preview import PREVIEW, TRY
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.home import Lock

PERSONA = "A diver who counts octopuses at night for a museum in Trieste."
HOSTILE = "A [bold]drummer[/bold] \x1b[2J who builds ``` cymbals \u202efrom scrap"


def rows_of(hub: Hub) -> dict[str, bytes]:
    """The table files but the record of prompts, to which a preview adds."""
    return {name: data for name, data in hub.files().items() if not name.startswith("prompt_uses/")}


def api(hub: Hub) -> personahub_assets.Hub:
    return personahub_assets.Hub(environment=hub.environment)


def edited(folder: Path, task: str = "tools", word: str = "short") -> Path:
    """The prompt of a task with one word more."""
    source = (project_files.root() / "prompts" / f"{task}.md").read_text("utf-8")
    path = folder / f"{task}-{word}.md"
    path.write_text(source.replace("\nYou ", f"\nBe {word}. You ", 1), "utf-8")
    return path


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


Cli = Callable[..., Said]


@pytest.fixture
def personahub(monkeypatch: pytest.MonkeyPatch, called: Callable[..., tuple[int, str, str]]) -> Cli:
    def run(hub: Hub, *arguments: str, stdin: str = "", **environment: str) -> Said:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        url = environment.pop("PERSONAHUB_LLM_URL", str(hub.environment.llm_url))
        return Said(*called(*arguments, home=hub.home, PERSONAHUB_LLM_URL=url, **environment))

    return run


# --- nothing is paid twice ---


def test_what_was_tried_is_not_paid_again(ran: Hub, own_prompts: Path, tmp_path: Path) -> None:
    before, calls = rows_of(ran), ran.calls()
    prompt = edited(tmp_path)
    tried = api(ran).preview("tools", 3, prompt=prompt)
    assert ran.calls() - calls == 3 == tried["is_sent"].sum()
    assert rows_of(ran) == before

    again = api(ran).preview("tools", 3, prompt=prompt)
    assert ran.calls() - calls == 3
    assert not again["is_sent"].any()
    assert again["answer"].equals(tried["answer"])

    (own_prompts / "tools.md").write_text(prompt.read_text("utf-8"), "utf-8")
    assert api(ran).plan(select=["tools"]).total.ask == ran.personas_kept() - 3
    assert ran.run(select=["tools"]) == {}
    assert ran.calls() - calls == ran.personas_kept()
    tools = ran.rows("tools").filter(pl.col("persona_id").is_in(tried["input_id"].implode()))
    assert set(tools["text"]) == set(tried["answer"])


def test_documents_are_tried_before_any_run(hub: Hub) -> None:
    hub.pages("one", TOPICS[:3])
    calls = hub.calls()
    tried = api(hub).preview("text_personas", 2)
    assert tried["input_id"].to_list() == ["one-0", "one-1"]
    assert tried["input"].to_list() == TOPICS[:2]
    assert TOPICS[0] in tried["message"][0]
    assert rows_of(hub).keys() == {"batches/batch=one/part.parquet"}
    assert hub.run(select=["+text_personas"]) == {}
    assert hub.calls() - calls == 3
    relation, persona = hub.rows("text_personas").select("relation", "persona").row(0)
    assert f"{relation}: {persona}" in "\n".join(tried["answer"])


def test_related_personas_are_tried_with_the_first_that_a_run_expands(hub: Hub) -> None:
    hub.personas("one", [PERSONA, "A baker who rises at two and sings to the dough until the street wakes up."])
    with pytest.raises(StoreError, match=r"has no personas yet.*run --select \+text_personas"):
        api(hub).preview("related_personas")
    assert hub.run(select=["+text_personas"]) == {}
    calls = hub.calls()
    assert api(hub).preview("related_personas")["is_sent"].to_list() == [True, True]
    assert hub.run(select=["related_personas"]) == {}
    assert hub.calls() - calls == 2


# --- whom it is tried with ---


def test_rows_are_the_first_that_a_run_asks_about(ran: Hub) -> None:
    settings = (ran.home / "hub.toml").read_text()
    everybody = [each for batch in ran.store.batches() for each in ran.store.read("personas", batch)["persona_id"]]
    assert api(ran).preview("tools", 2)["input_id"].to_list() == everybody[:2]
    (ran.home / "picks.txt").write_text(f"{everybody[-1]}\n")
    (ran.home / "hub.toml").write_text(f'{settings}\n[datasets.tools]\npersonas_from = "picks.txt"\n')
    assert api(ran).preview("tools", 2)["input_id"].to_list() == [everybody[-1], everybody[0]]
    chosen = [everybody[3], everybody[1]]
    assert api(ran).preview("tools", ids=chosen)["input_id"].to_list() == chosen
    assert api(ran).preview("text_personas", ids=["two-1"])["input"].to_list() == [TOPICS[3]]


def test_a_persona_can_be_typed(ran: Hub) -> None:
    calls = ran.calls()
    (row,) = api(ran).preview("tools", persona=f" {PERSONA}\n").iter_rows(named=True)
    assert (row["batch"], row["input"], row["is_sent"]) == ("one", PERSONA, True)
    assert not api(ran).preview("tools", persona=PERSONA)["is_sent"].any()
    # The same text as a persona of the hub: the same request in any batch.
    ran.personas("three", [PERSONA])
    assert ran.run(select=["+tools"]) == {}
    assert row["answer"] in ran.rows("tools").filter(batch="three")["text"].to_list()
    # One was typed; then its relation, and the tool of that one.
    assert ran.calls() - calls == 3

    batch, persona_id, persona = ran.rows("personas").select("batch", "persona_id", "persona").row(0)
    known = api(ran).preview("tools", persona=persona)
    assert known.select("batch", "input_id", "is_sent").rows() == [(batch, persona_id, False)]


def test_a_persona_can_be_typed_without_any_home(hub: Hub) -> None:
    before = sorted(hub.home.rglob("*"))
    tried = api(hub).preview("game_npcs", persona=PERSONA)
    assert tried.select("batch", "status").rows() == [(None, "accepted")]
    assert sorted(hub.home.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"task": "tool"}, ConfigError, "no task 'tool' .did you mean 'tools'"),
        ({"task": "tools", "n": 0}, ConfigError, "from 1 to 100, got 0"),
        ({"task": "tools", "ids": ["p-nobody"]}, UnknownId, "no persona of .* has the id 'p-nobody'"),
        ({"task": "text_personas", "ids": ["d9"]}, UnknownId, "no document of .* has the id 'd9'"),
        ({"task": "text_personas", "persona": PERSONA}, ConfigError, "about documents, not personas"),
        ({"task": "tools", "persona": " "}, ConfigError, "the persona is empty"),
        ({"task": "tools", "persona": PERSONA, "ids": ["p1"]}, ConfigError, "not both"),
        ({"task": "tools", "models": ["a", "b", "c"]}, ConfigError, "at most two models"),
        ({"task": "tools", "models": "gpt"}, ConfigError, r"write \['gpt'\]"),
        ({"task": "tools", "prompt": "nowhere.md"}, PromptError, "nowhere.md: cannot be read"),
        ({"task": "tools", "prompt": "prompts/game_npcs.md"}, PromptError, "expected 'tools'"),
        ({"task": "tools"}, StoreError, "no batches yet.*--persona TEXT"),
        ({"task": "text_personas"}, StoreError, "no batches yet"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_the_remedy(
    hub: Hub, arguments: dict[str, object], error: type[Exception], said: str
) -> None:
    if str(arguments.get("prompt", "")).startswith("prompts/"):
        arguments = {**arguments, "prompt": project_files.root() / str(arguments["prompt"])}
    calls = hub.calls()
    with pytest.raises(error, match=said):
        api(hub).preview(**arguments)  # type: ignore[arg-type]
    assert hub.calls() == calls


def test_a_batch_that_a_run_works_on_is_refused(ran: Hub) -> None:
    with ran.store.lock(Lock.of("tools", "one"), wait=False), pytest.raises(LockHeld, match="tools-one"):
        api(ran).preview("tools", 1)


# --- the command ---


def test_try_shows_prompt_answer_and_price(ran: Hub, personahub: Cli, tmp_path: Path) -> None:
    with (ran.home / "hub.toml").open("a") as settings:
        settings.write("[prices]\nprompt = 1000\ncompletion = 1000\n")
    said = personahub(ran, "try", "tools", "-n", "2", "--prompt", str(edited(tmp_path)))
    assert said.code == 0, said
    first = ran.rows("personas").row(0, named=True)
    for text in (f"1 of 2  {first['persona_id']}  batch one", first["persona"], "Be short. You design", "Name: "):
        assert text in said.out
    (calls, prompt, completion, cost) = re.findall(r"total: (\d) calls, (\d+) \+ (\d+) tokens, ([\d.]+) USD", said.out)[
        0
    ]
    assert calls == "2"
    assert float(cost) == pytest.approx((int(prompt) + int(completion)) / 1000)
    assert "No row was written" in said.out
    assert said.out.count("Be short. You design") == 1


def test_try_compares_two_prompts_or_two_models(
    ran: Hub, personahub: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = edited(tmp_path)
    narrow = personahub(ran, "try", "tools", "-n", "1", "--against", str(prompt))
    assert narrow.code == 0, narrow
    assert narrow.out.count("\nanswer  ") == 2
    assert narrow.out.count("message\n") == 1
    assert "1 of 2 answers were in the home" in narrow.out

    monkeypatch.setattr(console.OUT, "_force_terminal", True)
    monkeypatch.setattr(console.OUT, "_width", 140)
    wide = personahub(ran, "try", "tools", "-n", "1", "--model", "standin", "--model", "other", TERM="xterm").out
    assert re.search(r"┃.*prompts/tools.md, standin.*┃.*prompts/tools.md, other.*┃", wide)
    assert max(map(len, wide.splitlines())) <= 200
    assert (
        "two prompts or two models"
        in personahub(ran, "try", "tools", "--against", str(prompt), "--model", "a", "--model", "b").err
    )


def test_try_shows_why_an_answer_was_rejected(ran: Hub, personahub: Cli, tmp_path: Path) -> None:
    with StandinServer("refusal=1") as server:
        said = personahub(
            ran, "try", "tools", "-n", "1", "--prompt", str(edited(tmp_path)), PERSONAHUB_LLM_URL=server.url
        )
    assert said.code == 4, said
    assert "rejected\n  refused: " in said.out
    assert "raw: " in said.out


def test_try_prints_nothing_that_commands_a_terminal(ran: Hub, personahub: Cli) -> None:
    said = personahub(ran, "try", "instructions", "--persona", HOSTILE)
    assert said.code == 0, said
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out
    assert "[bold]drummer[/bold]" in said.out
    rows = json.loads(personahub(ran, "try", "instructions", "--persona", HOSTILE, "--json").out)
    assert [row["is_sent"] for row in rows] == [False]


# --- the job ---


def test_the_job_reports_as_markdown(ran: Hub, tmp_path: Path) -> None:
    before = rows_of(ran)
    config = {"task": "tools", "n": 2, "prompt": edited(tmp_path).read_text("utf-8")}
    with ran.instance() as instance:
        done = (
            build(ran.environment)
            .resolve_job_def(TRY)
            .execute_in_process(run_config={"ops": {PREVIEW: {"config": config}}}, instance=instance)
        )
    (metadata,) = [event.step_output_data.metadata for event in done.all_events if event.is_successful_output]
    assert metadata["calls"].value == 2
    text = metadata["preview"].value
    assert isinstance(metadata["preview"], dg.MarkdownMetadataValue)
    answers = api(ran).preview("tools", 2, prompt=edited(tmp_path))["answer"]
    assert all(" ".join(answer.split()) in " ".join(text.split()) for answer in answers)  # long lines are wrapped
    assert rows_of(ran) == before


def test_markdown_of_the_job_has_no_markup_of_others(ran: Hub) -> None:
    with ran.instance() as instance:
        done = (
            build(ran.environment)
            .resolve_job_def(TRY)
            .execute_in_process(
                run_config={"ops": {PREVIEW: {"config": {"task": "tools", "persona": HOSTILE}}}}, instance=instance
            )
        )
    (metadata,) = [event.step_output_data.metadata for event in done.all_events if event.is_successful_output]
    text = metadata["preview"].value
    assert "\x1b" not in text
    assert "````text\n" in text


# --- a selection that replaces rows ---


def test_a_selection_says_how_many_rows_leave(
    ran: Hub, personahub: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    everybody = ran.rows("tools")["persona_id"].to_list()
    picks = tmp_path / "picks.txt"
    picks.write_text(f"{everybody[0]}\n")
    command = ("run", "--select", "tools", "--personas-from", str(picks))
    line = f"tools: {len(everybody) - 1} of {len(everybody)} rows leave the table"
    assert line in personahub(ran, "plan", *command[1:]).err

    monkeypatch.setattr(app, "_is_attended", lambda: True)
    said = personahub(ran, *command, stdin="n\n")
    assert said.code == 1
    assert line in said.err
    assert "Replace these rows?" in said.err
    assert ran.rows("tools").height == len(everybody)

    said = personahub(ran, *command, "--yes")
    assert said.code == 0, said
    assert line in said.err
    assert ran.rows("tools")["persona_id"].to_list() == everybody[:1]
    assert "leave the table" not in personahub(ran, *command, "--yes").err
