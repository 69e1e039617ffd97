"""Game worlds: each persona has one, a change of one asks its own NPCs again, and a rule finds what does not fit."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dialogue_run import BATCH, make_home
from hypothesis import given
from hypothesis import strategies as st
from quality_gates import FOLDER as CASES

from personahub_assets.core import project_files
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import DatasetTask, HubConfig
from personahub_assets.core.errors import ConfigError, PromptError
from personahub_assets.core.records import GameNPC
from personahub_assets.core.worlds import FOLDER, NPCS, World, parse_world, world_of
from personahub_assets.defs.checks import all_checks
from personahub_assets.generation.gates import Gates
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Outcome, Task
from personahub_assets.quality.worlds import misfit
from personahub_assets.standin.server import StandinServer
from personahub_assets.steps.datasets import dataset_task, persona_requests, version, write_items
from personahub_assets.steps.preview import PreviewSpec, preview
from personahub_assets.steps.sent import sent_messages
from personahub_assets.store.tables import Store

PERSONAS = [f"A keeper of bridge number {number} who writes down each cart." for number in range(24)]
WORLDS = Catalog().worlds
FILES = project_files.root() / "prompts" / FOLDER
ALL = {"worlds": "all"}
WORLD = "Lanternreach, a city of canals under a mountain."


def task(catalog: Catalog | None = None, **settings: Any) -> Task:
    config = HubConfig(datasets={NPCS: settings or ALL})  # type: ignore[dict-item]
    return dataset_task(NPCS, catalog or Catalog(), config, "m")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_home(tmp_path / "hub", '[datasets.game_npcs]\nworlds = "all"\n', PERSONAS)


def write(store: Store, url: str) -> int:
    """Write the NPCs; return the number of calls."""
    return write_items(NPCS, Store(home=str(store.root)), LLM(url=url), BATCH, lambda _tally: None).tally.calls


# --- files ---


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_of_the_package_is_rich_and_agrees_with_itself(name: str) -> None:
    world = WORLDS[name]
    assert 150 <= len(world.setting.split()) <= 250
    assert len(world.factions) >= 3
    assert misfit(world.model_copy(update={"never": []}), {"background": world.setting}) is None
    fields = {"background": world.setting, "role": "; ".join([*world.factions, *world.belongs]), "tone": world.tone}
    assert misfit(world, fields) is None
    for term in (*world.factions, *world.never):
        assert term in world.text


def test_there_are_three_worlds() -> None:
    assert list(WORLDS) == ["hourfold", "saltmark", "scrapwake"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("factions:", "guilds:"), r"saltmark.md: line 2: factions is missing; line 4: unknown key 'guilds'"),
        (("name: saltmark", "name: Salt Mark"), r"line 2: name: .*got 'Salt Mark'"),
        (("---\nSaltmark was", "Saltmark was"), "expected two parts"),
        (("never: [", "never: [x, "), r"line 7: never.0: .*at least 2 characters"),
        (("tone:", "setting:"), "bad front matter"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "prompts" / FOLDER).mkdir(parents=True)
    source = (FILES / "saltmark.md").read_text().replace(*change)
    (tmp_path / "prompts" / FOLDER / "saltmark.md").write_text(source)
    with pytest.raises(PromptError, match=message):
        task(Catalog(tmp_path))
    assert version(Catalog(tmp_path), NPCS, DatasetTask(worlds="all"))[-1] == "unusable worlds"


def test_a_file_has_the_name_of_its_world(tmp_path: Path) -> None:
    (tmp_path / "prompts" / FOLDER).mkdir(parents=True)
    shutil.copy(FILES / "saltmark.md", tmp_path / "prompts" / FOLDER / "other.md")
    with pytest.raises(PromptError, match=r"other\.md: the front matter has name: 'saltmark', expected 'other'"):
        _ = Catalog(tmp_path).worlds


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "prompts" / FOLDER).mkdir(parents=True)
    for name in ("game_npcs.md", f"{FOLDER}/saltmark.md"):
        (tmp_path / "prompts" / name).write_bytes(b"\xef\xbb\xbf" + (FILES.parent / name).read_bytes())
    (tmp_path / "hub.toml").write_bytes(b"\xef\xbb\xbf[datasets.game_npcs]\nworlds = ['saltmark']\n")
    catalog = Catalog(tmp_path)
    assert HubConfig.load(tmp_path / "hub.toml").dataset(NPCS).worlds == ["saltmark"]
    assert catalog.prompt(NPCS) == Catalog().prompt(NPCS)
    assert catalog.worlds["saltmark"] == Catalog().worlds["saltmark"]


# --- which world a persona has ---


@given(st.lists(st.text(), unique=True, min_size=1, max_size=30), st.sampled_from(sorted(WORLDS)))
def test_another_world_takes_personas_and_moves_no_other(personas: list[str], added: str) -> None:
    before = [name for name in WORLDS if name != added]
    for persona in personas:
        now = world_of(persona, list(WORLDS))
        assert now in (added, world_of(persona, before))
        assert now == world_of(persona, sorted(WORLDS, reverse=True))


def test_worlds_are_spread_over_the_personas() -> None:
    counts = Counter(world_of(f"p{number}", list(WORLDS)) for number in range(900))
    assert all(240 < counts[name] < 360 for name in WORLDS)


def test_hub_toml_chooses_worlds(tmp_path: Path) -> None:
    assert list(task(worlds=["saltmark"]).worlds) == ["saltmark"]
    with pytest.raises(ConfigError, match=r"datasets\.game_npcs\.worlds: no world 'atlantis'.*hourfold"):
        task(worlds=["atlantis"])
    with pytest.raises(ConfigError, match=r"datasets\.game_npcs\.worlds is empty: name one or more of hourfold"):
        task(worlds=[])
    (tmp_path / "hub.toml").write_text('[datasets.tools]\nworlds = ["saltmark"]\n')
    with pytest.raises(ConfigError, match=r"tools\.worlds has no effect: it is a key of \[datasets\.game_npcs\]"):
        HubConfig.load(tmp_path / "hub.toml")


def test_a_request_has_the_text_of_its_world() -> None:
    npcs = task()
    for request in persona_requests(npcs, [(f"p{n}", text) for n, text in enumerate(PERSONAS)]):
        own = world_of(request.input_id, WORLDS)
        texts = request.messages[0]["content"]
        assert [name for name, world in WORLDS.items() if world.text in texts] == [own]


# --- homes of earlier versions ---


def test_the_parameter_world_keeps_its_requests(tmp_path: Path) -> None:
    """A home that gives the world as a text pays nothing again: the key is that of the version before worlds."""
    npcs = task(parameters={"world": WORLD})
    (request,) = persona_requests(npcs, [("p1", "A baker who keeps bees.")])
    assert request.key == "e7df4e481ab4439d35375789b2fb7877"
    assert npcs.worlds == {}
    (tmp_path / "prompts").mkdir()
    own = Catalog().prompt(NPCS).with_settings({"world": WORLD}, {}).as_file()
    (tmp_path / "prompts" / "game_npcs.md").write_text(own)
    (same,) = persona_requests(task(Catalog(tmp_path), samples=1), [("p1", "A baker who keeps bees.")])
    assert same.key == request.key
    assert list(task(Catalog(tmp_path)).worlds) == list(WORLDS)  # named in hub.toml, they take the place of the text
    with pytest.raises(ConfigError, match=r"worlds and datasets.game_npcs.parameters.world exclude each other"):
        task(parameters={"world": WORLD}, worlds="all")
    assert version(Catalog(tmp_path), NPCS, HubConfig().dataset(NPCS)) == [1, 1.0]


def test_a_prompt_of_a_home_can_use_the_worlds_or_none(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    text = Catalog().prompt(NPCS).model_copy(update={"parameters": {}}).as_file()
    (tmp_path / "prompts" / "game_npcs.md").write_text(text)
    assert task(Catalog(tmp_path)).worlds == WORLDS
    (tmp_path / "prompts" / "game_npcs.md").write_text(text.replace("{{ world }}", "A plain village."))
    assert task(Catalog(tmp_path), samples=1).worlds == {}
    with pytest.raises(ConfigError, match=r"the prompt has no \{\{ world \}\}: add it to prompts/game_npcs.md"):
        task(Catalog(tmp_path))


# --- the step ---


def test_a_change_of_one_world_asks_its_npcs_again(store: Store, standin: StandinServer) -> None:
    assert write(store, standin.url) == len(PERSONAS)
    rows = store.read(NPCS, BATCH)
    counts = Counter(rows["world"].to_list())
    assert set(counts) == set(WORLDS)
    assert rows["misfit"].null_count() == rows.height
    before = version(store.catalog, NPCS, store.config.dataset(NPCS))
    assert write(store, standin.url) == 0

    own = store.root / "prompts" / FOLDER
    own.mkdir(parents=True)
    (own / "saltmark.md").write_text((FILES / "saltmark.md").read_text().replace("three hours", "two hours"))
    assert version(Store(home=str(store.root)).catalog, NPCS, store.config.dataset(NPCS)) != before
    assert write(store, standin.url) == counts["saltmark"]
    again = store.read(NPCS, BATCH)
    is_other = again["world"] != "saltmark"
    assert again.filter(is_other).equals(rows.filter(is_other))


def test_a_world_of_the_home_takes_its_share(store: Store, standin: StandinServer) -> None:
    write(store, standin.url)
    own = store.root / "prompts" / FOLDER
    own.mkdir(parents=True)
    source = (FILES / "saltmark.md").read_text().replace("name: saltmark", "name: atlantis")
    (own / "atlantis.md").write_text(source.replace("three hours", "two hours"))
    calls = write(store, standin.url)
    worlds = store.read(NPCS, BATCH)["world"].to_list()
    assert 0 < calls == worlds.count("atlantis") < len(PERSONAS)


def test_calls_are_rendered_and_tried_with_their_world(store: Store, standin: StandinServer) -> None:
    write(store, standin.url)
    for call in store.read(NPCS, BATCH).head(3).to_dicts():
        messages = sent_messages(store, BATCH, NPCS, call["generation_id"])
        assert messages is not None
        assert WORLDS[call["world"]].text in messages[0]["content"]
    shown = preview(store, LLM(url=standin.url), PreviewSpec(NPCS, count=3))
    assert [row.answered.is_sent for row in shown.rows] == [False] * 3


# --- the rule ---


def cases() -> Iterator[tuple[World, bool, dict[str, str]]]:
    for line in (CASES / "worlds.tsv").read_text().splitlines():
        world, belongs, role, background, interaction = line.split("\t")
        yield WORLDS[world], belongs == "yes", {"role": role, "background": background, "interaction": interaction}


def test_the_rule_on_labelled_cases() -> None:
    """Measured: docs/worlds.md has the counts."""
    verdicts = Counter((belongs, misfit(world, fields) is None) for world, belongs, fields in cases())
    assert verdicts.total() >= 30
    assert verdicts[True, False] == verdicts[False, True] == 0


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("a smartphone", True),
        ("two SMARTPHONES", True),
        ("the smartphone's light", True),
        ("smartphonetown", False),
        ("a gun-shy dog", True),
        ("the gunwale", False),
        ("three knives", True),
        ("a knife", True),
        ("many batteries", True),
        ("both buses", True),
    ],
)
def test_forbidden_things_are_found_as_whole_words_in_any_form(text: str, *, is_found: bool) -> None:
    world = WORLDS["saltmark"].model_copy(update={"never": ["smartphone", "gun", "knife", "battery", "bus"]})
    reason = misfit(world, {"greeting": text, "background": "He mends a tide engine."})
    assert (reason is not None) == is_found


def test_the_gate_quarantines_what_does_not_belong() -> None:
    npcs = task(worlds=["saltmark"])
    (request,) = persona_requests(npcs, [("p1", "A baker who keeps bees.")])
    answer = GameNPC(
        name="Odo",
        role="baker at the ebb market",
        background="Odo keeps bees on a roof and a smartphone in his apron.",
        interaction="Sells honey to players who bring news.",
        greeting="Honey?",
    )
    outcome = Outcome(request.key, "accepted", answer.model_dump_json())
    for is_on, reason in ((False, None), (True, "off_world")):
        config = HubConfig(quality={"off_world": is_on})  # type: ignore[arg-type]
        judged = Gates(config, npcs).judge(request, outcome)
        assert judged.outcome.reason == reason
    assert judged.outcome.detail == "names a thing that is not in saltmark: 'smartphone' (background)"
    assert HubConfig().quality.rule == HubConfig(quality={"off_world": False}).quality.rule  # type: ignore[arg-type]
    assert "world" not in npcs.schema["properties"]
    assert not {"world", "misfit"} & npcs.schema["properties"].keys()
    assert answer.model_copy(update={"world": "saltmark", "misfit": "x"}).as_text() == answer.as_text()


def test_the_check_warns() -> None:
    (check,) = [check for check in all_checks()[NPCS] if check.name == "npc_belongs_to_its_world"]
    assert check.severity.value == "WARN"


def test_parsing_is_kept() -> None:
    source = (FILES / "saltmark.md").read_text()
    assert parse_world(source, "a") is parse_world(source, "a")
