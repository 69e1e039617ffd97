"""Detect the dialect of a CSV file from its beginning: DuckDB's sniffer proposes candidates, the records decide."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb

from personahub_assets.sources.columns import fold_name, name_header
from personahub_assets.sources.formats.csv_records import Dialect, sample_records
from personahub_assets.sources.formats.encodings import find_encoding
from personahub_assets.sources.formats.streams import Stream, opened
from personahub_assets.sources.rows import USUAL_NAMES
from personahub_assets.store.connections import connect_small

SAMPLE = 1 << 20
_TRIED = 1 << 17  # bytes for testing every candidate
_ALONE = 0.4  # fit of a file with one column: any text is one
_DELIMITERS = (",", "\t", ";", "|")
_MARK = b"\xef\xbb\xbf"
_SEP = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=(.)"?\r?\n', re.IGNORECASE)
_FIRST_END_IS_CR = re.compile(rb"[^\r\n]*\r(?!\n)")
_BLANK = re.compile(rb"(?<![ \t])(?:[ \t]*+\r?\n)*+")


def find_dialect(path: Path) -> Dialect:
    """Detect the dialect of a CSV file."""
    with opened(path) as file:
        encoding = find_encoding(file.read(SAMPLE))
    stream = Stream(path, encoding)
    try:
        sample = stream.read(SAMPLE)
    finally:
        stream.close()
    is_whole = len(sample) < SAMPLE
    has_old_line_ends = _has_old_line_ends(sample)
    sample = sample.replace(b"\r", b"\n") if has_old_line_ends else sample
    begun = _skip_beginning(Dialect(encoding, has_old_line_ends=has_old_line_ends), sample)
    body = sample[begun.start :] if is_whole else sample[begun.start : sample.rfind(b"\n") + 1]
    separator = _SEP.match(sample)
    named = separator and separator.group(1).decode("latin-1")
    chosen = _choose(_candidates(begun, body, named, path.name), body[: body.rfind(b"\n", 0, _TRIED) + 1] or body)
    return _with_header(chosen, body)


def _has_old_line_ends(sample: bytes) -> bool:
    """Whether lines end with CR; texts in them can contain LF."""
    return bool(_FIRST_END_IS_CR.match(sample)) and sample.count(b"\r") > 2 * sample.count(b"\n")


def _choose(candidates: Iterator[Dialect], body: bytes) -> Dialect:
    """Take the first candidate with a perfect fit, or else the one that fits best."""
    best, best_fit = Dialect(), -1.0
    for candidate in candidates:
        fit = _fit(candidate, body)
        if fit > best_fit:
            best, best_fit = candidate, fit
        if fit >= 1 and fit.is_integer():  # every line is in a valid record of several fields
            break
    return best


def _skip_beginning(dialect: Dialect, sample: bytes) -> Dialect:
    separator = _SEP.match(sample)
    start = separator.end() if separator else len(_MARK) if sample.startswith(_MARK) else 0
    blank = _BLANK.match(sample, start)
    assert blank is not None  # it can be empty
    start = blank.end() if blank.end() < len(sample) else start
    return replace(dialect, start=start, line=1 + sample[:start].count(b"\n"))


def _candidates(begun: Dialect, body: bytes, separator: str | None, name: str) -> Iterator[Dialect]:
    """Dialects to try, the most likely first; of equal fits the first is taken."""
    if separator:
        yield from _escapes(replace(begun, delimiter=separator), body)
        return
    sniffed = _sniff(begun, body)
    if sniffed:
        yield sniffed
    tab_first = sorted(_DELIMITERS, key=lambda char: char != "\t") if ".tsv" in name.lower() else _DELIMITERS
    for delimiter in tab_first:
        yield from _escapes(replace(begun, delimiter=delimiter), body)


def _escapes(dialect: Dialect, body: bytes) -> Iterator[Dialect]:
    for skips_spaces in (False, True) if (dialect.delimiter + ' "').encode() in body else (False,):
        spaced = replace(dialect, skips_spaces=skips_spaces)
        yield spaced
        if b'\\"' in body:
            yield replace(spaced, escape="\\")


def _fit(dialect: Dialect, body: bytes) -> float:
    """How well a dialect fits: the share of lines in valid records; records of one field hardly count.

    A usual column name in the first record weighs more than a few deviating lines.
    """
    records = sample_records(body, dialect)
    names = records[0].fields or [] if records else []
    lines = sum(record.lines for record in records) or 1
    share = sum(record.lines for record in records if record.fields and len(record.fields) == len(names)) / lines
    return share + any(is_usual(name) for name in names) if len(names) > 1 else share * _ALONE


def _with_header(dialect: Dialect, body: bytes) -> Dialect:
    """Take the first record as header if it has a usual name, or if DuckDB detects a header."""
    first = next(iter(sample_records(body[:_TRIED], dialect)), None)
    if first is None or not first.fields:
        return dialect
    has_header = any(map(is_usual, first.fields)) or _has_header(dialect, body)
    names = name_header(first.fields if has_header else [""] * len(first.fields))
    return replace(dialect, columns=tuple(names), has_header=has_header)


def is_usual(name: str) -> bool:
    """Whether a column of this name is used by default."""
    return fold_name(name) in USUAL_NAMES


def _sniff(begun: Dialect, body: bytes) -> Dialect | None:
    """The dialect that DuckDB detects in the sample; None if it detects none."""
    row = _ask_sniffer("Delimiter, Quote, Escape", body, {"all_varchar": True})
    delimiter, quote, escape = ("" if value == "(empty)" else str(value) for value in row or ("", "", ""))
    if len(delimiter) != 1:
        return None
    return replace(begun, delimiter=delimiter, quote=quote or '"', escape="\\" if escape == "\\" else quote or '"')


def _has_header(dialect: Dialect, body: bytes) -> bool:
    """Whether DuckDB detects a header; True if it cannot tell."""
    options = {"delim": dialect.delimiter, "quote": dialect.quote, "escape": dialect.escape}
    row = _ask_sniffer("HasHeader", body, options)
    return row is None or bool(row[0])


def _ask_sniffer(columns: str, body: bytes, options: dict[str, Any]) -> tuple[Any, ...] | None:
    options = {**options, "ignore_errors": True, "comment": "", "max_line_size": SAMPLE + 1}
    with tempfile.NamedTemporaryFile(suffix=".csv") as file, connect_small() as connection:
        file.write(body)
        file.flush()
        arguments = ", ".join(f"{name} = ?" for name in options)
        try:
            return connection.execute(
                f"SELECT {columns} FROM sniff_csv(?, {arguments})", [file.name, *options.values()]
            ).fetchone()
        except duckdb.Error:
            return None
