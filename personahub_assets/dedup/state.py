"""The hub at a dedup stage: the decisions about every batch, and the kept rows in searchable form.

Decisions are the state; they are tables of the store. The searchable form of kept rows is in `cache/` of the home. It
is built from the tables if it is missing or outdated, and can be deleted at any time.

Importing this module takes a second (compiled kernels), so assets import it in their functions.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.dedup import array_cache, lexical, semantic, signatures
from personahub_assets.dedup.ann_index import Neighbours
from personahub_assets.dedup.cosines import Flags, Ints, Kept, Vectors
from personahub_assets.dedup.keepers import NONE, NOTHING, Decided, Listed, Walk, in_order, places
from personahub_assets.dedup.kept_rows import Form, KeptRows, OfVectors, Rows, Segment, Summary, encoded
from personahub_assets.dedup.records import DECIDED, Records
from personahub_assets.dedup.wordsets import WordOrder
from personahub_assets.embedding.reading import REFUSED, SAME
from personahub_assets.store.removal import discard, remove
from personahub_assets.store.tables import table_schema

_SHARED = ("plan", "index")  # folders in the cache that are no segments
_HELD = 256  # batches whose decisions are in memory
_SHORT_CHARS = 254  # every model reads an English text of this length completely
_OUTGROWN = 4  # a plan is replaced when there are this many times the rows that it was made for


_NO_PLACES = pl.DataFrame(schema={"id": pl.String, "place": pl.Int64})
_NO_TEXTS = pl.DataFrame(schema={"batch": pl.String, "id": pl.String, "text": pl.String})
_NO_MARKS = pl.DataFrame(schema={"id": pl.String, "mark": pl.Int64, "is_read": pl.Boolean})


class How(NamedTuple):
    """Method by which similar rows were found."""

    method: str  # 'exact', 'minhash' or 'usearch'
    recall: float | None  # share of the keepers that the index found in a sample; None: not measured


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

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """What is known of every batch with decisions; files that are unchanged are not read."""
        known = self.state.summaries
        summaries = {}
        for batch in self._marks:
            before = known.get(batch)
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
        dropped = self.standing(batch).filter(pl.col("keeper_id").is_not_null())
        self._tidy(batch)
        return Rows(kept, dropped.select(pl.lit(batch).alias("batch"), "keeper_id"))

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

    @property
    def cache(self) -> Path:
        """Cache folder of this stage."""
        return self.records.cache(self.stage)


class KeptOfOthers:
    """The kept rows of the batches that one batch is compared with, by id and by place."""

    def __init__(self, hub: Hub, others: Sequence[str]) -> None:
        state, summaries = hub.state, hub.summaries
        wanted = set(others)
        present = {key for key, stamp in state.stamps().items() if key in wanted and summaries[key].stamp == stamp}
        self._hub = hub
        self._segments = state.segments if present else []
        self._without = frozenset(state.stamps().keys() - present)
        loose = [hub.kept(key) for key in others if key not in present]
        self._loose = Listed(pl.concat([_NO_PLACES, *loose]))
        self._loose_batches = [key for key in others if key not in present]

    def places_of(self, ids: pl.Series) -> pl.DataFrame:
        """`(id, place)` of those of some ids that are kept."""
        wanted = ids.drop_nulls().unique()
        keys = encoded(wanted)
        frames = [self._loose.places_of(wanted)]
        for segment in self._segments:
            rows = segment.rows_of(keys, self._without)
            here = rows >= 0
            at = segment.arrays["places"][rows[here]]
            frames.append(pl.DataFrame({"id": wanted.filter(pl.Series(here)), "place": at}, _NO_PLACES.schema))
        return pl.concat(frames)

    def ids_at(self, positions: Ints) -> pl.DataFrame:
        """`(id, place)` of the kept rows at some places."""
        wanted = np.unique(positions)
        frames = [self._loose.ids_at(wanted)]
        for segment in self._segments:
            rows = segment.rows_at(wanted, self._without)
            here = rows >= 0
            ids = [text.decode() for text in segment.arrays["ids"][rows[here]]]
            frames.append(pl.DataFrame({"id": ids, "place": wanted[here]}, _NO_PLACES.schema))
        return pl.concat(frames)

    def batches_of(self, ids: pl.Series) -> set[str]:
        """The batches that keep some ids."""
        keys, batches = encoded(ids), set[str]()
        for segment in self._segments:
            rows = segment.rows_of(keys, self._without)
            batches.update(segment.batch_of(row) for row in rows[rows >= 0])
        ids_here = ids.implode()
        batches.update(key for key in self._loose_batches if self._hub.kept(key)["id"].is_in(ids_here).any())
        return batches

    def absorbed(self, keepers: pl.Series) -> dict[str, int]:
        """The number of rows of these batches that were dropped for each keeper."""
        counts = np.zeros(len(keepers), np.int64)
        for segment in self._segments:
            counts += segment.absorbed(encoded(keepers), self._without)
        absorbed = dict(zip(keepers, counts.tolist(), strict=True))
        ids = keepers.implode()
        for key in self._loose_batches:
            dropped_for = self._hub.standing(key)["keeper_id"]
            for keeper, drops in dropped_for.filter(dropped_for.is_in(ids)).value_counts().iter_rows():
                absorbed[keeper] += drops
        return absorbed


class LexicalForm:
    """Kept rows as packed word sets with their signatures.

    Args:
        hub: the stage.
        scheme: the plan of the signatures.
    """

    def __init__(self, hub: "LexicalHub", scheme: signatures.SignatureScheme) -> None:
        self._hub, self._scheme = hub, scheme

    @property
    def name(self) -> str:
        """Names the plan."""
        return self._scheme.name

    def make(self, kept: pl.DataFrame) -> array_cache.Arrays:
        """The arrays of a `lexical.Segment`, but for its places."""
        texts = [self._hub.texts(str(batch)) for batch in kept["batch"].unique(maintain_order=True)]
        rows = kept.join(pl.concat([_NO_TEXTS, *texts]), on=["batch", "id"], how="left", maintain_order="left")
        made = lexical.segment(self._scheme.sets(rows["text"]), rows["place"].to_numpy(), self._scheme)
        return {name: array for name, array in made._asdict().items() if name != "places"}

    def merge(self, parts: Sequence[array_cache.Arrays], firsts: Sequence[int]) -> Mapping[str, array_cache.Pieces]:
        """The same arrays for several segments."""
        ends = np.cumsum([0, *(len(part["codes"]) for part in parts)])
        starts = [part["starts"][:-1] + end for part, end in zip(parts, ends, strict=False)]
        found = np.concatenate([part["signatures"] for part in parts])
        owners = np.concatenate([part["owners"] + np.uint32(n) for part, n in zip(parts, firsts, strict=True)])
        order = np.argsort(found, kind="stable")
        return {
            "starts": np.concatenate([*starts, ends[-1:]]),
            "codes": [part["codes"] for part in parts],
            "signatures": found[order],
            "owners": owners[order],
        }


class LexicalHub(Hub):
    """The lexical stage."""

    def __init__(self, records: Records):
        self.settings = records.lexical
        super().__init__(records, "lexical", self.settings.rule, self.settings.threshold)
        self._plan = self._read_plan()

    def search(self, rows: pl.DataFrame, batch: str) -> "LexicalSearch":
        """Compare rows `(id, text)` with each other and with the kept rows of other batches."""
        return LexicalSearch(self, rows["text"], batch)

    @property
    def _form(self) -> Form | None:
        return LexicalForm(self, self._plan[0]) if self._plan else None

    def searched(self, plan: signatures.SignatureScheme, batch: str) -> list[lexical.Segment]:
        """The kept rows of all batches but one in searchable form."""
        if not self.others(batch):
            return []
        without = frozenset({batch})
        return [
            lexical.Segment(segment.places(without), *(segment.arrays[name] for name in lexical.Segment._fields[1:]))
            for segment in self.segments(LexicalForm(self, plan))
        ]

    def texts(self, batch: str) -> pl.DataFrame:
        """`(batch, id, text)` of the rows of a batch."""
        return self.records.rows(batch, "id", "text").select(pl.lit(batch).alias("batch"), "id", "text")

    @property
    def _bare(self) -> signatures.SignatureScheme:
        chosen = self.settings
        return signatures.SignatureScheme(chosen.threshold, chosen.method, chosen.ngram, chosen.permutations)

    def _read_plan(self) -> tuple[signatures.SignatureScheme, int] | None:
        """The plan of the segments, with the number of rows that it was made for."""
        if self.settings.method == "minhash":
            return self._bare, 0
        stored = array_cache.opened(self.cache / "plan", self.rule, may_write=not self.records.store.is_draft)
        if stored is None:
            return None
        width, planned_for = stored["numbers"].tolist()
        return replace(self._bare, order=WordOrder(stored["hashes"], stored["ranks"]), width=width), planned_for

    def plan(self, texts: pl.Series, others: Sequence[str]) -> signatures.SignatureScheme:
        """The plan of the segments of other batches, or a new one if that does not suit these texts."""
        if self.settings.method == "minhash":
            return self._bare
        rows = len(texts) + sum(self.summaries[batch].candidates for batch in others)
        if self._plan:
            plan, planned_for = self._plan
            if rows <= _OUTGROWN * planned_for and signatures.suits(plan, texts):
                return plan
        sample = pl.concat([texts, *(self.texts(batch)["text"] for batch in others[:: max(1, len(others) // 8)])])
        plan = signatures.plan(self._bare, sample, rows)
        remove(self.cache)
        self.state, self._are_current = KeptRows(self.cache), False
        array_cache.save(
            self.cache / "plan", self.rule, {**plan.order._asdict(), "numbers": np.array([plan.width, rows])}
        )
        self._plan = plan, rows
        return plan


class LexicalSearch:
    """Compares texts of the lexical stage; `how` is the method."""

    def __init__(self, hub: LexicalHub, texts: pl.Series, batch: str):
        self._hub, self._texts, self._batch = hub, texts, batch
        self.how: How | None = None

    def decide(self, walk: Walk) -> Decided:
        """Decide about some of the rows."""
        if not len(walk.index):
            return NOTHING
        standing = lexical.segment(self._plan.sets(self._texts[walk.standing]), walk.standing_places, self._plan)
        self.how = How(self._plan.method, 1.0 if self._plan.method == "exact" else None)
        with self._spilling() as spill:
            return lexical.decide(
                self._texts[walk.index],
                walk.places,
                walk.may_stay,
                [*self._segments, standing],
                self._plan,
                memory=self._hub.settings.memory_mb << 20,
                spill=spill,
            )

    @cached_property
    def _plan(self) -> signatures.SignatureScheme:
        return self._hub.plan(self._texts, self._hub.others(self._batch))

    @cached_property
    def _segments(self) -> list[lexical.Segment]:
        return self._hub.searched(self._plan, self._batch)

    @contextmanager
    def _spilling(self) -> Iterator[Callable[[lexical.Segment], lexical.Segment]]:
        """Store segments on disk during a walk."""
        aside = self._hub.records.store.paths.aside
        aside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=aside) as folder:
            numbers = count()

            def spill(segment: lexical.Segment) -> lexical.Segment:
                return lexical.Segment(**array_cache.cached(Path(folder) / str(next(numbers)), "", segment._asdict))

            yield spill


class SemanticHub(Hub):
    """The semantic stage, for vectors of one model; batches with vectors of other models are ignored.

    Texts of which the model reads too little are kept, because their vectors say too little to compare them.
    """

    def __init__(self, records: Records, model: str):
        self.settings = records.semantic
        self.model = model
        super().__init__(records, "semantic", self.settings.rule(model), self.settings.threshold)
        self._vectors: dict[str, OfVectors] = {}
        for batch, mark in self._marks.items():
            before = self.state.summaries.get(batch)
            is_known = before is not None and before.mark == mark
            self._vectors[batch] = before.of_vectors if before and is_known else self._read_vectors(batch)
        self.batches = [batch for batch, each in self._vectors.items() if set(each.models) <= {model}]
        self.apart = sorted(set(self._vectors) - set(self.batches))
        self._refused = {batch for batch in self.batches if self._vectors[batch].has_refused}
        self._old = {batch for batch in self.batches if self._vectors[batch].is_old}
        if self._old:
            self.rule += ", some of an older version"  # so that all are decided again when none of them is left

    def _of_vectors(self, batch: str) -> OfVectors:
        return self._vectors[batch]

    def _read_vectors(self, batch: str) -> OfVectors:
        rows = self.records.embedded(batch, ["model", "unread", "unread_hash"])
        models = tuple(sorted(map(str, rows["model"].unique())))
        return OfVectors(models, rows["unread"].null_count() > 0, bool((rows["unread_hash"] == REFUSED).any()))

    def stamp(self, batch: str) -> str:
        """Hash of the kept rows of a batch, of their places, and of what is known about their vectors.

        A refused text can get its vector later, while its persona stays kept.
        """
        unread = self.marks(batch).filter(~pl.col("is_read"))["id"] if batch in self._refused else ()
        return digest(super().stamp(batch), batch in self._old, *unread)

    def marks(self, batch: str) -> pl.DataFrame:
        """`(id, mark, is_read)` of the rows with a vector; only those with equal marks are compared."""
        rows = self.records.embedded(batch, ["id", "unread", "unread_hash"])
        if rows["unread"].null_count():
            rows = self._assumed(batch, rows)
        marks = {text: int(digest(text, size=15), 16) for text in rows["unread_hash"].unique()} | {"": 0}
        return rows.select(
            "id",
            mark=pl.col("unread_hash").replace_strict(marks, return_dtype=pl.Int64),
            is_read=(pl.col("unread") <= self.settings.max_unread) & (pl.col("unread_hash") != REFUSED),
        )

    def _assumed(self, batch: str, rows: pl.DataFrame) -> pl.DataFrame:
        """Assume that short ASCII texts are read and all others unread, until their batch is embedded again."""
        texts = rows.join(self.records.rows(batch, "id", "text"), on="id", maintain_order="left")
        text = pl.col("text")
        plain = (text.str.len_bytes() == text.str.len_chars()) & (text.str.len_chars() <= _SHORT_CHARS)
        return texts.with_columns(
            pl.col("unread").fill_null(pl.when(plain).then(0.0).otherwise(2.0)), pl.col("unread_hash").fill_null("")
        )

    @cached_property
    def outdated(self) -> bool:
        """Whether another rule made any decision, or the index although all rows can now be compared."""
        by_index = any(self.summaries[batch].method == "usearch" for batch in self.batches)
        rows = sum(each.run_candidates for each in self.summaries.values())
        return super().outdated or (by_index and rows * rows <= self.settings.exact_up_to)

    def elsewhere(self, ids: pl.Series) -> pl.Series:
        """Of some ids those kept in batches with vectors of another model."""
        wanted = ids.drop_nulls()
        if self.apart and len(wanted):
            kept = pl.concat([self.records.kept(self.stage, batch)["id"] for batch in self.apart])
            return wanted.filter(wanted.is_in(kept.implode()))
        return wanted.clear()

    def reach(self, batch: str) -> pl.DataFrame:
        """`(id, hop)` of a batch's lexical survivors that have a vector."""
        records = self.records
        rows = records.embedded(batch, ["id"]).join(records.kept("lexical", batch), on="id", how="semi")
        return rows.join(records.rows(batch, "id", "hop"), on="id", maintain_order="left")

    def search(self, rows: pl.DataFrame, batch: str) -> "SemanticSearch":
        """Compare rows `(batch, id)` with each other and with the kept rows of other batches."""
        return SemanticSearch(self, rows, batch)

    @property
    def _form(self) -> Form:
        return SemanticForm(self)

    def searched(self, batch: str) -> list[Kept]:
        """The kept rows of all batches but one in searchable form."""
        if not self.others(batch):
            return []
        without = frozenset({batch})
        searched = []
        for segment in self.segments(self._form):
            arrays = segment.arrays
            searched.append(Kept(arrays["vectors"], segment.places(without)[arrays["rows"]], arrays["marks"]))
        return searched

    def index(self, kept: Sequence[Kept], dimensions: int) -> Neighbours:
        """The index of the kept rows of other batches: the stored one if it is valid, with missing rows added."""
        index, sequence = Neighbours(dimensions), self.state.sequence()
        key = f"{self.rule}, {index.kind}"
        stored = array_cache.opened(self.cache / "index", key)
        if stored is not None and stored["stamps"].tolist() == sequence[: len(stored["stamps"])]:
            index.load_bytes(stored["index"].tobytes())
        restored_rows = len(index)
        index.catch_up(kept)
        if len(index) > restored_rows:
            arrays = {"index": np.frombuffer(index.to_bytes(), np.uint8), "stamps": np.array(sequence)}
            array_cache.save(self.cache / "index", key, arrays)
        return index


