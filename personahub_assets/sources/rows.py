"""Classify a row of a source file: a document, an imported persona, a fault with its reason, or skipped."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from personahub_assets.core.ids import former_id, id_text
from personahub_assets.core.text import digest, sanitise, shorten
from personahub_assets.sources.attributes import attributes, merge_released, released_attributes
from personahub_assets.sources.chats import CHAT_COLUMNS, chat_text
from personahub_assets.sources.columns import by_name, fold_name
from personahub_assets.sources.pages import ENOUGH, detect_language

TEXT_COLUMNS = ("text", "content", "body", "document", "raw_content", *CHAT_COLUMNS)
PERSONA_COLUMNS = ("persona", "input persona", "input_persona")
ID_COLUMNS = ("id", "document_id", "doc_id", "_id", "uuid")
URL_COLUMNS = ("url", "link", "source_url")
TEXT_NAMES = frozenset({*TEXT_COLUMNS, *PERSONA_COLUMNS})
USUAL_NAMES = TEXT_NAMES.union(ID_COLUMNS, URL_COLUMNS, ("source",))
"""Names of columns that are used by default."""

RAW_LIMIT = 4_000

SourceReason = Literal[
    "malformed",
    "bad_encoding",
    "damaged",
    "empty",
    "no_text",
    "too_long",
    "too_short",
    "other_language",
    "duplicate_id",
    "taken_down",
]
"""Why a row of a source file is not used.

malformed: not a JSON object, a misplaced quote in CSV, a wrong number of fields, or a value that is not text
bad_encoding: not in the file's encoding; of a web page: over 1 % of the characters fit no possible encoding
damaged: a record of a web archive that is cut off, has a wrong length, or cannot be decompressed or parsed
empty: a blank line, a text of only spaces, or a web page without main text
no_text: no column with a text or a persona, or null in the named column
too_long: over sources.max_document_chars or max_persona_chars, a record over 16 MiB, or a page too costly to read
too_short: a document shorter than sources.min_document_chars
other_language: a document in none of sources.languages, or long enough, but of an unclear language
duplicate_id: the batch has a document with this id already
taken_down: removed by a takedown; its text is not stored (docs/takedown.md)
"""


@dataclass(frozen=True)
class RawRow:
    """One row as read: its place, and its columns or the reason why it cannot be read."""

    place: str  # 'line 17', 'record 3', 'row 5'
    columns: Mapping[str, Any] | None = None
    reason: SourceReason | None = None
    detail: str = ""
    raw: str = ""
    skipped: str = ""  # its kind, if it is skipped, such as a request or an image in a web archive
    replaced: int = 0  # characters that could not be decoded


@dataclass(frozen=True)
class Document:
    """A text to infer personas from."""

    document_id: str
    url: str | None
    source: str | None
    text: str
    replaced: int  # characters that could not be decoded or stored
    attributes: str | None = None  # the other columns, as a JSON object


@dataclass(frozen=True)
class Imported:
    """An imported persona."""

    persona: str
    replaced: int
    attributes: str | None = None


@dataclass(frozen=True)
class Fault:
    """A row that cannot be used."""

    place: str
    reason: SourceReason
    detail: str
    raw: str


@dataclass(frozen=True)
class Skipped:
    """A skipped row: counted, but not a fault."""

    kind: str


@dataclass(frozen=True)
class Columns:
    """Columns of text and persona (None: the usual names), and the limits for documents."""

    text: str | None = None
    persona: str | None = None
    max_chars: int = 1_000_000
    min_chars: int = 0
    languages: tuple[str, ...] = ()  # none: all
    max_persona_chars: int = 2_000


Row = Document | Imported | Fault | Skipped


@dataclass(frozen=True)
class Traits:
    """Identifying values of a row: text of a persona; id, address and text of a document."""

    document_id: str | None = None
    url: str | None = None
    text: str | None = None
    persona: str | None = None
    former_id: str | None = None
    """The id given by an earlier version, if it differs."""


def sort_rows(rows: Iterable[RawRow], columns: Columns) -> Iterator[Row]:
    """Classify the rows, in order; of documents with the same id the first is kept."""
    first_positions: dict[str, str] = {}
    for raw in rows:
        row = _sort(raw, columns)
        if isinstance(row, Document):
            first = first_positions.setdefault(row.document_id, raw.place)
            if first != raw.place:
                row = _fault(raw, "duplicate_id", f"id {shorten(row.document_id)!r} is taken by {first}")
        yield row


def persona_columns(names: Iterable[str], columns: Columns) -> tuple[str | None, list[str]]:
    """Find the column that is read as the persona, and other columns that look like personas.

    >>> persona_columns(["uuid", "persona", "arts_persona"], Columns())
    ('persona', ['arts_persona'])
    """
    by_folded = {fold_name(name): name for name in names}
    read = next((by_folded[name] for name in wanted_names(columns)[0] if name in by_folded), None)
    return read, [name for folded, name in by_folded.items() if folded.endswith("persona") and name != read]


def _sort(raw: RawRow, columns: Columns) -> Row:
    if raw.skipped:
        return Skipped(raw.skipped)
    if raw.reason is not None or raw.columns is None:
        return _fault(raw, raw.reason or "malformed", raw.detail)
    names = _values_by_name(raw)
    persona, text = (_first(names, wanted) for wanted in wanted_names(columns))
    if persona is not None and text is not None and _is_blank(names[persona]) and not _is_blank(names[text]):
        persona = None
    name = text if persona is None else persona
    if name is None:
        return _fault(raw, "no_text", _missing_detail(raw, columns))
    value = _as_text(names[name], name)
    if isinstance(value, bytes):
        return _fault(raw, "bad_encoding", "its text is not UTF-8")
    if value is None:
        return _fault(raw, "malformed", f"want text, got {type(names[name]).__name__}")
    clean, replaced = sanitise(value.strip())
    replaced += raw.replaced
    problem = _refusal(clean, columns, is_document=persona is None)
    if problem is not None:
        return _fault(raw, *problem)
    try:
        if persona is not None:
            return Imported(clean, replaced, _other_columns(raw, persona))
        return _document(raw, names, name, clean, replaced)
    except RecursionError:
        return _fault(raw, "malformed", "its columns are nested too deeply")


def _document(raw: RawRow, names: Mapping[str, Any], text: str, clean: str, replaced: int) -> Document:
    (url, address), (id_column, identity) = _identity(names, URL_COLUMNS), _identity(names, ID_COLUMNS)
    identity = identity or address or "d" + digest(clean)
    others = _other_columns(raw, text, url, id_column, "source")
    return Document(identity, address, _text(names.get("source")), clean, replaced, others)


def _refusal(text: str, columns: Columns, *, is_document: bool) -> tuple[SourceReason, str] | None:
    """The reason why a text is refused; minimum length and language are checked for documents only."""
    if not text:
        return "empty", "the text is empty"
    if len(text) > columns.max_chars:
        return "too_long", f"{len(text)} characters; sources.max_document_chars is {columns.max_chars}"
    if not is_document:
        limit = columns.max_persona_chars
        return (
            ("too_long", f"{len(text)} characters; sources.max_persona_chars is {limit}") if len(text) > limit else None
        )
    if len(text) < columns.min_chars:
        return "too_short", f"{len(text)} characters; sources.min_document_chars is {columns.min_chars}"
    return _language_refusal(text, columns.languages)


def _language_refusal(text: str, languages: tuple[str, ...]) -> tuple[SourceReason, str] | None:
    if not languages or len(text) < ENOUGH:
        return None
    detected = detect_language(text)
    if detected in languages:
        return None
    return "other_language", f"language {detected or 'unclear'}; sources.languages are {', '.join(languages)}"


def _missing_detail(raw: RawRow, columns: Columns) -> str:
    named = [repr(name) for name in (columns.persona, columns.text) if name]
    wanted = f"nothing in column {' or '.join(named)}" if named else "no column with a text or a persona"
    return f"{wanted} among {shorten(str(list(raw.columns or {})))}"


def traits(raw: RawRow, columns: Columns) -> Traits:
    """The identifying values of a row, usable or not."""
    names = _values_by_name(raw)
    persona, text = (_first_text(names, wanted) for wanted in wanted_names(columns))
    if persona or (persona is not None and not text):
        return Traits(persona=persona)
    try:
        (_, address), (_, identity) = _identity(names, URL_COLUMNS), _identity(names, ID_COLUMNS)
        id_column = next((name for name in ID_COLUMNS if names.get(name) is not None), None)
        former = former_id(names[id_column]) if id_column else None
    except RecursionError:  # nested too deeply to be an id
        return Traits(text=text)
    identity = identity or address or (text and "d" + digest(text))
    return Traits(identity, address, text, former_id=None if former == identity else former)


def _first_text(names: Mapping[str, Any], wanted: Iterable[str]) -> str | None:
    """The text of the first column that has one, as it is stored."""
    name = _first(names, wanted)
    value = _as_text(names[name], name) if name is not None else None
    return sanitise(value.strip())[0] if isinstance(value, str) else None


def _values_by_name(raw: RawRow) -> dict[str, Any]:
    """Values by folded column name; of columns with the same name the last one that is not blank."""
    columns = raw.columns or {}
    return {folded: columns[name] for folded, name in by_name(columns).items()}


def _as_text(value: Any, name: str) -> str | bytes | None:
    """The text of a column, also of a conversation or of bytes; undecodable bytes are returned unchanged."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8-sig")
        except UnicodeDecodeError:
            return value
    if isinstance(value, str):
        return (chat_text(value) if name in CHAT_COLUMNS else None) or value
    return chat_text(value)


