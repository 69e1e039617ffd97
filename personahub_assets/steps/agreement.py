"""Compare the final answers of several solvers: the problems on whose answer enough of them agree are verified."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import polars as pl

from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.records import SameAnswer
from personahub_assets.core.verified import COMPARISONS, JUDGE
from personahub_assets.generation.concurrency import AdaptiveConcurrency
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.generation.requests import Request, Server, ServerOf, Task, Usage
from personahub_assets.steps.datasets import samples_of
from personahub_assets.steps.result import Result
from personahub_assets.steps.role_tasks import role_task
from personahub_assets.store.tables import Store
from personahub_assets.verification.equality import Comparer, Outcome, Verdict, agreement, equal

_READ = ["item_id", "persona_id", "source_id", "source_hash", "sample", "style", "final_answer", "outcome"]
_JUDGED = "judge"

Compare = Callable[[str, str], Verdict]


@dataclass
class Compared(Result):
    """A published partition of agreements.

    Attributes:
        tally: of the judge's calls; None if no judge is asked.
        window: of the judge's calls.
    """

    tally: Usage | None = None
    window: AdaptiveConcurrency | None = None


@dataclass
class Problem:
    """The solutions of one problem.

    Attributes:
        rows: its solutions, in the order of their samples.
        verdicts: of each pair of samples with an answer.
    """

    rows: list[dict[str, Any]]
    verdicts: dict[tuple[int, int], Verdict] = field(default_factory=dict)

    @property
    def source_id(self) -> str:
        """The problem."""
        return str(self.rows[0]["source_id"])

    @property
    def answers(self) -> dict[int, str]:
        """The final answers by sample."""
        return {row["sample"]: row["final_answer"] for row in self.rows if row["final_answer"] is not None}

    @property
    def undecided(self) -> list[tuple[int, int]]:
        """Pairs of samples that no rule decides, one for each pair of different answers."""
        pairs = dict[frozenset[str], tuple[int, int]]()
        for pair, verdict in self.verdicts.items():
            if verdict.outcome is Outcome.UNDECIDED:
                pairs.setdefault(frozenset(self.answers[sample] for sample in pair), pair)
        return list(pairs.values())

    def judge(self, pair: tuple[int, int], *, is_equal: bool) -> None:
        """Note what the judge says about a pair, and about all pairs of the same two answers."""
        texts = {self.answers[sample] for sample in pair}
        verdict = Verdict(Outcome.EQUAL if is_equal else Outcome.DIFFERENT, _JUDGED)
        for each in self.verdicts:
            if {self.answers[sample] for sample in each} == texts:
                self.verdicts[each] = verdict


# --- comparing ---


def problems(store: Store, name: str, batch: str, compare: Compare) -> list[Problem]:
    """The problems of a batch with their solutions, each pair of them compared.

    Args:
        name: the comparison, such as `math_agreement`.
        compare: compares two answers.
    """
    rows = store.read(COMPARISONS[name].solutions, batch, columns=_READ).sort("sample")
    by_problem = rows.partition_by("source_id", maintain_order=True) if rows.height else []
    return [_compared(Problem(each.to_dicts()), compare) for each in by_problem]


def _compared(problem: Problem, compare: Compare) -> Problem:
    answers = problem.answers
    for left, right in combinations(answers, 2):
        problem.verdicts[left, right] = compare(answers[left], answers[right])
    return problem


def agreement_row(batch: str, problem: Problem, solutions: int, min_share: float) -> dict[str, Any]:
    """The row of a problem in the table of agreements.

    Args:
        batch: its batch.
        problem: its solutions, compared.
        solutions: number of answers that were asked for; one that gave none agrees with no other.
        min_share: least share of them for a verified problem.
    """
    samples, answers = list(problem.answers), list(problem.answers.values())
    equal_texts = {
        frozenset((problem.answers[left], problem.answers[right]))
        for (left, right), verdict in problem.verdicts.items()
        if verdict.is_equal
    }
    groups = agreement(answers, lambda left, right: left == right or frozenset((left, right)) in equal_texts)
    votes = len(groups.groups[0]) if groups.groups else 0
    share = votes / solutions
    agreed = groups.majority is not None and votes > 1
    best = _best_row(problem, [samples[index] for index in groups.groups[0]]) if agreed else None
    outcomes = Counter(verdict.outcome for verdict in problem.verdicts.values())
    first = problem.rows[0]
    return {
        "batch": batch,
        "source_id": first["source_id"],
        "source_hash": first["source_hash"],
        "persona_id": first["persona_id"],
        "answer": answers[groups.majority] if agreed and groups.majority is not None else None,
        "votes": votes,
        "answered": len(answers),
        "solutions": solutions,
        "share": share,
        "verified": agreed and share >= min_share,
        "solution_id": best and best["item_id"],
        "groups": [
            {"answer": answers[group[0]], "votes": len(group), "samples": [samples[index] for index in group]}
            for group in groups.groups
        ],
        "compared": [
            {"left": left, "right": right, "outcome": str(verdict.outcome), "rule": verdict.rule}
            for (left, right), verdict in problem.verdicts.items()
        ],
        "undecided": outcomes[Outcome.UNDECIDED],
        "judged": sum(verdict.rule == _JUDGED for verdict in problem.verdicts.values()),
    }


def _best_row(problem: Problem, samples: list[int]) -> dict[str, Any]:
    """The solution that stands for the agreed answer: the first one in sentences, else the first."""
    rows = [row for row in problem.rows if row["sample"] in samples]
    return next((row for row in rows if row["style"] == "reasoning"), rows[0])


def error_rate(pairs: Counter[str]) -> float | None:
    """Estimated share of wrong answers, if errors are independent; None without pairs.

    Two answers are then equal if both are right, and wrong ones are rarely equal: the share of equal pairs is the
    square of the share of right answers.
    """
    total = pairs.total()
    return 1 - (pairs[Outcome.EQUAL] / total) ** 0.5 if total else None


def facts(rows: pl.DataFrame, outcomes: Counter[str]) -> dict[str, Any]:
    """Counts and shares of a partition, for its metadata.

    Args:
        rows: agreements.
        outcomes: of the solutions, such as `stated` and `ran`.
    """
    pairs = Counter[str](each["outcome"] for compared in rows["compared"] for each in compared)
    rate = error_rate(pairs)
    votes = Counter[int](rows["votes"].to_list())
    return {
        "problems": rows.height,
        "verified": int(rows["verified"].sum()),
        "verified_share": round(float(rows["verified"].mean() or 0.0), 4),  # type: ignore[arg-type]
        "mean_share": round(float(rows["share"].mean() or 0.0), 4),  # type: ignore[arg-type]
        "votes": {str(count): votes[count] for count in sorted(votes, reverse=True)},
        "answers": dict(outcomes),
        "pairs": dict(pairs),
        "judged_pairs": int(rows["judged"].sum()),
        **({} if rate is None else {"estimated_error_rate": round(rate, 4)}),
    }


# --- the judge ---


def judge_task(name: str, catalog: Catalog, config: HubConfig, server_of: ServerOf) -> Task:
    """The task of the judge for a comparison.

    Raises:
        PromptError: if the prompt file is missing or malformed.
    """
    return role_task(name, catalog.prompt(JUDGE), SameAnswer, config, server_of)


def judge_requests(store: Store, task: Task, batch: str, compared: list[Problem]) -> Iterator[Request]:
    """The requests about all undecided pairs; the number of the pair is the sample."""
    derivation = store.catalog.derivation(COMPARISONS[task.asset].solutions)
    assert derivation is not None
    wanted = pl.Series([each.source_id for each in compared if each.undecided], dtype=pl.String).implode()
    rows = store.read(derivation.source, batch, columns=["item_id", "text"])
    text_of = dict(rows.filter(pl.col("item_id").is_in(wanted)).iter_rows())
    for problem in compared:
        for number, pair in enumerate(problem.undecided if problem.source_id in text_of else ()):
            left, right = sorted(problem.answers[sample] for sample in pair)
            values = {"problem": text_of[problem.source_id], "left": left, "right": right}
            yield task.request(problem.source_id, values, number)


def pairs_of_answers(store: Store, name: str, batch: str, problem_id: str) -> list[dict[str, str]]:
    """Every pair of different answers to a problem, with the names that a prompt of the judge uses.

    Args:
        name: the comparison, such as `math_agreement`.
        problem_id: item of the problem.

    Returns:
        item_id, persona_id, problem, left and right for each pair; empty if the problem is not stored.
    """
    solutions = COMPARISONS[name].solutions
    derivation = store.catalog.derivation(solutions)
    assert derivation is not None
    problem = store.read(derivation.source, batch, columns=["item_id", "persona_id", "text"]).filter(item_id=problem_id)
    answers = store.read(solutions, batch, columns=["source_id", "final_answer"]).filter(source_id=problem_id)
    texts = sorted(answers["final_answer"].drop_nulls().unique())
    return [
        {"item_id": item, "persona_id": persona, "problem": text, "left": left, "right": right}
        for item, persona, text in problem.iter_rows()
        for left, right in combinations(texts, 2)
    ]


def _ask_judge(store: Store, llm: LLM, name: str, batch: str, compared: list[Problem], watch: Watch) -> Compared:
    """Ask about the undecided pairs, and publish the calls; a pair without an answer stays undecided."""
    by_id = {problem.source_id: (problem, problem.undecided) for problem in compared}
    total = sum(len(pairs) for _, pairs in by_id.values())
    servers = llm.servers(store) if total else lambda _role, _variant: Server("none")
    task = judge_task(name, store.catalog, store.config, servers)
    with llm.answers(store, task, batch, watch) as answers:
        for accepted in answers.request_all(
            partial(_listed, list(judge_requests(store, task, batch, compared))), total
        ):
            for request, _, answer in accepted:
                problem, pairs = by_id[request.input_id]
                problem.judge(pairs[request.sample], is_equal=answer.same)
        answers.publish()
    return Compared(pl.DataFrame(), 0, "", tally=answers.tally, window=answers.window)


def _listed(requests: list[Request]) -> list[Request]:
    return requests


# --- the step ---


def write_agreement(name: str, store: Store, llm: LLM, batch: str, watch: Watch) -> Compared:
    """Compare the solutions of a batch and publish one row for each problem.

    Args:
        name: the comparison, such as `math_agreement`.

    Raises:
        LLMError, BudgetSpent: if the judge is asked, as for other assets.
    """
    config, comparison = store.config, COMPARISONS[name]
    with Comparer() if comparison.is_symbolic else nullcontext() as comparer:
        compared = problems(store, name, batch, partial(equal, comparer=comparer))
    result = Compared(pl.DataFrame(), 0, "")
    if config.verification.judge:
        result = _ask_judge(store, llm, name, batch, compared, watch)
    solutions = samples_of(comparison.solutions, store.catalog, config)
    records = [agreement_row(batch, each, solutions, config.verification.min_share) for each in compared]
    rows = pl.DataFrame(records, store.columns(name))
    store.write(name, batch, rows)
    outcomes = Counter[str](row["outcome"] for problem in compared for row in problem.rows)
    own = Result.of(rows, facts(rows, outcomes))
    return Compared(own.head, own.rows, own.version, own.facts, tally=result.tally, window=result.window)
