"""Extent: what of a batch stands under some tombstones, and so what has to go, with all that came from it.

Everything derived from a document stays in its batch. So what stands is found by a walk from the roots of the batch
(documents and imported personas that were not taken down) to whom they led: by the candidates' own columns, and by the
answers in `generations` and in journals, those of earlier prompts included. What the walk does not reach goes: it came
from what was taken down, or from something that is nowhere any more, which may have been the same.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import polars as pl

from personahub_assets.generation.journal import entries
from personahub_assets.sources.tombstones import Tombstones
from personahub_assets.steps.candidates import identities
from personahub_assets.store.home import PART
from personahub_assets.store.tables import BY_ASSET, CANDIDATES, Store, asset_of, table_schema, table_sql


class Part(NamedTuple):
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
    """What stands in a batch."""

    batch: str
    documents: frozenset[str]
    personas: frozenset[str]
    is_gone: bool = False  # the batch goes as a whole, whatever it has

    @cached_property
    def _ids(self) -> dict[str, pl.Series]:
        return {name: pl.Series(sorted(getattr(self, name)), dtype=pl.String) for name in ("documents", "personas")}

    def stays(self, part: Part) -> pl.Expr | None:
        """Which rows of a table stay; None where rows are no one's."""
        if self.is_gone:
            return pl.lit(value=False)
        columns = table_schema(part.table)
        if "persona_id" in columns:
            return self._among("persona_id", "personas")
        if part.table == "documents":
            return self._among("document_id", "documents")
        if "input_id" in columns and part.asset != "documents":
            return self._among("input_id", "documents" if part.asset == "text_personas" else "personas")
        return None

    def has_input(self, asset: str, input_id: str) -> bool:
        """Whether what an asset asked about stands."""
        return input_id in (self.documents if asset == "text_personas" else self.personas)

    def _among(self, column: str, kind: str) -> pl.Expr:
        return pl.col(column).is_in(self._ids[kind].implode())


def parts(store: Store, batch: str) -> Iterator[Part]:
    """All files that a batch has, what is made last first.

    In this order a takedown that is killed leaves everything that it needs to find the rest.
    """
    for table in sorted((table for table in table_sql() if table not in _NOT_MADE), key=_rank):
        for folder in store.folders(table):
            if (folder / f"batch={batch}" / PART).exists():
                yield Part(table, asset_of(table, folder))


_NOT_MADE = ("batches", "tombstones", "takedowns")
_FIRST = ("documents", "text_personas", "related_personas")


def _rank(table: str) -> int:
    """Roots last; before them what was answered about them."""
    if table in BY_ASSET:
        return 1
    return 2 + len(_FIRST) - _FIRST.index(table) if table in _FIRST else 0


def extent(store: Store, batch: str, taken: Tombstones) -> Extent:
    """Find out what stands in a batch.

    Raises:
        StoreError: if a file of it is damaged.
    """
    if taken.is_whole:
        return Extent(batch, frozenset(), frozenset(), is_gone=True)
    answers = list(_answers(store, batch))
    candidates = pl.concat([store.read(table, batch) for table in CANDIDATES])
    documents = _documents(store, batch, taken, candidates, answers)
    children = _children(batch, taken, candidates, answers)
    return Extent(batch, documents, frozenset(_reached(candidates, documents, children)))


class Told(NamedTuple):
    """A persona of an answer; `parent` is the document or persona that was asked about."""

    persona_id: str
    parent: str
    text: str


def past(store: Store, batch: str) -> Iterator[Told]:
    """The personas of all answers of a batch, those that are not used any more included.

    Raises:
        StoreError: if a file of it is damaged.
    """
    return _told(batch, _answers(store, batch))


def _answers(store: Store, batch: str) -> Iterator[_Answer]:
    """What was answered about documents and personas of a batch; by datasets only the inputs matter, and only roots."""
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
    """Who came from each document or persona; from '' the imported ones."""
    children: dict[str, list[_Child]] = defaultdict(list)
    columns = candidates.select("persona_id", "persona", "document_id", "parent_id")
    for persona_id, persona, document_id, parent_id in columns.iter_rows():
        parent = parent_id or document_id or ""
        children[parent].append(_Child(persona_id, taken.has_persona(parent, persona)))
    for persona_id, parent, text in _told(batch, answers):
        children[parent].append(_Child(persona_id, taken.has_persona(parent, text)))
    return children


def _told(batch: str, answers: Iterable[_Answer]) -> Iterator[Told]:
    """The personas of accepted answers."""
    for answer in answers:
        items = json.loads(answer.response)["personas"] if answer.response else []
        personas = [(item["relation"], item["persona"]) for item in items]
        ids = identities(batch, answer.input_id, personas)
        yield from (Told(id_, answer.input_id, text) for id_, (_, text) in zip(ids, personas, strict=True))


def _reached(candidates: pl.DataFrame, documents: frozenset[str], children: dict[str, list[_Child]]) -> set[str]:
    waiting = ["", *documents, *_forgotten(candidates, documents, children)]
    reached: set[str] = set()
    while waiting:
        standing = waiting.pop()
        reached.add(standing)
        waiting += [child.persona_id for child in children.get(standing, ()) if not _is_past(child, reached)]
    return reached - documents - {""}


def _is_past(child: _Child, reached: set[str]) -> bool:
    return child.taken or child.persona_id in reached


def _forgotten(candidates: pl.DataFrame, documents: frozenset[str], children: dict[str, list[_Child]]) -> Iterator[str]:
    """Parents that their batch has not any more, though it has their children: it was not run to its end."""
    child_ids = {child.persona_id for siblings in children.values() for child in siblings}
    rows = candidates.filter(pl.col("parent_id").is_not_null()).select("parent_id", "document_id").unique()
    for parent_id, document_id in rows.iter_rows():
        if parent_id not in child_ids and (document_id is None or document_id in documents):
            yield parent_id
