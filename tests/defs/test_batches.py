"""Assets made by `batch_asset` from a function of one batch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from personahub_assets.core.errors import BudgetSpent, LockHeld
from personahub_assets.defs.batches import BATCHES, Batch, Report, batch_asset
from personahub_assets.defs.failures import STOPPED_TAG, StepFailed, StepStopped
from personahub_assets.defs.naming import Names
from personahub_assets.instance.progress import Listener, RunProgress, Step
from personahub_assets.steps.result import Result
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import Store

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@batch_asset(group="numbers", kinds={"polars"}, lock="refuse")
def numbers(batch: Batch, store: Store) -> Report:
    """Three numbers; fails for the batch named broken, and stops in the batch named poor."""
    if batch.key == "poor":
        raise BudgetSpent("2 of 3 numbers are left (the budget of 1 call is spent)")
    if batch.key == "broken":
        raise RuntimeError(f"no numbers in {store.root.name}")
    batch.tell(1, 3)
    return Report(Result.of(pl.DataFrame({"number": [1, 2, 3]})))


@pytest.fixture
def store(home: Path) -> Store:
    (home / "dagster").mkdir(parents=True)
    return Store(home=str(home))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance outside of the home, as in another project."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(BATCHES.name), ["a", "broken", "c", "poor"])
        yield instance


def make(instance: dg.DagsterInstance, store: Store, listener: Listener | None = None, **more: Any) -> Any:
    resources = {"store": store, "progress": RunProgress(listener)}
    return dg.materialize([numbers.define(Names())], instance=instance, resources=resources, run_config=_QUIET, **more)


def test_the_listener_of_the_run_hears_each_step(instance: dg.DagsterInstance, store: Store) -> None:
    steps: list[Step] = []
    make(instance, store, steps.append, partition_key="a")
    make(instance, store, partition_key="c")
    assert steps == [
        Step("a", "numbers", 0, None),
        Step("a", "numbers", 1, 3),
        Step("a", "numbers", 3, 3, "done"),
    ]


def test_a_lock_that_is_held_refuses_the_batch(instance: dg.DagsterInstance, store: Store) -> None:
    with store.lock(Lock.of("numbers", "a"), wait=False), pytest.raises(StepFailed) as failure:
        make(instance, store, partition_key="a")
    assert isinstance(failure.value.__cause__, LockHeld)
    assert "numbers-a is being worked on" in str(failure.value.description)


def test_a_fault_of_one_batch_is_written_to_the_home_and_the_others_are_made(
    instance: dg.DagsterInstance, store: Store
) -> None:
    ends = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "c"}
    with pytest.raises(StepFailed, match=r"batch broken: unexpected RuntimeError.*no numbers in"):
        make(instance, store, tags=ends)
    assert instance.get_materialized_partitions(dg.AssetKey("numbers")) == {"a", "c"}
    assert len(list((store.root / "dagster" / "tracebacks").iterdir())) == 1


def test_a_failure_is_stored_as_one_sentence_without_frames(instance: dg.DagsterInstance, store: Store) -> None:
    run = make(instance, store, partition_key="broken", raise_on_error=False)
    failure = run.failure_data_for_node("numbers")
    sentence = failure.user_failure_data.description
    assert sentence.startswith("unexpected RuntimeError")
    assert (failure.error.message, failure.error.stack, failure.error.cause) == (f"{sentence}\n", [], None)
    assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE


def test_what_stops_on_purpose_is_a_canceled_run_with_the_sentence(instance: dg.DagsterInstance, store: Store) -> None:
    with pytest.raises(StepStopped, match="the budget of 1 call is spent"):
        make(instance, store, partition_key="poor")
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert run.tags[STOPPED_TAG] == "2 of 3 numbers are left (the budget of 1 call is spent)."
    events = [event.dagster_event for event in instance.all_logs(run.run_id) if event.dagster_event]
    (canceling,) = [event for event in events if event.event_type_value == "PIPELINE_CANCELING"]
    assert canceling.message == run.tags[STOPPED_TAG]
    assert not any(event.is_job_failure for event in events)
