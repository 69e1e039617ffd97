"""Files of the instance: Dagster can read them, processes can share them, and no file stays open."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from personahub_assets.instance.instance import open_instance
from personahub_assets.instance.storage import Databases


@dg.asset
def thing() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 7}, data_version=dg.DataVersion("v"))


@pytest.fixture(autouse=True)
def _own_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # `open_instance` changes it


def make(instance: dg.DagsterInstance, times: int = 1) -> list[str]:
    """Materialise the asset; the runs."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return [dg.materialize([thing], instance=instance, run_config=quiet).run_id for _ in range(times)]


def as_dagster_opens(home: Path) -> dg.DagsterInstance:
    """Open the instance like the UI."""
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home / "dagster")))


def kept_open(home: Path) -> set[str]:
    """Open the databases of a home: the last one to close a database removes its log."""
    return {path.name.removesuffix("-wal") for path in home.rglob("*.db-wal")}


def test_dagster_itself_reads_what_was_recorded_also_while_it_is_open(home: Path) -> None:
    with open_instance(home) as instance:
        runs = make(instance, 2)
        for reader in (as_dagster_opens(home), instance):
            assert sorted(run.run_id for run in reader.get_runs()) == sorted(runs)
            event = reader.get_latest_materialization_event(thing.key)
            assert event is not None
            assert event.asset_materialization is not None
            assert event.asset_materialization.metadata["rows"].value == 7
            types = [entry.dagster_event_type for entry in reader.all_logs(runs[0]) if entry.dagster_event_type]
            assert types[-1] is dg.DagsterEventType.RUN_SUCCESS


def test_it_goes_on_with_what_dagster_itself_recorded(home: Path) -> None:
    open_instance(home).dispose()
    with as_dagster_opens(home) as instance:
        first = make(instance)
    with open_instance(home) as instance:
        second = make(instance)
        assert {run.run_id for run in instance.get_runs()} == {*first, *second}
        assert len(instance.fetch_materializations(thing.key, limit=9).records) == 2


def test_few_databases_are_open_however_many_runs_and_none_at_the_end(home: Path) -> None:
    with open_instance(home) as instance:
        (run,) = make(instance)
        assert kept_open(home) == {"index.db", "runs.db", f"{run}.db"}
        for number in range(9):
            instance.report_engine_event("hello", run_id=f"run-{number}", job_name="job")
        assert len(kept_open(home)) == 8 + 1  # of events, and the one of the runs
        assert [len(instance.all_logs(f"run-{number}")) for number in range(9)] == [1] * 9
        assert instance.all_logs(run)
    assert kept_open(home) == set()


def test_the_settings_are_in_force_whatever_the_path(tmp_path: Path) -> None:
    with open_instance(tmp_path / "my hub [1] it's 100%") as instance:
        assert instance.telemetry_enabled is False
        pools = instance.get_concurrency_config().pool_config
        assert pools.default_pool_limit == 4
        make(instance)
        assert instance.get_runs_count() == 1


def test_threads_may_write_at_once(home: Path) -> None:
    with open_instance(home) as instance:
        keys = [f"k{n}" for n in range(40)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: instance.add_dynamic_partitions("batch", [key]), keys))
        assert sorted(instance.get_dynamic_partitions("batch")) == sorted(keys)


WRITER = """
import sys
from pathlib import Path
from personahub_assets.instance.instance import open_instance
with open_instance(Path(sys.argv[1])) as instance:
    for number in range(1_000_000):
        instance.add_dynamic_partitions("batch", [f"other-{number}"])
        print(number, flush=True)
"""


def test_what_a_killed_process_recorded_is_there(home: Path) -> None:
    """It does not disturb a concurrent writer."""
    with (
        open_instance(home) as instance,
        subprocess.Popen([sys.executable, "-c", WRITER, str(home)], stdout=subprocess.PIPE, text=True) as other,
    ):
        assert other.stdout is not None
        for number in range(20):
            assert int(other.stdout.readline()) == number
            instance.add_dynamic_partitions("batch", [f"own-{number}"])
        other.kill()
    with as_dagster_opens(home) as instance:
        found = set(instance.get_dynamic_partitions("batch"))
    assert {f"{name}-{number}" for name in ("own", "other") for number in range(20)} <= found


def test_a_database_that_was_closed_is_opened_again(tmp_path: Path) -> None:
    databases = Databases()
    address = f"sqlite:///{tmp_path}/one.db"
    for _ in range(2):
        with databases.at(address).begin() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS a")
        assert kept_open(tmp_path) == {"one.db"}
        databases.close()
        assert kept_open(tmp_path) == set()
