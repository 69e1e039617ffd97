"""The records that dedup compares: rows with an id and a text, with their decisions and vectors in the store."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from personahub_assets.core import config
from personahub_assets.core.config import Lexical, Semantic
from personahub_assets.core.text import digest
from personahub_assets.embedding.vectors import (
    PERSONA_VECTORS,
    Allocate,
    Vectors,
    VectorTable,
    item_vector_table,
    matrix,
)
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import CANDIDATES, PartitionWriter, Store, item_writer, table_schema

DECIDED = ["id", "admission", "keeper_id", "similarity"]
"""Columns of a decision in memory."""


@dataclass(frozen=True)
class Records(ABC):
    """Rows that are compared with each other and with no others.

    In all frames the id is `id` and the text is `text`, whatever the columns of the tables are called.
    """

    store: Store

    key: ClassVar[str]
    """Column of the id in all tables."""
    decisions: ClassVar[str]
    """Table of the decisions."""
    runs: ClassVar[str]
    """Table of the methods of the decisions."""
    noun: ClassVar[str]
    """What a row is called."""
    content: ClassVar[tuple[str, ...]] = ("id",)
    """Columns of a decision that identify the text."""

    @abstractmethod
    def asset(self, stage: str) -> str:
        """The writer of the tables of a stage."""

    @property
    @abstractmethod
    def vectors(self) -> VectorTable:
        """The table of the vectors."""

    @property
    @abstractmethod
    def lexical(self) -> Lexical:
        """Settings of the lexical stage."""

    @property
    @abstractmethod
    def semantic(self) -> Semantic:
        """Settings of the semantic stage."""

    @abstractmethod
    def rows(self, batch: str, *columns: str) -> pl.DataFrame:
        """Columns of the rows of a batch: `id`, `text`, and `hop`, by which the rows of an admission are ordered."""

    @abstractmethod
    def cache(self, stage: str) -> Path:
        """Cache folder of a stage."""

    @abstractmethod
    def admission_lock(self, stage: str) -> str:
        """Name of the lock that is held to decide and publish."""

    @abstractmethod
    def journal(self, batch: str) -> Path:
        """Folder of the unpublished vectors of a batch."""

    @property
    @abstractmethod
    def texts(self) -> tuple[str, ...]:
        """Tables of the rows."""

    def marks(self, stage: str) -> dict[str, str]:
        """By batch with decisions of a stage, a mark of the files by which they are valid."""
        decided, *others = (self.store.marks(table, asset) for table, asset in self._valid_by(stage))
        return {batch: digest(decided[batch], *(each.get(batch, "") for each in others)) for batch in sorted(decided)}

    def is_decided(self, stage: str, batch: str) -> bool:
        """Whether a stage has decided about a batch."""
        return bool(self.store.mark(self.decisions, batch, self.asset(stage)))

    def mark(self, stage: str, batch: str) -> str:
        """The same of one batch."""
        return digest(*(self.store.mark(table, batch, asset) for table, asset in self._valid_by(stage)))

    def _valid_by(self, stage: str) -> list[tuple[str, str | None]]:
        tables: list[tuple[str, str | None]] = [(self.decisions, self.asset(stage)), (self.runs, self.asset(stage))]
        tables += [(table, None) for table in self.texts]
        if stage == "semantic":
            tables += [(self.vectors.name, self.vectors.asset), (self.decisions, self.asset("lexical"))]
        return tables

    def stored(self, stage: str, batch: str) -> pl.DataFrame:
        """Stored decisions of a batch, valid or not, with all columns of the table."""
        return self.store.read(self.decisions, batch, self.asset(stage)).rename({self.key: "id"})

    def valid(self, batch: str, decisions: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002 - of all batches alike
        """Of stored decisions about rows of a batch those about their current texts."""
        return decisions

    def write_decisions(self, stage: str, batch: str, rows: pl.DataFrame) -> None:
        """Publish the decisions `(batch, *DECIDED, ...)` of a batch."""
        table = rows.with_columns(stage=pl.lit(stage)).rename({"id": self.key})
        self.store.write(self.decisions, batch, table, self.asset(stage))

    def write_run(self, stage: str, batch: str, row: pl.DataFrame) -> None:
        """Publish the method of the decisions of a batch."""
        self.store.write(self.runs, batch, row, self.asset(stage))

    def kept(self, stage: str, batch: str) -> pl.DataFrame:
        """`(id)` of the rows of a batch that a stage keeps."""
        columns = [self.key, "keeper_id"]
        rows = self.store.read(self.decisions, batch, self.asset(stage), columns=columns)
        return rows.filter(pl.col("keeper_id").is_null()).select(id=self.key)

    def run(self, stage: str, batch: str) -> pl.DataFrame:
        """`(rule, method, recall, candidates)` of the decisions of a batch; no row without any."""
        columns = ["rule", "method", "recall", "candidates"]
        return self.store.read(self.runs, batch, self.asset(stage), columns=columns)

    def embedded(self, batch: str, columns: Sequence[str]) -> pl.DataFrame:
        """Columns of the table of vectors, `id` among them if wanted."""
        table, names = self.vectors, [self.key if name == "id" else name for name in columns]
        return self.store.read(table.name, batch, table.asset, columns=names).rename({self.key: "id"}, strict=False)

    def vector_writer(self, batch: str) -> PartitionWriter:
        """Write the vectors of a batch in pieces."""
        return self.store.writer(self.vectors.name, batch, self.vectors.asset)

    def vector_rows(self, batch: str, rows: pl.DataFrame) -> pl.DataFrame:  # noqa: ARG002 - of all batches alike
        """Rows with vectors, some of a batch, as the rows of the table."""
        return rows.rename({"id": self.key}).select(list(table_schema(self.vectors.name)))

    def matrix(
        self, model: str, rows: pl.DataFrame, *, has_nulls: bool = False, allocate: Allocate = np.empty
    ) -> Vectors:
        """Vectors of rows `(batch, id)`, in their order: float32 (rows, dimensions)."""
        named = rows.select("batch", pl.col("id").alias(self.key))
        return matrix(self.store, model, named, self.vectors, has_nulls=has_nulls, allocate=allocate)


@dataclass(frozen=True)
class Personas(Records):
    """The candidates of all batches."""

    key = "persona_id"
    decisions = "decisions"
    runs = "dedup_runs"
    noun = "persona"

    @property
    def texts(self) -> tuple[str, ...]:
        """The tables of the candidates."""
        return CANDIDATES

    def asset(self, stage: str) -> str:
        """The asset of the stage."""
        return f"{stage}_duplicates"

    @property
    def vectors(self) -> VectorTable:
        """The table of the vectors."""
        return PERSONA_VECTORS

    @property
    def lexical(self) -> Lexical:
        """Settings of the lexical stage."""
        return self.store.config.lexical

    @property
    def semantic(self) -> Semantic:
        """Settings of the semantic stage."""
        return self.store.config.semantic

    def rows(self, batch: str, *columns: str) -> pl.DataFrame:
        """Columns of the candidates of a batch."""
        names = {"id": "persona_id", "text": "persona"}
        rows = self.store.candidates(batch, [names.get(column, column) for column in columns])
        return rows.rename({name: column for column, name in names.items() if column in columns})

    def cache(self, stage: str) -> Path:
        """Cache folder of a stage."""
        return self.store.paths.dedup_cache(stage)

    def admission_lock(self, stage: str) -> str:
        """Name of the lock that is held to decide and publish."""
        return Lock.admission(stage)

    def journal(self, batch: str) -> Path:
        """Folder of the unpublished vectors of a batch."""
        return self.store.paths.vector_journal(batch)


@dataclass(frozen=True)
class Items(Records):
    """The items of one dataset, of all batches.

    The id of an item does not depend on its text. So a decision holds the call that wrote the item and a hash of its
    text: it is valid while the text is the same.
    """

    dataset: str
    _contents: dict[str, pl.DataFrame] = field(default_factory=dict, compare=False, repr=False)

    key = "item_id"
    decisions = "item_decisions"
    runs = "item_dedup_runs"
    noun = "item"
    content = ("id", "text_hash")

    @property
    def settings(self) -> config.Items:
        """How the items are compared."""
        return self.store.config.comparison(self.dataset, is_derived=self.store.catalog.is_derived(self.dataset))

    @property
    def threshold(self) -> float | None:
        """Similarity from which an item is a duplicate, at both stages; None if items are not compared."""
        return self.settings.near_duplicates or None

    @property
    def is_embedded(self) -> bool:
        """Whether items are also compared by meaning."""
        return self.settings.near_duplicates_by == "meaning"

    @property
    def texts(self) -> tuple[str, ...]:
        """The dataset."""
        return (self.dataset,)

    def asset(self, stage: str) -> str:
        """The dataset with the stage."""
        return item_writer(self.dataset, stage)

    @property
    def vectors(self) -> VectorTable:
        """The table of the vectors."""
        return item_vector_table(self.dataset)

    @property
    def lexical(self) -> Lexical:
        """Settings of the lexical stage, with the threshold of the dataset."""
        return self.store.config.lexical.model_copy(update={"threshold": self.threshold})

    @property
    def semantic(self) -> Semantic:
        """Settings of the semantic stage, with the threshold of the dataset."""
        return self.store.config.semantic.model_copy(update={"threshold": self.threshold})

    def rows(self, batch: str, *columns: str) -> pl.DataFrame:
        """Columns of the items of a batch; the items of an admission are ordered by their ids."""
        names = {"id": "item_id", "hop": "sample"}
        rows = self.store.read(self.dataset, batch, columns=[names.get(column, column) for column in columns])
        rows = rows.rename({name: column for column, name in names.items() if column in columns})
        return rows.with_columns(pl.lit(0, pl.Int8).alias("hop")) if "hop" in columns else rows

    def contents(self, batch: str) -> pl.DataFrame:
        """`(id, persona_id, generation_id, text_hash)` of the items of a batch, read once."""
        if batch not in self._contents:
            rows = self.rows(batch, "id", "persona_id", "generation_id", "text")
            hashes = pl.Series("text_hash", [digest(text) for text in rows["text"]], pl.String)
            self._contents[batch] = rows.drop("text").with_columns(hashes)
        return self._contents[batch]

    def valid(self, batch: str, decisions: pl.DataFrame) -> pl.DataFrame:
        """Of stored decisions those about the current texts, each with the call that wrote the text now."""
        if batch not in self._contents:
            calls = self.rows(batch, "id", "generation_id")
            if decisions.join(calls, on=calls.columns, how="anti").is_empty():
                return decisions  # the same calls wrote the same texts, which need not be read
        now = self.contents(batch).select("id", "text_hash", "generation_id")
        same = decisions.drop("generation_id").join(now, on=["id", "text_hash"], maintain_order="left")
        return same.select(decisions.columns)

    def write_decisions(self, stage: str, batch: str, rows: pl.DataFrame) -> None:
        """Publish the decisions of a batch, unless they are published already."""
        named = rows.select("batch", *DECIDED).join(self.contents(batch), on="id", maintain_order="left")
        table = named.rename({"id": "item_id"}).with_columns(stage=pl.lit(stage), dataset=pl.lit(self.dataset))
        self._write_changed(self.decisions, stage, batch, table)

    def write_run(self, stage: str, batch: str, row: pl.DataFrame) -> None:
        """Publish the method of the decisions of a batch, unless it is published already."""
        self._write_changed(self.runs, stage, batch, row.with_columns(dataset=pl.lit(self.dataset)))

    def _write_changed(self, table: str, stage: str, batch: str, rows: pl.DataFrame) -> None:
        asset, schema = self.asset(stage), table_schema(table)
        new = rows.select(list(schema)).cast(schema)  # type: ignore[arg-type]
        if not self.store.path(table, batch, asset).exists() or not self.store.read(table, batch, asset).equals(new):
            self.store.write(table, batch, new, asset)

    def vector_rows(self, batch: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows with vectors, some of a batch, as the rows of the table."""
        owners = self.contents(batch).select("id", "persona_id")
        of_dataset = rows.with_columns(dataset=pl.lit(self.dataset))
        return super().vector_rows(batch, of_dataset.join(owners, on="id", how="left", maintain_order="left"))

    def cache(self, stage: str) -> Path:
        """Cache folder of a stage."""
        return self.store.paths.item_dedup_cache(self.dataset, stage)

    def admission_lock(self, stage: str) -> str:
        """Name of the lock that is held to decide and publish."""
        return Lock.admission(self.asset(stage))

    def journal(self, batch: str) -> Path:
        """Folder of the unpublished vectors of a batch."""
        return self.store.paths.item_vector_journal(self.dataset, batch)
