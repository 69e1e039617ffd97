"""The lexical stage: kept rows as packed word sets, searched by their signatures."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from itertools import count

import numpy as np
import polars as pl

from personahub_assets.dedup import array_cache, lexical, signatures
from personahub_assets.dedup.keepers import NOTHING, Decided, Walk
from personahub_assets.dedup.kept_rows import Form, KeptRows, Segment
from personahub_assets.dedup.records import Records
from personahub_assets.dedup.shards import Divisible
from personahub_assets.dedup.state import How, Hub
from personahub_assets.dedup.wordsets import WordOrder
from personahub_assets.store.atomic import aside_folder
from personahub_assets.store.removal import remove

_OUTGROWN = 4  # a plan is replaced when there are this many times the rows that it was made for
_OF_TABLE = 2  # share of the memory for the table; the rest is for rows that are prepared and for making segments
_NO_TEXTS = pl.DataFrame(schema={"batch": pl.String, "id": pl.String, "text": pl.String})


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

    @property
    def largest(self) -> float:
        """No limit: every signature is looked up in every segment."""
        return np.inf

    def make(self, kept: pl.DataFrame) -> array_cache.Arrays:
        """The arrays of a `lexical.Segment`, but for its places."""
        texts = [self._hub.texts(str(batch)) for batch in kept["batch"].unique(maintain_order=True)]
        rows = kept.join(pl.concat([_NO_TEXTS, *texts]), on=["batch", "id"], how="left", maintain_order="left")
        searchable = lexical.segment(self._scheme.sets(rows["text"]), rows["place"].to_numpy(), self._scheme)
        return {name: array for name, array in searchable._asdict().items() if name != "places"}

    def merge(
        self,
        segments: Sequence[array_cache.Arrays],
        firsts: Sequence[int],  # noqa: ARG002 - rows follow each other
    ) -> Mapping[str, array_cache.Pieces]:
        """The same arrays for several segments."""
        names = lexical.Segment._fields
        arrays = lexical.merged([lexical.Segment(*(each[name] for name in names)) for each in segments])
        return {name: array for name, array in arrays.items() if name != "places"}


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
            lexical.Segment(segment.positions(without), *(segment.arrays[name] for name in lexical.Segment._fields[1:]))
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

    @property
    def facts(self) -> dict[str, float]:
        """Where the time in a cluster went."""
        return self._hub.facts

    def decide(self, walk: Walk) -> Decided:
        """Decide about some of the rows."""
        if not len(walk.index):
            return NOTHING
        standing = lexical.segment(self._plan.sets(self._texts[walk.standing]), walk.standing_places, self._plan)
        self.how = How(self._plan.method, 1.0 if self._plan.method == "exact" else None)
        with (
            self._spilling() as spill,
            self._hub.divided(self._segments, self._divisible) as (local, shards),
        ):
            return lexical.decide(
                self._texts[walk.index],
                walk.places,
                walk.may_stay,
                [*local, *shards, standing],
                self._plan,
                memory=self._hub.memory // _OF_TABLE,
                spill=spill,
                piece_rows=lexical.REMOTE_PIECE if shards else lexical.PIECE,
            )

    @cached_property
    def _plan(self) -> signatures.SignatureScheme:
        return self._hub.plan(self._texts, self._hub.others(self._batch))

    @cached_property
    def _segments(self) -> list[lexical.Segment]:
        return self._hub.searched(self._plan, self._batch)

    def _divisible(self, segment: Segment) -> Divisible:
        arrays = (segment.arrays[name] for name in lexical.Segment._fields)
        divide = partial(lexical.shard, lexical.Segment(*arrays))
        return segment.divisible(self._plan.name, frozenset({self._batch}), divide)

    @contextmanager
    def _spilling(self) -> Iterator[Callable[[Iterable[lexical.Segment]], list[lexical.Segment]]]:
        """Store the kept rows of a walk on disk, as one segment each time."""
        with aside_folder(self._hub.records.store.paths.aside) as folder:
            numbers = count()

            def save(arrays: Mapping[str, array_cache.Pieces]) -> lexical.Segment:
                number = str(next(numbers))
                array_cache.save(folder / number, number, arrays)
                stored = array_cache.opened(folder / number, number)
                assert stored is not None, f"{folder / number} cannot be read back"
                return lexical.Segment(**stored)

            def spill(segments: Iterable[lexical.Segment]) -> list[lexical.Segment]:
                return [save(lexical.merged([save(each._asdict()) for each in segments]))]

            yield spill
