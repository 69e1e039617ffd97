"""Run a dataset in rounds until a number of rows is accepted, and not one more.

The rows are those of a dataset, or of a view of it, such as `math_verified` or `tools_unique`. The unit of a round is a
slot: one of the `samples` answers about a persona, which gives one row at most. A round selects (as `--personas-from`
does) the slots that were asked before and as many new ones as rows are missing, so it cannot accept too many. When few
answers are accepted, later rounds select more: the missing rows divided by the observed acceptance, less four standard
deviations. If a round nevertheless accepts too many, the last slots leave the selection again.

All decisions follow from the published tables and from hashes of ids. A killed run is continued by the same command: it
selects the same slots, and their answers are in the journal.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from personahub_assets.core.dialogues import DIALOGUES, MESSAGES
from personahub_assets.core.errors import ArgumentError, ConfigError, choices
from personahub_assets.core.text import digest
from personahub_assets.core.verified import ItemView, item_views
from personahub_assets.generation.requests import WITH_OUTCOME
from personahub_assets.runs.runner import Result
from personahub_assets.search import selections
from personahub_assets.steps.datasets import asked_personas
from personahub_assets.store.atomic import replacing
from personahub_assets.store.tables import Store
from personahub_assets.warehouse.live import open_live

_DEVIATIONS = 4.0
_TRIMS = 3  # an item that was dropped for a removed one comes back, so that the number can change again
_SLOT = ["persona_id", "sample"]


@dataclass(frozen=True)
class Target:
    """A number of rows of a dataset, or of a view of one.

    Attributes:
        name: the dataset or view whose rows are counted.
        rows: number of rows.
        view: its dataset, whose personas are selected, and the assets that make it; None for a dataset.
    """

    name: str
    rows: int
    view: ItemView | None = None

    @classmethod
    def parse(cls, text: str, datasets: list[str], derived: Mapping[str, str] | None = None) -> "Target":
        """Read `NAME=ROWS`.

        Args:
            text: what was typed.
            datasets: the datasets that are made from personas.
            derived: the datasets that are made from items, with the dataset of these items.

        Raises:
            ConfigError: if it has another form, or there is no such dataset or view.
        """
        name, _, rows = map(str.strip, text.partition("="))
        if not rows.isdecimal() or not int(rows):
            raise ArgumentError(
                f"--until {text}: expected NAME=ROWS with a number of 1 or more, such as {datasets[0]}=500"
            )
        views = item_views(datasets)
        valid = [*datasets, *views]
        if source := (derived or {}).get(name):
            of_source = [each for each, view in views.items() if name in view.assets]
            instead = " or ".join(f"--until {each}={rows}" for each in (*of_source, source))
            raise ConfigError(f"--until {text}: {name} is made from items of {source}, not from personas: {instead}")
        if name not in valid:
            raise ConfigError(f"--until {text}: no dataset or view {choices(name, valid)}")
        return cls(name, int(rows), views.get(name))

    @property
    def dataset(self) -> str:
        """The dataset whose personas are selected."""
        return self.view.dataset if self.view else self.name

    @property
    def assets(self) -> list[str]:
        """The assets that a round materialises."""
        return [self.dataset, *(self.view.assets if self.view else ())]


@dataclass
class Reached:
    """How far the rounds came.

    Attributes:
        target: the wanted number of rows.
        rows: accepted rows at the end.
        answered: slots whose request has an outcome.
        before: slots that had an outcome before this command.
        left: slots of the hub that were not asked yet.
        rounds: rounds of this command.
        result: of the last round; None if none was needed.
        calls: of all rounds.
        cost: of all rounds, in the currency of [prices].
    """

    target: Target
    rows: int = 0
    answered: int = 0
    before: int = 0
    left: int = 0
    rounds: int = 0
    result: Result | None = None
    calls: int = 0
    cost: float = 0.0

    @property
    def acceptance(self) -> float | None:
        """Accepted rows per slot with an outcome; None before any."""
        return self.rows / self.answered if self.answered else None

    @property
    def missing(self) -> int:
        """Rows that are missing."""
        return max(0, self.target.rows - self.rows)

    @property
    def is_stopped(self) -> bool:
        """Whether the last round failed, or was stopped by a budget."""
        return self.result is not None and (bool(self.result.failed) or self.result.stopped is not None)


def run_until(
    store: Store, target: Target, batches: list[str], run: Callable[[Path], Result], tell: Callable[[Reached], None]
) -> Reached:
    """Run rounds until there are enough rows, all personas are asked, or a round fails or stops.

    Args:
        store: home of the dataset.
        target: the dataset or view and the number of its rows in these batches.
        batches: their personas are asked.
        run: runs the target's assets for the personas that a file names.
        tell: called before each round.

    Raises:
        ConfigError: if the batches have no personas.
    """
    rounds = _Rounds(store, target, batches, run)
    reached = rounds.reached
    if target.view and target.view.assets and reached.before and reached.missing:
        tell(reached)
        rounds.ask(0)  # a killed run may have left problems without solutions, which give rows without new slots
    for _ in range(_TRIMS):
        while reached.missing and reached.left and not reached.is_stopped:
            tell(reached)
            rounds.ask(_new_slots(reached))
        if not rounds.trim():
            break
    return reached


class _Rounds:
    """The rounds of one command."""

    def __init__(self, store: Store, target: Target, batches: list[str], run: Callable[[Path], Result]):
        self._store, self._target, self._batches, self._run = store, target, batches, run
        self._slots = _in_order(store, target.dataset, batches)
        if self._slots.is_empty():
            remedy = "personahub run --select +personas"
            raise ConfigError(f"--until {target.name}={target.rows}: the hub has no persona to ask: {remedy}")
        self.reached = Reached(target)
        self._count()
        self.reached.before = self._selected = self.reached.answered
        self.reached.left = self._slots.height - self._selected

    def ask(self, new: int) -> None:
        """Run a round for the slots that were selected before, and new ones."""
        self._select(min(self._selected + new, self._slots.height))

    def _select(self, slots: int) -> None:
        """Run a round for the first slots."""
        path = self._store.paths.aside / f"until-{self._target.name}.parquet"
        chosen = self._slots.head(slots).group_by("persona_id", maintain_order=True)
        with replacing(path, sync=False) as file, file.open("wb") as opened:
            selections.write(opened, path.suffix, chosen.agg(samples=pl.col("sample").max() + 1))
        try:
            result = self._run(path)
        finally:
            path.unlink(missing_ok=True)
        self._selected = slots
        self.reached.left = self._slots.height - slots
        self.reached.rounds += 1
        self.reached.result = result
        self.reached.calls += sum(usage.calls for usage in result.usage.values())
        self.reached.cost += sum(usage.cost for usage in result.usage.values())
        self._count()

    def trim(self) -> bool:
        """Take the last new slots out of the selection again, if they gave too many rows; return whether there are any.

        Slots that were asked before this command stay.
        """
        spare = self.reached.rows - self._target.rows
        if spare <= 0 or not self.reached.rounds or self.reached.is_stopped:
            return False
        rows = _counted(self._store, self._target, self._batches).with_columns(has_row=True)
        selected = self._slots.head(self._selected).join(rows, on=_SLOT, how="left", maintain_order="left")
        with_row = selected["has_row"].fill_null(value=False).arg_true()
        last = with_row.filter(with_row >= self.reached.before).tail(spare)
        if len(last):
            self._select(int(last[0]))
        return len(last) > 0

    def _count(self) -> None:
        answered = _slots_with_outcome(self._store, self._target.dataset, self._batches)
        self.reached.rows = _counted(self._store, self._target, self._batches).height
        self.reached.answered = self._slots.join(answered, on=_SLOT, how="semi").height


def _new_slots(reached: Reached) -> int:
    """Number of new slots of the next round."""
    missing, rows = reached.missing, reached.rows
    if not reached.answered:
        return missing
    # At most this share is accepted, with four standard deviations of the estimate.
    share = min(1.0, (rows + _DEVIATIONS * math.sqrt(rows + 1)) / reached.answered)
    return max(missing, int((missing - _DEVIATIONS * math.sqrt(missing)) / share))


def _in_order(store: Store, dataset: str, batches: list[str]) -> pl.DataFrame:
    """`(persona_id, sample)` of all answers that the dataset may have: those that were asked, then by a hash.

    New answers about one persona follow each other, those about a persona that was asked before come first.
    """
    frames = [rows.select("persona_id") for batch in batches for rows in asked_personas(store, dataset, batch)]
    ids = pl.concat(frames)["persona_id"] if frames else pl.Series("persona_id", dtype=pl.String)
    answered = _slots_with_outcome(store, dataset, batches)
    hashes = pl.Series([digest(dataset, persona_id) for persona_id in ids], dtype=pl.String)
    personas = pl.DataFrame({"persona_id": ids, "hash": hashes}).with_columns(
        persona_was_asked=ids.is_in(answered["persona_id"].unique().implode())
    )
    samples = pl.DataFrame({"sample": range(store.config.dataset(dataset).samples)}, {"sample": pl.Int64})
    slots = personas.join(samples, how="cross").join(
        answered.with_columns(was_asked=True), on=_SLOT, how="left", maintain_order="left"
    )
    order = [pl.col("was_asked").fill_null(value=False), "persona_was_asked", "hash", "sample"]
    return slots.sort(order, descending=[True, True, False, False]).select(_SLOT)


def _slots_with_outcome(store: Store, dataset: str, batches: list[str]) -> pl.DataFrame:
    """`(persona_id, sample)` of the requests that have an outcome."""
    columns = ["input_id", "sample", "status"]
    frames = [store.read("generations", batch, dataset, columns=columns) for batch in batches]
    rows = pl.concat(frames).filter(pl.col("status").is_in(WITH_OUTCOME))
    sample = pl.col("sample").cast(pl.Int64) // (MESSAGES if dataset == DIALOGUES else 1)
    return rows.select(pl.col("input_id").alias("persona_id"), sample.alias("sample")).unique()


def _counted(store: Store, target: Target, batches: list[str]) -> pl.DataFrame:
    """`(persona_id, sample)` of the rows that count."""
    columns = ["item_id", "persona_id", "sample"]
    frames = [store.read(target.dataset, batch, columns=columns) for batch in batches]
    rows = pl.concat(frames).with_columns(pl.col("sample").cast(pl.Int64))
    if target.view:
        query = f'SELECT item_id FROM "{target.name}"'
        with open_live(store, query) as connection:
            ids = [item_id for (item_id,) in connection.execute(query).fetchall()]
        rows = rows.filter(pl.col("item_id").is_in(ids))
    return rows.select(_SLOT)
