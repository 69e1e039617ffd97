"""Registration: make one or several batches from a source file."""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.access import obstacle
from personahub_assets.core.addresses import public
from personahub_assets.core.errors import BatchError, SourceError, choices, missing_file
from personahub_assets.core.text import batch_key, check_batch_key, digest, former_batch_key
from personahub_assets.sources import reader, redact
from personahub_assets.sources.columns import clashes, fold_name
from personahub_assets.sources.rows import Columns, Imported, RawRow, Row, persona_columns, sort_rows, wanted_names
from personahub_assets.sources.tombstones import Tombstones, stones, taken_down, without
from personahub_assets.store.atomic import replacing
from personahub_assets.store.hashes import content_hash, file_mark, remember, sha256
from personahub_assets.store.home import PART, Lock
from personahub_assets.store.local_paths import check_path, printable_path, resolve_path
from personahub_assets.store.removal import remove
from personahub_assets.store.tables import Store, table_schema

_LOG = logging.getLogger(__name__)
_SLICE = re.compile(r"\A(.+)-\d{4,}")
_PIPE = " is a pipe, socket or device, which can be read only once: write it to a file first"
_NAMED = 60  # characters of a key before an appended number


def register(
    store: Store,
    address: str,
    *,
    name: str | None = None,
    text_column: str | None = None,
    persona_column: str | None = None,
) -> list[str]:
    """Register a source file; registering it again updates its batches.

    Args:
        store: the tables of the home.
        address: a local path, or hf://, https://, s3://, which is downloaded into the inbox. Secrets are not stored:
            the source is the result of `public`, without the signature.
        name: batch key; default: from the file's name.
        text_column, persona_column: names of columns, instead of the usual names.

    Returns:
        The batch keys, in the order of the file's slices. The first is the plain key, so a file that grows keeps it.

    Raises:
        SourceError: if the file cannot be read, or has no column of a given name.
        BatchError: if a key is malformed or belongs to another file.
    """
    inbox = store.paths.inbox
    inbox.mkdir(parents=True, exist_ok=True)
    path = reader.fetch(address, inbox) if reader.is_remote(address) else _shared(store, local_path(address))
    source = public(address) if reader.is_remote(address) else str(local_path(address))
    key = check_batch_key(name) if name else _key_of(store, path, source)
    survey = _survey_stable(store, path)
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
    if store.working_copy is not None:
        store.working_copy.push()  # before other workers can see the batch
    with store.lock(Lock.BATCHES, wait=True):
        slices = [*survey.slices, *_empty_slices(store, key, source, len(survey.slices))]
        keys = [key if number == 1 else f"{key}-{number:04d}" for number in range(1, len(slices) + 1)]
        for batch in keys:
            _check_owner(store, batch, source)
        for batch, file_slice in zip(keys, slices, strict=True):
            _write(store, batch, {**shared, **asdict(file_slice)})
        if reader.is_remote(address):
            _blank(store, path)
    return keys


def _shared(store: Store, path: Path) -> Path:
    """A source file where all workers have it: of a home on object storage, a copy in the inbox."""
    if store.working_copy is None or path.is_relative_to(store.paths.inbox):
        return path
    copy = store.paths.inbox / digest(str(path)) / path.name
    if not copy.exists() or sha256(copy) != sha256(path):
        with replacing(copy) as aside:
            shutil.copyfile(path, aside)
    return copy


def local_path(address: str) -> Path:
    """Resolve a path to the file, following links.

    Raises:
        SourceError: if links form a cycle, or the file cannot be registered.
    """
    path = resolve_path(address)
    try:
        path.stat()
    except FileNotFoundError as error:
        is_pipe = Path(address).expanduser().exists()  # such as /dev/stdin, which has no path
        name = printable_path(address)
        raise SourceError(f"{name}{_PIPE}" if is_pipe else missing_file(name)) from error
    except OSError as error:
        raise SourceError(f"{printable_path(address)}: cannot be opened: {error.strerror}") from error
    _check_file(path)
    return path


