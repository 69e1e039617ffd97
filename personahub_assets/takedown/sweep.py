"""Sweep: the files of a batch without what does not stand any more."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from personahub_assets.core.urls import normal_url
from personahub_assets.embedding import vectors
from personahub_assets.embedding.reading import text_hashes
from personahub_assets.generation.answers import NOTHING_LEFT, what_is_left
from personahub_assets.generation.journal import Entry, rewrite
from personahub_assets.generation.requests import Outcome
from personahub_assets.sources.tombstones import Tombstones, answer_without
from personahub_assets.store.atomic import replacing
from personahub_assets.store.tables import (
    CANDIDATES,
    STAGES,
    PartitionWriter,
    Store,
    folder_names,
    read_file,
    table_schema,
)
from personahub_assets.takedown.mark import Extent, Part, parts
from personahub_assets.takedown.receipts import Line, Receipt
from personahub_assets.takedown.shingles import Traces

_TEXTS = ("text", "persona", "response", "raw", "attributes")
_SAID_BY_MODEL = ("response", "raw")
_ROOTS = ("related_personas", "text_personas", "documents")
_ANSWERS = ("generations", "quarantine")
_TOLD = ("taken_down", "see tombstones")  # reason and detail
RUNS_LINE, _RUNS_ANSWER = 1, 6
"""So many runs of eight words in common make a line that cannot be read, or a recorded answer, one that goes."""


@dataclass
class Gone:
    """What goes: ids of personas, keys of requests, traces of texts."""

    personas: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    traces: Traces = field(default_factory=Traces)

    def has_answer(self, key: str, response: str) -> bool:
        """Whether a recorded answer of another home is about what goes."""
        return key in self.keys or self.traces.much_in(response, _RUNS_ANSWER)


def survey(store: Store, extent: Extent, gone: Gone, receipt: Receipt) -> None:
    """Count what a sweep will remove, and remember it."""
    for table_file in parts(store, extent.batch):
        for rows in _going(store, extent, table_file):
            receipt.rows[Line("removed", table_file.table, extent.batch)] += rows.height
            gone.personas |= set(rows["persona_id"]) if "persona_id" in rows.columns else set()
            gone.keys |= set(rows["request_key"]) if "request_key" in rows.columns else set()
            _remember(rows, gone.traces)


def _going(store: Store, extent: Extent, part: Part) -> Iterator[pl.DataFrame]:
    stays = extent.stays(part)
    if stays is not None:
        for rows in store.slices(part.table, extent.batch, asset=part.asset):
            yield rows.filter(~stays)


def _remember(rows: pl.DataFrame, traces: Traces) -> None:
    for name in set(_TEXTS) & set(rows.columns):
        # A refusal says of everything the same.
        text_rows = rows.filter(pl.col("reason").ne_missing("refused")) if name in _SAID_BY_MODEL else rows
        for text in text_rows[name].drop_nulls():
            traces.add(str(text))
    if "url" in rows.columns:
        for url in rows["url"].drop_nulls():
            # The words of a site's first page are in the address of every other.
            traces.add(url, alone=not urlsplit(normal_url(url)).path.strip("/"))


def sweep(store: Store, extent: Extent, taken: Tombstones, traces: Traces, receipt: Receipt) -> None:
    """Remove what does not stand; the caller holds the locks of the batch.

    What was made last goes first: a sweep that is killed leaves everything by which the rest is found.
    """
    batch, todo = extent.batch, list(parts(store, extent.batch))
    _strangers(store, extent)
    for table_file in todo:
        if table_file.table not in (*_ROOTS, *_ANSWERS):
            _rewrite(store, batch, table_file, partial(_standing, extent, table_file))
    _recount(store, batch)
    _forget_vectors(store, extent, receipt)
    for path in store.paths.journals_of(batch):
        went = rewrite(path, partial(_left_of, extent, path.parent.name, taken, traces))
        receipt.rows[Line("removed", f"journal/{path.parent.name}", batch)] += went
    for table_file in (
        table_file
        for table in _ANSWERS
        for table_file in todo
        if table_file.table == table and table_file.asset != "documents"
    ):
        changed = _rewrite(store, batch, table_file, partial(_answers, store, extent, table_file, taken, traces))
        receipt.rows[Line("changed", table_file.table, batch)] += changed
    for table in _ROOTS:
        _rewrite(store, batch, Part(table, None), partial(_standing, extent, Part(table, None)))


def _rewrite(store: Store, batch: str, part: Part, change: Callable[[pl.DataFrame], pl.DataFrame]) -> int:
    """Publish a table file anew if a change makes another one of it; give how many rows are not as before."""
    writer = store.writer(part.table, batch, part.asset)
    differing, differs = 0, False
    # Rows may be added to `quarantine`, so it is changed as a whole; it is small, and may be empty.
    is_quarantine = part.table == "quarantine"
    pieces = (
        [store.read(part.table, batch, part.asset)]
        if is_quarantine
        else store.slices(part.table, batch, asset=part.asset)
    )
    for rows in pieces:
        new = change(rows)
        differs |= not new.equals(rows)
        differing += new.height - new.join(rows, on=rows.columns, how="semi", nulls_equal=True).height
        writer.add(new)
    if differs:
        writer.publish()
    else:
        writer.discard()
    return differing


def _standing(extent: Extent, part: Part, rows: pl.DataFrame) -> pl.DataFrame:
    stays = extent.stays(part)
    return rows if stays is None else rows.filter(stays)


def _answers(
    store: Store, extent: Extent, part: Part, taken: Tombstones, traces: Traces, rows: pl.DataFrame
) -> pl.DataFrame:
    """Rows of `generations` or `quarantine` that stand, without personas that were taken down."""
    rows = _standing(extent, part, rows)
    if part.asset not in CANDIDATES or not taken.of_personas:
        return rows
    if part.table == "generations":
        changed = [_generation(row, taken, traces) for row in rows.iter_rows(named=True)]
        return pl.DataFrame(changed, table_schema("generations"))
    changed = [{**row, "raw": _unless_found(row["raw"], traces)} for row in rows.iter_rows(named=True)]
    # An answer of which nothing is left is rejected, so it is here.
    emptied = store.read("generations", extent.batch, part.asset).filter(
        pl.col("status") == "rejected", pl.col("reason") == "taken_down"
    )
    added = emptied.join(rows, on="input_id", how="anti").with_columns(raw=pl.col("response"))
    schema = table_schema("quarantine")
    return pl.concat([pl.DataFrame(changed, schema), added.select(list(schema))])


def _generation(row: dict[str, Any], taken: Tombstones, traces: Traces) -> dict[str, Any]:
    response = row["response"] or ""
    if row["reason"]:
        return {**row, "response": _unless_found(row["response"], traces)}
    if left := answer_without(response, row["input_id"], taken):
        return {**row, "response": left}
    status = "rejected" if row["status"] == "accepted" else row["status"]
    return {**row, "status": status, "reason": "taken_down", "detail": NOTHING_LEFT, "response": ""}


def _unless_found(text: str | None, traces: Traces) -> str | None:
    return "" if text and traces.found_in(text) else text


def _left_of(extent: Extent, asset: str, taken: Tombstones, traces: Traces, entry: Entry) -> Outcome | None:
    """An entry of a journal as it is to be."""
    if not extent.has_input(asset, entry.input_id):
        return None
    outcome = entry.outcome
    if asset not in CANDIDATES or not taken.of_personas:
        return outcome
    if outcome.status == "rejected" and traces.found_in(outcome.response):
        return replace(outcome, response="")
    return what_is_left(outcome, entry.input_id, taken)


def _recount(store: Store, batch: str) -> None:
    """Let `dedup_runs` say how many decisions there are now."""
    for asset in STAGES:
        runs = store.read("dedup_runs", batch, asset)
        keepers = store.read("decisions", batch, asset, columns=["keeper_id"])["keeper_id"]
        counted = runs.with_columns(candidates=pl.lit(len(keepers)), kept=pl.lit(keepers.null_count()))
        if not runs.is_empty() and not counted.cast(runs.schema).equals(runs):
            store.write("dedup_runs", batch, counted, asset)


def _forget_vectors(store: Store, extent: Extent, receipt: Receipt) -> None:
    folder = store.paths.vector_journal(extent.batch)
    if folder.is_dir():
        rows = store.candidates(extent.batch, ["persona_id", "persona"])
        texts = rows.filter(pl.col("persona_id").is_in(list(extent.personas)))["persona"]
        went = vectors.prune(folder, pl.Series([each for text in texts for each in text_hashes(text)], dtype=pl.String))
        receipt.rows[Line("removed", "journal/persona_embeddings", extent.batch)] += went


def _strangers(store: Store, extent: Extent) -> None:
    """Tables that the project has not any more, such as a dataset's whose class was removed: by their persona_id."""
    for folder in store.paths.tables.glob("*"):
        if folder.name in folder_names():
            continue
        for path in folder.rglob(f"batch={extent.batch}/*.parquet"):
            rows = pl.read_parquet(path)
            if "persona_id" in rows.columns:
                _replace(store, path, rows.filter(pl.col("persona_id").is_in(list(extent.personas))))


