"""Seeds: recorded answers of another home, found by request key like the answers of other batches.

Layout below the home: `seeds/<asset>/<hash of where they are from>.parquet`, in the columns of `generations`. They are
no rows of this home: only what is asked here and answered there enters its tables.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from personahub_assets.core.addresses import public
from personahub_assets.core.errors import SourceError
from personahub_assets.core.records import DATASETS, Answer, RelatedPersonas, TextPersonas
from personahub_assets.core.text import digest, sanitise
from personahub_assets.generation import provenance
from personahub_assets.generation.answer_index import hash_of
from personahub_assets.sources import reader
from personahub_assets.sources.tombstones import Tombstones, taken_down
from personahub_assets.store.atomic import aside_folder
from personahub_assets.store.home import Home
from personahub_assets.store.local_paths import resolve_path
from personahub_assets.store.tables import PartitionWriter, Store, in_pieces, read_file, table_schema

ANSWERS: Mapping[str, type[Answer]] = {"text_personas": TextPersonas, "related_personas": RelatedPersonas, **DATASETS}
"""What each asset that asks is answered with."""

_READ = 2_048


class Recorded(BaseModel):
    """One row of `generations` as somebody recorded it; what it says of batches, costs and times is not taken over."""

    model_config = ConfigDict(extra="ignore")

    asset: str
    request_key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    model: Annotated[str, StringConstraints(min_length=1)]
    response: Annotated[str, StringConstraints(min_length=2)]
    reason: str | None = None
    generation_id: str = ""
    input_id: str = ""
    sample: int = 0
    prompt: str = ""
    prompt_fingerprint: str = ""
    schema_fingerprint: str = ""
    repaired: bool = False
    detail: str | None = None
    finish_reason: str | None = None
    answer_tokens: int = Field(0, ge=0)
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None


@dataclass
class Planted:
    """What came of recorded answers: how many can be reused, by asset, of which models, and why others cannot."""

    usable: Counter[str] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        by_asset = ", ".join(f"{asset} {count:,}" for asset, count in sorted(self.usable.items()))
        of = ", ".join(sorted(self.models))
        summary = f"{self.usable.total():,} recorded answers of {of} can be reused ({by_asset})"
        return f"{summary}; left out: {self.reasons}" if self.left_out else summary

    @property
    def reasons(self) -> str:
        """Why how many cannot be reused."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.most_common())


def plant(store: Store, address: str) -> Planted:
    """Take recorded answers into a home; from the same place again, they replace what came from there before.

    Args:
        store: the home.
        address: a file of `generations` (Parquet, JSONL, CSV), local or remote, or a folder with such Parquet files,
            such as another home.

    Raises:
        SourceError: if it cannot be read, or has no usable answer.
        LLMError: if stand-in answers would meet a model's.
    """
    is_remote = reader.is_remote(address)
    planted, taken = Planted(), taken_down(store, None)
    with ExitStack() as stack:
        if is_remote:  # what is usable is copied; the rest is not kept where no takedown would look
            source = reader.fetch(address, stack.enter_context(aside_folder(store.paths.aside, "seeds-")))
        else:
            source = resolve_path(address)
        name = f"{digest(public(address) if is_remote else str(source))}.parquet"
        pots: dict[str, PartitionWriter] = {}
        for rows in in_pieces(_usable(source, planted, taken), _READ):
            for asset in {row.asset for row in rows}:
                if asset not in pots:
                    pots[asset] = PartitionWriter(
                        store.paths.recorded_answers(asset) / name, "generations", store.paths.aside
                    )
                    stack.callback(pots[asset].discard)
                pots[asset].add(_frame([row for row in rows if row.asset == asset]))
        _check(store, public(address), planted)
        for asset in ANSWERS:
            if asset in pots:
                pots[asset].publish()
            else:
                (store.paths.recorded_answers(asset) / name).unlink(missing_ok=True)
    return planted


def files(store: Store, asset: str) -> list[Path]:
    """The seeds of one asset."""
    return sorted(store.paths.recorded_answers(asset).glob("*.parquet"))


def models(store: Store) -> list[str]:
    """The models whose recorded answers a home has."""
    every = (path for asset in ANSWERS for path in files(store, asset))
    return sorted({model for path in every for model in read_file(path, "generations", ["model"])["model"].unique()})


def _usable(source: Path, planted: Planted, taken: Tombstones) -> Iterator[Recorded]:
    """The answers that can be reused; what else there is, is counted."""
    seen_marks: set[int] = set()
    for path in _found(source):
        survey = reader.survey(path, 2**62)
        for raw in reader.read_rows(path, survey.format, survey.slices[0]):
            row = _recorded(raw.columns or {})
            if isinstance(row, Recorded) and (mark := hash_of(row.request_key)) in seen_marks:
                row = "met twice"
            elif isinstance(row, Recorded) and taken.has_request(row.request_key):
                row = "taken down"
            if isinstance(row, str):
                planted.left_out[row] += 1
                continue
            seen_marks.add(mark)
            planted.usable[row.asset] += 1
            planted.models.add(row.model)
            yield row


def _found(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    answers = Home(source).tables / "generations"
    paths = sorted((answers if answers.is_dir() else source).rglob("*.parquet"))
    if not paths:
        raise SourceError(
            f"{source}: no Parquet file in it; want a home, its tables/generations, or a file of generations"
        )
    return paths


def _recorded(columns: Mapping[str, Any]) -> Recorded | str:
    """A usable answer, or what keeps it from being one."""
    if columns.get("reason") or columns.get("status") == "rejected":
        return "rejected"
    clean = {name: sanitise(value)[0] if isinstance(value, str) else value for name, value in columns.items()}
    try:
        row = Recorded(**{name: value for name, value in clean.items() if value not in (None, "")})
    except ValidationError as error:
        return f"without a valid {error.errors()[0]['loc'][0]}"
    if row.asset not in ANSWERS:
        return "of no asset of this hub"
    try:
        ANSWERS[row.asset].model_validate_json(row.response)
    except ValidationError:
        return "not as the schema wants them"
    return row


def _check(store: Store, address: str, planted: Planted) -> None:
    if not planted.models:
        raise SourceError(
            f"{address}: no usable answers ({planted.reasons or 'no rows'}). Want rows of generations: personahub sql "
            '"SELECT * FROM generations" --format parquet --output FILE'
        )
    if len(planted.models) > 1 and provenance.STANDIN_MODEL in planted.models:
        raise SourceError(f"{address}: answers of the stand-in and of {sorted(planted.models)} in one place: not taken")
    provenance.check_kind(store, address, provenance.kind_of(planted.models))


def _frame(rows: list[Recorded]) -> pl.DataFrame:
    """Rows of `generations` for which nothing was paid."""
    schema = table_schema("generations")
    defaults: dict[str, Any] = {
        **dict.fromkeys(("attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "wasted_tokens"), 0),
        **dict.fromkeys(("latency_s", "cost", "queue_s", "flight_s"), 0.0),
        "batch": "",
        "status": "accepted",
        "reused": True,
        "superseded_at": None,
    }
    records = [{**defaults, **row.model_dump()} for row in rows]
    return pl.DataFrame([[row[name] for name in schema] for row in records], schema, orient="row")
