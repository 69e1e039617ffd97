"""A home of an earlier version works: it is read, planned and run without repeated requests."""

import tarfile
from pathlib import Path

import polars as pl
import pytest
from hub import Hub

from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import DATASETS
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import STAGES
from personahub_assets.warehouse import build, live

HOMES = sorted((Path(__file__).parent / "data").glob("home-*.tar.xz"))
TABLES = ["documents", "text_personas", "related_personas", "personas", *DATASETS]

pytestmark = pytest.mark.filterwarnings("ignore:hub.toml:FutureWarning")  # it has the names of its day


@pytest.fixture(params=HOMES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def hub(request: pytest.FixtureRequest, tmp_path: Path, standin: StandinServer) -> Hub:
    home = tmp_path / "hub"
    with tarfile.open(request.param) as archive:
        archive.extractall(home, filter="data")
    hub = Hub(home, standin)
    # It lay elsewhere when it was made, and its source file with it.
    rows = hub.store.read("batches", "pages")
    hub.store.write("batches", "pages", rows.with_columns(path=pl.lit(str(home / "inbox" / "pages.jsonl"))))
    return hub


def test_an_old_home_opens_and_nothing_of_it_is_asked_again(hub: Hub) -> None:
    before = {table: texts(hub, table) for table in TABLES}
    assert all(before.values())
    calls = hub.calls()
    assert hub.run("pages") == {}
    assert hub.calls() == calls
    assert {table: texts(hub, table) for table in TABLES} == before
    with build.reader(hub.store) as connection:
        counts = dict(connection.sql("SELECT dataset, count(*) FROM dataset_items GROUP BY 1").fetchall())
    assert counts == {name: len(before[name]) for name in DATASETS}


def test_decisions_of_an_old_home_are_read_where_they_are(hub: Hub) -> None:
    before = [
        (*row, stage)
        for stage in STAGES.values()
        for row in pl.read_parquet(hub.home / "tables" / f"{stage}_decisions" / "batch=pages" / "part.parquet").rows()
    ]
    assert len(before) > 40
    assert all((hub.home / "tables" / asset).exists() for asset in STAGES)
    columns = ["batch", "persona_id", "admission", "keeper_id", "similarity", "stage"]
    assert hub.store.read_all("decisions", columns).rows() == before
    with live.open_live(hub.store, "decisions") as connection:
        assert connection.sql(f"SELECT {', '.join(columns)} FROM decisions").fetchall() == before
    assert hub.run("pages") == {}
    assert hub.store.read_all("decisions", columns).rows() == before
    # Copies of the drops, which nothing reads any more, would be wrong one day.
    assert not [asset for asset in STAGES if (hub.home / "tables" / asset).exists()]


def texts(hub: Hub, table: str) -> list[tuple[str, ...]]:
    """Ids and texts, in order."""
    key, text = {"documents": ("document_id", "text")}.get(table, ("persona_id", "persona"))
    if table in DATASETS:
        key, text = "item_id", "text"
    return hub.store.read_all(table, [key, text]).sort(key).rows()


def test_settings_of_an_old_name_are_read_with_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text("[generation]\nwindow = 16\nreasks = 1\n")
    with pytest.warns(FutureWarning, match="max_in_flight|validation_retries") as notices:
        settings = HubConfig.load(path).generation
    assert (settings.max_in_flight, settings.validation_retries) == (16, 1)
    assert [str(notice.message).split(";")[0] for notice in notices] == [
        "hub.toml: window is now max_in_flight",
        "hub.toml: reasks is now validation_retries",
    ]
