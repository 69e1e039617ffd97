"""The semantic stage: kept rows as vectors, compared exactly or by cells."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import numpy as np
import polars as pl

from personahub_assets.core.text import digest
from personahub_assets.dedup import array_cache, device, semantic
from personahub_assets.dedup.cells import Cells, Numbers, nearest
from personahub_assets.dedup.cosines import Flags, Ints, Kept, Vectors, spans
from personahub_assets.dedup.keepers import NONE, NOTHING, Decided, Walk
from personahub_assets.dedup.kept_rows import Form, OfVectors, Segment
from personahub_assets.dedup.records import Records
from personahub_assets.dedup.shards import Divisible
from personahub_assets.dedup.state import How, Hub
from personahub_assets.dedup.vector_shards import shard
from personahub_assets.embedding.reading import REFUSED, SAME
from personahub_assets.store.removal import discard

_LARGEST = 1 << 20  # rows of a segment that is not merged any more
_PIECE = 65_536  # vectors that are copied together
_SHORT_CHARS = 254  # every model reads an English text of this length completely
_INDEXED = ("cells", "usearch")  # the second by earlier versions
_OUTGROWN = 4  # centroids are replaced when there are this many times the rows that they were chosen for
_NO_MARKS = pl.DataFrame(schema={"id": pl.String, "mark": pl.Int64, "is_read": pl.Boolean})


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
        """Whether another rule made any decision, or an index although `exact_up_to` now allows to compare all rows."""
        by_index = any(self.summaries[batch].method in _INDEXED for batch in self.batches)
        rows = sum(each.run_candidates for each in self.summaries.values())
        return super().outdated or (by_index and rows * rows <= (self.settings.exact_up_to or -1))

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
            searched.append(Kept(arrays["vectors"], segment.positions(without)[arrays["rows"]], arrays["marks"]))
        return searched

    def cells(self, kept: Sequence[Kept], vectors: Vectors) -> Cells:
        """The cells for some vectors and for the kept rows of other batches, as `searched`; they are stored.

        The centroids stay until there are many more rows than they were chosen for, so the cells of a segment are
        found once.
        """
        rows = len(vectors) + sum(len(each.places) for each in kept)
        folder, may_write = self.cache / "index", not self.records.store.is_draft
        stored = array_cache.opened(folder / "centroids", self.rule, may_write=may_write)
        if stored is None or stored["rows"][0] * _OUTGROWN < rows or stored["centroids"].shape[1] != vectors.shape[1]:
            chosen = semantic.choose_cells(vectors, kept, self.settings.threshold)
            stored = {"centroids": chosen.centroids, "probes": np.array([chosen.probes]), "rows": np.array([rows])}
            if may_write:
                discard(folder)
                array_cache.save(folder / "centroids", self.rule, stored)
        centroids = np.array(stored["centroids"])
        segments = self.state.segments if kept else []
        if may_write and folder.exists():
            wanted = {"centroids", *(segment.folder for segment in segments)}
            for path in folder.iterdir():
                if path.name not in wanted:
                    discard(path)
        of_kept = [self._cells_of(*each, centroids) for each in zip(segments, kept, strict=True)]
        return Cells(centroids, int(stored["probes"][0]), of_kept)

    def _cells_of(self, segment: Segment, kept: Kept, centroids: Vectors) -> Numbers:
        """The cell of each row of a segment."""
        stamp = digest(centroids.tobytes().hex(), *(f"{each.batch} {each.stamp}" for each in segment.entries))

        def make() -> array_cache.Arrays:
            return {"cells": nearest(kept.vectors, centroids, 1)[:, 0]}

        if self.records.store.is_draft:
            return make()["cells"]
        return array_cache.cached(self.cache / "index" / segment.folder, stamp, make)["cells"]


class SemanticForm:
    """Kept rows as vectors with their marks, but for those that are not read."""

    def __init__(self, hub: SemanticHub) -> None:
        self._hub = hub

    @property
    def name(self) -> str:
        """Names the model and the rule."""
        return digest(self._hub.rule)

    @property
    def largest(self) -> float:
        """A search reads all vectors, whatever the number of segments; a merge copies them."""
        return _LARGEST

    def make(self, kept: pl.DataFrame) -> array_cache.Arrays:
        """`vectors`, with the `marks` of the rows, and `rows`, their numbers among all kept ones."""
        batches = kept["batch"].unique(maintain_order=True)
        marks = [self._hub.marks(str(batch)).with_columns(batch=pl.lit(str(batch))) for batch in batches]
        numbered = kept.with_row_index("row").join(
            pl.concat([_NO_MARKS.with_columns(batch=pl.lit("")), *marks]).filter("is_read"),
            on=["batch", "id"],
            maintain_order="left",
        )
        vectors = self._hub.records.matrix(self._hub.model, numbered, allocate=self._hub.scratch().empty)
        return {
            "vectors": vectors,
            "marks": numbered["mark"].to_numpy(),
            "rows": numbered["row"].to_numpy().astype(np.int64),
        }

    def merge(self, segments: Sequence[array_cache.Arrays], firsts: Sequence[int]) -> Mapping[str, array_cache.Pieces]:
        """The same arrays for several segments."""
        filled = [each["vectors"] for each in segments if len(each["vectors"])]
        return {
            "vectors": filled or segments[0]["vectors"],
            "marks": np.concatenate([each["marks"] for each in segments]),
            "rows": np.concatenate([each["rows"] + first for each, first in zip(segments, firsts, strict=True)]),
        }


class SemanticSearch:
    """Compares vectors of the semantic stage; `how` is the method."""

    def __init__(self, hub: SemanticHub, rows: pl.DataFrame, batch: str):
        self._hub, self._rows, self._batch = hub, rows, batch
        self._scratch = hub.scratch()
        self.how: How | None = None
        self.seconds, self.estimate = 0.0, list[float]()

    @property
    def facts(self) -> dict[str, float]:
        """The time of the comparisons, and the estimate by which the method was chosen, if there was one."""
        times = {"compared_in_seconds": round(self.seconds, 3)}
        times |= self._hub.facts
        return times | ({"exact_seconds_estimated": round(sum(self.estimate), 3)} if self.estimate else {})

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
        settings, kept = self._hub.settings, self._kept
        vectors = self._taken(walk.index)
        standing = Kept(self._taken(walk.standing), walk.standing_places, self._marks[walk.standing])
        with self._hub.divided(kept, self._divisible) as (local, shards):
            decided = device.decide(
                self._hub.records.store.config.compute.device,
                vectors,
                walk.places,
                walk.may_stay,
                [*local, standing],
                settings.threshold,
                marks=self._marks[walk.index],
                same=SAME,
                shards=shards,
                exact_up_to=np.inf if settings.exact_up_to is None else settings.exact_up_to,
                exact_seconds=60 * settings.exact_minutes if settings.exact_up_to is None else np.inf,
                index=lambda: self._hub.cells(local, vectors),
                allocate=self._scratch.empty,
            )
        self.seconds += decided.seconds
        self.estimate += [] if decided.estimate is None else [decided.estimate]
        by_index = [how for how in (self.how, How(decided.method, decided.recall)) if how and how.method in _INDEXED]
        self.how = min(by_index, key=lambda how: how.recall or 0.0, default=How("exact", 1.0))
        return decided

    def _divisible(self, segment: Segment) -> Divisible:
        arrays = segment.arrays
        rows = arrays["rows"]
        divide = partial(shard, Kept(arrays["vectors"], arrays["places"][rows], arrays["marks"]), rows)
        return segment.divisible(SemanticForm(self._hub).name, frozenset({self._batch}), divide)

    def _taken(self, rows: Ints) -> Vectors:
        """Vectors of some rows; not copied if they are all, in order."""
        if len(rows) == len(self._vectors) and np.all(np.diff(rows) == 1):
            return self._vectors
        taken: Vectors = self._scratch.empty((len(rows), self._vectors.shape[1]), np.float32)
        for begin, end in spans(len(rows), _PIECE):
            taken[begin:end] = self._vectors[rows[begin:end]]
        return taken

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
        allocate = self._scratch.empty
        return self._hub.records.matrix(self._hub.model, self._rows, has_nulls=True, allocate=allocate)  # zeros: unread

    @cached_property
    def _kept(self) -> list[Kept]:
        return self._hub.searched(self._batch)
