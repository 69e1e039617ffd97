"""Maintenance: the job that deletes superseded answers and leftovers of killed runs."""

import dagster as dg

from personahub_assets.core.errors import StoreError
from personahub_assets.defs.failures import one_sentence
from personahub_assets.defs.naming import Names
from personahub_assets.generation.retention import maintain
from personahub_assets.instance.pools import remove_idle_pools


def maintenance(names: Names) -> tuple[dg.JobDefinition, dg.ScheduleDefinition]:
    """The job, and the schedule that runs it each night."""

    @dg.op(name=names.name("drop_superseded"), required_resource_keys=names.resource_keys(["store"]))
    def drop_superseded(context: dg.OpExecutionContext) -> None:
        """Drop superseded answers after `generation.keep_superseded_days`, and what killed runs left aside.

        Raises:
            StepFailed: if some of that cannot be removed, naming it, after all else is done.
        """
        store = names.resources(context, ["store"])["store"]
        with one_sentence(context, store.root):
            dropped = maintain(store)
            context.log.info(str(dropped))
            if store.working_copy is not None:
                context.log.info(f"idle pools of locks removed: {remove_idle_pools(context.instance)}")
            if dropped.left:
                raise StoreError("; ".join(dropped.problems))

    @dg.job(
        name=names.name("maintenance"),
        description="Drops superseded answers after generation.keep_superseded_days. Makes no call, touches no row.",
    )
    def job() -> None:
        drop_superseded()

    nightly = dg.ScheduleDefinition(
        name=names.name("nightly_maintenance"),
        job=job,
        cron_schedule="0 3 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Runs the maintenance job each night. Stopped until you start it.",
    )
    return job, nightly
