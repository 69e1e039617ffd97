"""Locks among all workers of a home on object storage: pools with one slot, in the storage of the Dagster instance.

A run that ends frees its slots, and so does Dagster's run monitoring for a run whose worker died
(`free_slots_after_run_end_seconds`). A command is recorded as a run while it holds locks, for the same reason.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import dagster as dg

from personahub_assets.core import interrupts
from personahub_assets.core.errors import LockHeld
from personahub_assets.instance.instance import run_tags

POOLS = "personahub-lock"
"""Prefix of the names of these pools."""
COMMAND = "personahub_command"
"""Job of the runs that stand for commands."""

_WAIT_S = 1.0
_LONGEST_COMMAND_S = 24 * 3600


@dataclass(frozen=True)
class PoolClaims:
    """Claims locks for a run.

    Attributes:
        instance: shared by all workers.
        run_id: of the run; its end frees what it holds.
    """

    instance: dg.DagsterInstance
    run_id: str

    def __call__(self, name: str, wait: bool) -> AbstractContextManager[None]:
        """Hold the lock with a name.

        Raises:
            LockHeld: if another run holds it and `wait` is false, naming that run.
        """
        return self._claimed(name, wait=wait)

    @contextmanager
    def _claimed(self, name: str, *, wait: bool) -> Iterator[None]:
        storage = self.instance.event_log_storage
        pool, step = f"{POOLS}/{name}", f"{name} {uuid.uuid4().hex[:8]}"
        # Dagster's default would give a new pool several slots.
        if storage.get_concurrency_info(pool).slot_count != 1:
            storage.set_concurrency_slots(pool, 1)
        try:
            while not storage.claim_concurrency_slot(pool, self.run_id, step).is_claimed:
                if not wait:
                    raise LockHeld(
                        f"{name} is being worked on by run {self._holder(pool)}; wait for it to end, or stop it, then "
                        "run again"
                    )
                interrupts.check()
                time.sleep(_WAIT_S)
            yield
        finally:
            storage.free_concurrency_slot_for_step(self.run_id, step)

    def _holder(self, pool: str) -> str:
        claimed = self.instance.event_log_storage.get_concurrency_info(pool).claimed_slots
        return next((slot.run_id for slot in claimed), "unknown")


@contextmanager
def command_claims(instance: dg.DagsterInstance, command: str) -> Iterator[PoolClaims]:
    """Claim locks for a command, which is recorded as a run meanwhile."""
    tags = {**run_tags(), "personahub/command": command, "dagster/max_runtime": str(_LONGEST_COMMAND_S)}
    run = dg.DagsterRun(job_name=COMMAND, run_id=str(uuid.uuid4()), status=dg.DagsterRunStatus.STARTED, tags=tags)
    instance.add_run(run)
    try:
        yield PoolClaims(instance, run.run_id)
    finally:
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        instance.delete_run(run.run_id)


def remove_idle_pools(instance: dg.DagsterInstance) -> int:
    """Remove pools of locks that nobody holds or waits for; return their number.

    There is one for each asset and batch that was ever worked on.
    """
    storage = instance.event_log_storage
    idle = [
        info.concurrency_key
        for pool in storage.get_concurrency_keys()
        if pool.startswith(f"{POOLS}/")
        and not (info := storage.get_concurrency_info(pool)).claimed_slots
        and not info.pending_steps
    ]
    for pool in idle:
        storage.delete_concurrency_limit(pool)
    return len(idle)
