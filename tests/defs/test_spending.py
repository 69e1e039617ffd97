"""Budgets, --retry, superseded answers: real runs of the graph against the stand-in, calls counted by the stand-in."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from hub import ENABLED, SETTINGS, TOPICS, Hub

from personahub_assets.core.errors import ConfigError
from personahub_assets.core.project_files import sql_files
from personahub_assets.defs.maintenance import maintenance
from personahub_assets.defs.naming import Names
from personahub_assets.generation.budget import Budget
from personahub_assets.generation.retention import maintain
from personahub_assets.runs.runner import Result, run_batches
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build

Once = Callable[[str, Callable[[Path], None]], Path]

REFUSALS = "refusal=0.5,seed=3"
PRICES = "[prices]\nprompt = 1\ncached = 0.5\ncompletion = 4\n"


@pytest.fixture
def hub(home: Path, standin: StandinServer) -> Hub:
    hub = Hub(home, standin)
    hub.pages("a", TOPICS[:3])
    return hub


@pytest.fixture
def asked(once: Once, home: Path, standin: StandinServer) -> Hub:
    """A copy of a home with personas of three documents, and tools for each."""

    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", standin)
        hub.pages("a", TOPICS[:3])
        assert go(hub, "+personas", "tools") == Result()

    return Hub(shutil.copytree(once("asked", make) / "hub", home), standin)


@pytest.fixture
def refusing() -> Iterator[StandinServer]:
    with StandinServer(faults=REFUSALS) as server:
        yield server


@pytest.fixture
def refused(once: Once, home: Path, refusing: StandinServer) -> Hub:
    """A copy of a home in which half of the requests for personas and tools were refused."""

    def make(folder: Path) -> None:
        hub = Hub(folder / "hub", refusing)
        hub.pages("a", TOPICS)
        go(hub, "+personas", "tools")

    return Hub(shutil.copytree(once("refused", make) / "hub", home), refusing)


def go(hub: Hub, *select: str, budget: Budget | None = None, retry: list[str] | None = None) -> Result:
    return run_batches(hub.environment, [], list(select), budget=budget, retry=retry)


def test_a_budget_of_calls_is_exact_and_the_next_run_goes_on(hub: Hub) -> None:
    before = hub.calls()
    stopped = go(hub, budget=Budget(max_calls=10))
    assert hub.calls() - before == 10
    assert stopped.stopped
    # 3 documents and 6 relations are done, and one request of the first dataset.
    assert "11 of 12 requests are left" in stopped.stopped
    assert "the budget of 10 calls is spent" in stopped.stopped
    assert hub.rows("text_personas").height == 6
    spent = 10
    for _ in range(20):
        result = go(hub, budget=Budget(max_calls=40))
        spent = hub.calls() - before
        if not result.stopped:
            break
    assert result == Result()
    # Every request was paid for once: 3 documents, 6 relations, 12 personas for each dataset.
    assert spent == hub.rows("generations").height == 3 + 6 + 12 * len(ENABLED)


def test_nothing_half_is_published(asked: Hub) -> None:
    assert go(asked, "instructions", budget=Budget(max_calls=5)).stopped
    assert not asked.store.path("instructions", "a").exists()
    assert asked.store.read("generations", "a", "instructions").is_empty()
    assert go(asked, "instructions", budget=Budget(max_calls=7)) == Result()
    assert asked.rows("instructions").height == 12


def test_other_budgets_stop_too(asked: Hub) -> None:
    assert "tokens is spent" in (go(asked, "math_problems", budget=Budget(max_tokens=1)).stopped or "")
    assert "time of" in (go(asked, "instructions", budget=Budget(max_seconds=1e-9)).stopped or "")
    (asked.home / "hub.toml").write_text(SETTINGS + PRICES)
    assert "is spent" in (go(asked, "game_npcs", budget=Budget(max_cost=1e-9)).stopped or "")
    assert not asked.store.path("game_npcs", "a").exists()


def test_a_budget_of_money_without_prices_is_an_error_with_the_remedy(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"\[prices\]"):
        go(hub, budget=Budget(max_cost=5))
    assert not hub.store.files("documents")  # refused before any run


def test_cost_is_paid_once_and_told(hub: Hub) -> None:
    (hub.home / "hub.toml").write_text(SETTINGS + PRICES)
    go(hub, "+personas")
    rows = hub.rows("generations")
    fresh = rows["prompt_tokens"] - rows["cached_tokens"]
    expected = (fresh * 1 + rows["cached_tokens"] * 0.5 + rows["completion_tokens"] * 4) / 1e6
    assert rows["cost"].to_list() == pytest.approx(expected.to_list())
    assert rows["cost"].min() > 0  # type: ignore[operator]


def test_the_cost_of_a_stopped_run_is_in_the_warehouse(asked: Hub) -> None:
    """All paid calls are counted, published or not; a call without a price has no cost, instead of 0."""

    def row() -> dict[str, object]:
        with build.reader(asked.store) as connection:
            result = connection.execute(sql_files("analysis")["cost_of_datasets"])
            names = [column[0] for column in result.description or ()]
            rows = [dict(zip(names, values, strict=True)) for values in result.fetchall()]
        return next(each for each in rows if each["dataset"] == "math_problems")

    assert go(asked, "math_problems", budget=Budget(max_calls=5)).stopped
    stopped = row()
    assert (stopped["calls"], stopped["unpublished"], stopped["items"]) == (5, 5, 0)
    assert (stopped["cost"], stopped["calls_without_price"]) == (None, 5)
    (asked.home / "hub.toml").write_text(SETTINGS + PRICES)
    priced = go(asked, "math_problems", budget=Budget(max_calls=3))
    both = row()
    assert (both["calls"], both["unpublished"], both["calls_without_price"]) == (8, 8, 5)
    assert both["cost"] == pytest.approx(priced.usage["math_problems[a]"].cost, abs=1e-4)
    assert go(asked, "math_problems") == Result()
    done = row()
    assert (done["calls"], done["unpublished"], done["items"]) == (12, 0, 12)
    generations = asked.store.read("generations", "a", "math_problems")
    assert done["cost"] == pytest.approx(generations["cost"].sum(), abs=1e-4)
    assert done["tokens"] == (generations["prompt_tokens"] + generations["completion_tokens"]).sum()


def test_retry_asks_quarantined_rows_and_nothing_else(refused: Hub, standin: StandinServer) -> None:
    counts = {name: refused.store.read("quarantine", "a", name).height for name in refused.store.catalog.tasks}
    assert sum(counts.values()) > 3
    assert set(refused.rows("quarantine")["reason"]) == {"refused"}
    before = refused.calls()
    # An ordinary run asks a new dataset, never what was refused.
    assert go(refused, "+personas", "tools", "instructions").stopped is None
    assert refused.calls() - before == refused.personas_kept()
    # Another server behind the same name, which refuses nothing.
    relieved = Hub(refused.home, standin)
    before = relieved.calls()
    assert go(relieved, "tools", retry=["truncated"]) == Result()
    assert relieved.calls() == before
    assert go(relieved, "tools", retry=["refused"]) == Result()
    assert relieved.calls() - before == counts["tools"]
    assert relieved.store.read("quarantine", "a", "tools").is_empty()
    assert relieved.rows("tools").height == relieved.personas_kept()
    before = relieved.calls()
    assert go(relieved, "tools") == Result()
    assert relieved.calls() == before


def test_retry_leaves_what_is_new_to_the_next_run(refused: Hub, standin: StandinServer) -> None:
    count = refused.store.read("quarantine", "a", "tools").height
    (refused.home / "hub.toml").write_text(SETTINGS + "[datasets.tools]\nsamples = 2\n")
    relieved = Hub(refused.home, standin)
    before = relieved.calls()
    result = go(relieved, "tools", retry=[])
    assert (
        f"{relieved.personas_kept()} of {2 * relieved.personas_kept()} requests are left"
        in result.unfinished["a: tools"]
    )
    assert not result.failed
    assert relieved.calls() - before == count
    assert go(relieved, "tools") == Result()
    assert relieved.calls() - before == count + relieved.personas_kept()


def test_an_unknown_reason_is_refused_with_the_valid_ones(hub: Hub) -> None:
    with pytest.raises(ConfigError, match=r"'refusd' .did you mean 'refused'.*truncated"):
        go(hub, retry=["refusd"])


def test_superseded_answers_are_reused_until_maintenance_drops_them(asked: Hub) -> None:
    hub = asked
    before = hub.calls()
    for temperature, calls in ((0.5, 12), (0.9, 12), (0.5, 12)):
        (hub.home / "hub.toml").write_text(SETTINGS + f"[datasets.tools]\ntemperature = {temperature}\n")
        go(hub, "tools")
        assert hub.calls() - before <= calls * 2
    spent = hub.calls()
    assert maintain(hub.store).answers == 0
    (hub.home / "hub.toml").write_text(SETTINGS + "[datasets.tools]\ntemperature = 0.9\n")
    go(hub, "tools")
    assert hub.calls() == spent
    age(hub.store, "tools", 40)
    job, _ = maintenance(Names())
    result = job.execute_in_process(resources={"store": hub.store})
    assert result.success
    left = hub.store.read("generations", "a", "tools")
    assert set(left["status"]) == {"accepted"}
    assert left.height == 12


def age(store: Store, asset: str, days: int) -> None:
    """Move superseded answers some days into the past."""
    rows = store.read("generations", "a", asset)
    then = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=days)
    old = pl.when(pl.col("superseded_at").is_not_null()).then(pl.lit(then)).alias("superseded_at")
    store.write("generations", "a", rows.with_columns(old), asset)


def test_a_partition_that_is_worked_on_is_left_alone(asked: Hub) -> None:
    with asked.store.lock("tools-a", wait=False):
        assert maintain(asked.store).busy == 1


def test_the_ramp_and_the_accounts_are_in_the_metadata(asked: Hub) -> None:
    with asked.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("tools"))
        assert event
        assert event.asset_materialization
        metadata = event.asset_materialization.metadata
    assert metadata["calls"].value == 12
    # The engine's figures are last, and long enough for the UI to show them behind a link.
    assert list(metadata)[-1] == "engine"
    figures = str(metadata["engine"].value)
    assert len(figures) >= 1_000
    assert "| attempts_per_row | 1.0 |" in figures
    assert "| server_share |" in figures
