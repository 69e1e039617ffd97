"""`run --until`: exactly the wanted number of rows, or the reason; nothing is paid twice."""

import re
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from hub import Hub as Home
from typer.testing import CliRunner

from personahub_assets.cli.app import app
from personahub_assets.core.errors import ConfigError
from personahub_assets.runs.until import Target
from personahub_assets.standin.server import StandinServer
from personahub_assets.warehouse.live import open_live

PERSONAS = [f"A teacher of class number {n} who collects {n} kinds of stamps and repairs clocks" for n in range(40)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    with StandinServer(faults="refusal=0.4,seed=5") as standin:
        home = Home(tmp_path / "hub", standin)
        (home.home / "hub.toml").write_text("[related_personas]\nhops = 0\n[semantic]\nthreshold = 1.0\n")
        home.personas("a", PERSONAS[:25])
        home.personas("b", PERSONAS[25:])
        monkeypatch.setenv("PERSONAHUB_HOME", str(home.home))
        monkeypatch.setenv("PERSONAHUB_LLM_URL", standin.url)
        assert home.run(select=["+personas"]) == {}
        yield home


def until(target: str, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["run", "--until", target, *options])
    return result.exit_code, " ".join(result.output.split())


def test_rounds_end_at_exactly_the_number(home: Home) -> None:
    kept = home.personas_kept()
    # Stopped in the middle by a budget, then continued: no answer is paid twice.
    code, output = until("instructions=14", "--max-calls", "5")
    assert code == 3, output
    assert "rows are missing" in output
    code, output = until("instructions=14")
    assert code == 0, output
    assert home.rows("instructions").height == 14
    generations = home.store.read_all("generations", asset="instructions")
    assert home.calls() == generations["attempts"].sum()
    assert 14 < generations.height < kept
    # Done: no further call.
    before = home.calls()
    assert until("instructions=14")[0] == 0
    assert until("instructions=3")[0] == 0
    assert (home.calls(), home.rows("instructions").height) == (before, 14)
    # More than there is: every persona is asked once, and the rest is said.
    code, output = until("instructions=40")
    assert code == 3
    rows = home.rows("instructions").height
    assert f"{rows} rows of 40" in output
    assert "All personas were asked" in output
    assert re.search(r"\d+% of the \d+ requests of instructions gave a row", output)
    asked = home.store.read_all("generations", asset="instructions")["input_id"]
    assert set(asked) == set(home.rows("personas")["persona_id"])


def test_wrong_targets_are_refused() -> None:
    for text, error in (("instructions", "NAME=ROWS"), ("x=", "NAME=ROWS"), ("x=0", "NAME=ROWS"), ("x=5", "valid")):
        with pytest.raises(ConfigError, match=error):
            Target.parse(text, ["instructions"])
    assert Target.parse(" instructions = 12 ", ["instructions"]) == Target("instructions", 12)
    view = Target.parse("tools_verified=3", ["instructions", "tools"])
    assert (view.dataset, view.assets) == ("tools", ["tools", "tool_tests", "tool_implementations"])
    assert Target.parse("tools_unique=3", ["tools"]).assets == ["tools"]
    with pytest.raises(ConfigError, match="--until math_verified=9 or --until math_problems=9"):
        Target.parse("math_solutions=9", ["math_problems"], {"math_solutions": "math_problems"})


def test_two_targets_are_refused(home: Home) -> None:
    before = home.calls()
    result = CliRunner().invoke(app, ["run", "--until", "instructions=4", "--until", "tools=4"])
    assert "give one, and run again for the next" in str(result.exception)
    assert home.calls() == before


def test_several_samples_give_exactly_the_number(home: Home) -> None:
    with (home.home / "hub.toml").open("a") as settings:
        settings.write("[datasets.instructions]\nsamples = 3\n")
    for number in (4, 8):
        code, output = until(f"instructions={number}")
        assert code == 0, output
        assert home.rows("instructions").height == number
    generations = home.store.read_all("generations", asset="instructions")
    assert home.calls() == generations["attempts"].sum()


def test_verified_rows_end_at_exactly_the_number_after_a_kill(home: Home) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-m", "personahub_assets", "run", "--until", "math_verified=3"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    before, limit = home.calls(), time.monotonic() + 120
    while home.calls() < before + 8 and killed.poll() is None and time.monotonic() < limit:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    in_flight = 64  # the most that one task has in flight at its start
    code, output = until("math_verified=3")
    assert code == 0, output
    with open_live(home.store, "math_verified") as connection:
        assert connection.execute("SELECT count(*) FROM math_verified").fetchone() == (3,)
    calls_of = home.store.read_all("generations")
    needed = calls_of.filter(pl.col("asset").is_in(["math_problems", "math_solutions"]), ~pl.col("reused"))
    assert needed["attempts"].sum() <= home.calls() - before <= needed["attempts"].sum() + in_flight
    # Nothing is asked again, and no row is removed.
    calls = home.calls()
    assert until("math_verified=3")[0] == 0
    assert home.calls() == calls
