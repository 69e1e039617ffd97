"""The hub at a dedup stage: the decisions about every batch, and the kept rows in searchable form.

Decisions are the state; they are tables of the store. The searchable form of kept rows is in `cache/` of the home. It
is built from the tables if it is missing or outdated, and can be deleted at any time.

Importing this module takes a second (compiled kernels), so assets import it in their functions.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from personahub_assets.dedup.keepers import NONE, NOTHING, Decided, Walk, in_order, places
from personahub_assets.dedup.records import DECIDED, Records
from personahub_assets.dedup.wordsets import WordOrder
from personahub_assets.embedding.reading import REFUSED, SAME
from personahub_assets.store.removal import discard, remove
from personahub_assets.store.tables import table_schema

_SHARED = ("plan", "index")  # folders in the cache that belong to no batch
_SHORT_CHARS = 254  # every model reads an English text of this length completely
_OUTGROWN = 4  # a plan is replaced when there are this many times the rows that it was made for


_NO_MARKS = pl.DataFrame(schema={"id": pl.String, "mark": pl.Int64, "is_read": pl.Boolean})


class How(NamedTuple):
    """Method by which similar rows were found."""

    method: str  # 'exact', 'minhash' or 'usearch'
    recall: float | None  # share of the keepers that the index found in a sample; None: not measured


class Hub:
    """State of one stage; hold the stage's admission lock to read or change it.

    Args:
        records: the rows that are compared.
        stage: 'lexical' or 'semantic'.
        rule: names the comparison and the threshold. If another rule made decisions, all are made again.
        threshold: similarity from which a row is a duplicate.
    """

    def __init__(self, records: Records, stage: str, rule: str, threshold: float):
        self.records, self.stage, self.rule, self.threshold = records, stage, rule, threshold
        self.batches = records.batches(stage)

    @cached_property
    def outdated(self) -> bool:
        """Whether another rule made any decision."""
        runs = self.runs.filter(pl.col("rule") == self.rule)
        return bool(set(self.batches) - set(runs["batch"]))

    @cached_property
    def runs(self) -> pl.DataFrame:
        """How each batch was decided."""
        return self.records.all_runs(self.stage)

    @cached_property
    def decisions(self) -> dict[str, pl.DataFrame]:
        """`(id, admission, keeper_id, similarity, place)` of each batch, in order, with the columns of the content."""
        return {batch: self.standing(batch) for batch in self.batches}

    def standing(self, batch: str) -> pl.DataFrame:
        """Read the valid decisions about a batch.

        Decisions about rows that no longer reach this stage are deleted, on disk too. New decisions ignore them, so
        they must not become valid again if the rows return.
        """
        records = self.records
        stored = records.stored(self.stage, batch)
        reached = stored.join(self.reach(batch), on="id", how="semi", maintain_order="left")
        rows = records.valid(batch, reached)
        if not rows.equals(stored):
            records.write_decisions(self.stage, batch, rows)
        columns = dict.fromkeys([*DECIDED, *records.content])
        return rows.select(list(columns)).with_columns(place=places(rows["admission"]))

    def reach(self, batch: str) -> pl.DataFrame:
        """`(id, ...)` of the rows of a batch at this stage."""
        return self.records.rows(batch, "id")

    @property
    def elsewhere(self) -> pl.Series:
        """Kept rows that cannot be compared now; rows dropped for them stay dropped."""
        return pl.Series(dtype=pl.String)

    @property
    def next_admission(self) -> int:
        """The first admission that is not used."""
        # Includes decisions about vectors of other models.
        return self.records.last_admission(self.stage) + 1

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
            before = self.decisions.get(key, nothing).select(DECIDED)
            rows = read(key).with_columns(batch=pl.lit(key))
            frames.append(rows.join(before, on="id", how="left" if key == batch else "inner"))
        return in_order(pl.concat(frames))

    def kept(self, batch: str) -> pl.DataFrame:
        """`(id, place)` of the rows that a batch keeps, in order."""
        return self._kept(batch).select("id", "place")

    def _kept(self, batch: str) -> pl.DataFrame:
        return self.decisions[batch].filter(pl.col("keeper_id").is_null())

    def others(self, batch: str) -> list[str]:
        """Batches whose kept rows are compared; empty if all decisions are made again."""
        return [] if self.outdated else [key for key in self.batches if key != batch]

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
        rows = self.records.method(self.stage, batch).rows()
        return How(*rows[0]) if rows else How("exact", 1.0)

    def _run(self, batch: str, decisions: pl.DataFrame, how: "How") -> pl.DataFrame:
        counts = {"candidates": decisions.height, "kept": decisions["keeper_id"].null_count()}
        row = {"batch": batch, "stage": self.stage, "rule": self.rule, **how._asdict(), **counts}
        return pl.DataFrame([row], table_schema(self.records.runs))

    def searchable(
        self, name: str, batch: str, make: Callable[[pl.DataFrame], array_cache.Arrays]
    ) -> array_cache.Arrays:
        """Open the kept rows of a batch in searchable form.

        Args:
            name: names the form.
            batch: batch of the rows.
            make: computes it from the kept rows `(id, place)`.
        """
        self._tidy(name)
        return array_cache.cached(self.cache / name / batch, self.stamp(batch), lambda: make(self.kept(batch)))

    def stamp(self, batch: str) -> str:
        """Hash of the kept rows of a batch, with their texts, and of their places."""
        kept = self._kept(batch)
        content = kept.select(pl.concat_str(self.records.content, separator=" ").str.join("\n")).item()
        ids = hashlib.sha256((content or "").encode())
        return digest(batch, ids.hexdigest(), hashlib.sha256(kept["place"].to_numpy().tobytes()).hexdigest())

    def _tidy(self, name: str) -> None:
        """Remove other forms than `name`, and leftovers of killed runs."""
        for folder in [*self.cache.glob("*"), *self.cache.glob("*/.*"), *self.cache.glob(".*")]:
            if folder.name.startswith(".") or folder.name not in (name, *_SHARED):
                discard(folder)

    @property
    def cache(self) -> Path:
        """Cache folder of this stage."""
        return self.records.cache(self.stage)


class LexicalHub(Hub):
    """The lexical stage."""

    def __init__(self, records: Records):
        self.settings = records.lexical
        super().__init__(records, "lexical", self.settings.rule, self.settings.threshold)

    def search(self, rows: pl.DataFrame, batch: str) -> "LexicalSearch":
        """Compare rows `(id, text)` with each other and with the kept rows of other batches."""
        return LexicalSearch(self, rows["text"], self.others(batch))

    def segment(self, plan: signatures.SignatureScheme, batch: str) -> lexical.Segment:
        """The kept rows of a batch in searchable form."""

        def make(kept: pl.DataFrame) -> array_cache.Arrays:
            rows = kept.join(self._texts(batch), on="id", how="left", maintain_order="left")
            return lexical.segment(plan.sets(rows["text"]), rows["place"].to_numpy(), plan)._asdict()

        return lexical.Segment(**self.searchable(plan.name, batch, make))

    def _texts(self, batch: str) -> pl.DataFrame:
        return self.records.rows(batch, "id", "text")

    def plan(self, texts: pl.Series, others: Sequence[str]) -> signatures.SignatureScheme:
        """The plan of the segments of other batches, or a new one if that does not suit these texts."""
        chosen = self.settings
        bare = signatures.SignatureScheme(chosen.threshold, chosen.method, chosen.ngram, chosen.permutations)
        rows = len(texts) + sum(self.decisions[batch].height for batch in others)
        stored = array_cache.opened(self.cache / "plan", self.rule)
        if stored is not None:
            width, planned_for = stored["numbers"].tolist()
            plan = replace(bare, order=WordOrder(stored["hashes"], stored["ranks"]), width=width)
            if rows <= _OUTGROWN * planned_for and signatures.suits(plan, texts):
                return plan
        if chosen.method == "minhash":
            return bare
        sample = pl.concat([texts, *(self._texts(batch)["text"] for batch in others[:: max(1, len(others) // 8)])])
        plan = signatures.plan(bare, sample, rows)
        remove(self.cache)
        array_cache.save(
            self.cache / "plan", self.rule, {**plan.order._asdict(), "numbers": np.array([plan.width, rows])}
        )
        return plan


class LexicalSearch:
    """Compares texts of the lexical stage; `how` is the method."""

    def __init__(self, hub: LexicalHub, texts: pl.Series, others: Sequence[str]):
        self._hub, self._texts, self._others = hub, texts, others
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
        return self._hub.plan(self._texts, self._others)

    @cached_property
    def _segments(self) -> list[lexical.Segment]:
        return [self._hub.segment(self._plan, batch) for batch in self._others]

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
        embedded = {batch: records.embedded(batch, ["model", "unread", "unread_hash"]) for batch in self.batches}
        self.batches = [batch for batch, rows in embedded.items() if (rows["model"] == model).all()]
        self.apart = sorted(set(embedded) - set(self.batches))
        self._refused = {batch for batch in self.batches if (embedded[batch]["unread_hash"] == REFUSED).any()}
        self._old = {batch for batch in self.batches if embedded[batch]["unread"].null_count()}
        if self._old:
            self.rule += ", some of an older version"  # so that all are decided again when none of them is left

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
        by_index = self.runs.filter(pl.col("batch").is_in(self.batches), pl.col("method") == "usearch")
        rows = int(self.runs["candidates"].sum())
        return super().outdated or (by_index.height > 0 and rows * rows <= self.settings.exact_up_to)

    @property
    def elsewhere(self) -> pl.Series:
        """Kept rows of batches with vectors of another model."""
        ids = [self.records.kept(self.stage, batch)["id"] for batch in self.apart]
        return pl.concat([super().elsewhere, *ids])

    def reach(self, batch: str) -> pl.DataFrame:
        """`(id, hop)` of a batch's lexical survivors that have a vector."""
        records = self.records
        rows = records.embedded(batch, ["id"]).join(records.kept("lexical", batch), on="id", how="semi")
        return rows.join(records.rows(batch, "id", "hop"), on="id", maintain_order="left")

    def search(self, rows: pl.DataFrame, batch: str) -> "SemanticSearch":
        """Compare rows `(batch, id)` with each other and with the kept rows of other batches."""
        return SemanticSearch(self, rows, self.others(batch))

    def vectors(self, batch: str) -> Kept:
        """The kept rows of a batch in searchable form."""

        def make(kept: pl.DataFrame) -> array_cache.Arrays:
            rows = kept.join(self.marks(batch).filter("is_read"), on="id", maintain_order="left")
            vectors = self.records.matrix(self.model, rows.with_columns(batch=pl.lit(batch)))
            return {"vectors": vectors, "places": rows["place"].to_numpy(), "marks": rows["mark"].to_numpy()}

        return Kept(**self.searchable(digest(self.rule), batch, make))

    def index(self, others: Sequence[str], kept: Sequence[Kept], dimensions: int) -> Neighbours:
        """The index of the kept rows of other batches: the stored one if it is valid, with missing rows added."""
        stamps = [self.stamp(batch) for batch in others]
        index = Neighbours(dimensions)
        key = f"{self.rule}, {index.kind}"
        stored = array_cache.opened(self.cache / "index", key)
        if stored is not None and stored["stamps"].tolist() == stamps[: len(stored["stamps"])]:
            index.load_bytes(stored["index"].tobytes())
        restored_rows = len(index)
        index.catch_up(kept)
        if len(index) > restored_rows:
            arrays = {"index": np.frombuffer(index.to_bytes(), np.uint8), "stamps": np.array(stamps)}
            array_cache.save(self.cache / "index", key, arrays)
        return index


class SemanticSearch:
    """Compares vectors of the semantic stage; `how` is the method."""

    def __init__(self, hub: SemanticHub, rows: pl.DataFrame, others: Sequence[str]):
        # Batches are in the order of admission, so that the index grows only at its end.
        self._hub, self._rows = hub, rows
        self._others = sorted(others, key=lambda batch: (hub.kept(batch)["place"].max() or 0, batch))
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
            index=partial(self._hub.index, self._others, self._kept, self._vectors.shape[1]),
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
        return [self._hub.vectors(batch) for batch in self._others]