class SemanticForm:
    """Kept rows as vectors with their marks, but for those that are not read."""

    def __init__(self, hub: SemanticHub) -> None:
        self._hub = hub

    @property
    def name(self) -> str:
        """Names the model and the rule."""
        return digest(self._hub.rule)

    def make(self, kept: pl.DataFrame) -> array_cache.Arrays:
        """`vectors`, with the `marks` of the rows, and `rows`, their numbers among all kept ones."""
        batches = kept["batch"].unique(maintain_order=True)
        marks = [self._hub.marks(str(batch)).with_columns(batch=pl.lit(str(batch))) for batch in batches]
        numbered = kept.with_row_index("row").join(
            pl.concat([_NO_MARKS.with_columns(batch=pl.lit("")), *marks]).filter("is_read"),
            on=["batch", "id"],
            maintain_order="left",
        )
        vectors = self._hub.records.matrix(self._hub.model, numbered)
        return {
            "vectors": vectors,
            "marks": numbered["mark"].to_numpy(),
            "rows": numbered["row"].to_numpy().astype(np.int64),
        }

    def merge(self, parts: Sequence[array_cache.Arrays], firsts: Sequence[int]) -> Mapping[str, array_cache.Pieces]:
        """The same arrays for several segments."""
        filled = [part["vectors"] for part in parts if len(part["vectors"])]
        return {
            "vectors": filled or parts[0]["vectors"],
            "marks": np.concatenate([part["marks"] for part in parts]),
            "rows": np.concatenate([part["rows"] + first for part, first in zip(parts, firsts, strict=True)]),
        }


