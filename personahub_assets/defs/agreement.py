"""Verification: the answers of several solvers are compared, one asset for each kind of problem."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from personahub_assets.core.verified import COMPARISONS, Comparison
from personahub_assets.defs.assets import Asset
from personahub_assets.defs.batches import LLM_POOL, Batch, Report, batch_asset
from personahub_assets.defs.metadata import usage
from personahub_assets.defs.metadata.svg import as_markdown, bar_chart
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.agreement import Compared, write_agreement
from personahub_assets.store.tables import Store


def agreements() -> list[Asset]:
    """Make the asset of each comparison."""
    return [_agreement(name, comparison) for name, comparison in COMPARISONS.items()]


def _agreement(name: str, comparison: Comparison) -> Asset:
    @batch_asset(
        name=name,
        description=f"The final answers of {comparison.solutions}, compared by problem; agreed ones are in the view "
        f"{comparison.view}.",
        group="verification",
        deps=[comparison.solutions],
        kinds={"llm", "parquet"},
        lock="refuse",
        pool=LLM_POOL,
    )
    def agreement(batch: Batch, store: Store, llm: LLM) -> Report:
        return _report(store, write_agreement(name, store, llm, batch.key, batch.watch))

    return agreement


def _report(store: Store, compared: Compared) -> Report:
    pictures: dict[str, Any] = _votes(compared.facts["votes"])
    if compared.tally is not None and compared.window is not None:
        compared.facts |= usage.spent(compared.tally, store.config.prices.currency)
        pictures |= usage.engine(compared.tally, compared.window)
    return Report(compared, pictures)


def _votes(votes: Mapping[str, int]) -> dict[str, dg.MetadataValue[Any]]:
    """Plot of the problems by the votes for their answer."""
    if not votes:
        return {}
    labels = sorted(votes, key=int)
    chart = bar_chart(
        labels,
        {"": [votes[label] for label in labels]},
        title="Problems by the number of solutions with the same answer",
        x_label="solutions that agree",
        y_label="problems",
    )
    return {"votes_histogram": dg.MetadataValue.md(as_markdown(chart, "votes"))}
