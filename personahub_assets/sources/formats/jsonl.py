"""JSONL: one JSON object per line."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.json_rows import json_row, too_long
from personahub_assets.sources.formats.json_survey import survey_json
from personahub_assets.sources.formats.overwriting import overwrite, overwritten_lines, write_text
from personahub_assets.sources.formats.slices import Layout, Slice
from personahub_assets.sources.formats.streams import stream_at
from personahub_assets.sources.rows import RawRow


class Jsonl(Format):
    """Lines of JSON."""

    name = "jsonl"
    title = "JSONL"
    suffixes = ("jsonl", "ndjson")
    row = "a line with a JSON object"

    def survey(self, path: Path, rows_per_slice: int, limit: int) -> Layout:
        """Cut the lines into slices; a file with JSON over several lines gets the format `json`."""
        return survey_json(path, rows_per_slice, limit)

    def describe(self, options: dict[str, Any]) -> str:
        """Name an encoding other than UTF-8."""
        return f"encoding {options['encoding']}" if options else ""

    def read(self, path: Path, selected: Slice, limit: int) -> Iterator[RawRow]:
        """Stream the rows of a slice."""
        with stream_at(path, selected.first_byte, selected.options.get("encoding", "utf-8")) as stream:
            for number in range(selected.first_row + 1, selected.first_row + selected.rows + 1):
                line = stream.readline(limit + 1)
                if not line:
                    return
                if len(line) > limit and not line.endswith(b"\n"):
                    stream.skip_line()
                    yield too_long(f"line {number}", "a line", limit, line)
                else:
                    yield json_row(f"line {number}", line)

    def redact(self, path: Path, aside: Path, numbers: Collection[int], options: dict[str, Any]) -> None:
        """Replace rows by lines of spaces."""
        overwrite(path, aside, overwritten_lines(path, numbers, options.get("encoding", "utf-8")))

    def write_sample(self, path: Path, texts: Sequence[str]) -> None:
        """Write a line per text."""
        write_text(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
