"""Search by meaning: personas near to a text, or a few personas that cover the hub."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from personahub_assets.core.errors import ArgumentError, ConfigError, QueryError, StoreError
from personahub_assets.core.text import plain
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG, Reading
from personahub_assets.embedding.vectors import matrix
from personahub_assets.search.diversity import Cover, cover, draw, spread
from personahub_assets.search.nearest import Nearest, Searchable, Watch, hub
from personahub_assets.store.tables import Store
from personahub_assets.warehouse import build, live
from personahub_assets.warehouse.query_process import ids_meeting
from personahub_assets.warehouse.readers import retry_on_replacement

_AROUND = 20  # personas near a text for each one to choose
_PEOPLE = "SELECT persona, persona_id, batch, hop FROM personas WHERE persona_id IN (SELECT unnest($ids))"


@dataclass(frozen=True)
class Choice:
    """Personas that cover others, with measures of the coverage.

    Attributes:
        personas: `(pick, stands_for, persona, persona_id, batch, hop)`, in order of choice.
        total: number of personas they were chosen from.
        mean, least: mean and minimum similarity of a persona to the nearest chosen one.
        mean_at_random, least_at_random: the same for an equal number of random personas.
    """

    personas: pl.DataFrame
    total: int
    mean: float
    least: float
    mean_at_random: float
    least_at_random: float


class Searcher:
    """Finds personas for texts. Model and index are loaded at the first search.

    Args:
        store: the tables of the hub.
        embedder: makes the vector of a text.
        tell: called with notices about personas that were not searched.
        watch: called with progress while an index is built.
    """

    def __init__(self, store: Store, embedder: Embedder, tell: Callable[[str], None], watch: Watch):
        self.store, self.embedder = store, embedder
        self._tell, self._watch = tell, watch

    def search(self, text: str, count: int, where: str | None = None) -> pl.DataFrame:
        """Find the personas nearest to a text, the nearest first.

        Args:
            text: any text.
            count: number of personas.
            where: an SQL condition on the columns of `personas`.

        Returns:
            `(similarity, persona, persona_id, batch, hop)`.

        Raises:
            ConfigError: the text is empty, or the condition is wrong.
            StoreError: there is nothing to search.
        """
        return self._with_persona_columns(self.find(text, count, self._among(where)))

    def choose(self, count: int, text: str | None = None, where: str | None = None) -> Choice:
        """Choose personas that cover the hub, or its part around a text or under a condition.

        Raises:
            ConfigError, StoreError: as `search` does.
        """
        among = self._among(where)
        if text is not None:
            among = self.find(text, _AROUND * count, among)["persona_id"]
        searchable = hub(self.store, self.embedder.name)
        self._check(searchable)
        rows = searchable.rows
        # Ids are hashes: in their order, no chance decides between equals.
        rows = (rows if among is None else rows.filter(pl.col("persona_id").is_in(among.implode()))).sort("persona_id")
        vectors = matrix(self.store, self.embedder.name, rows)
        chosen, chance = spread(vectors, count), cover(vectors, draw(len(vectors), count))
        people = self._with_persona_columns(_picks(rows, chosen))
        return Choice(people, len(vectors), chosen.mean, chosen.least, chance.mean, chance.least)

    def find(self, text: str, count: int, among: pl.Series | None = None) -> pl.DataFrame:
        """Find the personas nearest to a text, as `(persona_id, similarity)`, the nearest first.

        Raises:
            ConfigError: the text is empty.
            StoreError: the hub has no personas, or none with vectors of this model.
        """
        if not text.strip():
            raise ArgumentError("nothing to search for: give a text, such as 'a nurse on night shifts'")
        reading = self._read(text)
        nearest = self._nearest
        if reading.unread_hash:
            among = self._ids_readable_like(reading.unread_hash, among)
        return nearest.find(self.embedder.embed([text])[0], count, among)

    def _read(self, text: str) -> Reading:
        """Check that the model reads enough of a text."""
        reading = self.embedder.readings([text])[0]
        model = self.embedder.name
        if reading.unread > self.store.config.semantic.max_unread:
            raise ConfigError(
                f"{plain(text, 80)!r}: {model} does not read {reading.unread:.0%} of it, so results would be random. "
                f"Search by words (personahub sql), or {REMEDY}"
            )
        if reading.unread_hash and not reading.unread_hash.startswith(LONG):
            self._tell(f"{model} does not know all words of the text; personas with other unknown words are left out")
        return reading

    def _ids_readable_like(self, unread_hash: str, among: pl.Series | None) -> pl.Series:
        """Ids of the personas without unknown words, or with those of the text."""
        rows = self.store.read_all("persona_embeddings", ["persona_id", "unread_hash"])
        ids = rows.filter(pl.col("unread_hash").fill_null("").is_in(["", unread_hash]))["persona_id"]
        return ids if among is None else ids.filter(ids.is_in(among.implode()))

    @cached_property
    def _nearest(self) -> Nearest:
        nearest = Nearest(self.store, self.embedder.name, self._watch)
        self._check(Searchable(nearest.rows, nearest.left_out, nearest.unread))
        return nearest

    def _among(self, where: str | None) -> pl.Series | None:
        """Ids of the personas under a condition.

        Raises:
            ConfigError: the condition is wrong, or no persona matches.
        """
        if where is None:
            return None
        build.build(self.store)
        memory_mb = self.store.config.warehouse.memory_mb
        try:
            ids = ids_meeting(self.store.root.resolve(), memory_mb, "personas", ["persona_id"], [where])
        except QueryError as error:
            raise ConfigError(f"--where {where!r}: {error}") from error
        if not ids:
            raise ConfigError(f"--where {where!r}: no persona matches")
        return pl.Series("persona_id", [persona_id for (persona_id,) in ids])

    def _with_persona_columns(self, found: pl.DataFrame) -> pl.DataFrame:
        """Add the columns of the personas to the ids found, in their order."""
        ids = found["persona_id"].to_list()
        with live.open_live(self.store, "personas") as connection:
            people = retry_on_replacement(lambda: pl.DataFrame(connection.sql(_PEOPLE, params={"ids": ids})))
        rows = found.join(people, on="persona_id", maintain_order="left")
        return rows.select(*(name for name in found.columns if name != "persona_id"), *people.columns)

    def _check(self, searchable: Searchable) -> None:
        searched, left_out, unread = searchable.rows.height, searchable.without_vector, searchable.unread
        model = self.embedder.name
        if not searched and not left_out and not unread:
            raise StoreError(f"{self.store.root} has no personas yet: personahub run")
        if not searched and unread:
            raise StoreError(f"{model} cannot read any of the {unread:,} personas with a vector: {REMEDY}")
        if not searched:
            raise StoreError(
                f"none of the {left_out:,} personas has a vector of {model}. Set PERSONAHUB_EMBED_MODEL (and "
                "PERSONAHUB_EMBED_URL) to the model that the hub was embedded with, or embed it with this one: "
                "personahub run --select persona_embeddings+"
            )
        if left_out:
            self._tell(
                f"{left_out:,} personas have no vector of {model} and are not searched; to embed them: "
                "personahub run --select persona_embeddings+"
            )
        if unread:
            self._tell(f"{unread:,} personas cannot be read by {model} and are not searched; {REMEDY}")


def _picks(rows: pl.DataFrame, chosen: Cover) -> pl.DataFrame:
    ids = rows["persona_id"].gather(chosen.rows)
    return pl.DataFrame({"pick": np.arange(1, len(ids) + 1), "persona_id": ids, "stands_for": chosen.sizes})
