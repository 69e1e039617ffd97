"""Assets as they are written here: a spec and a function, which Dagster is given once the names are known."""

import inspect
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from personahub_assets.defs.metadata.pages import page_of
from personahub_assets.defs.naming import RESOURCES, Names

OWNERS = ["team:personahub"]


@dataclass(frozen=True)
class Asset:
    """An asset that `hub_asset` or `batch_asset` made of a function.

    Attributes:
        spec: name, group, dependencies and partitions, without any prefix.
        compute: called with Dagster's context, with the resources by name, and with `config` if there is one.
        resources: names of the resources that it needs.
        config: what a run must say.
        pool: limits how many steps of the asset run at a time.
    """

    spec: dg.AssetSpec
    compute: Callable[..., Any]
    resources: Collection[str]
    config: type[dg.Config] | None = None
    pool: str | None = None

    @property
    def name(self) -> str:
        """Its name without a prefix."""
        return self.spec.key.path[-1]

    def after(self, assets: Sequence[str]) -> "Asset":
        """The same asset with further dependencies."""
        deps = [*(dep.asset_key for dep in self.spec.deps), *map(dg.AssetKey, assets)]
        return replace(self, spec=self.spec.replace_attributes(deps=deps))

    def define(self, names: Names) -> dg.AssetsDefinition:
        """Make what Dagster loads."""
        options: dict[str, Any] = {"config_schema": self.config.to_fields_dict()} if self.config else {}

        def compute(context: dg.AssetExecutionContext) -> Any:
            arguments = names.resources(context, self.resources)
            if self.config:
                arguments["config"] = self.config(**context.op_execution_context.op_config)
            return self.compute(context, **arguments)

        with warnings.catch_warnings():
            # Single-run backfills are beta in Dagster 1.13. The project depends on them knowingly, and the range of
            # versions in pyproject.toml is narrow. Whoever loads the graph keeps their own warnings.
            warnings.simplefilter("ignore", dg.BetaWarning)
            single_run = dg.BackfillPolicy.single_run() if self.spec.partitions_def else None
            decorator = dg.multi_asset(
                name=names.name(self.name),
                specs=[names.spec(self.spec)],
                description=self.spec.description,
                required_resource_keys=names.resource_keys(self.resources),
                backfill_policy=single_run,
                pool=self.pool and (names.pool or self.pool),
                **options,
            )
            return decorator(compute)


def hub_asset(
    *,
    group: str,
    kinds: set[str],
    deps: Sequence[str] = (),
    config: type[dg.Config] | None = None,
    is_optional: bool = False,
) -> Callable[[Callable[..., Any]], Asset]:
    """Make an asset of the hub as a whole of a function, whose docstring describes it.

    The function is given Dagster's context, the resources that its parameters name, and `config`.

    Args:
        group: shown in the UI.
        kinds: shown in the UI.
        deps: assets that it is made of.
        config: what a run must say.
        is_optional: a run may leave it out, although it is selected.
    """

    def decorate(function: Callable[..., Any]) -> Asset:
        spec = dg.AssetSpec(
            function.__name__,
            deps=list(deps),
            description=inspect.getdoc(function),
            metadata=page_of(function.__name__),
            group_name=group,
            kinds=kinds,
            owners=OWNERS,
            skippable=is_optional,
        )
        return Asset(spec, function, named_resources(function), config)

    return decorate


def named_resources(function: Callable[..., Any]) -> list[str]:
    """Resources that a function's parameters name."""
    return [name for name in inspect.signature(function).parameters if name in RESOURCES]
