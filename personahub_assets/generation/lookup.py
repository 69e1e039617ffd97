"""Look up the outcomes that a home has for the requests of one asset and batch.

An outcome is in the journal, in the batch's own `generations`, or, if it was accepted, in another batch or in recorded
answers. This module only reads: a run looks up requests before it sends them, and a plan before it counts them.
"""

from collections.abc import Callable, Iterable
from functools import cached_property

from pydantic import ValidationError

from personahub_assets.generation import recorded
from personahub_assets.generation.answer_index import AnswerIndex
from personahub_assets.generation.journal import find
from personahub_assets.generation.requests import Outcome, ReusePolicy, Task
from personahub_assets.store.tables import Store

Find = Callable[[Iterable[str]], dict[str, Outcome]]


class AnswerLookup:
    """Looks requests up by their keys.

    Args:
        rule: which outcomes can be reused.
        journal: finds outcomes that are not published yet.
        others: index of the accepted outcomes of other batches, if it is already open.
    """

    def __init__(
        self,
        store: Store,
        asset: str,
        batch: str,
        rule: ReusePolicy,
        journal: Find,
        others: Callable[[], AnswerIndex] | None = None,
    ):
        self._store, self._asset, self._batch, self._rule, self._journal = store, asset, batch, rule, journal
        mine = store.path("generations", batch, asset)
        self._own = AnswerIndex([mine] if mine.exists() else [], rule)
        self._open_others = others or self._of_others

    def split_by_reuse(self, keys: list[str]) -> tuple[dict[str, str | None], dict[str, Outcome]]:
        """Split keys into reusable ones, each with its reason, and the outcomes that cannot be reused."""
        standing: dict[str, str | None] = {}
        fails: dict[str, Outcome] = {}
        rule = self._rule
        for key, outcome in self._journal(keys).items():
            # Outcomes of a retry are in the journal until they are published.
            if rule.retry or rule.is_valid(outcome.reason, outcome.max_tokens, outcome.answer_tokens):
                standing[key] = outcome.reason
            else:
                fails[key] = outcome
        marks = self._own.marks([key for key in keys if key not in standing and key not in fails])
        standing |= {key: mark.reason for key, mark in marks.items() if mark.is_valid}
        fails |= self._own.outcomes([key for key, mark in marks.items() if not mark.is_valid])
        return standing, fails

    def elsewhere(self, keys: set[str]) -> dict[str, Outcome]:
        """Accepted answers of other batches, from their published tables or their journals."""
        accepted = self._others.outcomes(sorted(keys))
        own = self._store.paths.journal(self._asset, self._batch)
        for key, outcome in find([path for path in sorted(own.parent.glob("*.sqlite")) if path != own], keys).items():
            if self._rule.is_valid(None, outcome.max_tokens, outcome.answer_tokens):
                accepted.setdefault(key, outcome)
        return accepted

    def outcomes(self, keys: list[str]) -> dict[str, Outcome]:
        """The batch's own outcomes, reusable or not."""
        journaled = self._journal(keys)
        return journaled | self._own.outcomes([key for key in keys if key not in journaled])

    @cached_property
    def _others(self) -> AnswerIndex:
        return self._open_others()

    def _of_others(self) -> AnswerIndex:
        recordings = recorded.files(self._store, self._asset)
        return AnswerIndex.of_asset(self._store, self._asset, recordings, self._rule, without=self._batch)


def valid(task: Task, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes whose answer is valid for the task; recorded answers are validated like those of a model."""
    return {key: outcome for key, outcome in outcomes.items() if _is_valid(task, outcome)}


def _is_valid(task: Task, outcome: Outcome) -> bool:
    try:
        task.answer.model_validate_json(outcome.response)
    except ValidationError:
        return False
    return True
