"""Sweep: rewrite the files of a batch without the rows that are taken down."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from personahub_assets.core.config import FILES_URL
from personahub_assets.core.urls import normal_url
from personahub_assets.embedding import vectors
from personahub_assets.embedding.reading import text_hashes
from personahub_assets.generation.answers import NOTHING_LEFT, without_taken_down
from personahub_assets.generation.batch_api.channel import FolderChannel
from personahub_assets.generation.batch_api.ledger import Ledger
from personahub_assets.generation.journal import Entry, rewrite
from personahub_assets.generation.requests import Outcome
from personahub_assets.sources.tombstones import Tombstones, answer_without
from personahub_assets.store.atomic import replacing
from personahub_assets.store.home import Lock
from personahub_assets.store.tables import (
    CANDIDATES,
    STAGES,
    PartitionWriter,
    Store,
    asset_of,
    folder_names,
    read_file,
    table_schema,
)
from personahub_assets.takedown.mark import BatchFile, Extent, batch_files
from personahub_assets.takedown.receipts import Line, Receipt
from personahub_assets.takedown.shingles import Shingles

_TEXTS = ("text", "persona", "response", "raw", "reasoning", "attributes")
_SAID_BY_MODEL = ("response", "raw", "reasoning")
_ROOTS = ("related_personas", "text_personas", "documents")
_ANSWERS = ("generations", "quarantine")
_PROMPT_TEXTS = ("description", "instructions", "message", "parameters", "schema")
_TOLD = ("taken_down", "see tombstones")  # reason and detail
RUNS_LINE, _RUNS_ANSWER = 1, 6
"""A recorded answer, or a line that cannot be parsed, is removed if it shares this many runs of eight words."""


@dataclass
class Gone:
    """What is removed: ids of personas, keys of requests, shingles of texts."""

    personas: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    shingles: Shingles = field(default_factory=Shingles)

    def has_answer(self, key: str, response: str) -> bool:
        """Whether a recorded answer of another home is about something that is removed."""
        return key in self.keys or self.shingles.has_matches(response, _RUNS_ANSWER)


def survey(store: Store, extent: Extent, gone: Gone, receipt: Receipt) -> None:
    """Count the rows that a sweep will remove, and add them to `gone`."""
    for table_file in batch_files(store, extent.batch):
        for rows in _rows_to_remove(store, extent, table_file):
            receipt.rows[Line("removed", table_file.table, extent.batch)] += rows.height
            gone.personas |= set(rows["persona_id"]) if "persona_id" in rows.columns else set()
            gone.keys |= set(rows["request_key"]) if "request_key" in rows.columns else set()
            _remember(rows, gone.shingles)


def _rows_to_remove(store: Store, extent: Extent, table_file: BatchFile) -> Iterator[pl.DataFrame]:
    is_kept = extent.kept_rows(table_file)
    if is_kept is not None:
        for rows in store.slices(table_file.table, extent.batch, asset=table_file.asset):
            yield rows.filter(~is_kept)


def _remember(rows: pl.DataFrame, shingles: Shingles) -> None:
    for name in set(_TEXTS) & set(rows.columns):
        # A refusal has the same text for every input.
        text_rows = rows.filter(pl.col("reason").ne_missing("refused")) if name in _SAID_BY_MODEL else rows
        for text in text_rows[name].drop_nulls():
            shingles.add(str(text))
    if "url" in rows.columns:
        for url in rows["url"].drop_nulls():
            # The address of a site's first page is part of the address of all its other pages.
            shingles.add(url, alone=not urlsplit(normal_url(url)).path.strip("/"))


def sweep(store: Store, extent: Extent, taken: Tombstones, shingles: Shingles, receipt: Receipt) -> None:
    """Remove the rows that are not kept. The caller holds the locks of the batch.

    Files written last are swept first: a killed sweep leaves everything that it needs to find the rest.
    """
    batch, todo = extent.batch, list(batch_files(store, extent.batch))
    _sweep_unknown_tables(store, extent)
    for table_file in todo:
        if table_file.table not in (*_ROOTS, *_ANSWERS):
            _rewrite(store, batch, table_file, partial(_kept_rows, extent, table_file))
    _update_counts(store, batch)
    _sweep_answers(store, extent, taken, shingles, receipt, dry_run=False)
    for table in _ROOTS:
        _rewrite(store, batch, BatchFile(table, None), partial(_kept_rows, extent, BatchFile(table, None)))


def rehearse(store: Store, extent: Extent, taken: Tombstones, shingles: Shingles, receipt: Receipt) -> None:
    """Count what a sweep does besides removing the rows that `survey` counts; changes nothing."""
    _sweep_answers(store, extent, taken, shingles, receipt, dry_run=True)


def _sweep_answers(
    store: Store, extent: Extent, taken: Tombstones, shingles: Shingles, receipt: Receipt, *, dry_run: bool
) -> None:
    """Sweep vectors, journals, and answers that are kept in part."""
    batch = extent.batch
    _drop_vectors(store, extent, receipt, dry_run=dry_run)
    for path in store.paths.journals_of(batch):
        went = rewrite(path, partial(_redact_entry, extent, path.parent.name, taken, shingles), dry_run=dry_run)
        receipt.rows[Line("removed", f"journal/{path.parent.name}", batch)] += went
    for path in store.paths.ledgers_of(batch):
        _redact_ledger(path, extent, shingles, receipt, dry_run=dry_run)
    answers = [each for each in batch_files(store, batch) if each.table in _ANSWERS and each.asset != "documents"]
    for table_file in sorted(answers, key=lambda each: _ANSWERS.index(each.table)):
        change = partial(_kept_answers, store, extent, table_file, taken, shingles)
        changed = _rewrite(store, batch, table_file, change, dry_run=dry_run)
        receipt.rows[Line("changed", table_file.table, batch)] += changed


def _redact_ledger(path: Path, extent: Extent, shingles: Shingles, receipt: Receipt, *, dry_run: bool) -> None:
    """Sweep requests that wait for a batch API, with their files; what a provider has is only counted."""
    asset, files = path.parent.name, FolderChannel(path)
    with Ledger(path) as ledger:
        removed = ledger.redact(partial(extent.has_input, asset), shingles.has_match, dry_run=dry_run)
        receipt.rows[Line("removed", f"batch_api/{asset}", extent.batch)] += removed.total()
        for submission in (each for each in ledger.submissions() if each.is_open):
            if submission.url != FILES_URL:
                name = f"{submission.url} {submission.key}"
                receipt.rows[Line("submitted", name, extent.batch)] += removed[submission.key]
            elif not dry_run:
                files.redact(ledger, submission)


def _rewrite(
    store: Store,
    batch: str,
    table_file: BatchFile,
    change: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    dry_run: bool = False,
) -> int:
    """Rewrite a table file if a change alters it; return the number of changed rows."""
    writer = None if dry_run else store.writer(table_file.table, batch, table_file.asset)
    differing, differs = 0, False
    # Rows may be added to `quarantine`, so it is changed as a whole; it is small, and may be empty.
    is_quarantine = table_file.table == "quarantine"
    pieces = (
        [store.read(table_file.table, batch, table_file.asset)]
        if is_quarantine
        else store.slices(table_file.table, batch, asset=table_file.asset)
    )
    for rows in pieces:
        new = change(rows)
        differs |= not new.equals(rows)
        differing += new.height - new.join(rows, on=rows.columns, how="semi", nulls_equal=True).height
        if writer:
            writer.add(new)
    if writer and differs:
        writer.publish()
    elif writer:
        writer.discard()
    return differing


def _kept_rows(extent: Extent, table_file: BatchFile, rows: pl.DataFrame) -> pl.DataFrame:
    is_kept = extent.kept_rows(table_file)
    return rows if is_kept is None else rows.filter(is_kept)


def _kept_answers(
    store: Store, extent: Extent, table_file: BatchFile, taken: Tombstones, shingles: Shingles, rows: pl.DataFrame
) -> pl.DataFrame:
    """Rows of `generations` or `quarantine` that are kept, without personas that were taken down."""
    rows = _kept_rows(extent, table_file, rows)
    if table_file.asset not in CANDIDATES or not taken.of_personas:
        return rows
    if table_file.table == "generations":
        changed = [_redact_generation(row, taken, shingles) for row in rows.iter_rows(named=True)]
        return pl.DataFrame(changed, table_schema("generations"))
    changed = [{**row, "raw": _unless_matched(row["raw"], shingles)} for row in rows.iter_rows(named=True)]
    # An answer of which nothing is left is rejected, so it is in this table.
    answers = store.read("generations", extent.batch, table_file.asset)
    left = _kept_answers(store, extent, BatchFile("generations", table_file.asset), taken, shingles, answers)
    emptied = left.filter(pl.col("status") == "rejected", pl.col("reason") == "taken_down")
    added = emptied.join(rows, on="input_id", how="anti").with_columns(raw=pl.col("response"))
    schema = table_schema("quarantine")
    return pl.concat([pl.DataFrame(changed, schema), added.select(list(schema))])


def _redact_generation(row: dict[str, Any], taken: Tombstones, shingles: Shingles) -> dict[str, Any]:
    response = row["response"] or ""
    if row["reason"]:
        redacted = {name: _unless_matched(row[name], shingles) for name in ("response", "reasoning")}
        return {**row, **redacted}
    if left := answer_without(response, row["input_id"], taken):
        return {**row, "response": left, "reasoning": row["reasoning"] if left == response else None}
    status = "rejected" if row["status"] == "accepted" else row["status"]
    return {**row, "status": status, "reason": "taken_down", "detail": NOTHING_LEFT, "response": "", "reasoning": None}


def _unless_matched(text: str | None, shingles: Shingles) -> str | None:
    return "" if text and shingles.has_match(text) else text


def _redact_entry(extent: Extent, asset: str, taken: Tombstones, shingles: Shingles, entry: Entry) -> Outcome | None:
    """An entry of a journal without what is taken down; None if the entry is removed."""
    if not extent.has_input(asset, entry.input_id):
        return None
    outcome = entry.outcome
    if asset not in CANDIDATES or not taken.of_personas:
        return outcome
    if outcome.status == "rejected":
        return replace(
            outcome,
            response=_unless_matched(outcome.response, shingles) or "",
            reasoning=_unless_matched(outcome.reasoning, shingles),
        )
    return without_taken_down(outcome, entry.input_id, taken)


def _update_counts(store: Store, batch: str) -> None:
    """Update the number of decisions in `dedup_runs` and `item_dedup_runs`."""
    writers = [("decisions", "dedup_runs", asset) for asset in STAGES]
    for folder in store.folders("item_dedup_runs"):
        writers.append(("item_decisions", "item_dedup_runs", str(asset_of("item_dedup_runs", folder))))
    for decisions, table, asset in writers:
        runs = store.read(table, batch, asset)
        keepers = store.read(decisions, batch, asset, columns=["keeper_id"])["keeper_id"]
        counted = runs.with_columns(candidates=pl.lit(len(keepers)), kept=pl.lit(keepers.null_count()))
        if not runs.is_empty() and not counted.cast(runs.schema).equals(runs):
            store.write(table, batch, counted, asset)


def _drop_vectors(store: Store, extent: Extent, receipt: Receipt, *, dry_run: bool) -> None:
    for folder in store.paths.vector_journals_of(extent.batch):
        hashes = [each for text in _kept_texts(store, extent, folder) for each in text_hashes(text)]
        went = vectors.prune(folder, pl.Series(hashes, dtype=pl.String), dry_run=dry_run)
        table = folder.relative_to(store.paths.journals).parts[0]
        receipt.rows[Line("removed", f"journal/{table}", extent.batch)] += went


def _kept_texts(store: Store, extent: Extent, journal: Path) -> pl.Series:
    """Texts of a batch, of the kind that a journal of vectors is about, that are kept."""
    dataset = journal.parent.name
    if journal == store.paths.vector_journal(extent.batch):
        rows = store.candidates(extent.batch, ["persona_id", "persona"])
    elif dataset in store.catalog.datasets:
        rows = store.read(dataset, extent.batch, columns=["persona_id", "text"])
    else:
        return pl.Series(dtype=pl.String)
    return rows.filter(pl.col("persona_id").is_in(list(extent.personas))).to_series(1)


def _sweep_unknown_tables(store: Store, extent: Extent) -> None:
    """Sweep tables of classes that were removed from the project, by their persona_id."""
    for folder in store.paths.tables.glob("*"):
        if folder.name in folder_names(store):
            continue
        for path in folder.rglob(f"batch={extent.batch}/*.parquet"):
            rows = pl.read_parquet(path)
            if "persona_id" in rows.columns:
                _replace(store, path, rows.filter(pl.col("persona_id").is_in(list(extent.personas))))


def _replace(store: Store, path: Path, rows: pl.DataFrame) -> None:
    with replacing(path, store.paths.aside) as file:
        rows.write_parquet(file)


def remove_recorded_answers(store: Store, gone: Gone, *, dry_run: bool = False) -> int:
    """Remove recorded answers of other homes about removed rows; return the number of removed answers."""
    changed = 0
    for path in store.paths.recorded.glob("*/*.parquet"):
        rows = read_file(path, "generations")
        answers = rows.select("request_key", "response").iter_rows()
        is_kept = [not gone.has_answer(key, answer or "") for key, answer in answers]
        left = rows.filter(is_kept)
        if left.height < rows.height:
            changed += rows.height - left.height
            if dry_run:
                continue
            if left.height:
                writer = PartitionWriter(path, "generations", store.paths.aside, copy=store.working_copy)
                writer.add(left)
                writer.publish()
            else:
                path.unlink()
    return changed


def redact_prompts(store: Store, shingles: Shingles, receipt: Receipt, *, dry_run: bool = False) -> None:
    """Blank the recorded prompts that quote a removed text, such as an example; all others stay on record."""
    for path in store.files("prompt_uses"):
        batch, asset = path.parent.name.removeprefix("batch="), path.parent.parent.name.removeprefix("asset=")
        with nullcontext() if dry_run else store.lock(Lock.of(asset, batch), wait=False):
            rows = store.read("prompt_uses", batch, asset)
            texts = [f"{row['instructions']}\n{row['message']}\n{row['parameters']}" for row in rows.to_dicts()]
            quotes = pl.Series([shingles.has_match(text) for text in texts], dtype=pl.Boolean)
            receipt.rows[Line("changed", "prompt_uses", batch)] += int(quotes.sum())
            if quotes.any() and not dry_run:
                blank = {name: pl.when(quotes).then(pl.lit("")).otherwise(name) for name in _PROMPT_TEXTS}
                store.write("prompt_uses", batch, rows.with_columns(**blank), asset)


def redact_source_faults(
    store: Store, batch: str, places: set[str], shingles: Shingles, *, known: bool, dry_run: bool = False
) -> int:
    """Blank the rows of `quarantine` that show source rows which are taken down.

    Args:
        places: row numbers of those source rows.
        known: whether the file could be read; if not, all its rows in `quarantine` are blanked.
        dry_run: only count.

    Returns:
        The number of rows that had a text.
    """

    def blanked(rows: pl.DataFrame) -> pl.DataFrame:
        inputs = rows.select("input_id", "raw").iter_rows()
        is_taken = [
            not known or input_id in places or shingles.has_matches(raw or "", RUNS_LINE) for input_id, raw in inputs
        ]
        gone = pl.Series(is_taken, dtype=pl.Boolean)
        # Removed documents and personas are counted here, as they will be when the file is read again.
        new = [(batch, "documents", input_id, *_TOLD, "") for input_id in sorted(places - set(rows["input_id"]))]
        left = rows.with_columns(
            reason=pl.when(gone & pl.lit(known)).then(pl.lit(_TOLD[0])).otherwise("reason"),
            detail=pl.when(gone).then(pl.lit(_TOLD[1])).otherwise("detail"),
            raw=pl.when(gone).then(pl.lit("")).otherwise("raw"),
        )
        return pl.concat([left, pl.DataFrame(new, table_schema("quarantine"), orient="row")])

    exists = store.path("quarantine", batch, "documents").exists()
    return _rewrite(store, batch, BatchFile("quarantine", "documents"), blanked, dry_run=dry_run) if exists else 0
