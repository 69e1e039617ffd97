"""The result of a step for one batch."""

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from personahub_assets.store.tables import content_version

HEAD_ROWS = 5


@dataclass
class Result:
    """A published partition.

    Attributes:
        head: its first rows, at most HEAD_ROWS.
        rows: number of rows.
        version: a hash of their content.
        facts: counts, shares and settings by name, plain values.
    """

    head: pl.DataFrame
    rows: int
    version: str
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: pl.DataFrame, facts: dict[str, Any] | None = None) -> "Result":
        """Make the result from rows in memory."""
        return cls(rows.head(HEAD_ROWS), rows.height, content_version(rows), facts or {})
