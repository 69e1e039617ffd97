"""Roles with models and servers of their own, and datasets that are made from the items of others."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from hub import Hub

from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import ConfigError, LLMError, PersonaHubError
from personahub_assets.core.roles import Role
from personahub_assets.defs.checks import all_checks
from personahub_assets.generation.llm import LLM
from personahub_assets.runs.plan import plan
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
  steps: {type: list, min: 1, max: 3, of: {type: string, min: 5, max: 90}, description: In order}
---
You invent dishes.
---
<data name="persona">
{{ persona }}
</data>
"""
REVIEWS = """---
name: reviews
description: What a guest says about a dish.
role: judge
max_tokens: 500
source: recipes
fields:
  verdict: {type: string, min: 10, max: 200, description: What the guest says}
---
You are a guest.
---
<data name="dish">
{{ title }}: {{ steps }}, for {{ persona }}
</data>
"""
SETTINGS = """
[related_personas]
hops = 0
[prices]
prompt = 1.0
completion = 2.0
[datasets.reviews]
samples = 2
[roles.judge]
model = "standin"
temperature = 0.2
prices = {prompt = 10.0, completion = 20.0}
[[roles.judge.variants]]
name = "mild"
[[roles.judge.variants]]
name = "strict"
temperature = 0.9
"""


