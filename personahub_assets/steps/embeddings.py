"""Unit vectors of the lexical survivors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.models import REMEDY
from personahub_assets.embedding.reading import LONG
from personahub_assets.embedding.vectors import VectorJournal, vector_frame
from personahub_assets.steps.result import HEAD_ROWS, Result
from personahub_assets.store.tables import Store, content_version, read_file, table_schema

_READINGS = {"text_hash": pl.String(), "unread": pl.Float64(), "unread_hash": pl.String()}

Watch = Callable[[int, int], None]
"""Called with the number of embedded texts and their total."""


@dataclass(kw_only=True)
class Embedded(Result):
    """A partition of vectors.

    Attributes:
        vectors: one for each persona; null for a text without a vector.
    """

    vectors: pl.Series


def embed_personas(store: Store, embedder: Embedder, batch: str, watch: Watch) -> Embedded:
    """Embed the lexical survivors of a batch that have no vector yet, and publish the vectors of all.

    Raises:
        EmbedError: if the endpoint fails; vectors made before are kept for the next run.
        ConfigError: if the local model is neither installed nor can be downloaded.
    """
    texts = with_hashes(to_embed(store, batch, embedder.name), embedder)
    journal = VectorJournal(store.paths.vector_journal(batch), embedder.name)
    vectors, embedded = _vectors(store, embedder, journal, texts, watch)
    rows = (
        _with_readings(store, embedder, texts)
        .join(vectors, on="text_hash", how="left", maintain_order="left")
        .with_columns(batch=pl.lit(batch), model=pl.lit(embedder.name))
        .select(list(table_schema("persona_embeddings")))
    )
    store.write("persona_embeddings", batch, rows)
    journal.drop()
    facts = {"texts_embedded": embedded, "model": embedder.name, **_unread(rows, store.config.semantic.max_unread)}
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


def _with_readings(store: Store, embedder: Embedder, texts: pl.DataFrame) -> pl.DataFrame:
    """Add `unread` and `unread_hash`; values of texts in any batch are copied."""
    columns = ["text_hash", "unread", "unread_hash"]
    published = [
        rows.filter(pl.col("unread").is_not_null()) for rows in _published(store, embedder.name, texts, columns)
    ]
    taken_over = pl.concat([pl.DataFrame(schema=_READINGS), *published]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(taken_over, on="text_hash", how="anti")
    read = pl.DataFrame(embedder.readings(missing["persona"].to_list()), list(_READINGS)[1:], orient="row")
    new = missing.select("text_hash").hstack(read.cast(dict(list(_READINGS.items())[1:])))
    return texts.join(pl.concat([taken_over, new]), on="text_hash", how="left", maintain_order="left")


def _unread(rows: pl.DataFrame, limit: float) -> dict[str, Any]:
    """Report the number of personas that are compared by words only, with the remedy."""
    unread = rows.filter(pl.col("unread") > limit).height
    counts: dict[str, Any] = {
        "not_read": unread,
        "longer_than_the_model_reads": int(rows["unread_hash"].str.starts_with(LONG).sum()),
    }
    return counts | ({"remedy": f"{unread} personas are not read by the model: {REMEDY}"} if unread else {})


def _vectors(
    store: Store, embedder: Embedder, journal: VectorJournal, texts: pl.DataFrame, watch: Watch
) -> tuple[pl.DataFrame, int]:
    """`(text_hash, embedding)` for every text, and the number of new vectors."""
    columns = ["text_hash", "embedding"]
    published = [*_published(store, embedder.name, texts, columns), journal.known(texts["text_hash"])]
    existing = pl.concat([vector_frame([], np.empty((0, 0), np.float32)), *published]).unique("text_hash")
    missing = texts.unique("text_hash", maintain_order=True).join(existing, on="text_hash", how="anti")
    frames, done = [existing], 0
    for positions, vectors in embedder.stream(missing["persona"].to_list()):
        hashes = missing["text_hash"][positions].to_list()
        journal.add(hashes, vectors)
        frames.append(vector_frame(hashes, vectors))
        done += len(positions)
        watch(done, missing.height)
    return pl.concat(frames), missing.height


def _published(store: Store, model: str, texts: pl.DataFrame, columns: list[str]) -> Iterator[pl.DataFrame]:
    """Columns of texts that have vectors in any batch; files without matches are not read."""
    for path in store.files("persona_embeddings"):
        hashes = read_file(path, "persona_embeddings", ["model", "text_hash"]).filter(pl.col("model") == model)
        if hashes.join(texts, on="text_hash", how="semi").height:
            rows = read_file(path, "persona_embeddings", ["model", *columns])
            of_model = rows.filter(pl.col("model") == model).select(columns)
            yield of_model.join(texts, on="text_hash", how="semi")
