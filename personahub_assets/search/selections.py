"""Selections: files that name personas, such as the personas that a dataset is generated for.

picks.txt       one persona_id per line
picks.csv, picks.jsonl (.json, .ndjson), picks.parquet       a column persona_id; others are ignored

In a file with a column `samples`, it is the most answers about the persona, below the `samples` of hub.toml.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

from personahub_assets.core.errors import ArgumentError, ConfigError, choices, missing_file
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.result_formats import write_all


def _lines(content: bytes) -> pl.DataFrame:
    return pl.DataFrame({"persona_id": content.decode("utf-8").splitlines()}, {"persona_id": pl.String})


_READERS: dict[str, Callable[[bytes], pl.DataFrame]] = {
    ".txt": _lines,
    ".csv": partial(pl.read_csv, infer_schema=False),
    ".jsonl": pl.read_ndjson,
    ".json": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
    ".parquet": pl.read_parquet,
}
_WRITERS: dict[str, Callable[[pl.DataFrame, BinaryIO], Any]] = {
    ".txt": lambda rows, file: file.write("".join(f"{each}\n" for each in rows["persona_id"]).encode()),
    ".csv": lambda rows, file: rows.write_csv(file),
    ".jsonl": lambda rows, file: rows.write_ndjson(file),
    ".json": lambda rows, file: rows.write_ndjson(file),
    ".ndjson": lambda rows, file: rows.write_ndjson(file),
    ".parquet": lambda rows, file: rows.write_parquet(file),
}


def read(path: Path) -> pl.Series:
    """Read the ids of a file, each once, in the order of the file.

    Raises:
        ConfigError: the file is missing, empty, of an unknown format, damaged, or has no column persona_id.
    """
    return _table(path)["persona_id"]


def _table(path: Path) -> pl.DataFrame:
    """`(persona_id, samples)` of a file, each persona once; `samples` is null without such a column."""
    reader = _READERS[_suffix(path)]
    content = _content(path)
    try:
        rows = reader(content)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, RuntimeError) as error:
        raise ConfigError(f"{path}: cannot be read as {path.suffix}: {error}") from error
    if "persona_id" not in rows.columns:
        raise ConfigError(f"{path}: has no column persona_id, only {rows.columns}")
    persona_id = pl.col("persona_id").cast(pl.String).str.strip_chars()
    samples = pl.col("samples").cast(pl.Int64, strict=False) if "samples" in rows.columns else pl.lit(None, pl.Int64)
    picks = rows.select(persona_id, samples.alias("samples")).filter(pl.col("persona_id").str.len_bytes() > 0)
    picks = picks.unique("persona_id", keep="first", maintain_order=True)
    if picks.is_empty():
        raise ConfigError(f"{path}: names no persona")
    return picks


def write(file: BinaryIO, suffix: str, rows: pl.DataFrame, *, safe: bool = False) -> None:
    """Write `(persona_id, ...)` in the format of a suffix, so that `read` can read it.

    Args:
        safe: in CSV, write cells that a spreadsheet would run as formulas as text.
    """
    if safe:
        file.write(write_all(rows, "csv", Path(), safe=True))
    else:
        _WRITERS[suffix.lower()](rows, file)


def check_name(path: Path) -> None:
    """Check that the suffix of a name is of a known format, before any work is done.

    Raises:
        ConfigError: naming the known formats.
    """
    _suffix(path)


def fingerprint(name: str) -> str:
    """Hash of the content of a selection; it is part of the version of a dataset.

    A missing file has a hash too: the graph loads without it, and the dataset fails when it runs.
    """
    path = Path(name)
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else f"no file {path.name}"


def chosen(store: Store, name: str | None, batch: str) -> pl.Series | None:
    """The ids of a dataset's selection, for a batch; None without a selection, for all personas.

    Raises:
        ConfigError: the file cannot be used, or names no persona of a hub that has personas.
    """
    if name is None:
        return None
    path = Path(name)
    ids = _read_once(path, fingerprint(name))["persona_id"]
    own = store.read("personas", batch, columns=["persona_id"])["persona_id"]
    if not own.is_in(ids.implode()).any():
        count(store, path, ids)
    return ids


def most_samples(name: str | None) -> dict[str, int]:
    """The most answers about a persona, for those that a selection limits.

    Raises:
        ConfigError: as `read` does.
    """
    if name is None:
        return {}
    limited = _read_once(Path(name), fingerprint(name)).drop_nulls("samples")
    return dict(limited.iter_rows())


def count(store: Store, path: Path, ids: pl.Series) -> tuple[int, int]:
    """Count the ids that are in the hub, and the personas of the hub.

    Raises:
        ConfigError: the hub has personas, but none of the ids.
    """
    hub = store.read_all("personas", ["persona_id"])["persona_id"]
    present = int(ids.is_in(hub.implode()).sum())
    if len(hub) and not present:
        raise ConfigError(
            f"{path} names {len(ids):,} personas, and none of them is in the hub (the first is {ids[0]!r}): is the "
            "file from another home? Ids are in the table personas"
        )
    return present, len(hub)


@lru_cache(maxsize=16)
def _read_once(path: Path, _content: str) -> pl.DataFrame:
    """Read a selection; every batch of a run needs it, so each content is parsed once."""
    return _table(path)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise ArgumentError(f"{path}: unknown format {choices(suffix or path.name, list(_READERS))}")
    return suffix


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(missing_file(path)) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
