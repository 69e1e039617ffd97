"""Forecast of dialogues: stored messages are followed; the calls after the first missing one are estimated.

A dialogue of k turns has 2k calls. The text of a message that is not written yet is unknown, and so are the keys of all
later requests: they count as expected, not as exact.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from personahub_assets.generation.requests import Outcome, Request, Task
from personahub_assets.runs.forecast import Work
from personahub_assets.runs.lookup import Lookup
from personahub_assets.steps.dialogues import OpenDialogue, hold, side_of, turn_requests

Judge = Callable[[Task, list[tuple[Request, Outcome]]], Iterable[tuple[Request, Any]]]
"""The answers of a task of which a run would write rows."""


class DialoguePlan:
    """The calls of the dialogues of one batch.

    Args:
        lookup: finds stored outcomes.
        tasks: of user and assistant.
        works: their forecasts, which are added to.
        turns: of each side.
        judge: applies the quality gates.
    """

    def __init__(self, lookup: Lookup, tasks: Sequence[Task], works: Sequence[Work], turns: int, judge: Judge):
        self._lookup, self._tasks, self._turns, self._judge = lookup, tasks, turns, judge
        self._works = list(zip(tasks, works, strict=True))
        self.missing = 0.0  # dialogues that are not complete yet

    def look(self, dialogues: list[OpenDialogue]) -> list[OpenDialogue]:
        """Follow dialogues as far as their messages are stored; return the complete ones."""
        return hold(dialogues, self._tasks, self._turns, self._next)

    def expect(self, dialogues: float) -> None:
        """Add dialogues of which nothing is stored, and whose personas do not exist yet."""
        for message in range(2 * self._turns):
            self._follow(message, dialogues)
        self.missing += dialogues

    def _follow(self, message: int, dialogues: float) -> None:
        """Expect a message of dialogues; the variants of its side have equal shares of them."""
        side = side_of(self._tasks, message)
        for task, work in self._works:
            if any(task is each for each in side):
                work.follow += dialogues / len(side)

    def _next(self, task: Task, dialogues: Sequence[OpenDialogue]) -> list[OpenDialogue]:
        done = len(dialogues[0].messages)
        work = next(work for each, work in self._works if each is task)
        by_id = {(each.persona_id, each.position.sample): each for each in dialogues}
        stored = self._lookup.look(work, task, turn_requests(task, dialogues), read=True)
        to_ask = max(stored.unanswered, len(stored.asked))  # with --retry, only what is sent
        for later in range(done + 1, 2 * self._turns):
            self._follow(later, to_ask)
        self.missing += to_ask
        return list(_longer(by_id, self._judge(task, stored.answers)))


def _longer(
    by_id: dict[tuple[str, int], OpenDialogue], answers: Iterable[tuple[Request, Any]]
) -> Iterator[OpenDialogue]:
    for request, answer in answers:
        yield by_id[request.input_id, request.sample].with_message(answer.content)
