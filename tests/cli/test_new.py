"""`personahub new`: writes what can be edited, keeps what there is, and shows what it adds before it does."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from personahub_assets.core.catalog import UNEDITED, Catalog
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

Called = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("option", [(), ("--python",)])
def test_a_dataset_that_is_still_the_template_is_not_asked(
    called: Called, home: Path, standin: StandinServer, option: tuple[str, ...]
) -> None:
    """A run of everything leaves it out and says so; a run of it alone, and a preview, are refused."""
    register(Store(home=str(home)), str(_people(home)))
    assert called("new", "dataset", "recipes", *option, home=home)[0] == 0
    before = standin.stats()["calls"]
    with_endpoint = {"home": home, "PERSONAHUB_LLM_URL": standin.url}
    for arguments in (("run", "--select", "recipes"), ("try", "recipes", "--persona", "A baker")):
        code, _, error = called(*arguments, **with_endpoint)
        assert (code, "it is still the template" in error, "recipes.md: line 3 and " in error) == (1, True, True), error
    code, _, error = called("run", "--select", "recipes", "--select", "documents", **with_endpoint)
    assert (code, "left: recipes: it is still the template" in error) == (3, True), error
    assert "recipes is left out: it is still the template" in called("plan", **with_endpoint)[1]
    assert standin.stats()["calls"] == before
    for path in [*home.glob("prompts/*.md"), *home.glob("datasets/*.py")]:
        path.write_text(path.read_text("utf-8").replace(UNEDITED, "A dish"), "utf-8")
    assert called("try", "recipes", "--persona", "A baker", **with_endpoint)[0] == 0


def _people(home: Path) -> Path:
    path = home.parent / "people.jsonl"
    path.write_text('{"persona": "A baker in a cold kitchen who lets her bread prove for two days."}\n')
    return path


@pytest.mark.parametrize("option", [(), ("--python",)])
def test_the_files_of_a_new_dataset_are_whole(called: Called, home: Path, option: tuple[str, ...]) -> None:
    code, _, error = called("new", "dataset", "recipes", *option, home=home)
    assert (code, "personahub try recipes" in error) == (0, True)
    catalog = Catalog(home)
    assert list(catalog.item("recipes").model_fields) == ["title", "kind", "minutes", "steps"]
    assert catalog.prompt("recipes").messages({"persona": "A"})
    assert (home / "datasets" / "recipes.py").exists() == bool(option)
    before = (home / "prompts" / "recipes.md").read_text()
    code, _, error = called("new", "dataset", "recipes", home=home)
    assert (code, "exists and is kept" in error) == (1, True)
    assert (home / "prompts" / "recipes.md").read_text() == before


def test_a_prompt_of_the_package_is_copied_to_be_edited(called: Called, home: Path) -> None:
    assert called("new", "prompt", "tools", home=home)[0] == 0
    assert Catalog(home).prompt("tools") == Catalog().prompt("tools")
    assert "exists and is kept" in called("new", "prompt", "tools", home=home)[2]
    assert "did you mean 'tools'?" in called("new", "prompt", "tool", home=home)[2]


@pytest.mark.parametrize(("name", "message"), [("tools", "part of the package"), ("order", "SQL"), ("A", "a-z")])
def test_a_name_that_cannot_be_used_is_refused(called: Called, home: Path, name: str, message: str) -> None:
    code, _, error = called("new", "dataset", name, home=home)
    assert (code, message in error, home.exists()) == (2, True, False)


def test_a_dataset_of_a_checkout_is_shown_and_run_only_in_the_home(called: Called, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "checkout"
    assert called("new", "dataset", "recipes", "--python", home=other)[0] == 0
    marker = tmp_path / "ran"
    with (other / "datasets" / "recipes.py").open("a") as file:
        file.write(f"\nopen({str(marker)!r}, 'w').close()\n")
    git = ["git", "-C", str(other), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    revision = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    arguments = ("new", "dataset", "recipes", "--add", str(other))
    code, out, error = called(*arguments, home=home)
    assert (code, home.exists(), marker.exists()) == (1, False, False)
    assert "class Recipes(DatasetItem)" in out
    assert "write one that suits only this person" in out
    assert f"commit {revision}" in error
    assert "runs with your rights" in error
    assert "add --yes" in error
    assert called(*arguments, "--yes", home=home)[0] == 0
    assert marker.exists()
    assert "exists and is kept" in called(*arguments, "--yes", home=home)[2]
    assert (
        "no prompts/soups.md; no dataset 'soups'"
        in called("new", "dataset", "soups", "--add", str(other), home=home)[2]
    )
    (other / "datasets" / "recipes.py").unlink()
    code, _, error = called(*arguments, "--yes", home=tmp_path / "third")
    assert (code, "neither `fields:` nor a file datasets/recipes.py" in error) == (1, True)
