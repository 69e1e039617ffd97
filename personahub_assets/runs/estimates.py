"""Estimates from the history of a home: cost of requests, rows per answer, and speed."""

from collections import Counter
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import dagster as dg
import polars as pl

from personahub_assets.generation import recorded
from personahub_assets.generation.journal import spent
from personahub_assets.generation.likely import CHARS_PER_TOKEN, likely_tokens
from personahub_assets.generation.requests import Task
from personahub_assets.instance.instance import open_read_only
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.tables import CANDIDATES, Store, asset_of, read_file

_RUNS = 20  # latest materialisations whose speed counts
_COUNTS = ["attempts", "prompt_tokens", "cached_tokens", "completion_tokens"]
_SPENT = {"prompt_fingerprint": pl.String, "model": pl.String, "reused": pl.Boolean} | dict.fromkeys(_COUNTS, pl.Int64)


@dataclass(frozen=True)
class Spent:
    """Average cost of one request, including retries."""

    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float
    basis: str  # 'history' or 'settings'


@dataclass(frozen=True)
class Speed:
    """Speed of answers, with the concurrency of those runs."""

    rows: float = 0.0
    tokens: float = 0.0
    seconds: float = 0.0

    def of(self, rows: float, tokens: float) -> float | None:
        """Seconds for a number of rows; computed from tokens if only the speed of other assets is known."""
        if self.rows:
            return rows * self.seconds / self.rows
        return tokens * self.seconds / self.tokens if self.tokens else None


class History:
    """Averages of a home; each is computed at its first use."""

    def __init__(self, store: Store):
        self._store = store

    def spent(self, task: Task, prompt_chars: float) -> Spent:
        """Average cost of a request of a task: with its prompt and model if they were used before, else with any.

        Answers that are not published yet count too.

        Args:
            task: task of the request.
            prompt_chars: length of its prompts, for a home without answers; the length of an answer then follows
                from the bounds of its schema.
        """
        paid = self._paid(task.asset)
        is_model = pl.col("model").fill_null(task.model) == task.model
        same = paid.filter(pl.col("prompt_fingerprint") == task.prompt.fingerprint, is_model)
        rows = same if same.height else paid
        if rows.is_empty():
            return Spent(1.0, prompt_chars / CHARS_PER_TOKEN, 0.0, likely_tokens(task), "settings")
        calls, prompt, cached, completion = rows.select(pl.col(_COUNTS).sum() / pl.col("requests").sum()).row(0)
        return Spent(calls, prompt, cached, completion, "history")

    @cache  # noqa: B019 - lives as long as a plan
    def _paid(self, asset: str) -> pl.DataFrame:
        """Sums over the paid requests, by prompt and model."""
        published = Compacted(self._store, "generations", asset, "paid 1", tuple(_SPENT), _paid_of).read()
        files = [read_file(path, "generations", list(_SPENT)) for path in recorded.files(self._store, asset)]
        rows = pl.concat([published.drop("batch"), *map(_paid_of, files)])
        paid = rows.group_by("prompt_fingerprint", "model").agg(pl.col(*_COUNTS, "requests").sum())
        journals = sorted(self._store.paths.journal(asset, "").parent.glob("*.sqlite"))
        unpublished = [(*key, *counts) for path in journals for key, counts in spent(path)]
        return pl.concat([paid, pl.DataFrame(unpublished, paid.schema, orient="row")])

    @cache  # noqa: B019
    def rows_per_answer(self, table: str, asked: int) -> float:
        """Average number of personas per answer, if `asked` personas are requested."""
        per_batch = Compacted(self._store, table, None, "answers 1", ("generation_id",), _answers_of).read()
        rows, answers, largest = per_batch.select(pl.sum("rows"), pl.sum("answers"), pl.max("largest")).row(0)
        # The number requested in earlier runs is not stored, so the largest answer is used.
        return asked * (rows / answers) / largest if answers else asked

    @cached_property
    def expanded_share(self) -> float:
        """Share of the candidates that are expanded at the next hop; the others are duplicates."""
        related = self._hops("related_personas")
        if related.is_empty():
            return 1.0
        last = related["hop"].max()
        expandable = pl.concat([self._hops("text_personas"), related.filter(pl.col("hop") < last)])
        # All children of a persona have the same hop.
        return min(1.0, int(related["parents"].sum()) / max(1, int(expandable["rows"].sum())))

    @cache  # noqa: B019
    def _hops(self, table: str) -> pl.DataFrame:
        """`(batch, hop, rows, parents)` of all batches."""
        return Compacted(self._store, table, None, "hops 1", ("hop", "parent_id"), _hops_of).read()

    def kept_share(self, hop: int) -> float:
        """Share of the candidates of a hop that are kept."""
        candidates, kept = self._fates
        at_hop = hop if candidates[hop] else None
        return kept[at_hop] / candidates[at_hop] if candidates[at_hop] else 1.0

    @cached_property
    def _fates(self) -> tuple[Counter[int | None], Counter[int | None]]:
        """Numbers of candidates and of kept personas, by hop and (None) in total."""
        counts: list[Counter[int | None]] = [Counter(), Counter()]
        done = pl.Series(self._store.partitions("personas"), dtype=pl.String).implode()
        for count, tables in zip(counts, (CANDIDATES, ("personas",)), strict=True):
            for table in tables:
                of_done = self._hops(table).filter(pl.col("batch").is_in(done))
                for hop, rows in of_done.group_by("hop").agg(pl.sum("rows")).iter_rows():
                    count[hop] += rows
                    count[None] += rows
        return counts[0], counts[1]

    def seconds(self, asset: str, rows: float, tokens: float) -> float | None:
        """Seconds for a number of rows; None if no speed was measured."""
        if not rows:
            return 0.0
        own = self._speeds.get(asset, Speed()).of(rows, 0.0)
        every = list(self._speeds.values())
        any_asset = Speed(0.0, sum(speed.tokens for speed in every), sum(speed.seconds for speed in every))
        return own if own is not None else any_asset.of(rows, tokens)

    @cached_property
    def _speeds(self) -> dict[str, Speed]:
        return speeds(self._store.root, [path.name.removeprefix("asset=") for path in self._asset_folders()])

    def _asset_folders(self) -> list[Path]:
        return sorted((self._store.paths.tables / "generations").glob("asset=*"))


