"""Tombstones: what was taken down and must not come back, known by hashes only.

    taken = Tombstones(stones, batch="crawl")
    rows = without(read_rows(...), columns, taken)          rows of a source file
    answer = answer_without(response, "page-17", taken)     personas of an answer

A stone holds no text, no id and no address of what was taken down. A prefix of addresses is the exception: it stands in
clear, since a hash of it would match nothing. A batch that was taken down as a whole has a stone of its own.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from personahub_assets.core.text import digest
from personahub_assets.core.urls import UrlPrefixes, normal_url
from personahub_assets.sources.rows import Columns, RawRow, traits
from personahub_assets.store.tables import Store

Kind = Literal["document", "url", "url_prefix", "text", "persona", "request", "batch"]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One thing that must not come back, in one batch or, where that is None, in any."""

    kind: Kind
    batch: str | None
    mark: str

    @classmethod
    def document(cls, batch: str | None, document_id: str) -> "Tombstone":
        """Of a document's id; ids of different files have nothing to do with each other, so it is of a batch."""
        return cls("document", batch, digest("document", document_id))

    @classmethod
    def url(cls, batch: str | None, url: str) -> "Tombstone":
        """Of a document's address."""
        return cls("url", batch, digest("url", normal_url(url)))

    @classmethod
    def url_prefix(cls, batch: str | None, prefix: str) -> "Tombstone":
        """Of all addresses of a site or folder."""
        return cls("url_prefix", batch, normal_url(prefix))

    @classmethod
    def whole_batch(cls, batch: str) -> "Tombstone":
        """Of a batch with all that it has; its key is not used again."""
        return cls("batch", batch, digest("batch", batch))

    @classmethod
    def text(cls, batch: str | None, text: str) -> "Tombstone":
        """Of a document's text, as it is stored."""
        return cls("text", batch, digest("text", text))

    @classmethod
    def persona(cls, batch: str | None, parent: str, text: str) -> "Tombstone":
        """Of a persona's text, where it comes from the same document or persona; '' is the parent of imported ones."""
        return cls("persona", batch, digest("persona", parent, text))

    @classmethod
    def request(cls, key: str) -> "Tombstone":
        """Of a request about what was taken down, so that no recorded answer to it is taken in."""
        return cls("request", None, digest("request", key))


class Tombstones:
    """The stones that count in one batch; false if there are none.

    Args:
        stones: of any batches.
        batch: where they are asked for; None: where no batch is, so that only those of all batches count.
    """

    def __init__(self, stones: Iterable[Tombstone], batch: str | None):
        counted = [stone for stone in stones if stone.batch is None or stone.batch == batch]
        self.is_whole = any(stone.kind == "batch" for stone in counted)
        self.of_personas = any(stone.kind == "persona" for stone in counted)
        self._prefixes = UrlPrefixes(stone.mark for stone in counted if stone.kind == "url_prefix")
        self._marks: dict[Kind, set[str]] = defaultdict(set)
        for stone in counted:
            self._marks[stone.kind].add(stone.mark)

    def __bool__(self) -> bool:
        return any(self._marks.values())

    def has_document(self, document_id: str | None, url: str | None, text: str | None) -> bool:
        """Whether a document was taken down, by whatever is known of it."""
        if self.is_whole or self.is_below_prefix(document_id, url):
            return True
        return (
            bool(document_id and Tombstone.document(None, document_id).mark in self._marks["document"])
            or bool(url and self._marks["url"] and not self._marks["url"].isdisjoint(_marks_of_url(url)))
            or bool(text and Tombstone.text(None, text).mark in self._marks["text"])
        )

    def is_below_prefix(self, document_id: str | None, url: str | None) -> bool:
        """Whether a document's address lies under a prefix; where only its id is left, that may be its address."""
        address = url or document_id
        return bool(address and self._prefixes and self._prefixes.cover(address))

    def has_persona(self, parent: str, text: str) -> bool:
        """Whether a persona of this parent was taken down."""
        if self.is_whole:
            return True
        return self.of_personas and Tombstone.persona(None, parent, text).mark in self._marks["persona"]

    def has_request(self, key: str) -> bool:
        """Whether a request was about something that was taken down."""
        return Tombstone.request(key).mark in self._marks["request"]

    def has_row(self, row: RawRow, columns: Columns) -> bool:
        """Whether a row of a source file was taken down; one that cannot be read is known by all that it says."""
        if self.is_whole:
            return True
        if row.columns is None:
            return self.has_document(None, None, row.raw)
        row_traits = traits(row, columns)
        if row_traits.persona is not None:
            return self.has_persona("", row_traits.persona)
        if row_traits.former_id and self.has_document(row_traits.former_id, None, None):
            return True
        return self.has_document(row_traits.document_id, row_traits.url, row_traits.text)


def _marks_of_url(url: str) -> Iterator[str]:
    """Hashes that may stand for an address: homes have some of the form in which it was compared before."""
    yield Tombstone.url(None, url).mark
    for form in (url, f"<{url}>"):
        yield digest("url", _former_url(form))


def _former_url(url: str) -> str:
    try:
        split_url = urlsplit(url.strip())
    except ValueError:  # such as a bracket that is not closed
        return url.strip()
    return urlunsplit((split_url.scheme.lower(), split_url.netloc.lower(), split_url.path, split_url.query, ""))


def without(rows: Iterable[RawRow], columns: Columns, taken: Tombstones) -> Iterable[RawRow]:
    """Pass the rows of a source file on; of those that were taken down only their place is left."""
    return (_blank(row) if taken.has_row(row, columns) else row for row in rows) if taken else rows


def _blank(row: RawRow) -> RawRow:
    return RawRow(row.place, reason="taken_down", detail="see tombstones")


def answer_without(response: str, parent: str, taken: Tombstones) -> str:
    """Give the JSON of an answer without the personas that were taken down; empty where none of them is left."""
    if not taken.of_personas:
        return response
    answer = json.loads(response)
    left = [item for item in answer["personas"] if not taken.has_persona(parent, item["persona"])]
    if len(left) == len(answer["personas"]):
        return response
    return json.dumps({**answer, "personas": left}, ensure_ascii=False, separators=(",", ":")) if left else ""


def scopes(taken: set[str], standing: set[str], *, everywhere: bool) -> Iterator[str | None]:
    """Say in which batches a stone counts, so that it hits nothing that stays.

    Args:
        taken: batches in which something is taken down.
        standing: batches that keep another row with the same text or address.
        everywhere: whether it was taken down in all batches that have it, so that it is kept out of later ones, too.
    """
    if everywhere and not standing:
        yield None
    else:
        yield from sorted(taken - standing)


def stones(store: Store) -> list[Tombstone]:
    """All tombstones of a home."""
    return [Tombstone(*row) for row in store.read_all("tombstones", ["kind", "batch", "mark"]).iter_rows()]


def taken_down(store: Store, batch: str | None) -> Tombstones:
    """The tombstones that count in a batch."""
    return Tombstones(stones(store), batch)
