"""Run a dataset in rounds until a number of rows is accepted, and not one more.

A round selects personas for the dataset (as `--personas-from` does): those that were asked before, and as many new ones
as rows are missing. Each persona gives at most its configured number of rows, so a round cannot accept too many. When
few answers are accepted, later rounds select more: the missing rows divided by the observed acceptance, less four
standard deviations. If a round nevertheless accepts too many, the last personas leave the selection again.

All decisions follow from the published tables and from hashes of ids. A killed run is continued by the same command: it
selects the same personas, and their answers are in the journal.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from personahub_assets.core.errors import ArgumentError, ConfigError, choices
from personahub_assets.core.text import digest
from personahub_assets.runs.runner import Result
from personahub_assets.search import selections
from personahub_assets.steps.datasets import asked_personas
from personahub_assets.store.atomic import replacing
from personahub_assets.store.tables import Store

_DEVIATIONS = 4.0
_WITH_OUTCOME = ("accepted", "rejected")


@dataclass(frozen=True)
class Target:
    """A number of rows of a dataset.

    Attributes:
        dataset: the dataset whose personas are selected.
        rows: number of rows.
    """

    dataset: str
    rows: int

    @classmethod
    def parse(cls, text: str, datasets: list[str]) -> "Target":
        """Read `NAME=ROWS`.

        Raises:
            ConfigError: if it has another form, or there is no such dataset.
        """
        name, _, rows = map(str.strip, text.partition("="))
        if not rows.isdecimal() or not int(rows):
            raise ArgumentError(
                f"--until {text}: expected NAME=ROWS with a number of 1 or more, such as {datasets[0]}=500"
            )
        if name not in datasets:
            raise ConfigError(f"--until {text}: no dataset {choices(name, datasets)}")
        return cls(name, int(rows))


@dataclass
class Reached:
    """How far the rounds came.

    Attributes:
        target: what was asked for.
        rows: accepted rows at the end.
        answered: personas whose request has an outcome.
        left: personas of the hub that were not asked yet.
        rounds: rounds of this command.
        result: of the last round; None if none was needed.
        calls: of all rounds.
        cost: of all rounds, in the currency of [prices].
    """

    target: Target
    rows: int = 0
    answered: int = 0
    left: int = 0
    rounds: int = 0
    result: Result | None = None
    calls: int = 0
    cost: float = 0.0

    @property
    def acceptance(self) -> float | None:
        """Accepted rows per asked persona; None before any."""
        return self.rows / self.answered if self.answered else None

    @property
    def missing(self) -> int:
        """Rows that are missing."""
        return max(0, self.target.rows - self.rows)


def run_until(
    store: Store, target: Target, batches: list[str], run: Callable[[Path], Result], tell: Callable[[Reached], None]
) -> Reached:
    """Run rounds until there are enough rows, all personas are asked, or a round fails or stops.

    Args:
        store: home of the dataset.
        target: the dataset and the number of its rows in these batches.
        batches: their personas are asked.
        run: runs the dataset for the personas that a file names.
        tell: called before each round.

    Raises:
        ConfigError: if the batches have no personas.
    """
    rounds = _Rounds(store, target, batches, run)
    before = rounds.order.height - rounds.reached.left
    while rounds.reached.missing and rounds.reached.left and not rounds.is_stopped:
        tell(rounds.reached)
        rounds.go_on()
    rounds.trim(before)
    return rounds.reached


class _Rounds:
    """The rounds of one command."""

    def __init__(self, store: Store, target: Target, batches: list[str], run: Callable[[Path], Result]):
        self._store, self._target, self._batches, self._run = store, target, batches, run
        self._samples = store.config.dataset(target.dataset).samples
        self.order = _in_order(store, target.dataset, batches)
        if self.order.is_empty():
            remedy = "personahub run --select +personas"
            raise ConfigError(f"--until {target.dataset}={target.rows}: the hub has no persona to ask: {remedy}")
        self.reached = Reached(target)
        self._count()

    @property
    def is_stopped(self) -> bool:
        """Whether the last round failed, or was stopped by a budget."""
        last = self.reached.result
        return last is not None and (bool(last.failed) or last.stopped is not None)

    def go_on(self) -> None:
        """Ask the personas that were asked before, and as many new ones as can be used."""
        self._ask(self.order.head(self.reached.answered + self._new_personas()))

    def trim(self, before: int) -> None:
        """Take the last new personas out of the selection again, if they gave too many rows.

        Args:
            before: personas that were asked before this command; theirs stay.
        """
        spare = self.reached.rows - self._target.rows
        if spare <= 0 or not self.reached.rounds or self.is_stopped:
            return
        rows = pl.concat(
            [self._store.read(self._target.dataset, batch, columns=["persona_id"]) for batch in self._batches]
        )
        counts = dict(rows.group_by("persona_id").len().iter_rows())
        leaving = []
        for persona_id in reversed(self.order["persona_id"][before : self.reached.answered].to_list()):
            if 0 < counts.get(persona_id, 0) <= spare:
                spare -= counts[persona_id]
                leaving.append(persona_id)
        if leaving:
            answered = self.order.head(self.reached.answered)
            self._ask(answered.filter(~pl.col("persona_id").is_in(leaving)))

    def _ask(self, personas: pl.DataFrame) -> None:
        path = self._store.paths.aside / f"until-{self._target.dataset}.txt"
        with replacing(path, sync=False) as file, file.open("wb") as opened:
            selections.write(opened, path.suffix, personas)
        try:
            result = self._run(path)
        finally:
            path.unlink(missing_ok=True)
        self.reached.rounds += 1
        self.reached.result = result
        self.reached.calls += sum(usage.calls for usage in result.usage.values())
        self.reached.cost += sum(usage.cost for usage in result.usage.values())
        self._count()

    def _count(self) -> None:
        answered = _ids_with_outcome(self._store, self._target.dataset, self._batches)
        self.reached.rows = sum(self._store.height(self._target.dataset, batch) for batch in self._batches)
        self.reached.answered = int(self.order["persona_id"].is_in(answered.implode()).sum())
        self.reached.left = self.order.height - self.reached.answered

    def _new_personas(self) -> int:
        """Number of new personas of the next round."""
        missing, rows = self.reached.missing, self.reached.rows
        safe = math.ceil(missing / self._samples)
        if not self.reached.answered:
            return safe
        # At most this share is accepted, with four standard deviations of the estimate.
        share = min(1.0, (rows + _DEVIATIONS * math.sqrt(rows + 1)) / (self.reached.answered * self._samples))
        likely = (missing - _DEVIATIONS * math.sqrt(missing)) / (share * self._samples)
        return max(safe, int(likely))


def _in_order(store: Store, dataset: str, batches: list[str]) -> pl.DataFrame:
    """`(persona_id)` of the personas that the dataset may use: those that were asked first, the others by a hash."""
    frames = [rows.select("persona_id") for batch in batches for rows in asked_personas(store, dataset, batch)]
    ids = pl.concat(frames)["persona_id"] if frames else pl.Series("persona_id", dtype=pl.String)
    answered = _ids_with_outcome(store, dataset, batches)
    hashes = pl.Series([digest(dataset, persona_id) for persona_id in ids], dtype=pl.String)
    rows = pl.DataFrame({"persona_id": ids, "was_asked": ids.is_in(answered.implode()), "hash": hashes})
    return rows.sort("was_asked", "hash", descending=[True, False]).select("persona_id")


def _ids_with_outcome(store: Store, dataset: str, batches: list[str]) -> pl.Series:
    """Personas whose request has an outcome."""
    columns = ["input_id", "status"]
    frames = [store.read("generations", batch, dataset, columns=columns) for batch in batches]
    return pl.concat(frames).filter(pl.col("status").is_in(_WITH_OUTCOME))["input_id"].unique()