def models_of(store: Store) -> pl.DataFrame:
    """`(model, answers)` of the models that wrote the valid rows of `generations`."""
    assets = [asset_of("generations", folder) for folder in store.folders("generations")]
    columns = ("model", "status")
    frames = [Compacted(store, "generations", each, "models 1", columns, _models_of).read() for each in assets]
    rows = pl.concat([pl.DataFrame(schema={"batch": pl.String, "model": pl.String, "answers": pl.UInt32}), *frames])
    return rows.group_by("model").agg(pl.sum("answers"))


def _models_of(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("status") != "superseded").group_by("model").agg(answers=pl.len())


def _paid_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Sums over the paid requests of a partition."""
    sums = [pl.col(_COUNTS).sum(), pl.len().cast(pl.Int64).alias("requests")]
    return rows.filter(~pl.col("reused")).group_by("prompt_fingerprint", "model").agg(sums)


def _answers_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Personas and answers of a partition, and the personas of its largest answer."""
    sizes = rows.drop_nulls().group_by("generation_id").len("size")
    return sizes.select(rows=pl.sum("size").cast(pl.Int64), answers=pl.len().cast(pl.Int64), largest=pl.max("size"))


def _hops_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows and parents of a partition, by hop."""
    return rows.group_by("hop").agg(rows=pl.len().cast(pl.Int64), parents=pl.col("parent_id").n_unique().cast(pl.Int64))


def speeds(home: Path, assets: list[str]) -> dict[str, Speed]:
    """Speed of each asset, from its latest materialisations."""
    by_asset: dict[str, Speed] = {}
    with open_read_only(home) as instance:
        for asset in assets if instance else ():
            assert instance is not None
            events = instance.fetch_materializations(dg.AssetKey(asset), limit=_RUNS).records
            runs = [_speed(event.asset_materialization) for event in events if event.asset_materialization]
            by_asset[asset] = Speed(
                sum(run.rows for run in runs), sum(run.tokens for run in runs), sum(run.seconds for run in runs)
            )
    return by_asset


def _speed(event: dg.AssetMaterialization) -> Speed:
    """Speed of one materialisation; zero if it sent no request."""
    metadata = {
        name: event.metadata[name].value
        for name in ("rows_asked", "completion_tokens", "seconds_asking")
        if name in event.metadata
    }
    numbers = [float(value) for value in metadata.values() if isinstance(value, int | float)]
    return Speed(*numbers) if len(numbers) == 3 else Speed()
