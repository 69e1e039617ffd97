"""Maintenance: the job that lets a home forget what it kept long enough."""

import dagster as dg

from personahub_assets.core.errors import StoreError
from personahub_assets.generation.retention import maintain
from personahub_assets.store.tables import Store


@dg.op
def drop_superseded(context: dg.OpExecutionContext, store: dg.ResourceParam[Store]) -> None:
    """Drop superseded answers after `generation.keep_superseded_days`, and what killed runs left aside.

    Raises:
        StoreError: if some of that cannot be removed, naming it, after all else is done.
    """
    dropped = maintain(store)
    context.log.info(str(dropped))
    if dropped.left:
        raise StoreError("; ".join(dropped.problems))


@dg.job(description="Drops superseded answers after generation.keep_superseded_days. Makes no call, touches no row.")
def maintenance() -> None:
    """One step."""
    drop_superseded()


nightly = dg.ScheduleDefinition(
    name="nightly_maintenance",
    job=maintenance,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Runs the maintenance job each night. Stopped until you start it.",
)