def _check_file(path: Path) -> None:
    """Check that a path is a plain readable file with a name that tables can store."""
    shown = printable_path(path)
    check_path(path)
    if path.is_dir():
        raise SourceError(f"{shown} is a folder: name the files in it, such as {path / '*.jsonl'}")
    if not path.is_file():
        raise SourceError(f"{shown}{_PIPE}")
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SourceError(obstacle(error, shown) or f"{shown}: cannot be read: {error.strerror}") from error


def _survey_stable(store: Store, path: Path) -> reader.Survey:
    """Survey a file, checking that it does not change meanwhile."""
    try:
        started, mark = time.time_ns(), file_mark(path)
        survey = reader.survey(path, store.config.sources.rows_per_batch, _limit(store))
        is_same = file_mark(path) == mark
    except FileNotFoundError as error:
        raise SourceError(f"{path} was removed while it was read") from error
    if not is_same:
        raise SourceError(f"{path} was changed while it was read: ingest it again when it is complete")
    remember(path, store.paths.hashes, mark, survey.sha256, started)
    return survey


def _key_of(store: Store, path: Path, source: str) -> str:
    """The existing key of a file, made from its name by this or an earlier version; else a new one."""
    key = batch_key(path.name)
    for candidate in (key, former_batch_key(path.name)):
        rows = store.read("batches", candidate)
        if not rows.is_empty() and rows["source"][0] == source:
            return candidate
    return key


def source_slices(store: Store, key: str) -> list[str]:
    """The batches of all slices of a source file, by the key of the first one.

    Raises:
        BatchError: if the key is unknown, or of a later slice: files are registered and removed whole.
    """
    source = registered(store, key)["source"]
    every = store.read_all("batches", ["batch", "source"]).filter(pl.col("source") == source)["batch"].to_list()
    first = _SLICE.fullmatch(key)
    if first and first[1] in every:
        raise BatchError(f"batch {key!r} is a slice of {source}: name the whole, {first[1]!r}, with all its slices")
    slices = re.compile(rf"{re.escape(key)}(-\d{{4,}})?")
    return sorted(filter(slices.fullmatch, every))


def results_of(store: Store, batch: str) -> list[str]:
    """Names of tables with rows of a batch, and of journals with unpublished answers."""
    paths = store.paths
    folders = [folder for folder in paths.partition_folders(batch) if (folder / PART).exists()]
    names = {folder.relative_to(paths.tables).parts[0] for folder in folders}
    pending = [*paths.journals_of(batch), *paths.vector_journals_of(batch), *paths.ledgers_of(batch)]
    return sorted(names - {"batches", "prompt_uses"}) + [str(path.parent.relative_to(store.root)) for path in pending]


def drop_download(store: Store, path: Path) -> None:
    """Remove a download that no batch reads."""
    if path not in {store.on_this_worker(each) for each in store.read_all("batches", ["path"])["path"]}:
        remove(path.parent)


def source_rows(store: Store, batch: str) -> Iterator[Row]:
    """Stream the rows of a batch's slice, classified as documents, personas and faults.

    Raises:
        BatchError: if the batch is unknown, or its file has changed since its registration.
        SourceError: if the file is missing or damaged.
    """
    spec, limits = registered(store, batch), store.config.sources
    columns = Columns(
        spec["text_column"],
        spec["persona_column"],
        limits.max_document_chars,
        limits.min_document_chars,
        tuple(limits.languages),
        limits.max_persona_chars,
    )
    return _rows(store, spec, columns)


def imported_personas(store: Store, batch: str) -> Iterator[Imported]:
    """Stream the imported personas of a batch's slice; documents are not checked again.

    Raises:
        BatchError, SourceError: as `source_rows`.
    """
    spec, limits = registered(store, batch), store.config.sources
    columns = Columns(
        spec["text_column"],
        spec["persona_column"],
        limits.max_document_chars,
        max_persona_chars=limits.max_persona_chars,
    )
    rows = _rows(store, spec, columns) if reader.FORMATS[spec["format"]].has_personas else iter(())
    return (row for row in rows if isinstance(row, Imported))


