"""Recorded answers of other homes, found by request key like the answers of other batches.

Layout below the home: `seeds/<asset>/<hash of their source>.parquet`, with the columns of `generations`. They are not
rows of this home: an answer enters its tables only when this home makes the same request.
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
from personahub_assets.core.catalog import classes
from personahub_assets.core.errors import SourceError
from personahub_assets.core.records import Answer
from personahub_assets.core.text import digest, sanitise
from personahub_assets.generation import provenance
from personahub_assets.generation.answer_index import hash_of
from personahub_assets.generation.prompt_record import import_prompts
from personahub_assets.sources import reader
from personahub_assets.sources.tombstones import Tombstones, taken_down
from personahub_assets.store.atomic import aside_folder
from personahub_assets.store.home import Home
from personahub_assets.store.local_paths import resolve_path
from personahub_assets.store.tables import PartitionWriter, Store, in_pieces, read_file, table_schema

_READ = 2_048


class Recorded(BaseModel):
    """One recorded row of `generations`; its batch, cost and times are ignored."""

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
class ImportResult:
    """Result of an import: reusable answers by asset, their models and prompts, and why others cannot be reused."""

    usable: Counter[str] = field(default_factory=Counter)
    prompts: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        by_asset = ", ".join(f"{asset} {count:,}" for asset, count in sorted(self.usable.items()))
        of = ", ".join(sorted(self.models))
        summary = f"{self.usable.total():,} recorded answers of {of} can be reused ({by_asset})"
        return f"{summary}; left out: {self.reasons}" if self.left_out else summary

    @property
    def reasons(self) -> str:
        """The reasons why answers cannot be reused, with counts."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.most_common())


def import_answers(store: Store, address: str) -> ImportResult:
    """Import recorded answers into a home; a repeated import from the same place replaces the earlier one.

    Args:
        store: the home.
        address: a file of `generations` (Parquet, JSONL, CSV), local or remote, or a folder with such Parquet files,
            such as another home.

    Raises:
        SourceError: if the address cannot be read, or has no usable answer.
        LLMError: if answers of the stand-in and of a model would be mixed.
    """
    is_remote = reader.is_remote(address)
    imported, taken = ImportResult(), taken_down(store, None)
    with ExitStack() as stack:
        if is_remote:  # only usable answers are copied, so that a takedown can search all copies
            source = reader.fetch(address, stack.enter_context(aside_folder(store.paths.aside, "seeds-")))
        else:
            source = resolve_path(address)
        name = f"{digest(public(address) if is_remote else str(source))}.parquet"
        writers: dict[str, PartitionWriter] = {}
        for rows in in_pieces(_usable(source, imported, taken, classes(store.catalog)), _READ):
            for asset in {row.asset for row in rows}:
                if asset not in writers:
                    writers[asset] = PartitionWriter(
                        store.paths.recorded_answers(asset) / name, "generations", store.paths.aside
                    )
                    stack.callback(writers[asset].discard)
                writers[asset].add(_frame([row for row in rows if row.asset == asset]))
        _check(store, public(address), imported)
        for asset in store.catalog.tasks:
            if asset in writers:
                writers[asset].publish()
            else:
                (store.paths.recorded_answers(asset) / name).unlink(missing_ok=True)
        import_prompts(store, source, imported.prompts)
    return imported


def files(store: Store, asset: str) -> list[Path]:
    """The files of recorded answers of one asset."""
    return sorted(store.paths.recorded_answers(asset).glob("*.parquet"))


def models(store: Store) -> list[str]:
    """The models of the recorded answers of a home."""
    every = (path for asset in store.catalog.tasks for path in files(store, asset))
    return sorted({model for path in every for model in read_file(path, "generations", ["model"])["model"].unique()})


def _usable(
    source: Path, imported: ImportResult, taken: Tombstones, answers: Mapping[str, tuple[type[Answer], ...]]
) -> Iterator[Recorded]:
    """The reusable answers; others are counted by reason."""
    seen_marks: set[int] = set()
    for path in _parquet_files(source):
        survey = reader.survey(path, 2**62)
        for raw in reader.read_rows(path, survey.format, survey.slices[0]):
            row = _parse_row(raw.columns or {}, answers)
            if isinstance(row, Recorded) and (mark := hash_of(row.request_key)) in seen_marks:
                row = "met twice"
            elif isinstance(row, Recorded) and taken.has_request(row.request_key):
                row = "taken down"
            if isinstance(row, str):
                imported.left_out[row] += 1
                continue
            seen_marks.add(mark)
            imported.usable[row.asset] += 1
            imported.models.add(row.model)
            imported.prompts.add(row.prompt_fingerprint)
            yield row


def _parquet_files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    answers = Home(source).tables / "generations"
    paths = sorted((answers if answers.is_dir() else source).rglob("*.parquet"))
    if not paths:
        raise SourceError(
            f"{source}: no Parquet file in it; give a home, its tables/generations, or a file of generations"
        )
    return paths


def _parse_row(columns: Mapping[str, Any], answers: Mapping[str, tuple[type[Answer], ...]]) -> Recorded | str:
    """A usable answer, or the reason why it is not usable."""
    if columns.get("reason") or columns.get("status") == "rejected":
        return "rejected"
    clean = {name: sanitise(value)[0] if isinstance(value, str) else value for name, value in columns.items()}
    try:
        row = Recorded(**{name: value for name, value in clean.items() if value not in (None, "")})
    except ValidationError as error:
        return f"without a valid {error.errors()[0]['loc'][0]}"
    if row.asset not in answers:
        return "of no asset of this home"
    return row if any(_matches(answer, row.response) for answer in answers[row.asset]) else "not matching the schema"


def _matches(answer: type[Answer], response: str) -> bool:
    try:
        answer.model_validate_json(response)
    except ValidationError:
        return False
    return True


def _check(store: Store, address: str, imported: ImportResult) -> None:
    if not imported.models:
        raise SourceError(
            f"{address}: no usable answers ({imported.reasons or 'no rows'}). Give rows of generations: personahub sql "
            '"SELECT * FROM generations" --format parquet --output FILE'
        )
    if len(imported.models) > 1 and provenance.STANDIN_MODEL in imported.models:
        raise SourceError(
            f"{address}: answers of the stand-in and of {sorted(imported.models)} in one place: not imported"
        )
    provenance.check_kind(store, address, provenance.kind_of(imported.models))


def _frame(rows: list[Recorded]) -> pl.DataFrame:
    """Make rows of `generations` without cost."""
    schema = table_schema("generations")
    defaults: dict[str, Any] = {
        **dict.fromkeys(schema),
        **dict.fromkeys(("attempts", "prompt_tokens", "cached_tokens", "completion_tokens", "wasted_tokens"), 0),
        **dict.fromkeys(("latency_s", "cost", "queue_s", "flight_s"), 0.0),
        "batch": "",
        "status": "accepted",
        "reused": True,
        "superseded_at": None,
    }
    records = [{**defaults, **row.model_dump()} for row in rows]
    return pl.DataFrame([[row[name] for name in schema] for row in records], schema, orient="row")