class SemanticSearch:
    """Compares vectors of the semantic stage; `how` is the method."""

    def __init__(self, hub: SemanticHub, rows: pl.DataFrame, batch: str):
        self._hub, self._rows, self._batch = hub, rows, batch
        self.how: How | None = None

    def decide(self, walk: Walk) -> Decided:
        """Decide about some of the rows; texts that the model does not read are kept."""
        if not len(walk.index):
            return NOTHING
        is_read = self._is_read[walk.index]
        keeper, similarity = np.full(len(is_read), NONE), np.full(len(is_read), np.nan)
        stays = walk.may_stay.copy()
        if is_read.any():
            decided = self._compare(self._read(walk, is_read))
            keeper[is_read], similarity[is_read], stays[is_read] = decided.keeper, decided.similarity, decided.stays
        return Decided(keeper, similarity, stays)

    def _read(self, walk: Walk, is_read: Flags) -> Walk:
        """The part of a walk that can be compared."""
        standing = self._is_read[walk.standing]
        return Walk(
            walk.index[is_read],
            walk.places[is_read],
            walk.may_stay[is_read],
            walk.standing[standing],
            walk.standing_places[standing],
        )

    def _compare(self, walk: Walk) -> Decided:
        covers_all = len(walk.index) == len(self._vectors) and not len(walk.standing)  # all rows, in order
        standing = Kept(self._vectors[walk.standing], walk.standing_places, self._marks[walk.standing])
        decided = semantic.decide(
            self._vectors if covers_all and np.all(np.diff(walk.index) == 1) else self._vectors[walk.index],
            walk.places,
            walk.may_stay,
            [*self._kept, standing],
            self._hub.settings.threshold,
            marks=self._marks[walk.index],
            same=SAME,
            exact_up_to=self._hub.settings.exact_up_to,
            index=partial(self._hub.index, self._kept, self._vectors.shape[1]),
        )
        by_index = [how for how in (self.how, How(decided.method, decided.recall)) if how and how.method == "usearch"]
        self.how = min(by_index, key=lambda how: how.recall or 0.0, default=How("exact", 1.0))
        return decided

    @cached_property
    def _marked(self) -> pl.DataFrame:
        batches = self._rows["batch"].unique()
        marks = pl.concat([_NO_MARKS, *(self._hub.marks(batch) for batch in batches)])
        return self._rows.select("id").join(marks, on="id", how="left", maintain_order="left")

    @cached_property
    def _marks(self) -> Ints:
        return self._marked["mark"].to_numpy()

    @cached_property
    def _is_read(self) -> Flags:
        return self._marked["is_read"].to_numpy()

    @cached_property
    def _vectors(self) -> Vectors:
        return self._hub.records.matrix(self._hub.model, self._rows, has_nulls=True)  # zeros are not read

    @cached_property
    def _kept(self) -> list[Kept]:
        return self._hub.searched(self._batch)
