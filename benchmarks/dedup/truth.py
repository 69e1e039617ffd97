"""The exact pairs by a method that shares no code with the project's joins: a prefix-filter join in DuckDB's SQL.

    .venv/bin/python benchmarks/dedup/truth.py IN.parquet OUT.parquet [--threshold 0.9] [--deletions]

Only the split into words is the project's (`core.text.words`), because it defines the comparison. Two sets of words
within the threshold t share one of the first n - ceil(t n) + 1 words of each in any common order; here the rarest come
first. OUT contains all pairs `(a, b, similarity)` of row numbers, a < b; texts without a word are pairs if they are
equal. 100,000 rows at 0.9 take seconds; a million rows are too many.

Texts from one template share even their rarest words with thousands of others. Use --deletions for them: two sets that
differ by at most two words are equal after removing two words from one, or one from each. Sums of hashes are compared,
and matches are verified. It refuses texts and thresholds for which three words may differ.
"""

import argparse
import tempfile
from pathlib import Path

import duckdb
import polars as pl

from personahub_assets.core.text import words

# Equal sets are one node: otherwise the candidates of a repeated text grow with the square of its repeats.
_NODES = """
create temp table node as
    select row_number() over (order by min(row)) as node, words, len(words) as size, list(row order by row) as rows
    from '{bags}' group by words;

create temp table token as
    select node, size, word, count(*) over (partition by word) as frequency
    from (select node, size, unnest(words) as word from node);

"""
_PREFIXES = """
create temp table prefix as
    select node, size, word from token
    qualify row_number() over (partition by node order by frequency, word) <= size - ceil({t} * size - 1e-9) + 1;
"""
_CANDIDATES = """
create temp table candidate as
    select distinct a.node as a, b.node as b
    from prefix as a join prefix as b on a.word = b.word and a.node < b.node
    where least(a.size, b.size) >= {t} * greatest(a.size, b.size) - 1e-9;
"""
_DELETIONS = """
select if(2 * max(size) * (1 - {t}) / (1 + {t}) >= 3 - 1e-9, error('--deletions: three words may differ'), null)
    from node;

create temp table whole as select node, sum(hash(word)::hugeint) as total from token group by node;

create temp table one as
    select node, word, total - hash(word)::hugeint as rest from token join whole using (node);

create temp table candidate as
    select distinct least(a, b) as a, greatest(a, b) as b from (
        select x.node as a, y.node as b from one as x join one as y on x.rest = y.rest and x.node < y.node
        union all
        select x.node, y.node from whole as x join one as y on x.total = y.rest
        union all
        select x.node, y.node from whole as x join (
            select p.node, p.rest - hash(q.word)::hugeint as rest
            from one as p join one as q on p.node = q.node and p.word < q.word
        ) as y on x.total = y.rest
    );
"""
_PAIRS = """
create temp table near as
    select a, b, shared / (x.size + y.size - shared) as similarity
    from (
        select a, b, len(list_intersect(x.words, y.words)) as shared
        from candidate join node as x on x.node = a join node as y on y.node = b
    ) join node as x on x.node = a join node as y on y.node = b
    where shared / (x.size + y.size - shared) >= {t} - 1e-12;
"""
_ROWS = """
create temp table member as select node, unnest(rows) as row from node;

copy (
    select least(x.row, y.row) as a, greatest(x.row, y.row) as b, similarity
    from near join member as x on x.node = near.a join member as y on y.node = near.b
    union all
    select x.row, y.row, 1.0 from member as x join member as y on x.node = y.node and x.row < y.row
    order by all
) to '{out}' (format parquet);
"""


def find(source: Path, out: Path, threshold: float, deletions: bool = False) -> None:
    """Write all pairs of rows of a Parquet file whose word sets have a Jaccard similarity at the threshold or above."""
    texts = pl.read_parquet(source, columns=["persona"])["persona"].to_list()
    bags = pl.DataFrame(
        {"row": range(len(texts)), "words": [sorted(set(words(text))) or [text] for text in texts]},
        schema={"row": pl.Int64, "words": pl.List(pl.String)},
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bags.parquet"
        bags.write_parquet(file)
        with duckdb.connect(config={"temp_directory": folder}) as connection:
            candidates = _DELETIONS if deletions else _PREFIXES + _CANDIDATES
            connection.execute((_NODES + candidates + _PAIRS + _ROWS).format(bags=file, t=threshold, out=out))


def greedy(count: int, pairs: pl.DataFrame) -> list[bool]:
    """Mask of the kept rows: a row is kept unless an earlier kept row is within the threshold."""
    earlier: dict[int, list[int]] = {}
    for a, b in pairs.select("a", "b").iter_rows():
        earlier.setdefault(b, []).append(a)
    stays: list[bool] = []
    for row in range(count):
        stays.append(not any(stays[other] for other in earlier.get(row, ())))
    return stays


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--deletions", action="store_true", help="for texts from templates")
    chosen = parser.parse_args()
    find(chosen.source, chosen.out, chosen.threshold, chosen.deletions)


if __name__ == "__main__":
    main()
