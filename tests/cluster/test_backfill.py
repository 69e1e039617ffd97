"""A cluster at work: Postgres, webserver, daemon, object storage, four workers, three model servers, and losses."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from hub import EVERY, TOPICS
from postgres_server import PostgresServer
from processes import Process
from services import Services

from personahub_assets.core.object_homes import working_copy
from personahub_assets.core.records import DATASETS
from personahub_assets.instance.instance import open_instance
from personahub_assets.standin.server import StandinServer
from personahub_assets.store.tables import Store

BATCHES, WORKERS, WINDOW = 12, 4, 8
_OFF = DATASETS.keys() - {"tools"}
SETTINGS = f"""{EVERY}
[generation]
max_in_flight = {WINDOW}
[storage]
journal_copy_seconds = 1
""" + "".join(f"[datasets.{name}]\nenabled = false\n" for name in sorted(_OFF))
TABLES = ("documents", "text_personas", "related_personas", "decisions", "personas", "persona_embeddings", "tools")
_OF_ORDER = {"admission"}
"""Columns that number the dedup runs, which depend on the order in which the batches came."""
_BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""


def sources(folder: Path) -> list[Path]:
    """A file of two documents for each batch; no text is in two of them."""
    folder.mkdir()
    files = []
    for number in range(BATCHES):
        rows = [{"id": f"{number}-{n}", "text": f"Note {number}. {TOPICS[(number + n) % 6]}"} for n in range(2)]
        files.append(folder / f"batch{number:02d}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


@pytest.fixture
def environment(url: str, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    settings = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "dagster.yaml").read_text())
    settings["run_launcher"] = {
        "module": "worker_launcher",
        "class": "WorkerLauncher",
        "config": {"folder": str(tmp_path / "workers"), "workers": WORKERS},
    }
    settings["concurrency"]["runs"]["max_concurrent_runs"] = WORKERS
    settings["run_monitoring"] |= {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 1}
    for name in ("instance", "workers"):
        (tmp_path / name).mkdir()
    (tmp_path / "instance" / "dagster.yaml").write_text(yaml.safe_dump(settings))
    variables = {
        "DAGSTER_HOME": str(tmp_path / "instance"),
        **postgres.of_database("backfill"),
        "DAGSTER_LOG_DIR": str(tmp_path / "logs"),
        "PERSONAHUB_HOME": url,
        "PERSONAHUB_WORK": str(tmp_path / "head"),
        "PYTHONPATH": str(Path(__file__).parents[1] / "helpers"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def command(*arguments: str, folder: Path, **variables: str) -> None:
    code, _, err = Process(list(arguments), {**os.environ, **variables}, folder).end(400)
    assert code == 0, err


def backfill(services: Services, batches: list[str]) -> None:
    repository = {"repositoryLocationName": "personahub", "repositoryName": "__repository__"}
    selector = {"partitionSetName": "refresh_batch_partition_set", "repositorySelector": repository}
    launched = services.ask(_BACKFILL, params={"selector": selector, "partitionNames": batches})[
        "launchPartitionBackfill"
    ]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched


def until(condition: Any, what: str, services: Services, seconds: float = 420) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: {services.logs()[-6000:]}"
        time.sleep(0.5)


def sorted_rows(store: Store, table: str) -> pl.DataFrame:
    frame = store.read_all(table)
    frame = frame.drop(_OF_ORDER & set(frame.columns))
    keys = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(keys)


def test_a_backfill_survives_the_loss_of_a_worker_and_of_a_server(environment, url, tmp_path):
    files = sources(tmp_path / "sources")
    batches = [file.stem for file in files]
    with StandinServer() as alone:
        embedded = tmp_path / "hub"
        embedded.mkdir()
        (embedded / "hub.toml").write_text(SETTINGS)
        local = {"PERSONAHUB_HOME": str(embedded), "PERSONAHUB_LLM_URL": alone.url, "DAGSTER_HOME": ""}
        command("ingest", *map(str, files), folder=tmp_path, **local)
        command("run", folder=tmp_path, **local)
        needed = alone.stats()["calls"]

    head = Store(home=str(working_copy(url, tmp_path / "head"))).pulled()
    head.working_copy.objects.write("hub.toml", SETTINGS.encode(), "absent")
    command("ingest", *map(str, files), folder=tmp_path)
    with open_instance(head.root) as instance:
        instance.add_dynamic_partitions("batch", batches)
        instance.event_log_storage.set_concurrency_slots("llm", WORKERS)
    servers = [StandinServer(latency_ms=150).start() for _ in range(3)]
    addresses = {"PERSONAHUB_LLM_URL": ",".join(server.url for server in servers)}
    try:
        with Services(tmp_path, environment | addresses) as services:
            backfill(services, batches)
            until(lambda: sum(s.stats()["calls"] for s in servers) > needed * 0.2, "calls", services)
            until(lambda: asking(tmp_path / "workers"), "a worker that asks", services)
            worker = asking(tmp_path / "workers")[0]
            os.kill(worker["pid"], signal.SIGKILL)
            calls_of_killed = servers[1].stats()["calls"]
            os.kill(servers[1].pid, signal.SIGKILL)
            with open_instance(head.root) as instance:
                until(lambda: all_done(instance, batches), "end of the backfill", services)
                statuses = Counter(
                    run.status.value for run in instance.get_runs(dg.RunsFilter(job_name="refresh_batch"))
                )
                assert instance.get_run_by_id(worker["run"]).status is dg.DagsterRunStatus.FAILURE
        calls = calls_of_killed + sum(servers[number].stats()["calls"] for number in (0, 2))
    finally:
        for server in servers:
            server.stop()
    assert statuses["SUCCESS"] >= BATCHES
    assert calls <= needed + WORKERS * WINDOW * len(servers)
    whole, cluster = Store(home=str(embedded)), head.pulled()
    for table in TABLES:
        assert sorted_rows(cluster, table).equals(sorted_rows(whole, table)), table


def asking(folder: Path) -> list[dict[str, Any]]:
    """The workers that have unpublished answers."""
    journals = folder.glob("*/*/journal/*/*.sqlite")
    return [json.loads((folder / file.relative_to(folder).parts[0] / "run.json").read_text()) for file in journals]


def all_done(instance: dg.DagsterInstance, batches: list[str]) -> bool:
    """Whether the last run of each batch has succeeded; fails if one has failed for good."""
    runs = instance.get_runs(dg.RunsFilter(job_name="refresh_batch"))
    done = {run.tags["dagster/partition"] for run in runs if run.status is dg.DagsterRunStatus.SUCCESS}
    return done >= set(batches)
