"""daft: its minhash expression and a group-by on bands, as its tutorial on deduplication does it.

Two things are done otherwise, since it is faster: bands are compared by a hash, not as lists (5 s less at a million
rows), and the last step, components by repeated joins, is done in NumPy.
"""

import daft
import numpy as np
from daft import DataFrame, Expression, col
from daft.functions import monotonically_increasing_id
from numpy.typing import NDArray
from task import BAND_ROWS, BANDS, PERMUTATIONS, Outcome, Task, run, within

Rows = NDArray[np.int64]


def deduplicate(task: Task) -> Outcome:
    """Group rows by each band; a row stays if it is the first of its component."""
    clean = col("persona").normalize(remove_punct=True, lowercase=True, nfd_unicode=True, white_space=True)
    rows = daft.read_parquet(str(task.source)).select(monotonically_increasing_id().alias("row"), clean)
    hashed = rows.select("row", col("persona").minhash(num_hashes=PERMUTATIONS, ngram_size=1).alias("hashes"))
    signatures = hashed.select("row", *(_band(number) for number in range(BANDS))).collect()
    groups = [_groups(signatures, band) for band in range(BANDS)]
    first = np.concatenate([np.repeat(starts, lengths) for starts, lengths, _ in groups])
    other = np.concatenate([members for _, _, members in groups])
    label = components(len(signatures), first, other)
    return Outcome(
        rows=np.flatnonzero(label == np.arange(len(label))).tolist(),
        pairs=lambda: within(
            part.tolist() for _, lengths, rows in groups for part in np.split(rows, np.cumsum(lengths)[:-1])
        ),
        notes=[f"{BANDS} bands of {BAND_ROWS}, hits not verified, components"],
    )


def _band(number: int) -> Expression:
    return col("hashes").slice(number * BAND_ROWS, (number + 1) * BAND_ROWS).hash().alias(f"band{number}")


def _groups(signatures: DataFrame, band: int) -> tuple[Rows, Rows, Rows]:
    """First row and length of every group that shares a band, and the rows of all groups one after the other."""
    grouped = signatures.select("row", f"band{band}").groupby(f"band{band}").agg(col("row").list_agg().alias("rows"))
    found = grouped.select("rows").where(col("rows").length() > 1).to_arrow()["rows"].combine_chunks()
    offsets = found.offsets.to_numpy()
    members = found.values.to_numpy()[offsets[0] : offsets[-1]].astype(np.int64)
    starts = np.minimum.reduceat(members, offsets[:-1] - offsets[0]) if len(members) else members
    return starts, np.diff(offsets), members


def components(count: int, first: Rows, other: Rows) -> Rows:
    """The first row of each row's component."""
    label = np.arange(count)
    while True:
        low = np.minimum(label[first], label[other])
        following = label.copy()
        for side in (first, other, label[first], label[other]):
            np.minimum.at(following, side, low)
        following = following[following]
        if (following == label).all():
            return label
        label = following


if __name__ == "__main__":
    run(deduplicate, "daft")
