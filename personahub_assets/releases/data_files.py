"""The data files of a release: Parquet by config and split, and JSONL with the paper's field names.

Rows are split by persona: those of a persona, of personas related to it and of its document are all in one split. The
split follows from a hash of the document's id, so it is the same in every release.
"""

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
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


def write_config(division: Division, config: str, folder: Path, *, jsonl: bool = False) -> Splits:
    """Write the files of one config.

    Args:
        division: the released rows, and the splits of their personas.
        config: the personas or a dataset; its items get the text of their persona.
        folder: the release.
        jsonl: also write JSONL.

    Raises:
        StoreError: if no row would be left for training.
    """
    counts = {split: _write_split(division, config, folder, split) for split in division.splits}
    rows = {split: count["rows"] for split, count in counts.items()}
    if rows.get(VALIDATION) and not rows[TRAIN]:
        raise StoreError(
            f"all {rows[VALIDATION]:,} rows of {config} would be for validation, and none for training: choose a "
            f"smaller share than {division.share:g}, or release more personas"
        )
    if jsonl:
        for split in division.splits:
            _write_jsonl(division, config, folder, split)
    return {split: count for split, count in counts.items() if count["rows"]}


def released_columns(config: str, own: list[str]) -> list[str]:
    """The columns of a config's files: those of the table; items begin with the persona and the text.

    Args:
        own: columns of the table.
    """
    if config == PERSONAS:
        return own
    fields = [name for name in own if name not in (*_IDS, "text")]
    return [persona_column(own), "text", *fields, *(name for name in _IDS if name in own)]


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


def _write_split(division: Division, config: str, folder: Path, split: str) -> dict[str, int]:
    """Write one split of a config, a file for each batch that has rows in it."""
    snap, target = division.snap, folder / "data" / config
    is_linked = config == PERSONAS and not division.share
    rows, paths = 0, list[Path]()
    for batch in snap.partitions(config):
        path = target / f"{split}-{len(paths):05d}.parquet"
        if is_linked:
            link_or_copy(snap.path(config, batch), path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _released(division, config, batch, split).sink_parquet(path)
        if height := int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()):
            rows += height
            paths.append(path)
        else:
            path.unlink()
    for path in paths:
        path.rename(path.with_name(f"{path.stem}-of-{len(paths):05d}.parquet"))
    return {"rows": rows, "files": len(paths)}


def _released(division: Division, config: str, batch: str, split: str) -> pl.LazyFrame:
    """The rows of a batch as they are released."""
    rows = pl.scan_parquet(division.snap.path(config, batch), glob=False)
    personas, own = division.personas(batch, split).lazy(), list(division.snap.columns(config))
    if config == PERSONAS:
        return rows.join(personas, on="persona_id", how="semi", maintain_order="left")
    return rows.join(personas.rename({"persona": persona_column(own)}), on="persona_id", maintain_order="left").select(
        released_columns(config, own)
    )


def _write_jsonl(division: Division, config: str, folder: Path, split: str) -> None:
    """Write one split with the field names of the data that the paper's authors published."""
    ending = "" if split == TRAIN else f".{split}"
    target = folder / "jsonl" / f"{config}{ending}.jsonl"
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        for batch in division.snap.partitions(config):
            for rows in _paper_rows(division.snap, config, batch, division.personas(batch, split)):
                rows.write_ndjson(file)
    if not target.stat().st_size:
        target.unlink()


def _paper_rows(snap: Store, config: str, batch: str, personas: pl.DataFrame) -> Iterator[pl.DataFrame]:
    if config == PERSONAS:
        yield personas.select("persona")
        return
    description = pl.lit((snap.catalog.item(config).__doc__ or config).strip().splitlines()[0])
    for rows in snap.slices(config, batch, ["persona_id", "text"]):
        yield rows.join(personas, on="persona_id", maintain_order="left").select(
            pl.col("persona").alias("input persona"),
            pl.col("text").alias("synthesized text"),
            description.alias("description"),
        )
