"""Targets: find the rows that a takedown names, and the tombstones that keep them out.

A tombstone matches no kept row. The id of a document counts in the batches in which it was taken down: ids of
different files are unrelated. Its address and its text count everywhere, unless a kept document has the same; then only
in batches without such a document.
"""

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import polars as pl

from personahub_assets.core.errors import BatchError, ConfigError, choices
from personahub_assets.core.text import shorten
from personahub_assets.core.urls import UrlPrefixes, check_prefix, normal_url
from personahub_assets.sources import reader, redact
from personahub_assets.sources.register import source_slices
from personahub_assets.sources.rows import Traits, traits
from personahub_assets.sources.tombstones import Tombstone, Tombstones, scopes
from personahub_assets.store.tables import CANDIDATES, Store
from personahub_assets.takedown.mark import answered_personas
from personahub_assets.takedown.receipts import Sites, Target

_NEAR, _COMPARED = 3, 20_000


class StoredDocument(NamedTuple):
    """A document of a batch; address and text are None if only its id is left."""

    batch: str
    document_id: str
    url: str | None
    text: str | None


class Persona(NamedTuple):
    """A candidate; `parent` is the document or persona that it was made from, '' if it was imported."""

    batch: str
    persona_id: str
    parent: str
    text: str


@dataclass
class Found:
    """The rows to take down, their tombstones, and the kept rows with the same text."""

    batches: set[str]
    stones: set[Tombstone] = field(default_factory=set)
    copies: list[str] = field(default_factory=list)
    sites: Sites = field(default_factory=Sites)


def find(store: Store, target: Target, *, again: bool) -> Found:
    """Find the rows of a target.

    Args:
        again: whether it was taken down before, so that there can be no rows left.

    Raises:
        ConfigError: if names are unknown, listing all of them and similar ones.
        BatchError: if the batch is unknown.
    """
    if target.batch is not None and target.batch not in store.batches():
        raise BatchError(f"unknown batch {choices(target.batch, store.batches())}")
    if target.kind == "persona":
        return _personas(store, target, again=again)
    if target.kind == "batch":
        return _whole_batches(store, target, again=again)
    if target.kind == "url_prefix":
        return _below_prefixes(store, target)
    documents = [row for row in _documents(store) if row.document_id in target.values]
    missing = set(target.values) - {row.document_id for row in documents if _is_wanted(target, row.batch)}
    documents += _unprocessed_documents(store, missing) if missing else []
    _check_known(store, target, {row.document_id for row in documents if _is_wanted(target, row.batch)}, again=again)
    return _stones_of_documents(store, target, documents)


def _below_prefixes(store: Store, target: Target) -> Found:
    """Documents below the prefixes; documents of similar hosts are kept and reported."""
    stones = {Tombstone.url_prefix(target.batch, check_prefix(prefix)) for prefix in target.values}
    taken, prefixes = Tombstones(stones, target.batch), UrlPrefixes(target.values)
    documents, sites = list[StoredDocument](), Sites()
    for row in _documents(store):
        if taken.is_below_prefix(row.document_id, row.url):
            documents.append(row)
            if _is_wanted(target, row.batch):
                sites.add(row.url or row.document_id)
        elif host := prefixes.near_host(row.url or row.document_id):
            sites.near[host] += 1
    matches = _stones_of_documents(store, target, documents)
    matches.stones |= stones
    matches.sites = sites
    return matches


def _whole_batches(store: Store, target: Target, *, again: bool) -> Found:
    """All rows of batches, with all slices of their source files; their texts and addresses become tombstones."""
    registered, documents, personas = store.batches(), list[StoredDocument](), list[Persona]()
    keys = {key for name in target.values if name in registered or not again for key in source_slices(store, name)}
    wanted = Target("batch", tuple(sorted(keys)))
    documents += [row for row in _documents(store) if row.batch in keys]
    for batch in keys:
        imported = _candidates(store, batch).filter(pl.col("parent_id").is_null() & pl.col("document_id").is_null())
        personas += _as_personas(batch, imported)
    for batch, row in _source_rows(store, keys):
        if row.persona is not None:
            personas.append(Persona(batch, "", "", row.persona))
        else:
            documents.append(StoredDocument(batch, row.document_id or "", row.url, row.text))
    matches = _stones_of_documents(store, wanted, documents)
    of_personas = _stones_of_personas(store, wanted, personas)
    matches.stones = {stone for stone in matches.stones if stone.kind != "document"} | of_personas.stones
    matches.stones |= {Tombstone.whole_batch(key) for key in {*keys, *target.values}}
    matches.copies += of_personas.copies
    matches.batches = keys
    return matches


