"""The data files of a release: Parquet by config and split, and JSONL with the paper's field names.

Rows are split by persona: those of a persona, of personas related to it and of its document are all in one split. The
split follows from a hash of the document's id, so it is the same in every release.
"""

import hashlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from personahub_assets.core.errors import StoreError
from personahub_assets.releases.spec import PERSONAS, TRAIN, VALIDATION
from personahub_assets.store.snapshot import link_or_copy
from personahub_assets.store.tables import Store

# Columns that a reader of the rows looks at last.
_IDS = ("item_id", "source_id", "source_hash", "persona_id", "sample", "batch", "generation_id")

Splits = dict[str, dict[str, int]]
"""Numbers of rows and files by split."""
Files = Mapping[str, Path]
"""A file by batch."""


@dataclass(frozen=True)
class Division:
    """Which personas of a snapshot are for validation, decided once for all configs.

    Attributes:
        snap: the released rows.
        share: of the personas that are for validation; 0 makes no such split.
        held_out: ids of the personas for validation, by batch; empty without a share.
    """

    snap: Store
    share: float
    held_out: dict[str, pl.Series]

    @classmethod
    def of(cls, snap: Store, share: float) -> "Division":
        """Decide about all personas of a snapshot."""
        batches = snap.partitions(PERSONAS) if share else []
        return cls(snap, share, {batch: _held_out(snap, batch, share) for batch in batches})

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return (TRAIN, VALIDATION) if self.share else (TRAIN,)

    def personas(self, batch: str, split: str) -> pl.DataFrame:
        """Ids and texts of the personas of a batch that belong to a split."""
        personas = self.snap.read(PERSONAS, batch, columns=["persona_id", "persona"])
        if batch not in self.held_out:
            return personas
        is_held_out = pl.col("persona_id").is_in(self.held_out[batch].implode())
        return personas.filter(is_held_out if split == VALIDATION else ~is_held_out)


def _held_out(snap: Store, batch: str, share: float) -> pl.Series:
    rows = snap.read(PERSONAS, batch, columns=["persona_id", "document_id", "root_id"])
    groups = rows.select(pl.coalesce("document_id", "root_id", "persona_id")).to_series()
    return rows["persona_id"].filter(pl.Series([is_for_validation(group, share) for group in groups], dtype=pl.Boolean))


def write_config(
    division: Division, config: str, folder: Path, *, jsonl: str | None = None, formatted: Files | None = None
) -> Splits:
    """Write the files of one config.

    Args:
        division: the released rows, and the splits of their personas.
        config: the personas, a dataset or a view; items get the text of their persona.
        folder: the release.
        jsonl: description of the config, to write JSONL, too; None for no JSONL.
        formatted: files with the rows in a format for training, by batch; None for the columns of the table.

    Raises:
        StoreError: if no row would be left for training.
    """
    counts = {split: _write_split(division, config, folder, split, formatted) for split in division.splits}
    rows = {split: count["rows"] for split, count in counts.items()}
    if rows.get(VALIDATION) and not rows[TRAIN]:
        raise StoreError(
            f"all {rows[VALIDATION]:,} rows of {config} would be for validation, and none for training: choose a "
            f"smaller share than {division.share:g}, or release more personas"
        )
    if jsonl is not None:
        for split in division.splits:
            _write_jsonl(division, config, folder, split, jsonl, formatted)
    return {split: count for split, count in counts.items() if count["rows"]}


def released_columns(config: str, own: list[str]) -> list[str]:
    """The columns of a config's files: those of the table; items begin with the persona and the text.

    Args:
        own: columns of the table.
    """
    if config == PERSONAS:
        return own
    fields = [name for name in own if name not in (*_IDS, "text")]
    texts = [persona_column(own), *(name for name in own if name == "text")]
    return [*texts, *fields, *(name for name in _IDS if name in own)]


def persona_column(own: Container[str]) -> str:
    """The column with the text of an item's persona; a dataset may have a field of that name itself."""
    return "persona" if "persona" not in own else "persona_text"


def is_for_validation(group: str, share: float) -> bool:
    """Whether a document or persona, with all that is derived from it, is for validation.

    >>> [name for name in ("d1", "d2", "d3", "d4", "d5", "d6") if is_for_validation(name, 0.3)]
    ['d2', 'd5']
    """
    digest = hashlib.blake2b(group.encode(), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def _write_split(division: Division, config: str, folder: Path, split: str, formatted: Files | None) -> dict[str, int]:
    """Write one split of a config, a file for each batch that has rows in it."""
    snap, target = division.snap, folder / "data" / config
    is_linked = config == PERSONAS and not division.share
    count, paths = 0, list[Path]()
    for batch in snap.partitions(config):
        path = target / f"{split}-{len(paths):05d}.parquet"
        if is_linked:
            link_or_copy(snap.path(config, batch), path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = _released if formatted is None else partial(_released_as, formatted)
            rows(division, config, batch, split).sink_parquet(path)
        if height := int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()):
            count += height
            paths.append(path)
        else:
            path.unlink()
    for path in paths:
        path.rename(path.with_name(f"{path.stem}-of-{len(paths):05d}.parquet"))
    return {"rows": count, "files": len(paths)}


def _released(division: Division, config: str, batch: str, split: str) -> pl.LazyFrame:
    """The rows of a batch as they are released."""
    rows = pl.scan_parquet(division.snap.path(config, batch), glob=False)
    personas, own = division.personas(batch, split).lazy(), list(division.snap.columns(config))
    if config == PERSONAS:
        return rows.join(personas, on="persona_id", how="semi", maintain_order="left")
    return rows.join(personas.rename({"persona": persona_column(own)}), on="persona_id", maintain_order="left").select(
        released_columns(config, own)
    )


def _released_as(formatted: Files, division: Division, config: str, batch: str, split: str) -> pl.LazyFrame:
    """The released rows of a batch in the format for training."""
    own = division.snap.read(config, batch, columns=["item_id", "persona_id"])
    own = own.join(division.personas(batch, split), on="persona_id", how="semi")
    rows = pl.scan_parquet(formatted[batch], glob=False)
    return rows.join(own.lazy(), on="item_id", how="semi", maintain_order="left")


def _write_jsonl(
    division: Division, config: str, folder: Path, split: str, description: str, formatted: Files | None
) -> None:
    """Write one split, in the format for training, or with the field names of the data of the paper's authors."""
    ending = "" if split == TRAIN else f".{split}"
    target = folder / "jsonl" / f"{config}{ending}.jsonl"
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        for batch in division.snap.partitions(config):
            if formatted is not None:
                _released_as(formatted, division, config, batch, split).collect().write_ndjson(file)
                continue
            for rows in _paper_rows(division.snap, config, batch, division.personas(batch, split), description):
                rows.write_ndjson(file)
    if not target.stat().st_size:
        target.unlink()


def _paper_rows(
    snap: Store, config: str, batch: str, personas: pl.DataFrame, description: str
) -> Iterator[pl.DataFrame]:
    if config == PERSONAS:
        yield personas.select("persona")
        return
    for rows in snap.slices(config, batch, ["persona_id", "text"]):
        yield rows.join(personas, on="persona_id", maintain_order="left").select(
            pl.col("persona").alias("input persona"),
            pl.col("text").alias("synthesized text"),
            pl.lit(description).alias("description"),
        )
