"""Locks among workers: pools of limit 1 in the storage of the instance."""

import multiprocessing
import threading
import uuid
from pathlib import Path

import dagster as dg
import pytest

from personahub_assets.core.errors import LockHeld
from personahub_assets.instance.instance import open_instance, run_tags
from personahub_assets.instance.pools import COMMAND, POOLS, PoolClaims, command_claims, remove_idle_pools


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    monkeypatch.setenv("DAGSTER_HOME", "")
    return open_instance(tmp_path)


def begun(instance: dg.DagsterInstance) -> PoolClaims:
    """A run that has started."""
    run = dg.DagsterRun("job", run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=run_tags())
    instance.add_run(run)
    return PoolClaims(instance, run.run_id)


def test_one_run_at_a_time_holds_a_lock(instance):
    first, second = begun(instance), begun(instance)
    with first("admission-lexical", False):
        with (
            pytest.raises(LockHeld, match=f"admission-lexical is being worked on by run {first.run_id}"),
            second("admission-lexical", False),
        ):
            pass
        with second("admission-semantic", False):  # another lock
            pass
    with second("admission-lexical", False):
        pass


def test_who_waits_gets_the_lock_when_it_is_free(instance):
    first, second = begun(instance), begun(instance)
    events, is_free = [], threading.Event()

    def wait() -> None:
        with second("lock", True):
            events.append(is_free.is_set())

    with first("lock", False):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(1.5)
        assert thread.is_alive()
        is_free.set()
    thread.join(30)
    assert events == [True]


def test_two_steps_of_one_run_exclude_each_other(instance):
    claims = begun(instance)
    with claims("lock", False), pytest.raises(LockHeld), claims("lock", False):
        pass


def _hold(folder: Path, held: "multiprocessing.synchronize.Event") -> None:
    with begun(open_instance(folder))("lock", False):
        held.set()
        threading.Event().wait()


def test_a_killed_worker_frees_its_locks(tmp_path, instance):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(60)
    claims = begun(instance)
    with pytest.raises(LockHeld), claims("lock", False):
        pass
    process.kill()
    process.join()
    with pytest.raises(LockHeld), claims("lock", False):
        pass
    with open_instance(tmp_path), claims("lock", False):  # it closes the runs of dead processes
        pass


def test_a_command_is_a_run_while_it_holds_locks(instance):
    with command_claims(instance, "takedown") as claims, claims("lock", False):
        (run,) = instance.get_runs(dg.RunsFilter(job_name=COMMAND))
        assert run.tags["personahub/command"] == "takedown"
        assert "dagster/max_runtime" in run.tags  # run monitoring ends it if the machine is lost
    assert instance.get_runs() == []
    with begun(instance)("lock", False):
        pass


def test_idle_pools_are_removed(instance):
    claims = begun(instance)
    for name in ("one", "two"):
        with claims(name, False):
            pass
    with claims("three", False):
        assert remove_idle_pools(instance) == 2
        assert instance.event_log_storage.get_concurrency_keys() == {f"{POOLS}/three"}
        with pytest.raises(LockHeld), claims("three", False):
            pass
    with claims("one", False):
        pass
