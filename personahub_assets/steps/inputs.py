"""Choose the documents, personas or items of a preview."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from personahub_assets.core.errors import ArgumentError, StoreError, UnknownId
from personahub_assets.core.text import sanitise, shorten
from personahub_assets.sources.register import source_rows
from personahub_assets.sources.rows import Document
from personahub_assets.steps import candidates as rules
from personahub_assets.steps.datasets import asked_inputs, asked_personas
from personahub_assets.steps.personas import expanded_before
from personahub_assets.store.tables import CANDIDATES, Store

_PERSONA = ["persona_id", "persona"]


@dataclass(frozen=True)
class Input:
    """A document, a persona, or an item of the source of a dataset.

    Attributes:
        batch: its batch; None if the home has none.
        input_id: its id.
        text: the whole text.
        row: columns of an item, and the text of its persona; of a persona, the stored messages of its dialogues by the
            samples of their calls; else empty.
    """

    batch: str | None
    input_id: str
    text: str
    row: Mapping[Any, Any] = field(default_factory=dict, compare=False)


def first_inputs(store: Store, task: str, count: int) -> list[Input]:
    """Choose the first rows of a home in the order of a run; the same rows at each call.

    Raises:
        StoreError: if there are none, with the command that makes them.
        SourceError: if the documents are not materialised and their source file cannot be read.
    """
    chosen: dict[tuple[str | None, str], Input] = {}
    for each in _source_of(store, task)(store, task):
        chosen.setdefault((each.batch, each.input_id), each)
        if len(chosen) == count:
            break
    if not chosen:
        raise StoreError(_remedy(store, task))
    return list(chosen.values())


def named_inputs(store: Store, task: str, ids: Sequence[str]) -> list[Input]:
    """The documents (for text_personas), items of the source or personas with these ids, in their order.

    Dropped personas can be named, too.

    Raises:
        UnknownId: naming the ids that are unknown.
    """
    kind = _kind_of(store, task)
    by_id = _WITH_IDS[kind](store, task, set(ids))
    if unknown := [shorten(each) for each in dict.fromkeys(ids) if each not in by_id]:
        hint = _HOW_TO_FIND[kind].replace("{source}", _source_name(store, task))
        raise UnknownId(f"no {kind} of {store.root} has the id {', '.join(map(repr, unknown))}: {hint}")
    return [by_id[each] for each in dict.fromkeys(ids)]


def typed_input(store: Store, task: str, text: str) -> Input:
    """A persona from a text: the persona of the hub with this text, or a new one in the first batch.

    Raises:
        ConfigError: if the text is empty, or the task is about documents.
    """
    if task == "text_personas":
        raise ArgumentError("text_personas is asked about documents, not personas: name one with --from DOCUMENT_ID")
    if source := _source_name(store, task):
        raise ArgumentError(f"{task} is asked about items of {source}, not personas: name one with --from ITEM_ID")
    persona = sanitise(text)[0].strip()
    if not persona:
        raise ArgumentError("the persona is empty: give one or two sentences that describe a kind of person")
    same = store.scan("personas").filter(persona=persona).select("batch", *_PERSONA).head(1).collect()
    if same.height:
        return Input(*same.row(0))
    batch = next(iter(store.batches()), None)
    (persona_id,) = rules.identities(batch or "", "", [("imported", persona)])
    return Input(batch, persona_id, persona)


def _documents(store: Store, _task: str) -> Iterator[Input]:
    """The documents of all batches; for batches without a table, from the source file."""
    for batch in store.batches():
        if store.path("documents", batch).exists():
            for rows in store.slices("documents", batch, ["document_id", "text"]):
                yield from (Input(batch, *row) for row in rows.iter_rows())
        else:
            rows_of_file = source_rows(store, batch)
            yield from (Input(batch, row.document_id, row.text) for row in rows_of_file if isinstance(row, Document))


def _parents(store: Store, _task: str) -> Iterator[Input]:
    """The candidates that the first hop expands."""
    for batch in store.batches():
        candidates = store.read("text_personas", batch)
        for row in rules.frontier(candidates, set(), expanded_before(store, batch)):
            yield Input(batch, row["persona_id"], row["persona"])


def _personas_of(store: Store, dataset: str) -> Iterator[Input]:
    """The personas of a dataset, then all others."""
    for batch in store.batches():
        for rows in asked_personas(store, dataset, batch):
            yield from (Input(batch, *row) for row in rows.iter_rows())
    for batch in store.batches():
        for rows in store.slices("personas", batch, _PERSONA):
            yield from (Input(batch, *row) for row in rows.iter_rows())


def _items(store: Store, dataset: str) -> Iterator[Input]:
    """The items of a dataset's source."""
    for batch in store.batches():
        personas = dict(store.candidates(batch, _PERSONA).iter_rows())
        for rows in asked_inputs(store, dataset, batch):
            for row in rows.iter_rows(named=True):
                yield item_input(batch, row, personas)


