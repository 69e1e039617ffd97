"""What a hub of any size takes: calls, tokens, GPU-hours, bytes and memory, from the averages of this home.

Everything is proportional to the number of personas, unless a rule below says otherwise: a home of the planned kind,
with some thousand personas, is the measurement. Each assumption is named in the result.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import PersonaHubError, StoreError
from personahub_assets.core.prices import Prices
from personahub_assets.generation.llm import LLM
from personahub_assets.steps.tasks import current_tasks
from personahub_assets.store.compacted import Compacted
from personahub_assets.store.tables import CANDIDATES, MEASURES, Store, asset_of

BATCH_ROWS = 50_000
"""Documents of a batch: Dagster advises at most 100,000 partitions."""
PREFILL = 10.0
"""Prompt tokens that a server reads in the time of one completion token."""
_LEXICAL_BYTES = 310
"""Bytes of a kept row at the lexical stage, if this home has no state yet: measured at 1 to 5 million rows."""
_SPENT = ["attempts", "prompt_tokens", "cached_tokens", "completion_tokens"]
_FEW = 1_000
_BY_BATCH = ("batches", "dedup_runs", "item_dedup_runs", "prompt_uses", "skipped", *MEASURES)
"""Tables whose rows are about a whole batch."""
_LEVERS = 10


@dataclass(frozen=True)
class Machines:
    """What the work is divided among.

    Attributes:
        throughput: completion tokens per second of one GPU, all requests together.
        gpus: number of GPUs.
        memory: bytes of memory of a machine that dedup can use.
        gpu_hour: price of a GPU-hour; None if unknown.
    """

    throughput: float = 2_500.0
    gpus: int = 64
    memory: int = 64 << 30
    gpu_hour: float | None = None


@dataclass(frozen=True)
class Step:
    """The calls of one asset."""

    asset: str
    rows: float
    calls: float
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float
    gpu_hours: float
    cost: float | None  # by [prices]; None without them

    def as_json(self) -> dict[str, Any]:
        """The shape that docs/plan.md describes."""
        exact = {"asset": self.asset, "gpu_hours": round(self.gpu_hours, 3), "cost": self.cost}
        names = ("rows", "calls", "prompt_tokens", "cached_tokens", "completion_tokens")
        return {"asset": self.asset, **{name: round(getattr(self, name)) for name in names}, **exact}


@dataclass(frozen=True)
class Lever:
    """A change that makes the work smaller.

    Attributes:
        saves: share of the GPU-hours.
    """

    change: str
    saves: float


@dataclass
class Scale:
    """A hub of a planned size."""

    personas: int
    measured: int  # personas of the home
    machines: Machines
    currency: str
    documents: float = 0.0
    steps: list[Step] = field(default_factory=list)
    storage: dict[str, float] = field(default_factory=dict)  # bytes by table
    state: dict[str, float] = field(default_factory=dict)  # bytes by stage
    memory: float = 0.0  # bytes that dedup holds
    assumptions: list[str] = field(default_factory=list)
    levers: list[Lever] = field(default_factory=list)

    @property
    def batches(self) -> int:
        """Number of batches of 50,000 documents."""
        return math.ceil(self.documents / BATCH_ROWS)

    @property
    def shards(self) -> int:
        """Machines whose memory holds the state of dedup."""
        return max(1, math.ceil(self.memory / self.machines.memory))

    @property
    def gpu_hours(self) -> float:
        """GPU-hours of all steps."""
        return sum(step.gpu_hours for step in self.steps)

    @property
    def days(self) -> float:
        """Days of generation on all GPUs."""
        return self.gpu_hours / self.machines.gpus / 24

    @property
    def cost(self) -> float | None:
        """Cost by [prices]; None without them."""
        costs = [step.cost for step in self.steps]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def rent(self) -> float | None:
        """Cost of the GPU-hours; None without their price."""
        return None if self.machines.gpu_hour is None else self.gpu_hours * self.machines.gpu_hour

    def as_json(self) -> dict[str, Any]:
        """The shape that docs/plan.md describes."""
        return {
            "personas": self.personas,
            "measured_personas": self.measured,
            "machines": vars(self.machines),
            "documents": round(self.documents),
            "batches": self.batches,
            "steps": [step.as_json() for step in self.steps],
            "gpu_hours": round(self.gpu_hours, 3),
            "days": round(self.days, 3),
            "cost": self.cost,
            "rent": self.rent,
            "currency": self.currency,
            "storage_bytes": {name: round(size) for name, size in self.storage.items()},
            "state_bytes": {name: round(size) for name, size in self.state.items()},
            "memory_bytes": round(self.memory),
            "shards": self.shards,
            "assumptions": self.assumptions,
            "levers": [{"change": lever.change, "saves": round(lever.saves, 4)} for lever in self.levers],
        }


def scale(environment: Environment, store: Store, personas: int, machines: Machines) -> Scale:
    """Forecast a hub of a number of personas from the averages of this home.

    Args:
        environment: the endpoints, for their prices.
        store: a home with personas.
        personas: planned number of personas.
        machines: what the work is divided among.

    Raises:
        StoreError: if the home has no personas.
    """
    measured = store.total("personas")
    if not measured:
        raise StoreError(
            f"{store.root} has no personas, so there are no averages: run some batches of the planned kind first, "
            "a thousand personas or more (personahub ingest FILE; personahub run)"
        )
    times = personas / measured
    forecast = Scale(personas, measured, machines, store.config.prices.currency)
    forecast.documents = store.total("documents") * times
    forecast.steps = list(_steps(environment, store, times, machines))
    grown = dict.fromkeys(_BY_BATCH, forecast.batches / max(1, len(store.batches())))
    files = {table: store.files(table) for table in store.table_set.sql}
    forecast.storage = {table: _bytes(paths) * grown.get(table, times) for table, paths in files.items() if paths}
    forecast.state = dict(_state(store, times, personas))
    forecast.memory = forecast.state["lexical dedup"]
    forecast.assumptions = list(_assumptions(store, forecast, machines))
    forecast.levers = sorted(_levers(store, forecast), key=lambda lever: -lever.saves)[:_LEVERS]
    return forecast


def _steps(environment: Environment, store: Store, times: float, machines: Machines) -> Iterator[Step]:
    for folder in store.folders("generations"):
        asset = str(asset_of("generations", folder))
        digests = Compacted(store, "generations", asset, "scale 1", ("status", "reused", *_SPENT), _digest).read()
        sums = digests.select(pl.all().exclude("batch").sum()).row(0, named=True)
        if not sums["requests"]:
            continue
        per_request = {name: sums[name] / sums["paid"] if sums["paid"] else 0.0 for name in _SPENT}
        spent = {name: per_request[name] * sums["requests"] * times for name in _SPENT}
        fresh = spent["prompt_tokens"] - spent["cached_tokens"]
        work = spent["completion_tokens"] + fresh / PREFILL
        prices = _prices(environment, store, asset)
        tokens = (spent["prompt_tokens"], spent["cached_tokens"], spent["completion_tokens"])
        yield Step(
            asset,
            (store.total(asset) if asset in store.table_set.sql else 0) * times,
            spent["attempts"],
            *tokens,
            work / machines.throughput / 3600,
            prices.cost(*tokens) if prices else None,
        )


def _digest(rows: pl.DataFrame) -> pl.DataFrame:
    """Requests of a partition, and what the paid ones took."""
    paid = rows.filter(~pl.col("reused"))
    counts = {"requests": rows.filter(pl.col("status") != "superseded").height, "paid": paid.height}
    return pl.DataFrame([counts | {name: int(paid[name].sum() or 0) for name in _SPENT}])


def _prices(environment: Environment, store: Store, asset: str) -> Prices | None:
    """Prices of the first model that is asked for an asset."""
    llm, config = LLM.of(environment), store.config
    try:
        task = current_tasks(store.catalog, config, asset, llm.configured(config, environment.model_name))[0]
    except PersonaHubError:  # of an asset that is gone
        return None
    section = llm.as_role(config, task.role, task.variant).settings_for(config, task).prices
    return section.as_prices() if section.is_set else None


def _bytes(files: Iterable[Path]) -> float:
    return float(sum(file.stat().st_size for file in files))


def _below(folder: Path) -> float:
    return _bytes(path for path in folder.rglob("*") if path.is_file())


def _state(store: Store, times: float, kept: float) -> Iterator[tuple[str, float]]:
    """Bytes of what the stages know of all batches."""
    paths = store.paths
    yield "lexical dedup", max(_below(paths.dedup_cache("lexical")) * times, _LEXICAL_BYTES * kept)
    yield "semantic dedup", max(_below(paths.dedup_cache("semantic")) * times, 4.0 * _dimensions(store) * kept)
    yield "dedup of items", _below(paths.cache / "items") * times
    yield "answers by request", _below(paths.cache / "compacted") * times


def _dimensions(store: Store) -> int:
    for batch in reversed(store.partitions("persona_embeddings")):
        vectors = store.read("persona_embeddings", batch, columns=["embedding"])["embedding"].drop_nulls()
        if len(vectors):
            return len(vectors[0])
    return 384


def _assumptions(store: Store, forecast: Scale, machines: Machines) -> Iterator[str]:
    candidates = sum(store.total(table) for table in CANDIDATES)
    share = forecast.measured / candidates if candidates else 1.0
    if forecast.measured < _FEW:
        yield (f"This home has {forecast.measured:,} personas, which is few: averages of a thousand and more say more.")
    yield f"All documents are like those of this home: {forecast.documents / forecast.personas:.2f} for each persona."
    yield (
        f"{share:.1%} of the candidates are kept, as here. In a larger hub more are duplicates; the view novelty shows "
        "how fast the share falls."
    )
    yield "Each dataset is written for the same share of the personas as here."
    yield (
        f"A GPU writes {machines.throughput:,.0f} completion tokens per second, all its requests together, and reads "
        f"{PREFILL:.0f} fresh prompt tokens in the time of one; cached prompt tokens cost no time."
    )
    yield f"A batch has {BATCH_ROWS:,} documents."
    yield (
        f"The lexical stage looks into {_LEXICAL_BYTES} bytes or more of each persona, mapped from disk: it is fast "
        "while they fit into memory. Vectors are read from disk, one after another."
    )


def _levers(store: Store, forecast: Scale) -> Iterator[Lever]:
    """Changes by the share of the GPU-hours that each saves."""
    if not forecast.gpu_hours:
        return
    config = store.config
    direct = {name for name in store.catalog.names if not store.catalog.is_derived(name)}
    for step in forecast.steps:
        share = step.gpu_hours / forecast.gpu_hours
        if step.asset in CANDIDATES or step.asset not in direct:
            continue
        yield Lever(f"write {step.asset} for a tenth of the personas: [datasets.{step.asset}] share = 0.1", 0.9 * share)
    by_asset = {step.asset: step for step in forecast.steps}
    related, text = by_asset.get("related_personas"), by_asset.get("text_personas")
    if related and related.calls:
        yield Lever(
            f"ask for twice as many related personas per answer: [related_personas] fan_out = "
            f"{2 * config.related_personas.fan_out} (prompts are read half as often)",
            0.5 * _prompt_share(related) * related.gpu_hours / forecast.gpu_hours,
        )
    if text and text.calls:
        yield Lever(
            f"ask for twice as many personas per document: [text_personas] per_document = "
            f"{2 * config.text_personas.per_document} (half the documents)",
            0.5 * _prompt_share(text) * text.gpu_hours / forecast.gpu_hours,
        )
    fresh = sum(step.prompt_tokens - step.cached_tokens for step in forecast.steps)
    prompt_tokens = sum(step.prompt_tokens for step in forecast.steps)
    if prompt_tokens and fresh / prompt_tokens > 0.3:
        hours = 0.7 * fresh / PREFILL / forecast.machines.throughput / 3600
        change = "serve with a prefix cache (vLLM: on by default), so that shared prompts are read once"
        yield Lever(change, hours / forecast.gpu_hours)
    yield Lever("a server twice as fast (a smaller model, fp8, or speculative decoding)", 0.5)


def _prompt_share(step: Step) -> float:
    """Share of a step's time that goes to reading prompts."""
    fresh = (step.prompt_tokens - step.cached_tokens) / PREFILL
    return fresh / (fresh + step.completion_tokens) if fresh + step.completion_tokens else 0.0
