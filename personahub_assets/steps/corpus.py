"""Convert source files to documents."""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import polars as pl

from personahub_assets.sources.register import registered, source_rows
from personahub_assets.sources.rows import Document, Fault, Imported, Row, Skipped
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.tables import ContentVersion, Store, in_weighed_pieces, table_schema

_READ = 1_024  # rows at a time
_READ_CHARS = 1 << 23  # characters at a time: a row can have a million
_KINDS = 20


def read_documents(store: Store, batch: str) -> Result:
    """Read the source file of a batch, and publish documents, quarantine and counts of skipped records.

    Raises:
        SourceError: if the file cannot be read, or is not the registered one.
    """
    with ExitStack() as stack:
        corpus = _Corpus(store, batch, stack)
        for rows in in_weighed_pieces(source_rows(store, batch), _READ, _weight, _READ_CHARS):
            corpus.add(rows)
        return corpus.publish()


def document_rows(batch: str, rows: Iterable[Row]) -> pl.DataFrame:
    """Rows of `documents`."""
    schema = table_schema("documents")
    texts = [{"batch": batch, **asdict(row)} for row in rows if isinstance(row, Document)]
    return pl.DataFrame([[text[name] for name in schema] for text in texts], schema, orient="row")


def _weight(row: Row) -> int:
    """Approximate number of characters of a row."""
    if isinstance(row, Document):
        return len(row.text) + len(row.attributes or "")
    if isinstance(row, Imported):
        return len(row.persona) + len(row.attributes or "")
    return len(row.raw) if isinstance(row, Fault) else 0


class _Corpus:
    """The partition of a batch, written in pieces; memory does not grow with the source file."""

    def __init__(self, store: Store, batch: str, stack: ExitStack):
        self._batch, self._source = batch, registered(store, batch)["source"]
        self._documents = store.writer("documents", batch)
        self._quarantine = store.writer("quarantine", batch, "documents")
        self._skipped = store.writer("skipped", batch)
        for writer in (self._documents, self._quarantine, self._skipped):
            stack.callback(writer.discard)
        self._head, self._version = pl.DataFrame(schema=table_schema("documents")), ContentVersion()
        self._kinds, self._counts = Counter[str](), Counter[str]()

    def add(self, rows: list[Row]) -> None:
        """Append rows of the source file."""
        faults = []
        for row in rows:
            if isinstance(row, Fault):
                faults.append(row)
            elif isinstance(row, Skipped):
                self._kinds[row.kind] += 1
            if isinstance(row, Document | Imported):
                self._counts["characters_replaced"] += row.replaced
            self._counts["imported_personas"] += isinstance(row, Imported)
        frame = document_rows(self._batch, rows)
        self._documents.add(frame)
        self._version.add(frame)
        self._head = pl.concat([self._head, frame.head(HEAD_ROWS)]).head(HEAD_ROWS)
        self._quarantine.add(_quarantined(self._batch, self._source, faults))

    def publish(self) -> Result:
        """Publish documents, quarantine and the counts of skipped records."""
        counted = [(self._batch, kind, rows) for kind, rows in sorted(self._kinds.items())]
        self._skipped.add(pl.DataFrame(counted, table_schema("skipped"), orient="row"))
        for writer in (self._documents, self._quarantine, self._skipped):
            writer.publish()
        facts: dict[str, Any] = {
            "imported_personas": self._counts["imported_personas"],
            "quarantined": self._quarantine.rows,
            "characters_replaced": self._counts["characters_replaced"],
        }
        if self._kinds:
            facts["skipped"] = dict(self._kinds.most_common(_KINDS))
        return Result(self._head, self._documents.rows, self._version.value, facts)


def _quarantined(batch: str, source: str, faults: list[Fault]) -> pl.DataFrame:
    rows = [(batch, "documents", fault.place, fault.reason, f"{source}, {fault.detail}", fault.raw) for fault in faults]
    return pl.DataFrame(rows, table_schema("quarantine"), orient="row")
