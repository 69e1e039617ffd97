"""Unit vectors of the lexical survivors."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from personahub_assets.embedding.embedder import Embedder, EmbedError, Refusals
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG, REFUSED
from personahub_assets.embedding.vectors import VectorJournal, vector_frame
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.tables import Store, content_version, read_file, table_schema

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
    texts = with_hashes(to_embed(store, batch, embedder.name), embedder)
    journal = VectorJournal(store.paths.vector_journal(batch), embedder.name)
    result = _vectors(store, embedder, journal, texts, watch)
    is_refused = pl.col("embedding").is_null()
    rows = (
        texts.join(result.vectors, on="text_hash", how="left", maintain_order="left")
        .join(_readings(store, embedder, result.of(texts)), on="text_hash", how="left", maintain_order="left")
        .with_columns(
            batch=pl.lit(batch),
            model=pl.lit(embedder.name),
            unread=pl.when(is_refused).then(1.0).otherwise("unread"),
            unread_hash=pl.when(is_refused).then(pl.lit(REFUSED)).otherwise("unread_hash"),
        )
        .select(list(table_schema("persona_embeddings")))
    )
    store.write("persona_embeddings", batch, rows)
    journal.drop()
    facts = {
        "texts_embedded": result.embedded,
        "model": embedder.name,
        **_unread(rows, store.config.semantic.max_unread),
        **_refused(rows, result.refused, f"batch {batch}: {embedder.name}"),
    }
    return Embedded(rows.head(HEAD_ROWS), rows.height, content_version(rows), facts, vectors=rows["embedding"])


def to_embed(store: Store, batch: str, model: str) -> pl.DataFrame:
    """`(persona_id, persona)` of the lexical survivors, and of candidates that have a vector already.

    Candidates with a vector can survive again under a higher threshold, and their vectors are paid for.
    """
    candidates = store.candidates(batch, ["persona_id", "persona"])
    embedded = store.read("persona_embeddings", batch, columns=["persona_id", "model"])
    kept = store.kept("lexical_duplicates", batch)
    wanted = pl.concat([kept, embedded.filter(pl.col("model") == model).select("persona_id")])
    return candidates.join(wanted.unique(), on="persona_id", how="semi", maintain_order="left")


def with_hashes(texts: pl.DataFrame, embedder: Embedder) -> pl.DataFrame:
    """Add `text_hash`, the key of stored vectors."""
    return texts.with_columns(pl.Series("text_hash", embedder.hashes(texts["persona"].to_list()), pl.String))


def _readings(store: Store, embedder: Embedder, texts: pl.DataFrame) -> pl.DataFrame:
    """`(text_hash, unread, unread_hash)` of texts with a vector; values of texts in any batch are copied."""
    columns = ["text_hash", "unread", "unread_hash"]
    is_measured = pl.col("unread").is_not_null() & (pl.col("unread_hash") != REFUSED)
    published = [rows.filter(is_measured) for rows in _published(store, embedder.name, texts, columns)]
    taken_over = pl.concat([pl.DataFrame(schema=_READINGS), *published]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(taken_over, on="text_hash", how="anti")
    read = pl.DataFrame(embedder.readings(missing["persona"].to_list()), list(_READINGS)[1:], orient="row")
    new = missing.select("text_hash").hstack(read.cast(dict(list(_READINGS.items())[1:])))
    return pl.concat([taken_over, new])


def _unread(rows: pl.DataFrame, limit: float) -> dict[str, Any]:
    """Report the number of personas that are compared by words only, with the remedy."""
    unread = rows.filter(pl.col("unread") > limit, pl.col("embedding").is_not_null()).height
    counts: dict[str, Any] = {
        "not_read": unread,
        "longer_than_the_model_reads": int(rows["unread_hash"].str.starts_with(LONG).sum()),
    }
    return counts | ({"remedy": f"{unread} personas are not read by the model: {REMEDY}"} if unread else {})


def _refused(rows: pl.DataFrame, words: dict[str, str], subject: str) -> dict[str, Any]:
    """Report the personas without a vector, some with the server's reason, and log them."""
    refused = rows.filter(pl.col("unread_hash") == REFUSED).select("persona_id", "text_hash")
    if refused.is_empty():
        return {"refused": 0}
    sample = "; ".join(f"{persona}: {words[text]}" for persona, text in refused.head(_SAMPLE).iter_rows())
    _LOG.warning(
        "%s refuses %d texts; their personas are kept without a comparison by meaning, and asked again when the batch "
        "is run again: %s",
        subject,
        refused.height,
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
    store: Store, embedder: Embedder, journal: VectorJournal, texts: pl.DataFrame, watch: Watch
) -> _BatchVectors:
    """Find the stored vectors of the texts, and make the others; texts that were refused before are asked last."""
    columns = ["text_hash", "embedding"]
    published = [*_published(store, embedder.name, texts, columns), journal.known(texts["text_hash"])]
    stored = pl.concat([vector_frame([], np.empty((0, 0), np.float32)), *published])
    existing = stored.drop_nulls("embedding").unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(existing, on="text_hash", how="anti")
    result, total = _BatchVectors([existing]), missing.height

    def embed(rows: pl.DataFrame, embedding: Embedder, refusals: Refusals) -> None:
        for positions, vectors in embedding.stream(rows["persona"].to_list(), refusals=refusals):
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


def _published(store: Store, model: str, texts: pl.DataFrame, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of texts that have vectors in any batch; files without matches are not read."""
    for path in store.files("persona_embeddings"):
        hashes = read_file(path, "persona_embeddings", ["model", "text_hash"]).filter(pl.col("model") == model)
        if hashes.join(texts, on="text_hash", how="semi").height:
            rows = read_file(path, "persona_embeddings", ["model", *columns])
            of_model = rows.filter(pl.col("model") == model).select(columns)
            yield of_model.join(texts, on="text_hash", how="semi")
