"""What one row of a source file is: a document, a ready persona, or a fault with its reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from personahub_assets.domain.text import digest, sanitise, shorten

TEXT_COLUMNS = ("text", "content", "body", "document", "raw_content")
PERSONA_COLUMNS = ("persona", "input persona", "input_persona")
ID_COLUMNS = ("id", "document_id", "doc_id", "_id", "uuid")
URL_COLUMNS = ("url", "link", "source_url")

RAW_LIMIT = 4_000

SourceReason = Literal["malformed", "bad_encoding", "empty", "no_text", "too_long", "duplicate_id", "taken_down"]
"""Why a row of a source file is not used.

malformed: not a JSON object, or not as many CSV fields as the header has, or the value is not text
bad_encoding: not UTF-8
empty: a blank line, or a text of nothing but spaces
no_text: none of the columns that hold a text or a persona
too_long: longer than sources.max_document_chars
duplicate_id: the batch has a document with this id already
taken_down: it was taken down; nothing of it is stored (docs/takedown.md)
"""


@dataclass(frozen=True)
class RawRow:
    """One row as read: its place, its columns, or what kept it from being read."""

    place: str  # 'line 17', 'record 3', 'row 5'
    columns: Mapping[str, Any] | None = None
    reason: SourceReason | None = None
    detail: str = ""
    raw: str = ""


@dataclass(frozen=True)
class Document:
    """A text to infer personas from."""

    document_id: str
    url: str | None
    source: str | None
    text: str
    replaced: int  # characters that could not be stored


@dataclass(frozen=True)
class Imported:
    """A row that already is a persona."""

    persona: str
    replaced: int


@dataclass(frozen=True)
class Fault:
    """A row that cannot be used."""

    place: str
    reason: SourceReason
    detail: str
    raw: str


@dataclass(frozen=True)
class Columns:
    """Where to look for text and persona; None: under the usual names."""

    text: str | None = None
    persona: str | None = None
    max_chars: int = 1_000_000


Row = Document | Imported | Fault


@dataclass(frozen=True)
class Traits:
    """By what a row is known: a persona by its text, a document by id, address and text."""

    document_id: str | None = None
    url: str | None = None
    text: str | None = None
    persona: str | None = None


def sort_rows(rows: Iterable[RawRow], columns: Columns) -> list[Row]:
    """Say of each row what it is, in order; of documents with one id the first stays."""
    seen: dict[str, str] = {}
    sorted_rows: list[Row] = []
    for raw in rows:
        row = _sort(raw, columns)
        if isinstance(row, Document):
            first = seen.setdefault(row.document_id, raw.place)
            if first != raw.place:
                row = _fault(raw, "duplicate_id", f"id {shorten(row.document_id)!r} is taken by {first}")
        sorted_rows.append(row)
    return sorted_rows


def _sort(raw: RawRow, columns: Columns) -> Row:
    if raw.reason is not None or raw.columns is None:
        return _fault(raw, raw.reason or "malformed", raw.detail)
    names = {str(name).strip().casefold(): value for name, value in raw.columns.items() if name is not None}
    persona = _first(names, (columns.persona,) if columns.persona else () if columns.text else PERSONA_COLUMNS)
    text = _first(names, (columns.text,) if columns.text else () if columns.persona else TEXT_COLUMNS)
    value = text if persona is None else persona
    if value is None:
        return _fault(raw, "no_text", f"no column with a text or a persona among {shorten(str(list(raw.columns)))}")
    if not isinstance(value, str):
        return _fault(raw, "malformed", f"want text, got {type(value).__name__}")
    clean, replaced = sanitise(value.strip())
    if not clean:
        return _fault(raw, "empty", "the text is empty")
    if len(clean) > columns.max_chars:
        return _fault(raw, "too_long", f"{len(clean)} characters; sources.max_document_chars is {columns.max_chars}")
    if persona is not None:
        return Imported(clean, replaced)
    url = _text(_first(names, URL_COLUMNS))
    identity = _text(_first(names, ID_COLUMNS)) or url or "d" + digest(clean)
    return Document(identity, url, _text(names.get("source")), clean, replaced)


def traits(raw: RawRow, columns: Columns) -> Traits:
    """By what a row is known, usable or not."""
    names = {str(name).strip().casefold(): value for name, value in (raw.columns or {}).items() if name is not None}
    persona = _first(names, (columns.persona,) if columns.persona else () if columns.text else PERSONA_COLUMNS)
    if isinstance(persona, str):
        return Traits(persona=sanitise(persona.strip())[0])
    value = _first(names, (columns.text,) if columns.text else () if columns.persona else TEXT_COLUMNS)
    text = sanitise(value.strip())[0] if isinstance(value, str) else None
    url = _text(_first(names, URL_COLUMNS))
    return Traits(_text(_first(names, ID_COLUMNS)) or url or (text and "d" + digest(text)), url, text)


def _fault(raw: RawRow, reason: SourceReason, detail: str) -> Fault:
    shown = raw.raw or (str(dict(raw.columns)) if raw.columns else "")
    return Fault(raw.place, reason, f"{raw.place}: {detail}", sanitise(shorten(shown, RAW_LIMIT))[0])


def _first(names: Mapping[str, Any], wanted: tuple[str | None, ...]) -> Any:
    found = (names.get(name.strip().casefold()) for name in wanted if name)
    return next((value for value in found if value is not None), None)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else sanitise(str(value))[0]
