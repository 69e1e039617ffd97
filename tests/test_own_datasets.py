"""Datasets of a home, from the prompt to the release: asked, stored, checked, explained, taken down."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hub import Hub

import personahub_assets
from personahub_assets.core.errors import ConfigError, PersonaHubError
from personahub_assets.core.prompts import Prompt
from personahub_assets.definitions import build
from personahub_assets.defs.checks import all_checks
from personahub_assets.releases.build import freeze
from personahub_assets.releases.folder import verify
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.standin.server import StandinServer
from personahub_assets.takedown.receipts import Target
from personahub_assets.takedown.takedown import takedown
from personahub_assets.warehouse.live import open_live

Called = Callable[..., tuple[int, str, str]]
Once = Callable[[str, Callable[[Path], None]], Path]

PERSONAS = [
    "A ferry cook on the Elbe who trades recipes with pilots and never measures salt.",
    "A retired glassblower in Murano who builds barometers for the schools of the lagoon.",
    "A night porter in Aberdeen who writes chess problems between two trains.",
]
RECIPES = """---
name: recipes
description: A dish that the persona would cook.
max_tokens: 500
fields:
  title: {type: string, min: 3, max: 60, description: Name of the dish}
  minutes: {type: integer, min: 5, max: 90, description: Minutes it takes}
  steps: {type: list, min: 1, max: 3, of: {type: string, min: 5, max: 90}, description: In order}
