"""The hub at a dedup stage: the decisions about every batch, and the kept rows in searchable form.

Decisions are the state; they are tables of the store. The searchable form of kept rows is in `cache/` of the home. It
is built from the tables if it is missing or outdated, and can be deleted at any time.

Importing this module takes a second (compiled kernels), so assets import it in their functions.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl

from personahub_assets.core.object_homes import address_of
from personahub_assets.core.text import digest
from personahub_assets.dedup.keepers import Ints, Listed, in_order, places
from personahub_assets.dedup.kept_rows import Form, KeptRows, OfVectors, Rows, Segment, Summary, encoded
from personahub_assets.dedup.ray_shards import RemoteShards, placed
from personahub_assets.dedup.records import DECIDED, Records
from personahub_assets.dedup.scratch import Scratch
from personahub_assets.dedup.shards import Divisible
from personahub_assets.store.removal import discard
from personahub_assets.store.tables import table_schema

T = TypeVar("T")

_SHARED = ("plan", "index")  # folders in the cache that are no segments
_HELD = 256  # batches whose decisions are in memory
_NO_PLACES = pl.DataFrame(schema={"id": pl.String, "place": pl.Int64})


class How(NamedTuple):
    """Method by which similar rows were found."""

    method: str  # 'exact', 'minhash' or 'cells'
    recall: float | None  # share of the keepers that the cells found in a sample; None: not measured


class Hub:
    """State of one stage; hold the stage's admission lock to read or change it.

    Batches are known by their summaries and by `KeptRows`; only those whose files changed since are read.

    Args:
        records: the rows that are compared.
        stage: 'lexical' or 'semantic'.
        rule: names the comparison and the threshold. If another rule made decisions, all are made again.
        threshold: similarity from which a row is a duplicate.
    """

    def __init__(self, records: Records, stage: str, rule: str, threshold: float):
        self.records, self.stage, self.rule, self.threshold = records, stage, rule, threshold
        self.state = KeptRows(self.cache, may_write=not records.store.is_draft)
        self._marks = records.marks(stage)
        self._standing: dict[str, pl.DataFrame] = {}
        self.batches = list(self._marks)
        self._are_current = False
        self.facts: dict[str, float] = {}  # where the time in a cluster went

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """What is known of every batch with decisions; files that are unchanged are not read."""
        stored = self.state.summaries
        summaries = {}
        for batch in self._marks:
            before = stored.get(batch)
            is_compared = batch in self._compared
            if before and before.mark == self._marks[batch] and (before.stamp is not None or not is_compared):
                summaries[batch] = before
            else:
                summaries[batch] = self._summary(batch, is_compared=is_compared)
        return summaries

    @cached_property
    def _compared(self) -> frozenset[str]:
        return frozenset(self.batches)

    def _summary(self, batch: str, *, is_compared: bool) -> Summary:
        """Read what is known of a batch."""
        if is_compared:
            decided = self.standing(batch)
            self._marks[batch] = self.records.mark(self.stage, batch)  # invalid decisions were deleted
            stamp, admissions = self.stamp(batch), decided["admission"]
        else:
            stamp, admissions = None, self.records.stored(self.stage, batch)["admission"]
        run = self.records.run(self.stage, batch).select("rule", "method", "candidates").rows()
        rule, method, compared = run[0] if run else (None, "exact", 0)
        last = int(admissions.max() or 0)  # type: ignore[arg-type]
        self._tidy(batch)
        of_vectors = self._of_vectors(batch)
        return Summary(self._marks[batch], stamp, len(admissions), last, rule, method, compared, of_vectors)

    def _of_vectors(self, batch: str) -> OfVectors:  # noqa: ARG002 - of another stage
        """What is known of the vectors of a batch."""
        return OfVectors((), is_old=False, has_refused=False)

    @cached_property
    def outdated(self) -> bool:
        """Whether another rule made any decision."""
        return any(self.summaries[batch].rule != self.rule for batch in self.batches)

    def standing(self, batch: str) -> pl.DataFrame:
        """Read the valid decisions about a batch, once.

        Decisions about rows that no longer reach this stage are deleted, on disk too. New decisions ignore them, so
        they must not become valid again if the rows return.

        Returns:
            `(id, admission, keeper_id, similarity, place)`, in order, with the columns of the content.
        """
        if batch not in self._standing:
            records = self.records
            stored = records.stored(self.stage, batch)
            reached = stored.join(self.reach(batch), on="id", how="semi", maintain_order="left")
            rows = records.valid(batch, reached)
            if not rows.equals(stored):
                records.write_decisions(self.stage, batch, rows)
            columns = dict.fromkeys([*DECIDED, *records.content])
            self._standing[batch] = rows.select(list(columns)).with_columns(place=places(rows["admission"]))
        return self._standing[batch]

    def _tidy(self, batch: str) -> None:
        """Forget the decisions about a batch if there are many, so that a whole hub is not in memory."""
        if len(self._standing) > _HELD:
            self._standing.pop(batch, None)

    def replace_standing(self, batch: str, rows: pl.DataFrame) -> None:
        """Use other decisions `(id, admission, keeper_id, similarity, place, ...)` about a batch from now on."""
        self._standing[batch] = rows
        self.records.write_decisions(self.stage, batch, rows.with_columns(batch=pl.lit(batch)))
        self._look_again(batch)

    def look_again(self, batch: str) -> None:
        """Read the decisions about a batch again, if it has any: its rows were changed."""
        self._standing.pop(batch, None)
        self._look_again(batch)

    def _look_again(self, batch: str) -> None:
        if batch in self._compared:
            self._marks[batch] = self.records.mark(self.stage, batch)
            self.summaries[batch] = self._summary(batch, is_compared=True)

    def reach(self, batch: str) -> pl.DataFrame:
        """`(id, ...)` of the rows of a batch at this stage."""
        return self.records.rows(batch, "id")

    def elsewhere(self, ids: pl.Series) -> pl.Series:
        """Of some ids those of kept rows that cannot be compared now; rows dropped for them stay dropped."""
        return ids.clear()

    @property
    def next_admission(self) -> int:
        """The first admission that is not used."""
        # Includes decisions about vectors of other models.
        return 1 + max((each.last_admission for each in self.summaries.values()), default=0)

    def rows(self, batch: str, read: Callable[[str], pl.DataFrame]) -> pl.DataFrame:
        """Return the rows to decide, in order: those of the batch, or of all batches if the hub is outdated.

        Args:
            batch: batch of the run; its rows need not have decisions.
            read: returns `(id, hop, ...)` of a batch.

        Returns:
            `(batch, id, hop, ..., admission, keeper_id, similarity)`.
        """
        nothing = self.records.stored(self.stage, batch).clear()
        frames = []
        for key in sorted({batch, *(self.batches if self.outdated else ())}):
            before = self.standing(key) if key in self._compared else nothing
            rows = read(key).with_columns(batch=pl.lit(key))
            frames.append(rows.join(before.select(DECIDED), on="id", how="left" if key == batch else "inner"))
        return in_order(pl.concat(frames))

    def kept(self, batch: str) -> pl.DataFrame:
        """`(id, place)` of the rows that a batch keeps, in order."""
        return self._kept(batch).select("id", "place")

    def _kept(self, batch: str) -> pl.DataFrame:
        return self.standing(batch).filter(pl.col("keeper_id").is_null())

    def others(self, batch: str) -> list[str]:
        """Batches whose kept rows are compared; empty if all decisions are made again."""
        return [] if self.outdated else [key for key in self.batches if key != batch]

    def kept_of_others(self, batch: str) -> "KeptOfOthers":
        """The kept rows of the other batches, by id and by place."""
        others = self.others(batch)
        if others:
            self.compact(self._form)
        return KeptOfOthers(self, others)

    def publish(self, batch: str, decisions: pl.DataFrame, how: "How | None") -> pl.DataFrame:
        """Write new decisions of a batch and of others that were decided again; return those of the batch.

        Args:
            batch: may have no decisions.
            decisions: as returned by `dedup.keepers.admit`.
            how: method of the decisions; None: no rows were compared, so the stored method stays.
        """
        by_batch = {str(key): rows for (key,), rows in decisions.partition_by("batch", as_dict=True).items()}
        for key in (batch, *(self.batches if self.outdated else ())):  # includes batches without candidates
            by_batch.setdefault(key, decisions.clear())
        runs = {key: self._run(key, rows, how or self.how(key)) for key, rows in by_batch.items()}
        tables = [(self.records.write_run, runs), (self.records.write_decisions, by_batch)]
        # If a replay is interrupted between the two, all must be decided again; for other runs, nothing must be.
        for write, frames in reversed(tables) if self.outdated else tables:
            for key, rows in frames.items():
                write(self.stage, key, rows)
        # Earlier versions kept a copy of the drops there.
        discard(self.records.store.paths.tables / self.records.asset(self.stage))
        return by_batch[batch]

    def how(self, batch: str) -> "How":
        """Method of the stored decisions about a batch."""
        rows = self.records.run(self.stage, batch).select("method", "recall").rows()
        return How(*rows[0]) if rows else How("exact", 1.0)

    def _run(self, batch: str, decisions: pl.DataFrame, how: "How") -> pl.DataFrame:
        counts = {"candidates": decisions.height, "kept": decisions["keeper_id"].null_count()}
        row = {"batch": batch, "stage": self.stage, "rule": self.rule, **how._asdict(), **counts}
        return pl.DataFrame([row], table_schema(self.records.runs))

    @property
    def _form(self) -> Form | None:
        """The searchable form of kept rows; None while it is not chosen."""
        return None

    def compact(self, form: Form | None) -> None:
        """Bring the segments up to date with the decisions about all batches, and store them."""
        if form is None or self.records.store.is_draft or (self._are_current and self.state.form == form.name):
            return
        state = self.state
        stamps = {batch: each.stamp for batch, each in self.summaries.items() if batch in self._compared and each.stamp}
        before = state.summaries, state.form, [segment.entries for segment in state.segments]
        state.keep_only(stamps, form.name)
        present = state.stamps()
        missing = [batch for batch in stamps if batch not in present]
        missing.sort(key=lambda batch: (self.summaries[batch].last_admission, batch))
        state.append({batch: stamps[batch] for batch in missing}, self._compacted, form)
        state.summaries = self.summaries
        if before != (state.summaries, state.form, [segment.entries for segment in state.segments]):
            state.save(_SHARED)
        self._are_current = True

    def _compacted(self, batch: str) -> Rows:
        kept = self.kept(batch).select(pl.lit(batch).alias("batch"), "id", "place")
        keepers = self.standing(batch)["keeper_id"].drop_nulls()
        self._tidy(batch)
        return Rows(kept, keepers)

    def segments(self, form: Form) -> list[Segment]:
        """The kept rows of all batches in searchable form."""
        self.compact(form)
        return self.state.segments

    def stamp(self, batch: str) -> str:
        """Hash of the kept rows of a batch, with their texts, and of their places."""
        kept = self._kept(batch)
        content = kept.select(pl.concat_str(self.records.content, separator=" ").str.join("\n")).item()
        ids = hashlib.sha256((content or "").encode())
        keepers = hashlib.sha256("\n".join(self.standing(batch)["keeper_id"].drop_nulls()).encode()).hexdigest()
        return digest(batch, ids.hexdigest(), keepers, hashlib.sha256(kept["place"].to_numpy().tobytes()).hexdigest())

    @cached_property
    def memory(self) -> int:
        """Bytes of memory for the rows of a walk; beyond it they are in files."""
        return self.records.store.config.compute.memory_mb << 20

    @contextmanager
    def divided(
        self, kept: Sequence[T], divisible: Callable[[Segment], Divisible]
    ) -> Iterator[tuple[Sequence[T], list[RemoteShards]]]:
        """Divide the kept rows of other batches: those that stay here, and shards of those in a cluster.

        Args:
            kept: the kept rows.
            divisible: makes parts of a segment of the same rows.
        """
        store = self.records.store
        if store.config.compute.engine == "local" or not kept:
            yield kept, []
        else:
            name = digest(address_of(store.root) or str(store.root), str(self.cache.relative_to(store.root)))
            with placed(name, list(map(divisible, self.state.segments)), store.config.compute) as shards:
                yield [], [shards]
            self.facts = {name: self.facts.get(name, 0.0) + value for name, value in shards.facts.items()}

    def scratch(self) -> Scratch:
        """Arrays of a walk."""
        return Scratch(self.records.store.paths.aside, self.memory)

    @property
    def cache(self) -> Path:
        """Cache folder of this stage."""
        return self.records.cache(self.stage)


class KeptOfOthers:
    """The kept rows of the batches that one batch is compared with, by id and by place."""

    def __init__(self, hub: Hub, others: Sequence[str]) -> None:
        stamps, summaries = hub.state.stamps(), hub.summaries
        wanted = set(others)
        present = {key for key, stamp in stamps.items() if key in wanted and summaries[key].stamp == stamp}
        self._hub = hub
        self._segments = hub.state.segments if present else []
        self._without = frozenset(stamps.keys() - present)
        self._loose_batches = [key for key in others if key not in present]
        self._loose = Listed(pl.concat([_NO_PLACES, *map(hub.kept, self._loose_batches)]))

    def places_of(self, ids: pl.Series) -> pl.DataFrame:
        """`(id, place)` of those of some ids that are kept."""
        wanted = ids.drop_nulls().unique()
        keys = encoded(wanted)
        frames = [self._loose.places_of(wanted)]
        for segment in self._segments:
            rows = segment.rows_of(keys, self._without)
            is_here = rows >= 0
            at = segment.arrays["places"][rows[is_here]]
            frames.append(pl.DataFrame({"id": wanted.filter(pl.Series(is_here)), "place": at}, _NO_PLACES.schema))
        return pl.concat(frames)

    def ids_at(self, positions: Ints) -> pl.DataFrame:
        """`(id, place)` of the kept rows at some places."""
        wanted = np.unique(positions)
        frames = [self._loose.ids_at(wanted)]
        for segment in self._segments:
            rows = segment.rows_at(wanted, self._without)
            is_here = rows >= 0
            ids = [text.decode() for text in segment.arrays["ids"][rows[is_here]]]
            frames.append(pl.DataFrame({"id": ids, "place": wanted[is_here]}, _NO_PLACES.schema))
        return pl.concat(frames)

    def batches_of(self, ids: pl.Series) -> set[str]:
        """The batches that keep some ids."""
        keys, batches = encoded(ids), set[str]()
        for segment in self._segments:
            rows = segment.rows_of(keys, self._without)
            batches |= segment.batches_of(rows[rows >= 0])
        ids_here = ids.implode()
        batches.update(key for key in self._loose_batches if self._hub.kept(key)["id"].is_in(ids_here).any())
        return batches

    def absorbed(self, keepers: pl.Series) -> dict[str, int]:
        """The number of rows of these batches that were dropped for each keeper."""
        keys, counts = encoded(keepers), np.zeros(len(keepers), np.int64)
        for segment in self._segments:
            counts += segment.absorbed(keys, self._without)
        absorbed = dict(zip(keepers, counts.tolist(), strict=True))
        ids = keepers.implode()
        for key in self._loose_batches:
            dropped_for = self._hub.standing(key)["keeper_id"]
            for keeper, drops in dropped_for.filter(dropped_for.is_in(ids)).value_counts().iter_rows():
                absorbed[keeper] += drops
        return absorbed
