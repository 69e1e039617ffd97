"""What is known: the outcomes that the home has for the requests of one asset and batch.

An outcome is in the journal, in the batch's own `generations`, or, if it was accepted, with another batch or in a seed.
Nothing is written here: a run looks up what it need not ask, and a plan what a run would not ask.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

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
        rule: which outcomes stand.
        journal: finds outcomes that are not published yet.
        others: what other batches have accepted, where it is open already.
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

    def sort(self, keys: list[str]) -> tuple[dict[str, str | None], dict[str, Outcome]]:
        """Keys whose outcome stands, each with its reason, and outcomes that do not stand."""
        standing: dict[str, str | None] = {}
        fails: dict[str, Outcome] = {}
        rule = self._rule
        for key, outcome in self._journal(keys).items():
            # What a retry has asked is in the journal until it is published.
            if rule.retry or rule.stands(outcome.reason, outcome.max_tokens, outcome.answer_tokens):
                standing[key] = outcome.reason
            else:
                fails[key] = outcome
        marks = self._own.marks([key for key in keys if key not in standing and key not in fails])
        standing |= {key: mark.reason for key, mark in marks.items() if mark.stands}
        fails |= self._own.outcomes([key for key, mark in marks.items() if not mark.stands])
        return standing, fails

    def elsewhere(self, keys: set[str]) -> dict[str, Outcome]:
        """Accepted answers of other batches, from what they published or from their journals."""
        accepted = self._others.outcomes(sorted(keys))
        own = self._store.paths.journal(self._asset, self._batch)
        for key, outcome in find([path for path in sorted(own.parent.glob("*.sqlite")) if path != own], keys).items():
            if self._rule.stands(None, outcome.max_tokens, outcome.answer_tokens):
                accepted.setdefault(key, outcome)
        return accepted

    def outcomes(self, keys: list[str]) -> dict[str, Outcome]:
        """The batch's own outcomes, whether they stand or not."""
        journaled = self._journal(keys)
        return journaled | self._own.outcomes([key for key in keys if key not in journaled])

    @cached_property
    def _others(self) -> AnswerIndex:
        return self._open_others()

    def _of_others(self) -> AnswerIndex:
        mine = self._store.path("generations", self._batch, self._asset)
        paths = [path for path in asset_files(self._store, self._asset) if path != mine]
        return AnswerIndex(paths, self._rule, accepted_only=True)


def valid(task: Task, outcomes: dict[str, Outcome]) -> dict[str, Outcome]:
    """Those whose answer fits the task's class: what somebody else recorded is trusted no more than a model."""
    return {key: outcome for key, outcome in outcomes.items() if _is_valid(task, outcome)}


def _is_valid(task: Task, outcome: Outcome) -> bool:
    try:
        task.answer.model_validate_json(outcome.response)
    except ValidationError:
        return False
    return True


def asset_files(store: Store, asset: str) -> list[Path]:
    """The files of `generations` of all batches for one asset, and those that another home has recorded."""
    return store.files("generations", asset=asset) + recorded.files(store, asset)
