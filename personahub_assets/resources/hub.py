"""The hub at a dedup stage: what is decided about every batch, and what is kept, ready to be searched.

Decisions are the state; they are tables of the store. What makes the kept rows searchable lies in `cache/` of the home:
it is made from the tables where it is missing or out of date, and can be deleted at any time.

Importing this takes a second (compiled kernels), so asset bodies import it when they run.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from personahub_assets.domain import lexical, semantic
from personahub_assets.domain.keepers import Decided, Walk, in_order, places
from personahub_assets.domain.text import digest
from personahub_assets.domain.wordsets import Order
from personahub_assets.resources import arrays
from personahub_assets.resources.store import Store, table_schema

_DECIDED = ["persona_id", "admission", "keeper_id", "similarity"]
_OUTGROWN = 4  # times as many rows as a plan was made for ask for another plan


class How(NamedTuple):
    """How similar rows were found."""

    method: str  # 'exact', 'minhash' or 'usearch'
    recall: float | None  # share of the keepers found, on a sample where the index was used; None: not measured


class Hub:
    """One stage as it stands; read and changed under the stage's admission lock.

    Args:
        store: holds the decisions.
        stage: 'lexical' or 'semantic'.
        rule: what is compared, and from which similarity on. What another rule decided is decided again, all of it.
    """

    def __init__(self, store: Store, stage: str, rule: str):
        self.store, self.stage, self.rule = store, stage, rule
        self.table, self.asset = f"{stage}_decisions", f"{stage}_duplicates"
        self.batches = [path.parent.name.partition("=")[2] for path in store.files(self.table)]
        self._kept: dict[str, pl.DataFrame] = {}

    @cached_property
    def outdated(self) -> bool:
        """Whether anything was decided by another rule."""
        runs = self.store.read_all("dedup_runs", ["batch", "rule"], asset=self.asset)
        return bool(set(self.batches) - set(runs.filter(pl.col("rule") == self.rule)["batch"]))

    @cached_property
    def decisions(self) -> dict[str, pl.DataFrame]:
        """`(persona_id, admission, keeper_id, similarity, place)` of each batch, in order."""
        found = {batch: self.store.read(self.table, batch, columns=_DECIDED) for batch in self.batches}
        return {batch: rows.with_columns(place=places(rows["admission"])) for batch, rows in found.items()}

    @property
    def next_admission(self) -> int:
        """A number above all that were given."""
        given = self.store.read_all(self.table, ["admission"])["admission"]  # of vectors of other models, too
        return int(given.max() or 0) + 1  # type: ignore[arg-type]

    def rows(self, batch: str, read: Callable[[str], pl.DataFrame]) -> pl.DataFrame:
        """Give the rows to decide about, in order: the batch's, and those of all batches if the hub is outdated.

        Args:
            batch: its rows need no decision yet.
            read: gives `(persona_id, hop, ...)` of a batch.

        Returns:
            `(batch, persona_id, hop, ..., admission, keeper_id, similarity)`.
        """
        nothing = self.store.read(self.table, batch, columns=_DECIDED).clear()
        parts = []
        for key in sorted({batch, *(self.batches if self.outdated else ())}):
            before = self.decisions.get(key, nothing).select(_DECIDED)
            rows = read(key).with_columns(batch=pl.lit(key))
            parts.append(rows.join(before, on="persona_id", how="left" if key == batch else "inner"))
        return in_order(pl.concat(parts))

    def kept(self, batch: str) -> pl.DataFrame:
        """`(persona_id, place)` of what a batch keeps, in order, without those that reach it no more."""
        if batch not in self._kept:
            decided = self.decisions[batch].filter(pl.col("keeper_id").is_null()).select("persona_id", "place")
            self._kept[batch] = decided.join(self.reach(batch), on="persona_id", how="semi", maintain_order="left")
        return self._kept[batch]

    def reach(self, batch: str) -> pl.DataFrame:
        """`(persona_id, ...)` of the personas of a batch that reach this stage."""
        return self.store.candidates(batch, ["persona_id"])

    def others(self, batch: str) -> list[str]:
        """Batches whose kept rows are compared with; none where everything is decided again."""
        return [] if self.outdated else [other for other in self.batches if other != batch]

    def publish(self, batch: str, decisions: pl.DataFrame, how: "How | None") -> pl.DataFrame:
        """Write the decisions of a batch, and of all others that were made again; give those of the batch.

        Args:
            batch: may have no decisions.
            decisions: as `domain.keepers.admit` gives them.
            how: they were made; None: nothing had to be compared, so it was as the time before.
        """
        parts = {str(key): rows for (key,), rows in decisions.partition_by("batch", as_dict=True).items()}
        for key in (batch, *(self.batches if self.outdated else ())):  # those without any candidate left, too
            parts.setdefault(key, decisions.clear())
        for key, rows in parts.items():
            self.store.write(self.table, key, rows)
        for key, rows in parts.items():  # last: if this is not reached, everything is decided again
            self.store.write("dedup_runs", key, self._run(key, rows, how or self.how(key)), self.asset)
        return parts[batch]

    def how(self, batch: str) -> "How":
        """How the stored decisions about a batch were made."""
        rows = self.store.read("dedup_runs", batch, self.asset, columns=["method", "recall"]).rows()
        return How(*rows[0]) if rows else How("exact", 1.0)

    def _run(self, batch: str, decisions: pl.DataFrame, how: "How") -> pl.DataFrame:
        counts = {"candidates": decisions.height, "kept": decisions["keeper_id"].null_count()}
        row = {"batch": batch, "stage": self.stage, "rule": self.rule, **how._asdict(), **counts}
        return pl.DataFrame([row], table_schema("dedup_runs"))

    def searchable(self, name: str, batch: str, make: Callable[[pl.DataFrame], arrays.Arrays]) -> arrays.Arrays:
        """Open what makes the kept rows of a batch searchable.

        Args:
            name: how it is made.
            batch: whose rows.
            make: makes it of the kept rows `(persona_id, place)`; an id stands for one text, and one vector of a model.
        """
        kept = self.kept(batch)
        ids = hashlib.sha256((kept["persona_id"].str.join("\n").item() or "").encode())
        stamp = digest(ids.hexdigest(), hashlib.sha256(kept["place"].to_numpy().tobytes()).hexdigest())
        return arrays.cached(self.cache / name / batch, stamp, lambda: make(kept))

    @property
    def cache(self) -> Path:
        """Where this stage keeps what it can make again."""
        return self.store.root / "cache" / self.stage


class LexicalHub(Hub):
    """The lexical stage."""

    def __init__(self, store: Store):
        self.settings = store.config.lexical
        super().__init__(store, "lexical", self.settings.rule)

    def search(self, rows: pl.DataFrame, batch: str) -> "LexicalSearch":
        """Prepare to compare rows `(persona_id, persona)` with each other and with what other batches keep."""
        others = self.others(batch)
        plan = self._plan(rows["persona"], others)
        return LexicalSearch(self, rows["persona"], plan, [self._segment(plan, other) for other in others])

    def _segment(self, plan: lexical.Plan, batch: str) -> lexical.Segment:
        def make(kept: pl.DataFrame) -> arrays.Arrays:
            rows = kept.join(self._texts(batch), on="persona_id", how="left", maintain_order="left")
            return lexical.segment(plan.sets(rows["persona"]), rows["place"].to_numpy(), plan)._asdict()

        return lexical.Segment(**self.searchable(plan.name, batch, make))

    def _texts(self, batch: str) -> pl.DataFrame:
        return self.store.candidates(batch, ["persona_id", "persona"])

    def _plan(self, texts: pl.Series, others: Sequence[str]) -> lexical.Plan:
        """The plan by which the other batches' segments were made, or another one where it does not suit."""
        chosen = self.settings
        bare = lexical.Plan(chosen.threshold, chosen.method, chosen.ngram, chosen.permutations)
        rows = len(texts) + sum(self.decisions[other].height for other in others)
        stored = arrays.opened(self.cache / "plan", self.rule)
        if stored is not None:
            width, planned_for = stored["numbers"].tolist()
            plan = replace(bare, order=Order(stored["hashes"], stored["ranks"]), width=width)
            if rows <= _OUTGROWN * planned_for and lexical.suits(plan, texts):
                return plan
        if chosen.method == "minhash":
            return bare
        sample = pl.concat([texts, *(self._texts(other)["persona"] for other in others[:: max(1, len(others) // 8)])])
        plan = lexical.plan(bare, sample, rows)
        shutil.rmtree(self.cache, ignore_errors=True)
        arrays.save(self.cache / "plan", self.rule, {**plan.order._asdict(), "numbers": np.array([plan.width, rows])})
        return plan


class LexicalSearch:
    """Compares texts of the lexical stage, and says how."""

    def __init__(self, hub: LexicalHub, texts: pl.Series, plan: lexical.Plan, segments: Sequence[lexical.Segment]):
        self._hub, self._texts, self._plan, self._segments = hub, texts, plan, segments
        self.how: How | None = None

    def decide(self, walk: Walk) -> Decided:
        """Decide about some of the rows."""
        if len(walk.index):
            self.how = How(self._plan.method, 1.0 if self._plan.method == "exact" else None)
        standing = lexical.segment(self._plan.sets(self._texts[walk.standing]), walk.standing_places, self._plan)
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

    @contextmanager
    def _spilling(self) -> Iterator[Callable[[lexical.Segment], lexical.Segment]]:
        """Put segments on disk for as long as a walk takes."""
        aside = self._hub.store.root / "aside"
        aside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=aside) as folder:
            numbers = count()

            def spill(segment: lexical.Segment) -> lexical.Segment:
                return lexical.Segment(**arrays.cached(Path(folder) / str(next(numbers)), "", segment._asdict))

            yield spill


class SemanticHub(Hub):
    """The semantic stage, for vectors of one model; batches with vectors of another one do not take part."""

    def __init__(self, store: Store, model: str):
        self.settings = store.config.semantic
        self.model = model
        super().__init__(store, "semantic", f"{model}, cosine {self.settings.threshold}")
        every = self.batches
        self.batches = [batch for batch in every if self._is_comparable(batch)]
        self.apart = sorted(set(every) - set(self.batches))

    def _is_comparable(self, batch: str) -> bool:
        models = self.store.read("persona_embeddings", batch, columns=["model"])["model"]
        return bool((models == self.model).all())

    def reach(self, batch: str) -> pl.DataFrame:
        """`(persona_id, hop)` of a batch's lexical survivors that have a vector."""
        embedded = self.store.read("persona_embeddings", batch, columns=["persona_id"])
        rows = embedded.join(self._lexically_kept(batch), on="persona_id", how="semi")
        return rows.join(self.store.candidates(batch, ["persona_id", "hop"]), on="persona_id", maintain_order="left")

    def search(self, rows: pl.DataFrame, batch: str) -> "SemanticSearch":
        """Prepare to compare rows `(batch, persona_id)` with each other and with what other batches keep."""
        others = self.others(batch)
        kept = [self._vectors(other) for other in others]
        return SemanticSearch(self, self._matrix(rows), kept)

    def _lexically_kept(self, batch: str) -> pl.DataFrame:
        rows = self.store.read("lexical_decisions", batch, columns=["persona_id", "keeper_id"])
        return rows.filter(pl.col("keeper_id").is_null()).select("persona_id")

    def _vectors(self, batch: str) -> semantic.Kept:
        def make(kept: pl.DataFrame) -> arrays.Arrays:
            rows = kept.with_columns(batch=pl.lit(batch))
            return {"vectors": self._matrix(rows), "places": kept["place"].to_numpy()}

        return semantic.Kept(**self.searchable(digest(self.model), batch, make))

    def _matrix(self, rows: pl.DataFrame) -> semantic.Vectors:
        """Vectors of rows, shape (n, d)."""
        found: semantic.Vectors | None = None
        for (batch,), part in rows.with_row_index("at").partition_by("batch", as_dict=True).items():
            table = self.store.read("persona_embeddings", str(batch), columns=["persona_id", "embedding"])
            joined = part.join(table, on="persona_id", how="left", maintain_order="left")
            vectors = joined["embedding"].explode(empty_as_null=False).to_numpy().reshape(part.height, -1)
            if found is None:
                found = np.empty((rows.height, vectors.shape[1]), np.float32)
            found[part["at"].to_numpy()] = vectors
        return np.empty((0, 1), np.float32) if found is None else found


class SemanticSearch:
    """Compares vectors of the semantic stage, and says how."""

    def __init__(self, hub: SemanticHub, vectors: semantic.Vectors, kept: Sequence[semantic.Kept]):
        self._hub, self._vectors, self._kept = hub, vectors, kept
        self.how: How | None = None

    def decide(self, walk: Walk) -> Decided:
        """Decide about some of the rows."""
        standing = semantic.Kept(self._vectors[walk.standing], walk.standing_places)
        decided = semantic.decide(
            self._vectors[walk.index],
            walk.places,
            walk.may_stay,
            [*self._kept, standing],
            self._hub.settings.threshold,
            exact_up_to=self._hub.settings.exact_up_to,
        )
        # Two walks: what is said is what holds for both.
        if len(walk.index) and (self.how is None or decided.method != "exact"):
            self.how = How(decided.method, decided.recall)
        return decided
