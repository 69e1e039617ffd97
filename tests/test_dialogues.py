"""Dialogues: each message is paid for once, also when the process is killed, and a failed turn ends one dialogue."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dialogue_run import BATCH, PERSONAS, Sides, answer, hold, hold_in_process, make_home, message_of
from hub import Hub
from hypothesis import given
from hypothesis import strategies as st
from processes import CONTEXT
from scripted import Reply, serving

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import Environment, HubConfig
from personahub_assets.core.dialogues import ASSISTANT, DIALOGUES, MOST_TURNS, Position, transcript
from personahub_assets.core.errors import BudgetSpent, ConfigError
from personahub_assets.core.records import ChatMessage, Dialogue, UserTurn
from personahub_assets.defs.checks import all_checks
from personahub_assets.defs.versions import code_versions
from personahub_assets.generation.gates import Gates
from personahub_assets.generation.journal import entries
from personahub_assets.generation.requests import Outcome, Server
from personahub_assets.releases.build import freeze
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.runs import until
from personahub_assets.runs.plan import plan
from personahub_assets.runs.runner import Result
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.dialogues import OpenDialogue, dialogue_tasks, turn_requests
from personahub_assets.steps.sent import sent_messages
from personahub_assets.store.tables import STAGES, Store
from personahub_assets.takedown.receipts import Target
from personahub_assets.takedown.takedown import takedown
from personahub_assets.warehouse.live import open_live

Called = Callable[..., tuple[int, str, str]]
Once = Callable[[str, Callable[[Path], None]], Path]

SETTINGS = """[generation]
max_in_flight = 2
[datasets.dialogues]
turns = 2
"""
VARIANTS = [("assistant", 1), ("assistant", 2), ("user", 3), ("user", 4)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_home(tmp_path / "hub", SETTINGS)


@pytest.fixture
def sides() -> Iterator[Sides]:
    with serving() as script:
        sides = Sides(script)
        yield sides
        sides.go_on()


def ids(store: Store) -> list[str]:
    return store.read("personas", BATCH)["persona_id"].to_list()


def tasks(catalog: Catalog | None = None, **settings: Any) -> list[Any]:
    config = HubConfig(datasets={DIALOGUES: settings})  # type: ignore[dict-item]
    return dialogue_tasks(catalog or Catalog(), config, lambda _role, _variant: Server("m"))


# --- what is asked ---


def test_a_dialogue_has_the_messages_of_both_sides_in_turn(store: Store, sides: Sides) -> None:
    result = hold(store, sides.script.url)
    rows = store.read(DIALOGUES, BATCH)
    assert (result.rows, result.facts["turns"], result.tally.calls) == (3, 2, 12)
    assert rows["persona_id"].to_list() == ids(store)
    for row in rows.iter_rows(named=True):
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * 2
        assert len({message["content"] for message in row["messages"]}) == 4
        assert row["calls"][-1] == row["generation_id"]
        assert row["text"].startswith(f"User: {row['messages'][0]['content']}\n\nAssistant: ")
    calls = store.read("generations", BATCH, DIALOGUES)
    assert sorted(calls["generation_id"]) == sorted(rows["calls"].explode())
    assert sorted(calls["sample"].unique()) == [0, 1, 2, 3]
    assert dict(calls.group_by("role").len().iter_rows()) == {"user": 6, "assistant": 6}


def test_each_request_has_the_whole_conversation_and_only_the_user_knows_the_persona(
    store: Store, sides: Sides
) -> None:
    hold(store, sides.script.url)
    for body in sides.script.bodies:
        message, text = message_of(body), body["messages"][-1]["content"]
        assert sum(persona in text for persona in PERSONAS) == (message % 2 == 0)
        assert text.count("strokes") == message


def test_a_second_run_asks_nothing_and_more_turns_ask_only_those(store: Store, sides: Sides) -> None:
    hold(store, sides.script.url)
    assert hold(store, sides.script.url).tally.calls == 0
    (store.root / "hub.toml").write_text(SETTINGS.replace("turns = 2", "turns = 3"))
    longer = Store(home=str(store.root))
    assert hold(longer, sides.script.url).tally.calls == 6
    assert set(longer.read(DIALOGUES, BATCH)["turns"]) == {3}
    (store.root / "hub.toml").write_text(SETTINGS)
    assert hold(Store(home=str(store.root)), sides.script.url).tally.calls == 0
    assert max(sides.asked.values()) == 1


def test_further_dialogues_of_a_persona_begin_with_another_need(store: Store, sides: Sides) -> None:
    (store.root / "hub.toml").write_text(f"{SETTINGS}samples = 2\n")
    again = Store(home=str(store.root))
    assert hold(again, sides.script.url).tally.calls == 24
    rows = again.read(DIALOGUES, BATCH)
    assert rows.group_by("persona_id").len()["len"].to_list() == [2, 2, 2]
    assert rows["item_id"].n_unique() == rows["text"].n_unique() == 6
    wanted = ["This is conversation 2: begin with another need." in text for text in sides.asked]
    assert sum(wanted) == 3


def test_variants_of_a_role_share_the_dialogues(store: Store, sides: Sides) -> None:
    variants = [f"[[roles.{role}.variants]]\nname = '{n}'\ntemperature = 0.{n}\n" for role, n in VARIANTS]
    (store.root / "hub.toml").write_text(f"{SETTINGS}samples = 4\n{''.join(variants)}")
    again = Store(home=str(store.root))
    environment = Environment(home=store.root, llm_url=sides.script.url, llm_model="scripted-1")
    forecast = plan(environment, [(BATCH, {DIALOGUES})])
    assert sorted((work.role, work.variant) for work in forecast.work) == [(role, str(n)) for role, n in VARIANTS]
    assert sum(work.expected for work in forecast.work) == 48
    assert hold(again, sides.script.url).tally.calls == 48
    assert hold(again, sides.script.url).tally.calls == 0
    rows, calls = again.read(DIALOGUES, BATCH), again.read("generations", BATCH, DIALOGUES)
    prompts = dict(calls.select("generation_id", "prompt_fingerprint").iter_rows())
    pairs = [tuple(dict.fromkeys(prompts[call] for call in row)) for row in rows["calls"]]
    assert {len(pair) for pair in pairs} == {2}  # the same two to the end
    assert len(set(pairs)) > 2
    assert {body["temperature"] for body in sides.script.bodies} == {0.1, 0.2, 0.3, 0.4}
    assert rows["sample"].to_list() == [0, 1, 2, 3] * 3


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1)), max_size=5))
def test_no_line_of_a_message_looks_like_a_speaker(messages: list[tuple[str, str]]) -> None:
    lines = transcript(messages).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [f"{role.capitalize()}:" for role, _ in messages]


@given(st.integers(0, 63), st.integers(0, 2 * MOST_TURNS - 1))
def test_a_call_tells_its_dialogue_and_message(dialogue: int, message: int) -> None:
    position = Position(dialogue, message)
    assert Position.of(position.sample) == position
    assert position.role == ("user", "assistant")[message % 2]


def test_until_counts_dialogues_not_messages(store: Store, sides: Sides) -> None:
    """The messages of a first dialogue are no second one."""

    def run(path: Path) -> Result:
        again = Store(home=str(store.root), personas_from={DIALOGUES: str(path)})
        return Result(usage={DIALOGUES: hold(again, sides.script.url).tally})

    (store.root / "hub.toml").write_text(f"{SETTINGS}samples = 2\n")
    both = Store(home=str(store.root))
    reached = until.run_until(
        both, until.Target.parse(f"{DIALOGUES}=4", [DIALOGUES]), [BATCH], run, lambda _reached: None
    )
    assert (reached.rows, reached.left, reached.calls) == (4, 2, 4 * 4)
    assert Counter(both.read(DIALOGUES, BATCH)["sample"].to_list()) == {0: 2, 1: 2}


def test_dialogues_are_asked_only_when_enabled_or_named() -> None:
    assert not Catalog().is_enabled(DIALOGUES, None)
    assert Catalog().is_enabled(DIALOGUES, True)


# --- settings ---


def test_turns_are_a_setting_of_dialogues_alone(tmp_path: Path) -> None:
    for text, message in {
        "[datasets.tools]\nturns = 2\n": r"tools\.turns has no effect: it is a key of \[datasets\.dialogues\]",
        "[datasets.dialogues]\nturns = 0\n": "datasets.dialogues.turns: Input should be greater than or equal to 1",
        "[datasets.dialogues]\nturns = 21\n": "less than or equal to 20",
    }.items():
        (tmp_path / "hub.toml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            HubConfig.load(tmp_path / "hub.toml")
    with pytest.raises(ConfigError, match=r"datasets\.dialogues\.controls: the messages of a dialogue have no such"):
        tasks(controls={"topic": ["ships"]})


def test_a_change_of_turns_or_of_either_prompt_makes_them_stale(tmp_path: Path) -> None:
    def version(**settings: Any) -> str:
        config = HubConfig(datasets={DIALOGUES: settings})  # type: ignore[dict-item]
        return code_versions(Catalog(tmp_path), config, lambda _role, _variant: Server("m"), "e")[DIALOGUES]

    before = version()
    assert version(turns=4) != before == version(turns=3)
    (tmp_path / "prompts").mkdir()
    own = Catalog().prompt(ASSISTANT).as_file().replace("knowledgeable", "patient")
    (tmp_path / "prompts" / f"{ASSISTANT}.md").write_text(own)
    assert version() != before


def test_the_prompt_of_a_home_can_have_parameters_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    for name in (DIALOGUES, ASSISTANT):
        text = (
            Catalog().prompt(name).as_file().replace("\n---\n", "\nparameters: {tone: kind}\n---\nBe {{ tone }}. ", 1)
        )
        (tmp_path / "prompts" / f"{name}.md").write_text(text.replace("vary: false\n", ""))
    for task in tasks(Catalog(tmp_path), parameters={"tone": "brief"}):
        assert task.prompt.parameters == {"tone": "brief"}
        assert not task.prompt.vary


def test_fields_of_a_home_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "dialogues.md").write_text(
        "---\nname: dialogues\ndescription: A talk.\nfields:\n  talk: {type: string, max: 60, description: Talk}\n"
        "---\nWrite.\n---\n{{ persona }}\n"
    )
    assert "dialogues has fixed fields: remove `fields`" in str(Catalog(tmp_path).faults[DIALOGUES])


# --- killed, refused, out of budget ---


def test_kill_at_each_message_costs_only_what_was_in_flight(store: Store, sides: Sides) -> None:
    """The bar: calls made = needed + in flight, with `kill -9` of a real process at every message."""
    in_flight, url = 2, sides.script.url
    for message in range(4):
        before = len(sides.script.bodies)
        sides.stick(message, in_flight)
        process = CONTEXT.Process(target=hold_in_process, args=(str(store.root), url))
        process.start()
        assert sides.all_stuck.wait(120)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        asked = [message_of(body) for body in sides.script.bodies[before:]]
        # What the last process had in flight, then one answer, and the requests in flight now.
        assert asked == [message - 1] * (in_flight if message else 0) + [message] * (1 + in_flight)
    sides.go_on()
    assert hold(store, url).tally.calls == in_flight
    needed = 3 * 4
    assert len(sides.script.bodies) == needed + 4 * in_flight
    assert Counter(sides.asked.values()) == {1: needed - 4 * in_flight, 2: 4 * in_flight}
    assert store.read(DIALOGUES, BATCH).height == 3
    assert store.read("generations", BATCH, DIALOGUES)["status"].to_list() == ["accepted"] * needed


def test_a_refused_turn_ends_its_dialogue_and_is_asked_again_from_there(store: Store, sides: Sides) -> None:
    def declining(body: dict[str, Any]) -> Reply:
        if message_of(body) == 2 and "Murano" in body["messages"][-1]["content"]:
            return Reply(refusal="I will not.")
        return answer(body)

    sides.reply = declining
    hold(store, sides.script.url)
    assert store.read(DIALOGUES, BATCH)["persona_id"].to_list() == [ids(store)[0], ids(store)[2]]
    (refused,) = store.read("quarantine", BATCH, DIALOGUES).to_dicts()
    assert (refused["input_id"], refused["reason"]) == (ids(store)[1], "refused")
    assert refused["detail"] == "turn 2 of the user: I will not."
    assert failing(store) == set()

    sides.reply, before = answer, len(sides.script.bodies)
    assert hold(store, sides.script.url).tally.calls == 0
    forecast = plan(Environment(home=store.root, llm_model="scripted-1"), [(BATCH, {DIALOGUES})], retry=["refused"])
    assert [(work.role, work.ask, work.follow) for work in forecast.work] == [("user", 1, 0), ("assistant", 0, 1)]
    assert hold(store, sides.script.url, retry=["refused"]).tally.calls == 2
    assert [message_of(body) for body in sides.script.bodies[before:]] == [2, 3]
    assert store.read(DIALOGUES, BATCH).height == 3
    assert store.read("quarantine", BATCH, DIALOGUES).is_empty()


def test_a_budget_stops_within_a_dialogue_and_the_next_run_goes_on(store: Store, sides: Sides) -> None:
    with pytest.raises(BudgetSpent):
        hold(store, sides.script.url, max_calls=7)
    assert store.read(DIALOGUES, BATCH).is_empty()
    forecast = plan(Environment(home=store.root, llm_model="scripted-1"), [(BATCH, {DIALOGUES})])
    assert [(work.role, work.ask, work.follow) for work in forecast.work] == [("user", 2, 0), ("assistant", 1, 2)]
    assert hold(store, sides.script.url).tally.calls == 5
    assert max(sides.asked.values()) == 1


def test_a_gate_ends_a_dialogue_at_the_message_with_the_fault(store: Store, sides: Sides) -> None:
    def leaking(body: dict[str, Any]) -> Reply:
        if message_of(body) == 1:
            return Reply(json.dumps({"reply": "Write to pilot.elbe@harbour-office.de and ask for the night table."}))
        return answer(body)

    sides.reply = leaking
    (store.root / "hub.toml").write_text(f'{SETTINGS}[quality]\nemail = "quarantine"\n')
    strict = Store(home=str(store.root))
    assert hold(strict, sides.script.url).tally.calls == 6
    details = strict.read("quarantine", BATCH, DIALOGUES)["detail"].to_list()
    assert [detail.split(" at ")[0] for detail in details] == ["turn 1 of the assistant: email"] * 3
    (store.root / "hub.toml").write_text(SETTINGS)  # where they are masked
    masking = Store(home=str(store.root))
    assert hold(masking, sides.script.url).tally.calls == 6
    assert all("[EMAIL]" in row["messages"][1]["content"] for row in masking.read(DIALOGUES, BATCH).to_dicts())


GERMAN = "Wie salze ich eine Suppe für vierzig Gäste, ohne sie zu verderben? Ich koche auf der Fähre."


@pytest.mark.parametrize(
    ("side", "field", "text", "reason"),
    [
        (0, "message", "Here is a prompt for this persona: how do I salt a soup for forty?", "instruction_echo"),
        (1, "reply", "Sure! Here is the list: taste, wait, and taste again before you add the salt.", None),
        (0, "message", GERMAN, "other_language"),
    ],
)  # fmt: skip
def test_echoes_and_language_are_judged_where_they_apply(side: int, field: str, text: str, reason: str | None) -> None:
    task = tasks()[side]
    dialogue = OpenDialogue("p0", PERSONAS[0])
    (request,) = turn_requests(task, [dialogue.with_message("How much salt?")] if side else [dialogue])
    outcome = Outcome(request.key, "accepted", json.dumps({field: text}))
    assert Gates(HubConfig(), task).judge(request, outcome).outcome.reason == reason


# --- plan, checks, why, takedown ---


def test_the_plan_counts_the_calls_of_both_sides(store: Store) -> None:
    forecast = plan(Environment(home=store.root, llm_model="scripted-1"), [(BATCH, {DIALOGUES})])
    assert [(work.role, work.ask, work.follow) for work in forecast.work] == [("user", 3, 3), ("assistant", 0, 6)]
    assert forecast.total.expected == 3 * 4
    assert not forecast.total.is_exact


def test_the_plan_expects_the_calls_of_personas_that_are_not_written_yet(tmp_path: Path) -> None:
    store = make_home(tmp_path / "hub", f"[related_personas]\nhops = 0\n{SETTINGS}samples = 2\n")
    shutil.rmtree(store.paths.tables / "personas")
    shutil.rmtree(store.paths.tables / "text_personas")
    upstream = {"documents", "text_personas", "related_personas", *STAGES, "persona_embeddings", "personas"}
    forecast = plan(Environment(home=store.root, llm_model="scripted-1"), [(BATCH, {*upstream, DIALOGUES})])
    expected = [(work.role, work.ask, work.follow) for work in forecast.work if work.asset == DIALOGUES]
    assert expected == [("user", 0, 12), ("assistant", 0, 12)]


def failing(store: Store) -> set[str]:
    checks = [check.filled(store.config) for check in all_checks()[DIALOGUES]]
    with open_live(store, " ".join(check.sql for check in checks)) as connection:
        return {check.name for check in checks if not check.result(connection).passed}


FAULTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "roles_alternate": lambda row: {"messages": [{**each, "role": "user"} for each in row["messages"]]},
    "every_turn_is_answered": lambda row: {"turns": row["turns"] + 1},
    "no_message_is_empty": lambda row: {"messages": [*row["messages"][:-1], {"role": "assistant", "content": " "}]},
    "has_its_generation": lambda _row: {"generation_id": "gnone"},
}


def test_every_check_of_dialogues_finds_its_planted_fault(store: Store, sides: Sides) -> None:
    hold(store, sides.script.url)
    assert failing(store) == set()
    rows = store.read(DIALOGUES, BATCH)
    for name, change in FAULTS.items():
        first, *others = rows.to_dicts()
        store.write(DIALOGUES, BATCH, pl.DataFrame([{**first, **change(first)}, *others], rows.schema))
        assert failing(store) == {name}
    store.write(DIALOGUES, BATCH, rows.tail(-1))
    assert failing(store) == {"every_request_accounted_for"}
    assert {check.name for check in all_checks()[DIALOGUES]} >= {*FAULTS, "every_request_accounted_for"}


def test_a_release_names_the_prompts_and_models_of_both_sides(store: Store, sides: Sides) -> None:
    hold(store, sides.script.url)
    made = freeze(store, ReleaseSpec.of("v1", [DIALOGUES], relations=relations(store)))
    prompts = {(entry["name"], entry["rows"]) for entry in made.manifest["prompts"]}
    assert prompts == {("dialogues", 3), ("dialogues.assistant", 3)}
    assert len(list((made.path / "prompts").glob("dialogues-*.md"))) == 1
    text = (made.path / "README.md").read_text()
    assert "- `dialogues`, `assistant`: `scripted-1`\n- `dialogues`, `user`: `scripted-1`\n" in text


def test_a_takedown_removes_the_messages_of_all_turns(store: Store, sides: Sides) -> None:
    (store.root / "hub.toml").write_text(SETTINGS)
    hold(store, sides.script.url)
    (store.root / "hub.toml").write_text(SETTINGS.replace("turns = 2", "turns = 3"))
    with pytest.raises(BudgetSpent):  # some messages are in the journal alone
        hold(Store(home=str(store.root)), sides.script.url, max_calls=3)
    first, gone, last = ids(store)
    journal = store.paths.journal(DIALOGUES, BATCH)
    assert {entry.input_id for entry in entries(journal)} == {first, gone, last}
    takedown(store, Target("persona", (gone,), BATCH))
    assert store.read(DIALOGUES, BATCH)["persona_id"].to_list() == [first, last]
    assert set(store.read("generations", BATCH, DIALOGUES)["input_id"]) == {first, last}
    assert {entry.input_id for entry in entries(journal)} == {first, last}


def test_the_messages_of_a_call_can_be_rendered_again(store: Store, sides: Sides) -> None:
    hold(store, sides.script.url)
    sent = {json.dumps(body["messages"]) for body in sides.script.bodies}
    for call in store.read("generations", BATCH, DIALOGUES)["generation_id"]:
        assert json.dumps(sent_messages(store, BATCH, DIALOGUES, call)) in sent


# --- the graph ---


@pytest.fixture(scope="module")
def hub(once: Once, standin: StandinServer) -> Hub:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        (hub.home / "hub.toml").write_text("[related_personas]\nhops = 0\n")
        hub.personas("people", PERSONAS)
        assert hub.run(select=["+dialogues", "warehouse"]) == {}

    return Hub(once("dialogues", make) / "hub", standin)


def test_the_stand_in_holds_conversations(hub: Hub) -> None:
    rows = hub.rows(DIALOGUES)
    assert rows.height == 3
    assert failing(hub.store) == set()
    texts = [message["content"] for row in rows.to_dicts() for message in row["messages"]]
    assert len(set(texts)) == 3 * 6
    assert not any("Assistant" in text or "User" in text for text in texts)


def test_why_and_try_know_dialogues(hub: Hub, called: Called) -> None:
    row = hub.rows(DIALOGUES).row(0, named=True)
    code, out, err = called("why", row["item_id"], home=hub.home)
    assert (code, row["generation_id"] in out, row["persona_id"] in out) == (0, True, True), err
    before = hub.calls()
    code, out, err = called("try", DIALOGUES, home=hub.home, PERSONAHUB_LLM_URL=hub.standin.url)
    assert code == 0, err
    assert row["messages"][0]["content"][:40] in " ".join(out.split())
    assert hub.calls() == before


def test_messages_are_those_of_chat_templates() -> None:
    messages = [ChatMessage(role="user", content="Late?"), ChatMessage(role="assistant", content="No.")]
    dialogue = Dialogue(turns=1, messages=messages, calls=["g1", "g2"])
    assert dialogue.as_text() == "User: Late?\n\nAssistant: No."
    assert UserTurn(message="Late?").content == "Late?"
