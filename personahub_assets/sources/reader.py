"""Source files: finding their format, cutting them into slices, reading the rows of a slice as a stream."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import fsspec

from personahub_assets.core.access import obstacle
from personahub_assets.core.addresses import public, redact, secrets_of
from personahub_assets.core.errors import SourceError
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
"""By the names that the table `batches` stores."""
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
"""Rows that are looked at for the names of columns."""
_CHUNK = 1 << 20
_BYTES_PER_CHAR = 12  # of a character of a text in JSON at most: two escapes of six bytes


@dataclass(frozen=True)
class Survey:
    """What registration learns from reading a source file once."""

    format: str
    sha256: str
    bytes: int
    slices: list[Slice]


def file_format(name: str) -> str | None:
    """Give a name of FORMATS for a file name, None for any other file.

    >>> file_format("crawl.jsonl.gz"), file_format("notes.txt")
    ('jsonl', None)
    """
    suffixes = name.lower().split(".")[1:]
    compression = suffixes.pop() if suffixes and suffixes[-1] in COMPRESSIONS else None
    kind = _BY_SUFFIX.get(suffixes[-1]) if suffixes else None
    return kind if kind and (compression is None or compression in FORMATS[kind].compressions) else None


def is_remote(address: str) -> bool:
    """Whether the address names another machine, such as hf://, https:// or s3://."""
    return "://" in address


def fetch(address: str, folder: Path) -> Path:
    """Download a remote source file into a folder, so that a refresh reads what was registered.

    Each address has a subfolder of its own: many files of the web have the same name. It is the same one whatever signs
    the address.

    Raises:
        SourceError: if it cannot be opened or read.
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
    except Exception as error:  # noqa: BLE001 - every protocol's library raises types of its own
        aside.unlink(missing_ok=True)
        reason = _reason(error)
        raise SourceError(
            f"{shown}: cannot be fetched: {redact(str(reason), *secrets_of(address))}. {_remedy(reason)}"
        ) from None  # the library's own errors quote the address
    return aside.replace(target)


def _reason(error: BaseException) -> BaseException:
    """What the server said; fsspec says of a refusal that the file is not found."""
    cause: BaseException | None = error
    while cause and not hasattr(cause, "status"):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _remedy(error: BaseException) -> str:
    if getattr(error, "status", None) in (400, 401, 403) or isinstance(error, PermissionError):
        return "User name, password and signature of an address are not kept: give the whole address each time"
    return "Is there a network? s3:// and hf:// need the extra [hub]"


def record_limit(max_chars: int) -> int:
    """Bytes of a record that are read where documents may have so many characters."""
    return max(LARGEST, _BYTES_PER_CHAR * max_chars)


def survey(path: Path, rows_per_slice: int, limit: int = LARGEST) -> Survey:
    """Read a whole source file once: format, hash, and where slices of at most `rows_per_slice` rows begin.

    Raises:
        SourceError: if it is missing, of an unknown format, or damaged.
    """
    kind = file_format(path.name)
    if not path.is_file():
        raise SourceError(f"{path}: there is no such file")
    if kind is None:
        raise SourceError(f"{path}: {_other_format(path)}; want {VALID}")
    with _reading(path):
        layout = FORMATS[kind].survey(path, rows_per_slice, limit)
        hashed = sha256(path)
    return Survey(layout.format, hashed, path.stat().st_size, layout.slices or [Slice(0, 0, 0)])


def _other_format(path: Path) -> str:
    """What a file is that cannot be read."""
    for suffix in path.name.lower().split(".")[1:]:
        if suffix in _UNREAD:
            return _UNREAD[suffix]
    return f"unknown format {path.suffix!r}"


def read_rows(path: Path, kind: str, part: Slice, limit: int = LARGEST) -> Iterator[RawRow]:
    """Stream the rows of one slice; rows that cannot be read come as faults.

    Args:
        limit: bytes of a record that are read at most.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise SourceError(f"{path}: the source file is gone; put it back, or register it anew with personahub ingest")
    if not part.rows:
        return
    with _reading(path):
        yield from FORMATS[kind].read(path, part, limit)


def columns(path: Path, kind: str, part: Slice) -> list[str]:
    """Names of the columns in the first rows of a slice, in order.

    Raises:
        SourceError: if the file is missing or damaged.
    """
    rows = itertools.islice(read_rows(path, kind, part), LOOKED_AT)
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
    """Turn whatever a damaged file raises into one clear error."""
    try:
        yield
    except _ERRORS as error:
        reason = obstacle(error, path)
        raise SourceError(reason or f"{path}: damaged or not what its name says: {error}") from error