def describe_reading(store: Store, batch: str) -> str:
    """Describe how a batch's file is read, one line for each unexpected property; empty without any.

    Raises:
        SourceError: if the file is gone or damaged.
    """
    spec = registered(store, batch)
    file_slice = _slice(spec)
    names = reader.columns(_file(store, spec), spec["format"], file_slice)
    detected = reader.FORMATS[spec["format"]].describe(file_slice.options)
    chosen = [_chosen_persona(names, spec) or _without_text(names, spec), *map(_chosen_column, clashes(names).values())]
    return "\n".join(line for line in (detected and f"read as {spec['format']}: {detected}", *chosen) if line)


def _without_text(names: list[str], spec: dict[str, Any]) -> str:
    """A warning if no column of the first rows has a text or a persona."""
    personas, texts = wanted_names(Columns(spec["text_column"], spec["persona_column"]))
    if not names or {*personas, *texts} & {fold_name(name) for name in names}:
        return ""
    shown = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
    return (
        f"warning: the first rows have no text: their columns are {shown}. Name one with --text-column or "
        "--persona-column, else they go to quarantine"
    )


def _chosen_persona(names: list[str], spec: dict[str, Any]) -> str:
    read, others = persona_columns(names, Columns(spec["text_column"], spec["persona_column"]))
    if not others or spec["text_column"]:
        return ""
    message = f"personas are read from column {read!r}" if read else "no column is read as personas"
    return f"{message}; {', '.join(others)} can be chosen with --persona-column"


def _chosen_column(group: list[str]) -> str:
    names = ", ".join(map(repr, group))
    return f"columns {names} have one name: in each row the last that is not empty is used, the others are attributes"


def registered(store: Store, batch: str) -> dict[str, Any]:
    """The registration of a batch.

    Raises:
        BatchError: if it is not registered.
    """
    rows = store.read("batches", batch)
    if rows.is_empty():
        _check_not_taken_down(store, batch)
        listing = ", ".join(store.batches()[:20]) or "none yet"
        raise BatchError(
            f"batch {batch!r} is not registered (registered: {listing}); add it with: personahub ingest FILE"
        )
    return rows.row(0, named=True)


def _check_not_taken_down(store: Store, batch: str) -> None:
    if Tombstones(stones(store), batch).is_whole:
        raise BatchError(
            f"batch {batch!r} was taken down, and its key cannot be used again; give the file another --name; "
            "rows that were taken down are kept out"
        )


def _blank(store: Store, path: Path) -> None:
    """Blank rows of a download that were taken down; if it cannot be written, they are only kept out."""
    try:
        if redact.blank_taken(store, path):
            register_again(store, path)
    except SourceError as error:
        _LOG.warning("rows that were taken down are kept out, but are still in the download: %s", error)


def register_again(store: Store, path: Path) -> None:
    """Register a file again after rows were blanked; its slices keep their numbers of rows."""
    now = {"sha256": sha256(path), "bytes": path.stat().st_size}
    for row in store.read_all("batches").iter_rows(named=True):
        if store.on_this_worker(row["path"]) == path:
            _write(store, row["batch"], {**row, **now})


def unregistered_files(store: Store) -> dict[Path, list[int]]:
    """Files of the inbox that are not registered in their current state, with size and times; without hidden files."""
    batches = store.read_all("batches", ["path", "bytes", "sha256"])
    specs = {str(store.on_this_worker(path)): (size, sha256) for path, size, sha256 in batches.iter_rows()}
    new = {}
    for path in sorted(store.paths.inbox.glob("*")):
        with suppress(FileNotFoundError):  # removed in the meantime
            if not path.is_file() or path.name.startswith(".") or not reader.file_format(path.name):
                continue
            mark = file_mark(path)
            size, sha256 = specs.get(str(path.resolve()), (None, ""))
            if size != mark[0] or content_hash(path, store.paths.hashes) != sha256:
                new[path] = mark
    return new


def unreadable_files(store: Store) -> dict[str, str]:
    """Names in the inbox that are no source files, with the reason; without hidden ones."""
    reasons = {}
    for path in sorted(store.paths.inbox.glob("*")):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            reasons[path.name] = "is a folder; put its files into the inbox"
        elif not path.is_file():
            reasons[path.name] = "is a link to a missing file, or no plain file"
        elif not reader.file_format(path.name):
            reasons[path.name] = f"is of an unknown format; valid endings: {reader.VALID}"
    return {printable_path(name): reason for name, reason in reasons.items()}


