"""An exact join in Polars alone: what exactness costs without kernels of one's own.

Sets x and y are within t if |x - y| + |y - x| <= K = (1 - t) / (1 + t) * (|x| + |y|). If the universe of words is cut
into K + 1 parts, such sets agree on at least one part; a part is compared by the sum of its words' hashes. Candidates
are verified. The partition is the idea; sets with equal sums are taken as equal.
"""

from time import perf_counter

import polars as pl
from task import Outcome, Task, run


def deduplicate(task: Task) -> Outcome:
    """Collapse equal sets, join on parts, verify, and keep greedily in the order of rows."""
    texts = pl.read_parquet(task.source, columns=["persona"])["persona"]
    task.in_memory = perf_counter()
    words = texts.str.to_lowercase().str.extract_all(r"\w+").list.unique().rename("word")
    tokens = pl.DataFrame([words]).with_row_index("row").explode("word").with_columns(key=pl.col("word").hash())
    sets = tokens.group_by("row").agg(total=pl.col("key").sum(), size=pl.len().cast(pl.Int32)).sort("row")
    nodes = sets.group_by("total", "size").agg(node=pl.col("row").min())
    members = sets.join(nodes, on=["total", "size"]).select("row", "node")
    tokens = tokens.join(nodes.select(row="node", size="size"), on="row")
    pairs = _verified(_candidates(tokens, nodes, task.threshold), tokens, task.threshold)
    return Outcome(rows=_kept(members, pairs))


def _bound(threshold: float, both: pl.Expr) -> pl.Expr:
    return ((1 - threshold) / (1 + threshold) * both + 1e-9).floor().cast(pl.Int32)


def _candidates(tokens: pl.DataFrame, nodes: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Pairs of nodes that agree on a part."""
    size = pl.col("size")
    low, high = _bound(threshold, size + (size * threshold).ceil()), _bound(threshold, size + size / threshold)
    found = []
    most = int(nodes.select(high.max()).item())
    for differ in range(most + 1):
        mine = tokens.filter((low <= differ) & (high >= differ))
        for part in range(differ + 1):
            key = pl.when(pl.col("key") % (differ + 1) == part).then("key").otherwise(0).sum()
            sums = mine.lazy().group_by("row").agg(key.alias("sum"), size.first())
            pairs = sums.join(sums, on="sum").filter(pl.col("row") < pl.col("row_right"))
            fits = _bound(threshold, pl.col("size") + pl.col("size_right")) == differ
            found.append(pairs.filter(fits).select(a="row", b="row_right").collect())
    return pl.concat(found).unique()


def _verified(candidates: pl.DataFrame, tokens: pl.DataFrame, threshold: float) -> pl.DataFrame:
    bags = tokens.group_by("row").agg("key")
    near = candidates.join(bags, left_on="a", right_on="row").join(bags, left_on="b", right_on="row")
    shared = pl.col("key").list.set_intersection("key_right").list.len().cast(pl.Int64)
    both = pl.col("key").list.len().cast(pl.Int64) + pl.col("key_right").list.len() - shared
    return near.filter(shared / both >= threshold - 1e-12).select("a", "b")


def _kept(members: pl.DataFrame, pairs: pl.DataFrame) -> list[int]:
    """Only the first row of a node can stay, so the walk is over nodes."""
    low, high = pl.min_horizontal("a", "b"), pl.max_horizontal("a", "b")
    ordered = pairs.select(a=low, b=high).sort("b", "a")
    dropped: set[int] = set()
    for a, b in ordered.iter_rows():
        if a not in dropped:
            dropped.add(b)
    first = members.filter(pl.col("row") == pl.col("node"))["row"].sort().to_list()
    return [row for row in first if row not in dropped]


if __name__ == "__main__":
    run(deduplicate, "polars", threshold=True)
