"""Measure how many new personas the answers of a hop give, so that a hop that gives few can end.

The requests of a hop are sent in pieces, each as large as all before. After a piece a sample of its candidates is
compared by meaning with the earlier candidates of the batch and with the personas of other batches. Vectors go to the
journal of the batch, where the asset `persona_embeddings` finds them: no text is embedded twice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from personahub_assets.core.text import digest, words
from personahub_assets.embedding.embedder import Embedder
from personahub_assets.embedding.vectors import Vectors
from personahub_assets.generation.requests import WITH_OUTCOME
from personahub_assets.steps.embeddings import Watch, embedded_texts
from personahub_assets.store.tables import Store

if TYPE_CHECKING:
    from personahub_assets.search.nearest import Nearest

PIECE = 200
"""Requests of the first piece of a hop; fewer say too little."""
_PROBES = 500
_ASSETS = ("text_personas", "related_personas")
_OF_HUB = 8  # nearest personas that are looked at: those of the batch itself, from an earlier run, do not count


def pieces(parents: Mapping[str, Any], min_novelty: int) -> Iterator[dict[str, Any]]:
    """Divide the parents of a hop: all at once without a limit, else pieces that are as large as all before them."""
    ids, begin = list(parents), 0
    while begin < len(ids):
        end = max(2 * begin, PIECE) if min_novelty else len(ids)
        yield {persona_id: parents[persona_id] for persona_id in ids[begin:end]}
        begin = end


def new_per_1000_calls(store: Store, batch: str, candidates: pl.DataFrame, personas: pl.DataFrame) -> dict[str, float]:
    """Personas of a batch that were kept for each 1,000 calls, by hop; the view `novelty` has it for all batches.

    Args:
        store: tables of the hub.
        batch: the batch key.
        candidates: `(persona_id, hop, origin, ...)` before dedup.
        personas: the same of those that are kept.
    """
    columns = ["asset", "input_id", "status", "attempts"]
    rows = pl.concat([store.read("generations", batch, asset, columns=columns) for asset in _ASSETS])
    hop_of = candidates.select(pl.col("persona_id").alias("input_id"), pl.col("hop").cast(pl.Int64) + 1)
    of_hop = rows.filter(pl.col("status").is_in(WITH_OUTCOME)).join(hop_of, on="input_id", how="left")
    hop = pl.when(pl.col("asset") == _ASSETS[0]).then(0).otherwise("hop").cast(pl.Int64).alias("hop")
    calls = of_hop.group_by(hop).agg(calls=pl.col("attempts").sum()).drop_nulls().filter(pl.col("calls") > 0)
    counts = personas.filter(pl.col("origin") != "imported").group_by(pl.col("hop").cast(pl.Int64)).len()
    per_hop = calls.join(counts, on="hop", how="left").sort("hop").fill_null(0)
    return {str(hop): round(1000 * personas / calls, 1) for hop, calls, personas in per_hop.iter_rows()}


@dataclass
class Novelty:
    """Novel candidates of a batch, in the order in which they are added.

    Attributes:
        store: tables of the hub.
        embedder: compares meanings.
        batch: batch of the candidates.
        watch: called with the progress of embedding.
        may_embed: whether texts without a vector are embedded; otherwise they count as duplicates, because the lexical
            stage dropped them.
    """

    store: Store
    embedder: Embedder
    batch: str
    watch: Watch
    may_embed: bool = True
    _seen: set[str] = field(default_factory=set, init=False)
    _earlier: list[Vectors] = field(default_factory=list, init=False)
    _hub: "Nearest | None" = field(default=None, init=False)
    _own: set[str] = field(default_factory=set, init=False)

    def per_1000(self, candidates: pl.DataFrame, requests: int) -> int:
        """Add the candidates of a piece; return how many of them are new for each 1,000 requests, from a sample.

        Args:
            candidates: `(persona_id, persona, ...)`.
            requests: number of requests that gave them.
        """
        share = self._novel_share(self.add(candidates))
        return round(1000 * share * candidates.height / requests) if requests else 0

    def add(self, candidates: pl.DataFrame) -> tuple[Vectors, int]:
        """Add candidates; return the vectors of those whose words are new, and the number of all candidates."""
        bags = {digest(*sorted(set(words(text)))): text for text in reversed(candidates["persona"].to_list())}
        new = {bag: text for bag, text in reversed(bags.items()) if bag not in self._seen}
        self._seen.update(new)
        texts = pl.Series("text", list(new.values()), pl.String)
        vectors = embedded_texts(self.store, self.embedder, self.batch, texts, self.watch, may_embed=self.may_embed)
        self._earlier.append(vectors)
        return vectors, candidates.height

    def _novel_share(self, added: tuple[Vectors, int]) -> float:
        """Share of the candidates that are new, from a sample of those whose words are."""
        vectors, total = added
        if not len(vectors):
            return 0.0
        probes = np.unique(np.linspace(0, len(vectors) - 1, min(_PROBES, len(vectors))).astype(np.int64))
        is_novel = [self._is_novel(vectors, at) for at in probes.tolist()]
        return float(np.mean(is_novel)) * len(vectors) / total

    def _is_novel(self, vectors: Vectors, at: int) -> bool:
        """Whether no earlier candidate, and no persona of another batch, means nearly the same."""
        from personahub_assets.search.nearest import Nearest

        limit, vector = self.store.config.semantic.threshold, vectors[at]
        earlier = [*self._earlier[:-1], vectors[:at]]
        if any(len(rows) and float((rows @ vector).max()) >= limit for rows in earlier):
            return False
        if self._hub is None:
            self._hub = Nearest(self.store, self.embedder.name)
            own = self.store.read("personas", self.batch, columns=["persona_id"])["persona_id"]
            self._own = set(own.to_list())
        near = self._hub.find(vector, _OF_HUB) if len(self._hub) else pl.DataFrame()
        return not any(cosine >= limit for persona_id, cosine in near.iter_rows() if persona_id not in self._own)
