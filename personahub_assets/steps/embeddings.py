"""Unit vectors of the lexical survivors."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from personahub_assets.embedding.embedder import Embedder, EmbedError, Refusals
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG, REFUSED
from personahub_assets.embedding.vectors import VectorJournal, Vectors, VectorTable, vector_frame
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.journal_copies import copied
from personahub_assets.store.tables import Store, content_version

if TYPE_CHECKING:
    from personahub_assets.dedup.records import Records

_SAMPLE = 3  # refused personas that are named
_LOG = logging.getLogger(__name__)
_READINGS = {"text_hash": pl.String(), "unread": pl.Float64(), "unread_hash": pl.String()}

Watch = Callable[[int, int], None]
"""Called with the number of embedded texts and their total."""


@dataclass(kw_only=True)
class Embedded(Result):
    """A partition of vectors.

    Attributes:
        vectors: one for each persona; null for a text that the server refuses.
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
    is_refused = pl.col("embedding").is_null()
    rows = (
        texts.join(result.vectors, on="text_hash", how="left", maintain_order="left")
        .join(_readings(records, embedder, result.of(texts)), on="text_hash", how="left", maintain_order="left")
        .with_columns(
            batch=pl.lit(batch),
            model=pl.lit(embedder.name),
            unread=pl.when(is_refused).then(1.0).otherwise("unread"),
            unread_hash=pl.when(is_refused).then(pl.lit(REFUSED)).otherwise("unread_hash"),
        )
    )
    published = records.write_vectors(batch, rows)
    journal.drop()
    facts = {
        "texts_embedded": result.embedded,
        "model": embedder.name,
        **_unread(rows, records),
        **_refused(rows, result.refused, f"batch {batch}: {embedder.name}", records.noun),
    }
    version = content_version(published)
    return Embedded(published.head(HEAD_ROWS), rows.height, version, facts, vectors=rows["embedding"])


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
        stored = _vectors(records, embedder, journal, rows, watch).vectors
    else:
        stored = _stored_vectors(records, embedder.name, journal, rows, tidy=False)
    usable = rows.join(stored.drop_nulls("embedding").unique("text_hash"), on="text_hash", maintain_order="left")
    vectors = usable["embedding"].explode().to_numpy().reshape(usable.height, -1) if usable.height else np.empty((0, 1))
    return np.asarray(vectors, np.float32)


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


@dataclass
class _BatchVectors:
    """Vectors of a batch.

    Attributes:
        frames: `(text_hash, embedding)`.
        refused: the server's reason for each refused text, by hash.
        embedded: number of new vectors.
    """

    frames: list[pl.DataFrame]
    refused: dict[str, str] = field(default_factory=dict)
    embedded: int = 0

    @property
    def vectors(self) -> pl.DataFrame:
        return pl.concat(self.frames)

    def of(self, texts: pl.DataFrame) -> pl.DataFrame:
        """The texts that have a vector."""
        return texts.filter(~pl.col("text_hash").is_in(list(self.refused)))


def _vectors(
    records: "Records", embedder: Embedder, journal: VectorJournal, texts: pl.DataFrame, watch: Watch
) -> _BatchVectors:
    """Find the stored vectors of the texts, and make the others; texts that were refused before are asked last."""
    stored = _stored_vectors(records, embedder.name, journal, texts)
    existing = stored.drop_nulls("embedding").unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(existing, on="text_hash", how="anti")
    result, total = _BatchVectors([existing]), missing.height

    def embed(rows: pl.DataFrame, embedding: Embedder, refusals: Refusals) -> None:
        for positions, vectors in embedding.stream(rows["text"].to_list(), refusals=refusals):
            hashes = rows["text_hash"][positions].to_list()
            journal.add(hashes, vectors)
            result.frames.append(vector_frame(hashes, vectors))
            result.embedded += len(positions)
            watch(result.embedded, total)
        result.refused.update((rows["text_hash"][position], reason) for position, reason in refusals.words.items())

    embed(missing.join(stored, on="text_hash", how="anti", maintain_order="left"), embedder, Refusals())
    retried = missing.join(stored, on="text_hash", how="semi", maintain_order="left")
    try:
        embed(retried, embedder.model_copy(update={"batch_size": 1}), Refusals(are_expected=True))
    except EmbedError as error:  # the batch is published without these texts already
        embedded = pl.concat(result.frames)
        unanswered = retried.join(embedded, on="text_hash", how="anti")["text_hash"]
        result.refused.update(dict.fromkeys(unanswered, f"refused before, and not asked again: {error}"))
    return result


def _stored_vectors(
    records: "Records", model: str, journal: VectorJournal, texts: pl.DataFrame, *, tidy: bool = True
) -> pl.DataFrame:
    """`(text_hash, embedding)` of texts in the tables of any batch and in a journal; null for refused texts."""
    published = list(_published(records, model, texts, ["text_hash", "embedding"]))
    unpublished = journal.known(texts["text_hash"], tidy=tidy)
    return pl.concat([vector_frame([], np.empty((0, 0), np.float32)), *published, unpublished])


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
