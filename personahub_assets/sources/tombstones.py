"""Tombstones: hashes of rows that were taken down and must be kept out.

    taken = Tombstones(stones, batch="crawl")
    rows = without(read_rows(...), columns, taken)          rows of a source file
    answer = answer_without(response, "page-17", taken)     personas of an answer

A tombstone has no text, id or address of the row. The exception are prefixes of addresses, which are stored in clear
text, because a hash of a prefix cannot match. A batch that was taken down whole has its own tombstone.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from personahub_assets.core.text import digest
from personahub_assets.core.urls import UrlPrefixes, normal_url
from personahub_assets.quality.pii import masked_forms
from personahub_assets.sources.rows import Columns, RawRow, traits
from personahub_assets.store.tables import Store

Kind = Literal["document", "url", "url_prefix", "text", "persona", "request", "batch"]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One thing to keep out of a batch, or of all batches if `batch` is None."""

    kind: Kind
    batch: str | None
    mark: str

    @classmethod
    def document(cls, batch: str | None, document_id: str) -> "Tombstone":
        """Tombstone of a document's id; for one batch, because ids of different files are unrelated."""
        return cls("document", batch, digest("document", document_id))

    @classmethod
    def url(cls, batch: str | None, url: str) -> "Tombstone":
        """Tombstone of a document's address."""
        return cls("url", batch, digest("url", normal_url(url)))

    @classmethod
    def url_prefix(cls, batch: str | None, prefix: str) -> "Tombstone":
        """Tombstone of all addresses of a site or folder."""
        return cls("url_prefix", batch, normal_url(prefix))

    @classmethod
    def whole_batch(cls, batch: str) -> "Tombstone":
        """Tombstone of a whole batch; its key cannot be used again."""
        return cls("batch", batch, digest("batch", batch))

    @classmethod
    def text(cls, batch: str | None, text: str) -> "Tombstone":
        """Tombstone of a document's stored text."""
        return cls("text", batch, digest("text", text))

    @classmethod
    def persona(cls, batch: str | None, parent: str, text: str) -> "Tombstone":
        """Tombstone of a persona's text with its parent document or persona; '' is the parent of imported personas."""
        return cls("persona", batch, digest("persona", parent, text))

    @classmethod
    def request(cls, key: str) -> "Tombstone":
        """Tombstone of a request about a removed row, so that no recorded answer to it is imported."""
        return cls("request", None, digest("request", key))


class Tombstones:
    """The tombstones that apply to one batch; False if there are none.

    Args:
        stones: tombstones of any batches.
        batch: key of the batch; None for only the tombstones of all batches.
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
        """Whether a document was taken down, by its id, address or text."""
        if self.is_whole or self.is_below_prefix(document_id, url):
            return True
        return (
            bool(document_id and Tombstone.document(None, document_id).mark in self._marks["document"])
            or bool(url and self._marks["url"] and not self._marks["url"].isdisjoint(_marks_of_url(url)))
            or bool(text and Tombstone.text(None, text).mark in self._marks["text"])
        )

    def is_below_prefix(self, document_id: str | None, url: str | None) -> bool:
        """Whether a document's address is below a prefix; if only its id is left, the id can be the address."""
        address = url or document_id
        return bool(address and self._prefixes and self._prefixes.covers(address))

    def has_persona(self, parent: str, text: str) -> bool:
        """Whether a persona of this parent was taken down."""
        if self.is_whole:
            return True
        marks = self._marks["persona"]
        return self.of_personas and any(
            Tombstone.persona(None, parent, form).mark in marks for form in masked_forms(text)
        )

    def has_request(self, key: str) -> bool:
        """Whether a request was about a removed row."""
        return Tombstone.request(key).mark in self._marks["request"]

    def has_row(self, row: RawRow, columns: Columns) -> bool:
        """Whether a source row was taken down; an unparsable row is identified by its whole text."""
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
    """Possible hashes of an address, including those of earlier versions."""
    yield Tombstone.url(None, url).mark
    for form in (url, f"<{url}>"):
        yield digest("url", _former_url(form))


def _former_url(url: str) -> str:
    try:
        split_url = urlsplit(url.strip())
    except ValueError:  # such as an unclosed bracket
        return url.strip()
    return urlunsplit((split_url.scheme.lower(), split_url.netloc.lower(), split_url.path, split_url.query, ""))


def without(rows: Iterable[RawRow], columns: Columns, taken: Tombstones) -> Iterable[RawRow]:
    """Yield the rows of a source file; of rows that were taken down only the place."""
    return (_blank(row) if taken.has_row(row, columns) else row for row in rows) if taken else rows


def _blank(row: RawRow) -> RawRow:
    return RawRow(row.place, reason="taken_down", detail="see tombstones")


def answer_without(response: str, parent: str, taken: Tombstones) -> str:
    """Return the JSON of an answer without personas that were taken down; empty if none is left."""
    if not taken.of_personas:
        return response
    answer = json.loads(response)
    left = [item for item in answer["personas"] if not taken.has_persona(parent, item["persona"])]
    if len(left) == len(answer["personas"]):
        return response
    return json.dumps({**answer, "personas": left}, ensure_ascii=False, separators=(",", ":")) if left else ""


def scopes(taken: set[str], standing: set[str], *, everywhere: bool) -> Iterator[str | None]:
    """The batches in which a tombstone applies, so that it matches no kept row.

    Args:
        taken: batches in which the row is taken down.
        standing: batches with another, kept row of the same text or address.
        everywhere: whether it was taken down in all batches that have it, and so applies to later ones too.
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
