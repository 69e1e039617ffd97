"""Metadata about dropped personas and items: their similarities, the keepers with most drops, and a few pairs.

Texts are foreign, so they are cells of a table, which the UI shows unchanged, or escaped on cards.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from personahub_assets.core.text import digest, plain, shorten
from personahub_assets.defs.batches import Report
from personahub_assets.defs.metadata.charts import picture
from personahub_assets.defs.metadata.sample import SHORT_ID, as_cards
from personahub_assets.defs.metadata.svg import bar_chart
from personahub_assets.steps.dedup import ItemsDecided

if TYPE_CHECKING:
    from personahub_assets.dedup.state import Hub, KeptOfOthers

_KEEPERS, _PAIRS = 10, 3
_MEASURES = {"lexical": "Jaccard of the word sets", "semantic": "cosine of the embeddings"}


def explained(hub: "Hub", others: "KeptOfOthers", made: pl.DataFrame, batch: str) -> dict[str, Any]:
    """Make metadata about the drops of a batch; empty without drops.

    Args:
        hub: the stage.
        others: the kept rows of other batches, as they were before this step.
        made: `(batch, id, keeper_id, similarity, ...)`, the new decisions, of any batch.
        batch: the batch.

    Returns:
        `sample` (pairs as cards), `largest_keepers` (a table) and `similarities` (a bar chart).
    """
    dropped = made.filter(pl.col("batch") == batch, pl.col("keeper_id").is_not_null())
    if dropped.is_empty():
        return {}
    keepers, pairs = _largest(dropped), _spread(dropped)
    wanted = pl.concat([keepers["keeper_id"], pairs["keeper_id"], pairs["id"]]).unique()
    absorbed, texts = _looked_up(hub, others, made, wanted)
    chart = similarity_chart(dropped["similarity"], hub.threshold, _MEASURES[hub.stage], hub.records.noun)
    return {
        "sample": as_cards(
            [
                {
                    "dropped": texts.get(row["id"], ""),
                    "kept": texts.get(row["keeper_id"], ""),
                    "similarity": round(row["similarity"], 4),
                    "id": shorten(row["id"], SHORT_ID),
                }
                for row in pairs.iter_rows(named=True)
            ]
        ),
        "largest_keepers": dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "keeper": shorten(row["keeper_id"], SHORT_ID),
                        "absorbed_of_this_batch": row["absorbed"],
                        "absorbed_of_all": absorbed[row["keeper_id"]],
                        hub.records.noun: _cell(texts, row["keeper_id"]),
                    }
                )
                for row in keepers.iter_rows(named=True)
            ]
        ),
        "similarities": picture(chart, "similarities of the drops with their keepers"),
    }


def with_drops(report: Report, decided: ItemsDecided, batch: str) -> Report:
    """Add the near-duplicates of a dataset to its report; its version follows from the items and these decisions."""
    result = report.result
    result.version = digest(result.version, decided.version, size=32)
    result.facts |= decided.facts
    for stage in decided.stages:
        for name, value in explained(stage.hub, stage.others, stage.made, batch).items():
            report.pictures[f"{stage.hub.stage}_{'drops' if name == 'sample' else name}"] = value
    return report


def similarity_chart(similarities: pl.Series, threshold: float, measure: str, noun: str = "persona") -> str:
    """Draw the number of drops by similarity, from the threshold up; similarity 1 has its own bar."""
    step = 0.01 if threshold >= 0.8 else 0.025
    # The sixth decimal is noise of float32: without rounding, a cosine of 1 would differ from 1.
    values = similarities.round(6).clip(upper_bound=1)
    first = int(min(threshold, float(values.min() or threshold)) / step + 1e-9)  # type: ignore[arg-type]
    last = round(1 / step)
    counts = dict((values / step + 1e-9).cast(pl.Int64).value_counts().iter_rows())
    labels = [f"{bin_ * step:.3f}".removesuffix("0") for bin_ in range(first, last)] + ["1"]
    return bar_chart(
        labels,
        {"": [counts.get(bin_, 0) for bin_ in range(first, last + 1)]},
        title=f"How similar the dropped {noun}s are to their keepers",
        x_label=f"{measure}, from … on",
        y_label=f"{noun}s dropped",
    )


def _largest(dropped: pl.DataFrame) -> pl.DataFrame:
    """`(keeper_id, absorbed)` of the keepers with most drops."""
    counts = dropped.group_by("keeper_id").len("absorbed")
    return counts.sort("absorbed", "keeper_id", descending=[True, False]).head(_KEEPERS)


def _spread(dropped: pl.DataFrame) -> pl.DataFrame:
    """Some drops, from the least similar to the most similar one."""
    ordered = dropped.sort("similarity", "id")
    last = ordered.height - 1
    return ordered[sorted({last * index // (_PAIRS - 1) for index in range(_PAIRS)})]


def _looked_up(
    hub: "Hub", others: "KeptOfOthers", decided: pl.DataFrame, wanted: pl.Series
) -> tuple[dict[str, int], dict[str, str]]:
    """The number of drops of each given keeper in the hub, and its text; only texts of their batches are read."""
    absorbed, ids = others.absorbed(wanted), wanted.implode()
    now = {str(key): rows for (key,), rows in decided.partition_by("batch", as_dict=True).items()}
    for rows in now.values():
        for keeper, count in rows["keeper_id"].filter(rows["keeper_id"].is_in(ids)).value_counts().iter_rows():
            absorbed[keeper] += count
    texts: dict[str, str] = {}
    for key in {*others.batches_of(wanted), *(key for key, rows in now.items() if rows["id"].is_in(ids).any())}:
        texts |= dict(hub.records.rows(key, "id", "text").filter(pl.col("id").is_in(ids)).iter_rows())
    return absorbed, texts


def _cell(texts: dict[str, str], row_id: str) -> str:
    return plain(texts.get(row_id, ""))
