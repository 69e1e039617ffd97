"""Names of the graph's assets, jobs, resources and partitions, so that it can be part of another project."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dagster as dg

from personahub_assets.core.errors import ConfigError
from personahub_assets.instance.instance import PARTITIONS

RESOURCES = ("store", "llm", "embedder", "progress")
"""Keys of the resources; parameters with these names get them."""

_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Names:
    """Prefixes of all names in Dagster; without prefixes the names are unchanged.

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
        """Check the given prefixes; the default name prefix is made from the key prefix.

        Raises:
            ConfigError: if one is empty, or has characters that Dagster does not accept.
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
        """The prefixed name of a job, schedule, sensor, op, resource or of partitions."""
        return f"{self.name_prefix}{name}"

    def key(self, key: dg.AssetKey) -> dg.AssetKey:
        """The prefixed key of an asset of this graph."""
        return key.with_prefix(self.key_prefix) if self.key_prefix else key

    @cached_property
    def batches(self) -> dg.DynamicPartitionsDefinition:
        """The partitions of the assets."""
        return dg.DynamicPartitionsDefinition(name=self.name(PARTITIONS))

    def spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """The same asset under these names."""
        return spec.replace_attributes(
            key=self.key(spec.key),
            deps=[self.key(dep.asset_key) for dep in spec.deps],
            group_name=f"{self.group_prefix}{spec.group_name}",
            partitions_def=self.batches if spec.partitions_def is not None else None,
        )

    def resource_keys(self, wanted: Iterable[str]) -> set[str]:
        """The resource keys to request from Dagster, for `resources`."""
        return {self.name(name) for name in wanted}

    def resources(self, context: Any, wanted: Iterable[str]) -> dict[str, Any]:
        """The resources of a step, by their names in this project."""
        return {name: getattr(context.resources, self.name(name)) for name in wanted}
