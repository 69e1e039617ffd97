"""The two dedup stages: candidates and the hub as it stands in, decisions out."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from personahub_assets.domain import lexical, semantic
from personahub_assets.domain.keepers import DECISIONS, Candidate, decide


@dataclass(frozen=True)
class Hub:
    """What a stage reads of the other batches, and the number of its run."""

    kept: pl.DataFrame  # (persona_id, hop, admission) and persona or embedding, of all other batches
    admission: int


@dataclass(frozen=True)
class Stage:
    """Decisions about one batch's candidates, and how they were found."""

    decisions: pl.DataFrame  # (persona_id, admission, keeper_id, similarity), in the order of the walk
    method: str
    recall: float


def lexical_stage(candidates: pl.DataFrame, before: pl.DataFrame, hub: Hub, threshold: float) -> Stage:
    """Decide by word-set Jaccard.

    Args:
        candidates: `(persona_id, persona, hop)` of one batch.
        before: the batch's earlier decisions.
        hub: the kept personas of the other batches, with `persona`.
        threshold: Jaccard similarity from which two are duplicates.
    """
    texts = pl.concat([candidates.select("persona_id", "persona"), hub.kept.select("persona_id", "persona")])
    ids, tokens = lexical.word_sets(texts)
    nodes = ids["node"].to_list()
    new = ids["node"].head(candidates.height).unique()
    pairs = lexical.similar_pairs(tokens, new, threshold)
    return Stage(_decide(candidates, before, hub, nodes, pairs), "exact", 1.0)


def semantic_stage(
    candidates: pl.DataFrame, before: pl.DataFrame, hub: Hub, threshold: float, exact_up_to: int
) -> Stage:
    """Decide by the cosine of embeddings.

    Args:
        candidates: `(persona_id, embedding, hop)` of one batch's lexical survivors.
        before: the batch's earlier decisions.
        hub: the kept personas of the other batches, with `embedding` of the same model.
        threshold: cosine from which two are duplicates.
        exact_up_to: comparisons up to which all are made.
    """
    vectors = matrix(pl.concat([candidates["embedding"], hub.kept["embedding"]]))
    new = np.arange(len(vectors)) < candidates.height
    pairs = semantic.similar_pairs(vectors, new, threshold, exact_up_to)
    decisions = _decide(candidates, before, hub, list(range(len(vectors))), pairs.table)
    return Stage(decisions, pairs.method, pairs.recall)


def matrix(embeddings: pl.Series) -> semantic.Vectors:
    """Turn a column of vectors into an array of shape (n, d); (0, 1) if there are none."""
    if embeddings.is_empty():
        return np.empty((0, 1), np.float32)
    flat = embeddings.explode(empty_as_null=False).to_numpy().astype(np.float32)
    return flat.reshape(len(embeddings), -1)


def _decide(
    candidates: pl.DataFrame, before: pl.DataFrame, hub: Hub, nodes: list[int], pairs: pl.DataFrame
) -> pl.DataFrame:
    known: dict[str, dict[str, Any]] = {row["persona_id"]: row for row in before.iter_rows(named=True)}
    mine = [
        Candidate(
            persona_id,
            hop,
            node,
            known[persona_id]["admission"] if persona_id in known else None,
            dropped=persona_id in known and known[persona_id]["keeper_id"] is not None,
        )
        for (persona_id, hop), node in zip(candidates.select("persona_id", "hop").iter_rows(), nodes, strict=False)
    ]
    others = hub.kept.select("persona_id", "hop", "admission").iter_rows()
    kept = [
        Candidate(persona_id, hop, node, admission)
        for (persona_id, hop, admission), node in zip(others, nodes[candidates.height :], strict=True)
    ]
    decisions = decide(mine, kept, pairs, hub.admission)
    return pl.DataFrame(
        [(d.persona_id, d.admission, d.keeper_id, d.similarity) for d in decisions], DECISIONS, orient="row"
    )