def _rows(store: Store, spec: dict[str, Any], columns: Columns) -> Iterator[Row]:
    """Stream the rows of a slice; every source row of the hub passes here."""
    file = _file(store, spec)
    _check_unchanged(store, spec)
    rows = _checked_rows(store, spec, reader.read_rows(file, spec["format"], _slice(spec), _limit(store)))
    return sort_rows(without(rows, columns, taken_down(store, spec["batch"])), columns)


def _checked_rows(store: Store, spec: dict[str, Any], rows: Iterator[RawRow]) -> Iterator[RawRow]:
    """Refuse a file that changes during reading: its rows can be of two versions."""
    yield from rows
    _check_unchanged(store, spec)


def _check_unchanged(store: Store, spec: dict[str, Any]) -> None:
    path = store.on_this_worker(spec["path"])
    if not path.is_file():
        return  # the reader raises the error
    size = path.stat().st_size
    if size != spec["bytes"]:
        changed = f"has {size} bytes and had {spec['bytes']}"
    elif content_hash(path, store.paths.hashes) != spec["sha256"]:
        changed = "has the same size and other content than"
    else:
        return
    raise BatchError(
        f"{path} {changed} when batch {spec['batch']!r} was registered; register the change with: personahub ingest "
        f"{public(spec['source'])}"
    )


def _file(store: Store, spec: dict[str, Any]) -> Path:
    """The source file of a batch, on this worker."""
    path = store.on_this_worker(spec["path"])
    if store.working_copy is not None and path.is_relative_to(store.paths.inbox):
        store.working_copy.fetch(path)
    return path


def _slice(spec: dict[str, Any]) -> reader.Slice:
    return reader.Slice(spec["first_row"], spec["first_byte"], spec["rows"], spec["reading"])


def _limit(store: Store) -> int:
    return reader.record_limit(store.config.sources.max_document_chars)


def _check_columns(path: Path, survey: reader.Survey, *wanted: str | None) -> None:
    """Check that the first rows have the named columns; otherwise every row would be quarantined."""
    if not any(wanted) or not survey.slices[0].rows:
        return
    columns = reader.columns(path, survey.format, survey.slices[0])
    folded = {name.strip().casefold() for name in columns}
    unknown = [name for name in wanted if name and name.strip().casefold() not in folded]
    if unknown and columns:
        raise SourceError(f"{path}: no column {choices(unknown[0], columns)} in its first {reader.LOOKED_AT:,} rows")


def _empty_slices(store: Store, key: str, source: str, count: int) -> list[reader.Slice]:
    """Empty slices for the surplus batches of a file that has shrunk."""
    rows = store.read_all("batches", ["batch", "source"]).iter_rows()
    batches = {batch for batch, registered_as in rows if public(registered_as) == source}
    last = count
    while f"{key}-{last + 1:04d}" in batches:
        last += 1
    return [reader.Slice(0, 0, 0)] * (last - count)


def _check_owner(store: Store, batch: str, source: str) -> None:
    rows = store.read("batches", batch)
    if rows.is_empty():
        _check_not_taken_down(store, batch)
        return
    owner = public(rows["source"][0])  # older homes store addresses as they were given
    if owner != source:
        free = next(key for n in count(2) if store.read("batches", key := f"{batch[:_NAMED]}-{n}").is_empty())
        raise BatchError(f"batch {batch!r} belongs to {owner}; register {source} with another --name, such as {free}")


def _write(store: Store, batch: str, spec: dict[str, Any]) -> None:
    """Write a registration; an unchanged one keeps its time."""
    old = store.read("batches", batch)
    if not old.is_empty() and all(old.row(0, named=True)[name] == value for name, value in spec.items()):
        return
    now = datetime.now(UTC).replace(tzinfo=None)
    store.write(
        "batches", batch, pl.DataFrame([{"batch": batch, "registered_at": now, **spec}], table_schema("batches"))
    )