def item_input(batch: str, row: Mapping[str, Any], personas: Mapping[str, str]) -> Input:
    """The input of a request about an item.

    Args:
        row: its row.
        personas: texts of personas by id.
    """
    return Input(batch, row["item_id"], row["text"], {"persona": personas.get(row["persona_id"], ""), **row})


def _source_name(store: Store, task: str) -> str:
    derivation = store.catalog.derivation(task)
    return derivation.source if derivation else ""


def _kind_of(store: Store, task: str) -> str:
    return "document" if task == "text_personas" else "item" if _source_name(store, task) else "persona"


def _source_of(store: Store, task: str) -> Callable[[Store, str], Iterator[Input]]:
    return _SOURCES.get(task, _items if _source_name(store, task) else _personas_of)


_SOURCES: dict[str, Callable[[Store, str], Iterator[Input]]] = {
    "text_personas": _documents,
    "related_personas": _parents,
}

_HOW_TO_FIND = {
    "document": "ids are in the table documents",
    "persona": 'ids are in the table personas; personahub search "words" finds some',
    "item": "ids are in the table {source}",
}


def _first_with(inputs: Iterator[Input], ids: set[str]) -> dict[str, Input]:
    by_id: dict[str, Input] = {}
    for each in inputs:
        if each.input_id in ids:
            by_id.setdefault(each.input_id, each)
            if len(by_id) == len(ids):
                break
    return by_id


def _documents_with(store: Store, task: str, ids: set[str]) -> dict[str, Input]:
    return _first_with(_documents(store, task), ids)


def _items_with(store: Store, task: str, ids: set[str]) -> dict[str, Input]:
    return _first_with(_items(store, task), ids)


def _personas_with(store: Store, _task: str, ids: set[str]) -> dict[str, Input]:
    by_id: dict[str, Input] = {}
    for table in ("personas", *CANDIDATES):
        if left := ids - by_id.keys():
            rows = store.scan(table).filter(pl.col("persona_id").is_in(list(left))).select("batch", *_PERSONA)
            by_id |= {row[1]: Input(*row) for row in rows.collect().iter_rows()}
    return by_id


_WITH_IDS: dict[str, Callable[[Store, str, set[str]], dict[str, Input]]] = {
    "document": _documents_with,
    "item": _items_with,
    "persona": _personas_with,
}


def _remedy(store: Store, task: str) -> str:
    if not store.batches():
        text = "" if _kind_of(store, task) != "persona" else ", or give a persona: --persona TEXT"
        return f"{store.root} has no batches yet; register a source file first: personahub ingest FILE{text}"
    if task == "text_personas":
        return f"{store.root} has no documents: its source files hold none; add some with: personahub ingest FILE"
    if source := _source_name(store, task):
        return f"{store.root} has no items of {source} yet. Write them first: personahub run --select +{source}"
    upstream = "+text_personas" if task == "related_personas" else "+personas"
    return (
        f"{store.root} has no personas yet. Write them first: personahub run --select {upstream}; "
        "or give one: --persona TEXT"
    )