def _source_rows(store: Store, batches: Collection[str]) -> Iterator[tuple[str, Traits]]:
    """Rows of the source files of batches; a row that cannot be parsed is identified by its whole text."""
    for piece in redact.registered(store):
        if piece.batch in batches and redact.is_readable(store, piece):
            for row in reader.read_rows(piece.path, piece.format, piece.selected):
                if row.columns is not None:
                    yield str(piece.batch), traits(row, piece.columns)
                elif row.raw:
                    yield str(piece.batch), Traits(text=row.raw)


def _is_wanted(target: Target, batch: str) -> bool:
    return batch in target.values if target.kind == "batch" else target.batch in (None, batch)


def _documents(store: Store) -> Iterator[StoredDocument]:
    """Every document named in any table, also if only derived rows are left of it."""
    for batch in store.batches():
        stored_ids = set()
        for rows in store.slices("documents", batch, ["batch", "document_id", "url", "text"]):
            stored_ids |= set(rows["document_id"])
            yield from map(StoredDocument._make, rows.iter_rows())
        left = set[str]().union(*(_column(store, batch, *track) for track in _TRACKS))
        yield from (StoredDocument(batch, document_id, None, None) for document_id in sorted(left - stored_ids))


_TRACKS: tuple[tuple[str, str, str | None], ...] = (
    *((table, "document_id", None) for table in CANDIDATES),
    ("generations", "input_id", "text_personas"),
    ("quarantine", "input_id", "text_personas"),
)


def _column(store: Store, batch: str, table: str, column: str, asset: str | None) -> set[str]:
    return set(store.read(table, batch, asset, columns=[column])[column].drop_nulls())


def _unprocessed_documents(store: Store, wanted: set[str]) -> Iterator[StoredDocument]:
    """Documents of batches that were registered and not yet materialised."""
    for batch, row in _source_rows(store, store.batches()):
        if row.persona is None and row.document_id in wanted:
            yield StoredDocument(batch, str(row.document_id), row.url, row.text)


def _stones_of_documents(store: Store, target: Target, documents: list[StoredDocument]) -> Found:
    taken = [row for row in documents if _is_wanted(target, row.batch)]
    matches = Found({row.batch for row in taken}, {Tombstone.document(row.batch, row.document_id) for row in taken})
    identities = {(row.batch, row.document_id) for row in taken}
    texts, urls = {row.text for row in taken}, {normal_url(row.url) for row in taken if row.url}
    others = (
        row
        for row in _documents(store)
        if (row.batch, row.document_id) not in identities and not _is_selected(target, row.batch)
    )
    staying = [row for row in others if row.text in texts or (row.url and normal_url(row.url) in urls)]
    for row in staying:
        if row.text is not None and row.text in texts:
            matches.copies.append(f"document {shorten(row.document_id)!r} of batch {row.batch}")
    everywhere = target.batch is None
    matches.stones |= _scoped(Tombstone.text, [(r.text, r.batch) for r in taken], staying, lambda r: r.text, everywhere)
    urls_taken = [(r.url, r.batch) for r in taken]
    matches.stones |= _scoped(Tombstone.url, urls_taken, staying, lambda r: r.url and normal_url(r.url), everywhere)
    return matches


def _scoped(
    make: Callable[[str | None, str], Tombstone],
    values: Iterable[tuple[str | None, str]],
    staying: Iterable[StoredDocument],
    value_of: Callable[[StoredDocument], str | None],
    everywhere: bool,
) -> set[Tombstone]:
    """Tombstones of texts or addresses `(value, batch)`, limited to batches without a kept row of the same value."""
    standing: dict[str | None, set[str]] = defaultdict(set)
    for row in staying:
        standing[value_of(row)].add(row.batch)
    taken: dict[str, set[str]] = defaultdict(set)
    for value, batch in values:
        if value:
            taken[normal_url(value) if make == Tombstone.url else value].add(batch)
    return {
        make(scope, value)
        for value, batches in taken.items()
        for scope in scopes(batches, standing[value], everywhere=everywhere)
    }


