"""Source files: find their format, cut them into slices, and stream the rows of a slice."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec

from personahub_assets.core.access import obstacle
from personahub_assets.core.addresses import public, redact, secrets_of
from personahub_assets.core.errors import SourceError, missing_file
from personahub_assets.core.text import digest
from personahub_assets.sources import formats
from personahub_assets.sources.formats.slices import LARGEST, Slice
from personahub_assets.sources.formats.streams import COMPRESSIONS, DAMAGED, is_plain, opened
from personahub_assets.sources.rows import RawRow
from personahub_assets.store.hashes import sha256

__all__ = [
    "Slice",
    "Survey",
    "columns",
    "fetch",
    "file_format",
    "is_plain",
    "is_remote",
    "opened",
    "read_rows",
    "survey",
]


FORMATS = {form.name: form for form in formats.FORMATS}
"""Formats by their name in the table `batches`."""
_BY_SUFFIX = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}
VALID = "; ".join(
    ", ".join(f".{suffix}" for suffix in form.suffixes)
    + (f" (also with .{', .'.join(form.compressions)})" if form.compressions else "")
    for form in FORMATS.values()
)
"""The suffixes of all formats, for messages."""
_UNREAD = {suffix: remedy for form in FORMATS.values() for suffix, remedy in form.unread.items()}
_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    *DAMAGED,
    *(error for form in FORMATS.values() for error in form.errors),
)
LOOKED_AT = 1_000
"""Number of rows read for the names of columns."""
_CHUNK = 1 << 20
_BYTES_PER_CHAR = 12  # maximum for a character of text in JSON: two escapes of six bytes


@dataclass(frozen=True)
class Survey:
    """Result of reading a source file for registration."""

    format: str
    sha256: str
    bytes: int
    slices: list[Slice]


def file_format(name: str) -> str | None:
    """Find the name in FORMATS for a file name; None for other files.

    >>> file_format("crawl.jsonl.gz"), file_format("notes.txt")
    ('jsonl', None)
    """
    suffixes = name.lower().split(".")[1:]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else None
    kind = _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    return kind if kind and (compression is None or compression in FORMATS[kind].compressions) else None


def is_remote(address: str) -> bool:
    """Whether an address is remote, such as hf://, https:// or s3://."""
    return "://" in address


def fetch(address: str, folder: Path) -> Path:
    """Download a remote source file into a folder, so that a refresh reads the registered content.

    Each address has its own subfolder, because many files have the same name. A signature does not change it.

    Raises:
        SourceError: if the address cannot be opened or read.
    """
    shown = public(address)
    name = shown.partition("://")[2].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    target = folder / digest(shown, size=12) / name
    aside = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with fsspec.open(address, "rb") as source, aside.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
    except Exception as error:  # noqa: BLE001 - every protocol's library raises other types
        aside.unlink(missing_ok=True)
        reason = _reason(error)
        raise SourceError(
            f"{shown}: cannot be fetched: {redact(str(reason), *secrets_of(address))}. {_remedy(reason)}"
        ) from None  # the library's errors quote the address
    return aside.replace(target)


def _reason(error: BaseException) -> BaseException:
    """The error of the server; fsspec reports a refusal as a missing file."""
    cause: BaseException | None = error
    while cause and not hasattr(cause, "status"):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _remedy(error: BaseException) -> str:
    if getattr(error, "status", None) in (400, 401, 403) or isinstance(error, PermissionError):
        return "User name, password and signature of an address are not stored: give the full address each time"
    return "Is there a network? s3:// and hf:// need the extra [hub]"


def record_limit(max_chars: int) -> int:
    """Maximum bytes of a record for a limit of characters of a document."""
    return max(LARGEST, _BYTES_PER_CHAR * max_chars)


def survey(path: Path, rows_per_slice: int, limit: int = LARGEST) -> Survey:
    """Read a whole source file once: format, hash, and where slices of at most `rows_per_slice` rows begin.

    Raises:
        SourceError: if the file is missing, of an unknown format, or damaged.
    """
    kind = file_format(path.name)
    if not path.is_file():
        raise SourceError(missing_file(path))
    if kind is None:
        raise SourceError(f"{path}: {_other_format(path)}; supported: {VALID}")
    with _reading(path):
        layout = FORMATS[kind].survey(path, rows_per_slice, limit)
        hashed = sha256(path)
    return Survey(layout.format, hashed, path.stat().st_size, layout.slices or [Slice(0, 0, 0)])


def _other_format(path: Path) -> str:
    """Describe a file of an unsupported format."""
    for suffix in path.name.lower().split(".")[1:]:
        if suffix in _UNREAD:
            return _UNREAD[suffix]
    return f"unknown format {path.suffix!r}"


def read_rows(path: Path, kind: str, selected: Slice, limit: int = LARGEST) -> Iterator[RawRow]:
    """Stream the rows of one slice; unreadable rows are yielded as faults.

    Args:
        limit: maximum bytes of a record.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise SourceError(
            f"{path}: the source file is missing; put it back, or register it again with personahub ingest"
        )
    if not selected.rows:
        return
    with _reading(path):
        yield from FORMATS[kind].read(path, selected, limit)


def columns(path: Path, kind: str, selected: Slice) -> list[str]:
    """Names of the columns in the first rows of a slice, in order.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    rows = itertools.islice(read_rows(path, kind, selected), LOOKED_AT)
    return list(
        dict.fromkeys(
            name if isinstance(name, str) else str(name)
            for row in rows
            for name in row.columns or ()
            if name is not None
        )
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of a damaged file into a SourceError."""
    try:
        yield
    except _ERRORS as error:
        reason = obstacle(error, path)
        raise SourceError(reason or f"{path}: damaged, or of another format than its name: {error}") from error
