"""JSON files: an array of objects, objects one after another over several lines, or an object with a list of them."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.json_rows import too_long, value_row
from personahub_assets.sources.formats.json_survey import file_values, rows_of, survey_json
from personahub_assets.sources.formats.json_values import Value, Values
from personahub_assets.sources.formats.overwriting import Extent, Overwritten, overwrite, spaces, write_text
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.streams import Stream, stream_at
from personahub_assets.sources.rows import RawRow

_ABOUT = {"array": "an array of objects", "objects": "objects one after another", "list": "an object with a list"}
_VALUE = re.compile(rb"([\s,]*+)((?:.*[^\s,])?)([\s,]*)", re.DOTALL)


class Json(Format):
    """JSON other than JSON Lines."""

    name = "json"
    title = "JSON"
    suffixes = ("json",)
    row = (
        "an element of an array; one of several objects over several lines; an element of the list under a key such as "
        "`data` or `rows`; or the only object of the file. A `.json` file of JSON lines is read as JSONL. A `.jsonl` "
        "file with an array, or with objects over several lines, is read as JSON"
    )

    def survey(self, path: Path, rows_per_slice: int, limit: int) -> Layout:
        """Cut the rows into slices; a file of JSON Lines gets the format `jsonl`."""
        return survey_json(path, rows_per_slice, limit)

    def describe(self, options: dict[str, Any]) -> str:
        """Describe the place of the rows, and the encoding."""
        name = f" under {options['name']!r}" if options.get("name") else ""
        return f"{_ABOUT[options['form']]}{name}, encoding {options['encoding']}" if options else ""

    def read(self, path: Path, selected: Slice, _limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice, as registered."""
        options, limit = selected.options, selected.options["limit"]
        with stream_at(path, selected.first_byte, options["encoding"]) as stream:
            values = Values(stream, limit, is_array=options["form"] != "objects")
            rows = rows_of(stream, values, options["form"])
            numbers = range(selected.first_row + 1, selected.first_row + selected.rows + 1)
            for number, value in zip(numbers, rows, strict=False):
                yield _row(f"element {number}", value, limit)
            values.give_back()

    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Replace rows by empty objects."""
        extents = enumerate(_extents(path, options, options["limit"]))
        wanted = (Extent(start, end, _empty_value) for number, (start, end) in extents if number in numbers)
        overwrite(path, aside, Overwritten(wanted, options["encoding"]))

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write an array over several lines."""
        write_text(path, json.dumps([{"text": text} for text in texts], indent=1))


def _extents(path: Path, options: dict[str, Any], limit: int) -> Iterator[tuple[int, int]]:
    """First and last byte of each row of a file, with the gap before it."""
    stream = Stream(path, options["encoding"])
    try:
        stream.go(options["begin"])
        for value in file_values(stream, options["form"], limit):
            yield value.at, value.end
    finally:
        stream.close()


def _row(place: str, value: Value, limit: int) -> RawRow:
    if value.is_long:
        return too_long(place, "a value", limit, value.text.encode("utf-8", "replace"))
    if value.is_undecoded:
        return RawRow(place, reason="bad_encoding", detail="not UTF-8", raw=repr(value.text))
    if value.problem:
        return RawRow(place, reason="malformed", detail=value.problem, raw=value.text)
    return value_row(place, value.value, value.text)


def _empty_value(row: bytes) -> bytes:
    """An empty object, or 0 if the row is too short for one."""
    match = _VALUE.fullmatch(row)
    assert match is not None  # any bytes match
    before, value, after = match.groups()
    empty = b"{" + spaces(value[1:-1]) + b"}" if len(value) > 1 else b"0" * len(value)
    return before + empty + after
