"""Compare the items of a dataset with test sets, and store those that match."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from personahub_assets.core.config import Decontamination
from personahub_assets.core.errors import ConfigError, choices, missing_file
from personahub_assets.core.text import shorten
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.vectors import VectorJournal
from personahub_assets.quality.overlap import RunIndex, tokens
from personahub_assets.store.tables import Store, table_schema

TEXT_COLUMNS = ("question", "problem", "prompt", "instruction", "input", "text", "content", "query", "goal")
"""Columns that have the text of a test row, if none is set; all that the file has are joined."""
_BLOCK = 512  # items compared at a time
_PASSAGE = 400


class TestRow(NamedTuple):
    """A row of a test set."""

    file: str
    number: int
    text: str


class Match(NamedTuple):
    """An item, by its position, and the test row that it matches."""

    item: int
    row: TestRow
    method: str
    similarity: float
    passage: str


def find_contaminated(store: Store, embedder: Embedder | None, dataset: str, batch: str) -> dict[str, Any]:
    """Compare the items of a batch with the test sets of hub.toml, and publish the table of those that match.

    Args:
        embedder: None compares only words.

    Returns:
        The number of contaminated items, and by method; empty without test sets.

    Raises:
        ConfigError: if a file is missing or cannot be read, or has no column with text.
    """
    settings = store.config.decontamination
    if not settings.files and not store.height("contaminated", batch, dataset):
        return {}
    matches = list(_matches(store, settings, embedder, dataset, batch)) if settings.files else []
    items = store.read(dataset, batch, columns=["item_id", "persona_id"])
    rows = [
        (batch, dataset, *items.row(match.item), Path(match.row.file).name, match.row.number, *match[2:])
        for match in sorted(matches, key=lambda match: (match.item, match.method))
    ]
    store.write("contaminated", batch, pl.DataFrame(rows, table_schema("contaminated"), orient="row"), dataset)
    counts = Counter(match.method for match in matches)
    return {"contaminated": len({match.item for match in matches}), **{f"by_{name}": n for name, n in counts.items()}}


def _matches(
    store: Store, settings: Decontamination, embedder: Embedder | None, dataset: str, batch: str
) -> Iterator[Match]:
    yield from _of_sources(store, dataset, batch)
    if dataset in store.catalog.scores:  # what a judge writes is no training data by itself
        return
    texts = store.read(dataset, batch, columns=["text"])["text"].to_list()
    rows, long_runs, short_runs = _indexed(settings)
    of_words = list(map(tokens, texts))
    for method, index, least in (("long_run", long_runs, 0.0), ("short_run", short_runs, settings.least_share)):
        for overlap in index.overlaps(of_words, least):
            yield Match(overlap.text, rows[overlap.row], method, round(overlap.share, 4), overlap.passage)
    if embedder is not None and settings.similarity < 1:
        yield from _alike(store, settings, embedder, rows, texts)


def _of_sources(store: Store, dataset: str, batch: str) -> Iterator[Match]:
    """Items that are made from a contaminated item: a solution has the test's question in its conversation."""
    derivation = store.catalog.derivation(dataset)
    if derivation is None:
        return
    of_source = store.read("contaminated", batch, derivation.source).unique(
        "item_id", keep="first", maintain_order=True
    )
    by_id = {row["item_id"]: row for row in of_source.iter_rows(named=True)}
    for number, source in enumerate(store.read(dataset, batch, columns=["source_id"])["source_id"]):
        if row := by_id.get(source):
            test_row = TestRow(row["test_file"], row["test_row"], "")
            yield Match(number, test_row, "source", row["similarity"], row["passage"])


def _alike(
    store: Store, settings: Decontamination, embedder: Embedder, rows: list[TestRow], texts: list[str]
) -> Iterator[Match]:
    """Items whose embedding is near to that of a test row."""
    if not rows or not texts:
        return
    tests = _test_vectors(store, embedder, [row.text for row in rows])
    for start in range(0, len(texts), _BLOCK):
        cosines = embedder.embed(texts[start : start + _BLOCK]) @ tests.T
        nearest = cosines.argmax(axis=1)
        for offset, at in enumerate(nearest.tolist()):
            if cosines[offset, at] >= settings.similarity:
                cosine = round(float(cosines[offset, at]), 4)
                yield Match(start + offset, rows[at], "embedding", cosine, shorten(rows[at].text, _PASSAGE))


def _test_vectors(store: Store, embedder: Embedder, texts: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Vectors of the test rows (rows, dimensions); each text is embedded once and kept in the cache of the home."""
    hashes = embedder.hashes(texts)
    journal = VectorJournal(store.paths.cache / "test_vectors", embedder.name)
    kept = dict(journal.known(pl.Series("text_hash", hashes, pl.String)).select("text_hash", "embedding").iter_rows())
    missing = {key: text for key, text in zip(hashes, texts, strict=True) if kept.get(key) is None}
    keys = list(missing)
    for positions, vectors in embedder.stream(list(missing.values())):
        own = [keys[position] for position in positions]
        journal.add(own, vectors)
        kept.update(zip(own, vectors, strict=True))
    return np.array([kept[key] for key in hashes], np.float32)


def _indexed(settings: Decontamination) -> tuple[list[TestRow], RunIndex, RunIndex]:
    lengths = settings.long_run, settings.short_run
    return _index_of(settings.rule, tuple(settings.files), tuple(settings.columns), *lengths)


@lru_cache(2)
def _index_of(
    _rule: str, files: tuple[str, ...], columns: tuple[str, ...], long_run: int, short_run: int
) -> tuple[list[TestRow], RunIndex, RunIndex]:
    """The rows of the test sets with both indexes, read once for a run."""
    rows = [row for file in files for row in read_test_rows(Path(file), list(columns))]
    of_words = [tokens(row.text) for row in rows]
    return rows, RunIndex(of_words, long_run), RunIndex(of_words, short_run)


def read_test_rows(path: Path, columns: list[str]) -> list[TestRow]:
    """The rows of a test set that have text.

    Args:
        path: a JSONL or Parquet file.
        columns: columns with the text; empty for those of `TEXT_COLUMNS` that the file has.

    Raises:
        ConfigError: if the file is missing or cannot be read, or has none of the columns.
    """
    if not path.is_file():
        raise ConfigError(f"decontamination.files: {missing_file(path)}")
    try:
        names, rows = _records(path)
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(
            f"decontamination.files: {path} cannot be read: {error}. Give JSONL or Parquet files"
        ) from error
    if not rows:
        raise ConfigError(f"decontamination.files: {path} has no rows: remove it, or give a test set that has some")
    wanted = columns or [name for name in TEXT_COLUMNS if name in names]
    if lacking := [name for name in columns if name not in names]:
        raise ConfigError(f"decontamination.columns: {path} has no column {choices(lacking[0], names)}")
    if not wanted:
        raise ConfigError(
            f"decontamination.columns: {path} has none of {', '.join(TEXT_COLUMNS)}; name columns of its own: "
            f"{', '.join(names) or 'it has none'}"
        )
    texts = (" ".join(_text(row.get(name)) for name in wanted).strip() for row in rows)
    return [TestRow(str(path), number, text) for number, text in enumerate(texts) if text]


def _records(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """The names of the columns, and the rows."""
    if path.suffix.lower() == ".parquet":
        table = pl.read_parquet(path)
        return table.columns, table.to_dicts()
    # Only a line feed ends a row: a text can have other line separators, such as U+2028.
    rows = [json.loads(line) for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()  # JSON can have half a surrogate pair, which no table can
