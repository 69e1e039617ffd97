"""An index of stored answers by request key, without loading the answers into memory.

The index has 18 bytes per answer, from the key columns of one asset's `generations`. The answers are read by row group
on demand. Requests mostly come in the order in which their answers were written, so most groups are read once.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl

from personahub_assets.core.errors import StoreError
from personahub_assets.generation.requests import GATES, Outcome, Reason, ReusePolicy
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.tables import SLICE_ROWS, Store, read_file

_KEYS = ["request_key", "reason", "max_tokens", "answer_tokens"]
_GROUPS_HELD = 3
_OUTCOME = tuple(name for name in Outcome.__slots__ if name not in ("key", "status"))

Index = np.ndarray[Any, np.dtype[np.uint64]]


@dataclass(frozen=True, slots=True)
class Mark:
    """An indexed outcome: its reason of rejection, None if accepted, and whether it can be reused."""

    reason: str | None
    is_valid: bool


class AnswerIndex:
    """The outcomes in some files of `generations`.

    Args:
        files: Parquet files; of equal keys the first file's counts.
        rule: which outcomes can be reused.
        accepted_only: leave out outcomes that were rejected or cannot be reused.
    """

    def __init__(self, files: Sequence[Path], rule: ReusePolicy, *, accepted_only: bool = False):
        rows = [_rows_of(path).with_columns(file=pl.lit(number)) for number, path in enumerate(files)]
        self._open(files, [_index(each, rule, accepted_only=accepted_only) for each in rows])

    @classmethod
    def of_asset(
        cls, store: Store, asset: str, further: Sequence[Path], rule: ReusePolicy, *, without: str | None = None
    ) -> "AnswerIndex":
        """The accepted answers of an asset in all batches but one, then in further files."""
        digests = Compacted(store, "generations", asset, "answers 1", tuple(_KEYS), _digest).read()
        batches = digests["batch"].unique().sort()
        numbers = pl.DataFrame({"batch": batches, "file": range(len(batches))})
        others = digests.filter(pl.col("batch").ne_missing(without))
        rows = others.join(numbers, on="batch", maintain_order="left").drop("batch")
        index = [_index(rows, rule, accepted_only=True)]
        for number, path in enumerate(further, len(batches)):
            index.append(_index(_rows_of(path).with_columns(file=pl.lit(number)), rule, accepted_only=True))
        opened = cls.__new__(cls)
        opened._open([*(store.path("generations", each, asset) for each in batches), *further], index)
        return opened

    def _open(self, files: Sequence[Path], indexes: Sequence[pl.DataFrame]) -> None:
        self._files = list(files)
        self._groups: OrderedDict[tuple[int, int], dict[str, dict[str, Any]]] = OrderedDict()
        filled = [each for each in indexes if each.height]
        index = pl.concat(filled).sort("hash", "file", "place") if filled else pl.DataFrame(schema=_INDEX)
        self._hashes: Index = index["hash"].to_numpy()
        self._file, self._places = index["file"].to_numpy(), index["place"].to_numpy()
        self._reasons, self._stands = index["reason"], index["stands"]

    def marks(self, keys: Sequence[str]) -> dict[str, Mark]:
        """The marks of the keys in the index."""
        return {key: Mark(self._reasons[at] or None, self._stands[at]) for key, at in self._find(keys)}

    def outcomes(self, keys: Sequence[str]) -> dict[str, Outcome]:
        """Read the outcomes of the keys in the index."""
        outcomes = {}
        # In file order, so that no row group is read twice, whatever the order of the keys.
        for key, at in sorted(self._find(keys), key=lambda hit: (self._file[hit[1]], self._places[hit[1]])):
            row = self._group(int(self._file[at]), int(self._places[at]) // SLICE_ROWS).get(key)
            if row is not None:
                outcomes[key] = outcome_of(row)
        return outcomes

    def _find(self, keys: Sequence[str]) -> Iterable[tuple[str, int]]:
        if not len(self._hashes) or not keys:
            return
        wanted = np.array([hash_of(key) for key in keys], dtype=np.uint64)
        lower_bounds = np.searchsorted(self._hashes, wanted)
        inside = np.minimum(lower_bounds, len(self._hashes) - 1)
        for key, position, hit in zip(keys, inside.tolist(), (self._hashes[inside] == wanted).tolist(), strict=True):
            if hit:
                yield key, position

    def _group(self, file: int, group: int) -> dict[str, dict[str, Any]]:
        """One row group by key; the last one is cached."""
        location = (file, group)
        if location not in self._groups:
            try:
                rows = read_file(self._files[file], "generations", None, group * SLICE_ROWS, SLICE_ROWS)
            except StoreError:
                if self._files[file].exists():
                    raise  # its answers exist but are unreadable: a new request would pay for them twice
                rows = pl.DataFrame()  # removed since by its owner; requests without an answer are sent
            # Of equal keys the first counts: it was paid for.
            self._groups[location] = {row["request_key"]: row for row in rows.reverse().iter_rows(named=True)}
        self._groups.move_to_end(location)
        if len(self._groups) > _GROUPS_HELD:
            self._groups.popitem(last=False)
        return self._groups[location]


def hash_of(key: str) -> int:
    """First 64 bits of a request key."""
    return int(key[:16], 16)


def hashes_of(keys: pl.Expr) -> pl.Expr:
    """First 64 bits of the request keys of a column."""
    return keys.str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64)


def outcome_of(row: dict[str, Any]) -> Outcome:
    """The outcome of a row of `generations`; an answer that only a quality gate rejected counts as accepted."""
    fields = {name: row[name] for name in _OUTCOME if row.get(name) is not None}
    if row["reason"] in GATES:
        fields.pop("reason")
        fields.pop("detail", None)
    status = "rejected" if "reason" in fields else "accepted"
    return Outcome(row["request_key"], status, fields.pop("response", ""), **fields)  # type: ignore[arg-type]


_INDEX: dict[str, Any] = {
    "hash": pl.UInt64,
    "file": pl.UInt32,
    "place": pl.UInt32,
    "reason": pl.Enum(["", *get_args(Reason)]),
    "stands": pl.Boolean,
}


def _rows_of(path: Path) -> pl.DataFrame:
    return _digest(read_file(path, "generations", _KEYS))


def _digest(rows: pl.DataFrame) -> pl.DataFrame:
    """What the index needs of the rows of `generations`, whatever the rule."""
    hashes = hashes_of(pl.col("request_key")).alias("hash")
    return rows.with_row_index("place").select(hashes, "place", "reason", "max_tokens", "answer_tokens")


def _index(rows: pl.DataFrame, rule: ReusePolicy, *, accepted_only: bool) -> pl.DataFrame:
    """Index of outcomes `(hash, file, place, reason, max_tokens, answer_tokens)`."""
    # After the rule has seen it: a retry can name the reason of a gate.
    reason = pl.when(pl.col("reason").is_in(list(GATES))).then(None).otherwise(pl.col("reason"))
    rows = rows.with_columns(_valid_rows(rows, rule).alias("stands"), reason.alias("reason"))
    if accepted_only:
        rows = rows.filter(pl.col("reason").is_null() & pl.col("stands"))
    return rows.with_columns(pl.col("reason").fill_null("")).select(list(_INDEX)).cast(pl.Schema(_INDEX))


def _valid_rows(rows: pl.DataFrame, rule: ReusePolicy) -> pl.Series:
    """Mask of the reusable rows; the rule is evaluated once per kind of row, not once per row."""
    kinds = rows.select(
        "reason",
        "max_tokens",
        # Only whether an answer is longer than the current limit matters.
        answer_tokens=pl.when(pl.col("answer_tokens") > rule.max_tokens).then(rule.max_tokens + 1).otherwise(0),
    )
    verdicts = {kind: rule.is_valid(*kind) for kind in kinds.unique().iter_rows()}
    return pl.Series([verdicts[kind] for kind in kinds.iter_rows()], dtype=pl.Boolean)