def _replace(store: Store, path: Path, rows: pl.DataFrame) -> None:
    with replacing(path, store.paths.aside) as file:
        rows.write_parquet(file)


def seeds(store: Store, gone: Gone) -> int:
    """Remove recorded answers of other homes about what goes; give how many went."""
    changed = 0
    for path in store.paths.recorded.glob("*/*.parquet"):
        rows = read_file(path, "generations")
        answers = rows.select("request_key", "response").iter_rows()
        stays = [not gone.has_answer(key, answer or "") for key, answer in answers]
        left = rows.filter(stays)
        if left.height < rows.height:
            changed += rows.height - left.height
            if left.height:
                writer = PartitionWriter(path, "generations", store.paths.aside)
                writer.add(left)
                writer.publish()
            else:
                path.unlink()
    return changed


def source_faults(store: Store, batch: str, places: set[str], traces: Traces, *, known: bool) -> int:
    """Blank what `quarantine` has of rows of the source file that are taken down.

    Args:
        places: of those rows.
        known: whether the file could be read; if not, what any of its rows says is blanked.

    Returns:
        How many rows said something.
    """

    def blanked(rows: pl.DataFrame) -> pl.DataFrame:
        inputs = rows.select("input_id", "raw").iter_rows()
        is_taken = [not known or input_id in places or traces.much_in(raw or "", RUNS_LINE) for input_id, raw in inputs]
        gone = pl.Series(is_taken, dtype=pl.Boolean)
        # Documents and personas that go are counted here, as they will be when the file is read next.
        new = [(batch, "documents", input_id, *_TOLD, "") for input_id in sorted(places - set(rows["input_id"]))]
        left = rows.with_columns(
            reason=pl.when(gone & pl.lit(known)).then(pl.lit(_TOLD[0])).otherwise("reason"),
            detail=pl.when(gone).then(pl.lit(_TOLD[1])).otherwise("detail"),
            raw=pl.when(gone).then(pl.lit("")).otherwise("raw"),
        )
        return pl.concat([left, pl.DataFrame(new, table_schema("quarantine"), orient="row")])

    exists = store.path("quarantine", batch, "documents").exists()
    return _rewrite(store, batch, Part("quarantine", "documents"), blanked) if exists else 0