def _personas(store: Store, target: Target, *, again: bool) -> Found:
    wanted = pl.Series(target.values, dtype=pl.String).implode()
    taken = list[Persona]()
    for batch in filter(partial(_is_wanted, target), store.batches()):
        taken += _as_personas(batch, _candidates(store, batch).filter(pl.col("persona_id").is_in(wanted)))
    taken += _past_personas(store, target, set(target.values) - {row.persona_id for row in taken})
    _check_known(store, target, {row.persona_id for row in taken}, again=again)
    return _stones_of_personas(store, target, taken)


def _is_selected(target: Target, batch: str) -> bool:
    return target.kind == "batch" and batch in target.values


def _stones_of_personas(store: Store, target: Target, taken: list[Persona]) -> Found:
    staying = list[Persona]()
    # Candidates equal in text and parent are removed together: ids number them, so one would take the other's id.
    twins = {(row.batch, row.parent, row.text) for row in taken}
    texts = pl.Series([row.text for row in taken], dtype=pl.String).implode()
    for batch in store.batches():
        same = _as_personas(batch, _candidates(store, batch).filter(pl.col("persona").is_in(texts)))
        staying += [
            row for row in same if (row.batch, row.parent, row.text) not in twins and not _is_selected(target, batch)
        ]
    matches = Found({row.batch for row in taken})
    matches.copies = [f"persona {row.persona_id} of batch {row.batch}" for row in staying]
    standing = defaultdict(set)
    for row in staying:
        standing[row.parent, row.text].add(row.batch)
    batches = defaultdict(set)
    for row in taken:
        batches[row.parent, row.text].add(row.batch)
    for (parent, text), scope_of in batches.items():
        for scope in scopes(scope_of, standing[parent, text], everywhere=target.batch is None):
            matches.stones.add(Tombstone.persona(scope, parent, text))
    return matches


def _candidates(store: Store, batch: str) -> pl.DataFrame:
    """Candidates of a batch, and personas in the hub that the batch has lost."""
    columns = ["persona_id", "parent_id", "document_id", "persona"]
    rows = pl.concat([store.candidates(batch, columns), store.read("personas", batch, columns=columns)])
    return rows.unique("persona_id", maintain_order=True)


def _past_personas(store: Store, target: Target, wanted: set[str]) -> Iterator[Persona]:
    """Personas of answers that are no longer used, such as those of an earlier prompt."""
    for batch in filter(partial(_is_wanted, target), store.batches() if wanted else ()):
        for persona in answered_personas(store, batch):
            if persona.persona_id in wanted:
                yield Persona(batch, *persona)


def _as_personas(batch: str, rows: pl.DataFrame) -> list[Persona]:
    return [
        Persona(batch, row["persona_id"], row["parent_id"] or row["document_id"] or "", row["persona"])
        for row in rows.iter_rows(named=True)
    ]


def _check_known(store: Store, target: Target, known: set[str], *, again: bool) -> None:
    unknown = [value for value in target.values if value not in known]
    if unknown and not again:
        where = f" in batch {target.batch}" if target.batch else ""
        every = sorted(_ids(store, target.kind))
        raise ConfigError("; ".join(f"no {target.kind} {value!r}{where}{_suggest(value, every)}" for value in unknown))


def _ids(store: Store, kind: str) -> set[str]:
    if kind == "document":
        return {row.document_id for row in _documents(store)}
    return {row for batch in store.batches() for row in _candidates(store, batch)["persona_id"]}


def _suggest(value: str, every: list[str]) -> str:
    candidates = every if len(every) <= _COMPARED else [name for name in every if name[:4] == value[:4]][:_COMPARED]
    near = difflib.get_close_matches(value, candidates, n=_NEAR)
    return f" (did you mean {', '.join(map(repr, near))}?)" if near else f" ({len(every):,} others; see personahub sql)"
