"""Wait for the answers of a batch API."""

import time
from collections.abc import Callable, Collection, Iterable

from personahub_assets.core import interrupts
from personahub_assets.generation.batch_api.overview import Standing, look, open_standings
from personahub_assets.generation.llm import LLM
from personahub_assets.store.tables import Store

OnWait = Callable[[list[Standing]], None]

_TICK_S = 0.2


def wait_for_answers(store: Store, llm: LLM, batches: Collection[str], on_wait: OnWait) -> bool:
    """Look at the submissions of batches until all of one asset and batch have ended.

    Returns:
        Whether a run can go on; False if the time of the run is up, or no server can be asked: whoever answers files
        begins after the command, and neither another address nor a refused key is mended by waiting.

    A server that does not answer is asked again.

    Raises:
        KeyboardInterrupt: on Ctrl-C; what was submitted goes on.
    """
    while standings := look(store, llm, open_standings(store, batches)):
        if all(each.files for each in standings):
            return False
        on_wait(standings)
        if all(each.files or each.is_stuck for each in standings):
            return False
        if _has_ended_group(standings):
            return True
        if not _pause(llm, store.config.batch_api.poll_s):
            return False
    return False


def batches_of(waiting: Iterable[str]) -> set[str]:
    """The batches in names such as `tools[notes]`."""
    return {name.partition("[")[2].removesuffix("]") for name in waiting}


def _has_ended_group(standings: list[Standing]) -> bool:
    groups: dict[str, list[bool]] = {}
    for each in standings:
        is_ended = each.progress.is_ended if each.progress else not each.problem
        groups.setdefault(each.name, []).append(is_ended)
    return any(map(all, groups.values()))


def _pause(llm: LLM, seconds: float) -> bool:
    """Wait; return False if the time of the run is up, or it was interrupted in another thread."""
    until, budget = time.monotonic() + seconds, llm.budget
    while time.monotonic() < until:
        interrupts.check()
        if budget.is_interrupted or (budget.seconds_left is not None and budget.seconds_left <= 0):
            return False
        time.sleep(min(_TICK_S, seconds))
    return True
