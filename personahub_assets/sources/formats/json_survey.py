"""Detect the form of a `.json` or `.jsonl` file from its beginning, and cut its rows into slices."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personahub_assets.core.errors import SourceError
from personahub_assets.sources.columns import fold_name
from personahub_assets.sources.formats.encodings import find_encoding
from personahub_assets.sources.formats.json_lines import survey_lines
from personahub_assets.sources.formats.json_rows import parse_value
from personahub_assets.sources.formats.json_values import Value, Values
from personahub_assets.sources.formats.slices import Cutter, Layout, Slice
from personahub_assets.sources.formats.streams import Stream, opened
from personahub_assets.sources.rows import TEXT_NAMES

_SAMPLE = 1 << 20
_LISTS = ("data", "rows", "items", "records", "examples", "documents", "instances", "results")


def survey_json(path: Path, rows_per_slice: int, limit: int) -> Layout:
    """Detect the form of a file from its beginning, and cut its rows into slices.

    Raises:
        SourceError: if it is one object that is cut off, or has several lists without a usual name.
    """
    encoding, form = _look(path)
    if form == "jsonl":
        return survey_lines(path, rows_per_slice)
    stream = Stream(path, encoding)
    try:
        if form == "object":
            return _survey_object(path, stream, rows_per_slice, limit, encoding)
        return Layout("json", _cut(file_values(stream, form, limit), rows_per_slice, form, encoding, limit))
    finally:
        stream.close()


def file_values(stream: Stream, form: str, limit: int) -> Iterator[Value]:
    """The values from the current position of a stream."""
    return rows_of(stream, Values(stream, limit, is_array=form != "objects"), form)


def rows_of(stream: Stream, values: Values, form: str) -> Iterator[Value]:
    """Values that are rows; text after the end of an array is a fault."""
    if stream.at == 0 and form == "array":
        values.skip_gap()
        values.skip_char()
    yield from values
    at = values.at
    if form == "array" and values.skip_gap():
        yield Value(at, at, None, values.beginning, "text after the end of the array")


def _look(path: Path) -> tuple[str, str]:
    """The encoding and the form of a file, from its beginning."""
    with opened(path) as file:
        sample = file.read(_SAMPLE)
    encoding = find_encoding(sample)
    encoding = encoding if encoding.startswith(("utf-16", "utf-32")) else "utf-8"
    text = sample.decode(encoding, "replace").lstrip("\ufeff \t\r\n")
    is_json = ".json" in (suffix.lower() for suffix in path.suffixes)
    if text.startswith("["):
        return encoding, _form_of_array(text, is_json)
    return encoding, _form_of_object(text, is_json) if text.startswith("{") else "jsonl"


def _form_of_array(text: str, is_json: bool) -> str:
    first, _, remainder = text.partition("\n")
    return "jsonl" if not is_json and _is_whole(first) and remainder.lstrip().startswith("[") else "array"


def _form_of_object(text: str, is_json: bool) -> str:
    """The form by the first line, or by the text after the first object."""
    first, _, remainder = text.partition("\n")
    if _is_whole(first):
        return "jsonl" if remainder.strip() or not is_json else "object"
    try:
        _, end = parse_value(text)
    except (ValueError, RecursionError):
        return "object" if is_json and not first.rstrip().endswith("}") else "jsonl"
    return "objects" if text[end:].strip() else "object"


def _is_whole(text: str) -> bool:
    try:
        return not text[parse_value(text)[1] :].strip()
    except (ValueError, RecursionError):
        return False


def _cut(values: Iterator[Value], rows_per_slice: int, form: str, encoding: str, limit: int) -> list[Slice]:
    cutter = Cutter(rows_per_slice, {"form": form, "encoding": encoding, "begin": 0, "limit": limit})
    for value in values:
        cutter.add(value.at)
    return cutter.cut()


def _survey_object(path: Path, stream: Stream, rows_per_slice: int, limit: int, encoding: str) -> Layout:
    """Survey a file with one object: it is a row, or contains a list of rows."""
    values = Values(stream, limit, is_array=True)
    lists, names = dict[str, list[Slice]](), set[str]()
    try:
        for name in _keys(values):
            names.add(fold_name(name))
            if values.next_char == "[":
                lists |= _rows_of(name, values, rows_per_slice, encoding, limit)
            else:
                values.parse()
    except (ValueError, RecursionError, IndexError) as error:
        raise SourceError(f"{path}: damaged, or of another format than its name: not JSON: {error}") from error
    if not lists or names & TEXT_NAMES:
        return _one_row(path, rows_per_slice, limit, encoding)
    name = next((name for name in _LISTS if name in lists), min(lists))
    if len(lists) > 1 and name not in _LISTS:
        raise SourceError(
            f"{path}: one object with the lists {', '.join(sorted(lists))}: write the one with the rows as JSONL, "
            f"such as with: jq -c '.{name}[]'"
        )
    return Layout("json", lists[name])


def _one_row(path: Path, rows_per_slice: int, limit: int, encoding: str) -> Layout:
    """Survey a file whose object is a row; more objects can follow."""
    stream = Stream(path, encoding)
    try:
        slices = _cut(file_values(stream, "objects", limit), rows_per_slice, "objects", encoding, limit)
    finally:
        stream.close()
    return Layout("json", slices)


def _keys(values: Values) -> Iterator[str]:
    """The keys of an object. At each key the reader is before its value; the caller must move it behind the value."""
    values.skip_gap()
    values.skip_char()
    while values.skip_gap() and values.next_char != "}":
        name, _ = values.parse()
        if not values.skip_gap() or values.next_char != ":" or not isinstance(name, str):
            raise ValueError(f"no colon after the key {str(name)[:80]!r}")
        values.skip_char()
        if not values.skip_gap():
            raise ValueError("the file ends within an object")
        yield name


def _rows_of(name: str, values: Values, rows_per_slice: int, encoding: str, limit: int) -> dict[str, list[Slice]]:
    """The slices of a list, under its name; empty if it is not a list of objects."""
    values.skip_char()
    cutter = Cutter(
        rows_per_slice, {"form": "list", "encoding": encoding, "begin": values.at, "limit": limit, "name": name}
    )
    is_rows: Any = None
    for value in values:
        is_rows = isinstance(value.value, dict) if is_rows is None else is_rows
        cutter.add(value.at)
    return {name: cutter.cut()} if is_rows else {}
