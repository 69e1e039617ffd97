"""Blank rows of source files inside the home; they keep their place.

A row is not deleted: the rows behind it would move to another slice, and so to another batch, and all their requests
would be sent again. A blanked row keeps its length, so that offsets stay valid. The file is rewritten and renamed.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import reader
from personahub_assets.sources.formats.format import REMEDY
from personahub_assets.sources.rows import Columns, RawRow
from personahub_assets.sources.tombstones import Tombstones, stones
from personahub_assets.store.atomic import publish
from personahub_assets.store.hashes import content_hash
from personahub_assets.store.removal import discard
from personahub_assets.store.tables import Store


class Piece(NamedTuple):
    """The rows of a source file that a batch reads; `batch` is None for an unregistered file of the inbox."""

    batch: str | None
    path: Path
    format: str
    selected: reader.Slice
    columns: Columns
    sha256: str


class Hit(NamedTuple):
    """A taken down row of a source file."""

    number: int  # in the file, from 0
    place: str


def registered(store: Store) -> Iterator[Piece]:
    """The source files of registered batches."""
    limit = store.config.sources.max_document_chars
    for row in store.read_all("batches").iter_rows(named=True):
        file_slice = reader.Slice(row["first_row"], row["first_byte"], row["rows"], row["reading"])
        columns = Columns(row["text_column"], row["persona_column"], limit)
        yield Piece(row["batch"], store.on_this_worker(row["path"]), row["format"], file_slice, columns, row["sha256"])


def find_pieces(store: Store) -> tuple[list[Piece], list[Path]]:
    """The source files of batches and unregistered files of the inbox; and files of the inbox that cannot be read."""
    readable, unread = list(registered(store)), list[Path]()
    registered_paths = {piece.path for piece in readable}
    for path in sorted(store.paths.inbox.rglob("*")):
        if (
            path.is_file()
            and reader.file_format(path.name)
            and path.resolve() not in registered_paths
            and not path.name.startswith(".")
        ):
            columns = Columns(max_chars=store.config.sources.max_document_chars)
            try:
                survey = reader.survey(path, 1 << 62)
            except SourceError:  # an incomplete copy, such as half an archive
                unread.append(path.resolve())
                continue
            path_and_format = path.resolve(), survey.format
            readable += [
                Piece(None, *path_and_format, file_slice, columns, survey.sha256) for file_slice in survey.slices
            ]
    return readable, unread


def is_inside(store: Store, piece: Piece) -> bool:
    """Whether a source file is inside the home: a download, or a file of the inbox."""
    return piece.path.is_relative_to(store.root)


def is_readable(store: Store, piece: Piece) -> bool:
    """Whether a source file exists and is unchanged since its registration."""
    return piece.path.is_file() and content_hash(piece.path, store.paths.hashes) == piece.sha256


def find_hits(piece: Piece, is_taken: Callable[[RawRow, Columns], bool]) -> Iterator[Hit]:
    """The rows of a piece that were taken down.

    Raises:
        SourceError: if the file is damaged.
    """
    rows = reader.read_rows(piece.path, piece.format, piece.selected)
    for number, row in enumerate(rows, piece.selected.first_row):
        if is_taken(row, piece.columns):
            yield Hit(number, row.place)


def blank_taken(store: Store, path: Path) -> bool:
    """Blank the rows of a registered file that are taken down; return whether there were any.

    Raises:
        SourceError: if the file is damaged, or of a format that cannot be written.
    """
    numbers, every = dict[tuple[str, str | None], set[int]](), stones(store)
    for piece in registered(store) if every else ():
        if piece.path == path and (taken := Tombstones(every, piece.batch)):
            same_way = numbers.setdefault((piece.format, piece.selected.file_reading), set())
            same_way |= {hit.number for hit in find_hits(piece, taken.has_row)}
    for (kind, reading), row_numbers in numbers.items():
        if row_numbers:
            blank(path, kind, row_numbers, reading)
    return any(numbers.values())


def blank(path: Path, kind: str, numbers: Collection[int], reading: str | None = None) -> None:
    """Blank rows of a file, by number from 0.

    Args:
        reading: the registered options for reading the file.

    Raises:
        SourceError: if its format cannot be written.
    """
    if kind not in reader.FORMATS:
        raise SourceError(
            f"{path} holds rows that are taken down, and rows of {kind} files cannot be blanked: ingest one of "
            f"{' or '.join(reader.FORMATS)} under the same --name, then {REMEDY}"
        )
    aside = path.with_name(f".{path.name}.part")
    try:
        reader.FORMATS[kind].redact(path, aside, numbers, reader.Slice(0, 0, 0, reading).options)
        publish(aside, path)
    finally:
        discard(aside)
