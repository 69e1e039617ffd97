"""Checks: every file sql/checks/<asset>/<check>.sql selects offending rows; none means that the check passes.

Checks of an asset with partitions look at one batch, and their results are those of its partition. Those in the folder
`warehouse` compare batches, and look at what changed since the last time: `warehouse/hub_checks.py`.

The first comment is the text shown in the UI; a line `-- severity: warn` makes a failing check a warning. Files in the
folders of `_shared` are a check of several assets, with names in braces replaced for each: {dataset} or {asset} by the
asset, {input} by the column with the id of its input, {source} by the dataset that it is made from, {solutions} by that
of the compared solutions, {stage} by lexical or semantic, {on_the_scale} by a condition on all scores.
A setting such as {lexical.max_keeper_share} is replaced by its value when the check runs.
"""

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import dagster as dg
import duckdb

from personahub_assets.core import project_files
from personahub_assets.core.catalog import Catalog
from personahub_assets.core.config import HubConfig
from personahub_assets.core.errors import ConfigError, choices
from personahub_assets.core.records import DatasetItem, packaged
from personahub_assets.core.rubrics import LEAST, MOST, SCORE, Scores, criteria_of
from personahub_assets.core.text import plain
from personahub_assets.core.verified import COMPARISONS
from personahub_assets.defs.failures import one_sentence
from personahub_assets.defs.naming import Names
from personahub_assets.instance.storage import remembering
from personahub_assets.store.tables import CANDIDATES, STAGES, Store
from personahub_assets.warehouse.hub_checks import SHOWN, Offending, offending
from personahub_assets.warehouse.live import open_live
from personahub_assets.warehouse.readers import retry_on_replacement

HUB = "warehouse"
"""The asset whose checks compare batches."""

_SETTING = re.compile(r"\{(\w+\.\w+)\}")


@dataclass(frozen=True)
class Check:
    """One SQL file, for one asset."""

    asset: str
    name: str
    sql: str

    @property
    def about(self) -> str:
        """The first comment."""
        return self.sql.lstrip().splitlines()[0].removeprefix("--").strip()

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        """ERROR unless the file says otherwise."""
        return dg.AssetCheckSeverity.WARN if "-- severity: warn" in self.sql else dg.AssetCheckSeverity.ERROR

    def filled(self, config: HubConfig) -> "Check":
        """The same check with the values of the settings that it names.

        Raises:
            ConfigError: if it names a setting that does not exist.
        """
        return replace(self, sql=filled(self.sql, config, f"the check {self.asset}/{self.name}"))

    def result(self, connection: duckdb.DuckDBPyConnection, key: dg.AssetKey | None = None) -> dg.AssetCheckResult:
        """Run the query.

        Args:
            connection: has the tables.
            key: key of the asset in the graph, with its prefix.
        """
        cursor = connection.execute(self.sql)
        names = [column[0] for column in cursor.description or []]
        rows = cursor.fetchmany(SHOWN)
        count = len(rows) if len(rows) < SHOWN else len(rows) + len(cursor.fetchall())
        return self.of(Offending(count, [dict(zip(names, row, strict=True)) for row in rows]), key)

    def of(self, rows: Offending, key: dg.AssetKey | None = None) -> dg.AssetCheckResult:
        """The result for the offending rows of the query."""
        metadata: dict[str, dg.MetadataValue] = {"offending_rows": dg.MetadataValue.int(rows.count)}
        if rows.first:
            records = [dg.TableRecord({name: plain(str(value)) for name, value in row.items()}) for row in rows.first]
            metadata["first_rows"] = dg.MetadataValue.table(records=records)
        return dg.AssetCheckResult(
            passed=not rows.count,
            asset_key=key or self.asset,
            check_name=self.name,
            severity=self.severity,
            metadata=metadata,
        )


def filled(sql: str, config: HubConfig, origin: str) -> str:
    """Replace each {section.key} in SQL by the number in hub.toml.

    Args:
        sql: any text.
        config: the settings.
        origin: name of the SQL's source, for the error.

    Raises:
        ConfigError: if there is no such number, naming the valid ones.
    """
    names = set(_SETTING.findall(sql))
    if not names:
        return sql
    settings = {
        f"{section}.{key}": value
        for section, keys in config.model_dump(exclude={"datasets", "servers"}).items()
        for key, value in keys.items()
        if isinstance(value, int | float)
    }
    unknown = sorted(names - set(settings))
    if unknown:
        raise ConfigError(f"{origin}: no such number in hub.toml: {choices(unknown[0], sorted(settings))}")
    return _SETTING.sub(lambda match: str(settings[match[1]]), sql)


def _shared(datasets: Mapping[str, type[DatasetItem]]) -> dict[str, dict[str, Mapping[str, str]]]:
    """Folders whose files are checks of several assets: for each asset, what is replaced by what."""
    derivations = {name: item.__derivation__ for name, item in datasets.items()}
    inputs = {name: "source_id" if derivation else "persona_id" for name, derivation in derivations.items()}
    return {
        "any_dataset": {name: {"{dataset}": name, "{input}": column} for name, column in inputs.items()},
        "any_derived": {
            name: {"{dataset}": name, "{source}": derivation.source}
            for name, derivation in derivations.items()
            if derivation and derivation.source in datasets
        },
        "any_agreement": {
            name: {"{asset}": name, "{solutions}": comparison.solutions} for name, comparison in COMPARISONS.items()
        },
        "any_compared": {name: {"{dataset}": name} for name, item in datasets.items() if not issubclass(item, Scores)},
        "any_candidate": {name: {"{asset}": name} for name in CANDIDATES},
        "any_generated": {name: {"{asset}": name} for name in (*CANDIDATES, *datasets)},
        "any_scores": {
            name: {"{dataset}": name, "{on_the_scale}": _on_the_scale(item)}
            for name, item in datasets.items()
            if issubclass(item, Scores)
        },
        "any_stage": {asset: {"{stage}": stage} for asset, stage in STAGES.items()},
        # A dataset of the package can have checks of its own; in a home with another class it has other columns.
        **{name: {name: {}} if datasets.get(name) is item else {} for name, item in packaged().items()},
    }


