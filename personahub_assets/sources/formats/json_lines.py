"""Slices of JSONL: lines are counted, not parsed."""

import json
from pathlib import Path

from personahub_assets.sources.formats.encodings import find_encoding
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.streams import Stream, opened

_CHUNK = 1 << 20
_SAMPLE = 1 << 16


def survey_lines(path: Path, rows_per_slice: int) -> Layout:
    """Count the lines and cut them into slices; no line is held in memory."""
    with opened(path) as file:
        encoding = find_encoding(file.read(_SAMPLE))
    encoding = encoding if encoding.startswith(("utf-16", "utf-32")) else "utf-8"
    reading = None if encoding == "utf-8" else json.dumps({"encoding": encoding})
    stream = Stream(path, encoding)
    try:
        slices = _slices(stream, rows_per_slice, reading)
    finally:
        stream.close()
    return Layout("jsonl", slices)


def _slices(stream: Stream, rows_per_slice: int, reading: str | None) -> list[Slice]:
    slices: list[Slice] = []
    start = at = rows = first = 0
    last = b"\n"
    while chunk := stream.read(_CHUNK):
        position = 0
        while (missing := rows_per_slice - rows) <= (ends := chunk.count(b"\n", position)):
            for _ in range(missing):
                position = chunk.index(b"\n", position) + 1
            slices.append(Slice(first, start, rows_per_slice, reading))
            first, start, rows = first + rows_per_slice, at + position, 0
        rows += ends
        at, last = at + len(chunk), chunk[-1:]
    rows += last != b"\n"
    return [*slices, Slice(first, start, rows, reading)] if rows else slices
