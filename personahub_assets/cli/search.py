"""Searching the hub by meaning, and choosing personas that cover it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from personahub_assets.cli.console import ERR, Label, progress, say
from personahub_assets.cli.output_files import output_file
from personahub_assets.cli.sql import show_rows, write_bytes
from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError, QueryError, StoreError
from personahub_assets.core.text import plain
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG, Reading
from personahub_assets.embedding.vectors import Vectors, matrix
from personahub_assets.search import selections
from personahub_assets.search.diversity import Cover, cover, drawn, spread
from personahub_assets.search.nearest import Nearest, Searchable, Watch, hub
from personahub_assets.store.paths import check_output
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build
from personahub_assets.warehouse.query_process import ids_meeting
from personahub_assets.warehouse.readers import steadily
from personahub_assets.warehouse.result_formats import write_all

_AROUND = 20  # personas near a text, for each one that is chosen of them
_PEOPLE = "SELECT persona, persona_id, batch, hop FROM personas WHERE persona_id IN (SELECT unnest($ids))"


class Searcher:
    """Finds personas for texts; what it needs is loaded when it is first asked.

    Args:
        environment: names the home and the embedding model.
        console: shows the progress of an index that is made, and what was not searched.
    """

    def __init__(self, environment: Environment, console: Console | None = None):
        self.store = Store(home=str(environment.home))
        self.embedder = Embedder.of(environment, self.store.config)
        self._console = console or ERR

    def find(self, text: str, count: int, among: pl.Series | None = None) -> pl.DataFrame:
        """Give the personas nearest to a text, as `(persona_id, similarity)`, the nearest first.

        Raises:
            ConfigError: the text is empty.
            StoreError: the hub has no personas, or none with vectors of this model.
        """
        if not text.strip():
            raise ConfigError("nothing to search for: give a text, such as 'a nurse on night shifts'")
        reading = self._read(text)
        nearest = self._nearest
        if reading.unread_hash:
            among = self._alike(reading.unread_hash, among)
        return nearest.find(self.embedder.embed([text])[0], count, among)

    def _read(self, text: str) -> Reading:
        """See that the model reads enough of a text to be asked for it."""
        reading = self.embedder.readings([text])[0]
        model = self.embedder.name
        if reading.unread > self.store.config.semantic.max_unread:
            raise ConfigError(
                f"{plain(text, 80)!r}: {model} does not read {reading.unread:.0%} of it and would find strangers. "
                f"Search by words (personahub sql), or {REMEDY}"
            )
        if reading.unread_hash and not reading.unread_hash.startswith(LONG):
            self._tell(f"{model} does not know all words of the text; personas with other unknown words are left out")
        return reading

    def _alike(self, unread_hash: str, among: pl.Series | None) -> pl.Series:
        """Ids of the personas whose unknown words are none, or those of the text."""
        rows = self.store.read_all("persona_embeddings", ["persona_id", "unread_hash"])
        ids = rows.filter(pl.col("unread_hash").fill_null("").is_in(["", unread_hash]))["persona_id"]
        return ids if among is None else ids.filter(ids.is_in(among.implode()))

    def _tell(self, message: str) -> None:
        say(message, style="yellow", to=self._console)

    @cached_property
    def _nearest(self) -> Nearest:
        with _bar(self._console) as watch:
            nearest = Nearest(self.store, self.embedder.name, watch)
        _check(
            self.store, self.embedder.name, Searchable(nearest.rows, nearest.left_out, nearest.unread), self._console
        )
        return nearest


def search(
    environment: Environment,
    text: str,
    count: int,
    console: Console,
    *,
    where: str | None = None,
    form: str = "table",
    output: Path | None = None,
    safe: bool = False,
) -> None:
    """Show the personas nearest to a text, or write them to a file.

    Args:
        where: an SQL condition on the columns of `personas`.
        form: of standard output; a file's format is said by its name.
        safe: of CSV, write cells that a spreadsheet would run as text.

    Raises:
        ConfigError: the text is empty, the condition is wrong, or the file's format is unknown.
        StoreError: there is nothing to search.
    """
    searcher = Searcher(environment, console)
    _check_target(searcher.store, form, output, safe=safe)
    found = searcher.find(text, count, _among(searcher.store, where))
    _show(searcher.store, found, form, output, safe=safe)


def choose(
    environment: Environment,
    text: str | None,
    count: int,
    console: Console,
    *,
    where: str | None = None,
    form: str = "table",
    output: Path | None = None,
    safe: bool = False,
) -> None:
    """Choose personas that cover the hub, or its part around a text or under a condition, and say how well they do.

    Args, Raises: as for `search`.
    """
    searcher = Searcher(environment, console)
    _check_target(searcher.store, form, output, safe=safe)
    store, model = searcher.store, searcher.embedder.name
    among = _among(store, where)
    if text is not None:
        among = searcher.find(text, _AROUND * count, among)["persona_id"]
    searchable = hub(store, model)
    _check(store, model, searchable, console)
    rows = searchable.rows
    # Ids are hashes: in their order, no chance decides between equals.
    rows = (rows if among is None else rows.filter(pl.col("persona_id").is_in(among.implode()))).sort("persona_id")
    vectors = matrix(store, model, rows)
    chosen = spread(vectors, count)
    _show(store, _picks(rows, chosen), form, output, safe=safe)
    _compare(vectors, chosen, count, console)


def _picks(rows: pl.DataFrame, chosen: Cover) -> pl.DataFrame:
    ids = rows["persona_id"].gather(chosen.rows)
    return pl.DataFrame({"pick": np.arange(1, len(ids) + 1), "persona_id": ids, "stands_for": chosen.sizes})


def _compare(vectors: Vectors, chosen: Cover, count: int, console: Console) -> None:
    """Say how near all are to the chosen ones, and how near they are to as many at random."""
    chance = cover(vectors, drawn(len(vectors), count))
    say(
        f"{len(chosen.rows):,} of {len(vectors):,} personas. Similarity of a persona to the nearest of them: "
        f"{chosen.mean:.3f} on average, {chosen.least:.3f} at least; "
        f"of as many at random: {chance.mean:.3f} and {chance.least:.3f}.",
        to=console,
    )


def _among(store: Store, where: str | None) -> pl.Series | None:
    """Ids of the personas under a condition.

    Raises:
        ConfigError: the condition is wrong, or nobody is under it.
    """
    if where is None:
        return None
    build.build(store)
    try:
        found = ids_meeting(store.root.resolve(), store.config.warehouse.memory_mb, "personas", ["persona_id"], [where])
    except QueryError as error:
        raise ConfigError(f"--where {where!r}: {error}") from error
    if not found:
        raise ConfigError(f"--where {where!r}: no persona of the hub is so")
    return pl.Series("persona_id", [persona_id for (persona_id,) in found])


def _check(store: Store, model: str, searchable: Searchable, console: Console) -> None:
    there, left_out, unread = searchable.rows.height, searchable.without_vector, searchable.unread
    if not there and not left_out and not unread:
        raise StoreError(f"{store.root} has no personas yet: personahub run")
    if not there and unread:
        raise StoreError(f"{model} reads none of the {unread:,} personas that it has vectors of: {REMEDY}")
    if not there:
        raise StoreError(
            f"none of the {left_out:,} personas has a vector of {model}. Set PERSONAHUB_EMBED_MODEL (and "
            "PERSONAHUB_EMBED_URL) to the model that the hub was embedded with, or embed it with this one: "
            "personahub run --select persona_embeddings+"
        )
    messages = []
    if left_out:
        messages.append(
            f"{left_out:,} personas have no vector of {model} and are not looked at; to embed them: "
            "personahub run --select persona_embeddings+"
        )
    if unread:
        messages.append(f"{unread:,} personas are not read by {model} and are not looked at; {REMEDY}")
    for message in messages:
        say(message, style="yellow", to=console)


def _show(store: Store, found: pl.DataFrame, form: str, output: Path | None, *, safe: bool) -> None:
    """Put the personas beside what was found of them, in its order."""
    ids = found["persona_id"].to_list()
    with build.live(store, "personas") as connection:
        people = steadily(lambda: pl.DataFrame(connection.sql(_PEOPLE, params={"ids": ids})))
    rows = found.join(people, on="persona_id", maintain_order="left")
    rows = rows.select(*(name for name in found.columns if name != "persona_id"), *people.columns)
    if output:
        with output_file(output) as file:
            selections.write(file, output.suffix, rows, safe=safe)
    elif form == "table":
        shown = rows.with_columns(pl.col("similarity").round(4)) if "similarity" in rows.columns else rows
        numbers = [name for name, dtype in rows.schema.items() if dtype.is_numeric()]
        show_rows(shown.columns, shown.iter_rows(), right=numbers)
    else:
        write_bytes(write_all(rows, form, Path(), safe=safe))


def _check_target(store: Store, form: str, output: Path | None, *, safe: bool) -> None:
    if output:
        selections.check_name(output)
        check_output(store.root, output)
    written = output.suffix.lower().removeprefix(".") if output else form
    if safe and written != "csv":
        raise ConfigError(f"--safe is for CSV, got {written}: other formats hold texts as they are")


@contextmanager
def _bar(console: Console) -> Iterator[Watch]:
    """A progress bar that appears when there is something to tell."""
    columns = Label("search index"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    bars: list[Progress] = []

    def watch(done: int, total: int) -> None:
        if not bars:
            bars.append(progress(*columns, to=console))
            bars[0].start()
            bars[0].add_task("", total=total)
        bars[0].update(bars[0].task_ids[0], completed=done, total=total)

    try:
        yield watch
    finally:
        for bar in bars:
            bar.stop()
