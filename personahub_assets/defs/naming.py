"""Names: what the graph calls its assets, jobs, resources and partitions, so that it can be part of another project."""

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, cast

import dagster as dg

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.instance import PARTITIONS

RESOURCES = ("store", "llm", "embedder")
"""Keys of the resources; parameters of these names are given them."""

_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Names:
    """Prefixes of everything that Dagster knows by a name; without any, all is as it is written.

    Attributes:
        key_prefix: before the key of each asset.
        group_prefix: before the name of each group.
        name_prefix: before the name of each job, schedule, sensor, op and resource, and of the partitions.
        pool: of the assets that ask the language model.
    """

    key_prefix: tuple[str, ...] = ()
    group_prefix: str = ""
    name_prefix: str = ""
    pool: str | None = None

    @classmethod
    def of(
        cls, key_prefix: str | Sequence[str] | None, group_prefix: str | None, name_prefix: str | None, pool: str | None
    ) -> "Names":
        """Prefixes as a person gives them; the name prefix is made of the key prefix where none is given.

        Raises:
            ConfigError: if one is empty, or has characters that Dagster does not take.
        """
        segments = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix or ())
        if "" in segments:
            raise ConfigError(f"key_prefix {key_prefix!r} has an empty part; for no prefix, leave it out")
        if name_prefix is None:
            name_prefix = re.sub(r"\W", "_", "_".join(segments), flags=re.ASCII) or None
        for option, value in {"group_prefix": group_prefix, "name_prefix": name_prefix, "pool": pool}.items():
            if value is not None and not _WORD.fullmatch(value):
                raise ConfigError(f"{option} {value!r}: use letters A to Z, digits and _; for none, leave it out")
        group, name = (f"{prefix}_" if prefix else "" for prefix in (group_prefix, name_prefix))
        return cls(segments, group, name, pool)

    def name(self, name: str) -> str:
        """Of a job, schedule, sensor, op, resource or of partitions."""
        return f"{self.name_prefix}{name}"

    def key(self, key: dg.AssetKey) -> dg.AssetKey:
        """Of an asset of this graph."""
        return key.with_prefix(self.key_prefix) if self.key_prefix else key

    @cached_property
    def batches(self) -> dg.DynamicPartitionsDefinition:
        """The partitions of the assets."""
        return dg.DynamicPartitionsDefinition(name=self.name(PARTITIONS))

    def asset(self, made: dg.AssetsDefinition) -> dg.AssetsDefinition:
        """The same asset under these names."""
        if self == Names():
            return made
        op = made.op
        rebuilt = dg.multi_asset(
            name=self.name(op.name),
            specs=[self._spec(spec) for spec in made.specs],
            backfill_policy=made.backfill_policy,
            retry_policy=op.retry_policy,
            op_tags=op.tags,
            pool=self.pool if op.pool and self.pool else op.pool,
        )
        return rebuilt(self.function(_function(op)))

    def checks(self, made: dg.AssetChecksDefinition) -> dg.AssetChecksDefinition:
        """The same checks, of the assets under these names."""
        if self == Names():
            return made
        specs = [
            dg.AssetCheckSpec(
                spec.name,
                asset=self.key(spec.asset_key),
                description=spec.description,
                blocking=spec.blocking,
                metadata=spec.metadata,
            )
            for spec in made.check_specs
        ]
        op = made.op
        rebuilt = dg.multi_asset_check(name=self.name(op.name), specs=specs, can_subset=made.can_subset)
        return rebuilt(self.function(_function(op)))

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, given its resources under these names: Dagster finds them by the names of parameters."""
        if not self.name_prefix:
            return function
        names = {self.name(name): name for name in RESOURCES}
        signature = inspect.signature(function)
        annotations = inspect.get_annotations(function)

        def renamed(name: str) -> str:
            return self.name(name) if name in RESOURCES else name

        def original(named: dict[str, Any]) -> dict[str, Any]:
            return {names.get(name, name): value for name, value in named.items()}

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            return function(*arguments, **original(named))

        @wraps(function)
        def generate(*arguments: Any, **named: Any) -> Iterator[Any]:
            yield from function(*arguments, **original(named))

        # Dagster reads the annotation of a generator otherwise.
        wrapper: Any = generate if inspect.isgeneratorfunction(function) else call
        parameters = [each.replace(name=renamed(each.name)) for each in signature.parameters.values()]
        wrapper.__signature__ = signature.replace(parameters=parameters)
        wrapper.__annotations__ = {renamed(name): annotation for name, annotation in annotations.items()}
        return cast("Callable[..., Any]", wrapper)

    def _spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            key=self.key(spec.key),
            deps=[self.key(dep.asset_key) for dep in spec.deps],
            group_name=f"{self.group_prefix}{spec.group_name}",
            partitions_def=self.batches if spec.partitions_def is not None else None,
        )


def _function(op: dg.OpDefinition) -> Callable[..., Any]:
    """What an op calls. Dagster documents no way to it, nor one to rename the resources of an asset."""
    compute: Any = op.compute_fn
    function: Callable[..., Any] = compute.decorated_fn
    return function
