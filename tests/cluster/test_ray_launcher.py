"""deploy/dagster-ray.yaml: runs and steps are jobs of a Ray cluster that wants a token; no secret stands in a job."""

from pathlib import Path

import polars as pl
import pytest
from hub import SETTINGS, TOPICS
from postgres_server import PASSWORD, PostgresServer
from ray_cluster import TOKEN, RayCluster
from services import Services

from personahub_assets.instance.instance import open_instance
from personahub_assets.sources.register import register
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

pytestmark = pytest.mark.cluster
DEPLOY = Path(__file__).parents[2] / "deploy"
KEY = "cAnArY-key"


def test_runs_and_steps_are_ray_jobs(postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, folder = tmp_path / "hub", tmp_path / "instance"
    home.mkdir()
    folder.mkdir()
    (home / "hub.toml").write_text(SETTINGS)
    (folder / "dagster.yaml").write_text((DEPLOY / "dagster-ray.yaml").read_text())
    pl.DataFrame({"text": TOPICS[4:6]}).write_ndjson(home / "rays.jsonl")
    register(Store(home=str(home)), str(home / "rays.jsonl"))
    with StandinServer() as standin:
        variables = {
            "DAGSTER_HOME": str(folder),
            **postgres.variables,
            "DAGSTER_LOG_DIR": str(tmp_path / "logs"),
            "PERSONAHUB_EXECUTOR": "ray",
            "PERSONAHUB_HOME": str(home),
            "PERSONAHUB_LLM_URL": standin.url.replace("//", f"//me:{KEY}@"),
        }
        with RayCluster(variables) as cluster:
            assert (cluster.status(), cluster.status("wrong"), cluster.status("")) == (200, 403, 401)
            variables |= cluster.variables
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            with open_instance(home) as instance:
                instance.add_dynamic_partitions("batch", ["rays"])
            with Services(tmp_path, variables) as services:
                run = services.launch("rays", "documents", "text_personas")
                assert services.finish(run, timeout=120) == "SUCCESS", cluster.jobs()
                printed = services.logs()
            jobs = cluster.jobs()
    assert f"dagster-run-{run}" in jobs
    for step in ("documents", "text_personas"):
        assert f'"dagster/op": "{step}"' in jobs
    assert pl.read_parquet(f"{home}/tables/text_personas/batch=rays/*.parquet").height > 0
    for secret in (PASSWORD, KEY, TOKEN):
        assert secret not in jobs
        assert secret not in printed
        assert secret not in postgres.dump()
