"""The rule by which both dedup stages keep and drop candidates.

Walk the candidates in the order (admission, hop, id); keep one unless an already kept one is within the
threshold. It follows that every dropped persona has a keeper that was kept at that stage and is within the threshold,
that no two kept ones are within it, and that the order of rows inside a batch or of batch names changes nothing.

An admission is the number of the dedup run that first decided about a candidate, per stage. It never changes, with one
exception: a *dropped* candidate without any keeper left (its batch was refreshed, or the threshold was raised) is
admitted again, after all existing candidates. So a kept persona, with paid datasets, is never displaced by a later
candidate or by the refresh of an older batch, and replaying the stored admissions always gives the stored result.

Candidates are compared only with kept ones: the cost of a walk grows with their number, not with that of similar pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from personahub_assets.dedup.kernels import kernel

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

NONE = -1
"""Keeper of a row without a kept row within the threshold."""

_NO_IDS = pl.Series(dtype=pl.String)
_WITHIN = 32  # bits of a place for the row number within one admission


@dataclass(frozen=True)
class Walk:
    """Rows to decide, in the order of the walk, with kept rows of the same batches."""

    index: Ints  # (n,) indices of the rows
    places: Ints  # (n,) positions in the order of all rows, ascending
    may_stay: Flags  # (n,) false: not kept even if there is no keeper
    standing: Ints  # (m,) indices of rows that are kept already
    standing_places: Ints  # (m,) ascending


@dataclass(frozen=True)
class Decided:
    """Result of a walk."""

    keeper: Ints  # (n,) place of the keeper, or NONE
    similarity: Floats  # (n,) similarity to the keeper; NaN without one
    stays: Flags  # (n,) kept


NOTHING = Decided(np.empty(0, np.int64), np.empty(0), np.empty(0, np.bool_))
"""Result of an empty walk."""


class Kept(Protocol):
    """Kept rows, by id and by place."""

    def places_of(self, ids: pl.Series) -> pl.DataFrame:
        """`(id, place)` of those of some ids that are kept."""

    def ids_at(self, positions: Ints) -> pl.DataFrame:
        """`(id, place)` of the kept rows at some places."""


@dataclass(frozen=True)
class Listed:
    """Kept rows `(id, place)` in memory."""

    rows: pl.DataFrame

    def places_of(self, ids: pl.Series) -> pl.DataFrame:
        """`(id, place)` of those of some ids that are kept."""
        return self.rows.filter(pl.col("id").is_in(ids.implode())).select("id", "place")

    def ids_at(self, positions: Ints) -> pl.DataFrame:
        """`(id, place)` of the kept rows at some places."""
        return self.rows.filter(pl.col("place").is_in(pl.Series(positions).implode())).select("id", "place")


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort rows in the order of the walk: by (admission, hop, id), rows without an admission last."""
    return rows.sort("admission", "hop", "id", nulls_last=True)


def places(admission: pl.Series) -> Ints:
    """Compute the place of each row in the order of all rows, a 64-bit number.

    Args:
        admission: admissions of rows in order. An admission belongs to one batch, so places of batches never overlap.
    """
    return admission.to_numpy().astype(np.int64) << _WITHIN | np.arange(len(admission))


