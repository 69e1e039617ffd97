"""Which personas share nearly all their words: every pair with word-set Jaccard at or above a threshold.

The paper (section 2.2.1) approximates this with MinHash (1-gram, 128 permutations, 0.9). Personas are short, so the
exact answer is affordable: a prefix-filter join (two sets within the threshold share one of their rarest words), with
every candidate pair verified. No pair is missed and none is reported wrongly.
"""

import polars as pl

from personahub_assets.domain.text import words

_CHUNK = 1_000_000  # candidate pairs verified at a time: bounds the memory of the two joins below


def word_sets(texts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Collapse texts with the same words.

    Args:
        texts: `(persona_id, persona)`.

    Returns:
        `(persona_id, node)`, texts with equal word sets sharing a node, and `(node, word)`, each word once. A text
        without any word is alike only to the very same text.
    """
    nodes: dict[frozenset[str] | str, int] = {}
    members = [nodes.setdefault(frozenset(words(text)) or text, len(nodes)) for text in texts["persona"].to_list()]
    listed = [(node, sorted(bag)) for bag, node in nodes.items() if isinstance(bag, frozenset)]
    tokens = pl.DataFrame(
        {"node": [node for node, _ in listed], "word": [bag for _, bag in listed]},
        schema={"node": pl.Int64, "word": pl.List(pl.String)},
    )
    ids = texts.select("persona_id").with_columns(node=pl.Series(members, dtype=pl.Int64))
    return ids, tokens.explode("word", empty_as_null=False)


def similar_pairs(tokens: pl.DataFrame, new: pl.Series, threshold: float) -> pl.DataFrame:
    """Find all pairs of nodes within the threshold of which at least one is new.

    Args:
        tokens: `(node, word)`, each word once per node.
        new: the nodes to search for.
        threshold: Jaccard similarity, above 0 and up to 1.

    Returns:
        `(a, b, similarity)`, each unordered pair once with a < b.
    """
    sized = tokens.with_columns(size=pl.len().over("node"))
    candidates = _candidates(sized, new, threshold)
    found = [_verify(candidates.slice(at, _CHUNK), tokens, threshold) for at in range(0, candidates.height, _CHUNK)]
    return pl.concat([_NO_PAIRS, *found])


_NO_PAIRS = pl.DataFrame(schema={"a": pl.Int64, "b": pl.Int64, "similarity": pl.Float64})


def _candidates(sized: pl.DataFrame, new: pl.Series, threshold: float) -> pl.DataFrame:
    """Pairs that share one of their rarest words and whose sizes allow the threshold."""
    # Among n words, n - ceil(t n) + 1 of the rarest must hold a shared one (the prefix-filter principle).
    keep = pl.col("size") - (threshold * pl.col("size") - 1e-9).ceil().cast(pl.Int64) + 1
    prefix = (
        sized.with_columns(frequency=pl.len().over("word"))
        .sort("node", "frequency", "word")
        .with_columns(rank=pl.int_range(pl.len()).over("node"))
        .filter(pl.col("rank") < keep)
        .select("node", "word", "size")
    )
    asked = prefix.filter(pl.col("node").is_in(new.implode()))
    low, high = pl.min_horizontal("node", "node_right"), pl.max_horizontal("node", "node_right")
    fits = pl.min_horizontal("size", "size_right") >= threshold * pl.max_horizontal("size", "size_right") - 1e-9
    return (
        asked.lazy()
        .join(prefix.lazy(), on="word")
        .filter((pl.col("node") != pl.col("node_right")) & fits)
        .select(a=low, b=high, sizes=pl.col("size") + pl.col("size_right"))
        .unique()
        .collect()
    )


def _verify(candidates: pl.DataFrame, tokens: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Keep the pairs whose Jaccard similarity, counted word by word, reaches the threshold."""
    shared = (
        candidates.lazy()
        .join(tokens.lazy(), left_on="a", right_on="node")
        .join(tokens.lazy(), left_on=["b", "word"], right_on=["node", "word"], how="semi")
        .group_by("a", "b", "sizes")
        .agg(shared=pl.len().cast(pl.Int64))
    )
    jaccard = pl.col("shared") / (pl.col("sizes") - pl.col("shared"))
    return (
        shared.with_columns(similarity=jaccard)
        .filter(pl.col("similarity") >= threshold - 1e-12)
        .select("a", "b", "similarity")
        .sort("a", "b")
        .collect()
    )
