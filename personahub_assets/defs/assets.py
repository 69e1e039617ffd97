"""Assets of this project: a spec and a function, converted to Dagster's assets once the names are known."""

import inspect
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from personahub_assets.defs.failures import one_sentence
from personahub_assets.defs.metadata.pages import page_of
from personahub_assets.defs.naming import RESOURCES, Names

OWNERS = ["team:personahub"]


@dataclass(frozen=True)
class Asset:
    """An asset that `hub_asset` or `batch_asset` made from a function.

    Attributes:
        spec: name, group, dependencies and partitions, without any prefix.
        compute: called with Dagster's context, with the resources by name, and with `config` if there is one; yields
            results.
        resources: names of the required resources, `store` included.
        config: the configuration of a run; None without one.
        pool: limits how many steps of the asset run at a time.
    """

    spec: dg.AssetSpec
    compute: Callable[..., Iterable[Any]]
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

    def define(self, names: Names, batches_per_run: int = 1) -> dg.AssetsDefinition:
        """Make Dagster's asset definition.

        Args:
            names: prefixes.
            batches_per_run: of a backfill; 0 for a single run.
        """
        options: dict[str, Any] = {"config_schema": self.config.to_fields_dict()} if self.config else {}

        def compute(context: dg.AssetExecutionContext) -> Iterator[Any]:
            arguments = names.resources(context, self.resources)
            with one_sentence(context, arguments["store"].root):
                if self.config:
                    arguments["config"] = self.config(**context.op_execution_context.op_config)
                yield from self.compute(context, **arguments)

        with warnings.catch_warnings():
            # Backfill policies are beta in Dagster 1.13. The project depends on them knowingly, and the range of
            # versions in pyproject.toml is narrow. Other warnings of the loading process are unchanged.
            warnings.simplefilter("ignore", dg.BetaWarning)
            policy = _backfill_policy(batches_per_run) if self.spec.partitions_def else None
            decorator = dg.multi_asset(
                name=names.name(self.name),
                specs=[names.spec(self.spec)],
                description=self.spec.description,
                required_resource_keys=names.resource_keys(self.resources),
                backfill_policy=policy,
                pool=self.pool and (names.pool or self.pool),
                **options,
            )
            return decorator(compute)


def _backfill_policy(batches_per_run: int) -> dg.BackfillPolicy | None:
    """Return the policy; None means that a backfill has a run per batch, and each run has only that batch."""
    if batches_per_run == 1:
        return None
    return dg.BackfillPolicy.multi_run(batches_per_run) if batches_per_run else dg.BackfillPolicy.single_run()


def hub_asset(
    *,
    group: str,
    kinds: set[str],
    deps: Sequence[str] = (),
    config: type[dg.Config] | None = None,
    is_optional: bool = False,
) -> Callable[[Callable[..., Any]], Asset]:
    """Make an asset of the whole hub from a function; the docstring becomes the description.

    The function gets Dagster's context, the resources named by its parameters (the store included), and `config`. It
    yields at most one result.

    Args:
        group: shown in the UI.
        kinds: shown in the UI.
        deps: upstream assets.
        config: the configuration of a run.
        is_optional: whether a run can skip it, although it is selected.
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
