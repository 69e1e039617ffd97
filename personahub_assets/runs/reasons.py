"""Reasons of open requests: compare stored answers for the same input with the current request."""

from collections import Counter

import polars as pl

from personahub_assets.core.dialogues import DIALOGUES
from personahub_assets.core.sampling import OPTIONS
from personahub_assets.generation.requests import TRANSIENT, Outcome, Request, Task
from personahub_assets.store.tables import Store

NEVER_RUN = "never run"
NEW_ROWS = "new rows"
MORE_SAMPLES = "more samples"
MORE_TURNS = "more turns"
PROMPT = "prompt edited"
SAMPLING = "sampling changed"
SCHEMA = "schema changed"
MODEL = "model changed"
INPUT = "text or settings changed"
RAISED = "max_tokens raised"
LOWERED = "max_tokens lowered"
CUT = "too long, and cut now"
UNANSWERED = "no answer came before"

_ASKED = ["input_id", "sample"]
_HOW = ["prompt_fingerprint", "schema_fingerprint", "model", "temperature", "top_p"]


def of_outcome(outcome: Outcome) -> str:
    """The reason why a stored outcome is not reused."""
    if outcome.reason is None:
        return LOWERED
    if outcome.reason in TRANSIENT:
        return UNANSWERED
    return {"truncated": RAISED, "too_long": CUT}.get(outcome.reason, f"retry of {outcome.reason}")


def of_missing(store: Store, task: Task, batch: str, missing: list[Request]) -> Counter[str]:
    """The reasons why requests have no stored outcome."""
    if not missing:
        return Counter()
    filed = store.read("generations", batch, task.asset, columns=[*_ASKED, *_HOW, "superseded_at"])
    if filed.is_empty():
        return Counter({NEVER_RUN: len(missing)})
    # The current request comes before superseded ones, the latest of these first.
    last = filed.sort("superseded_at", descending=True, nulls_last=False).unique(
        _ASKED, keep="first", maintain_order=True
    )
    wanted = pl.DataFrame(
        [(request.input_id, request.sample) for request in missing],
        {name: filed.schema[name] for name in _ASKED},
        orient="row",
    )
    counts = wanted.join(last, on=_ASKED, how="left").group_by(_HOW).len()
    by_difference: Counter[str] = Counter()
    for *how, count in counts.iter_rows():
        if how[0] is not None:
            by_difference[_difference(task, *how)] += count
    new = wanted.join(last, on=_ASKED, how="anti")
    new_samples = new.join(last, on="input_id", how="semi").height
    addition = MORE_TURNS if task.asset == DIALOGUES else MORE_SAMPLES
    return by_difference + Counter({NEW_ROWS: new.height - new_samples, addition: new_samples})


def _difference(
    task: Task, prompt: str, schema: str, model: str, temperature: float | None, top_p: float | None
) -> str:
    """The difference between a stored answer and the current request for the same input."""
    differences = []
    if prompt != task.prompt.fingerprint:
        differences += _of_prompt(task, prompt, temperature, top_p)
    if schema != task.schema_fingerprint:
        differences.append(SCHEMA)
    # A server can return a longer name than the requested one, with a date at the end.
    if not model.startswith(task.model):
        differences.append(MODEL)
    return ", ".join(differences) or INPUT


def _of_prompt(task: Task, fingerprint: str, temperature: float | None, top_p: float | None) -> list[str]:
    """Whether the text of a prompt differs, its sampling, or both; a fingerprint covers both."""
    if temperature is None or top_p is None:
        return [f"{PROMPT} or {SAMPLING}"]
    sampling = {"temperature": temperature, "top_p": top_p}
    before = task.prompt.with_settings({}, sampling)
    if before.fingerprint != fingerprint and task.prompt.options:  # the options of the stored answer are not stored
        without = task.prompt.with_settings({}, {**sampling, **dict.fromkeys(OPTIONS)})
        return [SAMPLING if without.fingerprint == fingerprint else f"{PROMPT} or {SAMPLING}"]
    differences = [] if before.fingerprint == fingerprint else [PROMPT]
    return differences if before.sampling == task.prompt.sampling else [*differences, SAMPLING]
