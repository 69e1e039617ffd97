"""Pictures of a partition for its metadata: lengths, tokens, reasons, yield, neighbours.

A picture reads only the columns that it needs, and samples of long ones, so that it costs little time. It contains no
text of rows. Without data there is no picture.
"""

from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from personahub_assets.defs.metadata.svg import as_markdown, bar_chart, histogram, line_chart, ranking
from personahub_assets.measures.pairs import PairSimilarity
from personahub_assets.store.tables import Store, read_file

_PIECES, _PIECE = 4, 1_000
_DIVERSITY = {"distinct_1": "distinct-1", "distinct_2": "distinct-2", "self_repetition": "4-grams repeated"}
_FEWEST_PAIRS = 20
_FEWEST_BATCHES = 2
_PROBES, _POOL = 256, 8_192


def lengths(store: Store, table: str, batch: str, column: str) -> dict[str, Any]:
    """Histogram of the lengths of a partition's texts, or of a sample."""
    total = store.height(table, batch)
    texts = _sample(store, table, batch, column, total)
    if texts.is_empty():
        return {}
    title = f"Length of {column} in {table}{_of(texts.len(), total)}"
    chart = histogram({"": texts.str.len_chars().to_numpy()}, title=title, x_label="characters", y_label="rows")
    return {"lengths": picture(chart, title)}


def tokens(store: Store, asset: str, batch: str) -> dict[str, Any]:
    """Histogram of the tokens of accepted answers and their prompts."""
    columns = ["status", "prompt_tokens", "completion_tokens"]
    rows = store.read("generations", batch, asset, columns=columns).filter(pl.col("status") == "accepted")
    if rows.is_empty():
        return {}
    series = {name: rows[f"{name}_tokens"].fill_null(0).to_numpy() for name in ("prompt", "completion")}
    title = f"Tokens per accepted answer of {asset}"
    return {"tokens_per_answer": picture(histogram(series, title=title, x_label="tokens", y_label="answers"), title)}


def reasons(store: Store, asset: str, batch: str) -> dict[str, Any]:
    """Bar chart of the reasons of quarantined inputs."""
    counts = store.read("quarantine", batch, asset, columns=["reason"])["reason"].value_counts()
    if counts.is_empty():
        return {}
    title = f"Why inputs of {asset} are in quarantine"
    ordered = counts.sort("count", "reason", descending=[True, False])
    return {"quarantine_by_reason": picture(ranking(dict(ordered.iter_rows()), title=title, x_label="inputs"), title)}


def word_diversity(store: Store, dataset: str, batch: str) -> dict[str, Any]:
    """Diversity of the words of a dataset's items, at each number of words that was measured."""
    rows = store.read("word_diversity", batch, dataset)
    if rows.is_empty():
        return {}
    series = {
        f"{row['words']:,} words": [row[name] or 0.0 for name in _DIVERSITY] + [1 / row["compression_ratio"]]
        for row in rows.iter_rows(named=True)
    }
    title = f"Diversity of the words of {dataset} at equal numbers of words"
    chart = bar_chart(
        [*_DIVERSITY.values(), "left after zlib"], series, title=title, x_label="measure", y_label="share"
    )
    return {"word_diversity": picture(chart, title)}


def item_similarity(similarities: dict[str, PairSimilarity]) -> dict[str, Any]:
    """Mean cosine of two items by the cosine of their personas, a line for each dataset, without bins of few pairs."""
    series = {
        name: [
            (float(lower) + 0.05, float(mean))
            for lower, mean, pairs in zip(each.lower, each.mean, each.pairs, strict=True)
            if pairs >= _FEWEST_PAIRS
        ]
        for name, each in similarities.items()
    }
    if not any(series.values()):
        return {}
    title = "Similarity of two items by the similarity of their personas"
    equal = [(0.0, 0.0), (1.0, 1.0)]
    chart = line_chart({**series, "equal": equal}, title=title, x_label="cosine of the personas", y_label="cosine")
    return {"similarity_of_pairs": picture(chart, title)}


def hops(rows_per_hop: dict[str, int]) -> dict[str, Any]:
    """Number of candidates by hop."""
    if not any(rows_per_hop.values()):
        return {}
    title = "Candidates per hop"
    chart = bar_chart(list(rows_per_hop), {"": list(rows_per_hop.values())}, title=title, x_label="hop", y_label="rows")
    return {"candidates_per_hop": picture(chart, title)}


def satisfied(shares: dict[str, float]) -> dict[str, Any]:
    """Share of the answers that satisfy the constraints on them, by kind."""
    if not shares:
        return {}
    title = "Share of answers that satisfy a constraint, by its kind"
    ordered = dict(sorted(shares.items(), key=lambda entry: entry[1]))
    return {"satisfied_shares": picture(ranking(ordered, title=title, x_label="share"), title)}


