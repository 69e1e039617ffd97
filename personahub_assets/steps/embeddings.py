"""Unit vectors of the lexical survivors.

Vectors go to the journal as they come, and into a memory-mapped array; the partition is written from it a slice at a
time. So memory does not grow with the batch: 300,000 texts once held 2.8 GB.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from personahub_assets.core.errors import StoreError
from personahub_assets.core.text import digest
from personahub_assets.dedup.scratch import Scratch
from personahub_assets.embedding.embedder import Embedder, EmbedError, Refusals
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG, REFUSED
from personahub_assets.embedding.vectors import VectorJournal, Vectors, VectorTable, as_lists
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.journal_copies import copied
from personahub_assets.store.tables import SLICE_ROWS, ContentVersion, Store

if TYPE_CHECKING:
    from personahub_assets.dedup.keepers import Ints
    from personahub_assets.dedup.records import Records

_NO_VECTOR = -1
_SAMPLE = 3  # refused personas that are named
_LOG = logging.getLogger(__name__)
_READINGS = {"text_hash": pl.String(), "unread": pl.Float64(), "unread_hash": pl.String()}

Watch = Callable[[int, int], None]
"""Called with the number of embedded texts and their total."""


@dataclass(kw_only=True)
class Embedded(Result):
    """A partition of vectors.

    Attributes:
        vectors: of at most SLICE_ROWS personas, evenly spaced among those with a vector.
    """

    vectors: pl.Series


def embed_personas(store: Store, embedder: Embedder, batch: str, watch: Watch) -> Embedded:
    """Embed the lexical survivors of a batch that have no vector yet, and publish the vectors of all.

    A text that a server refuses while it takes others has a null vector. It is asked again, alone and last, whenever
    the batch is made again; if the server fails then, the text stays refused.

    Raises:
        EmbedError: if the endpoint fails; vectors made before are kept for the next run.
        ConfigError: if the local model is neither installed nor can be downloaded.
    """
    from personahub_assets.dedup.records import Personas

    return embed(Personas(store), embedder, batch, watch)


def embed(records: "Records", embedder: Embedder, batch: str, watch: Watch) -> Embedded:
    """Embed the lexical survivors of some records, as `embed_personas`."""
    with copied(records.store, records.journal(batch)):
        return _embed(records, embedder, batch, watch)


def _embed(records: "Records", embedder: Embedder, batch: str, watch: Watch) -> Embedded:
    texts = with_hashes(to_embed(records, batch, embedder.name), embedder)
    journal = VectorJournal(records.journal(batch), embedder.name)
    result = _vectors(records, embedder, journal, texts, watch)
    rows = texts.join(_readings(records, embedder, result.of(texts)), on="text_hash", how="left", maintain_order="left")
    is_refused = pl.Series(result.indices(texts) == _NO_VECTOR)
    rows = rows.drop("text").with_columns(
        batch=pl.lit(batch),
        model=pl.lit(embedder.name),
        unread=pl.when(is_refused).then(1.0).otherwise("unread"),
        unread_hash=pl.when(is_refused).then(pl.lit(REFUSED)).otherwise("unread_hash"),
    )
    head, version = _publish(records, batch, rows, result)
    journal.drop()
    facts = {
        "texts_embedded": result.embedded,
        "model": embedder.name,
        **_unread(rows, records),
        **_refused(rows, result.refused, f"batch {batch}: {embedder.name}", records.noun),
    }
    return Embedded(head, rows.height, version, facts, vectors=result.sample(rows))


def _publish(records: "Records", batch: str, rows: pl.DataFrame, vectors: "_BatchVectors") -> tuple[pl.DataFrame, str]:
    """Write the rows with their vectors; return the first ones, and the version of all."""
    writer, version, head = records.vector_writer(batch), ContentVersion(), None
    for piece in rows.iter_slices(SLICE_ROWS) if rows.height else [rows]:
        table = records.vector_rows(batch, piece.with_columns(vectors.column(piece)))
        writer.add(table)
        version.add(table)
        head = table.head(HEAD_ROWS) if head is None else head
    writer.publish()
    assert head is not None
    return head, digest(version.value, size=32)


def embed_items(records: "Records", embedder: Embedder, batch: str, watch: Watch) -> dict[str, Any]:
    """Embed the lexical survivors of a dataset, unless all vectors are published; return counts and the model.

    Raises:
        EmbedError, ConfigError: as for `embed_personas`.
    """
    wanted = with_hashes(to_embed(records, batch, embedder.name), embedder)
    stored = records.embedded(batch, ["id", "text_hash", "model", "unread", "unread_hash"])
    is_same = stored.select("id", "text_hash").equals(wanted.select("id", "text_hash"))
    is_final = pl.col("model").eq(embedder.name) & pl.col("unread_hash").ne(REFUSED)  # refused texts are asked again
    if is_same and stored.filter(is_final).height == stored.height:
        return {"texts_embedded": 0, "model": embedder.name, **_unread(stored, records)}
    return embed(records, embedder, batch, watch).facts


def embedded_texts(
    store: Store, embedder: Embedder, batch: str, texts: pl.Series, watch: Watch, *, may_embed: bool = True
) -> Vectors:
    """The vectors of texts of a batch before its partition is published: new ones go to the journal of the batch.

    Args:
        store: tables of the hub.
        embedder: makes the vectors.
        batch: the batch key.
        texts: distinct texts.
        watch: called with the progress.
        may_embed: whether texts without a vector are embedded.

    Returns:
        float32 (texts, dimensions), without texts that have no vector.

    Raises:
        EmbedError, ConfigError: as for `embed_personas`.
    """
    from personahub_assets.dedup.records import Personas

    records = Personas(store)
    journal = VectorJournal(records.journal(batch), embedder.name)
    rows = with_hashes(pl.DataFrame({"text": texts}, {"text": pl.String}), embedder)
    if may_embed:
        result = _vectors(records, embedder, journal, rows, watch)
    else:
        result = _BatchVectors(records, embedder.name, rows)
        result.take_stored(journal, tidy=False)
    at = result.indices(rows)
    usable: Vectors = result.vectors[at[at != _NO_VECTOR]]
    return usable


def to_embed(records: "Records", batch: str, model: str) -> pl.DataFrame:
    """`(id, text)` of the lexical survivors, and of rows that have a vector already.

    Rows with a vector can survive again under a higher threshold, and their vectors are paid for.
    """
    rows = records.rows(batch, "id", "text")
    embedded = records.embedded(batch, ["id", "model"])
    kept = records.kept("lexical", batch)
    wanted = pl.concat([kept, embedded.filter(pl.col("model") == model).select("id")])
    return rows.join(wanted.unique(), on="id", how="semi", maintain_order="left")


def with_hashes(texts: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Add `text_hash`, the key of stored vectors."""
    return texts.with_columns(pl.Series("text_hash", embedder.hashes(texts["text"].to_list()), pl.String))


