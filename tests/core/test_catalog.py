"""Datasets and prompts of a home: what adds one, what takes a package's place, and what a wrong file says."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import ConfigError, PersonaHubError, PromptError
from personahub_assets.core.fields import COLUMNS
from personahub_assets.core.prompts import Prompt
from personahub_assets.core.records import packaged
from personahub_assets.core.reserved import GRAPH_NAMES, name_fault
from personahub_assets.store.tables import Store

RECIPE = """---
name: recipes
description: A dish that the persona would cook.
max_tokens: 700
fields:
  title: {type: string, min: 3, max: 80, description: Name of the dish}
  minutes: {type: integer, min: 5, max: 300, description: Minutes it takes}
  score: {type: number, max: 1, description: Share of guests who liked it}
  vegan: {type: boolean, description: Whether it is vegan}
  difficulty: {type: choice, values: [easy, hard], description: For a cook}
  steps: {type: list, min: 1, max: 6, of: {type: string, min: 5, max: 90}, description: In order}
  parts:
    type: list
    max: 3
    description: Ingredients
    of: {type: object, fields: {name: {type: string, max: 40, pattern: "^[a-z]+$", description: What}}}
---
You invent dishes.
---
<data name="persona">
{{ persona }}
</data>
"""
CLASS = '''from personahub_assets.core.records import Answer, DatasetItem


class Step(Answer):
    text: str


class Recipe(DatasetItem):
    """A dish."""

    title: str
    steps: list[Step]
'''
ROW = {
    "title": "Soup",
    "minutes": 20,
    "score": 0.5,
    "vegan": True,
    "difficulty": "easy",
    "steps": ["Boil it"],
    "parts": [{"name": "salt"}],
}


def write(home: Path, name: str, text: str) -> Path:
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_fields_of_a_prompt_make_a_dataset_with_a_table(home: Path) -> None:
    write(home, "prompts/recipes.md", RECIPE)
    store = Store(home=str(home))
    assert store.catalog.own == ["recipes"]
    assert store.catalog.names == [*packaged(), "recipes", *Catalog().scores]
    item = store.catalog.item("recipes")
    assert item(**ROW).as_text().startswith("Title: Soup\nMinutes: 20\n")
    columns = {name: kind for name, kind in store.table_set.types("recipes").items() if name not in COLUMNS}
    assert columns == {
        "title": "VARCHAR",
        "minutes": "BIGINT",
        "score": "DOUBLE",
        "vegan": "BOOLEAN",
        "difficulty": "VARCHAR",
        "steps": "VARCHAR[]",
        "parts": 'STRUCT("name" VARCHAR)[]',
    }
    assert tuple(name for name in store.columns("recipes") if name in COLUMNS) == COLUMNS
    assert "'Minutes it takes'" in store.table_set.sql["recipes"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "So"),
        ("minutes", 301),
        ("score", 1.5),
        ("difficulty", "mild"),
        ("steps", []),
        ("steps", ["Stir"]),
        ("parts", [{"name": "Salt"}]),
        ("parts", [{"name": "a"}] * 4),
    ],
)
def test_an_answer_out_of_bounds_is_refused(home: Path, field: str, value: object) -> None:
    write(home, "prompts/recipes.md", RECIPE)
    with pytest.raises(ValidationError, match=field):
        Catalog(home).item("recipes")(**{**ROW, field: value})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type: choice", "type: choise", r"line 10: fields\.difficulty\.type: 'choise' \(did you mean 'choice'\?"),
        ("max: 80,", "mx: 80,", r"line 6: fields\.title: unknown key 'mx' \(did you mean 'max'\?"),
        ("max: 80, ", "", r"line 6: fields\.title: a string needs max"),
        ("min: 5, max: 300", "min: 500, max: 300", r"line 7: fields\.minutes: min 500 is greater than max 300"),
        ("of: {type: string, min: 5, max: 90}, ", "", r"line 11: fields\.steps: a list needs of"),
        ("values: [easy, hard]", "values: [yes, no]", r"line 10: .*got True; quote it"),
        ("'^[a-z]+$'".replace("'", '"'), '"(["', r"line 16: .*'\(\[' is no regular expression"),
        (", description: For a cook", "", r"line 10: fields\.difficulty\.description is missing"),
        ("  vegan", "  text", r"line 9: .*'text': the table has this column already"),
        ("  vegan", "  Vegan", r"line 9: .*use 1 to 63 of a-z"),
        ("  vegan", "  json", r"line 9: .*has a meaning for pydantic"),
        ("  vegan", "  score", r"line 9: 'score' stands on line 8 already"),
        ("{type: boolean, description: Whether it is vegan}", "true", r"line 9: fields\.vegan: expected \{type: …"),
        ("max_tokens: 700", "max_token: 700", r"line 4: unknown key 'max_token' \(did you mean 'max_tokens'\?"),
        ("fields:\n", "fields: {\n", r"line \d+: not valid YAML"),
        (
            "{{ persona }}",
            "{{ person }}",
            r"line 21: \{\{ person \}\} has no value: 'person' \(did you mean 'persona'\?",
        ),
        ("invent dishes", "invent {% if %}", r"line 18: bad template"),
    ],
)
def test_a_wrong_prompt_names_file_line_value_and_remedy(home: Path, old: str, new: str, message: str) -> None:
    assert RECIPE.count(old) == 1
    path = write(home, "prompts/recipes.md", RECIPE.replace(old, new))
    with pytest.raises(PromptError, match=message) as raised:
        Catalog(home).item("recipes")
    assert str(path) in str(raised.value)


def test_a_class_makes_a_dataset_and_needs_its_prompt(home: Path) -> None:
    path = write(home, "datasets/recipes.py", CLASS)
    catalog = Catalog(home)
    assert catalog.item("recipes").__name__ == "Recipe"
    assert Store(home=str(home)).table_set.types("recipes")["steps"] == 'STRUCT("text" VARCHAR)[]'
    with pytest.raises(PromptError, match=rf"prompts/recipes\.md is missing: the dataset {path}"):
        catalog.prompt("recipes")
    write(home, "prompts/recipes.md", RECIPE)
    with pytest.raises(ConfigError, match="has `fields:` for the same dataset: keep one of them"):
        Catalog(home).item("recipes")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: str", "title: str =", r"line 11: "),
        ("title: str", "title: Strng", r"line 11: NameError: name 'Strng'"),
        ("title: str", "title: dict[str, int]", r"line 11: field 'title': .*use str, int, float"),
        ("title: str", "persona_id: str", r"line 11: field 'persona_id': the table has this column already"),
        ("(DatasetItem)", "(Answer)", r"expected one class derived from DatasetItem .*, got none"),
        ("class Step(Answer)", "class Step(DatasetItem)", r"got Step, Recipe"),
        ("from personahub", "raise SystemExit(3)\nfrom personahub", r"line 1: SystemExit"),
    ],
)
def test_a_wrong_class_names_file_and_line(home: Path, old: str, new: str, message: str) -> None:
    path = write(home, "datasets/recipes.py", CLASS.replace(old, new))
    with pytest.raises(ConfigError, match=message) as raised:
        Catalog(home).item("recipes")
    assert str(path) in str(raised.value)


def test_a_wrong_file_breaks_only_what_needs_it(home: Path) -> None:
    write(home, "prompts/recipes.md", RECIPE.replace("choice", "choise"))
    write(home, "prompts/tools.md", "no parts")
    write(home, "hub.toml", "[datasets.recipes]\nshare = 0.5\n")
    store = Store(home=str(home))
    assert store.config.dataset("recipes").share == 0.5
    assert store.read("tools", "a").is_empty()
    assert list(store.catalog.faults) == ["recipes"]
    assert "recipes" not in store.table_set.sql
    with pytest.raises(PromptError, match="choise"):
        store.columns("recipes")
    with pytest.raises(PromptError, match=r"prompts/tools\.md: expected three parts"):
        store.catalog.prompt("tools")


def test_a_prompt_of_the_home_takes_the_place_of_the_package_s(home: Path) -> None:
    assert Catalog(home).prompt("tools") == Catalog().prompt("tools")
    text = "---\nname: tools\ndescription: Mine.\n---\nDesign {{ count }}\n---\n{{ persona }}\n"
    path = write(home, "prompts/tools.md", text.replace("{{ count }}", "a tool"))
    catalog = Catalog(home)
    assert catalog.prompt("tools").description == "Mine."
    assert catalog.item("tools") is packaged()["tools"]
    assert catalog.files == [path]
    write(home, "prompts/tools.md", text)
    with pytest.raises(PromptError, match=r"line 5: \{\{ count \}\} has no value"):
        catalog.prompt("tools")


def test_other_files_take_no_part_and_a_near_miss_is_explained(home: Path) -> None:
    write(home, "prompts/tools-v2.md", RECIPE.replace("recipes", "tools"))
    write(home, "prompts/recipes.md", RECIPE.replace("fields:\n", "parameters: {}\nx:\n"))
    write(home, "prompts/README.md", "Our prompts.")
    write(home, "datasets/_shared.py", "raise ValueError")
    catalog = Catalog(home)
    assert catalog.names == Catalog().names
    assert "recipes.md is not a dataset: it needs `fields:`" in catalog.unknown("dataset", "recipes", catalog.names)
    with pytest.raises(ConfigError, match=r"no dataset 'recipes' .*it needs `fields:`"):
        HubConfig.load(write(home, "hub.toml", "[datasets.recipes]\n"))


def test_two_homes_of_one_process_have_datasets_of_their_own(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    write(first, "prompts/recipes.md", RECIPE)
    write(second, "datasets/recipes.py", CLASS)
    one, two, three = (Store(home=str(tmp_path / name)) for name in ("a", "b", "c"))
    assert "minutes" in one.columns("recipes")
    assert "minutes" not in two.columns("recipes")
    with pytest.raises(PersonaHubError, match="no table 'recipes'"):
        three.columns("recipes")
    assert one.catalog.item("recipes") is Store(home=str(first)).catalog.item("recipes")


@pytest.mark.parametrize(
    "name", ["Recipes", "1st", "select", "personas", "prompts", "fate", "warehouse", "x_checks", ""]
)
def test_a_name_that_means_something_else_is_refused(home: Path, name: str) -> None:
    assert name_fault(name)
    write(home, f"prompts/{name}.md", RECIPE.replace("recipes", name))
    if name:
        with pytest.raises(PersonaHubError, match="rename the file"):
            Catalog(home).item(name)


def test_every_name_of_the_graph_is_reserved() -> None:
    from personahub_assets.core.config import Environment
    from personahub_assets.definitions import build

    graph = build(Environment(home=Path("no-such-home"))).get_repository_def()
    ops = {op.name for job in graph.get_all_jobs() for op in job.all_node_defs}
    names = {*ops, *graph.job_names, *(sensor.name for sensor in graph.sensor_defs)}
    names |= {schedule.name for schedule in graph.schedule_defs}
    own = {name for name in names if name not in Catalog().names and not name.startswith("__")}
    assert own - {name for name in own if name_fault(name)} == set()
    assert names | {"all", "batch"} | {"lexical_duplicates", "semantic_duplicates"} >= GRAPH_NAMES


def test_a_prompt_written_as_a_file_is_the_same_prompt() -> None:
    for name in Catalog().tasks:
        prompt = Catalog().prompt(name).with_settings({}, {"top_k": 7, "stop": ["END"]})
        again = Prompt.parse(prompt.as_file(), "again.md")
        assert (again.fingerprint, again.options) == (prompt.fingerprint, prompt.options)
