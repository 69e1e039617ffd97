"""Formats of source files, one class each. To add one, write a file like the others and add its class to `FORMATS`."""

from personahub_assets.sources.formats.csv_files import Csv
from personahub_assets.sources.formats.format import Format
from personahub_assets.sources.formats.json_files import Json
from personahub_assets.sources.formats.jsonl import Jsonl
from personahub_assets.sources.formats.parquet import Parquet
from personahub_assets.sources.formats.warc import Warc

__all__ = ["FORMATS", "Format"]

FORMATS: tuple[Format, ...] = (Jsonl(), Json(), Csv(), Parquet(), Warc())
"""In the order of messages and pages."""
