"""Requests in, outcomes out: a sliding window of requests in flight, never a barrier.

A request whose key is already answered costs nothing, and requests that are equal within one call are asked once.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from personahub_assets.generation.ask import Asker
from personahub_assets.generation.journal import Journal
from personahub_assets.generation.requests import Outcome, Request, Tally

Watch = Callable[[Tally], None]


def generate(
    requests: Iterable[Request],
    known: Mapping[str, Outcome],
    make_asker: Callable[[], Asker],
    journal: Journal,
    watch: Watch,
) -> tuple[dict[str, Outcome], Tally]:
    """Get an outcome for every request.

    Args:
        requests: what to ask.
        known: outcomes by key that need no call.
        make_asker: called only if there is something to ask.
        watch: called with the running totals after every outcome.

    Returns:
        The outcomes by key, and the totals.

    Raises:
        EndpointDown: if the endpoint failed too often in a row; what was answered is in the journal.
    """
    unique = {request.key: request for request in requests}
    tally = Tally(total=len(unique))
    outcomes = {key: known[key] for key in unique if key in known}
    for outcome in outcomes.values():
        tally.add(outcome, paid=False)
    watch(tally)
    pending = [request for key, request in unique.items() if key not in outcomes]
    if pending:
        outcomes |= asyncio.run(_ask_all(pending, make_asker(), journal, tally, watch))
    return outcomes, tally


async def _ask_all(
    pending: list[Request], asker: Asker, journal: Journal, tally: Tally, watch: Watch
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    queue, started = iter(pending), time.perf_counter()

    async def work() -> None:
        # Each worker is one place in the window: it takes the next request the moment its last one ended.
        for request in queue:
            outcome = await asker.ask(request)
            await journal.record(outcome)
            outcomes[request.key] = outcome
            tally.add(outcome, paid=True)
            tally.seconds = time.perf_counter() - started
            watch(tally)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(asker.limits.window, len(pending))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        # Many requests fail for the same cause at once; the first says it.
        raise errors.exceptions[0] from None
    finally:
        await asker.client.close()
    return outcomes
