"""Find the requests that a run would send, by the same keys and rules as a run, without writing."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice

import polars as pl

from personahub_assets.generation import recorded
from personahub_assets.generation.answer_index import AnswerIndex
from personahub_assets.generation.batch_api.ledger import pending_requests
from personahub_assets.generation.journal import peek
from personahub_assets.generation.lookup import AnswerLookup, valid
from personahub_assets.generation.requests import Outcome, Request, ReusePolicy, Task
from personahub_assets.runs import reasons
from personahub_assets.runs.forecast import Work
from personahub_assets.store.tables import Store

ELSEWHERE = "other batches or recordings"
EARLIER = "a batch earlier in the run"
SUPERSEDED = "superseded answers"
UNPUBLISHED = "a stopped run or personahub try"
SUBMITTED = "a batch API that has the requests"

Watch = Callable[[str, str, int], None]
"""Called with the batch, the asset, and the number of its requests that were looked up."""

_SLICE = 2_048
_TYPICAL_CHARS = 150  # length of a persona, if there is none yet


@dataclass
class Seen:
    """Result of looking up some requests."""

    answers: list[tuple[Request, Outcome]] = field(default_factory=list)  # accepted ones, in order
    open: list[tuple[str, int]] = field(default_factory=list)  # input id and sample of requests to send
    unanswered: int = 0  # requests without an answer yet; equal requests are counted separately
    keys: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)


class Lookup:
    """Looks requests up, batch after batch in the order of a run: later batches reuse the answers of earlier ones.

    Args:
        retry: if not empty, only quarantined rows with these reasons are sent.
    """

    def __init__(self, store: Store, retry: frozenset[str], watch: Watch):
        self._store, self._config, self._retry, self._watch = store, store.config, retry, watch
        self._to_come: dict[str, set[str]] = defaultdict(set)  # keys that earlier batches send, by asset
        self._rendered: dict[str, Counter[str]] = defaultdict(Counter)  # requests and characters, by asset

    def look(self, work: Work, task: Task, requests: Iterable[Request], *, read: bool = False) -> Seen:
        """Look up requests that a run sends, and count them.

        Args:
            work: the counts are added to it.
            read: whether to return the stored answers.
        """
        result = self._seen(work, task, requests, read=read)
        self._to_come[task.asset] |= result.asked
        return result

    def glance(self, task: Task, batch: str, requests: Iterable[Request]) -> Seen:
        """Look up requests that a run may send, without counting them."""
        return self._seen(Work(batch, task.asset), task, requests, read=False)

    def prompt_chars(self, task: Task) -> float:
        """Average length of the prompts of a task, in characters."""
        counts = self._rendered[task.asset]
        mean_chars = counts["characters"] / max(1, counts["requests"])
        return mean_chars or len(task.prompt.instructions) + len(task.prompt.row) + _TYPICAL_CHARS

    def _seen(self, work: Work, task: Task, requests: Iterable[Request], *, read: bool) -> Seen:
        search = _Search(self._store, task, work.batch, self._rule(task), self._others)
        result, remaining, missing = Seen(), iter(requests), list[Request]()
        while chunk := list(islice(remaining, _SLICE)):
            self._measure(task.asset, chunk)
            missing += self._sorted(work, search, chunk, result, read=read)
            self._watch(work.batch, task.asset, len(result.keys))
        work.reasons += reasons.of_missing(self._store, task, work.batch, missing)
        return result

    def _sorted(
        self, work: Work, search: "_Search", chunk: list[Request], result: Seen, *, read: bool
    ) -> list[Request]:
        """Count the requests of a chunk, each key once; return those without a stored outcome."""
        on_file = search.find(
            list(dict.fromkeys(request.key for request in chunk)), self._to_come[work.asset], read=read
        )
        missing = []
        for request in chunk:
            key = request.key
            if key in on_file.answers:
                result.answers.append((request, on_file.answers[key]))
            # A retry adds no inputs: it sends requests that were sent before.
            is_coming = on_file.reused.get(key) in (EARLIER, SUBMITTED)
            result.unanswered += not self._retry and (key not in on_file.stands or is_coming)
            if key in result.keys:
                continue
            result.keys.add(key)
            work.requests += 1
            if (reason := on_file.stands.get(key)) is not None:
                work.quarantined[reason] += 1
            elif key in on_file.reused:
                work.reused[on_file.reused[key]] += 1
            elif key not in on_file.stands and (key in on_file.fails or not self._retry):
                self._ask(work, request, result)
                if key in on_file.fails:
                    work.reasons[reasons.of_outcome(on_file.fails[key])] += 1
                else:
                    missing.append(request)
        return missing

    def _ask(self, work: Work, request: Request, result: Seen) -> None:
        work.ask += 1
        result.asked.add(request.key)
        result.open.append((request.input_id, request.sample))

    def _rule(self, task: Task) -> ReusePolicy:
        return ReusePolicy(task.prompt.max_tokens, self._retry, self._config.generation.over_long == "cut")

    def _measure(self, asset: str, chunk: list[Request]) -> None:
        sizes = [sum(len(message["content"]) for message in request.messages) for request in chunk]
        self._rendered[asset].update(requests=len(chunk), characters=sum(sizes))

    @cache  # noqa: B019 - lives as long as a plan
    def _others(self, asset: str, rule: ReusePolicy) -> AnswerIndex:
        """Accepted answers of all batches; used for keys that are missing in a batch's own file."""
        return AnswerIndex.of_asset(self._store, asset, recorded.files(self._store, asset), rule)


@dataclass
class _Found:
    """Stored outcomes of some keys."""

    stands: dict[str, str | None]  # reason by valid key; requests of earlier batches count as accepted
    fails: dict[str, Outcome]
    reused: dict[str, str]  # origin of answers that the batch has not used yet
    answers: dict[str, Outcome]


class _Search:
    """All stored outcomes of one asset and batch."""

    def __init__(
        self, store: Store, task: Task, batch: str, rule: ReusePolicy, others: Callable[[str, ReusePolicy], AnswerIndex]
    ):
        self._task, self._journal = task, store.paths.journal(task.asset, batch)
        self._ledger = store.paths.ledger(task.asset, batch)
        self._journaled: set[str] = set()
        self._known = AnswerLookup(store, task.asset, batch, rule, self._peek, partial(others, task.asset, rule))
        filed = store.read("generations", batch, task.asset, columns=["request_key", "status"])
        self._superseded = set(filed.filter(pl.col("status") == "superseded")["request_key"])

    def find(self, keys: list[str], to_come: set[str], *, read: bool) -> _Found:
        """Find the stored outcome of each key."""
        settled, fails = self._known.split_by_reuse(keys)
        missing = {key for key in keys if key not in settled and key not in fails}
        reused = dict.fromkeys(missing & to_come, EARLIER)
        reusable = valid(self._task, self._known.elsewhere(missing - to_come)) if missing - to_come else {}
        reused |= dict.fromkeys(reusable, ELSEWHERE)
        reused |= dict.fromkeys(pending_requests(self._ledger, missing - reused.keys()), SUBMITTED)
        reused |= {key: UNPUBLISHED for key in settled if key in self._journaled}
        reused |= {key: SUPERSEDED for key in settled if key in self._superseded}
        accepted = [key for key, reason in settled.items() if reason is None]
        answers = self._known.outcomes(accepted) | reusable if read else {}
        return _Found(dict.fromkeys(reused) | settled, fails, reused, answers)

    def _peek(self, keys: Iterable[str]) -> dict[str, Outcome]:
        outcomes = peek(self._journal, keys)
        self._journaled |= outcomes.keys()
        return outcomes
