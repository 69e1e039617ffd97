"""Score the items of a dataset: a judge's answers are the rows, and their distribution is counted."""

from typing import Any

from personahub_assets.core.rubrics import LEAST, MOST, SCORE, criteria_of
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.generation.engine import Watch
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.asked import Asked
from personahub_assets.steps.datasets import write_items
from personahub_assets.store.tables import Store


def write_scores(
    name: str, store: Store, llm: LLM, batch: str, watch: Watch, embedder: Embedder | None = None
) -> Asked:
    """Score the items of a batch by every judge, and publish the scores.

    Raises:
        LLMError, BudgetSpent: as for `write_items`.
    """
    result = write_items(name, store, llm, batch, watch, embedder=embedder)
    result.facts |= score_facts(store, name, batch)
    return result


def score_facts(store: Store, name: str, batch: str) -> dict[str, Any]:
    """Rows by score, and the mean of the score and of each criterion; empty without rows."""
    columns = [SCORE, *criteria_of(store.catalog.item(name))]
    rows = store.read(name, batch, columns=columns)
    if rows.is_empty():
        return {}
    counts = dict(rows[SCORE].value_counts().iter_rows())
    means = {f"mean_{column}": round(float(rows[column].mean()), 4) for column in columns}  # type: ignore[arg-type]
    return {"scores": {str(score): counts.get(score, 0) for score in range(LEAST, MOST + 1)}, **means}