def _fault(raw: RawRow, reason: SourceReason, detail: str) -> Fault:
    shown = raw.raw or (str(dict(raw.columns)) if raw.columns else "")
    return Fault(raw.place, reason, f"{raw.place}: {detail}", sanitise(shorten(shown, RAW_LIMIT))[0])


def wanted_names(columns: Columns) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Folded names of the columns for persona and text."""
    persona = (columns.persona,) if columns.persona else () if columns.text else PERSONA_COLUMNS
    text = (columns.text,) if columns.text else () if columns.persona else TEXT_COLUMNS
    return tuple(map(fold_name, persona)), tuple(map(fold_name, text))


def _first(names: Mapping[str, Any], wanted: Iterable[str]) -> str | None:
    """The first name whose column is not blank, else the first that is not null."""
    filled = [name for name in wanted if names.get(name) is not None]
    return next((name for name in filled if not _is_blank(names[name])), next(iter(filled), None))


def _is_blank(value: Any) -> bool:
    return isinstance(value, str | bytes) and not value.strip()


def _identity(names: Mapping[str, Any], wanted: Iterable[str]) -> tuple[str | None, str | None]:
    """The first column with an id or address, and its value; see `core/ids.py` for valid ids."""
    return next(((name, text) for name in wanted if (text := id_text(names.get(name))) is not None), (None, None))


def _other_columns(raw: RawRow, *used: str | None) -> str | None:
    """The unused columns as JSON; of several with the same name only one is used."""
    columns = raw.columns or {}
    exact = {name for folded, name in by_name(columns).items() if folded in used}
    left = {name: value for name, value in columns.items() if name not in exact}
    inner = released_attributes(columns)
    return attributes(left) if inner is None else merge_released(left, inner)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else sanitise(str(value))[0]
