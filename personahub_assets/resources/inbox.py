"""Registration: a source file becomes one or several batches."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.domain.columns import clashes
from personahub_assets.domain.errors import BatchError, SourceError, choices
from personahub_assets.domain.sources import Columns, Imported, Row, persona_columns, sort_rows
from personahub_assets.domain.text import batch_key, check_batch_key
from personahub_assets.domain.tombstones import without
from personahub_assets.resources import blanking, sources
from personahub_assets.resources.hashes import sha256
from personahub_assets.resources.store import Store, table_schema
from personahub_assets.resources.tombstones import taken_down


def register(
    store: Store,
    address: str,
    *,
    name: str | None = None,
    text_column: str | None = None,
    persona_column: str | None = None,
) -> list[str]:
    """Register a source file; registering it again takes up what changed in it.

    Args:
        store: where the batches are kept.
        address: a local path, or hf://, https://, s3://, which is downloaded into the inbox.
        name: batch key instead of one made of the file's name.
        text_column, persona_column: where to look, instead of under the usual names.

    Returns:
        The batch keys, in the order of the file's slices. The first is the plain key, so a file that grows keeps it.

    Raises:
        SourceError: if the file cannot be read, or has no column of the name that was given.
        BatchError: if a key is malformed or belongs to another file.
    """
    inbox = store.root / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    path = sources.fetch(address, inbox) if sources.is_remote(address) else Path(address).expanduser().resolve()
    source = address if sources.is_remote(address) else str(path)
    key = check_batch_key(name) if name else batch_key(path.name)
    survey = sources.survey(path, store.config.sources.rows_per_batch, _limit(store))
    _check_columns(path, survey, text_column, persona_column)
    shared = {
        "source": source,
        "path": str(path),
        "sha256": survey.sha256,
        "format": survey.format,
        "bytes": survey.bytes,
        "text_column": text_column,
        "persona_column": persona_column,
    }
    with store.lock("batches", wait=True):
        slices = [*survey.slices, *_emptied(store, key, source, len(survey.slices))]
        keys = [key if number == 1 else f"{key}-{number:04d}" for number in range(1, len(slices) + 1)]
        for batch in keys:
            _check_owner(store, batch, source)
        for batch, part in zip(keys, slices, strict=True):
            _put(store, batch, {**shared, **asdict(part)})
        if sources.is_remote(address):
            _blank(store, path)
    return keys


def source_rows(store: Store, batch: str) -> Iterator[Row]:
    """Stream a batch's slice of its source file and say of each row what it is.

    Raises:
        BatchError: if the batch is unknown, or its file has changed since it was registered.
        SourceError: if the file is gone or damaged.
    """
    spec, limits = registered(store, batch), store.config.sources
    columns = Columns(
        spec["text_column"],
        spec["persona_column"],
        limits.max_document_chars,
        limits.min_document_chars,
        tuple(limits.languages),
    )
    return _rows(store, spec, columns)


def imported_personas(store: Store, batch: str) -> Iterator[Imported]:
    """Stream the ready personas of a batch's slice of its source file; documents are not judged a second time.

    Raises:
        BatchError, SourceError: as `source_rows`.
    """
    spec = registered(store, batch)
    columns = Columns(spec["text_column"], spec["persona_column"], store.config.sources.max_document_chars)
    rows = iter(()) if spec["format"] in sources.PERSONA_FREE else _rows(store, spec, columns)
    return (row for row in rows if isinstance(row, Imported))


def read_as(store: Store, batch: str) -> str:
    """Say how a batch's file is read, and what of it may be a surprise, a line each; else nothing.

    Raises:
        SourceError: if the file is gone or damaged.
    """
    spec = registered(store, batch)
    part = _slice(spec)
    names = sources.columns(Path(spec["path"]), spec["format"], part)
    detected = sources.FORMATS[spec["format"]].describe(part.options)
    chosen = [_chosen_persona(names, spec), *map(_chosen_column, clashes(names).values())]
    return "\n".join(line for line in (detected and f"read as {spec['format']}: {detected}", *chosen) if line)


def _chosen_persona(names: list[str], spec: dict[str, Any]) -> str:
    read, others = persona_columns(names, Columns(spec["text_column"], spec["persona_column"]))
    if not others or spec["text_column"]:
        return ""
    said = f"personas are read from column {read!r}" if read else "no column is read as personas"
    return f"{said}; {', '.join(others)} can be chosen with --persona-column"


def _chosen_column(group: list[str]) -> str:
    names = ", ".join(map(repr, group))
    return f"columns {names} have one name: in each row the last that is not empty is used, the others are attributes"


def registered(store: Store, batch: str) -> dict[str, Any]:
    """The registration of a batch.

    Raises:
        BatchError: if there is none.
    """
    rows = store.read("batches", batch)
    if rows.is_empty():
        known = ", ".join(store.batches()[:20]) or "none yet"
        raise BatchError(
            f"batch {batch!r} is not registered (registered: {known}); add it with: personahub ingest FILE"
        )
    return rows.row(0, named=True)


def _blank(store: Store, path: Path) -> None:
    """Let a download not say again what was taken down; where it cannot be written, those rows are kept out only."""
    with suppress(SourceError):
        if blanking.blank_taken(store, path):
            register_again(store, path)


def register_again(store: Store, path: Path) -> None:
    """Take up that rows of a file were blanked: its slices hold as many rows as before."""
    now = {"sha256": sha256(path), "bytes": path.stat().st_size}
    for row in store.read_all("batches").filter(pl.col("path") == str(path)).iter_rows(named=True):
        _put(store, row["batch"], {**row, **now})


def waiting(store: Store) -> Iterator[Path]:
    """Source files in the inbox that no batch has, or whose size has changed; hidden and partial files are not seen."""
    known = store.read_all("batches", ["path", "bytes"])
    sizes = dict(zip(known["path"], known["bytes"], strict=True))
    for path in sorted((store.root / "inbox").glob("*")):
        usable = path.is_file() and not path.name.startswith(".") and sources.file_format(path.name)
        if usable and sizes.get(str(path.resolve())) != path.stat().st_size:
            yield path


def _rows(store: Store, spec: dict[str, Any], columns: Columns) -> Iterator[Row]:
    """Every row of a source file that enters the hub passes here."""
    path = Path(spec["path"])
    if path.is_file() and path.stat().st_size != spec["bytes"]:
        raise BatchError(
            f"{path} has {path.stat().st_size} bytes and had {spec['bytes']} when batch {spec['batch']!r} was "
            f"registered; take the change up with: personahub ingest {spec['source']}"
        )
    rows = sources.read_rows(path, spec["format"], _slice(spec), _limit(store))
    return sort_rows(without(rows, columns, taken_down(store, spec["batch"])), columns)


def _slice(spec: dict[str, Any]) -> sources.Slice:
    return sources.Slice(spec["first_row"], spec["first_byte"], spec["rows"], spec["reading"])


def _limit(store: Store) -> int:
    return sources.record_limit(store.config.sources.max_document_chars)


def _check_columns(path: Path, survey: sources.Survey, *wanted: str | None) -> None:
    """Refuse a named column that the first rows do not have, rather than quarantine every row."""
    if not any(wanted) or not survey.slices[0].rows:
        return
    found = sources.columns(path, survey.format, survey.slices[0])
    folded = {name.strip().casefold() for name in found}
    unknown = [name for name in wanted if name and name.strip().casefold() not in folded]
    if unknown and found:
        raise SourceError(f"{path}: no column {choices(unknown[0], found)} in its first {sources.LOOKED_AT:,} rows")


def _emptied(store: Store, key: str, source: str, count: int) -> list[sources.Slice]:
    """Empty slices for batches that a shrunken file no longer fills."""
    known = store.read_all("batches", ["batch", "source"]).filter(pl.col("source") == source)["batch"].to_list()
    last = count
    while f"{key}-{last + 1:04d}" in known:
        last += 1
    return [sources.Slice(0, 0, 0)] * (last - count)


def _check_owner(store: Store, batch: str, source: str) -> None:
    rows = store.read("batches", batch)
    if not rows.is_empty() and rows["source"][0] != source:
        raise BatchError(f"batch {batch!r} belongs to {rows['source'][0]}; register {source} with another --name")


def _put(store: Store, batch: str, spec: dict[str, Any]) -> None:
    """Write a registration; an unchanged one keeps its time."""
    old = store.read("batches", batch)
    if not old.is_empty() and all(old.row(0, named=True)[name] == value for name, value in spec.items()):
        return
    now = datetime.now(UTC).replace(tzinfo=None)
    store.write(
        "batches", batch, pl.DataFrame([{"batch": batch, "registered_at": now, **spec}], table_schema("batches"))
    )