def write(home: Path, name: str, text: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text(text, "utf-8")


@pytest.fixture(scope="module")
def judge() -> Iterator[StandinServer]:
    """The server of the judge."""
    with StandinServer() as server:
        yield server


@pytest.fixture(scope="session")
def asked(once: Once, standin: StandinServer) -> Path:
    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        write(hub.home, "hub.toml", SETTINGS)
        write(hub.home, "prompts/recipes.md", RECIPES)
        write(hub.home, "prompts/reviews.md", REVIEWS)
        hub.personas("people", PERSONAS)
        with StandinServer() as other:
            environment = hub.environment.model_copy(update={"judge_llm_url": other.url})
            hub.environment = environment
            assert hub.run(select=["+reviews", "+math_verified", "warehouse"]) == {}
            assert other.stats()["calls"] == 6

    return once("roles", make) / "hub"


@pytest.fixture
def hub(asked: Path, tmp_path: Path, standin: StandinServer, judge: StandinServer) -> Hub:
    copy = Hub(shutil.copytree(asked, tmp_path / "hub"), standin)
    path = str(copy.home / "people.jsonl")
    spec = copy.store.read("batches", "people")
    copy.store.write("batches", "people", spec.with_columns(path=pl.lit(path), source=pl.lit(path)))
    copy.environment = copy.environment.model_copy(update={"judge_llm_url": judge.url})
    return copy


def planned(hub: Hub, *assets: str) -> dict[tuple[str, str, str], tuple[int, float]]:
    made = plan(hub.environment, [("people", set(assets))])
    assert made.problems == {}
    return {(work.asset, work.role, work.variant): (work.ask, work.follow) for work in made.work}


def test_each_item_of_the_source_is_answered_by_each_variant_of_the_role(hub: Hub) -> None:
    recipes, reviews = hub.rows("recipes"), hub.rows("reviews")
    assert reviews.height == 6
    assert set(reviews["source_id"]) == set(recipes["item_id"])
    assert reviews.group_by("variant").len().sort("variant").rows() == [("mild", 3), ("strict", 3)]
    assert set(reviews.select("sample", "variant").unique().rows()) == {(0, "mild"), (1, "strict")}
    joined = reviews.join(recipes, left_on="source_id", right_on="item_id")
    assert joined["persona_id"].equals(joined["persona_id_right"])
    calls = hub.rows("generations").filter(asset="reviews")
    assert set(calls["input_id"]) == set(recipes["item_id"])
    assert set(calls.select("role", "temperature").unique().rows()) == {("judge", 0.2), ("judge", 0.9)}
    assert hub.rows("generations").filter(asset="recipes")["role"].unique().to_list() == ["writer"]
    paid = hub.rows("generations").group_by("role").agg(pl.col("cost").sum(), pl.col("prompt_tokens").sum())
    (cost,), (tokens,) = (paid.filter(role="judge")[name] for name in ("cost", "prompt_tokens"))
    assert cost > 10 * tokens / 1e6  # at the prices of the judge, ten times those of the writer


def test_checks_and_lineage_follow_the_source(hub: Hub, called: Called) -> None:
    checks = all_checks(hub.store.catalog.datasets)["reviews"]
    assert "source_has_not_changed" in {check.name for check in checks}
    with open_live(hub.store, " ".join(check.sql for check in checks) + " lineage(") as connection:
        failing = [each.name for each in checks if not each.filled(hub.store.config).result(connection).passed]
        assert failing == []
        item = hub.rows("reviews").row(0, named=True)
        line = connection.execute(
            "SELECT step, kind, id FROM lineage($id) ORDER BY step", {"id": item["item_id"]}
        ).fetchall()
    assert line == [(0, "item", item["item_id"]), (1, "item", item["source_id"]), (2, "persona", item["persona_id"])]
    code, why, error = called("why", item["item_id"], "--full", home=hub.home)
    assert code == 0, error
    assert f"from item  {item['source_id']}" in why
    assert f"from persona  {item['persona_id']}" in why
    assert "You are a guest." in why  # the messages are rendered again
    of_source = called("why", item["source_id"], home=hub.home)[1]
    assert "2 items in reviews" in of_source


def test_a_plan_tells_roles_apart_and_counts_what_follows(hub: Hub, called: Called) -> None:
    everything = ["documents", "text_personas", "personas", "recipes", "reviews"]
    assert set(planned(hub, *everything).values()) == {(0, 0.0)}
    # A changed source: its items are asked again, and what is made of them is only expected.
    write(hub.home, "prompts/recipes.md", RECIPES.replace("You invent", "Invent"))
    fresh = Hub(hub.home, hub.standin)
    fresh.environment = hub.environment
    assert planned(fresh, "recipes", "reviews") == {
        ("recipes", "writer", ""): (3, 0.0),
        ("reviews", "judge", "mild"): (0, 3.0),
        ("reviews", "judge", "strict"): (0, 3.0),
    }
    shown = called(
        "plan", "--select", "recipes", "--select", "reviews",
        home=hub.home, PERSONAHUB_LLM_URL=hub.standin.url, PERSONAHUB_JUDGE_LLM_URL=str(hub.environment.judge_llm_url),
    )[1]  # fmt: skip
    assert "judge" in shown.split("By role and model")[1]
    made = plan(fresh.environment, [("people", {"recipes", "reviews"})]).as_json()
    assert [each["role"] for each in made["roles"]] == ["writer", "judge"]


def test_items_are_made_again_when_their_source_changes(hub: Hub) -> None:
    write(hub.home, "prompts/recipes.md", RECIPES.replace("You invent", "Invent"))
    assert hub.run(select=["recipes"]) == {}
    store = hub.store
    (check,) = [each for each in all_checks(store.catalog.datasets)["reviews"] if each.name == "source_has_not_changed"]
    with open_live(store, check.sql) as connection:
        changed = len(connection.execute(check.sql).fetchall())
    assert changed  # until it is run again
    assert hub.run(select=["reviews"]) == {}
    with open_live(store, check.sql) as connection:
        assert connection.execute(check.sql).fetchall() == []
    calls = hub.rows("generations").filter(asset="reviews")
    assert calls.filter(status="superseded").height == changed
    assert hub.rows("reviews").height == 6


def test_a_takedown_of_a_persona_follows_to_items_of_items(hub: Hub) -> None:
    persona_id = hub.rows("personas").filter(persona=PERSONAS[0])["persona_id"][0]
    gone = set(hub.rows("recipes").filter(persona_id=persona_id)["item_id"])
    takedown(hub.store, Target("persona", (persona_id,)))
    assert hub.rows("recipes").height == 2
    reviews, calls = hub.rows("reviews"), hub.rows("generations").filter(asset="reviews")
    assert reviews.height == calls.height == 4
    assert not gone & {*reviews["source_id"], *calls["input_id"]}


def test_problems_are_solved_and_verified_in_a_run(hub: Hub, called: Called) -> None:
    assert hub.rows("math_solutions").height == 9
    assert hub.rows("generations").filter(asset="math_solutions")["role"].unique().to_list() == ["solver"]
    assert set(planned(hub, "math_problems", "math_solutions", "math_agreement").values()) == {(0, 0.0)}
    assert "3" in called("sql", "SELECT count(*) FROM math_verified", "--format", "csv", home=hub.home)[1]
    call = hub.rows("generations").filter(asset="math_solutions", prompt="math_solutions.program")["generation_id"][0]
    assert "You solve mathematics problems by programs." in called("why", call, "--full", home=hub.home)[1]


def test_try_asks_about_an_item_of_the_source(hub: Hub, called: Called) -> None:
    environment = {
        "PERSONAHUB_LLM_URL": hub.standin.url,
        "PERSONAHUB_JUDGE_LLM_URL": str(hub.environment.judge_llm_url),
    }
    item_id = hub.rows("recipes")["item_id"][1]
    code, shown, error = called("try", "reviews", "--from", item_id, home=hub.home, **environment)
    assert code == 0, error
    assert "You are a guest." in shown
    assert (
        "asked about items of recipes"
        in called("try", "reviews", "--persona", "A cook.", home=hub.home, **environment)[2]
    )


def test_a_role_without_its_server_is_named_before_the_run(hub: Hub) -> None:
    from personahub_assets.runs.endpoint import require_endpoint
    from personahub_assets.runs.runner import ordered

    write(hub.home, "prompts/reviews.md", REVIEWS.replace("a guest", "a critic"))
    dead = hub.environment.model_copy(update={"judge_llm_url": "http://127.0.0.1:9/v1"})
    require_endpoint(dead, ordered(dead, [], ["recipes"]))  # the judge is not asked
    (hub.home / "hub.toml").write_text(SETTINGS.replace('model = "standin"\n', ""))
    with pytest.raises(LLMError, match="PERSONAHUB_JUDGE_LLM_URL"):
        require_endpoint(dead, ordered(dead, [], ["reviews"]))


def test_a_refused_key_of_a_role_is_named_by_its_variable(hub: Hub) -> None:
    write(hub.home, "prompts/reviews.md", REVIEWS.replace("a guest", "a critic"))
    with StandinServer(faults="bad_key=1") as server:
        hub.environment = hub.environment.model_copy(update={"judge_llm_url": server.url})
        failed = hub.run(select=["reviews"])
    assert "PERSONAHUB_JUDGE_LLM_API_KEY" in failed["people: reviews"]


def test_a_role_of_the_other_kind_is_refused(hub: Hub, called: Called) -> None:
    (hub.home / "writer").write_text("model")
    write(hub.home, "prompts/reviews.md", REVIEWS.replace("a guest", "a critic"))
    failed = hub.run(select=["reviews"])
    assert "cannot be mixed" in failed["people: reviews"]


def test_endpoints_of_roles_and_their_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    config = HubConfig(
        roles={
            "solver": {
                "url": "http://solver/v1",
                "model": "s",
                "generation": {"server": "openai"},
                "variants": [
                    {"style": "program"},
                    {"url": "http://other/v1", "key_variable": "OTHER_KEY", "model": "o"},
                ],
            }
        },
        generation={"headers": {"X": "secret"}, "max_in_flight": 7},
    )
    llm = LLM(url="http://writer/v1", model="w")
    monkeypatch.setenv("PERSONAHUB_LLM_URL", "http://writer/v1")
    monkeypatch.setenv("PERSONAHUB_LLM_API_KEY", "of the writer")
    monkeypatch.setenv("PERSONAHUB_SOLVER_LLM_API_KEY", "of the solver")
    monkeypatch.setenv("OTHER_KEY", "of another")

    def reached(role: Role, variant: str = "") -> tuple[str | None, str | None, str]:
        other = llm.as_role(config, role, variant)
        return other.url, other.model, other._key

    assert reached("judge") == ("http://writer/v1", "w", "of the writer")
    assert llm.as_role(config, "judge") is llm
    assert reached("solver", "program") == ("http://solver/v1", "s", "of the solver")
    assert reached("solver", "2") == ("http://other/v1", "o", "of another")
    monkeypatch.delenv("PERSONAHUB_SOLVER_LLM_API_KEY")
    assert reached("solver", "program")[2] == ""  # the writer's key goes to no other server
    assert llm.as_role(config, "solver", "2") is llm.as_role(config, "solver", "2")
    own = config.as_role("solver", "program", is_own_server=True).generation
    assert (own.server, own.sent_headers, own.max_in_flight) == ("openai", {}, 7)
    assert llm.as_role(config, "solver", "2").budget is llm.budget


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[roles.writer]\nmodel = 'x'\n", "the writer has no table"),
        ("[roles.solver]\nurl = 'http://me:secret@host/v1'\n", "no password or key"),
        ("[roles.solvr]\nmodel = 'x'\n", "roles.solvr"),
        ("[roles.solver]\ngeneration = {modes = 'x'}\n", "modes"),
        ("[[roles.solver.variants]]\nname = 'a'\n[[roles.solver.variants]]\nname = 'a'\n", "two variants"),
    ],
)
def test_a_wrong_role_is_named(home: Path, text: str, fault: str) -> None:
    home.mkdir()
    (home / "hub.toml").write_text(text)
    with pytest.raises(ConfigError, match=fault) as error:
        HubConfig.load(home / "hub.toml")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("recipe", "no dataset 'recipe'"),
        ("reviews", "reviews is made from reviews"),
        ("tools", "{{ steps }} has no value"),
    ],
)
def test_a_wrong_source_is_named(home: Path, source: str, fault: str) -> None:
    from personahub_assets.core.catalog import Catalog

    home.mkdir()
    write(home, "prompts/recipes.md", RECIPES)
    write(home, "prompts/reviews.md", REVIEWS.replace("source: recipes", f"source: {source}"))
    with pytest.raises(PersonaHubError, match=fault):
        Catalog(home).item("reviews")
    assert Catalog(home).derivation("reviews") is None