def _readings(records: "Records", embedder: Embedder, texts: pl.DataFrame) -> pl.DataFrame:
    """`(text_hash, unread, unread_hash)` of texts with a vector; values of texts in any batch are copied."""
    columns = ["text_hash", "unread", "unread_hash"]
    is_measured = pl.col("unread").is_not_null() & (pl.col("unread_hash") != REFUSED)
    published = [rows.filter(is_measured) for rows in _published(records, embedder.name, texts, columns)]
    taken_over = pl.concat([pl.DataFrame(schema=_READINGS), *published]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(taken_over, on="text_hash", how="anti")
    read = pl.DataFrame(embedder.readings(missing["text"].to_list()), list(_READINGS)[1:], orient="row")
    new = missing.select("text_hash").hstack(read.cast(dict(list(_READINGS.items())[1:])))
    return pl.concat([taken_over, new])


def _unread(rows: pl.DataFrame, records: "Records") -> dict[str, Any]:
    """Report the number of texts that are compared by words only, with the remedy."""
    is_unread = pl.col("unread") > records.semantic.max_unread
    unread = rows.filter(is_unread, pl.col("unread_hash") != REFUSED).height
    counts: dict[str, Any] = {
        "not_read": unread,
        "longer_than_the_model_reads": int(rows["unread_hash"].str.starts_with(LONG).sum()),
    }
    remedy = f"{unread} {records.noun}s are not read by the model: {REMEDY}"
    return counts | ({"remedy": remedy} if unread else {})


def _refused(rows: pl.DataFrame, words: dict[str, str], subject: str, noun: str) -> dict[str, Any]:
    """Report the rows without a vector, some with the server's reason, and log them."""
    refused = rows.filter(pl.col("unread_hash") == REFUSED).select("id", "text_hash")
    if refused.is_empty():
        return {"refused": 0}
    sample = "; ".join(f"{row_id}: {words[text]}" for row_id, text in refused.head(_SAMPLE).iter_rows())
    _LOG.warning(
        "%s refuses %d texts; their %ss are kept without a comparison by meaning, and asked again when the batch "
        "is run again: %s",
        subject,
        refused.height,
        noun,
        sample,
    )
    return {"refused": refused.height, "refused_sample": sample}


class _BatchVectors:
    """Vectors of the distinct texts of a batch, in a memory-mapped array.

    Attributes:
        vectors: float32 (distinct texts, dimensions); one dimension while no vector is known.
        refused: the server's reason for each refused text, by hash.
        embedded: number of new vectors.
    """

    def __init__(self, records: "Records", model: str, texts: pl.DataFrame) -> None:
        self._records, self._model = records, model
        self._texts = texts.select("text_hash", "text").unique("text_hash", maintain_order=True).with_row_index("at")
        self._has_vector = np.zeros(self._texts.height, np.bool_)
        self._scratch = Scratch(records.store.paths.aside, 0)
        self.vectors: Vectors = np.zeros((self._texts.height, 1), np.float32)
        self.refused: dict[str, str] = {}
        self.embedded = 0

    def take(self, hashes: pl.Series, vectors: Vectors) -> None:
        """Use vectors of some texts; the first of a text is used.

        Raises:
            StoreError: if they have other dimensions than those before.
        """
        at = self._texts.join(hashes.rename("text_hash").to_frame(), on="text_hash", maintain_order="right")["at"]
        if not len(at):
            return
        if not self._has_vector.any():
            self.vectors = self._scratch.empty((self._texts.height, vectors.shape[1]), np.float32)
        if vectors.shape[1] != self.vectors.shape[1]:
            raise StoreError(
                f"vectors of {self._model} have {vectors.shape[1]} and {self.vectors.shape[1]} dimensions: give the "
                "model another name, by PERSONAHUB_EMBED_MODEL or embeddings.model, or delete those of one kind"
            )
        rows = at.to_numpy()
        is_new = ~self._has_vector[rows]
        self.vectors[rows[is_new]] = vectors[is_new]
        self._has_vector[rows] = True

    def take_stored(self, journal: VectorJournal, *, tidy: bool = True) -> pl.Series:
        """Read the vectors in the tables of any batch and in a journal; return hashes of texts refused before."""
        table, store = self._records.vectors, self._records.store
        index = text_hashes(store, table).filter(pl.col("model") == self._model)
        index = index.join(self._texts, on="text_hash", how="semi")
        for batch in index.filter(~pl.col("is_refused"))["batch"].unique().sort():
            for piece in store.slices(table.name, batch, ["model", "text_hash", "embedding"], asset=table.asset):
                self._take_frame(piece.filter(pl.col("model") == self._model).drop_nulls("embedding"))
        for piece in journal.pieces(self._texts["text_hash"], tidy=tidy):
            self._take_frame(piece)
        return index.filter("is_refused")["text_hash"].unique()

    def _take_frame(self, rows: pl.DataFrame) -> None:
        wanted = rows.join(self._texts, on="text_hash", how="semi", maintain_order="left").unique("text_hash")
        sizes = wanted["embedding"].list.len()
        for size in sizes.unique():
            same = wanted.filter(sizes == size)
            self.take(same["text_hash"], same["embedding"].explode().to_numpy().reshape(-1, size))

    @property
    def missing(self) -> pl.DataFrame:
        """`(at, text_hash, text)` of the texts without a vector."""
        return self._texts.filter(pl.Series(~self._has_vector))

    def indices(self, texts: pl.DataFrame) -> "Ints":
        """(n,) the row of each text in `vectors`, or -1."""
        at = texts.select("text_hash").join(self._texts, on="text_hash", how="left", maintain_order="left")["at"]
        rows = at.to_numpy().astype(np.int64)
        return np.where(self._has_vector[rows], rows, _NO_VECTOR) if len(rows) else rows

    def of(self, texts: pl.DataFrame) -> pl.DataFrame:
        """The texts that have a vector."""
        return texts.filter(pl.Series(self.indices(texts) != _NO_VECTOR))

    def column(self, texts: pl.DataFrame) -> pl.Series:
        """The column `embedding` for some texts; null without a vector."""
        at = self.indices(texts)
        return as_lists(self.vectors[at], at != _NO_VECTOR)

    def sample(self, texts: pl.DataFrame) -> pl.Series:
        """The column for at most SLICE_ROWS of the texts with a vector, evenly spaced."""
        rows = self.of(texts)
        return self.column(rows[np.linspace(0, rows.height - 1, min(rows.height, SLICE_ROWS)).astype(np.int64)])


def _vectors(
    records: "Records", embedder: Embedder, journal: VectorJournal, texts: pl.DataFrame, watch: Watch
) -> _BatchVectors:
    """Find the stored vectors of the texts, and make the others; texts that were refused before are asked last."""
    result = _BatchVectors(records, embedder.name, texts)
    refused = result.take_stored(journal)
    missing = result.missing

    def embed(rows: pl.DataFrame, embedding: Embedder, refusals: Refusals) -> None:
        for positions, vectors in embedding.stream(rows["text"].to_list(), refusals=refusals):
            hashes = rows["text_hash"][positions]
            journal.add(hashes.to_list(), vectors)
            result.take(hashes, vectors)
            result.embedded += len(positions)
            watch(result.embedded, missing.height)
        result.refused.update((rows["text_hash"][position], reason) for position, reason in refusals.words.items())

    was_refused = pl.col("text_hash").is_in(refused.implode())
    embed(missing.filter(~was_refused), embedder, Refusals())
    retried = missing.filter(was_refused)
    try:
        embed(retried, embedder.model_copy(update={"batch_size": 1}), Refusals(are_expected=True))
    except EmbedError as error:  # the batch is published without these texts already
        unanswered = retried.join(result.missing, on="text_hash", how="semi")["text_hash"]
        result.refused.update(dict.fromkeys(unanswered, f"refused before, and not asked again: {error}"))
    return result


def _published(records: "Records", model: str, texts: pl.DataFrame, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of texts that have vectors in any batch; files without matches are not read."""
    table = records.vectors
    hashes = text_hashes(records.store, table).filter(pl.col("model") == model)
    for batch in hashes.join(texts, on="text_hash", how="semi")["batch"].unique().sort():
        rows = records.store.read(table.name, batch, table.asset, columns=["model", *columns])
        of_model = rows.filter(pl.col("model") == model).select(columns)
        yield of_model.join(texts, on="text_hash", how="semi")


def text_hashes(store: Store, table: VectorTable) -> pl.DataFrame:
    """`(batch, model, text_hash, is_refused)` of the vectors of all batches."""
    columns = ("model", "text_hash", "unread_hash")
    return Compacted(store, table.name, table.asset, "texts 1", columns, _digest_of_vectors).read()


def _digest_of_vectors(rows: pl.DataFrame) -> pl.DataFrame:
    is_refused = (pl.col("unread_hash") == REFUSED).fill_null(value=False)
    return rows.select("model", "text_hash", is_refused=is_refused)
