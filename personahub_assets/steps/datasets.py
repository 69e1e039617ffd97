"""Dataset items: which personas they are written for, and their rows."""

from collections.abc import Iterable
from typing import Any

import polars as pl

from personahub_assets.core.records import DatasetItem
from personahub_assets.core.text import digest

_SCALE = 1 << 32


def chosen(personas: pl.DataFrame, dataset: str, share: float, among: pl.Series | None = None) -> pl.DataFrame:
    """Choose a share of the personas by a hash: the same ones at every refresh, others for each dataset.

    Args:
        among: ids; no others are chosen.
    """
    if among is not None:
        personas = personas.filter(personas["persona_id"].is_in(among.implode()))
    if share >= 1:
        return personas
    places = [int(digest(dataset, persona_id, size=8), 16) for persona_id in personas["persona_id"]]
    return personas.filter(pl.Series(places, dtype=pl.Int64) < int(share * _SCALE))


def items(dataset: str, batch: str, answers: Iterable[tuple[str, int, str, DatasetItem]]) -> list[dict[str, Any]]:
    """Rows of a dataset from `(persona id, sample, generation id, answer)`."""
    return [
        {
            "batch": batch,
            "item_id": "i" + digest(dataset, persona_id, sample),
            "persona_id": persona_id,
            "sample": sample,
            **answer.model_dump(),
            "text": answer.as_text(),
            "generation_id": generation_id,
        }
        for persona_id, sample, generation_id, answer in answers
    ]
