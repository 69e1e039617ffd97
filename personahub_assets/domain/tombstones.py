"""Tombstones: what was taken down and must not come back, known by hashes only.

    taken = Tombstones(stones, batch="crawl")
    rows = without(read_rows(...), columns, taken)          rows of a source file
    answer = answer_without(response, "page-17", taken)     personas of an answer

A stone holds no text, no id and no address of what was taken down. A prefix of addresses is the exception: it stands as
it was given, since a hash of it would match nothing.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from personahub_assets.domain.errors import ConfigError
from personahub_assets.domain.sources import Columns, RawRow, traits
from personahub_assets.domain.text import digest

Kind = Literal["document", "url", "url_prefix", "text", "persona", "request"]


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
        """Of all addresses that begin so."""
        return cls("url_prefix", batch, normal_url(prefix))

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
        self.prefixes = tuple(stone.mark for stone in counted if stone.kind == "url_prefix")
        self.of_personas = any(stone.kind == "persona" for stone in counted)
        self._marks = {(stone.kind, stone.mark) for stone in counted}

    def __bool__(self) -> bool:
        return bool(self._marks)

    def has_document(self, document_id: str | None, url: str | None, text: str | None) -> bool:
        """Whether a document was taken down, by whatever is known of it."""
        stones = [
            *([Tombstone.document(None, document_id)] if document_id else ()),
            *([Tombstone.url(None, url)] if url else ()),
            *([Tombstone.text(None, text)] if text else ()),
        ]
        # Where only the id of a document is left, that may be its address.
        address = url or document_id
        under = bool(address and self.prefixes and normal_url(address).startswith(self.prefixes))
        return under or any((stone.kind, stone.mark) in self._marks for stone in stones)

    def has_persona(self, parent: str, text: str) -> bool:
        """Whether a persona of this parent was taken down."""
        return self.of_personas and ("persona", Tombstone.persona(None, parent, text).mark) in self._marks

    def has_request(self, key: str) -> bool:
        """Whether a request was about something that was taken down."""
        return ("request", Tombstone.request(key).mark) in self._marks

    def has_row(self, row: RawRow, columns: Columns) -> bool:
        """Whether a row of a source file was taken down; one that cannot be read is known by all that it says."""
        if row.columns is None:
            return self.has_document(None, None, row.raw)
        found = traits(row, columns)
        if found.persona is not None:
            return self.has_persona("", found.persona)
        return self.has_document(found.document_id, found.url, found.text)


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


def normal_url(url: str) -> str:
    """Give an address, or a beginning of one, the form in which it is compared.

    >>> normal_url(" HTTPS://Example.org/About#top")
    'https://example.org/About'
    """
    try:
        parts = urlsplit(_bare(url))
    except ValueError:  # such as a bracket that is not closed
        return _bare(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path, parts.query, ""))


def _bare(url: str) -> str:
    """An address without the angle brackets that documents of earlier versions have, from archives of wget."""
    url = url.strip()
    return url[1:-1].strip() if url.startswith("<") and url.endswith(">") else url


def check_prefix(prefix: str) -> str:
    """Return a prefix of addresses that names a host at least.

    Raises:
        ConfigError: if it does not: all documents of a home might begin so.
    """
    parts = urlsplit(normal_url(prefix))
    if not parts.scheme or not parts.netloc:
        raise ConfigError(f"{prefix!r} is no beginning of an address: want scheme and host, as in https://example.org/")
    return prefix


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