def scores(counts: dict[str, int]) -> dict[str, Any]:
    """Number of items by the score that a judge gave."""
    if not counts:
        return {}
    title = "Scores"
    chart = bar_chart(list(counts), {"": list(counts.values())}, title=title, x_label="score", y_label="items")
    return {"score_histogram": picture(chart, title)}


def kept(candidates: pl.DataFrame, rows: pl.DataFrame) -> dict[str, Any]:
    """Number of kept candidates by origin and hop.

    Args:
        candidates: `(origin, hop, ...)` before dedup.
        rows: the same of those that survived.
    """
    before, after = _by_hop(candidates), _by_hop(rows)
    if not before:
        return {}
    labels = [f"hop {hop}" if origin == "relation" else origin for hop, origin in before]
    series = {"candidates": list(before.values()), "kept": [after.get(key, 0) for key in before]}
    title = "Candidates, and how many of them are kept"
    chart = bar_chart(labels, series, title=title, x_label="origin", y_label="personas")
    return {"yield_per_hop": picture(chart, title)}


def novelty(per_hop: dict[str, float]) -> dict[str, Any]:
    """New personas per 1,000 calls of a batch by hop."""
    if not per_hop:
        return {}
    title = "New personas per 1,000 calls"
    labels = [f"hop {hop}" for hop in per_hop]
    chart = bar_chart(labels, {"": list(per_hop.values())}, title=title, x_label="hop", y_label="personas")
    return {"novelty": picture(chart, title)}


def novelty_of_batches(rows: list[tuple[str, int, float]]) -> dict[str, Any]:
    """New personas per 1,000 calls over the batches, a line for each hop.

    Args:
        rows: `(batch, hop, new personas per 1,000 calls)`.
    """
    batches = list(dict.fromkeys(batch for batch, _, _ in rows))
    if len(batches) < _FEWEST_BATCHES:
        return {}
    number = {batch: float(index) for index, batch in enumerate(batches, 1)}
    series: dict[str, list[tuple[float, float]]] = {}
    for batch, hop, novel in rows:
        series.setdefault(f"hop {hop}", []).append((number[batch], novel))
    title = f"New personas per 1,000 calls of {len(batches)} batches, in the order of their names"
    chart = line_chart(series, title=title, x_label="batch", y_label="personas")
    return {"novelty": picture(chart, title)}


def _by_hop(rows: pl.DataFrame) -> dict[tuple[int, str], int]:
    counts = rows.group_by("hop", "origin").len().sort("hop", "origin")
    return {(hop, origin): count for hop, origin, count in counts.iter_rows()}


def neighbours(embeddings: pl.Series) -> dict[str, Any]:
    """Histogram of the similarity to the nearest neighbour, for a sample of unit vectors within a larger sample."""
    pool = _spread(embeddings.drop_nulls(), _POOL)
    if pool.len() < 2:
        return {}
    vectors = pool.explode().to_numpy().reshape(pool.len(), -1)
    probes = np.linspace(0, pool.len() - 1, min(_PROBES, pool.len())).astype(np.int64)
    cosines = vectors[probes] @ vectors.T
    cosines[np.arange(len(probes)), probes] = -1  # a vector is not its own neighbour
    title = f"Nearest neighbour of {len(probes):,} personas among {pool.len():,} of this batch"
    chart = histogram({"": cosines.max(axis=1).clip(-1, 1)}, title=title, x_label="cosine", y_label="personas")
    return {"nearest_neighbours": picture(chart, title)}


def tables(store: Store, rows: dict[str, int]) -> dict[str, Any]:
    """Rows of each table, and the size of its files."""
    sizes = {name: store.size(name) / 1e6 for name in rows}
    counted = ranking(rows, title="Rows per table", x_label="rows")
    measured = ranking(sizes, title="Size of the table files", x_label="MB of Parquet")
    return {
        "rows_per_table": picture(counted, "rows per table"),
        "size_per_table": picture(measured, "size of the table files"),
    }


def picture(svg: str, alt: str) -> dg.MetadataValue[Any]:
    """A plot as metadata for the UI."""
    return dg.MetadataValue.md(as_markdown(svg, alt))


def _sample(store: Store, table: str, batch: str, column: str, total: int) -> pl.Series:
    """A column, or pieces from the whole partition; only the row groups of the pieces are read."""
    if total <= _PIECES * _PIECE:
        return store.read(table, batch, columns=[column])[column].drop_nulls()
    path, schema = store.path(table, batch), store.columns(table)
    starts = [(total - _PIECE) * index // (_PIECES - 1) for index in range(_PIECES)]
    pieces = [read_file(path, table, [column], start, _PIECE, schema=schema)[column] for start in starts]
    return pl.concat(pieces).drop_nulls()


def _spread(values: pl.Series, most: int) -> pl.Series:
    """At most this number of values, evenly spaced."""
    if values.len() <= most:
        return values
    return values.gather(np.linspace(0, values.len() - 1, most).astype(np.int64))


def _of(shown: int, total: int) -> str:
    return f" ({shown:,} of {total:,})" if shown < total else ""
