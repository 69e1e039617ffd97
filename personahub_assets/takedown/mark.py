"""Extent: which rows of a batch are kept under some tombstones; all others have to be removed.

Everything derived from a document is in the batch of the document. So the kept rows are found by a walk from the roots
of the batch (documents and imported personas that were not taken down) to their descendants: by the columns of the
candidates, and by the answers in `generations` and in journals, including those of earlier prompts. Rows that the walk
does not reach are removed: their origin was taken down, or is no longer stored and may have been taken down.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import polars as pl

from personahub_assets.core.fields import COLUMNS
from personahub_assets.generation.journal import entries
from personahub_assets.sources.tombstones import Tombstones
from personahub_assets.steps.candidates import identities
from personahub_assets.steps.datasets import item_id
from personahub_assets.store.home import PART
from personahub_assets.store.tables import BY_ASSET, CANDIDATES, MEASURES, Store, asset_of, table_schema, table_sql


class BatchFile(NamedTuple):
    """One file of a batch."""

    table: str
    asset: str | None


class _Answer(NamedTuple):
    asset: str
    input_id: str
    response: str | None  # None if it was rejected


class _Child(NamedTuple):
    persona_id: str
    taken: bool


@dataclass(frozen=True)
class Extent:
    """The kept rows of a batch."""

    batch: str
    documents: frozenset[str]
    personas: frozenset[str]
    items: frozenset[str] = frozenset()  # of datasets that others are made from
    is_gone: bool = False  # the whole batch is removed

    @cached_property
    def _ids(self) -> dict[str, pl.Series]:
        inputs = {"documents": self.documents, "personas": self.personas, "inputs": self.personas | self.items}
        return {name: pl.Series(sorted(ids), dtype=pl.String) for name, ids in inputs.items()}

    def kept_rows(self, table_file: BatchFile) -> pl.Expr | None:
        """Condition for the kept rows of a table; None if its rows belong to no document, persona or item."""
        if self.is_gone:
            return pl.lit(value=False)
        table = table_file.table
        columns = table_schema(table) if table in table_sql() else COLUMNS  # of a home's own dataset
        if "persona_id" in columns:
            return self._is_among("persona_id", "personas")
        if table_file.table == "documents":
            return self._is_among("document_id", "documents")
        if "input_id" in columns and table_file.asset != "documents":
            return self._is_among("input_id", "documents" if table_file.asset == "text_personas" else "inputs")
        return None

    def has_input(self, asset: str, input_id: str) -> bool:
        """Whether the input of a request of an asset is kept."""
        if asset == "text_personas":
            return input_id in self.documents
        return input_id in self.personas or input_id in self.items

    def _is_among(self, column: str, kind: str) -> pl.Expr:
        return pl.col(column).is_in(self._ids[kind].implode())


def batch_files(store: Store, batch: str) -> Iterator[BatchFile]:
    """All files of a batch, the last written first.

    In this order a killed takedown leaves everything that it needs to find the rest.
    """
    for table in sorted((table for table in store.table_set.sql if table not in _NOT_MADE), key=_removal_rank):
        for folder in store.folders(table):
            if (folder / f"batch={batch}" / PART).exists():
                yield BatchFile(table, asset_of(table, folder))


_NOT_MADE = ("batches", "tombstones", "takedowns", "prompt_uses", *MEASURES)
_FIRST = ("documents", "text_personas", "related_personas")


def _removal_rank(table: str) -> int:
    """Order of removal: roots last, answers about them before."""
    if table in BY_ASSET:
        return 1
    return 2 + len(_FIRST) - _FIRST.index(table) if table in _FIRST else 0


def extent(store: Store, batch: str, taken: Tombstones) -> Extent:
    """Find the rows of a batch that are kept.

    Raises:
        StoreError: if a file of the batch is damaged.
    """
    if taken.is_whole:
        return Extent(batch, frozenset(), frozenset(), is_gone=True)
    answers = list(_answers(store, batch))
    candidates = pl.concat([store.read(table, batch) for table in CANDIDATES])
    documents = _documents(store, batch, taken, candidates, answers)
    children = _children(batch, taken, candidates, answers)
    personas = frozenset(_find_reached(candidates, documents, children))
    return Extent(batch, documents, personas, _items(store, batch, personas))


def _items(store: Store, batch: str, personas: frozenset[str]) -> frozenset[str]:
    """Ids of the items of kept personas that calls are about, also of items that an earlier run had."""
    inputs, kept = set(personas), set[str]()
    catalog = store.catalog
    sources = {derivation.source for name in catalog.names if (derivation := catalog.derivation(name))}
    for name in (name for name in catalog.in_order if name in sources):
        rows = store.read("generations", batch, name, columns=["input_id", "sample"])
        requested = {(input_id, sample) for input_id, sample in rows.iter_rows() if input_id in inputs}
        stored = store.read(name, batch, columns=["item_id", "persona_id"]).iter_rows()
        own = {item_id(name, *each) for each in requested} | {item for item, persona in stored if persona in personas}
        inputs |= own
        kept |= own
    return frozenset(kept)


class AnsweredPersona(NamedTuple):
    """A persona of an answer; `parent` is the document or persona that the request was about."""

    persona_id: str
    parent: str
    text: str


def answered_personas(store: Store, batch: str) -> Iterator[AnsweredPersona]:
    """The personas of all answers of a batch, including answers that are no longer used.

    Raises:
        StoreError: if a file of the batch is damaged.
    """
    return _personas_in(batch, _answers(store, batch))


def _answers(store: Store, batch: str) -> Iterator[_Answer]:
    """Answers about documents and personas of a batch; of dataset answers only the inputs matter, and only roots."""
    for asset in CANDIDATES:
        columns = ["input_id", "reason", "response"]
        for rows in store.slices("generations", batch, columns, asset=asset):
            for input_id, reason, response in rows.iter_rows():
                yield _Answer(asset, input_id, None if reason else response)
        path = store.paths.journal(asset, batch)
        for entry in entries(path) if path.exists() else ():
            accepted = entry.outcome.status == "accepted"
            yield _Answer(asset, entry.input_id, entry.outcome.response if accepted else None)


def _documents(
    store: Store, batch: str, taken: Tombstones, candidates: pl.DataFrame, answers: list[_Answer]
) -> frozenset[str]:
    document_ids = set(candidates["document_id"].drop_nulls())
    document_ids |= {answer.input_id for answer in answers if answer.asset == "text_personas"}
    document_ids |= set(store.read("quarantine", batch, "text_personas", columns=["input_id"])["input_id"])
    gone = {document_id for document_id in document_ids if taken.has_document(document_id, None, None)}
    for rows in store.slices("documents", batch, ["document_id", "url", "text"]):
        document_ids |= set(rows["document_id"])
        gone |= {row[0] for row in rows.iter_rows() if taken.has_document(*row)}
    return frozenset(document_ids - gone)


def _children(
    batch: str, taken: Tombstones, candidates: pl.DataFrame, answers: list[_Answer]
) -> dict[str, list[_Child]]:
    """The children of each document or persona; those of '' are the imported personas."""
    children: dict[str, list[_Child]] = defaultdict(list)
    columns = candidates.select("persona_id", "persona", "document_id", "parent_id")
    for persona_id, persona, document_id, parent_id in columns.iter_rows():
        parent = parent_id or document_id or ""
        children[parent].append(_Child(persona_id, taken.has_persona(parent, persona)))
    for persona_id, parent, text in _personas_in(batch, answers):
        children[parent].append(_Child(persona_id, taken.has_persona(parent, text)))
    return children


def _personas_in(batch: str, answers: Iterable[_Answer]) -> Iterator[AnsweredPersona]:
    """The personas of accepted answers."""
    for answer in answers:
        items = json.loads(answer.response)["personas"] if answer.response else []
        personas = [(item["relation"], item["persona"]) for item in items]
        ids = identities(batch, answer.input_id, personas)
        yield from (AnsweredPersona(id_, answer.input_id, text) for id_, (_, text) in zip(ids, personas, strict=True))


def _find_reached(candidates: pl.DataFrame, documents: frozenset[str], children: dict[str, list[_Child]]) -> set[str]:
    waiting = ["", *documents, *_missing_parents(candidates, documents, children)]
    reached: set[str] = set()
    while waiting:
        standing = waiting.pop()
        reached.add(standing)
        waiting += [child.persona_id for child in children.get(standing, ()) if not _is_past(child, reached)]
    return reached - documents - {""}


def _is_past(child: _Child, reached: set[str]) -> bool:
    return child.taken or child.persona_id in reached


def _missing_parents(
    candidates: pl.DataFrame, documents: frozenset[str], children: dict[str, list[_Child]]
) -> Iterator[str]:
    """Parents that are missing in the batch although their children are there: the run was not completed."""
    child_ids = {child.persona_id for siblings in children.values() for child in siblings}
    rows = candidates.filter(pl.col("parent_id").is_not_null()).select("parent_id", "document_id").unique()
    for parent_id, document_id in rows.iter_rows():
        if parent_id not in child_ids and (document_id is None or document_id in documents):
            yield parent_id
