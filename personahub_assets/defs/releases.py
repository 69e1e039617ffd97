"""Releases: frozen folders, made on purpose and never by a refresh."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from personahub_assets.core.errors import ConfigError
from personahub_assets.defs.assets import hub_asset
from personahub_assets.instance.progress import RunProgress, Step
from personahub_assets.releases.build import freeze
from personahub_assets.releases.card import body
from personahub_assets.releases.folder import Release
from personahub_assets.releases.formats import FORMATS
from personahub_assets.releases.relations import relations
from personahub_assets.releases.spec import ReleaseSpec
from personahub_assets.store.tables import Store

RELEASE = "make_release"


class ReleaseConfig(dg.Config):
    """What to release; the same as the options of `personahub release`."""

    name: str | None = Field(
        default=None, description="Name of the folder below releases/, such as v1.0; it must be new"
    )
    select: list[str] = Field(
        default=[], description="Only these configs: personas, datasets, or views such as math_verified"
    )
    where: list[str] = Field(
        default=[],
        description="SQL conditions on the rows, such as hop <= 1; 'tools: length(text) > 100' for one config alone",
    )
    jsonl: bool = Field(default=False, description="Also write JSONL with the field names of the paper's data")
    format: str | None = Field(
        default=None,
        description=f"Format of the rows for training: {', '.join(FORMATS)}; None for the columns of the tables",
    )
    license: str | None = Field(default=None, description="Licence of the data, such as apache-2.0, for the card")
    validation: float = Field(
        default=0.0, description="Share of personas whose rows make a split for validation, such as 0.05; 0 makes none"
    )


@hub_asset(
    group="releases",
    deps=["personas"],
    kinds={"parquet", "huggingface"},
    config=ReleaseConfig,
    is_optional=True,
)
def release(
    context: dg.AssetExecutionContext, config: ReleaseConfig, store: Store, progress: RunProgress
) -> Iterator[dg.MaterializeResult[Any]]:
    """A frozen folder in Hugging Face layout: Parquet by config, dataset card, manifest with a hash of each file.

    Items have the text of their persona beside them. Files of personas that are released unchanged are shared with the
    store, not copied. A release never changes.
    """
    if config.name is None:
        _unnamed(context)
        return
    started = time.perf_counter()
    order = ReleaseSpec.of(**config.model_dump(), relations=relations(store))
    published = freeze(store, order, partial(_tell, progress, config.name))
    progress.tell(Step(config.name, "release", len(order.configs), len(order.configs), "done"))
    seconds = round(time.perf_counter() - started, 3)
    yield dg.MaterializeResult(
        metadata={**described(published), "seconds": seconds}, data_version=dg.DataVersion(published.sums)
    )


def _unnamed(context: dg.AssetExecutionContext) -> None:
    """Skip the release if the whole graph is materialised.

    Raises:
        ConfigError: if only the release is selected.
    """
    op = context.op_execution_context.op_handle.name
    message = f"a release is made on purpose, under a name of its own: give it in the launchpad, ops.{op}.config.name"
    if len(context.run.asset_selection or ()) <= 1:
        raise ConfigError(message)
    context.log.warning(f"no release is made: {message}")


def described(made: Release) -> dict[str, Any]:
    """Metadata about a release: rows, bytes, where it is, how to check it, and its card."""
    linked, written = made.bytes()
    rows = [dg.TableRecord({"config": name, "rows": count}) for name, count in made.rows.items()]
    return {
        "dagster/row_count": sum(made.rows.values()),
        "rows": dg.MetadataValue.table(records=rows),
        "bytes_linked": linked,
        "bytes_written": written,
        "path": dg.MetadataValue.path(str(made.path)),
        "verify_with": dg.MetadataValue.md(f"`personahub release {made.name} --verify`"),
        "load_with": dg.MetadataValue.text(f'datasets.load_dataset({str(made.path)!r}, "{next(iter(made.rows))}")'),
        "sha256_of_sums": made.sums,
        "card": dg.MetadataValue.md(body(made.manifest)),
    }


def _tell(progress: RunProgress, name: str, done: int, total: int) -> None:
    progress.tell(Step(name, "release", done, total))