---
You invent dishes, with title, minutes and steps.
---
<data name="persona">
{{ persona }}
</data>
"""
MENUS = """---
name: menus2
description: A menu of the persona.
---
You plan menus.
---
{{ persona }}
"""
MENU_CLASS = '''from typing import Annotated
from pydantic import Field, StringConstraints
from personahub_assets.core.records import DatasetItem


class Menu(DatasetItem):
    """A menu of the persona."""

    courses: Annotated[list[Annotated[str, StringConstraints(min_length=3, max_length=60)]], Field(max_length=3)]

    def as_text(self) -> str:
        """Write the courses on one line."""
        return " / ".join(self.courses)
'''


def write(home: Path, name: str, text: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text(text, "utf-8")


@pytest.fixture(scope="session")
def asked(once: Once, standin: StandinServer) -> Path:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        write(hub.home, "hub.toml", "[related_personas]\nhops = 0\n")
        write(hub.home, "prompts/recipes.md", RECIPES)
        write(hub.home, "prompts/menus2.md", MENUS)
        write(hub.home, "datasets/menus2.py", MENU_CLASS)
        hub.personas("people", PERSONAS)
        assert hub.run(select=["+personas", "recipes", "menus2", "warehouse"]) == {}

    return once("own-datasets", make) / "hub"


@pytest.fixture
def hub(asked: Path, tmp_path: Path, standin: StandinServer) -> Hub:
    copy = Hub(shutil.copytree(asked, tmp_path / "hub"), standin)
    path = str(copy.home / "people.jsonl")
    spec = copy.store.read("batches", "people")
    copy.store.write("batches", "people", spec.with_columns(path=pl.lit(path), source=pl.lit(path)))
    return copy


def prompts(hub: Hub) -> pl.DataFrame:
    with open_live(hub.store, "prompts") as connection:
        return pl.DataFrame(connection.sql("FROM prompts ORDER BY name, first_used"))


def test_rows_checks_and_the_record_of_prompts_are_those_of_a_package_s_dataset(hub: Hub) -> None:
    assert hub.store.read_all("recipes")["minutes"].is_between(5, 90).all()
    menus = hub.store.read_all("menus2")
    assert menus["text"].to_list() == [" / ".join(courses) for courses in menus["courses"]]
    datasets = hub.store.catalog.datasets
    checks = [each.filled(hub.store.config) for name in ("recipes", "menus2") for each in all_checks(datasets)[name]]
    assert len(checks) == 16
    with open_live(hub.store, " ".join(check.sql for check in checks) + " prompts dataset_items") as connection:
        assert [check.name for check in checks if not check.result(connection).passed] == []
        joined = "FROM generations LEFT JOIN prompts USING (prompt_fingerprint)"
        assert connection.execute(f"SELECT count(*), count(name) {joined}").fetchone() == (6, 6)
        assert connection.execute("SELECT count(*) FROM dataset_items").fetchone() == (6,)
    assert prompts(hub).select("name", "model", "batches", "rows_written").rows() == [
        ("menus2", "standin", 1, 3),
        ("recipes", "standin", 1, 3),
    ]


def test_commands_know_it(hub: Hub, called: Called) -> None:
    item_id = hub.store.read_all("recipes")["item_id"][0]

    def out(*arguments: str) -> str:
        code, text, error = called(*arguments, home=hub.home, PERSONAHUB_LLM_URL=hub.standin.url)
        assert code == 0, error
        return text

    assert "3" in out("sql", "SELECT count(minutes) FROM recipes", "--format", "csv")
    assert "Minutes it takes" in out("sql", "--schema", "recipes")
    why = out("why", item_id, "--full")
    assert "item  recipes" in why
    assert "You invent dishes" in why
    assert "A run makes no call" in out("plan", "--select", "recipes", "--select", "menus2")
    calls = hub.calls()
    assert f'"prompt": "{hub.home}/prompts/recipes.md"' in out("try", "recipes", "-n", "1", "--json")
    assert hub.calls() == calls
    variant = hub.home / "prompts" / "recipes-v2.md"
    variant.write_text(RECIPES.replace("  minutes: {type: integer, min: 5, max: 90", "  pans: {type: integer, max: 3"))
    assert "Pans: " in out("try", "recipes", "-n", "1", "--prompt", str(variant))
    assert hub.store.read_all("recipes").height == 3  # the variant is no dataset, and nothing was written


def test_every_version_stays_on_record(hub: Hub, called: Called) -> None:
    (before,) = prompts(hub).filter(name="recipes").to_dicts()
    call = hub.store.read_all("generations", asset="recipes")["generation_id"][0]
    write(hub.home, "prompts/recipes.md", RECIPES.replace("You invent", "Invent"))
    assert called("try", "recipes", "-n", "1", home=hub.home, PERSONAHUB_LLM_URL=hub.standin.url)[0] == 0
    tried = prompts(hub).filter(name="recipes").to_dicts()
    assert [row["rows_written"] for row in tried] == [3, 0]
    assert hub.run(select=["recipes"]) == {}
    old, new = prompts(hub).filter(name="recipes").to_dicts()
    assert (old, new["rows_written"]) == (before, 3)
    assert new["template"].startswith("Invent dishes")
    assert new["first_used"] == tried[1]["first_used"] < new["last_used"]
    shown = called("why", call, "--full", home=hub.home)[1]
    assert "superseded" in shown
    assert "You invent dishes" in shown


def test_a_takedown_removes_rows_and_keeps_prompts_that_do_not_quote_them(hub: Hub) -> None:
    quoting = RECIPES.replace("You invent", f"Not like this: {PERSONAS[0]} You invent")
    write(hub.home, "prompts/recipes.md", quoting)
    assert hub.run(select=["recipes"]) == {}
    write(hub.home, "prompts/recipes.md", RECIPES)
    persona_id = hub.store.read_all("personas").filter(persona=PERSONAS[0])["persona_id"][0]
    takedown(hub.store, Target("persona", (persona_id,)))
    assert hub.store.read_all("recipes").height == hub.store.read_all("menus2").height == 2
    assert sorted(prompts(hub)["instructions"].str.slice(0, 10)) == ["", "You invent", "You plan m"]
    takedown(hub.store, Target("batch", ("people",), "people"))
    assert hub.store.read_all("recipes").is_empty()
    assert prompts(hub).height == 3
    left = hub.store.paths.partition_folders("people")
    assert {folder.relative_to(hub.store.paths.tables).parts[0] for folder in left} == {"prompt_uses"}


def test_a_release_has_it_with_its_prompt_and_says_what_is_of_the_home(hub: Hub) -> None:
    (hub.home / "writer").write_text("model")
    for asset in ("recipes", "menus2"):
        calls = hub.store.read("generations", "people", asset)
        hub.store.write("generations", "people", calls.with_columns(model=pl.lit("tiny")), asset)
    made = freeze(hub.store, ReleaseSpec.of("v1", ["personas", "recipes"], relations=relations(hub.store)))
    assert verify(made) == []
    assert made.rows == {"personas": 3, "recipes": 3}
    (prompt,) = made.manifest["prompts"]
    assert prompt | {"config": "recipes", "models": ["tiny"], "rows": 3} == prompt
    text = (made.path / prompt["file"]).read_text("utf-8")
    assert Prompt.parse(text, "p").fingerprint == prompt["prompt_fingerprint"]
    assert '"minutes"' in (made.path / prompt["schema_file"]).read_text("utf-8")
    assert [each["file"] for each in made.manifest["own_files"]] == [
        "datasets/menus2.py",
        "prompts/menus2.md",
        "prompts/recipes.md",
    ]
    card = (made.path / "README.md").read_text("utf-8")
    assert prompt["file"] in card
    assert "A dish that the persona would cook" in card
    assert "| `minutes` | `BIGINT` | Minutes it takes |" in card


def test_the_graph_has_it_and_a_wrong_file_stops_its_own_runs_alone(hub: Hub, called: Called) -> None:
    graph = build(hub.environment).resolve_asset_graph()
    keys = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert (keys["recipes"].description or "").startswith("A dish that the persona would cook.")
    assert {key.to_user_string() for key in keys["warehouse"].parent_keys} >= {"recipes", "menus2", "tools"}
    write(hub.home, "datasets/menus2.py", MENU_CLASS + "\n\nraise ValueError('no menu')\n")
    graph = build(hub.environment).resolve_asset_graph()
    described = {key.to_user_string(): graph.get(key).description or "" for key in graph.get_all_asset_keys()}
    assert "Cannot be made" in described["menus2"]
    assert "line 16: ValueError: no menu" in described["menus2"]
    with pytest.raises(PersonaHubError, match="line 16: ValueError: no menu"):
        hub.run(select=["menus2"])
    assert hub.run(select=["recipes", "warehouse"]) == {}
    code, out, _ = called("sql", "SELECT count(*) FROM menus2 JOIN dataset_items USING (item_id)", home=hub.home)
    assert (code, "3" in out) == (0, True)  # its rows stay, with the columns of their files


def test_two_hubs_of_one_process_have_their_own(hub: Hub, tmp_path: Path) -> None:
    first, second = personahub_assets.Hub(hub.home), personahub_assets.Hub(tmp_path / "other")
    assert first.dataset("recipes").collect().height == 3
    with pytest.raises(ConfigError, match="no dataset 'recipes'"):
        second.dataset("recipes")
    write(second.home, "hub.toml", "") if second.home.exists() else second.home.mkdir()
    write(second.home, "prompts/recipes.md", RECIPES.replace("minutes", "hours"))
    assert "hours" in second.dataset("recipes").collect_schema()
    assert "hours" not in first.dataset("recipes").collect_schema()
    os.replace(hub.home / "prompts" / "recipes.md", hub.home / "recipes.md")  # noqa: PTH105
    with pytest.raises(ConfigError, match="no dataset 'recipes'"):  # each call sees the home as it is
        first.dataset("recipes")