def _on_the_scale(item: type[DatasetItem]) -> str:
    """A condition on all scores of a row."""
    return " AND ".join(f'"{name}" BETWEEN {LEAST} AND {MOST}' for name in (SCORE, *criteria_of(item)))


def all_checks(datasets: Mapping[str, type[DatasetItem]] | None = None) -> dict[str, list[Check]]:
    """The checks of every asset.

    Args:
        datasets: the classes of the datasets by name; None for those of the package.
    """
    checks: dict[str, list[Check]] = defaultdict(list)
    shared = _shared(Catalog().datasets if datasets is None else datasets)
    files = project_files.sql_files("checks")
    for path, sql in files.items():
        folder, name = path.split("/")
        for asset, values in shared.get(folder, {folder: {}}).items():
            # A file in the folder of the asset itself takes the place of the shared one.
            if folder == asset or f"{asset}/{name}" not in files:
                checks[asset].append(Check(asset, name, _replaced(sql, values)))
    return dict(checks)


def _replaced(sql: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        sql = sql.replace(placeholder, value)
    return sql


def sql_checks(
    groups: Mapping[str, str], names: Names, datasets: Mapping[str, type[DatasetItem]]
) -> list[dg.AssetChecksDefinition]:
    """One definition per group of assets, so that its checks share one step and one connection.

    Args:
        groups: the group of every asset, by the asset's name.
        names: prefixes of the graph.
        datasets: the classes of the datasets that have a table, by name.
    """
    every = all_checks(datasets)
    by_group: dict[str, list[Check]] = defaultdict(list)
    of_hub = every.pop(HUB)
    for asset, checks in every.items():
        by_group[groups[asset]] += checks
    of_batches = [_definition(f"{group}_checks", checks, names, _check_batches) for group, checks in by_group.items()]
    return [*of_batches, _definition(f"{HUB}_checks", of_hub, names, _check_hub)]


_Selected = Sequence[tuple[Check, dg.AssetKey]]
"""Checks with the keys of their assets in the graph."""

_Run = Callable[[dg.AssetCheckExecutionContext, Store, Sequence[Check], _Selected], Iterator[dg.AssetCheckResult]]


def _definition(name: str, checks: list[Check], names: Names, run: _Run) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(
        name=names.name(name),
        specs=[_spec(check, names) for check in checks],
        required_resource_keys=names.resource_keys(["store"]),
        can_subset=True,
    )
    def run_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        store = names.resources(context, ["store"])["store"]
        keys = {(key.asset_key.path[-1], key.name): key.asset_key for key in context.selected_asset_check_keys}
        chosen = [(check, keys[check.asset, check.name]) for check in checks if (check.asset, check.name) in keys]
        with one_sentence(context, store.root), remembering(context.instance):
            yield from run(context, store, checks, chosen)

    return run_checks


def _spec(check: Check, names: Names) -> dg.AssetCheckSpec:
    with warnings.catch_warnings():
        # Partitions of checks are a preview in Dagster 1.13. Without them a batch's result replaces that of another.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            check.name,
            asset=names.key(dg.AssetKey(check.asset)),
            description=check.about,
            partitions_def=None if check.asset == HUB else names.batches,
        )


def _check_batches(
    context: dg.AssetCheckExecutionContext, store: Store, _: Sequence[Check], chosen: _Selected
) -> Iterator[dg.AssetCheckResult]:
    """Check the batches of the step, each alone."""
    if context.has_partition_key:
        yield from _of_batch(store, chosen, context.partition_key)
        return
    # Without a partition, as the UI can launch checks: all batches.
    for key in context.partition_keys if context.has_partition_key_range else store.batches():
        for result in _of_batch(store, chosen, key):
            # A step yields one result for each check, which would be that of no batch.
            context.op_execution_context.log_event(_evaluation(result, key))  # type: ignore[arg-type]


def _of_batch(store: Store, chosen: _Selected, batch: str) -> list[dg.AssetCheckResult]:
    return retry_on_replacement(partial(_results, store, chosen, batch))


def _results(store: Store, chosen: _Selected, batch: str) -> list[dg.AssetCheckResult]:
    config = store.config
    ready = [(check.filled(config), key) for check, key in chosen]
    with open_live(store, " ".join(check.sql for check, _ in ready), batch=batch) as connection:
        return [check.result(connection, key) for check, key in ready]


def _evaluation(result: dg.AssetCheckResult, batch: str) -> dg.AssetCheckEvaluation:
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        partition=batch,
    )


def _check_hub(
    _: dg.AssetCheckExecutionContext, store: Store, checks: Sequence[Check], chosen: _Selected
) -> Iterator[dg.AssetCheckResult]:
    """Check what changed of the hub, all checks together; yield the results of those that are selected."""
    config = store.config
    rows = offending(store, {check.name: check.filled(config).sql for check in checks})
    for check, key in chosen:
        yield check.of(rows[check.name], key)
