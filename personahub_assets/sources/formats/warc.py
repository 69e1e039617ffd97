"""Web archives: slices of their records."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import zstandard

from personahub_assets.core.errors import SourceError
from personahub_assets.sources import archives
from personahub_assets.sources.formats.format import REMEDY, Format
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.warc_records import compress_record, conversion, empty_record
from personahub_assets.sources.rows import RawRow

_PIECE = 1 << 20


class Warc(Format):
    """Records of web archives."""

    name = "warc"
    title = "web archives"
    suffixes = ("warc", "wet")
    row = "a record"
    compressions = ("gz", "zst")
    unread: ClassVar = {
        "arc": "ARC, the format before WARC, is not read: convert it first "
        "(pip install warcio; warcio recompress IN OUT)",
        "wat": "WAT files hold metadata of pages, no text: ingest the .warc or .wet file of the same name",
    }
    errors = (zstandard.ZstdError,)
    has_personas = False

    def survey(self, path: Path, rows_per_slice: int, _limit: int) -> Layout:
        """Count the records and cut them into slices.

        Raises:
            SourceError: if the file needs a dictionary or has no record.
        """
        if archives.needs_dictionary(path):
            raise SourceError(f"{path}: zstd with a dictionary; decompress it first: zstd -d")
        slices: list[Slice] = []
        first, start, rows, kinds = 0, 0, 0, set[str]()
        for record in archives.records(path):
            if rows == rows_per_slice:
                slices.append(Slice(first, start, rows))
                first, start, rows = first + rows, record.at or 0, 0
            rows += 1
            kinds.add(record.kind)
        if kinds == {""}:
            raise SourceError(f"{path}: damaged, or of another format than its name: it has no record of a web archive")
        return Layout("warc", [*slices, Slice(first, start, rows)] if rows else slices)

    def read(self, path: Path, selected: Slice, _limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice."""
        before = 0 if selected.first_byte else selected.first_row
        wanted = itertools.islice(archives.records(path, selected.first_byte), before, before + selected.rows)
        for number, record in enumerate(wanted, selected.first_row + 1):
            yield archives.record_row(number, record)

    def redact(self, path: Path, aside: Path, numbers: Collection[int], _options: dict[str, Any]) -> None:
        """Replace records by skipped ones of the same length, so that the others keep their offsets."""
        starts = [record.at for record in archives.records(path)]
        ends = [*starts[1:], path.stat().st_size]
        with path.open("rb") as file, aside.open("wb") as sink:
            for number in sorted(numbers):
                start, end = starts[number], ends[number]
                if start is None or end is None:
                    raise SourceError(
                        f"{path}: record {number + 1} is compressed together with others, so it cannot be blanked: "
                        f"ingest an archive with a member per record under the same --name, then {REMEDY}"
                    )
                _copy(file, sink, start)
                sink.write(empty_record(path.suffix.lower(), end - start))
                file.seek(end)
            _copy(file, sink, path.stat().st_size)

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a conversion record per text, each compressed on its own."""
        path.write_bytes(b"".join(compress_record(path.suffix.lower(), conversion(text)) for text in texts))


def _copy(file: IO[bytes], sink: IO[bytes], end: int) -> None:
    while piece := file.read(min(_PIECE, end - file.tell())):
        sink.write(piece)
