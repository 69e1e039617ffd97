"""An instance on Postgres: the command line and the services share it, and no secret stands in it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hub import SETTINGS, TOPICS
from postgres_server import PASSWORD, PostgresServer
from services import Services

from personahub_assets.cli import app
from personahub_assets.instance.instance import open_instance
from personahub_assets.standin.server import StandinServer

pytestmark = pytest.mark.cluster
KEY = "cAnArY-key"
ASSETS = ("documents", "text_personas")


@pytest.fixture(scope="module")
def environment(
    postgres: PostgresServer, instance_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The variables of all processes, and of this one."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "hub").mkdir()
    (folder / "hub" / "hub.toml").write_text(SETTINGS)
    with StandinServer() as standin, pytest.MonkeyPatch.context() as patch:
        variables = {
            "DAGSTER_HOME": str(instance_folder),
            **postgres.variables,
            "DAGSTER_LOG_DIR": str(folder / "logs"),
            "PERSONAHUB_HOME": str(folder / "hub"),
            "PERSONAHUB_LLM_URL": standin.url.replace("//", f"//me:{KEY}@"),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        yield variables


def call(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["personahub", *arguments])
        return app.call()


def ingest(environment: dict[str, str], name: str, texts: list[str]) -> None:
    file = Path(environment["PERSONAHUB_HOME"]) / f"{name}.jsonl"
    pl.DataFrame({"text": texts}).write_ndjson(file)
    assert call("ingest", str(file)) == 0


def test_the_command_line_runs_in_the_shared_instance(
    environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(environment["PERSONAHUB_HOME"])
    ingest(environment, "first", TOPICS[:2])
    assert call("plan") == 0
    assert call("run", "--yes", "--select", "+text_personas") == 0
    assert not (home / "dagster" / "history").exists()
    assert os.environ["DAGSTER_HOME"] == environment["DAGSTER_HOME"]
    with open_instance(home) as instance:
        assert instance.get_dynamic_partitions("batch") == ["first"]
        (run,) = instance.get_runs(dg.RunsFilter(job_name="refresh_batch"))
        assert (run.status, run.tags["dagster/partition"]) == (dg.DagsterRunStatus.SUCCESS, "first")
        assert run.remote_job_origin is not None  # else the UI does not show it below its job
        assert {key.to_user_string() for key in run.asset_selection or ()} == set(ASSETS)
    assert call("ui") == 1
    assert "dagster-daemon run" in capsys.readouterr().err


def test_services_work_on_the_same_instance(
    environment: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    ingest(environment, "second", TOPICS[2:4])
    with open_instance(Path(environment["PERSONAHUB_HOME"])) as instance:
        instance.add_dynamic_partitions("batch", ["second"])
    with Services(tmp_path, environment) as services:
        run = services.launch("second", *ASSETS)
        assert services.finish(run) == "SUCCESS", services.logs()
        assert services.stop("daemon") == 0
        waiting = services.launch("second", *ASSETS)
        assert services.status(waiting) == "QUEUED"  # until a daemon is there again
        with open_instance(Path(environment["PERSONAHUB_HOME"])) as instance:
            instance.delete_run(waiting)
        printed = services.logs()
    rows = pl.read_parquet(f"{environment['PERSONAHUB_HOME']}/tables/text_personas/**/*.parquet")
    assert set(rows["batch"]) == {"first", "second"}
    for secret in (PASSWORD, KEY):
        assert secret not in printed
        assert secret not in postgres.dump()


def test_a_takedown_removes_texts_from_the_shared_instance(
    environment: dict[str, str], postgres: PostgresServer
) -> None:
    gone, left = (_shown_text(environment, batch) for batch in ("first", "second"))
    before = postgres.dump()
    assert gone in before
    assert left in before
    assert call("takedown", "--batch", "first", "--yes") == 0
    after = postgres.dump()
    assert gone not in after
    assert left in after


def _shown_text(environment: dict[str, str], batch: str) -> str:
    files: Any = f"{environment['PERSONAHUB_HOME']}/tables/text_personas/batch={batch}/*.parquet"
    return " ".join(str(pl.read_parquet(files)["persona"][0]).split()[:8])
