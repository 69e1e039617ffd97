"""Datasets for selected personas: the requests, the cost of another selection, and the messages."""

import io
from pathlib import Path

import pytest
from hub import Hub
from rich.console import Console

import personahub_assets
from personahub_assets.cli.run import run_and_report
from personahub_assets.core.errors import ConfigError


def run(hub: Hub, *select: str, personas_from: Path | None = None) -> str:
    """Run like `personahub run`; return its messages."""
    said = io.StringIO()
    console = Console(file=said, width=200)
    result = run_and_report(
        personahub_assets.Hub(environment=hub.environment), [], list(select), console, personas_from=personas_from
    )
    assert result.failed == {}
    return said.getvalue()


def written_for(hub: Hub, dataset: str) -> set[str]:
    return set(hub.rows(dataset)["persona_id"])


def picks(hub: Hub, *ids: str, name: str = "picks.txt") -> Path:
    path = hub.home / name
    path.write_text("".join(f"{each}\n" for each in ids))
    return path


def stale_datasets(ran: Hub) -> set[str]:
    """Datasets with a stale batch."""
    return {asset for asset, _ in ran.stale() if asset in ran.store.catalog.names}


def test_a_run_for_some_and_back_to_all_makes_no_call(ran: Hub) -> None:
    everybody = written_for(ran, "tools")
    assert len(everybody) > 4
    some = sorted(everybody)[:2]
    calls = ran.calls()

    said = run(ran, "tools", "game_npcs", personas_from=picks(ran, *some, "p-of-nobody"))
    assert written_for(ran, "tools") == written_for(ran, "game_npcs") == set(some)
    assert f"game_npcs, tools: only for the 2 of {len(everybody)} personas" in said
    assert "1 of its ids are not in the hub" in said
    assert "For this run only" in said
    left = ran.rows("generations").filter(asset="tools", status="superseded")
    assert len(left) == len(everybody) - 2
    assert {asset for asset, _ in ran.stale() if asset not in ("warehouse", "persona_item_similarity")} == {
        "tools",
        "game_npcs",
    }

    said = run(ran, "tools", "game_npcs")
    assert "only for" not in said
    assert written_for(ran, "tools") == written_for(ran, "game_npcs") == everybody
    assert ran.calls() == calls


def test_a_setting_stays_and_its_content_is_part_of_the_version(ran: Hub) -> None:
    everybody = sorted(written_for(ran, "tools"))
    picks(ran, *everybody[:3])
    settings = (ran.home / "hub.toml").read_text()
    (ran.home / "hub.toml").write_text(f'{settings}\n[datasets.tools]\npersonas_from = "picks.txt"\n')
    assert stale_datasets(ran) == {"tools"}
    calls = ran.calls()
    said = run(ran, "tools")
    assert "tools: only for the 3 of" in said
    assert "For this run only" not in said
    assert written_for(ran, "tools") == set(everybody[:3])
    assert stale_datasets(ran) == set()

    picks(ran, *everybody[:4])
    assert stale_datasets(ran) == {"tools"}
    run(ran, "tools")
    assert written_for(ran, "tools") == set(everybody[:4])
    assert ran.calls() == calls

    # The flag counts for one run, instead of the setting.
    run(ran, "tools", personas_from=picks(ran, everybody[-1], name="one.txt"))
    assert written_for(ran, "tools") == {everybody[-1]}


def test_only_those_named_are_paid(ran: Hub) -> None:
    """After an edit of a prompt only the selected personas are requested."""
    everybody = sorted(written_for(ran, "game_npcs"))
    calls = ran.calls()
    settings = (ran.home / "hub.toml").read_text()
    (ran.home / "hub.toml").write_text(f'{settings}\n[datasets.game_npcs.parameters]\nworld = "A moon."\n')
    home = personahub_assets.Hub(environment=ran.environment)
    assert home.plan(select=["game_npcs"], personas_from=picks(ran, *everybody[:3])).total.ask == 3
    assert ran.calls() == calls
    run(ran, "game_npcs", personas_from=picks(ran, *everybody[:3]))
    assert ran.calls() - calls == 3


def test_what_is_of_no_use_is_refused_before_anything_runs(ran: Hub) -> None:
    before = ran.files()
    with pytest.raises(ConfigError, match="is for datasets, and none is selected"):
        run(ran, "personas", personas_from=picks(ran, "p1"))
    with pytest.raises(ConfigError, match=r"nowhere\.csv: there is no such file"):
        run(ran, "tools", personas_from=ran.home / "nowhere.csv")
    with pytest.raises(
        ConfigError, match=r"names 1 personas, and none of them is in the hub \(the first is 'p-of-nobody'\)"
    ):
        run(ran, "tools", personas_from=picks(ran, "p-of-nobody"))
    assert ran.files() == before
