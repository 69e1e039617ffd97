"""`plan --scale`: totals proportional to the home, machines that follow from them, and clear refusals."""

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from personahub_assets.cli.app import app
from personahub_assets.cli.scale import count_of, short
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import StoreError
from personahub_assets.runs.scale import Machines, Scale, scale
from personahub_assets.store.tables import Store, table_schema


def put(store: Store, table: str, rows: list[dict[str, object]], asset: str | None = None) -> None:
    schema = table_schema(table)
    blank = dict.fromkeys(schema)
    store.write(table, "a", pl.DataFrame([blank | {"batch": "a"} | row for row in rows], schema), asset)


@pytest.fixture
def measured(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """10 documents, 40 candidates, 20 personas; 10 calls, one of which was reused, and 20 for a dataset."""
    store.root.mkdir(parents=True)
    put(store, "documents", [{"document_id": f"d{n}", "text": "A page"} for n in range(10)])
    people = [{"persona_id": f"p{n}", "persona": f"A person {n}", "hop": 0} for n in range(40)]
    put(store, "text_personas", people)
    put(store, "personas", people[:20])
    call = {"status": "accepted", "reused": False, "attempts": 2, "prompt_tokens": 300, "cached_tokens": 200}
    call |= {"completion_tokens": 50}
    calls = [call | {"generation_id": f"g{n}", "reused": n == 9} for n in range(10)]
    put(store, "generations", calls, "text_personas")
    put(store, "generations", [call | {"generation_id": f"i{n}"} for n in range(20)], "instructions")
    put(store, "instructions", [{"item_id": f"i{n}", "persona_id": f"p{n}", "text": "Do it"} for n in range(20)])
    monkeypatch.setenv("PERSONAHUB_HOME", str(store.root))
    return store


def forecast(store: Store, personas: int, machines: Machines | None = None) -> Scale:
    environment = Environment(home=Path(store.home), llm_url=None, llm_model=None, embed_url=None)
    return scale(environment, store, personas, machines or Machines())


def test_a_home_of_its_own_size_is_what_was_spent(measured: Store) -> None:
    same = forecast(measured, 20)
    steps = {step.asset: step for step in same.steps}
    assert same.documents == 10
    # A reused answer is asked in a new hub, at the price of the others.
    assert (steps["text_personas"].rows, steps["text_personas"].calls) == (40, 20)
    assert steps["instructions"].prompt_tokens == 20 * 300
    assert steps["instructions"].gpu_hours == pytest.approx((20 * 50 + 20 * 100 / 10) / 2_500 / 3_600)
    assert same.storage["personas"] == measured.path("personas", "a").stat().st_size


def test_everything_grows_with_the_personas(measured: Store) -> None:
    small, large = forecast(measured, 1_000), forecast(measured, 1_000_000)
    for name in ("documents", "gpu_hours", "days"):
        assert getattr(large, name) == pytest.approx(1_000 * getattr(small, name))
    assert sum(large.storage.values()) == pytest.approx(1_000 * sum(small.storage.values()))
    assert large.batches == 10
    assert "20 personas, which is few" in " ".join(large.assumptions)
    assert "50.0% of the candidates are kept" in " ".join(large.assumptions)


def test_shards_follow_from_the_memory(measured: Store) -> None:
    whole = forecast(measured, 10**9)
    half = forecast(measured, 10**9, Machines(memory=int(whole.memory / 2) + 1))
    assert (half.shards, forecast(measured, 10**9, Machines(memory=int(whole.memory) + 1)).shards) == (2, 1)
    assert whole.memory >= 310 * 10**9


def test_prices_give_a_cost_and_an_hour_a_rent(measured: Store) -> None:
    assert forecast(measured, 100).cost is None
    (measured.root / "hub.toml").write_text("[prices]\nprompt = 1.0\ncached = 0.5\ncompletion = 2.0\n")
    priced = forecast(measured, 20, Machines(gpu_hour=3.0))
    per_request = (100 * 1.0 + 200 * 0.5 + 50 * 2.0) / 1e6
    assert priced.cost == pytest.approx(30 * per_request)
    assert priced.rent == pytest.approx(3.0 * priced.gpu_hours)


def test_levers_are_ranked(measured: Store) -> None:
    saves = [lever.saves for lever in forecast(measured, 100).levers]
    assert saves == sorted(saves, reverse=True)
    assert all(0 <= share < 1 for share in saves)


def test_the_command_prints_it_as_text_and_json(measured: Store) -> None:
    shown = CliRunner().invoke(app, ["plan", "--scale", "1G", "--gpus", "8"])
    assert shown.exit_code == 0, shown.output
    assert "1,000,000,000 personas, from the averages of 20" in shown.output
    made = json.loads(CliRunner().invoke(app, ["plan", "--scale", "1e9", "--gpus", "8", "--json"]).stdout)
    assert made["personas"] == 10**9
    assert made["days"] == pytest.approx(made["gpu_hours"] / 8 / 24, rel=1e-3)
    assert {step["asset"] for step in made["steps"]} == {"text_personas", "instructions"}
    assert measured.root.joinpath("tables").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scale", "many"], "'many' is no number of personas: write 1000000, 1_000_000, 1e6 or 1M"),
        (["--scale", "0"], "'0' is no number of personas"),
        (["--scale", "5", "--batch", "a"], "--scale is about the whole home"),
    ],
)
def test_what_makes_no_sense_is_refused(measured: Store, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["plan", *arguments])
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())


def test_a_home_without_personas_has_no_averages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONAHUB_HOME", str(store.root))
    result = CliRunner().invoke(app, ["plan", "--scale", "1000"])
    assert isinstance(result.exception, StoreError)
    assert "has no personas, so there are no averages" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "count"),
    [("12", 12), ("1_015_863_523", 1_015_863_523), ("1e9", 10**9), ("2.5M", 2_500_000), ("3k", 3_000)],
)
def test_numbers_of_personas(text: str, count: int) -> None:
    assert count_of(text) == count


def test_large_numbers_are_short() -> None:
    assert [short(n) for n in (12, 9_999, 12_345, 5e9, 7.25e12)] == ["12", "9,999", "12.3 k", "5 G", "7.25 T"]