def admit(
    rows: pl.DataFrame,
    others: Kept,
    admission: int,
    decide: Callable[[Walk], Decided],
    *,
    replay: bool,
    elsewhere: pl.Series = _NO_IDS,
) -> pl.DataFrame:
    """Decide about candidates.

    A decision is valid while its keeper is kept. So only new rows and rows that lost their keeper are walked: no row
    before a kept row is its keeper, and later rows do not displace it.

    Args:
        rows: `(batch, id, hop, admission, keeper_id, similarity)` in order; the last three are null for
            rows without a decision.
        others: the rows that other batches keep.
        admission: first free number. Each batch with rows to admit takes one, from this number on.
        decide: compares the rows of a walk with the kept rows before them.
        replay: walk every row again by its stored admission, because another rule decided before.
        elsewhere: ids of kept rows that cannot be compared; rows dropped for them stay dropped.

    Returns:
        `(batch, id, admission, keeper_id, similarity)` by batch and in order.
    """
    admitted, dropped = (rows[name].is_not_null().to_numpy() for name in ("admission", "keeper_id"))
    positions = places(rows["admission"].fill_null(0))
    kept = admitted & ~dropped & (not replay)
    keeper_elsewhere = rows["keeper_id"].is_in(elsewhere.implode()).fill_null(value=False).to_numpy()
    doubtful = np.flatnonzero(
        (admitted if replay else dropped & ~_still_kept(rows, kept, positions, others)) & ~keeper_elsewhere
    )
    again = decide(Walk(doubtful, positions[doubtful], ~dropped[doubtful], *_standing(kept, positions)))
    kept[doubtful] = again.stays

    homeless = doubtful[(again.keeper == NONE) & ~again.stays]
    fresh, numbers = _newcomers(rows, np.concatenate([np.flatnonzero(~admitted), homeless]), admission)
    positions[fresh] = places(numbers)
    new = decide(Walk(fresh, positions[fresh], np.ones(len(fresh), np.bool_), *_standing(kept, positions)))

    admissions = rows["admission"].scatter(fresh, numbers)
    walked = pl.DataFrame(
        {
            "row": np.concatenate([doubtful, fresh]),
            "place": np.concatenate([again.keeper, new.keeper]),
            "similarity": np.concatenate([again.similarity, new.similarity]),
        }
    ).unique("row", keep="last")
    return _written(
        rows.with_columns(admissions),
        walked,
        pl.concat([others.ids_at(walked["place"].to_numpy()), pl.DataFrame({"id": rows["id"], "place": positions})]),
    )


def _still_kept(rows: pl.DataFrame, kept: Flags, positions: Ints, others: Kept) -> Flags:
    """Whether the keeper of each row is kept and before it; a keeper that was admitted again is after it."""
    own = pl.DataFrame({"id": rows["id"], "place": positions}).filter(pl.Series(kept))
    keepers = pl.concat([others.places_of(rows["keeper_id"].drop_nulls().unique()), own])
    matches = rows.select("keeper_id").join(
        keepers, left_on="keeper_id", right_on="id", how="left", maintain_order="left"
    )
    return (matches["place"] < pl.Series(positions)).fill_null(value=False).to_numpy()


def _standing(kept: Flags, positions: Ints) -> tuple[Ints, Ints]:
    index = np.flatnonzero(kept)
    return index, positions[index]


def _newcomers(rows: pl.DataFrame, fresh: Ints, admission: int) -> tuple[Ints, pl.Series]:
    """Rows to admit, in order, with their new admissions: one number per batch."""
    batches = rows["batch"].unique(maintain_order=True)
    newcomers = rows.select("batch", "hop", "id").with_row_index("row")[fresh]
    wanted = batches.filter(batches.is_in(newcomers["batch"].implode()))
    numbers = pl.DataFrame({"batch": wanted, "admission": np.arange(admission, admission + len(wanted))})
    ordered = in_order(newcomers.join(numbers, on="batch"))
    return ordered["row"].to_numpy().astype(np.int64), ordered["admission"]


def _written(rows: pl.DataFrame, walked: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Merge the results of the walks with the valid decisions."""
    matches = walked.join(names.rename({"id": "found_id"}), on="place", how="left")
    joined = rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64)).join(matches, on="row", how="left")
    new = pl.col("place").is_not_null()
    return (
        joined.with_columns(
            keeper_id=pl.when(new).then("found_id").otherwise("keeper_id"),
            similarity=pl.when(new).then(pl.col("similarity_right").fill_nan(None)).otherwise("similarity"),
        )
        .sort("batch", "admission", "hop", "id")
        .select("batch", "id", "admission", "keeper_id", "similarity")
    )


@kernel
def prefers(similarity: float, position: int, best: float, keeper: int) -> bool:
    """Whether a kept row is a better keeper than the one found so far: more similar, or as similar and earlier."""
    return bool(keeper == NONE or similarity > best or (similarity == best and position < keeper))
